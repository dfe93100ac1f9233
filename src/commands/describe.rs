//! `dari describe CONNECTOR`: its account, sources, events with samples, sinks, verbs and limits.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CommandError, Result, output};
use crate::connectors::{self, AccountKind, Limits, Manifest, SinkKind, SourceKind};
use crate::settings::{Field, Kind, Need};

/// Describes a connector.
#[derive(Debug, clap::Args)]
pub struct DescribeArgs {
    /// Its name, or that of one of its sources or sinks; without one all are listed
    pub connector: Option<String>,
    /// JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `dari describe`.
///
/// # Errors
/// There is no such connector.
pub fn describe(args: &DescribeArgs) -> Result {
    let Some(name) = &args.connector else { return list(args.json) };
    let manifest = find(name, connectors::ALL).map_err(CommandError::failed)?;
    if args.json { output::json(&json(manifest)) } else { output::line(text(manifest).trim_end()) }
}

fn list(as_json: bool) -> Result {
    if as_json {
        return output::json(&connectors::ALL.iter().map(|manifest| json(manifest)).collect::<Vec<_>>());
    }
    let names = |all: Vec<&str>| if all.is_empty() { "-".to_owned() } else { all.join(", ") };
    let row = |manifest: &&Manifest| {
        let sources = names(manifest.sources.iter().map(|source| source.name).collect());
        let sinks = names(manifest.sinks.iter().map(|sink| sink.name).collect());
        [manifest.name.to_owned(), manifest.title.to_owned(), sources, sinks]
    };
    output::table(["name", "vendor", "sources", "sinks"], connectors::ALL.iter().map(row).collect(), "no connectors")
}

/// No connector has this name. Displays with the names there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no connector {name:?}; {hint}")]
pub struct Unknown {
    name: String,
    hint: String,
}

/// Finds a connector by its name, or by the name of one of its sources or sinks.
///
/// # Errors
/// [`Unknown`], with the nearest name or all of them.
pub fn find(name: &str, all: &[&'static Manifest]) -> std::result::Result<&'static Manifest, Unknown> {
    let offers = |manifest: &Manifest| {
        let sources = manifest.sources.iter().any(|source| source.name == name);
        sources || manifest.sinks.iter().any(|sink| sink.name == name)
    };
    let found = all.iter().find(|m| m.name == name).or_else(|| all.iter().find(|m| offers(m)));
    found.copied().ok_or_else(|| {
        let near = all.iter().map(|m| (strsim::damerau_levenshtein(m.name, name), m.name)).min();
        let hint = match near {
            Some((distance, near)) if distance <= 2 => format!("did you mean {near}?"),
            _ => format!("there are {}", all.iter().map(|m| m.name).collect::<Vec<_>>().join(", ")),
        };
        Unknown { name: name.to_owned(), hint }
    })
}

/// A connector for people.
#[must_use]
pub fn text(manifest: &Manifest) -> String {
    let mut out = format!("{} ({})\n\n{}\n", manifest.title, manifest.name, manifest.about);
    if let Some(account) = &manifest.account {
        heading(&mut out, &format!("account  {{ {}: {{ … }} }}", manifest.name));
        fields_text(&mut out, account.fields, 2);
        let _ = writeln!(out, "  limits: {}", limits_text(account.limits));
    }
    for source in manifest.sources {
        heading(&mut out, &format!("source  {{ {}: {{ … }} }}", source.name));
        fields_text(&mut out, source.fields, 2);
        for event in source.events {
            let _ = writeln!(out, "\n  event {}\n    {}\n    data:", event.kind, event.about);
            for line in pretty(event.sample).lines() {
                let _ = writeln!(out, "      {line}");
            }
        }
    }
    for sink in manifest.sinks {
        heading(&mut out, &format!("sink  {{ {}: {{ … }} }}", sink.name));
        fields_text(&mut out, sink.fields, 2);
        let _ = writeln!(out, "  do: {}", verbs(sink).join(", "));
        if !sink.advice.is_empty() {
            let _ = writeln!(out, "  {}", sink.advice);
        }
        if sink.takes_request {
            out.push_str("  its routes take `request: { method, path }`\n");
        }
    }
    if let Some(lookup) = &manifest.lookup {
        heading(&mut out, "lookup of a route, besides `account`, `match`, `cache` and `missing`");
        fields_text(&mut out, lookup.fields, 2);
    }
    out
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{text}");
}

fn fields_text(out: &mut String, fields: &[Field], indent: usize) {
    let pad = " ".repeat(indent);
    let width = fields.iter().map(|field| field.name.chars().count()).max().unwrap_or(0);
    for field in fields {
        let kind = format!("{}{}", field.kind.words(), need_text(field.need));
        let _ = writeln!(out, "{pad}{:width$}  {kind}: {}", field.name, field.doc);
        if let Kind::Object(inner) | Kind::OneOf(inner) = field.kind {
            fields_text(out, inner, indent + 4);
        }
    }
}

fn need_text(need: Need) -> String {
    match need {
        Need::Required => ", required".into(),
        Need::Optional => String::new(),
        Need::Default(text) => format!(", default {text}"),
        Need::NotYet(why) => format!(", not yet: {why}"),
    }
}

fn limits_text(limits: Limits) -> String {
    let rate = limits.rate.map(|n| format!("{n} calls a second"));
    let concurrency = limits.concurrency.map(|n| format!("{n} at once"));
    let monthly = limits.monthly.map(|n| format!("{n} a month"));
    let known: Vec<String> = [rate, concurrency, monthly].into_iter().flatten().collect();
    if known.is_empty() { "none known".into() } else { known.join(", ") }
}

fn verbs(sink: &SinkKind) -> Vec<&'static str> {
    sink.verbs.iter().map(|verb| verb.name()).collect()
}

fn sample(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn pretty(text: &str) -> String {
    serde_json::to_string_pretty(&sample(text)).unwrap_or_else(|_| text.to_owned())
}

/// A connector for programs.
#[must_use]
pub fn json(manifest: &Manifest) -> Value {
    json!({
        "name": manifest.name,
        "title": manifest.title,
        "about": manifest.about,
        "account": manifest.account.as_ref().map(account_json),
        "sources": manifest.sources.iter().map(source_json).collect::<Vec<_>>(),
        "sinks": manifest.sinks.iter().map(sink_json).collect::<Vec<_>>(),
        "lookup": manifest.lookup.as_ref().map(|lookup| fields_json(lookup.fields)),
        "sandbox": manifest.sandbox.is_some(),
    })
}

fn account_json(account: &AccountKind) -> Value {
    let Limits { rate, concurrency, monthly } = account.limits;
    json!({
        "fields": fields_json(account.fields),
        "url": account.url,
        "limits": { "rate": rate, "concurrency": concurrency, "monthly": monthly },
    })
}

fn source_json(source: &SourceKind) -> Value {
    let events: Vec<Value> = source
        .events
        .iter()
        .map(|event| json!({ "type": event.kind, "about": event.about, "sample": sample(event.sample) }))
        .collect();
    json!({ "name": source.name, "fields": fields_json(source.fields), "events": events })
}

fn sink_json(sink: &SinkKind) -> Value {
    json!({
        "name": sink.name,
        "fields": fields_json(sink.fields),
        "verbs": verbs(sink),
        "takes_request": sink.takes_request,
        "advice": sink.advice,
    })
}

fn fields_json(fields: &[Field]) -> Vec<Value> {
    fields
        .iter()
        .map(|field| {
            let mut json = json!({
                "name": field.name,
                "kind": field.kind.words(),
                "required": field.need == Need::Required,
                "about": field.doc,
            });
            if let Need::Default(text) = field.need {
                json["default"] = text.into();
            }
            if let Need::NotYet(why) = field.need {
                json["not_yet"] = why.into();
            }
            if let Kind::Object(inner) | Kind::OneOf(inner) = field.kind {
                json["fields"] = fields_json(inner).into();
            }
            json
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::EventDoc;
    use crate::outcome::Verb;
    use crate::template::Escape;

    const FIELDS: &[Field] = &[
        Field { name: "token", kind: Kind::Secret, need: Need::Required, doc: "From the vendor's settings." },
        Field { name: "every", kind: Kind::Duration, need: Need::Default("1m"), doc: "How often." },
        Field {
            name: "auth",
            kind: Kind::OneOf(&[Field { name: "basic", kind: Kind::Text, need: Need::Optional, doc: "By name." }]),
            need: Need::Optional,
            doc: "How it signs in.",
        },
    ];

    static SAMPLE: Manifest = Manifest {
        name: "sample",
        title: "Sample Works",
        about: "Keeps records.",
        account: Some(AccountKind {
            fields: FIELDS,
            check: |_| Vec::new(),
            url: Some("https://api.sample.example"),
            limits: Limits { rate: Some(5.0), concurrency: None, monthly: Some(1500) },
            zone: None,
        }),
        sources: &[SourceKind {
            name: "sample-hook",
            registrar: None,
            fields: &[],
            events: &[EventDoc { kind: "task.created", about: "A task was made.", sample: r#"{"id":1,"price":1.10}"# }],
            build: |_| Err(Vec::new()),
        }],
        sinks: &[SinkKind {
            name: "sample",
            fields: &[],
            verbs: &[Verb::Create, Verb::Update],
            escape: Escape::None,
            takes_request: true,
            advice: "It cannot delete.",
            build: |_| Err(Vec::new()),
        }],
        lookup: None,
        sandbox: None,
        start: &[],
    };

    #[test]
    fn a_connector_is_described_for_people() {
        insta::assert_snapshot!(text(&SAMPLE), @r#"
        Sample Works (sample)

        Keeps records.

        account  { sample: { … } }
          token  secret, required: From the vendor's settings.
          every  duration, default 1m: How often.
          auth   one of these: How it signs in.
              basic  text: By name.
          limits: 5 calls a second, 1500 a month

        source  { sample-hook: { … } }

          event task.created
            A task was made.
            data:
              {
                "id": 1,
                "price": 1.10
              }

        sink  { sample: { … } }
          do: create, update
          It cannot delete.
          its routes take `request: { method, path }`
        "#);
    }

    #[test]
    fn a_connector_is_described_for_programs() {
        let json = json(&SAMPLE);
        assert_eq!(json["sources"][0]["events"][0]["sample"].to_string(), r#"{"id":1,"price":1.10}"#);
        assert_eq!(json["account"]["limits"], json!({ "rate": 5.0, "concurrency": null, "monthly": 1500 }));
        assert_eq!(json["account"]["fields"][2]["fields"][0]["name"], "basic");
        assert_eq!(json["sinks"][0]["verbs"], json!(["create", "update"]));
    }

    #[test]
    fn a_connector_is_found_by_what_it_offers() {
        assert_eq!(find("sample-hook", &[&SAMPLE]).unwrap().name, "sample");
        insta::assert_snapshot!(find("sampel", &[&SAMPLE]).unwrap_err(), @r#"there is no connector "sampel"; did you mean sample?"#);
        insta::assert_snapshot!(find("walla", &[&SAMPLE]).unwrap_err(), @r#"there is no connector "walla"; there are sample"#);
    }
}
