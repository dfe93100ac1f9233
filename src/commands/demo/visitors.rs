//! Visitors: they fill in the form, change their minds, order things; and the vendors fail now and then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::header::HeaderName;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use sha2::Sha256;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::balance::{Made, Response, States};
use super::folder;
use super::lines::{Progress, remark};
use crate::commands::sandbox::Stage;
use crate::commands::{CommandError, Result, output};
use crate::connectors::Call;
use crate::connectors::client::Client;
use crate::connectors::sandbox::{Fault, Served};

/// How long until the next one comes.
const PAUSE: Duration = Duration::from_millis(1200);
/// How long the first poll may take: what is submitted before it was there before the bridge.
const FIRST_POLL: Duration = Duration::from_secs(10);
/// The header that the example's `orders` is signed in.
const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

const NAMES: &[&str] = &["김하나", "이도윤", "박서연", "최민준", "정지우", "강하준", "윤서아", "임시우"];

/// Who comes, and what they have made.
pub struct Visitors<'a> {
    walla: &'a Served,
    works: &'a Served,
    slack: &'a Served,
    erp: &'a Served,
    hooks: String,
    client: Client,
    progress: Arc<Progress>,
    made: Made,
    turn: usize,
}

impl<'a> Visitors<'a> {
    /// Visitors of the example config.
    ///
    /// # Errors
    /// The config lacks one of the accounts and sinks that they know.
    pub fn new(stage: &'a Stage, hooks: String, progress: Arc<Progress>) -> Result<Self> {
        let there = |name: &str, served: Option<&'a Served>| {
            served.ok_or_else(|| CommandError::Failed(format!("the example has no {name}")))
        };
        Ok(Self {
            walla: there("walla", stage.account("walla"))?,
            works: there("daou", stage.account("daou"))?,
            slack: there("slack", stage.account("slack"))?,
            erp: there("erp", stage.sink_of_its_own("erp"))?,
            hooks,
            client: Client::new().map_err(CommandError::failed)?,
            progress,
            made: Made::default(),
            turn: 0,
        })
    }

    /// Come one after the other until it is over. What one has begun is finished.
    ///
    /// # Errors
    /// The bridge never polls, or refuses an order.
    pub async fn come(&mut self, over: &CancellationToken) -> Result {
        let since = Instant::now();
        while !self.progress.is_polled("signup") {
            if since.elapsed() > FIRST_POLL {
                return Err(CommandError::Failed("the form is not polled".into()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while !over.is_cancelled() {
            self.next().await?;
            tokio::select! {
                () = over.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result {
        self.turn += 1;
        self.trouble()?;
        match self.turn % 4 {
            2 => self.order().await,
            0 => self.change().await,
            _ => self.respond().await,
        }
    }

    /// Failures that pass: the next call to a vendor has one, the one after that has none.
    fn trouble(&self) -> Result {
        let (name, vendor, fault) = match self.turn % 8 {
            2 => ("the ERP answers 500", self.erp, Fault::ServerError),
            3 => ("Works answers 429, asks for a second", self.works, Fault::TooManyRequests { after: 1 }),
            5 => ("Slack answers 500", self.slack, Fault::ServerError),
            7 => ("Slack answers 429, asks for a second", self.slack, Fault::TooManyRequests { after: 1 }),
            _ => return Ok(()),
        };
        vendor.faults.next(fault, 1);
        output::line(remark(&format!("{name}, once")))
    }

    async fn respond(&mut self) -> Result {
        let number = self.made.responses.len();
        let name = NAMES[number % NAMES.len()];
        // One in four does not agree: Works' route leaves it.
        let agreed = number % 4 != 2;
        let asked = format!("{name}님의 문의");
        let answers = json!({
            "이름": name,
            "연락처": format!("010-0000-{number:04}"),
            "개인정보 동의": if agreed { "예" } else { "아니요" },
            "등급": if number.is_multiple_of(2) { "초급" } else { "고급" },
            "문의": asked,
        });
        let submitted = self.walla.play(Method::POST, "/_sandbox/responses", &json!({ "answers": answers })).await;
        let id = submitted["id"].as_str().unwrap_or_default().to_owned();
        self.made.responses.insert(id, Response { agreed, asked: vec![asked] });
        Ok(())
    }

    /// Someone changes the newest response that the bridge knows as it is: of two changes between two polls it would
    /// see one.
    async fn change(&mut self) -> Result {
        let progress = &self.progress;
        let known = |(id, response): &(&String, &mut Response)| {
            usize::try_from(progress.events("signup", id)) == Ok(response.asked.len())
        };
        let Some((id, response)) = self.made.responses.iter_mut().rev().find(known) else {
            return self.respond().await;
        };
        let asked = format!("변경 요청 {}", response.asked.len());
        let change = json!({ "id": id, "answers": { "문의": asked } });
        self.walla.play(Method::POST, "/_sandbox/responses", &change).await;
        response.asked.push(asked);
        Ok(())
    }

    async fn order(&mut self) -> Result {
        let number = 1001 + self.made.orders.len();
        let no = format!("A-{number}");
        let body = json!({
            "id": format!("ord-{number}"),
            "kind": "order.paid",
            "order": { "no": no, "total": "15000", "items": [{ "sku": "book", "count": 1 }] },
        });
        let url = Url::parse(&self.hooks).map_err(CommandError::failed)?;
        let mut call = Call::new(Method::POST, url).json(&body);
        let signature = HeaderValue::from_str(&sign(&call.body)?).map_err(CommandError::failed)?;
        call.headers.insert(SIGNATURE, signature);
        let answer = self.client.send(&call).await.map_err(CommandError::failed)?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(CommandError::Failed(format!("the order {no} was answered {}", answer.status)));
        }
        self.made.orders.insert(no);
        Ok(())
    }

    /// All that was made so far, with what somebody else sent.
    pub fn made(&self) -> Made {
        let mut made = self.made.clone();
        let seen: BTreeSet<_> = self.progress.subjects("orders").into_iter().collect();
        made.yours = seen.difference(&made.orders).count();
        made.orders.extend(seen);
        made
    }

    /// What the vendors hold.
    pub async fn states(&self) -> States {
        States { works: self.works.state().await, slack: self.slack.state().await, erp: self.erp.state().await }
    }
}

/// The line that sends an order of one's own.
///
/// # Errors
/// None in practice: a key of any length will do.
pub fn curl(hooks: &str, body: &str) -> Result<String> {
    let signature = sign(body.as_bytes())?;
    Ok(format!("curl -i {hooks} -H 'Content-Type: application/json' -H 'X-Signature: {signature}' -d '{body}'"))
}

fn sign(body: &[u8]) -> Result<String> {
    let secret = folder::variable("ORDERS_SECRET").unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(CommandError::failed)?;
    mac.update(body);
    Ok(hex::encode(mac.finalize().into_bytes()))
}
