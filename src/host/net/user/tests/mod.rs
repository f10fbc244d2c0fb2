//! The user network driven by frames. Its guest is another smoltcp stack, or frames made by hand;
//! the host's side is real sockets on loopback.

mod bounds;
mod frames;
mod random;
mod streams;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ppckvm_devices::virtio::net::{Offload, Offloads, PartialChecksum, Segmentation, Wire};
use rustix::event::{PollFd, PollFlags, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::socket::tcp::{self, State};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::super::Backend;
use super::{HostForward, User, UserNet, address};

pub const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// No wait of a test's may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something happens at the network's sockets, but not for long.
pub fn wait(user: &User) {
    let descriptor = user.descriptor().unwrap();
    let mut looked = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let moment = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    poll(&mut looked, Some(&moment)).unwrap();
}

/// Goes on until `done` says so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen");
    }
}

/// The frames that the guest has to take.
pub fn received(user: &mut User) -> Vec<(Vec<u8>, Offload)> {
    let mut frames = Vec::new();
    while let Some((frame, offload)) = user.receive() {
        frames.push((frame.to_vec(), offload));
        user.received();
    }
    frames
}

#[derive(Default)]
pub struct Nic {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<(Vec<u8>, Option<u16>)>,
    offloads: Offloads,
}

pub struct In(Vec<u8>);
pub struct Out<'a>(&'a mut Nic, Option<u16>);

impl RxToken for In {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.outgoing.push((frame, self.1));
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.1 = meta.segmentation_offload_size.map(Into::into);
    }
}

impl Device for Nic {
    type RxToken<'a> = In;
    type TxToken<'a> = Out<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(In, Out<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((In(frame), Out(self, None)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Out<'_>> {
        Some(Out(self, None))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        if self.offloads.from_guest_segments {
            capabilities.segmentation.tcpv4 = std::num::NonZeroUsize::new(60_000);
        }
        if self.offloads.to_guest_checksum {
            capabilities.checksum.tcp = Checksum::None;
        }
        capabilities
    }
}

/// A guest and its network.
pub struct Guest {
    pub user: User,
    pub nic: Nic,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    pub listening: Vec<SocketAddr>,
    started: Instant,
    next_port: u16,
    /// The largest frame that came.
    pub largest: usize,
    /// The guest takes nothing from its network.
    pub is_stuck: bool,
}

