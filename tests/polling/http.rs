//! `http-poll` against an API of orders, with every kind of paging.

use dari::connectors::sandbox::Fault;
use dari::connectors::{NoMemory, PollError, Poller};
use http::Method;
use serde_json::{Value, json};

use crate::vendor::{Vendor as World, told};

const USUAL: &str = "id: '{{ item.no }}', type: order, allow_private: true, auth: { bearer: sandbox-key }";

async fn world() -> World {
    World::of(&dari::connectors::http::MANIFEST).await
}

fn source(path: &str, keys: &str) -> String {
    format!("{{ http-poll: {{ url: 'URL/api/{path}', {USUAL}, {keys} }} }}")
}

fn poller(world: &World, path: &str, keys: &str) -> Box<dyn Poller> {
    world.poller("{}", &source(path, keys))
}

async fn order(world: &World, no: &str, order: Value) {
    world.served.play(Method::PUT, &format!("/_sandbox/orders/{no}"), &order).await;
}

/// The queries that were asked for since the last time.
fn queries(world: &World, since: usize) -> Vec<String> {
    world.asked(since).iter().map(|path| path.split_once('?').map_or("", |(_, query)| query).to_owned()).collect()
}

#[tokio::test]
async fn every_kind_of_paging_reads_every_record_once() {
    for (path, keys, pages) in [
        ("orders", "items: '{{ body.orders }}'", vec![""]),
        (
            "by-page",
            "paging: { page: { size: 2, size_param: size } }",
            vec!["page=1&size=2", "page=2&size=2", "page=3&size=2"],
        ),
        ("by-page", "paging: page", vec!["page=1", "page=2", "page=3", "page=4"]),
        (
            "by-offset",
            "items: '{{ body.orders }}', paging: { offset: { size: 3 } }",
            vec!["offset=0&limit=3", "offset=3&limit=3"],
        ),
        (
            "by-token",
            "items: '{{ body.orders }}', paging: { token: { value: '{{ body.next_token }}', param: token } }",
            vec!["", "token=from-2", "token=from-4"],
        ),
        ("by-link", "paging: link", vec!["", "page=1", "page=2"]),
        ("by-next", "items: '{{ body.orders }}', paging: { next: '{{ body.next }}' }", vec!["", "page=1", "page=2"]),
    ] {
        let world = world().await;
        for n in 1..=5 {
            order(&world, &format!("A-{n}"), json!({"total": n})).await;
        }
        let poller = poller(&world, path, &format!("start: all, {keys}"));
        let told: Vec<String> = told(&world.all(&*poller).await);
        assert_eq!(told, (1..=5).map(|n| format!("order.created A-{n}")).collect::<Vec<_>>(), "{path} {keys}");
        assert_eq!(queries(&world, 0), pages, "{path} {keys}");
        assert!(world.all(&*poller).await.is_empty(), "{path} {keys}");
    }
}

#[tokio::test]
async fn what_is_new_different_or_changed_back_is_told() {
    let world = world().await;
    order(&world, "1", json!({"total": 1, "updated_at": null})).await;
    let poller = poller(&world, "orders", "items: '{{ body.orders }}'");
    assert!(world.all(&*poller).await.is_empty(), "the first pass only learns");
    let mut ids = Vec::new();
    for total in [2, 1, 2] {
        order(&world, "1", json!({"total": total, "updated_at": null})).await;
        let events = world.all(&*poller).await;
        assert_eq!(told(&events), ["order.updated 1"]);
        assert_eq!(events[0].data.value()["total"], total);
        ids.push(events[0].id.clone());
    }
    ids.dedup();
    assert!(ids.len() == 3 && ids[0] != ids[2], "{ids:?}");
    order(&world, "2", json!({})).await;
    let before = world.look(&*poller).await;
    assert_eq!(before.events[0].id, world.look(&*poller).await.events[0].id, "a crash repeats an event under its id");
    assert_eq!(told(&world.all(&*poller).await), ["order.created 2"]);
    world.remove("orders", "2").await;
    assert!(world.all(&*poller).await.is_empty(), "nobody has asked for deletions");
}

