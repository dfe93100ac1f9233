//! Routes: what no single field can say.

use std::collections::BTreeMap;

use super::links::{Deed, Linked};
use super::lookups::Places;
use super::{Known, Loader, take};
use crate::broker::matches;
use crate::config::fields;
use crate::config::model::{
    Action, CaseConfig, Leaves, OtherLink, Priority, RequestConfig, RetryConfig, RouteConfig, WithoutLink,
};
use crate::config::names::is_type_pattern;
use crate::config::suggest::did_you_mean;
use crate::connectors::{OnDoubt, SinkKind};
use crate::outcome::Verb;
use crate::settings::{Fault, Key, Node, NodeValue, Settings, Spot};
use crate::template::mapping::{Mapping, NAMES, OF_EVENT};
use crate::template::{CompileError, Expression, Template, template_spot};

impl Action {
    /// The action of a word of the config.
    fn parse(word: &str) -> Option<Self> {
        let state = [Self::Create, Self::Update, Self::Delete, Self::Upsert, Self::Sync];
        state.into_iter().chain(Verb::ON_A_RECORD.map(Self::Each)).find(|action| action.name() == word)
    }

    /// What a sink must be able to do for it.
    fn verbs(self) -> Vec<Verb> {
        match self {
            Self::Create => vec![Verb::Create],
            Self::Update => vec![Verb::Update],
            Self::Delete => vec![Verb::Delete],
            Self::Upsert => vec![Verb::Create, Verb::Update],
            Self::Sync => vec![Verb::Create, Verb::Update, Verb::Delete],
            Self::Each(verb) => vec![verb],
        }
    }

    pub(super) fn creates(self) -> bool {
        self.verbs().contains(&Verb::Create)
    }
}

/// Where a route goes: the sink's name, and its kind if there is such a sink.
#[derive(Clone, Copy)]
struct Target<'a> {
    name: &'a str,
    kind: Option<&'static SinkKind>,
    /// What becomes there of a subject that no longer passes.
    leaves: Leaves,
    /// The tables and routes that its templates may name.
    known: &'a Known,
    /// The lookups that they may name.
    lookups: &'a [String],
}

impl Target<'_> {
    /// What the sink must be able to do for an action.
    fn verbs(self, action: Action, without_link: WithoutLink) -> Vec<Verb> {
        let mut verbs = action.verbs();
        if without_link == WithoutLink::Create && !action.creates() && action != Action::Delete {
            verbs.insert(0, Verb::Create);
        }
        if self.leaves == Leaves::Delete && action.is_state() && !verbs.contains(&Verb::Delete) {
            verbs.push(Verb::Delete);
        }
        verbs
    }
}

