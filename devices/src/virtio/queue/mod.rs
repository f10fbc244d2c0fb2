//! A virtqueue as a device sees it, whichever ring is under it.

use std::sync::atomic::{Ordering, fence};

use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::byte_order::ByteOrder;
use super::chain::{Chain, Walk};
use super::queue_error::QueueError;
use super::ring_legacy::{AVAIL_NO_INTERRUPT, LegacyRing};

#[derive(Debug)]
enum Ring {
    /// The driver did not set it up.
    Unused,
    /// VERSION_1.
    Split(virtio_queue::Queue),
    Legacy(LegacyRing),
}

/// Where a driver put a ring of VERSION_1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitRing {
    /// How many descriptors, a power of 2.
    pub size: u16,
    /// The descriptor table.
    pub table: u64,
    /// The available ring.
    pub avail: u64,
    /// The used ring.
    pub used: u64,
}

/// A virtqueue (virtio 1.2, 2.6): chains out of it, and back into it.
///
/// A queue that broke says so once. Then it is empty until the driver resets the device, so that a
/// device's loop over its queues needs no state for this.
///
/// An empty queue asks the driver for a notification by itself, so that no device forgets to. One
/// that looks again anyway says so with [`Queue::disable_notification`].
#[derive(Debug)]
pub struct Queue {
    ring: Ring,
    broken: bool,
    /// Chains that were taken and not given back. Each needs a descriptor of the ring's table, so
    /// there are at most as many as it has: what a device keeps is bounded by this.
    taken: u16,
    /// No notifications are wanted.
    polled: bool,
}

impl Queue {
    /// A queue that the driver did not set up: nothing comes out of it.
    pub fn unused() -> Self {
        Queue::over(Ring::Unused)
    }

    /// A queue over a ring of VERSION_1.
    ///
    /// # Errors
    /// When the ring is not inside guest RAM, or its numbers are invalid.
    pub fn split(
        memory: &impl GuestMemory,
        place: SplitRing,
        event_idx: bool,
    ) -> Result<Self, QueueError> {
        let mut ring = virtio_queue::Queue::new(place.size)?;
        ring.try_set_desc_table_address(GuestAddress(place.table))?;
        ring.try_set_avail_ring_address(GuestAddress(place.avail))?;
        ring.try_set_used_ring_address(GuestAddress(place.used))?;
        ring.set_event_idx(event_idx);
        ring.set_ready(true);
        // It takes a ring at 0 for one that is not set up.
        if place.avail == 0 || !ring.is_valid(memory) {
            return Err(QueueError::Layout);
        }
        Ok(Queue::over(Ring::Split(ring)))
    }

    /// A legacy queue: `size` entries from guest physical address `base` on, the used ring at the
    /// next multiple of `align`, in the guest's byte order.
    ///
    /// # Errors
    /// When the ring is not inside guest RAM, or its numbers are invalid.
    pub fn legacy(
        memory: &impl GuestMemory,
        size: u16,
        base: u64,
        align: u32,
        order: ByteOrder,
        event_idx: bool,
    ) -> Result<Self, QueueError> {
        let ring = LegacyRing::new(memory, size, base, align, order, event_idx)?;
        Ok(Queue::over(Ring::Legacy(ring)))
    }

    fn over(ring: Ring) -> Self {
        Queue {
            ring,
            broken: false,
            taken: 0,
            polled: false,
        }
    }

    /// Whether the driver set it up, and it did not break since.
    pub fn is_ready(&self) -> bool {
        !self.broken && !matches!(self.ring, Ring::Unused)
    }

    /// The next chain that the driver made available. When there is none, the driver will notify
    /// the device of the next one, unless notifications are disabled.
    ///
    /// # Errors
    /// When the driver breaks the rules; the queue is empty from then on. The device reports it
    /// with [`super::Interrupt::queue_broken`].
    pub fn pop<M: GuestMemory>(&mut self, memory: &M) -> Result<Option<Chain>, QueueError> {
        loop {
            let chain = self.take(memory)?;
            if chain.is_some() || self.polled || !self.ask(memory)? {
                return Ok(chain);
            }
        }
    }

