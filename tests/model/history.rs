//! One history: events come, people act, processes come and go; then the troubles end, and all is looked at.

use std::sync::Arc;
use std::time::Duration;

use dari::broker::Broker;
use dari::event::{Event, NewEvent, Payload, Version};
use dari::outcome::Scope;
use dari::store::{DeadClass, DeadFilter};
use jiff::SignedDuration;
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::checks;
use crate::knobs::{Knobs, Versions};
use crate::replica::{Ground, ROUTES, Seat, keep};
use crate::world::{Process, World};

/// How long the quiet after the troubles may last until all has ended.
const QUIET: Duration = Duration::from_mins(20);

/// A history that broke a promise.
pub struct Failure {
    pub wrongs: Vec<String>,
    pub log: Vec<String>,
}

/// An event as it was published, in order.
pub struct Published {
    pub event: Arc<Event>,
    /// Its place in the order of receipt.
    pub place: usize,
}

/// Lives a history.
pub fn live(knobs: &Knobs) -> Result<Vec<String>, Failure> {
    crate::replica::prepare();
    fastrand::seed(knobs.dice);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let world = World::new(knobs.clone());
        let ground = Arc::new(Ground::new(&world).await);
        let events = tell(&ground).await;
        checks::all(&ground, &events).await;
        let wrongs = world.wrongs();
        if wrongs.is_empty() { Ok(world.logged()) } else { Err(Failure { wrongs, log: world.logged() }) }
    })
}

