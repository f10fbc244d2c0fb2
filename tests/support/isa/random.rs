//! Random numbers and random programs of problem state, from the instruction table.
//!
//! A program uses three registers that it does not overwrite: [`POINTER`] into its buffer,
//! [`INDEX`] a small multiple of 8, [`UPDATED`] for the forms that update. [`SCRATCH`] is for what
//! an instruction needs before it: a divisor that is not 0, a byte count.

use ppc440_isa::regs::msr;
use ppc440_isa::{Flags, Insn, Operand, decode, spr};

use super::cases::{CODE, CR, CTR, FPR, FPSCR, GPR, LR, MSR, Registers, XER};
use super::probe::Job;

/// A generator that a seed reproduces (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn word(&mut self) -> u32 {
        self.bits() as u32
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(limit)) >> 32) as u32
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }
}

pub const SCRATCH: u32 = 23;
pub const UPDATED: u32 = 24;
pub const INDEX: u32 = 25;
pub const POINTER: u32 = 26;

/// Where programs keep their data: one place within a page, one over two.
const PLACES: [u32; 2] = [0x2000_0800, 0x2000_1000];

/// Half of a buffer, in bytes.
const REACH: u32 = 0x140;

/// A word that does nothing: `ori r0,r0,0`.
pub const NOP: u32 = 0x6000_0000;

/// What a program is made of; each kind leaves out what QEMU gets wrong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Double arithmetic, after which FPRF and FI are compared too.
    Double,
    /// Singles besides doubles, and no NaN with a fraction that a single cannot hold: QEMU cuts it
    /// off (Book E, section 5.3.2). FPRF of a denormal single is wrong there.
    Single,
    /// Double arithmetic with comparisons, which leave FPRF and FI differently (Book E, fcmpu).
    Compare,
}

/// Why an instruction of problem state is in no program.
pub fn excluded(insn: Insn) -> Option<&'static str> {
    use Insn::*;
    Some(match insn {
        _ if insn.flags().contains(Flags::PRIVILEGED) => "privileged",
        Sc => "a system call to the host",
        Isel => "illegal on qemu-ppc's 440 (PPC440x5 manual, appendix A)",
        Mftb => "time passes differently",
        Macchw | Macchws | Macchwu | Macchwsu | Machhw | Machhws | Machhwu | Machhwsu | Maclhw
        | Maclhws | Maclhwu | Maclhwsu | Nmacchw | Nmacchws | Nmachhw | Nmachhws | Nmaclhw
        | Nmaclhws => "multiply-accumulate is wrong in qemu-ppc (PPC440x5 manual, chapter 9)",
        Fnmadd | Fnmadds | Fnmsub | Fnmsubs => {
            "qemu-ppc rounds after negating in the directed modes (Book E, fnmadd)"
        }
        Fctiw | Fctiwz => {
            "the upper word of the result is undefined, and so is FPRF (Book E, fctiw)"
        }
        Fres | Frsqrte => "estimates differ between implementations",
        Mffs => "shows FPSCR[FR], which qemu-ppc does not have (Book E, section 5.2.2)",
        _ => return None,
    })
}

fn fits(insn: Insn, kind: Kind) -> bool {
    use Insn::*;
    match insn {
        Fcmpu | Fcmpo => kind == Kind::Compare,
        Fadds | Fsubs | Fmuls | Fdivs | Fsqrts | Fmadds | Fmsubs | Frsp => kind == Kind::Single,
        Lfd | Lfdu | Lfdx | Lfdux => kind != Kind::Single,
        _ => true,
    }
}

