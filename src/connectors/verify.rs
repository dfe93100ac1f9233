//! The `verify:` key of webhooks that know no vendor: which scheme, and its secrets.

use http::{HeaderName, Method, header};
use jiff::Timestamp;
use secrecy::SecretString;

use super::signature::keyed::{Algorithm, Encoding, Keyed, Signed, Window};
use super::signature::{TOLERANCE, credentials};
use super::{HookRequest, Refusal};
use crate::settings::{Fault, Field, Kind, Need, Node, NodeValue, Settings};

const SECRETS: Field = Field {
    name: "secrets",
    kind: Kind::List(&Kind::Secret),
    need: Need::Required,
    doc: "The secrets shared with the sender. Any of them is accepted, so that one can be rotated.",
};

const WINDOW: &[Field] = &[
    Field {
        name: "header",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The header with the sender's time: seconds or milliseconds since 1970, or RFC 3339.",
    },
    Field {
        name: "tolerance",
        kind: Kind::Duration,
        need: Need::Default("5m"),
        doc: "How far that time may be from ours, before or after.",
    },
];

const HMAC: &[Field] = &[
    Field { name: "header", kind: Kind::Text, need: Need::Required, doc: "The header with the signature." },
    Field {
        name: "algorithm",
        kind: Kind::Choice(&["sha256", "sha512", "sha1"]),
        need: Need::Default("sha256"),
        doc: "The hash of the HMAC.",
    },
    Field {
        name: "encoding",
        kind: Kind::Choice(&["hex", "base64"]),
        need: Need::Default("hex"),
        doc: "How the signature is written.",
    },
    Field {
        name: "prefix",
        kind: Kind::Text,
        need: Need::Default(""),
        doc: "What stands before the signature in its header, as `sha256=`.",
    },
    Field {
        name: "timestamp",
        kind: Kind::Object(WINDOW),
        need: Need::Optional,
        doc: "The sender's time, against captured requests that are sent again. It must be part of `signed`.",
    },
    Field {
        name: "signed",
        kind: Kind::Text,
        need: Need::Default("{{ body }}"),
        doc: "What is signed, of `{{ body }}` (the raw bytes) and `{{ timestamp }}`, as \"{{ timestamp }}.{{ body }}\".",
    },
    SECRETS,
];

const BEARER: &[Field] = &[Field {
    name: "tokens",
    kind: Kind::List(&Kind::Secret),
    need: Need::Required,
    doc: "Tokens accepted in `Authorization: Bearer …`.",
}];

const BASIC: &[Field] = &[USERS];

/// Names and passwords of `Authorization: Basic …`.
pub const USERS: Field = Field {
    name: "users",
    kind: Kind::Map(&Kind::Secret),
    need: Need::Required,
    doc: "The users accepted in `Authorization: Basic …`, each name with its password.",
};

const HEADER: &[Field] = &[
    Field { name: "name", kind: Kind::Text, need: Need::Required, doc: "The header, as `X-Api-Key`." },
    Field {
        name: "values",
        kind: Kind::List(&Kind::Secret),
        need: Need::Required,
        doc: "The values it may have. Any of them is accepted.",
    },
];

const PATH: &[Field] = &[SECRETS];

/// The schemes, for a field of [`Kind::OneOf`].
pub const SCHEMES: &[Field] = &[
    Field {
        name: "hmac",
        kind: Kind::Object(HMAC),
        need: Need::Optional,
        doc: "A keyed hash over the body in a header.",
    },
    Field { name: "bearer", kind: Kind::Object(BEARER), need: Need::Optional, doc: "A bearer token." },
    Field { name: "basic", kind: Kind::Object(BASIC), need: Need::Optional, doc: "A user with a password." },
    Field { name: "header", kind: Kind::Object(HEADER), need: Need::Optional, doc: "A header with a secret value." },
    Field {
        name: "path",
        kind: Kind::Object(PATH),
        need: Need::Optional,
        doc: "A secret at the end of the path, `/hooks/{source}/{secret}`, for senders that can do nothing else.",
    },
];

