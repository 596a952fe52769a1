//! What the build needs beside Rust: looks for it, installs it where that takes no question, and says what to run elsewhere.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::bail;

/// How long to wait before each further attempt at an installation in CI, where a registry that refuses for a moment must not
/// decide what is tested.
const PAUSES: &[Duration] = &[Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];

/// Something that a build needs and cargo does not bring.
struct Need {
    what: &'static str,
    /// What does not build without it.
    wanted_by: &'static str,
    is_there: fn() -> bool,
    /// The packages that bring it on Debian and Ubuntu.
    apt_packages: &'static [&'static str],
}

/// What everything needs, one row for each.
const BASIC: &[Need] = &[Need {
    what: "a C compiler",
    wanted_by: "every crate, which it links",
    is_there: || runs("cc", "--version"),
    apt_packages: &["gcc", "libc6-dev"],
}];

/// What RocksDB and libFuzzer are written in.
const C_PLUS_PLUS: Need = Need {
    what: "a C++ compiler",
    wanted_by: "RocksDB, and libFuzzer",
    is_there: || runs("c++", "--version"),
    apt_packages: &["g++"],
};

/// What RocksDB needs besides.
const ROCKSDB: &[Need] = &[
    C_PLUS_PLUS,
    Need {
        what: "libclang with its headers",
        wanted_by: "bindgen, which reads RocksDB's C interface",
        is_there: || env::var_os("LIBCLANG_PATH").is_some() || (has_libclang() && has_clang_headers()),
        apt_packages: &["libclang-dev"],
    },
];

/// What the tests use if it is there. Where it cannot be installed without a question, they say that they skip.
const WISHES: &[Need] = &[Need {
    what: "Chromium with its driver",
    wanted_by: "the tests that click through the simulator's reports and through a page with RxDB",
    is_there: || runs("chromedriver", "--version"),
    apt_packages: &["chromium", "chromium-driver", "fonts-dejavu-core"],
}];

/// How much of the workspace is to be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// What a C compiler is enough for.
    Basic,
    /// What is fuzzed, with a fuzzer.
    Fuzzer,
    /// All of it, RocksDB too.
    Everything,
}

