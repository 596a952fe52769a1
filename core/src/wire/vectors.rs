//! The test vectors of PROTOCOL.md: every message as it must be encoded, and read back.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::document::{Dot, Head, State};
use crate::feed::Sequence;
use crate::handshake::{Identity, Transcript};
use crate::id::Topic;
use crate::stamp::Stamp;
use crate::topic_key::TopicKey;

const VECTORS: &str = include_str!("vectors.txt");
const REFUSED: &str = include_str!("refused.txt");

fn incarnation(number: u64) -> Incarnation {
    Incarnation::new(number)
}

fn vector<V: FromIterator<(Incarnation, Stamp)>>(entries: &[(u64, u64)]) -> V {
    let entry =
        |(number, stamp): &(u64, u64)| (incarnation(*number), Stamp::new(*stamp).expect("below 2^63"));
    entries.iter().map(entry).collect()
}

fn head(number: u64, stamp: u64, deleted: bool, body: &'static [u8], annotations: &'static [u8]) -> Head {
    let dot = Dot { incarnation: incarnation(number), stamp: Stamp::new(stamp).expect("below 2^63") };
    let state =
        State { deleted, body: Bytes::from_static(body), annotations: Bytes::from_static(annotations) };
    Head { dot, state }
}

fn document(context: &[(u64, u64)], heads: Vec<Head>) -> Document {
    Document::new(vector(context), heads).expect("well-formed")
}

fn messages() -> Vec<(&'static str, Message)> {
    let collection = OfferIndex(0);
    let checkpoint =
        Checkpoint { incarnation: incarnation(7), end: Sequence::new(300), sequence: Sequence::new(20) };
    let offer = Offer {
        collection,
        name: CollectionName::new("todos").expect("valid"),
        schema_version: 3,
        handler: "last-write-wins".into(),
        incarnation: incarnation(0x0123_4567_89ab_cdef),
        serves: true,
        pulls: true,
        filter: None,
        knowledge: vector(&[(7, 1 << 40), (0x0123_4567_89ab_cdef, 5)]),
    };
    let conflict = document(
        &[(7, 65536), (9, 131_073)],
        vec![head(7, 65535, false, b"{\"a\":1}", b""), head(9, 131_073, true, b"", b"\x01")],
    );
    let changes = Changes {
        collection,
        documents: vec![
            (
                DocumentId::new("a").expect("valid"),
                document(&[(9, 131_072)], vec![head(9, 131_072, false, b"{}", b"")]),
            ),
            (DocumentId::new("\u{e9}").expect("valid"), conflict),
        ],
        checkpoint: Some(checkpoint),
        complete: true,
        knowledge: vector(&[(7, 65536), (9, 131_073)]),
    };
    let update = Update {
        collection,
        incarnation: Some(incarnation(11)),
        knowledge: vector(&[(9, 131_073)]),
        connected: vec![incarnation(9), incarnation(12)],
        disconnected: vec![incarnation(7)],
    };
    let hello = |capabilities| {
        Message::Hello(Hello {
            version_min: 1,
            version_max: 1,
            public_key: [0x11; 32],
            opening: Opening::new(42),
            nonce: [0x22; 32],
            message_bytes_max: 64 << 20,
            capabilities,
        })
    };
    let pull =
        |after| Message::Pull(Pull { collection, after, pages: 2, documents_max: 1000, bytes_max: 262_144 });
    vec![
        ("hello", hello(Capabilities::NONE)),
        ("hello-of-one-that-speaks-rxdb", hello(Capabilities::SPEAKS_RXDB)),
        (
            "proof",
            Message::Proof {
                proof: Proof { topic: [0x33; 32], identity: [0x44; 64], claim: None },
                offers: 1,
            },
        ),
        (
            "proof-with-a-claim",
            Message::Proof {
                proof: Proof { topic: [0x33; 32], identity: [0x44; 64], claim: Some([0x55; 32]) },
                offers: 1,
            },
        ),
        ("claim", Message::Claim(Bytes::from_static(b"tablet in the kitchen"))),
        ("offer", Message::Offer(offer.clone())),
        (
            "offer-filtered",
            Message::Offer(Offer {
                filter: Some("prefix:2026/".into()),
                pulls: false,
                knowledge: vector(&[]),
                ..offer
            }),
        ),
        ("pull-from-the-start", pull(None)),
        ("pull-after-a-checkpoint", pull(Some(checkpoint))),
        ("more", Message::More { collection }),
        ("changes", Message::Changes(changes)),
        (
            "changes-empty",
            Message::Changes(Changes {
                collection,
                documents: Vec::new(),
                checkpoint: None,
                complete: false,
                knowledge: vector(&[]),
            }),
        ),
        ("update", Message::Update(update)),
        ("announce", Message::Announce { collection, origins: vector(&[(7, 65536)]) }),
        ("graft", Message::Graft { collection, origins: vec![incarnation(7)] }),
        ("prune", Message::Prune { collection, origins: vec![incarnation(7), incarnation(9)] }),
        ("ping", Message::Ping),
        ("pong", Message::Pong),
        ("close-left", Message::Close(Farewell::Left)),
        ("close-violation", Message::Close(Farewell::Violation("a page that was not asked for".into()))),
        ("close-denied", Message::Close(Farewell::Refused(Refusal::Denied("not a member".into())))),
        ("close-topic-key", Message::Close(Farewell::Refused(Refusal::TopicKey))),
    ]
}

