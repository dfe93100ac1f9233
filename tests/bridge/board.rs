//! The dashboard without a browser: its doors, what it shows and what it never shows, and who did what.

use dari::outcome::Scope;
use dari::store::journal::Step;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::bridge::{PATIENCE, Running, World, http};
use crate::receiver::{Answer, Receiver};

const HTML: &str = "text/html,application/xhtml+xml";

fn yaml(url: &str, admin: &str) -> String {
    format!(
        r#"
listen: {{ hooks: "127.0.0.1:0", admin: {{ address: "127.0.0.1:0"{admin} }} }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
redact: ["data.phone"]
sources:
  in: {{ webhook: {{ verify: {{ bearer: {{ tokens: ["open-sesame"] }} }}, event: {{ id: "{{{{ body.id }}}}", type: "{{{{ body.kind }}}}", subject: "{{{{ body.s }}}}" }} }} }}
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true, headers: {{ x-key: "${{OUT_SECRET}}" }} }} }} }}
routes:
  news: {{ from: in, types: [news], to: out, do: create, map: {{ n: "{{{{ data.n }}}}", tel: "{{{{ data.phone }}}}" }} }}
"#
    )
}

/// A browser without a window: it keeps no cookies and follows nothing by itself.
struct Reader<'a> {
    bridge: &'a Running,
    http: reqwest::Client,
    cookie: String,
}

