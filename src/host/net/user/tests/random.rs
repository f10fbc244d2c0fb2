//! Frames that a hostile guest could send: nothing panics, nothing grows without bound.

use ppckvm_devices::test_support::cases;
use proptest::prelude::*;
use smoltcp::wire::{EthernetProtocol, IpProtocol, TcpPacket};

use super::frames::{Bare, arp, echo, frame, ip, udp};
use super::*;

/// A segment that may be anything, with a right checksum.
fn tcp(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(20), 0);
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    // Mostly a header that is long enough.
    bytes[12] = bytes[12] & 0xF | if bytes.len() >= 40 { 0xA0 } else { 0x50 };
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
    packet.fill_checksum(&address::GUEST.into(), &address::DNS.into());
    ip(address::GUEST, address::DNS, IpProtocol::Tcp, &bytes)
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let port = prop_oneof![Just(53u16), any::<u16>()];
    prop_oneof![
        prop::collection::vec(any::<u8>(), 14..1600),
        any::<u32>().prop_map(|target| arp(target.into(), address::GUEST)),
        bytes().prop_map(|data| echo(address::DNS, &data)),
        (any::<u16>(), port.clone(), bytes()).prop_map(|(from, to, data)| udp(
            (address::GUEST, from),
            (address::DNS, to),
            &data
        )),
        bytes().prop_map(|data| udp(
            (Ipv4Addr::UNSPECIFIED, 68),
            (Ipv4Addr::BROADCAST, 67),
            &data
        )),
        (port, bytes()).prop_map(|(port, data)| tcp(port, &data)),
        (any::<u8>(), bytes()).prop_map(|(kind, data)| ip(
            address::GUEST,
            address::DNS,
            kind.into(),
            &data
        )),
        bytes().prop_map(|data| frame(address::MAC, EthernetProtocol::Ipv4, &data)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(300, 100_000)))]

    #[test]
    fn any_frames_are_survived(
        frames in prop::collection::vec((any_frame(), any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..20),
        partial in any::<bool>(),
    ) {
        // The name server is this test's own, and the only place where any frame may lead.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let resolver = listener.local_addr().unwrap();
        let _socket = std::net::UdpSocket::bind(resolver);
        let mut bare = Bare::known_with(UserNet { resolvers: vec![resolver], ..UserNet::default() });
        for (mut frame, change, at, value) in frames {
            if change {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            if frame.len() >= 34 && frame[12..14] == [8, 0] && frame[30..34] != [255; 4] {
                frame[30..34].copy_from_slice(&address::DNS.octets());
            }
            let checksum = partial.then_some(PartialChecksum { start: 34, offset: 16 });
            bare.0.poll(Instant::now());
            bare.0.send(&frame, Offload { checksum, segmentation: None });
            prop_assert!(bare.0.link.is_bounded());
            for (frame, offload) in received(&mut bare.0) {
                prop_assert!((14..=1514).contains(&frame.len()));
                prop_assert_eq!(offload, Offload::default());
            }
            bare.0.deadline();
        }
        prop_assert!(bare.0.tcp.len() <= 20);
    }
}
