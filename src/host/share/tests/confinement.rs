//! Whatever the guest sends, and whatever is renamed meanwhile, it stays in the folder.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::host::share::wire::open;

/// A secret beside the folder, and links to it in the folder.
fn with_secret() -> Client {
    let client = Client::new();
    std::fs::create_dir(client.outside("secrets")).unwrap();
    std::fs::write(client.outside("secrets/key"), "secret").unwrap();
    symlink("../secrets", client.host("up")).unwrap();
    symlink(client.outside("secrets"), client.host("absolute")).unwrap();
    symlink("../secrets/key", client.host("key")).unwrap();
    symlink("/proc/self/root", client.host("magic")).unwrap();
    std::fs::create_dir(client.host("d")).unwrap();
    symlink("../up", client.host("d/chain")).unwrap();
    client
}

#[test]
fn links_are_never_followed() {
    let mut client = with_secret();
    for (fid, name) in (1..).zip(["up", "absolute", "key", "magic", "d/chain"]) {
        client.reach(fid, name).unwrap();
        let mode = client.attributes(fid).unwrap().mode;
        assert_eq!(mode & 0o170_000, 0o120_000, "{name} is itself");
        assert_eq!(client.open(fid, open::RDONLY), Err(Errno::LOOP));
        assert_eq!(client.walk(fid, 50, &["key"]), Err(Errno::NOTDIR));
        assert_eq!(client.mkdir(fid, "x", 0o755), Err(Errno::NOTDIR));
        assert_eq!(
            client.create(fid, "x", open::RDWR, 0o644),
            Err(Errno::NOTDIR)
        );
        assert_eq!(client.unlinkat(fid, "key", 0), Err(Errno::NOTDIR));
        assert_eq!(
            client.renameat(fid, "key", ROOT, "stolen"),
            Err(Errno::NOTDIR)
        );
        assert_eq!(client.link(fid, ROOT, "x"), Err(Errno::NOTDIR));
        let walk: Vec<&str> = name.split('/').chain(["key"]).collect();
        // The walk ends before it.
        assert!(client.walk(ROOT, 50, &walk).unwrap().len() < walk.len());
    }
    assert_eq!(
        std::fs::read_dir(client.outside("secrets"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn changes_of_a_link_are_not_of_what_it_names() {
    let mut client = with_secret();
    let key = client.outside("secrets/key");
    let before = std::fs::metadata(&key).unwrap();
    client.reach(1, "key").unwrap();
    for valid in [0x1, 0x8, 0x10, 0x20, 0x1B0] {
        let _ = client.setattr(1, valid, SetFields::default());
    }
    let after = std::fs::metadata(&key).unwrap();
    assert_eq!(after.permissions(), before.permissions());
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    assert_eq!(after.len(), 6);
    // Nor is one made, or truncated, behind it.
    symlink("../made", client.host("new")).unwrap();
    for name in ["new", "key"] {
        client.walk(ROOT, 2, &[]).unwrap();
        let created = client.create(2, name, open::RDWR | open::TRUNC, 0o666);
        assert_eq!(created, Err(Errno::EXIST));
        client.clunk(2).unwrap();
    }
    assert!(!client.outside("made").exists());
    assert_eq!(std::fs::read(key).unwrap(), b"secret");
}

#[test]
fn above_the_folder_is_the_folder() {
    let mut client = with_secret();
    let root = client.walk(ROOT, 1, &[".."]).unwrap()[0];
    client.walk(ROOT, 2, &["d"]).unwrap();
    for names in [&["..", ".."][..], &["..", "..", "..", "..", ".."]] {
        let qids = client.walk(2, 3, names).unwrap();
        assert!(qids.iter().all(|qid| *qid == root));
        client.clunk(3).unwrap();
    }
    assert_eq!(client.walk(ROOT, 3, &["..", "secrets"]).unwrap(), [root]);
    // What a listing says of it is no more.
    client.open(1, 0).unwrap();
    let readdir = Message::new(kind::READDIR).u32(1).u64(0).u32(4000);
    let mut f = Fields(client.ask(readdir).unwrap());
    f.u32();
    while !f.0.is_empty() {
        let qid = f.qid();
        let (_place, _kind, name) = (f.u64(), f.u8(), f.str());
        if matches!(name, b"." | b"..") {
            assert_eq!(qid.path, root.path);
        }
    }
}

#[test]
fn a_name_is_never_a_path() {
    let mut client = with_secret();
    client.reach(1, "d").unwrap();
    let invalid = Err(Errno::INVAL);
    for name in ["", ".", "../secrets", "/etc", "d/x", "x/", "a\0b", "/"] {
        assert_eq!(client.walk(ROOT, 9, &[name]).map(drop), invalid, "{name:?}");
        assert_eq!(client.mkdir(1, name, 0o755).map(drop), invalid);
        assert_eq!(client.create(1, name, 2, 0o644).map(drop), invalid);
        assert_eq!(client.symlink(1, name, "x").map(drop), invalid);
        assert_eq!(client.mknod(1, name, 0o010_644).map(drop), invalid);
        assert_eq!(client.link(1, 1, name), invalid);
        assert_eq!(client.rename(1, ROOT, name), invalid);
        assert_eq!(client.renameat(ROOT, "d", ROOT, name), invalid);
        assert_eq!(client.renameat(ROOT, name, ROOT, "e"), invalid);
        assert_eq!(client.unlinkat(ROOT, name, 0), invalid);
    }
    // The parent is a name in walks only.
    for flags in [0, 0x200] {
        assert_eq!(client.unlinkat(1, "..", flags), invalid);
    }
    assert_eq!(client.renameat(1, "..", ROOT, "e"), invalid);
    assert_eq!(client.renameat(ROOT, "d", 1, ".."), invalid);
    assert_eq!(client.mkdir(1, "..", 0o755).map(drop), invalid);
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let mut client = with_secret();
    std::fs::create_dir(client.host("swap")).unwrap();
    std::fs::write(client.host("swap/key"), "own").unwrap();
    client.reach(1, "swap").unwrap();
    client.reach(2, "swap/key").unwrap();
    // The host puts a link to the secrets where the directory was.
    std::fs::rename(client.host("swap"), client.host("old")).unwrap();
    symlink("../secrets", client.host("swap")).unwrap();
    // Fids are still what they were.
    client.walk(1, 3, &["key"]).unwrap();
    client.open(3, open::RDONLY).unwrap();
    assert_eq!(client.read(3, 0, 9).unwrap(), b"own");
    client.open(2, open::RDONLY).unwrap();
    assert_eq!(client.read(2, 0, 9).unwrap(), b"own");
    // What goes by paths fails: the way back, and the older rename and remove.
    client.reach(4, "old/key").unwrap();
    client.walk(1, 5, &["key"]).unwrap();
    assert_eq!(client.walk(5, 6, &[]).unwrap(), []);
    assert_eq!(client.remove(5), Err(Errno::NOTDIR));
    assert_eq!(client.rename(6, ROOT, "x"), Err(Errno::NOTDIR));
    assert!(client.outside("secrets/key").exists());
}

/// Swaps a directory of the folder and a link out of it, over and over, while the guest walks there
/// in every way it has. It may see its own file or an error.
#[test]
fn a_race_of_links_never_wins() {
    let mut client = with_secret();
    std::fs::create_dir(client.host("real")).unwrap();
    std::fs::write(client.host("real/key"), "own").unwrap();
    symlink("../secrets", client.host("fake")).unwrap();
    std::fs::rename(client.host("real"), client.host("swap")).unwrap();
    let (swap, fake) = (client.host("swap"), client.host("fake"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, &swap, cwd, &fake, exchange).unwrap();
            }
        });
        let (mut own, mut refused) = (0, 0);
        for round in 0..200_000 {
            if (own > 500 && refused > 500) && round > 2000 {
                break;
            }
            let walked = client.walk(ROOT, 1, &["swap", "key"]);
            if walked.as_ref().is_ok_and(|qids| qids.len() == 2) {
                client.open(1, open::RDWR).unwrap();
                assert_eq!(client.read(1, 0, 9).unwrap(), b"own");
                own += 1;
            } else {
                refused += 1;
            }
            let _ = client.clunk(1);
            if client.reach(2, "swap").is_ok() {
                let _ = client.mkdir(2, "made", 0o755);
                let _ = client.unlinkat(2, "made", 0x200);
                // Back and there again, by paths.
                let _ = client.walk(2, 3, &["..", "swap", "key"]);
                if client.open(3, open::RDONLY).is_ok() {
                    assert_eq!(client.read(3, 0, 9).unwrap(), b"own");
                }
                let _ = client.clunk(3);
                client.clunk(2).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(own > 0 && refused > 0, "{own} and {refused}");
    });
    let names: Vec<_> = std::fs::read_dir(client.outside("secrets"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 1);
    assert_eq!(
        std::fs::read(client.outside("secrets/key")).unwrap(),
        b"secret"
    );
}

/// Moves a directory out of the folder and back while the guest goes up from it.
#[test]
fn a_race_of_renames_never_leads_above_the_folder() {
    let mut client = with_secret();
    std::fs::create_dir_all(client.host("d/e")).unwrap();
    let (inside, outside) = (client.host("d/e"), client.outside("secrets/e"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::fs::rename(&inside, &outside).unwrap();
                std::fs::rename(&outside, &inside).unwrap();
            }
        });
        for _ in 0..3000 {
            if client.reach(1, "d/e").is_err() {
                continue;
            }
            if client
                .walk(1, 2, &["..", "key"])
                .is_ok_and(|qids| qids.len() == 2)
            {
                panic!("the guest came to the key");
            }
            let up = client.walk(1, 2, &["..", ".."]);
            if let Ok(qids) = up {
                assert_eq!(qids.len(), 2);
                client.reach(3, "").unwrap();
                assert_eq!(client.walk(3, 4, &[]).unwrap(), []);
                assert_eq!(client.walk(2, 5, &["secrets"]), Err(Errno::NOENT));
                client.clunk(2).unwrap();
                client.clunk(3).unwrap();
                client.clunk(4).unwrap();
            }
            client.clunk(1).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_folder_that_cannot_be_shared_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (path, part) in [
        (file, "Not a directory"),
        (dir.path().join("none"), "No such file"),
    ] {
        let error = Folder::open(&path).err().unwrap().to_string();
        assert!(
            error.contains(part) && error.contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}
