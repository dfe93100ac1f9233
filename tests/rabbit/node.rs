//! A private RabbitMQ: its own ports, folder and names, ended by its process ids.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use dari::broker::rabbitmq::{Address, RabbitBroker};
use dari::clock::Clock;
use dari::store::Store;
use dari::store::sqlite::SqliteStore;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// A node.
pub struct Node {
    pub port: u16,
    dist: u16,
    epmd: Arc<Epmd>,
    pub name: String,
    folder: tempfile::TempDir,
    server: Mutex<Option<Child>>,
}

/// What tells nodes where each other are: on a port of its own, else a daemon of the whole machine stays behind.
struct Epmd {
    port: u16,
    process: Child,
}

impl Epmd {
    fn start() -> Arc<Self> {
        let port = free_port();
        let process = Command::new("epmd")
            .args(["-port", &port.to_string(), "-address", "127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd comes with Erlang");
        Arc::new(Self { port, process })
    }
}

impl Drop for Epmd {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// A port below those that the system gives to clients: one of them could take it before the server does, and for good
/// while the server is down.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| rand::random_range(10_000..32_000)).find(free).expect("some port is free")
}

/// Whatever a server that starts or stops takes at most.
const PATIENCE: Duration = Duration::from_secs(90);

impl Node {
    /// Starts a node and waits until it can be connected to.
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// The same with more lines of configuration, which may name files that are put into its folder.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let epmd = Epmd::start();
        let node = Self::new(format!("n{}@localhost", epmd.port), epmd, more);
        node.run();
        node
    }

    /// Starts nodes that are one cluster.
    pub fn cluster(count: usize) -> Vec<Self> {
        let epmd = Epmd::start();
        let names: Vec<_> = (1..=count).map(|n| format!("n{n}-{}@localhost", epmd.port)).collect();
        let known: Vec<_> = (1..)
            .zip(&names)
            .map(|(n, name)| format!("cluster_formation.classic_config.nodes.{n} = {name}\n"))
            .collect();
        let lines = format!("cluster_formation.peer_discovery_backend = classic_config\n{}", known.concat());
        let nodes: Vec<_> =
            names.into_iter().map(|name| Self::new(name, Arc::clone(&epmd), |_| lines.clone())).collect();
        // They wait for each other.
        std::thread::scope(|scope| nodes.iter().for_each(|node| _ = scope.spawn(|| node.run())));
        nodes
    }

