//! The readings of the page that contradict each other, or that it leaves open: the sandbox takes the harder one unless
//! it is told otherwise.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How the sandbox reads the page; set by `PUT /_sandbox/state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub struct Switches {
    /// How answers are written.
    pub answers: Answers,
    /// Whether a no comes with a status of its own, or with 200.
    pub statuses: bool,
    /// Whether a body may leave `clientId` out, as the page's examples do.
    pub without_client_id: bool,
    /// What proves whom a call is from.
    pub auth: Auth,
    /// Whether a `POST` of a key that is there is refused, instead of making a second record.
    pub unique: bool,
    /// Whether `PUT` and `DELETE` of a key that is not there do nothing, instead of being refused.
    pub lenient: bool,
    /// Whether `PUT` replaces the whole record, instead of the parameters that it names.
    pub whole: bool,
    /// The code that every call is refused with, if it is not empty: `903`, `904`, `927` and the like.
    pub refuse: String,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// `{"code": "200", "message": "OK"}`.
    #[default]
    Flat,
    /// The same within `data`, as the page's heading says.
    Wrapped,
    /// The code as a number.
    Number,
    /// A yes as the page's example has it: `{ "message" : "OK", }`, without a code and no JSON.
    Page,
}

/// What proves whom a call is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// The secret in the body, or a token.
    #[default]
    Any,
    /// The secret in the body alone.
    Body,
    /// A token alone: "to be phased out", as the page on OAuth says of the secret in the body.
    Oauth,
    /// A token, and the secret in the body beside it.
    Both,
}

impl Switches {
    /// A yes.
    pub fn yes(&self) -> Response {
        match self.answers {
            Answers::Page => {
                let json = HeaderValue::from_static("application/json;charset=UTF-8");
                ([(CONTENT_TYPE, json)], "{\n\"message\" : \"OK\",\n}").into_response()
            }
            _ => self.answer(StatusCode::OK, "200", json!({ "message": "OK" })),
        }
    }

    /// A no with a code of the vendor's.
    pub fn no(&self, (code, message, detail): (&str, &str, String)) -> Response {
        let status = match code {
            _ if !self.statuses => StatusCode::OK,
            "901" | "902" => StatusCode::UNAUTHORIZED,
            "905" => StatusCode::TOO_MANY_REQUESTS,
            "903" | "904" | "927" => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        self.answer(status, code, json!({ "message": message, "messageDetail": detail }))
    }

    fn answer(&self, status: StatusCode, code: &str, mut body: Value) -> Response {
        body["code"] = match self.answers {
            Answers::Number => code.parse::<u32>().map_or(Value::Null, Value::from),
            _ => Value::String(code.to_owned()),
        };
        let body = if self.answers == Answers::Wrapped { json!({ "data": body }) } else { body };
        (status, axum::Json(body)).into_response()
    }
}