/// The `verify` key.
pub const VERIFY: Field = Field {
    name: "verify",
    kind: Kind::Either(&[Kind::OneOf(SCHEMES), Kind::Choice(&["none"])]),
    need: Need::Required,
    doc: "How the sender proves who it is. `none` lets anybody send, and is told at every start.",
};

/// A configured scheme.
#[derive(Debug)]
pub enum Verify {
    /// A keyed hash.
    Hmac(Box<Keyed>),
    /// Bearer tokens.
    Bearer(Vec<SecretString>),
    /// Names and passwords.
    Basic(Vec<(String, SecretString)>),
    /// A header and the values it may have.
    Header(HeaderName, Vec<SecretString>),
    /// Secrets at the end of the path.
    Path(Vec<SecretString>),
    /// Anybody.
    None,
}

impl Verify {
    /// Reads the value of [`VERIFY`].
    ///
    /// # Errors
    /// What the fields alone cannot say, as an empty list of secrets.
    pub fn build(node: &Node) -> Result<Self, Vec<Fault>> {
        if node.text() == Some("none") {
            return Ok(Self::None);
        }
        let unknown = || vec![Fault::new(node.spot, "expected one of hmac, bearer, basic, header, path, or none")];
        let (scheme, inner) = node.entries().first().ok_or_else(unknown)?;
        match scheme.name.as_str() {
            "hmac" => hmac(&Settings::new(inner, HMAC)).map(|keyed| Self::Hmac(Box::new(keyed))),
            "bearer" => secrets(&Settings::new(inner, BEARER), "tokens").map(Self::Bearer),
            "basic" => users(&Settings::new(inner, BASIC)).map(Self::Basic),
            "header" => {
                let settings = Settings::new(inner, HEADER);
                let name = header_name(&settings, "name");
                both(name, secrets(&settings, "values")).map(|(name, values)| Self::Header(name, values))
            }
            "path" => secrets(&Settings::new(inner, PATH), "secrets").map(Self::Path),
            _ => Err(unknown()),
        }
    }

    /// Checks a request.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`].
    pub fn check(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        match self {
            Self::Hmac(_) if request.method == Method::GET => {
                // The signature of no body is the same for every query.
                Err(Refusal::Unauthorized("a GET has no body that could be signed: send it by POST".to_owned()))
            }
            Self::Hmac(keyed) => keyed.verify(request.headers, request.body, now),
            Self::Bearer(tokens) => credentials::bearer(tokens, request.headers),
            Self::Basic(users) => credentials::basic(users, request.headers),
            Self::Header(name, values) => credentials::header(name, values, request.headers),
            Self::Path(secrets) => credentials::path(secrets, request.path_secret),
            Self::None => Ok(()),
        }
    }

    /// True if a captured request could be sent again under a new id: a signature that covers the body alone.
    #[must_use]
    pub fn body_repeats(&self) -> bool {
        matches!(self, Self::Hmac(keyed) if keyed.window.is_none())
    }

    /// The header that the proof is in.
    #[must_use]
    pub fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Hmac(keyed) => Some(keyed.header.clone()),
            Self::Header(name, _) => Some(name.clone()),
            Self::Bearer(_) | Self::Basic(_) => Some(header::AUTHORIZATION),
            Self::Path(_) | Self::None => None,
        }
    }
}

