//! Webhooks over connections that are kept, each waiting for its answer.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many connections send at once.
pub const CONNECTIONS: usize = 64;
/// The rate limit holds for each source: several share the load.
const SOURCES: usize = 16;

/// A body of 1 KiB.
pub fn body() -> String {
    format!("{{\"order\":{{\"id\":7,\"text\":\"{}\"}}}}", "x".repeat(990))
}

/// The sources that [`load`] sends to, as a part of a config.
pub fn sources() -> String {
    let mut sources = "sources:\n".to_owned();
    for n in 0..SOURCES {
        let event = "event: { id: \"{{ headers['x-id'] }}\" }";
        let _ = writeln!(sources, "  s{n}: {{ webhook: {{ verify: {{ bearer: {{ tokens: [sesame] }} }}, {event} }} }}");
    }
    sources
}

/// Posts `count` events over all connections, with ids from `first` on; the rate and every latency.
pub fn load(address: SocketAddr, body: &str, first: u64, count: u64) -> (f64, Vec<Duration>) {
    let next = AtomicU64::new(first);
    let start = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let post = || {
            let mut sender = Sender::connect(address).unwrap();
            let mut latencies = Vec::new();
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= first + count {
                    return latencies;
                }
                let started = Instant::now();
                assert_eq!(sender.post(body, id).unwrap(), 202, "event {id}");
                latencies.push(started.elapsed());
            }
        };
        let posting: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(post)).collect();
        posting.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    (count as f64 / start.elapsed().as_secs_f64(), latencies)
}

/// One connection.
pub struct Sender {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Sender {
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { answers: BufReader::new(stream.try_clone()?), stream })
    }

    /// Sends one event and waits for the status of its answer.
    pub fn post(&mut self, body: &str, id: u64) -> std::io::Result<u16> {
        let source = id as usize % SOURCES;
        let request = format!(
            "POST /hooks/s{source} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sesame\r\nx-id: {id}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> std::io::Result<u16> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let status = line.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let mut length = 0;
        loop {
            line.clear();
            self.answers.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::Read::read_exact(&mut self.answers, &mut vec![0; length])?;
        Ok(status)
    }
}
