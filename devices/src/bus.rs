//! Buses: which device answers an address, and what a device looks like to a bus.
//!
//! There are two, of one type: memory-mapped registers ([`MmioBus`], guest physical addresses) and
//! device control registers ([`DcrBus`], DCR numbers). A bus is built once and then only read:
//! ranges never move, so looking a device up takes no lock. A device that other threads call too
//! brings its own lock (`Arc<Mutex<T>>` is a device when `T` is).
//!
//! Devices report what they cannot answer; what the guest then sees is decided by whoever drives
//! the bus, in one place. On this board such a read gives 0 and such a write does nothing.
//! [`Unanswered`] keeps that from filling a log.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// An access that was not answered.
///
/// What a failed read left in the data means nothing; whoever drives the bus fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No device claims the address, or the access leaves the device that claims its start.
    #[error("nothing answers there")]
    Unclaimed,
    /// The device has no register at this offset, in bytes or DCR numbers from its base.
    #[error("the device has no register at offset {offset:#x}")]
    NoRegister {
        /// Offset from the device's base.
        offset: u32,
    },
    /// The unit has no register at the index that its address register holds.
    #[error("the unit has no register at index {index:#x}")]
    NoIndex {
        /// What the unit's CFGADDR holds.
        index: u32,
    },
    /// The device's registers cannot be accessed in this width.
    #[error("the device takes no {width}-byte access at offset {offset:#x}")]
    Width {
        /// Offset from the device's base, in bytes.
        offset: u32,
        /// Width of the access in bytes.
        width: usize,
    },
}

/// The part of the board that a reset reaches, as DBCR0\[RST\] and TCR\[WRC\] name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The processor core: the chip's other units and the board go on.
    Core,
    /// The chip: the core and all units on it.
    Chip,
    /// The board: the chip, and what its reset output leads to.
    System,
}

/// A device behind memory-mapped registers.
///
/// `offset` counts bytes from the device's base. `data` is 1, 2, 4 or 8 bytes in ascending address
/// order, so on this big-endian board the most significant byte comes first. Alignment is not
/// promised: the 440 permits unaligned accesses.
pub trait MmioDevice: Send {
    /// Answers a load by filling all of `data`.
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError>;

    /// Takes a store to the device's registers.
    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError>;

    /// Puts the registers back to what they hold after a board reset.
    fn reset(&mut self) {}

    /// Does what a reset of some reach does to the device: nothing for the core's, and what
    /// a board reset does for the others.
    fn reset_by(&mut self, reset: Reset) {
        if reset != Reset::Core {
            self.reset();
        }
    }
}

/// A device behind device control registers, which are 32 bits each.
///
/// `offset` counts DCR numbers from the device's base.
pub trait DcrDevice: Send {
    /// Answers `mfdcr` of one of the device's registers.
    fn read(&mut self, offset: u32) -> Result<u32, AccessError>;

    /// Takes `mtdcr` to one of the device's registers.
    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError>;

    /// Puts the registers back to what they hold after a board reset.
    fn reset(&mut self) {}

    /// Does what a reset of some reach does to the device: nothing for the core's, and what
    /// a board reset does for the others.
    fn reset_by(&mut self, reset: Reset) {
        if reset != Reset::Core {
            self.reset();
        }
    }
}

impl<T: MmioDevice + ?Sized> MmioDevice for Box<T> {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        (**self).read(offset, data)
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        (**self).write(offset, data)
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn reset_by(&mut self, reset: Reset) {
        (**self).reset_by(reset);
    }
}

impl<T: DcrDevice + ?Sized> DcrDevice for Box<T> {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        (**self).read(offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        (**self).write(offset, value)
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn reset_by(&mut self, reset: Reset) {
        (**self).reset_by(reset);
    }
}

// A thread that panicked while it held a device's lock must not take the guest's other devices
// down with it; a device's registers are plain values, so there is nothing half-built to fear.

impl<T: MmioDevice + ?Sized> MmioDevice for Arc<Mutex<T>> {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(offset, data)
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(offset, data)
    }

