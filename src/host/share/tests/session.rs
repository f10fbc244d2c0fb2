//! Version, attach, walk, clunk, flush, and how much of it there may be.

use super::*;
use crate::host::share::server::MOST_MSIZE;
use crate::host::share::wire::open;

#[test]
fn the_shorter_msize_and_the_one_version_are_agreed_on() {
    let mut client = Client::new();
    let version = |msize, text: &str| Message::new(kind::VERSION).u32(msize).str(text);
    let mut reply = Fields(client.ask(version(u32::MAX, "9P2000.L")).unwrap());
    assert_eq!((reply.u32(), reply.str()), (MOST_MSIZE, &b"9P2000.L"[..]));
    for text in ["9P2000", "9P2000.u", "9P2000.L2", ""] {
        let mut reply = Fields(client.ask(version(8192, text)).unwrap());
        assert_eq!((reply.u32(), reply.str()), (8192, &b"unknown"[..]));
        assert_eq!(client.attach(ROOT), Err(Errno::PROTO), "{text}");
    }
    assert_eq!(client.ask(version(4095, "9P2000.L")), Err(Errno::MSGSIZE));
    client.start(4096);
}

#[test]
fn a_new_version_forgets_the_session() {
    let mut client = Client::new();
    client.mkdir(ROOT, "d", 0o755).unwrap();
    client.reach(1, "d").unwrap();
    client.start(8192);
    assert_eq!(client.clunk(1), Err(Errno::BADF));
    client.clunk(ROOT).unwrap();
}

#[test]
fn an_attach_takes_a_free_fid_and_no_authentication() {
    let mut client = Client::new();
    assert_eq!(client.attach(1).unwrap().kind, Qid::DIRECTORY);
    assert_eq!(client.attach(1), Err(Errno::BADF));
    assert_eq!(client.attach(NO_FID), Err(Errno::BADF));
    let attach = |afid, name| {
        let attach = Message::new(kind::ATTACH).u32(9).u32(afid).str("u");
        attach.str(name).u32(0)
    };
    assert_eq!(client.ask(attach(5, "")), Err(Errno::OPNOTSUPP));
    assert_eq!(client.ask(attach(NO_FID, "elsewhere")), Err(Errno::NOENT));
    client.ask(attach(NO_FID, "/")).unwrap();
    let auth = Message::new(kind::AUTH).u32(3).str("u").str("").u32(0);
    assert_eq!(client.ask(auth), Err(Errno::OPNOTSUPP));
}

#[test]
fn a_walk_goes_as_far_as_there_are_names() {
    let mut client = Client::new();
    std::fs::create_dir_all(client.host("a/b")).unwrap();
    std::fs::write(client.host("a/b/f"), "x").unwrap();
    let qids = client.walk(ROOT, 1, &["a", "b", "f"]).unwrap();
    let kinds: Vec<u8> = qids.iter().map(|qid| qid.kind).collect();
    assert_eq!(kinds, [Qid::DIRECTORY, Qid::DIRECTORY, Qid::FILE]);
    // Missing at the first name: an error. Later: what there is, and no fid.
    assert_eq!(client.walk(ROOT, 2, &["x", "b"]), Err(Errno::NOENT));
    assert_eq!(client.walk(ROOT, 2, &["a", "x", "f"]).unwrap().len(), 1);
    assert_eq!(
        client.walk(ROOT, 2, &["a", "b", "f", "g"]).unwrap().len(),
        3
    );
    assert_eq!(client.clunk(2), Err(Errno::BADF));
    // A file has no entries.
    assert_eq!(client.walk(1, 2, &["g"]), Err(Errno::NOTDIR));
    // No names make another fid of the same file; the same fid may move.
    assert_eq!(client.walk(1, 2, &[]).unwrap(), []);
    assert_eq!(client.attributes(2).unwrap().size, 1);
    client.walk(ROOT, ROOT, &["a"]).unwrap();
    assert_eq!(client.walk(ROOT, 3, &["b"]).unwrap()[0], qids[1]);
    // A fid that is taken stays what it is, and one that is not there leads nowhere.
    assert_eq!(client.walk(ROOT, 1, &["b"]), Err(Errno::BADF));
    assert_eq!(client.walk(77, 78, &["b"]), Err(Errno::BADF));
    let many = Message::new(kind::WALK).u32(ROOT).u32(9).u16(17);
    let many = (0..17).fold(many, |walk, _| walk.str(".."));
    assert_eq!(client.ask(many), Err(Errno::PROTO));
}

