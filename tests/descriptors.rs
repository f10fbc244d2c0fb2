//! A launcher that may open nothing more, while its guest and its clients want connections.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::guest;
use support::linux::PROMPT;
use tempfile::TempDir;

/// The command with Linux and a user network, its shell on pipes, its messages in a file.
struct Running {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
    dir: TempDir,
}

impl Running {
    fn start(net: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
            .args(["run", "--timeout", "4m", "--append", "console=ttyS0 quiet"])
            .arg("--kernel")
            .arg(guest("KERNEL_UIMAGE"))
            .arg("--initrd")
            .arg(guest("ROOTFS"))
            .args(["--net", net])
            .env("PPCKVM_LOG", "debug")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Running {
            keys: child.stdin.take().unwrap(),
            screen: child.stdout.take().unwrap(),
            child,
            seen: String::new(),
            dir,
        };
        running.expect(PROMPT);
        running
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Reads what the guest prints until it prints `text`.
    fn expect(&mut self, text: &str) {
        let mut chunk = [0; 4096];
        while !self.seen.contains(text) {
            let count = self.screen.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "no {text:?} in {:?}; {}", self.seen, self.log());
            let printed = String::from_utf8_lossy(&chunk[..count]);
            self.seen.push_str(&printed);
        }
        self.seen = self.seen.split_once(text).unwrap().1.to_owned();
    }

    /// Has the guest begin with a command.
    fn begin(&mut self, line: &str) {
        // The shell computes the mark, so that the echo of this line does not hold it.
        writeln!(self.keys, "{line}; echo ended-$((40+2))").unwrap();
    }

    /// Has the guest run a command to its end.
    fn run(&mut self, line: &str) {
        self.begin(line);
        self.expect("ended-42");
    }

    /// Sets how many descriptors the launcher may have; how many it might before.
    fn limit(&self, limit: Option<u64>) -> Option<u64> {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: limit,
            maximum,
        };
        let pid = Pid::from_child(&self.child);
        prlimit(Some(pid), Resource::Nofile, limit).unwrap().current
    }

    /// The lowest number of a descriptor that the launcher does not have.
    fn lowest_free(&self) -> u64 {
        let files = PathBuf::from(format!("/proc/{}/fd", self.child.id()));
        let is_open = |number: &u64| files.join(number.to_string()).symlink_metadata().is_ok();
        (0..).find(|number| !is_open(number)).unwrap()
    }

    fn power_off(mut self) -> String {
        writeln!(self.keys, "poweroff").unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.log()
    }
}

#[test]
fn without_descriptors_connections_either_way_are_refused_and_come_back() {
    let mut running = Running::start("user,hostfwd=tcp:127.0.0.1:0-:80");
    running.run("ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0");
    running.run("mkdir /www; echo served >/www/file; httpd -h /www");
    let log = running.log();
    let forward = log.lines().find_map(|line| {
        let port = line.split_once("net0 forwards tcp:127.0.0.1:")?.1;
        port.split_once('-')?.0.parse().ok()
    });
    let forward: u16 = forward.unwrap();
    let get = || {
        let mut client = TcpStream::connect(("127.0.0.1", forward)).unwrap();
        let mut answer = String::new();
        // One that was turned away hears of it by either.
        let _ = client.write_all(b"GET /file HTTP/1.0\r\n\r\n");
        let _ = client.read_to_string(&mut answer);
        answer
    };
    // Numbers from this one on are those of connections, which may end at any time.
    let free = running.lowest_free();
    assert!(get().contains("served"));

    // A program of the host's that the guest connects to.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let before = running.limit(Some(free));
    for _ in 0..5 {
        assert_eq!(get(), "");
    }
    running.run(&format!(
        "for i in $(seq 100); do nc 10.0.2.2 {port} </dev/null; done 2>/dev/null"
    ));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "a connection came through");

    running.limit(before);
    assert!(get().contains("served"));
    listener.set_nonblocking(false).unwrap();
    running.begin(&format!("nc 10.0.2.2 {port} </dev/null"));
    drop(listener.accept().unwrap());
    running.expect("ended-42");

    let log = running.power_off();
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    // The flood is counted: the 1st, 10th and 100th.
    assert_eq!(lines("a connection of the guest's is refused"), 3, "{log}");
    assert_eq!(lines("is refused (100 so far): Too many open files"), 1);
    // Each client is a try or two, and the listener looks again each second; one that could not be
    // quiet would have thousands.
    assert!(
        lines("a client of a forwarded port is not taken") >= 1,
        "{log}"
    );
    assert_eq!(lines("is not taken (1000 so far)"), 0, "{log}");
    // What the driver and the device agreed on is there for who asks.
    assert_eq!(lines("net0: a driver is there: features 0x"), 1, "{log}");
}
