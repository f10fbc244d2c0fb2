//! The CPU tiers, and a machine around one for cases and for fuzzing.

use std::sync::Arc;

use ppc440_cpu::{Clock, Cpu, Engine, Pins, Region, Windows, memory_file};
use ppc440_isa::regs::{esr, msr};
use ppc440_isa::tlb::{TlbWord0, TlbWord1, TlbWord2, Tlbe};
use ppc440_isa::{
    Flags, Insn, Mapping, Mode, NoSupervisor, ProgramCause, Regs, SPACES, SpaceId, Supervisor,
    Trap, decode,
};
use ppc440_kvm::{Exit, PVR_440EP, ResetKind, Slot, Vcpu};
use ppckvm_api::{Entry, InProcess};

use super::cases::{
    CODE, Case, End, LITTLE, MSR, Memory, PAGES, PC, Page, RAM, Registers, TRAP, WINDOWS, page_at,
};

/// A way to execute guest code: each must give the same results.
pub trait Tier {
    /// Its name in test output.
    fn name(&self) -> &'static str;
    /// Guest RAM, all zeros.
    fn ram(&self, bytes: usize) -> Arc<Region> {
        Arc::new(Region::new(bytes).expect("anonymous memory"))
    }

    /// A CPU that executes this way.
    fn cpu(&self, ram: Arc<Region>, pins: Pins) -> Cpu;
}

/// The interpreter.
pub struct Interpreter;

impl Tier for Interpreter {
    fn name(&self) -> &'static str {
        "interp"
    }

    fn cpu(&self, ram: Arc<Region>, pins: Pins) -> Cpu {
        Cpu::new(ram, pins, Clock::Virtual, 1, Engine::Interpreter)
            .expect("address space for the tables")
    }
}

/// The translator, on hosts that have it. What runs at all is translated.
pub struct Translator;

impl Tier for Translator {
    fn name(&self) -> &'static str {
        "jit"
    }

    fn cpu(&self, ram: Arc<Region>, pins: Pins) -> Cpu {
        let mut cpu = Mixed.cpu(ram, pins);
        cpu.translate_at_once();
        cpu
    }
}

/// The translator as it comes: the interpreter does the first runs of code.
pub struct Mixed;

impl Tier for Mixed {
    fn name(&self) -> &'static str {
        "jit behind first runs"
    }

    fn cpu(&self, ram: Arc<Region>, pins: Pins) -> Cpu {
        Cpu::new(ram, pins, Clock::Virtual, 1, Engine::Translator)
            .expect("address space for tables and code")
    }
}

/// The translator with RAM that it can map twice: it shows every page in the window of its space from
/// the first access on, and soon shows too many.
pub struct Windowed;

impl Tier for Windowed {
    fn name(&self) -> &'static str {
        "jit with windows"
    }

    fn ram(&self, bytes: usize) -> Arc<Region> {
        Arc::new(memory_file(bytes).expect("a memory file"))
    }

    fn cpu(&self, ram: Arc<Region>, pins: Pins) -> Cpu {
        let mut cpu = Translator.cpu(ram, pins);
        cpu.set_windows(Windows {
            at_once: true,
            most: 5,
        });
        cpu
    }
}

/// Every tier.
pub const TIERS: &[&dyn Tier] = if cfg!(target_arch = "x86_64") {
    &[&Interpreter, &Translator, &Windowed, &Mixed]
} else {
    &[&Interpreter]
};

/// Where interrupt n goes: nothing is mapped there.
const IVPR: u32 = 0x7000_0000;

fn vector(n: u32) -> u32 {
    IVPR + 0x100 * n + 0x10
}

/// The error of code that runs on and on.
pub const DOES_NOT_END: &str = "the code does not end";

/// The TLB entries of a case's pages start at this index; those below are for the case.
const FIRST_ENTRY: usize = 48;

/// A CPU with the world of the cases in its RAM.
pub struct Machine {
    pub hw: InProcess<Leash>,
    /// Words of the code page that are not `trap`.
    used: usize,
}