/// A program of about `length` instructions with the state that it starts from.
pub fn program(random: &mut Random, kind: Kind, length: usize) -> Job {
    let mut units = Vec::new();
    while units.len() < length {
        let insn = random.of(Insn::ALL);
        if excluded(insn).is_none() && fits(insn, kind) {
            units.extend(unit(random, insn));
        }
    }
    // What a branch at the end may reach.
    let end = Unit {
        words: vec![NOP],
        branch: Branch::None,
    };
    units.extend(vec![end; FARTHEST]);
    let words = link(&units);
    let place = random.of(&PLACES);
    let bytes = |random: &mut Random, at: u32| {
        let doubles = (0..REACH / 8).flat_map(|_| match kind {
            Kind::Single => {
                let value = u64::from(single(random)) << 32 | u64::from(single(random));
                value.to_be_bytes()
            }
            _ => double(random).to_be_bytes(),
        });
        (at, doubles.collect())
    };
    let windows = vec![bytes(random, place - REACH), bytes(random, place)];
    let mut start = Registers::start();
    for n in 0..32 {
        start.0[GPR + n] = integer(random).into();
        start.0[FPR + n] = match kind {
            Kind::Single => widened(single(random)),
            _ => double(random),
        };
    }
    start.0[GPR + POINTER as usize] = place.into();
    start.0[GPR + UPDATED as usize] = place.into();
    start.0[GPR + INDEX as usize] = u64::from((random.below(17) * 8).wrapping_sub(64));
    start.0[CR] = random.word().into();
    start.0[XER] = u64::from(random.word() & 0xE000_007F);
    start.0[LR] = random.word().into();
    start.0[CTR] = u64::from(random.below(3));
    start.0[FPSCR] = u64::from(random.below(4));
    // As qemu-ppc runs a program.
    start.0[MSR] = u64::from(msr::PR | msr::FP | msr::FE0 | msr::FE1);
    Job {
        words,
        start,
        windows,
    }
}

/// A value near where integers change their behaviour, or any.
pub fn integer(random: &mut Random) -> u32 {
    let edge = random.of(&[
        0,
        1,
        2,
        31,
        32,
        0x7FFF,
        0x8000,
        0xFFFF,
        0x1_0000,
        0x7FFF_FFFF,
        1 << 31,
        !0,
    ]);
    match random.below(4) {
        0 => edge,
        1 => edge.wrapping_add(random.below(5)).wrapping_sub(2),
        2 => 1 << random.below(32),
        _ => random.word(),
    }
}

/// A double: special, near another, or any.
pub fn double(random: &mut Random) -> u64 {
    let sign = random.bits() & 1 << 63;
    sign | match random.below(6) {
        0 => random.of(&[
            0,
            1,
            (1 << 52) - 1,
            1 << 52,
            0x7FEF << 48 | ((1 << 48) - 1),
            0x7FF << 52,
        ]),
        // A quiet or a signalling NaN.
        1 if random.one_in(3) => 0x7FF << 52 | random.bits() >> 12 | 1 << 40,
        // Near 1, so that sums cancel and products round.
        1 | 2 => (1021 + u64::from(random.below(5))) << 52 | random.bits() >> 12,
        3 => (random.bits() >> 1) & !((1 << (20 + random.below(32))) - 1),
        4 => f64::from(random.word() as i32 >> random.below(31)).to_bits() & !(1 << 63),
        _ => (1023 + 26 - u64::from(random.below(52))) << 52 | random.bits() >> 12,
    }
}

/// The bits of a single, chosen as [`double`] chooses.
pub fn single(random: &mut Random) -> u32 {
    let sign = random.word() & 1 << 31;
    sign | match random.below(5) {
        0 => random.of(&[0, 1, 0x7F_FFFF, 0x80_0000, 0x7F7F_FFFF, 0x7F80_0000]),
        1 if random.one_in(3) => 0x7F80_0000 | random.word() >> 9 | 1 << 10,
        1 | 2 => (125 + random.below(5)) << 23 | random.word() >> 9,
        3 => (random.word() >> 1).min(0x7F80_0000),
        _ => (127 + 13 - random.below(26)) << 23 | random.word() >> 9,
    }
}

