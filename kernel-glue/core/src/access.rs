//! What a load, store or cache instruction accesses, and what it does with the bytes.

use ppc440_isa::{Insn, Regs, Word, decode};

/// Which registers an access fills or empties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A general purpose register.
    Gpr(u8),
    /// General purpose registers from this one to 31, a word each.
    Multiple(u8),
    /// Bytes into this and the following general purpose registers, 0 after 31.
    String(u8),
    /// A floating-point register, in memory as a single.
    Single(u8),
    /// A floating-point register, as a double.
    Double(u8),
    /// The low word of a floating-point register.
    Word(u8),
    /// Nothing special.
    Nothing,
}

/// What an access does beyond moving bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// Nothing.
    Plain,
    /// `lwarx`.
    Reserve,
    /// `stwcx.`
    Conditional,
    /// `dcbz`: the line at `ea`, 32 bytes of 0.
    Zero,
    /// A cache operation: it is translated and checked, and moves nothing.
    Touch,
}

/// One load, store or cache operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemOp {
    /// Effective address as the instruction computes it.
    pub ea: u32,
    /// Bytes, 0 to 128.
    pub len: u8,
    /// Bytes of what a little-endian page turns round: 1, 2, 4 or 8.
    pub element: u8,
    /// The access is a store, or treated as one.
    pub store: bool,
    /// The access moves a floating-point register.
    pub fp: bool,
    /// Byte-reversed.
    pub reverse: bool,
    /// The halfword is sign-extended.
    pub signed: bool,
    /// The register that takes `ea`.
    pub update: Option<u8>,
    pub unit: Unit,
    pub special: Special,
}

/// How an instruction forms its effective address.
#[derive(Clone, Copy)]
enum Form {
    /// (RA|0) + D.
    D,
    /// RA + D, kept in RA.
    DUpdate,
    /// (RA|0) + RB.
    X,
    /// RA + RB, kept in RA.
    XUpdate,
    /// (RA|0).
    Ra,
}

impl MemOp {
    /// The access that instruction `word` makes with these registers; `None` when it makes none.
    pub fn of(word: u32, regs: &Regs) -> Option<MemOp> {
        use Form::*;
        let insn = decode(word)?;
        let word = Word(word);
        let op = Op { word, regs };
        Some(match insn {
            Insn::Lbz => op.load(D, 1),
            Insn::Lbzu => op.load(DUpdate, 1),
            Insn::Lbzx => op.load(X, 1),
            Insn::Lbzux => op.load(XUpdate, 1),
            Insn::Lhz => op.load(D, 2),
            Insn::Lhzu => op.load(DUpdate, 2),
            Insn::Lhzx => op.load(X, 2),
            Insn::Lhzux => op.load(XUpdate, 2),
            Insn::Lha => op.load(D, 2).signed(),
            Insn::Lhau => op.load(DUpdate, 2).signed(),
            Insn::Lhax => op.load(X, 2).signed(),
            Insn::Lhaux => op.load(XUpdate, 2).signed(),
            Insn::Lwz => op.load(D, 4),
            Insn::Lwzu => op.load(DUpdate, 4),
            Insn::Lwzx => op.load(X, 4),
            Insn::Lwzux => op.load(XUpdate, 4),
            Insn::Lhbrx => op.load(X, 2).reversed(),
            Insn::Lwbrx => op.load(X, 4).reversed(),
            Insn::Lwarx => op.load(X, 4).special(Special::Reserve),
            Insn::Lmw => op.multiple(false),
            Insn::Lswi => op.string(Ra, op.count(), false),
            Insn::Lswx => op.string(X, regs.xer.count, false),
            Insn::Stb => op.store(D, 1),
            Insn::Stbu => op.store(DUpdate, 1),
            Insn::Stbx => op.store(X, 1),
            Insn::Stbux => op.store(XUpdate, 1),
            Insn::Sth => op.store(D, 2),
            Insn::Sthu => op.store(DUpdate, 2),
            Insn::Sthx => op.store(X, 2),
            Insn::Sthux => op.store(XUpdate, 2),
            Insn::Stw => op.store(D, 4),
            Insn::Stwu => op.store(DUpdate, 4),
            Insn::Stwx => op.store(X, 4),
            Insn::Stwux => op.store(XUpdate, 4),
            Insn::Sthbrx => op.store(X, 2).reversed(),
            Insn::Stwbrx => op.store(X, 4).reversed(),
            Insn::Stwcx => op.store(X, 4).special(Special::Conditional),
            Insn::Stmw => op.multiple(true),
            Insn::Stswi => op.string(Ra, op.count(), true),
            Insn::Stswx => op.string(X, regs.xer.count, true),
            Insn::Lfs => op.float(D, 4, false),
            Insn::Lfsu => op.float(DUpdate, 4, false),
            Insn::Lfsx => op.float(X, 4, false),
            Insn::Lfsux => op.float(XUpdate, 4, false),
            Insn::Lfd => op.float(D, 8, false),
            Insn::Lfdu => op.float(DUpdate, 8, false),
            Insn::Lfdx => op.float(X, 8, false),
            Insn::Lfdux => op.float(XUpdate, 8, false),
            Insn::Stfs => op.float(D, 4, true),
            Insn::Stfsu => op.float(DUpdate, 4, true),
            Insn::Stfsx => op.float(X, 4, true),
            Insn::Stfsux => op.float(XUpdate, 4, true),
            Insn::Stfd => op.float(D, 8, true),
            Insn::Stfdu => op.float(DUpdate, 8, true),
            Insn::Stfdx => op.float(X, 8, true),
            Insn::Stfdux => op.float(XUpdate, 8, true),
            Insn::Stfiwx => MemOp {
                unit: Unit::Word(op.word.rt() as u8),
                ..op.float(X, 4, true)
            },
            Insn::Dcbz => {
                let line = MemOp {
                    len: 32,
                    element: 1,
                    ..op.store(X, 1)
                };
                MemOp {
                    unit: Unit::Nothing,
                    special: Special::Zero,
                    ..line
                }
            }
            Insn::Dcbi => op.store(X, 1).special(Special::Touch),
            Insn::Dcbf | Insn::Dcbst | Insn::Icbi => op.load(X, 1).special(Special::Touch),
            _ => return None,
        })
    }

