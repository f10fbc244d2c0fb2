//! Packets that are not TCP's, as bytes: UDP datagrams, cut where they are too long, and ICMP.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
};

use super::address;
use super::environment::MTU;
use super::link::Link;

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Hops that a packet may make.
const HOPS: u8 = 64;

/// An address and a port.
pub type Endpoint = (Ipv4Addr, u16);

/// A UDP datagram without its data.
pub struct Datagram {
    pub from: Endpoint,
    pub to: Endpoint,
    /// Bytes of data.
    pub length: usize,
}

impl Datagram {
    /// Bytes of the IP packet.
    pub fn packet_len(&self) -> usize {
        IP_HEADER + UDP_HEADER + self.length
    }

    fn header(&self) -> Ipv4Repr {
        Ipv4Repr {
            src_addr: self.from.0,
            dst_addr: self.to.0,
            next_header: IpProtocol::Udp,
            payload_len: UDP_HEADER + self.length,
            hop_limit: HOPS,
        }
    }

    /// Writes the IP packet; `fill` writes the data.
    pub fn emit(&self, packet: &mut [u8], fill: impl FnOnce(&mut [u8])) {
        emit_ip(&self.header(), packet);
        self.emit_udp(&mut packet[IP_HEADER..], fill);
    }

    fn emit_udp(&self, bytes: &mut [u8], fill: impl FnOnce(&mut [u8])) {
        fill(&mut bytes[UDP_HEADER..]);
        let mut udp = UdpPacket::new_unchecked(bytes);
        udp.set_src_port(self.from.1);
        udp.set_dst_port(self.to.1);
        udp.set_len((UDP_HEADER + self.length) as u16);
        udp.fill_checksum(&self.from.0.into(), &self.to.0.into());
    }

    /// Sends the datagram to the guest, in fragments if need be; when the guest is far behind, it
    /// is lost.
    pub fn send(&self, link: &mut Link, data: &[u8]) {
        if link.is_full() || self.packet_len() > usize::from(u16::MAX) {
            return;
        }
        if self.packet_len() <= MTU {
            return link.send_ip(self.packet_len(), None, |packet| {
                self.emit(packet, |payload| payload.copy_from_slice(data));
            });
        }
        let mut whole = vec![0; UDP_HEADER + self.length];
        self.emit_udp(&mut whole, |payload| payload.copy_from_slice(data));
        let ident = link.next_ident();
        // Every fragment but the last is a multiple of 8 bytes.
        let room = (MTU - IP_HEADER) & !7;
        let last = whole.len().div_ceil(room) - 1;
        for (index, part) in whole.chunks(room).enumerate() {
            let header = Ipv4Repr {
                payload_len: part.len(),
                ..self.header()
            };
            link.send_ip(IP_HEADER + part.len(), None, |packet| {
                emit_ip(&header, packet);
                packet[IP_HEADER..].copy_from_slice(part);
                let mut ip = Ipv4Packet::new_unchecked(packet);
                ip.set_ident(ident);
                ip.set_dont_frag(false);
                ip.set_more_frags(index != last);
                ip.set_frag_offset((index * room) as u16);
                ip.fill_checksum();
            });
        }
    }
}

fn emit_ip(header: &Ipv4Repr, packet: &mut [u8]) {
    header.emit(
        &mut Ipv4Packet::new_unchecked(packet),
        &ChecksumCapabilities::default(),
    );
}

/// Answers an echo request to one of the network's own addresses; others are out of reach.
pub fn icmp(link: &mut Link, header: &Ipv4Repr, payload: &[u8], packet: &[u8]) {
    let checks = ChecksumCapabilities::default();
    let Ok(Icmpv4Repr::EchoRequest {
        ident,
        seq_no,
        data,
    }) = Icmpv4Packet::new_checked(payload).and_then(|icmp| Icmpv4Repr::parse(&icmp, &checks))
    else {
        return;
    };
    if !address::is_ours(header.dst_addr) {
        return unreachable(link, Icmpv4DstUnreachable::CommProhibited, packet);
    }
    let reply = Icmpv4Repr::EchoReply {
        ident,
        seq_no,
        data,
    };
    send_icmp(link, header.dst_addr, header.src_addr, &reply);
}

/// Tells the guest that a packet of its cannot reach its destination.
pub fn unreachable(link: &mut Link, reason: Icmpv4DstUnreachable, packet: &[u8]) {
    let Ok(ip) = Ipv4Packet::new_checked(packet) else {
        return;
    };
    // No errors about what went to many, nor about the network's own end.
    if !address::is_guest(ip.src_addr()) || ip.frag_offset() != 0 {
        return;
    }
    let Ok(header) = Ipv4Repr::parse(&ip, &ChecksumCapabilities::ignored()) else {
        return;
    };
    let data = ip.payload();
    let reply = Icmpv4Repr::DstUnreachable {
        reason,
        header,
        data: &data[..data.len().min(8)],
    };
    send_icmp(link, address::GATEWAY, header.src_addr, &reply);
}

fn send_icmp(link: &mut Link, from: Ipv4Addr, to: Ipv4Addr, message: &Icmpv4Repr) {
    let header = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmp,
        payload_len: message.buffer_len(),
        hop_limit: HOPS,
    };
    let length = IP_HEADER + header.payload_len;
    if link.is_full() || length > MTU {
        return;
    }
    link.send_ip(length, None, |packet| {
        emit_ip(&header, packet);
        let mut icmp = Icmpv4Packet::new_unchecked(&mut packet[IP_HEADER..]);
        message.emit(&mut icmp, &ChecksumCapabilities::default());
    });
}
