//! A report for terminals: a column per peer, a line per event.

use std::fmt::Write as _;

use super::rows::{Row, rows};
use super::story::{Story, StretchKind};
use super::words::{cut, duration, harmless, line, seconds};
use crate::trace::{Event, What};

/// The most events that get a line.
const EVENTS_MAX: usize = 400;
/// Digits, point and a space behind.
const TIME_COLUMNS: usize = 10;
const LANE_COLUMNS_MAX: usize = 8;
const LANE_COLUMNS_MIN: usize = 3;
/// What the words of a line need at least to be of use.
const WORDS_COLUMNS_MIN: usize = 24;

/// The report, with no line wider than `columns` where the number of peers allows it.
pub(super) fn render(story: &Story<'_>, columns: usize) -> String {
    let page = Page::of(story, columns);
    let mut text = page.head();
    text += &page.names();
    let shown = story.slice();
    for row in rows(story.events(), &shown, EVENTS_MAX) {
        let line = match row {
            Row::Event(index) => page.event(index),
            Row::Gap { us } => page.fold(&format!("{} later", duration(us))),
            Row::LeftOut { events } => page.fold(&format!("{events} events left out here")),
        };
        text += line.trim_end();
        text.push('\n');
    }
    let hidden = story.events().len() - shown.len();
    if hidden > 0 {
        let _ = writeln!(
            text,
            "\n{}",
            cut(&format!("Not shown: {hidden} events that cannot have led to it."), columns)
        );
    }
    text
}

struct Page<'a, 'b> {
    story: &'b Story<'a>,
    columns: usize,
    lane_columns: usize,
}

impl<'a, 'b> Page<'a, 'b> {
    fn of(story: &'b Story<'a>, columns: usize) -> Self {
        let room = columns.saturating_sub(TIME_COLUMNS + WORDS_COLUMNS_MIN);
        let lane_columns = (room / story.lanes.max(1)).clamp(LANE_COLUMNS_MIN, LANE_COLUMNS_MAX);
        Self { story, columns, lane_columns }
    }

    fn head(&self) -> String {
        let report = self.story.report;
        let figures = &report.figures;
        let mut lines = vec![format!(
            "{} · seed {} · {} peers · {} simulated",
            harmless(&report.scenario),
            report.plan.seed,
            self.story.lanes,
            duration(figures.simulated_ms.saturating_mul(1_000)),
        )];
        lines.push(match &report.violation {
            Some(violation) => {
                format!("VIOLATED {}: {}", harmless(&violation.check), harmless(&violation.says))
            }
            None => "Every check held.".to_owned(),
        });
        if let Some(history) = self.story.histories.first() {
            lines.push(format!("Letters are versions of {}.", harmless(history.document)));
        }
        let mut head = String::new();
        for line in lines {
            head += &cut(&line, self.columns);
            head.push('\n');
        }
        // Never cut, because it is there to be copied.
        let _ = writeln!(head, "{}\n", harmless(&report.replay));
        head
    }

    fn names(&self) -> String {
        let mut line = format!("{:>width$} ", "seconds", width = TIME_COLUMNS - 1);
        for lane in 0..self.story.lanes {
            let name = if self.lane_columns > 7 { format!("peer-{lane}") } else { lane.to_string() };
            let _ = write!(line, "{name:<width$}", width = self.lane_columns);
        }
        line.trim_end().to_owned() + "\n"
    }

    fn event(&self, index: usize) -> String {
        let event = &self.story.events()[index];
        let words = line(self.story, event);
        if let What::Phase(_) = event.what {
            let title = format!("{:>width$} ══ {words} ", seconds(event.at_us), width = TIME_COLUMNS - 1);
            let filled = title.chars().count();
            return cut(&(title + &"═".repeat(self.columns.saturating_sub(filled))), self.columns);
        }
        let words = match event.peer {
            Some(peer) => format!("{peer} {words}"),
            None => words,
        };
        let text = format!(
            "{:>width$} {} {words}",
            seconds(event.at_us),
            self.lanes(index, event),
            width = TIME_COLUMNS - 1
        );
        cut(&text, self.columns)
    }

    /// The lanes at an event: a letter where a peer has a version, and a line for a message that leaves or arrives.
    fn lanes(&self, index: usize, event: &Event) -> String {
        let mut cells: Vec<char> = vec![' '; self.story.lanes * self.lane_columns];
        for lane in 0..self.story.lanes {
            self.put(&mut cells, lane, &self.state(lane, index));
        }
        let Some(here) = event.peer.map(|peer| peer.index()) else { return cells.into_iter().collect() };
        match &event.what {
            What::Sent { to, .. } => {
                // Only as far as half the way to the next lane: where it arrives, the whole line is drawn.
                let start = here * self.lane_columns;
                let half = self.lane_columns / 2;
                if to.index() > here {
                    fill(&mut cells, start + 1, start + half, '╶');
                } else if to.index() < here {
                    fill(&mut cells, start.saturating_sub(half), start, '╴');
                }
            }
            What::Delivered { from, .. } if from.index() < here => {
                fill(&mut cells, from.index() * self.lane_columns, here * self.lane_columns, '─');
                cells[here * self.lane_columns - 1] = '>';
            }
            What::Delivered { from, .. } if from.index() > here => {
                fill(&mut cells, here * self.lane_columns, from.index() * self.lane_columns, '─');
                let head = self.behind(here, index);
                cells[head] = '<';
            }
            _ => {}
        }
        cells.into_iter().collect()
    }

    fn put(&self, cells: &mut [char], lane: usize, state: &str) {
        for (cell, letter) in
            cells[lane * self.lane_columns..].iter_mut().zip(state.chars().take(self.lane_columns))
        {
            *cell = letter;
        }
    }

    /// The first cell behind a lane's letters.
    fn behind(&self, lane: usize, index: usize) -> usize {
        let letters = self.state(lane, index).chars().count().min(self.lane_columns - 1);
        lane * self.lane_columns + letters
    }

    fn state(&self, lane: usize, index: usize) -> String {
        match &self.story.events()[index] {
            event if event.peer.is_none_or(|peer| peer.index() != lane) => {}
            Event { what: What::Started | What::Resumed, .. } => return "▼".to_owned(),
            Event { what: What::Crashed { .. }, .. } => return "✕".to_owned(),
            Event { what: What::Stopped, .. } => return "■".to_owned(),
            Event { what: What::Paused, .. } => return "‖".to_owned(),
            Event { what: What::Called { .. }, .. } => return "◆".to_owned(),
            Event { what: What::Panicked { .. } | What::Violated(_), .. } => return "!".to_owned(),
            _ => {}
        }
        let lasts = |kind| {
            self.story.stretches.iter().any(|stretch| {
                stretch.kind == kind
                    && stretch.lanes.contains(&lane)
                    && stretch.from <= index
                    && stretch.to.is_none_or(|to| index < to)
            })
        };
        if lasts(StretchKind::Down) {
            return " ".to_owned();
        }
        if lasts(StretchKind::Paused) {
            return "‖".to_owned();
        }
        let version = self.story.histories.first().and_then(|history| history.at(lane, index));
        version.map_or_else(|| "│".to_owned(), |version| version.letter.clone())
    }

    fn fold(&self, says: &str) -> String {
        cut(&format!("{:>width$} ⋮ {says}", "", width = TIME_COLUMNS - 1), self.columns)
    }
}

/// Draws a line where nothing is, between two cells.
fn fill(cells: &mut [char], from: usize, to: usize, with: char) {
    for cell in &mut cells[from..to] {
        if *cell == ' ' {
            *cell = with;
        }
    }
}
