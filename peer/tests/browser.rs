//! The todo list of `examples/browser-todo` in a real browser: stock RxDB there, this program as the peer that does not sleep.
//!
//! The stories are told in JavaScript, beside the page. They start `peerloom-peer` and `peerloom-signaling` as processes, from where
//! this test's programs lie; `cargo test --workspace` builds both.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether something the stories need is there. Where the variable says `required` and it is not, this panics.
fn is_there(what: &str, path: &Path, variable: &str) -> bool {
    let there = path.exists();
    let required = env::var_os(variable).is_some_and(|value| value == "required");
    assert!(there || !required, "{what} is not there: {}", path.display());
    if !there {
        eprintln!("skipped: {what} is not there ({}); `cargo xtask test` brings it", path.display());
    }
    there
}

#[test]
fn the_stories_of_the_todo_page_hold_in_a_real_browser() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/browser-todo");
    let chromium = env::var_os("CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from);
    let programs =
        Path::new(env!("CARGO_BIN_EXE_peerloom-peer")).parent().expect("a program lies in a directory");
    if !is_there("Chromium", &chromium, "BROWSER_TESTS")
        || !is_there("RxDB", &example.join("node_modules/rxdb/package.json"), "RXDB_TESTS")
        || !is_there("the signaling server", &programs.join("peerloom-signaling"), "RXDB_TESTS")
    {
        return;
    }
    let mut stories = Command::new("node");
    stories.args(["--test", "--test-reporter=spec", "stories/todos.test.mjs"]).current_dir(&example);
    let told = stories.env("PEERLOOM_BIN", programs).env("CHROMIUM", &chromium).output();
    let told = told.expect("where there are packages of npm, there is node");
    let (printed, said) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{printed}\n{said}");
    let skipped = !printed.contains("skipped 0");
    assert!(!skipped || env::var_os("BROWSER_TESTS").is_none_or(|value| value != "required"), "{printed}");
    if skipped {
        eprintln!("{printed}");
    }
}
