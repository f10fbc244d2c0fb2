//! The Ethernet side of the user network: who is where, and the frames that wait for the guest.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use ppckvm_devices::virtio::net::{Offload, PartialChecksum, Segmentation};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Packet, TcpPacket, checksum,
};

use super::address;

/// Bytes of an Ethernet header.
pub const HEADER: usize = 14;

/// Frames that wait for the guest before the stack is no longer asked for more.
const ENOUGH: usize = 64;

/// Frames that may wait for the guest; what would come after them is lost, as on any network.
const FULL: usize = 512;

/// Addresses in the guest that are remembered.
const NEIGHBOURS: usize = 64;

/// Packets that wait until it is known where in the guest their address is.
const UNRESOLVED: usize = 64;

/// Frames whose memory is kept for the next ones.
const SPARE: usize = 64;

/// A frame for the guest.
pub struct Frame {
    pub bytes: Vec<u8>,
    pub offload: Offload,
}

/// The gateway's end of the wire.
///
/// A guest that takes nothing costs no more than this: 64 frames of up to 60 KiB, after which the
/// stack is not asked for more; answers and datagrams of up to 1514 bytes after them, until there
/// are 512 frames; 64 packets for addresses that do not answer; the memory of 64 frames that were
/// taken.
#[derive(Default)]
pub struct Link {
    /// The guest fills in checksums of TCP.
    pub leaves_checksums: bool,
    neighbours: HashMap<Ipv4Addr, EthernetAddress>,
    outgoing: VecDeque<Frame>,
    /// Packets without a destination in their Ethernet header, and where they go.
    unresolved: VecDeque<(Ipv4Addr, Frame)>,
    spare: Vec<Vec<u8>>,
    ident: u16,
}

impl Link {
    /// Whether the stack should wait until the guest has taken frames.
    pub fn has_enough(&self) -> bool {
        self.outgoing.len() >= ENOUGH
    }

    /// Whether whatever comes next would be lost.
    pub fn is_full(&self) -> bool {
        self.outgoing.len() >= FULL
    }

    /// The next frame for the guest.
    pub fn first(&self) -> Option<&Frame> {
        self.outgoing.front()
    }

    /// Removes what `first` showed.
    pub fn remove_first(&mut self) {
        if let Some(frame) = self.outgoing.pop_front()
            && self.spare.len() < SPARE
        {
            self.spare.push(frame.bytes);
        }
    }

