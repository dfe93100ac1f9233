//! Tests of decisions and records.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::config::{Priority, RequestConfig, RetryConfig, WithoutLink};
use crate::event::{NewEvent, Payload, Received, Version};
use crate::outcome::Verb;
use crate::settings::{Node, Spot};
use crate::template::Template;
use crate::template::mapping::{FieldError, Mapping};

fn event(kind: &str, data: &Value) -> Event {
    let mut new = NewEvent::new(kind, Payload::from_value(data));
    new.subject = Some("7".into());
    new.version = Some(Version::Integer(3));
    new.id = Some("e-1".into());
    new.stamp("tasks", &Clock::manual("2026-01-01T09:00:00+09:00".parse().unwrap())).unwrap()
}

fn case(types: Option<&str>, when: Option<&str>, action: Action) -> CaseConfig {
    let map = Node::from(&json!({ "title": "{{ data.title }}", "id": "{{ subject }}" }));
    CaseConfig {
        types: types.map(|types| types.split(' ').map(str::to_owned).collect()),
        when: when.map(|when| Expression::compile(when).unwrap()),
        action,
        without_link: WithoutLink::Skip,
        map: Mapping::compile(&map).unwrap(),
        request: BTreeMap::new(),
    }
}

fn route(types: Option<&str>, when: Option<&str>, cases: Vec<CaseConfig>) -> RouteConfig {
    RouteConfig {
        name: "r".into(),
        spot: Spot::default(),
        from: vec!["tasks".into(), "more".into()],
        from_former: BTreeMap::new(),
        types: types.map(|types| types.split(' ').map(str::to_owned).collect()),
        when: when.map(|when| Expression::compile(when).unwrap()),
        to: "s".into(),
        key: None,
        link: "r".into(),
        reads: Vec::new(),
        leaves: Leaves::Keep,
        cases,
        matching: None,
        lookups: Vec::new(),
        on_doubt: None,
        retry: RetryConfig::default(),
        priority: Priority::default(),
        was: None,
        enabled: true,
    }
}

fn plain(event: &Event) -> Context {
    context(&route(None, None, Vec::new()), event, Arc::default(), None)
}

fn decided(route: &RouteConfig, event: &Event) -> String {
    match decide(route, event, &plain(event)) {
        Decision::Take { case, action } => format!("case {case}: {}", action.name()),
        Decision::Leave { case, why } => format!("case {case} leaves: {why}"),
        Decision::Skip { why } => format!("skipped: {why}"),
        Decision::Error(error) => format!("error: {error}"),
    }
}

#[test]
fn an_event_of_before_a_renaming_is_its_sources() {
    let event = event("task.created", &json!({ "title": "x" }));
    let mut route = route(None, Some("source == 'todo'"), vec![case(None, None, Action::Create)]);
    route.from = vec!["todo".into()];
    assert_eq!(decided(&route, &event), "skipped: source tasks is not among todo");
    route.from_former.insert("tasks".into(), "todo".into());
    let context = context(&route, &event, Arc::default(), None);
    assert_eq!(decide(&route, &event, &context), Decision::Take { case: 0, action: Action::Create });
    assert_eq!(link_key(&route, &event, &context).unwrap(), "todo/7");
    assert!(!route.binding().takes("tasks", "task.created"), "nothing more comes under the former name");
}

