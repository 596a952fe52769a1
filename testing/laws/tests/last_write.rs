//! The default handler keeps every law but the one that is not its own.

use peerloom_core::LastWriteWins;

peerloom_laws::conflict_laws! {
    last_write_laws,
    handler: LastWriteWins,
    documents: from_examples("tests/todos/*.json"),
    deletion: LastWriteWins,
    skip: [DisjointEdits.because("the last write wins as a whole")],
}
