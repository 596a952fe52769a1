//! The laws of cost: documents stay small, and calls short.

use std::time::{Duration, Instant};

use peerloom_core::{Dot, Head, Incarnation, Stamp, State};

use super::Verdict;
use crate::edit::Edit;
use crate::history::{History, Origin, Reading, Step, Who};
use crate::room::Room;
use crate::subject::{Panicked, Subject};

/// How many conflicts in a row make a stretch. Growth over two stretches, by a byte in each conflict, is growth for ever.
const STRETCH: i64 = 4;

/// A document that is so many times as large as it was needs not grow any further to be judged.
const GROWTH_MAX: usize = 64;

/// How often a call is timed. The shortest counts, so that a busy machine is not mistaken for a slow handler.
const REPETITIONS: usize = 5;

pub(super) fn bounded_growth(subject: &Subject, history: &History) -> Result<Verdict, Panicked> {
    if history.origin == Origin::Nowhere || !history.is_apart() || history.writers().len() < 2 {
        return Ok(Verdict::DoesNotApply);
    }
    let touches = [Who::A, Who::B].map(|by| Step::Write {
        by,
        clock_ms: 0,
        reading: Reading::Now,
        edits: vec![Edit::Touch],
    });
    // After the first conflict its view is written down without a change, again and again.
    let what = "A and B write down what is shown, without a change, again and again, and the document grows each time";
    if let Some(broken) = grows(subject, history, &touches, Cleanup::None, what)? {
        return Ok(broken);
    }
    let what =
        "the same changes are made again and again, and undone each time, and the document grows each time";
    Ok(grows(subject, history, &history.steps, Cleanup::FirstContent, what)?.unwrap_or(Verdict::Holds))
}

/// What somebody does after each conflict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cleanup {
    None,
    /// Writes the first content, having seen everything.
    FirstContent,
}

fn grows(
    subject: &Subject,
    history: &History,
    again: &[Step],
    cleanup: Cleanup,
    what: &str,
) -> Result<Option<Verdict>, Panicked> {
    let mut room = Room::after(subject, history)?;
    room.meet();
    let mut sizes: Vec<usize> = Vec::new();
    let enough = GROWTH_MAX * (100 + history.first.to_string().len());
    let mut last = State::default();
    for round in 1..=3 * STRETCH {
        for step in again {
            if let Step::Write { by, reading, edits, .. } = step {
                room.write(*by, 10_000 * round, *reading, edits)?;
            }
        }
        room.meet();
        if cleanup == Cleanup::FirstContent {
            let edits = [Edit::Set { at: Default::default(), to: history.first.clone() }];
            room.write(Who::C, 10_000 * round + 5_000, Reading::Now, &edits)?;
            room.meet();
        }
        last = room.view(Who::A)?.unwrap_or_default();
        let size = room.document(Who::A).map_or(0, |document| document.bytes()).max(last.bytes());
        if size > enough {
            let what = format!("{what}: {size} bytes after {round}");
            return Ok(Some(Verdict::broken(what, vec![("then", last)])));
        }
        if round % STRETCH == 0 {
            if sizes.last().is_some_and(|before| size < before + STRETCH as usize) {
                return Ok(None);
            }
            sizes.push(size);
        }
    }
    let rounds: Vec<String> =
        sizes.iter().zip(1..).map(|(size, n)| format!("{size} bytes after {}", n * STRETCH)).collect();
    Ok(Some(Verdict::broken(format!("{what}: {}", rounds.join(", ")), vec![("then", last)])))
}

/// The time of a call with so many heads, which are versions of these documents.
pub(crate) fn cost(subject: &Subject, bodies: &[State], heads: usize) -> Result<Duration, Panicked> {
    let stamp = |number: usize| Stamp::at_unix_ms(1_700_000_000_000 + number as u64);
    let first = Dot { incarnation: Incarnation::new(0xf), stamp: stamp(0) };
    let mut seen = State { annotations: Default::default(), ..bodies[0].clone() };
    seen.annotations = subject.annotate(None, &seen, first)?;
    let mut versions = Vec::new();
    for number in 1..=heads {
        let dot = Dot { incarnation: Incarnation::new(0x100 + number as u64), stamp: stamp(number) };
        let mut state = State { annotations: Default::default(), ..bodies[number % bodies.len()].clone() };
        state.annotations = subject.annotate(Some(&seen), &state, dot)?;
        versions.push(Head { dot, state });
    }
    let mut shortest = Duration::MAX;
    for _ in 0..REPETITIONS {
        let began = Instant::now();
        subject.resolve(&versions)?;
        shortest = shortest.min(began.elapsed());
    }
    Ok(shortest)
}
