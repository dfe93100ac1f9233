//! Webhooks at their vendors: subscribed, listed, ended.

use std::sync::Arc;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;

use super::views::Done;
use super::{Operator, OperatorError, Result};
use crate::config::SourceConfig;
use crate::connectors::call::HIDDEN;
use crate::connectors::{Registered, Registrar, SourceRole};
use crate::poll::meter::AccountMeter;

/// What became of a wish to subscribe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Where the vendor sends to, its secret masked.
    pub url: String,
    /// True if it was subscribed now; false if it was before.
    pub made: bool,
    /// The subscriptions that send there.
    pub hooks: Vec<Registered>,
    /// What a person should know besides.
    pub note: Option<String>,
}

/// Our URL.
struct Target {
    url: Url,
    /// Without its secret.
    shown: String,
}

impl Target {
    fn is(&self, hook: &Registered) -> bool {
        hook.url == self.url.as_str() || hook.url == self.shown
    }

    /// A subscription as people may see it.
    fn masked(&self, hook: Registered) -> Registered {
        let url = if self.is(&hook) { self.shown.clone() } else { hook.url };
        Registered { url, ..hook }
    }
}

impl Operator {
    /// The subscriptions at a source's vendor.
    ///
    /// # Errors
    /// No such source, its vendor has no such call, or does not answer.
    pub async fn subscriptions(&self, name: &str) -> Result<Vec<Registered>> {
        let (source, registrar) = self.registrar(name)?;
        let all = registrar.list().await.map_err(|error| refused(name, error))?;
        let target = self.target(source).ok();
        Ok(all.into_iter().map(|hook| target.iter().fold(hook, |hook, target| target.masked(hook))).collect())
    }

    /// Subscribes a source's URL, unless that is known to be subscribed; with `again` even then.
    ///
    /// # Errors
    /// No such source, no `listen.public`, its vendor has no such call, or refuses.
    pub async fn subscribe(&self, name: &str, again: bool) -> Result<Subscribed> {
        let (source, registrar) = self.registrar(name)?;
        let target = self.target(source)?;
        let url = target.shown.clone();
        if !again && let Some(known) = self.known(&*registrar, name, &target).await? {
            return Ok(known);
        }
        let made = registrar.register(&target.url).await.map_err(|error| {
            let why = error.to_string().replace(target.url.as_str(), &target.shown);
            OperatorError::Refused(format!("{name}: {why}"))
        })?;
        let hooks: Vec<_> = made.into_iter().map(|hook| target.masked(hook)).collect();
        // For vendors that cannot be asked what they have.
        let kept = serde_json::to_value((&url, &hooks)).unwrap_or_default();
        self.store.set_fact(&fact(name), kept).await?;
        tracing::info!(source = name, %url, "the webhook is subscribed");
        Ok(Subscribed { url, made: true, hooks, note: None })
    }

    /// What sends to our URL already, by the vendor's word, or by our own where it has none.
    async fn known(&self, registrar: &dyn Registrar, name: &str, target: &Target) -> Result<Option<Subscribed>> {
        let (all, note) = match registrar.list().await {
            Ok(all) => (all, None),
            Err(crate::connectors::PollError::Stop { why }) => {
                let kept = self.store.fact(&fact(name)).await?.and_then(|kept| serde_json::from_value(kept).ok());
                let (url, hooks): (String, Vec<Registered>) = kept.unwrap_or_default();
                let note = format!("{why}. It was subscribed from here before; --again subscribes it once more");
                (if url == target.shown { hooks } else { Vec::new() }, Some(note))
            }
            Err(error) => return Err(refused(name, error)),
        };
        let hooks: Vec<_> = all.into_iter().filter(|hook| target.is(hook)).map(|hook| target.masked(hook)).collect();
        let off = hooks
            .iter()
            .all(|hook| !hook.active)
            .then(|| "the vendor has switched it off: see there why, or subscribe it anew with --again".to_owned());
        let url = target.shown.clone();
        Ok((!hooks.is_empty()).then(|| Subscribed { url, made: false, hooks, note: off.or(note) }))
    }

