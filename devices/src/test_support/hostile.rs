//! A driver that keeps no rule, for tests of devices: any registers, rings, chains and buffers.
//!
//! Most of what it does is nearly right, because a device looks at nothing else for long. It counts
//! the chains that it made available; a test asserts what must hold for its device meanwhile.

use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::dice::Dice;
use crate::bus::MmioDevice;
use crate::virtio::ByteOrder;
use crate::virtio::mmio::{Mmio, regs};
use crate::virtio::transport::{DRIVER_OK, FEATURES_OK, Interface, NEEDS_RESET};

/// Bytes from one queue's rings to the next one's.
const RINGS: u64 = 0x4000;
/// The largest queue that is used.
const MOST: u16 = 256;

/// One queue as the driver set it up.
#[derive(Clone, Copy, Debug)]
struct Ring {
    size: u16,
    table: u64,
    avail: u64,
    idx: u16,
}

/// Writes the contents of a readable buffer: where it is in its chain, and its bytes, which are
/// arbitrary already.
pub type Contents = Box<dyn FnMut(&mut Dice, usize, &mut [u8])>;

/// A driver that keeps no rule.
pub struct Hostile<M> {
    dice: Dice,
    memory: M,
    /// Bytes of RAM, which begins at 0.
    ram: u64,
    order: ByteOrder,
    contents: Contents,
    rings: Vec<Ring>,
    chains: u64,
}

impl<M: GuestMemory + Clone + Send> Hostile<M> {
    /// A driver in a guest with `ram` bytes at 0, at least 256 KiB; `contents` makes requests
    /// plausible.
    pub fn new(memory: M, ram: u64, seed: u64, contents: Contents) -> Self {
        Hostile {
            dice: Dice::new(seed),
            memory,
            ram,
            order: ByteOrder::Little,
            contents,
            rings: Vec::new(),
            chains: 0,
        }
    }

    /// How many chains were made available so far.
    pub fn chains(&self) -> u64 {
        self.chains
    }

    /// Starts the device again and works it until it wants a reset, or for a while; `settle` is
    /// called after each burst, to wait for a device that works by itself.
    pub fn round(&mut self, mmio: &mut Mmio<M>, interface: Interface, settle: &mut dyn FnMut()) {
        if self.dice.once_in(8) {
            self.storm(mmio);
        }
        self.start(mmio, interface);
        for _ in 0..self.dice.below(32) {
            self.burst(mmio);
            settle();
            if self.read(mmio, regs::STATUS) as u8 & NEEDS_RESET != 0 {
                break;
            }
        }
    }

    fn read(&mut self, mmio: &mut Mmio<M>, offset: u32) -> u32 {
        let mut data = [0; 4];
        // What it does not have is no number that matters.
        let _ = mmio.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&mut self, mmio: &mut Mmio<M>, offset: u32, value: u32) {
        let _ = mmio.write(offset, &value.to_le_bytes());
    }

    /// Accesses of any kind.
    fn storm(&mut self, mmio: &mut Mmio<M>) {
        for _ in 0..self.dice.below(64) {
            let width = 1 << self.dice.below(4);
            let offset = match self.dice.once_in(4) {
                true => self.dice.below(0x200) as u32,
                false => self.dice.below(0x50) as u32 * 4,
            };
            let mut data = self.number().to_le_bytes();
            if self.dice.once_in(2) {
                let _ = mmio.write(offset, &data[..width]);
            } else {
                let _ = mmio.read(offset, &mut data[..width]);
            }
        }
    }

    /// A number as a driver might have it.
    fn number(&mut self) -> u64 {
        match self.dice.below(4) {
            0 => self.dice.roll(),
            1 => self.dice.below(self.ram),
            2 => self.dice.below(16),
            _ => 1 << self.dice.below(64),
        }
    }

