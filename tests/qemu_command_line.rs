//! The command as `qemu-system-ppc -M bamboo`: what its callers see on standard output and error, how
//! a run ends, and the dialogues of public test drivers.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use support::asm::{Asm, echo};
use support::command::{Ppckvm, text};
use support::guest;

/// What the shell of the test guests asks with.
const PROMPT: &str = "~ # ";

const NAME: &str = "qemu-system-ppc";

/// A folder with the command under QEMU's name.
struct Qemu(Ppckvm);

impl Qemu {
    fn new() -> Self {
        let ppckvm = Ppckvm::new();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ppckvm"), ppckvm.path(NAME)).unwrap();
        Qemu(ppckvm)
    }

    /// A folder with a guest of a few instructions too.
    fn with(program: Asm) -> Self {
        let qemu = Qemu::new();
        qemu.0.file("guest", program.elf(0, 0));
        qemu
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.0.path(NAME));
        command
            .args(["-M", "bamboo"])
            .args(args)
            .current_dir(self.0.path(""))
            .env_remove("PPCKVM_LOG")
            .env_remove("PPCKVM_QEMU")
            .env_remove("PPCKVM_QEMU_REAL")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn start(&self, args: &[&str]) -> Running {
        Running::of(&mut self.command(args))
    }
}

/// A run with pipes at all ends.
struct Running {
    child: Child,
    seen: Vec<u8>,
}

impl Running {
    fn of(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        Running {
            child,
            seen: Vec::new(),
        }
    }

    /// Reads standard output until it has `wanted`, after what was found before.
    fn expect(&mut self, wanted: &str) {
        let stdout = self.child.stdout.as_mut().unwrap();
        expect(stdout, &mut self.seen, wanted);
    }

    fn type_in(&mut self, typed: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(typed).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The next line of standard error.
    fn said(&mut self) -> String {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while stderr.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.extend(byte);
        }
        text(&line)
    }

    /// The status, and what was not read.
    fn end(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

/// Reads until `wanted` comes; `seen` loses all up to it.
fn expect(from: &mut impl Read, seen: &mut Vec<u8>, wanted: &str) {
    loop {
        let found = seen
            .windows(wanted.len())
            .position(|part| part == wanted.as_bytes());
        if let Some(at) = found {
            seen.drain(..at + wanted.len());
            return;
        }
        let mut bytes = [0; 4096];
        let count = match from.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.unwrap(),
        };
        assert_ne!(count, 0, "{wanted:?} did not come: {}", text(seen));
        seen.extend(&bytes[..count]);
    }
}

fn assert_end(output: &Output, status: i32, stdout: &str, stderr: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert_eq!(text(&output.stdout), stdout, "{said}");
    assert_eq!(said, stderr);
}

/// Checks that a run ended by a signal of this test's, as QEMU says it.
fn assert_terminated(output: &Output, number: i32) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let pid = std::process::id();
    let start = format!("{NAME}: terminating on signal {number} from pid {pid} (");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with(&start) && last.ends_with(')'), "{said}");
}

/// What linuxppc's and groeck's scripts take for a failure of the guest's.
fn assert_no_scanned_word(log: &str) {
    for word in [
        "Oops: ",
        "Kernel panic",
        "Internal error:",
        "segfault",
        "detected stall",
        "WARNING: CPU",
        "BUG:",
        "Unable to handle kernel",
    ] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[test]
fn a_reset_ends_with_status_0_and_not_a_word() {
    let qemu = Qemu::with(Asm::new().print("hello").reset());
    let args = ["-nographic", "-no-reboot", "-kernel", "guest"];
    assert_end(&qemu.run(&args), 0, "hello", "");
    // The same without the link.
    let args = [&["qemu", "-M", "bamboo"], &args[..]].concat();
    assert_end(&qemu.0.run(&args), 0, "hello", "");
}

#[test]
fn a_reset_starts_the_guest_again_unless_that_is_switched_off() {
    let qemu = Qemu::with(Asm::new().print("again ").reset());
    let mut running = qemu.start(&["-nographic", "-kernel", "guest"]);
    for _ in 0..3 {
        running.expect("again ");
    }
    running.signal(Signal::TERM);
    assert_terminated(&running.end(), 15);
}

#[test]
fn signals_end_it_with_status_0() {
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2), (Signal::HUP, 1)] {
        let qemu = Qemu::with(Asm::new().print("up").busy());
        let mut running = qemu.start(&["-nographic", "-kernel", "guest"]);
        running.expect("up");
        running.signal(signal);
        assert_terminated(&running.end(), number);
    }
}

