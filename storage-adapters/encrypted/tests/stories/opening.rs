//! Creating, opening, and changing what opens.

use bytes::Bytes;
use peerloom::{Node, OpenError};
use peerloom_core::{Batch, Storage, StorageError, StoreName};
use peerloom_encrypted::{Encrypted, EncryptionError, PasswordCost, Secret, SecretKind};
use peerloom_memory::Memory;

use crate::disk::{CHEAP, commit, entry, feed, metadata, name, open, opened, puts, record, secret};

async fn with_password(disk: &Memory, password: &str) -> Encrypted<Memory> {
    let builder = Encrypted::builder(disk.clone()).password_cost(CHEAP);
    builder.open_or_create(&Secret::password(password)).await.expect("the storage opens")
}

async fn refusal(disk: &Memory, secret: &Secret) -> EncryptionError {
    match Encrypted::open(disk.clone(), secret).await {
        Ok(_) => panic!("the storage opens"),
        Err(error) => error,
    }
}

async fn header(disk: &Memory) -> Bytes {
    let store = disk.open(&StoreName::keys()).await.expect("nobody has it open");
    metadata(&*store).await.remove(0).1
}

async fn put_header(disk: &Memory, header: impl Into<Bytes>) {
    let store = disk.open(&StoreName::keys()).await.expect("nobody has it open");
    commit(&*store, entry("header", header)).await;
}

#[tokio::test]
async fn a_storage_opens_with_its_password_and_with_nothing_else() {
    let disk = Memory::new();
    let storage = with_password(&disk, "right").await;
    commit(&*open(&storage, "notes").await, puts([record("a", 1, "body")])).await;
    drop(storage);

    for wrong in ["", "Right", "right ", "right\0"] {
        assert!(matches!(refusal(&disk, &Secret::password(wrong)).await, EncryptionError::WrongSecret));
    }
    let other = refusal(&disk, &secret()).await;
    assert!(matches!(other, EncryptionError::OtherSecret { expected: SecretKind::Password }), "{other}");
    let storage = with_password(&disk, "right").await;
    assert_eq!(feed(&*open(&storage, "notes").await).await, [record("a", 1, "body")]);
}

#[tokio::test]
async fn a_node_that_is_opened_without_the_encryption_is_told_so() {
    let disk = Memory::new();
    let node = Node::open(with_password(&disk, "right").await).await.expect("it opens");
    node.close().await.expect("it closes");
    let opened = Node::open(disk.clone()).await.map(|_| ());
    assert!(matches!(opened, Err(OpenError::Storage(StorageError::OtherKeys { .. }))), "{opened:?}");
    Node::open(with_password(&disk, "right").await).await.expect("nothing was changed");
}

#[tokio::test]
async fn a_password_costs_what_the_rfc_recommends_unless_told_otherwise() {
    let disk = Memory::new();
    Encrypted::create(disk.clone(), &Secret::password("right")).await.expect("created");
    let cost = [64_u32 << 10, 3, 4].map(u32::to_be_bytes).concat();
    assert_eq!(header(&disk).await[23..35], cost);
    let small = PasswordCost { memory_kib: (64 << 10) - 1, ..PasswordCost::MAX };
    let too_much = Encrypted::builder(disk.clone()).password_cost_max(small);
    let too_much = too_much.open(&Secret::password("right")).await.expect_err("too much");
    assert!(matches!(too_much, EncryptionError::Cost { allowed, .. } if allowed == small), "{too_much}");
    Encrypted::open(disk, &Secret::password("right")).await.expect("it opens");
}

#[tokio::test]
async fn a_key_of_a_keychain_opens_what_it_created() {
    let disk = Memory::new();
    commit(&*open(&opened(&disk).await, "notes").await, puts([record("a", 1, "body")])).await;
    assert!(matches!(refusal(&disk, &Secret::key([8; 32])).await, EncryptionError::WrongSecret));
    let other = refusal(&disk, &Secret::password("right")).await;
    assert!(matches!(other, EncryptionError::OtherSecret { expected: SecretKind::Key }), "{other}");
    assert_eq!(feed(&*open(&opened(&disk).await, "notes").await).await.len(), 1);
}

#[tokio::test]
async fn what_is_there_already_is_told() {
    let empty = Memory::new();
    assert!(matches!(refusal(&empty, &secret()).await, EncryptionError::NotEncrypted));
    let nothing = Encrypted::create(empty.clone(), &Secret::password("")).await;
    assert!(matches!(nothing, Err(EncryptionError::EmptyPassword)));
    Encrypted::create(empty.clone(), &secret()).await.expect("it is empty");
    let again = Encrypted::create(empty, &secret()).await;
    assert!(matches!(again, Err(EncryptionError::AlreadyEncrypted)));

    let clear = Memory::new();
    let node = clear.open(&StoreName::node()).await.expect("the store opens");
    commit(&*node, entry("identity", "in the clear")).await;
    drop(node);
    assert!(matches!(refusal(&clear, &secret()).await, EncryptionError::NotEncrypted));
    let over = Encrypted::open_or_create(clear, &secret()).await;
    assert!(matches!(over, Err(EncryptionError::DataInTheClear)));
}

