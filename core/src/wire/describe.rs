//! Frames in words, for traces and simulators.

use alloc::format;
use alloc::string::{String, ToString};

use bytes::Bytes;

use super::Message;
use super::frame::{Assembler, WHOLE};

/// The most documents that are named.
const DOCUMENTS_NAMED_MAX: usize = 8;

/// What a frame says, for people: the kind of its message, and what is in it. The words may change with any version.
///
/// ```
/// assert_eq!(peerloom_core::describe(&bytes::Bytes::from_static(&[1, 0x81, 10])), "Ping");
/// ```
pub fn describe(frame: &Bytes) -> String {
    if frame.first() != Some(&WHOLE) {
        return format!("part of a message, {} bytes", frame.len());
    }
    let message = Assembler::default().accept(frame, frame.len()).ok().flatten();
    match message.map(|message| Message::decode(&message)) {
        Some(Ok(message)) => words(&message),
        _ => "not a message".to_string(),
    }
}

/// Whether a frame is only a sign of life.
///
/// ```
/// assert!(peerloom_core::is_keep_alive(&bytes::Bytes::from_static(&[1, 0x81, 10])));
/// ```
pub fn is_keep_alive(frame: &Bytes) -> bool {
    let is = |message: Message| frame.get(1..) == Some(&*message.encode());
    frame.first() == Some(&WHOLE) && (is(Message::Ping) || is(Message::Pong))
}

fn words(message: &Message) -> String {
    let name = message.name();
    match message {
        Message::Offer(offer) => format!("{name} of {}, knows {} origins", offer.name, offer.knowledge.len()),
        Message::Pull(pull) => match &pull.after {
            Some(checkpoint) => format!("{name} after {}", checkpoint.sequence.number()),
            None => format!("{name} from the start"),
        },
        Message::Changes(changes) => {
            let mut words = format!("{name}: {} documents", changes.documents.len());
            for (id, document) in changes.documents.iter().take(DOCUMENTS_NAMED_MAX) {
                words += &format!(", {id}");
                if document.in_conflict() {
                    words += &format!(" ({} heads)", document.heads().len());
                }
            }
            if changes.documents.len() > DOCUMENTS_NAMED_MAX {
                words += ", …";
            }
            if changes.complete {
                words += &format!("; complete, vouches for {} origins", changes.knowledge.len());
            }
            words
        }
        Message::Update(update) => format!("{name}: knows {} origins more", update.knowledge.len()),
        Message::Announce { origins, .. } => format!("{name}: holds back {} origins", origins.len()),
        Message::Graft { origins, .. } | Message::Prune { origins, .. } => {
            format!("{name}: {} origins", origins.len())
        }
        Message::Close(farewell) => format!("{name}: {farewell:?}"),
        _ => name.to_string(),
    }
}
