//! Loads and stores that the core performs in the hardware's place: to memory that is no RAM, to
//! pages that the hardware cannot hold, and across pages.
//!
//! The whole access is translated and checked before anything changes. Then its bytes move in
//! ascending order: those of RAM at once, the others one exit at a time, with what is still to do
//! in [`InFlight`]. `pc` and the base register of update forms are written when the first exit
//! leaves, as KVM does; a loaded register when the last byte is there.

use ppc440_isa::regs::{ccr0, msr};
use ppc440_isa::{Access, Cr, Regs};

use crate::access::{MemOp, Special, Unit};
use crate::hw::Hw;
use crate::state::{InFlight, Interrupt, LONGEST, Part, Transfer};
use crate::stats::Cause;
use crate::system::context;
use crate::tlb::permits;
use crate::uapi::{Exit, RunPage, exit_reason};
use crate::vcpu::{Resume, Vcpu};

/// The smallest page: an access longer than one byte is translated in parts that end here.
const SMALLEST_PAGE: u32 = 1024;

/// Whether the access, its translations and permissions being right, is an Alignment interrupt
/// (section 6.5.6).
///
/// `strict` is CCR0\[FLSTA\]: without it integer accesses complete at any address, and so do
/// `lwarx` and `stwcx.`. The FPU's accesses must not cross a quadword, and the 440EP's FPU asks
/// for words besides. `dcbz` needs a page that is cached and written back.
pub(crate) fn alignment_required(op: &MemOp, strict: bool, uncached: bool) -> bool {
    match op.special {
        Special::Zero => uncached,
        Special::Touch => false,
        _ if op.fp => op.ea & 3 != 0 || op.ea % 16 + u32::from(op.len) > 16,
        _ => strict && op.is_misaligned(),
    }
}

/// Whether the operation is a `stwcx.` without a reservation, which completes without a data
/// storage interrupt (chapter 9, `stwcx.`).
pub(crate) fn conditional_fails(regs: &Regs, special: Special) -> bool {
    special == Special::Conditional && !regs.reservation
}

impl Transfer {
    fn part_at(&self, at: u8) -> (&Part, u8) {
        if at < self.parts[0].len {
            (&self.parts[0], at)
        } else {
            (&self.parts[1], at - self.parts[0].len)
        }
    }

    /// The value of the element at byte `at`, of the operation's element size.
    fn element(&self, at: u8) -> u64 {
        let bytes = &self.bytes[usize::from(at)..usize::from(at + self.op.element)];
        if self.part_at(at).0.little ^ self.op.reverse {
            bytes
                .iter()
                .rev()
                .fold(0, |value, &byte| value << 8 | u64::from(byte))
        } else {
            bytes
                .iter()
                .fold(0, |value, &byte| value << 8 | u64::from(byte))
        }
    }

    fn set_element(&mut self, at: u8, value: u64) {
        let size = usize::from(self.op.element);
        let swapped = self.part_at(at).0.little ^ self.op.reverse;
        for i in 0..size {
            let significance = if swapped { i } else { size - 1 - i };
            self.bytes[usize::from(at) + i] = (value >> (8 * significance)) as u8;
        }
    }

    /// Moves bytes until all have or one needs an exit.
    fn go_on<H: Hw>(&mut self, hw: &mut H) -> Option<Exit> {
        while self.done < self.op.len {
            let (part, offset) = self.part_at(self.done);
            let (at, left) = (usize::from(self.done), part.len - offset);
            let gpa = part.gpa + u64::from(offset);
            if let Some(ram) = part.ram {
                let bytes = &mut self.bytes[at..at + usize::from(left)];
                let ram = ram + u32::from(offset);
                // A slot that reaches beyond the RAM mapping reads as 0 there and drops stores.
                let _ = if self.op.store {
                    hw.store(ram, bytes)
                } else {
                    hw.load(ram, bytes)
                };
                self.done += left;
                continue;
            }
            let largest = if self.op.element == 8 { 8 } else { 4 };
            let mut len = largest;
            while len > left || gpa & u64::from(len - 1) != 0 {
                len /= 2;
            }
            self.asked = len;
            let mut data = [0; 8];
            if self.op.store {
                let n = usize::from(len);
                data[..n].copy_from_slice(&self.bytes[at..at + n]);
            }
            return Some(Exit::Mmio {
                gpa,
                len,
                write: self.op.store,
                data,
            });
        }
        None
    }
}

