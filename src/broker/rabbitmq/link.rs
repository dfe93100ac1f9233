//! One connection that is kept up: whatever goes wrong with it, it is rebuilt from nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, Event};
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::words;
use crate::broker::{BrokerError, Result};

/// How long a connect may take. Each attempt that is given up leaves a thread behind while its peer says nothing.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a close may take.
pub const CLOSE: Duration = Duration::from_secs(3);
/// Seconds between heartbeats: a peer that stopped is noticed after two.
const HEARTBEAT: u16 = 10;
/// How often the connection's state is looked at, in case its event is missed.
const GLANCE: Duration = Duration::from_millis(250);
/// The shortest and the longest pause between two attempts: the longest is a part of how long a recovery takes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Where the broker is, and how to be known to it.
#[derive(Clone, Debug)]
pub struct Address {
    /// URLs that lead to the same broker; one after the other is tried.
    pub urls: Vec<SecretString>,
    /// PEM of a root certificate besides the system's.
    pub ca: Option<String>,
    /// PEM of a client certificate and of its key.
    pub identity: Option<(Vec<u8>, SecretString)>,
}

/// What is done on a new connection before others may use it.
pub type Setup = Box<dyn Fn(Arc<Connection>) -> BoxFuture<'static, Result<()>> + Send + Sync>;

#[derive(Clone)]
enum State {
    Up(Arc<Connection>),
    /// It is connected, and not everything is there yet.
    Building,
    /// Why, and after how many attempts.
    Down(BrokerError, usize),
}

/// How long everything that is done on a new connection takes at most.
const BUILDING: Duration = Duration::from_mins(2);

/// A connection that is kept up.
#[derive(Clone)]
pub struct Link {
    state: watch::Receiver<State>,
    urls: usize,
    stop: CancellationToken,
}

impl Link {
    /// Connects, and keeps connecting until `stop`.
    pub fn start(role: &'static str, address: Arc<Address>, setup: Setup, stop: CancellationToken) -> Self {
        let not_yet = BrokerError::Unavailable("not connected yet".to_owned());
        let (sender, state) = watch::channel(State::Down(not_yet, 0));
        let urls = address.urls.len();
        let keeper = Keeper { role, address, setup, state: sender, stop: stop.clone() };
        tokio::spawn(keeper.run());
        Self { state, urls, stop }
    }

    /// The connection, if it is up now.
    pub fn now(&self) -> Result<Arc<Connection>> {
        if self.stop.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        match &*self.state.borrow() {
            State::Up(connection) => Ok(Arc::clone(connection)),
            State::Building => Err(BrokerError::Unavailable("its queues are being looked after".to_owned())),
            State::Down(why, _) => Err(why.clone()),
        }
    }

    /// The connection if it comes up at the first attempt: waits until every URL was tried once, at most so long while
    /// none of them is connected.
    pub async fn first(&self, patience: Duration) -> Result<Arc<Connection>> {
        let mut state = self.state.clone();
        let decided = |state: &State| match state {
            State::Up(_) => true,
            State::Building => false,
            State::Down(_, attempts) => *attempts >= self.urls,
        };
        let connected = |state: &State| decided(state) || matches!(state, State::Building);
        tokio::select! {
            _ = tokio::time::timeout(patience, state.wait_for(connected)) => {}
            () = self.stop.cancelled() => return self.now(),
        }
        if matches!(*self.state.borrow(), State::Building) {
            _ = tokio::time::timeout(BUILDING, state.wait_for(decided)).await;
        }
        self.now()
    }

    /// Waits until it has ended, once it is told to.
    pub async fn ended(&self) {
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }

    /// Gives the connection up for another one.
    pub fn renew(&self) {
        if let Ok(connection) = self.now() {
            tokio::spawn(async move { tokio::time::timeout(CLOSE, connection.close(200, "".into())).await });
        }
    }

    /// The connection, waiting for it at most so long.
    pub async fn up(&self, patience: Duration) -> Result<Arc<Connection>> {
        let mut state = self.state.clone();
        // The reason for the end of the waiting is in the state.
        tokio::select! {
            _ = tokio::time::timeout(patience, state.wait_for(|state| matches!(state, State::Up(_)))) => {}
            () = self.stop.cancelled() => {}
        }
        self.now()
    }
}

