//! The user network: a router, a DHCP server and a name server in this process, whose outside is
//! ordinary sockets of the host's. It needs no privileges.
//!
//! The guest's frames come in by [`Wire::send`] and are handled at once: ARP and DHCP by an answer,
//! UDP by a socket for each pair of ends, TCP by a stack of its own ([`tcp`]). Everything that the
//! host does comes in by [`User::poll`].
//!
//! Nothing that waits between the guest and the host grows without bound:
//!
//! | what waits | at most |
//! |---|---|
//! | frames for the guest ([`link`]) | 512, of which 64 may have 60 KiB; then 64 more for addresses that do not answer |
//! | fragments of the guest's ([`fragments`]) | 8 packets, 512 KiB |
//! | TCP connections' data ([`buffers`]) | 64 MiB for all of 1024 connections |
//! | UDP ([`udp`]) | 256 pairs, which keep no data but a name server's last question |
//! | senders to forwarded UDP ports ([`forward`]) | 256 |
//! | clients of forwarded TCP ports | what the host's kernel queues, until they are connections |
//!
//! The network is a NAT between two stacks, so what of a packet belongs to its way ends here: its
//! time to live, type of service, and IP options are the host's own beyond it. TCP's urgent data
//! travels in line; a UDP checksum of 0 is taken for none. Frames other than ARP and IPv4, tagged
//! ones among them, lead nowhere, as does ICMP other than echo requests.

mod address;
mod buffers;
mod datagram;
mod dhcp;
mod environment;
mod forward;
mod fragments;
mod link;
mod live;
mod readiness;
mod resolvers;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use ppckvm_devices::virtio::net::{Offload, Offloads, Wire};
use rustix::event::epoll::EventFlags;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable, IpProtocol, Ipv4Packet,
    Ipv4Repr, UdpPacket,
};

pub(super) use readiness::Readiness;

pub use forward::{HostForward, ParseForwardError, Protocol};
pub use live::ForwardError;
pub(crate) use live::LiveForwards;

use self::address::Reach;
use self::environment::{Bounds, Environment, Packet};
use self::forward::Forwards;
use self::fragments::Fragments;
use self::link::Link;
use self::live::{Asked, Inbox};
use self::resolvers::NameServers;
use self::tcp::Tcp;
use self::udp::Udp;
use super::{Backend, ForwardedPort, NetError};
use crate::host::descriptors::Descriptors;

/// The options of a user network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNet {
    /// The ports of the host that lead into the guest.
    pub forwards: Vec<HostForward>,
    /// The name servers that questions to 10.0.2.3 go to; without any, the host's.
    pub resolvers: Vec<SocketAddr>,
    /// Whether the guest reaches neither the host nor anything outside: what is left are forwarded
    /// ports, DHCP, and pings of the gateway.
    pub restrict: bool,
    /// Whether the guest reaches 169.254.0.0/16 of the host's, where clouds tell a machine about
    /// itself and hand out its credentials.
    pub link_local: bool,
}

/// A running user network.
pub struct User {
    started: Instant,
    now: smoltcp::time::Instant,
    bounds: Bounds,
    readiness: Readiness,
    link: Link,
    tcp: Tcp,
    udp: Udp,
    forwards: Forwards,
    name_servers: NameServers,
    fragments: Fragments,
    /// What other threads ask for, and its place in `readiness`.
    inbox: Arc<Inbox>,
    inbox_id: readiness::Id,
    /// A driver is there: until then, clients of forwarded ports wait in their listeners' queues.
    is_attached: bool,
    /// The protocols have something to send.
    busy: bool,
}

impl User {
    /// Starts a network. Returns it and where each forwarded port listens.
    pub fn new(options: &UserNet) -> Result<(Self, Vec<SocketAddr>), NetError> {
        let mut readiness = Readiness::new().map_err(|error| NetError::Host {
            what: "epoll set",
            error,
        })?;
        let bounds = Bounds {
            descriptors: Descriptors::of_process(),
            reach: Reach {
                restricted: options.restrict,
                link_local: options.link_local,
            },
        };
        let mut forwards = Forwards::default();
        let listening = options
            .forwards
            .iter()
            .map(|forward| forwards.add(&mut readiness, forward))
            .collect::<Result<_, _>>()?;
        let host = |error| NetError::Host {
            what: "event descriptor",
            error,
        };
        let inbox = Inbox::new().map_err(host)?;
        let inbox_id = readiness.add(&inbox.wake, EventFlags::IN);
        let user = User {
            started: Instant::now(),
            now: smoltcp::time::Instant::ZERO,
            bounds,
            readiness,
            link: Link::default(),
            tcp: Tcp::new(false),
            udp: Udp::default(),
            forwards,
            name_servers: NameServers::new(&options.resolvers),
            fragments: Fragments::default(),
            inbox_id: inbox_id.map_err(host)?,
            inbox: Arc::new(inbox),
            is_attached: false,
            busy: false,
        };
        Ok((user, listening))
    }

