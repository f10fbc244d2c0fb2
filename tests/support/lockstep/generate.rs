//! Random guests: code, data, translations of every kind, interrupts, and how it is cut up.

use ppc440_isa::tlb::{ENTRIES, TlbWord0, TlbWord1, TlbWord2, Tlbe};
use ppc440_isa::{Cr, Regs, Xer};
use ppc440_kvm::{PVR_440EP, Sprs, TimerState};

use super::guest::{Guest, LOADED, RAM, Step, Then};
use super::program::{
    STARTS, debug_control, handler, integer_loads, load_constant, machine_state, neighbours, spot,
    timer_control, unit,
};
use crate::support::random::{Random, double, integer, single};

/// Leads to RAM 0 in 4 KiB pages or one of 16: the program itself.
pub const CODE: u32 = 0x0100_0000;
/// Leads there too, for both states, writable.
pub const ALIAS: u32 = 0x0200_0000;
/// All of RAM, and what follows it in a larger page.
pub const BIG: u32 = 0x8000_0000;
/// All of RAM for the supervisor, and 256 MiB further for programs.
const LARGE: u32 = 0x9000_0000;
/// The handlers, in the first page of RAM.
const VECTORS: u32 = 0x7000_0000;

/// Where the data begins in RAM; before it are handlers and three pages of code.
const DATA: u32 = 0x4000;

/// Permissions of both states, in TLB word 2.
const RWX: u32 = 0x3F;
const RW: u32 = 0x1B;
const RX: u32 = 0x2D;
const READ: u32 = 0x09;
const INHIBITED: u32 = 0x400;
const LITTLE: u32 = 0x80;

fn entry(ea: u32, size: u32, ram: u32, word2: u32) -> Tlbe {
    Tlbe {
        tid: 0,
        word0: TlbWord0::from(ea | 0x200 | size << 4),
        word1: TlbWord1::from(ram),
        word2: TlbWord2::from(word2),
    }
}

/// In the other address space.
fn other(entry: Tlbe) -> Tlbe {
    Tlbe {
        word0: TlbWord0::from(u32::from(entry.word0) | 0x100),
        ..entry
    }
}

/// For one process.
fn of(tid: u8, entry: Tlbe) -> Tlbe {
    Tlbe { tid, ..entry }
}

/// A translation near the others, of any kind.
pub fn any_entry(random: &mut Random) -> Tlbe {
    let ea = match random.below(8) {
        0 => random.word(),
        1 | 2 => CODE + 0x1000 * random.below(4),
        3 => ALIAS + 0x1000 * random.below(4),
        4 => BIG + 0x10_0000 * random.below(4),
        _ => 0x2000_0000 + 0x400 * random.below(0x30),
    };
    let size = random.of(&[0, 0, 1, 1, 1, 1, 2, 3, 5, 7, 9, 4, 6]);
    let ram = match random.below(10) {
        0 => random.word(),
        1 => 0,
        _ => random.below(LOADED),
    };
    let attributes = match random.below(6) {
        0 => random.word() & 0xFFC0,
        1 => random.of(&[INHIBITED, LITTLE]),
        _ => 0,
    };
    let allowed = random.of(&[RWX, RWX, RWX, RW, RX, READ, random.0 as u32 & RWX]);
    let mut entry = entry(ea & !0x3FF, size, ram & !0x3FF, attributes | allowed);
    entry.tid = random.of(&[0, 0, 0, 0, 1, 2]);
    if random.one_in(10) {
        entry = other(entry);
    }
    if random.one_in(12) {
        entry.word0 = TlbWord0::from(u32::from(entry.word0) & !0x200);
    }
    entry
}