    fn reset(&mut self) {
        self.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }

    fn reset_by(&mut self, reset: Reset) {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reset_by(reset);
    }
}

impl<T: DcrDevice + ?Sized> DcrDevice for Arc<Mutex<T>> {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(offset, value)
    }

    fn reset(&mut self) {
        self.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }

    fn reset_by(&mut self, reset: Reset) {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reset_by(reset);
    }
}

/// What a bus counts: guest physical addresses (`u64`) or DCR numbers (`u32`).
pub trait Address: Copy + Ord + fmt::LowerHex + fmt::Debug {
    /// The distance from `base` up to this address, if it is not below and fits 32 bits.
    fn offset_from(self, base: Self) -> Option<u32>;
}

impl Address for u64 {
    fn offset_from(self, base: u64) -> Option<u32> {
        self.checked_sub(base)?.try_into().ok()
    }
}

impl Address for u32 {
    fn offset_from(self, base: u32) -> Option<u32> {
        self.checked_sub(base)
    }
}

/// A device that cannot be put on a bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The range holds no address, or more than 32 bits of offsets.
    #[error(
        "{name} at {start:#x} to {end:#x} (excluded) is not a range of 1 to 2^32 - 1 addresses; \
         give its end behind its start"
    )]
    BadRange {
        /// The device that was to be registered.
        name: String,
        /// First address.
        start: u64,
        /// First address after the range.
        end: u64,
    },
    /// Two devices want the same address.
    #[error(
        "{name} overlaps {other}, which is at {start:#x} to {end:#x} (excluded); move one of them"
    )]
    Overlap {
        /// The device that was to be registered.
        name: String,
        /// The device that is there already.
        other: String,
        /// First address of the device that is there.
        start: u64,
        /// First address after that device.
        end: u64,
    },
}

#[derive(Debug)]
struct Entry<A, D> {
    start: A,
    size: u32,
    name: String,
    device: D,
}

/// Devices in the order of their addresses.
#[derive(Debug)]
pub struct Bus<A, D> {
    entries: Vec<Entry<A, D>>,
    /// The entry that answered last. Accesses come in runs to one device.
    last: usize,
}

/// The memory-mapped devices by guest physical address.
pub type MmioBus = Bus<u64, Box<dyn MmioDevice>>;

/// The device control registers by DCR number.
pub type DcrBus = Bus<u32, Box<dyn DcrDevice>>;

impl<A, D> Default for Bus<A, D> {
    fn default() -> Self {
        Bus {
            entries: Vec::new(),
            last: 0,
        }
    }
}

impl<A: Address + Into<u64>, D> Bus<A, D> {
    /// Returns a bus without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a device at a range of addresses; `name` is for messages.
    ///
    /// # Errors
    /// When the range is empty or longer than 2^32 - 1, or overlaps a device that is there.
    pub fn register(
        &mut self,
        range: Range<A>,
        name: impl Into<String>,
        device: D,
    ) -> Result<(), RegisterError> {
        let name = name.into();
        let size = match range.end.offset_from(range.start) {
            Some(size) if size > 0 => size,
            _ => {
                return Err(RegisterError::BadRange {
                    name,
                    start: range.start.into(),
                    end: range.end.into(),
                });
            }
        };
        let at = self.entries.partition_point(|e| e.start < range.start);
        let before = at.checked_sub(1).and_then(|index| self.entries.get(index));
        let taken = before
            .filter(|e| matches!(range.start.offset_from(e.start), Some(o) if o < e.size))
            .or_else(|| self.entries.get(at).filter(|e| e.start < range.end));
        if let Some(other) = taken {
            let start: u64 = other.start.into();
            return Err(RegisterError::Overlap {
                name,
                other: other.name.clone(),
                start,
                end: start + u64::from(other.size),
            });
        }
        self.entries.insert(
            at,
            Entry {
                start: range.start,
                size,
                name,
                device,
            },
        );
        Ok(())
    }