/// What the replica of the secret `[1; 32]` proves to that of `[2; 32]` in the open topic `my-users-pool`, over a connection whose
/// channel binding is `binding`.
fn handshake() -> Vec<(&'static str, Message)> {
    let hello = |secret: u8| {
        Message::Hello(Hello {
            version_min: 1,
            version_max: 1,
            public_key: Identity::from_secret(&[secret; 32]).public_key(),
            opening: Opening::new(secret.into()),
            nonce: [secret + 2; 32],
            message_bytes_max: 1 << 20,
            capabilities: Capabilities::NONE,
        })
    };
    let (prover, verifier) = (hello(1), hello(2));
    let (prover_bytes, verifier_bytes) = (prover.encode(), verifier.encode());
    let transcript =
        Transcript { prover: &prover_bytes, verifier: &verifier_bytes, channel_binding: Some(b"binding") };
    let key = TopicKey::of_open_topic(&Topic::new("my-users-pool").expect("valid"));
    let proof = transcript.prove(&key, &Identity::from_secret(&[1; 32]), b"");
    let claiming = transcript.prove(&key, &Identity::from_secret(&[1; 32]), b"tablet in the kitchen");
    vec![
        ("handshake-hello-of-the-prover", prover),
        ("handshake-hello-of-the-verifier", verifier),
        ("handshake-proof", Message::Proof { proof, offers: 0 }),
        ("handshake-proof-with-a-claim", Message::Proof { proof: claiming, offers: 0 }),
    ]
}

#[test]
fn every_message_is_encoded_as_the_vectors_say_and_read_back() {
    let lines: Vec<String> = [messages(), handshake()]
        .concat()
        .iter()
        .map(|(name, message)| {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes).as_ref(), Ok(message), "{name}");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{name} {hex}")
        })
        .collect();
    let expected: Vec<&str> = VECTORS.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, expected, "the wire format has changed: {lines:#?}");
}

#[test]
fn what_breaks_a_rule_is_refused() {
    for line in REFUSED.lines().filter(|line| !line.starts_with('#')) {
        let (name, hex) = line.split_once(' ').expect("a name and hex");
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let bytes: Bytes = (0..hex.len()).step_by(2).map(byte).collect();
        let decoded = Message::decode(&bytes);
        assert!(decoded.is_err(), "{name} is read as {decoded:?}");
    }
}

#[test]
fn items_that_a_later_version_appends_are_skipped() {
    let (_, hello) = messages().swap_remove(1);
    let mut bytes = hello.encode().to_vec();
    assert_eq!(bytes[0], 0x88, "an array of eight items");
    bytes[0] = 0x89;
    bytes.extend(b"\x63new");
    assert_eq!(Message::decode(&bytes.into()), Ok(hello));
}
