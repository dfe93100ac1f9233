//! The Walla poller against its sandbox, over real HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use dari::connectors::{NoMemory, PollError, Poller};
use dari::event::NewEvent;
use serde_json::{Value, json};

use crate::world::{Api, BOTH, Between, World};

/// A poller with the cursor that the loop would have committed.
pub struct Driver {
    poller: Box<dyn Poller>,
    pub cursor: Option<Value>,
    pub notes: Vec<String>,
}

impl Driver {
    pub fn new(world: &World, api: Api, settings: &[(&str, &str)]) -> Self {
        Self { poller: world.poller(api, settings), cursor: None, notes: Vec::new() }
    }

    /// Polls until there is no more; what came.
    pub async fn pass(&mut self) -> Result<Vec<NewEvent>, PollError> {
        let mut events = Vec::new();
        loop {
            let page = self.poller.poll(self.cursor.as_ref(), &NoMemory).await?;
            self.cursor = Some(page.cursor);
            self.notes.extend(page.note);
            events.extend(page.events);
            if !page.more {
                return Ok(events);
            }
        }
    }

    /// Types and subjects of what came, in order.
    pub async fn brief(&mut self) -> Vec<String> {
        self.pass().await.unwrap().iter().map(brief).collect()
    }
}

fn brief(event: &NewEvent) -> String {
    format!("{} {}", event.kind, event.subject.as_deref().unwrap_or("-"))
}

fn data(event: &NewEvent) -> Value {
    event.data.value()
}

fn named(name: &str) -> Value {
    json!({"answers": {"이름": name}})
}

