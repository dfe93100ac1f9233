//! Slack: messages of a bot, or of an incoming webhook.
//!
//! A message is known by its channel and `ts`: the remote id is `C0123456789:1503435956.000247`. The Web API says no with
//! a 200 and `"ok": false`, an incoming webhook with a status and plain text, and a webhook gives no `ts`, so nothing can
//! be done to its messages afterwards. Source: docs.slack.dev.

use super::{AccountKind, Limits, Manifest, Sandbox, SinkKind};
use crate::outcome::Verb;
use crate::settings::{Fault, Field, Kind, Need, Settings};
use crate::template::Escape;

mod answer;
mod find;
pub mod hook;
mod message;
pub mod sandbox;
mod sink;

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "slack",
    title: "Slack",
    about: "Posts, changes and deletes messages, and answers them in threads, as a bot (scopes chat:write and \
            channels:history; it must be a member of the channel) or posts through an incoming webhook; receives events, slash commands and interactions. What is interpolated into texts is escaped. \
            Slack has no key by which it knows a repetition: a bot's post without an answer is looked for in the channel's \
            history (scope channels:history), an incoming webhook's waits for a person.",
    account: Some(AccountKind {
        fields: ACCOUNT,
        check: check_account,
        url: Some("https://slack.com"),
        // One message a second and channel; changes are allowed nearly as often (50 a minute and more).
        limits: Limits { rate: Some(1.0), concurrency: None, monthly: None },
        zone: None,
    }),
    sources: &[hook::KIND],
    sinks: &[SINK],
    lookup: None,
    sandbox: Some(Sandbox {
        router: sandbox::router,
        knows: &[("bot_token", sandbox::BOT_TOKEN), ("channel", sandbox::CHANNEL), ("webhook_url", sandbox::WEBHOOK)],
    }),
    start: &[
        ("account.bot_token", r#""${SLACK_BOT_TOKEN}""#),
        ("account.signing_secrets", r#"["${SLACK_SIGNING_SECRET}"]"#),
        ("slack.channel", "C0123456789"),
    ],
};

const ACCOUNT: &[Field] = &[
    Field {
        name: "bot_token",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "The app's bot token, `xoxb-…`: for sinks",
    },
    Field {
        name: "signing_secrets",
        kind: Kind::List(&Kind::Secret),
        need: Need::Optional,
        doc: "The app's signing secret: for `slack-hook`. Several while it is being changed",
    },
];

fn check_account(settings: &Settings<'_>) -> Vec<Fault> {
    if settings.get("bot_token").is_some() || settings.get("signing_secrets").is_some() {
        return Vec::new();
    }
    vec![Fault::new(
        settings.node().spot,
        "expected `bot_token` (for sinks) or `signing_secrets` (for slack-hook), or both",
    )]
}

const SINK: SinkKind = SinkKind {
    name: "slack",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Delete, Verb::Reply],
    escape: Escape::Texts(LITERAL),
    takes_request: false,
    advice: "use `create`",
    build: sink::build,
};

/// What Slack takes literally wherever it stands in a message: an `&amp;` would lead elsewhere. A button's `value` is not
/// among them, for an attachment's field of that name is shown, and its mentions would be heeded.
const LITERAL: &[&str] = &[
    "metadata",
    "url",
    "image_url",
    "thumb_url",
    "icon_url",
    "video_url",
    "title_url",
    "thumbnail_url",
    "provider_icon_url",
    "title_link",
    "author_link",
    "author_icon",
    "footer_icon",
    "action_id",
    "block_id",
    "callback_id",
];

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("slack"),
        need: Need::Optional,
        doc: "The account, with `channel`; or else `webhook_url`",
    },
    Field {
        name: "channel",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The channel's id, as `C0123456789`: names change, ids do not",
    },
    Field {
        name: "webhook_url",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "The URL of an incoming webhook, which can only post; in place of `account` and `channel`",
    },
];