    fn new(name: String, epmd: Arc<Epmd>, more: impl FnOnce(&Path) -> String) -> Self {
        assert!(Path::new(SERVER).exists(), "rabbitmq-server is missing: scripts/prepare installs it");
        let folder = tempfile::tempdir().unwrap();
        let config = format!("loopback_users = none\nlog.console = false\n{}", more(folder.path()));
        std::fs::write(folder.path().join("rabbitmq.conf"), config).unwrap();
        std::fs::write(folder.path().join("enabled_plugins"), "[].\n").unwrap();
        let (port, dist) = (free_port(), free_port());
        Self { port, dist, epmd, name, folder, server: Mutex::new(None) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let erl = "-kernel inet_dist_use_interface {127,0,0,1} -setcookie test";
        let mut command = Command::new(program);
        command
            .env("HOME", self.folder.path())
            .env("LANG", "C.UTF-8")
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("ERL_CRASH_DUMP", self.path("erl_crash.dump"))
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist.to_string())
            .env("ERL_EPMD_PORT", self.epmd.port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path("log"))
            .env("RABBITMQ_PID_FILE", self.path("beam.pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", self.path("none"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erl)
            .env("RABBITMQ_CTL_ERL_ARGS", erl)
            .stdin(Stdio::null());
        command
    }

    /// Starts the server; again after [`Node::kill`].
    pub fn run(&self) {
        let log = std::fs::File::create(self.path("out")).unwrap();
        let server = self.command(SERVER).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        *self.server.lock().unwrap() = Some(server);
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let out = || std::fs::read_to_string(self.path("out")).unwrap_or_default();
            assert!(Instant::now() < deadline, "RabbitMQ did not start: {}", out());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// True if the server greets: it sends its `Connection.Start` after the protocol header.
    fn answers(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut first = [0];
        stream.write_all(b"AMQP\0\0\x09\x01").is_ok() && stream.read_exact(&mut first).is_ok() && first == [1]
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process of the server itself.
    pub fn server_pid(&self) -> u32 {
        self.pid().parse().unwrap()
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.path("beam.pid")).unwrap_or_default().trim().to_owned()
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid();
        assert!(!pid.is_empty(), "its pid is known");
        Command::new("kill").args([signal, &pid]).status().unwrap();
    }

    /// Kills the server and waits until it is gone.
    pub fn kill(&self) {
        self.signal("-KILL");
        if let Some(mut server) = self.server.lock().unwrap().take() {
            _ = server.wait();
        }
        let deadline = Instant::now() + PATIENCE;
        while Path::new("/proc").join(self.pid()).exists() {
            assert!(Instant::now() < deadline, "it is still there");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes all that a killed server had away.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.path("mnesia")).unwrap();
    }

    /// Asks the server by its own tool.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let program = if Path::new(CTL).exists() { CTL } else { "/usr/sbin/rabbitmqctl" };
        let output = self.command(program).args(["-n", &self.name]).args(arguments).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        out.into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let pid = self.pid();
        if !pid.is_empty() && self.server.get_mut().unwrap().is_some() {
            _ = Command::new("kill").args(["-CONT", &pid]).status();
            _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        if let Some(mut server) = self.server.get_mut().unwrap().take() {
            _ = server.wait();
        }
    }
}

/// The node that most tests share, for as long as one of them holds it.
static SHARED: Mutex<Weak<Node>> = Mutex::new(Weak::new());

/// A broker that is there: the shared node, or the one of `DARI_TEST_AMQP_URL`.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    _node: Option<Arc<Node>>,
}

/// The shared broker.
pub async fn server() -> Server {
    if let Ok(url) = std::env::var("DARI_TEST_AMQP_URL") {
        return Server { url, _node: None };
    }
    let node = tokio::task::spawn_blocking(|| {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let node = Arc::new(Node::start());
            *shared = Arc::downgrade(&node);
            node
        })
    });
    let node = node.await.unwrap();
    Server { url: node.url(), _node: Some(node) }
}

/// A node that one test may kill; `None` with a ready-made broker.
pub async fn own() -> Option<Arc<Node>> {
    if std::env::var("DARI_TEST_AMQP_URL").is_ok() {
        return None;
    }
    Some(Arc::new(tokio::task::spawn_blocking(Node::start).await.unwrap()))
}

/// The same with more lines of configuration.
pub async fn own_with(more: impl FnOnce(&Path) -> String + Send + 'static) -> Option<Node> {
    if std::env::var("DARI_TEST_AMQP_URL").is_ok() {
        return None;
    }
    Some(tokio::task::spawn_blocking(|| Node::start_with(more)).await.unwrap())
}

/// A prefix that no other test has.
pub fn prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static RUN: OnceLock<String> = OnceLock::new();
    let run = RUN.get_or_init(|| format!("t{:08x}", rand::random::<u32>()));
    format!("{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn address(url: &str) -> Address {
    Address { urls: vec![url.to_owned().into()], ca: None, identity: None }
}

/// A store in a folder.
pub fn store(folder: &Path, clock: &Clock) -> Arc<dyn Store> {
    let db = dari::store::sqlite::open(&folder.join("dari.db")).expect("opens");
    Arc::new(SqliteStore::new(db, clock.clone()))
}

/// A broker on a server, with a store and names of its own.
pub struct Site {
    pub broker: Arc<RabbitBroker>,
    pub clock: Clock,
    pub prefix: String,
    pub folder: tempfile::TempDir,
}

impl Site {
    pub async fn new(url: &str) -> Self {
        let (folder, clock, prefix) = (tempfile::tempdir().unwrap(), Clock::system(1), prefix());
        let store = store(folder.path(), &clock);
        let broker = RabbitBroker::open(address(url), &prefix, store, clock.clone()).await.expect("a broker");
        Self { broker: Arc::new(broker), clock, prefix, folder }
    }
}
