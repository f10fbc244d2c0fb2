//! `--serial`: every destination, from the command line, with guests of a few instructions.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::asm::{Asm, UART0, echo};
use tempfile::TempDir;

/// UART1 and UART2 follow at the same distance.
const UART_STEP: u32 = 0x100;

struct Ppckvm {
    dir: TempDir,
}

impl Ppckvm {
    fn new(program: Asm) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("guest"), program.elf(0, 0)).unwrap();
        Ppckvm { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, serial: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppckvm"));
        command
            .args(["run", "--kernel", "guest"])
            .args(serial.iter().flat_map(|dest| ["--serial", dest]))
            .current_dir(self.dir.path())
            .env_remove("PPCKVM_LOG");
        command
    }

    fn run(&self, serial: &[&str]) -> Output {
        self.command(serial).stdin(Stdio::null()).output().unwrap()
    }

    fn start(&self, serial: &[&str]) -> Running {
        Running::of(&mut self.command(serial))
    }
}

struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running { child, stderr }
    }

    /// What follows `start` in the line that has it.
    fn announced(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "{start}");
            if let Some(rest) = line.trim_end().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// The rest of standard error, after a good end.
    fn end(mut self) -> String {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest}");
        rest
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A guest that prints on several ports in turn.
fn print_on_each(texts: &[&str]) -> Asm {
    let print = |asm: Asm, (uart, text): (u32, &&str)| {
        text.bytes()
            .fold(asm.li(30, UART0 + uart * UART_STEP), |asm, byte| {
                asm.addi(31, 0, byte.into()).stb(31, 30, 0)
            })
    };
    (0..).zip(texts).fold(Asm::new(), print).reset()
}

/// More than any socket or terminal takes without a reader, less than what is kept.
const LONG: usize = 700 << 10;

/// A guest that prints `LONG` bytes, the last byte of each four counting; then resets.
fn print_long() -> Asm {
    Asm::new()
        .li(30, UART0)
        .li(5, 0)
        .label("next")
        .stb(5, 30, 0)
        .addi(5, 5, 1)
        // cmpw r5,r6
        .li(6, LONG as u32)
        .word(0x7C05_3000)
        .bne("next")
        .reset()
}

fn long() -> Vec<u8> {
    (0..LONG).map(|at| at as u8).collect()
}

