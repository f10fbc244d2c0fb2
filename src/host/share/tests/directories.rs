//! Readdir, in pieces and from any place.

use std::collections::BTreeSet;

use super::*;

fn fill(client: &Client, count: usize) -> BTreeSet<String> {
    let names: BTreeSet<String> = (0..count)
        .map(|n| format!("{n}-{}", "x".repeat(n * 7 % 200)))
        .collect();
    for name in &names {
        std::fs::write(client.host(name), "").unwrap();
    }
    names
}

/// All of it, `count` bytes at a time.
fn all(client: &mut Client, fid: u32, count: u32) -> Vec<(String, u8, u64)> {
    let mut entries: Vec<(String, u8, u64)> = Vec::new();
    loop {
        let place = entries.last().map_or(0, |entry| entry.2);
        let piece = client.readdir(fid, place, count).unwrap();
        if piece.is_empty() {
            return entries;
        }
        entries.extend(piece);
    }
}

#[test]
fn a_large_directory_is_read_whole_whatever_the_pieces() {
    let mut client = Client::new();
    let names = fill(&client, 3000);
    client.walk(ROOT, 1, &[]).unwrap();
    client.open(1, 0).unwrap();
    let mut orders = Vec::new();
    for count in [300, 4000, 60000, u32::MAX] {
        let entries = all(&mut client, 1, count);
        let found = entries.iter().map(|entry| entry.0.clone());
        let found: BTreeSet<_> = found
            .filter(|name| !matches!(&**name, "." | ".."))
            .collect();
        assert!(found == names, "{count}: {}", found.len());
        assert_eq!(entries.len(), names.len() + 2);
        // Places are small numbers, for guests with 32 of them.
        assert_eq!(entries.last().unwrap().2, entries.len() as u64);
        orders.push(entries);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]));
    // Any place that was told is a place to read from, in any order.
    let whole = &orders[0];
    for place in [2999, 1, 1500, 65, 64, 63, 3002, 2, 1501] {
        let piece = client.readdir(1, place, 1000).unwrap();
        let expected = &whole[place as usize..];
        assert_eq!(piece, expected[..piece.len()], "{place}");
        assert_eq!(piece.is_empty(), expected.is_empty());
    }
    for place in [3003, u64::MAX] {
        assert_eq!(client.readdir(1, place, 1000), Err(Errno::INVAL));
    }
}

#[test]
fn a_huge_directory_is_read_from_any_place_with_the_memory_of_a_small_one() {
    let mut client = Client::new();
    let count = 9000;
    for n in 0..count {
        std::fs::write(client.host(n.to_string()), "").unwrap();
    }
    client.walk(ROOT, 1, &[]).unwrap();
    client.open(1, 0).unwrap();
    let entries = all(&mut client, 1, 60_000);
    assert_eq!(entries.len(), count + 2);
    let directory = client.server.fids.directory(1).unwrap();
    assert!(directory.marks() <= 64, "{}", directory.marks());
    for place in [9001, 1, 8999, 127, 128, 129, 4500, 9002, 0] {
        let piece = client.readdir(1, place, 3000).unwrap();
        let expected = &entries[place as usize..];
        assert_eq!(piece, expected[..piece.len()], "{place}");
        assert_eq!(piece.is_empty(), expected.is_empty());
    }
}

#[test]
fn entries_have_their_types() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "").unwrap();
    std::fs::create_dir(client.host("d")).unwrap();
    client.symlink(ROOT, "l", "f").unwrap();
    client.mknod(ROOT, "p", 0o010_644).unwrap();
    client.mknod(ROOT, "s", 0o140_644).unwrap();
    client.walk(ROOT, 1, &[]).unwrap();
    client.open(1, 0).unwrap();
    let mut entries = client.readdir(1, 0, 4000).unwrap();
    entries.sort();
    let kinds: Vec<(&str, u8)> = entries
        .iter()
        .map(|(name, kind, _)| (&**name, *kind))
        .collect();
    let expected = [
        (".", 4),
        ("..", 4),
        ("d", 4),
        ("f", 8),
        ("l", 10),
        ("p", 1),
        ("s", 12),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn reading_from_the_start_sees_what_is_new() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.open(1, 0).unwrap();
    assert_eq!(client.readdir(1, 0, 4000).unwrap().len(), 2);
    assert_eq!(client.readdir(1, 2, 4000).unwrap().len(), 0);
    fill(&client, 100);
    assert_eq!(all(&mut client, 1, 4000).len(), 102);
    // A guest that removes while it reads, as rm -r does, meets every name once.
    let mut place = 0;
    let mut removed = 0;
    loop {
        let piece = client.readdir(1, place, 1000).unwrap();
        let Some(last) = piece.last() else { break };
        place = last.2;
        for (name, ..) in piece.iter().filter(|entry| !entry.0.starts_with('.')) {
            client.unlinkat(ROOT, name, 0).unwrap();
            removed += 1;
        }
    }
    assert_eq!(removed, 100);
}

#[test]
fn room_for_no_entry_is_an_error() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    assert_eq!(client.readdir(1, 0, 1000), Err(Errno::BADF));
    client.open(1, 0).unwrap();
    for count in [0, 24] {
        assert_eq!(client.readdir(1, 0, count), Err(Errno::INVAL));
    }
    assert_eq!(client.readdir(1, 0, 25).unwrap().len(), 1);
    // And a file has none.
    std::fs::write(client.host("f"), "").unwrap();
    client.reach(2, "f").unwrap();
    client.open(2, 0).unwrap();
    assert_eq!(client.readdir(2, 0, 1000), Err(Errno::BADF));
}
