//! A report as one page of HTML that needs nothing else: no network, no other file.
//!
//! Puts the data, as JSON, beside the style and the program, which are files of their own in `page/`. How it looks is decided there.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::story::{Story, StretchKind};
use super::versions::PALETTE;
use super::words::{cut, harmless, harmless_lines, line, markup};
use crate::outcome::{Figures, Violation};
use crate::trace::What;

/// The most events of a page: the slice, and what came last of the rest.
pub(super) const EVENTS_MAX: usize = 100_000;
/// The most indexes in the slices of all documents together.
const SLICED_MAX: usize = 200_000;
/// The most events that are walked through to find them, so that a page takes seconds and not minutes.
const WALKED_MAX: usize = 5_000_000;
/// The most bytes of one view, payload or description.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of all of them together.
const TEXTS_BYTES_MAX: usize = 24 * 1024 * 1024;
/// The most characters of the line of an event.
const LINE_COLUMNS_MAX: usize = 240;
/// The most characters of what is wrong, at the head of the page. The whole text is with its event.
const SAYS_COLUMNS_MAX: usize = 600;

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they build on each other.
const PROGRAM: [&str; 6] = [
    include_str!("page/model.js"),
    include_str!("page/diff.js"),
    include_str!("page/panel.js"),
    include_str!("page/drawing.js"),
    include_str!("page/overview.js"),
    include_str!("page/page.js"),
];

/// The page.
pub(super) fn render(story: &Story<'_>) -> String {
    let data = serde_json::to_string(&Data::of(story)).expect("strings, numbers and lists are JSON");
    let title = markup(&harmless(&story.report.scenario));
    let program = PROGRAM.concat();
    let mut page = String::new();
    // Cut at the places to fill, so that nothing that was filled in is looked at again: texts may contain anything.
    for piece in FRAME.split_inclusive("}}") {
        let (text, place) = piece.rsplit_once("{{").unwrap_or((piece, ""));
        page += text;
        match place {
            "" => {}
            "title}}" => page += &title,
            "style}}" => page += STYLE,
            "data}}" => page += &in_script(&data),
            "program}}" => page += &program,
            _ => unreachable!("the frame has these places only"),
        }
    }
    page
}

/// JSON in which no HTML parser sees the end of a script, nor anything else.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// All that the page's program reads.
#[derive(Serialize)]
struct Data<'a> {
    scenario: String,
    seed: String,
    replay: String,
    violation: Option<Violation>,
    violation_at: Option<usize>,
    figures: &'a Figures,
    lanes: usize,
    palette: Vec<[&'static str; 2]>,
    documents: Vec<DocumentData>,
    events: Vec<EventData>,
    slice: Vec<usize>,
    /// Message, sender, receiver, event of sending, event of arriving.
    arrows: Vec<(u64, usize, usize, usize, Option<usize>, String)>,
    stretches: Vec<StretchData>,
    /// What is left out of this page.
    left_out: Vec<String>,
}

#[derive(Serialize)]
struct DocumentData {
    id: String,
    versions: Vec<VersionData>,
    /// Per lane: from which event on it has which version.
    lanes: Vec<Vec<(usize, Option<usize>)>>,
    /// The events behind its state. `None` if there was no room for them.
    slice: Option<Vec<usize>>,
}

#[derive(Serialize)]
struct VersionData {
    letter: String,
    colour: usize,
    view: Option<String>,
    heads: Vec<String>,
}

#[derive(Serialize)]
struct EventData {
    /// Its index in the trace.
    i: usize,
    /// When, in microseconds.
    at: u64,
    peer: Option<usize>,
    kind: &'static str,
    line: String,
    /// Anything more that there is to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    more: Vec<(&'static str, String)>,
    /// Document and version of what was committed, as far as it can be chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commits: Vec<(usize, usize)>,
}

#[derive(Serialize)]
struct StretchData {
    kind: &'static str,
    lanes: Vec<usize>,
    from: usize,
    to: Option<usize>,
    says: String,
}