/// Makes sure that everything needed is there: installs it as root on a system with apt, otherwise says what to run.
pub(crate) fn provide(scope: Scope) -> anyhow::Result<()> {
    let besides: &[Need] = match scope {
        Scope::Basic => &[],
        Scope::Fuzzer => &[C_PLUS_PLUS],
        Scope::Everything => ROCKSDB,
    };
    let missing: Vec<&Need> = BASIC.iter().chain(besides).filter(|need| !(need.is_there)()).collect();
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

/// Installs what the tests use if it is there, as root on a system with apt; otherwise says which tests will be skipped.
///
/// Returns whether all of it is there. In CI, an installation that keeps failing is an error: nobody reads what was skipped.
pub(crate) fn provide_wishes() -> anyhow::Result<bool> {
    let missing: Vec<&Need> = WISHES.iter().filter(|wish| !(wish.is_there)()).collect();
    for wish in &missing {
        let packages = wish.apt_packages.join(" ");
        eprintln!("{} is missing; it is wanted by {}.", wish.what, wish.wanted_by);
        if !(has_apt() && is_root()) {
            eprintln!("They are skipped. On Debian and Ubuntu the packages are: {packages}");
            continue;
        }
        eprintln!("Installing it with apt, as root: {packages}");
        let install = format!("apt-get install --yes --no-install-recommends {packages}");
        if let Err(error) = persistently(|| apt("apt-get update").and_then(|()| apt(&install))) {
            skip_unless_ci(error.context(format!("{} could not be installed", wish.what)))?;
        }
    }
    Ok(WISHES.iter().all(|wish| (wish.is_there)()))
}

/// Where RxDB is installed, with what else the tests there need.
const RXDB_DIRECTORIES: &[&str] = &["interop/rxdb/rooms/node", "examples/browser-todo"];

/// Installs RxDB, which some tests have as a peer, in the versions of its lock files. Returns whether it is there.
///
/// In CI, an installation that keeps failing is an error: nobody reads what was skipped.
pub(crate) fn provide_rxdb() -> anyhow::Result<bool> {
    if !runs("npm", "--version") {
        eprintln!(
            "npm is missing; it is wanted by the tests with RxDB, which are skipped. On Debian and Ubuntu: nodejs npm"
        );
        return Ok(false);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all_there = true;
    for directory in RXDB_DIRECTORIES.iter().map(|name| root.join(name)) {
        if let Err(error) = persistently(|| provide_packages(&directory)) {
            all_there = false;
            skip_unless_ci(error.context("RxDB could not be installed"))?;
        }
    }
    Ok(all_there)
}

/// Installs the npm packages of a directory as its lock file says.
fn provide_packages(directory: &Path) -> anyhow::Result<()> {
    // What was installed is noted with the lock file that it was installed by.
    let note = directory.join("node_modules/.installed-by");
    let wanted = std::fs::read(directory.join("package-lock.json"))?;
    if std::fs::read(&note).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let line = format!("npm ci --prefix {}", directory.display());
    eprintln!("$ {line}");
    let mut command = Command::new("npm");
    let status = command.args(["ci", "--no-audit", "--no-fund"]).current_dir(directory).status()?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(std::fs::write(note, wanted)?)
}

/// Tries once, and in CI again after each pause.
fn persistently(attempt: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut outcome = attempt();
    for pause in PAUSES.iter().take_while(|_| is_ci()) {
        let Err(error) = &outcome else { break };
        eprintln!("{error:#}; once more in {} s.", pause.as_secs());
        std::thread::sleep(*pause);
        outcome = attempt();
    }
    outcome
}

/// Says that the tests which wanted something are skipped; in CI that is an error instead.
fn skip_unless_ci(error: anyhow::Error) -> anyhow::Result<()> {
    if is_ci() {
        return Err(error.context("tests would be skipped, which CI does not allow"));
    }
    eprintln!("{error:#}. The tests that want it are skipped.");
    Ok(())
}

/// Whether this runs where nobody watches. Every service for that sets `CI`.
fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Installs cargo-fuzz if it is not there, where cargo puts programs.
pub(crate) fn provide_cargo_fuzz() -> anyhow::Result<()> {
    let is_there = || answers("cargo", &["fuzz", "--version"]);
    if is_there() {
        return Ok(());
    }
    let line = "cargo install cargo-fuzz --locked";
    eprintln!("cargo-fuzz is missing.\n$ {line}");
    let status = Command::new("cargo").args(line.split(' ').skip(1)).stdin(Stdio::null()).status()?;
    if !(status.success() && is_there()) {
        bail!(
            "what was found before is read well; to fuzz on, run `{line}` and see that cargo finds it in the PATH"
        );
    }
    Ok(())
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

/// Where Linux distributions and Homebrew put libclang.
fn has_libclang() -> bool {
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/opt/llvm/lib"];
    let multiarch = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let of_versions = entries(Path::new("/usr/lib")).into_iter().map(|path| path.join("lib"));
    let directories = roots.into_iter().chain(multiarch).map(PathBuf::from).chain(of_versions);
    directories.flat_map(|directory| entries(&directory)).any(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("libclang.") || name.starts_with("libclang-")
    })
}

/// The compiler's own headers, such as `stdbool.h`, lie in a directory of the version.
fn has_clang_headers() -> bool {
    let of_versions = entries(Path::new("/usr/lib")).into_iter().map(|path| path.join("lib/clang"));
    let directories = ["/usr/lib/clang", "/usr/lib64/clang", "/opt/homebrew/opt/llvm/lib/clang"];
    let directories = directories.into_iter().map(PathBuf::from).chain(of_versions);
    directories.flat_map(|directory| entries(&directory)).any(|path| path.join("include/stdbool.h").exists())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn has_apt() -> bool {
    Path::new("/usr/bin/apt-get").exists()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether there is such a program, and it can answer a question as simple as this.
fn runs(program: &str, argument: &str) -> bool {
    answers(program, &[argument])
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