impl Vcpu {
    /// Takes the answer of an exit that read, from the run page that holds that exit.
    pub fn complete(&mut self, page: &RunPage) {
        match (&self.in_flight, page.exit_reason) {
            (InFlight::Mmio(_), exit_reason::MMIO) => self.complete_mmio(page.mmio_data()),
            (InFlight::DcrRead { .. }, exit_reason::DCR) => self.complete_dcr(page.dcr_data()),
            _ => {}
        }
    }

    /// Answers an MMIO read: `data[i]` is the byte at `gpa + i`. Without an answer it reads 0.
    pub fn complete_mmio(&mut self, data: [u8; 8]) {
        if let InFlight::Mmio(transfer) = &mut self.in_flight
            && !transfer.op.store
        {
            let (at, n) = (usize::from(transfer.done), usize::from(transfer.asked));
            transfer.bytes[at..at + n].copy_from_slice(&data[..n]);
        }
    }

    /// Answers a DCR read. Without an answer it reads 0.
    pub fn complete_dcr(&mut self, value: u32) {
        if let InFlight::DcrRead { data, .. } = &mut self.in_flight {
            *data = value;
        }
    }

    /// Goes on with the access that left `run` last; an exit when it needs another.
    pub(crate) fn finish_in_flight<H: Hw>(&mut self, hw: &mut H) -> Option<Exit> {
        match &mut self.in_flight {
            InFlight::None => return None,
            InFlight::DcrRead { rt, data } => self.regs.gpr[usize::from(*rt & 31)] = *data,
            InFlight::Mmio(transfer) => {
                transfer.done += core::mem::take(&mut transfer.asked);
                if let Some(exit) = transfer.go_on(hw) {
                    self.system.stats.mmio += 1;
                    self.system.cause = Cause::Mmio;
                    return Some(exit);
                }
                let transfer = *transfer;
                self.load_registers(&transfer);
            }
        }
        self.in_flight = InFlight::None;
        None
    }

    /// Performs one load, store or cache instruction at `pc`.
    pub(crate) fn perform<H: Hw>(&mut self, hw: &mut H, op: MemOp) -> Resume {
        self.system.stats.access_emu += 1;
        let access = if op.store {
            Access::Store
        } else {
            Access::Load
        };
        let start = if op.special == Special::Zero {
            op.ea & !31
        } else {
            op.ea
        };
        let first = (SMALLEST_PAGE - start % SMALLEST_PAGE).min(u32::from(op.len)) as u8;
        let mut parts = [Part {
            len: first,
            ..Part::default()
        }; 2];
        parts[1].len = op.len - first;
        let context = context(&self.regs, msr::DS);
        let mut at = start;
        // DEAR names the byte that the instruction did, or the first of the second page.
        let mut address = op.ea;
        for part in parts.iter_mut().filter(|part| part.len != 0) {
            let Some(index) = self.system.mmu.lookup(at, context.pid, context.ts) else {
                return self.data_fault(hw, Interrupt::DataTlb, address, op.store, op.fp);
            };
            let entry = self.system.mmu.entry(index);
            // A store that will not happen needs no permission, though it can miss.
            if !permits(entry, access, context.user) && !conditional_fails(&self.regs, op.special) {
                return self.data_fault(hw, Interrupt::DataStorage, address, op.store, op.fp);
            }
            part.gpa = entry.real(at);
            part.ram = self.system.slots.ram(part.gpa);
            part.little = entry.word2.e();
            part.uncached = entry.word2.w() || entry.word2.i();
            at = at.wrapping_add(u32::from(part.len));
            address = at;
        }
        if alignment_required(&op, self.strict_alignment(), parts[0].uncached) {
            return self.data_fault(hw, Interrupt::Alignment, op.ea, op.store, op.fp);
        }
        let mut transfer = Transfer {
            op,
            bytes: [0; LONGEST],
            done: 0,
            asked: 0,
            parts,
        };
        match op.special {
            Special::Touch => transfer.op.len = 0,
            Special::Conditional => {
                let stored = core::mem::take(&mut self.regs.reservation);
                let so = if self.regs.xer.so { Cr::SO } else { 0 };
                self.regs
                    .cr
                    .set_field(0, if stored { Cr::EQ | so } else { so });
                if !stored {
                    transfer.op.len = 0;
                }
            }
            Special::Reserve => self.regs.reservation = true,
            Special::Plain | Special::Zero => {}
        }
        if op.store {
            self.store_registers(&mut transfer);
        }
        self.exit_pc = self.regs.pc;
        self.regs.pc = self.regs.pc.wrapping_add(4);
        hw.retire();
        let exit = transfer.go_on(hw);
        if let Some(base) = op.update {
            self.regs.gpr[usize::from(base)] = op.ea;
        }
        match exit {
            None => {
                self.load_registers(&transfer);
                Resume::Guest
            }
            Some(exit) => {
                self.system.stats.mmio += 1;
                self.system.cause = Cause::Mmio;
                self.in_flight = InFlight::Mmio(transfer);
                Resume::Host(exit)
            }
        }
    }

