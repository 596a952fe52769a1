//! A report as one static picture, for a README: the slice alone, with a background of its own, so that it can be read on dark pages.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::rows::{Row, rows};
use super::story::{Arrow, Story, StretchKind};
use super::versions::{History, PALETTE, Version};
use super::words::{cut, duration, harmless, line, markup, seconds};
use crate::trace::What;

/// The most events that get a row.
const EVENTS_MAX: usize = 300;
const ROW_HEIGHT: usize = 22;
const HEAD_HEIGHT: usize = 96;
const TIME_WIDTH: usize = 84;
/// How much of a row's words is shown, in characters.
const WORDS_MAX: usize = 72;
/// The same for those in bold.
const STRONG_WORDS_MAX: usize = 60;
/// An upper bound of how wide such a character is.
const LETTER_WIDTH: usize = 7;
const STYLE: &str = "
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1f2328}
.title{font-size:17px;font-weight:600}.verdict{font-weight:600}.violated{fill:#b3123a}.held{fill:#1a7f37}
.quiet{fill:#636c76}.time{text-anchor:end;fill:#636c76;font-variant-numeric:tabular-nums}
.lane{text-anchor:middle;font-weight:600}.letter{font-size:11px;font-weight:700;text-anchor:middle}
.phase{font-weight:600}.rule{stroke:#d1d9e0}.axis{stroke:#c4ccd4}.fault{fill:#bf8700;opacity:.13}
.arrow{stroke:#57606a;stroke-width:1.3;fill:none}.abnormal{stroke:#9a5b00;stroke-dasharray:5 3}
.mark{fill:#57606a}.cross{stroke:#b3123a;stroke-width:2;fill:none}.dot{fill:#fff;stroke:#57606a;stroke-width:1.5}
.alarm{fill:#b3123a}";

/// The picture, a document of SVG 1.1.
pub(super) fn render(story: &Story<'_>) -> String {
    let shown = story.slice();
    let rows = rows(story.events(), &shown, EVENTS_MAX);
    let drawing = Drawing::of(story, rows);
    let mut svg = drawing.open();
    svg += &drawing.head();
    svg += &drawing.faults();
    svg += &drawing.lanes();
    for arrow in &story.arrows {
        svg += &drawing.arrow(arrow);
    }
    svg += &drawing.rows();
    svg += "</svg>\n";
    svg
}

struct Drawing<'a, 'b> {
    story: &'b Story<'a>,
    rows: Vec<Row>,
    /// The row of each event that has one.
    places: BTreeMap<usize, usize>,
    lane_width: usize,
}

impl<'a, 'b> Drawing<'a, 'b> {
    fn of(story: &'b Story<'a>, rows: Vec<Row>) -> Self {
        let places = rows.iter().enumerate().filter_map(|(place, row)| match row {
            Row::Event(index) => Some((*index, place)),
            Row::Gap { .. } | Row::LeftOut { .. } => None,
        });
        let places = places.collect();
        Self { story, rows, places, lane_width: if story.lanes > 4 { 72 } else { 96 } }
    }

    fn width(&self) -> usize {
        self.words_x() + WORDS_MAX * LETTER_WIDTH
    }

    fn height(&self) -> usize {
        HEAD_HEIGHT + self.rows.len() * ROW_HEIGHT + 20
    }

    fn words_x(&self) -> usize {
        TIME_WIDTH + self.story.lanes * self.lane_width + 16
    }

    fn lane_x(&self, lane: usize) -> usize {
        TIME_WIDTH + lane * self.lane_width + self.lane_width / 2
    }

    fn row_y(&self, row: usize) -> usize {
        HEAD_HEIGHT + row * ROW_HEIGHT + ROW_HEIGHT / 2
    }

    /// The height at which something that happened at `event` begins, also if that event has no row.
    fn edge_y(&self, event: usize) -> usize {
        let next = self.places.range(event..).next();
        self.row_y(next.map_or(self.rows.len(), |(_, row)| *row))
    }

    fn open(&self) -> String {
        let (width, height) = (self.width(), self.height());
        let title = markup(&harmless(&self.story.report.scenario));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <defs><pattern id=\"down\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <rect width=\"6\" height=\"6\" fill=\"#eaeef2\"/><rect width=\"2\" height=\"6\" fill=\"#aab4be\"/></pattern></defs>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\" stroke=\"#d1d9e0\"/>\n"
        )
    }

    fn head(&self) -> String {
        let report = self.story.report;
        let mut head = String::new();
        let (class, verdict) = match &report.violation {
            Some(violation) => ("violated", format!("✕ {}: {}", violation.check, violation.says)),
            None => ("held", "✓ every check held".to_owned()),
        };
        let letters_max = self.width() / LETTER_WIDTH - 6;
        let verdict = markup(&cut(&harmless(&verdict), letters_max));
        let mut quiet = format!("seed {}", report.plan.seed);
        if let Some(history) = self.story.histories.first() {
            let _ = write!(quiet, " · colours and letters are versions of {}", harmless(history.document));
        }
        let hidden = self.story.events().len() - self.story.slice().len();
        if hidden > 0 {
            let _ = write!(quiet, " · {hidden} events that cannot have led to it are not shown");
        }
        let title = markup(&cut(&harmless(&report.scenario), letters_max * 2 / 3));
        let quiet = markup(&cut(&quiet, letters_max));
        let _ = writeln!(head, "<text class=\"title\" x=\"20\" y=\"28\">{title}</text>");
        let _ = writeln!(head, "<text class=\"verdict {class}\" x=\"20\" y=\"48\">{verdict}</text>");
        let _ = writeln!(head, "<text class=\"quiet\" x=\"20\" y=\"66\">{quiet}</text>");
        for lane in 0..self.story.lanes {
            let x = self.lane_x(lane);
            let _ =
                writeln!(head, "<text class=\"lane\" x=\"{x}\" y=\"{}\">peer-{lane}</text>", HEAD_HEIGHT - 6);
        }
        head
    }

    /// Tints, one per lane and stretch; where stretches overlap, only once.
    fn faults(&self) -> String {
        let mut faults = String::new();
        for lane in 0..self.story.lanes {
            let mut spans: Vec<(usize, usize)> = Vec::new();
            let of_lane = self.story.stretches.iter();
            for stretch in of_lane.filter(|it| it.kind == StretchKind::Fault && it.lanes.contains(&lane)) {
                let from = self.edge_y(stretch.from);
                let to = stretch.to.map_or(self.height() - 12, |to| self.edge_y(to));
                match spans.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    _ => spans.push((from, to)),
                }
            }
            for (from, to) in spans.into_iter().filter(|(from, to)| from < to) {
                let (x, width, height) = (TIME_WIDTH + lane * self.lane_width, self.lane_width, to - from);
                let _ = writeln!(
                    faults,
                    "<rect class=\"fault\" x=\"{x}\" y=\"{from}\" width=\"{width}\" height=\"{height}\"/>"
                );
            }
        }
        faults
    }

    fn lanes(&self) -> String {
        let mut lanes = String::new();
        let (top, bottom) = (HEAD_HEIGHT, self.height() - 12);
        for lane in 0..self.story.lanes {
            let x = self.lane_x(lane);
            let _ =
                writeln!(lanes, "<line class=\"axis\" x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\"/>");
            if let Some(history) = self.story.histories.first() {
                lanes += &self.ribbon(history, lane, bottom);
            }
            for stretch in self.story.stretches.iter().filter(|it| it.kind != StretchKind::Fault) {
                if !stretch.lanes.contains(&lane) {
                    continue;
                }
                let (from, to) = (self.edge_y(stretch.from), stretch.to.map_or(bottom, |to| self.edge_y(to)));
                if from < to {
                    let (kind, width) =
                        if stretch.kind == StretchKind::Down { ("down", 24) } else { ("paused", 8) };
                    let _ = writeln!(
                        lanes,
                        "<rect class=\"{kind}\" x=\"{}\" y=\"{from}\" width=\"{width}\" height=\"{}\" fill=\"url(#down)\">\
                         <title>{}</title></rect>",
                        x - width / 2,
                        to - from,
                        markup(stretch.says),
                    );
                }
            }
        }
        lanes
    }

    fn ribbon(&self, history: &History<'_>, lane: usize, bottom: usize) -> String {
        let mut ribbon = String::new();
        let holdings = &history.lanes[lane];
        for (place, holding) in holdings.iter().enumerate() {
            let Some(version) = holding.version.map(|version| &history.versions[version]) else { continue };
            let from = self.edge_y(holding.since);
            let to = holdings.get(place + 1).map_or(bottom, |next| self.edge_y(next.since));
            if from >= to {
                continue;
            }
            let _ = writeln!(
                ribbon,
                "<rect class=\"version\" x=\"{}\" y=\"{from}\" width=\"12\" height=\"{}\" fill=\"{}\"/>",
                self.lane_x(lane) - 6,
                to - from,
                PALETTE[version.colour].fill,
            );
        }
        ribbon
    }

    fn arrow(&self, arrow: &Arrow<'_>) -> String {
        let Some(sent) = self.places.get(&arrow.sent) else { return String::new() };
        let aim = self.lane_x(arrow.to.index());
        let rightwards = arrow.to > arrow.from;
        let start = self.lane_x(arrow.from.index());
        let (x1, y1) = (if rightwards { start + 6 } else { start - 6 }, self.row_y(*sent));
        let class = if arrow.abnormal.is_empty() { "arrow" } else { "arrow abnormal" };
        let says = markup(&harmless(&format!("#{} {}", arrow.message.0, arrow.abnormal)));
        match arrow.delivered {
            Some(delivered) => {
                let Some(arrives) = self.places.get(&delivered) else { return String::new() };
                let (x2, y2) = (if rightwards { aim - 9 } else { aim + 9 }, self.row_y(*arrives));
                format!(
                    "<g><title>{says}</title><line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>\
                     <path class=\"mark\" d=\"M{x2} {y2}l-8 -4v8z\" transform=\"rotate({:.1} {x2} {y2})\"/></g>\n",
                    angle(x2.abs_diff(x1), y2 - y1, rightwards),
                )
            }
            None => {
                let x2 = if rightwards { x1 + (aim - x1) * 3 / 5 } else { x1 - (x1 - aim) * 3 / 5 };
                let y2 = y1 + ROW_HEIGHT / 2;
                format!(
                    "<g class=\"lost\"><title>{says}</title><line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>\
                     <path class=\"cross\" d=\"M{} {}l8 8m0 -8l-8 8\"/></g>\n",
                    x2 - 4,
                    y2 - 4,
                )
            }
        }
    }

    fn rows(&self) -> String {
        let mut rows = String::new();
        for (place, row) in self.rows.iter().enumerate() {
            let y = self.row_y(place) + 4;
            let x = self.words_x();
            match row {
                Row::Event(index) => rows += &self.event(*index, y, x),
                Row::Gap { us } => {
                    let _ = writeln!(
                        rows,
                        "<text class=\"quiet\" x=\"{x}\" y=\"{y}\">⋮ {} later</text>",
                        duration(*us)
                    );
                }
                Row::LeftOut { events } => {
                    let _ = writeln!(
                        rows,
                        "<text class=\"quiet\" x=\"{x}\" y=\"{y}\">⋮ {events} events left out here</text>"
                    );
                }
            }
        }
        rows
    }

    fn event(&self, index: usize, y: usize, x: usize) -> String {
        let event = &self.story.events()[index];
        let says = line(self.story, event);
        let mut row = String::new();
        let _ = writeln!(
            row,
            "<text class=\"time\" x=\"{}\" y=\"{y}\">{}</text>",
            TIME_WIDTH - 14,
            seconds(event.at_us)
        );
        let class = match event.what {
            What::Phase(_) | What::FaultBegan { .. } | What::Crashed { .. } => "phase",
            What::Violated(_) | What::Panicked { .. } => "phase alarm",
            What::Committed { .. } | What::Called { .. } => "",
            _ => "quiet",
        };
        if let What::Phase(_) = event.what {
            let rule = y - 4 - ROW_HEIGHT / 2;
            let end = self.width() - 16;
            let _ =
                writeln!(row, "<line class=\"rule\" x1=\"16\" y1=\"{rule}\" x2=\"{end}\" y2=\"{rule}\"/>");
        }
        if let Some(peer) = event.peer {
            row += &self.sign(index, peer.index(), y - 4);
        }
        let room = if class.starts_with("phase") { STRONG_WORDS_MAX } else { WORDS_MAX };
        let says = event.peer.map_or_else(|| says.clone(), |peer| format!("{peer} {says}"));
        let _ =
            writeln!(row, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", markup(&cut(&says, room)));
        row
    }

    /// What marks an event in its lane.
    fn sign(&self, index: usize, lane: usize, y: usize) -> String {
        let x = self.lane_x(lane);
        match &self.story.events()[index].what {
            What::Committed { documents } => {
                let history = self.story.histories.first();
                let version = history.and_then(|history| {
                    let committed =
                        documents.iter().find(|committed| committed.document == history.document)?;
                    Some(&history.versions[history.place(committed)?])
                });
                version.map_or_else(|| dot(x, y), |version| letter(version, x, y))
            }
            What::Crashed { .. } => cross(x, y),
            What::Violated(_) | What::Panicked { .. } => {
                format!("<path class=\"alarm\" d=\"M{x} {}l9 9l-9 9l-9 -9z\"/>\n", y - 9)
            }
            What::Sent { .. } | What::Delivered { .. } => String::new(),
            _ => dot(x, y),
        }
    }
}

/// The direction of an arrow that goes so far sideways and so far down, in degrees.
fn angle(across: usize, down: usize, rightwards: bool) -> f64 {
    let length = |pixels: usize| f64::from(u32::try_from(pixels).expect("a picture is not that large"));
    let across = if rightwards { length(across) } else { -length(across) };
    length(down).atan2(across).to_degrees()
}

fn letter(version: &Version<'_>, x: usize, y: usize) -> String {
    let colour = PALETTE[version.colour];
    let width = 10 + 8 * version.letter.len();
    format!(
        "<rect class=\"badge\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"18\" rx=\"4\" fill=\"{}\" stroke=\"#ffffff\"/>\
         <text class=\"letter\" x=\"{x}\" y=\"{}\" style=\"fill:{}\">{}</text>\n",
        x - width / 2,
        y - 9,
        colour.fill,
        y + 4,
        colour.ink,
        version.letter,
    )
}

fn dot(x: usize, y: usize) -> String {
    format!("<circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/>\n")
}

fn cross(x: usize, y: usize) -> String {
    format!("<path class=\"cross\" d=\"M{} {}l10 10m0 -10l-10 10\"/>\n", x - 5, y - 5)
}
