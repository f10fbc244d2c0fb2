//! Folders that a Linux guest mounts over 9P.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use ppckvm::{Bus, Machine, OnReset, Place, Share};
use support::linux::{Linux, machine};
use tempfile::TempDir;

/// A folder with a script that the guest runs in it, which is how it gets commands of any length.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn share(&self) -> Share {
        Share {
            path: self.0.path().into(),
            tag: "home".into(),
            readonly: false,
            setid: false,
        }
    }

    /// Has the guest run `script` in the folder, which is mounted at /mnt; what it printed.
    fn run(&self, linux: &mut Linux, script: &str) -> String {
        std::fs::write(self.path(".script"), script).unwrap();
        let typed = "cd /mnt && sh .script >/tmp/out 2>&1; echo status $?; cd";
        let status = linux.command(typed);
        let output = linux.command("cat /tmp/out");
        assert!(status.contains("status 0\n"), "{status}{output}");
        output
    }
}

fn mount(linux: &mut Linux, options: &str) {
    let line = format!("mount -t 9p -o trans=virtio,version=9p2000.L{options} home /mnt");
    assert_eq!(linux.command(&line), "");
}

fn mode(path: PathBuf) -> u32 {
    std::fs::symlink_metadata(path)
        .unwrap()
        .permissions()
        .mode()
        & 0o7777
}

/// The lines of `name value...` of a script's output.
fn table(output: &str) -> BTreeMap<&str, &str> {
    output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect()
}

