//! A 440 and its host, simulated: 64 entries, a thief among them, and the software CPU, which executes
//! guest code through those entries and nothing else.
//!
//! What silicon leaves undefined panics here: two entries that match, a page that is no RAM, code from
//! the cache that is not what the page holds now.
#![allow(dead_code)] // What happened at the host is for who looks into a failure.

use std::collections::HashMap;
use std::sync::Arc;

use ppc440_cpu::{Clock, Cpu, Engine, Region};
use ppc440_isa::regs::{esr, msr};
use ppc440_isa::tlb::{ENTRIES, Tlbe};
use ppc440_isa::{
    Access, Cr, Insn, Mapping, Mode, ProgramCause, Regs, SPACES, SpaceId, Spaces, Supervisor, Trap,
    Word, decode,
};
use ppc440_kvm::Pins;
use ppc440_silicon::{Frame, Port, Reservation, Silicon, Stop, Turn, Window, orders};

/// The entries that a host of 256 MB shares with a guest, and the first of its TIDs.
pub const WINDOW: Window = Window {
    first: 0,
    last: 62,
    tid: 0xC0,
};

/// As few as a guest can do with.
pub const NARROW: Window = Window {
    first: 20,
    last: 27,
    tid: 1,
};

const PAGE: u32 = 4096;

/// A source of numbers that are the same for the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        self.word() % limit
    }
}

/// How the simulated host treats its guest.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// What it shares with the guest.
    pub window: Window,
    /// The host takes an entry before one turn in so many; 0: never.
    pub steals: u32,
    /// The host interrupts a turn after fewer instructions than this; 0: only when it must.
    pub interrupts: u32,
    /// The world switch fails to fetch the instruction once in so many; 0: never.
    pub no_word: u32,
}

/// What happened at the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    pub stolen: u64,
    pub interrupted: u64,
    pub turns: u64,
}

/// The host.
pub struct Host {
    cpu: Cpu,
    /// Inputs of the guest's CPU.
    pub pins: Pins,
    /// The guest's registers as the real CPU has them.
    real: Regs,
    entries: [Tlbe; ENTRIES],
    /// What the software CPU's tables hold, by space and page: who put it there, and what it allows.
    mapped: HashMap<(SpaceId, u32), (usize, Allowed)>,
    /// Real pages by guest page, and back.
    frames: Vec<Frame>,
    guest_page: HashMap<u32, u32>,
    /// The instruction cache: the frame of each page that was fetched from.
    icache: HashMap<(u8, u32), u32>,
    ram_bytes: u32,
    scratch: Frame,
    dice: Dice,
    temper: Temper,
    pub happened: Happened,
    /// Instructions that others than the software CPU completed, and time that nobody used.
    elsewhere: u64,
    skipped: u64,
    deadline: Option<u64>,
    /// The count of completed instructions at which the guest's thread is wanted.
    pub until: u64,
    unit_is_guests: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowed {
    read: bool,
    write: bool,
    execute: bool,
}

/// Lays guest RAM out in real memory: in blocks of some orders, in any order.
fn lay_out(pages: u32, dice: &mut Dice) -> Vec<u32> {
    let mut blocks = Vec::new();
    let mut page = 0;
    while page < pages {
        let mut order = [0, 0, 0, 1, 2, 4, 8][dice.below(7) as usize];
        while page + (1 << order) > pages {
            order -= 1;
        }
        blocks.push((page, order));
        page += 1 << order;
    }
    let mut places: Vec<usize> = (0..blocks.len()).collect();
    for n in (1..places.len()).rev() {
        places.swap(n, dice.below(n as u32 + 1) as usize);
    }
    let mut frames = vec![0; pages as usize];
    // Some of it lies above 4 GB.
    let mut real = 0xF_FF00u32;
    for place in places {
        let (first, order) = blocks[place];
        let size: u32 = 1 << order;
        // Now and then a block follows the one before without a gap.
        real = (real + dice.below(2)).next_multiple_of(size);
        for n in 0..size {
            frames[(first + n) as usize] = real + n;
        }
        real += size;
    }
    frames
}

impl Host {
    /// A host whose guest has all of `region` but its last page as RAM.
    pub fn new(region: Arc<Region>, engine: Engine, seed: u64, temper: Temper) -> Self {
        use vm_memory::VolatileMemory;
        let ram_bytes = region.len() as u32 - PAGE;
        let mut dice = Dice::new(seed);
        let pages = lay_out(ram_bytes / PAGE, &mut dice);
        let mut order = vec![0; pages.len()];
        orders(&pages, &mut order);
        let guest_page = pages.iter().zip(0..).map(|(&real, page)| (real, page));
        let scratch = Frame {
            page: 0xA_5A5A,
            order: 0,
        };
        let mut guest_page: HashMap<u32, u32> = guest_page.collect();
        guest_page.insert(scratch.page, ram_bytes / PAGE);
        let cpu = Cpu::new(region, ppc440_cpu::Pins::new(), Clock::Virtual, 1, engine);
        Host {
            cpu: cpu.expect("a software CPU"),
            pins: Pins::default(),
            real: Regs::default(),
            entries: [Tlbe::default(); ENTRIES],
            mapped: HashMap::new(),
            frames: pages
                .into_iter()
                .zip(order)
                .map(|(page, order)| Frame { page, order })
                .collect(),
            guest_page,
            icache: HashMap::new(),
            ram_bytes,
            scratch,
            dice,
            temper,
            happened: Happened::default(),
            elsewhere: 0,
            skipped: 0,
            deadline: None,
            until: u64::MAX,
            unit_is_guests: false,
        }
    }

