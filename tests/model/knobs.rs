//! What kind of history it is to be. Everything follows from the seed; single knobs can be turned by hand, or by the
//! search for a smaller history that fails the same way.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// How a vendor stands to a call that is made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It can be asked whether a call took effect.
    Asked,
    /// It knows a call again.
    Idempotent,
    /// It cannot be asked: a person decides.
    Held,
    /// It cannot be asked, and twice is better than never.
    Twice,
}

/// How a source tells the order of a subject's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Not at all: the order of receipt counts.
    None,
    /// By rising numbers; the events come in another order.
    Integers,
    /// By instants, some of them equal.
    Instants,
}

/// A kind of history.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a knob of its own")]
pub struct Knobs {
    pub seed: u64,
    /// Seeds all that happens by chance while it runs.
    pub dice: u64,
    pub events: u32,
    pub subjects: u32,
    /// How long the events keep coming, in seconds.
    pub span: u32,
    /// Of a thousand events so many come again.
    pub duplicates: u32,
    /// Of ten thousand awaits so many end the process.
    pub crashes: u32,
    /// A process is ended, wherever it is, about every so many seconds; 0: never.
    pub kills: u32,
    /// Of a thousand operations of store and broker so many fail.
    pub faults: u32,
    /// Of a thousand awaits so many take long.
    pub delays: u32,
    /// Of a thousand calls so many meet trouble at the vendor.
    pub trouble: u32,
    /// Which kinds of trouble there are.
    pub troubles: u32,
    /// Of a thousand events so many are refused by the vendor for ever.
    pub bad: u32,
    /// The month's calls; 0: without limit.
    pub quota: u32,
    /// When the month turns, in seconds from the start.
    pub month: u32,
    pub concurrency: u32,
    /// Calls in ten seconds; 0: without limit.
    pub rate: u32,
    /// How many deliveries a call takes.
    pub batch: u32,
    pub replicas: u32,
    /// True: one process at a time receives of a route; else several do, and what they receive at once has no order.
    pub single: bool,
    /// True: the embedded queue; false: one that replicas share.
    pub embedded: bool,
    pub short_patience: bool,
    pub one_account: bool,
    pub natures: [Nature; 3],
    pub versions: Versions,
}

impl Knobs {
    /// The history of a seed.
    pub fn of(seed: u64, natures: &[Nature], replicas: u32) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut one_of = |from: &[u32]| *from.choose(&mut dice).expect("not empty");
        let mut knobs = Self {
            seed,
            dice: seed,
            events: one_of(&[2, 3, 5, 8, 12, 25]),
            subjects: one_of(&[1, 1, 2, 3, 6]),
            span: one_of(&[1, 10, 60, 300]),
            duplicates: one_of(&[0, 100, 400]),
            crashes: one_of(&[0, 0, 20, 100, 300]),
            kills: one_of(&[0, 0, 0, 5, 30]),
            faults: one_of(&[0, 0, 5, 50]),
            delays: one_of(&[50, 200, 500]),
            trouble: one_of(&[0, 50, 200, 500]),
            troubles: 0,
            bad: one_of(&[0, 0, 100]),
            quota: one_of(&[0, 0, 5, 20]),
            month: one_of(&[5, 60, 400]),
            concurrency: one_of(&[1, 2, 4, 8]),
            rate: one_of(&[0, 0, 10, 50]),
            batch: 1,
            replicas,
            single: replicas == 1,
            embedded: false,
            short_patience: false,
            one_account: false,
            natures: [Nature::Idempotent; 3],
            versions: Versions::None,
        };
        knobs.troubles = dice.random_range(1..(1 << crate::vendor::TROUBLES.len()));
        knobs.batch = if dice.random_bool(0.25) { 3 } else { 1 };
        knobs.embedded = replicas == 1 && dice.random_bool(0.3);
        knobs.single |= dice.random_bool(0.5);
        knobs.short_patience = dice.random_bool(0.3);
        knobs.one_account = dice.random_bool(0.5);
        knobs.natures = std::array::from_fn(|_| *natures.choose(&mut dice).expect("not empty"));
        let versions = [Versions::None, Versions::Integers, Versions::Integers, Versions::Instants];
        knobs.versions = *versions.choose(&mut dice).expect("not empty");
        if !knobs.single && knobs.versions != Versions::Integers {
            // Who has the repetition first cannot know that another has what it repeats, and takes it for the newer one.
            knobs.duplicates = 0;
        }
        knobs
    }

    /// The knobs that can be turned by hand.
    fn numbers(&mut self) -> [(&'static str, &mut u32); 16] {
        [
            ("events", &mut self.events),
            ("subjects", &mut self.subjects),
            ("span", &mut self.span),
            ("duplicates", &mut self.duplicates),
            ("crashes", &mut self.crashes),
            ("kills", &mut self.kills),
            ("faults", &mut self.faults),
            ("delays", &mut self.delays),
            ("trouble", &mut self.trouble),
            ("troubles", &mut self.troubles),
            ("bad", &mut self.bad),
            ("quota", &mut self.quota),
            ("month", &mut self.month),
            ("concurrency", &mut self.concurrency),
            ("rate", &mut self.rate),
            ("batch", &mut self.batch),
        ]
    }

    /// Turns knobs as `events=3 crashes=0` says.
    pub fn turned(mut self, by: &str) -> Self {
        for word in by.split_whitespace() {
            let (name, value) = word.split_once('=').expect("name=number");
            match name {
                "seed" => {}
                "dice" => self.dice = value.parse().expect("a number"),
                name => {
                    let mut numbers = self.numbers();
                    let (_, knob) = numbers.iter_mut().find(|(known, _)| *known == name).expect("a knob");
                    **knob = value.parse().expect("a number");
                }
            }
        }
        self
    }

    /// The same with less of something, for the search for a smaller failure.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for at in 0..16 {
            for less in [|_: u32| 0, |n: u32| n / 2, |n: u32| n.saturating_sub(1)] {
                let mut knobs = self.clone();
                let mut numbers = knobs.numbers();
                let (name, knob) = &mut numbers[at];
                let least =
                    u32::from(matches!(*name, "batch" | "events" | "subjects" | "concurrency" | "span" | "month"));
                let value = less(**knob).max(least);
                // A month without a quota, or the kinds of a trouble that there is none of, make nothing smaller.
                if value < **knob && *name != "month" {
                    **knob = value;
                    all.push(knobs);
                }
            }
        }
        all
    }
}

impl fmt::Display for Knobs {
    /// As [`Knobs::turned`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={} dice={}", self.seed, self.dice)?;
        for (name, value) in self.clone().numbers() {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}
