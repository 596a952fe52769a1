//! What an event is called: one line for people, the same in every form of a report; and texts made harmless.
//!
//! Everything that comes out of a trace may be hostile: documents are written by strangers. What leaves this module has no
//! characters that a terminal obeys, that turn the direction of writing, or that a file of XML must not have.

use std::fmt::Write as _;

use super::story::Story;
use crate::plan::Crash;
use crate::trace::{Event, Phase, What};

/// The most documents of a commit that its line names.
const NAMED_MAX: usize = 3;

/// The line of an event, without the name of its peer.
pub(super) fn line(story: &Story<'_>, event: &Event) -> String {
    let line = match &event.what {
        What::Phase(phase) => phase_name(*phase),
        What::FaultBegan { fault, says, .. } => format!("fault {fault} begins: {says}"),
        What::FaultEnded { fault } => format!("fault {fault} ends"),
        What::Skipped { says } => format!("skipped: {says}"),
        What::Started => "starts".to_owned(),
        What::Stopped => "stops in order".to_owned(),
        What::Crashed { manner: Crash::Kill } => "is killed".to_owned(),
        What::Crashed { manner: Crash::PowerCut } => "loses power".to_owned(),
        What::Crashed { manner: Crash::WithinCommit } => "crashes within a commit".to_owned(),
        What::Paused => "stands still".to_owned(),
        What::Resumed => "goes on".to_owned(),
        What::Called { operation, says } => format!("user: {says} (operation {operation})"),
        What::Acknowledged { operation, .. } => format!("operation {operation} is acknowledged"),
        What::Failed { operation, error } => format!("operation {operation} fails: {error}"),
        What::Committed { documents } => {
            let mut line = "commits ".to_owned();
            for (place, committed) in documents.iter().take(NAMED_MAX).enumerate() {
                line += if place == 0 { "" } else { ", " };
                line += &committed.document;
                let history = story.histories.iter().find(|history| history.document == committed.document);
                if let Some(history) = history
                    && let Some(version) = history.place(committed)
                {
                    let _ = write!(line, " ({})", history.versions[version].letter);
                }
            }
            if documents.len() > NAMED_MAX {
                let _ = write!(line, " and {} more", documents.len() - NAMED_MAX);
            }
            line
        }
        What::Connected { to } => format!("is connected to {to}"),
        What::Disconnected { to } => format!("is no longer connected to {to}"),
        What::Sent { message, to, says, abnormal, .. } => {
            let mut line = format!("sends #{} to {to}", message.0);
            if !abnormal.is_empty() {
                let _ = write!(line, " [{abnormal}]");
            }
            if !says.is_empty() {
                let _ = write!(line, ": {says}");
            }
            line
        }
        What::Delivered { message, from } => format!("receives #{} from {from}", message.0),
        What::Told { says } => format!("tells its application: {says}"),
        What::Panicked { message } => format!("panics: {message}"),
        What::Violated(violation) => format!("violated: {}: {}", violation.check, violation.says),
    };
    harmless(&line)
}

fn phase_name(phase: Phase) -> String {
    match phase {
        Phase::Chaos { round } => format!("Round {}: operations and faults", round + 1),
        Phase::Healing => "Healing: everything works, everybody starts".to_owned(),
        Phase::Settled => "Settled: everybody says that they hold the same".to_owned(),
        Phase::Quiet => "Quiet: nothing more may be said".to_owned(),
        Phase::Over => "Over".to_owned(),
    }
}

/// A text on one line, with nothing in it that is obeyed instead of shown.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|letter| if letter == '\n' || letter == '\t' { ' ' } else { shown(letter) }).collect()
}

/// A text of many lines, with nothing in it that is obeyed instead of shown.
pub(super) fn harmless_lines(text: &str) -> String {
    text.chars().map(|letter| if letter == '\n' { letter } else { shown(letter) }).collect()
}

fn shown(letter: char) -> char {
    match letter {
        // Unicode has a picture for each of these.
        '\0'..='\u{1f}' => {
            char::from_u32(0x2400 + u32::from(letter)).expect("control pictures are characters")
        }
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => '\u{fffd}',
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => letter,
    }
}

/// As much of a text as fits into `columns` of a terminal, with an ellipsis if that is not all.
pub(super) fn cut(text: &str, columns: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut left = columns.saturating_sub(1);
    for letter in text.chars() {
        let width = letter.width().unwrap_or_default();
        if width > left {
            break;
        }
        left -= width;
        cut.push(letter);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// A text as it stands in XML and HTML, in content and in quoted attributes.
pub(super) fn markup(text: &str) -> String {
    let mut markup = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => markup += "&amp;",
            '<' => markup += "&lt;",
            '>' => markup += "&gt;",
            '"' => markup += "&quot;",
            '\'' => markup += "&#39;",
            _ => markup.push(letter),
        }
    }
    markup
}

/// A moment, in seconds of simulated time.
pub(super) fn seconds(at_us: u64) -> String {
    format!("{}.{:03}", at_us / 1_000_000, at_us % 1_000_000 / 1_000)
}

/// How long something lasted.
pub(super) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..120_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        _ => format!("{} min", us / 60_000_000),
    }
}
