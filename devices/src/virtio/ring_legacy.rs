//! The split virtqueue in the guest's byte order, as a legacy driver lays it out (virtio 1.2,
//! 2.7.2): descriptor table, available ring and used ring in one piece of memory.
//!
//! `virtio-queue`, which serves VERSION_1, is little-endian only. This is the same ring with the
//! order as a value. It is not used for VERSION_1, so that nothing of ours stands in for a library
//! where the library will do.

use std::sync::atomic::{Ordering, fence};

use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::byte_order::ByteOrder;
use super::chain::{Chain, MAX_DESCRIPTORS, Walk};
use super::queue_error::QueueError;

/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;
/// Bytes of `flags` and `idx`, with which both rings begin.
const RING_HEADER: u64 = 4;
/// Bytes of an entry of the available ring.
const AVAIL_ENTRY: u64 = 2;
/// Bytes of an entry of the used ring.
const USED_ENTRY: u64 = 8;

/// Descriptor: another one follows.
const NEXT: u16 = 1;
/// Descriptor: the device writes.
const WRITE: u16 = 2;
/// Descriptor: it holds a table of descriptors.
const INDIRECT: u16 = 4;
/// Available ring: the driver wants no interrupts.
pub(super) const AVAIL_NO_INTERRUPT: u16 = 1;
/// Used ring: the device wants no notifications.
const USED_NO_NOTIFY: u16 = 1;

/// A ring and the device's position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LegacyRing {
    order: ByteOrder,
    event_idx: bool,
    size: u16,
    table: u64,
    avail: u64,
    used: u64,
    /// The next entry of the available ring that the device takes.
    pub next_avail: u16,
    /// The next entry of the used ring that the device fills.
    pub next_used: u16,
    /// Where `next_used` was when the driver was last considered for an interrupt.
    signalled: u16,
}

/// One entry of a descriptor table.
struct Descriptor {
    address: GuestAddress,
    length: u32,
    flags: u16,
    next: u16,
}

impl LegacyRing {
    /// A ring of `size` entries, a power of 2, whose used ring begins at a multiple of `align`.
    ///
    /// # Errors
    /// When the ring is not inside guest RAM, or its numbers are invalid.
    pub fn new(
        memory: &impl GuestMemory,
        size: u16,
        base: u64,
        align: u32,
        order: ByteOrder,
        event_idx: bool,
    ) -> Result<Self, QueueError> {
        if !size.is_power_of_two()
            || !align.is_power_of_two()
            || align < 4
            || !base.is_multiple_of(16)
        {
            return Err(QueueError::Layout);
        }
        let entries = u64::from(size);
        let outside = || QueueError::Outside {
            address: base,
            bytes: entries * (DESCRIPTOR + AVAIL_ENTRY + USED_ENTRY),
        };
        let place = || {
            let avail = base.checked_add(entries * DESCRIPTOR)?;
            // With the event index behind the entries.
            let behind = avail.checked_add(RING_HEADER + entries * AVAIL_ENTRY + 2)?;
            let used = behind.checked_next_multiple_of(align.into())?;
            let end = used.checked_add(RING_HEADER + entries * USED_ENTRY + 2)?;
            Some((avail, used, usize::try_from(end - base).ok()?))
        };
        let (avail, used, bytes) = place().ok_or_else(outside)?;
        if !memory.check_range(GuestAddress(base), bytes, Permissions::ReadWrite) {
            return Err(outside());
        }
        Ok(LegacyRing {
            order,
            event_idx,
            size,
            table: base,
            avail,
            used,
            next_avail: 0,
            next_used: 0,
            signalled: 0,
        })
    }

    /// The number of descriptors in the ring.
    pub fn size(&self) -> u16 {
        self.size
    }

    fn load(
        &self,
        memory: &impl GuestMemory,
        address: u64,
        order: Ordering,
    ) -> Result<u16, QueueError> {
        let raw: u16 = memory.load(GuestAddress(address), order)?;
        Ok(self.order.read_u16(raw.to_ne_bytes()))
    }

    fn store(
        &self,
        memory: &impl GuestMemory,
        address: u64,
        value: u16,
        order: Ordering,
    ) -> Result<(), QueueError> {
        let raw = u16::from_ne_bytes(self.order.put_u16(value));
        Ok(memory.store(raw, GuestAddress(address), order)?)
    }

    /// Available ring: where the driver will put the next entry.
    fn avail_idx(&self, memory: &impl GuestMemory, order: Ordering) -> Result<u16, QueueError> {
        self.load(memory, self.avail + 2, order)
    }

    fn slot(&self, index: u16) -> u64 {
        // A power of 2, so not 0.
        u64::from(index & (self.size - 1))
    }

    /// The next chain that the driver made available.
    pub fn pop<M: GuestMemory>(&mut self, memory: &M) -> Result<Option<Chain>, QueueError> {
        // Pairs with the driver's barrier between the entry and the index.
        let idx = self.avail_idx(memory, Ordering::Acquire)?;
        let waiting = idx.wrapping_sub(self.next_avail);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.size {
            return Err(QueueError::AvailableIndex {
                waiting,
                size: self.size,
            });
        }
        let entry = self.avail + RING_HEADER + AVAIL_ENTRY * self.slot(self.next_avail);
        let head = self.load(memory, entry, Ordering::Relaxed)?;
        self.next_avail = self.next_avail.wrapping_add(1);
        self.walk(memory, head).map(Some)
    }

