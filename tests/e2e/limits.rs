//! Limits of time and memory for work on hostile input. A hung case is left behind and fails its test by name; how fast a
//! busy machine is does not matter, because time is counted in CPU seconds.
#![allow(unsafe_code, reason = "an allocator is unsafe to write; this one counts and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// CPU time that a case may take.
const CPU: Duration = Duration::from_secs(2);
/// Time on the clock after which a case hangs even if it uses no CPU.
const CLOCK: Duration = Duration::from_secs(120);

/// Bytes that a thread has allocated and not freed.
#[derive(Clone, Copy)]
struct Count {
    now: usize,
    peak: usize,
    limit: usize,
    /// Number of the case that runs on the thread.
    case: usize,
}

const UNLIMITED: Count = Count { now: 0, peak: 0, limit: usize::MAX, case: 0 };

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(UNLIMITED) };
}

/// The last case that asked for more memory than its limit.
static OVER_LIMIT: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting by thread. A thread that asks for more than its limit sleeps from then on: it cannot
/// be ended from outside, and an allocator must not panic.
pub(crate) struct Counting;

impl Counting {
    fn resize(freed: usize, allocated: usize) {
        let over = COUNT.try_with(|cell| {
            let count = cell.get();
            let now = count.now.saturating_sub(freed).saturating_add(allocated);
            cell.set(Count { now, peak: count.peak.max(now), ..count });
            // A panic is told with a backtrace, under a lock that others wait for.
            if now > count.limit && !thread::panicking() { count.case } else { 0 }
        });
        if let Ok(case @ 1..) = over {
            OVER_LIMIT.store(case, Ordering::Relaxed);
            loop {
                thread::sleep(CLOCK);
            }
        }
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::resize(0, layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::resize(0, layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::resize(layout.size(), size);
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::resize(layout.size(), 0);
        unsafe { System.dealloc(block, layout) }
    }
}

/// What `work` gives, run on a thread of its own, and the most memory that it had at once, in bytes.
///
/// # Errors
/// It panicked, took more than two seconds of CPU, or asked for more than `memory` bytes at once.
pub(crate) fn limited<T: Send + 'static>(
    memory: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, usize), String> {
    static CASES: AtomicUsize = AtomicUsize::new(1);
    let case = CASES.fetch_add(1, Ordering::Relaxed);
    let (send_task, task) = mpsc::channel();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        // The thread has gone when nobody waits for it any more, and so need not be told.
        let _ = send_task.send(std::fs::read_link("/proc/thread-self"));
        COUNT.set(Count { now: 0, peak: 0, limit: memory, case });
        let done = catch_unwind(AssertUnwindSafe(work));
        let peak = COUNT.get().peak;
        COUNT.set(UNLIMITED);
        let _ = send.send((done, peak));
    });
    let task = task.recv().expect("the thread runs").ok();
    let start = Instant::now();
    loop {
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok((Ok(done), peak)) => return Ok((done, peak)),
            Ok((Err(why), _)) => {
                let text = why.downcast::<String>().map(|text| *text);
                let text = text.or_else(|why| why.downcast::<&str>().map(|text| (*text).to_owned()));
                return Err(format!("panicked: {}", text.unwrap_or_default()));
            }
            Err(RecvTimeoutError::Disconnected) => return Err("ended without a result".to_owned()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if OVER_LIMIT.load(Ordering::Relaxed) == case {
            return Err(format!("asked for more than {memory} bytes"));
        }
        // Where the system does not tell the CPU time, the clock's is taken.
        let used = task.as_deref().and_then(cpu_time).unwrap_or_else(|| start.elapsed());
        if used > CPU || start.elapsed() > CLOCK {
            return Err(format!("did not end within {CPU:?} of CPU, {CLOCK:?} on the clock"));
        }
    }
}

/// [`limited`] in time only; fails the test in the name of `what`.
pub(crate) fn soon<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    match limited(usize::MAX, work) {
        Ok((done, _)) => done,
        Err(why) => panic!("{what} {why}"),
    }
}

/// CPU time of a thread by its name in `/proc`: the first number of its schedstat, in nanoseconds.
fn cpu_time(task: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(Path::new("/proc").join(task).join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[test]
fn limits_end_what_goes_beyond_them() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let done = limited(100_000, || vec![0u8; 90_000].len()).map(|(len, peak)| (len, peak >= 90_000));
    assert_eq!(done, Ok((90_000, true)));
    let error = |work: fn()| limited(100_000, work).expect_err("beyond the limits");
    assert!(error(|| drop(vec![0u8; 110_000])).contains("more than 100000 bytes"));
    assert!(error(|| panic!("so it {}", "is")).contains("panicked: so it is"));
    let hung = error(|| {
        while !STOP.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    STOP.store(true, Ordering::Relaxed);
    assert!(hung.contains("did not end"), "{hung}");
}
