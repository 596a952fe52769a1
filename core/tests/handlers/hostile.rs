//! Whatever a peer sends as a body or as annotations, no handler panics, and the view is the same when it is made again.

use bytes::Bytes;
use peerloom_core::*;
use proptest::prelude::*;
use serde_json::json;

fn handlers() -> Vec<Box<dyn ConflictHandler>> {
    vec![
        Box::new(LastWriteWins),
        Box::new(FieldWise),
        Box::new(Union),
        Box::new(Counter),
        Box::new(PerField::new().field("/tags", Union).field("/n/votes", Counter)),
        Box::new(PerField::new().field("/tags", Union).default(FieldWise)),
        Box::new(DeleteWins::new(FieldWise)),
        Box::new(EditWins::new(Union)),
        Box::new(MergeJson::new("same", |fields, _versions: &[_]| Some(fields))),
    ]
}

fn bodies() -> impl Strategy<Value = Bytes> {
    let json = [
        r#"{"tags":["a","b"],"n":{"votes":3,"x":1},"t":1}"#,
        r#"{"tags":["b"],"n":{"votes":-4}}"#,
        r#"{"tags":7,"n":1.5}"#,
        r#"["a",["a"],{"a":1}]"#,
        "18446744073709551615",
        "-9223372036854775808",
        "1e308",
        "null",
        "{}",
        "",
        "{",
    ];
    let deep = "[".repeat(127) + &"]".repeat(127);
    let deeper = r#"{"a":"#.repeat(200) + "1" + &"}".repeat(200);
    let nested = r#"{"a":"#.repeat(127) + "1" + &"}".repeat(127);
    let texts: Vec<String> = json.into_iter().map(str::to_owned).chain([deep, deeper, nested]).collect();
    prop_oneof![
        9 => proptest::sample::select(texts).prop_map(Bytes::from),
        1 => any::<Vec<u8>>().prop_map(Bytes::from),
    ]
}

fn dots() -> impl Strategy<Value = Dot> {
    let stamp = prop_oneof![1u64..5, Just(Stamp::MAX.number())];
    (0u64..3, stamp).prop_map(|(incarnation, stamp)| Dot {
        incarnation: Incarnation::new(incarnation),
        stamp: Stamp::new(stamp).expect("below 2^63"),
    })
}

/// What a write is annotated with, and what happens to that.
#[derive(Clone, Debug)]
enum Annotated {
    AsItShouldBe,
    ForAnotherBody(Bytes),
    Changed(Vec<(prop::sample::Index, u8)>),
    Cut(prop::sample::Index),
    Anything(Vec<u8>),
}

fn annotated() -> impl Strategy<Value = Annotated> {
    prop_oneof![
        Just(Annotated::AsItShouldBe),
        bodies().prop_map(Annotated::ForAnotherBody),
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
            .prop_map(Annotated::Changed),
        any::<prop::sample::Index>().prop_map(Annotated::Cut),
        proptest::collection::vec(prop_oneof![any::<u8>(), 0x80u8..0x88, 0u8..4], 0..40)
            .prop_map(Annotated::Anything),
    ]
}

fn annotations(
    handler: &dyn ConflictHandler,
    seen: Option<&State>,
    state: &State,
    dot: Dot,
    how: &Annotated,
) -> Bytes {
    let proper = handler.annotate(seen, state, dot);
    match how {
        Annotated::AsItShouldBe => proper,
        Annotated::ForAnotherBody(body) => {
            handler.annotate(seen, &State { body: body.clone(), ..State::default() }, dot)
        }
        Annotated::Changed(changes) => {
            let mut bytes = proper.to_vec();
            for (position, byte) in changes.iter().filter(|_| !proper.is_empty()) {
                bytes[position.index(proper.len())] = *byte;
            }
            bytes.into()
        }
        Annotated::Cut(at) => proper.slice(..at.index(proper.len() + 1)),
        Annotated::Anything(bytes) => bytes.clone().into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_handler_panics_and_the_same_versions_make_the_same_view(
        writes in proptest::collection::vec((dots(), bodies(), any::<bool>(), annotated()), 2..6),
    ) {
        for handler in handlers() {
            let mut heads: Vec<Head> = Vec::new();
            let mut seen: Option<State> = None;
            for (dot, body, deleted, how) in &writes {
                let mut state = State { deleted: *deleted, body: body.clone(), annotations: Bytes::new() };
                state.annotations = annotations(&*handler, seen.as_ref(), &state, *dot, how);
                heads.push(Head { dot: *dot, state });
                let view = handler.resolve(&heads);
                prop_assert_eq!(&handler.resolve(&heads), &view);
                if heads.iter().all(|head| !head.state.deleted && json::parse(&head.state.body).is_ok()) {
                    prop_assert!(view.deleted || json::parse(&view.body).is_ok(), "{}: {:?}", handler.id(), view.body);
                }
                seen = Some(view);
            }
        }
    }
}

#[test]
fn annotations_nested_deeper_than_the_body_are_as_good_as_none() {
    let write = |number: u64, annotations: Vec<u8>| Head {
        dot: Dot { incarnation: Incarnation::new(number), stamp: Stamp::new(number).expect("small") },
        state: State {
            body: json::to_canonical(&json!({ "a": { "b": number } })).expect("shallow"),
            annotations: annotations.into(),
            ..State::default()
        },
    };
    let deep = [&[0x82][..], &[0x81; 1 << 20], &[0x80, 0x80]].concat();
    for handler in handlers() {
        let none = handler.resolve(&[write(1, Vec::new()), write(2, Vec::new())]);
        assert_eq!(handler.resolve(&[write(1, deep.clone()), write(2, deep.clone())]).body, none.body);
    }
}
