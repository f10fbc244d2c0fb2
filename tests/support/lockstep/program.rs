//! Random code for a whole machine: supervisor state too, loops, and addresses where things happen.
//!
//! By convention, which instructions keep to most of the time: r26-r31 point to [`SPOTS`], r24 and
//! r25 hold small offsets, and r20-r23 belong to sequences that need a value before an instruction.

use ppc440_isa::regs::{dbcr0, msr, tcr};
use ppc440_isa::tlb::ENTRIES;
use ppc440_isa::{Flags, Insn, Operand, spr};

use super::generate::{ALIAS, BIG, CODE, any_entry};
use super::guest::LOADED;
use crate::support::random::Random;

/// Addresses whose surroundings are worth an access: middles and ends of pages of each kind.
const SPOTS: [u32; 30] = [
    0x2000_0800,
    0x2000_0FF8,
    0x2000_1000,
    0x2000_1FF0,
    0x2000_2004,
    0x2000_3010,
    0x2000_2FFC,
    0x2000_5020,
    0x2000_5FFC,
    0x2000_7010,
    0x2000_6FFD,
    0x2000_7FFA,
    0x2000_8200,
    0x2000_83FC,
    0x2000_8810,
    0x2000_8BFA,
    0x2001_0000,
    0x2001_1FFC,
    0x2001_3FF8,
    0x2100_0100,
    0x2100_0FFF,
    0x3000_0800,
    0x4000_0300,
    BIG + 0x4800,
    BIG + 0x4FFE,
    BIG + 0xF_FFF8,
    BIG + 0x1100,
    CODE + 0x1080,
    ALIAS + 0x1100,
    ALIAS + 0x2000,
];

/// What most programs are made of, beside the whole table.
const COMMON: [Insn; 26] = [
    Insn::Addi,
    Insn::Add,
    Insn::Addic,
    Insn::Adde,
    Insn::Subf,
    Insn::Cmp,
    Insn::Cmpi,
    Insn::Cmpli,
    Insn::Rlwinm,
    Insn::Or,
    Insn::Andi,
    Insn::Lwz,
    Insn::Stw,
    Insn::Lbz,
    Insn::Stb,
    Insn::Lwzx,
    Insn::Stwx,
    Insn::Lwzu,
    Insn::Stwu,
    Insn::Lfd,
    Insn::Stfd,
    Insn::Fadd,
    Insn::Fmadd,
    Insn::Fmuls,
    Insn::Bc,
    Insn::Bc,
];

/// How many of [`COMMON`], from the first, only calculate with integers.
const INTEGERS: usize = 11;

/// Where interrupt handlers and branches go: the beginnings of code.
pub const STARTS: [u32; 4] = [0x1000, 0x1F80, 0x2040, 0x2FA0];

/// An address at or near one where something happens.
pub fn spot(random: &mut Random) -> u32 {
    let near = random.below(17).wrapping_sub(8);
    random.of(&SPOTS).wrapping_add(near)
}

/// A register that loops, addresses and sequences do not need.
fn plain(random: &mut Random) -> u32 {
    random.below(20)
}

fn set(word: &mut u32, operand: Operand, value: u32) {
    let bits = operand.bits();
    *word = *word & !bits | value << bits.trailing_zeros() & bits;
}

/// `li`, or `lis` and `ori`.
pub fn load_constant(rt: u32, value: u32) -> Vec<u32> {
    match value {
        0..0x8000 => vec![14 << 26 | rt << 21 | value],
        _ => vec![
            15 << 26 | rt << 21 | value >> 16,
            24 << 26 | rt << 21 | rt << 16 | value & 0xFFFF,
        ],
    }
}

fn spr_field(number: u32) -> u32 {
    (number & 31) << 16 | (number >> 5) << 11
}

pub fn mtspr(number: u32, rs: u32) -> u32 {
    Insn::Mtspr.pattern().1 | rs << 21 | spr_field(number)
}

pub fn mfspr(rt: u32, number: u32) -> u32 {
    Insn::Mfspr.pattern().1 | rt << 21 | spr_field(number)
}

/// `mtspr` of a constant through r22.
fn set_spr(number: u32, value: u32) -> Vec<u32> {
    let mut words = load_constant(22, value);
    words.push(mtspr(number, 22));
    words
}

