//! A guest whose code runs much, in windows if there are any.

use std::sync::Arc;

use ppc440_cpu::{Clock, Cpu, Execution, Pins, memory_file};
use ppc440_isa::{Mapping, NoSupervisor, Regs, Trap};

const DATA: u32 = 0x8000_0000;
const LAPS: u32 = 200_000;

/// Adds up a word LAPS times.
const PROGRAM: [u32; 5] = [
    0x8085_0010, // lwz r4,16(r5)
    0x7C63_2214, // add r3,r3,r4
    0x9065_0020, // stw r3,32(r5)
    0x4200_FFF4, // bdnz to the start
    0x4400_0002, // sc
];

/// Runs the guest to its end and returns its CPU.
pub fn run(execution: impl Into<Execution>) -> Cpu {
    let ram = Arc::new(memory_file(1 << 20).expect("a memory file"));
    let cpu = Cpu::new(ram, Pins::new(), Clock::Virtual, 1, execution);
    let mut cpu = cpu.expect("a CPU");
    let bytes: Vec<u8> = PROGRAM.iter().flat_map(|word| word.to_be_bytes()).collect();
    assert!(cpu.store(0, &bytes) && cpu.store(0x3010, &7u32.to_be_bytes()));
    cpu.map(0, 0, &Mapping::page(0, 0));
    cpu.map(0, DATA, &Mapping::page(DATA, 0x3000));
    let mut regs = Regs {
        ctr: LAPS,
        ..Regs::default()
    };
    regs.gpr[5] = DATA;
    let trap = cpu.enter(&mut regs, 10 * LAPS, &mut NoSupervisor);
    assert_eq!((trap, regs.gpr[3]), (Trap::Syscall, 7 * LAPS));
    cpu
}

/// Pages that the guest had shown; `None` without windows.
pub fn shown(cpu: &Cpu) -> Option<u64> {
    let statistics = cpu.translator_statistics().expect("a translator");
    statistics.shown_pages
}