/// Where and how far the core may run: a few instructions at a time and with every trap its own, so
/// that it is back where a case ends.
pub struct Leash {
    /// The first address at which the core may enter, and how many bytes of them; elsewhere it is
    /// kicked.
    inside: (u32, u32),
    /// How many more instructions a case may take.
    left: u32,
    /// The most instructions of one entry.
    slice: u32,
}

impl Entry for Leash {
    fn enter(
        &mut self,
        cpu: &mut Cpu,
        pins: &Pins,
        regs: &mut Regs,
        budget: u32,
        _: &mut dyn Supervisor,
    ) -> Trap {
        if regs.pc.wrapping_sub(self.inside.0) >= self.inside.1 || self.left == 0 {
            pins.kick();
            return Trap::Attention;
        }
        let budget = budget.min(self.slice).min(self.left);
        self.left -= budget;
        loop {
            match cpu.enter(regs, budget, &mut NoSupervisor) {
                Trap::Attention => {}
                trap => return trap,
            }
        }
    }
}

/// What came of a case.
pub struct Outcome {
    pub end: End,
    pub registers: Registers,
    pub memory: Memory,
}

impl Machine {
    pub fn new(tier: &dyn Tier) -> Self {
        let region = tier.ram(RAM as usize);
        let pins = Pins::new();
        let cpu = tier.cpu(region, pins.clone());
        let entry = Leash {
            inside: (0, 0),
            left: 0,
            slice: 1,
        };
        let mut machine = Machine {
            hw: InProcess { cpu, pins, entry },
            used: 1024,
        };
        machine.put_code(&[]);
        machine
    }

    fn put_code(&mut self, words: &[u32]) {
        let length = words.len().max(self.used);
        let padded = words.iter().chain(std::iter::repeat(&TRAP)).take(length);
        let bytes: Vec<u8> = padded.flat_map(|word| word.to_be_bytes()).collect();
        self.put(CODE, &bytes);
        self.used = words.len();
    }

    /// Writes memory at an effective address.
    pub fn put(&mut self, ea: u32, bytes: &[u8]) {
        assert!(self.hw.cpu.store(ram_of(ea), bytes));
    }

    /// Reads memory at an effective address.
    pub fn get(&mut self, ea: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        assert!(self.hw.cpu.load(ram_of(ea), &mut bytes));
        bytes
    }

    fn put_memory(&mut self, memory: &Memory) {
        for (&(at, _), bytes) in WINDOWS.iter().zip(&memory.0) {
            self.put(at, bytes);
        }
    }

    fn memory(&mut self) -> Memory {
        let windows = WINDOWS.iter();
        Memory(windows.map(|&(at, length)| self.get(at, length)).collect())
    }

    /// Runs a user case on the CPU alone; `None` when the CPU left it to the core.
    ///
    /// # Errors
    /// What the CPU did that no case may see.
    pub fn run_alone(&mut self, case: &Case) -> Result<Option<Outcome>, String> {
        self.put_memory(&case.memory_before);
        let ran = self.alone(&case.words, &case.before)?;
        let memory = self.memory();
        if let (None, [_]) = (&ran.0, &case.words[..])
            && (ran.1 != case.before || memory != case.memory_before)
        {
            return Err("a trap left a partial update".into());
        }
        Ok(ran.0.map(|end| Outcome {
            end,
            registers: ran.1,
            memory,
        }))
    }

    /// Runs a case under the core.
    ///
    /// # Errors
    /// What the core did that no case may see.
    pub fn run_in_vcpu(&mut self, case: &Case) -> Result<Outcome, String> {
        self.put_memory(&case.memory_before);
        let (end, registers) = self.under_core(&case.words, &case.before)?;
        Ok(Outcome {
            end,
            registers,
            memory: self.memory(),
        })
    }