#[tokio::test]
async fn what_a_whole_list_no_longer_shows_was_deleted() {
    let world = world().await;
    for n in 1..=3 {
        order(&world, &n.to_string(), json!({"total": n})).await;
    }
    let poller = poller(
        &world,
        "by-page",
        "start: all, deletions: true, paging: { page: { size: 2 } }, version: '{{ item.updated_at }}'",
    );
    let page = world.turn(&*poller).await;
    assert_eq!((page.events.len(), page.known, page.more), (3, Some(0), false));
    world.remove("orders", "2").await;
    let page = world.turn(&*poller).await;
    assert_eq!((told(&page.events), page.known), (vec!["order.deleted 2".to_owned()], Some(3)));
    assert_eq!(page.events[0].data.value()["total"], 2, "as it was seen last");
    let first = page.events[0].id.clone();
    assert!(world.turn(&*poller).await.events.is_empty());
    // There again, and gone again.
    order(&world, "2", json!({"total": 2})).await;
    assert_eq!(told(&world.turn(&*poller).await.events), ["order.created 2"]);
    world.remove("orders", "2").await;
    let again = world.turn(&*poller).await.events.remove(0);
    assert!(again.kind == "order.deleted" && again.id != first, "{again:?}");
}

#[tokio::test]
async fn a_cursor_asks_only_for_what_changed() {
    let world = world().await;
    order(&world, "1", json!({})).await;
    let keys = "start: all, items: '{{ body.orders }}', version: '{{ item.updated_at }}', \
                cursor: { value: '{{ item.updated_at }}', param: updated_since, overlap: 1m }";
    let poller = poller(&world, "orders", keys);
    let events = world.all(&*poller).await;
    assert_eq!(events[0].version.unwrap().to_string(), "2026-11-21T00:00:00Z");
    world.advance(10);
    order(&world, "2", json!({})).await;
    assert_eq!(told(&world.all(&*poller).await), ["order.created 2"]);
    assert!(world.all(&*poller).await.is_empty());
    assert!(world.all(&*poller).await.is_empty());
    assert_eq!(
        queries(&world, 0),
        [
            "",
            "updated_since=2026-11-20T23%3A59%3A00Z",
            "updated_since=2026-11-21T00%3A09%3A00Z",
            "updated_since=2026-11-21T00%3A09%3A00Z"
        ]
    );
    // Its past, from a date on.
    let cursor = poller.past(Some("2026-11-21T00:05:00Z".parse().unwrap())).unwrap();
    let page = poller.poll(Some(&cursor), &NoMemory).await.unwrap();
    assert_eq!(told(&page.events), ["order.created 2"]);
    let page = poller.poll(poller.past(None).as_ref(), &NoMemory).await.unwrap();
    assert_eq!(page.events.len(), 2);
}

#[tokio::test]
async fn a_date_leaves_out_what_is_older() {
    let world = world().await;
    order(&world, "old", json!({"updated_at": "2026-01-01 08:59:59"})).await;
    order(&world, "new", json!({"updated_at": "2026-01-01 09:00:00"})).await;
    let keys = "start: 2026-01-01T09:00:00Z, items: '{{ body.orders }}', version: '{{ item.updated_at }}'";
    let poller = poller(&world, "orders", keys);
    // Without a zone it is the config's: UTC.
    assert_eq!(told(&world.all(&*poller).await), ["order.created new"]);
    order(&world, "old", json!({"updated_at": "2026-01-02 00:00:00"})).await;
    assert_eq!(told(&world.all(&*poller).await), ["order.updated old"]);
}

