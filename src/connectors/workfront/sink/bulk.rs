//! Several objects in one call. Source: "bulk updates": `updates` is a list of at most 100 objects.
//!
//! What a failing call has done of its list is not said, but that an atomic one is all or nothing and answers only
//! `success: true` or an error. So creates go as atomic, and where the answer leaves a question open, the vendor is asked once
//! for all of them which are there, by their references.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use super::Objects;
use crate::connectors::client::{Client, SendError};
use crate::connectors::workfront::answer::{self, Said};
use crate::connectors::workfront::door::{self, Parameters};
use crate::connectors::{Answer, Call, reading};
use crate::outcome::Outcome;

/// True for a call that creates several.
pub(super) fn creates(call: &Call) -> bool {
    call.part["many"] == true && call.part["verb"] == "create"
}

/// What a merged call came to as a whole: of what one of several is refused for, the others are not.
pub(super) fn whole(call: &Call, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Refused { why } if call.part["many"] == true => Outcome::Reject { why },
        other => other,
    }
}

impl Objects {
    /// One call for several of the same verb.
    pub(super) fn together(&self, calls: &[&Call]) -> Option<Call> {
        let verb = calls.first()?.part["verb"].as_str()?;
        let records: Vec<&Map<String, Value>> =
            calls.iter().map(|call| call.part["record"].as_object()).collect::<Option<_>>()?;
        if calls.iter().any(|call| call.part["verb"] != verb) {
            return None;
        }
        let mut parameters: Parameters = vec![("updates".to_owned(), door::json(&json!(records)))];
        let method = match (verb, &self.reference) {
            ("create", Some(reference)) => {
                parameters.push(("method".to_owned(), "POST".to_owned()));
                parameters.push(("atomic".to_owned(), "true".to_owned()));
                parameters.push(("fields".to_owned(), format!("ID,{reference}")));
                Method::POST
            }
            // Two updates of one object have an order.
            ("update", _) if distinct(&records) => Method::PUT,
            _ => return None,
        };
        let again = method == Method::PUT;
        let part = json!({ "verb": verb, "many": true, "reference": self.reference });
        Some(self.door.call(&method, &[&self.object], parameters).part(part).idempotent(again))
    }

    /// Creates several, and finds out which were created where the answer does not tell.
    pub(super) async fn create_together(&self, client: &Client, call: &Call) -> Result<Answer, SendError> {
        let answer = client.send(call).await?;
        let (Some(reference), Some(records)) = (&self.reference, records(call)) else { return Ok(answer) };
        let why = match answer::read(&answer) {
            Said::Yes(data) if ids(&answer::rows(data.clone()), reference).len() == records.len() => return Ok(answer),
            Said::Yes(_) => None,
            // Of these the vendor says that it did not look at the call.
            Said::No(answer::Trouble::Credentials | answer::Trouble::Busy | answer::Trouble::Elsewhere, _) => {
                return Ok(answer);
            }
            Said::No(_, why) => Some(why),
        };
        // Source: "OR statements": the filter itself is one alternative, each number another.
        let mut parameters: Parameters = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let value = record[reference.as_str()].as_str().unwrap_or_default();
            let name = if at == 0 { reference.clone() } else { format!("OR:{at}:{reference}") };
            parameters.push((name, value.to_owned()));
        }
        parameters.push(("fields".to_owned(), format!("ID,{reference}")));
        parameters.push(("$$LIMIT".to_owned(), "2000".to_owned()));
        let question = self.door.call(&Method::GET, &[&self.object, "search"], parameters);
        let found = client.send(&question).await.ok().map(|answer| answer::read(&answer));
        match (found, why) {
            (Some(Said::Yes(data)), why) => {
                let there = ids(&answer::rows(data.clone()), reference);
                let ours = |known: &str| records.iter().any(|record| record[reference.as_str()] == known);
                if why.is_some() && !there.iter().any(|(known, _)| ours(known)) {
                    // Nothing was done, as the vendor says of atomic calls.
                    return Ok(answer);
                }
                let body = json!({ "data": answer::rows(data), "partly": why });
                Ok(Answer {
                    status: http::StatusCode::OK,
                    headers: answer.headers,
                    body: Bytes::from(body.to_string()),
                })
            }
            // It was said to be done, and which are which can be asked one by one.
            (_, None) => Ok(answer),
            (_, Some(why)) => Err(SendError::NoAnswer(format!("what was done of the call could not be asked: {why}"))),
        }
    }
}

/// What became of each.
pub(super) fn split(merged: &Call, calls: &[&Call], answer: &Answer) -> Option<Vec<Outcome>> {
    let Said::Yes(data) = answer::read(answer) else { return None };
    if !creates(merged) {
        let done = |call: &&Call| Outcome::Delivered { remote_id: call.remote_id.clone() };
        return Some(calls.iter().map(done).collect());
    }
    let reference = merged.part["reference"].as_str()?;
    let partly = answer.json().and_then(|body| body["partly"].as_str().map(str::to_owned));
    let there = ids(&answer::rows(data), reference);
    let one = |call: &&Call| {
        let id =
            call.part["record"][reference].as_str().and_then(|value| there.iter().find(|(known, _)| known == value));
        match (id, &partly) {
            (Some((_, id)), _) => Outcome::Delivered { remote_id: Some(id.clone()) },
            (None, Some(why)) => Outcome::retry(format!("of several in one call this one was not made: {why}")),
            (None, None) => Outcome::Unknown { why: "the answer to several in one call does not show it".to_owned() },
        }
    };
    Some(calls.iter().map(one).collect())
}

/// References and IDs of records that have both.
fn ids(rows: &[Value], reference: &str) -> Vec<(String, String)> {
    let pair = |row: &Value| Some((row[reference].as_str()?.to_owned(), reading::id(&row["ID"])?));
    rows.iter().filter_map(pair).collect()
}

/// The records of a merged call, out of its body.
fn records(call: &Call) -> Option<Vec<Value>> {
    let (_, updates) = form_urlencoded::parse(&call.body).find(|(name, _)| name == "updates")?;
    serde_json::from_str(&updates).ok()
}

fn distinct(records: &[&Map<String, Value>]) -> bool {
    let ids: std::collections::BTreeSet<&str> = records.iter().filter_map(|record| record["ID"].as_str()).collect();
    ids.len() == records.len()
}