#[test]
fn an_open_fid_walks_only_to_another() {
    let mut client = Client::new();
    client.create(ROOT, "f", 2, 0o644).unwrap();
    assert_eq!(client.walk(ROOT, ROOT, &[]), Err(Errno::BUSY));
    client.walk(ROOT, 1, &[]).unwrap();
    // The clone is not open.
    assert_eq!(client.read(1, 0, 1), Err(Errno::BADF));
    client.open(1, 0).unwrap();
    assert_eq!(client.read(1, 0, 1).unwrap(), b"");
}

#[test]
fn a_clunk_frees_the_fid() {
    let mut client = Client::new();
    client.walk(ROOT, 1, &[]).unwrap();
    client.clunk(1).unwrap();
    assert_eq!(client.clunk(1), Err(Errno::BADF));
    client.walk(ROOT, 1, &[]).unwrap();
}

#[test]
fn a_flush_is_answered() {
    let mut client = Client::new();
    assert_eq!(client.ask(Message::new(kind::FLUSH).u16(3)), Ok(&[][..]));
}

#[test]
fn what_is_not_known_is_not_supported() {
    let mut client = Client::new();
    // 112 and 114 are Topen and Tcreate of the older 9P; 125 is Tstat.
    for number in [0, 6, 99, 112, 114, 124, 126, 255] {
        assert_eq!(client.ask_raw(number), Errno::OPNOTSUPP, "{number}");
    }
    let walk = Message::new(kind::XATTRWALK).u32(ROOT).u32(1).str("user.x");
    assert_eq!(client.ask(walk), Err(Errno::OPNOTSUPP));
    let create = Message::new(kind::XATTRCREATE).u32(ROOT).str("user.x");
    assert_eq!(client.ask(create.u64(1).u32(0)), Err(Errno::OPNOTSUPP));
}

impl Client {
    fn ask_raw(&mut self, number: u8) -> Errno {
        self.ask(Message::new(number)).unwrap_err()
    }
}

#[test]
fn there_are_only_so_many_fids() {
    let mut client = Client::new();
    for fid in 1..LIMITS.fids as u32 {
        client.walk(ROOT, fid, &[]).unwrap();
    }
    assert_eq!(client.walk(ROOT, 1000, &[]), Err(Errno::NFILE));
    assert_eq!(client.attach(1000), Err(Errno::NFILE));
    // The same fid may still move, and others work.
    client.walk(1, 1, &[]).unwrap();
    client.clunk(2).unwrap();
    client.walk(ROOT, 1000, &[]).unwrap();
    client.attributes(1000).unwrap();
}

