//! From an instruction word to the operation that runs it.

use ppc440_isa::{Insn, Word, decode, spr};

use super::integer::rotate_mask;
use super::memory::{
    Algebraic, Byte, D, D0, Double, Du, Half, HalfReversed, IntegerWord, Single, Word as W,
    WordReversed, X, Xu,
};
use super::{Handler, Op, branch, float, integer, memory, multiply, system};

/// The operation of an instruction word, and whether it ends its block: what follows it is then
/// not always the next instruction, or not in the same mode.
pub(crate) fn predecode(word: u32) -> (Op, bool) {
    let fields = Word(word);
    let Some(insn) = decode(word) else {
        return (
            Op {
                run: system::illegal,
                imm: 0,
                word: fields,
            },
            true,
        );
    };
    let imm = immediate(insn, fields);
    (
        Op {
            run: handler(insn, fields),
            imm,
            word: fields,
        },
        ends_block(insn, fields),
    )
}

/// What an operation keeps in `imm`.
fn immediate(insn: Insn, word: Word) -> u32 {
    use Insn::*;
    // Branches run with `pc` behind them.
    let relative = |displacement: i32| {
        if word.aa() {
            displacement as u32
        } else {
            (displacement as u32).wrapping_sub(4)
        }
    };
    match insn {
        B => relative(word.li()),
        Bc => relative(word.bd()),
        Addis => (word.d() as u32) << 16,
        Andis | Oris | Xoris => word.ui() << 16,
        Andi | Ori | Xori | Cmpli => word.ui(),
        Rlwinm | Rlwimi | Rlwnm => rotate_mask(word.mb(), word.me()),
        _ => word.d() as u32,
    }
}

fn ends_block(insn: Insn, word: Word) -> bool {
    use Insn::*;
    match insn {
        B | Bc | Bclr | Bcctr | Sc | Isync => true,
        Mfspr | Mtspr => !matches!(
            word.spr(),
            spr::LR | spr::CTR | spr::XER | spr::USPRG0 | 0x104..=0x107
        ),
        // Traps to the core, which resumes behind it.
        Mftb => true,
        _ => insn.flags().contains(ppc440_isa::Flags::PRIVILEGED),
    }
}

/// The handler for an instruction's OE and Rc bits.
macro_rules! oe_rc {
    ($word:ident, $module:ident :: $name:ident) => {
        match ($word.oe(), $word.rc()) {
            (false, false) => $module::$name::<false, false>,
            (false, true) => $module::$name::<false, true>,
            (true, false) => $module::$name::<true, false>,
            (true, true) => $module::$name::<true, true>,
        }
    };
}

/// The handler for an instruction's Rc bit.
macro_rules! rc {
    ($word:ident, $module:ident :: $name:ident) => {
        if $word.rc() {
            $module::$name::<true>
        } else {
            $module::$name::<false>
        }
    };
}

/// The handler for a D form: RA = 0 means no base.
macro_rules! d {
    ($word:ident, $name:ident $(::<$kind:ty>)?) => {
        if $word.ra() == 0 { memory::$name::<$($kind,)? D0> } else { memory::$name::<$($kind,)? D> }
    };
}

