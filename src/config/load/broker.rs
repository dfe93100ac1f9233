//! `broker` and `spool`.

use std::path::{Path, PathBuf};

use lapin::uri::AMQPUri;

use super::Loader;
use crate::broker::spool::beside;
use crate::config::fields;
use crate::config::model::{BrokerConfig, SpoolConfig};
use crate::settings::{Node, Settings};

/// The longest prefix: with a route's name and the rest it is to fit the names of AMQP, which have 255 bytes.
const LONGEST: usize = 64;
/// How much waits at most where the config does not say.
const DEFAULT_MAX: u64 = 1 << 30;

impl Loader<'_> {
    pub(super) fn broker(&mut self, top: &Settings<'_>) -> Option<BrokerConfig> {
        let broker = top.object("broker", fields::BROKER)?;
        let urls: Vec<&Node> = ["url", "urls"].iter().filter_map(|key| broker.get(key)).flat_map(Node::items).collect();
        match (broker.get("url"), broker.get("urls")) {
            (None, None) => {
                self.checker.fault(broker.node(), "`broker` needs a `url`, as `amqp://user:${PASSWORD}@host`");
            }
            (Some(url), Some(_)) => self.checker.fault(url, "`url` beside `urls`; expected one of them"),
            _ => {}
        }
        for url in urls {
            // Without the parser's words: they may quote the password.
            if url.text().is_none_or(|text| text.parse::<AMQPUri>().is_err()) {
                self.checker.fault(url, "expected an AMQP URL, as `amqp://user:${PASSWORD}@host:5672/vhost`");
            }
        }
        let prefix = broker.text("prefix").unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if prefix.is_empty() || prefix.len() > LONGEST || !prefix.chars().all(fits) {
            let message = "`prefix`: expected 1 to 64 letters, digits, `-`, `_` or `.`";
            self.checker.faults.push(crate::settings::Fault::new(broker.spot("prefix"), message));
        }
        let path = |key| broker.text(key).map(|path| self.dir.join(path));
        let identity: (Option<PathBuf>, Option<PathBuf>) = (path("client_cert"), path("client_key"));
        let ca_file = path("ca_file");
        let identity = match identity {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                self.checker.fault(broker.node(), "`client_cert` and `client_key` go together");
                None
            }
        };
        let urls = [broker.secrets("url"), broker.secrets("urls")].concat();
        Some(BrokerConfig { urls, prefix: prefix.to_owned(), ca_file, identity })
    }

    /// With a broker there is one even if the config does not say so: webhooks are to be taken while it is away.
    pub(super) fn spool(&mut self, top: &Settings<'_>, store: &Path) -> Option<SpoolConfig> {
        let spool = top.object("spool", fields::SPOOL);
        if top.get("broker").is_none() {
            if let Some(spool) = spool {
                let message = "`spool` serves a `broker` on another machine, and there is none: events are in the \
                               store's file at once";
                self.checker.fault(spool.node(), message);
            }
            return None;
        }
        let path = spool.as_ref().and_then(|spool| spool.text("path"));
        let path = path.map_or_else(|| beside(store), |path| self.dir.join(path));
        Some(SpoolConfig { path, max: spool.and_then(|spool| spool.size("max")).unwrap_or(DEFAULT_MAX) })
    }
}