#[test]
fn a_hang_is_said_once_and_does_not_end_it() {
    let qemu = Qemu::with(Asm::new().print("up").spin());
    let mut running = qemu.start(&["-nographic", "-kernel", "guest"]);
    let line = running.said();
    assert!(
        line.starts_with("qemu-system-ppc: warning: the guest hangs"),
        "{line}"
    );
    assert!(running.child.try_wait().unwrap().is_none());
    running.signal(Signal::TERM);
    let output = running.end();
    assert_terminated(&output, 15);
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn a_power_off_ends_it_unless_that_is_switched_off() {
    let qemu = Qemu::with(Asm::new().print("off").power_off());
    let args = ["-nographic", "-kernel", "guest"];
    assert_end(&qemu.run(&args), 0, "off", "");
    let mut running = qemu.start(&[&args[..], &["-no-shutdown"]].concat());
    let line = running.said();
    assert!(
        line.contains("warning: the guest powered off; the machine stays"),
        "{line}"
    );
    running.signal(Signal::TERM);
    assert_terminated(&running.end(), 15);
}

#[test]
fn the_environment_turns_verdicts_on() {
    let qemu = Qemu::with(Asm::new().print("up").spin());
    let args = ["-nographic", "-kernel", "guest"];
    let with = |settings: &str| {
        let mut command = qemu.command(&args);
        command.env("PPCKVM_QEMU", settings).output().unwrap()
    };
    assert_end(&with("hang=exit"), 0, "up", "");
    let output = with("hang=exit,status=verdict");
    assert_eq!(output.status.code(), Some(35));
    let said = text(&output.stderr);
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("qemu-system-ppc: the guest hangs at pc"),
        "{said}"
    );
    let output = with("timeout=0.2");
    assert_eq!(output.status.code(), Some(124));
    let output = with("panics=exit");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("qemu-system-ppc: PPCKVM_QEMU: `panics=exit`"),
        "{said}"
    );
}