    /// CCR0\[FLSTA\]: misaligned integer accesses are Alignment interrupts.
    #[inline]
    pub(crate) fn strict_alignment(&self) -> bool {
        self.system.sprs.ccr0 & ccr0::FLSTA != 0
    }

    /// Fills the bytes of a store from its registers.
    fn store_registers(&self, transfer: &mut Transfer) {
        let regs = &self.regs;
        match transfer.op.unit {
            Unit::Gpr(rs) => transfer.set_element(0, u64::from(regs.gpr[usize::from(rs)])),
            Unit::Multiple(rs) => {
                for (n, &value) in regs.gpr[usize::from(rs)..].iter().enumerate() {
                    transfer.set_element(4 * n as u8, u64::from(value));
                }
            }
            Unit::String(rs) => {
                for at in 0..usize::from(transfer.op.len) {
                    let value = regs.gpr[(usize::from(rs) + at / 4) % 32];
                    transfer.bytes[at] = value.to_be_bytes()[at % 4];
                }
            }
            Unit::Single(fs) => {
                transfer.set_element(0, u64::from(single_of(regs.fpr[usize::from(fs)])));
            }
            Unit::Double(fs) => transfer.set_element(0, regs.fpr[usize::from(fs)]),
            Unit::Word(fs) => transfer.set_element(0, regs.fpr[usize::from(fs)] & 0xFFFF_FFFF),
            Unit::Nothing => {}
        }
    }

    /// Writes the registers of a load from its bytes; a store has none.
    fn load_registers(&mut self, transfer: &Transfer) {
        let op = &transfer.op;
        if op.store || op.len == 0 {
            return;
        }
        let regs = &mut self.regs;
        match op.unit {
            Unit::Gpr(rt) => {
                let value = transfer.element(0) as u32;
                let value = if op.signed {
                    value as u16 as i16 as u32
                } else {
                    value
                };
                regs.gpr[usize::from(rt)] = value;
            }
            Unit::Multiple(rt) => {
                for (n, gpr) in regs.gpr[usize::from(rt)..].iter_mut().enumerate() {
                    *gpr = transfer.element(4 * n as u8) as u32;
                }
            }
            Unit::String(rt) => {
                for (n, bytes) in transfer.bytes[..usize::from(op.len)].chunks(4).enumerate() {
                    let mut word = [0; 4];
                    word[..bytes.len()].copy_from_slice(bytes);
                    regs.gpr[(usize::from(rt) + n) % 32] = u32::from_be_bytes(word);
                }
            }
            Unit::Single(ft) => {
                regs.fpr[usize::from(ft)] = double_of(transfer.element(0) as u32);
            }
            Unit::Double(ft) => regs.fpr[usize::from(ft)] = transfer.element(0),
            Unit::Word(_) | Unit::Nothing => {}
        }
    }
}

/// The double with the value of a single, bit for bit as `lfs` converts (NaNs stay what they
/// are).
pub(crate) fn double_of(single: u32) -> u64 {
    let sign = u64::from(single >> 31) << 63;
    let exponent = u64::from(single >> 23 & 0xFF);
    let fraction = u64::from(single & 0x7F_FFFF);
    match (exponent, fraction) {
        (0, 0) => sign,
        (0, _) => {
            // Denormal: shift the leading one out of the fraction.
            let shift = u64::from(fraction.leading_zeros()) - 40;
            sign | (897 - shift) << 52 | (fraction << (shift + 29) & 0x000F_FFFF_FFFF_FFFF)
        }
        (0xFF, _) => sign | 0x7FF << 52 | fraction << 29,
        _ => sign | (exponent + 896) << 52 | fraction << 29,
    }
}

/// The single that `stfs` stores for a double: bits are dropped, never rounded, and values too
/// small for a normal single are denormalised. Those too small for any, undefined in Book E, are a
/// zero of their sign, as the software CPU stores them.
pub(crate) fn single_of(double: u64) -> u32 {
    let exponent = (double >> 52 & 0x7FF) as u32;
    let high = (double >> 32) as u32;
    match exponent {
        897.. => high & 0xC000_0000 | (double >> 29) as u32 & 0x3FFF_FFFF,
        874..=896 => {
            let significand = 0x80_0000 | (double >> 29) as u32 & 0x7F_FFFF;
            high & 0x8000_0000 | significand >> (897 - exponent)
        }
        _ => high & 0x8000_0000,
    }
}
