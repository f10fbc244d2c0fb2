//! The core's hardware: spaces in the TLB, and the guest's turns.

use core::cell::Cell;
use core::fmt;

use ppc440_isa::regs::msr;
use ppc440_isa::tlb::ENTRIES;
use ppc440_isa::{Access, Mapping, Mode, Regs, SPACES, SpaceId, Spaces, Supervisor, Trap};
use ppc440_kvm::{Hw, Pins};

use crate::code::Code;
use crate::counts::Counts;
use crate::frames::{page, shift};
use crate::port::{Port, Reservation, Stop, Turn};
use crate::shadow::{Held, Rights, Shadow};
use crate::trap::{Cause, is_conditional_store, is_data_storage, is_reserving_load};

/// The real MSR while a guest runs: in problem state and the other address space, with the host's
/// interrupts on. MSR\[DE\] stays off, so that the host's debug events wait for the host.
const SHADOW_MSR: u32 = msr::CE | msr::EE | msr::ME | msr::PR | msr::IS | msr::DS;

/// The host's interrupt with which it lets in whatever waits: the decrementer.
const LET_IN: u8 = 10;

/// The fewest entries that a guest can do with: an instruction needs three, and the scratch page one.
const FEWEST: u8 = 8;

/// Which entries and TIDs a guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first entry.
    pub first: u8,
    /// The last entry. The host has those above for good, and takes any below when it likes.
    pub last: u8,
    /// The TID of space 0; the other spaces' follow. TID 0 would match every PID.
    pub tid: u8,
}

/// A window was refused: it has too few entries, or no room for the spaces' TIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(Window);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { first, last, tid } = self.0;
        write!(
            f,
            "entries {first} to {last} of the tlb with tids from {tid} refused: a guest needs {FEWEST} \
             entries below {ENTRIES}, and {SPACES} tids from 1 to 255"
        )
    }
}

impl core::error::Error for Refused {}

/// Where the reservation bit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bit {
    /// In the hardware.
    There,
    /// In the registers.
    Here,
}

/// A real 440 as the core sees it.
#[derive(Debug)]
pub struct Silicon<P> {
    /// The host.
    pub port: P,
    pub(crate) shadow: Shadow,
    pub(crate) code: Code,
    pub(crate) counts: Counts,
    pub(crate) fetch: SpaceId,
    pub(crate) data: SpaceId,
    tid: u8,
    retired: u64,
    /// When the core wants to look at the time.
    deadline: Cell<Option<u64>>,
    /// What the host was asked to wake us for.
    armed: Option<u64>,
    bit: Bit,
    pub(crate) fp_loaded: bool,
    /// The core must look at its inputs before the guest goes on.
    must_leave: bool,
    /// The core must look at the time before the guest goes on.
    is_late: bool,
    /// Where the scratch page was last.
    pub(crate) seat: u32,
}

impl<P: Port> Silicon<P> {
    /// A 440 whose TLB holds nothing of a guest in `window`.
    ///
    /// # Errors
    /// A window that is too small.
    pub const fn new(port: P, window: Window) -> Result<Self, Refused> {
        let Window { first, last, tid } = window;
        let entries = last as usize >= ENTRIES || (last as i16 - first as i16) < FEWEST as i16 - 1;
        if entries || tid == 0 || tid as usize + SPACES > 256 {
            // A port may have a destructor, which no constant can run.
            core::mem::forget(port);
            return Err(Refused(window));
        }
        Ok(Silicon {
            port,
            shadow: Shadow::new(first, last),
            code: Code::new(),
            counts: NO_COUNTS,
            fetch: 0,
            data: 0,
            tid,
            retired: 0,
            deadline: Cell::new(None),
            armed: None,
            bit: Bit::Here,
            fp_loaded: false,
            must_leave: false,
            is_late: false,
            seat: 0,
        })
    }

    /// What it was made to do.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes note that another guest ran with these TIDs, of which the TLB holds nothing any more, but
    /// the instruction cache may. What our entries held is written again as it is missed.
    pub fn lost(&mut self) {
        self.code.spoil();
    }

