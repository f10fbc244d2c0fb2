//! The command on a terminal: keys, raw mode, and the terminal as it was afterwards.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use support::asm::{Asm, echo};
use tempfile::TempDir;

/// A terminal with the command in it.
struct Session {
    /// The end where a person would sit.
    person: File,
    /// The other end, kept open to look at the terminal's mode.
    terminal: OwnedFd,
    before: Termios,
    child: Child,
    seen: String,
    _dir: TempDir,
}

impl Session {
    fn start(program: Asm) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("guest");
        std::fs::write(&kernel, program.elf(0, 0)).unwrap();
        let person =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
            .args(["run", "--timeout", "2m", "--kernel"])
            .arg(kernel)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        Session {
            person: person.into(),
            terminal,
            before,
            child,
            seen: String::new(),
            _dir: dir,
        }
    }

    /// Reads what the terminal shows until it shows `text`.
    fn expect(&mut self, text: &str) {
        let mut chunk = [0; 256];
        while !self.seen.contains(text) {
            let mut wanted = [PollFd::new(&self.person, PollFlags::IN)];
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            if poll(&mut wanted, Some(&pause)).unwrap() == 0 {
                // This test holds the terminal open, so nothing else tells of the end.
                let ended = self.child.try_wait().unwrap();
                assert!(
                    ended.is_none(),
                    "{ended:?} without {text:?} in {:?}",
                    self.seen
                );
                continue;
            }
            let count = self.person.read(&mut chunk).unwrap();
            self.seen
                .push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        self.seen = self.seen.split_once(text).unwrap().1.to_owned();
    }

    fn type_keys(&mut self, keys: &[u8]) {
        self.person.write_all(keys).unwrap();
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        !modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for the end; the terminal must be as it was.
    fn end(mut self) -> i32 {
        let status = self.child.wait().unwrap();
        let after = tcgetattr(&self.terminal).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        status.code().unwrap()
    }
}

#[test]
fn keys_reach_the_guest_one_by_one() {
    let mut session = Session::start(Asm::new().print("ready").append(echo()));
    session.expect("ready");
    assert!(session.is_raw());
    // Neither a line editor nor signal keys are in between.
    session.type_keys(b"a");
    session.expect("a");
    session.type_keys(b"\x03\x04\x1A\x7F.");
    session.expect("\x03\x04\x1A\x7F.");
    session.type_keys(b"\0");
    session.expect("the guest reset the system");
    assert_eq!(session.end(), 0);
}

#[test]
fn ctrl_a_x_quits() {
    let mut session = Session::start(Asm::new().print("ready").busy());
    session.expect("ready");
    session.type_keys(b"\x01x");
    session.expect("quit from the console");
    assert_eq!(session.end(), 0);
}

#[test]
fn ctrl_a_h_helps_and_ctrl_a_twice_sends_one() {
    let mut session = Session::start(Asm::new().print("ready").append(echo()));
    session.expect("ready");
    session.type_keys(b"\x01h");
    session.expect("Ctrl-a Ctrl-a");
    session.type_keys(b"\x01\x01.");
    session.expect("\x01.");
    session.type_keys(b"\x01x");
    assert_eq!(session.end(), 0);
}

#[test]
fn a_signal_restores_the_terminal() {
    let mut session = Session::start(Asm::new().print("ready").busy());
    session.expect("ready");
    assert!(session.is_raw());
    kill_process(Pid::from_child(&session.child), Signal::TERM).unwrap();
    session.expect("ended by signal 15");
    assert_eq!(session.end(), 143);
}