/// An MSR in which a program gets somewhere.
pub fn machine_state(random: &mut Random) -> u32 {
    let all = [
        (msr::CE, 2),
        (msr::EE, 2),
        (msr::ME, 2),
        (msr::DE, 3),
        (msr::PR, 3),
        (msr::FE0, 2),
        (msr::FE1, 2),
        (msr::IS, 12),
        (msr::DS, 8),
        (msr::WE, 60),
        (msr::DWE, 30),
    ];
    let mut value = if random.one_in(10) { 0 } else { msr::FP };
    for (bit, n) in all {
        value |= if random.one_in(n) { bit } else { 0 };
    }
    value |= random.of(&[0, msr::EE]);
    value
}

/// Where code is, by one of the addresses that lead there.
fn code_address(random: &mut Random) -> u32 {
    let base = random.of(&[CODE, CODE, CODE, ALIAS, BIG, 0x5000_0000 - 0x1000]);
    base + random.of(&STARTS) + 4 * random.below(24)
}

/// One instruction, or one after what it needs. `ram` is where it will be.
pub fn unit(random: &mut Random, ram: u32) -> Vec<u32> {
    match random.below(100) {
        0..46 => {
            let insn = random.of(Insn::ALL);
            instruction(random, insn)
        }
        46..68 => {
            let insn = random.of(&COMMON);
            instruction(random, insn)
        }
        68..76 => {
            let address = spot(random);
            load_constant(26 + random.below(6), address)
        }
        76..78 => load_constant(
            24 + random.below(2),
            random.below(64) * random.of(&[1, 4, 8]),
        ),
        78..82 => counted_loop(random),
        82..85 => far_branch(random),
        85..89 => change_code(random, ram),
        89..92 => write_tlb(random),
        92..94 => return_from_interrupt(random),
        94..96 => {
            let mut words = load_constant(22, machine_state(random));
            words.push(Insn::Mtmsr.pattern().1 | 22 << 21);
            words
        }
        96..99 => special_register(random),
        // `sc`, or anything.
        _ => vec![random.of(&[Insn::Sc.pattern().1, Insn::Sc.pattern().1, random.0 as u32])],
    }
}

/// An instruction with operands by the convention.
fn instruction(random: &mut Random, insn: Insn) -> Vec<u32> {
    use Insn::*;
    let mut word = insn.pattern().1 | random.word() & insn.operand_bits();
    // Now and then as it comes.
    if random.one_in(20) {
        return vec![word];
    }
    let has = |operand| insn.operands().contains(&operand);
    let memory = insn.flags().intersects(Flags::LOAD.union(Flags::STORE));
    let cache = matches!(
        insn,
        Dcba | Dcbf | Dcbi | Dcbst | Dcbz | Dcbt | Dcbtst | Icbi | Icbt
    );
    if memory || cache {
        let base = 26 + random.below(6);
        if has(Operand::D) {
            let step = random.of(&[1, 2, 4, 4, 8, 8]);
            let d = (random.below(64 / step) * step).wrapping_sub(32);
            set(&mut word, Operand::D, base << 16 | d & 0xFFFF);
        } else {
            let ra = if has(Operand::Ra) {
                Operand::Ra
            } else {
                Operand::Ra0
            };
            set(&mut word, ra, if random.one_in(8) { 0 } else { base });
            if has(Operand::Rb) {
                set(&mut word, Operand::Rb, 24 + random.below(2));
            }
        }
    }
    match insn {
        // Many registers at once would take the pointers away.
        Lmw if !random.one_in(4) => set(&mut word, Operand::Rt, 28 + random.below(4)),
        Lswx => {
            let mut words = set_spr(spr::XER, random.below(20));
            set(&mut word, Operand::Rt, plain(random));
            words.push(word);
            return words;
        }
        B | Bc => {
            let near = random.below(40).wrapping_sub(16);
            let operand = if insn == B { Operand::Li } else { Operand::Bd };
            set(&mut word, operand, near);
            word &= !Operand::Aa.bits();
        }
        Sc | Tw | Twi | Rfi | Rfci | Rfmci if !random.one_in(4) => return Vec::new(),
        Mtmsr => return Vec::new(),
        Mtspr | Mfspr => {
            let number = random.of(spr::ALL).0;
            // Handlers stay where they are, and a reset is rare.
            let vector = number == spr::IVPR || (spr::IVOR0..=spr::IVOR15).contains(&number);
            if insn == Mtspr && (vector || number == spr::DBCR0 || number == spr::TCR) {
                return Vec::new();
            }
            set(&mut word, Operand::Spr, (number & 31) << 5 | number >> 5);
        }
        Tlbwe => return write_tlb(random),
        Tlbre => {
            let mut words = load_constant(20, random.below(ENTRIES as u32));
            set(&mut word, Operand::Ra, 20);
            set(&mut word, Operand::Ws, random.below(3));
            words.push(word);
            return words;
        }
        _ => {}
    }
    if has(Operand::Rt) && !matches!(insn, Lmw | Lswx) {
        set(&mut word, Operand::Rt, plain(random));
    } else if has(Operand::Ra) && !memory && !cache && insn.operands()[0] == Operand::Ra {
        set(&mut word, Operand::Ra, plain(random));
    }
    vec![word]
}