    fn descriptor(
        &self,
        memory: &impl GuestMemory,
        table: u64,
        index: u16,
    ) -> Result<Descriptor, QueueError> {
        let address = table.saturating_add(DESCRIPTOR * u64::from(index));
        let mut bytes = [0; DESCRIPTOR as usize];
        memory.read_slice(&mut bytes, GuestAddress(address))?;
        let [
            a0,
            a1,
            a2,
            a3,
            a4,
            a5,
            a6,
            a7,
            l0,
            l1,
            l2,
            l3,
            f0,
            f1,
            n0,
            n1,
        ] = bytes;
        let order = self.order;
        Ok(Descriptor {
            address: GuestAddress(order.read_u64([a0, a1, a2, a3, a4, a5, a6, a7])),
            length: order.read_u32([l0, l1, l2, l3]),
            flags: order.read_u16([f0, f1]),
            next: order.read_u16([n0, n1]),
        })
    }

    fn walk<M: GuestMemory>(&self, memory: &M, head: u16) -> Result<Chain, QueueError> {
        let mut walk = Walk::new(memory, head);
        let (mut table, mut entries, mut index) = (self.table, u32::from(self.size), head);
        let mut indirect = false;
        // Against loops; a walk of this length was refused before.
        for _ in 0..=MAX_DESCRIPTORS {
            if u32::from(index) >= entries {
                return Err(QueueError::BrokenChain { head });
            }
            let descriptor = self.descriptor(memory, table, index)?;
            if descriptor.flags & INDIRECT != 0 {
                let bytes = descriptor.length;
                if indirect || bytes == 0 || !bytes.is_multiple_of(DESCRIPTOR as u32) {
                    return Err(QueueError::BrokenChain { head });
                }
                indirect = true;
                (table, entries, index) = (descriptor.address.0, bytes / DESCRIPTOR as u32, 0);
                continue;
            }
            let writable = descriptor.flags & WRITE != 0;
            walk.add(descriptor.address, descriptor.length, writable)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(walk.finish());
            }
            index = descriptor.next;
        }
        Err(QueueError::TooLong { head })
    }

    /// Gives chains back at once, each with as many bytes of its writable part filled.
    pub fn push_all(
        &mut self,
        memory: &impl GuestMemory,
        chains: &[(u16, u32)],
    ) -> Result<(), QueueError> {
        for (head, written) in chains {
            let entry = self.used + RING_HEADER + USED_ENTRY * self.slot(self.next_used);
            let mut bytes = [0; USED_ENTRY as usize];
            bytes[..4].copy_from_slice(&self.order.put_u32((*head).into()));
            bytes[4..].copy_from_slice(&self.order.put_u32(*written));
            memory.write_slice(&bytes, GuestAddress(entry))?;
            self.next_used = self.next_used.wrapping_add(1);
        }
        // The entries, and all that was written to the buffers, before the index.
        self.store(memory, self.used + 2, self.next_used, Ordering::Release)
    }

    /// Whether the driver wants an interrupt for what was given back since the last call.
    pub fn needs_interrupt(&mut self, memory: &impl GuestMemory) -> Result<bool, QueueError> {
        // The index before the driver's wish: the driver writes its wish, then looks at the index.
        fence(Ordering::SeqCst);
        if !self.event_idx {
            let flags = self.load(memory, self.avail, Ordering::Relaxed)?;
            return Ok(flags & AVAIL_NO_INTERRUPT == 0);
        }
        let event = self.avail + RING_HEADER + AVAIL_ENTRY * u64::from(self.size);
        let wish = self.load(memory, event, Ordering::Relaxed)?;
        let before = std::mem::replace(&mut self.signalled, self.next_used);
        let passed = self.next_used.wrapping_sub(wish).wrapping_sub(1);
        Ok(passed < self.next_used.wrapping_sub(before))
    }

    /// Asks for notifications again; whether buffers came in the meantime.
    pub fn enable_notification(&mut self, memory: &impl GuestMemory) -> Result<bool, QueueError> {
        if self.event_idx {
            let event = self.used + RING_HEADER + USED_ENTRY * u64::from(self.size);
            self.store(memory, event, self.next_avail, Ordering::Relaxed)?;
        } else {
            self.store(memory, self.used, 0, Ordering::Relaxed)?;
        }
        // The wish before the look: the driver writes its index, then looks at the wish.
        fence(Ordering::SeqCst);
        Ok(self.avail_idx(memory, Ordering::Relaxed)? != self.next_avail)
    }

    /// Asks for no notifications; the driver may still send some.
    pub fn disable_notification(&mut self, memory: &impl GuestMemory) -> Result<(), QueueError> {
        match self.event_idx {
            // A stale event index keeps the driver silent by itself.
            true => Ok(()),
            false => self.store(memory, self.used, USED_NO_NOTIFY, Ordering::Relaxed),
        }
    }
}
