//! What each kind of crash leaves.

use std::collections::BTreeSet;

use super::*;

/// What the disk holds after power cuts under many keys.
fn after_cuts(disk: impl Fn() -> Disk) -> BTreeSet<Vec<(String, String)>> {
    (0..500)
        .map(|key| {
            let disk = disk();
            disk.cut_power(1, key);
            content(&disk)
        })
        .collect()
}

fn content(disk: &Disk) -> Vec<(String, String)> {
    let disk = disk.in_this_life();
    let names = disk.list().expect("power is back").into_iter();
    let read = |name: &str| disk.open(name).and_then(|file| file.read()).expect("it is listed");
    names.map(|name| (name.clone(), String::from_utf8(read(&name)).expect("as written"))).collect()
}

fn with_log(bytes: &[u8]) -> (Disk, DiskFile) {
    let disk = Disk::default();
    let log = disk.open_or_create("log").expect("power is on");
    log.append(bytes).and_then(|()| log.sync()).and_then(|()| disk.sync()).expect("power is on");
    (disk, log)
}

fn only(names: &[(&str, &str)]) -> Vec<(String, String)> {
    names.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

#[test]
fn a_power_cut_leaves_any_prefix_of_what_was_not_synced_and_all_that_was() {
    let found = after_cuts(|| {
        let (disk, log) = with_log(b"one ");
        log.append(b"two ").expect("power is on");
        log.append(b"six").expect("power is on");
        disk
    });
    let prefixes = (0..=7).map(|length| only(&[("log", &"one two six"[..4 + length])]));
    assert_eq!(found, prefixes.collect());
}

#[test]
fn a_power_cut_undoes_an_overwrite_and_a_truncation_or_not() {
    let found = after_cuts(|| {
        let (disk, log) = with_log(b"abc");
        log.truncate(1).expect("power is on");
        log.write_at(0, b"x").expect("power is on");
        disk
    });
    assert_eq!(found, ["abc", "a", "x"].map(|content| only(&[("log", content)])).into());
}

#[test]
fn a_power_cut_undoes_any_of_the_changes_of_names_each_whole() {
    let found = after_cuts(|| {
        let (disk, _) = with_log(b"old");
        let new = disk.open_or_create("new").expect("power is on");
        new.append(b"new").and_then(|()| new.sync()).expect("power is on");
        disk.rename("new", "log").expect("power is on");
        disk
    });
    let both = only(&[("log", "old"), ("new", "new")]);
    assert_eq!(found, [only(&[("log", "old")]), both, only(&[("log", "new")])].into());
}

#[test]
fn a_renamed_file_that_was_not_synced_may_be_empty_where_the_old_one_was() {
    let found = after_cuts(|| {
        let (disk, _) = with_log(b"old");
        disk.open_or_create("new").and_then(|new| new.append(b"new")).expect("power is on");
        disk.rename("new", "log").and_then(|()| disk.sync()).expect("power is on");
        disk
    });
    assert!(found.contains(&only(&[("log", "")])) && found.contains(&only(&[("log", "new")])));
    assert!(!found.contains(&only(&[("log", "old")])), "the rename was made durable: {found:?}");
}

#[test]
fn a_kill_loses_nothing_and_deafens_what_was_open() {
    let (disk, log) = with_log(b"one ");
    log.append(b"two").expect("power is on");
    log.try_lock().expect("nobody else has it");
    disk.end_life();
    assert_eq!(content(&disk), only(&[("log", "one two")]));
    let again = disk.in_this_life().open("log").expect("it is there");
    again.try_lock().expect("the dead hold no locks");
    assert!(log.append(b"three").is_err() && disk.remove("log").is_err() && log.len().is_err());
    drop(log);
    let another = disk.in_this_life().open("log").expect("it is there");
    assert_eq!(another.try_lock().expect_err("locked").kind(), ErrorKind::WouldBlock);
    disk.cut_power(1, "later");
    assert!(content(&disk)[0].1.starts_with("one "), "what was not synced is still not");
}

#[test]
fn power_that_goes_within_an_operation_leaves_that_one_to_chance_and_none_after_it() {
    let found = after_cuts(|| {
        let (disk, log) = with_log(b"");
        disk.cut_power_after(2);
        log.append(b"a").and_then(|()| log.sync()).expect("these come before");
        assert!(log.append(b"b").is_err() && disk.is_without_power());
        assert!(log.append(b"c").is_err() && log.sync().is_err() && log.read().is_err());
        disk
    });
    assert_eq!(found, ["a", "ab"].map(|content| only(&[("log", content)])).into());
}

#[test]
fn a_copy_shows_the_same_and_has_nothing_to_lose() {
    let (disk, log) = with_log(b"one ");
    log.append(b"two").expect("power is on");
    let copy = disk.copy();
    log.truncate(0).expect("power is on");
    copy.cut_power(1, "of the copy");
    assert_eq!(content(&copy), only(&[("log", "one two")]));
}

#[test]
fn reads_and_writes_meet_the_ends_of_files() {
    let (disk, log) = with_log(b"ab");
    log.write_at(4, b"ef").expect("power is on");
    let mut buffer = [9; 8];
    assert_eq!(log.read_at(1, &mut buffer).expect("power is on"), 5);
    assert_eq!(buffer[..5], *b"b\0\0ef");
    assert_eq!(log.read_at(u64::MAX, &mut buffer).expect("power is on"), 0);
    assert_eq!(log.write_at(u64::MAX, b"x").expect_err("too far").kind(), ErrorKind::FileTooLarge);
    assert_eq!(disk.open("no").expect_err("no such file").kind(), ErrorKind::NotFound);
    assert_eq!(disk.rename("no", "log").expect_err("no such file").kind(), ErrorKind::NotFound);
}