#[tokio::test]
async fn a_store_in_the_clear_is_refused_and_left_alone() {
    for written in [puts([record("a", 1, "in the clear")]), entry("a", "in the clear")] {
        let disk = Memory::new();
        let storage = opened(&disk).await;
        commit(&*open(&disk, "notes").await, written.clone()).await;
        let refused = storage.open(&name("notes")).await.err().expect("it is in the clear");
        assert!(matches!(refused, StorageError::Foreign { .. }), "{refused}");
        let clear = open(&disk, "notes").await;
        let found = (feed(&*clear).await.len(), metadata(&*clear).await.len());
        assert_eq!(found, (written.records.len(), written.metadata.len()));
    }
}

#[tokio::test]
async fn later_formats_are_told() {
    let disk = Memory::new();
    drop(open(&opened(&disk).await, "notes").await);
    let store = open(&disk, "notes").await;
    let (key, marker) = metadata(&*store).await.remove(0);
    let later = [&2_u32.to_be_bytes()[..], &marker[4..]].concat();
    commit(&*store, entry(key, later)).await;
    drop(store);
    let refused = opened(&disk).await.open(&name("notes")).await.err().expect("it is a later format");
    assert!(matches!(refused, StorageError::Newer { found: 2, supported: 1 }), "{refused}");

    let header = header(&disk).await;
    put_header(&disk, [&header[..18], &9_u32.to_be_bytes(), b"who knows"].concat()).await;
    let refused = refusal(&disk, &secret()).await;
    let newer = StorageError::Newer { found: 9, supported: 1 };
    assert_eq!(refused.to_string(), newer.to_string());
}

#[tokio::test]
async fn a_header_that_was_altered_anywhere_or_cut_short_does_not_open() {
    let disk = Memory::new();
    drop(open(&opened(&disk).await, "notes").await);
    let whole = header(&disk).await;
    for position in 0..whole.len() {
        let mut altered = whole.to_vec();
        altered[position] ^= 1 << (position % 8);
        put_header(&disk, altered).await;
        refusal(&disk, &secret()).await;
        put_header(&disk, whole.slice(..position)).await;
        refusal(&disk, &secret()).await;
    }
    put_header(&disk, [&whole[..], b"more"].concat()).await;
    let damaged = refusal(&disk, &secret()).await;
    assert!(matches!(damaged, EncryptionError::Storage(StorageError::Corrupt { .. })), "{damaged}");
    put_header(&disk, whole).await;
    opened(&disk).await;
}

#[tokio::test]
async fn a_header_cannot_ask_for_more_than_is_allowed() {
    let disk = Memory::new();
    with_password(&disk, "right").await;
    let whole = header(&disk).await;
    let most = PasswordCost::MAX;
    for (place, asked) in [
        (23, u32::MAX),
        (23, most.memory_kib + 1),
        (27, u32::MAX),
        (27, most.passes + 1),
        (31, u32::MAX),
        (31, most.lanes + 1),
    ] {
        let mut hostile = whole.to_vec();
        hostile[place..place + 4].copy_from_slice(&asked.to_be_bytes());
        put_header(&disk, hostile).await;
        let refused = refusal(&disk, &Secret::password("right")).await;
        assert!(matches!(refused, EncryptionError::Cost { .. }), "{asked} at {place}: {refused}");
    }
    for (place, asked) in [(23, 0), (23, 7), (27, 0), (31, 0), (31, 2)] {
        let mut impossible = whole.to_vec();
        impossible[place..place + 4].copy_from_slice(&u32::to_be_bytes(asked));
        put_header(&disk, impossible).await;
        let refused = refusal(&disk, &Secret::password("right")).await;
        let corrupt = matches!(refused, EncryptionError::Storage(StorageError::Corrupt { .. }));
        assert!(corrupt, "{asked} at {place}: {refused}");
    }
}

#[tokio::test]
async fn a_change_of_password_rewrites_no_data_and_closes_no_store() {
    let disk = Memory::new();
    let storage = with_password(&disk, "old").await;
    let store = open(&storage, "notes").await;
    commit(&*store, puts([record("a", 1, "body")])).await;
    let before = feed(&*open(&disk.fork(), "notes").await).await;

    storage.change_secret(&Secret::password("new")).await.expect("changed");
    assert_eq!(feed(&*open(&disk.fork(), "notes").await).await, before, "sealed as before");
    assert_eq!(feed(&*store).await, [record("a", 1, "body")]);
    commit(&*store, puts([record("b", 2, "later")])).await;
    drop(open(&storage, "more").await);
    drop((storage, store));

    assert!(matches!(refusal(&disk, &Secret::password("old")).await, EncryptionError::WrongSecret));
    let storage = with_password(&disk, "new").await;
    assert_eq!(feed(&*open(&storage, "notes").await).await.len(), 2);

    storage.change_secret(&secret()).await.expect("changed");
    assert!(matches!(refusal(&disk, &Secret::password("new")).await, EncryptionError::OtherSecret { .. }));
    drop(storage);
    assert_eq!(feed(&*open(&opened(&disk).await, "notes").await).await.len(), 2);
}

