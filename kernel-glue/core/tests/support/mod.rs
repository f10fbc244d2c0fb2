//! A stand-in for the hardware: flat RAM, spaces as lists of mappings, and a CPU that executes
//! the simplest instructions and traps for all others.
#![allow(dead_code)] // Each test file uses its share.
#![allow(clippy::unwrap_used)] // What is not there fails the test.

use ppc440_isa::regs::msr;
use ppc440_isa::tlb::{TlbWord0, TlbWord1, TlbWord2, Tlbe};
use ppc440_isa::{Access, Insn, Mode, ProgramCause, Regs, Supervisor, Trap, Word, decode};
use ppc440_kvm::{Exit, Hw, Mapping, PVR_440EP, Pins, SPACES, Slot, SpaceId, Spaces, Vcpu};

/// A line that the test harness does not capture: counts are for the end of a run.
pub fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub const RAM: u32 = 1 << 20;
/// Guest-physical and effective address of a page that is no RAM.
pub const UART: u32 = 0xEF60_0000;
/// Where single instructions are executed.
pub const PC: u32 = 0x1000;
pub const IVPR: u32 = 0x0002_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Select(SpaceId, SpaceId),
    Map(SpaceId, Mapping),
    Unmap(SpaceId, u32, u32),
    Clear(SpaceId),
}

pub struct Bench {
    pub ram: Vec<u8>,
    pub spaces: Vec<Vec<Mapping>>,
    pub fetch: SpaceId,
    pub data: SpaceId,
    pub retired: u64,
    pub ticks: u64,
    pub ticks_per_insn: u64,
    /// Ticks that pass in each entry before its first instruction, and that no budget foresees.
    pub ticks_per_entry: u64,
    pub external: bool,
    pub critical: bool,
    pub kick: bool,
    /// Asks the supervisor about each trap before it comes back with it.
    pub asks: bool,
    /// The traps that it came back with.
    pub came_back: Vec<Trap>,
    /// Turns of the core's loop after which it is kicked.
    pub turns: Option<u32>,
    pub log: Vec<Event>,
    /// Executed at its address as if fetched there; elsewhere the core is kicked.
    pub direct: Option<(u32, u32)>,
    pub budgets: Vec<u32>,
    pub executed: Vec<u32>,
    pub stopwatch: std::cell::Cell<u64>,
}

impl Bench {
    pub fn new() -> Self {
        Bench {
            ram: vec![0; RAM as usize],
            spaces: vec![Vec::new(); SPACES],
            fetch: 0,
            data: 0,
            retired: 0,
            ticks: 0,
            ticks_per_insn: 0,
            ticks_per_entry: 0,
            external: false,
            critical: false,
            kick: false,
            asks: true,
            came_back: Vec::new(),
            turns: None,
            log: Vec::new(),
            direct: None,
            budgets: Vec::new(),
            executed: Vec::new(),
            stopwatch: std::cell::Cell::new(0),
        }
    }

    pub fn lookup(&self, space: SpaceId, ea: u32) -> Option<Mapping> {
        // A whole page may be mapped over a part of it, never over something else.
        let hits: Vec<_> = self.spaces[usize::from(space)]
            .iter()
            .filter(|m| ea.wrapping_sub(m.ea) < m.bytes)
            .collect();
        let what = |m: &Mapping| {
            (
                m.ram.wrapping_sub(m.ea),
                m.read,
                m.write,
                m.execute,
                m.cached,
            )
        };
        let agree = hits.iter().all(|m| what(m) == what(hits[0]));
        assert!(
            agree,
            "{ea:#x} is mapped in two ways in space {space}: {hits:x?}"
        );
        hits.first().map(|m| **m)
    }

    fn word_at(&self, ram: u32) -> u32 {
        u32::from_be_bytes(self.ram[ram as usize..ram as usize + 4].try_into().unwrap())
    }