    /// Whether the address is no multiple of the operand's size; of strings each byte is an
    /// operand, of multiples each word.
    pub fn is_misaligned(&self) -> bool {
        match self.unit {
            Unit::String(_) => false,
            _ => !self.ea.is_multiple_of(u32::from(self.element.max(1))),
        }
    }

    /// Whether it works on a cache line, which no page boundary divides.
    pub fn is_line(&self) -> bool {
        matches!(self.special, Special::Zero | Special::Touch)
    }

    fn signed(self) -> Self {
        MemOp {
            signed: true,
            ..self
        }
    }

    fn reversed(self) -> Self {
        MemOp {
            reverse: true,
            ..self
        }
    }

    fn special(self, special: Special) -> Self {
        MemOp { special, ..self }
    }
}

struct Op<'a> {
    word: Word,
    regs: &'a Regs,
}

impl Op<'_> {
    fn plain(&self, form: Form, len: u8, store: bool) -> MemOp {
        let ra = self.word.ra();
        let gpr = &self.regs.gpr;
        let base = if ra == 0 { 0 } else { gpr[ra] };
        let d = self.word.d() as u32;
        let rb = gpr[self.word.rb()];
        let (ea, update) = match form {
            Form::D => (base.wrapping_add(d), None),
            Form::X => (base.wrapping_add(rb), None),
            Form::Ra => (base, None),
            Form::DUpdate => (gpr[ra].wrapping_add(d), Some(ra as u8)),
            Form::XUpdate => (gpr[ra].wrapping_add(rb), Some(ra as u8)),
        };
        MemOp {
            ea,
            len,
            element: len,
            store,
            fp: false,
            reverse: false,
            signed: false,
            update,
            unit: Unit::Gpr(self.word.rt() as u8),
            special: Special::Plain,
        }
    }

    fn load(&self, form: Form, len: u8) -> MemOp {
        self.plain(form, len, false)
    }

    fn store(&self, form: Form, len: u8) -> MemOp {
        self.plain(form, len, true)
    }

    fn multiple(&self, store: bool) -> MemOp {
        let first = self.word.rt() as u8;
        let unit = Unit::Multiple(first);
        MemOp {
            element: 4,
            unit,
            ..self.plain(Form::D, 4 * (32 - first), store)
        }
    }

    /// Bytes of the immediate string forms; NB 0 means 32.
    fn count(&self) -> u8 {
        match self.word.nb() as u8 {
            0 => 32,
            n => n,
        }
    }

    fn string(&self, form: Form, len: u8, store: bool) -> MemOp {
        let unit = Unit::String(self.word.rt() as u8);
        MemOp {
            element: 1,
            unit,
            ..self.plain(form, len, store)
        }
    }

    fn float(&self, form: Form, len: u8, store: bool) -> MemOp {
        let register = self.word.rt() as u8;
        let unit = if len == 4 {
            Unit::Single(register)
        } else {
            Unit::Double(register)
        };
        MemOp {
            fp: true,
            unit,
            ..self.plain(form, len, store)
        }
    }
}

/// Whether the instruction is a cache hint, which never faults.
#[inline]
pub(crate) fn is_hint(word: u32) -> bool {
    // Primary opcode 31 and the extended opcodes of the cache group, before the whole table.
    word & 0xFC00_003E == 0x7C00_002C
        && matches!(
            decode(word),
            Some(Insn::Dcbt | Insn::Dcbtst | Insn::Icbt | Insn::Dcba)
        )
}

/// Whether the instruction, which accesses memory, moves a floating-point register: primary
/// opcodes 48 to 55, or 31 with the extended opcodes that end in 10111 and start with 1.
#[inline]
pub(crate) fn is_fp(word: u32) -> bool {
    word >> 29 == 6 || word & 0xFC00_043E == 0x7C00_042E
}

/// Whether the instruction is a branch that these registers make it take.
pub(crate) fn branch_taken(word: u32, regs: &Regs) -> bool {
    match decode(word) {
        Some(Insn::B) => true,
        Some(Insn::Bc | Insn::Bclr | Insn::Bcctr) => {
            let word = Word(word);
            let bo = word.bo();
            let ctr = regs.ctr.wrapping_sub(1);
            let counted = bo & 4 != 0 || (ctr != 0) ^ (bo & 2 != 0);
            let condition = bo & 16 != 0 || regs.cr.bit(word.bi()) == (bo & 8 != 0);
            counted && condition
        }
        _ => false,
    }
}
