//! Another config on RabbitMQ while the bridge runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use dari::app::{Bridge, Options};
use dari::clock::Clock;
use dari::config::Config;
use dari::connectors::client::Client;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::keeping::ready;
use crate::load::until;
use crate::node;
use crate::receiver::{Answer, Receiver};

fn load(file: &Path) -> Result<Config, String> {
    let config = dari::config::load(file, &|_| None, &Client::new().unwrap(), &Clock::system(7));
    config.map_err(|faults| faults.to_string())
}

/// A config with these routes, each to a sink of its own.
fn config(url: &str, prefix: &str, routes: &[(&str, &Receiver)]) -> String {
    let sink = |(name, to): &(&str, &Receiver)| {
        format!("  to-{name}: {{ http: {{ url: \"{}\", allow_private: true }} }}\n", to.url)
    };
    let map = r#"map: { s: "{{ subject }}", n: "{{ data.n }}" }"#;
    let route = |(name, _): &(&str, &Receiver)| {
        format!("  {name}: {{ from: in, to: to-{name}, do: create, on_doubt: retry, {map} }}\n")
    };
    let (sinks, routes): (String, String) = (routes.iter().map(sink).collect(), routes.iter().map(route).collect());
    format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
broker: {{ url: "{url}", prefix: {prefix} }}
sources:
  in: {{ webhook: {{ verify: none, event: {{ id: "{{{{ body.id }}}}", type: "thing.changed", subject: "{{{{ body.s }}}}" }} }} }}
sinks:
{sinks}routes:
{routes}"#
    )
}

fn times(receivers: &[&Receiver]) -> BTreeMap<i64, usize> {
    let mut times = BTreeMap::new();
    for n in receivers.iter().flat_map(|receiver| receiver.numbers()) {
        *times.entry(n).or_default() += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_a_new_route_has_its_queue_when_it_is_told_and_every_event_goes_by_one_config() {
    let server = node::server().await;
    // What is refused leaves no link, so that the route may go.
    let former = Receiver::start(|_, _| Answer::Status(400, "no")).await;
    let (same, next) = (Receiver::ok().await, Receiver::start(|_, _| Answer::Hold).await);
    let (dir, prefix) = (tempfile::tempdir().unwrap(), node::prefix());
    let write = |routes: &[(&str, &Receiver)]| {
        std::fs::write(dir.path().join("dari.yaml"), config(&server.url, &prefix, routes)).unwrap();
    };
    write(&[("same", &same), ("former", &former)]);
    let config = Arc::new(load(&dir.path().join("dari.yaml")).unwrap());
    let options = Options { load: Some(load), ..Options::default() };
    let bridge = Bridge::build(config, Clock::system(7), &options).await.unwrap();
    let (desk, url) = (bridge.desk(), format!("http://{}/hooks/in", bridge.hooks_address()));
    let stop = CancellationToken::new();
    let task = tokio::spawn(bridge.run(stop.clone()));
    let http = reqwest::Client::new();
    let send = async |http: &reqwest::Client, url: &str, n: i64| {
        let body = json!({"id": format!("e{n}"), "s": format!("s{n}"), "n": n});
        assert_eq!(http.post(url).json(&body).send().await.unwrap().status(), 202);
    };
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(1)));
    let mut senders = JoinSet::new();
    for _ in 0..4 {
        let (http, url, over, sent) = (http.clone(), url.clone(), Arc::clone(&over), Arc::clone(&sent));
        senders.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                send(&http, &url, sent.fetch_add(1, Ordering::Relaxed)).await;
            }
        });
    }
    former.reach(40).await;

    write(&[("same", &same), ("next", &next)]);
    let reloaded = desk.now().reload().await.unwrap();
    assert_eq!((reloaded.started[1].as_str(), reloaded.stopped[1].as_str()), ("route next", "route former"));
    // It is there, and bound: what is sent from now on comes into it.
    ready(&server.url, &format!("{prefix}.route.next.v1")).await;
    let after = sent.load(Ordering::Relaxed);
    until("what was sent since", || sent.load(Ordering::Relaxed) > after + 40).await;
    over.store(true, Ordering::Relaxed);
    senders.join_all().await;
    let all = usize::try_from(sent.load(Ordering::Relaxed) - 1).unwrap();
    next.release();
    until("all of them", || same.count() >= all && former.count() + next.count() >= all).await;
    let last = i64::try_from(all).unwrap();
    assert!(next.numbers().contains(&last), "the last one went by the new config");

    // A route that comes back has its queue of before.
    write(&[("same", &same), ("former", &former), ("next", &next)]);
    desk.now().reload().await.unwrap();
    send(&http, &url, 1_000_000).await;
    until("the last", || former.numbers().contains(&1_000_000) && next.numbers().contains(&1_000_000)).await;
    stop.cancel();
    drop(desk);
    task.await.unwrap().unwrap();
    let once: BTreeMap<i64, usize> = (1..=last).map(|n| (n, 1)).collect();
    let until_then = |receivers: &[&Receiver]| {
        let mut times = times(receivers);
        times.retain(|n, _| *n <= last);
        times
    };
    assert_eq!(until_then(&[&same]), once);
    assert_eq!(until_then(&[&former, &next]), once);
}