fn tlb(random: &mut Random) -> [Tlbe; ENTRIES] {
    let mut all = [Tlbe::default(); ENTRIES];
    let code = random.of(&[RX, RX, RWX]);
    let mut entries = vec![entry(VECTORS, 1, 0, random.of(&[0x07, 0x05, RWX]))];
    if random.one_in(2) {
        entries.push(entry(CODE, 2, 0, code));
    } else {
        entries.extend((0..4).map(|n| entry(CODE + 0x1000 * n, 1, 0x1000 * n, code)));
    }
    entries.resize(8, Tlbe::default());
    let big = random.of(&[5, 5, 7, 9]);
    entries.extend([
        entry(ALIAS, 2, 0, RWX),
        entry(
            BIG,
            big,
            0,
            random.of(&[0x07, 0x07, RWX, RW, 0x03, INHIBITED | RWX]),
        ),
        entry(0x2000_0000, 1, 0x4000, RW),
        entry(0x2000_1000, 1, random.of(&[0x5000, 0x7000]), RW),
        entry(0x2000_3000, 1, 0x6000, READ),
        entry(0x2000_5000, 1, 0x8000, INHIBITED | RW),
        entry(0x2000_7000, 1, 0x9000, LITTLE | RW),
        entry(0x2000_8000, 0, 0xA000, RW),
        entry(0x2000_8400, 0, 0xB800, random.of(&[RW, READ, LITTLE | RW])),
        entry(0x2000_8800, 0, 0xA400, READ),
        entry(0x2001_0000, 2, 0xC000, random.of(&[RW, RWX])),
        entry(0x3000_0000, 1, 0x4000, random.of(&[0x18, 0x03, 0x3F])),
        // UART0, and nothing behind it.
        Tlbe {
            word1: TlbWord1::from(0xEF60_0000 | random.below(2)),
            ..entry(0x4000_0000, 1, 0, 0x500 | RW)
        },
        entry(0x5000_0000, 0, 0x1000, RX),
        entry(0x5000_1000, 1, 0x2000, LITTLE | RX),
        of(1, entry(0x2100_0000, 1, 0x4000, RW)),
        of(2, entry(0x2100_0000, 1, 0x5000, RW)),
        other(entry(CODE, 2, 0, RWX)),
        other(entry(0x2000_0000, 1, 0xB000, RW)),
        other(entry(BIG, 5, 0, RWX)),
    ]);
    for (slot, entry) in all.iter_mut().zip(entries) {
        *slot = entry;
    }
    // Some are missing, and some are something else.
    for slot in all.iter_mut().skip(8) {
        match random.below(24) {
            0 => *slot = any_entry(random),
            1 => *slot = Tlbe::default(),
            _ => {}
        }
    }
    all
}

/// Numbers of every kind, where programs find them.
fn data(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => double(random),
        1 => u64::from(single(random)) << 32 | u64::from(single(random)),
        2 => u64::from(integer(random)) << 32 | u64::from(integer(random)),
        _ => random.bits(),
    }
}

fn words(random: &mut Random) -> Vec<u32> {
    let mut words = vec![0; LOADED as usize / 4];
    for pair in words[DATA as usize / 4..].chunks_exact_mut(2) {
        let value = data(random);
        (pair[0], pair[1]) = ((value >> 32) as u32, value as u32);
    }
    // Wherever a program runs out of code it goes back to the beginning.
    let first = STARTS[0];
    for ram in (first..DATA).step_by(4) {
        words[ram as usize / 4] = 18 << 26 | first.wrapping_sub(ram) & 0x03FF_FFFC;
    }
    let ends = STARTS[1..].iter().copied().chain([0x3080]);
    for (start, end) in STARTS.into_iter().zip(ends) {
        let length = random.of(&[12, 40, 120]).min((end - start) / 4) as usize;
        let mut code = Vec::new();
        while code.len() < length {
            let ram = start + 4 * code.len() as u32;
            code.extend(unit(random, ram));
        }
        code.truncate(length);
        let at = start as usize / 4;
        words[at..at + length].copy_from_slice(&code);
        // Most go on into the next.
        if !random.one_in(4) {
            words[at + length..end as usize / 4].fill(0x6000_0000);
        }
    }
    for n in 0..16 {
        let at = 0x40 * n as usize;
        let code = handler(random, n, 4 * at as u32);
        words[at..at + code.len()].copy_from_slice(&code);
    }
    words
}

fn regs(random: &mut Random) -> Regs {
    let mut regs = Regs {
        gpr: std::array::from_fn(|_| integer(random)),
        fpr: std::array::from_fn(|_| double(random)),
        pc: CODE + STARTS[0],
        lr: CODE + random.of(&STARTS),
        ctr: random.below(8),
        cr: Cr::from_word(random.word()),
        xer: Xer::from_word(random.word()),
        msr: machine_state(random),
        fpscr: random.word() & 0x0007_F0FB & !(random.word() & 0xF8),
        ..Regs::default()
    };
    for pointer in &mut regs.gpr[26..] {
        *pointer = spot(random);
    }
    regs.gpr[24] = random.below(64);
    regs.gpr[25] = 4 * random.below(16);
    regs
}

