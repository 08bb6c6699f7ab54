//! One URL, whole: with retries, resumption, and a limit of size.

use super::part::{self, Entity, Partial};
use super::transport::{Reply, Resume, Transport, TransportError, Url, shown};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// How persistent a download is, and how large it may get.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Most bytes of one file.
    pub max_bytes: u64,
    /// Failures in a row, none of which brought a byte, that are survived.
    pub retries: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest Retry-After that is honoured; a server that asks for more is given up.
    pub longest_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            retries: 3,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(120),
        }
    }
}

/// However much each attempt brings, there are no more than these.
const MAX_ATTEMPTS: u32 = 50;

/// Why a URL gave no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownloadError {
    /// The server says that it has no such file (404, 410).
    #[error("{}", status_text(*.0))]
    Missing(u16),
    /// Any other status that is no success.
    #[error("{}", status_text(*.0))]
    Status(u16),
    /// The server could not be reached at all, retries included.
    #[error("{0}")]
    Unreachable(String),
    /// The server was busy, or the transfer cut, again and again.
    #[error("{why}{}", so_far(*.received, *.total, *.kept))]
    Cut {
        /// The last reason.
        why: String,
        /// How many bytes came in all.
        received: u64,
        /// The size of the whole, when known.
        total: Option<u64>,
        /// Whether a partial file was left.
        kept: bool,
    },
    /// Larger than [`Policy::max_bytes`].
    #[error("it is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The partial file cannot be written.
    #[error("cannot write {path}: {why}")]
    Write {
        /// The file.
        path: String,
        /// The reason.
        why: String,
    },
}

fn status_text(status: u16) -> String {
    match reqwest::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => format!("status {status}"),
    }
}

fn so_far(received: u64, total: Option<u64>, kept: bool) -> String {
    if received == 0 {
        return String::new();
    }
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    let kept = if kept { "; they are kept, and the next run goes on from there" } else { "" };
    format!(", after {received} bytes{of}{kept}")
}

/// What a download tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// `received` bytes of `total` are here.
    Progress {
        /// Bytes so far.
        received: u64,
        /// Bytes of the whole, when known.
        total: Option<u64>,
    },
    /// An earlier, cut transfer goes on from this byte.
    Resuming(u64),
    /// It failed for now and is tried again after a wait.
    Retrying {
        /// The reason.
        why: String,
        /// How long is waited before.
        wait: Duration,
    },
}

/// How an attempt failed, where another may do better.
enum Failure {
    /// Not again.
    Final(DownloadError),
    /// Again, after `wait` if the server named one. `unreachable`: there was no answer at all.
    Again { why: String, wait: Option<Duration>, unreachable: bool },
}

/// Gets `url`. With `part`, a transfer that was cut is kept there and a later call goes on with it; the file is gone
/// when the transfer is whole.
pub fn download(
    transport: &dyn Transport,
    url: &Url,
    part: Option<&Path>,
    policy: &Policy,
    tell: &mut dyn FnMut(Transfer),
) -> Result<Vec<u8>, DownloadError> {
    // Secrets of the URL stay out of the partial file.
    let name = shown(url);
    let mut partial = part.and_then(|part| Partial::load(part, &name, policy.max_bytes));
    let mut failures = 0;
    for attempt in 1.. {
        let before = received(partial.as_ref());
        match get(transport, url, &name, part, policy, &mut partial, tell) {
            Ok(()) => break,
            Err(Failure::Final(error)) => {
                if let (Some(part), true) = (part, partial.is_some()) {
                    // What came is of no use; a partial file that cannot be removed is replaced by the next run.
                    let _ = part::remove(part);
                }
                return Err(error);
            }
            Err(Failure::Again { why, wait, unreachable }) => {
                failures = if received(partial.as_ref()) > before { 1 } else { failures + 1 };
                let asked_too_much = wait.is_some_and(|wait| wait > policy.longest_wait);
                if failures > policy.retries || attempt >= MAX_ATTEMPTS || asked_too_much {
                    return Err(give_up(why, unreachable, partial.as_ref()));
                }
                let doubled = policy.first_wait.saturating_mul(1 << (failures - 1).min(6));
                let wait = wait.unwrap_or(doubled).min(policy.longest_wait);
                tell(Transfer::Retrying { why, wait });
                std::thread::sleep(wait);
            }
        }
    }
    if let Some(part) = part {
        let _ = part::remove(part);
    }
    Ok(partial.map(|partial| partial.bytes).unwrap_or_default())
}

