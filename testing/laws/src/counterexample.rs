//! Counterexamples as people read them: what happened, where the versions differ, what a room of three shows, what mends it.

use std::fmt::{self, Write as _};

use peerloom_core::{Head, State};
use serde_json::Value;

use crate::checks::Evidence;
use crate::edit::Edit;
use crate::history::{History, Reading, Who};
use crate::law::Law;
use crate::pointer::{Pointer, differences};
use crate::room::Room;
use crate::subject::{Panicked, Subject, content};

/// How many places a comparison shows.
const ROWS_MAX: usize = 8;
/// How much of a value it shows.
const CELL_CHARS_MAX: usize = 36;
/// How long lines of running text are.
const LINE_CHARS_MAX: usize = 100;

/// The smallest history found that breaks a law.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The law.
    pub law: Law,
    /// What is wrong, in one sentence.
    pub what: String,
    /// How it comes to that.
    pub history: History,
    /// The comparison, and the room of three.
    shown: String,
}

impl Counterexample {
    pub(crate) fn new(law: Law, subject: &Subject, history: History, evidence: &Evidence) -> Self {
        let shown = shown(subject, &history, evidence).unwrap_or_default();
        Self { law, what: evidence.what.clone(), history, shown }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} is broken: {}.\n", self.law, self.what)?;
        write!(formatter, "{}", self.history)?;
        write!(formatter, "{}", self.shown)?;
        writeln!(formatter, "\n{}", wrapped(&format!("The usual fix. {}", self.law.usual_fix())))
    }
}

/// `None` if the handler panics, so that there is nothing to show but that.
fn shown(subject: &Subject, history: &History, evidence: &Evidence) -> Option<String> {
    let room = Room::after(subject, history).ok()?;
    let mut columns: Vec<(String, State)> = Vec::new();
    columns.extend(room.first.clone().map(|first| ("first".to_string(), first.state)));
    let heads: Vec<Head> = room.whole().map(|whole| whole.heads().to_vec()).unwrap_or_default();
    columns.extend(heads.into_iter().filter_map(|head| Some((room.writer(&head)?.to_string(), head.state))));
    columns.extend(evidence.columns.iter().cloned());
    let places = places(&columns, evidence);
    let mut shown = String::new();
    let comparison = comparison(&columns, &places);
    if comparison.len() > 1 {
        let _ = write!(shown, "\n{}", aligned(&comparison));
    }
    let _ = write!(shown, "\n{}", room_of_three(subject, history, &places));
    Some(shown)
}

/// Where to look.
fn places(columns: &[(String, State)], evidence: &Evidence) -> Vec<Pointer> {
    let mut places: Vec<Pointer> = evidence.places.clone();
    let contents: Vec<Value> = columns.iter().filter_map(|(_, state)| content(state)).collect();
    for pair in contents.windows(2) {
        for place in differences(Some(&pair[0]), Some(&pair[1])) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

fn comparison(columns: &[(String, State)], places: &[Pointer]) -> Vec<Vec<String>> {
    let titles = columns.iter().map(|(title, _)| title.clone());
    let mut rows = vec![std::iter::once(String::new()).chain(titles).collect::<Vec<_>>()];
    if columns.iter().any(|(_, state)| state.deleted) {
        let deleted =
            columns.iter().map(|(_, state)| if state.deleted { "deleted" } else { "there" }.to_string());
        rows.push(std::iter::once("the document".to_string()).chain(deleted).collect());
    }
    for place in places.iter().take(ROWS_MAX) {
        let name = if place.depth() == 0 { "all of it".to_string() } else { place.to_string() };
        let cells = columns.iter().map(|(_, state)| cell(state, place));
        rows.push(std::iter::once(name).chain(cells).collect());
    }
    if places.len() > ROWS_MAX {
        rows.push(vec![format!("and {} more", places.len() - ROWS_MAX)]);
    }
    rows
}

/// What the replicas show while they meet, and what comes of it if somebody settles the conflict early.
fn room_of_three(subject: &Subject, history: &History, places: &[Pointer]) -> String {
    let place = places.iter().find(|place| place.depth() > 0).cloned().unwrap_or_default();
    let about = if place.depth() == 0 { "shows".to_string() } else { format!("shows at {place}") };
    let is_about_deletion = place.depth() == 0 && history.deletes();
    let mut rows = vec![vec![format!("A room of three {about}"), "A".into(), "B".into(), "C".into()]];
    let mut row = |title: &str, room: &Room<'_>| {
        let cells = Who::ALL.map(|who| match room.view(who) {
            Ok(Some(state)) if is_about_deletion && !state.deleted => "the document".to_string(),
            Ok(Some(state)) => cell(&state, &place),
            Ok(None) => "nothing".to_string(),
            Err(Panicked(_)) => "(the handler panics)".to_string(),
        });
        rows.push(std::iter::once(title.to_string()).chain(cells).collect());
    };
    let play = |row: &mut dyn FnMut(&str, &Room<'_>)| -> Result<(), Panicked> {
        let mut room = Room::after(subject, history)?;
        row("after these writes", &room);
        room.meet_two(Who::A, Who::B);
        row("A and B meet", &room);
        room.meet();
        row("everybody meets", &room);
        for (one, other) in [(Who::A, Who::B), (Who::B, Who::C), (Who::A, Who::C)] {
            let mut settled = Room::after(subject, history)?;
            settled.meet_two(one, other);
            if settled.document(one).is_some_and(|document| document.in_conflict()) {
                settled.write(one, 1_000_000, Reading::Now, &[Edit::Touch])?;
                settled.meet();
                row(&format!("or, if {one} and {other} had settled it first"), &settled);
            }
        }
        Ok(())
    };
    if let Err(Panicked(message)) = play(&mut row) {
        return format!(
            "A room of three goes on with the last write, because the handler panics: {message}\n"
        );
    }
    aligned(&rows)
}

fn cell(state: &State, place: &Pointer) -> String {
    if state.deleted {
        return "(deleted)".to_string();
    }
    let Some(content) = content(state) else { return "(not JSON)".to_string() };
    let Some(value) = place.of(&content) else { return "—".to_string() };
    let text = value.to_string();
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

/// A text in lines that fit a terminal.
pub(crate) fn wrapped(text: &str) -> String {
    let (mut wrapped, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > LINE_CHARS_MAX {
            wrapped.push('\n');
            width = 0;
        } else if width > 0 {
            wrapped.push(' ');
            width += 1;
        }
        wrapped.push_str(word);
        width += length;
    }
    wrapped
}

/// Columns under each other.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str("  ");
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