fn step(random: &mut Random) -> Step {
    let instructions = match random.below(4) {
        0 => 1 + random.below(8),
        1 | 2 => 1 + random.below(60),
        _ => 1 + random.below(600),
    };
    let then = match random.below(16) {
        0 | 1 => Then::External(true),
        2 | 3 => Then::External(false),
        4 => Then::Critical(true),
        5 | 6 => Then::Critical(false),
        13 => Then::Inject,
        7 | 8 => Then::MachineCheck,
        9 => Then::Write {
            ram: random.below(LOADED - 64),
            bytes: (0..1 + random.below(32))
                .map(|_| random.word() as u8)
                .collect(),
        },
        // A device changes code.
        10 => {
            let ram = random.of(&STARTS) + 4 * random.below(40);
            let bytes = unit(random, ram)
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .collect();
            Then::Write { ram, bytes }
        }
        11 => Then::SetTlb(8 + random.below(56) as usize, any_entry(random)),
        12 => Then::State,
        _ => Then::Nothing,
    };
    Step { instructions, then }
}

/// A guest that loads and stores near few addresses wherever code begins.
pub fn guest_of_neighbours(random: &mut Random) -> Guest {
    let mut guest = guest(random);
    for start in STARTS {
        let mut at = start as usize / 4;
        // Not so far that it meets the next beginning or the end of code.
        for _ in 0..3 {
            for word in neighbours(random) {
                guest.words[at] = word;
                at += 1;
            }
        }
    }
    guest
}

/// An address in, at the edges of, or beside one of the two large pages.
fn large_spot(random: &mut Random) -> u32 {
    let page = LARGE + random.of(&[0, 0, 0, 0x1000_0000]);
    let offset = match random.below(4) {
        0 => 0x4000 + random.below(LOADED - 0x4000),
        1 => (0x5000 + 0x1000 * random.below(8)).wrapping_sub(random.below(12)),
        2 => RAM - random.below(200),
        _ => random.below(48).wrapping_sub(40),
    };
    page.wrapping_add(offset)
}

/// A guest whose supervisor loads from a page as large as RAM wherever code begins; so do programs,
/// from another one.
pub fn guest_of_large_pages(random: &mut Random) -> Guest {
    let mut guest = guest(random);
    let size = random.of(&[5, 5, 5, 7]);
    guest.tlb[4] = entry(LARGE, size, 0, random.of(&[0x01, 0x03, 0x07, 0x06, RW]));
    guest.tlb[5] = entry(LARGE + 0x1000_0000, size, 0, random.of(&[0x08, 0x18, RW]));
    for start in STARTS {
        let mut code = Vec::new();
        for register in 26..29 {
            code.extend(load_constant(register, large_spot(random)));
        }
        code.extend(integer_loads(random, 12));
        code.extend(neighbours(random));
        let at = start as usize / 4;
        guest.words[at..at + code.len()].copy_from_slice(&code);
    }
    guest
}

/// A guest; the same for the same state of `random`.
pub fn guest(random: &mut Random) -> Guest {
    let mut regs = regs(random);
    regs.pid = random.of(&[0, 0, 1, 2]);
    (regs.srr0, regs.srr1) = (CODE + STARTS[0], machine_state(random));
    (regs.csrr0, regs.csrr1) = (CODE + STARTS[1], machine_state(random));
    let (mcsrr0, mcsrr1) = (CODE + STARTS[2], machine_state(random));
    regs.mmucr = random.below(3);
    let mut sprs = Sprs {
        pvr: PVR_440EP,
        mcsrr0,
        mcsrr1,
        ivpr: VECTORS,
        ivor: std::array::from_fn(|n| 0x100 * n as u32),
        ..Sprs::default()
    };
    if random.one_in(8) {
        sprs.dbcr0 = debug_control(random);
        sprs.iac = std::array::from_fn(|_| CODE + random.of(&STARTS) + 4 * random.below(20));
        sprs.dac = std::array::from_fn(|_| 0x2000_0800 + random.below(16));
    }
    if random.one_in(12) {
        sprs.ccr0 = random.word();
    }
    let timers = TimerState {
        // Near where its bits rise.
        tb: u64::from(
            random
                .of(&[0u32, 1 << 12, 1 << 16, 1 << 24])
                .wrapping_sub(random.below(400)),
        ),
        dec: random.of(&[0, 0, 1, 2]) * random.below(200),
        decar: random.below(100),
        tcr: timer_control(random),
        tsr: 0,
        watchdog_reset: None,
    };
    let cuts = match random.below(4) {
        0 => vec![u32::MAX],
        1 => vec![1],
        2 => (0..7).map(|_| 1 + random.below(5)).collect(),
        _ => (0..16).map(|_| 1 + random.below(64)).collect(),
    };
    Guest {
        words: words(random),
        tlb: tlb(random),
        regs,
        sprs,
        timers,
        restart: CODE + random.of(&STARTS),
        steps: (0..10 + random.below(30)).map(|_| step(random)).collect(),
        cuts,
    }
}