    /// Instructions that the guest has completed.
    pub fn instructions(&self) -> u64 {
        self.cpu.retired() + self.elsewhere
    }

    fn now(&self) -> u64 {
        self.instructions() + self.skipped
    }

    /// Lets time pass up to `deadline` without the guest.
    pub fn skip_to(&mut self, deadline: u64) {
        self.skipped += deadline.saturating_sub(self.now());
    }

    /// Empties an entry.
    fn empty(&mut self, index: usize) {
        let old = std::mem::take(&mut self.entries[index]);
        if !old.word0.v() {
            return;
        }
        let (cpu, mapped) = (&mut self.cpu, &mut self.mapped);
        mapped.retain(|&(space, page), (by, _)| {
            if *by == index {
                cpu.unmap(space, page * PAGE, PAGE);
            }
            *by != index
        });
    }

    /// Takes entries from the guest, as a host does that misses or flushes.
    fn steal(&mut self) {
        if self.temper.steals == 0 || self.dice.below(self.temper.steals) != 0 {
            return;
        }
        let all = self.dice.below(50) == 0;
        for index in 0..ENTRIES {
            if all || self.dice.below(8) == 0 {
                self.happened.stolen += u64::from(self.entries[index].word0.v());
                self.empty(index);
            }
        }
    }

    /// Instructions that the turn may take.
    fn turn_length(&mut self) -> u32 {
        let wanted = self.until.saturating_sub(self.instructions());
        let left = self.deadline.map_or(wanted, |at| {
            let due = at.saturating_sub(self.now());
            due.min(wanted)
        });
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        match self.temper.interrupts {
            0 => left,
            most => left.min(1 + self.dice.below(most)),
        }
    }