#[test]
fn what_is_refused_says_why_in_a_line_each() {
    let qemu = Qemu::new();
    let output = qemu.run(&["-kernel", "k", "-device", "nvme,drive=d", "-gdb", "ttyS0"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    for (line, part) in said.lines().zip(["nvme", "gdb is served at"]) {
        assert!(
            line.starts_with("qemu-system-ppc: -") && line.contains(part),
            "{said}"
        );
    }
    assert!(output.stdout.is_empty());
    let said = text(&qemu.run(&["-nographic", "-kernel", "nope"]).stderr);
    assert!(
        said.starts_with("qemu-system-ppc: could not load kernel 'nope': "),
        "{said}"
    );
}

#[test]
fn what_is_refused_goes_to_the_program_that_is_named_for_it() {
    use std::os::unix::fs::PermissionsExt;
    let qemu = Qemu::with(Asm::new().print("ours").reset());
    let script = qemu
        .0
        .file("real", "#!/bin/sh\nprintf '%s|' \"$@\"\nexit 7\n");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let with = |real: &Path, args: &[&str]| {
        let mut command = qemu.command(args);
        command.env("PPCKVM_QEMU_REAL", real).output().unwrap()
    };
    let args = ["-kernel", "a b", "-device", "e1000"];
    let output = with(&script, &args);
    assert_end(&output, 7, "-M|bamboo|-kernel|a b|-device|e1000|", "");
    let output = with(&script, &["-nographic", "-no-reboot", "-kernel", "guest"]);
    assert_end(&output, 0, "ours", "");
    // It does not hand it to itself for ever.
    let output = with(&qemu.0.path(NAME), &args);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("this is ppckvm itself"));
}

#[test]
fn probes_are_answered_on_standard_output() {
    let qemu = Qemu::new();
    for (args, part) in [
        (&["--version"][..], "QEMU emulator version 10."),
        (&["-M", "help"], "bamboo "),
        (&["-M", "none", "-netdev", "help"], "\nuser\n"),
        (&["-M", "none", "-device", "help"], "virtio-net-pci"),
        (&["-accel", "help"], "tcg\n"),
    ] {
        let output = qemu.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stdout).contains(part), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn explain_prints_a_command_line_that_does_the_same() {
    let qemu = Qemu::with(Asm::new().print("one").reset());
    let args = [
        "-no-reboot",
        "-kernel",
        "guest",
        "-nodefaults",
        "-serial",
        "stdio",
    ];
    let output = qemu.run(&[&["--explain"], &args[..]].concat());
    assert_eq!(output.status.code(), Some(0));
    let explained = text(&output.stdout);
    let line = explained.lines().last().unwrap();
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    assert_eq!(text(&qemu.0.run(&words).stdout), "one", "{line}");
    let output = qemu.run(&["--explain", "-kernel", "guest", "-kvm"]);
    assert_eq!(output.status.code(), Some(1));
    let output = qemu.run(&["--explain", "-kernel", "guest", "-s"]);
    assert!(text(&output.stdout).contains(" --gdb tcp:127.0.0.1:1234"));
}

#[test]
fn accesses_that_nothing_answers_are_said_when_asked_for() {
    // Nothing is there.
    let program = || Asm::new().li(3, 0xEF50_0000).lbz(4, 3, 0).reset();
    let qemu = Qemu::with(program());
    let args = ["-nographic", "-no-reboot", "-kernel", "guest"];
    assert_end(&qemu.run(&args), 0, "", "");
    let output = qemu.run(&[&args[..], &["-d", "guest_errors,unimp"]].concat());
    let said = text(&output.stderr);
    assert!(said.starts_with("qemu-system-ppc: warning: "), "{said}");
    assert!(said.contains("0xef500000"), "{said}");
}

/// The byte that Ctrl-a sends, as an echoing guest has it.
const CTRL_A: &[u8] = b"\x01";

#[test]
fn ctrl_a_in_a_pipe_is_the_multiplexers_or_the_guests() {
    let qemu = Qemu::with(echo());
    let args = ["-no-reboot", "-kernel", "guest", "-nodefaults"];
    let mut running = qemu.start(&[&args[..], &["-serial", "mon:stdio"]].concat());
    running.type_in(b"\x01c");
    running.expect("(qemu) ");
    running.type_in(b"\x01ca\x01\x01b\x01x");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).ends_with("QEMU: Terminated\n\r"));

    let mut running = qemu.start(&[&args[..], &["-serial", "stdio"]].concat());
    running.type_in(&[CTRL_A, b"x\0"].concat());
    assert_end(&running.end(), 0, "\u{1}x", "");
}

#[test]
fn a_terminal_is_named_on_standard_output() {
    let qemu = Qemu::with(echo());
    let args = [
        "-no-reboot",
        "-kernel",
        "guest",
        "-display",
        "none",
        "-serial",
        "pty",
    ];
    let mut running = qemu.start(&args);
    let mut line = String::new();
    let stdout = running.child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let name = line.strip_prefix("char device redirected to ").unwrap();
    let name = name.strip_suffix(" (label serial0)\n").unwrap();
    let mut terminal = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name)
        .unwrap();
    terminal.write_all(b"x").unwrap();
    let mut byte = [0];
    terminal.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
    running.signal(Signal::TERM);
    assert_terminated(&running.end(), 15);
}

#[test]
fn a_pid_file_is_locked_and_goes_with_the_run() {
    let qemu = Qemu::with(Asm::new().print("up").busy());
    let args = ["-nographic", "-kernel", "guest", "-pidfile", "pid"];
    let mut running = qemu.start(&args);
    running.expect("up");
    let path = qemu.0.path("pid");
    let pid = std::fs::read_to_string(&path).unwrap();
    assert_eq!(pid, format!("{}\n", running.child.id()));
    let second = qemu.run(&args);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(
        said.starts_with("qemu-system-ppc: cannot create PID file: "),
        "{said}"
    );
    running.signal(Signal::TERM);
    assert_terminated(&running.end(), 15);
    assert!(!path.exists());
}

