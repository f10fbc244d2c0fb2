//! A machine that runs, controlled from outside: the dialogues of labgrid, of QEMU's own functional
//! tests and of people, over QMP and HMP.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use object::{Object, ObjectSegment};
use serde_json::{Value, json};
use support::command::{Ppckvm, text};
use support::guest;
use support::linux::PROMPT;

/// How long anything may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of the machine protocol.
struct Qmp<R> {
    reader: BufReader<R>,
    writer: Box<dyn Write>,
    events: Vec<Value>,
}

impl<R: Read> Qmp<R> {
    fn new(reader: R, writer: impl Write + 'static) -> Self {
        let mut qmp = Qmp {
            reader: BufReader::new(reader),
            writer: Box::new(writer),
            events: Vec::new(),
        };
        assert!(qmp.read()["QMP"]["version"]["qemu"]["major"].is_u64());
        qmp
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.reader.read_line(&mut line).unwrap() > 0, "it ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Sends bytes and returns the next answer; events are kept.
    fn send(&mut self, bytes: &[u8]) -> Value {
        self.writer.write_all(bytes).unwrap();
        self.writer.flush().unwrap();
        loop {
            let answer = self.read();
            match answer.get("event") {
                Some(_) => self.events.push(answer),
                None => return answer,
            }
        }
    }

    fn execute(&mut self, name: &str, arguments: Value) -> Value {
        let command = json!({"execute": name, "arguments": arguments});
        self.send(format!("{command}\n").as_bytes())
    }

    /// Does a command that must succeed.
    fn done(&mut self, name: &str) {
        assert_eq!(
            self.execute(name, json!({})),
            json!({"return": {}}),
            "{name}"
        );
    }

    /// What a line that a person types comes to.
    fn human(&mut self, line: &str) -> String {
        let answer = self.execute("human-monitor-command", json!({"command-line": line}));
        answer["return"].as_str().unwrap().to_owned()
    }

    fn status(&mut self) -> String {
        let answer = self.execute("query-status", json!({}));
        answer["return"]["status"].as_str().unwrap().to_owned()
    }

    fn event_names(&self) -> Vec<&str> {
        let events = self.events.iter();
        events
            .map(|event| event["event"].as_str().unwrap())
            .collect()
    }
}

fn connect(path: &Path) -> UnixStream {
    let end = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            // It has not begun to listen.
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn qmp_at(path: &Path) -> Qmp<UnixStream> {
    let stream = connect(path);
    let mut qmp = Qmp::new(stream.try_clone().unwrap(), stream);
    qmp.done("qmp_capabilities");
    qmp
}

/// Reads until some text has come.
fn wait_for(reader: &mut impl Read, wanted: &str) -> String {
    let mut all = Vec::new();
    let mut byte = [0];
    while !all.ends_with(wanted.as_bytes()) {
        let count = reader.read(&mut byte).unwrap();
        assert!(count > 0, "{wanted:?} does not come: {}", text(&all));
        all.extend(byte);
    }
    text(&all)
}

fn end_of(mut child: Child) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut out).unwrap();
    }
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut err).unwrap();
    }
    (child.wait().unwrap().code(), out, err)
}

fn kernel() -> String {
    guest("KERNEL_UIMAGE").display().to_string()
}

fn rootfs() -> String {
    guest("ROOTFS").display().to_string()
}

