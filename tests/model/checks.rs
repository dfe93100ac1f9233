//! What must be true at the end of every history.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use dari::outcome::Verb;
use dari::store::{DeliveryKey, Progress};

use crate::history::Published;
use crate::knobs::Nature;
use crate::replica::{Ground, ROUTES};
use crate::vendor::{Act, Books, is_bad};
use crate::world::World;

/// How often each account was called, by month.
type Calls = BTreeMap<(String, String), u64>;
/// How each delivery ended, by route and event.
type Endings = BTreeMap<(usize, String), String>;

pub async fn all(ground: &Ground, events: &[Published]) {
    let world = &ground.world;
    let endings = endings(ground, events).await;
    let (calls, limited) = {
        let books = world.vendor.books();
        for (route, nature) in world.knobs.natures.iter().enumerate() {
            effects(world, &books, &endings, route, *nature, events);
            if route == 0 {
                newest(world, &books, &endings, *nature, events);
            } else if world.knobs.single {
                order(world, &books, &endings, route, events);
            }
        }
        if world.knobs.single {
            thread(world, &books, &endings, events);
        }
        impossible(world, &books, &endings, events);
        (books.calls.clone(), books.limited.clone())
    };
    month(ground, &calls, &limited).await;
}

/// Nothing is lost: every delivery has ended.
async fn endings(ground: &Ground, events: &[Published]) -> Endings {
    let mut endings = Endings::new();
    for Published { event, .. } in events {
        for (at, route) in ROUTES.iter().enumerate() {
            if *route == "news" && event.is_deletion() {
                continue;
            }
            let key = DeliveryKey { route: (*route).to_owned(), event: event.key(), generation: 0 };
            let entry = ground.store.entry(key).await.expect("the store works");
            match entry.map(|entry| entry.progress) {
                Some(Progress::Done { ending }) => {
                    endings.insert((at, event.id.clone()), ending);
                }
                other => ground.world.wrong(format!("{route}/{} is lost: {other:?}", event.id)),
            }
        }
    }
    endings
}

fn ending<'a>(endings: &'a Endings, route: usize, event: &str) -> &'a str {
    endings.get(&(route, event.to_owned())).map_or("", String::as_str)
}

fn is_dead(ending: &str) -> bool {
    matches!(ending, "exhausted" | "rejected" | "poison" | "dropped")
}

fn acts_of<'a>(books: &'a Books, route: usize, event: &str) -> impl Iterator<Item = &'a Act> {
    let (name, event) = (ROUTES[route], event.to_owned());
    books.acts.iter().filter(move |act| act.delivery.route == name && act.delivery.event == event)
}

/// What is said to be delivered took effect, and what may not be done twice was not.
fn effects(world: &World, books: &Books, endings: &Endings, route: usize, nature: Nature, events: &[Published]) {
    for Published { event, .. } in events {
        let name = format!("{}/{}", ROUTES[route], event.id);
        let ending = ending(endings, route, &event.id);
        let acts = acts_of(books, route, &event.id).count();
        let once = acts_of(books, route, &event.id).filter(|a| matches!(a.verb, Verb::Create | Verb::Comment)).count();
        if once > 1 && nature != Nature::Twice {
            world.wrong(format!("{name} was applied {once} times"));
        }
        if ending == "delivered" && acts == 0 {
            world.wrong(format!("{name} is said to be delivered and never took effect"));
        }
        if is_bad(&event.id) && (acts > 0 || ending == "delivered") {
            world.wrong(format!("{name}: {ending}, though the vendor refuses it"));
        }
        let excused = is_bad(&event.id) || books.impossible.iter().any(|(whose, _)| whose.event == event.id);
        if ending == "rejected" && !excused || ending == "poison" {
            world.wrong(format!("{name} was {ending} for no reason"));
        }
        if matches!(ending, "stale" | "superseded" | "unchanged") && route != 0 {
            world.wrong(format!("{name} means every event, and was {ending}"));
        }
        if ending == "exhausted" && !world.knobs.short_patience {
            world.wrong(format!("{name} was given up within days of patience"));
        }
    }
}

/// Which of two events of a subject is newer.
fn newer(a: &Published, b: &Published) -> Ordering {
    let by_version = a.event.version.zip(b.event.version).and_then(|(a, b)| a.order(b));
    by_version.unwrap_or(Ordering::Equal).then(a.place.cmp(&b.place))
}

fn subjects(events: &[Published]) -> BTreeMap<&str, Vec<&Published>> {
    let mut subjects: BTreeMap<&str, Vec<&Published>> = BTreeMap::new();
    for published in events {
        subjects.entry(published.event.subject.as_deref().unwrap_or_default()).or_default().push(published);
    }
    subjects
}