#[test]
fn without_the_option_the_first_port_has_stdio() {
    let ppckvm = Ppckvm::new(print_on_each(&["zero", "one"]));
    let output = ppckvm.run(&[]);
    assert_eq!(text(&output.stdout), "zero");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_ports_take_their_destinations_in_order() {
    let ppckvm = Ppckvm::new(print_on_each(&["zero", "one", "two", "three"]));
    let output = ppckvm.run(&["file=0", "null", "stdio", "file=3"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "two");
    assert_eq!(std::fs::read(ppckvm.path("0")).unwrap(), b"zero");
    assert_eq!(std::fs::read(ppckvm.path("3")).unwrap(), b"three");
}

#[test]
fn a_file_is_made_anew_and_holds_all() {
    let ppckvm = Ppckvm::new(print_long());
    std::fs::write(ppckvm.path("log"), "from before").unwrap();
    let output = ppckvm.run(&["file=log"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(std::fs::read(ppckvm.path("log")).unwrap() == long());
    assert!(output.stdout.is_empty());
}

#[test]
fn a_client_of_a_unix_socket_talks_to_the_guest() {
    let ppckvm = Ppckvm::new(Asm::new().print("hi").append(echo()));
    let mut running = ppckvm.start(&["unix=s"]);
    assert_eq!(running.announced("ppckvm: uart0 is "), "unix=s");
    let mut client = UnixStream::connect(ppckvm.path("s")).unwrap();
    client.write_all(b"abc\0").unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(text(&all), "hiabc");
    running.end();
    assert!(!ppckvm.path("s").exists());
}

#[test]
fn a_client_of_a_tcp_socket_talks_to_the_guest() {
    let ppckvm = Ppckvm::new(Asm::new().print("hi").append(echo()));
    let mut running = ppckvm.start(&["tcp=127.0.0.1:0"]);
    let address = running.announced("ppckvm: uart0 is tcp=");
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"abc\0").unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(text(&all), "hiabc");
    running.end();
}

#[test]
fn a_client_that_comes_late_gets_all_of_it() {
    let ppckvm = Ppckvm::new(print_long());
    let mut running = ppckvm.start(&["unix=s"]);
    running.announced("ppckvm: uart0 is ");
    let mut client = UnixStream::connect(ppckvm.path("s")).unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert!(all == long(), "{} bytes", all.len());
    assert!(!running.end().contains("lost"));
}

#[test]
fn clients_take_turns_and_only_the_input_may_end() {
    let ppckvm = Ppckvm::new(echo());
    let mut running = ppckvm.start(&["unix=s"]);
    running.announced("ppckvm: uart0 is ");
    let connect = || UnixStream::connect(ppckvm.path("s")).unwrap();
    let read = |client: &mut UnixStream| {
        let mut byte = [0];
        client.read_exact(&mut byte).map(|()| byte[0])
    };
    // One that goes in order.
    let mut first = connect();
    first.write_all(b"1").unwrap();
    assert_eq!(read(&mut first).unwrap(), b'1');
    drop(first);
    // One that has nothing more to say gets its answer.
    let mut second = connect();
    second.write_all(b"2").unwrap();
    second.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read(&mut second).unwrap(), b'2');
    // And makes room for the next, who ends the guest.
    let mut third = connect();
    third.write_all(b"3\0").unwrap();
    let mut rest = Vec::new();
    third.read_to_end(&mut rest).unwrap();
    assert_eq!(text(&rest), "3");
    running.end();
}

#[test]
fn a_pseudo_terminal_has_a_name_and_passes_bytes_as_they_are() {
    let ppckvm = Ppckvm::new(Asm::new().print("a\nb").append(echo()));
    let mut running = ppckvm.start(&["null", "pty"]);
    // UART1's terminal; the guest talks on UART0, so nothing comes, but it opens.
    let name = running.announced("ppckvm: uart1 is ");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    running.child.kill().unwrap();
    running.child.wait().unwrap();

    let mut running = ppckvm.start(&["pty"]);
    let name = running.announced("ppckvm: uart0 is ");
    let mut terminal = std::fs::File::from(rustix::fs::open(&name, flags, Mode::empty()).unwrap());
    let mut expected = b"a\nb".to_vec();
    let mut got = vec![0; expected.len()];
    terminal.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
    // Every byte but the one that ends the guest, control characters among them.
    let all: Vec<u8> = (1..=255).collect();
    terminal.write_all(&all).unwrap();
    got.resize(all.len(), 0);
    terminal.read_exact(&mut got).unwrap();
    expected = all;
    assert!(got == expected);
    terminal.write_all(b"\0").unwrap();
    assert!(!running.end().contains("lost"));
}

#[test]
fn what_a_pseudo_terminal_has_not_passed_on_is_waited_for() {
    let ppckvm = Ppckvm::new(print_long());
    let mut running = ppckvm.start(&["pty"]);
    let name = running.announced("ppckvm: uart0 is ");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let mut terminal = std::fs::File::from(rustix::fs::open(&name, flags, Mode::empty()).unwrap());
    let mut all = vec![0; LONG];
    terminal.read_exact(&mut all).unwrap();
    assert!(all == long());
    assert!(!running.end().contains("lost"));
}

#[test]
fn output_that_nobody_fetches_is_said_to_be_lost() {
    let ppckvm = Ppckvm::new(Asm::new().print("unheard").reset());
    let output = ppckvm.run(&["unix=s"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let line = "nobody reads uart0: the last 7 bytes of output are lost";
    assert!(stderr.contains(line), "{stderr}");
}

/// The process may open nothing more, or as much as before.
fn limit_descriptors(running: &Running, limit: Option<u64>) -> Option<u64> {
    let pid = Pid::from_child(&running.child);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: limit,
        maximum,
    };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap().current
}

#[test]
fn without_descriptors_clients_are_turned_away_and_the_run_goes_on() {
    let ppckvm = Ppckvm::new(Asm::new().print("hi").append(echo()));
    let mut command = ppckvm.command(&["unix=s", "tcp=127.0.0.1:0"]);
    command.args(["--no-rng", "--vsock", "cid=3,uds=v"]);
    let mut running = Running::of(&mut command);
    running.announced("ppckvm: uart0 is ");
    let address = running.announced("ppckvm: uart1 is tcp=");
    let mut first = UnixStream::connect(ppckvm.path("s")).unwrap();
    let mut hi = [0; 2];
    first.read_exact(&mut hi).unwrap();
    // All descriptors are taken: the lowest number that is free is the limit.
    let files = PathBuf::from(format!("/proc/{}/fd", running.child.id()));
    let is_open = |number: &u64| files.join(number.to_string()).symlink_metadata().is_ok();
    let free = (0..).find(|number| !is_open(number));
    let before = limit_descriptors(&running, free);
    let ended = |client: &mut dyn Read| {
        // Closed at once, or reset.
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    };
    ended(&mut UnixStream::connect(ppckvm.path("v")).unwrap());
    ended(&mut TcpStream::connect(&address).unwrap());
    // The guest goes on, and so do clients once there is room.
    first.write_all(b"x").unwrap();
    first.read_exact(&mut hi[..1]).unwrap();
    limit_descriptors(&running, before);
    drop(first);
    let mut second = UnixStream::connect(ppckvm.path("s")).unwrap();
    second.write_all(b"y\0").unwrap();
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).unwrap();
    assert_eq!(text(&rest), "y");
    let stderr = running.end();
    assert!(stderr.lines().count() < 10, "{stderr}");
}

#[test]
fn a_socket_that_a_kill_left_is_taken_over_at_the_next_start() {
    let ppckvm = Ppckvm::new(echo());
    for round in 0..2 {
        let mut command = ppckvm.command(&["unix=s"]);
        command.args(["--vsock", "cid=3,uds=v"]);
        let mut running = Running::of(&mut command);
        assert_eq!(running.announced("ppckvm: uart0 is "), "unix=s");
        if round == 0 {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
            assert!(ppckvm.path("s").exists() && ppckvm.path("v").exists());
        } else {
            let mut client = UnixStream::connect(ppckvm.path("s")).unwrap();
            client.write_all(b"\0").unwrap();
            running.end();
        }
    }
    assert!(!ppckvm.path("s").exists() && !ppckvm.path("v").exists());
}

#[test]
fn what_is_in_use_is_refused_in_one_line_before_the_start() {
    let ppckvm = Ppckvm::new(Asm::new().print("started").reset());
    let used = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = format!("tcp={}", used.local_addr().unwrap());
    let _used = UnixListener::bind(ppckvm.path("used")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, ppckvm.path("pipe"), fifo, Mode::RWXU, 0).unwrap();
    for (serial, parts) in [
        (&[tcp.as_str()][..], [tcp.as_str(), "in use"]),
        (&["unix=used"], ["unix=used", "in use"]),
        (&["unix=none/s"], ["unix=none/s", "No such file"]),
        (&["file=none/s"], ["file=none/s", "No such file"]),
        (&["file=."], ["file=.", "directory"]),
        (&["file=pipe"], ["file=pipe", "start its reader first"]),
        (
            &["stdio", "stdio"],
            ["two serial ports", "another destination"],
        ),
        (&["null"; 5], ["5 serial destinations", "4 ports"]),
    ] {
        let output = ppckvm.run(serial);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{serial:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    // A path that was in use is still there, and its owner still listens.
    UnixStream::connect(ppckvm.path("used")).unwrap();
    // No destination at all is a question of usage.
    let output = ppckvm.run(&["udp=1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("tcp=HOST:PORT"));
}

#[test]
fn the_console_log_has_what_the_console_prints_byte_for_byte() {
    let ppckvm = Ppckvm::new(print_long());
    let log = ppckvm.path("log");
    // What an earlier run left is gone.
    std::fs::write(&log, vec![b'x'; 2 * LONG]).unwrap();
    let mut command = ppckvm.command(&[]);
    command.args(["--console-log", "log"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(output.stdout.len(), LONG);
    assert!(std::fs::read(&log).unwrap() == output.stdout);
    // Of several ports, the one with standard output.
    let ppckvm = Ppckvm::new(print_on_each(&["zero", "one"]));
    let mut command = ppckvm.command(&["file=first", "stdio"]);
    command.args(["--console-log", "log"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, b"one");
    assert_eq!(std::fs::read(ppckvm.path("log")).unwrap(), b"one");
    // Without any, UART0; nobody else need take what it sends.
    let mut command = ppckvm.command(&["null"]);
    command.args(["--console-log", "log"]);
    command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(std::fs::read(ppckvm.path("log")).unwrap(), b"zero");
}

#[test]
fn a_console_outlives_its_log() {
    let ppckvm = Ppckvm::new(print_long());
    let mut command = ppckvm.command(&[]);
    command.args(["--console-log", "/dev/full"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(output.stdout.len(), LONG);
    assert_eq!(said.matches("is incomplete").count(), 1, "{said}");
    assert!(
        said.contains("/dev/full is incomplete: No space left"),
        "{said}"
    );
    let mut command = ppckvm.command(&[]);
    command.args(["--console-log", "missing/log"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("console log missing/log cannot be written"));
}

#[test]
fn the_log_tells_of_clients_that_come_and_go() {
    let ppckvm = Ppckvm::new(Asm::new().print("hi").append(echo()));
    let mut command = ppckvm.command(&["unix=s"]);
    let mut running = Running::of(command.env("PPCKVM_LOG", "debug"));
    running.announced("ppckvm: uart0 is ");
    let mut first = UnixStream::connect(ppckvm.path("s")).unwrap();
    first.read_exact(&mut [0; 2]).unwrap();
    drop(first);
    let mut second = UnixStream::connect(ppckvm.path("s")).unwrap();
    second.write_all(b"\0").unwrap();
    second.read_to_end(&mut Vec::new()).unwrap();
    let log = running.end();
    let times = |what: &str| log.lines().filter(|line| line.ends_with(what)).count();
    assert_eq!(times("unix=s: a client is there"), 2, "{log}");
    assert!(times("unix=s: the client is gone") >= 1, "{log}");
}

#[test]
fn a_port_connects_to_who_listens_and_outlives_its_peer() {
    let ppckvm = Ppckvm::new(echo());
    let unix = UnixListener::bind(ppckvm.path("s")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp-connect={}", tcp.local_addr().unwrap());

    let running = ppckvm.start(&["unix-connect=s"]);
    let (mut peer, _) = unix.accept().unwrap();
    peer.write_all(b"x\0").unwrap();
    let mut seen = String::new();
    peer.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "x");
    running.end();

    // The peer is gone before the guest has answered: it echoes to nobody, and resets.
    let running = ppckvm.start(&[&address]);
    let (mut peer, _) = tcp.accept().unwrap();
    peer.write_all(&[&[b'y'; 100][..], &[0]].concat()).unwrap();
    peer.shutdown(Shutdown::Both).unwrap();
    drop(peer);
    running.end();
}

#[test]
fn a_connection_to_nobody_is_refused_before_the_start() {
    let ppckvm = Ppckvm::new(echo());
    drop(UnixListener::bind(ppckvm.path("dead")).unwrap());
    for (destination, part) in [
        ("unix-connect=nowhere", "No such file"),
        ("unix-connect=dead", "start what listens there first"),
        ("tcp-connect=127.0.0.1:1", "start what listens there first"),
        ("fd=99", "let it be inherited"),
    ] {
        let output = ppckvm.run(&[destination]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(destination) && said.contains(part), "{said}");
    }
}