    /// The device that claims all of `count` addresses from `address`, and the offset in it.
    pub fn find(&mut self, address: A, count: usize) -> Option<(&mut D, u32)> {
        let inside = |entry: &Entry<A, D>| {
            let offset = address.offset_from(entry.start)?;
            let left = entry.size.checked_sub(offset)?;
            (left > 0 && count <= left as usize).then_some(offset)
        };
        if let Some(offset) = self.entries.get(self.last).and_then(inside) {
            return Some((&mut self.entries.get_mut(self.last)?.device, offset));
        }
        let index = self
            .entries
            .partition_point(|e| e.start <= address)
            .checked_sub(1)?;
        let entry = self.entries.get_mut(index)?;
        let offset = inside(entry)?;
        self.last = index;
        Some((&mut entry.device, offset))
    }

    /// The name of the device that claims `address`.
    pub fn name_at(&self, address: A) -> Option<&str> {
        let index = self
            .entries
            .partition_point(|e| e.start <= address)
            .checked_sub(1)?;
        let entry = self.entries.get(index)?;
        (address.offset_from(entry.start)? < entry.size).then_some(entry.name.as_str())
    }

    /// Every device's name with its first address and the number of addresses, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, A, u32)> {
        self.entries
            .iter()
            .map(|e| (e.name.as_str(), e.start, e.size))
    }
}

impl<D: MmioDevice> Bus<u64, D> {
    /// Answers a load from a guest physical address.
    ///
    /// # Errors
    /// When no device claims the address ([`AccessError::Unclaimed`]), or the device does not answer.
    pub fn read(&mut self, address: u64, data: &mut [u8]) -> Result<(), AccessError> {
        let (device, offset) = self
            .find(address, data.len())
            .ok_or(AccessError::Unclaimed)?;
        device.read(offset, data)
    }

    /// Takes a store to a guest physical address.
    ///
    /// # Errors
    /// When no device claims the address ([`AccessError::Unclaimed`]), or the device does not answer.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), AccessError> {
        let (device, offset) = self
            .find(address, data.len())
            .ok_or(AccessError::Unclaimed)?;
        device.write(offset, data)
    }

    /// Resets every device as a board reset does, in the order of their addresses.
    ///
    /// A device at several ranges is reset once for each.
    pub fn reset(&mut self) {
        self.reset_by(Reset::System);
    }

    /// Does to every device what a reset of some reach does, in the order of their addresses.
    pub fn reset_by(&mut self, reset: Reset) {
        for entry in &mut self.entries {
            entry.device.reset_by(reset);
        }
    }
}

impl<D: DcrDevice> Bus<u32, D> {
    /// Answers `mfdcr` of a DCR number.
    ///
    /// # Errors
    /// When no device claims the address ([`AccessError::Unclaimed`]), or the device does not answer.
    pub fn read(&mut self, dcrn: u32) -> Result<u32, AccessError> {
        let (device, offset) = self.find(dcrn, 1).ok_or(AccessError::Unclaimed)?;
        device.read(offset)
    }

    /// Takes `mtdcr` to a DCR number.
    ///
    /// # Errors
    /// When no device claims the address ([`AccessError::Unclaimed`]), or the device does not answer.
    pub fn write(&mut self, dcrn: u32, value: u32) -> Result<(), AccessError> {
        let (device, offset) = self.find(dcrn, 1).ok_or(AccessError::Unclaimed)?;
        device.write(offset, value)
    }

    /// Resets every device as a board reset does, in the order of their addresses.
    ///
    /// A device at several ranges is reset once for each.
    pub fn reset(&mut self) {
        self.reset_by(Reset::System);
    }

    /// Does to every device what a reset of some reach does, in the order of their addresses.
    pub fn reset_by(&mut self, reset: Reset) {
        for entry in &mut self.entries {
            entry.device.reset_by(reset);
        }
    }
}

