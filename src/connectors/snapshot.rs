//! What changed since the last poll, for vendors that only show how things are.
//!
//! Every poll reads all items, and compares them with the source's [`Memory`]: what is new, what is different, what is
//! no longer there. Whether a missing item was deleted is for the poller to find out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Change, Memory, PollError, Remembered};

/// Something that can be compared from poll to poll.
#[derive(Clone, Debug, PartialEq)]
pub struct Item<T> {
    /// What it is known by: the subject of its events.
    pub key: String,
    /// Tells whether it changed, as [`hash`] of what counts.
    pub hash: String,
    /// As the poller reads it.
    pub value: T,
}

/// An item that is not as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Updated<T> {
    /// As it is now.
    pub item: Item<T>,
    /// As it was.
    pub before: Remembered,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff<T> {
    /// Items that were not there, in the order they were read.
    pub created: Vec<Item<T>>,
    /// Items that were different, in the order they were read.
    pub updated: Vec<Updated<T>>,
    /// What was remembered and is not among the items, by key.
    pub missing: Vec<(String, Remembered)>,
    /// How many were remembered: for [`Page::known`](super::Page::known).
    pub known: u64,
}

/// Compares. An item that comes twice counts once, as it was read last: a page may repeat what another had.
///
/// # Errors
/// [`PollError::Retry`] while the store cannot be read.
pub async fn diff<T>(items: Vec<Item<T>>, memory: &dyn Memory) -> Result<Diff<T>, PollError> {
    let hashes = memory.hashes().await?;
    let keys: BTreeSet<String> = items.iter().map(|item| item.key.clone()).collect();
    let (mut created, mut changed) = (Vec::new(), Vec::new());
    for item in once_each(items) {
        match hashes.get(&item.key) {
            None => created.push(item),
            Some(known) if *known == item.hash => {}
            Some(_) => changed.push(item),
        }
    }
    let mut updated = Vec::new();
    for item in changed {
        // Forgotten between the two reads, which nobody but this source's poller does: then it is new.
        match memory.get(&item.key).await? {
            Some(before) => updated.push(Updated { item, before }),
            None => created.push(item),
        }
    }
    let mut missing = Vec::new();
    for key in hashes.keys().filter(|key| !keys.contains(*key)) {
        if let Some(before) = memory.get(key).await? {
            missing.push((key.clone(), before));
        }
    }
    Ok(Diff { created, updated, missing, known: hashes.len() as u64 })
}

/// The last of each key, at the place of the first.
fn once_each<T>(items: Vec<Item<T>>) -> Vec<Item<T>> {
    let mut places = BTreeMap::<String, usize>::new();
    let mut once: Vec<Item<T>> = Vec::with_capacity(items.len());
    for item in items {
        if let Some(&place) = places.get(&item.key) {
            once[place] = item;
        } else {
            places.insert(item.key.clone(), once.len());
            once.push(item);
        }
    }
    once
}

/// The change that remembers a subject from now on.
#[must_use]
pub fn remember(key: impl Into<String>, hash: impl Into<String>, value: Value) -> Change {
    Change { key: key.into(), now: Some(Remembered { hash: hash.into(), value }) }
}

/// The change that forgets a subject.
#[must_use]
pub fn forget(key: impl Into<String>) -> Change {
    Change { key: key.into(), now: None }
}

/// A hash of a value that does not depend on the order of its objects' keys.
#[must_use]
pub fn hash(value: &Value) -> String {
    let mut hash = Sha256::new();
    take(&mut hash, value);
    hex::encode(&hash.finalize()[..16])
}

