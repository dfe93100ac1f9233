//! The envelope of Dooray's answers: `{ "header": { "isSuccessful", "resultCode", "resultMessage" }, "result", "totalCount" }`.
//!
//! Flags, codes and counts come as numbers, booleans or text, by page and endpoint; all are read.

use http::StatusCode;
use serde_json::Value;

use crate::connectors::{Answer, reading};

/// What an answer said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// `header.isSuccessful`; `None` where there is no such header.
    pub(super) success: Option<bool>,
    /// `header.resultCode` as text.
    code: String,
    /// `header.resultMessage`: for people, its wording may change.
    message: String,
    /// `result`.
    pub(super) result: Value,
    /// `totalCount`.
    pub(super) total: Option<u64>,
}

impl Said {
    /// `None` if the body is no JSON object.
    pub(super) fn read(answer: &Answer) -> Option<Self> {
        let mut body = answer.json()?;
        let header = body.get_mut("header").map(Value::take).unwrap_or_default();
        let text = |value: &Value| reading::id(value).unwrap_or_default();
        body.is_object().then(|| Self {
            success: flag(&header["isSuccessful"]),
            code: text(&header["resultCode"]),
            message: header["resultMessage"].as_str().unwrap_or_default().chars().take(300).collect(),
            total: reading::id(&body["totalCount"]).and_then(|count| count.parse().ok()),
            result: body.get_mut("result").map(Value::take).unwrap_or_default(),
        })
    }

    /// True if the vendor says yes.
    pub(super) fn is_yes(&self, status: StatusCode) -> bool {
        status.is_success() && self.success == Some(true)
    }

    /// Code and message, for people.
    pub(super) fn why(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("" | "0", "") => "no reason given".to_owned(),
            ("" | "0", message) => message.to_owned(),
            (code, "") => format!("resultCode {code}"),
            (code, message) => format!("resultCode {code}: {message}"),
        }
    }
}

/// `403: resultCode -1: no right`, or the start of what is no envelope.
pub(super) fn summary(answer: &Answer) -> String {
    let said = Said::read(answer).filter(|said| said.success.is_some());
    match said {
        Some(said) => format!("{}: {}", answer.status.as_u16(), said.why()),
        None => answer.summary(),
    }
}

/// A flag: `true` or `"true"`.
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(yes) => Some(*yes),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn answer(status: u16, body: &'static str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn every_spelling_is_read() {
        for body in [
            r#"{"header":{"isSuccessful":true,"resultCode":0,"resultMessage":""},"result":{"id":"7"},"totalCount":2}"#,
            r#"{"header":{"isSuccessful":"true","resultCode":"0"},"result":{"id":"7"},"totalCount":"2","extra":1}"#,
        ] {
            let said = Said::read(&answer(200, body)).unwrap();
            assert!(said.is_yes(StatusCode::OK) && !said.is_yes(StatusCode::FORBIDDEN));
            assert_eq!((said.total, &said.result["id"]), (Some(2), &Value::from("7")));
        }
        assert!(Said::read(&answer(200, "<html>")).is_none());
        assert!(Said::read(&answer(200, "[]")).is_none());
        assert_eq!(Said::read(&answer(200, "{}")).unwrap().success, None);
    }

    #[test]
    fn reasons_show_the_code_and_the_words() {
        let body = r#"{"header":{"isSuccessful":false,"resultCode":"INVALID_PAYLOAD","resultMessage":"no text"}}"#;
        assert_eq!(summary(&answer(400, body)), "400: resultCode INVALID_PAYLOAD: no text");
        assert_eq!(summary(&answer(403, r#"{"header":{"isSuccessful":false,"resultCode":-7}}"#)), "403: resultCode -7");
        assert_eq!(summary(&answer(502, "<html>Busy")), "HTTP 502: <html>Busy");
    }
}
