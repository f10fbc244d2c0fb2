//! Directories, links, pipes, renaming, removing, and a folder that is only read.

use super::*;
use crate::host::share::wire::open;

const REMOVEDIR: u32 = 0x200;

#[test]
fn directories_are_made_and_removed() {
    let mut client = Client::new();
    let made = client.mkdir(ROOT, "d", 0o40_755).unwrap();
    assert_eq!(made.kind, Qid::DIRECTORY);
    assert_eq!(client.mkdir(ROOT, "d", 0o755), Err(Errno::EXIST));
    client.reach(1, "d").unwrap();
    client.mkdir(1, "e", 0o755).unwrap();
    assert!(client.host("d/e").is_dir());
    assert_eq!(client.unlinkat(ROOT, "d", REMOVEDIR), Err(Errno::NOTEMPTY));
    assert_eq!(client.unlinkat(ROOT, "d", 0), Err(Errno::ISDIR));
    client.unlinkat(1, "e", REMOVEDIR).unwrap();
    client.unlinkat(ROOT, "d", REMOVEDIR).unwrap();
    assert_eq!(client.unlinkat(ROOT, "d", REMOVEDIR), Err(Errno::NOENT));
    assert_eq!(client.unlinkat(ROOT, "d", 1), Err(Errno::INVAL));
    // Nothing is made in a directory that is gone.
    assert_eq!(client.mkdir(1, "f", 0o755), Err(Errno::NOENT));
}

#[test]
fn links_have_the_text_that_the_guest_gives_them() {
    let mut client = Client::new();
    let long = "x/".repeat(2000);
    for (fid, (name, target)) in (1..).zip([
        ("a", "f"),
        ("b", "/etc/passwd"),
        ("c", "../../.."),
        ("d", long.as_str()),
    ]) {
        let made = client.symlink(ROOT, name, target).unwrap();
        assert_eq!(made.kind, Qid::SYMLINK);
        client.reach(fid, name).unwrap();
        assert_eq!(client.readlink(fid).unwrap(), target.as_bytes());
        let attributes = client.attributes(fid).unwrap();
        assert_eq!(attributes.mode & 0o170_000, 0o120_000);
        assert_eq!(attributes.size, target.len() as u64);
    }
    assert_eq!(client.symlink(ROOT, "a", "g"), Err(Errno::EXIST));
    assert_eq!(client.symlink(ROOT, "e", ""), Err(Errno::NOENT));
    assert_eq!(client.symlink(ROOT, "e", "a\0b"), Err(Errno::INVAL));
    assert_eq!(client.readlink(ROOT), Err(Errno::INVAL));
}

#[test]
fn a_file_gets_another_name() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "1").unwrap();
    client.symlink(ROOT, "l", "nowhere").unwrap();
    client.mkdir(ROOT, "d", 0o755).unwrap();
    client.reach(1, "f").unwrap();
    client.reach(2, "d").unwrap();
    client.link(2, 1, "g").unwrap();
    assert_eq!(std::fs::read(client.host("d/g")).unwrap(), b"1");
    assert_eq!(client.attributes(1).unwrap().nlink, 2);
    assert_eq!(client.link(2, 1, "g"), Err(Errno::EXIST));
    // Also one that is open, and a link, which is not followed.
    client.open(1, open::RDWR).unwrap();
    client.link(2, 1, "h").unwrap();
    client.reach(3, "l").unwrap();
    client.link(2, 3, "m").unwrap();
    let text = std::fs::read_link(client.host("d/m")).unwrap();
    assert_eq!(text, Path::new("nowhere"));
    // Directories have one name, and a file without any stays without.
    assert_eq!(client.link(ROOT, 2, "e"), Err(Errno::PERM));
    client.unlinkat(2, "m", 0).unwrap();
    client.unlinkat(ROOT, "l", 0).unwrap();
    assert_eq!(client.link(2, 3, "n"), Err(Errno::NOENT));
}