#[test]
fn fids_beyond_the_descriptors_are_paths() {
    let mut client = Client::new();
    std::fs::create_dir(client.host("d")).unwrap();
    std::fs::write(client.host("d/f"), "12").unwrap();
    for fid in 1..LIMITS.fids as u32 {
        client.reach(fid, "d/f").unwrap();
    }
    let last = LIMITS.fids as u32 - 1;
    assert_eq!(client.attributes(last).unwrap().size, 2);
    assert_eq!(client.open(last, 0), Err(Errno::MFILE));
    // They follow what the guest renames.
    client.clunk(1).unwrap();
    client.renameat(ROOT, "d", ROOT, "e").unwrap();
    assert_eq!(client.attributes(last).unwrap().size, 2);
    client.open(last, 0).unwrap();
    assert_eq!(client.read(last, 0, 9).unwrap(), b"12");
    // And what the host puts there, as those with a descriptor do.
    let cold = last - 1;
    std::fs::write(client.host("e/g"), "other").unwrap();
    std::fs::rename(client.host("e/g"), client.host("e/f")).unwrap();
    assert_eq!(client.attributes(cold).unwrap().size, 5);
    // When it was the guest, they are files that are gone.
    client.clunk(cold).unwrap();
    client.reach(cold, "e/f").unwrap();
    std::fs::write(client.host("e/g"), "the guest's").unwrap();
    client.reach(1, "e").unwrap();
    client.renameat(1, "g", 1, "f").unwrap();
    assert_eq!(client.attributes(cold).map(drop), Err(Errno::STALE));
    client.clunk(cold).unwrap();
}

#[test]
fn descriptors_that_the_launcher_keeps_for_itself_are_not_a_guests() {
    let mut client = Client::with(Options {
        limits: Limits {
            process: Descriptors::with_limit(0),
            ..LIMITS
        },
        ..options()
    });
    std::fs::write(client.host("f"), "12").unwrap();
    client.reach(1, "f").unwrap();
    assert_eq!(client.attributes(1).unwrap().size, 2);
    assert_eq!(client.open(1, 0), Err(Errno::MFILE));
    client.clunk(1).unwrap();
}

#[test]
fn all_paths_together_are_only_so_long() {
    let mut client = Client::with(Options {
        limits: Limits {
            path_bytes: 1000,
            ..LIMITS
        },
        ..options()
    });
    let long = "x".repeat(200);
    std::fs::create_dir(client.host(&long)).unwrap();
    for fid in 1..=4 {
        client.reach(fid, &long).unwrap();
    }
    assert_eq!(client.reach(6, &long), Ok(()));
    assert_eq!(client.reach(7, &long), Err(Errno::NFILE));
    // A rename that makes them longer than that is refused, and changes nothing.
    let longer = "y".repeat(250);
    let renamed = client.renameat(ROOT, &long, ROOT, &longer);
    assert_eq!(renamed, Err(Errno::NFILE));
    assert!(client.host(&long).exists());
    client.clunk(6).unwrap();
    client.renameat(ROOT, &long, ROOT, &longer).unwrap();
}

#[test]
fn a_path_may_be_longer_than_one_that_the_host_takes_at_once() {
    let mut client = Client::new();
    let name = "n".repeat(255);
    client.walk(ROOT, 1, &[]).unwrap();
    for _ in 0..40 {
        client.mkdir(1, &name, 0o755).unwrap();
        client.walk(1, 1, &[&name]).unwrap();
    }
    // Its fid by its path alone, which has 40 × 256 + 1 bytes.
    client.walk(1, 2, &[]).unwrap();
    client.create(2, "f", open::RDWR, 0o644).unwrap();
    client.write(2, 0, b"deep").unwrap();
    client.walk(1, 3, &["f"]).unwrap();
    client.rename(3, 1, "g").unwrap();
    client.walk(1, 4, &["..", &name, "g"]).unwrap();
    assert_eq!(client.attributes(4).unwrap().size, 4);
    client.remove(4).unwrap();
    assert_eq!(client.walk(1, 5, &["g"]), Err(Errno::NOENT));
}

#[test]
fn a_path_is_only_so_long() {
    let mut client = Client::new();
    let name = "n".repeat(255);
    client.walk(ROOT, 1, &[]).unwrap();
    for _ in 0..LONGEST_PATH / 256 {
        client.mkdir(1, &name, 0o755).unwrap();
        client.walk(1, 1, &[&name]).unwrap();
    }
    client.mkdir(1, "d", 0o755).unwrap();
    assert_eq!(client.walk(1, 2, &["d"]), Err(Errno::NAMETOOLONG));
    // It goes as deep as the host likes, and the host's own removal follows.
    client.unlinkat(1, "d", 0x200).unwrap();
}
