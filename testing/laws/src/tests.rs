//! The tests that [`conflict_laws!`](crate::conflict_laws) makes, and the table after the last of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::law::Law;
use crate::laws::Laws;
use crate::processes;
use crate::report::{Outcome, Report, Row};

/// One `#[test]` for each [`Law`], in a module, for one handler.
///
/// ```
/// # struct TodoHandler;
/// # impl Default for TodoHandler { fn default() -> Self { Self } }
/// # use peerloom_core::{ConflictHandler, Dot, Head, LastWriteWins, State};
/// # impl ConflictHandler for TodoHandler {
/// #     fn id(&self) -> &str { "todo" }
/// #     fn resolve(&self, heads: &[Head]) -> State { LastWriteWins.resolve(heads) }
/// #     fn annotate(&self, _: Option<&State>, _: &State, _: Dot) -> bytes::Bytes { Default::default() }
/// # }
/// // tests/todos.rs
/// peerloom_laws::conflict_laws! {
///     todo_laws,
///     handler: TodoHandler::default(),
///     documents: from_examples("tests/todos/*.json"),
///     deletion: DeleteWins,
///     // All of these may be left out.
///     combines: ["/count"],
///     skip: [DisjointEdits.because("a todo is small, and the last write wins as a whole")],
///     equality: |left, right| left["title"] == right["title"],
///     cases: 1000,
/// }
/// # fn main() {}
/// ```
///
/// The entries are the methods of [`Laws`], the handler comes first, and the words of this crate that they are about need no `use`: the
/// three sources of documents, the variants of [`Deletion`](crate::Deletion) in `deletion`, those of [`Law`] in `skip`.
///
/// A counterexample is kept in a file beside the test, named as the module, and tried first from then on. The test that ends last prints
/// the table of all laws, past the harness, which would only show what failing tests print. `cargo test todo_laws::purity` runs one law
/// and prints no table. `todo_laws::laws()` is the [`Laws`], for whoever wants the [`Report`] itself.
#[macro_export]
macro_rules! conflict_laws {
    ($name:ident, handler: $handler:expr, $($entry:ident: $value:expr),* $(,)?) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            static TABLE: $crate::Table = $crate::Table::new();

            /// What these tests judge.
            #[allow(dead_code)]
            pub(crate) fn laws() -> $crate::Laws {
                let laws = $crate::Laws::for_handler($handler)
                    .named(stringify!($name))
                    .regressions($crate::regressions_beside(env!("CARGO_MANIFEST_DIR"), file!(), stringify!($name)))
                    .in_other_processes($crate::test_arguments(module_path!()));
                $(let laws = $crate::__entry!(laws, $entry, $value);)*
                laws
            }

            $crate::__law_tests! {
                Purity purity, Totality totality, Closure closure, Stability stability, Equality equality,
                OrderFreeFold order_free_fold, Idempotence idempotence, Commutativity commutativity,
                Associativity associativity, NoInvention no_invention, DisjointEdits disjoint_edits,
                DeletionPolicy deletion_policy, BoundedGrowth bounded_growth, LaterWrites later_writes,
                CostPerCall cost_per_call, EveryInterleaving every_interleaving,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($laws:ident, documents, $value:expr) => {{
        #[allow(unused_imports)]
        use $crate::{from_examples, from_schema, from_type};
        $laws.documents($value)
    }};
    ($laws:ident, deletion, $value:expr) => {{
        #[allow(unused_imports)]
        use $crate::Deletion::{self, DeleteWins, EditWins, LastWriteWins, NotDeclared};
        $laws.deletion($value)
    }};
    ($laws:ident, skip, $value:expr) => {{
        #[allow(unused_imports)]
        use $crate::Law::{
            self, Associativity, BoundedGrowth, Closure, Commutativity, CostPerCall, DeletionPolicy,
            DisjointEdits, Equality, EveryInterleaving, Idempotence, LaterWrites, NoInvention, OrderFreeFold,
            Purity, Stability, Totality,
        };
        $laws.skip($value)
    }};
    ($laws:ident, $entry:ident, $value:expr) => {
        $laws.$entry($value)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __law_tests {
    ($($law:ident $test:ident,)*) => {
        $(
            #[test]
            fn $test() {
                $crate::test(&laws(), $crate::Law::$law, &TABLE);
            }
        )*
    };
}

/// The rows of tests that run beside each other, until all are there.
#[doc(hidden)]
pub struct Table(Mutex<BTreeMap<Law, Row>>);

impl Table {
    #[doc(hidden)]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn note(&self, name: &str, row: Row) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.insert(row.law, row);
        if rows.len() == Law::ALL.len() {
            let report = Report { name: name.to_string(), rows: rows.values().cloned().collect() };
            // The harness captures what is printed, but not what is written to the stream itself.
            let _ = writeln!(std::io::stderr().lock(), "\n{report}");
        }
    }
}

/// Judges a handler by a law, and panics with the counterexample if it breaks it.
#[doc(hidden)]
#[track_caller]
pub fn test(laws: &Laws, law: Law, table: &Table) {
    let checked = laws.check(law);
    if processes::is_any_asked() {
        return;
    }
    match checked {
        Ok(row) => {
            let outcome = row.outcome.clone();
            table.note(&laws.name, row);
            if let Outcome::Broken(counterexample) = outcome {
                panic!("\n\n{counterexample}");
            }
        }
        Err(error) => {
            let mut told = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                told.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            panic!("{told}");
        }
    }
}

/// How a test binary is told to run the test that answers questions.
#[doc(hidden)]
pub fn test_arguments(module: &str) -> [String; 4] {
    let path = module.split_once("::").map_or(module, |(_, path)| path);
    [format!("{path}::purity"), "--exact".into(), "--nocapture".into(), "--test-threads=1".into()]
}
