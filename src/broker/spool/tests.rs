//! A spool before a broker that fails, hangs and comes back as it is told.

use std::collections::HashMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::event::{NewEvent, Payload};

const DEADLINE: Duration = Duration::from_secs(30);
const MUCH: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Works,
    Fails,
    Hangs,
    /// Takes the first event of a call, and fails.
    Half,
}

/// A broker that keeps what it took.
struct Fake {
    mood: watch::Sender<Mood>,
    taken: Mutex<Vec<Arc<Event>>>,
}

impl Fake {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self { mood: watch::Sender::new(mood), taken: Mutex::default() })
    }

    fn turn(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// What it took, each once, by the first time.
    fn taken(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let ids: Vec<String> = self.taken.lock().unwrap().iter().map(|event| event.id.clone()).collect();
        ids.into_iter().filter(|id| seen.insert(id.clone())).collect()
    }
}

#[async_trait]
impl Broker for Fake {
    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()> {
        let mut mood = self.mood.subscribe();
        let mood = *mood.wait_for(|mood| *mood != Mood::Hangs).await.expect("its sender is here");
        let failed = Err(BrokerError::Unavailable("as it was told".to_owned()));
        match mood {
            Mood::Works => self.taken.lock().unwrap().extend(events),
            Mood::Half => {
                self.taken.lock().unwrap().extend(events.into_iter().take(1));
                return failed;
            }
            Mood::Fails | Mood::Hangs => return failed,
        }
        Ok(())
    }

    async fn declare(&self, _: Vec<Binding>) -> Result<()> {
        Ok(())
    }
    async fn publish_to(&self, _: &str, _: Arc<Event>) -> Result<()> {
        Ok(())
    }
    async fn consume(&self, _: &str, _: usize) -> Result<Box<dyn Consumer>> {
        Err(BrokerError::Closed)
    }
    async fn wait(&self, _: &str, _: &Message, _: u32, _: Timestamp) -> Result<()> {
        Ok(())
    }
    async fn ack(&self, _: &str, _: &Message) -> Result<()> {
        Ok(())
    }
    async fn depths(&self) -> Result<Vec<Depth>> {
        Ok(Vec::new())
    }
    async fn rename(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
    async fn remove(&self, _: &str) -> Result<u64> {
        Ok(0)
    }
}

fn event(clock: &Clock, id: &str) -> Arc<Event> {
    let body = format!(r#"{{"id": "{id}", "price": 1.10}}"#);
    let mut new = NewEvent::new("t", Payload::json(body.as_bytes()).expect("JSON"));
    new.id = Some(id.to_owned());
    Arc::new(new.stamp("s", clock).expect("an event"))
}

/// Opens; the one before it may be about to end.
async fn open_in(dir: &Path, max: u64, inner: &Arc<Fake>, clock: &Clock, patience: u64) -> Arc<Spool> {
    let opened = async {
        loop {
            let inner: Arc<dyn Broker> = inner.clone();
            match Spool::with_patience(dir, max, inner, clock, Duration::from_millis(patience)) {
                Ok(spool) => return spool,
                Err(SpoolError::File(StoreError::Held { .. })) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, opened).await.expect("the lock is given back")
}

async fn empty(spool: &Spool) {
    tokio::time::timeout(DEADLINE, spool.emptied()).await.expect("the spool empties");
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn p1_what_the_broker_does_not_take_waits_and_comes_in_order() {
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Works));
    let spool = open_in(dir.path(), MUCH, &fake, &clock, 1_500).await;
    spool.publish(vec![event(&clock, "0")]).await.expect("published");
    assert_eq!(spool.events(), 0, "a broker that works takes it at once");
    fake.turn(Mood::Fails);
    for ids in [&["1", "2"][..], &["3"]] {
        spool.publish(ids.iter().map(|id| event(&clock, id)).collect()).await.expect("spooled");
    }
    assert_eq!(spool.spooled(), Some(Waiting { events: 3, refusing: false }));
    fake.turn(Mood::Half);
    spool.publish(vec![event(&clock, "4")]).await.expect("spooled");
    fake.turn(Mood::Works);
    empty(&spool).await;
    spool.publish(vec![event(&clock, "5")]).await.expect("published");
    assert_eq!(fake.taken(), numbers(6));
    let last = fake.taken.lock().unwrap().last().cloned().expect("one");
    assert_eq!(last.data.bytes(), br#"{"id": "5", "price": 1.10}"#);
}

#[tokio::test]
async fn p1_a_broker_that_hangs_is_waited_for_a_moment_only() {
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Hangs));
    let inner: Arc<dyn Broker> = fake.clone();
    let spool = Spool::open(dir.path(), MUCH, inner, &clock).expect("opens");
    let before = tokio::time::Instant::now();
    spool.publish(vec![event(&clock, "0")]).await.expect("spooled");
    let took = before.elapsed();
    assert!(took >= PATIENCE && took < Duration::from_secs(3), "{took:?}");
    let before = tokio::time::Instant::now();
    spool.publish(vec![event(&clock, "1")]).await.expect("spooled");
    assert!(before.elapsed() < PATIENCE, "while something is spooled the broker is not asked");
    fake.turn(Mood::Works);
    empty(&spool).await;
    assert_eq!(fake.taken(), numbers(2));
}

#[tokio::test]
async fn p1_a_full_spool_says_so_and_takes_all_or_none() {
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Fails));
    let size = serde_json::to_vec(&event(&clock, "0")).unwrap().len() as u64;
    let spool = open_in(dir.path(), size * 5 / 2, &fake, &clock, 50).await;
    spool.publish(vec![event(&clock, "0")]).await.expect("spooled");
    let refused = spool.publish(vec![event(&clock, "x"), event(&clock, "y")]).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(ref why)) if why.contains("spool is full")), "{refused:?}");
    assert_eq!(spool.spooled(), Some(Waiting { events: 1, refusing: true }));
    spool.publish(vec![event(&clock, "1")]).await.expect("one more has room");
    assert_eq!(spool.spooled(), Some(Waiting { events: 2, refusing: false }));
    spool.publish(vec![event(&clock, "z")]).await.expect_err("full");
    fake.turn(Mood::Works);
    empty(&spool).await;
    assert_eq!(fake.taken(), numbers(2));
    spool.publish(vec![event(&clock, "2"), event(&clock, "3"), event(&clock, "4")]).await.expect("published");
    assert_eq!(spool.spooled(), Some(Waiting { events: 0, refusing: false }));
}

