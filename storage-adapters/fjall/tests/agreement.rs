//! Fjall and memory, given the same batches, give the same answers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{
    Batch, DocumentId, Dot, Head, IdRange, Incarnation, PageLimits, Put, Record, Sequence, Stamp, State,
    Storage, Store, StoreName,
};
use peerloom_fjall::{Durability, Fjall, Options};
use peerloom_memory::Memory;

const IDS: u64 = 60;
const SEEDS: u64 = 12;
const STEPS: u64 = 120;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn bytes(&mut self, bytes_max: u64) -> Bytes {
        (0..self.below(bytes_max)).map(|_| self.below(256) as u8).collect::<Vec<_>>().into()
    }

    fn limit(&mut self, end: u64) -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(self.below(end) as u32)
    }

    fn limits(&mut self) -> PageLimits {
        PageLimits { documents_max: self.limit(40), bytes_max: self.limit(20_000) }
    }

    /// Ids that are prefixes of each other, so that order is by bytes and not by length.
    fn id(&mut self) -> DocumentId {
        let number = self.below(IDS);
        DocumentId::new(format!("{:b}", number + 1).replace('0', "ä")).expect("a valid id")
    }

    fn key(&mut self) -> Bytes {
        (0..=self.below(3)).map(|_| [0, b'a', 0xff][self.below(3) as usize]).collect::<Vec<_>>().into()
    }

    fn bound(&mut self) -> Bound<DocumentId> {
        match self.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(self.id()),
            _ => Bound::Excluded(self.id()),
        }
    }
}

/// What a replica knows of its store: where each document is in the feed.
#[derive(Default)]
struct Writer {
    sequences: BTreeMap<DocumentId, Sequence>,
    end: Sequence,
}

impl Writer {
    fn batch(&mut self, random: &mut Random) -> Batch {
        let ids: BTreeMap<u64, DocumentId> =
            (0..random.below(8)).map(|_| (random.below(1000), random.id())).collect();
        let mut batch = Batch::default();
        for id in ids.into_values() {
            if batch.records.iter().any(|put: &Put| put.record.id == id) {
                continue;
            }
            self.end = self.end.next();
            let replaces = self.sequences.insert(id.clone(), self.end);
            batch.records.push(Put { record: Self::record(id, self.end, random), replaces });
        }
        let metadata: BTreeMap<Bytes, Option<Bytes>> = (0..random.below(5))
            .map(|_| (random.key(), (random.below(3) > 0).then(|| random.bytes(30))))
            .collect();
        batch.metadata = metadata.into_iter().collect();
        batch
    }

    fn record(id: DocumentId, sequence: Sequence, random: &mut Random) -> Record {
        let stamp = Stamp::new(1 + random.below(1 << 50)).expect("below 2^63");
        let dot = Dot { incarnation: Incarnation::new(random.below(u64::MAX)), stamp };
        let mut state = || State {
            deleted: random.below(5) == 0,
            body: random.bytes(3000),
            annotations: random.bytes(20),
        };
        let (written, resolved) = (state(), state());
        let document = Head { dot, state: written }.into();
        Record { id, sequence, document, resolved: (random.below(4) == 0).then_some(resolved) }
    }
}

async fn assert_same_answers(left: &dyn Store, right: &dyn Store, random: &mut Random, end: Sequence) {
    let ids: Vec<DocumentId> = (0..random.below(10)).map(|_| random.id()).collect();
    assert_eq!(left.read(&ids).await.expect("left reads"), right.read(&ids).await.expect("right reads"));

    let (after, limits) = (Sequence::new(random.below(end.number() + 2)), random.limits());
    let changes = left.changes(after, limits).await.expect("left reads");
    assert_eq!(changes, right.changes(after, limits).await.expect("right reads"));

    let (range, limits) = (IdRange { start: random.bound(), end: random.bound() }, random.limits());
    let listed = left.list(range.clone(), limits).await.expect("left reads");
    assert_eq!(listed, right.list(range.clone(), limits).await.expect("right reads"), "{range:?} {limits:?}");

    let prefix = random.key().slice(..random.below(2) as usize);
    let after = (random.below(2) == 0).then(|| random.key());
    let entries_max = random.limit(20);
    let found = left.metadata(&prefix, after.as_deref(), entries_max).await.expect("left reads");
    let expected = right.metadata(&prefix, after.as_deref(), entries_max).await.expect("right reads");
    assert_eq!(found, expected, "{prefix:?} after {after:?}");
}

async fn open(storage: &dyn Storage) -> Arc<dyn Store> {
    storage.open(&StoreName::node()).await.expect("the store opens")
}

#[tokio::test]
async fn fjall_and_memory_give_the_same_answers_to_the_same_calls() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = Options { durability: Durability::Buffered, ..Options::default() };
        let (fjall, memory) = (Fjall::at(directory.path()).options(options), Memory::new());
        let (mut left, mut right) = (open(&fjall).await, open(&memory).await);
        let (mut random, mut writer) = (Random(seed), Writer::default());
        for _ in 0..STEPS {
            let batch = writer.batch(&mut random);
            left.commit(batch.clone()).await.expect("left commits");
            right.commit(batch).await.expect("right commits");
            if random.below(30) == 0 {
                drop((left, right));
                (left, right) = (open(&fjall).await, open(&memory).await);
            }
            assert_same_answers(&*left, &*right, &mut random, writer.end).await;
        }
    }
}