    fn start(&mut self, mmio: &mut Mmio<M>, interface: Interface) {
        self.order = interface.order();
        self.write(mmio, regs::STATUS, 0);
        self.write(mmio, regs::STATUS, 3);
        for half in 0..2 {
            self.write(mmio, regs::DEVICE_FEATURES_SEL, half);
            self.write(mmio, regs::DRIVER_FEATURES_SEL, half);
            let offered = self.read(mmio, regs::DEVICE_FEATURES);
            let chosen = match self.dice.below(8) {
                0 => self.dice.roll() as u32,
                1..4 => offered & self.dice.roll() as u32,
                _ => offered,
            };
            // Without VERSION_1 there is no modern device.
            let version = offered & half;
            self.write(mmio, regs::DRIVER_FEATURES, chosen | version);
        }
        self.write(mmio, regs::STATUS, (3 | FEATURES_OK).into());
        self.write(mmio, regs::GUEST_PAGE_SIZE, 4096);
        self.rings.clear();
        for queue in 0..8 {
            self.write(mmio, regs::QUEUE_SEL, queue);
            let max = self.read(mmio, regs::QUEUE_NUM_MAX) as u16;
            if max > 0 {
                self.place(mmio, interface, queue, max);
            }
        }
        let status = 3 | FEATURES_OK | DRIVER_OK;
        self.write(mmio, regs::STATUS, status.into());
    }

    fn place(&mut self, mmio: &mut Mmio<M>, interface: Interface, queue: u32, max: u16) {
        let size = 1 << self.dice.below(u64::from(max.min(MOST).ilog2()) + 1);
        let table = u64::from(queue) * RINGS + 0x1000;
        let avail = table + 16 * u64::from(size);
        let used = (avail + 6 + 2 * u64::from(size)).next_multiple_of(4096);
        let ring = Ring {
            size,
            table,
            avail,
            idx: 0,
        };
        self.put(&[0; RINGS as usize - 0x1000], table);
        self.rings.push(ring);
        let mut values = [u64::from(size), table, avail, used];
        if self.dice.once_in(32) {
            let wrong = self.dice.below(4) as usize;
            values[wrong] = self.number();
        }
        let [size, table, avail, used] = values;
        self.write(mmio, regs::QUEUE_NUM, size as u32);
        match interface {
            Interface::Legacy => {
                self.write(mmio, regs::QUEUE_ALIGN, 4096);
                self.write(mmio, regs::QUEUE_PFN, (table / 4096) as u32);
            }
            Interface::Modern => {
                for (offset, address) in [
                    (regs::QUEUE_DESC_LOW, table),
                    (regs::QUEUE_DRIVER_LOW, avail),
                    (regs::QUEUE_DEVICE_LOW, used),
                ] {
                    self.write(mmio, offset, address as u32);
                    self.write(mmio, offset + 4, (address >> 32) as u32);
                }
                self.write(mmio, regs::QUEUE_READY, 1);
            }
        }
    }

    /// Writes to RAM; what is not RAM stays as it is.
    fn put(&mut self, bytes: &[u8], address: u64) {
        let _ = self.memory.write_slice(bytes, GuestAddress(address));
    }

    fn put_u16(&mut self, value: u16, address: u64) {
        self.put(&self.order.put_u16(value), address);
    }