#[tokio::test]
async fn p1_a_copy_of_the_files_under_way_has_everything() {
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Fails));
    let spool = open_in(dir.path(), MUCH, &fake, &clock, 50).await;
    for id in numbers(40) {
        spool.publish(vec![event(&clock, &id)]).await.expect("spooled");
    }
    // As after a kill: what is on the disk, with nothing put in order.
    let copy = TempDir::new().unwrap();
    for name in ["spool.db", "spool.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).expect("copied");
    }
    let (other, later) = (Fake::new(Mood::Works), Clock::manual("2020-01-01T00:00:00Z".parse().unwrap()));
    let second = open_in(copy.path(), MUCH, &other, &later, 50).await;
    let stamp = event(&later, "new");
    assert!(stamp.received.clock > 0 && later.now() < clock.now());
    second.publish(vec![Arc::clone(&stamp)]).await.expect("published");
    empty(&second).await;
    let mut all = numbers(40);
    all.push("new".to_owned());
    assert_eq!(other.taken(), all, "what was there goes first");
    let taken = other.taken.lock().unwrap().clone();
    assert!(taken.iter().all(|event| event.id == "new" || event.received < stamp.received), "the clock has moved on");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_holds_nobody_up_and_stays() {
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Fails));
    let spool = open_in(dir.path(), MUCH, &fake, &clock, 50).await;
    for id in numbers(3) {
        spool.publish(vec![event(&clock, &id)]).await.expect("spooled");
    }
    let spoil = |db: &rusqlite::Connection| db.execute("UPDATE spooled SET event = x'00' WHERE id = 2", []);
    spool.inside.db.write("spoiling", spoil).await.expect("spoiled");
    fake.turn(Mood::Works);
    let came = async {
        while fake.taken().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, came).await.expect("the others come");
    assert_eq!(fake.taken(), ["0", "2"]);
    let count = |db: &rusqlite::Connection| db.query_row("SELECT count(*) FROM spooled WHERE aside", [], |r| r.get(0));
    let aside: i64 = spool.inside.db.read("counting", count).await.expect("counted");
    assert_eq!(aside, 1);
}

