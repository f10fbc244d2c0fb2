//! IP packets that the guest sent in fragments, put together again (RFC 791, 3.2).

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::time::Instant;
use smoltcp::wire::{IpProtocol, Ipv4Packet};

/// Packets that are put together at one time; the oldest makes room for a new one.
const PACKETS: usize = 8;

/// Fragments of one packet: what the longest is cut into for the smallest network (RFC 791: 576
/// bytes), and some more.
const PIECES: usize = 128;

/// How long the rest of a packet is waited for (RFC 1122, 3.3.2).
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the longest packet's data.
const LONGEST: usize = 65_535 - HEADER;

/// Bytes of a header without options, which is what a whole packet gets.
const HEADER: usize = 20;

/// What all fragments of a packet have in common.
type Key = (Ipv4Addr, Ipv4Addr, IpProtocol, u16);

struct Partial {
    key: Key,
    since: Instant,
    /// The header, then data as far as it came.
    bytes: Vec<u8>,
    /// Where there is data, without overlaps.
    pieces: Vec<(usize, usize)>,
    /// Bytes of data, once the last fragment came.
    length: Option<usize>,
}

/// Packets that are not whole yet: at most 8, so at most 512 KiB.
#[derive(Default)]
pub struct Fragments(Vec<Partial>);

impl Fragments {
    /// Takes a fragment; returns its packet, as if it had never been cut, when that is whole.
    pub fn add(&mut self, now: Instant, ip: &Ipv4Packet<&[u8]>) -> Option<Vec<u8>> {
        self.0
            .retain(|partial| partial.since + PATIENCE.into() > now);
        let key = (ip.src_addr(), ip.dst_addr(), ip.next_header(), ip.ident());
        let index = self.0.iter().position(|partial| partial.key == key);
        let index = index.unwrap_or_else(|| {
            if self.0.len() >= PACKETS {
                self.0.remove(0);
            }
            self.0.push(Partial {
                key,
                since: now,
                bytes: vec![0; HEADER],
                pieces: Vec::new(),
                length: None,
            });
            self.0.len() - 1
        });
        match self.0[index].take(ip) {
            Ok(true) => Some(self.0.remove(index).whole()),
            Ok(false) => None,
            // A packet that contradicts itself is lost as a whole.
            Err(()) => {
                self.0.remove(index);
                None
            }
        }
    }

    /// Forgets all: the guest is another.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.0.iter().map(|partial| partial.bytes.capacity()).sum()
    }
}

impl Partial {
    /// Takes a fragment; whether the packet is whole.
    fn take(&mut self, ip: &Ipv4Packet<&[u8]>) -> Result<bool, ()> {
        let data = ip.payload();
        let from = usize::from(ip.frag_offset());
        let to = from + data.len();
        if self.pieces.contains(&(from, to)) {
            // The same once more.
            return Ok(false);
        }
        let overlaps = self.pieces.iter().any(|(a, b)| from < *b && *a < to);
        let is_last = !ip.more_frags();
        let is_odd = data.is_empty() || !is_last && !data.len().is_multiple_of(8);
        let is_beyond = self.length.is_some_and(|length| is_last || to > length);
        if overlaps || is_odd || is_beyond || to > LONGEST || self.pieces.len() >= PIECES {
            return Err(());
        }
        if is_last {
            if self.pieces.iter().any(|(_, end)| *end > to) {
                return Err(());
            }
            self.length = Some(to);
        }
        if self.bytes.len() < HEADER + to {
            self.bytes.resize(HEADER + to, 0);
        }
        self.bytes[HEADER + from..HEADER + to].copy_from_slice(data);
        if from == 0 {
            // The first fragment's header is the packet's; its options were for the way.
            self.bytes[..HEADER].copy_from_slice(&ip.clone().into_inner()[..HEADER]);
        }
        self.pieces.push((from, to));
        let there: usize = self.pieces.iter().map(|(from, to)| to - from).sum();
        Ok(self.length == Some(there))
    }

