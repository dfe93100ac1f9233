//! `amqp`: a queue of a RabbitMQ that other programs publish to.

mod message;
mod stream;

use super::webhook::attributes;
use super::{EventDoc, Manifest, SourceKind, SourceRole};
use crate::settings::{Field, Kind, Need};

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "amqp",
    title: "AMQP",
    about: "Receives from a queue of a RabbitMQ, which need not be the one that moves the events. A message is acked once its \
            event is durable. CloudEvents are understood, in binary and in structured mode; of anything else `event` says \
            where id, type, subject, version and time are, with the message's headers and properties as `headers`.",
    account: None,
    sources: &[SourceKind {
        name: "amqp",
        fields: FIELDS,
        events: &[EventDoc {
            kind: "received",
            about: "A message came; the type is what `event.type`, the CloudEvent or the property `type` says, and this \
                    where none does.",
            sample: r#"{"order":{"id":"A-1001","rev":3,"total":"49000"}}"#,
        }],
        build: |build| {
            stream::Queue::build(&build.settings, &build.zone).map(|queue| SourceRole::Stream(Box::new(queue)))
        },
        registrar: None,
    }],
    sinks: &[],
    lookup: None,
    sandbox: None,
    start: &[("amqp.url", r#""amqp://dari:${AMQP_PASSWORD}@rabbit:5672/%2f""#)],
};

const FIELDS: &[Field] = &[
    Field {
        name: "url",
        kind: Kind::List(&Kind::Secret),
        need: Need::Required,
        doc: "Its URL, as `amqp://user:${PASSWORD}@host/vhost`; `amqps` for TLS. Of a cluster the URLs of all nodes, tried one \
              after the other.",
    },
    Field {
        name: "queue",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The queue. It is to be there, unless `declare` says otherwise.",
    },
    Field {
        name: "declare",
        kind: Kind::Object(DECLARE),
        need: Need::Optional,
        doc: "Makes the queue if it is not there, durable and a quorum queue; `{}` for that alone.",
    },
    Field {
        name: "refused",
        kind: Kind::Choice(&["journal", "dead-letter"]),
        need: Need::Default("journal"),
        doc: "What becomes of a message that is no event: it is kept in the journal, or handed to the queue's dead-letter \
              exchange, which has to be there, since without one RabbitMQ drops it.",
    },
    Field {
        name: "prefetch",
        kind: Kind::Integer { min: 1, max: 10_000 },
        need: Need::Default("200"),
        doc: "How many messages are received ahead.",
    },
    Field {
        name: "ca_file",
        kind: Kind::Path,
        need: Need::Optional,
        doc: "PEM of a root certificate besides the system's.",
    },
    Field {
        name: "client_cert",
        kind: Kind::Path,
        need: Need::Optional,
        doc: "PEM of the certificate that RabbitMQ knows this bridge by.",
    },
    Field { name: "client_key", kind: Kind::Path, need: Need::Optional, doc: "PEM of its key." },
    attributes::EVENT,
];

const DECLARE: &[Field] = &[
    Field {
        name: "exchange",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The exchange that the queue is bound to. It is to be there.",
    },
    Field {
        name: "keys",
        kind: Kind::List(&Kind::Text),
        need: Need::Default("#"),
        doc: "The routing keys that it is bound by.",
    },
];
