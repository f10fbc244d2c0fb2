//! A driver's side of a virtqueue, for tests of devices without a guest.
//!
//! ```
//! use ppckvm_devices::test_support::driver::Driver;
//! use ppckvm_devices::virtio::ByteOrder;
//! use std::io::{Read, Write};
//! use vm_memory::{GuestAddress, GuestMemoryMmap};
//!
//! let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x10000)])?;
//! let mut driver = Driver::new(ByteOrder::Little, 0x1000, 16, false);
//! let mut queue = driver.queue(&memory)?;
//!
//! let offer = driver.offer(&memory, &[b"ping"], &[16]);
//! let chain = queue.pop(&memory)?.expect("it was offered");
//! let mut request = Vec::new();
//! chain.reader(&memory).read_to_end(&mut request)?;
//! assert_eq!(request, b"ping");
//! let mut answer = chain.writer(&memory);
//! answer.write_all(b"pong")?;
//! queue.push(&memory, chain.head, answer.written())?;
//!
//! assert_eq!(driver.used(&memory), Some((offer.head, 4)));
//! assert_eq!(offer.written(&memory, 4), b"pong");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::atomic::{Ordering, fence};

use vm_memory::{Bytes, GuestAddress, GuestMemory};

use crate::virtio::chain::Segment;
use crate::virtio::queue::SplitRing;
use crate::virtio::{ByteOrder, Queue, QueueError};

/// The alignment of the used ring.
const ALIGN: u64 = 4096;

/// A driver that puts one queue and its buffers somewhere in memory.
///
/// Its own accesses must be inside guest RAM; they panic when they are not.
#[derive(Clone, Debug)]
pub struct Driver {
    order: ByteOrder,
    event_idx: bool,
    base: u64,
    size: u16,
    /// The descriptor to use next.
    free: u16,
    /// The available ring's index.
    idx: u16,
    /// How much of the used ring was seen.
    seen: u16,
    /// Where the next buffer goes.
    data: u64,
}

/// A chain that was made available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The chain's first descriptor.
    pub head: u16,
    /// The chain's writable buffers.
    pub writable: Vec<Segment>,
}

impl Offer {
    /// The first `count` bytes of the writable buffers.
    pub fn written(&self, memory: &impl GuestMemory, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for segment in &self.writable {
            let left = count - bytes.len();
            let mut piece = vec![0; left.min(segment.length as usize)];
            memory
                .read_slice(&mut piece, segment.address)
                .expect("the driver's buffers are in ram");
            bytes.extend(piece);
        }
        bytes
    }
}

impl Driver {
    /// A driver with a queue of `size` at `base`, a multiple of 4096, and its buffers behind; the
    /// order also says whether it is a legacy driver.
    pub fn new(order: ByteOrder, base: u64, size: u16, event_idx: bool) -> Self {
        let mut driver = Driver {
            order,
            event_idx,
            base,
            size,
            free: 0,
            idx: 0,
            seen: 0,
            data: 0,
        };
        driver.reuse_buffers();
        driver
    }

    fn avail_ring(&self) -> u64 {
        self.base + 16 * u64::from(self.size)
    }

    fn used_ring(&self) -> u64 {
        (self.avail_ring() + 6 + 2 * u64::from(self.size)).next_multiple_of(ALIGN)
    }

    /// Where the rings are.
    pub fn place(&self) -> SplitRing {
        SplitRing {
            size: self.size,
            table: self.base,
            avail: self.avail_ring(),
            used: self.used_ring(),
        }
    }

    /// The device's side of the queue.
    ///
    /// # Errors
    /// When it is not inside guest RAM.
    pub fn queue(&self, memory: &impl GuestMemory) -> Result<Queue, QueueError> {
        match self.order {
            ByteOrder::Little => Queue::split(memory, self.place(), self.event_idx),
            order => Queue::legacy(
                memory,
                self.size,
                self.base,
                ALIGN as u32,
                order,
                self.event_idx,
            ),
        }
    }

    fn put(&self, memory: &impl GuestMemory, address: u64, value: u16) {
        let raw = u16::from_ne_bytes(self.order.put_u16(value));
        memory
            .store(raw, GuestAddress(address), Ordering::SeqCst)
            .expect("the driver's ring is in ram");
    }

    fn get(&self, memory: &impl GuestMemory, address: u64) -> u16 {
        let raw: u16 = memory
            .load(GuestAddress(address), Ordering::SeqCst)
            .expect("the driver's ring is in ram");
        self.order.read_u16(raw.to_ne_bytes())
    }

    /// Fills a descriptor of the table at `table`.
    pub fn describe(
        &self,
        memory: &impl GuestMemory,
        table: u64,
        index: u16,
        descriptor: (u64, u32, u16, u16),
    ) {
        let (address, length, flags, next) = descriptor;
        let mut bytes = Vec::new();
        bytes.extend(self.order.put_u64(address));
        bytes.extend(self.order.put_u32(length));
        bytes.extend(self.order.put_u16(flags));
        bytes.extend(self.order.put_u16(next));
        memory
            .write_slice(&bytes, GuestAddress(table + 16 * u64::from(index)))
            .expect("the driver's table is in ram");
    }

