//! What becomes of datagrams: late, out of order, lost or changed. What makes messages of them keeps its promises all the same, or
//! gives the connection up.
//!
//! Nothing here depends on what a handshake has in it, because its keys and signatures are not the same twice.

use std::time::Duration;

use super::{Level, State, Way, Ways};
use crate::marks;
use crate::plan::{Direction, Draw, Latency, Mangling};

/// How long a datagram waits at most where few bytes get through. There is no room for those behind it.
const QUEUE_MAX: Duration = Duration::from_secs(2);

/// The size of a datagram of a handshake, as far as it matters. The real one differs by a few bytes from run to run.
const HANDSHAKE_BYTES: usize = 1_200;

/// With what the datagrams of a DTLS handshake begin (RFC 6347).
const HANDSHAKE: u8 = 22;

/// Up to where the bytes of a datagram mean the same in each run: the headers of a DTLS record and of a handshake message.
const HEADERS_BYTES: u64 = 25;

/// A datagram on its way.
pub(crate) struct Carried {
    /// When it arrives, if it is not held.
    pub(crate) at: Duration,
    pub(crate) datagram: Vec<u8>,
}

impl Ways {
    /// The number of a new socket.
    pub(crate) fn next_socket(&self) -> u64 {
        let mut state = self.lock();
        state.connections += 1;
        state.connections
    }

    /// What arrives of a datagram that is sent now: nothing, itself, something else, or it twice.
    pub(crate) fn carry(&self, direction: Direction, socket: u64, datagram: &[u8]) -> Vec<Carried> {
        assert_eq!(self.shared.level, Level::Datagrams, "these ways carry messages");
        let now = Duration::from_micros(self.shared.world.now_us());
        let now_us = now.as_micros() as u64;
        let seed = self.shared.seed;
        let mut state = self.lock();
        let State { ways, .. } = &mut *state;
        let way = ways.entry(direction).or_default();
        let nth = way.count_at(now_us);
        if way.silences > 0 || socket <= way.deaf_up_to {
            return Vec::new();
        }
        let lost_percent = way.losses.iter().max().copied().unwrap_or(0);
        let mut draw = Draw::new(seed, ("lost", direction, now_us, nth));
        if lost_percent > 0 && draw.below(100) < u64::from(lost_percent) {
            marks::reach("a lost datagram");
            return Vec::new();
        }
        let Latency { base_ms, jitter_ms } = self.shared.latency;
        let jitter_us =
            Draw::new(seed, ("latency", direction, now_us / 1000)).below(u64::from(jitter_ms) * 1000 + 1);
        let delay_ms: u64 = way.delays_ms.iter().map(|by| u64::from(*by)).sum();
        let takes = Duration::from_millis(u64::from(base_ms) + delay_ms) + Duration::from_micros(jitter_us);
        let Some(leaves) = way.queue(now, datagram) else {
            marks::reach("a datagram for which a slow way has no room");
            return Vec::new();
        };
        let at = leaves + takes;
        let Some(how) = way.mangle.take() else {
            return vec![Carried { at, datagram: datagram.to_vec() }];
        };
        drop(state);
        marks::reach("a mangled datagram");
        match how {
            Mangling::Flip => {
                let mut mangled = datagram.to_vec();
                let place = draw.below((mangled.len() as u64).clamp(1, HEADERS_BYTES)) as usize;
                if let Some(byte) = mangled.get_mut(place) {
                    *byte ^= 1 << draw.below(8);
                }
                vec![Carried { at, datagram: mangled }]
            }
            Mangling::Truncate => vec![Carried { at, datagram: datagram[..datagram.len() / 2].to_vec() }],
            Mangling::Garbage => vec![Carried { at, datagram: self.noise(direction, datagram.len()) }],
            Mangling::Replay => {
                let twice = || Carried { at, datagram: datagram.to_vec() };
                vec![twice(), twice()]
            }
        }
    }

    /// Waits until something about the ways changes. Cancel-safe, once it was polled.
    pub(crate) async fn changed(&self) {
        let _ = self.shared.changed.subscribe().changed().await;
    }
}

impl Way {
    /// How many datagrams were sent at this instant before.
    fn count_at(&mut self, now_us: u64) -> u64 {
        let (at_us, count) = &mut self.sent_at_us;
        if *at_us != now_us {
            (*at_us, *count) = (now_us, 0);
        }
        *count += 1;
        *count - 1
    }

    /// When a datagram gets through, or that there is no room for it.
    fn queue(&mut self, now: Duration, datagram: &[u8]) -> Option<Duration> {
        let Some(rate) = self.rates.iter().min() else { return Some(now) };
        let starts = self.busy_until.max(now);
        if starts - now > QUEUE_MAX {
            return None;
        }
        let is_handshake = datagram.first() == Some(&HANDSHAKE);
        let bytes = if is_handshake { HANDSHAKE_BYTES } else { datagram.len() };
        self.busy_until = starts + Duration::from_secs_f64(bytes as f64 / f64::from(*rate));
        Some(self.busy_until)
    }
}
