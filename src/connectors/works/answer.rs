//! What Works' answers mean.
//!
//! A yes is a 200 whose code is `200` (text or number, flat or within `data`: the page says one and shows the other), or
//! whose message is `OK` where there is no code, as in the page's own example.

use http::StatusCode;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use crate::connectors::{Answer, Call};
use crate::outcome::{Outcome, Scope};

/// The parts of an answer that count.
struct Said {
    code: Option<String>,
    message: String,
}

/// Reads an answer. `zone` is where the account's month turns.
pub fn classify(call: &Call, answer: &Answer, now: Timestamp, zone: &TimeZone) -> Outcome {
    // Whether 9xx codes come with a 200 only is documented nowhere: the code counts wherever it stands.
    let said = read(answer);
    if let Some(outcome) = said.as_ref().and_then(|said| by_code(call, answer, said, now, zone)) {
        return outcome;
    }
    let why = answer.summary();
    match answer.status {
        status if status.is_success() => in_doubt(call, format!("the answer is not the vendor's: {why}")),
        StatusCode::TOO_MANY_REQUESTS => Outcome::Retry { after: answer.retry_after(now), account: true, why },
        // The gateway waited for Works in vain: it may have acted.
        StatusCode::GATEWAY_TIMEOUT => in_doubt(call, why),
        StatusCode::REQUEST_TIMEOUT => Outcome::retry(why),
        status if status.is_server_error() => Outcome::Retry { after: answer.retry_after(now), account: false, why },
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Outcome::reject(why)
        }
        // Credentials, or an account `url` that does not lead to Works: no record can succeed.
        _ => Outcome::Suspend { what: Scope::Account, why, until: None },
    }
}

fn by_code(call: &Call, answer: &Answer, said: &Said, now: Timestamp, zone: &TimeZone) -> Option<Outcome> {
    let ok = answer.status.is_success();
    let Some(code) = &said.code else {
        return (ok && said.message == "OK").then(|| Outcome::Delivered { remote_id: call.remote_id.clone() });
    };
    let why = format!("code {code}: {}", if said.message.is_empty() { "no message" } else { &said.message });
    let suspend = |until| Outcome::Suspend { what: Scope::Account, why: why.clone(), until };
    Some(match code.as_str() {
        "200" if ok => Outcome::Delivered { remote_id: call.remote_id.clone() },
        // Client id, client secret, service restricted, service expired.
        "901" | "902" | "903" | "904" => suspend(None),
        // No permission.
        "927" => Outcome::refused(why),
        // The call limit, which is monthly.
        "905" => suspend(next_month(now, zone)),
        "429" => Outcome::Retry { after: answer.retry_after(now), account: true, why },
        // A gateway's trouble in the body of a 200, or a code that no page lists under the status of one: nothing is wrong
        // with the record, and a gateway may have given up on a call that took effect.
        code if is_trouble(code) && ok => in_doubt(call, why),
        code if is_vendors(code) && answer.status.is_server_error() => in_doubt(call, why),
        code if is_vendors(code) => Outcome::reject(why),
        _ if ok => Outcome::reject(why),
        // Such as `{"code": "500"}` with a 500: the status says as much.
        _ => return None,
    })
}

/// A status of a server in trouble, as a code.
fn is_trouble(code: &str) -> bool {
    code.len() == 3 && code.starts_with('5') && code.bytes().all(|byte| byte.is_ascii_digit())
}

/// A code of the vendor's own range, 9xx.
fn is_vendors(code: &str) -> bool {
    code.len() == 3 && code.starts_with('9')
}

/// Not understood: whether it took effect is unknown, which matters only where a second call would do more.
fn in_doubt(call: &Call, why: String) -> Outcome {
    if call.idempotent { Outcome::retry(why) } else { Outcome::Unknown { why } }
}

/// Code and message of an answer; `None` if it is not the vendor's.
pub fn said(answer: &Answer) -> Option<(Option<String>, String)> {
    read(answer).map(|said| (said.code, said.message))
}

