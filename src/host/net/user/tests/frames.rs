//! ARP, DHCP, ICMP and UDP, frame by frame.

use std::net::UdpSocket;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetFrame,
    EthernetProtocol, Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, IpProtocol,
    Ipv4Packet, Ipv4Repr, UdpPacket,
};

use super::*;

const HEADER: usize = 14;

/// A guest without a stack: every frame is made here.
pub struct Bare(pub User);

impl Bare {
    pub fn new(options: UserNet) -> Bare {
        let (mut user, _) = User::new(&options).unwrap();
        user.attach(Some(Offloads::NONE));
        Bare(user)
    }

    /// Sends a frame to the gateway and gives what comes back at once.
    pub fn ask(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.0.poll(Instant::now());
        self.0.send(frame, Offload::default());
        self.all()
    }

    pub fn all(&mut self) -> Vec<Vec<u8>> {
        let frames = received(&mut self.0);
        frames.into_iter().map(|(frame, _)| frame).collect()
    }

    /// Goes on until a frame comes that `wanted` takes.
    pub fn next<T>(&mut self, what: &str, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        let mut found = None;
        until(what, || {
            self.0.poll(Instant::now());
            for frame in self.all() {
                if found.is_none() {
                    found = wanted(&frame);
                }
            }
            self.0.deadline();
            wait(&self.0);
            found.is_some()
        });
        found.unwrap()
    }

    /// Tells the network where the guest is.
    pub fn known() -> Bare {
        Bare::known_with(UserNet::default())
    }

    pub fn known_with(options: UserNet) -> Bare {
        let mut bare = Bare::new(options);
        bare.ask(&arp(address::GATEWAY, address::GUEST));
        bare
    }
}

pub fn frame(to: EthernetAddress, protocol: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    frame.extend(payload);
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
    ethernet.set_dst_addr(to);
    ethernet.set_src_addr(EthernetAddress(GUEST_MAC));
    ethernet.set_ethertype(protocol);
    frame
}

/// A request of the guest's for an address.
pub fn arp(target: Ipv4Addr, own: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(GUEST_MAC),
        source_protocol_addr: own,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut payload = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut payload[..]));
    // As short frames are padded.
    payload.resize(46, 0);
    frame(EthernetAddress::BROADCAST, EthernetProtocol::Arp, &payload)
}

pub fn ip(from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let repr = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; 20];
    packet.extend(payload);
    repr.emit(
        &mut Ipv4Packet::new_unchecked(&mut packet[..]),
        &ChecksumCapabilities::default(),
    );
    let mac = if to.is_broadcast() {
        EthernetAddress::BROADCAST
    } else {
        address::MAC
    };
    frame(mac, EthernetProtocol::Ipv4, &packet)
}

pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend(data);
    let mut packet = UdpPacket::new_unchecked(&mut bytes[..]);
    packet.set_src_port(from.1);
    packet.set_dst_port(to.1);
    packet.set_len((8 + data.len()) as u16);
    packet.fill_checksum(&from.0.into(), &to.0.into());
    ip(from.0, to.0, IpProtocol::Udp, &bytes)
}

pub fn echo(to: Ipv4Addr, data: &[u8]) -> Vec<u8> {
    let repr = Icmpv4Repr::EchoRequest {
        ident: 7,
        seq_no: 3,
        data,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(
        &mut Icmpv4Packet::new_unchecked(&mut bytes[..]),
        &ChecksumCapabilities::default(),
    );
    ip(address::GUEST, to, IpProtocol::Icmp, &bytes)
}

type Ends = (Ipv4Addr, u16);

/// A datagram in a frame: its ends and its data.
fn datagram(frame: &[u8]) -> Option<(Ends, Ends, Vec<u8>)> {
    let ip = Ipv4Packet::new_checked(&frame[HEADER..]).ok()?;
    if ip.next_header() != IpProtocol::Udp {
        return None;
    }
    assert!(ip.verify_checksum());
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
    Some((
        (ip.src_addr(), udp.src_port()),
        (ip.dst_addr(), udp.dst_port()),
        udp.payload().to_vec(),
    ))
}

/// Why a packet was not carried, and the destination and data in what is left of it.
fn unreachable(frame: &[u8]) -> Option<(Icmpv4DstUnreachable, Ipv4Addr, Vec<u8>)> {
    let ip = Ipv4Packet::new_checked(&frame[HEADER..]).ok()?;
    let icmp = Icmpv4Packet::new_checked(ip.payload()).ok()?;
    if ip.next_header() != IpProtocol::Icmp || icmp.msg_type() != Icmpv4Message::DstUnreachable {
        return None;
    }
    assert!(icmp.verify_checksum());
    // Only the first bytes of the packet are there, so its length is not.
    let lost = Ipv4Packet::new_unchecked(&ip.payload()[8..]);
    let data = ip.payload()[8 + 20..].to_vec();
    Some((icmp.msg_code().into(), lost.dst_addr(), data))
}

#[test]
fn arp_answers_for_the_gateway_and_the_name_server() {
    let mut bare = Bare::new(UserNet::default());
    for target in [address::GATEWAY, address::DNS] {
        let answers = bare.ask(&arp(target, address::GUEST));
        assert_eq!(answers.len(), 1);
        let packet = ArpPacket::new_checked(&answers[0][HEADER..]).unwrap();
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&packet).unwrap()
        else {
            panic!("ipv4")
        };
        assert_eq!(operation, ArpOperation::Reply);
        assert_eq!(source_hardware_addr, address::MAC);
        assert_eq!(source_protocol_addr, target);
        assert_eq!(target_protocol_addr, address::GUEST);
        assert_eq!(answers[0][..6], GUEST_MAC);
    }
    // Nobody has the others; the guest's own least of all.
    for target in [address::GUEST, Ipv4Addr::new(10, 0, 2, 4)] {
        assert!(bare.ask(&arp(target, address::GUEST)).is_empty());
    }
}