impl Loader<'_> {
    pub(super) fn routes(&mut self, section: Option<Node>, known: &Known, places: Places<'_>) -> Vec<RouteConfig> {
        let entries = self.named(section, "routes");
        let names: Vec<&str> = entries.iter().map(|(key, _)| key.name.as_str()).collect();
        let former = entries.iter().filter_map(|(key, node)| node.get("was").map(|was| (key.name.as_str(), was)));
        self.former(&names, former);
        let routes = entries.into_iter().filter_map(|(key, node)| self.route(key, node, known, places)).collect();
        self.check_links();
        routes
    }

    fn route(&mut self, key: Key, mut node: Node, known: &Known, places: Places<'_>) -> Option<RouteConfig> {
        let before = self.count();
        // Their keys are their connectors'.
        let lookups = take(&mut node, "lookup");
        let names = super::names(lookups.as_ref());
        self.checker.object(&mut node, &[fields::ROUTE], &format!("route `{}`", key.name));
        if !matches!(node.value, NodeValue::Map(_)) {
            return None;
        }
        let route = Settings::new(&node, fields::ROUTE);
        let from = self.from(&route, known);
        let to = route.text("to").unwrap_or_default();
        let kind = known.sinks.get(to).copied().flatten();
        if let Some(node) = route.get("to").filter(|_| !to.is_empty()) {
            self.must_be_known(node, to, "sink", &known.sinks_names);
        }
        let link = self.link(&key.name, &route, known);
        let leaves = self.leaves(&route, kind);
        let target = Target { name: to, kind, leaves, known, lookups: &names };
        let cases = self.cases(&key, &route, target, &link);
        let matching = self.matching(&route, &cases, target);
        let lookups = lookups.map(|node| self.lookups(node, known, places)).unwrap_or_default();
        let when = self.when(route.get("when"), known);
        let record_key = route.get("key").and_then(|node| {
            let key = node.text().and_then(|text| Template::compile(text).ok())?;
            self.names(node, key.check_names(OF_EVENT), &key.tables(), known);
            Some(key)
        });
        let types = self.types(route.get("types"));
        let on_doubt = self.on_doubt(&route, to);
        let retry = self.retry(&route);
        if self.count() > before {
            return None;
        }
        let types = types.or_else(|| {
            let each: Option<Vec<&Vec<String>>> = cases.iter().map(|case| case.types.as_ref()).collect();
            each.filter(|_| route.get("cases").is_some()).map(|each| each.into_iter().flatten().cloned().collect())
        });
        Some(RouteConfig {
            name: key.name,
            spot: key.spot,
            from_former: known.former_sources(&from),
            from,
            types,
            when,
            to: to.to_owned(),
            key: record_key,
            reads: reads(&cases, known),
            link,
            leaves,
            cases,
            matching,
            lookups,
            on_doubt,
            retry,
            priority: if route.text("priority") == Some("high") { Priority::High } else { Priority::Normal },
            was: route.text("was").map(str::to_owned),
            enabled: route.flag("enabled"),
        })
    }

    /// The sources of a route, patterns resolved, in the order of the file.
    fn from(&mut self, route: &Settings<'_>, known: &Known) -> Vec<String> {
        let mut from: Vec<String> = Vec::new();
        for node in route.get("from").map(Node::items).unwrap_or_default() {
            let Some(pattern) = node.text() else { continue };
            let found: Vec<&String> = known.sources.iter().filter(|name| matches(pattern, name)).collect();
            if found.is_empty() && pattern.contains('*') {
                self.checker.fault(node, format!("no source's name fits `{pattern}`"));
            } else if found.is_empty() {
                self.must_be_known(node, pattern, "source", &known.sources);
            }
            for name in found {
                if !from.contains(name) {
                    from.push(name.clone());
                }
            }
        }
        from
    }

    fn types(&mut self, node: Option<&Node>) -> Option<Vec<String>> {
        let items = node?.items();
        for item in items {
            if item.text().is_some_and(|text| !is_type_pattern(text)) {
                self.checker.fault(item, "`types`: expected letters, digits, `.`, `_`, `-`, or `*` for any of them");
            }
        }
        Some(items.iter().filter_map(Node::text).map(str::to_owned).collect())
    }

    /// What becomes of a subject that no longer passes, where that can be told and done.
    fn leaves(&mut self, route: &Settings<'_>, kind: Option<&'static SinkKind>) -> Leaves {
        let Some(node) = route.get("leaves").filter(|node| node.text() == Some("delete")) else { return Leaves::Keep };
        let filtered = |settings: &Node| settings.get("when").is_some();
        let cases = route.get("cases").map(Node::items).unwrap_or_default();
        let all = || cases.iter().chain([route.node()]);
        let word = |settings: &Node| settings.get("do").and_then(Node::text).and_then(Action::parse);
        if !all().any(filtered) {
            self.checker.fault(node, "`leaves: delete` is for a route with a `when`: every subject passes this one");
        } else if !all().any(|settings| word(settings).is_some_and(Action::is_state)) {
            self.checker.fault(
                node,
                "`leaves: delete` is for `update`, `upsert` and `sync`: what is made for every event stays",
            );
        } else if let Some(kind) = kind.filter(|kind| !kind.verbs.contains(&Verb::Delete)) {
            let message = format!("`leaves: delete`: `{}` cannot delete", kind.name);
            self.checker.fault(node, message);
        }
        Leaves::Delete
    }

    fn cases(&mut self, key: &Key, route: &Settings<'_>, to: Target<'_>, owner: &str) -> Vec<CaseConfig> {
        let has_cases = route.get("cases").is_some();
        let linked = |deeds| Linked { owner: owner.to_owned(), deeds, has_cases };
        let Some(list) = route.get("cases") else {
            if route.get("do").is_none() {
                let message = format!("route `{}` needs `do`, or `cases` with a `do` each", key.name);
                self.checker.faults.push(Fault::new(key.spot, message));
            }
            let case = self.case(route, route.spot("do"), to, false);
            self.linked.push(linked(vec![deed(route, case.is_some())]));
            return case.into_iter().collect();
        };
        for name in ["do", "map", "request", "without_link"] {
            if let Some((key, _)) = route.node().entries().iter().find(|(key, _)| key.name == name) {
                let message = format!("`{name}` beside `cases`; expected it in each case");
                self.checker.faults.push(Fault::new(key.spot, message));
            }
        }
        let mut cases = Vec::new();
        let mut deeds = Vec::new();
        let mut all_taken = false;
        for node in list.items().iter().filter(|node| matches!(node.value, NodeValue::Map(_))) {
            let settings = Settings::new(node, fields::CASE);
            if all_taken {
                let message = "no event comes to this case: the one before it takes all";
                self.warnings.push(Fault::new(node.spot, message));
            }
            all_taken |= settings.get("types").is_none() && settings.get("when").is_none();
            let case = self.case(&settings, settings.spot("do"), to, true);
            deeds.push(deed(&settings, true));
            cases.extend(case);
        }
        self.linked.push(linked(deeds));
        cases
    }

    /// One case; a plain route is one itself.
    fn case(&mut self, settings: &Settings<'_>, spot: Spot, to: Target<'_>, is_case: bool) -> Option<CaseConfig> {
        let types = if is_case { self.types(settings.get("types")) } else { None };
        let action = Action::parse(settings.text("do")?)?;
        let without_link = without_link(settings);
        if without_link == WithoutLink::Create && (action.creates() || action == Action::Delete) {
            let message = format!("`without_link: create` is not for `do: {}`", action.name());
            self.checker.faults.push(Fault::new(settings.spot("without_link"), message));
        }
        let verbs = to.verbs(action, without_link);
        if let Some(kind) = to.kind {
            self.check_verbs(kind, action, without_link, spot);
        }
        self.check_fields(to, settings.get("map"));
        if settings.get("map").is_none() && verbs.iter().any(|verb| verb.needs_map()) {
            let message = format!("`do: {}` needs a `map`: the record's fields", action.name());
            self.checker.faults.push(Fault::new(spot, message));
        }
        let request = self.request(settings, (action, &verbs), spot, to);
        let empty = Node { spot, value: NodeValue::Map(Vec::new()) };
        let when = if is_case { self.when(settings.get("when"), to.known) } else { None };
        let map = Mapping::compile(settings.get("map").unwrap_or(&empty)).ok()?;
        self.mapped(&map, to.known, to.lookups);
        Some(CaseConfig { types, when, action, without_link, map, request })
    }

    /// What the sink says of the names in a map.
    fn check_fields(&mut self, to: Target<'_>, map: Option<&Node>) {
        let Some(sink) = self.built.get(to.name) else { return };
        for (key, _) in map.map(Node::entries).unwrap_or_default() {
            if let Err(why) = sink.takes(&key.name) {
                self.checker.faults.push(Fault::new(key.spot, format!("`{}`: {why}", key.name)));
            }
        }
    }

    fn check_verbs(&mut self, kind: &'static SinkKind, action: Action, without_link: WithoutLink, spot: Spot) {
        let mut verbs = action.verbs();
        if without_link == WithoutLink::Create && !action.creates() {
            verbs.insert(0, Verb::Create);
        }
        let lacking: Vec<&str> =
            verbs.iter().filter(|verb| !kind.verbs.contains(verb)).map(|verb| verb.name()).collect();
        if lacking.is_empty() {
            return;
        }
        let advice = if kind.advice.is_empty() { String::new() } else { format!(": {}", kind.advice) };
        let message = format!("`do: {}`: `{}` cannot {}{advice}", action.name(), kind.name, lacking.join(" or "));
        self.checker.faults.push(Fault::new(spot, message));
    }

    fn request(
        &mut self,
        settings: &Settings<'_>,
        (action, verbs): (Action, &[Verb]),
        spot: Spot,
        to: Target<'_>,
    ) -> BTreeMap<&'static str, RequestConfig> {
        let kind = to.kind;
        let takes = kind.is_none_or(|kind| kind.takes_request);
        let mut calls = BTreeMap::new();
        let Some(node) = settings.get("request") else {
            let is_plain = action == Action::Create;
            if let Some(kind) = kind.filter(|kind| kind.takes_request && !is_plain) {
                let message = format!(
                    "`do: {}` at `{}` needs a `request`: {{ method, path }} for each of create, update, delete it makes",
                    action.name(),
                    kind.name
                );
                self.checker.faults.push(Fault::new(spot, message));
            }
            return calls;
        };
        if let Some(kind) = kind.filter(|_| !takes) {
            self.checker.fault(node, format!("`request`: `{}` knows its own calls; leave it out", kind.name));
            return calls;
        }
        let by_verb = node.entries().iter().any(|(key, _)| fields::CALLS.iter().any(|field| field.name == key.name));
        for verb in verbs {
            let call = if by_verb { node.get(verb.name()) } else { Some(node) };
            match call.and_then(|call| self.call(call, to)) {
                Some(call) => {
                    calls.insert(verb.name(), call);
                }
                None if by_verb && call.is_none() => {
                    let message = match verb {
                        Verb::Delete if !action.verbs().contains(verb) => {
                            "`request` lacks `delete`, which `leaves: delete` makes".to_owned()
                        }
                        _ => format!("`request` lacks `{}`, which `do: {}` makes", verb.name(), action.name()),
                    };
                    self.checker.fault(node, message);
                }
                None => {}
            }
        }
        if !by_verb && verbs.len() > 1 && verbs.contains(&Verb::Delete) {
            let names: Vec<String> = verbs.iter().map(|verb| format!("`{}`", verb.name())).collect();
            let (last, first) = names.split_last().map_or(("", &[][..]), |(last, first)| (last.as_str(), first));
            let what = if action.verbs().contains(&Verb::Delete) { "do: sync" } else { "leaves: delete" };
            let message = format!("`{what}` needs a `request` for each of {} and {last}", first.join(", "));
            self.checker.fault(node, message);
        }
        calls
    }

    fn call(&mut self, node: &Node, to: Target<'_>) -> Option<RequestConfig> {
        let call = Settings::new(node, fields::CALL);
        let method = call.text("method")?.parse().ok()?;
        let node = call.get("path")?;
        match Template::compile_path(node.text()?) {
            Ok(path) => {
                self.names(node, path.check_names(NAMES), &path.tables(), to.known);
                for other in path.others() {
                    self.other(other.name.as_deref(), template_spot(node.spot, other.at), to.known);
                }
                for (name, at) in path.lookups() {
                    self.looked_up(&name, template_spot(node.spot, at), to.lookups);
                }
                Some(RequestConfig { method, path })
            }
            Err(error) => {
                self.checker.inside(node, &error);
                None
            }
        }
    }

    /// A `when`; the check has told before if it does not compile.
    fn when(&mut self, node: Option<&Node>, known: &Known) -> Option<Expression> {
        let node = node?;
        let when = Expression::compile(node.text()?).ok()?;
        self.names(node, when.check_names(OF_EVENT), when.tables(), known);
        Some(when)
    }

    /// What is wrong with the names that a template or an expression uses.
    fn names(&mut self, node: &Node, names: Result<(), CompileError>, used: &[(String, usize)], known: &Known) {
        if let Err(error) = names {
            self.checker.inside(node, &error);
        }
        for (name, at) in used {
            self.table(name, template_spot(node.spot, *at), known);
        }
    }

    /// What is wrong with the tables, links and lookups that a mapping names.
    pub(super) fn mapped(&mut self, map: &Mapping, known: &Known, lookups: &[String]) {
        for (name, spot) in map.tables() {
            self.table(name, *spot, known);
        }
        for (name, spot) in map.others() {
            self.other(name.as_deref(), *spot, known);
        }
        for (name, spot) in map.lookups() {
            self.looked_up(name, *spot, lookups);
        }
    }

    fn looked_up(&mut self, name: &str, spot: Spot, lookups: &[String]) {
        if lookups.iter().any(|known| known == name) {
            return;
        }
        let hint = did_you_mean(name, lookups.iter().map(String::as_str));
        let message = match name {
            "" => "`lookup` alone is nothing: expected one of the route's lookups, as `lookup.customer`".to_owned(),
            _ => format!("there is no lookup `{name}` on this route{hint}"),
        };
        let fault = Fault::new(spot, message);
        if !self.checker.inside.contains(&fault) {
            self.checker.inside.push(fault);
        }
    }

    /// A route's `match`.
    fn matching(&mut self, route: &Settings<'_>, cases: &[CaseConfig], to: Target<'_>) -> Option<Mapping> {
        let node = route.get("match")?;
        if !cases.iter().any(|case| matches!(case.action, Action::Upsert | Action::Sync)) && !cases.is_empty() {
            self.checker.fault(node, "`match` is for `do: upsert` and `do: sync`, which create only what is not there");
        }
        if self.built.get(to.name).is_some_and(|sink| !sink.matches()) {
            let message = format!("`match`: `{}` cannot be asked which records have some values", to.name);
            self.checker.fault(node, message);
        }
        let map = Mapping::compile(node).ok()?;
        self.mapped(&map, to.known, to.lookups);
        Some(map)
    }

    fn table(&mut self, name: &str, spot: Spot, known: &Known) {
        if !known.tables.iter().any(|known| known == name) {
            let hint = did_you_mean(name, known.tables.iter().map(String::as_str));
            // One call for several verbs is looked at for each.
            let fault = Fault::new(spot, format!("there is no table `{name}`{hint}"));
            if !self.checker.inside.contains(&fault) {
                self.checker.inside.push(fault);
            }
        }
    }

    fn on_doubt(&mut self, route: &Settings<'_>, to: &str) -> Option<OnDoubt> {
        let node = route.get("on_doubt")?;
        Some(match node.text()? {
            "hold" => OnDoubt::Hold,
            "retry" => OnDoubt::Retry,
            _ => {
                // A sink that can be asked is, unless its route says otherwise.
                if self.built.get(to).is_some_and(|sink| sink.on_doubt(Verb::Create) != OnDoubt::Find) {
                    let message = format!("`on_doubt: find`: `{to}` cannot be asked; expected `hold` or `retry`");
                    self.checker.fault(node, message);
                }
                OnDoubt::Find
            }
        })
    }

    fn retry(&mut self, route: &Settings<'_>) -> RetryConfig {
        let unset = RetryConfig::default();
        let Some(retry) = route.object("retry", fields::RETRY) else { return unset };
        let first = retry.duration("first").unwrap_or(unset.first);
        let max = retry.duration("max").unwrap_or(unset.max);
        if first.is_zero() {
            self.checker.faults.push(Fault::new(retry.spot("first"), "`first` is 0; expected a delay"));
        } else if max < first {
            self.checker
                .faults
                .push(Fault::new(retry.spot("max"), "`max` is less than `first`; expected at least as much"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the field's bounds fit")]
        let factor = retry.number("factor").map_or(unset.factor, |factor| factor as f32);
        RetryConfig {
            first,
            factor,
            max,
            give_up_after: retry.duration("give_up_after").unwrap_or(unset.give_up_after),
        }
    }
}

fn without_link(settings: &Settings<'_>) -> WithoutLink {
    if settings.text("without_link") == Some("create") { WithoutLink::Create } else { WithoutLink::Skip }
}

/// What a case does with linked records; `sound` is false where it is itself a fault.
fn deed(settings: &Settings<'_>, sound: bool) -> Deed {
    Deed {
        spot: settings.spot("do"),
        action: settings.text("do").and_then(Action::parse).filter(|_| sound),
        without_link: without_link(settings),
    }
}

/// The links of other routes that the templates of these cases name, each once.
fn reads(cases: &[CaseConfig], known: &Known) -> Vec<OtherLink> {
    let mut found: Vec<OtherLink> = Vec::new();
    for case in cases {
        let in_map = case.map.others().iter().filter_map(|(name, _)| name.clone());
        let in_paths = case.request.values().flat_map(|call| call.path.others()).filter_map(|other| other.name);
        for name in in_map.chain(in_paths) {
            if let Some(owner) = known.owners.get(&name).filter(|_| !found.iter().any(|other| other.name == name)) {
                found.push(OtherLink { owner: owner.clone(), name });
            }
        }
    }
    found
}