    pub(crate) fn tid_of(&self, space: SpaceId) -> u8 {
        self.tid + space % SPACES as u8
    }

    /// Writes the entry at `index` as the table has it.
    pub(crate) fn write(&mut self, index: u8) {
        if let Some(held) = self.shadow.held(index) {
            let (words, tid) = (held.words, self.tid_of(held.space));
            self.port.tlb_write(index, words, tid);
        }
    }

    /// Gives an entry to a page, dropping what overlaps it in its space: two entries that match are
    /// undefined.
    pub(crate) fn give(&mut self, held: Held) -> u8 {
        let last = held.ea | ((1 << shift(held.size)) - 1);
        let mut free = None;
        while let Some(index) = self.shadow.meeting(held.space, held.ea, last) {
            self.replace(index);
            // The new entry takes the first one's place; the others must go before it is written.
            if free.is_some() {
                self.port.tlb_write(index, [0; 3], 0);
                self.counts.dropped += 1;
            } else {
                free = Some(index);
            }
        }
        let index = free.unwrap_or_else(|| {
            let index = self.shadow.next_victim();
            self.counts.evicted += u64::from(self.replace(index));
            index
        });
        self.shadow.set(index, held);
        self.write(index);
        index
    }

    /// Forgets an entry whose translation remains; whether there was one.
    fn replace(&mut self, index: u8) -> bool {
        let Some(old) = self.shadow.remove(index) else {
            return false;
        };
        if old.allows(Access::Fetch) {
            let last = old.ea | ((1 << shift(old.size)) - 1);
            self.code.replaced(old.space, old.ea, last);
        }
        true
    }

    /// Removes what an entry holds from the hardware too, and says what it was.
    pub(crate) fn drop_entry(&mut self, index: u8) -> Option<Held> {
        let old = self.shadow.remove(index)?;
        self.port.tlb_write(index, [0; 3], 0);
        self.counts.dropped += 1;
        Some(old)
    }

    /// Makes one turn of the guest, at `regs.pc` in the space `space`.
    pub(crate) fn turn(&mut self, regs: &mut Regs, space: SpaceId) -> Stop {
        if self.code.take_stale() {
            self.counts.iccci += 1;
            self.port.iccci();
            // What is in the TLB may be fetched again, and says so itself when it goes.
        }
        let fp = match self.fp_loaded && regs.msr & msr::FP != 0 {
            true => msr::FP | regs.msr & (msr::FE0 | msr::FE1),
            false => 0,
        };
        let reservation = match (self.bit, regs.reservation) {
            (Bit::There, _) => Reservation::Keep,
            (Bit::Here, true) => Reservation::Hold,
            (Bit::Here, false) => Reservation::Drop,
        };
        self.bit = Bit::There;
        let turn = Turn {
            tid: self.tid_of(space),
            msr: SHADOW_MSR | fp,
            reservation,
        };
        let stop = self.port.enter(regs, turn);
        self.counts.exits[usize::from(stop.number & 15)] += 1;
        stop
    }

    /// Brings the reservation bit into the registers; `known` if the interrupt says that it was set.
    fn settle_reservation(&mut self, regs: &mut Regs, known: bool) {
        if self.bit == Bit::There {
            regs.reservation = self.port.take_reservation() || known;
            self.bit = Bit::Here;
        }
    }

    /// What the instruction at `regs.pc` is: as the world switch fetched it, or as RAM has it where the
    /// table says that `pc` leads.
    pub(crate) fn word(&self, regs: &Regs, stop: &Stop) -> Option<u32> {
        stop.word.or_else(|| self.word_at(regs.pc))
    }

    /// The instruction that an entry of the fetch space leads to.
    pub(crate) fn word_at(&self, pc: u32) -> Option<u32> {
        let held = self.shadow.held(self.shadow.find(self.fetch, pc)?)?;
        if !held.allows(Access::Fetch) {
            return None;
        }
        let mut bytes = [0; 4];
        let loaded = self.port.load(held.ram_of(pc & !3), &mut bytes);
        loaded.then(|| u32::from_be_bytes(bytes))
    }

