//! Figures, and the table they are printed in.

use std::time::Duration;

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    None,
    AtLeast(f64),
    AtMost(f64),
}

/// One measured number.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    target: Target,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, target: Target::None }
    }

    pub(crate) fn target(self, target: Target) -> Self {
        Self { target, ..self }
    }

    fn verdict(&self) -> String {
        let (bound, met, sign) = match self.target {
            Target::None => return String::new(),
            Target::AtLeast(bound) => (bound, self.value >= bound, "≥"),
            Target::AtMost(bound) => (bound, self.value <= bound, "≤"),
        };
        format!("{sign} {}  {}", number(bound), if met { "met" } else { "MISSED" })
    }
}

/// Prints the figures of one subject.
pub(crate) fn print(subject: &str, figures: &[Figure]) {
    println!("\n{subject}");
    for figure in figures {
        let Figure { what, value, unit, .. } = figure;
        println!("  {what:<66} {:>12} {unit:<12} {}", number(*value), figure.verdict());
    }
}

/// How many there were in a second.
pub(crate) fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The middle one of several measurements: on a machine that others use, the mean says little.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 50)
}

/// The least value that at least so many in a hundred do not exceed.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).max(1) - 1]
}

/// Three digits after the point for small numbers, groups of three for large ones.
fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}
