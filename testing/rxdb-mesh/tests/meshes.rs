//! What becomes of concurrent writes in small meshes, in every order of events.

mod support;

use peerloom_rxdb_mesh::{Action, Escape, Explorer, Limits, Outcome, Sought, Topology, Violation, Write};
use support::{LADDER, RING, all_equal, edit, master_wins, mesh, newest, note, text};

#[test]
fn a_ring_of_masters_never_settles_two_concurrent_writes() {
    let explorer = Explorer::new(mesh(&RING, &master_wins()), vec![edit(0, "a"), edit(1, "b")]);
    let outcome = explorer.sought(Sought::Loop).explore().unwrap();
    let finding = outcome.finding().expect("there is a loop");
    let Violation::Loop { from, changes, escape } = finding.violation else { panic!("{outcome}") };
    assert_eq!(escape, Escape::Impossible);
    assert!(changes > 0);
    assert_eq!(finding.actions.len(), 18, "a shorter or longer trace than before:\n{}", finding.trace);

    // Going around by hand leads back, again and again.
    let mut mesh = mesh(&RING, &master_wins());
    let (way_in, around) = finding.actions.split_at(from);
    for action in way_in {
        match action {
            Action::Write(0) => drop(mesh.write(0, note("a", 1)).unwrap()),
            Action::Write(_) => drop(mesh.write(1, note("b", 1)).unwrap()),
            Action::Deliver(direction) => drop(mesh.deliver(*direction).unwrap()),
        }
    }
    let entered = mesh.fingerprint();
    for _ in 0..100 {
        let mut texts = Vec::new();
        for action in around {
            let Action::Deliver(direction) = action else { panic!("nobody writes in a loop") };
            mesh.deliver(*direction).unwrap();
            texts.push(text(&mesh, direction.to).to_owned());
        }
        assert_eq!(mesh.fingerprint(), entered);
        assert!(texts.contains(&"a".into()) && texts.contains(&"b".into()));
    }
}

#[test]
fn a_loop_is_shown_in_columns() {
    let explorer = Explorer::new(mesh(&RING, &master_wins()), vec![edit(0, "a"), edit(1, "b")]);
    let outcome = explorer.sought(Sought::Loop).explore().unwrap();
    let shown = outcome.finding().unwrap().trace.to_string();
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[0], "A is master of B, C is master of A, B is master of C");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["A", "B", "C"]);
    assert!(lines[2].contains(r#"text="start""#), "{shown}");
    assert!(lines[3].starts_with("  1.  A writes") && lines[3].contains(r#"*at=1 text="a""#), "{shown}");
    assert!(shown.contains("--- from here on, for ever:"), "{shown}");
    assert!(lines.last().unwrap().contains("everything is as after step 12 again"), "{shown}");
}

#[test]
fn without_a_ring_a_loop_needs_timing_that_repeats_itself() {
    for masters in Topology::Triangle.roles() {
        let ring = masters == RING || masters == [(1, 0), (2, 1), (0, 2)];
        let explorer = Explorer::new(mesh(&masters, &master_wins()), vec![edit(0, "a"), edit(1, "b")]);
        let escape = match explorer.sought(Sought::Loop).explore().unwrap() {
            Outcome::Found(finding) => match finding.violation {
                Violation::Loop { escape, .. } => Some(escape),
                other => panic!("{other}"),
            },
            Outcome::Exhausted { .. } => None,
            bound @ Outcome::BoundReached { .. } => panic!("{bound}"),
        };
        assert_eq!(escape == Some(Escape::Impossible), ring, "{masters:?}: {escape:?}");
    }
}

#[test]
fn random_timing_settles_a_triangle_unless_it_is_a_ring() {
    let settled = |masters| {
        (0..100)
            .filter(|&seed| {
                let mut mesh = mesh(masters, &master_wins());
                mesh.write(0, note("a", 1)).unwrap();
                mesh.write(1, note("b", 1)).unwrap();
                let settled = mesh.run(seed, 2_000).unwrap().is_ok();
                assert!(!settled || mesh.converged(), "settled on different states with seed {seed}");
                settled
            })
            .count()
    };
    assert_eq!(settled(&LADDER), 100);
    assert!((1..60).contains(&settled(&RING)), "{} of 100 settled", settled(&RING));
}

#[test]
fn the_default_handler_discards_a_newer_write() {
    let explorer = Explorer::new(mesh(&LADDER, &master_wins()), vec![edit(0, "a"), edit(0, "b")]);
    let outcome = explorer.sought(Sought::Discard).explore().unwrap();
    let finding = outcome.finding().expect("a write is lost");
    let Violation::Discarded { kept, discarded, .. } = &finding.violation else { panic!("{outcome}") };
    assert_eq!((&kept["text"], &discarded["text"]), (&"a".into(), &"b".into()), "{}", finding.trace);
}

#[test]
fn a_symmetric_handler_settles_every_topology_in_every_order() {
    for topology in Topology::ALL {
        for masters in topology.roles() {
            let mut writes = vec![edit(0, "a"), edit(1, "b")];
            // A ring with three writes has 66,000 states; the other triangles would add as many again.
            if topology != Topology::Triangle || masters == RING {
                writes.push(edit(1, "c"));
            }
            let outcome = Explorer::new(mesh(&masters, &newest()), writes).explore().unwrap();
            assert!(matches!(outcome, Outcome::Exhausted { .. }), "{masters:?}: {outcome}");
        }
    }
}

#[test]
fn two_peers_and_lines_settle_with_the_default_handler() {
    for topology in [Topology::Pair, Topology::Line] {
        for masters in topology.roles() {
            let writes = vec![edit(0, "a"), edit(1, "b"), edit(1, "c")];
            let explorer = Explorer::new(mesh(&masters, &master_wins()), writes);
            for sought in [Sought::Loop, Sought::Divergence] {
                let outcome = explorer.clone().sought(sought).explore().unwrap();
                assert!(matches!(outcome, Outcome::Exhausted { .. }), "{masters:?}: {outcome}");
            }
        }
    }
}

#[test]
fn a_handler_that_finds_everything_equal_leaves_peers_apart() {
    let mesh = mesh(&[(0, 1)], &all_equal());
    let outcome = Explorer::new(mesh, vec![Write::set(1, note("a", 1))]).explore().unwrap();
    let finding = outcome.finding().expect("the write never reaches the other");
    assert_eq!(finding.violation, Violation::Diverged);
    assert_eq!(finding.actions, [Action::Write(0)]);
}

#[test]
fn a_bound_is_said_to_be_one() {
    let explorer = Explorer::new(mesh(&RING, &newest()), vec![edit(0, "a"), edit(1, "b")]);
    let all = explorer.explore().unwrap();
    let Outcome::Exhausted { states, depth } = all else { panic!("{all}") };
    let fewer = explorer.clone().limits(Limits { states_max: states / 2, ..Limits::default() });
    assert!(
        matches!(fewer.explore().unwrap(), Outcome::BoundReached { depth: reached, .. } if reached < depth)
    );
    let shorter = explorer.limits(Limits { depth_max: depth / 2, ..Limits::default() });
    let outcome = shorter.explore().unwrap();
    assert!(matches!(outcome, Outcome::BoundReached { depth: reached, .. } if reached == depth / 2));
}
