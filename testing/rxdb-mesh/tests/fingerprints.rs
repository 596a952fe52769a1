//! Meshes with equal fingerprints have the same future.

mod support;

use std::collections::HashMap;

use peerloom_rxdb_mesh::{Fingerprint, Mesh};
use support::{LADDER, RING, master_wins, mesh, newest, note};

/// The states of a run in a fixed pseudo-random order of deliveries, with a write every now and then.
fn run(mut mesh: Mesh, seed: usize, steps: usize) -> Vec<Mesh> {
    let mut states = vec![mesh.clone()];
    for step in 0..steps {
        let possible = mesh.deliverable();
        if possible.is_empty() || step % 29 == seed % 29 {
            mesh.write((step + seed) % 3, note(["a", "b", "c"][step % 3], 1)).unwrap();
        } else {
            mesh.deliver(possible[(step * 7 + seed * 13 + step / 5) % possible.len()]).unwrap();
        }
        states.push(mesh.clone());
    }
    states
}

#[test]
fn meshes_with_equal_fingerprints_go_on_alike() {
    let mut met_again = 0;
    for handler in [master_wins(), newest()] {
        for masters in [RING, LADDER] {
            let mut seen: HashMap<Fingerprint, Mesh> = HashMap::new();
            for seed in 0..8 {
                for state in run(mesh(&masters, &handler), seed, 150) {
                    let Some(earlier) = seen.get(&state.fingerprint()) else {
                        seen.insert(state.fingerprint(), state);
                        continue;
                    };
                    met_again += 1;
                    let futures = (run(earlier.clone(), seed, 40), run(state, seed, 40));
                    for (one, other) in futures.0.iter().zip(&futures.1) {
                        assert_eq!(one.fingerprint(), other.fingerprint());
                        for peer in 0..3 {
                            assert!(one.peer(peer).documents().eq(other.peer(peer).documents()));
                        }
                    }
                }
            }
        }
    }
    assert!(met_again > 100, "only {met_again} states were met twice");
}

#[test]
fn different_documents_links_and_messages_have_different_fingerprints() {
    let first = mesh(&RING, &master_wins());
    let mut written = first.clone();
    written.write(0, note("a", 1)).unwrap();
    let mut delivered = written.clone();
    let direction = delivered.deliverable()[0];
    delivered.deliver(direction).unwrap();
    let mut unlinked = first.clone();
    unlinked.unlink(0, 1);
    let fingerprints = [first, written, delivered, unlinked].map(|mesh| mesh.fingerprint());
    for (index, fingerprint) in fingerprints.iter().enumerate() {
        assert!(!fingerprints[..index].contains(fingerprint));
    }
}
