//! What is counted, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use crate::rooms::Statistics;

/// Why a request was not let in, by a word for it.
#[derive(Debug, Default)]
pub(super) struct Refusals(pub(super) BTreeMap<&'static str, u64>);

pub(super) fn render(statistics: &Statistics, refusals: &Refusals) -> String {
    let mut text = String::new();
    let gauges = [
        ("peers", "Peers that are connected.", statistics.peers),
        ("rooms", "Rooms that have members.", statistics.rooms),
        ("memberships", "Members of all rooms.", statistics.memberships),
        ("memory_bytes", "Bytes that count towards the memory limit.", statistics.memory_bytes),
    ];
    for (name, help, value) in gauges {
        family(&mut text, name, "gauge", help, [(None, value)]);
    }
    let counters = [
        ("connected_total", "Peers that ever connected.", statistics.connected_total),
        ("messages_received_total", "Messages from peers.", statistics.messages_received_total),
        ("messages_sent_total", "Messages to peers.", statistics.messages_sent_total),
        ("joined_total", "Joins that made a member.", statistics.joined_total),
        ("left_total", "Memberships that ended.", statistics.left_total),
        ("signals_relayed_total", "Signals that were passed on.", statistics.signals_relayed_total),
        ("signals_dropped_total", "Signals that nobody was there for.", statistics.signals_dropped_total),
    ];
    for (name, help, value) in counters {
        family(&mut text, name, "counter", help, [(None, value)]);
    }
    let closed = statistics.closed_total.iter().map(|(reason, &count)| (Some(reason.as_str()), count));
    family(&mut text, "closed_total", "counter", "Connections that the server ended.", closed);
    let refused = refusals.0.iter().map(|(&reason, &count)| (Some(reason), count));
    family(&mut text, "refused_total", "counter", "Connections that were not let in.", refused);
    text
}

fn family<'a, Value: Display>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    values: impl IntoIterator<Item = (Option<&'a str>, Value)>,
) {
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes all");
    line(format_args!("# HELP peerloom_signaling_{name} {help}"));
    line(format_args!("# TYPE peerloom_signaling_{name} {kind}"));
    for (reason, value) in values {
        match reason {
            None => line(format_args!("peerloom_signaling_{name} {value}")),
            Some(reason) => line(format_args!("peerloom_signaling_{name}{{reason=\"{reason}\"}} {value}")),
        }
    }
}
