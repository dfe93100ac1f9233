//! `amqps`: who is trusted, who is known, and the words for what is refused.

use std::fmt::Write;
use std::path::Path;

use dari::broker::rabbitmq::{Address, connect};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::load::{Load, Running};
use crate::node::{self, Node, free_port};

/// A root that signs certificates.
struct Root {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// PEM of a certificate for a name, and of its key.
    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(usage);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A node that speaks TLS on a port, and its root.
struct Secured {
    node: Node,
    port: u16,
    root: Root,
}

impl Secured {
    /// With these lines of `ssl_options`; its certificate is for 127.0.0.1.
    async fn start(options: &'static str) -> Option<Self> {
        let (root, port) = (Root::new("Dari's test root"), free_port());
        let (certificate, key) = root.sign("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        let ca = root.pem.clone();
        let node = node::own_with(move |folder| {
            let mut lines = format!("listeners.ssl.1 = 127.0.0.1:{port}\n{options}");
            for (what, pem) in [("cacertfile", ca), ("certfile", certificate), ("keyfile", key)] {
                let file = folder.join(format!("{what}.pem"));
                std::fs::write(&file, pem).unwrap();
                writeln!(lines, "ssl_options.{what} = {}", file.display()).unwrap();
            }
            lines
        });
        Some(Self { node: node.await?, port, root })
    }

    fn url(&self, host: &str) -> String {
        format!("amqps://guest:guest@{host}:{}/%2f", self.port)
    }

    /// Why it cannot be connected to.
    async fn refusal(&self, host: &str, ca: Option<&str>, identity: Option<(&str, &str)>) -> String {
        // For the process's TLS provider.
        dari::connectors::client::Client::new().unwrap();
        let url = self.url(host).into();
        let identity = identity.map(|(certificate, key)| (certificate.as_bytes().to_vec(), key.to_owned().into()));
        let address = Address { urls: Vec::new(), ca: ca.map(str::to_owned), identity };
        let why = connect(&url, &address, "test").await.expect_err("it is refused");
        why.replace(&self.port.to_string(), "PORT")
    }
}

/// The keys of a broker with these files in a folder.
fn broker(url: &str, folder: &Path, files: &[(&str, &str)]) -> String {
    let mut keys = format!("url: \"{url}\"");
    for (key, pem) in files {
        let file = folder.join(format!("{key}.pem"));
        std::fs::write(&file, pem).unwrap();
        write!(keys, ", {key}: {}", file.display()).unwrap();
    }
    keys
}

async fn carries(broker: &str) {
    let bridge = Running::on(broker).await;
    let load = Load::start(&bridge.hooks, 2);
    load.more(10).await;
    bridge.settle(load).await;
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_of_ones_own_is_trusted_where_it_is_named_and_only_there() {
    let Some(secured) = Secured::start("").await else { return };
    let folder = tempfile::tempdir().unwrap();
    carries(&broker(&secured.url("127.0.0.1"), folder.path(), &[("ca_file", &secured.root.pem)])).await;

    let other = Root::new("another root").pem;
    insta::assert_snapshot!(secured.refusal("127.0.0.1", Some(&other), None).await, @"127.0.0.1:PORT: its certificate is signed neither by `ca_file` nor by a root that this system trusts (IO error: invalid peer certificate: UnknownIssuer)");
    insta::assert_snapshot!(secured.refusal("127.0.0.1", None, None).await, @"127.0.0.1:PORT: its certificate is signed by no root that this system trusts: name its root as `ca_file` (IO error: invalid peer certificate: UnknownIssuer)");
    insta::assert_snapshot!(secured.refusal("localhost", Some(&secured.root.pem), None).await, @r#"localhost:PORT: IO error: invalid peer certificate: certificate not valid for name "localhost"; certificate is only valid for IpAddress(127.0.0.1)"#);
    insta::assert_snapshot!(secured.refusal("127.0.0.1", Some("no certificate"), None).await, @"127.0.0.1:PORT: `ca_file` holds no certificate (IO error: invalid peer certificate: UnknownIssuer)");
    let plain = secured.node.url().replace("amqp:", "amqps:");
    let address = Address { urls: Vec::new(), ca: Some(secured.root.pem.clone()), identity: None };
    let why = connect(&plain.as_str().into(), &address, "test").await.expect_err("it is refused");
    insta::assert_snapshot!(why.replace(&secured.node.port.to_string(), "PORT"), @"127.0.0.1:PORT: this port does not speak TLS: 5671 is the usual one for `amqps` (IO error: received corrupt message of type InvalidContentType)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_demands_a_certificate_gets_it() {
    let options = "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n";
    let Some(secured) = Secured::start(options).await else { return };
    let root = secured.root.pem.as_str();
    let (certificate, key) = secured.root.sign("dari", ExtendedKeyUsagePurpose::ClientAuth);
    let folder = tempfile::tempdir().unwrap();
    let files = [("ca_file", root), ("client_cert", &certificate), ("client_key", &key)];
    carries(&broker(&secured.url("127.0.0.1"), folder.path(), &files)).await;

    // How it says no is the system's: an alert, or a reset that overtakes it.
    let why = secured.refusal("127.0.0.1", Some(root), None).await;
    assert!(why.contains("it ended the handshake, as one does that demands a `client_cert`"), "{why}");
    let (stranger, its_key) = Root::new("another root").sign("dari", ExtendedKeyUsagePurpose::ClientAuth);
    insta::assert_snapshot!(secured.refusal("127.0.0.1", Some(root), Some((&stranger, &its_key))).await, @"127.0.0.1:PORT: it does not take `client_cert` (IO error: received fatal alert: UnknownCA)");
    insta::assert_snapshot!(secured.refusal("127.0.0.1", Some(root), Some((&certificate, &its_key))).await, @"127.0.0.1:PORT: `client_key` is not the key of `client_cert` (IO error: keys may not be consistent: KeyMismatch)");
    insta::assert_snapshot!(secured.refusal("127.0.0.1", Some(root), Some((&certificate, "no key"))).await, @"127.0.0.1:PORT: `client_key` holds no private key (IO error: no items found)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_from_a_file_may_have_any_characters() {
    let Some(node) = node::own().await else { return };
    let password = "p@ss/w:rd%?#[ü]+&= x";
    let asked = std::sync::Arc::clone(&node);
    let made = tokio::task::spawn_blocking(move || {
        asked.ctl(&["add_user", "bridge", password]);
        asked.ctl(&["add_vhost", "acme/a"]);
        asked.ctl(&["set_permissions", "-p", "acme/a", "bridge", ".*", ".*", ".*"]);
    });
    made.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("rabbit");
    std::fs::write(&secret, format!("{password}\n")).unwrap();
    let place = node.url().replace("amqp://guest:guest@", "").replace("%2f", "acme%2fa");
    carries(&format!("url: \"amqp://bridge:${{file:{}}}@{place}\"", secret.display())).await;

    std::fs::write(&secret, "wrong-password").unwrap();
    let url = node.url().replace("guest:guest", "bridge:wrong-password");
    let address = node::address(&url);
    let why = connect(&address.urls[0], &address, "test").await.expect_err("it is refused");
    assert!(!why.contains("wrong-password"), "{why}");
    insta::assert_snapshot!(why.replace(&node.port.to_string(), "PORT"), @"127.0.0.1:PORT: the user or the password is refused (protocol error: AMQP soft error: ACCESS-REFUSED: ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.)");
}