    fn step(&mut self, regs: &mut Regs, word: u32) -> Option<Trap> {
        self.executed.push(word);
        let Some(insn) = decode(word) else {
            return Some(Trap::Program {
                cause: ProgramCause::Illegal,
                word,
            });
        };
        let fields = Word(word);
        let (rt, ra, rb) = (fields.rt(), fields.ra(), fields.rb());
        let base = if ra == 0 { 0 } else { regs.gpr[ra] };
        let d = word as u16 as i16 as i32 as u32;
        if let Some((store, float)) = memory(insn) {
            if float && regs.msr & msr::FP == 0 {
                return Some(Trap::FpUnavailable);
            }
            let ea = match insn {
                Insn::Lswi | Insn::Stswi => base,
                _ if word >> 26 == 31 => base.wrapping_add(regs.gpr[rb]),
                _ => base.wrapping_add(d),
            };
            let access = if store { Access::Store } else { Access::Load };
            let simple = matches!(insn, Insn::Lwz | Insn::Stw) && ea & 3 == 0;
            let mapping = self.lookup(self.data, ea);
            let Some(mapping) = mapping.filter(|m| simple && if store { m.write } else { m.read })
            else {
                return Some(Trap::Data { ea, access, word });
            };
            let ram = mapping.ram + (ea - mapping.ea);
            if store {
                self.ram[ram as usize..][..4].copy_from_slice(&regs.gpr[rt].to_be_bytes());
            } else {
                regs.gpr[rt] = self.word_at(ram);
            }
        } else {
            match insn {
                Insn::Addi => regs.gpr[rt] = base.wrapping_add(d),
                Insn::Ori => regs.gpr[ra] = regs.gpr[rt] | d & 0xFFFF,
                Insn::Or => regs.gpr[ra] = regs.gpr[rt] | regs.gpr[rb],
                Insn::B => {
                    regs.pc = regs
                        .pc
                        .wrapping_add((((word & 0x03FF_FFFC) << 6) as i32 >> 6) as u32);
                    self.retired += 1;
                    return None;
                }
                Insn::Sc => {
                    regs.pc += 4;
                    return Some(Trap::Syscall);
                }
                Insn::Tw | Insn::Twi => {
                    return Some(Trap::Program {
                        cause: ProgramCause::Trap,
                        word,
                    });
                }
                _ => {
                    return Some(Trap::Program {
                        cause: ProgramCause::Privileged,
                        word,
                    });
                }
            }
        }
        regs.pc = regs.pc.wrapping_add(4);
        self.retired += 1;
        None
    }
}

/// Whether the instruction accesses memory, and then whether it stores and whether it is the
/// FPU's.
fn memory(insn: Insn) -> Option<(bool, bool)> {
    let name = format!("{insn:?}").to_lowercase();
    if matches!(insn, Insn::Dcbi) {
        return None;
    }
    if name.starts_with("dcb") || name.starts_with("icb") {
        return Some((matches!(insn, Insn::Dcbz), false));
    }
    let float = name.starts_with("lf") || name.starts_with("stf");
    let load = ["lb", "lh", "lw", "lm", "ls", "lf"]
        .iter()
        .any(|start| name.starts_with(start));
    let store = ["stb", "sth", "stw", "stm", "sts", "stf"]
        .iter()
        .any(|s| name.starts_with(s));
    (load || store).then_some((store, float))
}

impl Spaces for Bench {
    fn select(&mut self, _: Mode, fetch: SpaceId, data: SpaceId) {
        self.log.push(Event::Select(fetch, data));
        (self.fetch, self.data) = (fetch, data);
    }

    fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping) {
        assert_eq!((mapping.ea | mapping.bytes | mapping.ram) % 4096, 0);
        assert!(ea_wanted.wrapping_sub(mapping.ea) < mapping.bytes && mapping.bytes <= 1 << 30);
        assert!(u64::from(mapping.ram) + u64::from(mapping.bytes) <= self.ram.len() as u64);
        self.log.push(Event::Map(space, *mapping));
        self.spaces[usize::from(space)].retain(|old| old != mapping);
        self.spaces[usize::from(space)].push(*mapping);
    }

    fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        assert!((ea | bytes).is_multiple_of(4096) && bytes <= 1 << 30 && bytes != 0);
        self.log.push(Event::Unmap(space, ea, bytes));
        let (from, to) = (u64::from(ea), u64::from(ea) + u64::from(bytes));
        let mut kept = Vec::new();
        for m in &self.spaces[usize::from(space)] {
            let (start, end) = (u64::from(m.ea), u64::from(m.ea) + u64::from(m.bytes));
            for (first, last) in [(start, end.min(from)), (start.max(to), end)] {
                if first < last {
                    let skip = (first - start) as u32;
                    let bytes = (last - first) as u32;
                    kept.push(Mapping {
                        ea: first as u32,
                        bytes,
                        ram: m.ram + skip,
                        ..*m
                    });
                }
            }
        }
        self.spaces[usize::from(space)] = kept;
    }

    fn clear(&mut self, space: SpaceId) {
        self.log.push(Event::Clear(space));
        self.spaces[usize::from(space)].clear();
    }

    fn retire(&mut self) {
        self.retired += 1;
    }

    fn retired(&self) -> u64 {
        self.retired
    }
}

