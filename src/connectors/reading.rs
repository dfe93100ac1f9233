//! What all hooks do with a request: find its text, cut its arrays, read ids and times out of it.

use std::collections::{BTreeMap, HashMap};

use http::{HeaderMap, HeaderName, Method, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{HookRequest, Refusal};
use crate::event::Payload;
use crate::settings::parse_instant;

/// How many items of an array one request may have: each becomes an event.
pub const MAX_ITEMS: usize = 1_000;
/// How many headers an event carries.
const MAX_HEADERS: usize = 48;
/// How long the value of a carried header may be, in bytes.
const MAX_HEADER: usize = 1_024;
/// How long the names and values of all carried headers may be, in bytes: each event of a request carries them all.
const MAX_HEADERS_LENGTH: usize = 8 << 10;

/// The body of a request by its media type: JSON (also `…+json`, or without a type) or a form. A request without a
/// body by GET is its query, which no signature of a body covers: a hook that checks one takes no GET. As it was sent,
/// and as the value it stands for.
///
/// # Errors
/// [`Refusal::Unsupported`] for another media type, [`Refusal::Malformed`] for broken JSON or a form that is no text.
pub fn payload(request: &HookRequest<'_>) -> Result<(Payload, Value), Refusal> {
    if request.method == Method::GET && request.body.is_empty() && !request.query.is_empty() {
        return Ok(form(request.query.to_owned()));
    }
    payload_as(text(request.headers, header::CONTENT_TYPE.as_str()).unwrap_or_default(), request.body)
}

/// A body by its media type, as [`payload`] without a request.
///
/// # Errors
/// As [`payload`].
pub fn payload_as(media: &str, body: &[u8]) -> Result<(Payload, Value), Refusal> {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/x-www-form-urlencoded" => {
            let text = std::str::from_utf8(body);
            let text = text.map_err(|_| Refusal::Malformed("the form is not UTF-8".to_owned()))?;
            Ok(form(text.to_owned()))
        }
        "" | "application/json" | "text/json" => json(body),
        other if other.ends_with("+json") => json(body),
        other => Err(Refusal::Unsupported(format!(
            "the media type {other:?} is not supported: send application/json or application/x-www-form-urlencoded"
        ))),
    }
}

/// JSON text, kept byte for byte, and its value. Text nested deeper than 128 levels is none: nobody could read it later.
///
/// # Errors
/// [`Refusal::Malformed`].
pub fn json(text: &[u8]) -> Result<(Payload, Value), Refusal> {
    let value = serde_json::from_slice(text).map_err(|e| Refusal::Malformed(format!("the body is not JSON: {e}")))?;
    let payload = Payload::json(text).map_err(|e| Refusal::Malformed(e.to_string()))?;
    Ok((payload, value))
}

fn form(text: String) -> (Payload, Value) {
    let payload = Payload::Form(text);
    let value = payload.value();
    (payload, value)
}

/// The items of a JSON array, byte for byte; `None` if it is no array.
///
/// # Errors
/// [`Refusal::Malformed`] if there are more than [`MAX_ITEMS`].
pub fn items(payload: &Payload) -> Result<Option<Vec<Payload>>, Refusal> {
    let Payload::Json(raw) = payload else { return Ok(None) };
    list(raw)
}

fn list(raw: &RawValue) -> Result<Option<Vec<Payload>>, Refusal> {
    if !raw.get().starts_with('[') {
        return Ok(None);
    }
    let items: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|e| Refusal::Malformed(format!("the body is not JSON: {e}")))?;
    within(items.len())?;
    Ok(Some(items.into_iter().map(|item| Payload::Json(item.to_owned())).collect()))
}

/// Refuses more than [`MAX_ITEMS`].
///
/// # Errors
/// [`Refusal::Malformed`].
pub fn within(count: usize) -> Result<(), Refusal> {
    if count <= MAX_ITEMS {
        return Ok(());
    }
    Err(Refusal::Malformed(format!("the request has {count} items, at most {MAX_ITEMS} are allowed")))
}

/// The items of the array at a path of keys, byte for byte; `None` if there is no array.
///
/// # Errors
/// [`Refusal::Malformed`] if there are more than [`MAX_ITEMS`].
pub fn items_at(payload: &Payload, path: &[&str]) -> Result<Option<Vec<Payload>>, Refusal> {
    let Payload::Json(raw) = payload else { return Ok(None) };
    let mut at: &RawValue = raw;
    for key in path {
        let Ok(object) = serde_json::from_str::<HashMap<String, &RawValue>>(at.get()) else { return Ok(None) };
        let Some(inner) = object.get(*key) else { return Ok(None) };
        at = inner;
    }
    list(at)
}

/// The text of a header; `None` if it is missing, empty or not readable.
#[must_use]
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
}

