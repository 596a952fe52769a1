//! The story of a run for people: who knew what when, and what led to the violation.
//!
//! One trace, three forms: a page to click through, a picture for a README, columns for a terminal. All three begin with
//! [`causal_slice`], what can have led to the violation, because a room says far more than matters.

mod page;
mod rows;
mod slice;
mod story;
mod svg;
mod text;
mod versions;
mod words;

pub use slice::causal_slice;

use crate::outcome::{Figures, Violation};
use crate::plan::Plan;
use crate::trace::Trace;

/// A run and what it came to, ready to be shown.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: String,
    /// What was to be done.
    pub plan: Plan,
    /// What happened.
    pub trace: Trace,
    /// What failed, if something did.
    pub violation: Option<Violation>,
    /// What was counted.
    pub figures: Figures,
    /// The line to copy into a terminal to see it again.
    pub replay: String,
}

impl Report {
    /// One page of HTML that needs nothing else: no network, no other file.
    ///
    /// It holds at most 100,000 events (those of the slice first, then the last of the others) and says what it leaves out. Texts
    /// of the trace are data in it, never markup, whatever is in them.
    pub fn to_html(&self) -> String {
        page::render(&story::Story::of(self))
    }

    /// The slice as one static picture in SVG with a light background, readable on light and dark pages alike.
    ///
    /// It shows at most 300 events, and says so where it leaves some out.
    pub fn to_svg(&self) -> String {
        svg::render(&story::Story::of(self))
    }

    /// The slice for a terminal with so many columns: a lane per peer, a line per event.
    ///
    /// No line but the one to replay is wider, unless so many peers leave no room. It shows at most 400 events, and says so where
    /// it leaves some out. Nothing in it is obeyed by a terminal, whatever is in the trace.
    pub fn to_text(&self, columns: usize) -> String {
        text::render(&story::Story::of(self), columns)
    }
}