/// Loads and stores at small offsets from few bases, and what may come between them.
pub fn neighbours(random: &mut Random) -> Vec<u32> {
    const ACCESSES: [Insn; 8] = [
        Insn::Lwz,
        Insn::Lwz,
        Insn::Stw,
        Insn::Stw,
        Insn::Lhz,
        Insn::Lha,
        Insn::Lbz,
        Insn::Stb,
    ];
    let bases = [26 + random.below(6), 26 + random.below(6)];
    let step = random.of(&[4, 4, 4, 2, 1]);
    let mut words = Vec::new();
    for _ in 0..4 + random.below(12) {
        let base = random.of(&bases);
        if random.one_in(4) {
            words.extend(match random.below(6) {
                0 => vec![Insn::Addi.pattern().1 | plain(random) << 21 | base << 16 | 8],
                1 => vec![Insn::Or.pattern().1 | base << 21 | plain(random) << 16 | base << 11],
                2 => vec![Insn::Lwzx.pattern().1 | plain(random) << 21 | base << 16 | 24 << 11],
                3 => vec![Insn::Cmpi.pattern().1 | plain(random) << 16],
                4 => vec![Insn::Addi.pattern().1 | base << 21 | base << 16 | 4],
                // Over the next instruction or two.
                _ => vec![Insn::Bc.pattern().1 | 12 << 21 | 2 << 16 | random.of(&[8, 12])],
            });
            continue;
        }
        let insn = random.of(&ACCESSES);
        let displacement = random.below(16).wrapping_sub(4).wrapping_mul(step) & 0xFFFF;
        // Now and then a load is the end of its base.
        let register = if random.one_in(12) {
            base
        } else {
            plain(random)
        };
        words.push(insn.pattern().1 | register << 21 | base << 16 | displacement);
    }
    words
}

/// So many integer loads, each of one unit, of every form.
pub fn integer_loads(random: &mut Random, count: usize) -> Vec<u32> {
    const LOADS: [Insn; 20] = [
        Insn::Lbz,
        Insn::Lbzu,
        Insn::Lbzx,
        Insn::Lbzux,
        Insn::Lhz,
        Insn::Lhzu,
        Insn::Lhzx,
        Insn::Lhzux,
        Insn::Lha,
        Insn::Lhau,
        Insn::Lhax,
        Insn::Lhaux,
        Insn::Lhbrx,
        Insn::Lwz,
        Insn::Lwzu,
        Insn::Lwzx,
        Insn::Lwzux,
        Insn::Lwz,
        Insn::Lwbrx,
        Insn::Lwarx,
    ];
    let mut one = || {
        let insn = random.of(&LOADS);
        instruction(random, insn)
    };
    (0..count).flat_map(|_| one()).collect()
}

/// `mtctr`, some instructions, `bdnz`.
fn counted_loop(random: &mut Random) -> Vec<u32> {
    let mut words = load_constant(22, 1 + random.below(12));
    words.push(mtspr(spr::CTR, 22));
    let first = words.len();
    for _ in 0..1 + random.below(4) {
        let insn = random.of(&COMMON);
        words.extend(instruction(random, insn));
    }
    let back = (first as u32).wrapping_sub(words.len() as u32) & 0x3FFF;
    words.push(16 << 26 | 16 << 21 | back << 2);
    words
}

