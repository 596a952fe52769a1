//! The two rules on documents from histories of real writes, and what a transaction makes of writes and pages.

mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use peerloom_core::*;
use proptest::prelude::*;
use room::{Append, Calls, Disk};

// Merging.

/// What happens in a history of one document on three replicas.
#[derive(Clone, Debug)]
enum Step {
    /// Writes at a replica, having seen a version from the past, or the present one.
    Write {
        at: usize,
        seen: Option<prop::sample::Index>,
    },
    Merge {
        from: usize,
        into: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0usize..3, proptest::option::weighted(0.4, any::<prop::sample::Index>()));
    let step = prop_oneof![
        write.prop_map(|(at, seen)| Step::Write { at, seen }),
        (0usize..3, 0usize..3).prop_map(|(from, into)| Step::Merge { from, into }),
    ];
    proptest::collection::vec(step, 1..25)
}

/// A document as a set of writes: the model that the rules are held against.
#[derive(Clone, Debug, Default)]
struct Model {
    writes: BTreeSet<Stamp>,
}

/// Every version that ever was, with its model, and per write the writes it had seen.
#[derive(Debug, Default)]
struct Versions {
    all: Vec<(Document, Model)>,
    seen: BTreeMap<Stamp, BTreeSet<Stamp>>,
}

impl Versions {
    /// The heads are the writes that no other write in the document had seen.
    fn heads(&self, model: &Model) -> Vec<Stamp> {
        let superseded: BTreeSet<_> = model.writes.iter().flat_map(|write| &self.seen[write]).collect();
        model.writes.iter().filter(|write| !superseded.contains(write)).copied().collect()
    }
}

fn merged(left: &Document, right: &Document) -> Document {
    match left.merge(right) {
        Merged::Unchanged => left.clone(),
        Merged::Changed(document) => document,
    }
}

