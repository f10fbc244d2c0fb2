//! Open, create, read, write, fsync, locks.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::host::share::wire::open;

fn mode(path: PathBuf) -> u32 {
    std::fs::symlink_metadata(path)
        .unwrap()
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn a_file_is_made_written_and_read() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    let made = client.create(1, "f", open::RDWR, 0o100_644).unwrap();
    assert_eq!(made.kind, Qid::FILE);
    assert_eq!(client.write(1, 0, b"hello").unwrap(), 5);
    assert_eq!(client.write(1, 8, b"there").unwrap(), 5);
    assert_eq!(client.read(1, 1, 100).unwrap(), b"ello\0\0\0there");
    assert_eq!(client.read(1, 1, 3).unwrap(), b"ell");
    assert_eq!(client.read(1, 13, 3).unwrap(), b"");
    assert_eq!(
        std::fs::read(client.host("f")).unwrap(),
        b"hello\0\0\0there"
    );
    // What the host writes, the guest reads.
    std::fs::write(client.host("f"), "host").unwrap();
    assert_eq!(client.read(1, 0, 100).unwrap(), b"host");
    // The fid is the file now, which has no entries.
    assert_eq!(client.create(1, "g", open::RDWR, 0o644), Err(Errno::BUSY));
    client.reach(2, "f").unwrap();
    assert_eq!(client.create(2, "g", open::RDWR, 0o644), Err(Errno::NOTDIR));
}

#[test]
fn permissions_are_those_that_the_guest_asks_for() {
    let mut client = Client::new();
    for bits in [0o644, 0o666, 0o777, 0o600, 0o444, 0o000, 0o1777] {
        let name = format!("{bits:o}");
        client.walk(ROOT, 1, &[]).unwrap();
        client
            .create(1, &name, open::RDWR, 0o100_000 | bits)
            .unwrap();
        assert_eq!(mode(client.host(&name)), bits);
        // Also where they would forbid what is open already.
        client.write(1, 0, b"x").unwrap();
        client.clunk(1).unwrap();
        let name = format!("d{bits:o}");
        client.mkdir(ROOT, &name, bits).unwrap();
        assert_eq!(mode(client.host(&name)), bits);
    }
}

#[test]
fn creating_what_exists_opens_it_unless_it_must_be_new() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "old").unwrap();
    client.walk(ROOT, 1, &[]).unwrap();
    let exclusive = client.create(1, "f", open::RDWR | open::EXCL, 0o600);
    assert_eq!(exclusive, Err(Errno::EXIST));
    client.create(1, "f", open::RDWR, 0o600).unwrap();
    assert_eq!(client.read(1, 0, 9).unwrap(), b"old");
    assert_eq!(mode(client.host("f")), mode(client.host("f")) & 0o644);
    client.walk(ROOT, 2, &[]).unwrap();
    client
        .create(2, "f", open::RDWR | open::TRUNC, 0o600)
        .unwrap();
    assert_eq!(client.read(2, 0, 9).unwrap(), b"");
    // Only a regular file can be what is created.
    std::fs::create_dir(client.host("d")).unwrap();
    client.symlink(ROOT, "l", "f").unwrap();
    client.mknod(ROOT, "p", 0o010_644).unwrap();
    client.walk(ROOT, 3, &[]).unwrap();
    for name in ["d", "l", "p"] {
        let created = client.create(3, name, open::RDWR, 0o600);
        assert_eq!(created, Err(Errno::EXIST), "{name}");
    }
}

#[test]
fn an_open_file_is_open_for_what_was_asked() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "text").unwrap();
    for (fid, flags, reads, writes) in [
        (1, open::RDONLY, true, false),
        (2, open::WRONLY, false, true),
        (3, open::RDWR, true, true),
    ] {
        client.reach(fid, "f").unwrap();
        client.open(fid, flags).unwrap();
        assert_eq!(client.open(fid, flags), Err(Errno::BUSY));
        assert_eq!(client.read(fid, 0, 4).is_ok(), reads);
        assert_eq!(client.write(fid, 0, b"t").is_ok(), writes);
    }
    client.reach(4, "f").unwrap();
    assert_eq!(client.open(4, 3), Err(Errno::INVAL));
    assert_eq!(client.open(4, open::DIRECTORY), Err(Errno::NOTDIR));
    assert_eq!(client.read(4, 0, 1), Err(Errno::BADF));
    assert_eq!(client.write(4, 0, b"x"), Err(Errno::BADF));
    // Linux sends O_LARGEFILE, O_NOFOLLOW and others, which say nothing here.
    client.open(4, 0o2_500_000 | open::RDONLY).unwrap();
}

