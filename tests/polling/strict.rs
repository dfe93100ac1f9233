//! The sandbox is as strict as Walla's pages.

use axum::Router;
use axum::body::Body;
use dari::clock::Clock;
use dari::connectors::walla::sandbox;
use http::{Request, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const OPEN: (&str, &str) = ("x-walla-api-key", sandbox::OPEN_API_KEY);
/// `walla-client:walla-key`.
const BASIC: (&str, &str) = ("authorization", "Basic d2FsbGEtY2xpZW50OndhbGxhLWtleQ==");

fn clock() -> Clock {
    Clock::manual("2026-11-21T00:00:00Z".parse().unwrap())
}

async fn ask(router: &Router, key: (&str, &str), path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = Request::builder().uri(path).header(key.0, key.1).header("content-type", "application/json");
    let request = match body {
        Some(body) => request.method("POST").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    let response = router.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn keys_are_checked_by_each_api_in_its_own_words() {
    let router = sandbox::router(clock());
    for (key, path, expected) in [
        (("authorization", "Basic wrong"), "/workspace/list", json!({"message": "Unauthorized"})),
        (OPEN, "/workspace/ws-1/project/pj-7/columns", json!({"message": "Unauthorized"})),
        (("x-walla-api-key", "wrong"), "/open-api/v1/forms/form-7/fields", json!({"error": "Invalid API key"})),
        (BASIC, "/forms/form-7/fields", json!({"error": "Invalid API key"})),
    ] {
        assert_eq!(ask(&router, key, path, None).await, (StatusCode::UNAUTHORIZED, expected), "{path}");
    }
}

#[tokio::test]
async fn pages_are_newest_first_and_hold_a_hundred_at_most() {
    let router = sandbox::router(clock());
    for n in 1..=3 {
        let submission =
            json!({"id": format!("r{n}"), "submitted_at": format!("2026-11-20T00:00:0{n}Z"), "answers": {}});
        ask(&router, OPEN, "/_sandbox/responses", Some(submission)).await;
    }
    let search = "/forms/form-7/responses/search";
    let range = json!({"limit": 2, "submittedFrom": "2026-11-20T00:00:01Z", "submittedTo": "2026-11-20T00:00:03Z"});
    let (_, answer) = ask(&router, OPEN, search, Some(range)).await;
    let ids: Vec<_> = answer["data"]["responses"].as_array().unwrap().iter().map(|r| &r["responseId"]).collect();
    assert_eq!(ids, ["r3", "r2"], "both ends are within");
    assert_eq!(answer["data"]["pagination"], json!({"page": 1, "limit": 2, "totalCount": 3, "totalPages": 2}));
    for wrong in [json!({"limit": 101}), json!({"page": 0}), json!({"submittedFrom": "yesterday"}), json!({"since": 1})]
    {
        let (status, answer) = ask(&router, OPEN, search, Some(wrong.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(answer["error"].is_string(), "{wrong}");
    }
    let (status, _) = ask(&router, BASIC, "/workspace/ws-1/project/pj-7/response/query/dateRange", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_hours_requests_run_out_and_come_back() {
    let clock = clock();
    let router = sandbox::router(clock.clone());
    let path = "/forms/form-7/responses?limit=1";
    for _ in 0..sandbox::LIMIT {
        assert_eq!(ask(&router, OPEN, path, None).await.0, StatusCode::OK);
    }
    let too_many = (StatusCode::TOO_MANY_REQUESTS, json!({"error": "Rate limit exceeded"}));
    assert_eq!(ask(&router, OPEN, path, None).await, too_many);
    clock.advance(SignedDuration::from_hours(1));
    assert_eq!(ask(&router, OPEN, path, None).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_was_submitted_can_be_looked_at_and_unknown_questions_are_refused() {
    let router = sandbox::router(clock());
    let submission = json!({"customer_key": "c1", "answers": {"이름": "김하나", "field_agree": "예"}});
    let (_, made) = ask(&router, OPEN, "/_sandbox/responses", Some(submission)).await;
    assert_eq!(made, json!({"id": "res-1001", "submitted_at": "2026-11-21T00:00:00Z"}));
    let (_, state) = ask(&router, OPEN, "/_sandbox/state", None).await;
    assert_eq!(state["responses"][0]["answers"], json!({"field_name": "김하나", "field_agree": ["예"]}));
    let base = "/workspace/ws-1/project/pj-7/response";
    let (_, exists) = ask(&router, BASIC, &format!("{base}/check/customerKey/c1"), None).await;
    assert_eq!(exists, json!({"exists": true}));
    let (status, _) = ask(&router, BASIC, &format!("{base}/get/responseKey/none"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, told) = ask(&router, OPEN, "/_sandbox/responses", Some(json!({"answers": {"나이": 3}}))).await;
    assert_eq!((status, &told["message"]), (StatusCode::BAD_REQUEST, &json!("the form asks nothing called \"나이\"")));
}
