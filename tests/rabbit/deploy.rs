//! The deployment files on a real RabbitMQ: its settings, the user that its start script makes, the bridge's config.

use std::path::Path;
use std::process::Command;

use dari::app::{Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::Client;
use lapin::{Connection, ConnectionProperties};
use tokio_util::sync::CancellationToken;

use crate::node;

/// What `deploy/rabbitmq-start` writes for a password, or what it says.
fn user_for(folder: &Path, password: &str) -> Result<String, String> {
    let (secret, config, stub) = (folder.join("secret"), folder.join("user.conf"), folder.join("docker-entrypoint.sh"));
    std::fs::write(&secret, password).unwrap();
    // In place of the image's own.
    std::fs::write(&stub, "#!/bin/sh\nexit 0\n").unwrap();
    Command::new("chmod").arg("+x").arg(&stub).status().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = Command::new("/bin/sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/rabbitmq-start"))
        .env("PATH", path)
        .env("DARI_RABBIT_SECRET", &secret)
        .env("DARI_RABBIT_CONFIG", &config)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(std::fs::read_to_string(&config).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn a_password_that_the_file_of_rabbitmq_would_misread_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let why = user_for(folder.path(), "a#b").unwrap_err();
    assert!(why.contains("letters, digits"), "{why}");
    assert!(!why.contains("a#b"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_works_together() {
    let scripted = tempfile::tempdir().unwrap();
    let user = user_for(scripted.path(), "0a1b2c").unwrap();
    assert_eq!(user, "default_user = dari\ndefault_pass = 0a1b2c\n");
    let lines = format!("{}\n{user}", file("deploy/rabbitmq.conf"));
    let Some(node) = node::own_with(move |_| lines).await else { return };
    let properties = ConnectionProperties::default();
    Connection::connect(&node.url(), properties).await.expect_err("there is no guest");

    // As the container sees them, in a folder.
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().join("run/secrets");
    std::fs::create_dir_all(&secrets).unwrap();
    for (name, secret) in [("admin_token", "token"), ("github_secret", "hook"), ("rabbit_password", "0a1b2c\n")] {
        std::fs::write(secrets.join(name), secret).unwrap();
    }
    let here = dir.path().display().to_string();
    let text = file("deploy/dari.yaml")
        .replace("/run/secrets", &format!("{here}/run/secrets"))
        .replace("/var/", &format!("{here}/var/"))
        .replace("rabbit:5672", &format!("127.0.0.1:{}", node.port))
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("0.0.0.0:8081", "127.0.0.1:0");
    let config = dir.path().join("dari.yaml");
    std::fs::write(&config, text).unwrap();
    let receiver = "https://receiver.example.com/events";
    let checked =
        Command::new(env!("CARGO_BIN_EXE_dari")).arg("check").arg(&config).env("RECEIVER_URL", receiver).output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let (client, clock) = (Client::new().unwrap(), Clock::system(1));
    let env = |name: &str| (name == "RECEIVER_URL").then(|| receiver.to_owned());
    let loaded = dari::config::load(&config, &env, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    let bridge = Bridge::build(loaded.into(), clock, &Options::default()).await.unwrap();
    let (hooks, admin) = (bridge.hooks_address(), bridge.admin_address().unwrap());
    let stop = CancellationToken::new();
    let task = tokio::spawn(bridge.run(stop.clone()));
    let ready = reqwest::get(format!("http://{hooks}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 200, "{}", ready.text().await.unwrap());
    let http = reqwest::Client::new();
    let routes = http.get(format!("http://{admin}/api/routes"));
    assert_eq!(routes.try_clone().unwrap().send().await.unwrap().status(), 401, "it asks for the token");
    assert_eq!(routes.bearer_auth("token").send().await.unwrap().status(), 200);
    assert!(dir.path().join("var/spool/dari/spool.db").exists(), "the spool is on its volume");
    stop.cancel();
    task.await.unwrap().unwrap();
}
