//! Each of twelve handlers with a known fault is caught by the law that is about that fault.
//!
//! With `--nocapture` each test says after how many cases and how long that was. The documents are those of `tests/todos`, unless the fault
//! needs others.

#[path = "faulty/mod.rs"]
mod handlers;

use handlers::*;
use peerloom_core::ConflictHandler;
use peerloom_laws::{Deletion, Documents, Law, Laws, Outcome, from_examples};
use proptest::prelude::Strategy;
use proptest::sample::select;
use serde_json::{Value, json};

fn todos() -> Documents {
    from_examples("tests/todos/*.json")
}

fn one_of(documents: Vec<Value>) -> Documents {
    select(documents).boxed().into()
}

/// Judges the handler by this law, in a test of this name.
fn is_caught(test: &str, handler: impl ConflictHandler, documents: Documents, law: Law) {
    let laws = Laws::for_handler(handler)
        .named(test)
        .documents(documents)
        .deletion(Deletion::DeleteWins)
        .in_other_processes([test, "--exact", "--nocapture"]);
    let row = laws.check(law).expect("a setup that can be judged");
    let Outcome::Broken(counterexample) = row.outcome else {
        panic!("nobody noticed in {} cases: {:?}", row.cases, row.outcome);
    };
    println!("{test:<34} {law:<16} after {:>5} cases, {:>6.3} s", row.cases, row.elapsed.as_secs_f64());
    println!("{counterexample}");
    let writes = counterexample.history.steps.len();
    assert!(writes <= 6, "{writes} steps are not the smallest history");
}

macro_rules! faults {
    ($($test:ident, $handler:expr, $documents:expr, $law:ident;)*) => {
        $(
            #[test]
            fn $test() {
                is_caught(stringify!($test), $handler, $documents, Law::$law);
            }
        )*
    };
}

faults! {
    a_role_for_the_first_version, HAS_A_MASTER, todos(), Commutativity;
    a_clock, READS_THE_CLOCK, todos(), Purity;
    the_order_of_a_hash_map, WALKS_A_HASH_MAP, todos(), Purity;
    unknown_fields_dropped, DROPS_UNKNOWN_FIELDS, todos(), Closure;
    a_priority_in_circles, GOES_IN_CIRCLES, one_of(vec![
        json!({ "priority": "low" }), json!({ "priority": "high" }), json!({ "priority": "urgent" }),
    ]), Associativity;
    a_tombstone_without_order, NeverForgetsADeletion, todos(), LaterWrites;
    not_a_number, DividesByZero, one_of(vec![
        json!({ "rating": 3.5, "votes": 2 }), json!({ "rating": 0, "votes": 0 }),
    ]), Closure;
    text_appended_for_ever, APPENDS_FOR_EVER, todos(), BoundedGrowth;
    an_integer_beyond_2_to_the_53, ROUNDS_LARGE_INTEGERS, todos(), Closure;
    a_missing_base, NeedsABase, todos(), Totality;
    a_resurrection, BringsBackTheDead, todos(), DeletionPolicy;
    keys_in_lower_case, LOWERCASES_KEYS, one_of(vec![
        json!({ "dueDate": "today", "done": false }), json!({ "dueDate": "tomorrow", "done": true }),
    ]), Closure;
}