/// The kinds of access that a guest makes to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessKind {
    /// A load from a guest physical address.
    MmioRead,
    /// A store to a guest physical address.
    MmioWrite,
    /// `mfdcr`.
    DcrRead,
    /// `mtdcr`.
    DcrWrite,
}

impl fmt::Display for AccessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AccessKind::MmioRead => "load",
            AccessKind::MmioWrite => "store",
            AccessKind::DcrRead => "mfdcr",
            AccessKind::DcrWrite => "mtdcr",
        })
    }
}

/// The accesses that nothing answered and that were reported already.
///
/// The set is bounded: a guest that sweeps the address space cannot make it grow, it only stops
/// further reports.
#[derive(Clone, Debug)]
pub struct Unanswered {
    seen: BTreeSet<(AccessKind, u64)>,
    limit: usize,
}

impl Unanswered {
    /// How many different accesses [`Unanswered::default`] reports.
    pub const LIMIT: usize = 256;

    /// A record of at most `limit` different accesses.
    pub fn new(limit: usize) -> Self {
        Unanswered {
            seen: BTreeSet::new(),
            limit,
        }
    }

    /// Whether this access deserves a report: it is new and the limit is not reached.
    pub fn is_new(&mut self, kind: AccessKind, address: u64) -> bool {
        if self.is_full() {
            return false;
        }
        self.seen.insert((kind, address))
    }

    /// Whether the limit is reached, so that no further access deserves a report.
    pub fn is_full(&self) -> bool {
        self.seen.len() >= self.limit
    }
}

impl Default for Unanswered {
    fn default() -> Self {
        Unanswered::new(Self::LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers reads with the offset and remembers the last write.
    #[derive(Default)]
    struct Probe {
        written: Vec<(u32, Vec<u8>)>,
    }

    impl MmioDevice for Probe {
        fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
            data.fill(offset as u8);
            Ok(())
        }

        fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
            self.written.push((offset, data.to_vec()));
            Ok(())
        }
    }

    struct Number(u32);

    impl DcrDevice for Number {
        fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
            Ok(self.0 + offset)
        }

        fn write(&mut self, _offset: u32, value: u32) -> Result<(), AccessError> {
            self.0 = value;
            Ok(())
        }