fn received(partial: Option<&Partial>) -> u64 {
    partial.map_or(0, |partial| partial.bytes.len() as u64)
}

fn give_up(why: String, unreachable: bool, partial: Option<&Partial>) -> DownloadError {
    match partial {
        Some(partial) => DownloadError::Cut {
            why,
            received: partial.bytes.len() as u64,
            total: partial.entity.total,
            kept: partial.is_kept(),
        },
        None if unreachable => DownloadError::Unreachable(why),
        None => DownloadError::Cut { why, received: 0, total: None, kept: false },
    }
}

/// One attempt: asks, decides whether the answer goes on with `partial` or begins anew, and reads to its end.
fn get(
    transport: &dyn Transport,
    url: &Url,
    name: &str,
    part: Option<&Path>,
    policy: &Policy,
    partial: &mut Option<Partial>,
    tell: &mut dyn FnMut(Transfer),
) -> Result<(), Failure> {
    let resume = partial.as_ref().filter(|partial| !partial.bytes.is_empty()).and_then(|partial| {
        Some(Resume { from: partial.bytes.len() as u64, validator: partial.entity.validator.as_deref()? })
    });
    let reply = transport.get(url, resume).map_err(|error| match error {
        TransportError::Transient(why) => Failure::Again { why, wait: None, unreachable: true },
        TransportError::Permanent(why) => Failure::Final(DownloadError::Unreachable(why)),
    })?;
    match reply.status {
        200 => {
            let entity = Entity { url: name.to_owned(), validator: reply.validator.clone(), total: reply.length };
            let begun = Partial::begin(entity, part).map_err(|error| {
                let path = part.map(|path| path.display().to_string()).unwrap_or_default();
                Failure::Final(DownloadError::Write { path, why: error.to_string() })
            })?;
            read_body(reply, partial.insert(begun), policy, tell)
        }
        206 => {
            let Some(kept) = partial.as_mut().filter(|kept| goes_on(kept, &reply)) else {
                *partial = None;
                let why = "the server sent another part than the one that was asked for".to_owned();
                return Err(Failure::Again { why, wait: Some(Duration::ZERO), unreachable: false });
            };
            tell(Transfer::Resuming(kept.bytes.len() as u64));
            if let Some(total) = reply.range.and_then(|range| range.total) {
                kept.entity.total = Some(total);
            }
            read_body(reply, kept, policy, tell)
        }
        // The partial file is longer than what the server has now.
        416 if partial.take().is_some() => {
            Err(Failure::Again { why: status_text(416), wait: Some(Duration::ZERO), unreachable: false })
        }
        404 | 410 => Err(Failure::Final(DownloadError::Missing(reply.status))),
        408 | 429 | 500 | 502..=504 => {
            Err(Failure::Again { why: status_text(reply.status), wait: reply.retry_after, unreachable: false })
        }
        status => Err(Failure::Final(DownloadError::Status(status))),
    }
}

/// Whether a partial answer begins where `kept` ends, and is of the same entity.
fn goes_on(kept: &Partial, reply: &Reply) -> bool {
    let Some(range) = reply.range else { return false };
    let same = |ours: Option<u64>, theirs: Option<u64>| ours.is_none() || theirs.is_none() || ours == theirs;
    range.start == kept.bytes.len() as u64
        && same(kept.entity.total, range.total)
        && (reply.validator.is_none() || reply.validator == kept.entity.validator)
}

fn read_body(
    mut reply: Reply,
    partial: &mut Partial,
    policy: &Policy,
    tell: &mut dyn FnMut(Transfer),
) -> Result<(), Failure> {
    let too_large = || Failure::Final(DownloadError::TooLarge { limit: policy.max_bytes });
    let total = partial.entity.total;
    if total.is_some_and(|total| total > policy.max_bytes) {
        return Err(too_large());
    }
    let mut chunk = vec![0; 64 << 10];
    loop {
        let again = |why: String| Failure::Again { why, wait: None, unreachable: false };
        let got = match reply.body.read(&mut chunk) {
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(again(cut_reason(&error))),
        };
        let received = partial.bytes.len() as u64;
        if got == 0 {
            return match total {
                Some(total) if received != total => Err(again("the connection was closed".to_owned())),
                _ => Ok(()),
            };
        }
        if received + got as u64 > policy.max_bytes {
            return Err(too_large());
        }
        partial.push(chunk.get(..got).unwrap_or_default());
        tell(Transfer::Progress { received: received + got as u64, total });
    }
}