#[test]
fn pipes_and_sockets_are_made_and_devices_are_not() {
    use std::os::unix::fs::FileTypeExt;
    let mut client = Client::new();
    client.mknod(ROOT, "pipe", 0o010_640).unwrap();
    client.mknod(ROOT, "socket", 0o140_640).unwrap();
    client.mknod(ROOT, "file", 0o100_640).unwrap();
    client.mknod(ROOT, "plain", 0o640).unwrap();
    let kind = |name: &str| std::fs::metadata(client.host(name)).unwrap().file_type();
    assert!(kind("pipe").is_fifo() && kind("socket").is_socket());
    assert!(kind("file").is_file() && kind("plain").is_file());
    for mode in [0o020_640, 0o060_640] {
        assert_eq!(client.mknod(ROOT, "device", mode), Err(Errno::PERM));
    }
    for mode in [0o040_640, 0o120_640, 0o170_640] {
        assert_eq!(client.mknod(ROOT, "other", mode), Err(Errno::INVAL));
    }
}

#[test]
fn renaming_takes_along_what_is_below() {
    let mut client = Client::new();
    std::fs::create_dir_all(client.host("a/b")).unwrap();
    std::fs::create_dir_all(client.host("ab")).unwrap();
    std::fs::write(client.host("a/b/f"), "1").unwrap();
    client.reach(1, "a").unwrap();
    client.reach(2, "a/b").unwrap();
    client.reach(3, "a/b/f").unwrap();
    client.reach(4, "ab").unwrap();
    client.renameat(ROOT, "a", 4, "c").unwrap();
    assert!(client.host("ab/c/b/f").exists());
    // By the fid: the older message.
    client.rename(3, ROOT, "g").unwrap();
    assert!(client.host("g").exists());
    client.rename(2, ROOT, "b").unwrap();
    client.mkdir(2, "new", 0o755).unwrap();
    assert!(client.host("b/new").is_dir());
    // Back to the parent, as it is now.
    client.walk(2, 5, &["..", "ab", "c"]).unwrap();
    assert_eq!(client.renameat(4, "c", 5, "d"), Err(Errno::INVAL));
    client.remove(1).unwrap();
    assert!(!client.host("ab/c").exists());
    // The folder itself stays where it is.
    client.walk(ROOT, 1, &[]).unwrap();
    assert_eq!(client.rename(1, 4, "root"), Err(Errno::BUSY));
}

#[test]
fn a_name_that_is_taken_is_replaced_if_it_can_be() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "new").unwrap();
    std::fs::write(client.host("g"), "old").unwrap();
    client.mkdir(ROOT, "d", 0o755).unwrap();
    client.reach(1, "g").unwrap();
    client.renameat(ROOT, "f", ROOT, "g").unwrap();
    assert_eq!(std::fs::read(client.host("g")).unwrap(), b"new");
    // The fid is the file that lost its name, so removing it by that name would remove another.
    assert_eq!(client.attributes(1).unwrap().nlink, 0);
    assert_eq!(client.rename(1, ROOT, "h"), Err(Errno::STALE));
    assert_eq!(client.remove(1), Err(Errno::STALE));
    assert!(client.host("g").exists());
    assert_eq!(client.renameat(ROOT, "g", ROOT, "d"), Err(Errno::ISDIR));
    assert_eq!(client.renameat(ROOT, "d", ROOT, "g"), Err(Errno::NOTDIR));
    assert_eq!(client.renameat(ROOT, "x", ROOT, "y"), Err(Errno::NOENT));
}