    fn take<M: GuestMemory>(&mut self, memory: &M) -> Result<Option<Chain>, QueueError> {
        if self.broken {
            return Ok(None);
        }
        let size = self.size();
        let popped = match &mut self.ring {
            Ring::Unused => Ok(None),
            Ring::Split(ring) => pop_split(ring, memory),
            Ring::Legacy(ring) => ring.pop(memory),
        };
        let popped = match popped {
            Ok(Some(_)) if self.taken >= size => Err(QueueError::Outstanding { size }),
            popped => popped,
        };
        self.broken |= popped.is_err();
        self.taken += u16::from(matches!(popped, Ok(Some(_))));
        popped
    }

    /// How many descriptors the ring has; 0 for a queue that the driver did not set up.
    pub fn size(&self) -> u16 {
        match &self.ring {
            Ring::Unused => 0,
            Ring::Split(ring) => ring.size(),
            Ring::Legacy(ring) => ring.size(),
        }
    }

    /// Takes nothing more out of the queue and puts nothing more in, until the driver resets the
    /// device: for a device that found a request which breaks its rules.
    pub fn give_up(&mut self) {
        self.broken = true;
    }

    /// Gives a chain back, `written` bytes of its writable part filled from the first on.
    ///
    /// # Errors
    /// When the ring cannot be reached; the queue is empty from then on.
    pub fn push<M: GuestMemory>(
        &mut self,
        memory: &M,
        head: u16,
        written: u32,
    ) -> Result<(), QueueError> {
        self.push_all(memory, &[(head, written)])
    }

    /// Gives several chains back, which the driver sees come back at the same moment.
    /// Where a driver merges buffers, those of one packet must.
    ///
    /// # Errors
    /// When the ring cannot be reached; the queue is empty from then on.
    pub fn push_all<M: GuestMemory>(
        &mut self,
        memory: &M,
        chains: &[(u16, u32)],
    ) -> Result<(), QueueError> {
        if self.broken || chains.is_empty() {
            return Ok(());
        }
        let pushed = match &mut self.ring {
            Ring::Unused => Ok(()),
            Ring::Split(ring) => push_split(ring, memory, chains),
            Ring::Legacy(ring) => ring.push_all(memory, chains),
        };
        self.broken |= pushed.is_err();
        self.taken = self.taken.saturating_sub(chains.len() as u16);
        pushed
    }

    /// Whether the driver wants an interrupt for what was given back since this was last asked.
    /// Ask once after each batch of [`Queue::push`]; a yes is followed by
    /// [`super::Interrupt::used`].
    pub fn needs_interrupt<M: GuestMemory>(&mut self, memory: &M) -> bool {
        let wanted = match &mut self.ring {
            _ if self.broken => return false,
            Ring::Unused => return false,
            Ring::Split(ring) => split_needs_interrupt(ring, memory),
            Ring::Legacy(ring) => ring.needs_interrupt(memory),
        };
        // One interrupt too many does no harm.
        wanted.unwrap_or(true)
    }

    /// Asks the driver for notifications again, and says whether buffers came in the meantime: then
    /// there may be no notification for them.
    ///
    /// # Errors
    /// When the ring cannot be reached; the queue is empty from then on.
    pub fn enable_notification<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, QueueError> {
        self.polled = false;
        self.ask(memory)
    }

    fn ask<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, QueueError> {
        if self.broken {
            return Ok(false);
        }
        let enabled = match &mut self.ring {
            Ring::Unused => Ok(false),
            Ring::Split(ring) => ring.enable_notification(memory).map_err(QueueError::from),
            Ring::Legacy(ring) => ring.enable_notification(memory),
        };
        self.broken |= enabled.is_err();
        enabled
    }