/// The record of a subject is as its newest event says.
fn newest(world: &World, books: &Books, endings: &Endings, nature: Nature, events: &[Published]) {
    for (subject, events) in subjects(events) {
        let of = |act: &&Act| act.delivery.route == ROUTES[0] && act.delivery.subject == subject;
        // What was given up may have taken effect all the same; nobody knows, and people are told.
        let last = books.acts.iter().rev().find(of);
        let undone = last.is_some_and(|act| is_dead(ending(endings, 0, &act.delivery.event)));
        let alive = events.iter().filter(|e| !is_dead(ending(endings, 0, &e.event.id)));
        let Some(newest) = alive.max_by(|a, b| newer(a, b)) else { continue };
        let id = &newest.event.id;
        if ending(endings, 0, id) == "stale" || ending(endings, 0, id) == "superseded" {
            world.wrong(format!("state/{id} is the newest of {subject} and was {}", ending(endings, 0, id)));
        }
        // What was made by one that was given up is known to nobody.
        let given_up = |act: &Act| is_dead(ending(endings, 0, &act.delivery.event));
        let unknown = |id: &str| books.acts.iter().filter(of).find(|a| a.record == id).is_some_and(given_up);
        let records = books.records.iter().filter(|(_, r)| r.route == ROUTES[0] && r.subject == subject && r.there);
        let there: Vec<_> = records.filter(|(id, _)| !unknown(id)).map(|(_, record)| record).collect();
        if undone || nature == Nature::Twice {
            continue;
        }
        if there.len() > 1 {
            world.wrong(format!("{subject} has {} records: {there:?}", there.len()));
        }
        match there.first() {
            None if !newest.event.is_deletion() => world.wrong(format!("{subject} has no record, expected {id}")),
            Some(record) if newest.event.is_deletion() => {
                world.wrong(format!("{subject} was deleted by {id} and is there: {record:?}"));
            }
            Some(record) if newest.event.data.value()["c"] != *record.content => {
                world.wrong(format!("{subject} is {record:?}, expected {id}"));
            }
            _ => {}
        }
    }
}

/// Events that each mean something take effect in the order of receipt.
fn order(world: &World, books: &Books, endings: &Endings, route: usize, events: &[Published]) {
    for (subject, events) in subjects(events) {
        let mut last = 0;
        for published in &events {
            let event = &published.event;
            let first =
                books.acts.iter().position(|a| a.delivery.route == ROUTES[route] && a.delivery.event == event.id);
            let ending = ending(endings, route, &event.id);
            let Some(first) = first else {
                if route == 1 && !is_dead(ending) {
                    world.wrong(format!("every/{} took no effect and was {ending}", event.id));
                }
                continue;
            };
            if first < last {
                world.wrong(format!("{}/{} of {subject} overtook an earlier one", ROUTES[route], event.id));
            }
            last = first;
        }
    }
}

/// Something is said of a thing that was made.
fn thread(world: &World, books: &Books, endings: &Endings, events: &[Published]) {
    for events in subjects(events).values() {
        let mut made = false;
        for published in events {
            let event = &published.event;
            let acted = acts_of(books, 2, &event.id).next().is_some();
            // What was given up may have taken effect all the same; nobody knows, and people are told.
            made |= acted && event.kind == "thing.created" && !is_dead(ending(endings, 2, &event.id));
            if made && !acted && ending(endings, 2, &event.id) == "nothing-to-do" {
                world.wrong(format!("news/{} had nothing to do, though its thing was made", event.id));
            }
        }
    }
}

/// A route asks for nothing that cannot be, unless something that was given up took effect after all.
fn impossible(world: &World, books: &Books, endings: &Endings, events: &[Published]) {
    for (whose, why) in &books.impossible {
        let route = ROUTES.iter().position(|name| *name == whose.route).unwrap_or_default();
        let subject = events.iter().filter(|p| p.event.subject.as_deref() == Some(&whose.subject));
        let given_up = subject.into_iter().any(|p| ending(endings, route, &p.event.id) == "exhausted");
        if !given_up && world.knobs.natures[route] != Nature::Twice {
            world.wrong(format!("{}/{}: {why}", whose.route, whose.event));
        }
    }
}

/// No call is made beyond the month's, and none is made that is not counted.
async fn month(ground: &Ground, calls_of: &Calls, limited: &Calls) {
    let world = &ground.world;
    let mut accounts: BTreeMap<&str, u64> = BTreeMap::new();
    for ((account, _), calls) in calls_of {
        *accounts.entry(account).or_default() += calls;
    }
    for ((account, month), calls) in limited {
        // Those that were charged before the month turned and arrive after it count twice here.
        let stragglers = if month == "2026-12" { world.knobs.concurrency * world.knobs.replicas } else { 0 };
        if world.knobs.quota > 0 && *calls > u64::from(world.knobs.quota + stragglers) {
            world.wrong(format!("{account} was called {calls} times in {month}"));
        }
    }
    for (account, calls) in accounts {
        let mut counted = 0;
        for month in ["2026-11", "2026-12"] {
            counted += ground.store.used(account, month).await.expect("the store works");
        }
        if calls > counted {
            world.wrong(format!("{account} was called {calls} times, and {counted} were counted"));
        }
    }
}