#[test]
fn removing_forgets_the_fid_in_any_case() {
    let mut client = Client::new();
    std::fs::write(client.host("f"), "").unwrap();
    client.mkdir(ROOT, "d", 0o755).unwrap();
    client.mkdir(ROOT, "full", 0o755).unwrap();
    std::fs::write(client.host("full/f"), "").unwrap();
    for (fid, name, result) in [
        (1, "f", Ok(())),
        (2, "d", Ok(())),
        (3, "full", Err(Errno::NOTEMPTY)),
        (4, "", Err(Errno::BUSY)),
    ] {
        client.reach(fid, name).unwrap();
        assert_eq!(client.remove(fid), result, "{name}");
        assert_eq!(client.clunk(fid), Err(Errno::BADF));
        assert_eq!(client.host(name).exists(), result.is_err());
    }
    // One that is gone, and one whose name another file has.
    for name in ["g", "h"] {
        std::fs::write(client.host(name), "").unwrap();
    }
    client.reach(5, "g").unwrap();
    client.reach(6, "h").unwrap();
    std::fs::remove_file(client.host("g")).unwrap();
    std::fs::rename(client.host("h"), client.host("i")).unwrap();
    std::fs::write(client.host("h"), "another").unwrap();
    assert_eq!(client.remove(5), Err(Errno::NOENT));
    assert_eq!(client.remove(6), Err(Errno::STALE));
    assert!(client.host("h").exists());
}

#[test]
fn names_are_bytes_up_to_255() {
    let mut client = Client::new();
    let long = "ä".repeat(127) + "x";
    client.mkdir(ROOT, &long, 0o755).unwrap();
    client.reach(1, &long).unwrap();
    let longer = long.clone() + "x";
    assert_eq!(client.mkdir(ROOT, &longer, 0o755), Err(Errno::NAMETOOLONG));
    assert_eq!(client.reach(2, &longer), Err(Errno::NAMETOOLONG));
    // Not text in any encoding.
    let name = Message::new(kind::MKDIR)
        .u32(ROOT)
        .str([0xFF, 0xFE, b' ', 1]);
    client.ask(name.u32(0o755).u32(NO_ID)).unwrap();
}

#[test]
fn a_readonly_folder_is_read_and_nothing_else() {
    let mut client = Client::readonly();
    std::fs::write(client.host("f"), "text").unwrap();
    std::fs::create_dir(client.host("d")).unwrap();
    std::os::unix::fs::symlink("f", client.host("l")).unwrap();
    client.reach(1, "f").unwrap();
    client.reach(2, "d").unwrap();
    let rofs = Err(Errno::ROFS);
    assert_eq!(client.create(2, "x", open::RDONLY, 0o600).map(drop), rofs);
    for flags in [open::WRONLY, open::RDWR, open::TRUNC] {
        assert_eq!(client.open(1, flags).map(drop), rofs);
    }
    assert_eq!(client.mkdir(ROOT, "x", 0o755).map(drop), rofs);
    assert_eq!(client.symlink(ROOT, "x", "f").map(drop), rofs);
    assert_eq!(client.mknod(ROOT, "x", 0o010_644).map(drop), rofs);
    assert_eq!(client.link(ROOT, 1, "x"), rofs);
    assert_eq!(client.rename(1, ROOT, "x"), rofs);
    assert_eq!(client.renameat(ROOT, "f", ROOT, "x"), rofs);
    assert_eq!(client.unlinkat(ROOT, "f", 0), rofs);
    for valid in [0, 1, 2, 8, 0x10] {
        assert_eq!(client.setattr(1, valid, SetFields::default()), rofs);
    }
    client.walk(1, 3, &[]).unwrap();
    assert_eq!(client.remove(3), rofs);
    client.open(1, open::RDONLY).unwrap();
    assert_eq!(client.write(1, 0, b"x").map(drop), rofs);
    assert_eq!(client.read(1, 0, 9).unwrap(), b"text");
    client.open(2, open::RDONLY).unwrap();
    assert_eq!(client.readdir(2, 0, 1000).unwrap().len(), 2);
    client.reach(4, "l").unwrap();
    assert_eq!(client.readlink(4).unwrap(), b"f");
    assert_eq!(std::fs::read(client.host("f")).unwrap(), b"text");
    assert_eq!(std::fs::read_dir(client.host("")).unwrap().count(), 3);
}
