//! Machines as configuration files: what the command takes, and what it writes.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Output, Stdio};

use ppckvm::{Machine, Outcome, ResetKind, Spec};
use support::asm::Asm;
use tempfile::TempDir;

/// A folder with a guest that prints a word and resets, and files that describe machines.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.file("guest", Asm::new().print("hello").reset().elf(0, 0));
        folder
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.0.path().join(name), contents).unwrap();
    }

    /// The command, run in `from` below the folder.
    fn run_in(&self, from: &str, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ppckvm"))
            .args(args)
            .current_dir(self.0.path().join(from))
            .env_remove("PPCKVM_LOG")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_in("", args)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_said(output: &Output, status: i32, stdout: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert_eq!(text(&output.stdout), stdout, "{stderr}");
}

#[test]
fn a_file_runs_a_machine_from_wherever_it_is_called() {
    let folder = Folder::new();
    folder.file("machine.toml", "kernel = 'guest'\nmemory = '16M'\n");
    std::fs::create_dir(folder.0.path().join("below")).unwrap();
    for (from, path) in [("", "machine.toml"), ("below", "../machine.toml")] {
        assert_said(&folder.run_in(from, &["run", "--config", path]), 0, "hello");
    }
    // The same in a program.
    let spec = Spec::from_toml_file(folder.0.path().join("machine.toml")).unwrap();
    let mut vm = Machine::from_spec(spec).build().unwrap();
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    assert_eq!(vm.output(), b"hello");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let folder = Folder::new();
    folder.file(
        "machine.toml",
        "kernel = 'none'\nmemory = '16M'\nserial = ['null']\non-reset = 'reboot'\n",
    );
    let output = folder.run(&["run", "--config", "machine.toml"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("ppckvm: machine.toml: line 1: kernel: none: No such file"),
        "{stderr}"
    );
    let over = [
        "--kernel",
        "guest",
        "--serial",
        "stdio",
        "--on-reset",
        "exit",
    ];
    let output = folder.run(&[&["run", "--config", "machine.toml"], &over[..]].concat());
    assert_said(&output, 0, "hello");
}

#[test]
fn what_is_printed_describes_the_same_machine() {
    let folder = Folder::new();
    folder.file("root.img", [0; 512]);
    let args = [
        "run",
        "--kernel",
        "guest",
        "--memory",
        "16M",
        "--timeout",
        "90s",
        "--stats",
        "--disk",
        "path=root.img,readonly",
        "--net",
        "user,hostfwd=tcp::0-:22,bus=pci",
        "--console",
        "null",
        "--balloon",
        "--vsock",
        "cid=3,uds=v",
        "--rng",
        "bus=pci",
    ];
    let printed = folder.run(&[&args[..], &["--print-config"]].concat());
    let config = text(&printed.stdout);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    folder.file("machine.toml", &config);
    let again = folder.run(&["run", "--config", "machine.toml", "--print-config"]);
    assert_said(&again, 0, &config);
    // Nothing was started: the socket is not there.
    assert!(!folder.0.path().join("v").exists());
    for part in [
        "memory = \"16M\"",
        "timeout = \"1m 30s\"",
        "stats = true",
        "[[disk]]\npath = \"/",
        "readonly = true",
        "hostfwd = [\"tcp:127.0.0.1:0-10.0.2.15:22\"]",
        "[vsock]\ncid = 3",
        "[rng]\nbus = \"pci\"",
    ] {
        assert!(config.contains(part), "{part}: {config}");
    }
}

#[test]
fn devices_of_the_command_line_come_after_those_of_the_file() {
    let folder = Folder::new();
    folder.file("a.img", [0; 512]);
    folder.file("b.img", [0; 512]);
    folder.file(
        "machine.toml",
        "kernel = 'guest'\n[[disk]]\npath = 'a.img'\n[vsock]\ncid = 3\nuds = 'v'\n",
    );
    let output = folder.run(&[
        "run",
        "--config",
        "machine.toml",
        "--print-config",
        "--disk",
        "path=b.img",
        "--vsock",
        "cid=4,uds=w",
    ]);
    let config = text(&output.stdout);
    let at = |part: &str| {
        config
            .find(part)
            .unwrap_or_else(|| panic!("{part}: {config}"))
    };
    assert!(at("a.img") < at("b.img"));
    // Of a kind of which there is one, the command line's takes the file's place.
    assert!(at("cid = 4") < at("b.img") && !config.contains("cid = 3"));
}

#[test]
fn the_device_tree_and_the_inspection_take_a_file_too() {
    let folder = Folder::new();
    folder.file("machine.toml", "memory = '64M'\nappend = 'root=/dev/vda'\n");
    let tree = text(&folder.run(&["dtb", "--config", "machine.toml"]).stdout);
    assert!(
        tree.contains("root=/dev/vda") && tree.contains("0x4000000"),
        "{tree}"
    );
    let output = folder.run(&["inspect", "guest", "--config", "machine.toml"]);
    assert!(text(&output.stdout).contains("boots here: yes"));
}

#[test]
fn a_file_that_cannot_be_used_ends_with_one_line_and_status_1() {
    let folder = Folder::new();
    for (contents, part) in [
        (
            "memory = 64\n",
            "machine.toml: line 1: memory: this is a whole number",
        ),
        (
            "kernel = 'guest'\ntimeuot = '1s'\n",
            "machine.toml: line 2: `timeuot` is no key; write timeout",
        ),
        ("kernel = 'guest\n", "machine.toml: line 1: "),
        (
            "kernel = 'guest'\n[[disk]]\npath = 'no.img'\n",
            "machine.toml: line 3: disk.path: no.img: No such file",
        ),
        ("memory = '16M'\n", "no kernel was given"),
    ] {
        folder.file("machine.toml", contents);
        let output = folder.run(&["run", "--config", "machine.toml"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}
