//! virtio-net with Linux at one end and every network at the other.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::thread;

use ppckvm::{DeviceSpec, Machine, Net, Network, Place, UserNet, frame_queues};
use sha2::{Digest, Sha256};
use support::guest;
use support::linux::{self, Linux, PROMPT};

/// The test guest with a network device, at its prompt.
fn boot(net: impl Into<DeviceSpec>) -> Linux {
    Linux::boot(linux::machine().device(net))
}

/// A web server on loopback: `/N` has N bytes, `/together/N` answers when N others have asked too.
fn web_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let together = Arc::new(Barrier::new(PARALLEL));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, together) = (client.unwrap(), together.clone());
            thread::spawn(move || serve(client, &together));
        }
    });
    port
}

const PARALLEL: usize = 100;

fn serve(client: TcpStream, together: &Barrier) {
    let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    while !lines.next().unwrap().unwrap().is_empty() {}
    let path = request.split(' ').nth(1).unwrap();
    let body = match path.strip_prefix("/together/") {
        Some(number) => {
            together.wait();
            format!("answer {number}\n").into_bytes()
        }
        None => bytes(path[1..].parse().unwrap()),
    };
    let mut client = client;
    write!(
        client,
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    client.write_all(&body).unwrap();
    let _ = client.shutdown(Shutdown::Write);
}

fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name server on loopback that gives every name the gateway's address.
fn name_server() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = socket.try_clone().unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = own.recv_from(&mut question) {
            // The name ends in a zero; after it come type and class.
            let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = question[end - 4..end] == [0, 1, 0, 1];
            let mut answer = question[..end.min(length)].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, is_a.into(), 0, 0, 0, 0]);
            if is_a {
                answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 2, 2]);
            }
            own.send_to(&answer, from).unwrap();
        }
    });
    socket
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Does something on another thread while the guest runs.
fn meanwhile<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(work()));
    receiver
}

fn get(port: u16, path: &str) -> Vec<u8> {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(client, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let body = answer
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap()
        + 4;
    answer.split_off(body)
}

#[test]
fn the_user_network_has_all_that_a_guest_needs() {
    const SIZE: usize = 3_000_000;
    let port = web_server();
    let names = name_server();
    let (inward, raw) = (free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let pcap = folder.path().join("capture.pcap");
    let forward = |host, to| format!("tcp:127.0.0.1:{host}-:{to}").parse().unwrap();
    let mut net = Net::new(Network::User(UserNet {
        forwards: vec![forward(inward, 80), forward(raw, 9000)],
        resolvers: vec![names.local_addr().unwrap()],
        ..UserNet::default()
    }));
    net.pcap = Some(pcap.clone());
    let mut vm = boot(net);

    let lease = vm.output_of("udhcpc -i eth0 -n -q");
    assert!(lease.contains("10.0.2.15"), "{lease}");
    let ping = vm.output_of("ping -c 3 10.0.2.2");
    assert!(
        ping.contains("3 packets received, 0% packet loss"),
        "{ping}"
    );

    // From the host, by name.
    let sum = vm.output_of(&format!(
        "wget -q -O /tmp/in http://web.example:{port}/{SIZE} && sha256sum /tmp/in"
    ));
    assert!(sum.contains(&sha256(&bytes(SIZE))), "{sum}");

    // Through a forwarded port, out of the guest and into it.
    vm.output_of("httpd -p 80 -h /tmp");
    let answer = meanwhile(move || get(inward, "/in"));
    let mut body = None;
    vm.wait_until("what comes out of the guest", |_| {
        body = answer.try_recv().ok();
        body.is_some()
    });
    let body = body.unwrap();
    assert!(body == bytes(SIZE), "{} bytes came out", body.len());
    vm.type_line("nc -l -p 9000 >/tmp/out; sha256sum /tmp/out");
    let sent = meanwhile(move || {
        loop {
            // Refused until the guest listens.
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, raw)).unwrap();
            if client.write_all(&bytes(SIZE)).is_ok() && client.shutdown(Shutdown::Write).is_ok() {
                let mut rest = Vec::new();
                if client.read_to_end(&mut rest).is_ok() {
                    return;
                }
            }
        }
    });
    let sum = vm.answer();
    assert!(sum.contains(&sha256(&bytes(SIZE))), "{sum}");
    drop(sent);

    // A hundred connections that all are open before the first is answered.
    let all = vm.output_of(&format!(
        "for i in $(seq {PARALLEL}); do \
             wget -q -O /tmp/p$i http://10.0.2.2:{port}/together/$i & done; wait; \
             cat /tmp/p* | sort -u | wc -l"
    ));
    let expected = PARALLEL.to_string();
    assert!(all.lines().any(|line| line == expected), "{all}");

    let refused = free_port();
    let text = vm.command(&format!("wget -O- http://10.0.2.2:{refused}/"));
    assert!(text.contains("Connection refused"), "{text}");

    // What was captured is all there while the guest still runs.
    let read = Command::new("tcpdump")
        .args(["-nn", "-r"])
        .arg(&pcap)
        .output()
        .expect("tcpdump is missing; tests/run.sh installs it");
    let text = String::from_utf8_lossy(&read.stdout);
    assert!(read.status.success(), "{read:?}");
    for part in [
        "ARP, Request who-has 10.0.2.2",
        "BOOTP/DHCP, Request from 52:54:00:12:34:56",
        "ICMP echo reply",
        "10.0.2.3.53: ",
        "web.example",
        &format!("10.0.2.2.{port} > 10.0.2.15."),
        "> 10.0.2.15.80: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in the capture");
    }
}