fn dhcp(message_type: DhcpMessageType, wanted: Option<Ipv4Addr>) -> Vec<u8> {
    let server = (message_type == DhcpMessageType::Request).then_some(address::GATEWAY);
    let repr = DhcpRepr {
        message_type,
        transaction_id: 0x1234_5678,
        secs: 0,
        client_hardware_address: EthernetAddress(GUEST_MAC),
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: Ipv4Addr::UNSPECIFIED,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: wanted,
        client_identifier: None,
        server_identifier: server,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut message = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut message[..]))
        .unwrap();
    let nowhere = Ipv4Addr::UNSPECIFIED;
    udp((nowhere, 68), (Ipv4Addr::BROADCAST, 67), &message)
}

/// The type of the only answer, and the address that it gives.
fn dhcp_answer(frames: &[Vec<u8>]) -> (DhcpMessageType, Ipv4Addr) {
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0][..6], GUEST_MAC);
    let (from, to, message) = datagram(&frames[0]).unwrap();
    assert_eq!((from, to.1), ((address::GATEWAY, 67), 68));
    assert!(message.len() >= 300);
    let packet = DhcpPacket::new_checked(&message[..]).unwrap();
    let repr = DhcpRepr::parse(&packet).unwrap();
    assert_eq!(repr.transaction_id, 0x1234_5678);
    assert_eq!(repr.server_identifier, Some(address::GATEWAY));
    if repr.message_type != DhcpMessageType::Nak {
        assert_eq!(repr.router, Some(address::GATEWAY));
        assert_eq!(repr.subnet_mask, Some(address::MASK));
        assert_eq!(repr.dns_servers.unwrap()[..], [address::DNS]);
        assert_eq!(repr.lease_duration, Some(86_400));
    }
    (repr.message_type, repr.your_ip)
}

#[test]
fn dhcp_gives_the_one_address() {
    let mut bare = Bare::new(UserNet::default());
    let offer = bare.ask(&dhcp(DhcpMessageType::Discover, None));
    assert_eq!(
        dhcp_answer(&offer),
        (DhcpMessageType::Offer, address::GUEST)
    );
    let ack = bare.ask(&dhcp(DhcpMessageType::Request, Some(address::GUEST)));
    assert_eq!(dhcp_answer(&ack), (DhcpMessageType::Ack, address::GUEST));
    let other = Ipv4Addr::new(10, 0, 2, 77);
    let nak = bare.ask(&dhcp(DhcpMessageType::Request, Some(other)));
    assert_eq!(
        dhcp_answer(&nak),
        (DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED)
    );
    let release = bare.ask(&dhcp(DhcpMessageType::Release, None));
    assert!(release.is_empty());
}