fn far_branch(random: &mut Random) -> Vec<u32> {
    let address = code_address(random);
    let link = random.below(2);
    match random.below(3) {
        0 => {
            let mut words = set_spr(spr::LR, address);
            words.push(Insn::Bclr.pattern().1 | 20 << 21 | link);
            words
        }
        1 => {
            let mut words = set_spr(spr::CTR, address);
            words.push(Insn::Bcctr.pattern().1 | 20 << 21 | link);
            words
        }
        // A return to the last call.
        _ => vec![Insn::Bclr.pattern().1 | random.of(&[20, 20, 12, 4]) << 21],
    }
}

/// A store into code near by, with or without what the manual wants after it.
fn change_code(random: &mut Random, ram: u32) -> Vec<u32> {
    let near = ram.wrapping_add(4 * random.below(24)).wrapping_sub(16) & 0x3FFC;
    let mut words = load_constant(22, random.of(&[CODE, ALIAS, BIG, BIG]) + near);
    let insn = random.of(Insn::ALL);
    let new = instruction(random, insn)
        .last()
        .copied()
        .unwrap_or(0x6000_0000);
    words.extend(load_constant(21, new));
    let address = 22 << 16;
    words.push(match random.below(6) {
        // One byte of it: other operands.
        0 => Insn::Stb.pattern().1 | 21 << 21 | address | 3,
        1 => Insn::Sth.pattern().1 | 21 << 21 | address | 2,
        2 => Insn::Stmw.pattern().1 | 29 << 21 | address,
        _ => Insn::Stw.pattern().1 | 21 << 21 | address,
    });
    if random.one_in(3) {
        for insn in [Insn::Dcbst, Insn::Msync, Insn::Icbi] {
            words.push(insn.pattern().1 | if insn == Insn::Msync { 0 } else { 22 << 11 });
        }
    }
    if random.one_in(2) {
        words.push(Insn::Isync.pattern().1);
    }
    words
}

/// One to three words of a TLB entry, now and then of one that runs this.
fn write_tlb(random: &mut Random) -> Vec<u32> {
    let index = match random.below(8) {
        0 => random.below(8),
        1 => random.below(ENTRIES as u32),
        _ => 8 + random.below(24),
    };
    let entry = any_entry(random);
    let mut words = load_constant(20, index);
    if random.one_in(3) {
        words.extend(set_spr(spr::MMUCR, u32::from(entry.tid)));
    }
    let all = [entry.word0.into(), entry.word1.into(), entry.word2.into()];
    for (ws, value) in all.into_iter().enumerate() {
        if random.one_in(4) {
            continue;
        }
        words.extend(load_constant(21, value));
        words.push(Insn::Tlbwe.pattern().1 | 21 << 21 | 20 << 16 | (ws as u32) << 11);
    }
    if random.one_in(2) {
        words.push(Insn::Isync.pattern().1);
    }
    words
}

fn return_from_interrupt(random: &mut Random) -> Vec<u32> {
    let (insn, address, state) = random.of(&[
        (Insn::Rfi, spr::SRR0, spr::SRR1),
        (Insn::Rfci, spr::CSRR0, spr::CSRR1),
        (Insn::Rfmci, spr::MCSRR0, spr::MCSRR1),
    ]);
    let mut words = set_spr(address, code_address(random));
    words.extend(set_spr(state, machine_state(random)));
    words.push(insn.pattern().1);
    words
}

fn special_register(random: &mut Random) -> Vec<u32> {
    match random.below(8) {
        0..3 => set_spr(spr::PID, random.below(3)),
        3 => set_spr(spr::DEC, random.below(60)),
        4 => set_spr(spr::TCR, timer_control(random)),
        5 => set_spr(spr::TSR, 0xFFFF_FFFF),
        6 => set_spr(spr::DBSR, 0xFFFF_FFFF),
        _ => set_spr(spr::MMUCR, random.below(3) | random.of(&[0, 0, 0x1_0000])),
    }
}