#[tokio::test]
async fn trouble_is_told_by_what_can_be_done_about_it() {
    let world = world().await;
    order(&world, "1", json!({"total": 1})).await;
    let good = poller(&world, "orders", "items: '{{ body.orders }}'");
    world.served.faults.next(Fault::TooManyRequests { after: 7 }, 1);
    let why = world.try_look(&*good).await.unwrap_err();
    assert!(matches!(&why, PollError::Retry { after: Some(after), .. } if after.as_secs() == 7), "{why:?}");
    world.served.faults.next(Fault::Garbage, 1);
    let why = world.try_look(&*good).await.unwrap_err();
    assert!(matches!(&why, PollError::Retry { .. }) && why.to_string().contains("no JSON"), "{why:?}");
    let mut said = Vec::new();
    for (path, keys) in [
        ("orders", ""),
        ("orders", "items: '{{ body.order }}'"),
        ("orders", "items: '{{ body.orders }}', version: '{{ item.total }}.x'"),
        ("orders", "items: '{{ body.orders }}', accept: body.ok == true"),
        ("nothing", "items: '{{ body.orders }}'"),
        ("by-page", "paging: { page: { first: 0 } }"),
        ("by-offset", "items: '{{ body.orders }}', paging: { next: '/api/by-offset' }"),
        ("by-offset", "items: '{{ body.orders }}', paging: { next: 'https://evil.example.com/' }"),
        ("orders", "items: '{{ body.orders }}', query: { status: open }"),
    ] {
        let poller = poller(&world, path, keys);
        let why = match world.try_look(&*poller).await {
            Ok(page) => poller.poll(Some(&page.cursor), &NoMemory).await.unwrap_err(),
            Err(why) => why,
        };
        let kind = match why {
            PollError::Retry { .. } => "again",
            PollError::Suspend { .. } => "suspend",
            PollError::Stop { .. } => "stop",
        };
        said.push(format!("{kind}: {}", why.to_string().replace(&world.served.url, "URL")));
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    stop: `items`: expected a list: say with `items` where in the body it is; the answer: HTTP 200: {"orders":[{"no":"1","updated_at":"2026-11-21T00:00:00Z","total":1}]}
    stop: `items`: body.order is missing in `body.order`; the answer: HTTP 200: {"orders":[{"no":"1","updated_at":"2026-11-21T00:00:00Z","total":1}]}
    stop: record 1: `version`: expected a whole number or a time, found "1.x"
    again: not accepted: body.ok is missing: HTTP 200: {"orders":[{"no":"1","updated_at":"2026-11-21T00:00:00Z","total":1}]}
    stop: HTTP 400: {"error":"no webhook-id"}
    stop: HTTP 400: {"error":"page is from 1, size from 1 to 100"}
    stop: the next page is the one that was just read: `paging` does not fit this API
    stop: the next page is at https://evil.example.com, and not at URL: it is not asked for, since credentials would go there
    stop: HTTP 400: {"error":"unknown parameter status"}
    "#);
    let refused = world.try_poller("{}", &source("orders", "").replace("sandbox-key", "hunter2")).unwrap();
    let why = world.try_look(&*refused).await.unwrap_err();
    assert!(matches!(&why, PollError::Suspend { .. }) && !why.to_string().contains("hunter2"), "{why:?}");
}

#[tokio::test]
async fn a_wrong_config_is_told_with_its_place_and_what_to_do() {
    let world = world().await;
    let mut all = Vec::new();
    for keys in [
        "start: yesterday",
        "start: 2026-01-01",
        "deletions: true, cursor: { value: '{{ item.at }}', param: since }",
        "paging: { page: {}, link: {} }",
        "paging: { token: { value: '{{ item.next }}', param: t } }",
        "cursor: { value: '{{ item.at }}{{ body.at }}', param: since }",
        "items: '{{ data.orders }}'",
        "paging: { offset: {} }",
    ] {
        let told = world.try_poller("{}", &source("orders", keys)).err().unwrap_or_else(|| panic!("{keys}"));
        all.push(told.trim_end().to_owned());
    }
    insta::assert_snapshot!(all.join("\n"), @"
    dari.yaml:3:161: `start`: expected now, all, a date (2026-01-01) or an instant (2026-01-01T09:00:00+09:00)
    dari.yaml:3:161: a date needs a `version` or a `cursor` that is a time: nothing else tells what is older
    dari.yaml:3:165: with a `cursor` the API lists only what changed: what is missing was not deleted. Leave one of them out
    dari.yaml:3:162: `paging`: expected a mapping with exactly one key, `link`, `next`, `page`, `offset` or `token`, found a mapping
    dari.yaml:3:180: there is no `item` here; there are status, headers, body
    dari.yaml:3:171: it is either over `item`, or over `body`, `headers` and `status`
    dari.yaml:3:161: there is no `data` here; there are status, headers, body
    dari.yaml:3:172: `size` is missing in `offset`; expected a whole number from 1 to 100000
    ");
    let type_of = source("orders", "every: 1m").replace("type: order", "type: an order");
    let told = world.try_poller("{}", &type_of).err().unwrap();
    assert!(told.trim_end().ends_with("`type`: expected letters, digits, `.`, `_` and `-`, as `order`"), "{told}");
}
