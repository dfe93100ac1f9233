//! The text of a starting config, written from the connectors' lists of fields.

use std::fmt::Write as _;

use crate::connectors::{Manifest, SinkKind, SourceKind};
use crate::settings::{Field, Kind, Need};

const HEAD: &str = "\
# What Dari carries from where to where. `dari check` tells what is missing or wrong.
# Secrets come from the environment: \"${NAME}\", or from a file: \"${file:/run/secrets/name}\".
# yaml-language-server: $schema=./dari.schema.json
";

/// What a person has to fill in.
pub(in crate::commands) const BLANK: &str = "FILL-IN";
/// What the keys of an account are of, in [`Manifest::start`].
const ACCOUNT: &str = "account";
/// The width at which comments wrap.
const WIDTH: usize = 100;

/// The kinds that a person picked.
#[derive(Default)]
pub(super) struct Picked {
    pub sources: Vec<(&'static Manifest, &'static SourceKind)>,
    pub sinks: Vec<(&'static Manifest, &'static SinkKind)>,
}

impl Picked {
    pub fn text(&self) -> String {
        let mut page = Page { text: HEAD.to_owned() };
        self.accounts(&mut page);
        if !self.sources.is_empty() {
            page.line(0, "\nsources:");
        }
        for (manifest, kind) in &self.sources {
            page.comment(1, &format!("{}: {}", manifest.title, manifest.about));
            page.line(1, &format!("my-{}:", kind.name));
            page.line(2, &format!("{}:", kind.name));
            page.fields(3, kind.name, kind.fields, manifest);
        }
        if !self.sinks.is_empty() {
            page.line(0, "\nsinks:");
        }
        for (manifest, kind) in &self.sinks {
            page.comment(1, &format!("{}: {}", manifest.title, manifest.about));
            page.line(1, &format!("my-{}:", kind.name));
            page.line(2, &format!("{}:", kind.name));
            page.fields(3, kind.name, kind.fields, manifest);
        }
        self.routes(&mut page);
        page.text
    }

    /// An account for each vendor that needs one.
    fn accounts(&self, page: &mut Page) {
        let of_sources = self.sources.iter().filter(|(_, kind)| names_account(kind.fields)).map(|(m, _)| *m);
        let of_sinks = self.sinks.iter().filter(|(_, kind)| names_account(kind.fields)).map(|(m, _)| *m);
        let mut seen: Vec<&str> = Vec::new();
        for manifest in of_sources.chain(of_sinks) {
            let Some(account) = manifest.account.as_ref().filter(|_| !seen.contains(&manifest.name)) else { continue };
            if seen.is_empty() {
                page.line(0, "\naccounts:");
            }
            seen.push(manifest.name);
            page.line(1, &format!("my-{}:", manifest.name));
            page.line(2, &format!("{}:", manifest.name));
            page.fields(3, ACCOUNT, account.fields, manifest);
        }
    }

    /// A route from each source to the first sink, and from the first source to every other sink.
    fn routes(&self, page: &mut Page) {
        let (Some((_, first)), Some(to)) = (self.sources.first(), self.sinks.first()) else { return };
        page.line(0, "\nroutes:");
        for (_, source) in &self.sources {
            route(page, source, *to);
        }
        for to in self.sinks.iter().skip(1) {
            route(page, first, *to);
        }
    }
}

/// What the connector has a value for to start with.
fn start(manifest: &Manifest, of: &str, key: &str) -> Option<&'static str> {
    let named = |name: &str| name.strip_prefix(of)?.strip_prefix('.').map(|name| name == key);
    manifest.start.iter().find(|(name, _)| named(name) == Some(true)).map(|(_, value)| *value)
}

fn names_account(fields: &[Field]) -> bool {
    fields.iter().any(|field| matches!(field.kind, Kind::Account(_)))
}

fn route(page: &mut Page, source: &SourceKind, (manifest, sink): (&Manifest, &SinkKind)) {
    page.line(1, &format!("{}-to-{}:", source.name, sink.name));
    page.line(2, &format!("from: my-{}", source.name));
    page.comment(2, "The types of events it takes; all if missing.");
    for event in source.events {
        page.comment(2, &format!("- {}: {}", event.kind, event.about));
    }
    let types: Vec<&str> = source.events.iter().map(|event| event.kind).collect();
    page.line(2, &format!("# types: [{}]", types.join(", ")));
    page.comment(2, "Only events for which this is true pass.");
    page.line(2, "# when: data.kind == 'order'");
    page.line(2, &format!("to: my-{}", sink.name));
    page.line(2, "do: create");
    page.comment(2, "The record: each value is a template over `id`, `type`, `subject`, `time` and `data`.");
    let map = start(manifest, sink.name, "map");
    page.line(2, &format!("map: {}", map.unwrap_or("{ text: \"{{ type }} {{ subject | default('') }}\" }")));
}

struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.text, "{}{line}", "  ".repeat(depth));
    }

    /// A comment, wrapped.
    fn comment(&mut self, depth: usize, text: &str) {
        let mut line = "#".to_owned();
        for word in text.split_whitespace() {
            if line.chars().count() + word.chars().count() + 2 * depth >= WIDTH {
                self.line(depth, &line);
                "#".clone_into(&mut line);
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(depth, &line);
    }

    /// The fields of a kind: those that are needed, and the others as comments.
    fn fields(&mut self, depth: usize, of: &str, fields: &[Field], manifest: &Manifest) {
        for field in fields.iter().filter(|field| !matches!(field.need, Need::NotYet(_))) {
            self.comment(depth, field.doc);
            let start = start(manifest, of, field.name);
            let prefix = if of == ACCOUNT { manifest.name } else { of };
            let value = start.map_or_else(|| value(prefix, field), str::to_owned);
            let is_account = matches!(field.kind, Kind::Account(_));
            let is_needed = field.need == Need::Required || start.is_some() || is_account;
            // What the connector has to start with is another's, but for variables.
            let is_example = start.is_some_and(|start| start != BLANK && !start.contains("${"));
            let note = if is_example { format!(" # {BLANK}: an example") } else { String::new() };
            self.line(depth, &format!("{}{}: {value}{note}", if is_needed { "" } else { "# " }, field.name));
        }
    }
}

/// A value to start from: the default, or what is to be filled in, in one line.
fn value(of: &str, field: &Field) -> String {
    match field.need {
        Need::Default(text) if text.contains(['"', '\'', '#', '{', '[', ':']) || text.is_empty() => format!("{text:?}"),
        Need::Default(text) => text.to_owned(),
        _ => blank(of, field.name, &field.kind),
    }
}

fn blank(of: &str, name: &str, kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Path | Kind::Any => BLANK.to_owned(),
        Kind::Secret => {
            let one = name.strip_suffix('s').unwrap_or(name);
            format!("\"${{{}}}\"", format!("{of}_{one}").to_uppercase().replace('-', "_"))
        }
        Kind::Boolean => "false".to_owned(),
        Kind::Integer { min, .. } => min.to_string(),
        Kind::Number { min, .. } => min.to_string(),
        Kind::Duration => "1m".to_owned(),
        Kind::Size => "1MiB".to_owned(),
        Kind::Url => "https://example.com".to_owned(),
        Kind::Zone => "Asia/Seoul".to_owned(),
        Kind::Address => "127.0.0.1:8081".to_owned(),
        Kind::Choice(words) => words.first().copied().unwrap_or_default().to_owned(),
        Kind::Template => format!("\"{{{{ body.{name} }}}}\""),
        Kind::Expression => "\"true\"".to_owned(),
        Kind::Mapping => "{ id: \"{{ id }}\" }".to_owned(),
        Kind::Account(vendor) => format!("my-{vendor}"),
        Kind::List(each) => format!("[{}]", blank(of, name, each)),
        Kind::Map(each) => format!("{{ id: {} }}", blank(of, name, each)),
        Kind::Object(fields) => {
            let known = fields.iter().filter(|field| !matches!(field.need, Need::NotYet(_)));
            let required: Vec<&Field> = known.clone().filter(|field| field.need == Need::Required).collect();
            let shown = if required.is_empty() { known.collect() } else { required };
            let shown: Vec<String> = shown.iter().map(|f| format!("{}: {}", f.name, value(of, f))).collect();
            format!("{{ {} }}", shown.join(", "))
        }
        Kind::OneOf(fields) => {
            fields.first().map(|field| format!("{{ {}: {} }}", field.name, value(of, field))).unwrap_or_default()
        }
        Kind::Either(kinds) => kinds.first().map(|kind| blank(of, name, kind)).unwrap_or_default(),
    }
}