#[tokio::test]
async fn finishing_gives_the_file_back_with_what_is_left() {
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Fails));
    let spool = open_in(dir.path(), MUCH, &fake, &clock, 50).await;
    spool.publish(vec![event(&clock, "0")]).await.expect("spooled");
    let inner: Arc<dyn Broker> = fake.clone();
    let second = Spool::open(dir.path(), MUCH, inner, &clock).err().expect("it is held").to_string();
    assert!(second.contains("spool.db"), "{second}");
    spool.finish().await;
    spool.publish(vec![event(&clock, "1")]).await.expect_err("closed");
    fake.turn(Mood::Works);
    let inner: Arc<dyn Broker> = fake.clone();
    let third = Spool::open(dir.path(), MUCH, inner, &clock).expect("it was given back");
    empty(&third).await;
    assert_eq!(fake.taken(), ["0"]);
}

/// Publishers side by side, each one event after the other, while the broker's mood changes all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_nobody_overtakes_and_nothing_is_lost_while_the_broker_comes_and_goes() {
    const SIDES: usize = 12;
    const EACH: usize = 60;
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Works));
    let spool = open_in(dir.path(), MUCH, &fake, &clock, 20).await;
    let mut sides = tokio::task::JoinSet::new();
    for side in 0..SIDES {
        let (spool, clock) = (Arc::clone(&spool), clock.clone());
        sides.spawn(async move {
            for n in 0..EACH {
                spool.publish(vec![event(&clock, &format!("{side}-{n}"))]).await.expect("taken");
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..6))).await;
            }
        });
    }
    let moody = Arc::clone(&fake);
    let moods = tokio::spawn(async move {
        for mood in [Mood::Fails, Mood::Works, Mood::Hangs, Mood::Works, Mood::Half, Mood::Works].iter().cycle() {
            moody.turn(*mood);
            tokio::time::sleep(Duration::from_millis(rand::random_range(1..40))).await;
        }
    });
    while let Some(side) = sides.join_next().await {
        side.expect("no side panics");
    }
    moods.abort();
    _ = moods.await;
    fake.turn(Mood::Works);
    empty(&spool).await;
    let taken = fake.taken();
    assert_eq!(taken.len(), SIDES * EACH);
    let mut last: HashMap<String, usize> = HashMap::new();
    for id in taken {
        let (side, n) = id.split_once('-').expect("two parts");
        let n = n.parse().expect("a number");
        let before = last.insert(side.to_owned(), n);
        assert!(before.is_none_or(|before| before < n), "{id} came after {before:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Turn(Mood),
    Reopen,
    Empty,
}

fn step() -> impl Strategy<Value = Step> {
    let mood = prop_oneof![Just(Mood::Works), Just(Mood::Fails), Just(Mood::Hangs), Just(Mood::Half)];
    prop_oneof![
        4 => (1..4_usize).prop_map(Step::Publish),
        2 => mood.prop_map(Step::Turn),
        1 => Just(Step::Reopen),
        1 => Just(Step::Empty),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One publisher: the broker has in the end what was taken, in that order, whatever happened in between.
    #[test]
    fn p1_the_order_is_kept_whatever_happens(steps in prop::collection::vec(step(), 1..25), room in 3_u64..200) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (came, taken) = runtime.block_on(played(steps, room));
        prop_assert_eq!(came, taken);
    }
}

/// What the broker got, and what publishers were told is taken.
async fn played(steps: Vec<Step>, room: u64) -> (Vec<String>, Vec<String>) {
    let (dir, clock, fake) = (TempDir::new().unwrap(), Clock::system(1), Fake::new(Mood::Works));
    let max = serde_json::to_vec(&event(&clock, "0")).unwrap().len() as u64 * room;
    let mut spool = open_in(dir.path(), max, &fake, &clock, 5).await;
    let (mut taken, mut next) = (Vec::new(), 0);
    for step in steps {
        match step {
            Step::Publish(count) => {
                let ids: Vec<String> = (next..next + count).map(|n| n.to_string()).collect();
                next += count;
                if spool.publish(ids.iter().map(|id| event(&clock, id)).collect()).await.is_ok() {
                    taken.extend(ids);
                } else {
                    // What was refused may have come through in part, and its sender sends it again.
                    fake.turn(Mood::Works);
                    empty(&spool).await;
                    spool.publish(ids.iter().map(|id| event(&clock, id)).collect()).await.expect("there is room");
                    taken.extend(ids);
                }
            }
            Step::Turn(mood) => fake.turn(mood),
            Step::Reopen => {
                drop(spool);
                spool = open_in(dir.path(), max, &fake, &clock, 5).await;
            }
            Step::Empty => {
                fake.turn(Mood::Works);
                empty(&spool).await;
            }
        }
    }
    fake.turn(Mood::Works);
    empty(&spool).await;
    (fake.taken(), taken)
}