/// The headers that travel with an event: those without credentials, signatures and the marks of the way here, as many
/// as fit. `path_secret` is the one that the request came to: a proxy may have put the whole path into a header.
#[must_use]
pub fn carried(headers: &HeaderMap, secret: &[HeaderName], path_secret: Option<&str>) -> BTreeMap<String, String> {
    let path_secret = path_secret.filter(|secret| !secret.is_empty());
    let tells = |value: &str| path_secret.is_some_and(|secret| tells(value, secret));
    let fitting = headers.iter().filter(|(name, _)| !secret.contains(name));
    carry(fitting.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok().filter(|value| !tells(value))?))))
}

/// Those of these headers, by lower-case name, that are no credentials and no marks of the way here, as many as fit.
pub fn carry<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    let mut left = MAX_HEADERS_LENGTH;
    headers
        .filter(|(name, value)| !is_dropped(name) && value.len() <= MAX_HEADER)
        .filter(|(name, value)| {
            let rest = left.checked_sub(name.len() + value.len());
            left = rest.unwrap_or(left);
            rest.is_some()
        })
        .take(MAX_HEADERS)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// True if a header's value has the secret in it, as it is or percent-encoded.
fn tells(value: &str, secret: &str) -> bool {
    value.contains(secret) || percent_decode_str(value).decode_utf8_lossy().contains(secret)
}

fn is_dropped(name: &str) -> bool {
    const WAY: &[&str] = &[
        "host",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "expect",
        "accept",
        "accept-encoding",
        "via",
        "forwarded",
        "proxy-connection",
    ];
    // Any vendor's name for a credential has one of these in it; a header too many dropped does no harm.
    const MARKS: &[&str] = &[
        "auth",
        "cookie",
        "signature",
        "hmac",
        "secret",
        "token",
        "password",
        "passwd",
        "api-key",
        "apikey",
        "credential",
    ];
    WAY.contains(&name) || name.starts_with("x-forwarded-") || MARKS.iter().any(|mark| name.contains(mark))
}

/// A value as the text of an id: text and whole numbers, nothing else.
#[must_use]
pub fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value as an instant: RFC 3339, a time or date in `zone`, or seconds since 1970 with or without a fraction.
#[must_use]
pub fn instant(value: &Value, zone: &TimeZone) -> Option<Timestamp> {
    match value {
        Value::String(text) => civil(text, zone).or_else(|| parse_instant(text, zone)).or_else(|| epoch(text)),
        Value::Number(number) => epoch(&number.to_string()),
        _ => None,
    }
}

