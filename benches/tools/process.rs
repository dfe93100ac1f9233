//! `dari run` as its users run it, and what it takes of the machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running bridge; killed when dropped.
pub struct Bridge {
    process: Child,
    pub address: SocketAddr,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address of this machine that is free now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Bridge {
    /// Starts a bridge whose public listener is at `address`, and waits until it is ready; how long that took.
    pub fn start(dir: &Path, config: &str, address: SocketAddr, log: &str) -> (Self, Duration) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("dari.yaml"), config).unwrap();
        let started = Instant::now();
        let process = Command::new(env!("CARGO_BIN_EXE_dari"))
            .args(["run", "dari.yaml"])
            .current_dir(dir)
            .env("RUST_LOG", log)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let bridge = Self { process, address };
        while !bridge.is_ready() {
            let said = || std::fs::read_to_string(dir.join("log")).unwrap();
            assert!(started.elapsed() < Duration::from_mins(1), "the bridge does not start: {}", said());
            std::thread::sleep(Duration::from_millis(1));
        }
        (bridge, started.elapsed())
    }

    fn is_ready(&self) -> bool {
        ask(self.address, "GET", "/readyz").starts_with("HTTP/1.1 200")
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        cpu(self.process.id())
    }

    /// Resident memory in MiB: now, and at its highest.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (of("VmRSS"), of("VmHWM"))
    }
}

/// The whole answer to a request without a body; empty if nobody answers.
pub fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
         connection: close\r\n\r\n{{}}"
    );
    let mut answer = String::new();
    let done = stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    if done.is_ok() { answer } else { String::new() }
}

/// Processor time that a process has used so far.
pub fn cpu(id: u32) -> Duration {
    // Ticks of 10 ms, wherever Linux is used today.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
