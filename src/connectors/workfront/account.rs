//! The account: where it is and how it proves who it is.

use crate::settings::{Fault, Field, Kind, Need, Settings};

/// The keys of an account.
pub(super) const FIELDS: &[Field] = &[
    Field {
        name: "host",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The host in the address of your Workfront, as `acme.my.workfront.com`.",
    },
    Field { name: "version", kind: Kind::Text, need: Need::Default("v15.0"), doc: "The version of the API." },
    Field {
        name: "auth",
        kind: Kind::OneOf(AUTH),
        need: Need::Required,
        doc: "How the account proves who it is: one of `api_key`, `session`, `login`, `jwt`, `ims`.",
    },
];

/// The ways to prove who one is.
pub(super) const AUTH: &[Field] = &[
    Field {
        name: "api_key",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "A user's API key. The vendor no longer recommends it.",
    },
    Field {
        name: "session",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "A session id that something else keeps alive.",
    },
    Field {
        name: "login",
        kind: Kind::Object(LOGIN),
        need: Need::Optional,
        doc: "A user's name and password. Not available to organisations on the Adobe business platform.",
    },
    Field {
        name: "jwt",
        kind: Kind::Object(JWT),
        need: Need::Optional,
        doc: "An OAuth2 application of Workfront's own, for servers (JWT).",
    },
    Field {
        name: "ims",
        kind: Kind::Object(IMS),
        need: Need::Optional,
        doc: "An OAuth server-to-server credential of the Adobe Developer Console.",
    },
];

/// The keys of `login`.
pub(super) const LOGIN: &[Field] = &[
    Field { name: "username", kind: Kind::Text, need: Need::Required, doc: "The user's name." },
    Field { name: "password", kind: Kind::Secret, need: Need::Required, doc: "The user's password." },
];

/// The keys of `jwt`.
pub(super) const JWT: &[Field] = &[
    Field { name: "client_id", kind: Kind::Text, need: Need::Required, doc: "The application's Client ID." },
    Field { name: "client_secret", kind: Kind::Secret, need: Need::Required, doc: "The application's Client Secret." },
    Field { name: "customer_id", kind: Kind::Text, need: Need::Required, doc: "The application's Customer ID." },
    Field { name: "user_id", kind: Kind::Text, need: Need::Required, doc: "The ID of the user as whom it acts." },
    Field {
        name: "private_key",
        kind: Kind::Secret,
        need: Need::Required,
        doc: "The RSA key whose public half the application has, as PEM: `${file:/run/secrets/workfront.pem}`.",
    },
    Field {
        name: "header",
        kind: Kind::Choice(&["session", "bearer"]),
        need: Need::Default("session"),
        doc: "Which header carries the access token: `SessionID`, as users report, or `Authorization: Bearer`. The vendor's page does not say.",
    },
];

/// The keys of `ims`.
pub(super) const IMS: &[Field] = &[
    Field { name: "client_id", kind: Kind::Text, need: Need::Required, doc: "The credential's Client ID." },
    Field { name: "client_secret", kind: Kind::Secret, need: Need::Required, doc: "The credential's Client Secret." },
    Field { name: "org_id", kind: Kind::Text, need: Need::Required, doc: "The IMS organisation, as `1234@AdobeOrg`." },
    Field {
        name: "scope",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The credential's scopes, as the Developer Console lists them, with commas.",
    },
    Field {
        name: "url",
        kind: Kind::Url,
        need: Need::Optional,
        doc: "Where tokens are asked for. `https://ims-na1.adobelogin.com` if missing, or the account's own `url` where that is set.",
    },
];

/// Checks what no field can say.
pub(super) fn check(settings: &Settings<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let host = settings.text("host").unwrap_or_default();
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if !is_host {
        let why = "`host`: expected a host alone, as acme.my.workfront.com".to_owned();
        faults.push(Fault::new(settings.spot("host"), why));
    }
    let version = settings.text("version").unwrap_or_default();
    let digits = version.strip_prefix('v').unwrap_or_default();
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
        faults.push(Fault::new(settings.spot("version"), "`version`: expected a version of the API, as v15.0"));
    }
    if let Some(key) = settings.object("auth", AUTH).and_then(|auth| auth.object("jwt", JWT))
        && let Err(why) = super::jwt::Key::read(key.text("private_key").unwrap_or_default())
    {
        faults.push(Fault::new(key.spot("private_key"), format!("`private_key`: {why}")));
    }
    faults
}