    /// The way to its forwarded ports while it runs.
    pub fn live_forwards(&self, name: &str, ports: Vec<ForwardedPort>) -> LiveForwards {
        LiveForwards::new(name, self.inbox.clone(), ports)
    }

    /// Does what other threads asked for.
    fn serve_inbox(&mut self) {
        for asked in self.inbox.take() {
            // Who does not wait for the answer any more needs none.
            match asked {
                Asked::Add(opened, answer) => {
                    let added = self.forwards.insert(&mut self.readiness, opened);
                    let _ = answer.send(added);
                }
                Asked::Remove(protocol, host, answer) => {
                    let removed = self.forwards.remove(&mut self.readiness, protocol, host);
                    let _ = answer.send(removed);
                }
            }
        }
    }

    fn time(&self, now: Instant) -> smoltcp::time::Instant {
        let since = now.saturating_duration_since(self.started);
        // One microsecond on, because some timers of the stack's take zero for never.
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX - 1);
        smoltcp::time::Instant::from_micros(micros + 1)
    }

    /// Takes an IP packet from an Ethernet address; padding may follow it.
    fn packet(&mut self, from: EthernetAddress, padded: &[u8], is_partial: bool) {
        let Ok(ip) = Ipv4Packet::new_checked(padded) else {
            return;
        };
        let is_fragment = ip.more_frags() || ip.frag_offset() != 0;
        if is_fragment {
            if ip.version() == 4
                && ip.verify_checksum()
                && let Some(whole) = self.fragments.add(self.now, &ip)
            {
                self.packet(from, &whole, false);
            }
            return;
        }
        let Ok(header) = Ipv4Repr::parse(&ip, &ChecksumCapabilities::default()) else {
            return;
        };
        let bytes = &padded[..usize::from(ip.total_len())];
        let packet = Packet {
            header,
            bytes,
            payload: ip.payload(),
            is_partial,
        };
        if header.next_header == IpProtocol::Udp {
            return self.datagram(from, &packet);
        }
        if !address::is_guest(header.src_addr) {
            return;
        }
        self.link.learn(header.src_addr, from);
        match header.next_header {
            IpProtocol::Tcp => {
                let environment = &mut Environment {
                    now: self.now,
                    bounds: self.bounds,
                    link: &mut self.link,
                    readiness: &mut self.readiness,
                };
                let servers = &mut self.name_servers;
                let first = || name_servers(self.bounds.reach, servers).first().copied();
                self.tcp.receive(environment, &packet, first);
            }
            IpProtocol::Icmp => datagram::icmp(&mut self.link, &header, packet.payload, bytes),
            _ if address::is_ours(header.dst_addr) => {
                let reason = Icmpv4DstUnreachable::ProtoUnreachable;
                datagram::unreachable(&mut self.link, reason, bytes);
            }
            _ => {
                let reason = Icmpv4DstUnreachable::CommProhibited;
                datagram::unreachable(&mut self.link, reason, bytes);
            }
        }
    }

    fn datagram(&mut self, mac: EthernetAddress, packet: &Packet) {
        let Ok(udp) = UdpPacket::new_checked(packet.payload) else {
            return;
        };
        let (from, to) = (packet.header.src_addr, packet.header.dst_addr);
        if !packet.is_partial && !udp.verify_checksum(&from.into(), &to.into()) {
            return;
        }
        // The only datagrams that come from nowhere, or go to all.
        if udp.dst_port() == dhcp::SERVER_PORT && (to.is_broadcast() || to == address::GATEWAY) {
            return dhcp::answer(&mut self.link, udp.payload());
        }
        if !address::is_guest(from) || udp.dst_port() == 0 {
            return;
        }
        self.link.learn(from, mac);
        if to.is_broadcast() || to.is_multicast() || address::is_guest(to) {
            return;
        }
        let guest = (from, udp.src_port());
        let remote = (to, udp.dst_port());
        if self.forwards.answer(guest, remote, udp.payload()) {
            return;
        }
        let environment = &mut Environment {
            now: self.now,
            bounds: self.bounds,
            link: &mut self.link,
            readiness: &mut self.readiness,
        };
        let servers = &mut self.name_servers;
        let servers = || name_servers(self.bounds.reach, servers).to_vec();
        self.udp.receive(environment, packet, &udp, servers);
    }

    /// Has the protocols send what they can.
    fn work(&mut self) {
        if std::mem::take(&mut self.busy) {
            let environment = &mut Environment {
                now: self.now,
                bounds: self.bounds,
                link: &mut self.link,
                readiness: &mut self.readiness,
            };
            self.tcp.work(environment);
        }
    }
}

