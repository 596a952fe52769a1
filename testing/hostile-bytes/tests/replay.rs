//! What every reader is given on any compiler: what a fuzzer found once, what is valid with parts of it wrong, and noise.

use std::fs;
use std::path::{Path, PathBuf};

use peerloom_core::Invitation;
use peerloom_hostile_bytes::TARGETS;
use proptest::prelude::*;

fn fuzz() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz"))
}

/// The files of a directory, with their names without the extension.
fn files(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path)).collect();
    files.sort();
    files
}

#[test]
fn every_stored_input_is_read_without_a_panic() {
    for target in TARGETS {
        let stored = files(&fuzz().join("regressions").join(target.name));
        assert!(!stored.is_empty(), "{} has no input at all", target.name);
        for (_, path) in stored {
            println!("{}", path.display());
            (target.read)(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_fuzzer_knows_every_target_and_no_other() {
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    let programs: Vec<_> = files(&fuzz().join("fuzz_targets")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(programs, names);
    let regressions: Vec<_> = files(&fuzz().join("regressions")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(regressions, names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}

/// What is stored for any target.
fn stored() -> Vec<Vec<u8>> {
    let directories = files(&fuzz().join("regressions")).into_iter();
    let paths = directories.flat_map(|(_, directory)| files(&directory));
    paths.map(|(_, path)| fs::read(path).unwrap()).collect()
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let peer = "[a-z0-9]{11,13}";
    let signal = (peer, peer, "\\PC{0,8}", "[a-z]{4,8}").prop_map(|(sender, receiver, data, room)| {
        format!(
            r#"{{"type":"signal","room":"{room}","senderPeerId":"{sender}","receiverPeerId":"{receiver}","data":{data:?}}}"#
        )
    });
    let join = ("\\PC{5,100}", any::<u64>()).prop_map(|(room, version)| {
        format!(r#"{{"type":"join","room":{room:?},"peerloom":{{"version":{version}}}}}"#)
    });
    prop_oneof![signal, join].prop_map(String::into_bytes)
}

fn invitation() -> impl Strategy<Value = Vec<u8>> {
    ("[a-z]{1,40}", "wss?://[a-z.]{1,30}").prop_map(|(topic, url)| {
        Invitation::new(&topic).unwrap().signaling(&url).unwrap().to_string().into_bytes()
    })
}

/// Something valid or nearly, with some bytes of it changed, or noise.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let stored = prop::sample::select(stored());
    let noise = prop::collection::vec(any::<u8>(), 0..2000);
    let seed = prop_oneof![4 => stored, 1 => message(), 1 => invitation(), 1 => noise];
    (seed, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(
        |(mut bytes, changes)| {
            for (index, byte) in changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
                let place = index.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn made_inputs_are_read_without_a_panic(input in input()) {
        for target in TARGETS {
            (target.read)(&input);
        }
    }
}
