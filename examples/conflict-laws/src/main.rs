//! The story of a conflict handler for a shopping list: it looks right, the laws find what is wrong with it, and it is
//! mended.

mod handlers;

use anyhow::{Context, ensure};
use handlers::{LatestAmount, TwoByTwo};
use peerloom_core::ConflictHandler;
use peerloom_laws::{Deletion, Law, Laws, from_examples};

/// The items that histories begin with.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/shopping/*.json");

fn main() -> anyhow::Result<()> {
    let (first, second) = (laws(TwoByTwo).run()?, laws(LatestAmount).run()?);

    println!(
        "The first handler merges the items of a shopping list. It wants more rather than less, but not three"
    );
    println!("times as much, which must be a mistake. Its author has tried it with two phones.\n");
    println!("{first}");
    println!(
        "Three phones show why. Which two of them meet first decides about the amount, and whoever writes down what"
    );
    println!("is shown meanwhile settles it for all:\n");
    let counterexample = first.broken().find(|broken| broken.law == Law::Associativity);
    println!("{}", counterexample.context("which two meet first makes a difference")?);

    println!("In the second handler the latest amount counts, whatever it is.\n");
    println!("{second}");
    ensure!(second.holds(), "it was mended");
    Ok(())
}

fn laws(handler: impl ConflictHandler) -> Laws {
    let arguments: [&str; 0] = [];
    Laws::for_handler(handler)
        .documents(from_examples(EXAMPLES))
        .deletion(Deletion::DeleteWins)
        .skip(
            [Law::DisjointEdits.because("an item is small: but for amount and bought, the last write wins")],
        )
        // This program, started again.
        .in_other_processes(arguments)
}
