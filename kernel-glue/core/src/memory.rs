//! Memory slots: which guest-physical addresses are RAM, and where in the RAM mapping.

use core::fmt;

/// Slots that one guest can have.
pub const SLOTS: usize = 32;

/// Slots lie on boundaries of this many bytes.
pub const SLOT_ALIGN: u64 = 4096;

/// A range of guest-physical memory that is RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// First guest-physical address, 36 bits, a multiple of 4096.
    pub gpa: u64,
    /// Length in bytes, a multiple of 4096.
    pub bytes: u64,
    /// Byte offset in the RAM mapping, a multiple of 4096.
    pub ram: u32,
}

impl Slot {
    fn end(&self) -> u64 {
        self.gpa + self.bytes
    }
}

/// A memory slot that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// All slots are taken.
    Full,
    /// An address, length or offset is no multiple of 4096, or the length is 0.
    Alignment(Slot),
    /// The end lies beyond 36 bits of address or beyond 4 GiB of the RAM mapping.
    Range(Slot),
    /// The first slot overlaps the second.
    Overlap(Slot, Slot),
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotError::Full => write!(f, "memory slot refused: all {SLOTS} are taken"),
            SlotError::Alignment(slot) => write!(
                f,
                "memory slot at {:#x} of {:#x} bytes, ram offset {:#x}, refused: each must be a \
                 multiple of {SLOT_ALIGN} and the length not 0",
                slot.gpa, slot.bytes, slot.ram
            ),
            SlotError::Range(slot) => write!(
                f,
                "memory slot at {:#x} of {:#x} bytes, ram offset {:#x}, refused: it must end within \
                 36 bits of address and within 4 GiB of the ram mapping",
                slot.gpa, slot.bytes, slot.ram
            ),
            SlotError::Overlap(slot, other) => write!(
                f,
                "memory slot at {:#x} of {:#x} bytes refused: it overlaps the one at {:#x} of \
                 {:#x} bytes",
                slot.gpa, slot.bytes, other.gpa, other.bytes
            ),
        }
    }
}

impl core::error::Error for SlotError {}

/// The guest's slots, unordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    slots: [Option<Slot>; SLOTS],
    used: usize,
}

impl Slots {
    pub fn add(&mut self, slot: Slot) -> Result<(), SlotError> {
        let ram = u64::from(slot.ram);
        if !(slot.gpa | slot.bytes | ram).is_multiple_of(SLOT_ALIGN) || slot.bytes == 0 {
            return Err(SlotError::Alignment(slot));
        }
        let end = slot.gpa.checked_add(slot.bytes);
        let ram_end = ram.checked_add(slot.bytes);
        if end.is_none_or(|end| end > 1 << 36) || ram_end.is_none_or(|end| end > 1 << 32) {
            return Err(SlotError::Range(slot));
        }
        let overlaps = |other: &&Slot| other.gpa < slot.end() && slot.gpa < other.end();
        if let Some(other) = self.iter().find(overlaps) {
            return Err(SlotError::Overlap(slot, *other));
        }
        let free = self.slots.get_mut(self.used).ok_or(SlotError::Full)?;
        *free = Some(slot);
        self.used += 1;
        Ok(())
    }

    /// Removes the slot that starts at `gpa`.
    pub fn remove(&mut self, gpa: u64) -> Option<Slot> {
        let at = self.iter().position(|slot| slot.gpa == gpa)?;
        let removed = self.slots[at].take();
        self.used -= 1;
        self.slots.swap(at, self.used);
        removed
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots[..self.used].iter().flatten()
    }

    /// The slot that holds `gpa`.
    #[inline]
    pub fn find(&self, gpa: u64) -> Option<&Slot> {
        self.iter()
            .find(|slot| gpa.wrapping_sub(slot.gpa) < slot.bytes)
    }

    /// The RAM offset of `gpa`; `None` when it is no RAM.
    #[inline]
    pub fn ram(&self, gpa: u64) -> Option<u32> {
        self.find(gpa)
            .map(|slot| slot.ram + (gpa - slot.gpa) as u32)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A refused slot fails the test.
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn slot(gpa: u64, bytes: u64, ram: u32) -> Slot {
        Slot { gpa, bytes, ram }
    }

    #[test]
    fn ram_is_found_in_its_slot_and_nowhere_else() {
        let mut slots = Slots::default();
        slots.add(slot(0, MIB, 0)).unwrap();
        slots.add(slot(0x8_0000_0000, MIB, MIB as u32)).unwrap();
        assert_eq!(slots.ram(0xF_FFFF), Some(0xF_FFFF));
        assert_eq!(slots.ram(MIB), None);
        assert_eq!(slots.ram(0x8_0000_0010), Some(0x10_0010));
        assert_eq!(slots.remove(0), Some(slot(0, MIB, 0)));
        assert_eq!(slots.ram(0), None);
        assert_eq!(slots.ram(0x8_0000_0010), Some(0x10_0010));
        assert_eq!(slots.remove(0), None);
    }

    #[test]
    fn slots_that_make_no_sense_are_refused() {
        let mut slots = Slots::default();
        for bad in [
            slot(1, MIB, 0),
            slot(0, 0, 0),
            slot(0, 100, 0),
            slot(0, MIB, 4),
        ] {
            assert_eq!(slots.add(bad), Err(SlotError::Alignment(bad)));
        }
        for bad in [
            slot((1 << 36) - 4096, 8192, 0),
            slot(0, MIB, 0xFFFF_F000),
            slot(!4095, 8192, 0),
        ] {
            assert_eq!(slots.add(bad), Err(SlotError::Range(bad)));
        }
        let first = slot(MIB, MIB, 0);
        slots.add(first).unwrap();
        let over = slot(2 * MIB - 4096, 8192, 0);
        assert_eq!(slots.add(over), Err(SlotError::Overlap(over, first)));
        slots.add(slot(2 * MIB, 4096, 0)).unwrap();
    }

    #[test]
    fn a_refusal_names_the_slot_and_the_rule() {
        let (one, other) = (slot(0x1000, 0x2000, 0x3000), slot(0x2000, 0x4000, 0));
        let errors = [
            (SlotError::Full, "all 32 are taken"),
            (
                SlotError::Alignment(one),
                "at 0x1000 of 0x2000 bytes, ram offset 0x3000, refused: each must be a multiple",
            ),
            (
                SlotError::Range(one),
                "at 0x1000 of 0x2000 bytes, ram offset 0x3000, refused: it must end within",
            ),
            (
                SlotError::Overlap(one, other),
                "at 0x1000 of 0x2000 bytes refused: it overlaps the one at 0x2000 of 0x4000 bytes",
            ),
        ];
        for (error, text) in errors {
            let message = std::format!("{error}");
            assert!(message.contains(text), "{message}");
        }
    }

    #[test]
    fn there_are_32_slots() {
        let mut slots = Slots::default();
        for n in 0..32 {
            slots.add(slot(n * 8192, 4096, 0)).unwrap();
        }
        assert_eq!(slots.add(slot(MIB, 4096, 0)), Err(SlotError::Full));
        slots.remove(8192).unwrap();
        slots.add(slot(MIB, 4096, 0)).unwrap();
    }
}