#[test]
fn a_bootp_client_gets_the_address_and_nothing_of_dhcp() {
    let mut bare = Bare::new(UserNet::default());
    // As Linux asks with ip=bootp: options that are asked for, and no message type.
    let mut message = vec![0; 300];
    let mut packet = DhcpPacket::new_unchecked(&mut message[..]);
    packet.set_opcode(smoltcp::wire::DhcpOpCode::Request);
    packet.set_hardware_type(smoltcp::wire::ArpHardware::Ethernet);
    packet.set_hardware_len(6);
    packet.set_transaction_id(0x1234_5678);
    packet.set_client_hardware_address(EthernetAddress(GUEST_MAC));
    for magic in [0, 0x6382_5363] {
        DhcpPacket::new_unchecked(&mut message[..]).set_magic_number(magic);
        let nowhere = Ipv4Addr::UNSPECIFIED;
        let answers = bare.ask(&udp((nowhere, 68), (Ipv4Addr::BROADCAST, 67), &message));
        assert_eq!(answers.len(), 1);
        let (from, to, answer) = datagram(&answers[0]).unwrap();
        assert_eq!((from, to.1), ((address::GATEWAY, 67), 68));
        let answer = DhcpPacket::new_checked(&answer[..]).unwrap();
        assert_eq!(answer.opcode(), smoltcp::wire::DhcpOpCode::Reply);
        assert_eq!(answer.transaction_id(), 0x1234_5678);
        assert_eq!(answer.your_ip(), address::GUEST);
        let kinds: Vec<u8> = answer.options().map(|option| option.kind).collect();
        // The mask, the router and the name server.
        assert_eq!(
            kinds.iter().filter(|kind| [1, 3, 6].contains(kind)).count(),
            3
        );
        assert!(!kinds.iter().any(|kind| [51, 53, 54].contains(kind)));
    }
    // What a server says is no question.
    DhcpPacket::new_unchecked(&mut message[..]).set_opcode(smoltcp::wire::DhcpOpCode::Reply);
    let nowhere = Ipv4Addr::UNSPECIFIED;
    let answers = bare.ask(&udp((nowhere, 68), (Ipv4Addr::BROADCAST, 67), &message));
    assert!(answers.is_empty());
}

#[test]
fn a_long_datagram_of_the_guests_arrives_whole() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut bare = Bare::known();
    let data = pattern(60_000);
    let whole = udp((address::GUEST, 4000), (address::GATEWAY, port), &data);
    let whole = &whole[HEADER + 20..];
    for (index, part) in whole.chunks(1480).enumerate().rev() {
        let mut frame = ip(address::GUEST, address::GATEWAY, IpProtocol::Udp, part);
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[HEADER..]);
        packet.set_ident(77);
        packet.set_dont_frag(false);
        packet.set_frag_offset((index * 1480) as u16);
        packet.set_more_frags((index + 1) * 1480 < whole.len());
        packet.fill_checksum();
        bare.ask(&frame);
    }
    let mut seen = vec![0; 65_536];
    let (length, _) = server.recv_from(&mut seen).unwrap();
    assert!(seen[..length] == data);
}

#[test]
fn the_gateway_answers_pings_and_nobody_else_does() {
    let mut bare = Bare::known();
    for target in [address::GATEWAY, address::DNS] {
        let answers = bare.ask(&echo(target, &pattern(1400)));
        assert_eq!(answers.len(), 1);
        let ip = Ipv4Packet::new_checked(&answers[0][HEADER..]).unwrap();
        assert_eq!((ip.src_addr(), ip.dst_addr()), (target, address::GUEST));
        let icmp = Icmpv4Packet::new_checked(ip.payload()).unwrap();
        assert_eq!(
            Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()),
            Ok(Icmpv4Repr::EchoReply {
                ident: 7,
                seq_no: 3,
                data: &pattern(1400)
            })
        );
    }
    let outside = Ipv4Addr::new(192, 0, 2, 1);
    let answers = bare.ask(&echo(outside, b"x"));
    let (reason, to, _) = unreachable(&answers[0]).unwrap();
    assert_eq!(
        (reason, to),
        (Icmpv4DstUnreachable::CommProhibited, outside)
    );
}

#[test]
fn datagrams_go_to_the_host_and_back() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut bare = Bare::known();
    let (guest, remote) = ((address::GUEST, 4000), (address::GATEWAY, port));
    for round in 0..3 {
        bare.ask(&udp(guest, remote, format!("question {round}").as_bytes()));
        let mut question = [0; 100];
        let (length, from) = server.recv_from(&mut question).unwrap();
        assert_eq!(&question[..length], format!("question {round}").as_bytes());
        server.send_to(b"answer", from).unwrap();
        let answer = bare.next("the answer", datagram);
        assert_eq!(answer, (remote, guest, b"answer".to_vec()));
    }
}

#[test]
fn a_long_datagram_comes_in_fragments() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut bare = Bare::known();
    bare.ask(&udp((address::GUEST, 4000), (address::GATEWAY, port), b"?"));
    let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
    let data = pattern(5000);
    server.send_to(&data, from).unwrap();
    let mut whole = vec![0; 5008];
    let mut seen = 0;
    bare.next("every fragment", |frame| {
        assert!(frame.len() <= 1514);
        let ip = Ipv4Packet::new_checked(&frame[HEADER..]).unwrap();
        assert!(ip.verify_checksum());
        let at = usize::from(ip.frag_offset());
        whole[at..at + ip.payload().len()].copy_from_slice(ip.payload());
        seen += ip.payload().len();
        assert_eq!(ip.more_frags(), at + ip.payload().len() < 5008);
        (seen == 5008).then_some(())
    });
    let udp = UdpPacket::new_checked(&whole[..]).unwrap();
    assert!(udp.verify_checksum(&address::GATEWAY.into(), &address::GUEST.into()));
    assert_eq!(udp.payload(), data);
}