/// The innermost reason of a failed read: the outer ones only say that a body could not be read.
fn cut_reason(error: &std::io::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    if let Some(inner) = error.get_ref() {
        reason = inner;
    }
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::transport::ContentRange;
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::io::Cursor;

    /// Answers in the order of a script, and keeps what was asked.
    #[derive(Default)]
    struct Script {
        replies: RefCell<VecDeque<Result<Reply, TransportError>>>,
        asked: RefCell<Vec<Option<(u64, String)>>>,
    }

    impl Script {
        fn new(replies: Vec<Result<Reply, TransportError>>) -> Self {
            Self { replies: RefCell::new(replies.into()), asked: RefCell::default() }
        }
    }

    impl Transport for Script {
        fn get(&self, _: &Url, resume: Option<Resume<'_>>) -> Result<Reply, TransportError> {
            self.asked.borrow_mut().push(resume.map(|resume| (resume.from, resume.validator.to_owned())));
            self.replies.borrow_mut().pop_front().expect("no more than the script has")
        }
    }

    /// A body that ends with a reset.
    struct Reset;
    impl Read for Reset {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        }
    }

    fn status(status: u16) -> Reply {
        let body = Box::new(Cursor::new(Vec::new()));
        Reply { status, length: Some(0), range: None, validator: None, retry_after: None, body }
    }

    fn whole(bytes: &[u8], etag: &str) -> Reply {
        let body = Box::new(Cursor::new(bytes.to_vec()));
        Reply { length: Some(bytes.len() as u64), validator: Some(etag.into()), body, ..status(200) }
    }

    fn cut(bytes: &[u8], total: u64, etag: &str) -> Reply {
        let body = Box::new(Cursor::new(bytes.to_vec()).chain(Reset));
        Reply { length: Some(total), body, ..whole(&[], etag) }
    }

    fn rest(bytes: &[u8], start: u64, total: u64, etag: &str) -> Reply {
        let range = Some(ContentRange { start, total: Some(total) });
        Reply { status: 206, range, ..whole(bytes, etag) }
    }

    fn refused() -> Result<Reply, TransportError> {
        Err(TransportError::Transient("refused".into()))
    }

    fn quick() -> Policy {
        Policy { first_wait: Duration::from_millis(1), max_bytes: 100, ..Policy::default() }
    }

    fn run(script: &Script, part: Option<&Path>) -> (Result<Vec<u8>, DownloadError>, Vec<Transfer>) {
        let url = Url::parse("http://host/a.pdb").expect("a URL");
        let mut told = Vec::new();
        let result = download(script, &url, part, &quick(), &mut |transfer| told.push(transfer));
        (result, told)
    }

    #[test]
    fn busy_and_broken_servers_are_asked_again_and_again() {
        let script = Script::new(vec![Ok(status(503)), refused(), Ok(status(429)), Ok(whole(b"abc", "\"1\""))]);
        assert_eq!(run(&script, None).0, Ok(b"abc".to_vec()));
        let script = Script::new(vec![refused(), refused(), refused(), refused()]);
        assert_eq!(run(&script, None).0, Err(DownloadError::Unreachable("refused".into())));
    }

    #[test]
    fn what_will_not_change_is_asked_once() {
        for (code, error) in [
            (404, DownloadError::Missing(404)),
            (410, DownloadError::Missing(410)),
            (403, DownloadError::Status(403)),
            (304, DownloadError::Status(304)),
            (501, DownloadError::Status(501)),
        ] {
            assert_eq!(run(&Script::new(vec![Ok(status(code))]), None).0, Err(error));
        }
        let certificate = Script::new(vec![Err(TransportError::Permanent("bad certificate".into()))]);
        assert_eq!(run(&certificate, None).0, Err(DownloadError::Unreachable("bad certificate".into())));
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_limit() {
        let later = |seconds| Reply { retry_after: Some(Duration::from_secs(seconds)), ..status(503) };
        let (result, told) = run(&Script::new(vec![Ok(later(0)), Ok(whole(b"abc", "\"1\""))]), None);
        assert_eq!(result, Ok(b"abc".to_vec()));
        let why = "503 Service Unavailable".to_owned();
        assert_eq!(told.first(), Some(&Transfer::Retrying { why, wait: Duration::ZERO }));
        assert!(matches!(run(&Script::new(vec![Ok(later(3600))]), None).0, Err(DownloadError::Cut { .. })));
    }

    #[test]
    fn a_cut_transfer_goes_on_where_it_ended() {
        let script = Script::new(vec![
            Ok(cut(b"abc", 8, "\"1\"")),
            Ok(Reply { body: Box::new(Cursor::new(b"de".to_vec())), ..rest(&[], 3, 8, "\"1\"") }),
            Ok(rest(b"fgh", 5, 8, "\"1\"")),
        ]);
        assert_eq!(run(&script, None).0, Ok(b"abcdefgh".to_vec()));
        let etag = "\"1\"".to_owned();
        assert_eq!(*script.asked.borrow(), [None, Some((3, etag.clone())), Some((5, etag))]);
    }

    #[test]
    fn parts_of_another_entity_are_never_joined() {
        for answer in [
            whole(b"ABCDEFGH", "\"2\""),
            rest(b"DEFGH", 3, 8, "\"2\""),
            rest(b"DEFGH", 3, 9, "\"1\""),
            rest(b"CDEFGH", 2, 8, "\"1\""),
            Reply { range: None, ..rest(b"DEFGH", 3, 8, "\"1\"") },
            status(416),
        ] {
            let script = Script::new(vec![Ok(cut(b"abc", 8, "\"1\"")), Ok(answer), Ok(whole(b"ABCDEFGH", "\"2\""))]);
            assert_eq!(run(&script, None).0, Ok(b"ABCDEFGH".to_vec()));
        }
    }

    #[test]
    fn without_a_validator_a_cut_transfer_begins_anew() {
        let unnamed = Reply { validator: None, ..cut(b"abc", 8, "") };
        let script = Script::new(vec![Ok(unnamed), Ok(whole(b"abcdefgh", "\"1\""))]);
        assert_eq!(run(&script, None).0, Ok(b"abcdefgh".to_vec()));
        assert_eq!(*script.asked.borrow(), [None, None]);
    }

    #[test]
    fn a_part_is_kept_for_the_next_run_and_gone_when_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let part = dir.path().join("a.pdb.part");
        let mut replies = vec![Ok(cut(b"abc", 8, "\"1\""))];
        replies.extend((0..3).map(|_| refused()));
        let (result, _) = run(&Script::new(replies), Some(&part));
        let error = result.expect_err("cut");
        assert_eq!(error, DownloadError::Cut { why: "refused".into(), received: 3, total: Some(8), kept: true });
        assert!(error.to_string().contains("after 3 bytes of 8; they are kept"), "{error}");

        let script = Script::new(vec![Ok(rest(b"defgh", 3, 8, "\"1\""))]);
        let (result, told) = run(&script, Some(&part));
        assert_eq!(result, Ok(b"abcdefgh".to_vec()));
        assert_eq!(told.first(), Some(&Transfer::Resuming(3)));
        assert_eq!(*script.asked.borrow(), [Some((3, "\"1\"".to_owned()))]);
        assert!(!part.exists());
    }

    #[test]
    fn a_part_of_another_url_or_of_garbage_is_not_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let part = dir.path().join("a.pdb.part");
        for text in ["", "\n", "garbage", "{\"url\":\"http://host/b.pdb\",\"validator\":\"x\",\"total\":9}\nabc"] {
            std::fs::write(&part, text).expect("written");
            let script = Script::new(vec![Ok(whole(b"xyz", "\"1\""))]);
            assert_eq!(run(&script, Some(&part)).0, Ok(b"xyz".to_vec()), "{text}");
            assert_eq!(*script.asked.borrow(), [None]);
        }
    }

    #[test]
    fn the_size_limit_holds_whatever_a_server_declares() {
        let honest = Script::new(vec![Ok(whole(&[0; 101], "\"1\""))]);
        assert_eq!(run(&honest, None).0, Err(DownloadError::TooLarge { limit: 100 }));
        let silent = Script::new(vec![Ok(Reply { length: None, ..whole(&[0; 101], "\"1\"") })]);
        assert_eq!(run(&silent, None).0, Err(DownloadError::TooLarge { limit: 100 }));
    }
}
