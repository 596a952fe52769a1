//! What the build needs beside Rust: looks for it, installs it where that takes no question, and says what to run elsewhere.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::bail;

/// Something that a build needs and cargo does not bring.
struct Need {
    what: &'static str,
    /// What does not build without it.
    wanted_by: &'static str,
    is_there: fn() -> bool,
    /// The packages that bring it on Debian and Ubuntu.
    apt_packages: &'static [&'static str],
}

/// One row for each.
const NEEDS: &[Need] = &[Need {
    what: "a C compiler",
    wanted_by: "every crate, which it links",
    is_there: || runs("cc", "--version"),
    apt_packages: &["gcc", "libc6-dev"],
}];

/// Makes sure that everything needed is there: installs it as root on a system with apt, otherwise says what to run.
pub(crate) fn provide() -> anyhow::Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("{} is missing; it is wanted by {}.", need.what, need.wanted_by);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.apt_packages).copied().collect();
    let packages = packages.join(" ");
    if !has_apt() {
        bail!("install it and run this again; on Debian and Ubuntu the packages are: {packages}");
    }
    let install = "apt-get install --yes --no-install-recommends";
    if !is_root() {
        bail!("run this, then this command again:\n  sudo apt-get update && sudo {install} {packages}");
    }
    eprintln!("Installing it with apt, as root: {packages}");
    for line in ["apt-get update", &format!("{install} {packages}")] {
        apt(line)?;
    }
    match missing.iter().find(|need| !(need.is_there)()) {
        Some(need) => bail!("{} is still missing after apt installed {packages}", need.what),
        None => Ok(()),
    }
}

fn apt(line: &str) -> anyhow::Result<()> {
    eprintln!("$ {line}");
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a line has a first word"));
    let status =
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status()?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

fn has_apt() -> bool {
    Path::new("/usr/bin/apt-get").exists()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether there is such a program, and it can answer a question as simple as this.
fn runs(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
