//! Links: what only several routes together can tell.

use std::collections::{BTreeMap, BTreeSet};

use super::{Known, Loader};
use crate::config::model::{Action, RouteConfig, SinkConfig, WithoutLink};
use crate::config::names::is_name;
use crate::config::suggest::did_you_mean;
use crate::settings::{Fault, Node, Settings, Spot};

/// What a route does with linked records.
pub(super) struct Linked {
    /// Whose links it goes by.
    pub owner: String,
    /// What it does, each with its place.
    pub deeds: Vec<Deed>,
    /// True if it has cases.
    pub has_cases: bool,
}

/// One `do`.
pub(super) struct Deed {
    /// Where it stands.
    pub spot: Spot,
    /// What it does; `None`: a fault, and it may have been meant to create.
    pub action: Option<Action>,
    /// What it does without a link.
    pub without_link: WithoutLink,
}

impl Deed {
    fn may_create(&self) -> bool {
        let makes = self.without_link == WithoutLink::Create && self.action != Some(Action::Delete);
        makes || self.action.is_none_or(Action::creates)
    }
}

/// Whose links a name stands for, of all routes of the config and all that they share.
pub(super) fn owners(routes: Option<&Node>) -> BTreeMap<String, String> {
    let entries = routes.map(Node::entries).unwrap_or_default();
    let shared = |node: &Node| node.get("link").and_then(Node::text).map(str::to_owned);
    let mut owners: BTreeMap<String, String> =
        entries.iter().filter_map(|(_, node)| shared(node)).map(|name| (name.clone(), name)).collect();
    owners.extend(entries.iter().map(|(key, node)| (key.name.clone(), shared(node).unwrap_or(key.name.clone()))));
    owners
}

impl Loader<'_> {
    /// The name of the links that a route goes by.
    pub(super) fn link(&mut self, name: &str, route: &Settings<'_>, known: &Known) -> String {
        let Some((node, link)) = route.get("link").and_then(|node| Some((node, node.text()?))) else {
            return name.to_owned();
        };
        if !is_name(link) {
            self.checker.fault(node, "`link`: expected a name, 1 to 63 of `a-z`, `0-9` and `-`");
        }
        if let Some(owner) = known.owners.get(link).filter(|owner| *owner != link) {
            self.checker.fault(node, format!("`link`: route `{link}` shares `{owner}` itself; expected that"));
        }
        link.to_owned()
    }

    /// A name in `links['name']`; whose links that are.
    pub(super) fn other(&mut self, name: Option<&str>, spot: Spot, known: &Known) -> Option<String> {
        let owner = name.and_then(|name| known.owners.get(name));
        if owner.is_none() {
            let message = match name {
                Some(name) => {
                    let hint = did_you_mean(name, known.owners.keys().map(String::as_str));
                    format!("there is no route `{name}`, and no `link` of that name{hint}")
                }
                None => "`links` takes the name of a route in quotes, as `links['tasks'].id`".to_owned(),
            };
            let fault = Fault::new(spot, message);
            // One call for several verbs is looked at for each.
            if !self.checker.inside.contains(&fault) {
                self.checker.inside.push(fault);
            }
        }
        owner.cloned()
    }

    /// Changing, deleting or answering needs a record that a route of the same links created.
    pub(super) fn check_links(&mut self) {
        let linked = std::mem::take(&mut self.linked);
        let may_create = |route: &&Linked| route.deeds.iter().any(Deed::may_create);
        let created: BTreeSet<&str> = linked.iter().filter(may_create).map(|route| route.owner.as_str()).collect();
        let mut sharing: BTreeMap<&str, usize> = BTreeMap::new();
        for route in &linked {
            *sharing.entry(&route.owner).or_default() += 1;
        }
        for route in linked.iter().filter(|route| !created.contains(route.owner.as_str())) {
            let place = match (sharing.get(route.owner.as_str()), route.has_cases) {
                (Some(2..), _) => format!("no route with the link `{}` creates", route.owner),
                (_, true) => "no case of this route creates".to_owned(),
                (_, false) => "this route never creates".to_owned(),
            };
            for deed in &route.deeds {
                let word = deed.action.map(Action::name).unwrap_or_default();
                let message = format!(
                    "`do: {word}` is for a record that {place}; expected `upsert`, `sync`, or a case with `create`"
                );
                self.checker.faults.push(Fault::new(deed.spot, message));
            }
        }
    }

    /// A record of one account is none of another, and what nobody shares needs no name of its own.
    pub(super) fn shared_links(&mut self, routes: &[RouteConfig], sinks: &[SinkConfig]) {
        let account = |route: &RouteConfig| sinks.iter().find(|sink| sink.name == route.to).map(|sink| &sink.account);
        for (at, route) in routes.iter().enumerate() {
            if let Some(now) =
                routes.iter().find(|other| other.was.as_ref() == Some(&route.link) && other.name != route.name)
            {
                let message = format!("`link`: `{}` is called `{}` now; expected that", route.link, now.name);
                self.checker.faults.push(Fault::new(route.spot, message));
                continue;
            }
            let mut others = routes.iter().enumerate().filter(|(n, other)| *n != at && other.link == route.link);
            if others.clone().next().is_none() && route.link != route.name {
                let message = format!("no other route goes by the link `{}`: nothing is shared", route.link);
                self.warnings.push(Fault::new(route.spot, message));
            }
            let elsewhere = others.find(|(n, other)| *n < at && account(other) != account(route));
            if let (Some((_, other)), Some(mine)) = (elsewhere, account(route)) {
                let message = format!(
                    "route `{}` shares the link `{}` with route `{}`, which leads to another account than `{mine}`; \
                     expected the same account",
                    route.name, route.link, other.name
                );
                self.checker.faults.push(Fault::new(route.spot, message));
            }
        }
    }
}