/// QEMU's command line for the test kernel.
fn qemu(ppckvm: &Ppckvm, args: &[&str]) -> Child {
    let (kernel, rootfs) = (kernel(), rootfs());
    let common = [
        "qemu",
        "-M",
        "bamboo",
        "-m",
        "128",
        "-kernel",
        &kernel,
        "-initrd",
        &rootfs,
        "-append",
        "console=ttyS0 loglevel=4",
    ];
    let mut command = ppckvm.command(&[&common, args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn labgrids_dialogue_holds_boots_and_quits() {
    let ppckvm = Ppckvm::new();
    let console = UnixListener::bind(ppckvm.path("serial")).unwrap();
    let mut child = qemu(
        &ppckvm,
        &[
            "-nographic",
            "-nic",
            "none",
            "-S",
            "-qmp",
            "stdio",
            "-chardev",
            "socket,id=serialsocket,path=serial",
            "-serial",
            "chardev:serialsocket",
        ],
    );
    let mut qmp = Qmp::new(child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let (mut console, _) = console.accept().unwrap();
    console.set_nonblocking(true).unwrap();
    let early = qmp.execute("query-status", json!({}));
    assert_eq!(early["error"]["class"], "CommandNotFound");
    qmp.done("qmp_capabilities");
    assert_eq!(qmp.status(), "prelaunch");
    assert_eq!(
        qmp.human("info status"),
        "VM status: paused (prelaunch)\r\n"
    );
    // Not one instruction was executed.
    assert_eq!(qmp.human("p $pc"), "0x0\r\n");
    let none = console.read(&mut [0]).unwrap_err();
    assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
    console.set_nonblocking(false).unwrap();
    console.set_read_timeout(Some(PATIENCE)).unwrap();
    qmp.done("cont");
    assert_eq!(qmp.event_names(), ["RESUME"]);
    assert!(qmp.events[0]["timestamp"]["seconds"].as_u64() > Some(1_000_000_000));
    wait_for(&mut console, PROMPT);
    qmp.done("quit");
    let (status, _, err) = end_of(child);
    assert_eq!((status, err.as_str()), (Some(0), ""));
}

#[test]
fn qemus_own_test_dialogue_keeps_ids_stops_and_goes_on() {
    let ppckvm = Ppckvm::new();
    let child = qemu(
        &ppckvm,
        &[
            "-display",
            "none",
            "-vga",
            "none",
            "-chardev",
            "socket,id=mon,path=mon,server=on,wait=off",
            "-mon",
            "chardev=mon,mode=control",
            "-chardev",
            "socket,id=console,path=console,server=on,wait=off",
            "-serial",
            "chardev:console",
            "-nic",
            "user,model=virtio-net-pci,restrict=on",
        ],
    );
    let mut qmp = qmp_at(&ppckvm.path("mon"));
    let mut other = qmp_at(&ppckvm.path("mon"));
    let mut console = connect(&ppckvm.path("console"));
    // Without a newline, and two at once.
    let answer = qmp.send(
        br##"{"execute":"query-status","id":"__qmp#00001"}{"execute":"query-name","id":[2]}"##,
    );
    let running = json!({"return": {"status": "running", "running": true}, "id": "__qmp#00001"});
    assert_eq!(answer, running);
    assert_eq!(qmp.read(), json!({"return": {}, "id": [2]}));
    wait_for(&mut console, PROMPT);

    qmp.done("stop");
    assert_eq!(qmp.status(), "paused");
    let before = qmp.human("info registers");
    assert!(before.contains("NIP c0"), "{before}");
    // The guest's time stands still, however long.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(qmp.human("info registers"), before);
    console.write_all(b"echo at$((40+2))\n").unwrap();
    qmp.done("cont");
    wait_for(&mut console, "at42\r\n");
    assert_ne!(qmp.human("info registers"), before);

    qmp.done("system_powerdown");
    qmp.done("system_reset");
    let names = ["STOP", "RESUME", "POWERDOWN", "RESET"];
    assert_eq!(qmp.event_names(), names);
    let data = json!({"guest": false, "reason": "host-qmp-system-reset"});
    assert_eq!(qmp.events[3]["data"], data);
    wait_for(&mut console, PROMPT);
    qmp.done("quit");
    let mut told = Vec::new();
    loop {
        let event = other.read();
        told.push(event["event"].as_str().unwrap().to_owned());
        if told.last().unwrap() == "SHUTDOWN" {
            assert_eq!(event["data"]["reason"], "host-qmp-quit");
            break;
        }
    }
    assert_eq!(told, ["STOP", "RESUME", "POWERDOWN", "RESET", "SHUTDOWN"]);
    assert_eq!(end_of(child).0, Some(0));
}

#[test]
fn ctrl_a_c_leads_to_a_prompt_and_back_and_quit_ends_the_run() {
    let ppckvm = Ppckvm::new();
    let mut child = qemu(&ppckvm, &["-nographic", "-nic", "user"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    wait_for(&mut stdout, PROMPT);
    stdin.write_all(b"\x01c").unwrap();
    let banner = wait_for(&mut stdout, "(qemu) ");
    assert!(banner.contains("monitor"), "{banner}");
    stdin.write_all(b"info version\r").unwrap();
    assert!(wait_for(&mut stdout, "(qemu) ").contains("10.0.0"));
    stdin.write_all(b"\x01cecho gu$((1))est\n").unwrap();
    wait_for(&mut stdout, "gu1est\r\n");
    stdin.write_all(b"\x01c").unwrap();
    wait_for(&mut stdout, "(qemu) ");
    stdin.write_all(b"quit\n").unwrap();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", text(&rest));
}

#[test]
fn a_port_is_forwarded_while_the_guest_runs_and_no_longer() {
    let ppckvm = Ppckvm::new();
    let mut child = qemu(
        &ppckvm,
        &[
            "-nographic",
            "-serial",
            "stdio",
            "-qmp",
            "unix:qmp,server=on,wait=off",
            "-netdev",
            "user,id=n0",
            "-device",
            "virtio-net-pci,netdev=n0",
        ],
    );
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    wait_for(&mut stdout, PROMPT);
    let mut qmp = qmp_at(&ppckvm.path("qmp"));
    assert_eq!(qmp.human("hostfwd_add n0 tcp:127.0.0.1:0-:99"), "");
    let listed = qmp.human("info network");
    let (_, port) = listed.split_once("tcp:127.0.0.1:").unwrap();
    let port: u16 = port.split_once('-').unwrap().0.parse().unwrap();
    stdin
        .write_all(b"ip link set eth0 up; udhcpc -q -i eth0 >/dev/null 2>&1; echo rea$((1))dy; nc -l -p 99 -e echo hello\n")
        .unwrap();
    wait_for(&mut stdout, "rea1dy\r\n");
    let end = Instant::now() + PATIENCE;
    let mut answer = String::new();
    // The guest's program listens soon.
    while answer != "hello\n" {
        assert!(
            Instant::now() < end,
            "the guest does not answer: {answer:?}"
        );
        answer.clear();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.read_to_string(&mut answer);
    }
    let rule = format!("tcp:127.0.0.1:{port}");
    let removed = format!("host forwarding rule for {rule} removed\r\n");
    assert_eq!(qmp.human(&format!("hostfwd_remove n0 {rule}")), removed);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(
        qmp.human(&format!("hostfwd_remove {rule}"))
            .contains("not found")
    );
    assert!(qmp.human("hostfwd_add nosuch tcp::0-:1").contains("Error"));
    qmp.done("quit");
    drop(stdin);
    assert_eq!(end_of(child).0, Some(0));
}

#[test]
fn a_core_file_holds_the_kernel_where_the_kernel_has_it() {
    let ppckvm = Ppckvm::new();
    let mut child = qemu(
        &ppckvm,
        &[
            "-nographic",
            "-serial",
            "stdio",
            "-qmp",
            "unix:qmp,server=on,wait=off",
            "-nic",
            "none",
        ],
    );
    let stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    wait_for(&mut stdout, PROMPT);
    let mut qmp = qmp_at(&ppckvm.path("qmp"));
    let map = std::fs::read_to_string(guest("SYSTEM_MAP")).unwrap();
    let symbol = map
        .lines()
        .find(|line| line.ends_with(" linux_banner"))
        .unwrap();
    let banner = u64::from_str_radix(symbol.split(' ').next().unwrap(), 16).unwrap();
    for (paging, address) in [(true, banner), (false, banner & 0x0FFF_FFFF)] {
        let arguments = json!({"paging": paging, "protocol": "file:core"});
        assert_eq!(
            qmp.execute("dump-guest-memory", arguments),
            json!({"return": {}})
        );
        assert_eq!(qmp.event_names().last(), Some(&"DUMP_COMPLETED"));
        let core = std::fs::read(ppckvm.path("core")).unwrap();
        let core = object::File::parse(&*core).unwrap();
        assert_eq!(core.architecture(), object::Architecture::PowerPc);
        let found = core
            .segments()
            .find_map(|segment| segment.data_range(address, 14).ok()?);
        assert_eq!(found, Some(&b"Linux version "[..]), "{paging}");
    }
    let arguments = json!({"val": banner, "size": 14, "filename": "piece"});
    assert_eq!(qmp.execute("memsave", arguments), json!({"return": {}}));
    assert_eq!(
        std::fs::read(ppckvm.path("piece")).unwrap(),
        b"Linux version "
    );
    let arguments = json!({"val": 0xFFFF_FFF0u32, "size": 16, "filename": "piece"});
    let refused = qmp.execute("pmemsave", arguments);
    assert!(
        refused["error"]["desc"]
            .as_str()
            .unwrap()
            .contains("Invalid addr"),
        "{refused}"
    );
    let shown = qmp.human(&format!("x /4xb {banner:#x}"));
    assert!(shown.ends_with(": 0x4c 0x69 0x6e 0x75\r\n"), "{shown}");
    qmp.done("quit");
    drop(stdin);
    assert_eq!(end_of(child).0, Some(0));
}

#[test]
fn no_line_of_a_client_ends_anything() {
    let ppckvm = Ppckvm::new();
    let child = qemu(
        &ppckvm,
        &[
            "-display",
            "none",
            "-nodefaults",
            "-S",
            "-qmp",
            "unix:qmp,server=on,wait=off",
            "-monitor",
            "unix:hmp,server=on,wait=off",
        ],
    );
    let mut qmp = qmp_at(&ppckvm.path("qmp"));
    let deep = "[".repeat(100_000) + "\n";
    for (line, desc) in [
        ("xx\n", "JSON parse error"),
        ("{]\n", "JSON parse error"),
        ("[1]\n", "QMP input must be a JSON object"),
        ("{\"exec\":1}\n", "QMP input member 'exec' is unexpected"),
        ("{\"execute\":1}\n", "must be a string"),
        (
            "{\"execute\":\"stop\",\"arguments\":{\"a\":1}}",
            "Parameter 'a' is unexpected",
        ),
        (
            "{\"execute\":\"human-monitor-command\"}",
            "Parameter 'command-line' is missing",
        ),
        (
            "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}",
            "fd=N",
        ),
        (
            "{\"execute\":\"nosuch\"}",
            "The command nosuch has not been found",
        ),
        ("{\"a\":\"b\n", "a string ends with its line"),
    ] {
        let answer = qmp.send(line.as_bytes());
        let got = answer["error"]["desc"].as_str().unwrap();
        assert!(got.contains(desc), "{line}: {got}");
    }
    qmp.writer.write_all(deep.as_bytes()).unwrap();
    // A client that leaves in the middle.
    drop(qmp);
    let mut other = qmp_at(&ppckvm.path("qmp"));
    assert_eq!(other.status(), "prelaunch");
    let mut hmp = connect(&ppckvm.path("hmp"));
    wait_for(&mut hmp, "(qemu) ");
    hmp.write_all(&vec![0xFF; 1 << 20]).unwrap();
    hmp.write_all(b"\nx /99999999xg 0\nx /4i 0\np (((\nsavevm a\n")
        .unwrap();
    for said in [
        "unknown command",
        "at most",
        "not shown",
        "unexpected end",
        "not saved yet",
    ] {
        let answer = wait_for(&mut hmp, "\r\n(qemu) ");
        assert!(answer.contains(said), "{said}: {answer}");
    }
    other.done("quit");
    assert_eq!(end_of(child).0, Some(0));
}

#[test]
fn ctl_controls_a_machine_that_runs() {
    let ppckvm = Ppckvm::new();
    let (kernel, rootfs) = (kernel(), rootfs());
    let mut run = ppckvm.command(&[
        "run",
        "--kernel",
        &kernel,
        "--initrd",
        &rootfs,
        "--control",
        "unix=c",
        "--paused",
        "--serial",
        "null",
    ]);
    let run = run.stdin(Stdio::null()).stdout(Stdio::null());
    let child = run.stderr(Stdio::piped()).spawn().unwrap();
    drop(connect(&ppckvm.path("c")));
    let ctl = |args: &[&str]| {
        let output = ppckvm.run(&[&["ctl", "c"], args].concat());
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    assert_eq!(
        ctl(&["info", "status"]),
        (Some(0), "VM status: paused (prelaunch)\n".into())
    );
    assert_eq!(ctl(&["cont"]), (Some(0), String::new()));
    let (status, answer) = ctl(&["query-status"]);
    assert!(
        status == Some(0) && answer.contains("\"running\": true"),
        "{answer}"
    );
    let (status, answer) = ctl(&["nosuch"]);
    assert_eq!(
        (status, answer.as_str()),
        (Some(1), "unknown command: 'nosuch'\n")
    );
    assert_eq!(ctl(&["quit"]), (Some(0), String::new()));
    let (status, _, err) = end_of(child);
    assert_eq!(status, Some(0), "{err}");
    assert!(err.contains("control is unix=c"), "{err}");
    assert!(!ppckvm.path("c").exists());
    let (status, answer) = ctl(&["stop"]);
    assert!(
        status == Some(1) && answer.contains("--control unix=c"),
        "{answer}"
    );
}