fn play(steps: &[Step]) -> Versions {
    let mut versions = Versions::default();
    let mut replicas: [Option<(Document, Model)>; 3] = [None, None, None];
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Write { at, seen } => {
                let stamp = Stamp::new(1 + number as u64).expect("small");
                let dot = Dot { incarnation: Incarnation::new(*at as u64), stamp };
                let local = replicas[*at].clone();
                let past = seen.as_ref().filter(|_| !versions.all.is_empty());
                let (context, read) = match past.map(|seen| seen.get(&versions.all)).or(local.as_ref()) {
                    Some((document, model)) => (document.context().clone(), model.clone()),
                    None => Default::default(),
                };
                let state = State { body: number.to_string().into(), ..State::default() };
                let local_document = local.as_ref().map(|local| &local.0);
                let document = Document::write(local_document, dot, state, &context);
                let mut model = Model { writes: read.writes.clone() };
                model.writes.extend(local.iter().flat_map(|local| &local.1.writes));
                model.writes.insert(stamp);
                versions.seen.insert(stamp, read.writes);
                replicas[*at] = Some((document, model));
            }
            Step::Merge { from, into } => {
                let Some((remote, theirs)) = replicas[*from].clone() else { continue };
                replicas[*into] = Some(match &replicas[*into] {
                    None => (remote, theirs),
                    Some((local, ours)) => {
                        let writes = ours.writes.union(&theirs.writes).copied().collect();
                        (merged(local, &remote), Model { writes })
                    }
                });
            }
        }
        versions.all.extend(replicas.iter().flatten().cloned());
    }
    versions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_heads_are_the_writes_that_no_other_had_seen(steps in steps()) {
        let versions = play(&steps);
        for (document, model) in &versions.all {
            let heads: Vec<Stamp> = document.heads().iter().map(|head| head.dot.stamp).collect();
            prop_assert_eq!(heads, versions.heads(model));
            prop_assert_eq!(document.context().newest(), *model.writes.last().expect("a write"));
        }
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        steps in steps(),
        picks in any::<[prop::sample::Index; 3]>(),
    ) {
        let versions = play(&steps).all;
        prop_assume!(!versions.is_empty());
        let [a, b, c] = picks.map(|pick| pick.get(&versions).0.clone());
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(a.merge(&a), Merged::Unchanged);
        prop_assert_eq!(merged(&a, &b).merge(&b), Merged::Unchanged);
        if a.context() == b.context() {
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn any_order_and_grouping_of_deliveries_gives_the_same_document(
        steps in steps(),
        (order, sizes) in (any::<Vec<prop::sample::Index>>(), proptest::collection::vec(1usize..4, 30)),
    ) {
        let versions: Vec<Document> = play(&steps).all.into_iter().map(|version| version.0).collect();
        prop_assume!(!versions.is_empty());
        let straight = versions.iter().skip(1).fold(versions[0].clone(), |all, next| merged(&all, next));
        let mut shuffled = versions;
        for (place, index) in order.iter().enumerate() {
            let (from, to) = (place % shuffled.len(), index.index(shuffled.len()));
            shuffled.swap(from, to);
        }
        let mut groups = Vec::new();
        let mut sizes = sizes.into_iter().cycle();
        while !shuffled.is_empty() {
            let rest = shuffled.split_off(sizes.next().expect("endless").min(shuffled.len()));
            let group = std::mem::replace(&mut shuffled, rest);
            groups.push(group[1..].iter().fold(group[0].clone(), |all, next| merged(&all, next)));
        }
        let grouped = groups[1..].iter().fold(groups[0].clone(), |all, next| merged(&all, next));
        prop_assert_eq!(straight, grouped);
    }
}

// Transactions.

const START_MS: u64 = 1_700_000_000_000;

struct Bench {
    replica: Replica,
    disk: Disk,
    now: Now,
    fresh: u64,
}

type Placed = (Vec<Result<Written, WriteError>>, Outcome);

impl Bench {
    fn new(limits: ReplicaLimits) -> Self {
        let replica = Replica::load(limits, Incarnation::new(1), []).expect("an empty store");
        let now = Now { monotonic: Duration::from_secs(1), unix_ms: START_MS };
        Self { replica, disk: Disk::default(), now, fresh: 100 }
    }

    fn reopen(&mut self, incarnation: u64) {
        let metadata = self.disk.metadata();
        self.replica =
            Replica::load(ReplicaLimits::default(), Incarnation::new(incarnation), metadata).expect("sound");
    }

    fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        self.transact(vec![write], Vec::new()).0.pop().expect("one write")
    }

    fn apply(&mut self, page: Page) -> Outcome {
        self.transact(Vec::new(), vec![page]).1
    }

    fn transact(&mut self, writes: Vec<Write>, pages: Vec<Page>) -> Placed {
        self.transact_with(writes, pages, &mut Calls(&Append))
    }

    /// One batch of any number of writes and pages.
    fn transact_with(&mut self, writes: Vec<Write>, pages: Vec<Page>, resolver: &mut dyn Resolver) -> Placed {
        self.fresh += 1;
        let ids: BTreeSet<DocumentId> = writes
            .iter()
            .map(|write| write.id.clone())
            .chain(pages.iter().flat_map(|page| page.documents.iter().map(|document| document.0.clone())))
            .collect();
        let documents: Vec<_> = ids.into_iter().map(|id| (id.clone(), self.disk.read(&id))).collect();
        let mut transaction = self.replica.begin(self.now, Incarnation::new(self.fresh), documents);
        let written = writes.into_iter().map(|write| transaction.write(write, resolver)).collect();
        pages.into_iter().for_each(|page| transaction.apply(page));
        let (batch, committable, outcome) = transaction.finish(resolver);
        self.disk.commit(&batch);
        self.replica.committed(committable);
        (written, outcome)
    }

    /// A batch of what somebody without causality had of a document.
    fn import(&mut self, name: &str, body: &'static str) -> Dot {
        self.fresh += 1;
        let fresh = Incarnation::new(self.fresh);
        let documents = [(id(name), self.disk.read(&id(name)))];
        let mut transaction = self.replica.begin(self.now, fresh, documents);
        let imported = transaction.import(id(name), false, body.into(), fresh, &mut Calls(&Append));
        let (batch, committable, _) = transaction.finish(&mut Calls(&Append));
        self.disk.commit(&batch);
        self.replica.committed(committable);
        imported.expect("within limits").dot
    }

    fn record(&self, name: &str) -> Record {
        self.disk.read(&id(name)).expect("the document is there")
    }
}