    fn stop(&mut self, trap: Trap) -> Stop {
        let stop = |number, esr| Stop {
            number,
            esr,
            ..Stop::default()
        };
        let (mut stop, word) = match trap {
            Trap::Budget | Trap::Attention => (stop([4, 10][self.dice.below(2) as usize], 0), None),
            Trap::Syscall => (stop(8, 0), None),
            Trap::FpUnavailable => (stop(7, 0), None),
            Trap::Fetch => {
                let matching = self.matching(self.real.pc);
                (stop(if matching.is_some() { 3 } else { 14 }, 0), None)
            }
            Trap::Program { cause, word } => {
                let bits = match cause {
                    ProgramCause::Illegal => esr::PIL,
                    ProgramCause::Privileged => esr::PPR,
                    ProgramCause::Trap => esr::PTR,
                    ProgramCause::FloatingPoint => esr::FP,
                };
                (stop(6, bits), Some(word))
            }
            Trap::Data { ea, access, word } => {
                let (number, dear) = self.data_interrupt(ea, access, word);
                let bits = if access == Access::Store { esr::ST } else { 0 };
                let mut stop = stop(number, bits);
                stop.dear = dear;
                (stop, Some(word))
            }
        };
        let fails = self.temper.no_word != 0 && self.dice.below(self.temper.no_word) == 0;
        stop.word = word.filter(|_| !fails);
        stop
    }

    /// The index of the entry that translates an address now.
    fn matching(&self, ea: u32) -> Option<usize> {
        matching(&self.entries, self.real.pid, ea)
    }

    /// The interrupt of an access that the software CPU did not do, and its DEAR.
    fn data_interrupt(&self, ea: u32, access: Access, word: u32) -> (u8, u32) {
        let last = ea.wrapping_add(length(word, &self.real) - 1);
        let second = (ea ^ last) >> 12 != 0 && !is_line(word);
        let starts = [Some(ea), second.then_some(last & !(PAGE - 1))];
        for start in starts.into_iter().flatten() {
            match self.matching(start) {
                None => return (13, start),
                Some(index) if !allows(&self.entries[index], access) => return (2, start),
                Some(_) => {}
            }
        }
        (5, ea)
    }

    /// Lets the software CPU run, for at most `budget` instructions.
    fn run(&mut self, budget: u32) -> Trap {
        let mut left = budget;
        loop {
            if left == 0 {
                return Trap::Budget;
            }
            let before = self.cpu.retired();
            let mut walker = Walker {
                entries: &self.entries,
                mapped: &mut self.mapped,
                guest_page: &self.guest_page,
                icache: &mut self.icache,
                space: self.real.pid.wrapping_sub(self.temper.window.tid),
                pid: self.real.pid,
            };
            let trap = self.cpu.enter(&mut self.real, left, &mut walker);
            left -= (self.cpu.retired() - before) as u32;
            match trap {
                Trap::Attention => {}
                // A `stwcx.` that holds no reservation needs no right to store.
                Trap::Data { ea, word, .. }
                    if decode(word) == Some(Insn::Stwcx)
                        && !self.real.reservation
                        && self.data_interrupt(ea, Access::Store, word).0 == 2 =>
                {
                    let so = if self.real.xer.so { Cr::SO } else { 0 };
                    self.real.cr.set_field(0, so);
                    self.real.pc = self.real.pc.wrapping_add(4);
                    self.elsewhere += 1;
                    left -= 1;
                }
                trap => return trap,
            }
        }
    }
}

/// Bytes that an instruction accesses.
fn length(word: u32, regs: &Regs) -> u32 {
    let fields = Word(word);
    match decode(word) {
        Some(Insn::Lmw | Insn::Stmw) => 4 * (32 - fields.rt() as u32),
        Some(Insn::Lswi | Insn::Stswi) if fields.nb() == 0 => 32,
        Some(Insn::Lswi | Insn::Stswi) => fields.nb(),
        Some(Insn::Lswx | Insn::Stswx) => u32::from(regs.xer.count).max(1),
        Some(insn) => {
            let name = insn.mnemonic();
            match name.as_bytes() {
                [b'l', b'f', b'd', ..] | [b's', b't', b'f', b'd', ..] => 8,
                [b'l', b'b', ..] | [b's', b't', b'b', ..] => 1,
                [b'l', b'h', ..] | [b's', b't', b'h', ..] => 2,
                _ => 4,
            }
        }
        None => 4,
    }
}

/// Whether an instruction works on a cache line, which is in one page.
fn is_line(word: u32) -> bool {
    decode(word).is_some_and(|insn| {
        let name = insn.mnemonic();
        name.starts_with("dcb") || name.starts_with("icb")
    })
}

fn allows(entry: &Tlbe, access: Access) -> bool {
    match access {
        Access::Load => entry.word2.ur(),
        Access::Store => entry.word2.uw(),
        Access::Fetch => entry.word2.ux(),
    }
}

fn matching(entries: &[Tlbe; ENTRIES], pid: u8, ea: u32) -> Option<usize> {
    let mut all = (0..ENTRIES).filter(|&index| entries[index].matches(ea, pid, true));
    let found = all.next();
    assert_eq!(
        all.next(),
        None,
        "two entries match {ea:#x} of TID {pid:#x}"
    );
    found
}

/// The TLB as the software CPU sees it.
struct Walker<'a> {
    entries: &'a [Tlbe; ENTRIES],
    mapped: &'a mut HashMap<(SpaceId, u32), (usize, Allowed)>,
    guest_page: &'a HashMap<u32, u32>,
    icache: &'a mut HashMap<(u8, u32), u32>,
    space: SpaceId,
    pid: u8,
}