impl<'a> Data<'a> {
    fn of(story: &Story<'a>) -> Self {
        let report = story.report;
        let mut budget = Budget { bytes_left: TEXTS_BYTES_MAX, cut: 0 };
        let slice = story.slice();
        let kept = kept(story.events().len(), &slice);
        let documents = documents(story, &kept, &mut budget);
        let events = kept.iter().map(|index| event(story, *index, &mut budget)).collect();
        let arrows = story.arrows.iter().filter(|arrow| kept.contains(&arrow.sent)).map(|arrow| {
            let (from, to) = (arrow.from.index(), arrow.to.index());
            (arrow.message.0, from, to, arrow.sent, arrow.delivered, harmless(arrow.abnormal))
        });
        let stretches = story.stretches.iter().map(|stretch| StretchData {
            kind: match stretch.kind {
                StretchKind::Down => "down",
                StretchKind::Paused => "paused",
                StretchKind::Fault => "fault",
            },
            lanes: stretch.lanes.clone(),
            from: stretch.from,
            to: stretch.to,
            says: harmless(stretch.says),
        });
        Self {
            scenario: harmless(&report.scenario),
            seed: report.plan.seed.to_string(),
            replay: harmless(&report.replay),
            violation: report.violation.as_ref().map(shown),
            violation_at: story.violation_at(),
            figures: &report.figures,
            lanes: story.lanes,
            palette: PALETTE.iter().map(|colour| [colour.fill, colour.ink]).collect(),
            documents,
            events,
            slice: slice.intersection(&kept).copied().collect(),
            arrows: arrows.collect(),
            stretches: stretches.collect(),
            left_out: left_out(story, &kept, &budget),
        }
    }
}

/// A violation as it can be shown.
fn shown(violation: &Violation) -> Violation {
    Violation {
        check: harmless(&violation.check),
        says: cut(&harmless(&violation.says), SAYS_COLUMNS_MAX),
        peer: violation.peer,
        document: violation.document.as_deref().map(harmless),
    }
}

/// The events that the page has room for: the slice from its end, then the rest from its end.
fn kept(events: usize, slice: &BTreeSet<usize>) -> BTreeSet<usize> {
    let rest = (0..events).rev().filter(|index| !slice.contains(index));
    slice.iter().rev().copied().chain(rest).take(EVENTS_MAX).collect()
}

fn left_out(story: &Story<'_>, kept: &BTreeSet<usize>, budget: &Budget) -> Vec<String> {
    let mut left_out = Vec::new();
    let events = story.events().len() - kept.len();
    if events > 0 {
        left_out.push(format!(
            "{events} events of {}: the page has room for {EVENTS_MAX}.",
            story.events().len()
        ));
    }
    let documents = story.documents_total - story.histories.len();
    if documents > 0 {
        left_out
            .push(format!("{documents} documents of {}, those that changed least.", story.documents_total));
    }
    if budget.cut > 0 {
        left_out.push(format!("The rest of {} long texts.", budget.cut));
    }
    left_out
}

fn documents(story: &Story<'_>, kept: &BTreeSet<usize>, budget: &mut Budget) -> Vec<DocumentData> {
    let walks_max = WALKED_MAX / story.events().len().max(1);
    let mut sliced_left = SLICED_MAX;
    let documents = story.histories.iter().enumerate().map(|(place, history)| {
        let slice = (sliced_left > 0 && place < walks_max).then(|| story.slice_of(history.document));
        let slice: Option<Vec<usize>> = slice.map(|slice| slice.intersection(kept).copied().collect());
        let slice = slice.filter(|slice| slice.len() <= sliced_left);
        sliced_left = slice.as_ref().map_or(0, |slice| sliced_left - slice.len());
        let versions = history.versions.iter().map(|version| VersionData {
            letter: version.letter.clone(),
            colour: version.colour,
            view: version.committed.view.as_deref().map(|view| budget.text(view)),
            heads: version
                .committed
                .heads
                .iter()
                .map(|head| format!("{}@{}", head.stamp, harmless(&head.incarnation)))
                .collect(),
        });
        let lanes = history
            .lanes
            .iter()
            .map(|holdings| holdings.iter().map(|holding| (holding.since, holding.version)).collect());
        DocumentData {
            id: harmless(history.document),
            versions: versions.collect(),
            lanes: lanes.collect(),
            slice,
        }
    });
    documents.collect()
}