#[tokio::test]
async fn whoever_opened_before_a_change_of_password_does_not_undo_it() {
    let disk = Memory::new();
    let (left, right) = (opened(&disk).await, opened(&disk).await);
    let store = open(&left, "notes").await;
    right.change_secret(&Secret::key([9; 32])).await.expect("changed");

    for outdated in [left.change_secret(&Secret::key([1; 32])).await, left.rotate().await.map(|_| ())] {
        assert!(matches!(outdated, Err(EncryptionError::SecretChanged)), "{outdated:?}");
    }
    let fresh = left.open(&name("fresh")).await.err().expect("it cannot be put into the header");
    assert!(matches!(fresh, StorageError::OtherKeys { .. }), "{fresh}");
    commit(&*store, puts([record("a", 1, "still open")])).await;
    drop(store);
    let again = open(&left, "notes").await;
    assert_eq!(feed(&*again).await.len(), 1, "what is known is opened without the header");
    drop(again);
    let right = Encrypted::open(disk, &Secret::key([9; 32])).await.expect("the new secret stands");
    assert_eq!(feed(&*open(&right, "notes").await).await.len(), 1);
}

#[tokio::test]
async fn values_on_one_place_learn_of_each_others_stores_and_keys() {
    let disk = Memory::new();
    let (left, right) = (opened(&disk).await, opened(&disk).await);
    commit(&*open(&left, "left").await, puts([record("a", 1, "left")])).await;
    commit(&*open(&right, "right").await, puts([record("a", 1, "right")])).await;
    left.rotate().await.expect("nothing is open");
    assert_eq!(feed(&*open(&right, "left").await).await, [record("a", 1, "left")]);
    right.rotate().await.expect("nothing is open");
    right.delete(&name("left")).await.expect("it is closed");
    assert_eq!(feed(&*open(&left, "right").await).await, [record("a", 1, "right")]);
    commit(&*open(&left, "left").await, puts([record("b", 1, "anew")])).await;
    drop((left, right));
    assert_eq!(feed(&*open(&opened(&disk).await, "left").await).await, [record("b", 1, "anew")]);
}

#[tokio::test]
async fn a_store_comes_back_as_it_was_when_its_header_is_lost_and_restored() {
    let disk = Memory::new();
    commit(&*open(&opened(&disk).await, "notes").await, puts([record("a", 1, "body")])).await;
    let kept = header(&disk).await;
    disk.delete(&StoreName::keys()).await.expect("deleted");
    let other = Encrypted::create(disk.clone(), &secret()).await.expect("no node was there");
    let refused = other.open(&name("notes")).await.err().expect("it has other keys");
    assert!(matches!(refused, StorageError::Corrupt { .. }), "{refused}");
    put_header(&disk, kept).await;
    assert_eq!(feed(&*open(&opened(&disk).await, "notes").await).await, [record("a", 1, "body")]);
}

#[tokio::test]
async fn an_encrypted_storage_is_not_encrypted_once_more() {
    let twice = Encrypted::create(opened(&Memory::new()).await, &secret()).await;
    assert!(matches!(twice, Err(EncryptionError::Storage(StorageError::Foreign { .. }))));
    let keys = opened(&Memory::new()).await.delete(&StoreName::keys()).await;
    assert!(matches!(keys, Err(StorageError::Foreign { .. })));
}

#[tokio::test]
async fn keys_that_begin_as_the_markers_are_kept_apart_from_it() {
    let disk = Memory::new();
    let storage = opened(&disk).await;
    let store = open(&storage, "notes").await;
    let (marker, _) = metadata(&*open(&disk.fork(), "notes").await).await.remove(0);
    let longer = |rest: &[u8]| Bytes::from([&marker[..], rest].concat());
    let keys = [marker.clone(), longer(b"\0"), longer(b"\x01"), longer(b"z"), "a".into()];
    for key in &keys {
        commit(&*store, entry(key.clone(), key.clone())).await;
    }
    let expected: Vec<_> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    assert_eq!(metadata(&*store).await, expected);
    assert_eq!(store.metadata(b"", None, 2.try_into().expect("two")).await.expect("read"), expected[..2]);
    let after = store.metadata(b"\0", Some(&keys[1]), 9.try_into().expect("nine")).await.expect("read");
    assert_eq!(after, expected[2..4]);
    let removed = Batch { records: Vec::new(), metadata: vec![(marker, None)] };
    commit(&*store, removed).await;
    drop(store);
    assert_eq!(metadata(&*open(&storage, "notes").await).await, expected[1..]);
}
