//! The command on a terminal: keys, raw mode, and the terminal as it was afterwards.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use support::asm::{Asm, echo};
use support::guest;
use support::linux::PROMPT;
use tempfile::TempDir;

/// No wait may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of each terminal at first.
const SIZE: Winsize = Winsize {
    ws_row: 41,
    ws_col: 97,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// A terminal with the command in it.
struct Session {
    /// The end where a person would sit.
    person: File,
    /// The other end, kept open to look at the terminal's mode.
    terminal: OwnedFd,
    before: Termios,
    child: Child,
    seen: String,
    dir: TempDir,
}

impl Session {
    fn start(program: Asm) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppckvm"));
        command.args(["run", "--timeout", "2m", "--kernel", "guest"]);
        Session::of(command, program)
    }

    /// A shell with job control, which has the terminal and can start the command: `$run`.
    fn shell(program: Asm) -> Self {
        let mut shell = Command::new("setsid");
        shell
            .args(["--ctty", "--wait", "bash", "--norc", "--noprofile"])
            .args(["--noediting", "-i"])
            .env("PS1", "prompt> ")
            .env(
                "run",
                concat!(
                    env!("CARGO_BIN_EXE_ppckvm"),
                    " run --timeout 2m --kernel guest"
                ),
            );
        let mut session = Session::of(shell, program);
        session.expect("prompt> ");
        session
    }

    /// Linux with its shell on the virtio console, which has the terminal of its session.
    fn linux() -> Self {
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_ppckvm")])
            .args(["run", "--timeout", "2m", "--console", "stdio"])
            .args(["--append", "console=hvc0 loglevel=4"])
            .arg("--kernel")
            .arg(guest("KERNEL_UIMAGE"))
            .arg("--initrd")
            .arg(guest("ROOTFS"));
        Session::in_folder(command, tempfile::tempdir().unwrap())
    }

    fn of(command: Command, program: Asm) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("guest"), program.elf(0, 0)).unwrap();
        Session::in_folder(command, dir)
    }

    /// The command in this folder, and in a terminal of [`SIZE`].
    fn in_folder(mut command: Command, dir: TempDir) -> Self {
        let person =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, SIZE).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = command
            .current_dir(dir.path())
            .env_remove("PPCKVM_LOG")
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
            dir,
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

    /// Waits until the terminal is raw, or is not; nothing tells of it.
    fn until_raw(&self, raw: bool) {
        let end = Instant::now() + PATIENCE;
        while self.is_raw() != raw {
            assert!(Instant::now() < end, "the terminal's mode stays");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The command that the shell runs.
    fn job(&mut self) -> Pid {
        let processes = std::fs::read_dir("/proc").unwrap();
        let folder = self.dir.path().to_owned();
        let is_job = |pid: &i32| {
            let of = |name| PathBuf::from(format!("/proc/{pid}/{name}"));
            let named = std::fs::read(of("comm")).is_ok_and(|comm| comm == b"ppckvm\n");
            named && std::fs::read_link(of("cwd")).is_ok_and(|cwd| cwd == folder)
        };
        let mut numbers = processes.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse().ok()
        });
        Pid::from_raw(numbers.find(is_job).unwrap()).unwrap()
    }

    fn signal(&mut self, signal: Signal) {
        let job = self.job();
        kill_process(job, signal).unwrap();
    }

    /// Has the guest echo a key, which shows that it has the terminal.
    fn guest_answers(&mut self) {
        self.until_raw(true);
        self.seen.clear();
        self.type_keys(b"~");
        self.expect("~");
    }

    /// Leaves the shell; the terminal must be as it was.
    fn end_shell(mut self) {
        self.until_raw(false);
        self.type_keys(b"exit\n");
        assert_eq!(self.end(), 0);
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
fn ctrl_a_b_sends_a_break_after_what_was_typed() {
    let mut session = Session::start(Asm::new().print("ready").append(echo()));
    session.expect("ready");
    session.type_keys(b"a");
    session.expect("a");
    // The guest sees a byte of zeros, which ends it.
    session.type_keys(b"\x01b");
    session.expect("the guest reset the system");
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

#[test]
fn a_job_that_ran_in_the_background_gets_the_terminal_when_it_comes_to_the_foreground() {
    let mut session = Session::shell(Asm::new().print("ready").append(echo()));
    session.type_keys(b"$run &\n");
    session.expect("ready");
    // The shell still has it, and the job runs on although the shell is typed to.
    session.type_keys(b"echo is$((6*7)) here\n");
    session.expect("is42 here");
    assert!(!session.is_raw());
    session.type_keys(b"fg\n");
    session.guest_answers();
    session.type_keys(b"\0");
    session.expect("prompt> ");
    session.end_shell();
}

#[test]
fn the_terminal_is_the_guests_in_every_order_of_stops() {
    let mut session = Session::shell(Asm::new().print("ready").append(echo()));
    session.type_keys(b"$run\n");
    session.expect("ready");
    session.guest_answers();
    for stop in [Signal::STOP, Signal::TSTP] {
        session.signal(stop);
        session.expect("prompt> ");
        session.until_raw(false);
        session.type_keys(b"fg\n");
        session.guest_answers();
        // By way of the background.
        session.signal(stop);
        session.expect("prompt> ");
        session.type_keys(b"bg\n");
        session.expect("prompt> ");
        session.type_keys(b"fg\n");
        session.guest_answers();
        // Stopped again there.
        session.signal(stop);
        session.expect("prompt> ");
        session.type_keys(b"bg\n");
        session.expect("prompt> ");
        session.signal(stop);
        session.type_keys(b"wait; fg\n");
        session.guest_answers();
    }
    session.signal(Signal::HUP);
    session.expect("prompt> ");
    session.type_keys(b"echo status=$?.\n");
    session.expect("status=129.");
    session.end_shell();
}

#[test]
fn a_job_that_goes_on_in_the_background_ends_there() {
    let mut session = Session::shell(Asm::new().print("ready").busy());
    session.type_keys(b"$run\n");
    session.expect("ready");
    session.until_raw(true);
    session.signal(Signal::STOP);
    session.expect("prompt> ");
    session.type_keys(b"bg\n");
    session.expect("prompt> ");
    session.signal(Signal::TERM);
    session.type_keys(b"wait %1; echo status=$?.\n");
    session.expect("status=143.");
    session.end_shell();
}

#[test]
fn the_verdict_begins_a_line_and_the_cursor_is_shown_again() {
    let hides = "\x1B[?25l\x1B[1mworking";
    let mut session = Session::start(Asm::new().print(hides).busy());
    session.expect(hides);
    session.type_keys(b"\x01x");
    session.expect("\x1B[0m\x1B[?25h\r\nppckvm: quit from the console");
    assert_eq!(session.end(), 0);
}

#[test]
fn the_guest_follows_the_size_of_the_window() {
    let mut session = Session::linux();
    session.expect(PROMPT);
    session.type_keys(b"stty size\n");
    session.expect("\n41 97\r");
    let size = Winsize {
        ws_row: 30,
        ws_col: 100,
        ..SIZE
    };
    tcsetwinsize(&session.person, size).unwrap();
    session.type_keys(b"until stty size | grep '^30 100$'; do sleep 0; done\n");
    session.expect("\n30 100\r");
    session.type_keys(b"poweroff -f\n");
    session.expect("the guest powered off");
    assert_eq!(session.end(), 0);
}