#[tokio::test]
async fn a_response_is_created_and_changed_and_says_so_once() {
    for api in BOTH {
        let world = World::new().await;
        let mut driver = Driver::new(&world, api, &[("start", "all")]);
        assert_eq!(driver.brief().await, Vec::<String>::new());
        world
            .submit(json!({"id": "r1", "customer_key": "c1", "answers": {
            "이름": "김하나", "개인정보 동의": "예", "관심 분야": "개발", "문의": "", "유입경로": "blog"}}))
            .await;
        world.advance(60);
        let events = driver.pass().await.unwrap();
        assert_eq!(events.iter().map(brief).collect::<Vec<_>>(), ["response.created r1"]);
        let data_of = data(&events[0]);
        assert_eq!(
            data_of["answers"],
            json!({"이름": "김하나", "개인정보 동의": "예", "관심 분야": ["개발"], "유입경로": "blog"}),
            "{api:?}"
        );
        assert_eq!(data_of["fields"]["field_agree"], "예");
        assert_eq!(data_of["raw"]["field_agree"], json!(["예"]));
        assert_eq!(data_of["submitted_at"], "2026-11-21T00:00:00Z");
        assert_eq!(data_of["customer_key"], "c1");
        assert_eq!(events[0].time, Some("2026-11-21T00:00:00Z".parse().unwrap()));

        world.advance(60);
        assert_eq!(driver.brief().await, Vec::<String>::new(), "nothing changed");
        world.submit(json!({"id": "r1", "answers": {"이름": "김둘"}})).await;
        let events = driver.pass().await.unwrap();
        assert_eq!(events.iter().map(brief).collect::<Vec<_>>(), ["response.updated r1"]);
        assert_eq!(data(&events[0])["answers"]["이름"], "김둘");
        assert_eq!(driver.brief().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_change_that_is_taken_back_has_an_id_of_its_own() {
    let world = World::new().await;
    let mut driver = Driver::new(&world, Api::Response, &[("start", "all")]);
    let mut ids = BTreeSet::new();
    for name in ["a", "b", "a", "b"] {
        world.submit(json!({"id": "r1", "answers": {"이름": name}})).await;
        world.advance(60);
        let events = driver.pass().await.unwrap();
        assert_eq!(events.len(), 1);
        ids.insert(events[0].id.clone().unwrap());
    }
    assert_eq!(ids.len(), 4, "an id that came before would collapse under P2: {ids:?}");
}

#[tokio::test]
async fn what_arrives_late_within_the_overlap_is_found_and_older_is_not() {
    for api in BOTH {
        let world = World::new().await;
        let mut driver = Driver::new(&world, api, &[("start", "all"), ("overlap", "1h")]);
        world.advance(7_200);
        assert_eq!(driver.brief().await, Vec::<String>::new());
        world.submit(json!({"id": "late", "submitted_at": world.at(-3_500), "answers": {"이름": "a"}})).await;
        world.submit(json!({"id": "too-late", "submitted_at": world.at(-3_700), "answers": {"이름": "b"}})).await;
        assert_eq!(driver.brief().await, ["response.created late"], "{api:?}");
        world.advance(1);
        assert_eq!(driver.brief().await, Vec::<String>::new(), "{api:?}");
    }
}

#[tokio::test]
async fn equal_times_are_no_reason_to_skip_or_repeat() {
    for api in BOTH {
        let world = World::new().await;
        let mut driver = Driver::new(&world, api, &[("start", "all")]);
        let at = world.at(0);
        for id in ["b", "a"] {
            world.submit(json!({"id": id, "submitted_at": at, "answers": {"이름": id}})).await;
        }
        // Now is not over yet: more can come with this time.
        assert_eq!(driver.brief().await, Vec::<String>::new());
        world.advance(1);
        assert_eq!(driver.brief().await, ["response.created a", "response.created b"]);
        world.submit(json!({"id": "c", "submitted_at": at, "answers": {"이름": "c"}})).await;
        assert_eq!(driver.brief().await, ["response.created c"]);
    }
}

#[tokio::test]
async fn every_one_of_250_comes_once_and_in_order_while_new_ones_arrive_between_the_pages() {
    for api in BOTH {
        let world = World::new().await;
        for n in 0..250 {
            let submission = json!({"id": format!("r{n:03}"), "submitted_at": world.at(n), "answers": {"이름": "a"}});
            world.submit(submission).await;
        }
        world.advance(300);
        {
            let mut between = world.front.between.lock().unwrap();
            // The first three shift the pages of the window; the last is later than it.
            for (id, at) in [("x1", 100), ("x2", 50), ("x3", 200), ("x4", 300)] {
                let at = world.at(at - 300);
                let submission = json!({"id": id, "submitted_at": at, "answers": {"이름": "b"}});
                between.push_back(Between::Submit(submission));
            }
        }
        let mut driver = Driver::new(&world, api, &[("start", "all")]);
        let mut events = driver.pass().await.unwrap();
        let times: Vec<_> = events.iter().map(|e| e.time).collect();
        assert!(times.is_sorted(), "{api:?}: oldest first");
        world.advance(1);
        while !world.front.between.lock().unwrap().is_empty() {
            events.extend(driver.pass().await.unwrap());
        }
        events.extend(driver.pass().await.unwrap());
        world.advance(1);
        events.extend(driver.pass().await.unwrap());
        let ids: BTreeSet<_> = events.iter().map(|e| e.subject.clone().unwrap()).collect();
        assert_eq!((events.len(), ids.len()), (254, 254), "{api:?}");
    }
}

#[tokio::test]
async fn a_response_removed_between_two_pages_hides_no_other() {
    let world = World::new().await;
    for n in 0..250 {
        let submission = json!({"id": format!("r{n:03}"), "submitted_at": world.at(n), "answers": {"이름": "a"}});
        world.submit(submission).await;
    }
    world.advance(300);
    // From the first page, once it was read: every later one moves up by a place.
    world.front.between.lock().unwrap().extend([Between::Nothing, Between::Remove("r249")]);
    let mut driver = Driver::new(&world, Api::Open, &[("start", "all")]);
    let events = driver.pass().await.unwrap();
    let came: BTreeSet<_> = events.iter().map(|e| e.subject.clone().unwrap()).collect();
    let missed: Vec<_> = (0..249).map(|n| format!("r{n:03}")).filter(|id| !came.contains(id)).collect();
    assert_eq!(missed, Vec::<String>::new());
}

#[tokio::test]
async fn a_long_past_is_read_in_windows_that_fit() {
    for api in BOTH {
        let world = World::new().await;
        // Over 1 MiB of answers, and over 1,000 responses.
        let long = "가".repeat(300);
        for n in 0..1_300_i64 {
            let submission =
                json!({"id": format!("r{n:04}"), "submitted_at": world.at(-n * 4_000), "answers": {"문의": long}});
            world.submit(submission).await;
        }
        let mut driver = Driver::new(&world, api, &[("start", "all")]);
        world.advance(1);
        let events = driver.pass().await.unwrap();
        let ids: BTreeSet<_> = events.iter().map(|e| e.subject.clone().unwrap()).collect();
        assert_eq!((events.len(), ids.len()), (1_300, 1_300), "{api:?}");
        assert!(events.iter().map(|e| e.time).is_sorted(), "{api:?}");
        let stored = driver.cursor.as_ref().unwrap().to_string();
        assert!(stored.len() < 500, "what is older than the overlap is forgotten: {stored}");
    }
}

#[tokio::test]
async fn more_than_a_windows_worth_at_one_time_is_read_all_the_same() {
    let world = World::new().await;
    for n in 0..1_050 {
        world.submit(json!({"id": format!("r{n}"), "submitted_at": "2026-11-20T00:00:00Z", "answers": {}})).await;
    }
    let mut driver = Driver::new(&world, Api::Open, &[("start", "2026-11-01")]);
    assert_eq!(driver.pass().await.unwrap().len(), 1_050);
}

#[tokio::test]
async fn start_now_leaves_out_what_is_there_and_says_how_much() {
    for api in BOTH {
        let world = World::new().await;
        for (id, at) in [("old", -90_000), ("recent", -60)] {
            world.submit(json!({"id": id, "submitted_at": world.at(at), "answers": {"이름": "a"}})).await;
        }
        let mut driver = Driver::new(&world, api, &[]);
        assert_eq!(driver.brief().await, Vec::<String>::new());
        assert_eq!(driver.notes, ["starts now: 2 earlier responses are not sent"], "{api:?}");
        world.advance(60);
        world.submit(json!({"id": "recent", "answers": {"이름": "b"}})).await;
        world.submit(json!({"id": "late", "submitted_at": world.at(-90), "answers": {"이름": "a"}})).await;
        world.submit(json!({"id": "new", "submitted_at": world.at(-30), "answers": {"이름": "a"}})).await;
        let mut came = driver.brief().await;
        world.advance(60);
        came.extend(driver.brief().await);
        came.sort();
        assert_eq!(came, ["response.created late", "response.created new", "response.updated recent"], "{api:?}");
    }
}

#[tokio::test]
async fn start_at_a_date_is_its_first_moment_in_the_zone() {
    for api in BOTH {
        let world = World::new().await;
        for (id, at) in [("before", "2026-11-18T14:59:59Z"), ("first", "2026-11-18T15:00:00Z")] {
            world.submit(json!({"id": id, "submitted_at": at, "answers": {"이름": "a"}})).await;
        }
        let mut driver = Driver::new(&world, api, &[("start", "2026-11-19")]);
        assert_eq!(driver.brief().await, ["response.created first"], "{api:?}");
        assert_eq!(driver.notes, ["starts with what was submitted from 2026-11-18T15:00:00Z on"]);
    }
}

#[tokio::test]
async fn equal_labels_stop_the_source_until_one_is_renamed() {
    for api in BOTH {
        let world = World::new().await;
        world.ask(json!({"column": "field_name2", "label": "이름", "type": "TEXT"})).await;
        let mut driver = Driver::new(&world, api, &[("start", "all")]);
        let Err(PollError::Stop { why }) = driver.pass().await else { panic!("{api:?}: no stop") };
        assert!(why.contains("field_name and field_name2") && why.contains("이름"), "{why}");
        world.ask(json!({"column": "field_name2", "label": "보호자 이름", "type": "TEXT"})).await;
        world.submit(named("a")).await;
        world.advance(1);
        assert_eq!(driver.brief().await, ["response.created res-1001"]);
    }
}

#[tokio::test]
async fn a_new_question_is_known_at_its_first_answer() {
    for api in BOTH {
        let world = World::new().await;
        let mut driver = Driver::new(&world, api, &[("start", "all")]);
        driver.pass().await.unwrap();
        world.ask(json!({"column": "field_new", "label": "추천인", "type": "TEXT"})).await;
        world.submit(json!({"answers": {"추천인": "김둘"}})).await;
        world.advance(1);
        let events = driver.pass().await.unwrap();
        assert_eq!(data(&events[0])["answers"], json!({"추천인": "김둘"}), "{api:?}");
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let world = World::new().await;
    let mut driver = Driver::new(&world, Api::Response, &[("start", "all")]);
    let hour = Some(Duration::from_hours(1));
    let date = "Sat, 21 Nov 2026 01:00:00 GMT";
    let retry =
        |after: Option<Duration>, why: &str| PollError::Retry { after, account: after.is_some(), why: why.to_owned() };
    let cases = [
        (429, vec![("retry-after", "3600")], "{}", retry(hour, "walla asks to slow down (429)")),
        (429, vec![("retry-after", date)], "{}", retry(hour, "walla asks to slow down (429)")),
        (
            429,
            vec![],
            r#"{"error":"Rate limit exceeded"}"#,
            retry(Some(Duration::from_mins(1)), "walla asks to slow down (429): Rate limit exceeded"),
        ),
        (503, vec![], "oops", retry(None, "walla answered 503 Service Unavailable")),
        (200, vec![], "<html>", retry(None, "walla answered 6 bytes that are not JSON")),
        (
            401,
            vec![],
            r#"{"message":"Unauthorized"}"#,
            PollError::Suspend {
                why: "walla refused the account's keys (401 Unauthorized): Unauthorized; they are under 팀 설정 > API in Walla"
                    .to_owned(),
            },
        ),
        (
            404,
            vec![],
            "",
            PollError::Stop { why: r#"walla knows no project "pj-7" in a workspace "ws-1" (404)"#.to_owned() },
        ),
        (
            403,
            vec![],
            r#"{"message":"Forbidden"}"#,
            PollError::Suspend {
                why: "walla refused the account's keys (403 Forbidden): Forbidden; they are under 팀 설정 > API in Walla"
                    .to_owned(),
            },
        ),
        (302, vec![("location", "/login")], "", PollError::Stop { why: "walla answered 302 Found".to_owned() }),
        (
            200,
            vec![],
            r#"{"secret":"value"}"#,
            PollError::Stop { why: "no list of questions in an object with the keys secret".to_owned() },
        ),
    ];
    for (status, headers, body, expected) in cases {
        world.answer_next(status, &headers, body);
        assert_eq!(driver.pass().await.unwrap_err(), expected);
        assert_eq!(driver.cursor, None, "the cursor stays");
    }
    assert_eq!(driver.brief().await, Vec::<String>::new());
}

#[tokio::test]
async fn garbage_stops_the_source_at_the_fifth_time() {
    let world = World::new().await;
    let mut driver = Driver::new(&world, Api::Open, &[("start", "all")]);
    for _ in 0..4 {
        world.answer_next(200, &[], "<html>");
        assert!(matches!(driver.pass().await, Err(PollError::Retry { .. })));
    }
    world.answer_next(200, &[], "<html>");
    let Err(PollError::Stop { why }) = driver.pass().await else { panic!("no stop") };
    assert_eq!(why, "walla answered 6 bytes that are not JSON, 5 times in a row: is the account's url right?");
}

#[tokio::test]
async fn wrong_keys_and_unknown_forms_are_told_by_the_sandbox_as_by_walla() {
    let world = World::new().await;
    let told = async |api: Api, settings: &[(&str, &str)]| match Driver::new(&world, api, settings).pass().await {
        Err(PollError::Stop { why }) => why,
        other => panic!("no stop: {other:?}"),
    };
    insta::assert_snapshot!(told(Api::Response, &[("project", "pj-8")]).await, @r#"walla knows no project "pj-8" in a workspace "ws-1" (404): Not Found; that workspace has the projects pj-7 (신청)"#);
    insta::assert_snapshot!(told(Api::Response, &[("workspace", "ws-8")]).await, @r#"walla knows no project "pj-7" in a workspace "ws-8" (404): Not Found; the keys see the workspaces ws-1 (마케팅팀 워크스페이스)"#);
    insta::assert_snapshot!(told(Api::Open, &[("form", "form-8")]).await, @r#"walla knows no form "form-8" (404): Not Found; the key sees the forms form-7 (신청), in the workspaces ws-1 (마케팅팀 워크스페이스)"#);
}

#[tokio::test]
async fn a_workspace_that_is_not_named_is_asked_for_once() {
    let world = World::new().await;
    let mut driver = Driver { poller: world.by_project("pj-7"), cursor: None, notes: Vec::new() };
    for _ in 0..2 {
        driver.pass().await.unwrap();
        world.advance(60);
    }
    let asked = world.front.asked.lock().unwrap().clone();
    assert_eq!(asked[0], "/workspace/query/projectKey?projectKey=pj-7");
    assert!(asked[1..].iter().all(|path| path.starts_with("/workspace/ws-1/project/pj-7/")), "{asked:?}");
    let mut unknown = Driver { poller: world.by_project("pj-8"), cursor: None, notes: Vec::new() };
    let Err(PollError::Stop { why }) = unknown.pass().await else { panic!("no stop") };
    insta::assert_snapshot!(why, @r#"walla knows no project "pj-8" (404): Not Found; the keys see the workspaces ws-1 (마케팅팀 워크스페이스)"#);
}

#[tokio::test]
async fn the_readings_of_the_page_come_to_the_same() {
    for switches in [json!({"shape": "columns"}), json!({"shape": "list"}), json!({"dates_only": true})] {
        let world = World::new().await;
        world.set(&switches).await;
        world.submit(json!({"id": "r1", "answers": {"이름": "김하나", "관심 분야": "개발", "유입경로": "blog"}})).await;
        world.advance(60);
        let mut driver = Driver::new(&world, Api::Response, &[("start", "all")]);
        let events = driver.pass().await.unwrap();
        assert_eq!(events.len(), 1, "{switches}");
        assert_eq!(data(&events[0])["answers"], json!({"이름": "김하나", "관심 분야": ["개발"], "유입경로": "blog"}));
        world.advance(60);
        assert_eq!(driver.brief().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_api_that_takes_only_dates_is_given_dates() {
    let world = World::new().await;
    let mut driver = Driver::new(&world, Api::Response, &[("start", "2026-11-20")]);
    world.submit(json!({"id": "r1", "submitted_at": "2026-11-20T12:00:00Z", "answers": {"이름": "a"}})).await;
    // Labels are read first.
    let columns = json!({"field_columns": [{"column_name": "field_name", "label": "이름", "type": "TEXT"}]});
    world.answer_next(200, &[], &columns.to_string());
    world.answer_next(400, &[], r#"{"message":"Bad Request"}"#);
    assert_eq!(driver.brief().await, ["response.created r1"]);
    world.advance(60);
    assert_eq!(driver.brief().await, Vec::<String>::new());
    let asked = world.front.asked.lock().unwrap().clone();
    let ranges: Vec<_> = asked.iter().filter_map(|path| path.split_once('?')).map(|(_, query)| query).collect();
    assert_eq!(
        ranges,
        [
            "startDate=2026-11-19T14%3A59%3A59Z&endDate=2026-11-21T00%3A00%3A01Z",
            "startDate=2026-11-18&endDate=2026-11-23",
            "startDate=2026-11-19&endDate=2026-11-23",
        ]
    );
}

#[tokio::test]
async fn settings_that_do_not_fit_the_accounts_api_are_faults() {
    let world = World::new().await;
    let faults = |api, settings: &[(&str, &str)]| match world.try_poller(api, settings) {
        Ok(_) => panic!("no fault"),
        Err(faults) => faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; "),
    };
    insta::assert_snapshot!(faults(Api::Response, &[("form", "f")]), @"the account has a client_id and an api_key: expected `project`, perhaps with `workspace`, and no `form`");
    insta::assert_snapshot!(faults(Api::Open, &[("project", "p")]), @"the account has an open_api_key: expected `form`, and neither `workspace` nor `project`");
    insta::assert_snapshot!(faults(Api::Open, &[("start", "tomorrow")]), @"`start`: expected now, all, a date (2026-01-01) or an instant (2026-01-01T09:00:00+09:00)");
}