/// Linux over one transport: addresses by hand, a ping, bytes both ways.
fn works_at(place: Place) {
    const SIZE: usize = 400_000;
    let port = web_server();
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let sink_port = sink.local_addr().unwrap().port();
    let sunk = meanwhile(move || {
        let mut seen = Vec::new();
        let (mut client, _) = sink.accept().unwrap();
        client.read_to_end(&mut seen).unwrap();
        seen
    });
    let mut net = Net::new(Network::User(UserNet::default()));
    net.mac = Some("52:54:00:ab:cd:ef".parse().unwrap());
    let mut vm = boot(net.at(place));
    vm.output_of("ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ping -c 1 10.0.2.2");
    let link = vm.output_of("ip link show eth0");
    assert!(link.contains("52:54:00:ab:cd:ef"), "{link}");
    let sum = vm.output_of(&format!(
        "wget -q -O /tmp/in http://10.0.2.2:{port}/{SIZE} && sha256sum /tmp/in && \
             nc 10.0.2.2 {sink_port} </tmp/in"
    ));
    assert!(sum.contains(&sha256(&bytes(SIZE))), "{sum}");
    let seen = sunk.recv().unwrap();
    assert!(seen == bytes(SIZE), "{} bytes came out", seen.len());
}

#[test]
fn the_legacy_interface_over_mmio_works() {
    works_at(Place::MMIO.legacy());
}

#[test]
fn pci_works() {
    works_at(Place::PCI);
}

#[test]
fn the_legacy_interface_over_pci_works() {
    works_at(Place::PCI.legacy());
}

/// An ARP request for the guest's address, from 10.9.0.1.
fn who_has(guest: [u8; 4]) -> Vec<u8> {
    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let mut frame = vec![0xFF; 6];
    frame.extend(OWN);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(OWN);
    frame.extend([10, 9, 0, 1, 0, 0, 0, 0, 0, 0]);
    frame.extend(guest);
    frame.resize(60, 0);
    frame
}

fn is_arp_reply(frame: &[u8], from: [u8; 4]) -> bool {
    frame.len() >= 42 && frame[12..14] == [8, 6] && frame[21] == 2 && frame[28..32] == from
}

#[test]
fn frames_go_between_a_program_and_the_guest() {
    let (port, end) = frame_queues().unwrap();
    let mut vm = boot(Net::new(Network::Frames(end.clone())));
    // A second device cannot have the same queues.
    let second = Machine::new()
        .program(0, vec![0; 4])
        .net(Net::new(Network::Frames(end)))
        .build();
    assert!(
        second
            .err()
            .unwrap()
            .to_string()
            .contains("another device's")
    );
    vm.output_of("ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0");
    while port.try_receive().is_some() {}
    port.send(who_has([10, 9, 0, 2])).unwrap();
    vm.wait_until("an answer", |_| {
        let frame = port.try_receive();
        frame.is_some_and(|frame| is_arp_reply(&frame, [10, 9, 0, 2]))
    });
}

#[test]
fn a_unix_socket_speaks_passts_framing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passt.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut vm = boot(Net::new(Network::Unix(path)));
    let (mut peer, _) = listener.accept().unwrap();
    vm.output_of("ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0");
    let answered = meanwhile(move || {
        let frame = who_has([10, 9, 0, 2]);
        peer.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        peer.write_all(&frame).unwrap();
        loop {
            let mut length = [0; 4];
            peer.read_exact(&mut length).unwrap();
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            peer.read_exact(&mut frame).unwrap();
            if is_arp_reply(&frame, [10, 9, 0, 2]) {
                return;
            }
        }
    });
    vm.wait_until("an answer", |_| answered.try_recv().is_ok());
}

/// A network namespace of this test's, which goes with it.
struct Namespace(String);