    /// Some chains in one queue, and a notification.
    fn burst(&mut self, mmio: &mut Mmio<M>) {
        let Some(at) = (!self.rings.is_empty()).then(|| self.dice.below(self.rings.len() as u64))
        else {
            return;
        };
        let mut ring = self.rings[at as usize];
        let count = match self.dice.once_in(64) {
            true => self.dice.roll() as u16,
            false => self.dice.below(u64::from(ring.size.min(8))) as u16 + 1,
        };
        // More than the ring holds are there in the index only.
        for _ in 0..count.min(ring.size) {
            let head = self.chain(&ring);
            let entry = ring.avail + 4 + 2 * u64::from(ring.idx % ring.size);
            self.put_u16(head, entry);
            ring.idx = ring.idx.wrapping_add(1);
            self.chains += 1;
        }
        if count > ring.size {
            ring.idx = ring.idx.wrapping_add(count);
        }
        self.put_u16(ring.idx, ring.avail + 2);
        if self.dice.once_in(4) {
            let event = ring.avail + 4 + 2 * u64::from(ring.size);
            let wish = self.dice.roll() as u16;
            self.put_u16(wish, event);
            let flags = self.dice.below(2) as u16;
            self.put_u16(flags, ring.avail);
        }
        self.rings[at as usize] = ring;
        let queue = match self.dice.once_in(64) {
            true => self.dice.roll() as u32,
            false => at as u32,
        };
        self.write(mmio, regs::QUEUE_NOTIFY, queue);
        if self.dice.once_in(2) {
            let pending = self.read(mmio, regs::INTERRUPT_STATUS);
            self.write(mmio, regs::INTERRUPT_ACK, pending);
        }
        if self.dice.once_in(16) {
            let offset = regs::CONFIG + self.dice.below(0x80) as u32;
            let value = self.number() as u32;
            self.write(mmio, offset, value);
            self.read(mmio, offset);
        }
    }

    /// A chain in a ring's table, or in an indirect one; its head.
    fn chain(&mut self, ring: &Ring) -> u16 {
        let entries = u64::from(ring.size);
        let head = self.dice.below(entries) as u16;
        if self.dice.once_in(64) {
            // Whatever is there, or none at all.
            return match self.dice.once_in(4) {
                true => self.dice.roll() as u16,
                false => head,
            };
        }
        let indirect = self.dice.once_in(4);
        let (table, entries, mut index) = match indirect {
            true => (self.ram - 0x1000, 32, 0),
            false => (ring.table, entries, u64::from(head)),
        };
        let parts = self.dice.below(entries.min(6)) + 1;
        let readable = self.dice.below(parts + 1);
        for part in 0..parts {
            let writable = part >= readable;
            let more = part + 1 < parts;
            let next = (index + 1) % entries;
            let (address, length) = self.buffer(writable, part as usize);
            let mut flags = u16::from(more) | if writable { 2 } else { 0 };
            if self.dice.once_in(256) {
                flags ^= 1 << self.dice.below(3);
            }
            self.describe(table + 16 * index, address, length, flags, next as u16);
            index = next;
        }
        if indirect {
            let bytes = match self.dice.once_in(64) {
                true => self.number() as u32,
                false => 16 * parts as u32,
            };
            let place = ring.table + 16 * u64::from(head);
            self.describe(place, table, bytes, 4, 0);
        }
        head
    }

    fn describe(&mut self, place: u64, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = Vec::new();
        bytes.extend(self.order.put_u64(address));
        bytes.extend(self.order.put_u32(length));
        bytes.extend(self.order.put_u16(flags));
        bytes.extend(self.order.put_u16(next));
        self.put(&bytes, place);
    }

    /// A buffer somewhere, its contents those of a request if the device reads it.
    fn buffer(&mut self, writable: bool, part: usize) -> (u64, u32) {
        let length = match self.dice.below(16) {
            0 => 0,
            1 => self.dice.below(16) as u32,
            2..6 => 16,
            6 => 1,
            7..10 => 512,
            10 => self.dice.below(8192) as u32,
            11 => 4096,
            _ => self.dice.below(64) as u32,
        };
        if self.dice.once_in(128) {
            return (self.number(), self.number() as u32);
        }
        let first = 8 * RINGS + 0x1000;
        let address = match self.dice.once_in(64) {
            // Over the rings.
            true => self.dice.below(self.ram),
            false => first + self.dice.below(self.ram - first - 0x3000),
        };
        if !writable {
            let mut bytes = vec![0; length as usize];
            for chunk in bytes.chunks_mut(8) {
                let random = self.dice.roll().to_le_bytes();
                chunk.copy_from_slice(&random[..chunk.len()]);
            }
            (self.contents)(&mut self.dice, part, &mut bytes);
            self.put(&bytes, address);
        }
        (address, length)
    }
}