#[test]
fn a_port_without_a_server_is_unreachable() {
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut bare = Bare::known();
    bare.ask(&udp((address::GUEST, 4001), (address::GATEWAY, port), b"?"));
    let (reason, to, data) = bare.next("the refusal", unreachable);
    assert_eq!(reason, Icmpv4DstUnreachable::PortUnreachable);
    assert_eq!(to, address::GATEWAY);
    assert_eq!(data[..2], 4001u16.to_be_bytes());
    assert_eq!(data[2..4], port.to_be_bytes());
}

#[test]
fn questions_go_to_the_next_name_server_when_one_is_silent_or_gone() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolvers = [&silent, &gone, &server].map(|s| s.local_addr().unwrap());
    drop(gone);
    let mut bare = Bare::known_with(UserNet {
        resolvers: resolvers.to_vec(),
        ..UserNet::default()
    });
    let (guest, remote) = ((address::GUEST, 4002), (address::DNS, 53));
    bare.ask(&udp(guest, remote, b"who?"));
    assert_eq!(silent.recv(&mut [0; 10]).unwrap(), 4);
    // The guest asks again; the second is not there, which only an answer of the host's tells.
    bare.ask(&udp(guest, remote, b"who?"));
    server.set_nonblocking(true).unwrap();
    let mut from = None;
    until("the question", || {
        bare.0.poll(Instant::now());
        bare.0.deadline();
        wait(&bare.0);
        from = server.recv_from(&mut [0; 10]).ok();
        from.is_some()
    });
    server.send_to(b"me", from.unwrap().1).unwrap();
    let answer = bare.next("the answer", datagram);
    assert_eq!(answer, (remote, guest, b"me".to_vec()));
}

#[test]
fn without_any_name_server_the_guest_hears_so() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let options = UserNet {
        resolvers: vec![gone.local_addr().unwrap()],
        ..UserNet::default()
    };
    drop(gone);
    let mut bare = Bare::known_with(options);
    bare.ask(&udp((address::GUEST, 4003), (address::DNS, 53), b"who?"));
    let (reason, to, _) = bare.next("the refusal", unreachable);
    assert_eq!(
        (reason, to),
        (Icmpv4DstUnreachable::PortUnreachable, address::DNS)
    );
}

#[test]
fn a_forwarded_port_carries_datagrams_both_ways() {
    let forward = "udp:127.0.0.1:0-:69".parse().unwrap();
    let options = UserNet {
        forwards: vec![forward],
        ..UserNet::default()
    };
    let (mut user, listening) = User::new(&options).unwrap();
    user.attach(Some(Offloads::NONE));
    let mut bare = Bare(user);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"read", listening[0]).unwrap();
    // The guest was never heard of: it is looked for.
    bare.next("the search", |frame| {
        (frame[12..14] == [8, 6] && frame[..6] == [0xFF; 6]).then_some(())
    });
    let frames = bare.ask(&arp(address::GATEWAY, address::GUEST));
    let found = frames.iter().find_map(|frame| datagram(frame));
    let (from, to, data) = found.expect("it was kept until the guest was found");
    assert_eq!(from.0, address::GATEWAY);
    assert_eq!((to, data), ((address::GUEST, 69), b"read".to_vec()));
    bare.ask(&udp(to, from, b"data"));
    let mut answer = [0; 10];
    let (length, server) = client.recv_from(&mut answer).unwrap();
    assert_eq!((&answer[..length], server), (&b"data"[..], listening[0]));
}

#[test]
fn what_is_for_others_or_from_nobody_gets_no_answer() {
    let mut bare = Bare::new(UserNet::default());
    let mut other = echo(address::GATEWAY, b"x");
    other[5] ^= 1;
    assert!(bare.ask(&other).is_empty());
    for from in [address::GATEWAY, Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let datagram = udp((from, 1), (address::GATEWAY, 9), b"x");
        assert!(bare.ask(&datagram).is_empty());
        assert!(
            bare.ask(&ip(from, address::GATEWAY, IpProtocol::Tcp, &[0; 20]))
                .is_empty()
        );
    }
    // A datagram to all, or to the guest itself.
    for to in [Ipv4Addr::BROADCAST, address::GUEST] {
        assert!(
            bare.ask(&udp((address::GUEST, 1), (to, 9), b"x"))
                .is_empty()
        );
    }
}