impl Hw for Bench {
    fn enter(&mut self, regs: &mut Regs, budget: u32, supervisor: &mut dyn Supervisor) -> Trap {
        assert!(budget >= 1);
        self.budgets.push(budget);
        self.ticks += self.ticks_per_entry;
        let end = self.retired + u64::from(budget);
        let trap = loop {
            if self.retired >= end {
                break Trap::Budget;
            }
            let word = match self.direct {
                Some((pc, word)) if pc == regs.pc => Some(word),
                Some(_) => {
                    self.kick = true;
                    break Trap::Attention;
                }
                None => match self.lookup(self.fetch, regs.pc) {
                    Some(m) if m.execute => Some(self.word_at(m.ram + (regs.pc - m.ea))),
                    _ => None,
                },
            };
            let trap = match word {
                Some(word) => self.step(regs, word),
                None => Some(Trap::Fetch),
            };
            let Some(trap) = trap else { continue };
            if !(self.asks && supervisor.trap(self, regs, trap)) {
                break trap;
            }
        };
        self.came_back.push(trap);
        trap
    }

    fn execute(&mut self, regs: &mut Regs, word: u32) -> Option<Trap> {
        self.step(regs, word)
    }

    fn load(&mut self, ram: u32, bytes: &mut [u8]) -> bool {
        match self.ram.get(ram as usize..ram as usize + bytes.len()) {
            Some(from) => {
                bytes.copy_from_slice(from);
                true
            }
            None => false,
        }
    }

    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        match self.ram.get_mut(ram as usize..ram as usize + bytes.len()) {
            Some(to) => {
                to.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    fn time_base(&self) -> u64 {
        self.ticks + self.retired * self.ticks_per_insn
    }

    fn budget(&self, deadline: Option<u64>) -> u32 {
        let left = deadline.map_or(1000, |at| at.saturating_sub(self.time_base()));
        match self.ticks_per_insn {
            0 => 100,
            per => left.div_ceil(per).clamp(1, 1000) as u32,
        }
    }

    fn pins(&mut self) -> Pins {
        if let Some(turns) = &mut self.turns {
            if *turns == 0 {
                self.turns = None;
                self.kick = true;
            } else {
                *turns -= 1;
            }
        }
        let kick = std::mem::take(&mut self.kick);
        Pins {
            external: self.external,
            critical: self.critical,
            kick,
        }
    }

    fn stopwatch(&self) -> u64 {
        self.stopwatch.set(self.stopwatch.get() + 10);
        self.stopwatch.get()
    }
}

pub struct Machine {
    pub vcpu: Vcpu,
    pub hw: Bench,
}

/// TLB entry with all permissions: `size` is the SIZE field, `attributes` word 2's WIMGE bits.
pub fn entry(ea: u32, gpa: u64, size: u8, tid: u8, ts: bool, word2: u32) -> Tlbe {
    Tlbe {
        tid,
        word0: TlbWord0::from(ea & 0xFFFF_FC00 | 0x200 | u32::from(ts) << 8 | u32::from(size) << 4),
        word1: TlbWord1::from(gpa as u32 & 0xFFFF_FC00 | (gpa >> 32) as u32),
        word2: TlbWord2::from(word2),
    }
}

/// All permissions.
pub const ALL: u32 = 0x3F;

impl Machine {
    /// One MiB of RAM at 0, mapped at 0 in a 1 MiB page, and a page of MMIO.
    pub fn new() -> Self {
        let mut vcpu = Vcpu::new(PVR_440EP);
        vcpu.add_slot(Slot {
            gpa: 0,
            bytes: u64::from(RAM),
            ram: 0,
        })
        .unwrap();
        vcpu.set_tlb(0, entry(0, 0, 5, 0, false, ALL));
        vcpu.set_tlb(1, entry(UART, u64::from(UART), 1, 0, false, ALL | 0x500));
        let mut sprs = *vcpu.sprs();
        sprs.ivpr = IVPR;
        sprs.ivor = std::array::from_fn(|n| 0x100 * n as u32 + 0x10);
        let hw = Bench::new();
        vcpu.set_sprs(&hw, &sprs);
        vcpu.regs.pc = PC;
        vcpu.regs.msr = msr::ME | msr::FP;
        Machine { vcpu, hw }
    }

    pub fn run(&mut self) -> Exit {
        self.vcpu.run(&mut self.hw)
    }

    /// Executes one instruction at `PC` and returns what came of it: `Interrupted` when it
    /// completed or was interrupted.
    pub fn exec(&mut self, word: u32) -> Exit {
        self.vcpu.regs.pc = PC;
        self.hw.direct = Some((PC, word));
        self.run()
    }

    /// As [`Machine::exec`], and it must complete.
    pub fn complete(&mut self, word: u32) {
        assert_eq!(self.exec(word), Exit::Interrupted);
        assert_eq!(self.vcpu.regs.pc, PC + 4, "{word:08x} did not complete");
    }

    /// As [`Machine::exec`], and it must end at the vector of IVOR `n`.
    pub fn interrupted(&mut self, word: u32, n: u32) {
        assert_eq!(self.exec(word), Exit::Interrupted);
        assert_eq!(
            self.vcpu.regs.pc,
            vector(n),
            "{word:08x} did not take interrupt {n}"
        );
    }

    pub fn mtspr(&mut self, spr: u32, value: u32) {
        self.vcpu.regs.gpr[3] = value;
        self.complete(mtspr(spr, 3));
    }

    pub fn mfspr(&mut self, spr: u32) -> u32 {
        self.vcpu.regs.gpr[3] = 0xDEAD_BEEF;
        self.complete(mfspr(spr, 3));
        self.vcpu.regs.gpr[3]
    }

    pub fn set_sprs(&mut self, change: impl FnOnce(&mut ppc440_kvm::Sprs)) {
        let mut sprs = *self.vcpu.sprs();
        change(&mut sprs);
        self.vcpu.set_sprs(&self.hw, &sprs);
    }

    pub fn program(&mut self, at: u32, words: &[u32]) {
        for (n, word) in words.iter().enumerate() {
            self.hw.ram[at as usize + 4 * n..][..4].copy_from_slice(&word.to_be_bytes());
        }
    }

    /// Lets the core's loop turn `turns` times over the code in RAM, every trap being one.
    pub fn turn(&mut self, turns: u32) -> Exit {
        self.hw.asks = false;
        self.hw.direct = None;
        self.hw.turns = Some(turns);
        self.run()
    }
}

pub fn vector(n: u32) -> u32 {
    IVPR + 0x100 * n + 0x10
}

pub fn d_form(opcode: u32, rt: u32, ra: u32, d: i32) -> u32 {
    opcode << 26 | rt << 21 | ra << 16 | d as u32 & 0xFFFF
}

pub fn x_form(xo: u32, rt: u32, ra: u32, rb: u32) -> u32 {
    31 << 26 | rt << 21 | ra << 16 | rb << 11 | xo << 1
}

fn split(number: u32) -> u32 {
    (number & 31) << 16 | (number >> 5) << 11
}

pub fn mtspr(spr: u32, rs: u32) -> u32 {
    31 << 26 | rs << 21 | split(spr) | 467 << 1
}

pub fn mfspr(spr: u32, rt: u32) -> u32 {
    31 << 26 | rt << 21 | split(spr) | 339 << 1
}

pub fn mfdcr(dcrn: u32, rt: u32) -> u32 {
    31 << 26 | rt << 21 | split(dcrn) | 323 << 1
}

pub fn mtdcr(dcrn: u32, rs: u32) -> u32 {
    31 << 26 | rs << 21 | split(dcrn) | 451 << 1
}

pub const RFI: u32 = 19 << 26 | 50 << 1;
pub const RFCI: u32 = 19 << 26 | 51 << 1;
pub const RFMCI: u32 = 19 << 26 | 38 << 1;
pub const SC: u32 = 17 << 26 | 2;
pub const TRAP: u32 = 31 << 26 | 31 << 21 | 4 << 1;
pub const NOP: u32 = 14 << 26 | 5 << 21;
/// `lwz r5,0(r4)` and `stw r5,0(r4)`.
pub const LWZ: u32 = 32 << 26 | 5 << 21 | 4 << 16;
pub const STW: u32 = 36 << 26 | 5 << 21 | 4 << 16;