#[test]
fn appending_and_truncating() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "12345").unwrap();
    client.reach(1, "f").unwrap();
    client.open(1, open::WRONLY | open::APPEND).unwrap();
    client.write(1, 0, b"6").unwrap();
    assert_eq!(std::fs::read(client.host("f")).unwrap(), b"123456");
    client.reach(2, "f").unwrap();
    client.open(2, open::WRONLY | open::TRUNC).unwrap();
    assert_eq!(std::fs::read(client.host("f")).unwrap(), b"");
}

#[test]
fn only_files_and_directories_are_opened() {
    let mut client = Client::new();
    client.mknod(ROOT, "pipe", 0o010_644).unwrap();
    client.mknod(ROOT, "socket", 0o140_644).unwrap();
    client.symlink(ROOT, "link", "/etc/passwd").unwrap();
    for (fid, name, error) in [
        // Opening a pipe would wait for its other end for ever.
        (1, "pipe", Errno::NXIO),
        (2, "socket", Errno::NXIO),
        (3, "link", Errno::LOOP),
    ] {
        client.reach(fid, name).unwrap();
        assert_eq!(client.open(fid, open::RDONLY), Err(error), "{name}");
        assert_eq!(client.open(fid, open::WRONLY), Err(error), "{name}");
    }
    client.walk(ROOT, 4, &[]).unwrap();
    assert_eq!(client.open(4, open::RDWR), Err(Errno::ISDIR));
    assert_eq!(
        client.open(4, open::RDONLY | open::TRUNC),
        Err(Errno::ISDIR)
    );
    client.open(4, open::RDONLY).unwrap();
    assert_eq!(client.read(4, 0, 1), Err(Errno::ISDIR));
    assert_eq!(client.write(4, 0, b"x"), Err(Errno::ISDIR));
}

#[test]
fn a_reply_is_never_longer_than_msize() {
    let mut client = Client::new();
    client.start(4096);
    std::fs::write(client.host("f"), vec![b'x'; 10000]).unwrap();
    client.reach(1, "f").unwrap();
    client.open(1, open::RDONLY).unwrap();
    for count in [4096, 10000, u32::MAX] {
        assert_eq!(client.read(1, 0, count).unwrap().len(), 4096 - 11);
    }
    // Nor is a request.
    client.reach(2, "f").unwrap();
    client.open(2, open::RDWR).unwrap();
    assert_eq!(client.write(2, 0, &[0; 4096 - 23]).unwrap(), 4096 - 23);
    assert_eq!(client.write(2, 0, &[0; 4097 - 23]), Err(Errno::MSGSIZE));
    // A link's text that does not fit.
    client.symlink(ROOT, "l", &"t".repeat(4000)).unwrap();
    client.reach(3, "l").unwrap();
    assert_eq!(client.readlink(3).unwrap().len(), 4000);
    std::os::unix::fs::symlink("t".repeat(4090), client.host("m")).unwrap();
    client.reach(4, "m").unwrap();
    assert_eq!(client.readlink(4), Err(Errno::MSGSIZE));
}

#[test]
fn offsets_beyond_all_files_are_refused() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "f", open::RDWR, 0o600).unwrap();
    for offset in [u64::MAX, 1 << 63] {
        assert_eq!(client.read(1, offset, 1), Err(Errno::INVAL));
        assert_eq!(client.write(1, offset, b"x"), Err(Errno::INVAL));
    }
    // What lies behind the longest file of the host's file system.
    assert!(client.write(1, i64::MAX as u64, b"x").is_err());
    assert_eq!(client.attributes(1).unwrap().size, 0);
}

#[test]
fn a_write_says_how_long_it_is() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "f", open::RDWR, 0o600).unwrap();
    let write = |count| Message::new(kind::WRITE).u32(1).u64(0).u32(count);
    assert_eq!(client.ask(write(6).bytes(b"short")), Err(Errno::PROTO));
    assert_eq!(
        client.ask(write(u32::MAX).bytes(b"short")),
        Err(Errno::PROTO)
    );
    // Bytes behind its data are not written.
    client.ask(write(2).bytes(b"short")).unwrap();
    assert_eq!(client.read(1, 0, 9).unwrap(), b"sh");
}

#[test]
fn a_file_that_was_removed_is_there_while_it_is_open() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "f", open::RDWR, 0o600).unwrap();
    client.reach(2, "f").unwrap();
    client.unlinkat(ROOT, "f", 0).unwrap();
    client.write(1, 0, b"still").unwrap();
    assert_eq!(client.read(1, 0, 9).unwrap(), b"still");
    for fid in [1, 2] {
        let attributes = client.attributes(fid).unwrap();
        assert_eq!((attributes.size, attributes.nlink), (5, 0));
    }
    let size = SetFields {
        size: 2,
        ..SetFields::default()
    };
    client.setattr(2, 8, size).unwrap();
    assert_eq!(client.read(1, 0, 9).unwrap(), b"st");
}