fn event(story: &Story<'_>, index: usize, budget: &mut Budget) -> EventData {
    let event = &story.events()[index];
    let mut more = Vec::new();
    let mut commits = Vec::new();
    let kind = match &event.what {
        What::Phase(_) => "phase",
        What::FaultBegan { fault, says, .. } => {
            more.push(("what", budget.text(says)));
            if let Some(fault) = story.faults.get(fault) {
                more.push(("in the plan", budget.json(&serde_json::to_value(fault))));
            }
            "fault"
        }
        What::FaultEnded { .. } => "fault-over",
        What::Skipped { says } => {
            more.push(("what", budget.text(says)));
            "skipped"
        }
        What::Started => "started",
        What::Stopped => "stopped",
        What::Crashed { .. } => "crashed",
        What::Paused => "paused",
        What::Resumed => "resumed",
        What::Called { operation, says } => {
            more.push(("what", budget.text(says)));
            let operations = story.report.plan.rounds.iter().flat_map(|round| &round.operations);
            if let Some(operation) = operations.into_iter().find(|planned| planned.number == *operation) {
                more.push(("in the plan", budget.json(&serde_json::to_value(operation))));
            }
            "called"
        }
        What::Acknowledged { writes, .. } => {
            let writes = writes
                .iter()
                .map(|write| format!("{}  {}@{}", write.document, write.stamp, write.incarnation));
            more.push(("writes", budget.text(&writes.collect::<Vec<_>>().join("\n"))));
            "acknowledged"
        }
        What::Failed { error, .. } => {
            more.push(("error", budget.text(error)));
            "failed"
        }
        What::Committed { documents } => {
            for committed in documents {
                let place = story.histories.iter().position(|history| history.document == committed.document);
                if let Some(place) = place
                    && let Some(version) = story.histories[place].place(committed)
                {
                    commits.push((place, version));
                }
            }
            "committed"
        }
        What::Connected { .. } => "connected",
        What::Disconnected { .. } => "disconnected",
        What::Sent { bytes, says, abnormal, .. } => {
            more.push(("size", format!("{bytes} bytes")));
            if !abnormal.is_empty() {
                more.push(("on its way", budget.text(abnormal)));
            }
            if !says.is_empty() {
                more.push(("payload", budget.text(says)));
            }
            "sent"
        }
        What::Delivered { .. } => "delivered",
        What::Told { says } => {
            more.push(("what", budget.text(says)));
            "told"
        }
        What::Panicked { message } => {
            more.push(("message", budget.text(message)));
            "panicked"
        }
        What::Violated(violation) => {
            more.push(("what", budget.text(&violation.says)));
            "violated"
        }
    };
    let line = cut(&line(story, event), LINE_COLUMNS_MAX);
    EventData {
        i: index,
        at: event.at_us,
        peer: event.peer.map(|peer| peer.index()),
        kind,
        line,
        more,
        commits,
    }
}

/// How much text there is still room for.
struct Budget {
    bytes_left: usize,
    /// How many texts were cut.
    cut: usize,
}

impl Budget {
    fn text(&mut self, text: &str) -> String {
        let room = text.len().min(TEXT_BYTES_MAX).min(self.bytes_left);
        let room = text.floor_char_boundary(room);
        self.bytes_left -= room;
        let mut shown = harmless_lines(&text[..room]);
        if room < text.len() {
            self.cut += 1;
            shown += "…";
        }
        shown
    }

    fn json(&mut self, value: &Result<Value, serde_json::Error>) -> String {
        let value = value.as_ref().expect("a plan is JSON, because it is read from JSON");
        self.text(&value.to_string())
    }
}
