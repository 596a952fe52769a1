//! Concurrent edits of Automerge documents merge, to the same bytes everywhere.

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ROOT, ReadDoc};
use bytes::Bytes;
use peerloom_automerge::{EditError, MergeAutomerge, automerge, edit, edit_text, empty_text, text};
use peerloom_core::{ConflictHandler, DeleteWins, Dot, EditWins, Head, Incarnation, Stamp, State};
use proptest::prelude::*;

fn heads(bodies: impl IntoIterator<Item = Bytes>) -> Vec<Head> {
    let head = |(body, number)| Head {
        dot: Dot { incarnation: Incarnation::new(number), stamp: Stamp::new(number).expect("small") },
        state: State { body, ..State::default() },
    };
    bodies.into_iter().zip(1..).map(head).collect()
}

fn note(value: &str) -> Bytes {
    edit_text(&empty_text("note"), "note", value).expect("a text")
}

fn edited(body: &Bytes, value: &str) -> Bytes {
    edit_text(body, "note", value).expect("a text")
}

fn read(body: &Bytes) -> String {
    text(body, "note").expect("a text")
}

#[test]
fn texts_made_at_the_same_time_are_one() {
    assert_eq!(empty_text("note"), empty_text("note"));
    let merged = read(&MergeAutomerge.resolve(&heads([note("one "), note("two ")])).body);
    assert!(["one two ", "two one "].contains(&merged.as_str()), "{merged:?}");
}

#[test]
fn marks_merge_with_edits_of_the_text() {
    let base = note("Buy milk.");
    let bold = edit(&base, |document| {
        let (_, text) = document.get(ROOT, "note")?.expect("a text");
        document.mark(&text, Mark::new("bold".into(), true, 4, 8), ExpandMark::Both)
    });
    let view = MergeAutomerge.resolve(&heads([bold.expect("a mark"), edited(&base, "Please buy oat milk.")]));
    assert_eq!(read(&view.body), "Please buy oat milk.");
    let document = AutoCommit::load(&view.body).expect("a document");
    let (_, text) = document.get(ROOT, "note").expect("it reads").expect("a text");
    let marks = document.marks(&text).expect("it reads");
    let marked = marks.iter().map(|mark| &read(&view.body)[mark.start..mark.end] == "milk" || mark.end == 19);
    assert_eq!(marked.collect::<Vec<_>>(), [true]);
}

#[test]
fn an_edit_on_top_of_the_view_wins_over_what_it_saw() {
    let base = note("a");
    let left = edited(&base, "ab");
    let view = MergeAutomerge.resolve(&heads([left.clone(), edited(&base, "ac")]));
    let settled = edited(&view.body, "done");
    assert_eq!(read(&MergeAutomerge.resolve(&heads([settled, edited(&left, "ab!")])).body), "done!");
}

#[test]
fn the_last_write_decides_whether_it_is_deleted() {
    let base = note("a");
    let mut heads = heads([edited(&base, "ab"), Bytes::new()]);
    heads[1].state.deleted = true;
    let view = MergeAutomerge.resolve(&heads);
    assert_eq!((view.deleted, read(&view.body).as_str()), (true, "ab"));
    assert!(!EditWins::new(MergeAutomerge).resolve(&heads).deleted);
    heads.swap(0, 1);
    assert!(!MergeAutomerge.resolve(&heads).deleted);
    assert!(DeleteWins::new(MergeAutomerge).resolve(&heads).deleted);
}

#[test]
fn what_cannot_be_one_document_falls_back_to_the_last_write() {
    let heads_of = heads([note("a"), Bytes::from_static(b"no document")]);
    assert_eq!(MergeAutomerge.resolve(&heads_of), heads_of[1].state);
    // Two changes of the same name.
    let base = note("a");
    let impostor = |value: &str| {
        let mut document = AutoCommit::load(&base).expect("a document").with_actor(ActorId::from([7_u8; 16]));
        document.put(ROOT, "key", value).expect("a map");
        Bytes::from(document.save())
    };
    let heads_of = heads([impostor("one"), impostor("two")]);
    assert_eq!(MergeAutomerge.resolve(&heads_of), heads_of[1].state);
}

#[test]
fn bodies_that_are_no_texts_are_told_apart() {
    assert!(matches!(text(&Bytes::from_static(b"no document"), "note"), Err(EditError::Unreadable { .. })));
    assert_eq!(text(&note("a"), "other"), Err(EditError::NoText { field: "other".into() }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_same_versions_make_the_same_bytes_in_any_order_and_grouping(
        texts in proptest::collection::vec((any::<prop::sample::Index>(), "[ab ]{0,8}"), 2..8),
        rotation in 0usize..8,
    ) {
        let mut bodies = vec![empty_text("note")];
        for (base, value) in &texts {
            bodies.push(edited(base.get(&bodies), value));
        }
        let view = MergeAutomerge.resolve(&heads(bodies.clone())).body;
        let mut others = bodies.clone();
        others.rotate_left(rotation % bodies.len());
        others.reverse();
        prop_assert_eq!(&MergeAutomerge.resolve(&heads(others.clone())).body, &view);
        let pair = MergeAutomerge.resolve(&heads(others[..2].to_vec())).body;
        let grouped = others[2..].iter().cloned().chain([pair]);
        prop_assert_eq!(&MergeAutomerge.resolve(&heads(grouped)).body, &view);
    }

    #[test]
    fn damaged_bodies_do_not_panic(position in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let base = note("some words");
        let body = edited(&base, "some more words");
        let mut damaged = body.to_vec();
        damaged[position.index(body.len())] ^= 1 << bit;
        let cut = body.slice(..cut.index(body.len()));
        for other in [Bytes::from(damaged), cut] {
            let heads = heads([base.clone(), other]);
            prop_assert_eq!(MergeAutomerge.resolve(&heads), MergeAutomerge.resolve(&heads));
        }
    }
}
