// A CPU with some pages, and words to run in them.

use std::sync::Arc;

use ppc440_cpu::{Clock, Cpu, GuestMemory, Pins, Region, memory_file};
use ppc440_isa::{
    Access, Mapping, Mode, NoSupervisor, ProgramCause, Regs, Spaces, Supervisor, TlbWrite,
    TlbWrites, Trap, regs::msr,
};
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

const RAM: u32 = 1 << 20;

const NOP: u32 = 0x6000_0000;
const SC: u32 = 0x4400_0002;
const BLR: u32 = 0x4E80_0020;
const ISYNC: u32 = 0x4C00_012C;
const RFI: u32 = 0x4C00_0064;
const MFLR_R0: u32 = 0x7C08_02A6;
const MTLR_R0: u32 = 0x7C08_03A6;
/// `bctr`
const BCTR: u32 = 0x4E80_0420;
/// `bctrl`
const BCTRL: u32 = 0x4E80_0421;

fn d_form(opcode: u32, rt: u32, ra: u32, d: i16) -> u32 {
    opcode << 26 | rt << 21 | ra << 16 | u32::from(d as u16)
}
fn x_form(rt: u32, ra: u32, rb: u32, xo: u32) -> u32 {
    31 << 26 | rt << 21 | ra << 16 | rb << 11 | xo << 1
}
fn addi(rt: u32, ra: u32, d: i16) -> u32 {
    d_form(14, rt, ra, d)
}
fn lwz(rt: u32, ra: u32, d: i16) -> u32 {
    d_form(32, rt, ra, d)
}
fn stw(rs: u32, ra: u32, d: i16) -> u32 {
    d_form(36, rs, ra, d)
}
/// `b`, relative to itself.
fn b(displacement: i32) -> u32 {
    18 << 26 | displacement as u32 & 0x03FF_FFFC
}
/// `bl`, relative to itself.
fn bl(displacement: i32) -> u32 {
    b(displacement) | 1
}
fn bdnz(displacement: i16) -> u32 {
    16 << 26 | 16 << 21 | u32::from(displacement as u16) & 0xFFFC
}

fn mtctr(rs: u32) -> u32 {
    x_form(rs, 9, 0, 467)
}

struct Machine {
    cpu: Cpu,
    regs: Regs,
    pins: Pins,
    region: Arc<Region>,
}

impl Machine {
    /// A CPU whose pages 0 to 15 are mapped one to one, with `words` at 0x1000.
    fn new(words: &[u32]) -> Self {
        let region = match WINDOWS {
            Some(_) => memory_file(RAM as usize).expect("a memory file"),
            None => Region::new(RAM as usize).expect("anonymous memory"),
        };
        let region = Arc::new(region);
        let pins = Pins::new();
        let cpu = Cpu::new(region.clone(), pins.clone(), Clock::Virtual, 1, ENGINE);
        let mut cpu = cpu.expect("a CPU");
        cpu.translate_at_once();
        if let Some(windows) = WINDOWS {
            cpu.set_windows(windows);
        }
        let mut machine = Machine {
            cpu,
            regs: Regs {
                pc: 0x1000,
                ..Regs::default()
            },
            pins,
            region,
        };
        for page in 0..16 {
            machine.map(page << 12, page << 12, true);
        }
        machine.write(0x1000, words);
        machine
    }

    fn map(&mut self, ea: u32, ram: u32, write: bool) {
        let mapping = Mapping {
            write,
            ..Mapping::page(ea, ram)
        };
        self.cpu.map(0, ea, &mapping);
    }

    fn write(&mut self, at: u32, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert!(self.cpu.store(at, &bytes));
    }

    fn word(&mut self, at: u32) -> u32 {
        let mut bytes = [0; 4];
        assert!(self.cpu.load(at, &mut bytes));
        u32::from_be_bytes(bytes)
    }

    /// Whether anything made of code was forgotten because it was written over.
    fn forgot_code(&self) -> bool {
        let translated = self.cpu.translator_statistics();
        self.cpu.statistics().invalidated + translated.map_or(0, |code| code.invalidated) != 0
    }

    fn enter(&mut self) -> Trap {
        self.enter_for(1_000_000)
    }

    fn enter_for(&mut self, budget: u32) -> Trap {
        self.cpu.enter(&mut self.regs, budget, &mut NoSupervisor)
    }
}