fn hmac(settings: &Settings<'_>) -> Result<Keyed, Vec<Fault>> {
    let algorithm = match settings.text("algorithm") {
        Some("sha1") => Algorithm::Sha1,
        Some("sha512") => Algorithm::Sha512,
        _ => Algorithm::Sha256,
    };
    let encoding = if settings.text("encoding") == Some("base64") { Encoding::Base64 } else { Encoding::Hex };
    let signed = Signed::parse(settings.text("signed").unwrap_or("{{ body }}"))
        .map_err(|why| vec![Fault::new(settings.spot("signed"), why)]);
    let (head, (signed, secrets)) =
        both(both(header_name(settings, "header"), window(settings)), both(signed, secrets(settings, "secrets")))?;
    let (header, window) = head;
    match (&window, signed.has_timestamp()) {
        (Some(_), false) => Err(vec![Fault::new(
            settings.spot("timestamp"),
            "the timestamp is not signed, so it protects nothing: put `{{ timestamp }}` into `signed`",
        )]),
        (None, true) => Err(vec![Fault::new(
            settings.spot("signed"),
            "`{{ timestamp }}` is signed, but no header is named for it: add `timestamp: { header: … }`",
        )]),
        _ => {
            let prefix = settings.text("prefix").unwrap_or_default().to_owned();
            Ok(Keyed { header, algorithm, encoding, prefix, window, signed, secrets })
        }
    }
}

fn window(settings: &Settings<'_>) -> Result<Option<Window>, Vec<Fault>> {
    let Some(inner) = settings.object("timestamp", WINDOW) else { return Ok(None) };
    let tolerance = inner.duration("tolerance").map_or(TOLERANCE, |d| d.as_secs());
    Ok(Some(Window { header: header_name(&inner, "header")?, tolerance }))
}

fn header_name(settings: &Settings<'_>, key: &str) -> Result<HeaderName, Vec<Fault>> {
    let name = settings.text(key).unwrap_or_default();
    name.parse().map_err(|_| vec![Fault::new(settings.spot(key), format!("{name:?} is no name of a header"))])
}

/// The secrets under a key: at least one, and none empty, so that nothing is accepted by mistake.
///
/// # Errors
/// A fault at the list or at the empty secret.
pub fn secrets(settings: &Settings<'_>, key: &str) -> Result<Vec<SecretString>, Vec<Fault>> {
    let Some(node) = settings.get(key).filter(|node| !node.items().is_empty()) else {
        return Err(vec![Fault::new(settings.spot(key), format!("`{key}` is empty: nothing would be accepted"))]);
    };
    let faults: Vec<Fault> = node.items().iter().filter_map(empty).collect();
    if faults.is_empty() { Ok(settings.secrets(key)) } else { Err(faults) }
}

/// The users under `users`: at least one, no empty password, no name with a colon (which Basic cannot carry).
///
/// # Errors
/// A fault at the mapping, the name or the empty password.
pub fn users(settings: &Settings<'_>) -> Result<Vec<(String, SecretString)>, Vec<Fault>> {
    let entries = settings.get(USERS.name).map(Node::entries).unwrap_or_default();
    if entries.is_empty() {
        return Err(vec![Fault::new(settings.spot(USERS.name), "`users` is empty: nobody would be accepted")]);
    }
    let mut faults: Vec<Fault> = entries.iter().filter_map(|(_, password)| empty(password)).collect();
    faults.extend(entries.iter().filter(|(name, _)| name.name.contains(':')).map(|(name, _)| {
        Fault::new(name.spot, "the name of a user cannot have a colon: Basic authentication ends it there")
    }));
    if !faults.is_empty() {
        return Err(faults);
    }
    let pair = |(name, password): &(crate::settings::Key, Node)| {
        (name.name.clone(), SecretString::from(password.text().unwrap_or_default()))
    };
    Ok(entries.iter().map(pair).collect())
}

fn empty(node: &Node) -> Option<Fault> {
    let is_empty = match &node.value {
        NodeValue::Null => true,
        _ => node.text().is_some_and(str::is_empty),
    };
    is_empty.then(|| Fault::new(node.spot, "this secret is empty: anybody would know it"))
}