    /// Ends a subscription by the vendor's id, or all that send to our URL.
    ///
    /// # Errors
    /// No such source or subscription, its vendor has no such call, or refuses.
    pub async fn unsubscribe(&self, name: &str, id: Option<&str>) -> Result<Done> {
        let (source, registrar) = self.registrar(name)?;
        let ids = if let Some(id) = id {
            vec![id.to_owned()]
        } else {
            let target = self.target(source)?;
            let all = registrar.list().await.map_err(|error| refused(name, error))?;
            all.into_iter().filter(|hook| target.is(hook)).map(|hook| hook.id).collect()
        };
        let mut ended = Vec::new();
        for id in ids {
            if registrar.remove(&id).await.map_err(|error| refused(name, error))? {
                ended.push(id);
            }
        }
        if ended.is_empty() {
            let hint = "; `dari hooks list` shows what there is".to_owned();
            let name = id.unwrap_or(name).to_owned();
            return Err(OperatorError::NotFound { what: "subscription for", name, hint });
        }
        self.store.set_fact(&fact(name), serde_json::Value::Null).await?;
        tracing::info!(source = name, ended = ended.join(", "), "webhooks are no longer subscribed");
        Ok(Done { done: format!("no longer subscribed: {}", ended.join(", ")) })
    }

    fn registrar(&self, name: &str) -> Result<(&SourceConfig, Box<dyn Registrar>)> {
        let source = self.config.sources.iter().find(|source| source.name == name).ok_or_else(|| {
            OperatorError::unknown("source", name, self.config.sources.iter().map(|source| source.name.as_str()))
        })?;
        let gate = source.account.as_ref().and_then(|account| self.gates.get(account));
        let client = gate.map_or_else(
            || self.client.clone(),
            |gate| {
                let (store, halts) = (Arc::clone(&self.store), Arc::clone(&self.halts));
                self.client.metered(Arc::new(AccountMeter {
                    gate: Arc::clone(gate),
                    store,
                    halts,
                    clock: self.clock.clone(),
                }))
            },
        );
        let built = self.config.build_registrar(source, &client, &self.clock).ok_or_else(|| {
            OperatorError::Refused(format!(
                "{name}: {} cannot be subscribed by a call; its page in docs/vendors says where to enter the address",
                source.kind.name
            ))
        })?;
        let registrar = built.map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|fault| fault.message).collect();
            OperatorError::Refused(format!("{name}: {}", faults.join("; ")))
        })?;
        Ok((source, registrar))
    }

    /// Where the vendor is to send to.
    fn target(&self, source: &SourceConfig) -> Result<Target> {
        let public = self.config.listen.public.as_deref().and_then(|public| Url::parse(public).ok());
        let public = public.ok_or_else(|| {
            let why = "the config does not say under which URL others reach this bridge: \
                       `listen: { public: \"https://bridge.example.com\" }`";
            OperatorError::Refused(why.to_owned())
        })?;
        let Ok(SourceRole::Hook(hook)) = self.config.build_source(source, &self.client, &self.clock) else {
            return Err(OperatorError::Refused(format!("{} is no webhook", source.name)));
        };
        let with = |secret: Option<&str>| {
            let mut url = public.clone();
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().extend(["hooks", &source.name]).extend(secret);
            }
            url
        };
        let secret = hook.path_secret().map(ExposeSecret::expose_secret);
        let shown = with(secret.map(|_| HIDDEN)).to_string();
        Ok(Target { url: with(secret), shown })
    }
}

fn fact(source: &str) -> String {
    format!("hooks:{source}")
}

fn refused(source: &str, why: impl std::fmt::Display) -> OperatorError {
    OperatorError::Refused(format!("{source}: {why}"))
}
