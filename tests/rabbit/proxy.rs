//! A line between the bridge and RabbitMQ that is cut, slow, or dead in one direction, under load (promises P1, P2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::load::{Load, Running, until};
use crate::node;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the bridge to RabbitMQ.
    Up,
    /// From RabbitMQ to the bridge.
    Down,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    /// How long each piece is held back.
    delay: Duration,
    /// On the connections up to this one, nothing goes this way any more.
    deaf: Option<(Way, usize)>,
    /// New connections are accepted, and nothing else.
    silent: bool,
    /// Changes: all connections are cut.
    cuts: usize,
}

/// Carries TCP connections to one address.
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
}

struct Line {
    to: String,
    rules: watch::Sender<Rules>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// How many more bytes pass before all connections are cut; below zero: as many as come.
    left: AtomicI64,
}

impl Proxy {
    /// In front of the RabbitMQ of a URL.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Line {
            to: place(url).to_owned(),
            rules: watch::Sender::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            left: AtomicI64::new(-1),
        });
        let carrier = Arc::clone(&line);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = carrier.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                carrier.open.fetch_add(1, Ordering::SeqCst);
                let line = Arc::clone(&carrier);
                tokio::spawn(async move {
                    line.carry(client, number).await;
                    line.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, line }
    }

    /// The URL of what is behind it, through it.
    pub fn url(&self, url: &str) -> String {
        url.replace(place(url), &self.address.to_string())
    }

    /// From now on new connections are accepted, and nothing else; those that there are end.
    pub fn silence(&self) {
        self.rule(|rules| rules.silent = true);
        self.cut();
    }

    fn rule(&self, change: impl FnOnce(&mut Rules)) {
        self.line.rules.send_modify(change);
    }

    fn cut(&self) {
        self.line.cut();
    }

    /// Cuts once so many bytes more have passed, wherever in a frame that is.
    fn cut_after(&self, bytes: i64) {
        self.line.left.store(bytes, Ordering::SeqCst);
    }

    /// True until what [`Proxy::cut_after`] asked for has happened.
    fn is_armed(&self) -> bool {
        self.line.left.load(Ordering::SeqCst) >= 0
    }

    /// From now on nothing goes this way on the connections that there are.
    fn deafen(&self, way: Way) {
        let number = self.accepted();
        self.rule(|rules| rules.deaf = Some((way, number)));
    }

    fn accepted(&self) -> usize {
        self.line.accepted.load(Ordering::SeqCst)
    }

    fn open(&self) -> usize {
        self.line.open.load(Ordering::SeqCst)
    }
}

/// Host and port of a URL.
pub fn place(url: &str) -> &str {
    let rest = url.rsplit('@').next().unwrap();
    rest.split('/').next().unwrap()
}

impl Line {
    fn cut(&self) {
        self.rules.send_modify(|rules| rules.cuts += 1);
    }

    async fn carry(&self, client: TcpStream, number: usize) {
        let mut cuts = self.rules.subscribe();
        let before = cuts.borrow_and_update().cuts;
        let ends = async {
            if self.rules.borrow().silent {
                std::future::pending::<()>().await;
            }
            let Ok(server) = TcpStream::connect(&self.to).await else { return };
            _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::select! {
                () = self.pass(from_client, to_server, Way::Up, number) => {}
                () = self.pass(from_server, to_client, Way::Down, number) => {}
            }
        };
        tokio::select! {
            () = ends => {}
            _ = cuts.wait_for(|rules| rules.cuts != before) => {}
        }
    }

    /// Carries what comes one way until an end closes.
    async fn pass(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, number: usize) {
        let mut piece = vec![0; 16 << 10];
        loop {
            let Ok(read @ 1..) = from.read(&mut piece).await else { return };
            let rules = *self.rules.borrow();
            if rules.deaf.is_some_and(|(deaf, up_to)| deaf == way && number <= up_to) {
                continue;
            }
            tokio::time::sleep(rules.delay).await;
            let passing = self.allowed(read);
            if to.write_all(&piece[..passing]).await.is_err() {
                return;
            }
            if passing < read {
                return self.cut();
            }
        }
    }