impl Guest {
    pub fn new(options: UserNet, offloads: Offloads) -> Guest {
        let (mut user, listening) = User::new(&options).unwrap();
        user.attach(Some(offloads));
        let mut nic = Nic {
            offloads,
            ..Nic::default()
        };
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(GUEST_MAC)));
        let mut interface = Interface::new(config, &mut nic, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(address::GUEST.into(), 24))
                .unwrap();
        });
        interface
            .routes_mut()
            .add_default_ipv4_route(address::GATEWAY)
            .unwrap();
        Guest {
            user,
            nic,
            interface,
            sockets: SocketSet::new(Vec::new()),
            listening,
            started: Instant::now(),
            next_port: 30000,
            largest: 0,
            is_stuck: false,
        }
    }

    pub fn plain() -> Guest {
        Guest::new(UserNet::default(), Offloads::NONE)
    }

    pub fn forwarding(forward: &str) -> Guest {
        let forwards = vec![forward.parse::<HostForward>().unwrap()];
        let options = UserNet {
            forwards,
            ..UserNet::default()
        };
        Guest::new(options, Offloads::NONE)
    }

    /// Moves everything that can be moved now.
    pub fn step(&mut self) {
        let now = Instant::now();
        let time = smoltcp::time::Instant::from_micros(
            (now - self.started).as_micros() as i64 + 1_000_000,
        );
        self.user.poll(now);
        for _ in 0..8 {
            self.interface.poll(time, &mut self.nic, &mut self.sockets);
            for (frame, segment) in std::mem::take(&mut self.nic.outgoing) {
                let offload = self.offload(&frame, segment);
                self.user.send(&frame, offload);
            }
            if !self.is_stuck {
                let frames = received(&mut self.user);
                for (frame, offload) in frames {
                    self.take(frame, offload);
                }
            }
        }
        self.user.deadline();
        wait(&self.user);
    }

    fn offload(&self, frame: &[u8], segment: Option<u16>) -> Offload {
        let is_tcp = frame[12..14] == [8, 0] && frame[23] == 6;
        if !is_tcp || !self.nic.offloads.from_guest_checksum {
            assert_eq!(segment, None);
            return Offload::default();
        }
        Offload {
            checksum: Some(PartialChecksum {
                start: 34,
                offset: 16,
            }),
            segmentation: segment.map(|size| Segmentation {
                size,
                headers: 54,
                ecn: false,
            }),
        }
    }

    fn take(&mut self, frame: Vec<u8>, offload: Offload) {
        self.largest = self.largest.max(frame.len());
        if !self.nic.offloads.to_guest_checksum {
            assert_eq!(offload, Offload::default());
        }
        if !self.nic.offloads.to_guest_segments {
            assert!(frame.len() <= 1514, "{}", frame.len());
        }
        if frame.len() > 1514 {
            let segmentation = offload.segmentation.unwrap();
            assert!(segmentation.size <= 1460 && offload.checksum.is_some());
            assert_eq!(segmentation.headers, 54);
        }
        self.nic.incoming.push_back(frame);
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn state(&mut self, handle: SocketHandle) -> State {
        self.socket(handle).state()
    }

    fn new_socket(&mut self) -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket
    }

    /// Has the guest connect.
    pub fn connect(&mut self, to: Ipv4Addr, port: u16) -> SocketHandle {
        let mut socket = self.new_socket();
        self.next_port += 1;
        socket
            .connect(self.interface.context(), (to, port), self.next_port)
            .unwrap();
        self.sockets.add(socket)
    }

    /// Has the guest listen.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = self.new_socket();
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    /// Goes on until the guest's socket is in a state.
    pub fn until_state(&mut self, handle: SocketHandle, state: State) {
        until(&format!("{state}"), || {
            self.step();
            self.state(handle) == state
        });
    }

    /// Connects the guest with a listener of the host's.
    pub fn connected(&mut self, listener: &TcpListener) -> (SocketHandle, TcpStream) {
        let handle = self.connect(address::GATEWAY, listener.local_addr().unwrap().port());
        self.until_state(handle, State::Established);
        let (host, _) = listener.accept().unwrap();
        host.set_nonblocking(true).unwrap();
        (handle, host)
    }

    /// Moves data both ways at once until all of it is there.
    pub fn exchange(&mut self, handle: SocketHandle, host: &mut TcpStream, to: &[u8], from: &[u8]) {
        let (mut sent, mut read) = (0, 0);
        let (mut at_host, mut at_guest) = (Vec::new(), Vec::new());
        until("the exchange", || {
            let socket = self.socket(handle);
            sent += socket.send_slice(&from[sent..]).unwrap_or(0);
            if socket.can_recv() {
                socket
                    .recv(|data| {
                        at_guest.extend_from_slice(data);
                        (data.len(), ())
                    })
                    .unwrap();
            }
            if read < to.len() {
                read += would_block(host.write(&to[read..]));
            }
            let mut part = [0; 16384];
            let count = would_block(host.read(&mut part));
            at_host.extend_from_slice(&part[..count]);
            self.step();
            at_host.len() == from.len() && at_guest.len() == to.len()
        });
        assert!(
            at_host == from,
            "the host has other bytes than the guest sent"
        );
        assert!(
            at_guest == to,
            "the guest has other bytes than the host sent"
        );
    }

    /// Goes on until the network has no connection.
    pub fn until_empty(&mut self) {
        until("the end of all connections", || {
            self.step();
            self.user.tcp.len() == 0
        });
    }
}

/// A count, or 0 when there is none now.
pub fn would_block(result: io::Result<usize>) -> usize {
    match result {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Bytes that tell where they belong.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}