/// The double of a single's value; a NaN keeps its fraction.
fn widened(bits: u32) -> u64 {
    let value = f32::from_bits(bits);
    if value.is_nan() {
        let fraction = u64::from(bits & 0x7F_FFFF) << 29;
        return u64::from(bits >> 31) << 63 | 0x7FF << 52 | fraction;
    }
    f64::from(value).to_bits()
}

fn d_form(opcode: u32, rt: u32, ra: u32, value: u32) -> u32 {
    opcode << 26 | rt << 21 | ra << 16 | value & 0xFFFF
}

/// `addi rt,ra,value`.
fn addi(rt: u32, ra: u32, value: u32) -> u32 {
    d_form(14, rt, ra, value)
}

/// `mtspr number,rs`.
fn mtspr(number: u32, rs: u32) -> u32 {
    31 << 26 | rs << 21 | (number & 31) << 16 | (number >> 5) << 11 | 467 << 1
}

/// Whether an instruction updates its base register.
fn updates(insn: Insn) -> bool {
    let name = insn.mnemonic();
    let memory = insn.flags().intersects(Flags::LOAD.union(Flags::STORE));
    memory && (name.ends_with('u') || name.ends_with("ux"))
}

/// An instruction after what it needs.
#[derive(Clone, Debug)]
struct Unit {
    words: Vec<u32>,
    branch: Branch,
}

/// How many units away a branch goes, 1 being the next.
#[derive(Clone, Copy, Debug)]
enum Branch {
    None,
    /// The last word's displacement.
    Relative(usize),
    /// The immediates of the first two words.
    Register(usize),
}

/// How many units a branch may go.
const FARTHEST: usize = 4;

/// The units' words, branches going from unit to unit.
fn link(units: &[Unit]) -> Vec<u32> {
    let mut starts = Vec::new();
    let mut length = 0;
    for unit in units {
        starts.push(length);
        length += unit.words.len() as u32;
    }
    let mut words = Vec::new();
    for (n, unit) in units.iter().enumerate() {
        let own = words.len();
        words.extend(&unit.words);
        match unit.branch {
            Branch::None => {}
            Branch::Relative(away) => {
                let branch = words.len() - 1;
                words[branch] |= (starts[n + away] - branch as u32) * 4;
            }
            Branch::Register(away) => {
                let target = CODE + 4 * starts[n + away];
                words[own] |= target >> 16;
                words[own + 1] |= target & 0xFFFF;
            }
        }
    }
    words
}

