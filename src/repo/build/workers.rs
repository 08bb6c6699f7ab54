//! Items that are made by several threads at a time.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Makes something of each item on `workers` threads, in the order of the items. `take` receives what is ready, with the
/// item's number, in the order in which it becomes so; no more results than there are workers wait for it. When it returns,
/// no further item is begun.
pub(super) fn make_all<I: Sync, M: Send, T>(
    items: &[I],
    workers: usize,
    make: impl Fn(&I) -> M + Sync,
    take: impl FnOnce(Receiver<(usize, M)>) -> T,
) -> T {
    let queue = Mutex::new(items.iter().enumerate());
    thread::scope(|scope| {
        let workers = workers.clamp(1, items.len().max(1));
        let (send, receive) = sync_channel(workers);
        for _ in 0..workers {
            let (send, queue, make) = (send.clone(), &queue, &make);
            scope.spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some((number, item)) = next() {
                    // Nobody receives when the repository cannot be written any more.
                    if send.send((number, make(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        take(receive)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn as_many_items_are_made_at_a_time_as_there_are_workers() {
        let (barrier, busy, most) = (Barrier::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        let make = |item: &usize| {
            most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Three are in here, or it never ends.
            barrier.wait();
            busy.fetch_sub(1, Ordering::SeqCst);
            item * 10
        };
        let mut made: Vec<_> = make_all(&[1, 2, 3, 4, 5, 6], 3, make, |receive| receive.iter().collect());
        made.sort_unstable();
        assert_eq!(made, [(0, 10), (1, 20), (2, 30), (3, 40), (4, 50), (5, 60)]);
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn nothing_is_begun_when_nobody_takes_it() {
        let begun = AtomicUsize::new(0);
        let items: Vec<usize> = (0..1000).collect();
        let first = make_all(&items, 2, |_| begun.fetch_add(1, Ordering::SeqCst), |receive| receive.recv().is_ok());
        assert!(first && begun.load(Ordering::SeqCst) < 1000);
        assert!(make_all(&[], 4, |item: &usize| *item, |receive| receive.recv().is_err()));
    }
}
