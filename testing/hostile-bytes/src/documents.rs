//! The content of documents: JSON as somebody wrote it, and what conflict handlers make of versions that others wrote.

use std::sync::LazyLock;

use bytes::Bytes;
use peerloom_core::{
    ConflictHandler, Counter, DeleteWins, Dot, EditWins, FieldWise, Head, Incarnation, LastWriteWins,
    MergeJson, PerField, Stamp, State, Union, json,
};
use serde_json::Value;

/// The most heads that are resolved together.
const HEADS_MAX: usize = 8;

/// The handlers that Peerloom brings, and one of each way to put them together.
static HANDLERS: LazyLock<Vec<Box<dyn ConflictHandler>>> = LazyLock::new(|| {
    let fields = PerField::new().field("/tags", Union).field("/stats/votes", Counter).default(FieldWise);
    vec![
        Box::new(LastWriteWins),
        Box::new(FieldWise),
        Box::new(Union),
        Box::new(Counter),
        Box::new(fields),
        Box::new(DeleteWins::new(FieldWise)),
        Box::new(EditWins::new(Union)),
        Box::new(MergeJson::new("any", |fields: Value, _: &[Value]| Some(fields))),
    ]
});

/// The JSON of a document. What is read has one canonical form, which reads back, here and with `serde_json`, as the same.
pub fn documents(data: &[u8]) {
    let Ok(value) = json::parse(data) else { return };
    let body = json::to_canonical(&value).expect("what was read can be written");
    let again = json::parse(&body).expect("the canonical form is JSON");
    assert_eq!(json::to_canonical(&again).as_ref(), Ok(&body));
    let again: Value = serde_json::from_slice(&body).expect("an application reads what is stored");
    assert_eq!(json::to_canonical(&again), Ok(body));
}

/// The versions of a document in conflict: of each the body and the annotations, each behind its length. A version
/// without a body is deleted.
pub fn handlers(data: &[u8]) {
    let pieces: Vec<Bytes> = crate::pieces(data).take(2 * HEADS_MAX).collect();
    let version = |(piece, number): (&[Bytes], u64)| {
        let (body, annotations) = (piece[0].clone(), piece.get(1).cloned().unwrap_or_default());
        let stamp = Stamp::new(number).expect("below 2^63");
        let state = State { deleted: body.is_empty(), body, annotations };
        Head { dot: Dot { incarnation: Incarnation::new(number), stamp }, state }
    };
    let heads: Vec<Head> = pieces.chunks(2).zip(1..).map(version).collect();
    let Some(last) = heads.last().filter(|_| heads.len() > 1) else { return };
    let dot = Dot { incarnation: Incarnation::new(99), ..last.dot };
    for handler in &*HANDLERS {
        let view = handler.resolve(&heads);
        assert_eq!(handler.resolve(&heads), view, "{} is not pure", handler.id());
        let next = State { annotations: Bytes::new(), ..last.state.clone() };
        for seen in heads.iter().map(|head| &head.state).chain([&view]) {
            let annotations = handler.annotate(Some(seen), &next, dot);
            let written = Head { dot, state: State { annotations, ..next.clone() } };
            handler.resolve(&[heads[0].clone(), written]);
        }
    }
}