impl<'a> Reader<'a> {
    fn new(bridge: &'a Running) -> Self {
        // For the process's TLS provider, without which no client can be built.
        drop(http(PATIENCE));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
        Self { bridge, http: http.build().unwrap(), cookie: String::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.bridge.admin.as_ref().unwrap())
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.http.get(self.url(path)).header("accept", HTML).header("cookie", &self.cookie);
        request.send().await.unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    /// Sends a form with the token of a page.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let page = self.text("/sinks").await;
        let form = page.split(r#"name="form" value=""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let fields: Vec<_> = fields.iter().copied().chain([("form", form.as_str())]).collect();
        self.send(path, &fields).await
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let request = self.http.post(self.url(path)).header("cookie", &self.cookie).form(fields);
        request.header("sec-fetch-site", "same-origin").send().await.unwrap()
    }

    /// Sends a form that is taken, and reads the page that it leads to.
    async fn done(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.post(path, fields).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{}", answer.text().await.unwrap());
        self.text(answer.headers()["location"].to_str().unwrap()).await
    }
}

async fn sent(bridge: &Running, body: Value) {
    let url = format!("{}/hooks/in", bridge.hooks);
    let answer = bridge.http.post(url).bearer_auth("open-sesame").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

fn actions(entries: &[dari::store::journal::Entry]) -> Vec<String> {
    let what = entries.iter().filter_map(|entry| match &entry.step {
        Step::Operator { what } => Some(what.clone()),
        _ => None,
    });
    what.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_ours_alone_and_shows_no_secret() {
    let receiver = Receiver::start(|_, _| Answer::Status(422, "no tel 010-1234")).await;
    let world = World::whole(&yaml(&receiver.url, ""));
    let bridge = world.start().await;
    sent(&bridge, json!({"kind": "news", "id": "e-1", "s": "<b>1</b>", "n": 1, "phone": "010-1234"})).await;
    bridge.ended("e-1", "news", "rejected").await;
    let reader = Reader::new(&bridge);
    let event = "/event?source=in&id=e-1";
    for path in [
        "/",
        "/journal",
        event,
        "/dead",
        "/dead/1",
        "/sinks",
        "/sources",
        "/config",
        "/journal?refused=",
        "/journal?text=010",
    ] {
        let answer = reader.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        let html = answer.text().await.unwrap();
        for never in ["010-1234", "open-sesame", "hunter2", "<b>1</b>", " style=", " onclick=", "src=\"http"] {
            assert!(!html.contains(never), "{path} has {never}");
        }
    }
    assert!(reader.text(event).await.contains("HTTP 422: no tel •••"));
    assert!(reader.text("/dead/1").await.contains("•••"));
    let config = reader.text("/config").await;
    assert!(config.contains("${OUT_SECRET}") && config.contains("redact"), "{config}");
    let missing = reader.get("/event?source=in&id=none").await;
    assert_eq!(missing.status(), 404);
    assert!(missing.text().await.unwrap().contains("there is no event"));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_on_the_pages_is_in_the_journal_with_who_did_it() {
    let receiver = Receiver::start(|_, before| if before == 0 { Answer::Status(422, "no") } else { Answer::Ok }).await;
    let world = World::whole(&yaml(&receiver.url, r#", token: "${ADMIN}""#));
    let bridge = world.start().await;
    sent(&bridge, json!({"kind": "news", "id": "e-1", "s": "1", "n": 1, "phone": "1"})).await;
    bridge.ended("e-1", "news", "rejected").await;
    let mut reader = Reader::new(&bridge);
    let away = reader.get("/dead?route=news").await;
    assert_eq!(away.headers()["location"], "/login?next=%2Fdead%3Froute%3Dnews");
    assert_eq!(reader.http.get(reader.url("/")).send().await.unwrap().status(), 401, "a program is told so");
    let wrong = [("name", "Kim"), ("token", "hunter2"), ("next", "/")];
    assert_eq!(reader.send("/login", &wrong).await.status(), 401);
    let right = [("name", "김하나"), ("token", "hunter2-admin"), ("next", "//evil.example")];
    let answer = reader.send("/login", &right).await;
    assert_eq!(answer.headers()["location"], "/");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    reader.cookie = cookie.split(';').next().unwrap().to_owned();
    assert!(reader.text("/").await.contains("One thing needs a person."));
    assert_eq!(reader.get("/api/sinks").await.status(), 401, "the cookie is for the pages");

    let why = [("why", "tea <time>"), ("back", "/sinks")];
    let page = reader.done("/do/sink/out/suspend", &why).await;
    assert!(page.contains("sink out is suspended") && page.contains("tea &lt;time&gt;"), "{page}");
    assert!(bridge.suspended(Scope::Sink, "out").is_some());
    assert!(reader.done("/do/sink/out/resume", &[("back", "/")]).await.contains("sink out goes on"));
    assert!(bridge.suspended(Scope::Sink, "out").is_none());
    assert!(reader.done("/do/sink/out/resume", &[("back", "/")]).await.contains("sink out is not suspended"));

    assert!(reader.done("/dead", &[("do", "replay"), ("back", "/dead")]).await.contains("Nothing is selected."));
    let preview =
        reader.post("/dead", &[("id", "1"), ("do", "preview"), ("back", "/dead")]).await.text().await.unwrap();
    assert!(preview.contains("With the config of now 1 of 1 would be sent."), "{preview}");
    let page = reader.done("/dead", &[("id", "1"), ("do", "replay"), ("back", "/dead")]).await;
    assert!(page.contains("dead letter 1 is sent again") && page.contains("There are none."), "{page}");
    receiver.reach(2).await;
    bridge.ended("e-1", "news", "delivered").await;
    let step = bridge.steps("e-1", "news").await.into_iter().find_map(|step| match step {
        Step::Operator { what } => Some(what),
        _ => None,
    });
    assert_eq!(step.as_deref(), Some("replayed dead letter 1, by 김하나 (dashboard)"));

    programs_say_who_they_are(&bridge, &reader).await;
    let all = actions(&bridge.operator().actions(10).await.unwrap());
    assert_eq!(
        all[2..],
        [
            "began a replay of dead letter 1, by 김하나 (dashboard)",
            "resumed sink out, by 김하나 (dashboard)",
            "suspended sink out (tea <time>), by 김하나 (dashboard)",
        ]
    );
    assert_eq!(reader.post("/logout", &[]).await.headers()["location"], "/login");
    bridge.stop().await;
}

/// Or are the API.
async fn programs_say_who_they_are(bridge: &Running, reader: &Reader<'_>) {
    let api = |by: &'static str| {
        let request =
            bridge.http.post(reader.url("/api/routes/news/suspend")).bearer_auth("hunter2-admin").json(&json!({}));
        if by.is_empty() { request } else { request.header("dari-by", by) }
    };
    assert_eq!(api("").send().await.unwrap().status(), 200);
    assert_eq!(api("backup job").send().await.unwrap().status(), 200);
    bridge.operator().journal.flush().await.unwrap();
    let told = bridge.http.get(reader.url("/api/actions?limit=2")).bearer_auth("hunter2-admin").send().await.unwrap();
    let told: Value = told.json().await.unwrap();
    assert_eq!(told[0]["what"], "suspended route news (suspended by a person), by backup job");
    assert_eq!(told[1]["what"], "suspended route news (suspended by a person), by the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_form_does_nothing() {
    let world = World::whole(&yaml("http://127.0.0.1:1", ""));
    let bridge = world.start().await;
    let reader = Reader::new(&bridge);
    let path = "/do/sink/out/suspend";
    assert_eq!(reader.send(path, &[]).await.status(), 403, "without the page's token");
    assert_eq!(reader.send(path, &[("form", "0")]).await.status(), 403);
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("host", "evil.example")]
    {
        let request = reader.http.post(reader.url(path)).header(name, value).form(&[("why", "evil")]);
        assert_eq!(request.send().await.unwrap().status(), 403, "{name}");
    }
    assert!(bridge.suspended(Scope::Sink, "out").is_none());
    assert_eq!(reader.post(path, &[("back", "https://evil.example")]).await.status(), 303);
    assert!(bridge.suspended(Scope::Sink, "out").is_some());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_speaks_the_browsers_language() {
    let world = World::whole(&yaml("http://127.0.0.1:1", ""));
    let bridge = world.start().await;
    let reader = Reader::new(&bridge);
    let request = reader.http.get(reader.url("/")).header("accept-language", "ko-KR,ko;q=0.9,en;q=0.8");
    let html = request.send().await.unwrap().text().await.unwrap();
    assert!(html.contains(r#"<html lang="ko">"#) && html.contains("모두 정상입니다."), "{html}");
    assert!(reader.text("/").await.contains("All is well."));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_is_told_of_news_and_of_the_end() {
    let receiver = Receiver::ok().await;
    let world = World::whole(&yaml(&receiver.url, ""));
    let bridge = world.start().await;
    let reader = Reader::new(&bridge);
    let mut stream = reader.http.get(reader.url("/events")).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut heard = String::new();
    sent(&bridge, json!({"kind": "news", "id": "e-1", "s": "1", "n": 1, "phone": "1"})).await;
    while !heard.contains("event: news") {
        heard.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().expect("it goes on")));
    }
    let end = tokio::spawn(async move { while stream.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} });
    bridge.stop().await;
    tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap();
}