    /// Makes a chain available: buffers that hold these bytes, then buffers of these lengths.
    pub fn offer(
        &mut self,
        memory: &impl GuestMemory,
        readable: &[&[u8]],
        writable: &[u32],
    ) -> Offer {
        let (head, mut at) = (self.free, self.data);
        let mut parts = Vec::new();
        for bytes in readable {
            memory
                .write_slice(bytes, GuestAddress(at))
                .expect("the driver's buffers are in ram");
            parts.push((at, bytes.len() as u32, 0));
            at += bytes.len() as u64;
        }
        let mut offer = Offer {
            head,
            writable: Vec::new(),
        };
        for length in writable {
            parts.push((at, *length, 2));
            offer.writable.push(Segment {
                address: GuestAddress(at),
                length: *length,
            });
            at += u64::from(*length);
        }
        self.data = at;
        let last = parts.len() - 1;
        for (index, (address, length, flags)) in parts.into_iter().enumerate() {
            let next = (self.free + 1) % self.size;
            let flags = if index < last { flags | 1 } else { flags };
            self.describe(memory, self.base, self.free, (address, length, flags, next));
            self.free = next;
        }
        self.make_available(memory, head);
        offer
    }

    /// Puts a descriptor into the available ring.
    pub fn make_available(&mut self, memory: &impl GuestMemory, head: u16) {
        let entry = self.avail_ring() + 4 + 2 * u64::from(self.idx % self.size);
        self.put(memory, entry, head);
        self.idx = self.idx.wrapping_add(1);
        self.put(memory, self.avail_ring() + 2, self.idx);
    }

    /// The next chain that came back: its first descriptor and how much of it was written.
    pub fn used(&mut self, memory: &impl GuestMemory) -> Option<(u16, u32)> {
        if self.get(memory, self.used_ring() + 2) == self.seen {
            return None;
        }
        let entry = self.used_ring() + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        let mut bytes = [0; 8];
        memory
            .read_slice(&mut bytes, GuestAddress(entry))
            .expect("the driver's ring is in ram");
        let [i0, i1, i2, i3, l0, l1, l2, l3] = bytes;
        let head = self.order.read_u32([i0, i1, i2, i3]);
        Some((head as u16, self.order.read_u32([l0, l1, l2, l3])))
    }

    /// Whether the device wants a notification of what was made available since the index was
    /// `before`, as a driver finds out (virtio 1.2, 2.7.10).
    pub fn must_notify(&self, memory: &impl GuestMemory, before: u16) -> bool {
        // The index before the device's wish: the device writes its wish, then looks at the index.
        fence(Ordering::SeqCst);
        if !self.event_idx {
            return !self.no_notify(memory);
        }
        let passed = self.idx.wrapping_sub(self.avail_event(memory));
        passed.wrapping_sub(1) < self.idx.wrapping_sub(before)
    }

    /// The available ring's index.
    pub fn avail_idx(&self) -> u16 {
        self.idx
    }

    /// Asks for an interrupt with the next chain that comes back, and says whether one is back
    /// already, for which there may be none.
    pub fn wait_for_used(&self, memory: &impl GuestMemory) -> bool {
        if self.event_idx {
            self.set_used_event(memory, self.seen);
        }
        fence(Ordering::SeqCst);
        self.get(memory, self.used_ring() + 2) != self.seen
    }

    /// Available ring: says that no interrupts are wanted, or that they are.
    pub fn set_no_interrupt(&self, memory: &impl GuestMemory, none: bool) {
        self.put(memory, self.avail_ring(), none.into());
    }

    /// Available ring, with the event index: an interrupt is wanted when this entry of the used
    /// ring was filled.
    pub fn set_used_event(&self, memory: &impl GuestMemory, index: u16) {
        let event = self.avail_ring() + 4 + 2 * u64::from(self.size);
        self.put(memory, event, index);
    }

    /// Used ring: whether the device wants no notifications, without the event index.
    pub fn no_notify(&self, memory: &impl GuestMemory) -> bool {
        self.get(memory, self.used_ring()) & 1 != 0
    }

    /// Used ring, with the event index: from which entry of the available ring on the device wants
    /// a notification.
    pub fn avail_event(&self, memory: &impl GuestMemory) -> u16 {
        let event = self.used_ring() + 4 + 8 * u64::from(self.size);
        self.get(memory, event)
    }

    /// Puts the next buffers where the first ones were.
    pub fn reuse_buffers(&mut self) {
        let end = self.used_ring() + 6 + 8 * u64::from(self.size);
        self.data = end.next_multiple_of(ALIGN);
    }

    /// Available ring: any index, also one that breaks the rules.
    pub fn set_avail_idx(&mut self, memory: &impl GuestMemory, idx: u16) {
        self.idx = idx;
        self.put(memory, self.avail_ring() + 2, idx);
    }
}
