//! Workfront's sink against its sandbox: what is sent, and what each refusal means.

use std::time::Duration;

use dari::connectors::sandbox::Fault;
use dari::connectors::workfront::{MANIFEST, sandbox};
use dari::connectors::{Ask, OnDoubt, Sink};
use dari::outcome::{Outcome, Scope, Verb};
use serde_json::{Value, json};

use crate::world::{Op, Tried, World};

const KEY: &str =
    "{ wf: { workfront: { host: acme.my.workfront.com, auth: { api_key: sandboxkey0123456789 }, url: 'URL' } } }";
const TASKS: &str = "{ workfront: { account: wf, object: task, reference: extRefID, dates: ['DE:Deadline'] } }";

pub async fn world(sink: &str) -> (World, Box<dyn Sink>) {
    World::with(&MANIFEST, KEY, sink).await
}

async fn object(world: &World, id: &str) -> Value {
    let objects = world.state("objects").await;
    objects.as_array().unwrap().iter().find(|object| object["ID"] == id).cloned().unwrap_or_default()
}

fn task(name: &str) -> Op {
    Op::new(Verb::Create, json!({ "name": name, "projectID": sandbox::PROJECT }))
}

#[tokio::test]
async fn an_object_is_made_changed_and_deleted() {
    let (world, sink) = world(TASKS).await;
    let fields = json!({
        "name": "a/b <c>", "projectID": sandbox::PROJECT, "plannedStartDate": "2026-11-23T10:30:00+09:00",
        "plannedCompletionDate": "2026-11-24", "DE:CustomNumber": 1.4, "DE:CustomCheckBoxes": ["first", "second"],
        "DE:Deadline": "2026-12-24", "description": null,
    });
    let id = world.id(&*sink, &Op::new(Verb::Create, fields)).await;
    let made = object(&world, id).await;
    assert_eq!(
        (&made["name"], &made["plannedStartDate"], &made["extRefID"]),
        (&json!("a/b <c>"), &json!("2026-11-23T01:30:00.000Z"), &json!("dlv_1"))
    );
    assert_eq!(made["DE:CustomCheckBoxes"], json!(["first", "second"]));
    let sent = world.served.calls.all().last().unwrap().clone();
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/attask/api/v15.0/task"));
    let body: std::collections::BTreeMap<String, String> =
        form_urlencoded::parse(sent.body.as_bytes()).into_owned().collect();
    insta::assert_snapshot!(body["updates"], @r#"{"name":"a\/b \u003cc>","projectID":"4c7c08b20000002de5ca1ebc19edf2d5","plannedStartDate":"2026-11-23T01:30:00:000+0000","plannedCompletionDate":"2026-11-24T23:59:00:000+0000","DE:CustomNumber":1.4,"DE:CustomCheckBoxes":["first","second"],"DE:Deadline":"2026-12-24T00:00:00:000+0000","extRefID":"dlv_1"}"#);
    assert_eq!(body["apiKey"], sandbox::API_KEY);

    let update = Op::new(Verb::Update, json!({ "name": "b", "DE:CustomNumber": null })).linked(id);
    assert_eq!(world.id(&*sink, &update).await, id);
    let changed = object(&world, id).await;
    assert_eq!((&changed["name"], &changed["DE:CustomNumber"]), (&json!("b"), &Value::Null));
    assert_eq!(world.call(&*sink, &update).unwrap().shown["method"], "PUT");

    let delete = Op::new(Verb::Delete, json!({})).linked(id);
    for _ in 0..2 {
        // Again: it is gone, which is what was wanted.
        assert_eq!(world.id(&*sink, &delete).await, id);
    }
    assert_eq!(object(&world, id).await, Value::Null);
    let gone = world.outcome(&*sink, &update).await;
    assert!(matches!(gone, Outcome::Reject { .. }), "{gone:?}");
}

#[tokio::test]
async fn what_depends_on_an_object_goes_with_it_only_if_that_is_said() {
    let (world, projects) = world("{ workfront: { account: wf, object: project } }").await;
    let tasks = world.sink(KEY, TASKS);
    world.id(&*tasks, &task("a")).await;
    let delete = Op::new(Verb::Delete, json!({})).linked(sandbox::PROJECT);
    let refused = world.outcome(&*projects, &delete).await;
    assert!(refused.why().unwrap().contains("force"), "{refused:?}");
    let force = world.sink(KEY, "{ workfront: { account: wf, object: PROJ, force: true } }");
    world.id(&*force, &delete).await;
    assert_eq!(world.state("objects").await.as_array().unwrap().len(), 1, "the user is left");
}

#[tokio::test]
async fn an_object_is_copied_moved_shared_acted_upon_and_commented() {
    let (world, sink) = world(TASKS).await;
    let id = world.id(&*sink, &task("a")).await;
    let copy = Op::new(Verb::Create, json!({ "copySourceID": id, "name": "copy", "projectID": sandbox::PROJECT }))
        .webhook_id("dlv_2");
    let copied = world.id(&*sink, &copy).await;
    assert_eq!(object(&world, copied).await["name"], "copy");

    let other = world
        .served
        .play(::http::Method::POST, "/_sandbox/objects", &json!({ "objCode": "PROJ", "name": "other" }))
        .await;
    let moved = Op::new(Verb::Move, json!({ "projectID": other["ID"] })).linked(id);
    assert_eq!(world.id(&*sink, &moved).await, id);
    assert_eq!(object(&world, id).await["projectID"], other["ID"]);

    let share = json!({ "accessorID": sandbox::USER, "accessorObjCode": "USER", "coreAction": "VIEW" });
    world.id(&*sink, &Op::new(Verb::Share, share.clone()).linked(id)).await;
    assert_eq!(object(&world, id).await["accessRules"], json!([share]));

    let act = Op::new(Verb::Act, json!({ "action": "markViewed" })).linked(id);
    assert_eq!(world.id(&*sink, &act).await, id);
    assert!(world.call(&*sink, &act).unwrap().idempotent);
    let approve = Op::new(Verb::Act, json!({ "action": "approveApproval", "comment": "ok" })).linked(id);
    world.id(&*sink, &approve).await;
    assert!(!world.call(&*sink, &approve).unwrap().idempotent);
    let actions = world.state("actions").await;
    assert_eq!(actions.as_array().unwrap().last().unwrap()["arguments"], json!({ "comment": "ok" }));
    let unknown = world.outcome(&*sink, &Op::new(Verb::Act, json!({ "action": "explode" })).linked(id)).await;
    assert!(unknown.why().unwrap().contains("does not support action"), "{unknown:?}");

    let comment = Op::new(Verb::Comment, json!({ "noteText": "확인" })).linked(id);
    assert_eq!(world.id(&*sink, &comment).await, id, "the link stays on the task");
    let objects = world.state("objects").await;
    let note = objects.as_array().unwrap().iter().find(|object| object["objCode"] == "NOTE").unwrap();
    assert_eq!((&note["noteObjCode"], &note["objID"]), (&json!("TASK"), &json!(id)));
}

#[tokio::test]
async fn what_workfront_would_refuse_is_refused_before_a_call_is_spent() {
    let (world, sink) = world(TASKS).await;
    let cases = [
        Op::new(Verb::Create, json!({})),
        Op::new(Verb::Create, json!({ "name": "a", "extRefID": "mine" })),
        Op::new(Verb::Create, json!({ "ID": "7" })),
        Op::new(Verb::Create, json!({ "$$LIMIT": "7" })),
        Op::new(Verb::Update, json!({ "name": "a" })),
        Op::new(Verb::Update, json!({ "name": "a" })).linked("../user"),
        Op::new(Verb::Update, json!({})).linked("7"),
        Op::new(Verb::Comment, json!({ "noteText": " " })).linked("7"),
        Op::new(Verb::Share, json!({ "accessorID": "7" })).linked("7"),
        Op::new(Verb::Share, json!({ "accessorID": "7", "accessorObjCode": "ALIEN" })).linked("7"),
        Op::new(Verb::Move, json!({})).linked("7"),
        Op::new(Verb::Move, json!({ "projectID": "7", "apiKey": "x" })).linked("7"),
        Op::new(Verb::Act, json!({ "action": "a/b" })).linked("7"),
        Op::new(Verb::Act, json!({ "action": "move", "sessionID": "x" })).linked("7"),
        Op::new(Verb::Upload, json!({ "url": "https://files.acme.kr/a.pdf" })).linked("7"),
    ];
    for op in cases {
        assert!(matches!(world.try_it(&*sink, &op).await, Tried::Refused(_)), "{:?} {}", op.verb, op.fields);
    }
    assert_eq!(world.served.calls.count(), 0);
    assert!(sink.takes("extRefID").is_err() && sink.takes("ID").is_err() && sink.takes("DE:아무거나").is_ok());
}

#[tokio::test]
async fn each_no_of_workfront_has_its_meaning_under_its_status_and_under_200() {
    for as_200 in [false, true] {
        let (world, sink) = world(TASKS).await;
        world.switch(json!({ "errors_as_200": as_200 })).await;
        let id = world.id(&*sink, &task("a")).await;
        let unknown = Op::new(Verb::Update, json!({ "colour": "red" })).linked(id);
        let unknown = world.outcome(&*sink, &unknown).await;
        assert!(
            matches!(&unknown, Outcome::Reject { why } if why.contains("does not support field colour (Task)")),
            "{unknown:?}"
        );

        world.switch(json!({ "denied": [id] })).await;
        let denied = world.outcome(&*sink, &Op::new(Verb::Update, json!({ "name": "b" })).linked(id)).await;
        assert!(matches!(denied, Outcome::Refused { .. }), "a permission is no credential: {denied:?}");

        let stranger = world.sink(&KEY.replace("sandboxkey", "otherkey"), TASKS);
        let out = world.outcome(&*stranger, &task("b")).await;
        assert!(matches!(out, Outcome::Suspend { what: Scope::Account, .. }), "{out:?}");

        world.switch(json!({ "threads": 0 })).await;
        let busy = world.outcome(&*sink, &task("b")).await;
        assert!(matches!(busy, Outcome::Retry { account: true, .. }), "{busy:?}");
    }
}

#[tokio::test]
async fn a_single_object_may_come_unwrapped() {
    let (world, sink) = world(TASKS).await;
    world.switch(json!({ "unwrapped": true })).await;
    let id = world.id(&*sink, &task("a")).await;
    assert_eq!(object(&world, id).await["name"], "a");
}

#[tokio::test]
async fn no_uri_grows_with_what_is_sent() {
    let (world, sink) = world(TASKS).await;
    let long = "가".repeat(20_000);
    let fields = json!({ "name": "a", "projectID": sandbox::PROJECT, "description": long });
    let id = world.id(&*sink, &Op::new(Verb::Create, fields)).await;
    assert_eq!(object(&world, id).await["description"], long);
    let wanted = json!({ "description": long });
    let question = Ask::Match(wanted.as_object().unwrap());
    let call = sink.ask(&question).unwrap().unwrap();
    let answer = world.client.send(&call).await.unwrap();
    assert_eq!(sink.answered(&question, &answer).unwrap(), [id]);
    assert!(world.served.calls.all().iter().all(|call| call.path.len() < 200));
    // The sandbox does mind.
    let mut url = call.url.clone();
    url.set_query(Some(&"x".repeat(8_892)));
    let refused = world.client.send(&dari::connectors::Call { url, ..call }).await.unwrap();
    assert_eq!(refused.status, 414);
}

#[tokio::test]
async fn an_object_is_matched_by_any_field() {
    let (world, sink) = world(TASKS).await;
    let id = world
        .id(
            &*sink,
            &Op::new(
                Verb::Create,
                json!({ "name": "a", "projectID": sandbox::PROJECT, "DE:CustomText": "7", "priority": 2 }),
            ),
        )
        .await;
    world.id(&*sink, &task("b")).await;
    let found = async |wanted: Value| {
        let wanted = wanted.as_object().unwrap().clone();
        let question = Ask::Match(&wanted);
        let call = sink.ask(&question).unwrap()?;
        assert!(call.idempotent);
        let answer = world.client.send(&call).await.unwrap();
        Ok::<_, String>(sink.answered(&question, &answer).unwrap())
    };
    assert!(sink.matches());
    assert_eq!(found(json!({ "DE:CustomText": "7", "priority": 2 })).await.unwrap(), [id]);
    assert_eq!(found(json!({ "project:name": "새 프로젝트", "name": "a" })).await.unwrap(), [id]);
    assert_eq!(found(json!({ "DE:CustomText": "8" })).await.unwrap(), [""; 0]);
    assert_eq!(found(json!({ "name": "A", "name_Mod": "cieq" })).await.unwrap(), [id]);
    assert_eq!(found(json!({ "projectID": sandbox::PROJECT })).await.unwrap().len(), 2);
    assert!(found(json!({ "ownerID": "$$USER.ID" })).await.unwrap_err().contains("$$"));
}

#[tokio::test]
async fn a_create_without_an_answer_is_found_by_its_reference() {
    let (world, sink) = world(TASKS).await;
    let since = world.clock.now();
    assert_eq!(sink.on_doubt(Verb::Create), OnDoubt::Find);
    let op = task("a").webhook_id("dlv_7");
    assert_eq!(world.asked(&*sink, &op, since).await, Ok(vec![]));
    for fault in [Fault::ResetAfter, Fault::Garbage] {
        world.served.faults.next(fault, 1);
        let tried = world.try_it(&*sink, &op).await;
        let doubt = crate::world::in_doubt(&tried) || matches!(tried, Tried::Came(Outcome::Unknown { .. }));
        assert!(doubt, "{tried:?}");
    }
    let found = world.asked(&*sink, &op, since).await.unwrap();
    assert_eq!(found.len(), 2, "it was told each time: {found:?}");
    assert_eq!(world.asked(&*sink, &task("a").webhook_id("dlv_8"), since).await, Ok(vec![]));
    world.switch(json!({ "threads": 0 })).await;
    assert!(matches!(world.asked(&*sink, &op, since).await, Err(Outcome::Retry { account: true, .. })));

    let without = world.sink(KEY, "{ workfront: { account: wf, object: task } }");
    assert_eq!(without.on_doubt(Verb::Create), OnDoubt::Hold);
    assert!(world.question(&*without, &op, since).is_none());
    for verb in [Verb::Comment, Verb::Upload, Verb::Act] {
        assert_eq!(sink.on_doubt(verb), OnDoubt::Hold, "{verb:?}");
    }
    for verb in [Verb::Update, Verb::Delete, Verb::Move, Verb::Share] {
        assert_eq!(sink.on_doubt(verb), OnDoubt::Retry, "{verb:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_gave_up_leaves_a_create_in_doubt() {
    let (world, sink) = world(TASKS).await;
    world.served.faults.next(Fault::ServerError, 2);
    assert!(
        matches!(world.outcome(&*sink, &task("a")).await, Outcome::Unknown { .. }),
        "a page, not the vendor's word"
    );
    let update = Op::new(Verb::Update, json!({ "name": "b" })).linked("7");
    assert!(matches!(world.outcome(&*sink, &update).await, Outcome::Retry { .. }));
    world.served.faults.next(Fault::TooManyRequests { after: 7 }, 1);
    let busy = world.outcome(&*sink, &task("a")).await;
    assert!(
        matches!(busy, Outcome::Retry { after: Some(after), account: true, .. } if after == Duration::from_secs(7)),
        "{busy:?}"
    );
}

#[tokio::test]
async fn the_probe_reads_one_id() {
    let (world, sink) = world(TASKS).await;
    let probe = sink.probe().unwrap();
    let answer = world.client.send(&probe).await.unwrap();
    assert!(matches!(sink.classify(&probe, &answer), Outcome::Delivered { remote_id: None }));
    assert_eq!(world.state("objects").await.as_array().unwrap().len(), 2);
    assert_eq!(probe.shown["body"], json!({ "$$LIMIT": "1", "fields": "ID" }), "no key is shown");
}

#[tokio::test]
async fn the_sandbox_refuses_what_the_vendor_would() {
    let (world, sink) = world(TASKS).await;
    let probe = sink.probe().unwrap();
    let ask = async |path: &str, form: &str| {
        let url = world.served.url.clone() + "/attask/api/v15.0" + path;
        let body = bytes::Bytes::from(format!("{form}&apiKey={}", sandbox::API_KEY));
        let call = dari::connectors::Call { url: url.parse().unwrap(), body, ..probe.clone() };
        world.client.send(&call).await.unwrap()
    };
    for (path, form, expected) in [
        ("/task/search", "method=get&$$LIMIT=2001", "2000"),
        ("/task/search", "method=get&fields=a:b:c:d:e", "field depth is 4"),
        ("/task/search", "method=get&name=a&name_Mod=like", "Invalid modifier like"),
        ("/task/search", "method=get&Name=a", "does not support field Name (Task)"),
        ("/task", r#"updates={"name":"a"}&status=NEW"#, "Cannot mix"),
        ("/task", r#"updates={"name":"a"}"#, "projectID cannot be null"),
        ("/proj", r#"updates={"name":"a","plannedStartDate":"2026-11-30"}"#, "Unparseable date"),
        ("/proj", r#"updates={"name":"a","entryDate":"2026-11-30T09:00:00:000-0600"}"#, "read only"),
        ("/task/7/explode", "method=put", "not found"),
        ("/document", r#"updates={"name":"a","handle":"x","docObjCode":"PROJ","objID":"y"}"#, "handle"),
        ("/alien", "name=a", "invalid objCode"),
    ] {
        let answer = ask(path, form).await;
        assert!(
            answer.status.is_client_error() && answer.text().contains(expected),
            "{path} {form}: {}",
            answer.summary()
        );
    }
    // Without a sort, pages overlap and miss rows.
    for n in 0..4 {
        world.id(&*sink, &task("a").webhook_id(["a", "b", "c", "d"][n])).await;
    }
    let page = async |first: usize, more: &str| {
        let answer = ask("/task/search", &format!("method=get&$$FIRST={first}&$$LIMIT=2{more}")).await;
        let rows = answer.json().unwrap()["data"].as_array().unwrap().clone();
        rows.into_iter().map(|row| row["ID"].to_string()).collect::<Vec<_>>()
    };
    let (unsorted, sorted) = (
        [page(0, "").await, page(2, "").await].concat(),
        [page(0, "&ID_Sort=asc").await, page(2, "&ID_Sort=asc").await].concat(),
    );
    let distinct = |ids: &[String]| ids.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((distinct(&sorted), distinct(&unsorted) < 4), (4, true), "{unsorted:?}");
    let all = async |limit: usize| {
        world.switch(json!({ "default_limit": limit })).await;
        ask("/task/search", "method=get").await.json().unwrap()["data"].as_array().unwrap().len()
    };
    assert_eq!((all(100).await, all(3).await), (4, 3));
    let by_id = ask("/task/search", "method=get&map=true").await.json().unwrap()["data"].clone();
    assert!(by_id.as_object().is_some());
}

#[tokio::test]
async fn a_config_is_told_what_is_wrong_with_it() {
    let world = World::of(&MANIFEST).await;
    let told = |accounts: &str, sink: &str| world.try_sink(accounts, sink).err().unwrap();
    insta::assert_snapshot!(told(&KEY.replace("host: acme.my.workfront.com", "host: 'https://acme.my.workfront.com'"), TASKS), @"dari.yaml:1:38: `host`: expected a host alone, as acme.my.workfront.com");
    insta::assert_snapshot!(told(KEY, "{ workfront: { account: wf, object: 'my task' } }"), @r#"dari.yaml:3:42: `object`: "my task" is no kind of object; expected its code, as `task`, `proj` or `optask`"#);
    insta::assert_snapshot!(told(KEY, "{ workfront: { account: wf, object: task, reference: name } }"), @"dari.yaml:3:59: `reference`: expected a field that nobody else writes to, as extRefID or DE:Dari");
    insta::assert_snapshot!(told(KEY, "{ workfront: { account: wf, object: task, fetch_hosts: ['files.acme.kr/x'] } }"), @r#"dari.yaml:3:61: `fetch_hosts`: "files.acme.kr/x" is no host; expected files.acme.kr, or http://files.acme.kr"#);
    insta::assert_snapshot!(told(KEY, "{ workfront: { account: wf, object: task, bulk: 101 } }"), @"dari.yaml:3:54: `bulk`: expected a whole number from 1 to 100, found `101`");
    insta::assert_snapshot!(told(&KEY.replace("api_key: sandboxkey0123456789", "jwt: { client_id: a, client_secret: b, customer_id: c, user_id: d, private_key: hunter2 }"), TASKS), @"dari.yaml:1:149: `private_key`: expected an RSA key as PEM, of 2048 bits or more, that begins with `-----BEGIN PRIVATE KEY-----`");
}