/// One instruction with random operands; none if they make an invalid form or write a reserved
/// register.
fn unit(random: &mut Random, insn: Insn) -> Option<Unit> {
    use Insn::*;
    let operand_bits = random.word() & insn.operand_bits();
    let mut word = insn.pattern().1 | operand_bits;
    let mut before = Vec::new();
    let mut branch = Branch::None;
    let away = 1 + random.below(FARTHEST as u32) as usize;
    let set = |word: &mut u32, operand: Operand, value: u32| {
        let bits = operand.bits();
        *word = *word & !bits | value << bits.trailing_zeros() & bits;
    };
    let is = |operand| insn.operands().contains(&operand);
    let memory = insn.flags().intersects(Flags::LOAD.union(Flags::STORE));
    let cache = matches!(
        insn,
        Dcba | Dcbf | Dcbst | Dcbz | Icbi | Dcbt | Dcbtst | Icbt
    );
    if memory || cache {
        if updates(insn) {
            before.push(addi(UPDATED, POINTER, 0));
        }
        let base = if updates(insn) { UPDATED } else { POINTER };
        // The FPU's accesses must be aligned, and no unit of the others need be.
        let step = if insn.flags().contains(Flags::FLOAT) {
            8
        } else {
            1
        };
        if is(Operand::D) {
            let d = (random.below(128 / step) * step).wrapping_sub(64);
            set(&mut word, Operand::D, base << 16 | d & 0xFFFF);
        } else if matches!(insn, Lwarx | Stwcx) {
            // As a pair: another reservation is QEMU's own matter.
            let address = POINTER << 11;
            let rt = random.below(SCRATCH);
            let rs = random.below(32);
            let words = vec![
                Lwarx.pattern().1 | rt << 21 | address,
                addi(rt, rt, random.below(3)),
                Stwcx.pattern().1 | rs << 21 | address,
            ];
            return Some(Unit { words, branch });
        } else {
            set(&mut word, Operand::Ra, base);
            if is(Operand::Rb) {
                set(&mut word, Operand::Rb, INDEX);
            }
        }
    }
    match insn {
        Icbt => set(&mut word, Operand::Ct, 0),
        Lswi | Lswx => {
            let rt = random.below(16);
            set(&mut word, Operand::Rt, rt);
            if insn == Lswx {
                let count = random.below(4 * (SCRATCH - rt));
                before.extend([addi(SCRATCH, 0, count), mtspr(spr::XER, SCRATCH)]);
            }
        }
        // Without a quotient RT is undefined: the divisor is odd and positive.
        Divw | Divwu => {
            let rb = word >> 11 & 31;
            before.push(d_form(24, rb, SCRATCH, 1));
            before.push(21 << 26 | SCRATCH << 21 | SCRATCH << 16 | 1 << 6 | 31 << 1);
            set(&mut word, Operand::Rb, SCRATCH);
        }
        // Forward, and not far.
        B => {
            word = B.pattern().1 | word & Operand::Lk.bits();
            branch = Branch::Relative(away);
        }
        Bc => {
            word &= !(Operand::Bd.bits() | Operand::Aa.bits());
            branch = Branch::Relative(away);
        }
        Bclr | Bcctr => {
            let number = if insn == Bclr { spr::LR } else { spr::CTR };
            before.push(d_form(15, SCRATCH, 0, 0));
            before.push(d_form(24, SCRATCH, SCRATCH, 0));
            before.push(mtspr(number, SCRATCH));
            branch = Branch::Register(away);
        }
        // Most traps are not taken.
        Tw | Twi if !random.one_in(40) => return None,
        Mfspr | Mtspr => {
            let number = random.of(&[spr::XER, spr::LR, spr::CTR]);
            set(&mut word, Operand::Spr, (number & 31) << 5 | number >> 5);
            if insn == Mtspr && number == spr::XER {
                // QEMU keeps the bits that XER does not have (PPC440x5 manual, section 2.3).
                before.push(addi(SCRATCH, 0, random.below(0x80)));
                before.push(d_form(25, SCRATCH, SCRATCH, random.word() & 0xE000));
                set(&mut word, Operand::Rs, SCRATCH);
            }
        }
        // No enable bit, no NI, and FX only by an exception: QEMU sets it again for a bit that is
        // set already, and not by mtfsb1 (Book E, section 5.2.2).
        Mtfsf => return None,
        Mtfsfi => {
            set(&mut word, Operand::Crfd, 7);
            set(&mut word, Operand::Imm4, random.below(4));
        }
        Mtfsb0 => set(&mut word, Operand::Bt, 1 + random.below(31)),
        Mtfsb1 => set(&mut word, Operand::Bt, 30 + random.below(2)),
        Mcrfs => set(&mut word, Operand::Crfs, random.of(&[1, 2, 5, 6, 7])),
        _ => {}
    }
    let written = match insn.operands().first() {
        Some(Operand::Rt) => word >> 21 & 31,
        Some(Operand::Ra) if !memory => word >> 16 & 31,
        _ => 0,
    };
    let first_kept = matches!(insn, Lmw) && written <= POINTER;
    if (UPDATED..=POINTER).contains(&written) || first_kept || decode(word) != Some(insn) {
        return None;
    }
    before.push(word);
    Some(Unit {
        words: before,
        branch,
    })
}
