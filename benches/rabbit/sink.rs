//! The destination of all deliveries: counts them, and notes when each event came first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use tokio::sync::Notify;

/// What was received.
pub struct Sink {
    pub url: String,
    pub count: AtomicU64,
    start: Instant,
    /// Microseconds since `start`, by the event's number.
    at: Vec<AtomicU64>,
    holds: AtomicBool,
    released: Notify,
}

impl Sink {
    /// Starts it; it notes events below `numbers`.
    pub async fn start(numbers: u64) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Arc::new(Self {
            url: format!("http://{}/", listener.local_addr().unwrap()),
            count: AtomicU64::new(0),
            start: Instant::now(),
            at: std::iter::repeat_with(AtomicU64::default).take(numbers as usize).collect(),
            holds: AtomicBool::new(false),
            released: Notify::new(),
        });
        let router = Router::new().fallback(receive).with_state(Arc::clone(&sink));
        tokio::spawn(async move { axum::serve(listener, router).await });
        sink
    }

    /// Whether calls from now on are left without an answer.
    pub fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
        self.released.notify_waiters();
    }

    /// Microseconds since the start.
    pub fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// When an event came, in microseconds since the start.
    pub fn when(&self, number: u64) -> Option<u64> {
        Some(self.at[number as usize].load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Waits until so many calls came in all.
    pub fn reach(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_mins(5);
        while self.count.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "{} of {count} came", self.count.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn receive(State(sink): State<Arc<Sink>>, body: Bytes) -> &'static str {
    let number = body.split(|byte| !byte.is_ascii_digit()).find(|digits| !digits.is_empty());
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    if let Some(at) = number.and_then(|number| sink.at.get(number)) {
        // The first time counts.
        _ = at.compare_exchange(0, sink.now(), Ordering::Relaxed, Ordering::Relaxed);
    }
    sink.count.fetch_add(1, Ordering::Relaxed);
    if sink.holds.load(Ordering::Relaxed) {
        sink.released.notified().await;
    }
    "{}"
}