    /// Asks the driver for no notifications until they are enabled again; it may still send some.
    ///
    /// # Errors
    /// When the ring cannot be reached; the queue is empty from then on.
    pub fn disable_notification<M: GuestMemory>(&mut self, memory: &M) -> Result<(), QueueError> {
        self.polled = true;
        if self.broken {
            return Ok(());
        }
        let disabled = match &mut self.ring {
            Ring::Unused => Ok(()),
            Ring::Split(ring) => ring.disable_notification(memory).map_err(QueueError::from),
            Ring::Legacy(ring) => ring.disable_notification(memory),
        };
        self.broken |= disabled.is_err();
        disabled
    }

    /// How far the device is in the available and the used ring, which a snapshot must hold beside
    /// the transport's state.
    pub fn position(&self) -> (u16, u16) {
        match &self.ring {
            Ring::Unused => (0, 0),
            Ring::Split(ring) => (ring.next_avail(), ring.next_used()),
            Ring::Legacy(ring) => (ring.next_avail, ring.next_used),
        }
    }
}

fn pop_split<M: GuestMemory>(
    ring: &mut virtio_queue::Queue,
    memory: &M,
) -> Result<Option<Chain>, QueueError> {
    let mut available = match ring.iter(memory) {
        Ok(available) => available,
        Err(virtio_queue::Error::InvalidAvailRingIndex) => {
            let idx = ring.avail_idx(memory, Ordering::Relaxed)?;
            return Err(QueueError::AvailableIndex {
                waiting: idx.0.wrapping_sub(ring.next_avail()),
                size: ring.size(),
            });
        }
        Err(error) => return Err(error.into()),
    };
    let Some(descriptors) = available.next() else {
        return Ok(None);
    };
    let head = descriptors.head_index();
    let mut walk = Walk::new(memory, head);
    // The library's iterator just ends at what is wrong: then the last descriptor names another.
    let mut goes_on = true;
    for descriptor in descriptors {
        walk.add(
            descriptor.addr(),
            descriptor.len(),
            descriptor.is_write_only(),
        )?;
        goes_on = descriptor.has_next();
    }
    match goes_on {
        true => Err(QueueError::BrokenChain { head }),
        false => Ok(Some(walk.finish())),
    }
}

/// The library shows the driver each chain as it is given back. So all entries but the last are
/// written first, and then the last one as often as there are entries, because the library counts:
/// the first time the driver sees all of them, and after that the same again.
fn push_split<M: GuestMemory>(
    ring: &mut virtio_queue::Queue,
    memory: &M,
    chains: &[(u16, u32)],
) -> Result<(), QueueError> {
    let Some((&(last, written), before)) = chains.split_last() else {
        return Ok(());
    };
    let first = ring.next_used();
    let mut at = first;
    for (head, written) in before {
        let slot = u64::from(at % ring.size());
        let entry = ring.used_ring() + USED_HEADER + USED_ENTRY * slot;
        let [a, b, c, d] = u32::from(*head).to_le_bytes();
        let [e, f, g, h] = written.to_le_bytes();
        memory.write_slice(&[a, b, c, d, e, f, g, h], GuestAddress(entry))?;
        at = at.wrapping_add(1);
    }
    for _ in chains {
        ring.set_next_used(at);
        ring.add_used(memory, last, written)?;
    }
    Ok(())
}

/// Bytes of a used ring before its entries, and of each.
const USED_HEADER: u64 = 4;
const USED_ENTRY: u64 = 8;

/// The library knows the event index only, and takes the flag that stands in for it as never set.
fn split_needs_interrupt<M: GuestMemory>(
    ring: &mut virtio_queue::Queue,
    memory: &M,
) -> Result<bool, QueueError> {
    if ring.event_idx_enabled() {
        return Ok(ring.needs_notification(memory)?);
    }
    // The index before the driver's wish: the driver writes its wish, then looks at the index.
    fence(Ordering::SeqCst);
    let flags: u16 = memory.load(GuestAddress(ring.avail_ring()), Ordering::Relaxed)?;
    Ok(u16::from_le(flags) & AVAIL_NO_INTERRUPT == 0)
}

#[cfg(test)]
mod tests;
