//! What `dari check --connect` asks of a broker.

use dari::broker::rabbitmq::greet;

use crate::node;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_can_be_reached_is_told_from_one_that_refuses() {
    let server = node::server().await;
    assert_eq!(greet(&node::address(&server.url)).await, Ok(()));
    let mut wrong = url::Url::parse(&server.url).unwrap();
    wrong.set_password(Some("hunter2")).unwrap();
    let why = greet(&node::address(wrong.as_str())).await.unwrap_err();
    assert!(!why.contains("hunter2") && why.to_lowercase().contains("refused"), "{why}");
    // Of several nodes one is enough.
    let mut both = node::address(wrong.as_str());
    both.urls.extend(node::address(&server.url).urls);
    assert_eq!(greet(&both).await, Ok(()));
}