    /// Runs code of problem state on the CPU alone, the pages mapped; no end when the CPU left an
    /// instruction to the core.
    ///
    /// # Errors
    /// What the CPU did that no program may see.
    pub fn alone(
        &mut self,
        words: &[u32],
        start: &Registers,
    ) -> Result<(Option<End>, Registers), String> {
        self.put_code(words);
        self.hw.cpu.clear(0);
        self.hw.cpu.select(Mode::new(0, 0), 0, 0);
        for page in PAGES.iter().filter(|p| p.attributes != LITTLE) {
            let mapping = Mapping {
                ea: page.ea,
                bytes: 4096,
                ram: page.ram,
                read: true,
                write: page.write,
                execute: page.execute,
                cached: page.attributes == 0,
            };
            self.hw.cpu.map(0, page.ea, &mapping);
        }
        let mut regs = start.regs();
        let trap = loop {
            // New code asks for attention once.
            match self.hw.cpu.enter(&mut regs, 10_000, &mut NoSupervisor) {
                Trap::Attention => {}
                trap => break trap,
            }
        };
        let at = regs.pc.wrapping_sub(CODE) as usize / 4;
        let end = match trap {
            Trap::Program { cause, word } => match cause {
                ProgramCause::Trap if at >= words.len() => Some(End::Done),
                ProgramCause::Trap => Some(End::Trap),
                // The time base is the core's, and so is an SPR that problem state does not have.
                ProgramCause::Privileged if is_spr(word) => None,
                ProgramCause::Privileged => Some(End::Privileged),
                ProgramCause::Illegal => Some(End::Illegal),
                ProgramCause::FloatingPoint => Some(End::FloatingPoint),
            },
            Trap::Fetch => Some(End::Done),
            Trap::Syscall => Some(End::SystemCall),
            Trap::FpUnavailable => Some(End::FpUnavailable),
            Trap::Data { word, .. } if words.get(at) == Some(&word) => None,
            Trap::Data { word, .. } => {
                return Err(format!("the trap names {word:08x}, which is not at its pc"));
            }
            Trap::Budget | Trap::Attention => return Err(DOES_NOT_END.into()),
        };
        Ok((end, Registers::of(&regs)))
    }

    /// Runs code under the core, one instruction at a time, until it leaves for elsewhere.
    ///
    /// # Errors
    /// What the core did that no program may see.
    pub fn under_core(
        &mut self,
        words: &[u32],
        start: &Registers,
    ) -> Result<(End, Registers), String> {
        self.put_code(words);
        let mut vcpu = self.vcpu();
        for (n, page) in PAGES.iter().enumerate() {
            vcpu.set_tlb(FIRST_ENTRY + n, entry(page));
        }
        let mut sprs = *vcpu.sprs();
        sprs.ivpr = IVPR;
        sprs.ivor = std::array::from_fn(|n| 0x100 * n as u32 + 0x10);
        vcpu.set_sprs(&self.hw, &sprs);
        vcpu.regs = start.regs();
        self.hw.entry = Leash {
            inside: (CODE, 4 * words.len() as u32),
            left: 10_000,
            slice: 1,
        };
        let exit = vcpu.run(&mut self.hw);
        let mut registers = Registers::of(&vcpu.regs);
        let end = match exit {
            Exit::Interrupted if self.is_over() => return Err(DOES_NOT_END.into()),
            Exit::Interrupted => interrupt(words, &vcpu, &mut registers)?,
            Exit::Wait { .. } => End::Wait,
            Exit::Reset { kind, .. } => End::Reset(match kind {
                ResetKind::Core => 1,
                ResetKind::Chip => 2,
                ResetKind::System => 3,
            }),
            Exit::Dcr {
                dcrn,
                write: true,
                data,
            } => End::DcrWrite(dcrn.into(), data),
            Exit::Dcr { dcrn, .. } => End::DcrRead(dcrn.into()),
            other => return Err(format!("{other:?}")),
        };
        Ok((end, registers))
    }