        fn reset(&mut self) {
            self.0 = 0;
        }
    }

    #[test]
    fn a_reset_of_the_core_does_not_reach_the_devices() {
        let mut bus = DcrBus::new();
        let shared = Arc::new(Mutex::new(Number(7)));
        bus.register(0..1, "boxed", Box::new(Number(7))).unwrap();
        bus.register(1..2, "shared", Box::new(shared)).unwrap();
        for (reset, left) in [(Reset::Core, 7), (Reset::Chip, 0), (Reset::System, 0)] {
            for dcrn in 0..2 {
                bus.write(dcrn, 7).unwrap();
            }
            bus.reset_by(reset);
            assert_eq!([bus.read(0), bus.read(1)], [Ok(left); 2], "{reset:?}");
        }
    }

    #[test]
    fn an_access_reaches_the_device_with_its_offset() {
        let shared = Arc::new(Mutex::new(Probe::default()));
        let mut bus = MmioBus::new();
        bus.register(0x100..0x110, "a", Box::new(Probe::default()))
            .unwrap();
        bus.register(0xFFFF_FFF0..0x1_0000_0000, "top", Box::new(shared.clone()))
            .unwrap();
        bus.register(0x110..0x118, "b", Box::new(Probe::default()))
            .unwrap();
        let mut data = [0; 4];
        for _ in 0..2 {
            bus.read(0x10C, &mut data).unwrap();
            assert_eq!(data, [0xC; 4]);
            bus.read(0x114, &mut data).unwrap();
            assert_eq!(data, [4; 4]);
        }
        bus.write(0xFFFF_FFF8, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!(
            shared.lock().unwrap().written,
            [(8, vec![1, 2, 3, 4, 5, 6, 7, 8])]
        );
        assert_eq!(bus.name_at(0x117), Some("b"));
        assert_eq!(bus.name_at(0x118), None);
        let names: Vec<_> = bus.ranges().map(|(name, ..)| name).collect();
        assert_eq!(names, ["a", "b", "top"]);
    }

    #[test]
    fn what_no_device_claims_whole_is_unclaimed() {
        let mut bus = MmioBus::new();
        let mut data = [7; 4];
        assert_eq!(bus.read(0, &mut data), Err(AccessError::Unclaimed));
        bus.register(0x100..0x110, "a", Box::new(Probe::default()))
            .unwrap();
        for address in [0xFF, 0x10D, 0x110, u64::MAX, 0x1_0000_0100] {
            assert_eq!(bus.read(address, &mut data), Err(AccessError::Unclaimed));
            assert_eq!(bus.write(address, &data), Err(AccessError::Unclaimed));
        }
        assert_eq!(data, [7; 4]);
        let mut dcrs = DcrBus::new();
        dcrs.register(0xC0..0xC9, "uic0", Box::new(Number(1)))
            .unwrap();
        assert_eq!(dcrs.read(0xBF), Err(AccessError::Unclaimed));
        assert_eq!(dcrs.read(0xC9), Err(AccessError::Unclaimed));
        assert_eq!(dcrs.write(0xC9, 0), Err(AccessError::Unclaimed));
        dcrs.write(0xC0, 5).unwrap();
        assert_eq!(dcrs.read(0xC8), Ok(13));
    }

    #[test]
    fn a_reset_of_the_bus_reaches_a_shared_device() {
        let shared = Arc::new(Mutex::new(Number(5)));
        let mut dcrs = DcrBus::new();
        dcrs.register(0x77..0x78, "arbiter", Box::new(shared.clone()))
            .unwrap();
        dcrs.reset();
        assert_eq!(dcrs.read(0x77), Ok(0));
        assert_eq!(shared.lock().unwrap().0, 0);
    }

    #[test]
    fn an_overlap_is_refused_and_names_both() {
        let mut bus = MmioBus::new();
        bus.register(0x100..0x110, "uart0", Box::new(Probe::default()))
            .unwrap();
        for range in [
            0x0..0x101,
            0x10F..0x111,
            0x104..0x108,
            0x0..0x1000,
            0x100..0x110,
        ] {
            let error = bus
                .register(range, "rtc", Box::new(Probe::default()))
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                "rtc overlaps uart0, which is at 0x100 to 0x110 (excluded); move one of them"
            );
        }
        bus.register(0x0..0x100, "below", Box::new(Probe::default()))
            .unwrap();
        bus.register(0x110..0x111, "above", Box::new(Probe::default()))
            .unwrap();
        for range in [0x200..0x200, 0x0..0x1_0000_0000] {
            assert!(matches!(
                bus.register(range, "bad", Box::new(Probe::default())),
                Err(RegisterError::BadRange { .. })
            ));
        }
    }

    #[test]
    fn an_unanswered_access_is_new_once_and_the_record_is_bounded() {
        let mut record = Unanswered::new(3);
        assert!(record.is_new(AccessKind::MmioRead, 0x10));
        assert!(!record.is_new(AccessKind::MmioRead, 0x10));
        assert!(record.is_new(AccessKind::MmioWrite, 0x10));
        assert!(record.is_new(AccessKind::DcrRead, 0x10));
        assert!(record.is_full());
        assert!(!record.is_new(AccessKind::DcrRead, 0x11));
    }

    #[test]
    fn a_poisoned_device_still_answers() {
        let mut shared = Arc::new(Mutex::new(Number(3)));
        let other = shared.clone();
        let panicked = std::thread::spawn(move || {
            let _guard = other.lock().unwrap();
            panic!("poison the lock");
        })
        .join();
        assert!(panicked.is_err());
        assert_eq!(DcrDevice::read(&mut shared, 1), Ok(4));
    }
}