struct Keeper {
    role: &'static str,
    address: Arc<Address>,
    setup: Setup,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

impl Keeper {
    async fn run(self) {
        let mut told = false;
        let mut pause = PAUSES.0;
        for turn in 0.. {
            let url = &self.address.urls[turn % self.address.urls.len()];
            let built = tokio::select! {
                () = self.stop.cancelled() => return,
                built = self.build(url) => built,
            };
            let why = match built {
                Ok(connection) => {
                    tracing::info!(role = self.role, "the broker is connected");
                    (told, pause) = (false, PAUSES.0);
                    self.state.send_replace(State::Up(Arc::clone(&connection)));
                    let why = self.watch(&connection).await;
                    // Users learn of it before it is closed, which may take a while.
                    let lost = BrokerError::Unavailable(format!("the connection was lost: {why}"));
                    self.state.send_replace(State::Down(lost, turn + 1));
                    tokio::spawn(async move { tokio::time::timeout(CLOSE, connection.close(200, "".into())).await });
                    if self.stop.is_cancelled() {
                        return;
                    }
                    why
                }
                Err(error) => {
                    let why = error.to_string();
                    self.state.send_replace(State::Down(error, turn + 1));
                    why
                }
            };
            if !told {
                tracing::error!(role = self.role, why, "the broker is not connected; it is tried again until it is");
                told = true;
            }
            let share = rand::rng().random_range(0.5..1.0);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause.mul_f64(share)) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn build(&self, url: &SecretString) -> Result<Arc<Connection>> {
        let connect = connect(url, &self.address, self.role);
        let silent = |_| BrokerError::Unavailable(format!("nothing answered within {} s", CONNECT.as_secs()));
        let connected = tokio::time::timeout(CONNECT, connect).await.map_err(silent)?;
        let connection = Arc::new(connected.map_err(BrokerError::Unavailable)?);
        self.state.send_replace(State::Building);
        if let Err(why) = (self.setup)(Arc::clone(&connection)).await {
            tokio::spawn(async move { tokio::time::timeout(CLOSE, connection.close(200, "".into())).await });
            return Err(why);
        }
        Ok(connection)
    }

    /// Waits for the connection's end; why it came.
    async fn watch(&self, connection: &Connection) -> String {
        let mut events = std::pin::pin!(connection.events_listener());
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return "this bridge closed it".to_owned(),
                event = events.next() => match event {
                    Some(Event::Error(error)) if !connection.status().connected() => return error.to_string(),
                    Some(_) => {}
                    None => tokio::time::sleep(GLANCE).await,
                },
                () = tokio::time::sleep(GLANCE) => {}
            }
            if !connection.status().connected() {
                return "it ended".to_owned();
            }
        }
    }
}

/// Connects once, for as long as that takes: `role` is what RabbitMQ's lists call the connection.
///
/// # Errors
/// Why not, in words without the password.
pub async fn connect(url: &SecretString, address: &Address, role: &str) -> std::result::Result<Connection, String> {
    // Without the parser's words: they may quote the password.
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| "the URL is not an AMQP one".to_owned())?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    let identity = address
        .identity
        .as_ref()
        .map(|(pem, key)| OwnedIdentity::PKCS8 { pem: pem.clone(), key: key.expose_secret().as_bytes().to_vec() });
    let tls = OwnedTLSConfig { identity, cert_chain: address.ca.clone() };
    let place = format!("{}:{}", uri.authority.host, uri.authority.port);
    let secured = matches!(uri.scheme, AMQPScheme::AMQPS);
    let properties = ConnectionProperties::default().with_connection_name(format!("dari {role}").as_str().into());
    let runtime = lapin::runtime::default_runtime().map_err(|e| e.to_string())?;
    let connected = Connection::connect_uri_with_config(uri, properties, tls, runtime).await;
    connected.map_err(|e| format!("{place}: {}", words::refused(&e.to_string(), secured, address)))
}

/// Connects once and leaves again: nothing is declared.
///
/// # Errors
/// What the last of its URLs came to, in words without the password.
pub async fn greet(address: &Address) -> std::result::Result<(), String> {
    let mut why = "it has no URL".to_owned();
    for url in &address.urls {
        match tokio::time::timeout(CONNECT, connect(url, address, "check")).await {
            Ok(Ok(connection)) => {
                // It was reached; how it takes the farewell says nothing.
                _ = tokio::time::timeout(CLOSE, connection.close(200, "".into())).await;
                return Ok(());
            }
            Ok(Err(refused)) => why = refused,
            Err(_) => why = format!("nothing answered within {} s", CONNECT.as_secs()),
        }
    }
    Err(why)
}