/// Both results, or the faults of both.
///
/// # Errors
/// All faults.
pub fn both<A, B>(a: Result<A, Vec<Fault>>, b: Result<B, Vec<Fault>>) -> Result<(A, B), Vec<Fault>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut first), Err(second)) => {
            first.extend(second);
            Err(first)
        }
        (Err(faults), Ok(_)) | (Ok(_), Err(faults)) => Err(faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(json: &serde_json::Value) -> String {
        let faults = Verify::build(&Node::from(json)).expect_err("faults");
        faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_scheme_is_built_from_the_config() {
        let built = |json: &serde_json::Value| Verify::build(&Node::from(json)).expect("builds");
        let Verify::Hmac(keyed) = built(&json!({"hmac": {
            "header": "X-Sig", "algorithm": "sha512", "encoding": "base64", "prefix": "s=",
            "timestamp": {"header": "X-Time", "tolerance": "1m"}, "signed": "{{ timestamp }}.{{ body }}", "secrets": ["a", "b"],
        }})) else {
            panic!("hmac")
        };
        assert_eq!((keyed.algorithm, keyed.encoding, keyed.secrets.len()), (Algorithm::Sha512, Encoding::Base64, 2));
        assert_eq!(keyed.window.expect("a window").tolerance, 60);
        let plain = built(&json!({"hmac": {"header": "X-Sig", "secrets": "a"}}));
        assert!(plain.body_repeats() && plain.header().is_some_and(|name| name == "x-sig"));
        assert!(matches!(built(&json!({"bearer": {"tokens": ["t"]}})), Verify::Bearer(all) if all.len() == 1));
        assert!(matches!(built(&json!({"basic": {"users": {"u": "p"}}})), Verify::Basic(all) if all[0].0 == "u"));
        assert!(
            matches!(built(&json!({"header": {"name": "X-Key", "values": "k"}})), Verify::Header(name, _) if name == "x-key")
        );
        assert!(matches!(built(&json!({"path": {"secrets": ["s"]}})), Verify::Path(_)));
        assert!(matches!(built(&json!("none")), Verify::None));
    }

    #[test]
    fn the_signature_of_a_body_does_not_cover_a_query() {
        let verify = Verify::build(&Node::from(&json!({"hmac": {"header": "X-Sig", "secrets": "s"}}))).expect("builds");
        let (headers, body) = (http::HeaderMap::new(), bytes::Bytes::new());
        let request =
            HookRequest { method: &Method::GET, headers: &headers, query: "a=1", path_secret: None, body: &body };
        let refused = verify.check(&request, Timestamp::UNIX_EPOCH).expect_err("refused");
        insta::assert_snapshot!(refused, @"a GET has no body that could be signed: send it by POST");
    }

    #[test]
    fn what_would_accept_everybody_or_nobody_is_refused() {
        insta::assert_snapshot!(faults(&json!({"bearer": {"tokens": []}})), @"`tokens` is empty: nothing would be accepted");
        insta::assert_snapshot!(faults(&json!({"path": {"secrets": ["a", ""]}})), @"this secret is empty: anybody would know it");
        insta::assert_snapshot!(faults(&json!({"basic": {"users": {"a:b": "", "c": "d"}}})), @"
        this secret is empty: anybody would know it
        the name of a user cannot have a colon: Basic authentication ends it there
        ");
        insta::assert_snapshot!(faults(&json!({"hmac": {"header": "a b", "signed": "{{ nope }}", "secrets": []}})), @r#"
        "a b" is no name of a header
        `nope` is unknown here, only `timestamp` and `body` can be signed
        `secrets` is empty: nothing would be accepted
        "#);
        insta::assert_snapshot!(
            faults(&json!({"hmac": {"header": "a", "timestamp": {"header": "b"}, "secrets": ["s"]}})),
            @"the timestamp is not signed, so it protects nothing: put `{{ timestamp }}` into `signed`"
        );
        insta::assert_snapshot!(
            faults(&json!({"hmac": {"header": "a", "signed": "{{ timestamp }}{{ body }}", "secrets": ["s"]}})),
            @"`{{ timestamp }}` is signed, but no header is named for it: add `timestamp: { header: … }`"
        );
    }
}
