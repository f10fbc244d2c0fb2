//! Streams between a Linux guest and Unix sockets.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use ppckvm::{DeviceSpec, Machine, OnReset, Place, Vsock};
use support::linux::{Linux, machine};
use tempfile::TempDir;

struct Sockets(TempDir);

impl Sockets {
    fn new() -> Self {
        Sockets(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("vsock")
    }

    fn device(&self, place: Place) -> DeviceSpec {
        let vsock = Vsock {
            cid: 42,
            uds: self.path(),
        };
        vsock.at(place)
    }

    /// Sends back whatever comes to a port of the host's, each connection on its own thread.
    fn echo(&self, port: u32) {
        let path = self.0.path().join(format!("vsock_{port}"));
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut back = stream.try_clone().unwrap();
                    let _ = std::io::copy(&mut stream, &mut back);
                    let _ = back.shutdown(Shutdown::Write);
                });
            }
        });
    }
}

/// Connects to a port of the guest's; nothing when nobody listens there.
fn reach(path: &Path, port: u32) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(path).unwrap();
    writeln!(stream, "CONNECT {port}").unwrap();
    let mut line = Vec::new();
    // By the byte, because what follows the line is the guest's.
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 {
        line.push(byte[0]);
        if byte == *b"\n" {
            assert!(line.starts_with(b"OK "), "{line:?}");
            return Some(stream);
        }
    }
    None
}

/// Has the guest echo `length` bytes, and checks them and the end behind them.
fn check_echo(mut stream: UnixStream, seed: u32, length: u32) {
    let bytes: Vec<u8> = (0..length)
        .map(|n| (n * 31 + (n >> 9) + seed) as u8)
        .collect();
    let mut writer = stream.try_clone().unwrap();
    let expected = bytes.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    sender.join().unwrap();
    assert!(all == expected, "{} bytes of {length}", all.len());
}

fn echoes_in_both_directions(place: Place) {
    let sockets = Sockets::new();
    sockets.echo(9999);
    let mut linux = Linux::boot(machine().device(sockets.device(place)));
    assert_eq!(linux.command("vsock cid"), "vsock: cid 42\n");
    // From the guest: a few bytes, then hundreds of connections.
    assert_eq!(linux.command("echo hello | vsock cat 2 9999"), "hello\n");
    let many = linux.command("vsock many 2 9999 300 20000");
    assert_eq!(many, "vsock: 300 connections echoed 20000 bytes each\n");
    // Nobody listens.
    let refused = linux.command("vsock cat 2 9998");
    assert_eq!(refused, "vsock: connect: Connection reset by peer\n");

    // From the host. The guest runs while this thread has it wait for text.
    linux.type_line("vsock echo 52 102; echo all taken");
    linux.wait_for("vsock: listening on port 52");
    let path = sockets.path();
    let host = std::thread::spawn({
        let path = path.clone();
        move || {
            assert!(reach(&path, 51).is_none(), "nobody listens in the guest");
            check_echo(reach(&path, 52).unwrap(), 0, 3_000_000);
            let streams: Vec<UnixStream> = (0..100).map(|_| reach(&path, 52).unwrap()).collect();
            let each = streams
                .into_iter()
                .zip(1..)
                .map(|(stream, seed)| std::thread::spawn(move || check_echo(stream, seed, 10_000)));
            each.collect::<Vec<_>>()
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            // One that is not read: its end comes through.
            drop(reach(&path, 52).unwrap());
        }
    });
    linux.wait_for("all taken");
    linux.answer();
    // Their children finish while the guest waits for this.
    linux.command("while pidof vsock >/dev/null; do sleep 1; done");
    host.join().unwrap();
    linux.power_off();
    assert!(!path.exists(), "it goes with the machine");
}

#[test]
fn streams_over_mmio() {
    echoes_in_both_directions(Place::default());
}

#[test]
fn streams_over_legacy_mmio() {
    echoes_in_both_directions(Place::MMIO.legacy());
}

#[test]
fn streams_over_pci() {
    echoes_in_both_directions(Place::PCI);
}

#[test]
fn a_reset_closes_streams_and_new_ones_can_be_made() {
    let sockets = Sockets::new();
    let listener = UnixListener::bind(sockets.0.path().join("vsock_5")).unwrap();
    let device = sockets.device(Place::default());
    let mut linux = Linux::boot(machine().device(device).on_reset(OnReset::Reboot));
    for _ in 0..2 {
        let listener = listener.try_clone().unwrap();
        let host = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(b"the host is here\n").unwrap();
            stream
        });
        linux.type_line("sleep 1000 | vsock cat 2 5 &");
        linux.wait_for("the host is here");
        let mut stream = host.join().unwrap();
        linux.type_line("reboot -f");
        linux.wait_for("guest: user space is up");
        linux.answer();
        // The guest's end went with it.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
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
fn what_cannot_be_is_refused_before_the_start() {
    let sockets = Sockets::new();
    let device = |cid, uds: PathBuf| Vsock { cid, uds };
    for cid in [0, 1, 2, u32::MAX] {
        let error = refusal(Machine::new().vsock(device(cid, sockets.path())));
        assert!(error.contains("use 3 or more"), "{error}");
    }
    let _used = UnixListener::bind(sockets.path()).unwrap();
    let error = refusal(Machine::new().vsock(device(3, sockets.path())));
    assert!(
        error.contains("in use") && error.contains("name another"),
        "{error}"
    );
    assert!(
        UnixStream::connect(sockets.path()).is_ok(),
        "its owner still listens"
    );
    let error = refusal(Machine::new().vsock(device(3, "/none/s".into())));
    assert!(
        error.contains("the vsock device at /none/s: No such file"),
        "{error}"
    );
    let long = format!("/tmp/{}", "x".repeat(92));
    let error = refusal(Machine::new().vsock(device(3, long.into())));
    assert!(error.contains("name a shorter one"), "{error}");
    let free = sockets.0.path().join("free");
    let twice = Machine::new().vsock(device(3, free.clone()));
    let error = refusal(twice.vsock(device(4, sockets.0.path().join("other"))));
    assert_eq!(error, "a guest has one vsock device; leave the others out");
    assert!(!free.exists(), "what was made for nothing is gone");
    let legacy = device(3, free).at(Place::PCI.legacy());
    let error = refusal(Machine::new().device(legacy));
    assert!(error.contains("leave out legacy"), "{error}");
}

#[test]
fn the_option_is_read() {
    let uds = PathBuf::from("/tmp/v");
    assert_eq!(
        DeviceSpec::from_keys("vsock", "cid=3,uds=/tmp/v,bus=pci"),
        Ok(Vsock { cid: 3, uds }.at(Place::PCI))
    );
    for (text, part) in [
        ("uds=/tmp/v", "cid is missing"),
        ("cid=3", "uds is missing"),
        (
            "cid=2,uds=/tmp/v",
            "cid=2: 0, 1, 2 and 4294967295 are reserved",
        ),
        ("cid=x,uds=/tmp/v", "cid=x: invalid digit"),
        ("cid=3,uds=/tmp/v,port=1", "there are cid, uds, bus, legacy"),
    ] {
        let error = DeviceSpec::from_keys("vsock", text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