fn shared_both_ways(place: Place, options: &str) {
    let folder = Folder::new();
    let long = "long-".repeat(51);
    let data: Vec<u8> = (0..1_500_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    std::fs::write(folder.path("data"), &data).unwrap();
    std::fs::write(folder.path(&long), "long name\n").unwrap();
    std::fs::create_dir_all(folder.path("a/b/c")).unwrap();
    std::fs::write(folder.path("a/b/c/deep"), "deep\n").unwrap();
    symlink("a/b/c/deep", folder.path("link")).unwrap();
    for (name, bits) in [("data", 0o640), ("a/b", 0o751), ("a/b/c/deep", 0o4755)] {
        let permissions = PermissionsExt::from_mode(bits);
        std::fs::set_permissions(folder.path(name), permissions).unwrap();
    }
    let host = Command::new("sha256sum")
        .arg(folder.path("data"))
        .output()
        .unwrap();
    let host_sum = String::from_utf8(host.stdout).unwrap()[..64].to_owned();

    let mut linux = Linux::boot(machine().device(folder.share().at(place)));
    mount(&mut linux, options);
    let script = r#"
        set -e
        echo sum $(sha256sum <data)
        echo data $(stat -c '%a %s %F' data)
        echo b $(stat -c '%a %F' a/b)
        echo deep $(stat -c '%a %F' a/b/c/deep)
        echo link $(readlink link) $(cat link)
        echo long $(cat LONG)
        umask 0
        cat data data data >copy
        chmod 604 copy
        echo copied $(sha256sum <copy)
        mkdir -m 1777 d
        mkdir -p d/e/f
        (umask 027; echo hello >d/e/f/hello; mkdir d/masked)
        ln -s ../data d/up
        ln copy d/second
        mkfifo -m 620 pipe
        echo other >LONG-2
        mv LONG-2 d/
        mv d/e d/moved
        echo more >>d/moved/f/hello
        echo gone >gone; rm gone
        mkdir gone; rmdir gone
        truncate -s 10 d/moved/f/hello
        mknod dev c 1 3 2>/dev/null && echo a device was made
        ls d/moved/f | sort >listed
        (echo reader; cat pipe) & echo through the pipe >pipe; wait
        sync
    "#;
    let output = folder.run(
        &mut linux,
        &script
            .replace("LONG", &long[..250])
            .replace(&format!("cat {}", &long[..250]), &format!("cat {long}")),
    );
    let table = table(&output);
    assert_eq!(table["sum"].split(' ').next(), Some(&*host_sum), "{output}");
    assert_eq!(table["data"], "640 1500000 regular file");
    assert_eq!(table["b"], "751 directory");
    assert_eq!(table["deep"], "4755 regular file");
    assert_eq!(table["link"], "a/b/c/deep deep");
    assert_eq!(table["long"], "long name");
    assert_eq!(table["through"], "the pipe");
    assert!(!output.contains("device"), "{output}");
    linux.command("umount /mnt");

    let copied = Command::new("sha256sum")
        .arg(folder.path("copy"))
        .output()
        .unwrap();
    let copied = String::from_utf8(copied.stdout).unwrap();
    assert!(table["copied"].starts_with(&copied[..64]));
    assert!(std::fs::read(folder.path("copy")).unwrap() == data.repeat(3));
    for (name, bits) in [
        ("copy", 0o604),
        ("d", 0o1777),
        ("d/moved", 0o777),
        ("d/moved/f/hello", 0o640),
        ("d/masked", 0o750),
        ("pipe", 0o620),
    ] {
        assert_eq!(mode(folder.path(name)), bits, "{name}");
    }
    assert_eq!(
        std::fs::read(folder.path("d/moved/f/hello")).unwrap(),
        b"hello\nmore"
    );
    assert_eq!(std::fs::read(folder.path("listed")).unwrap(), b"hello\n");
    assert_eq!(
        std::fs::read_link(folder.path("d/up")).unwrap(),
        PathBuf::from("../data")
    );
    let long_2 = format!("d/{}-2", &long[..250]);
    assert_eq!(std::fs::read(folder.path(&long_2)).unwrap(), b"other\n");
    let pipe = std::fs::symlink_metadata(folder.path("pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
    for name in ["gone", "dev", "d/e"] {
        assert!(!folder.path(name).exists(), "{name}");
    }
    linux.power_off();
}

fn over(bus: Bus, legacy: bool) -> Place {
    Place { bus, legacy }
}

#[test]
fn a_folder_is_shared_over_mmio() {
    shared_both_ways(over(Bus::Mmio, false), "");
}

#[test]
fn a_folder_is_shared_over_legacy_mmio() {
    shared_both_ways(over(Bus::Mmio, true), "");
}

#[test]
fn a_folder_is_shared_over_pci_with_long_messages() {
    shared_both_ways(over(Bus::Pci, false), ",msize=500000");
}

#[test]
fn a_folder_is_shared_over_legacy_pci_with_short_messages() {
    shared_both_ways(over(Bus::Pci, true), ",msize=8192");
}

#[test]
fn a_folder_is_shared_with_a_cache_in_the_guest() {
    shared_both_ways(Place::default(), ",cache=loose");
}

#[test]
fn a_readonly_share_refuses_what_would_change_it() {
    let folder = Folder::new();
    std::fs::write(folder.path("file"), "contents\n").unwrap();
    let script = r#"
        cat file
        for try in 'touch new' 'echo x >file' 'rm file' 'mkdir d' 'ln -s x y' 'chmod 777 file' \
            'mv file else' 'mkfifo p' 'truncate -s 0 file' 'ln file second'; do
            sh -c "$try" 2>&1 | grep -c 'Read-only file system'
        done
        exit 0
    "#;
    std::fs::write(folder.path(".script"), script).unwrap();
    let share = Share {
        readonly: true,
        setid: false,
        ..folder.share()
    };
    let mut linux = Linux::boot(machine().share(share));
    mount(&mut linux, "");
    let output = linux.command("cd /mnt && sh .script; cd");
    assert_eq!(output, format!("contents\n{}", "1\n".repeat(10)));
    assert_eq!(std::fs::read(folder.path("file")).unwrap(), b"contents\n");
    assert_eq!(std::fs::read_dir(folder.path("")).unwrap().count(), 2);
    linux.power_off();
}

#[test]
fn a_large_directory_is_listed_whole_and_removed() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("many")).unwrap();
    for n in 0..3000 {
        std::fs::write(folder.path(&format!("many/file-{n}")), "").unwrap();
    }
    for options in ["", ",cache=loose"] {
        let mut linux = Linux::boot(machine().share(folder.share()));
        mount(&mut linux, options);
        let output = folder.run(&mut linux, "ls many | wc -l; find many -type f | wc -l");
        assert_eq!(output, "3000\n3000\n");
        linux.power_off();
    }
    let mut linux = Linux::boot(machine().share(folder.share()));
    mount(&mut linux, "");
    folder.run(&mut linux, "rm -r many");
    assert!(!folder.path("many").exists());
    linux.power_off();
}

#[test]
fn the_guest_stays_inside_and_sees_its_own_files_through_links() {
    let outer = Folder::new();
    std::fs::create_dir(outer.path("shared")).unwrap();
    std::fs::write(outer.path("secret"), "the host's").unwrap();
    symlink(outer.path("secret"), outer.path("shared/absolute")).unwrap();
    symlink("../secret", outer.path("shared/relative")).unwrap();
    symlink("/etc/passwd", outer.path("shared/passwd")).unwrap();
    let share = Share {
        path: outer.path("shared"),
        ..outer.share()
    };
    let mut linux = Linux::boot(machine().share(share));
    mount(&mut linux, "");
    let output = linux.command("cat /mnt/absolute /mnt/relative /mnt/../secret 2>&1");
    assert_eq!(output.matches("No such file").count(), 3, "{output}");
    // The guest's, which has one line.
    assert_eq!(linux.command("wc -l </mnt/passwd").trim(), "1");
    linux.power_off();
}

#[test]
fn two_shares_and_a_reset() {
    let (first, second) = (Folder::new(), Folder::new());
    std::fs::write(first.path("one"), "").unwrap();
    std::fs::write(second.path("two"), "").unwrap();
    let other = Share {
        tag: "other".into(),
        ..second.share()
    };
    let machine = machine().share(first.share()).share(other);
    let mut linux = Linux::boot(machine.on_reset(OnReset::Reboot));
    for _ in 0..2 {
        mount(&mut linux, "");
        assert_eq!(linux.command("mkdir /tmp/o; ls /mnt"), "one\n");
        linux.command("mount -t 9p -o trans=virtio other /tmp/o");
        assert_eq!(linux.command("ls /tmp/o"), "two\n");
        // Files that are open when the machine is reset are closed.
        linux.command("exec 3</mnt/one 4</tmp/o/two");
        linux.type_line("reboot -f");
        linux.wait_for("guest: user space is up");
        linux.answer();
    }
    linux.power_off();
}

fn refusal(machine: Machine) -> String {
    machine
        .program(0, vec![0; 4])
        .build()
        .err()
        .unwrap()
        .to_string()
}

#[test]
fn what_cannot_be_shared_is_refused_before_the_start() {
    let folder = Folder::new();
    let share = |path: PathBuf, tag: &str| Share {
        path,
        tag: tag.into(),
        ..folder.share()
    };
    let error = refusal(Machine::new().share(share(folder.path("none"), "t")));
    assert!(
        error.contains("none: No such file") && error.contains("name a folder"),
        "{error}"
    );
    std::fs::write(folder.path("file"), "").unwrap();
    let error = refusal(Machine::new().share(share(folder.path("file"), "t")));
    assert!(error.contains("Not a directory"), "{error}");
    for tag in ["", "with space", &"x".repeat(32)] {
        let error = refusal(Machine::new().share(share(folder.path(""), tag)));
        assert!(
            error.starts_with(&format!("the share with tag {tag:?}: a tag has")),
            "{error}"
        );
    }
    let twice = Machine::new().share(folder.share()).share(folder.share());
    let error = refusal(twice);
    assert_eq!(
        error,
        "the share with tag \"home\": two shares have it; give each its own"
    );
}
