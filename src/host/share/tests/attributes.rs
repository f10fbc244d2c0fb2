//! Getattr, setattr, statfs, owners, and what a qid says.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::host::share::wire::open;

const MODE: u32 = 0x1;
const UID: u32 = 0x2;
const GID: u32 = 0x4;
const SIZE: u32 = 0x8;
const ATIME: u32 = 0x10;
const MTIME: u32 = 0x20;
const CTIME: u32 = 0x40;
const ATIME_SET: u32 = 0x80;
const MTIME_SET: u32 = 0x100;

#[test]
fn attributes_are_the_hosts() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), vec![1; 5000]).unwrap();
    client.reach(1, "f").unwrap();
    let host = std::fs::metadata(client.host("f")).unwrap();
    let getattr = Message::new(kind::GETATTR).u32(1).u64(u64::MAX);
    let mut f = Fields(client.ask(getattr).unwrap());
    let valid = f.u64();
    assert_eq!(valid & 0x7FF, 0x7FF);
    let qid = f.qid();
    assert_eq!((qid.kind, qid.path), (Qid::FILE, host.ino()));
    assert_eq!(
        (f.u32(), f.u32(), f.u32()),
        (host.mode(), host.uid(), host.gid())
    );
    assert_eq!((f.u64(), f.u64(), f.u64()), (1, 0, 5000));
    assert_eq!((f.u64(), f.u64()), (host.blksize(), host.blocks()));
    let times = [
        (host.atime(), host.atime_nsec()),
        (host.mtime(), host.mtime_nsec()),
        (host.ctime(), host.ctime_nsec()),
    ];
    for (seconds, nanoseconds) in times {
        assert_eq!((f.u64(), f.u64()), (seconds as u64, nanoseconds as u64));
    }
}

#[test]
fn a_qid_stays_a_files_and_its_version_follows_its_contents() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "1").unwrap();
    std::fs::write(client.host("g"), "1").unwrap();
    std::fs::hard_link(client.host("f"), client.host("h")).unwrap();
    let mut qid = |name: &str| {
        client.walk(ROOT, 1, &[name]).and_then(|qids| {
            client.clunk(1)?;
            Ok(qids[0])
        })
    };
    let (f, g, h) = (qid("f").unwrap(), qid("g").unwrap(), qid("h").unwrap());
    assert_eq!(f, h);
    assert_ne!(f.path, g.path);
    std::fs::write(client.host("f"), "22").unwrap();
    client.renameat(ROOT, "f", ROOT, "i").unwrap();
    let i = client.walk(ROOT, 1, &["i"]).unwrap()[0];
    assert_eq!(i.path, f.path);
    assert_ne!(i.version, f.version);
}

#[test]
fn each_field_is_set_alone() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "12345").unwrap();
    client.reach(1, "f").unwrap();
    let fields = || SetFields {
        mode: 0o100_751,
        uid: NO_ID,
        gid: NO_ID,
        size: 3,
        atime: (1_000_000_000, 5),
        mtime: (2_000_000_000, 999_999_999),
    };
    let before = client.attributes(1).unwrap();
    client.setattr(1, MODE, fields()).unwrap();
    let now = client.attributes(1).unwrap();
    assert_eq!(
        (now.mode, now.size, now.mtime),
        (0o100_751, 5, before.mtime)
    );
    client.setattr(1, ATIME | ATIME_SET, fields()).unwrap();
    let now = client.attributes(1).unwrap();
    assert_eq!((now.atime, now.mtime), ((1_000_000_000, 5), before.mtime));
    client.setattr(1, SIZE, fields()).unwrap();
    assert_eq!(std::fs::read(client.host("f")).unwrap(), b"123");
    client.setattr(1, MTIME | MTIME_SET, fields()).unwrap();
    assert_eq!(client.attributes(1).unwrap().mtime, fields().mtime);
    // Without a time, the host's.
    client.setattr(1, MTIME | CTIME, fields()).unwrap();
    assert!(client.attributes(1).unwrap().mtime.0 > before.mtime.0 - 1);
    // All at once; the times are those that were asked for, whatever the length did to them.
    let all = MODE | UID | GID | SIZE | ATIME | ATIME_SET | MTIME | MTIME_SET;
    client
        .setattr(
            1,
            all,
            SetFields {
                size: 0,
                ..fields()
            },
        )
        .unwrap();
    let now = client.attributes(1).unwrap();
    assert_eq!(
        (now.size, now.atime, now.mtime),
        (0, fields().atime, fields().mtime)
    );
    client.setattr(1, 0, fields()).unwrap();
}