    /// What the core must know of a stop; `None`: nothing, and the guest goes on.
    pub(crate) fn resolve(&mut self, regs: &mut Regs, stop: &Stop) -> Option<Trap> {
        let (ea, access) = match Cause::of(stop) {
            Cause::Host => {
                self.host(regs, stop.number);
                return None;
            }
            Cause::Other(trap) => return Some(trap),
            Cause::FpUnavailable if regs.msr & msr::FP == 0 => return Some(Trap::FpUnavailable),
            Cause::FpUnavailable => {
                self.port.fp_load(regs);
                self.fp_loaded = true;
                self.counts.fp_loads += 1;
                return None;
            }
            Cause::FetchMiss => match self.shadow.find(self.fetch, regs.pc) {
                Some(index) => {
                    self.give_again(index);
                    return None;
                }
                None => return Some(Trap::Fetch),
            },
            Cause::DataMiss { ea, access } => match self.shadow.find(self.data, ea) {
                Some(index) => {
                    self.give_again(index);
                    return None;
                }
                None => (ea, access),
            },
            Cause::DataRefused { ea, access } => (ea, access),
            Cause::Program(cause) => {
                let word = self.known_word(regs, stop)?;
                return Some(Trap::Program { cause, word });
            }
        };
        let word = self.known_word(regs, stop)?;
        if is_conditional_store(word) {
            self.settle_reservation(regs, is_data_storage(stop.number));
        } else if is_reserving_load(word) {
            self.settle_reservation(regs, false);
        }
        Some(Trap::Data { ea, access, word })
    }

    /// The instruction that trapped. If it cannot be had, the host took the page meanwhile: the
    /// instruction traps again once it has been fetched again.
    fn known_word(&mut self, regs: &Regs, stop: &Stop) -> Option<u32> {
        let word = self.word(regs, stop);
        self.counts.no_word += u64::from(word.is_none());
        word
    }

    fn give_again(&mut self, index: u8) {
        self.counts.stolen += 1;
        self.write(index);
    }

    /// Lets the host take an interrupt of its own.
    pub(crate) fn host(&mut self, regs: &mut Regs, number: u8) {
        // The host may sleep, and its code uses what the guest had.
        self.settle(regs);
        self.must_leave |= self.port.interrupted(number);
        let deadline = self.deadline.get();
        self.is_late |= deadline.is_some_and(|deadline| self.port.time_base() >= deadline);
    }

    /// Brings everything of the guest's into the registers.
    pub(crate) fn settle(&mut self, regs: &mut Regs) {
        self.settle_reservation(regs, false);
        if core::mem::take(&mut self.fp_loaded) {
            self.port.fp_save(regs);
        }
    }

    /// Counts an instruction that completed.
    pub(crate) fn count(&mut self) {
        self.retired += 1;
    }

    /// The trap with which the guest's turns end before the next, if they do.
    fn due(&mut self) -> Option<Trap> {
        if core::mem::take(&mut self.is_late) {
            return Some(Trap::Budget);
        }
        core::mem::take(&mut self.must_leave).then_some(Trap::Attention)
    }

    /// One turn, and what the core must know of it.
    fn run(&mut self, regs: &mut Regs) -> Option<Trap> {
        let start = regs.pc;
        let stop = self.turn(regs, self.fetch);
        let trap = self.resolve(regs, &stop);
        // Nobody counts instructions. That some were completed shows in `pc`, and `sc` is not among
        // them: it is counted when the interrupt is taken.
        let at = match trap {
            Some(Trap::Syscall) => regs.pc.wrapping_sub(4),
            _ => regs.pc,
        };
        self.retired += u64::from(at != start);
        trap
    }
}