fn handler(insn: Insn, word: Word) -> Handler {
    use Insn::*;
    match insn {
        // Integer arithmetic.
        Add => oe_rc!(word, integer::add),
        Addc => oe_rc!(word, integer::addc),
        Adde => oe_rc!(word, integer::adde),
        Addme => oe_rc!(word, integer::addme),
        Addze => oe_rc!(word, integer::addze),
        Subf => oe_rc!(word, integer::subf),
        Subfc => oe_rc!(word, integer::subfc),
        Subfe => oe_rc!(word, integer::subfe),
        Subfme => oe_rc!(word, integer::subfme),
        Subfze => oe_rc!(word, integer::subfze),
        Neg => oe_rc!(word, integer::neg),
        Addi | Addis if word.ra() == 0 => integer::load_immediate,
        Addi | Addis => integer::addi,
        Addic => integer::addic::<false>,
        AddicDot => integer::addic::<true>,
        Subfic => integer::subfic,
        Mulli => multiply::mulli,
        Mullw => oe_rc!(word, multiply::mullw),
        Mulhw => rc!(word, multiply::mulhw),
        Mulhwu => rc!(word, multiply::mulhwu),
        Divw => oe_rc!(word, multiply::divw),
        Divwu => oe_rc!(word, multiply::divwu),

        // Logic, rotates, shifts, compares.
        And => rc!(word, integer::and),
        Andc => rc!(word, integer::andc),
        Eqv => rc!(word, integer::eqv),
        Nand => rc!(word, integer::nand),
        Nor => rc!(word, integer::nor),
        Or if word.rs() == word.rb() => rc!(word, integer::move_register),
        Or => rc!(word, integer::or),
        Orc => rc!(word, integer::orc),
        Xor => rc!(word, integer::xor),
        Andi | Andis => integer::andi,
        Ori | Oris => integer::ori,
        Xori | Xoris => integer::xori,
        Cntlzw => rc!(word, integer::cntlzw),
        Extsb => rc!(word, integer::extsb),
        Extsh => rc!(word, integer::extsh),
        Slw => rc!(word, integer::slw),
        Srw => rc!(word, integer::srw),
        Sraw => rc!(word, integer::sraw),
        Srawi => rc!(word, integer::srawi),
        Rlwimi => rc!(word, integer::rlwimi),
        Rlwinm => rc!(word, integer::rlwinm),
        Rlwnm => rc!(word, integer::rlwnm),
        Cmp => integer::cmp,
        Cmpi => integer::cmpi,
        Cmpl => integer::cmpl,
        Cmpli => integer::cmpli,
        Isel => integer::isel,
        Dlmzb => rc!(word, integer::dlmzb),

        // Multiply-accumulate.
        Mulchw => rc!(word, multiply::mulchw),
        Mulchwu => rc!(word, multiply::mulchwu),
        Mulhhw => rc!(word, multiply::mulhhw),
        Mulhhwu => rc!(word, multiply::mulhhwu),
        Mullhw => rc!(word, multiply::mullhw),
        Mullhwu => rc!(word, multiply::mullhwu),
        Macchw => oe_rc!(word, multiply::macchw),
        Machhw => oe_rc!(word, multiply::machhw),
        Maclhw => oe_rc!(word, multiply::maclhw),
        Macchws => oe_rc!(word, multiply::macchws),
        Machhws => oe_rc!(word, multiply::machhws),
        Maclhws => oe_rc!(word, multiply::maclhws),
        Macchwu => oe_rc!(word, multiply::macchwu),
        Machhwu => oe_rc!(word, multiply::machhwu),
        Maclhwu => oe_rc!(word, multiply::maclhwu),
        Macchwsu => oe_rc!(word, multiply::macchwsu),
        Machhwsu => oe_rc!(word, multiply::machhwsu),
        Maclhwsu => oe_rc!(word, multiply::maclhwsu),
        Nmacchw => oe_rc!(word, multiply::nmacchw),
        Nmachhw => oe_rc!(word, multiply::nmachhw),
        Nmaclhw => oe_rc!(word, multiply::nmaclhw),
        Nmacchws => oe_rc!(word, multiply::nmacchws),
        Nmachhws => oe_rc!(word, multiply::nmachhws),
        Nmaclhws => oe_rc!(word, multiply::nmaclhws),

        // Branches and the condition register.
        B => match (word.aa(), word.lk()) {
            (false, false) => branch::b::<false, false>,
            (false, true) => branch::b::<false, true>,
            (true, false) => branch::b::<true, false>,
            (true, true) => branch::b::<true, true>,
        },
        Bc if word.aa() => branch::bc::<true>,
        Bc if word.lk() => branch::bc::<false>,
        Bc => match word.bo() & 0x1E {
            0b01100 => branch::bc_bit::<true>,
            0b00100 => branch::bc_bit::<false>,
            0b10000 => branch::bdnz,
            _ => branch::bc::<false>,
        },
        Bclr if word.bo() & 0x14 == 0x14 && !word.lk() => branch::blr,
        Bclr => branch::bclr,
        Bcctr => branch::bcctr,
        Crand => branch::crand,
        Crandc => branch::crandc,
        Creqv => branch::creqv,
        Crnand => branch::crnand,
        Crnor => branch::crnor,
        Cror => branch::cror,
        Crorc => branch::crorc,
        Crxor => branch::crxor,
        Mcrf => branch::mcrf,
        Mcrxr => branch::mcrxr,
        Mfcr => branch::mfcr,
        Mtcrf => branch::mtcrf,

        // Loads and stores.
        Lbz => d!(word, load::<Byte>),
        Lbzu => memory::load::<Byte, Du>,
        Lbzx => memory::load::<Byte, X>,
        Lbzux => memory::load::<Byte, Xu>,
        Lhz => d!(word, load::<Half>),
        Lhzu => memory::load::<Half, Du>,
        Lhzx => memory::load::<Half, X>,
        Lhzux => memory::load::<Half, Xu>,
        Lha => d!(word, load::<Algebraic>),
        Lhau => memory::load::<Algebraic, Du>,
        Lhax => memory::load::<Algebraic, X>,
        Lhaux => memory::load::<Algebraic, Xu>,
        Lwz => d!(word, load::<W>),
        Lwzu => memory::load::<W, Du>,
        Lwzx => memory::load::<W, X>,
        Lwzux => memory::load::<W, Xu>,
        Lhbrx => memory::load::<HalfReversed, X>,
        Lwbrx => memory::load::<WordReversed, X>,
        Stb => d!(word, store::<Byte>),
        Stbu => memory::store::<Byte, Du>,
        Stbx => memory::store::<Byte, X>,
        Stbux => memory::store::<Byte, Xu>,
        Sth => d!(word, store::<Half>),
        Sthu => memory::store::<Half, Du>,
        Sthx => memory::store::<Half, X>,
        Sthux => memory::store::<Half, Xu>,
        Stw => d!(word, store::<W>),
        Stwu => memory::store::<W, Du>,
        Stwx => memory::store::<W, X>,
        Stwux => memory::store::<W, Xu>,
        Sthbrx => memory::store::<HalfReversed, X>,
        Stwbrx => memory::store::<WordReversed, X>,
        Lmw => d!(word, lmw),
        Stmw => d!(word, stmw),
        Lswi => memory::lswi,
        Lswx => memory::lswx,
        Stswi => memory::stswi,
        Stswx => memory::stswx,
        Lwarx => memory::lwarx,
        Stwcx => memory::stwcx,
        Lfs => d!(word, load_float::<Single>),
        Lfsu => memory::load_float::<Single, Du>,
        Lfsx => memory::load_float::<Single, X>,
        Lfsux => memory::load_float::<Single, Xu>,
        Lfd => d!(word, load_float::<Double>),
        Lfdu => memory::load_float::<Double, Du>,
        Lfdx => memory::load_float::<Double, X>,
        Lfdux => memory::load_float::<Double, Xu>,
        Stfs => d!(word, store_float::<Single>),
        Stfsu => memory::store_float::<Single, Du>,
        Stfsx => memory::store_float::<Single, X>,
        Stfsux => memory::store_float::<Single, Xu>,
        Stfd => d!(word, store_float::<Double>),
        Stfdu => memory::store_float::<Double, Du>,
        Stfdx => memory::store_float::<Double, X>,
        Stfdux => memory::store_float::<Double, Xu>,
        Stfiwx => memory::store_float::<IntegerWord, X>,

        // Caches, barriers, hints. `dcba` never does anything on the 440.
        Dcbz => memory::dcbz,
        Dcbf | Dcbst | Icbi => memory::cache_block,
        Dcba | Dcbt | Dcbtst | Icbt | Isync | Msync | Mbar => system::nothing,

        // System.
        Sc => system::sc,
        Tw => system::tw,
        Twi => system::twi,
        Mfspr => match word.spr() {
            spr::LR => system::mflr,
            spr::CTR => system::mfctr,
            _ => system::mfspr,
        },
        Mtspr => match word.spr() {
            spr::LR => system::mtlr,
            spr::CTR => system::mtctr,
            _ => system::mtspr,
        },
        // The time base is the core's.
        Mftb => system::privileged,
        Mfmsr | Mtmsr | Wrtee | Wrteei | Rfi | Rfci | Rfmci | Mfdcr | Mtdcr | Tlbre | Tlbwe
        | Tlbsx | Tlbsync | Dcbi | Dccci | Iccci | Dcread | Icread => system::privileged,

        // Floating point.
        Fadd => rc!(word, float::fadd),
        Fadds => rc!(word, float::fadds),
        Fsub => rc!(word, float::fsub),
        Fsubs => rc!(word, float::fsubs),
        Fmul => rc!(word, float::fmul),
        Fmuls => rc!(word, float::fmuls),
        Fdiv => rc!(word, float::fdiv),
        Fdivs => rc!(word, float::fdivs),
        Fsqrt => rc!(word, float::fsqrt),
        Fsqrts => rc!(word, float::fsqrts),
        Fres => rc!(word, float::fres),
        Frsqrte => rc!(word, float::frsqrte),
        Fmadd => rc!(word, float::fmadd),
        Fmadds => rc!(word, float::fmadds),
        Fmsub => rc!(word, float::fmsub),
        Fmsubs => rc!(word, float::fmsubs),
        Fnmadd => rc!(word, float::fnmadd),
        Fnmadds => rc!(word, float::fnmadds),
        Fnmsub => rc!(word, float::fnmsub),
        Fnmsubs => rc!(word, float::fnmsubs),
        Frsp => rc!(word, float::frsp),
        Fctiw => rc!(word, float::fctiw),
        Fctiwz => rc!(word, float::fctiwz),
        Fsel => rc!(word, float::fsel),
        Fmr => rc!(word, float::fmr),
        Fneg => rc!(word, float::fneg),
        Fabs => rc!(word, float::fabs),
        Fnabs => rc!(word, float::fnabs),
        Fcmpu => float::fcmpu,
        Fcmpo => float::fcmpo,
        Mffs => rc!(word, float::mffs),
        Mtfsf => rc!(word, float::mtfsf),
        Mtfsfi => rc!(word, float::mtfsfi),
        Mtfsb0 => rc!(word, float::mtfsb0),
        Mtfsb1 => rc!(word, float::mtfsb1),
        Mcrfs => float::mcrfs,
    }
}