fn bench() -> Bench {
    Bench::new(ReplicaLimits::default())
}

fn id(name: &str) -> DocumentId {
    DocumentId::new(name).expect("valid")
}

fn put(name: &str, body: &str) -> Write {
    Write {
        id: id(name),
        deleted: false,
        body: Bytes::copy_from_slice(body.as_bytes()),
        seen: Seen::Current,
        condition: Condition::None,
    }
}

fn blind(name: &str, body: &str) -> Write {
    Write { seen: Seen::Read { context: Context::default(), state: None }, ..put(name, body) }
}

fn remote(incarnation: u64, unix_ms: u64, body: &str) -> Document {
    let dot = Dot { incarnation: Incarnation::new(incarnation), stamp: Stamp::at_unix_ms(unix_ms) };
    Document::from(Head {
        dot,
        state: State { body: Bytes::copy_from_slice(body.as_bytes()), ..State::default() },
    })
}

fn page(documents: Vec<(&str, Document)>) -> Page {
    let documents = documents.into_iter().map(|(name, document)| (id(name), document)).collect();
    Page { documents, ..Page::default() }
}

#[test]
fn writes_and_pages_of_one_transaction_make_one_batch() {
    let mut bench = bench();
    let pages = vec![
        page(vec![("a", remote(7, START_MS, "theirs")), ("b", remote(7, START_MS + 1, "b"))]),
        page(vec![("b", remote(7, START_MS + 1, "b"))]),
    ];
    let (written, outcome) = bench.transact(vec![put("a", "one"), put("a", "two"), put("c", "c")], pages);
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(bench.record("a").document.heads().len(), 2);
    assert_eq!(bench.record("a").view().body, "theirs+two");
    assert_eq!(outcome.pages.iter().map(|page| page.duplicates).collect::<Vec<_>>(), [0, 1]);
    // The documents stand in the feed in the order in which they changed; "a" is not as the peer sent it.
    let as_sent = Sequence::new(3)..=Sequence::new(3);
    assert_eq!(outcome.pages[0].as_sent, [as_sent]);
    assert_eq!(bench.replica.snapshot().end, Sequence::new(3));
}

#[test]
fn a_refused_write_leaves_no_trace_and_the_others_are_made() {
    let mut bench = bench();
    bench.write(put("there", "one")).expect("within limits");
    let insert = |name| Write { condition: Condition::Absent, ..put(name, "two") };
    let update = |name| Write { condition: Condition::Present, ..put(name, "two") };
    let (written, _) =
        bench.transact(vec![insert("there"), update("gone"), insert("new"), update("there")], Vec::new());
    assert_eq!(written[0], Err(WriteError::Exists { id: id("there") }));
    assert_eq!(written[1], Err(WriteError::Missing { id: id("gone") }));
    assert!(written[2].is_ok() && written[3].is_ok());
    assert_eq!(bench.disk.records().count(), 2);
    assert_eq!(bench.record("there").view().body, "two");

    bench.write(Write { deleted: true, ..put("there", "") }).expect("within limits");
    assert!(bench.write(insert("there")).is_ok(), "a deleted document can be inserted again");
}

#[test]
fn a_write_beside_too_many_versions_is_refused_until_they_are_settled() {
    let mut bench = Bench::new(ReplicaLimits { heads_max: 3, ..ReplicaLimits::default() });
    (0..3).for_each(|_| assert!(bench.write(blind("a", "version")).is_ok()));
    let refused = bench.write(blind("a", "one more"));
    assert_eq!(refused, Err(WriteError::TooManyHeads { id: id("a"), heads: 3, heads_max: 3 }));
    bench.apply(page(vec![("a", remote(7, START_MS, "a peer's"))]));
    assert_eq!(bench.record("a").document.heads().len(), 4, "a merge never drops a head");
    assert_eq!(bench.write(put("a", "settled")).expect("covers all").heads, 1);
    assert!(bench.write(blind("a", "beside")).is_ok());
}