/// Nothing counted yet.
const NO_COUNTS: Counts = Counts {
    exits: [0; 16],
    fills: 0,
    stolen: 0,
    evicted: 0,
    dropped: 0,
    iccci: 0,
    single: 0,
    fp_loads: 0,
    no_word: 0,
};

impl<P: Port> Spaces for Silicon<P> {
    fn select(&mut self, _: Mode, fetch: SpaceId, data: SpaceId) {
        (self.fetch, self.data) = (fetch, data);
    }

    fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping) {
        let Some(page) = page(&self.port, mapping, ea_wanted) else {
            return;
        };
        let rights = Rights {
            read: mapping.read,
            write: mapping.write,
            execute: mapping.execute,
            cached: mapping.cached,
        };
        self.counts.fills += 1;
        if mapping.execute {
            let last = page.ea | ((1 << shift(page.size)) - 1);
            self.code.mapped(page.ea, last);
        }
        self.give(Held::new(space, page, rights));
    }

    fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        let Some(last) = bytes.checked_sub(1).map(|bytes| ea.saturating_add(bytes)) else {
            return;
        };
        while let Some(index) = self.shadow.meeting(space, ea, last) {
            let old = self.drop_entry(index);
            if old.is_some_and(|old| old.allows(Access::Fetch)) {
                self.code.spoil();
            }
        }
        self.code.removed(space, ea, last);
    }

    fn clear(&mut self, space: SpaceId) {
        self.unmap(space, 0, u32::MAX);
    }

    fn retire(&mut self) {
        self.port.completed();
        self.retired += 1;
    }

    fn retired(&self) -> u64 {
        self.retired
    }

    fn holds(&self, space: SpaceId, ea: u32) -> bool {
        self.shadow.find(space, ea).is_some()
    }

    fn forget_code(&mut self) {
        self.code.spoil();
    }
}

impl<P: Port> Hw for Silicon<P> {
    fn enter(&mut self, regs: &mut Regs, budget: u32, supervisor: &mut dyn Supervisor) -> Trap {
        let deadline = self.deadline.get();
        if self.armed != deadline {
            self.armed = deadline;
            self.port.arm(deadline);
        }
        let mut left = budget;
        let trap = loop {
            // One instruction is all that can be counted, and all that two spaces at once allow.
            let single = budget == 1 || self.fetch != self.data;
            if left == 0 {
                break Trap::Budget;
            }
            if single {
                // What needs no hardware is not interrupted by any, and may be a loop.
                self.host(regs, LET_IN);
            }
            if let Some(trap) = self.due() {
                break trap;
            }
            let trap = if single {
                match self.step(regs) {
                    Ok(()) => {
                        left -= 1;
                        None
                    }
                    Err(trap) => trap,
                }
            } else {
                self.run(regs)
            };
            match trap {
                None => {}
                Some(trap @ (Trap::Budget | Trap::Attention)) => break trap,
                Some(trap) => {
                    let before = self.retired;
                    if !supervisor.trap(self, regs, trap) {
                        break trap;
                    }
                    left = left.saturating_sub((self.retired - before) as u32);
                }
            }
        };
        self.settle(regs);
        trap
    }

    fn execute(&mut self, regs: &mut Regs, word: u32) -> Option<Trap> {
        let trap = loop {
            match self.single(regs, word) {
                Ok(()) => break None,
                Err(Some(trap)) => break Some(trap),
                Err(None) => {}
            }
        };
        self.settle(regs);
        trap
    }

    fn load(&mut self, ram: u32, bytes: &mut [u8]) -> bool {
        self.port.load(ram, bytes)
    }

    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        self.port.store(ram, bytes)
    }

    fn time_base(&self) -> u64 {
        self.port.time_base()
    }

    fn budget(&self, deadline: Option<u64>) -> u32 {
        self.deadline.set(deadline);
        u32::MAX
    }

    fn pins(&mut self) -> Pins {
        self.port.pins()
    }

    fn stopwatch(&self) -> u64 {
        self.port.stopwatch()
    }
}