#[test]
fn a_daemon_is_ready_when_its_caller_goes_on() {
    let qemu = Qemu::with(echo());
    let output = qemu.run(&[
        "-daemonize",
        "-no-reboot",
        "-kernel",
        "guest",
        "-display",
        "none",
        "-pidfile",
        "pid",
        "-serial",
        "unix:s,server=on,wait=off",
    ]);
    assert_end(&output, 0, "", "");
    let pid = std::fs::read_to_string(qemu.0.path("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    assert!(test_kill_process(pid).is_ok());
    let mut client = UnixStream::connect(qemu.0.path("s")).unwrap();
    client.write_all(b"x").unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
    // A zero byte has the guest reset, and the socket ends with the run.
    client.write_all(&[0]).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();

    let output = qemu.run(&["-daemonize", "-kernel", "nope", "-display", "none"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("qemu-system-ppc: could not load kernel"),
        "{said}"
    );
}

#[test]
fn descriptors_are_inherited() {
    let qemu = Qemu::with(echo());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let listener = UnixListener::bind(qemu.0.path("s")).unwrap();
    for (end, is_listener) in [(theirs.as_raw_fd(), false), (listener.as_raw_fd(), true)] {
        match is_listener {
            true => fcntl_setfd(&listener, FdFlags::empty()).unwrap(),
            false => fcntl_setfd(&theirs, FdFlags::empty()).unwrap(),
        }
        let chardev = format!("socket,id=c,fd={end}");
        let args = [
            "-no-reboot",
            "-kernel",
            "guest",
            "-display",
            "none",
            "-chardev",
        ];
        let running = qemu.start(&[&args[..], &[&chardev, "-serial", "chardev:c"]].concat());
        let mut client = match is_listener {
            true => UnixStream::connect(qemu.0.path("s")).unwrap(),
            false => ours.try_clone().unwrap(),
        };
        client.write_all(b"x\0").unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        assert_end(&running.end(), 0, "", "");
    }
}

/// The machine is a client; its driver listens, as labgrid does, and goes without ending it.
#[test]
fn a_driver_that_listens_has_the_console() {
    let qemu = Qemu::with(echo());
    let listener = UnixListener::bind(qemu.0.path("s")).unwrap();
    let running = qemu.start(&[
        "-no-reboot",
        "-kernel",
        "guest",
        "-nographic",
        "-monitor",
        "none",
        "-nic",
        "none",
        "-chardev",
        "socket,id=serialsocket,path=s",
        "-serial",
        "chardev:serialsocket",
    ]);
    let (mut console, _) = listener.accept().unwrap();
    console.write_all(b"x").unwrap();
    let mut byte = [0];
    console.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
    console.write_all(b"y").unwrap();
    drop(console);
    running.signal(Signal::TERM);
    assert_terminated(&running.end(), 15);
    drop(listener);
    let said = text(
        &qemu
            .run(&["-kernel", "guest", "-display", "none", "-serial", "unix:s"])
            .stderr,
    );
    assert!(said.contains("start what listens there first"), "{said}");
}

/// The paths of a Linux kernel and a root file system.
fn linux() -> [String; 2] {
    ["KERNEL_VMLINUX", "ROOTFS"].map(|name| guest(name).to_str().unwrap().to_owned())
}

#[test]
fn boot_utils_sees_a_prompt_and_a_clean_exit() {
    let qemu = Qemu::new();
    let [_, rootfs] = linux();
    let kernel = guest("KERNEL_UIMAGE");
    let mut running = qemu.start(&[
        "-display",
        "none",
        "-nodefaults",
        "-no-reboot",
        "-append",
        "console=ttyS0",
        "-kernel",
        kernel.to_str().unwrap(),
        "-initrd",
        &rootfs,
        "-m",
        "128m",
        "-serial",
        "mon:stdio",
    ]);
    running.expect(PROMPT);
    running.type_in(b"reboot -f\n");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

/// groeck's rules: standard output and error are one file, whose end is scanned; the status is 0
/// after a panic too, or the run counts as a failure of QEMU's.
#[test]
fn groecks_script_sees_a_crash_as_a_crash() {
    let qemu = Qemu::new();
    let [kernel, _] = linux();
    let output = qemu.run(&[
        "-kernel",
        &kernel,
        "-m",
        "256",
        "-no-reboot",
        "--append",
        "panic=-1 console=ttyS0",
        "-monitor",
        "none",
        "-nographic",
    ]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("Kernel panic - not syncing"));
    let said = text(&output.stderr);
    assert_no_scanned_word(&said);
    assert!(
        said.lines()
            .all(|line| line.starts_with("qemu-system-ppc: warning: ")),
        "{said}"
    );

    let with = |settings: &str, action: &[&str]| {
        let args = [
            &["-kernel", &kernel, "-append", "console=ttyS0", "-nographic"][..],
            action,
        ];
        let mut command = qemu.command(&args.concat());
        command.env("PPCKVM_QEMU", settings).output().unwrap()
    };
    // The kernel would stay where it is for ever.
    assert_eq!(with("panic=exit", &[]).status.code(), Some(0));
    assert_eq!(
        with("panic=exit,status=verdict", &[]).status.code(),
        Some(34)
    );
    assert_eq!(
        with("", &["-action", "panic=exit-failure"]).status.code(),
        Some(1)
    );
}

/// linuxppc's scripts: a raw disk of any length, a folder, and a halt that does not end it.
#[test]
fn linuxppcs_scripts_have_their_disk_and_see_the_halt() {
    let qemu = Qemu::new();
    let [kernel, rootfs] = linux();
    std::fs::write(qemu.0.path("selftests.tgz"), [b'x'; 700]).unwrap();
    std::fs::create_dir(qemu.0.path("D")).unwrap();
    std::fs::write(qemu.0.path("D/file"), "shared\n").unwrap();
    let mut running = qemu.start(&[
        "-nographic",
        "-vga",
        "none",
        "-smp",
        "1",
        "-m",
        "1G",
        "-accel",
        "tcg",
        "-kernel",
        &kernel,
        "-nic",
        "user,model=virtio-net-pci",
        "-initrd",
        &rootfs,
        "-append",
        "noreboot",
        "-drive",
        "file=selftests.tgz,format=raw,readonly=on,if=virtio,id=drive0",
        "-fsdev",
        "local,id=fsdev0,path=D,security_model=none",
        "-device",
        "virtio-9p-pci,fsdev=fsdev0,mount_tag=host0",
    ]);
    running.expect(PROMPT);
    running.type_in(b"wc -c < /dev/vda; tr -d 'x\\n' < /dev/vda | wc -c\n");
    running.expect("1024");
    running.expect("324");
    running.expect(PROMPT);
    running.type_in(b"mount -t 9p -o trans=virtio host0 /mnt && cat /mnt/file\n");
    running.expect("shared");
    running.expect(PROMPT);
    running.type_in(b"halt -f\n");
    running.expect("System Halted, OK to turn off power");
    let line = running.said();
    assert_eq!(
        line,
        "qemu-system-ppc: warning: the guest halted; the machine stays as it is"
    );
    assert!(running.child.try_wait().unwrap().is_none());
    // Ctrl-a x in place of the monitor's `quit`.
    running.type_in(b"\x01x");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    assert_no_scanned_word(&text(&output.stderr));
}

/// kunit.py: standard error goes where standard output goes, and its time-out is SIGTERM.
#[test]
fn kunit_reads_one_stream_and_ends_it_by_a_signal() {
    let qemu = Qemu::new();
    let [kernel, rootfs] = linux();
    let mut running = qemu.start(&[
        "-nodefaults",
        "-m",
        "1024",
        "-kernel",
        &kernel,
        "-append",
        "kunit.enable=1 console=ttyS0 kunit_shutdown=reboot",
        "-no-reboot",
        "-nographic",
        "-serial",
        "stdio",
        "-initrd",
        &rootfs,
    ]);
    running.expect(PROMPT);
    running.signal(Signal::TERM);
    let output = running.end();
    assert_terminated(&output, 15);
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

/// QEMU's own functional tests have the console at a socket, and no standard input.
#[test]
fn qemus_functional_tests_have_the_console_at_a_socket() {
    let qemu = Qemu::new();
    let [kernel, rootfs] = linux();
    let mut running = qemu.start(&[
        "-display",
        "none",
        "-vga",
        "none",
        "-chardev",
        "socket,id=console,path=P,server=on,wait=off",
        "-serial",
        "chardev:console",
        "-kernel",
        &kernel,
        "-initrd",
        &rootfs,
        "-nic",
        "user,model=virtio-net-pci,restrict=on",
    ]);
    drop(running.child.stdin.take());
    let path = qemu.0.path("P");
    let mut console = loop {
        match UnixStream::connect(&path) {
            Ok(console) => break console,
            Err(_) => assert!(running.child.try_wait().unwrap().is_none()),
        }
    };
    let mut seen = Vec::new();
    expect(&mut console, &mut seen, PROMPT);
    console
        .write_all(b"ls /sys/class/net/eth0/address && poweroff -f\n")
        .unwrap();
    expect(&mut console, &mut seen, "eth0/address");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
}

/// buildroot's readme, with the kernel that its users have: stock, without a PCI card's driver.
#[test]
fn a_stock_kernel_boots_to_its_prompt() {
    let qemu = Qemu::new();
    let [_, rootfs] = linux();
    let kernel = guest("BAMBOO_VMLINUX");
    let mut running = qemu.start(&[
        "-nographic",
        "-kernel",
        kernel.to_str().unwrap(),
        "-initrd",
        &rootfs,
        "-net",
        "nic,model=virtio-net-pci",
        "-net",
        "user",
        "-no-reboot",
    ]);
    running.expect(PROMPT);
    running.type_in(b"reboot -f\n");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

/// Where the real program is installed, what scripts read from it is in the same places.
#[test]
fn probes_have_the_form_of_the_real_programs() {
    let real = |args: &[&str]| Command::new("/usr/bin/qemu-system-ppc").args(args).output();
    if real(&["--version"]).is_err() {
        eprintln!("there is no /usr/bin/qemu-system-ppc to compare with");
        return;
    }
    let qemu = Qemu::new();
    for args in [
        &["--version"][..],
        &["-M", "help"],
        &["-M", "none", "-accel", "help"],
        &["-M", "none", "-netdev", "help"],
        &["-M", "none", "-device", "help"],
        &["-chardev", "help"],
        &["-display", "help"],
        &["-M", "none", "-cpu", "help"],
        &["-M", "bamboo", "-kernel"],
        &["-M", "bamboo", "-kernel", "k", "-frob"],
        &[
            "-M",
            "bamboo",
            "-display",
            "none",
            "-nodefaults",
            "-vga",
            "none",
            "-device",
            "frob",
        ],
    ] {
        let mut ours = Command::new(qemu.0.path(NAME));
        let ours = ours.args(args).output().unwrap();
        let theirs = real(args).unwrap();
        assert_eq!(ours.status.code(), theirs.status.code(), "{args:?}");
        let first = |output: &Output| {
            let both = text(&[&output.stdout[..], &output.stderr].concat());
            let line = both.lines().next().unwrap_or_default().to_owned();
            line.trim_end().to_owned()
        };
        match args {
            ["--version"] => {
                let word = |output| first(output).split(' ').nth(2).map(str::to_owned);
                assert_eq!(word(&ours), word(&theirs));
            }
            // Groups differ by what there is.
            [_, _, "-device", "help"] => {
                assert!(
                    [&ours, &theirs]
                        .iter()
                        .all(|output| first(output).ends_with(" devices:"))
                );
            }
            _ => assert_eq!(first(&ours), first(&theirs), "{args:?}"),
        }
    }
}