fn name_servers(reach: Reach, servers: &mut NameServers) -> &[SocketAddr] {
    match reach.restricted {
        // A question could carry anything outside.
        true => &[],
        false => servers.now(),
    }
}

impl Wire for User {
    fn offloads(&self) -> Offloads {
        Offloads::ALL
    }

    fn attach(&mut self, offloads: Option<Offloads>) {
        match offloads {
            Some(offloads) => tracing::debug!("the user network has a driver: {offloads:?}"),
            None => tracing::debug!("the user network has no driver any more"),
        }
        self.is_attached = offloads.is_some();
        self.forwards
            .try_again(self.is_attached.then_some(self.now));
        self.fragments.clear();
        let offloads = offloads.unwrap_or_default();
        self.tcp.clear(&mut self.readiness);
        self.udp.clear(&mut self.readiness);
        self.link.reset();
        self.link.leaves_checksums = offloads.to_guest_checksum;
        self.tcp = Tcp::new(offloads.to_guest_checksum && offloads.to_guest_segments);
    }

    fn send(&mut self, frame: &[u8], offload: Offload) {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
            return;
        };
        let to = ethernet.dst_addr();
        if to != address::MAC && to.is_unicast() {
            return;
        }
        self.busy = true;
        match ethernet.ethertype() {
            EthernetProtocol::Arp => self.link.arp(ethernet.payload()),
            EthernetProtocol::Ipv4 => {
                let is_partial = offload.checksum.is_some();
                self.packet(ethernet.src_addr(), ethernet.payload(), is_partial);
            }
            _ => {}
        }
    }

    fn receive(&mut self) -> Option<(&[u8], Offload)> {
        if self.link.first().is_none() {
            self.work();
        }
        let frame = self.link.first()?;
        Some((&frame.bytes, frame.offload))
    }

    fn received(&mut self) {
        self.link.remove_first();
        // Room for more.
        self.busy = true;
    }
}

impl Backend for User {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.readiness.descriptor())
    }

    fn poll(&mut self, now: Instant) {
        self.now = self.time(now);
        for (id, events) in self.readiness.take() {
            if id == self.inbox_id {
                self.serve_inbox();
                continue;
            }
            if !self.is_attached && self.forwards.is_listener(id) {
                // Looked at again when a driver comes.
                continue;
            }
            let environment = &mut Environment {
                now: self.now,
                bounds: self.bounds,
                link: &mut self.link,
                readiness: &mut self.readiness,
            };
            let tcp = &mut self.tcp;
            let connect = |environment: &mut Environment, client, guest| {
                tcp.forward(environment, client, guest);
            };
            if !self.forwards.ready(environment, id, connect) {
                self.tcp.ready(environment, id, events);
                if events.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                    self.udp.ready(environment, id);
                }
            }
            self.busy = true;
        }
        if self
            .tcp
            .deadline(self.now, &self.link)
            .is_some_and(|at| at <= self.now)
        {
            self.tcp.tick();
            self.busy = true;
        }
        if self.forwards.deadline().is_some_and(|at| at <= self.now) {
            let environment = &mut Environment {
                now: self.now,
                bounds: self.bounds,
                link: &mut self.link,
                readiness: &mut self.readiness,
            };
            let tcp = &mut self.tcp;
            self.forwards
                .tick(environment, |environment, client, guest| {
                    tcp.forward(environment, client, guest)
                });
            self.busy = true;
        }
        if self.udp.deadline().is_some_and(|at| at <= self.now) {
            self.udp.tick(self.now, &mut self.readiness);
        }
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.work();
        let tcp = self.tcp.deadline(self.now, &self.link);
        let others = self
            .udp
            .deadline()
            .into_iter()
            .chain(self.forwards.deadline());
        let next = tcp.into_iter().chain(others).min()?;
        let micros = u64::try_from(next.total_micros() - 1).unwrap_or(0);
        self.started
            .checked_add(std::time::Duration::from_micros(micros))
    }
}
