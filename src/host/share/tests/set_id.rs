//! Files that run as their owner or group: who may make them, and what takes that away.
//!
//! Each holds for a server of root and of another user; what only root can do is tried by root.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::*;
use crate::host::share::wire::open;

const MODE: u32 = 0x1;
const UID: u32 = 0x2;
const SIZE: u32 = 0x8;

fn with_setid(setid: bool) -> Client {
    Client::with(Options {
        setid,
        give_away: rustix::process::geteuid().is_root(),
        ..options()
    })
}

fn bits(client: &Client, name: &str) -> u32 {
    std::fs::metadata(client.host(name)).unwrap().mode() & 0o7777
}

/// A file of the host's with these bits.
fn host_file(client: &Client, name: &str, bits: u32) {
    std::fs::write(client.host(name), "program").unwrap();
    let permissions = std::fs::Permissions::from_mode(bits);
    std::fs::set_permissions(client.host(name), permissions).unwrap();
}

fn set(client: &mut Client, fid: u32, valid: u32, fields: SetFields) {
    client.setattr(fid, valid, fields).unwrap();
}

/// Attaches as the guest's user `uid`.
fn attach_as(client: &mut Client, fid: u32, uid: u32) {
    let attach = Message::new(kind::ATTACH).u32(fid).u32(NO_FID);
    client.ask(attach.str("user").str("").u32(uid)).unwrap();
}

#[test]
fn a_guest_makes_no_files_that_run_as_their_owner_unless_it_may() {
    for (setid, expected) in [(false, 0o755), (true, 0o6755)] {
        let mut client = with_setid(setid);
        client.walk(ROOT, 1, &[]).unwrap();
        client.create(1, "created", open::RDWR, 0o6755).unwrap();
        client.mknod(ROOT, "node", 0o106_755).unwrap();
        host_file(&client, "changed", 0o644);
        client.reach(2, "changed").unwrap();
        let mode = SetFields {
            mode: 0o106_755,
            ..SetFields::default()
        };
        set(&mut client, 2, MODE, mode);
        for name in ["created", "node", "changed"] {
            assert_eq!(bits(&client, name), expected, "{name}, setid {setid}");
        }
    }
}

#[test]
fn a_directorys_group_bit_and_the_sticky_bit_stay() {
    let mut client = with_setid(false);
    client.mkdir(ROOT, "d", 0o3775).unwrap();
    assert_eq!(bits(&client, "d"), 0o3775);
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "f", open::RDWR, 0o1644).unwrap();
    assert_eq!(bits(&client, "f"), 0o1644);
    if rustix::process::geteuid().is_root() {
        // Of a group that is not the server's.
        let mkdir = Message::new(kind::MKDIR).u32(ROOT).str("e").u32(0o2775);
        client.ask(mkdir.u32(5678)).unwrap();
        assert_eq!(bits(&client, "e"), 0o2775);
    }
}

/// Everything that changes a file of the host's takes its bits, also for a guest's root.
#[test]
fn what_is_written_cut_or_given_away_no_longer_runs_as_its_owner() {
    for (setid, uid) in [(false, 0), (false, 1000), (true, 1000)] {
        let mut client = with_setid(setid);
        attach_as(&mut client, 1, uid);
        for name in ["written", "opened", "created", "cut", "owned"] {
            host_file(&client, name, 0o6777);
        }
        let reach = |client: &mut Client, fid: u32, name: &str| {
            client.walk(1, fid, &[name]).unwrap();
        };
        reach(&mut client, 2, "written");
        client.open(2, open::WRONLY).unwrap();
        assert_eq!(bits(&client, "written"), 0o6777);
        client.write(2, 0, b"x").unwrap();
        reach(&mut client, 3, "opened");
        client.open(3, open::WRONLY | open::TRUNC).unwrap();
        client.walk(1, 4, &[]).unwrap();
        let flags = open::WRONLY | open::TRUNC;
        client.create(4, "created", flags, 0o755).unwrap();
        reach(&mut client, 5, "cut");
        set(&mut client, 5, SIZE, SetFields::default());
        reach(&mut client, 6, "owned");
        let own = SetFields {
            uid: rustix::process::geteuid().as_raw(),
            ..SetFields::default()
        };
        set(&mut client, 6, UID, own);
        for name in ["written", "opened", "created", "cut", "owned"] {
            assert_eq!(bits(&client, name), 0o777, "{name}, setid {setid}, {uid}");
        }
    }
}

/// As a local root's writes leave the bits; only a process that is root can do so for a guest.
#[test]
fn a_guests_root_that_may_set_the_bits_keeps_them_when_it_writes() {
    let mut client = with_setid(true);
    attach_as(&mut client, 1, 0);
    host_file(&client, "f", 0o6777);
    client.walk(1, 2, &["f"]).unwrap();
    client.open(2, open::WRONLY).unwrap();
    client.write(2, 0, b"x").unwrap();
    let root = rustix::process::geteuid().is_root();
    let expected = if root { 0o6777 } else { 0o777 };
    assert_eq!(bits(&client, "f"), expected);
    if root {
        chown(client.host("f"), Some(1), Some(1)).unwrap();
        host_file(&client, "f", 0o4777);
        set(&mut client, 2, SIZE, SetFields::default());
        assert_eq!(bits(&client, "f"), 0o4777);
    }
}
