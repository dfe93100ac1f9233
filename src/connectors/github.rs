//! GitHub.

pub mod hook;

use super::{EventDoc, Manifest, SourceKind, SourceRole, verify};
use crate::settings::{Field, Kind, Need};

/// GitHub.
pub static MANIFEST: Manifest = Manifest {
    name: "github",
    title: "GitHub",
    about: "Webhooks of repositories, organizations and apps. The type is GitHub's event with its action, as \
            `issues.opened` or `push`; every event of GitHub comes through, the ones listed are examples. The subject is \
            `owner/repository#number` of an issue, pull request or discussion, `owner/repository/comment-7` of a comment \
            (likewise review, release, label, milestone), else `owner/repository`. Choose the content type \
            application/json, though forms are read too. The ping at set-up is answered and is no event.",
    account: None,
    sources: &[SourceKind {
        name: "github-hook",
        registrar: None,
        fields: FIELDS,
        events: EVENTS,
        build: |build| {
            let secrets = verify::secrets(&build.settings, "secrets")?;
            Ok(SourceRole::Hook(Box::new(hook::GitHub::new(secrets))))
        },
    }],
    sinks: &[],
    lookup: None,
    sandbox: None,
    start: &[],
};

const FIELDS: &[Field] = &[Field {
    name: "secrets",
    kind: Kind::List(&Kind::Secret),
    need: Need::Required,
    doc: "The webhook's secret at GitHub. Any of several is accepted, so that one can be rotated.",
}];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "push",
        about: "Commits were pushed, or a branch or tag was made or removed that way.",
        sample: r#"{"ref":"refs/heads/main","after":"6dcb09b","commits":[{"id":"6dcb09b","message":"Fix","author":{"email":"kim@acme.kr"}}],"repository":{"id":1296269,"full_name":"acme/shop"}}"#,
    },
    EventDoc {
        kind: "issues.opened",
        about: "An issue was opened; likewise edited, closed, reopened, assigned, labeled, deleted.",
        sample: r#"{"action":"opened","issue":{"number":7,"title":"Broken","updated_at":"2026-01-01T00:00:00Z"},"repository":{"full_name":"acme/shop"}}"#,
    },
    EventDoc {
        kind: "pull_request.closed",
        about: "A pull request was closed, merged if `pull_request.merged` says so; likewise opened, synchronize.",
        sample: r#"{"action":"closed","number":8,"pull_request":{"number":8,"merged":true,"updated_at":"2026-01-01T00:00:00Z"},"repository":{"full_name":"acme/shop"}}"#,
    },
    EventDoc {
        kind: "issue_comment.created",
        about: "Someone commented on an issue or a pull request.",
        sample: r#"{"action":"created","issue":{"number":7},"comment":{"id":99,"body":"Me too","updated_at":"2026-01-01T00:00:00Z"},"repository":{"full_name":"acme/shop"}}"#,
    },
    EventDoc {
        kind: "release.published",
        about: "A release was published.",
        sample: r#"{"action":"published","release":{"id":5,"tag_name":"v1.0.0"},"repository":{"full_name":"acme/shop"}}"#,
    },
];