/// Decrementer, reload, fixed interval and watchdog, as they come; a watchdog reset is rare.
pub fn timer_control(random: &mut Random) -> u32 {
    let reset = if random.one_in(30) { tcr::WRC } else { 0 };
    random.word() & tcr::IMPLEMENTED & (!tcr::WRC | reset)
}

/// Debug events as they come; a reset is rare.
pub fn debug_control(random: &mut Random) -> u32 {
    random.word() & random.word() & !dbcr0::RST | dbcr0::IDM
}

/// The handler of interrupt `n`, of at most 64 words: something, and then back to the program.
pub fn handler(random: &mut Random, n: u32, ram: u32) -> Vec<u32> {
    let mut words = Vec::new();
    // One that faults itself does not come back, and is rare; of floating point that is all.
    while n != 7 && words.len() < 20 && random.one_in(2) {
        let at = ram + 4 * words.len() as u32;
        let more = match random.below(16) {
            0 => unit(random, at),
            1 => write_tlb(random),
            2 => {
                let insn = random.of(&COMMON);
                instruction(random, insn)
            }
            _ => {
                let insn = random.of(&COMMON[..INTEGERS]);
                instruction(random, insn)
            }
        };
        words.extend(more);
    }
    let (insn, address, state) = match n {
        0 | 12 | 15 => (Insn::Rfci, spr::CSRR0, spr::CSRR1),
        1 => (Insn::Rfmci, spr::MCSRR0, spr::MCSRR1),
        _ => (Insn::Rfi, spr::SRR0, spr::SRR1),
    };
    match n {
        // The instruction is left out, or the page is mapped and it is tried again.
        7 if !random.one_in(4) => {
            words.push(mfspr(23, state));
            // ori r23,r23,MSR[FP]
            words.push(24 << 26 | 23 << 21 | 23 << 16 | msr::FP);
            words.push(mtspr(state, 23));
        }
        2 | 5 | 6 | 7 => words.extend(skip(address)),
        13 if random.one_in(3) => words.extend(map_page(random)),
        13 => words.extend(skip(address)),
        // The program goes on elsewhere.
        3 | 14 => words.extend(set_spr(address, CODE + random.of(&STARTS))),
        10..=12 => words.extend(set_spr(spr::TSR, 0xDC00_0000)),
        15 => {
            words.extend(set_spr(spr::DBSR, 0xFFFF_FFFF));
            if random.one_in(2) {
                words.extend(set_spr(spr::DBCR0, 0));
            }
        }
        1 => words.extend(set_spr(spr::MCSR, 0xFFFF_FFFF)),
        _ => {}
    }
    if matches!(n, 0 | 4) || random.one_in(8) {
        // Without this bit the level comes again at once.
        let off = msr::EE | msr::CE;
        words.push(mfspr(23, state));
        words.extend(load_constant(22, !off));
        words.push(Insn::And.pattern().1 | 23 << 21 | 23 << 16 | 22 << 11);
        words.push(mtspr(state, 23));
    }
    words.push(insn.pattern().1);
    words.truncate(64);
    words
}

fn skip(address: u32) -> Vec<u32> {
    vec![
        mfspr(23, address),
        14 << 26 | 23 << 21 | 23 << 16 | 4,
        mtspr(address, 23),
    ]
}

/// Maps the page at DEAR, 4 KiB, to some page of RAM.
fn map_page(random: &mut Random) -> Vec<u32> {
    let mut words = vec![mfspr(23, spr::DEAR)];
    // rlwinm r23,r23,0,0,19; ori r23,r23,0x210
    words.push(21 << 26 | 23 << 21 | 23 << 16 | 19 << 1);
    words.push(24 << 26 | 23 << 21 | 23 << 16 | 0x210);
    words.extend(load_constant(20, 32 + random.below(32)));
    let tlbwe = |rs: u32, ws: u32| Insn::Tlbwe.pattern().1 | rs << 21 | 20 << 16 | ws << 11;
    words.push(tlbwe(23, 0));
    words.extend(load_constant(21, random.below(LOADED >> 12) << 12));
    words.push(tlbwe(21, 1));
    words.extend(load_constant(
        21,
        random.of(&[0x3F, 0x3F, 0x1B, 0xBF, 0x43F]),
    ));
    words.push(tlbwe(21, 2));
    words
}
