//! Three nodes, and the one dies that leads (promises P1, P2).

use crate::load::{Load, Running, config};
use crate::node::{self, Node};
use crate::receiver::Receiver;

/// The node that leads a queue, and how many have a copy of it.
fn leader(nodes: &[Node], queue: &str) -> (usize, usize) {
    let list = nodes[0].ctl(&["-q", "list_queues", "name", "leader", "members"]);
    let line = list.lines().find(|line| line.split('\t').next() == Some(queue)).unwrap_or_else(|| panic!("{list}"));
    let led = nodes.iter().position(|node| line.split('\t').nth(1) == Some(node.name.as_str()));
    (led.unwrap_or_else(|| panic!("{line}")), nodes.iter().filter(|node| line.matches(&node.name).count() > 0).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_the_leader_of_a_queue_may_die() {
    if std::env::var("DARI_TEST_AMQP_URL").is_ok() {
        return;
    }
    let nodes = tokio::task::spawn_blocking(|| Node::cluster(3)).await.unwrap();
    let urls: Vec<_> = nodes.iter().map(|node| format!("{:?}", node.url())).collect();
    let (prefix, receiver) = (node::prefix(), Receiver::ok().await);
    let text = config("127.0.0.1:0", &format!("urls: [{}]", urls.join(", ")), &prefix, &receiver.url);
    let bridge = Running::with(&text, receiver).await;
    let load = Load::start(&bridge.hooks, 4);
    load.more(100).await;
    let queue = format!("{prefix}.route.news.v1");
    let (nodes, led) = tokio::task::spawn_blocking(move || {
        let (led, members) = leader(&nodes, &queue);
        assert_eq!(members, 3, "every node has a copy");
        nodes[led].kill();
        (nodes, led)
    })
    .await
    .unwrap();
    load.more(200).await;
    // The other two take over.
    let goal = bridge.receiver.count() + 50;
    bridge.receives(goal).await;
    let nodes = tokio::task::spawn_blocking(move || {
        nodes[led].run();
        nodes
    })
    .await
    .unwrap();
    load.more(100).await;
    bridge.settle(load).await;
    bridge.end().await;
    drop(nodes);
}