impl Supervisor for Walker<'_> {
    fn trap(&mut self, spaces: &mut dyn Spaces, regs: &mut Regs, trap: Trap) -> bool {
        let (ea, access) = match trap {
            Trap::Fetch => (regs.pc, Access::Fetch),
            Trap::Data { ea, access, .. } => (ea, access),
            _ => return false,
        };
        let Some(index) = matching(self.entries, self.pid, ea) else {
            return false;
        };
        let entry = &self.entries[index];
        if !allows(entry, access) {
            return false;
        }
        let real = (entry.real(ea) >> 12) as u32;
        if access == Access::Fetch {
            let cached = self.icache.insert((self.pid, ea >> 12), real);
            assert!(
                cached.is_none_or(|cached| cached == real),
                "code at {ea:#x} of TID {:#x} comes from a stale cache",
                self.pid
            );
        }
        let allowed = Allowed {
            read: entry.word2.ur(),
            write: entry.word2.uw(),
            // A page is fetched from only through here.
            execute: access == Access::Fetch
                || self
                    .mapped
                    .get(&(self.space, ea >> 12))
                    .is_some_and(|(_, old)| old.execute),
        };
        let old = self.mapped.insert((self.space, ea >> 12), (index, allowed));
        if old == Some((index, allowed)) {
            return false;
        }
        let page = self.guest_page.get(&real);
        let mapping = Mapping {
            read: allowed.read,
            write: allowed.write,
            execute: allowed.execute,
            cached: !entry.word2.w() && !entry.word2.i(),
            ..Mapping::page(
                ea & !(PAGE - 1),
                page.expect("a page of the guest's RAM") * PAGE,
            )
        };
        spaces.map(self.space, ea, &mapping);
        true
    }
}

impl Port for Host {
    fn enter(&mut self, regs: &mut Regs, turn: Turn) -> Stop {
        assert_eq!(turn.msr & !(msr::FP | msr::FE0 | msr::FE1), 0x0002_D030);
        assert!(turn.msr & msr::FP == 0 || self.unit_is_guests);
        self.happened.turns += 1;
        self.steal();
        let real = &mut self.real;
        (real.gpr, real.pc, real.lr, real.ctr) = (regs.gpr, regs.pc, regs.lr, regs.ctr);
        (real.cr, real.xer, real.usprg0) = (regs.cr, regs.xer, regs.usprg0);
        real.sprg[4..].copy_from_slice(&regs.sprg[4..]);
        (real.msr, real.pid) = (turn.msr, turn.tid);
        match turn.reservation {
            Reservation::Keep => {}
            Reservation::Hold => real.reservation = true,
            Reservation::Drop => real.reservation = false,
        }
        let space = turn.tid.wrapping_sub(self.temper.window.tid);
        assert!(usize::from(space) < SPACES, "TID {:#x}", turn.tid);
        self.cpu.select(Mode::new(turn.msr, turn.tid), space, space);
        let most = self.turn_length();
        let trap = self.run(most);
        let stop = self.stop(trap);
        let real = &self.real;
        (regs.gpr, regs.pc, regs.lr, regs.ctr) = (real.gpr, real.pc, real.lr, real.ctr);
        (regs.cr, regs.xer, regs.usprg0) = (real.cr, real.xer, real.usprg0);
        stop
    }