fn civil(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    // A time with an offset or a `Z` also parses as a civil one, so that one goes first.
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

/// Seconds since 1970 as `1503435956` or `1503435956.000247`, to the microsecond; above 10¹¹ they are milliseconds.
#[must_use]
pub fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number: i64 = whole.parse().ok()?;
    if number >= 100_000_000_000 && fraction.is_empty() {
        return Timestamp::from_millisecond(number).ok();
    }
    if number < 0 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6.6}").parse().ok()?;
    Timestamp::from_microsecond(number.checked_mul(1_000_000)?.checked_add(micros)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::Method;
    use proptest::prelude::*;

    fn read(media: &str, body: &[u8], query: &str) -> Result<Payload, Refusal> {
        read_both(media, body, query).map(|(payload, _)| payload)
    }

    fn read_both(media: &str, body: &[u8], query: &str) -> Result<(Payload, Value), Refusal> {
        let mut headers = HeaderMap::new();
        if !media.is_empty() {
            headers.insert("content-type", media.parse().unwrap());
        }
        let body = Bytes::copy_from_slice(body);
        let method = if body.is_empty() && !query.is_empty() { Method::GET } else { Method::POST };
        payload(&HookRequest { method: &method, headers: &headers, query, path_secret: None, body: &body })
    }

    #[test]
    fn a_body_is_json_or_a_form() {
        let body = br#"{"a": 1.10}"#;
        for media in
            ["", "application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json", "text/json"]
        {
            assert_eq!(read(media, body, "").unwrap().bytes(), body, "{media}");
        }
        assert!(
            matches!(read("application/x-www-form-urlencoded", b"a=1", ""), Ok(Payload::Form(text)) if text == "a=1")
        );
        assert!(matches!(read("", b"", "a=1"), Ok(Payload::Form(text)) if text == "a=1"));
        insta::assert_snapshot!(read("text/xml", b"<a/>", "").unwrap_err(), @r#"the media type "text/xml" is not supported: send application/json or application/x-www-form-urlencoded"#);
        insta::assert_snapshot!(read("application/json", b"{\"a\":", "").unwrap_err(), @"the body is not JSON: EOF while parsing a value at line 1 column 5");
        assert!(matches!(read("application/json", b"\"\xff\"", ""), Err(Refusal::Malformed(_))));
        assert!(matches!(read("application/x-www-form-urlencoded", b"\xff", ""), Err(Refusal::Malformed(_))));
        assert!(matches!(read("application/json", b"", ""), Err(Refusal::Malformed(_))));
        let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
        assert!(
            matches!(read("application/json", &deep, ""), Err(Refusal::Malformed(_))),
            "it could not be read later"
        );
    }

    #[test]
    fn the_query_of_a_post_is_no_payload() {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        let request =
            HookRequest { method: &Method::POST, headers: &headers, query: "a=1", path_secret: None, body: &body };
        assert!(matches!(payload(&request), Err(Refusal::Malformed(_))), "no signature covers it");
    }

    #[test]
    fn a_header_with_the_secret_of_the_path_does_not_travel() {
        let pairs = [
            ("x-original-uri", "/hooks/a/hunter2-long"),
            ("referer", "https://x/hooks/a/%68unter2-long"),
            ("x-kind", "b"),
        ];
        let headers: HeaderMap = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let kept: Vec<String> = carried(&headers, &[], Some("hunter2-long")).into_keys().collect();
        assert_eq!(kept, ["x-kind"]);
        assert_eq!(carried(&headers, &[], Some("")).len(), 3);
    }

    #[test]
    fn items_keep_their_bytes() {
        let payload = json(br#"{"d": {"x": [ {"n":1.10} , 12345678901234567890123, "\u00e9" ]}}"#).unwrap().0;
        let items = items_at(&payload, &["d", "x"]).unwrap().unwrap();
        let texts: Vec<&[u8]> = items.iter().map(Payload::bytes).collect();
        assert_eq!(texts, [&br#"{"n":1.10}"#[..], b"12345678901234567890123", br#""\u00e9""#]);
        assert!(items_at(&payload, &["d", "y"]).unwrap().is_none());
        assert!(super::items(&payload).unwrap().is_none());
        let many = json(format!("[{}0]", "0,".repeat(MAX_ITEMS)).as_bytes()).unwrap().0;
        insta::assert_snapshot!(super::items(&many).unwrap_err(), @"the request has 1001 items, at most 1000 are allowed");
    }

    #[test]
    fn headers_travel_without_credentials() {
        let pairs = [
            ("Authorization", "Bearer x"),
            ("Proxy-Authorization", "x"),
            ("Cookie", "x"),
            ("Set-Cookie", "x"),
            ("X-Hub-Signature-256", "x"),
            ("X-Shopify-Hmac-Sha256", "x"),
            ("X-Api-Key", "x"),
            ("X-Gitlab-Token", "x"),
            ("X-Own", "x"),
            ("Host", "x"),
            ("X-Forwarded-For", "x"),
            ("X-GitHub-Event", "push"),
            ("User-Agent", "GitHub-Hookshot"),
        ];
        let headers: HeaderMap = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let kept = carried(&headers, &[HeaderName::from_static("x-own")], None);
        assert_eq!(
            kept.into_iter().collect::<Vec<_>>(),
            [("user-agent".to_owned(), "GitHub-Hookshot".to_owned()), ("x-github-event".to_owned(), "push".to_owned()),]
        );
    }

    #[test]
    fn the_carried_headers_are_bounded() {
        let mut headers: HeaderMap =
            (0..200).map(|n| (format!("x-{n}").parse().unwrap(), "v".parse().unwrap())).collect();
        assert_eq!(carried(&headers, &[], None).len(), MAX_HEADERS);
        headers.clear();
        headers.insert("x-long", "v".repeat(MAX_HEADER + 1).parse().unwrap());
        assert!(carried(&headers, &[], None).is_empty());
        headers
            .extend((0..40).map(|n| (format!("x-{n}").parse::<HeaderName>().ok(), "v".repeat(1_000).parse().unwrap())));
        let kept = carried(&headers, &[], None);
        let length: usize = kept.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!((7_000..=8_192).contains(&length), "{length}");
    }

    #[test]
    fn times_are_read_in_their_zone() {
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        let read = |value: Value| instant(&value, &seoul).map(|at| at.to_string());
        assert_eq!(read("2021-01-02 10:16".into()).as_deref(), Some("2021-01-02T01:16:00Z"));
        assert_eq!(read("2021-01-02T10:16:00Z".into()).as_deref(), Some("2021-01-02T10:16:00Z"));
        assert_eq!(read("2021-12-31T19:00:00-05:00".into()).as_deref(), Some("2022-01-01T00:00:00Z"));
        assert_eq!(read("2021-01-02".into()).as_deref(), Some("2021-01-01T15:00:00Z"));
        assert_eq!(read("1503435956.000247".into()).as_deref(), Some("2017-08-22T21:05:56.000247Z"));
        assert_eq!(read(1_533_204_620.into()).as_deref(), Some("2018-08-02T10:10:20Z"));
        assert_eq!(read(1_533_204_620_123_i64.into()).as_deref(), Some("2018-08-02T10:10:20.123Z"));
        for none in [Value::Null, "".into(), "noon".into(), "1.x".into(), (-1).into(), "9223372036854775807.9".into()] {
            assert_eq!(read(none.clone()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_request_is_answered(media in "[ -~]*", body in any::<Vec<u8>>(), query in "\\PC*") {
            let _ = read(&media, &body, &query);
        }

        #[test]
        fn any_time_is_answered(text in "([0-9T:.Z+-]|\\PC)*") {
            let _ = instant(&Value::String(text), &TimeZone::UTC);
        }
    }
}
