//! Explores scopes of the model from the command line.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use peerloom_model::{LARGE, RULES, SMALL, Scope, Search, catching, explore, rule_named, without};

/// Explores every interleaving of small rooms of replicas that run the real core.
#[derive(Debug, Parser)]
struct Arguments {
    /// `small`, `large`, or the name of one scope.
    #[arg(long, default_value = "small")]
    scope: String,
    /// Removes a rule from core first; without `--scope`, in the scope that shows it, and `all` one after the other.
    #[arg(long, value_name = "RULE")]
    without: Option<String>,
    /// In which order states are visited. Nearest first finds the shortest stories, deepest first takes little memory.
    #[arg(long, value_enum, default_value = "nearest")]
    search: Order,
    /// How long each scope is searched at most. Random walks without it last a minute.
    #[arg(long)]
    seconds: Option<u64>,
    /// The seed of random walks.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many threads search.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Nearest,
    Deepest,
    Walks,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let Some(name) = &arguments.without else {
        let mut hold = true;
        for scope in scopes(&arguments.scope)? {
            hold &= run(&arguments, scope);
        }
        ensure!(hold, "not everything holds");
        return Ok(());
    };
    let rules = match name.as_str() {
        "all" => RULES.map(|(_, rule)| rule).to_vec(),
        name => vec![rule_named(name).with_context(|| format!("there is no rule {name}"))?],
    };
    for rule in rules {
        let caught = without(rule, || !run(&arguments, catching(rule)));
        ensure!(caught, "nobody notices that {rule:?} is missing");
    }
    Ok(())
}

fn scopes(name: &str) -> anyhow::Result<Vec<Scope>> {
    Ok(match name {
        "small" => SMALL.to_vec(),
        "large" => LARGE.to_vec(),
        name => {
            let scope = SMALL.iter().chain(LARGE).find(|scope| scope.name == name);
            vec![scope.with_context(|| format!("there is no scope {name}"))?.clone()]
        }
    })
}

/// Whether everything holds.
fn run(arguments: &Arguments, scope: Scope) -> bool {
    let mut seconds = arguments.seconds;
    let search = match arguments.search {
        Order::Nearest => Search::Nearest,
        Order::Deepest => Search::Deepest,
        Order::Walks => {
            seconds = seconds.or(Some(60));
            Search::Walks { seed: arguments.seed }
        }
    };
    let report = explore(scope, search, arguments.threads, seconds.map(Duration::from_secs));
    println!("{report}");
    if let Some(finding) = report.findings.first() {
        println!("{}", finding.story);
    }
    report.findings.is_empty() && (report.missed.is_empty() || !report.finished)
}