    fn tlb_write(&mut self, index: u8, words: [u32; 3], tid: u8) {
        let Window { first, last, .. } = self.temper.window;
        assert!((first..=last).contains(&index));
        self.empty(usize::from(index));
        let [word0, word1, word2] = words;
        self.entries[usize::from(index)] = Tlbe {
            tid,
            word0: word0.into(),
            word1: word1.into(),
            word2: word2.into(),
        };
        self.steal();
    }

    fn iccci(&mut self) {
        self.icache.clear();
        // What is in the software CPU's tables was fetched before and would not be noticed again.
        let mapped = std::mem::take(&mut self.mapped);
        for (space, page) in mapped.into_keys() {
            self.cpu.unmap(space, page * PAGE, PAGE);
        }
    }

    fn frame(&self, ram: u32) -> Option<Frame> {
        self.frames.get((ram / PAGE) as usize).copied()
    }

    fn load(&self, ram: u32, bytes: &mut [u8]) -> bool {
        let end = u64::from(ram) + bytes.len() as u64;
        end <= u64::from(self.ram_bytes) && self.cpu.load(ram, bytes)
    }

    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        let end = u64::from(ram) + bytes.len() as u64;
        end <= u64::from(self.ram_bytes) && self.cpu.store(ram, bytes)
    }

    fn scratch(&mut self, words: [u32; 2]) -> Frame {
        for (at, word) in (self.ram_bytes..).step_by(4).zip(words) {
            self.cpu.store(at, &word.to_be_bytes());
        }
        // Its lines are not in the cache.
        let scratch = self.scratch;
        self.icache.retain(|_, frame| *frame != scratch.page);
        scratch
    }

    fn fp_load(&mut self, regs: &Regs) {
        assert!(!std::mem::replace(&mut self.unit_is_guests, true));
        (self.real.fpr, self.real.fpscr) = (regs.fpr, regs.fpscr);
    }

    fn fp_save(&mut self, regs: &mut Regs) {
        assert!(std::mem::take(&mut self.unit_is_guests));
        (regs.fpr, regs.fpscr) = (self.real.fpr, self.real.fpscr);
        // The host's own programs calculate too.
        self.real.fpr = [0xDEAD_BEEF_DEAD_BEEF; 32];
    }

    fn take_reservation(&mut self) -> bool {
        std::mem::take(&mut self.real.reservation)
    }

    fn interrupted(&mut self, _: u8) -> bool {
        assert!(
            !self.unit_is_guests,
            "the host's programs would calculate with the guest's numbers"
        );
        self.happened.interrupted += 1;
        self.real.reservation = self.dice.below(2) == 0;
        self.steal();
        self.pins.kick || self.instructions() >= self.until
    }

    fn time_base(&self) -> u64 {
        self.now()
    }

    fn arm(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
    }

    fn pins(&mut self) -> Pins {
        let pins = self.pins;
        self.pins.kick = false;
        pins
    }

    fn stopwatch(&self) -> u64 {
        0
    }

    fn completed(&mut self) {
        self.elsewhere += 1;
    }
}

/// A guest's hardware over a simulated host.
pub fn silicon(host: Host) -> Silicon<Host> {
    let window = host.temper.window;
    Silicon::new(host, window).expect("a window that is large enough")
}