#[test]
fn fsync_needs_an_open_file() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "f", open::RDWR, 0o600).unwrap();
    let fsync = |fid, datasync| Message::new(kind::FSYNC).u32(fid).u32(datasync);
    client.ask(fsync(1, 0)).unwrap();
    client.ask(fsync(1, 1)).unwrap();
    // As it was before it had the second field.
    client.ask(Message::new(kind::FSYNC).u32(1)).unwrap();
    assert_eq!(client.ask(fsync(ROOT, 0)), Err(Errno::BADF));
    client.open(ROOT, 0).unwrap();
    client.ask(fsync(ROOT, 0)).unwrap();
}

#[test]
fn locks_are_the_guests_own() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "f", open::RDWR, 0o600).unwrap();
    let lock = |fid, flags| {
        let lock = Message::new(kind::LOCK).u32(fid).u8(1).u32(flags);
        lock.u64(0).u64(10).u32(42).str("guest")
    };
    assert_eq!(client.ask(lock(1, 1)), Ok(&[0][..]));
    assert_eq!(client.ask(lock(1, 4)), Err(Errno::INVAL));
    assert_eq!(client.ask(lock(ROOT, 0)), Err(Errno::BADF));
    let getlock = |fid| {
        let getlock = Message::new(kind::GETLOCK).u32(fid).u8(1);
        getlock.u64(3).u64(10).u32(42).str("guest")
    };
    let mut reply = Fields(client.ask(getlock(1)).unwrap());
    assert_eq!(
        (reply.u8(), reply.u64(), reply.u64(), reply.u32()),
        (2, 3, 10, 42)
    );
    assert_eq!(reply.str(), b"guest");
    assert_eq!(client.ask(getlock(ROOT)), Err(Errno::BADF));
}

#[test]
fn a_name_is_the_file_that_the_host_put_there() {
    let mut client = Client::new();
    let host = |name: &str| client.host(name);
    let (f, g, d, e) = (host("f"), host("g"), host("d"), host("e"));
    std::fs::write(&f, "old").unwrap();
    std::fs::create_dir(&d).unwrap();
    for (fid, name) in (1..).zip(["f", "f", "f", "d"]) {
        client.reach(fid, name).unwrap();
    }
    client.open(1, open::RDONLY).unwrap();
    // A log that is rotated, a file that an editor replaces, a folder that a build makes again.
    std::fs::rename(&f, &g).unwrap();
    std::fs::write(&f, "newer").unwrap();
    std::fs::rename(&d, &e).unwrap();
    std::fs::create_dir(&d).unwrap();
    std::fs::write(d.join("made"), "").unwrap();

    // What the guest has open is what it opened.
    assert_eq!(client.read(1, 0, 9).unwrap(), b"old");
    assert_eq!(client.attributes(1).unwrap().size, 3);
    // Names that it knows lead to what is there now.
    assert_eq!(client.attributes(2).unwrap().size, 5);
    client.walk(2, 5, &[]).unwrap();
    client.open(5, open::RDONLY).unwrap();
    assert_eq!(client.read(5, 0, 9).unwrap(), b"newer");
    client.walk(4, 6, &["made"]).unwrap();
    // Without another file of the name, they are the file that they were.
    std::fs::remove_file(&f).unwrap();
    client.open(3, open::RDONLY).unwrap();
    assert_eq!(client.read(3, 0, 9).unwrap(), b"old");
    // Nor is a file taken for a folder.
    std::fs::remove_file(d.join("made")).unwrap();
    std::fs::remove_dir(&d).unwrap();
    std::fs::write(&d, "a file").unwrap();
    assert_eq!(client.attributes(4).unwrap().mode & 0o170_000, 0o040_000);
}

#[test]
fn a_file_whose_name_the_guest_took_stays_the_guests() {
    let mut client = Client::new();
    for name in ["removed", "replaced", "other"] {
        std::fs::write(client.host(name), name).unwrap();
    }
    client.reach(1, "removed").unwrap();
    client.reach(2, "replaced").unwrap();
    client.unlinkat(ROOT, "removed", 0).unwrap();
    client.renameat(ROOT, "other", ROOT, "replaced").unwrap();
    std::fs::write(client.host("removed"), "made by the host").unwrap();
    for (fid, size) in [(1, 7), (2, 8)] {
        let attributes = client.attributes(fid).unwrap();
        assert_eq!((attributes.size, attributes.nlink), (size, 0));
    }
}