fn take(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Array(items) => {
            hash.update([b'[']);
            hash.update((items.len() as u64).to_be_bytes());
            for item in items {
                take(hash, item);
            }
        }
        Value::Object(entries) => {
            hash.update([b'{']);
            hash.update((entries.len() as u64).to_be_bytes());
            let sorted: BTreeMap<_, _> = entries.iter().collect();
            for (key, value) in sorted {
                hash.update((key.len() as u64).to_be_bytes());
                hash.update(key);
                take(hash, value);
            }
        }
        other => {
            let text = other.to_string();
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default)]
    struct InMemory(BTreeMap<String, Remembered>);

    impl InMemory {
        fn apply(&mut self, change: Change) {
            match change.now {
                Some(now) => self.0.insert(change.key, now),
                None => self.0.remove(&change.key),
            };
        }
    }

    #[async_trait]
    impl Memory for InMemory {
        async fn hashes(&self) -> Result<BTreeMap<String, String>, PollError> {
            Ok(self.0.iter().map(|(key, known)| (key.clone(), known.hash.clone())).collect())
        }

        async fn get(&self, key: &str) -> Result<Option<Remembered>, PollError> {
            Ok(self.0.get(key).cloned())
        }
    }

    fn item(key: &str, value: u8) -> Item<Value> {
        Item { key: key.to_owned(), hash: hash(&json!(value)), value: json!(value) }
    }

    async fn poll(memory: &mut InMemory, items: Vec<Item<Value>>) -> Diff<Value> {
        let diff = diff(items, memory).await.unwrap();
        let seen = diff.created.iter().chain(diff.updated.iter().map(|updated| &updated.item));
        for item in seen {
            memory.apply(remember(&item.key, &item.hash, item.value.clone()));
        }
        for (key, _) in &diff.missing {
            memory.apply(forget(key));
        }
        diff
    }

    #[tokio::test]
    async fn what_is_new_different_or_gone_is_told_once() {
        let mut memory = InMemory::default();
        let first = poll(&mut memory, vec![item("b", 1), item("a", 1)]).await;
        assert_eq!((first.created, first.known), (vec![item("b", 1), item("a", 1)], 0));
        let second = poll(&mut memory, vec![item("a", 2), item("c", 1)]).await;
        assert_eq!((second.created, second.known), (vec![item("c", 1)], 2));
        assert_eq!((&second.updated[0].item, &second.updated[0].before.value), (&item("a", 2), &json!(1)));
        assert_eq!(second.missing[0].0, "b");
        assert_eq!(second.missing[0].1.value, json!(1));
        let third = poll(&mut memory, vec![item("a", 2), item("c", 1)]).await;
        assert_eq!(third, Diff { created: vec![], updated: vec![], missing: vec![], known: 2 });
    }

    #[tokio::test]
    async fn an_item_that_comes_twice_counts_once_as_it_was_read_last() {
        let mut memory = InMemory::default();
        let diff = poll(&mut memory, vec![item("a", 1), item("b", 1), item("a", 2)]).await;
        assert_eq!(diff.created, [item("a", 2), item("b", 1)]);
    }

    #[test]
    fn a_hash_is_of_the_content() {
        let same = |a: &str, b: &str| {
            let read = |text: &str| hash(&serde_json::from_str(text).unwrap());
            read(a) == read(b)
        };
        assert!(same(r#"{"a":1,"b":[1,2]}"#, r#"{"b":[1,2],"a":1}"#));
        assert!(!same("[1,2]", "[2,1]") && !same("[[1],2]", "[[1,2]]") && !same(r#""1""#, "1"));
        assert!(!same(r#"{"a":"b"}"#, r#"["a","b"]"#) && !same("null", "[]"));
    }

    proptest! {
        /// However the vendor's items change, what was told adds up to what is there.
        #[test]
        fn the_told_changes_add_up(polls in prop::collection::vec(prop::collection::vec((0_u8..12, 0_u8..3), 0..14), 1..8)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (mut memory, mut told) = (InMemory::default(), BTreeMap::<String, Value>::new());
            for items in polls {
                let items: Vec<_> = items.into_iter().map(|(key, value)| item(&format!("k{key}"), value)).collect();
                let there: BTreeMap<_, _> = items.iter().map(|i| (i.key.clone(), i.value.clone())).collect();
                let before = told.clone();
                let diff = runtime.block_on(poll(&mut memory, items));
                prop_assert_eq!(diff.known, before.len() as u64);
                for item in diff.created {
                    prop_assert!(told.insert(item.key, item.value).is_none());
                }
                for Updated { item, before: was } in diff.updated {
                    prop_assert_eq!(before.get(&item.key), Some(&was.value));
                    prop_assert_ne!(&item.value, &was.value);
                    told.insert(item.key, item.value);
                }
                for (key, was) in diff.missing {
                    prop_assert_eq!(told.remove(&key), Some(was.value));
                }
                prop_assert_eq!(&told, &there);
            }
        }
    }
}