async fn tell(ground: &Arc<Ground>) -> Vec<Published> {
    let world = &ground.world;
    let mut parts = tokio::task::JoinSet::new();
    let seats: Vec<_> = (0..world.knobs.replicas).map(|_| Arc::new(Seat::default())).collect();
    for (seat, number) in seats.iter().zip(1..) {
        parts.spawn(keep(Arc::clone(ground), number, Arc::clone(seat)));
    }
    parts.spawn(people(Arc::clone(ground), seats.clone()));
    let events = publish(ground, &seats).await;
    world.sleep(0, 60_000).await;
    world.calm_down();
    let end = tokio::time::Instant::now() + QUIET;
    // What is handed out or held in a process's last moment is counted by the broker too.
    while ground.messages().await > 0 || is_held(ground).await {
        if tokio::time::Instant::now() > end {
            world.wrong(format!("{} messages and no end", ground.messages().await));
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    parts.shutdown().await;
    events
}

async fn is_held(ground: &Ground) -> bool {
    let filter = DeadFilter { class: Some(DeadClass::Held), limit: 1, ..DeadFilter::default() };
    !ground.store.dead(filter).await.expect("the store works").is_empty()
}

// === What comes in ===

fn script(world: &World) -> Vec<NewEvent> {
    let knobs = &world.knobs;
    let mut events = Vec::new();
    let mut seen = vec![0_i64; knobs.subjects as usize];
    for n in 0..knobs.events {
        let subject = world.random(|dice| dice.random_range(0..knobs.subjects));
        let count = &mut seen[subject as usize];
        *count += 1;
        let kind = match world.random(|dice| dice.random_range(0..100)) {
            _ if *count == 1 => "thing.created",
            0..15 => "thing.deleted",
            15..30 => "thing.created",
            _ => "thing.updated",
        };
        let bad = if world.happens(knobs.bad, 1_000) { "!" } else { "" };
        // Now and then a record is to be as it is.
        let content = if world.random(|dice| dice.random_bool(0.3)) { "same".to_owned() } else { format!("c{n}") };
        let data = serde_json::json!({ "c": content });
        let mut new = NewEvent::new(kind, Payload::from_value(&data));
        new.id = Some(format!("e{n}{bad}"));
        new.subject = Some(format!("s{subject}"));
        new.version = match knobs.versions {
            Versions::None => None,
            Versions::Integers => Some(Version::Integer(*count)),
            Versions::Instants => Some(Version::Instant(world.start + SignedDuration::from_secs(*count / 2))),
        };
        events.push(new);
    }
    if knobs.versions != Versions::None {
        // They come in another order than they happened in; some far from their place.
        for window in events.chunks_mut(4) {
            world.random(|dice| window.shuffle(dice));
        }
    }
    events
}

/// Publishes the script's events, one after the other, each until it is durable; some of them again later.
async fn publish(ground: &Arc<Ground>, seats: &[Arc<Seat>]) -> Vec<Published> {
    let world = &ground.world;
    let script = script(world);
    let pause = u64::from(world.knobs.span) * 2_000 / script.len().max(1) as u64;
    let mut published = Vec::new();
    let mut again: Vec<NewEvent> = Vec::new();
    for (place, new) in script.into_iter().enumerate() {
        if world.random(|dice| dice.random_bool(0.6)) {
            world.sleep(0, pause).await;
        }
        if world.happens(world.knobs.duplicates, 1_000) {
            again.push(new.clone());
        }
        let event = send(ground, seats, &new).await;
        published.push(Published { event, place });
        if !again.is_empty() && world.random(|dice| dice.random_bool(0.3)) {
            let at = world.random(|dice| dice.random_range(0..again.len()));
            let new = again.swap_remove(at);
            send(ground, seats, &new).await;
        }
    }
    for new in again {
        world.sleep(0, 5_000).await;
        send(ground, seats, &new).await;
    }
    published
}

/// Sends as a sender does: again and again until it is told that the event is durable. The event as it came first.
async fn send(ground: &Ground, seats: &[Arc<Seat>], new: &NewEvent) -> Arc<Event> {
    let world = &ground.world;
    let mut first = None;
    loop {
        let event = Arc::new(new.clone().stamp("in", &world.clock).expect("an event"));
        world.announce(&event, &ROUTES);
        let event_first = Arc::clone(first.get_or_insert_with(|| Arc::clone(&event)));
        let seat = &seats[world.random(|dice| dice.random_range(0..seats.len()))];
        let Some((process, operator)) = seat.taken() else {
            world.sleep(10, 500).await;
            continue;
        };
        let broker: Arc<dyn Broker> = Arc::clone(&operator.broker);
        world.log(format!(
            "{process:?} receives {} {} of {:?} v{:?}",
            event.id, event.kind, event.subject, event.version
        ));
        if matches!(tokio::time::timeout(Duration::from_secs(5), broker.publish(vec![event])).await, Ok(Ok(()))) {
            return event_first;
        }
        world.sleep(10, 2_000).await;
    }
}

// === What people do ===

/// Resumes what only a person resumes, and decides on what is held, by the truth.
async fn people(ground: Arc<Ground>, seats: Vec<Arc<Seat>>) {
    let world = &ground.world;
    loop {
        world.sleep(1_000, 60_000).await;
        for seat in &seats {
            let Some((process, operator)) = seat.taken() else { continue };
            if let Ok(done) = tokio::time::timeout(Duration::from_mins(1), act(world, &process, &operator)).await
                && let Err(why) = done
            {
                world.log(format!("a person could not: {why}"));
            }
        }
    }
}

async fn act(world: &World, process: &Process, operator: &dari::admin::Operator) -> Result<(), String> {
    for halt in operator.halts.all() {
        // The end of a month is waited for, unless the history is to end.
        if halt.until.is_none() || (world.is_calm() && halt.scope == Scope::Account) {
            operator.halts.resume(halt.scope, &halt.name).await.map_err(|e| e.to_string())?;
        }
    }
    let filter = DeadFilter { class: Some(DeadClass::Held), ..DeadFilter::default() };
    for held in operator.store.dead(filter).await.map_err(|e| e.to_string())? {
        let letter = &held.letter;
        let effect = world.vendor.books().effect_of(&dari::deliver::webhook_id(&letter.delivery.route, &letter.event));
        let id = held.id;
        world
            .log(format!("{process:?}: a person decides on {}/{}: {effect:?}", letter.delivery.route, letter.event.id));
        let done = match effect {
            Some(record) => operator.mark_delivered(id, Some(record)).await,
            None => operator.mark_again(id).await,
        };
        if let Err(why) = done {
            world.log(format!("a person could not: {why}"));
        }
    }
    Ok(())
}