    /// How many of these bytes may pass.
    fn allowed(&self, bytes: usize) -> usize {
        let bytes = i64::try_from(bytes).unwrap();
        let take = |left: i64| (left >= 0).then(|| left.checked_sub(bytes).filter(|left| *left > 0).unwrap_or(-1));
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(left) => usize::try_from(left.min(bytes)).unwrap(),
            Err(_) => usize::try_from(bytes).unwrap(),
        }
    }
}

/// A bridge behind a proxy, under load.
async fn behind(proxy: &Proxy, url: &str) -> (Running, Load) {
    let bridge = Running::start(&proxy.url(url)).await;
    let load = Load::start(&bridge.hooks, 4);
    load.more(40).await;
    (bridge, load)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_a_line_that_is_cut_again_and_again_loses_nothing_and_repeats_nothing() {
    let server = node::server().await;
    let proxy = Proxy::before(&server.url).await;
    let (bridge, load) = behind(&proxy, &server.url).await;
    for _ in 0..4 {
        proxy.cut();
        load.more(25).await;
    }
    for round in 0..8 {
        // In the midst of a frame: of a message, of a confirm, of what is declared after the last cut.
        let bytes = rand::random_range(1..40_000);
        proxy.cut_after(bytes);
        load.more(25).await;
        until("the line is cut", || !proxy.is_armed()).await;
        println!("round {round}: cut after {bytes} bytes");
    }
    assert!(proxy.accepted() >= 2 + 12, "{} connections were made", proxy.accepted());
    bridge.settle(load).await;
    until("no connection is left behind", || proxy.open() == 2).await;
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_a_slow_line_loses_nothing_and_repeats_nothing() {
    let server = node::server().await;
    let proxy = Proxy::before(&server.url).await;
    let (bridge, load) = behind(&proxy, &server.url).await;
    for delay in [20, 150, 600] {
        proxy.rule(|rules| rules.delay = Duration::from_millis(delay));
        load.more(20).await;
    }
    // Slower than a webhook waits: these are spooled.
    proxy.rule(|rules| rules.delay = Duration::from_secs(2));
    load.more(20).await;
    assert!(bridge.spooled() > 0, "a broker that is too slow is not waited for");
    proxy.rule(|rules| rules.delay = Duration::ZERO);
    load.more(40).await;
    bridge.settle(load).await;
    bridge.end().await;
}

/// A connection on which nothing goes one way any more is noticed, given up and left; nothing is lost meanwhile.
async fn half_open(way: Way) {
    let server = node::server().await;
    let proxy = Proxy::before(&server.url).await;
    let (bridge, load) = behind(&proxy, &server.url).await;
    let before = proxy.accepted();
    proxy.deafen(way);
    load.more(40).await;
    until("both connections are made anew", || proxy.accepted() >= before + 2).await;
    load.more(40).await;
    bridge.settle(load).await;
    until("no connection is left behind", || proxy.open() == 2).await;
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_a_line_that_is_deaf_to_the_bridge_loses_nothing_and_repeats_nothing() {
    half_open(Way::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_a_line_that_is_deaf_to_the_broker_loses_nothing_and_repeats_nothing() {
    half_open(Way::Down).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_a_peer_that_accepts_and_says_nothing_is_left_and_not_besieged() {
    let server = node::server().await;
    let proxy = Proxy::before(&server.url).await;
    let (bridge, load) = behind(&proxy, &server.url).await;
    let before = proxy.accepted();
    proxy.silence();
    load.more(40).await;
    until("the silent peer is given up", || proxy.accepted() >= before + 4).await;
    assert!(proxy.open() <= 4, "one attempt at a time: {} are open", proxy.open());
    let ready = reqwest::get(format!("{}/readyz", bridge.url)).await.unwrap().text().await.unwrap();
    assert!(ready.contains("spool"), "{ready}");
    proxy.rule(|rules| rules.silent = false);
    proxy.cut();
    load.more(40).await;
    bridge.settle(load).await;
    bridge.end().await;
}