impl Namespace {
    /// None, loudly, when this process may not make one.
    fn new() -> Option<Self> {
        let name = format!("ppckvm-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => Some(Namespace(name)),
            other => {
                let mut stderr = std::io::stderr().lock();
                let _ = writeln!(
                    stderr,
                    "NOT TESTED: taps. No network namespace can be made here ({other:?}); run the \
                     tests as root, on a host with /dev/net/tun"
                );
                None
            }
        }
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new("ip");
        let status = command
            .args(["netns", "exec", &self.0])
            .args(arguments)
            .status();
        assert!(status.unwrap().success(), "{arguments:?}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn a_tap_carries_frames_until_it_vanishes() {
    let Some(space) = Namespace::new() else {
        return;
    };
    if !fs::exists("/dev/net/tun").unwrap() {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "NOT TESTED: taps. This host has no /dev/net/tun");
        return;
    }
    space.run(&["ip", "link", "set", "lo", "up"]);
    space.run(&["ip", "tuntap", "add", "tap0", "mode", "tap"]);
    space.run(&["ip", "addr", "add", "10.9.0.1/24", "dev", "tap0"]);
    space.run(&["ip", "link", "set", "tap0", "up"]);
    let mut child = Command::new("ip")
        .args([
            "netns",
            "exec",
            &space.0,
            env!("CARGO_BIN_EXE_ppckvm"),
            "run",
        ])
        .arg("--kernel")
        .arg(guest("KERNEL_UIMAGE"))
        .arg("--initrd")
        .arg(guest("ROOTFS"))
        .args(["--append", "console=ttyS0 quiet", "--net", "tap=tap0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    let mut until = |text: &str| {
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = stdout.read(&mut part).unwrap();
            let shown = String::from_utf8_lossy(&seen);
            assert_ne!(count, 0, "the end before {text:?}:\n{shown}");
            seen.extend_from_slice(&part[..count]);
        }
    };
    until(PROMPT);
    writeln!(
        stdin,
        "ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ping -c 2 10.9.0.1; \
         nc -l -p 7 </dev/null >/tmp/in & echo listen-$((40+2))"
    )
    .unwrap();
    until("2 packets received, 0% packet loss");
    until("listen-42");
    // The other way: a connection from the namespace to the guest.
    let hello = "for n in 1 2 3 4 5 6 7 8 9; do \
                 exec 3<>/dev/tcp/10.9.0.2/7 && echo from-outside >&3 && exit 0; sleep 1; done; exit 1";
    space.run(&["bash", "-c", hello]);
    writeln!(stdin, "wait; tr a-z A-Z </tmp/in").unwrap();
    until("FROM-OUTSIDE");
    space.run(&["ip", "link", "del", "tap0"]);
    writeln!(
        stdin,
        "ping -c 1 -W 1 10.9.0.1; echo gone-$((40+2)); poweroff -f"
    )
    .unwrap();
    until("gone-42");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("tap=tap0: the interface is gone"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn a_port_that_the_host_chose_is_printed_whatever_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("guest"),
        support::asm::Asm::new().reset().elf(0, 0),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .args(["run", "--kernel", "guest", "--net"])
        .arg("user,hostfwd=tcp::0-:80,hostfwd=udp::0-:69")
        .current_dir(folder.path())
        .env("PPCKVM_LOG", "off")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    for (protocol, guest) in [("tcp", 80), ("udp", 69)] {
        let line = format!("ppckvm: net0 forwards {protocol}:127.0.0.1:");
        let line = text
            .lines()
            .find_map(|text| text.strip_prefix(&line))
            .unwrap();
        let port: u16 = line
            .strip_suffix(&format!("-10.0.2.15:{guest}"))
            .unwrap()
            .parse()
            .unwrap();
        assert_ne!(port, 0);
    }
}

/// What the command says to a network that cannot be.
fn refused(net: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("guest"), support::asm::echo().elf(0, 0)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .args(["run", "--kernel", "guest", "--net", net])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{net}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cannot_be_is_refused_before_the_guest_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let cases: HashMap<String, &str> = [
        (
            format!("user,hostfwd=tcp:127.0.0.1:{port}-:22"),
            "name another port",
        ),
        (
            "user,hostfwd=tcp:192.0.2.1:0-:22".into(),
            "address of this host",
        ),
        ("unix=/nowhere/passt.sock".into(), "start passt first"),
        ("tap=lo".into(), "tap=lo: "),
        ("tap=a-name-that-is-too-long".into(), "1 to 15 letters"),
        ("user,pcap=/nowhere/file".into(), "pcap=/nowhere/file: "),
    ]
    .into();
    for (net, part) in cases {
        let text = refused(&net);
        assert!(text.contains(part), "{net}: {text}");
        assert_eq!(text.lines().count(), 1, "{net}: {text}");
    }
}
