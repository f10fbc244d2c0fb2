//! What a guest that takes nothing from its network costs.

use smoltcp::wire::{IpAddress, IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::frames::{Bare, arp, echo, ip, udp};
use super::*;

/// The most bytes that may be held for a guest without room for large segments: each of 512 frames,
/// 64 packets that wait for an address, and 64 spare buffers, in allocations that grew by doubling.
const MOST: usize = (512 + 64 + 64) * 2 * 1514;

fn tcp(guest: u16, to: (Ipv4Addr, u16), control: TcpControl, ack: Option<i32>) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: guest,
        dst_port: to.1,
        control,
        seq_number: TcpSeqNumber(1000),
        ack_number: ack.map(TcpSeqNumber),
        window_len: 65_000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload: &[],
    };
    let mut bytes = vec![0; repr.buffer_len()];
    let (from, remote) = (IpAddress::from(address::GUEST), IpAddress::from(to.0));
    repr.emit(
        &mut TcpPacket::new_unchecked(&mut bytes[..]),
        &from,
        &remote,
        &Default::default(),
    );
    ip(address::GUEST, to.0, IpProtocol::Tcp, &bytes)
}

/// Sends a frame and takes nothing.
fn send(bare: &mut Bare, frame: &[u8]) {
    bare.0.poll(Instant::now());
    bare.0.send(frame, Offload::default());
    bare.0.deadline();
}

#[test]
fn answers_that_nobody_takes_do_not_gather() {
    let closed = listener().local_addr().unwrap().port();
    let gateway = |port| (address::GATEWAY, port);
    let nowhere = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let frames = [
        // The stack's own answers: resets for what belongs to no connection.
        tcp(40_000, gateway(closed), TcpControl::None, Some(7)),
        tcp(40_001, nowhere, TcpControl::Fin, Some(7)),
        tcp(40_002, (Ipv4Addr::LOCALHOST, 9), TcpControl::Syn, None),
        // A refusal of the host's.
        tcp(40_003, gateway(closed), TcpControl::Syn, None),
        udp((address::GUEST, 40_004), gateway(closed), b"?"),
        // The network's own.
        arp(address::GATEWAY, address::GUEST),
        echo(address::GATEWAY, &pattern(1400)),
        echo(nowhere.0, b"x"),
    ];
    for frame in &frames {
        let mut bare = Bare::known();
        for _ in 0..3000 {
            send(&mut bare, frame);
            assert!(bare.0.link.is_bounded());
        }
        let held = bare.0.link.held();
        assert!(held <= MOST, "{held} bytes are held after {frame:02x?}");
    }
}

#[test]
fn a_connection_waits_until_the_guest_takes_what_came_before_its_answer() {
    let listener = listener();
    listener.set_nonblocking(true).unwrap();
    let mut bare = Bare::known();
    for _ in 0..600 {
        send(&mut bare, &echo(address::GATEWAY, b"x"));
    }
    let port = listener.local_addr().unwrap().port();
    let to = (address::GATEWAY, port);
    send(&mut bare, &tcp(40_000, to, TcpControl::Syn, None));
    let mut client = None;
    until("the host's side of the connection", || {
        bare.0.poll(Instant::now());
        bare.0.deadline();
        wait(&bare.0);
        client = listener.accept().ok();
        client.is_some()
    });
    // The network hears of it, and cannot tell the guest.
    bare.0.poll(Instant::now());
    bare.0.deadline();
    let answered = bare.next("the answer", |frame| {
        let is_tcp = frame[12..14] == [8, 0] && frame[23] == 6;
        let tcp = is_tcp.then(|| TcpPacket::new_unchecked(&frame[34..]))?;
        Some((tcp.syn(), tcp.ack(), tcp.rst()))
    });
    assert_eq!(answered, (true, true, false));
}

#[test]
fn a_restricted_guest_reaches_neither_the_host_nor_the_outside() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let web = listener();
    web.set_nonblocking(true).unwrap();
    let forward = "tcp:127.0.0.1:0-:22".parse().unwrap();
    let options = UserNet {
        forwards: vec![forward],
        resolvers: vec![server.local_addr().unwrap()],
        restrict: true,
        ..UserNet::default()
    };
    let mut guest = Guest::new(options, Offloads::NONE);
    let port = |address: io::Result<SocketAddr>| address.unwrap().port();
    for (to, port) in [
        (address::GATEWAY, port(web.local_addr())),
        (address::DNS, 53),
        (Ipv4Addr::new(192, 0, 2, 1), 80),
    ] {
        let handle = guest.connect(to, port);
        guest.until_state(handle, State::Closed);
    }
    for to in [
        (address::GATEWAY, port(server.local_addr())),
        (address::DNS, 53),
    ] {
        let question = udp((address::GUEST, 4000), to, b"?");
        guest.user.send(&question, Offload::default());
        guest.step();
    }
    let is_none = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
    assert!(web.accept().is_err_and(is_none));
    assert!(server.recv(&mut [0; 8]).is_err_and(is_none));
    // Who comes by a forwarded port is served.
    let served = guest.listen(22);
    let mut host = TcpStream::connect(guest.listening[0]).unwrap();
    host.set_nonblocking(true).unwrap();
    guest.until_state(served, State::Established);
    guest.exchange(served, &mut host, b"question", b"answer");
}