#[test]
fn the_context_is_what_the_contract_names() {
    let event = event("task.created", &json!({ "title": "x" }));
    let link = Link {
        remote_id: Some("42".into()),
        version: None,
        received: Received { clock: 1, process: 1 },
        state: LinkState::Linked,
        content: None,
    };
    let source = "{{ [id, source, type, subject, time, version, data.title, headers, link.id, link.state] }}";
    let render = |link| {
        let context = context(&route(None, None, Vec::new()), &event, Arc::default(), link);
        Template::compile(source).unwrap().render(&context, Escape::None)
    };
    let Ok(Rendered::Value(value)) = render(Some(&link)) else { panic!("it renders") };
    assert_snapshot!(value, @r#"["e-1","tasks","task.created","7","2026-01-01T00:00:00Z",3,"x",{},"42","linked"]"#);
    assert_snapshot!(render(None).unwrap_err().message, @"link is missing");
}

#[test]
fn a_route_says_why_it_leaves_an_event() {
    let post = event("task.created", &json!({ "category": "post", "n": "4" }));
    let cases = || vec![case(None, None, Action::Upsert)];
    assert_eq!(decided(&route(None, None, cases()), &post), "case 0: upsert");
    assert_eq!(decided(&route(Some("task.*"), None, cases()), &post), "case 0: upsert");
    let mut elsewhere = post.clone();
    elsewhere.source = "other".into();
    assert_snapshot!(decided(&route(None, None, cases()), &elsewhere), @"skipped: source other is not among tasks, more");
    assert_snapshot!(decided(&route(Some("task.closed order.*"), None, cases()), &post), @"skipped: type task.created is not among task.closed, order.*");
    assert_snapshot!(decided(&route(None, Some("data.category == 'general'"), cases()), &post), @"skipped: data.category == 'general' (data.category is 'post')");
    assert_snapshot!(decided(&route(None, Some("data.nope == 1"), cases()), &post), @"skipped: data.nope is missing");
    assert_snapshot!(decided(&route(None, Some("data.n > 3"), cases()), &post), @"error: `>` compares text with a number in `data.n > 3 (data.n is '4')`");
    assert_snapshot!(decided(&route(None, Some("data.category"), cases()), &post), @"error: the result is 'post', not true or false in `data.category`");
}

#[test]
fn the_first_case_that_fits_is_taken() {
    let route = route(
        Some("task.created task.closed"),
        Some("data.ok"),
        vec![
            case(Some("task.created"), Some("data.n > 5"), Action::Create),
            case(Some("task.created"), None, Action::Update),
            case(Some("task.closed"), Some("data.n > 5"), Action::Each(Verb::Reply)),
        ],
    );
    assert_eq!(decided(&route, &event("task.created", &json!({ "ok": true, "n": 9 }))), "case 0: create");
    assert_eq!(decided(&route, &event("task.created", &json!({ "ok": true, "n": 1 }))), "case 1: update");
    assert_eq!(decided(&route, &event("task.closed", &json!({ "ok": true, "n": 9 }))), "case 2: reply");
    assert_snapshot!(decided(&route, &event("task.closed", &json!({ "ok": true, "n": 1 }))), @"skipped: case 1: type task.closed is not among task.created; case 2: type task.closed is not among task.created; case 3: data.n > 5 (data.n is 1)");
}

#[test]
fn a_deletion_is_not_asked_whether_it_passes() {
    let gone = event("task.deleted", &json!({}));
    for (action, taken) in [(Action::Sync, true), (Action::Delete, true), (Action::Upsert, false)] {
        let route = route(None, Some("data.category == 'general'"), vec![case(None, Some("data.x"), action)]);
        assert_eq!(decided(&route, &gone).starts_with("case"), taken, "{action:?}");
    }
}

#[test]
fn the_link_is_by_source_and_subject_or_by_the_key() {
    let task = event("task.created", &json!({ "task": { "id": 12 }, "none": "", "list": [] }));
    let mut route = route(None, None, Vec::new());
    assert_eq!(link_key(&route, &task, &plain(&task)).unwrap(), "tasks/7");
    let mut key = |source: &str| {
        route.key = Some(Template::compile(source).unwrap());
        link_key(&route, &task, &plain(&task)).map_err(|e| e.to_string())
    };
    assert_eq!(key("{{ data.task.id }}").unwrap(), "12");
    assert_eq!(key("t-{{ data.task.id }}").unwrap(), "t-12");
    assert_snapshot!(key("{{ data.none }}").unwrap_err(), @"the key is empty in `{{ data.none }}`");
    assert_snapshot!(key("{{ data.list }}").unwrap_err(), @"a key is text or a number in `{{ data.list }}`");
    assert_snapshot!(key("{{ data.nope | default(omit) }}").unwrap_err(), @"a key cannot be omitted in `{{ data.nope | default(omit) }}`");
}

fn requested(path: &str, data: &Value) -> Result<String, String> {
    let mut case = case(None, None, Action::Create);
    let path = Template::compile_path(path).unwrap();
    case.request.insert("create", RequestConfig { method: http::Method::POST, path });
    let event = event("task.created", data);
    let told = |errors: Vec<FieldError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let rendered = render(&case, Verb::Create, &plain(&event), Escape::None).map_err(told)?;
    Ok(rendered.request.expect("the verb has a request").path)
}

#[test]
fn a_path_goes_where_its_template_goes() {
    let data = |id: &str| json!({ "title": "t", "id": id });
    assert_eq!(requested("/repos/{{ data.id }}/x", &data("a/../b?c#d")).unwrap(), "/repos/a%2F%2E%2E%2Fb%3Fc%23d/x");
    assert_eq!(
        requested("/검색/?q={{ data.id }}", &data("한 글&x=1")).unwrap(),
        "/%EA%B2%80%EC%83%89/?q=%ED%95%9C%20%EA%B8%80%26x%3D1"
    );
    assert_eq!(requested("/", &data("x")).unwrap(), "/");
    assert_eq!(requested("/x/?q={{ data.id }}", &data("")).unwrap(), "/x/?q=");
    assert_snapshot!(requested("/repos/{{ data.id }}", &data("..")).unwrap_err(), @"request.path: a segment of the path is `.` or `..` in `/repos/{{ data.id }}`");
    assert_snapshot!(requested("/repos/.{{ data.id }}/x", &data(".")).unwrap_err(), @"request.path: a segment of the path is `.` or `..` in `/repos/.{{ data.id }}/x`");
    assert_snapshot!(requested("/repos/{{ data.id }}/x", &data("")).unwrap_err(), @"request.path: a segment of the path is empty in `/repos/{{ data.id }}/x`");
    assert_snapshot!(requested("/repos/{{ data.id }}", &data("")).unwrap_err(), @"request.path: a segment of the path is empty in `/repos/{{ data.id }}`");
    assert_snapshot!(requested("/{{ data.id }}/x", &data("")).unwrap_err(), @"request.path: a segment of the path is empty in `/{{ data.id }}/x`");
    assert_snapshot!(requested("/{{ data.nope }}/x", &json!({})).unwrap_err(), @"title: data.title is missing in `data.title`; request.path: data.nope is missing in `data.nope`");
}

#[test]
fn a_deletion_needs_only_what_it_can_have() {
    let gone = event("task.deleted", &json!({}));
    let case = case(None, None, Action::Sync);
    let rendered = render(&case, Verb::Delete, &plain(&gone), Escape::None).unwrap();
    assert_eq!(Value::Object(rendered.fields), json!({ "id": "7" }));
    let errors = render(&case, Verb::Update, &plain(&gone), Escape::None).unwrap_err();
    assert_eq!(errors[0].field, "title");
}

proptest! {
    #[test]
    fn a_path_with_data_keeps_its_segments(id in "\\PC{0,12}|[./%\\\\?#2eE]{0,8}") {
        let data = json!({ "title": "t", "id": id });
        if let Ok(path) = requested("/a/{{ data.id }}/b?q={{ data.id }}", &data) {
            let url = url::Url::parse("https://host.example/base/").unwrap().join(&path).unwrap();
            prop_assert_eq!(url.host_str(), Some("host.example"));
            let segments: Vec<&str> = url.path().split('/').collect();
            prop_assert_eq!((segments.len(), segments[1], segments[3]), (4, "a", "b"));
            prop_assert_eq!(url.query_pairs().count(), 1);
            prop_assert_eq!(url.fragment(), None);
        }
    }

    #[test]
    fn a_star_stands_for_any_run(head in "[a-z.]{0,5}", middle in "[a-z.]{0,5}", tail in "[a-z.]{0,5}") {
        let text = format!("{head}{middle}{tail}");
        let pattern = format!("{head}*{tail}");
        prop_assert!(matches(&pattern, &text));
        prop_assert!(matches("*", &text));
        prop_assert!(matches(&text, &text));
        let longer = format!("{text}!");
        prop_assert!(!matches(&text, &longer));
        prop_assert!(tail.is_empty() || !matches(&pattern, &longer));
    }
}
