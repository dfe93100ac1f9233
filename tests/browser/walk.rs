//! What people do at the dashboard, at a desk and on a phone.

use serde_json::json;

use crate::driver::{Browser, Size};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_and_its_journey_read() {
    let world = World::start(None).await;
    world.live().await;
    for size in Size::ALL {
        let browser = Browser::open(&world.admin, size, "en").await;
        browser.go("/").await;
        browser.says("2 things need a person.").await;
        browser.picture(&format!("{}-overview", size.name())).await;
        browser.find("nav a[href='/journal']").await.click().await;
        browser.find("#what").await.write("응답-5").await;
        browser.find(".search > button").await.click().await;
        browser.says("res-5").await;
        browser.picture(&format!("{}-events", size.name())).await;
        browser.find("#found a[href^='/event']").await.click().await;
        browser.says("HTTP 422: 등급이 비어 있습니다").await;
        browser.says("it takes from orders, not from signup").await;
        let text = browser.text().await;
        assert!(text.contains("•••") && !text.contains("010-0000"), "{text}");
        browser.find("#routes details summary").await.click().await;
        browser.says("POST http://127.0.0.1").await;
        browser.picture(&format!("{}-journey", size.name())).await;
        // What its body says finds it too; what a filter left has its reason.
        browser.go("/journal?text=%EC%9D%B4%EB%91%98").await;
        browser.find("#found a[href='/event?source=signup&id=res%2D2']").await.click().await;
        browser.says("The route leaves it:").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_replayed() {
    let world = World::start(None).await;
    world.live().await;
    for (size, name) in Size::ALL.into_iter().zip(["res-5", "res-6"]) {
        let browser = Browser::open(&world.admin, size, "en").await;
        browser.go("/").await;
        browser.find("#needs a[href='/dead?route=signup%2Dto%2Dcrm&class=payload']").await.click().await;
        browser.says("등급이 비어 있습니다").await;
        browser.picture(&format!("{}-dead", size.name())).await;
        browser.find("input[name=id]").await.click().await;
        browser.find("button[value=preview]").await.click().await;
        browser.says("With the config of now 1 of 1 would be sent.").await;
        browser.picture(&format!("{}-preview", size.name())).await;
        browser.find("button[value=replay]").await.click().await;
        browser.says("is sent again").await;
        world.until("/api/routes", |routes| routes[0]["queued"] == 0).await;
        browser.go(&format!("/event?source=signup&id={name}")).await;
        browser.find("#route-signup-to-crm ~ p .badge.good").await;
        browser.says("replayed dead letter").await;
    }
    assert_eq!(world.ask("/api/dead?class=payload").await, json!([]));
    let browser = Browser::open(&world.admin, Size::Desktop, "en").await;
    browser.go("/dead").await;
    browser.find("input[name=id]").await.click().await;
    browser.find("button[value=drop]").await.click().await;
    browser.says("Drop 1 for good?").await;
    browser.find("button[value=drop-for-good]").await.click().await;
    browser.says("There are none.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_suspended_and_resumed_and_the_open_page_follows() {
    let world = World::start(None).await;
    for size in Size::ALL {
        let browser = Browser::open(&world.admin, size, "en").await;
        browser.go("/").await;
        browser.says("All is well.").await;
        let watching = Browser::open(&world.admin, size, "en").await;
        watching.go("/").await;
        watching.find("#live.on").await;
        browser.go("/sinks").await;
        browser.find("#suspend-sink-ops summary").await.click().await;
        browser.find("#why-sink-ops").await.write("maintenance").await;
        browser.find("#suspend-sink-ops button").await.click().await;
        browser.says("sink ops is suspended").await;
        browser.picture(&format!("{}-sinks", size.name())).await;
        // Without anybody touching it.
        watching.says("The sink ops is suspended.").await;
        watching.picture(&format!("{}-suspended", size.name())).await;
        watching.find("#needs button").await.click().await;
        watching.says("sink ops goes on").await;
        watching.says("All is well.").await;
        browser.says("works").await;
    }
    // Steps are durable within a fraction of a second.
    let (resumed, suspended) = ("resumed sink ops", "suspended sink ops (maintenance)");
    let by = |deed: &str| format!("{deed}, by the dashboard on this machine");
    let all = [resumed, suspended, resumed, suspended].map(by);
    world.until("/api/actions", |told| told.as_array().unwrap().iter().map(|entry| &entry["what"]).eq(&all)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_logs_in_and_is_known_by_name() {
    let world = World::start(Some("sesame")).await;
    let browser = Browser::open(&world.admin, Size::Phone, "ko").await;
    browser.go("/config").await;
    browser.says("관리자 토큰").await;
    browser.picture("phone-login").await;
    browser.find("#name").await.write("김하나").await;
    browser.find("#token").await.write("wrong").await;
    browser.find(".login button").await.click().await;
    browser.says("관리자 토큰이 아닙니다.").await;
    browser.find("#name").await.write("김하나").await;
    browser.find("#token").await.write("sesame").await;
    browser.find(".login button").await.click().await;
    browser.says("TASKS_TOKEN").await;
    browser.says("김하나").await;
    let text = browser.text().await;
    assert!(!text.contains("sesame") && !text.contains("hunter2"), "{text}");
    browser.picture("phone-config-ko").await;
    browser.go("/").await;
    browser.says("모두 정상입니다.").await;
    assert_eq!(browser.run("return document.cookie").await, "", "no script can read the cookie");
}