    /// A core over this machine's RAM, without translations.
    pub fn vcpu(&mut self) -> Vcpu {
        // What another core mapped is not this one's.
        for space in 0..SPACES {
            self.hw.cpu.clear(space as SpaceId);
        }
        let mut vcpu = Vcpu::new(PVR_440EP);
        let slot = Slot {
            gpa: 0,
            bytes: u64::from(RAM),
            ram: 0,
        };
        vcpu.add_slot(slot).expect("one slot fits");
        vcpu
    }

    /// Lets a core run anywhere for about so many instructions, in entries of up to `slice`.
    pub fn allow(&mut self, instructions: u32, slice: u32) {
        self.hw.entry = Leash {
            inside: (0, u32::MAX),
            left: instructions,
            slice,
        };
    }

    /// Whether what [`Machine::allow`] gave is used up.
    pub fn is_over(&self) -> bool {
        self.hw.entry.left == 0
    }
}

/// Which interrupt was taken, if one was. Its save registers, ESR and DEAR must be right; PC and
/// MSR become those from before it.
fn interrupt(words: &[u32], vcpu: &Vcpu, registers: &mut Registers) -> Result<End, String> {
    let regs = &vcpu.regs;
    let Some(n) = (0..16).find(|&n| regs.pc == vector(n)) else {
        return Ok(End::Done);
    };
    let word = words[(regs.srr0.wrapping_sub(CODE) / 4) as usize % words.len()];
    let (end, syndrome) = match (n, regs.esr & !(esr::ST | esr::FP)) {
        (2, _) => (End::Denied(regs.dear), data_syndrome(word)),
        (5, _) => (End::Alignment(regs.dear), data_syndrome(word)),
        (13, _) => (End::Miss(regs.dear), data_syndrome(word)),
        (6, esr::PIL) => (End::Illegal, esr::PIL),
        (6, esr::PPR) => (End::Privileged, esr::PPR),
        (6, esr::PTR) => (End::Trap, esr::PTR),
        (6, 0) => (End::FloatingPoint, esr::FP),
        (7, _) => (End::FpUnavailable, 0),
        (8, _) => (End::SystemCall, 0),
        _ => return Err(format!("interrupt {n}, ESR {:08x}", regs.esr)),
    };
    if regs.esr != syndrome {
        return Err(format!("ESR is {:08x}, not {syndrome:08x}", regs.esr));
    }
    let kept = regs.srr1 & msr::KEPT_NON_CRITICAL;
    if regs.msr != kept {
        return Err(format!("MSR is {:08x}, not {kept:08x}", regs.msr));
    }
    registers.0[PC] = regs.srr0.into();
    registers.0[MSR] = regs.srr1.into();
    Ok(end)
}

/// ESR of a data interrupt that this instruction causes (PPC440x5 user's manual, table 6-4).
fn data_syndrome(word: u32) -> u32 {
    let Some(insn) = decode(word) else { return 0 };
    let store = insn.flags().contains(Flags::STORE) || matches!(insn, Insn::Dcbz | Insn::Dcbi);
    let float = insn.flags().contains(Flags::FLOAT);
    (if store { esr::ST } else { 0 }) | if float { esr::FP } else { 0 }
}

fn is_spr(word: u32) -> bool {
    matches!(decode(word), Some(Insn::Mfspr | Insn::Mtspr | Insn::Mftb))
}

fn entry(page: &Page) -> Tlbe {
    // Reading and, as the page allows, writing and executing, in both states; 4 KiB.
    let permissions =
        0x09 | if page.write { 0x12 } else { 0 } | if page.execute { 0x24 } else { 0 };
    Tlbe {
        tid: 0,
        word0: TlbWord0::from(page.ea | 0x210),
        word1: TlbWord1::from(page.ram),
        word2: TlbWord2::from(page.attributes | permissions),
    }
}

fn ram_of(ea: u32) -> u32 {
    let page = page_at(ea).expect("windows are in pages");
    page.ram + (ea - page.ea)
}
