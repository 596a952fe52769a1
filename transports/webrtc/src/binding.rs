//! The channel binding: both ends' certificate fingerprints, as the session descriptions say them.
//!
//! The DTLS handshake has shown by then that each end holds the key of one of the fingerprints that the other was told.
//! Every fingerprint of a description counts, not the one that was used: who sits in the middle could otherwise list the
//! right one beside its own.

use bytes::Bytes;

const ATTRIBUTE: &str = "a=fingerprint:";

/// The bytes that both ends compute alike from both descriptions. `None` if one has no fingerprint.
pub(crate) fn channel_binding(local_sdp: &str, remote_sdp: &str) -> Option<Bytes> {
    let mut ends = [fingerprints(local_sdp)?, fingerprints(remote_sdp)?];
    // The ends do not agree on who is local.
    ends.sort_unstable();
    let mut binding = Vec::from(b"peerloom dtls\0");
    for end in ends {
        for fingerprint in end {
            binding.extend_from_slice(fingerprint.as_bytes());
            binding.push(b'\n');
        }
        binding.push(0);
    }
    Some(binding.into())
}

/// Each once and in order: a description may repeat one per media section.
fn fingerprints(sdp: &str) -> Option<Vec<String>> {
    let mut found: Vec<String> = sdp
        .lines()
        .filter_map(|line| line.trim().strip_prefix(ATTRIBUTE))
        .map(str::to_ascii_lowercase)
        .collect();
    found.sort_unstable();
    found.dedup();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(fingerprints: &[&str]) -> String {
        fingerprints.iter().fold("v=0\r\n".into(), |sdp, text| format!("{sdp}{ATTRIBUTE}{text}\r\n"))
    }

    #[test]
    fn it_is_what_the_protocol_says() {
        let (left, right) = (sdp(&["sha-256 BB:02"]), sdp(&["sha-256 AA:01"]));
        let binding = channel_binding(&left, &right).expect("both have a fingerprint");
        assert_eq!(&binding[..], b"peerloom dtls\0sha-256 aa:01\n\0sha-256 bb:02\n\0");
    }

    #[test]
    fn both_ends_compute_the_same() {
        let (left, right) = (sdp(&["sha-256 AA:01"]), sdp(&["sha-256 bb:02"]));
        assert_eq!(channel_binding(&left, &right), channel_binding(&right, &left));
        assert_ne!(channel_binding(&left, &right), channel_binding(&left, &left));
    }

    #[test]
    fn case_and_repetition_do_not_matter() {
        let (left, right) = (sdp(&["sha-256 AA:01"]), sdp(&["sha-256 bb:02"]));
        let same = sdp(&["SHA-256 BB:02", "sha-256 bb:02"]);
        assert_eq!(channel_binding(&left, &right), channel_binding(&left, &same));
    }

    #[test]
    fn a_fingerprint_listed_beside_the_right_one_is_seen() {
        let (left, right) = (sdp(&["sha-256 aa:01"]), sdp(&["sha-256 bb:02"]));
        let with_another = sdp(&["sha-256 bb:02", "sha-256 ee:05"]);
        assert_ne!(channel_binding(&left, &right), channel_binding(&left, &with_another));
    }

    #[test]
    fn no_fingerprint_is_no_binding() {
        assert_eq!(channel_binding(&sdp(&[]), &sdp(&["sha-256 aa:01"])), None);
    }
}