    fn whole(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u16;
        let mut ip = Ipv4Packet::new_unchecked(&mut self.bytes[..]);
        ip.set_header_len(HEADER as u8);
        ip.set_total_len(length);
        ip.set_more_frags(false);
        ip.set_frag_offset(0);
        ip.fill_checksum();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::Ipv4Repr;

    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    fn fragment(ident: u16, at: usize, more: bool, data: &[u8]) -> Vec<u8> {
        let repr = Ipv4Repr {
            src_addr: FROM,
            dst_addr: TO,
            next_header: IpProtocol::Udp,
            payload_len: data.len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; HEADER];
        packet.extend(data);
        let mut ip = Ipv4Packet::new_unchecked(&mut packet[..]);
        repr.emit(&mut ip, &Default::default());
        ip.set_ident(ident);
        ip.set_more_frags(more);
        ip.set_frag_offset(at as u16);
        ip.fill_checksum();
        packet
    }

    fn add(fragments: &mut Fragments, seconds: i64, packet: &[u8]) -> Option<Vec<u8>> {
        let ip = Ipv4Packet::new_checked(packet).unwrap();
        fragments.add(Instant::from_secs(seconds), &ip)
    }

    #[test]
    fn fragments_in_any_order_become_the_packet() {
        let data: Vec<u8> = (0..3000).map(|n| n as u8).collect();
        let parts = [(0, true), (1480, true), (2960, false)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut fragments = Fragments::default();
            let mut whole = None;
            for index in order {
                assert!(whole.is_none());
                let (at, more) = parts[index];
                let part = &data[at..data.len().min(at + 1480)];
                whole = add(&mut fragments, 0, &fragment(7, at, more, part));
            }
            let whole = whole.unwrap();
            let ip = Ipv4Packet::new_checked(&whole[..]).unwrap();
            assert!(ip.verify_checksum() && !ip.more_frags() && ip.frag_offset() == 0);
            assert_eq!((ip.src_addr(), ip.dst_addr()), (FROM, TO));
            assert_eq!(ip.payload(), data);
            assert_eq!(fragments.held(), 0);
        }
    }

    #[test]
    fn what_contradicts_itself_or_comes_late_is_lost() {
        let cases: [&[(i64, usize, bool, usize)]; 6] = [
            // Overlapping.
            &[(0, 0, true, 16), (0, 8, false, 16)],
            // Two ends.
            &[(0, 8, false, 8), (0, 16, false, 8), (0, 0, true, 8)],
            // Beyond the end.
            &[(0, 16, true, 8), (0, 8, false, 8), (0, 0, true, 8)],
            // No multiple of 8.
            &[(0, 0, true, 9), (0, 9, false, 8)],
            // Longer than any packet.
            &[(0, 65_528, false, 8), (0, 0, true, 65_000)],
            // A minute apart.
            &[(0, 0, true, 8), (61, 8, false, 8)],
        ];
        for case in cases {
            let mut fragments = Fragments::default();
            for (index, (seconds, at, more, length)) in case.iter().enumerate() {
                let data = vec![index as u8; *length];
                let packet = fragment(1, *at, *more, &data);
                assert!(add(&mut fragments, *seconds, &packet).is_none(), "{case:?}");
            }
        }
    }

    #[test]
    fn packets_that_never_become_whole_do_not_gather() {
        let mut fragments = Fragments::default();
        for ident in 0..1000 {
            add(
                &mut fragments,
                0,
                &fragment(ident, 64_000, true, &[0; 1024]),
            );
        }
        assert!(fragments.held() <= PACKETS * 2 * 65_536);
        // Nor do the fragments of one.
        for at in 0..1000 {
            add(&mut fragments, 0, &fragment(9999, at * 16, true, &[0; 8]));
        }
        assert!(
            fragments
                .0
                .iter()
                .all(|partial| partial.pieces.len() <= PIECES)
        );
    }
}