#[test]
fn bodies_and_documents_beyond_their_limits_are_refused() {
    let limits = ReplicaLimits { body_bytes_max: 10, document_bytes_max: 15, ..ReplicaLimits::default() };
    let mut bench = Bench::new(limits);
    assert!(matches!(bench.write(put("a", "eleven char")), Err(WriteError::BodyTooLarge { bytes: 11, .. })));
    bench.write(put("a", "ten chars.")).expect("within limits");
    assert!(matches!(bench.write(blind("a", "sixsix")), Err(WriteError::DocumentTooLarge { bytes: 16, .. })));
    bench.write(blind("a", "five.")).expect("within limits");
    bench.write(put("a", "ten chars.")).expect("replaces both");
}

#[test]
fn a_stamp_far_ahead_is_accepted_told_and_does_not_move_the_clock() {
    let mut bench = bench();
    let ahead_ms = 60 * 60 * 1000;
    let far = remote(7, START_MS + ahead_ms, "tomorrow");
    let outcome = bench.apply(page(vec![("a", far.clone()), ("b", far)]));
    assert_eq!(outcome.notices, [Notice::ClockAhead { page: 0, id: id("a"), ahead_ms }]);
    let written = bench.write(put("a", "now")).expect("within limits");
    assert_eq!(written.dot.stamp.unix_ms(), START_MS);
    assert_eq!(bench.record("a").view().body, "now", "the write supersedes what it saw all the same");

    bench.apply(page(vec![("c", remote(7, START_MS + 60_000, "a little ahead"))]));
    let written = bench.write(put("c", "now")).expect("within limits");
    assert!(written.dot.stamp > Stamp::at_unix_ms(START_MS + 60_000));
}

#[test]
fn writes_of_the_live_incarnation_that_it_does_not_remember_make_it_take_another() {
    let mut bench = bench();
    let first = bench.write(put("a", "one")).expect("within limits").dot;
    let unknown = |ms| remote(first.incarnation.number(), START_MS + ms, "forgotten");
    let outcome = bench.apply(page(vec![("b", unknown(5))]));
    assert_eq!(outcome.notices, [Notice::RolledBack { page: 0, rotated: true }]);
    let second = bench.write(put("b", "two")).expect("within limits").dot;
    assert_ne!(first.incarnation, second.incarnation);
    assert_eq!(bench.record("b").view().body, "two");
    let history: Vec<_> = bench.replica.snapshot().history.iter().map(|entry| entry.1).collect();
    assert_eq!(history, [first.incarnation, second.incarnation]);

    let again = remote(second.incarnation.number(), START_MS + 9, "a lie");
    let outcome = bench.apply(page(vec![("c", again)]));
    assert_eq!(outcome.notices, [Notice::RolledBack { page: 0, rotated: false }], "not twice in a minute");
}

#[test]
fn imports_count_from_one_under_an_incarnation_of_their_own_for_each_opening() {
    let mut bench = bench();
    let written = bench.write(put("a", "written")).expect("within limits").dot;
    let imported = ["a", "b", "a"].map(|name| bench.import(name, "from long ago"));
    assert_eq!(imported.map(|dot| dot.stamp.number()), [1, 2, 3]);
    assert_eq!(imported.map(|dot| dot.incarnation), [imported[0].incarnation; 3]);
    assert_ne!(imported[0].incarnation, written.incarnation);
    let record = bench.record("a");
    let heads: Vec<Dot> = record.document.heads().iter().map(|head| head.dot).collect();
    assert_eq!(heads, [imported[0], imported[2], written], "it outranks all that it was imported beside");

    bench.reopen(2);
    let anew = bench.import("c", "from long ago");
    assert_eq!(anew.stamp.number(), 1);
    assert_ne!(anew.incarnation, imported[0].incarnation, "whose stamps were handed out before");
}