fn read(answer: &Answer) -> Option<Said> {
    let json = answer.json().or_else(|| without_last_comma(&answer.text()))?;
    let object = json.as_object()?;
    let inner = object.get("data").and_then(Value::as_object);
    let find = |key| object.get(key).or_else(|| inner?.get(key));
    let text = |key| match find(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = [text("message"), text("messageDetail")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    Some(Said { code: text("code"), message })
}

/// The page's example answer is `{ "message" : "OK", }`, which is no JSON.
fn without_last_comma(text: &str) -> Option<Value> {
    let open = text.trim().strip_suffix('}')?.trim_end().strip_suffix(',')?;
    serde_json::from_str(&format!("{open}}}")).ok()
}

/// The first moment of the next month.
fn next_month(now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let first = now.to_zoned(zone.clone()).date().first_of_month().checked_add(1.month()).ok()?;
    first.to_zoned(zone.clone()).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use url::Url;

    fn outcome(method: &Method, status: u16, body: &str) -> Outcome {
        let call = Call::new(method.clone(), Url::parse("https://api.daouoffice.com/public/v1/works").expect("a URL"))
            .idempotent(*method != Method::POST)
            .remote_id(Some("7".to_owned()));
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) };
        let now = "2026-12-31T14:59:59Z".parse().expect("a time");
        classify(&call, &answer, now, &TimeZone::get("Asia/Seoul").expect("a zone"))
    }

    #[test]
    fn every_spelling_of_yes_is_delivered() {
        let yes = [
            r#"{"code":"200","message":"OK"}"#,
            r#"{"code":200,"message":"OK"}"#,
            r#"{"data":{"code":"200","message":"OK"}}"#,
            r#"{"message":"OK"}"#,
            "{ \"message\" : \"OK\",\n}",
        ];
        for body in yes {
            let delivered = Outcome::Delivered { remote_id: Some("7".to_owned()) };
            assert_eq!(outcome(&Method::POST, 200, body), delivered, "{body}");
        }
    }

    #[test]
    fn an_exhausted_quota_suspends_until_the_month_turns_in_seoul() {
        let Outcome::Suspend { what, why, until } =
            outcome(&Method::POST, 200, r#"{"code":"905","message":"API 호출 한도 초과"}"#)
        else {
            panic!("not suspended")
        };
        assert_eq!((what, why.as_str()), (Scope::Account, "code 905: API 호출 한도 초과"));
        // One second before midnight in Seoul.
        assert_eq!(until.map(|at| at.to_string()).as_deref(), Some("2026-12-31T15:00:00Z"));
    }

    #[test]
    fn each_answer_has_one_meaning() {
        let cases = [
            (Method::POST, 200, r#"{"code":"901","message":"유효하지 않은 client ID"}"#, "suspend"),
            (Method::POST, 401, r#"{"code":902}"#, "suspend"),
            (Method::POST, 200, r#"{"code":"904"}"#, "suspend"),
            (Method::POST, 200, r#"{"code":"927"}"#, "reject"),
            (Method::POST, 200, r#"{"code":"925","message":"잘못된 파라미터 형식"}"#, "reject"),
            (Method::POST, 200, r#"{"code":"955"}"#, "reject"),
            (Method::POST, 200, r#"{"code":"1234"}"#, "reject"),
            (Method::POST, 200, "<html>", "unknown"),
            (Method::POST, 200, r#"{"message":"?"}"#, "unknown"),
            (Method::PUT, 200, "<html>", "retry"),
            (Method::DELETE, 200, "", "retry"),
            (Method::POST, 504, "", "unknown"),
            (Method::PUT, 504, "", "retry"),
            (Method::POST, 500, r#"{"code":"500"}"#, "retry"),
            (Method::POST, 200, r#"{"code":"500"}"#, "unknown"),
            (Method::PUT, 200, r#"{"code":503}"#, "retry"),
            (Method::POST, 200, r#"{"code":"429"}"#, "retry"),
            (Method::POST, 500, r#"{"code":"999"}"#, "unknown"),
            (Method::PUT, 502, r#"{"code":"999"}"#, "retry"),
            (Method::POST, 500, r#"{"code":"904"}"#, "suspend"),
            (Method::POST, 502, "", "retry"),
            (Method::POST, 429, "", "retry"),
            (Method::POST, 400, "", "reject"),
            (Method::POST, 401, "", "suspend"),
            (Method::POST, 404, "", "suspend"),
            (Method::POST, 302, "", "suspend"),
        ];
        for (method, status, body, name) in cases {
            assert_eq!(outcome(&method, status, body).name(), name, "{method} {status} {body}");
        }
    }
}