#[test]
fn times_that_are_none_are_refused_and_set_nothing() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "").unwrap();
    client.reach(1, "f").unwrap();
    let before = client.attributes(1).unwrap();
    // The last two are UTIME_NOW and UTIME_OMIT of the host's.
    for nanoseconds in [1_000_000_000, u64::MAX, (1 << 30) - 1, (1 << 30) - 2] {
        let fields = SetFields {
            mode: 0o600,
            mtime: (1, nanoseconds),
            ..SetFields::default()
        };
        let valid = MODE | MTIME | MTIME_SET;
        assert_eq!(client.setattr(1, valid, fields), Err(Errno::INVAL));
    }
    assert_eq!(client.attributes(1).unwrap(), before);
}

#[test]
fn only_files_have_a_length_and_links_no_permissions() {
    let mut client = Client::new();
    client.symlink(ROOT, "l", "nowhere").unwrap();
    client.mknod(ROOT, "p", 0o010_600).unwrap();
    client.reach(1, "l").unwrap();
    client.reach(2, "p").unwrap();
    let set = SetFields::default;
    assert_eq!(client.setattr(ROOT, SIZE, set()), Err(Errno::ISDIR));
    assert_eq!(client.setattr(2, SIZE, set()), Err(Errno::INVAL));
    assert_eq!(client.setattr(1, SIZE, set()), Err(Errno::INVAL));
    assert_eq!(client.setattr(1, MODE, set()), Err(Errno::OPNOTSUPP));
    client.setattr(2, MODE, set()).unwrap();
    // A link's own times.
    let mtime = SetFields {
        mtime: (5, 6),
        ..set()
    };
    client.setattr(1, MTIME | MTIME_SET, mtime).unwrap();
    assert_eq!(client.attributes(1).unwrap().mtime, (5, 6));
    std::fs::write(client.host("f"), "").unwrap();
    client.reach(3, "f").unwrap();
    let size = SetFields {
        size: u64::MAX,
        ..set()
    };
    assert_eq!(client.setattr(3, SIZE, size), Err(Errno::FBIG));
}

#[test]
fn a_file_without_write_permission_is_cut_where_it_is_open() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "f", open::RDWR, 0o400).unwrap();
    client.write(1, 0, b"12345").unwrap();
    let size = SetFields {
        size: 2,
        ..SetFields::default()
    };
    client.setattr(1, SIZE, size).unwrap();
    assert_eq!(std::fs::read(client.host("f")).unwrap(), b"12");
}

#[test]
fn what_is_created_is_the_guests_users_where_files_can_be_given_away() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut client = Client::with(Options {
        give_away: true,
        setid: true,
        ..options()
    });
    let attach = Message::new(kind::ATTACH).u32(1).u32(NO_FID);
    client.ask(attach.str("user").str("").u32(1234)).unwrap();
    let mkdir = Message::new(kind::MKDIR).u32(1).str("d").u32(0o755);
    client.ask(mkdir.u32(5678)).unwrap();
    client.symlink(1, "l", "x").unwrap();
    client.create(1, "f", open::RDWR, 0o4755).unwrap();
    let owner = |name: &str| {
        let host = std::fs::symlink_metadata(client.host(name)).unwrap();
        (host.uid(), host.gid(), host.mode() & 0o7777)
    };
    let own = rustix::process::getegid().as_raw();
    assert_eq!(owner("d"), (1234, 5678, 0o755));
    assert_eq!((owner("l").0, owner("l").1), (1234, own));
    assert_eq!(owner("f"), (1234, own, 0o4755));
    // And what exists can be given away.
    let fields = SetFields {
        uid: 1,
        gid: 2,
        ..SetFields::default()
    };
    client.setattr(1, UID | GID, fields).unwrap();
    let host = std::fs::metadata(client.host("f")).unwrap();
    assert_eq!((host.uid(), host.gid()), (1, 2));
}

#[test]
fn the_file_system_is_as_large_as_the_hosts() {
    let mut client = Client::new();
    let host = rustix::fs::statvfs(client.host("")).unwrap();
    let mut f = Fields(client.ask(Message::new(kind::STATFS).u32(ROOT)).unwrap());
    assert_eq!((f.u32(), f.u32()), (0x0102_1997, host.f_frsize as u32));
    assert_eq!(f.u64(), host.f_blocks);
    let _free_now = (f.u64(), f.u64());
    assert_eq!(f.u64(), host.f_files);
    let _free_now = (f.u64(), f.u64());
    assert_eq!((f.u32(), f.0.len()), (255, 0));
}
