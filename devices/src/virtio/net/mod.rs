//! The network device (virtio 1.2, section 5.1): frames between a driver's queues and a [`Wire`].
//!
//! The device has two halves. [`Net`] is what the transport sees; [`Port`] is what moves frames,
//! on a thread of the host's that also drives the wire. A notification only wakes that thread.
//!
//! The receive queue is served with merged buffers where the driver takes them, so that a large
//! segment costs as many small buffers as it needs and small frames cost one. Checksums and cutting
//! are left to whichever end does them last or never: the driver's, or the wire's.

mod control;
mod header;
mod port;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_RX,
    VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};

use crate::repeats::Repeats;

use super::byte_order::ByteOrder;
use super::device::{Activation, VirtioDevice, read_fields};

pub use control::Filter;
pub use port::Port;
pub use wire::{
    LARGEST_FRAME, Offload, Offloads, PartialChecksum, SMALLEST_FRAME, Segmentation, Wire,
};

/// Virtio's number for network devices.
pub const DEVICE_ID: u16 = 1;

/// The values that a snapshot must hold besides the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The device's address.
    pub mac: [u8; 6],
    /// Which frames the driver takes.
    pub filter: Filter,
}

/// What both halves share.
struct Shared<M> {
    state: Mutex<State>,
    /// The queues; locked while frames move. Not taken by a notification.
    queues: Mutex<port::Queues<M>>,
    /// Frames of the driver's that were lost, or that went out without what they asked for.
    mistaken: Repeats,
    /// Wakes whoever serves the port.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Locks, also after a panic of another thread: plain values stay true then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The transport's half of a network device.
pub struct Net<M> {
    shared: Arc<Shared<M>>,
    initial: State,
    offered: u64,
}

impl<M> Net<M> {
    /// A device with an address, on a wire that can do `offloads`. `wake` is called when the port
    /// must be served, from any thread; it does not block.
    pub fn new(
        mac: [u8; 6],
        offloads: Offloads,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> (Self, Port<M>) {
        let initial = State {
            mac,
            filter: Filter::default(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(initial.clone()),
            queues: Mutex::default(),
            mistaken: Repeats::new(),
            wake,
        });
        let net = Net {
            shared: shared.clone(),
            initial,
            offered: offered(offloads),
        };
        (net, Port::new(shared))
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        lock(&self.shared.state).clone()
    }
}

const fn bit(number: u32) -> u64 {
    1 << number
}

fn offered(offloads: Offloads) -> u64 {
    let mut features = bit(VIRTIO_NET_F_MAC)
        | bit(VIRTIO_NET_F_STATUS)
        | bit(VIRTIO_NET_F_MRG_RXBUF)
        | bit(VIRTIO_NET_F_CTRL_VQ)
        | bit(VIRTIO_NET_F_CTRL_RX)
        | bit(VIRTIO_NET_F_CTRL_RX_EXTRA)
        | bit(VIRTIO_NET_F_CTRL_MAC_ADDR);
    for (number, can) in [
        (VIRTIO_NET_F_CSUM, offloads.from_guest_checksum),
        (VIRTIO_NET_F_HOST_TSO4, offloads.from_guest_segments),
        (VIRTIO_NET_F_GUEST_CSUM, offloads.to_guest_checksum),
        (VIRTIO_NET_F_GUEST_TSO4, offloads.to_guest_segments),
    ] {
        if can {
            features |= bit(number);
        }
    }
    features
}

/// What a driver took of the offloads; a bit without the one that it needs does not count.
fn taken(features: u64) -> Offloads {
    let has = |number| features & bit(number) != 0;
    let from_guest_checksum = has(VIRTIO_NET_F_CSUM);
    let to_guest_checksum = has(VIRTIO_NET_F_GUEST_CSUM);
    Offloads {
        from_guest_checksum,
        from_guest_segments: from_guest_checksum && has(VIRTIO_NET_F_HOST_TSO4),
        to_guest_checksum,
        to_guest_segments: to_guest_checksum && has(VIRTIO_NET_F_GUEST_TSO4),
    }
}

impl<M: Send> VirtioDevice<M> for Net<M> {
    fn device_id(&self) -> u16 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        self.offered
    }

    fn queue_sizes(&self) -> &[u16] {
        // Receive, transmit, control.
        &[256, 256, 64]
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder) {
        let mut fields = [0; 8];
        fields[..6].copy_from_slice(&lock(&self.shared.state).mac);
        fields[6..].copy_from_slice(&order.put_u16(VIRTIO_NET_S_LINK_UP as u16));
        read_fields(&fields, offset, data);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], order: ByteOrder) {
        // Only legacy drivers set the address here, byte by byte.
        if order != ByteOrder::Big {
            return;
        }
        let mut state = lock(&self.shared.state);
        let from = offset as usize;
        for (at, byte) in (from..).zip(data) {
            if let Some(place) = state.mac.get_mut(at) {
                *place = *byte;
            }
        }
    }

    fn activate(&mut self, activation: Activation<M>) {
        lock(&self.shared.queues).set(Some(activation));
        (self.shared.wake)();
    }

    fn notify(&mut self, _queue: u16) {
        (self.shared.wake)();
    }

    fn reset(&mut self) {
        // Waits for a batch of frames that is on its way.
        lock(&self.shared.queues).set(None);
        *lock(&self.shared.state) = self.initial.clone();
        (self.shared.wake)();
    }
}