    /// What tells the fragments of one datagram from those of the next.
    pub fn next_ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }

    /// Forgets frames and neighbours: the guest is another.
    pub fn reset(&mut self) {
        self.outgoing.clear();
        self.unresolved.clear();
        self.neighbours.clear();
    }

    /// Notes where in the guest an address is, and sends what waited for that.
    pub fn learn(&mut self, ip: Ipv4Addr, mac: EthernetAddress) {
        if !address::is_guest(ip) || !mac.is_unicast() {
            return;
        }
        if self.neighbours.get(&ip) == Some(&mac) {
            return;
        }
        if self.neighbours.len() >= NEIGHBOURS && !self.neighbours.contains_key(&ip) {
            self.neighbours.clear();
        }
        self.neighbours.insert(ip, mac);
        let waiting = std::mem::take(&mut self.unresolved);
        for (to, frame) in waiting {
            if to == ip {
                self.push(frame, mac, EthernetProtocol::Ipv4);
            } else {
                self.unresolved.push_back((to, frame));
            }
        }
    }

    /// Answers and learns from an ARP packet.
    pub fn arp(&mut self, payload: &[u8]) {
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) = ArpPacket::new_checked(payload).and_then(|packet| ArpRepr::parse(&packet))
        else {
            return;
        };
        self.learn(source_protocol_addr, source_hardware_addr);
        if operation == ArpOperation::Request && address::is_ours(target_protocol_addr) {
            self.send_arp(ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: address::MAC,
                source_protocol_addr: target_protocol_addr,
                target_hardware_addr: source_hardware_addr,
                target_protocol_addr: source_protocol_addr,
            });
        }
    }

    fn send_arp(&mut self, repr: ArpRepr) {
        if self.is_full() {
            return;
        }
        let to = match repr {
            ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                target_hardware_addr,
                ..
            } => target_hardware_addr,
            _ => EthernetAddress::BROADCAST,
        };
        let mut bytes = self.buffer(repr.buffer_len());
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[HEADER..]));
        let frame = Frame {
            bytes,
            offload: Offload::default(),
        };
        self.push(frame, to, EthernetProtocol::Arp);
    }

    /// Sends an IP packet of `length` bytes to a neighbour; `fill` writes it.
    pub fn send_ip<R>(
        &mut self,
        length: usize,
        segment: Option<u16>,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let mut bytes = self.buffer(length);
        let result = fill(&mut bytes[HEADER..]);
        let (to, offload) = self.describe(&mut bytes[HEADER..], segment);
        let frame = Frame { bytes, offload };
        if to == Ipv4Addr::BROADCAST {
            self.push(frame, EthernetAddress::BROADCAST, EthernetProtocol::Ipv4);
        } else if let Some(mac) = self.neighbours.get(&to) {
            self.push(frame, *mac, EthernetProtocol::Ipv4);
        } else if address::is_guest(to) {
            self.send_arp(ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: address::MAC,
                source_protocol_addr: address::GATEWAY,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: to,
            });
            if self.unresolved.len() >= UNRESOLVED {
                self.unresolved.pop_front();
            }
            self.unresolved.push_back((to, frame));
        }
        result
    }

    /// Sends an IP packet of `length` bytes to an Ethernet address.
    pub fn send_ip_to(
        &mut self,
        mac: EthernetAddress,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let mut bytes = self.buffer(length);
        fill(&mut bytes[HEADER..]);
        let frame = Frame {
            bytes,
            offload: Offload::default(),
        };
        self.push(frame, mac, EthernetProtocol::Ipv4);
    }

    /// Where a packet goes. The TCP stack leaves checksums to its device: to the guest, or to this.
    fn describe(&self, packet: &mut [u8], segment: Option<u16>) -> (Ipv4Addr, Offload) {
        let ip = Ipv4Packet::new_unchecked(&mut *packet);
        let (from, to, start) = (ip.src_addr(), ip.dst_addr(), usize::from(ip.header_len()));
        if ip.next_header() != IpProtocol::Tcp {
            return (to, Offload::default());
        }
        let tcp = &mut packet[start..];
        if !self.leaves_checksums {
            TcpPacket::new_unchecked(tcp).fill_checksum(&from.into(), &to.into());
            return (to, Offload::default());
        }
        let headers = HEADER + start + usize::from(tcp[12] >> 4) * 4;
        let pseudo = checksum::pseudo_header_v4(&from, &to, IpProtocol::Tcp, tcp.len() as u32);
        tcp[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&pseudo.to_be_bytes());
        let offload = Offload {
            checksum: Some(PartialChecksum {
                start: (HEADER + start) as u16,
                offset: TCP_CHECKSUM as u16,
            }),
            segmentation: segment.map(|size| Segmentation {
                size,
                headers: headers as u16,
                ecn: false,
            }),
        };
        (to, offload)
    }

    /// A zeroed frame with `length` bytes after its header.
    fn buffer(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.resize(HEADER + length, 0);
        bytes
    }

    fn push(&mut self, mut frame: Frame, to: EthernetAddress, protocol: EthernetProtocol) {
        if self.is_full() {
            return;
        }
        let mut header = EthernetFrame::new_unchecked(&mut frame.bytes[..]);
        header.set_dst_addr(to);
        header.set_src_addr(address::MAC);
        header.set_ethertype(protocol);
        self.outgoing.push_back(frame);
    }
}

/// Where the checksum is in a TCP header.
const TCP_CHECKSUM: usize = 16;

#[cfg(test)]
impl Link {
    /// Whether what waits is within its bounds.
    pub fn is_bounded(&self) -> bool {
        self.outgoing.len() <= FULL && self.unresolved.len() <= UNRESOLVED
    }

    /// Bytes that are held for the guest.
    pub fn held(&self) -> usize {
        let waiting = self.outgoing.iter();
        let unresolved = self.unresolved.iter().map(|(_, frame)| frame);
        let frames = waiting.chain(unresolved).map(|frame| &frame.bytes);
        frames.chain(&self.spare).map(Vec::capacity).sum()
    }
}
