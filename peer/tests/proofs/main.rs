//! Peers as processes over WebRTC: what is true when they are killed, stopped, cut off or moved, and how much goes over
//! the network then. Nothing here is simulated.
//!
//! `cargo xtask prove` runs all of it at its full size. `DOCUMENTS=100000` sets how many documents two processes replicate,
//! `OUTAGE_SECONDS=60` how long a link is down.

#[path = "../harness/mod.rs"]
mod harness;

mod mesh;
mod namespaces;
mod two_processes;

/// A size that can be set from outside.
fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}

/// Lines for `import`, of some 250 bytes each.
fn lines(ids: impl IntoIterator<Item = String>, text: &str) -> String {
    let line = |id: String| {
        let filling = "x".repeat(200);
        format!(
            "{{\"id\":\"{id}\",\"value\":{{\"text\":\"{text}\",\"of\":\"{id}\",\"filling\":\"{filling}\"}}}}\n"
        )
    };
    ids.into_iter().map(line).collect()
}