#[test]
fn clocks_that_part_make_it_take_another_incarnation() {
    let mut bench = bench();
    let first = bench.write(put("a", "one")).expect("within limits").dot;
    bench.now.unix_ms += 3_600_000;
    let second = bench.write(put("a", "two")).expect("within limits").dot;
    assert_ne!(first.incarnation, second.incarnation);
    bench.now.unix_ms += 1_000;
    bench.now.monotonic += Duration::from_secs(1);
    let third = bench.write(put("a", "three")).expect("within limits").dot;
    assert_eq!(second.incarnation, third.incarnation);
}

#[test]
fn an_incarnation_begins_with_its_first_commit_of_documents() {
    let mut bench = bench();
    bench.write(put("a", "one")).expect("within limits");
    bench.reopen(2);
    assert_eq!(bench.replica.snapshot().history.last(), Some(Incarnation::new(1)));
    bench.reopen(3);
    let written = bench.write(put("a", "two")).expect("within limits");
    assert_eq!(written.dot.incarnation, Incarnation::new(3));
    bench.reopen(4);
    let begun: Vec<_> =
        bench.replica.snapshot().history.iter().map(|(first, by)| (first.number(), by.number())).collect();
    assert_eq!(begun, [(1, 1), (2, 3)]);
    assert_eq!(bench.replica.snapshot().end, Sequence::new(2));
}

struct Fails;

impl Resolver for Fails {
    fn resolve(&mut self, _: &[Head]) -> Option<State> {
        None
    }

    fn annotate(&mut self, _: Option<&State>, _: &State, _: Dot) -> Option<Bytes> {
        None
    }
}

#[test]
fn a_handler_that_fails_costs_its_view_only() {
    let mut bench = bench();
    let pages = vec![page(vec![("a", remote(7, START_MS + 1000, "theirs"))])];
    let (written, outcome) = bench.transact_with(vec![put("a", "ours")], pages, &mut Fails);
    assert!(written[0].is_ok());
    assert_eq!(bench.record("a").view().body, "theirs", "the last write wins");
    assert_eq!(bench.record("a").document.heads().len(), 2);
    let failed = Notice::HandlerFailed { id: id("a") };
    assert_eq!(outcome.notices.iter().filter(|notice| **notice == failed).count(), 2);
}

#[test]
fn a_changed_handler_remakes_the_views_and_nothing_else() {
    let mut bench = bench();
    let pages = vec![page(vec![("a", remote(7, START_MS + 1000, "theirs"))])];
    bench.transact(vec![put("a", "ours"), put("b", "alone")], pages);
    let stamp = bench.replica.views_made("append");
    bench.disk.commit(&stamp);
    bench.reopen(2);
    assert!(!bench.replica.views_are_stale("append"));
    assert!(bench.replica.views_are_stale("last-write-wins"));

    let (before, end) = (bench.record("a"), bench.replica.snapshot().end);
    let records: Vec<Record> = bench.disk.records().cloned().collect();
    let batch = Replica::remake(records, &mut Calls(&LastWriteWins));
    assert_eq!(batch.records.len(), 1);
    bench.disk.commit(&batch);
    let after = bench.record("a");
    assert_eq!((after.view().body.clone(), after.sequence), ("theirs".into(), before.sequence));
    assert_eq!(before.view().body, "ours+theirs");
    bench.reopen(3);
    assert_eq!(bench.replica.snapshot().end, end);
}

#[test]
fn a_page_that_holds_nothing_new_commits_no_document() {
    let mut bench = bench();
    let copy = remote(7, START_MS, "theirs");
    bench.apply(page(vec![("a", copy.clone())]));
    let end = bench.replica.snapshot().end;
    let outcome = bench.apply(page(vec![("a", copy)]));
    assert_eq!(bench.replica.snapshot().end, end);
    assert_eq!(outcome.pages[0].duplicate_origins, [Incarnation::new(7)]);
    assert!(outcome.notices.is_empty());
}
