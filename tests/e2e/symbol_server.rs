//! A symbol server for tests, on loopback: it answers as a closure says, misbehaves on demand, and keeps a log.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What follows GET: a path, or from a client of a proxy a whole URL.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What the server does with a request.
pub(crate) enum Answer {
    /// Sends the file, or the part of it that `Range` asks for when `If-Range` is this ETag.
    File { bytes: Vec<u8>, etag: &'static str },
    /// As `File`, and after so many bytes of the body closes the connection.
    Cut { bytes: Vec<u8>, etag: &'static str, after: usize },
    /// As `File`, and after so many bytes of the body sends no more.
    Stall { bytes: Vec<u8>, etag: &'static str, after: usize },
    /// A status, more header lines, a body.
    Status(u16, &'static str, Vec<u8>),
    /// A redirect to this URL or path.
    Redirect(String),
}

impl Answer {
    pub(crate) fn missing() -> Self {
        Self::Status(404, "", b"not here".to_vec())
    }
    pub(crate) fn file(bytes: &[u8]) -> Self {
        Self::File { bytes: bytes.to_vec(), etag: "\"1\"" }
    }
}

/// The server; it ends when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (their_log, their_stop, answer) = (log.clone(), stop.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if their_stop.load(Ordering::SeqCst) {
                    break;
                }
                let (log, stop, answer) = (their_log.clone(), their_stop.clone(), answer.clone());
                std::thread::spawn(move || {
                    // A client that was killed, or had enough, is no failure of the server.
                    let _ = serve(&stream.expect("a connection"), &log, &stop, &*answer);
                });
            }
        });
        Self { url, log, stop, thread: Some(thread) }
    }

    /// The requests so far.
    pub(crate) fn log(&self) -> Vec<Request> {
        self.log.lock().expect("not poisoned").clone()
    }

    /// What was asked so far: `PATH` or `PATH RANGE`, without the folder `NAME/GUIDAGE`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let line = |request: &Request| {
            let file = request.path.rsplit('/').next().unwrap_or_default();
            request.header("Range").map_or(file.to_owned(), |range| format!("{file} {range}"))
        };
        self.log().iter().map(line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &TcpStream,
    log: &Mutex<Vec<Request>>,
    stop: &AtomicBool,
    answer: &dyn Fn(&Request) -> Answer,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut request = Request { path: first.split(' ').nth(1).unwrap_or_default().to_owned(), headers: Vec::new() };
    for line in lines {
        match line?.split_once(':') {
            Some((name, value)) => request.headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    log.lock().expect("not poisoned").push(request.clone());
    let mut stream = stream;
    match answer(&request) {
        Answer::File { bytes, etag } => send_file(stream, &request, &bytes, etag, usize::MAX),
        Answer::Cut { bytes, etag, after } => send_file(stream, &request, &bytes, etag, after),
        Answer::Stall { bytes, etag, after } => {
            send_file(stream, &request, &bytes, etag, after)?;
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Answer::Status(status, headers, body) => {
            let len = body.len();
            write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {len}\r\nConnection: close\r\n{headers}\r\n")?;
            stream.write_all(&body)
        }
        Answer::Redirect(to) => {
            write!(stream, "HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    }
}

fn send_file(mut stream: &TcpStream, request: &Request, bytes: &[u8], etag: &str, most: usize) -> std::io::Result<()> {
    let from = request.header("Range").filter(|_| request.header("If-Range") == Some(etag));
    let from = from.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let body = &bytes[from.unwrap_or(0)..];
    match from {
        Some(from) => {
            let (last, total) = (bytes.len() - 1, bytes.len());
            write!(stream, "HTTP/1.1 206 x\r\nContent-Range: bytes {from}-{last}/{total}\r\n")?;
        }
        None => write!(stream, "HTTP/1.1 200 x\r\n")?,
    }
    write!(stream, "ETag: {etag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..body.len().min(most)])?;
    stream.flush()
}
