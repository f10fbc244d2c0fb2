//! From an instruction word to the operation that runs it.

use ppc440_isa::{Insn, Regs, Word, decode, spr};

use super::integer::rotate_mask;
use super::memory::{
    Algebraic, Byte, D, D0, Double, Du, Half, HalfReversed, IntegerWord, Single, Word as W,
    WordReversed, X, Xu,
};
use super::{Exec, Flow, Handler, Op, Thread, branch, float, integer, memory, multiply, system};

/// The handler that does an operation and goes on with the next of its block.
///
/// Going on from within the handler, by a call in tail position, gives each operation a dispatch
/// of its own to predict; one loop around them all would share one. Where the compiler does not
/// turn it into a jump, the depth is bounded by the page's length.
macro_rules! chain {
    ($operation:expr) => {
        |exec: &mut Exec, regs: &mut Regs, at: Thread<'_>| match $operation(exec, regs, at.op()) {
            Flow::Next => at.go_on(exec, regs),
            flow => at.stop(exec, flow),
        }
    };
}

/// The handler for an instruction's OE and Rc bits.
macro_rules! oe_rc {
    ($word:ident, $module:ident :: $name:ident) => {
        match ($word.oe(), $word.rc()) {
            (false, false) => chain!($module::$name::<false, false>),
            (false, true) => chain!($module::$name::<false, true>),
            (true, false) => chain!($module::$name::<true, false>),
            (true, true) => chain!($module::$name::<true, true>),
        }
    };
}

/// The handler for an instruction's Rc bit.
macro_rules! rc {
    ($word:ident, $module:ident :: $name:ident) => {
        if $word.rc() {
            chain!($module::$name::<true>)
        } else {
            chain!($module::$name::<false>)
        }
    };
}

/// The handler for a D form: RA = 0 means no base.
macro_rules! d {
    ($word:ident, $name:ident $(::<$kind:ty>)?) => {
        if $word.ra() == 0 { chain!(memory::$name::<$($kind,)? D0>) } else { chain!(memory::$name::<$($kind,)? D>) }
    };
}

/// The operation of an instruction word at byte offset `offset` of its page, and whether it ends
/// its block: what follows it is then hardly ever the next instruction, or not in the same mode.
pub(crate) fn predecode(word: u32, offset: u32) -> (Op, bool) {
    let fields = Word(word);
    let Some(insn) = decode(word) else {
        return (
            Op {
                run: chain!(system::illegal),
                imm: 0,
                word: fields,
            },
            true,
        );
    };
    let imm = immediate(insn, fields, offset);
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
fn immediate(insn: Insn, word: Word, offset: u32) -> u32 {
    use Insn::*;
    match insn {
        B if !word.aa() => offset.wrapping_add(word.li() as u32),
        Bc if !word.aa() => offset.wrapping_add(word.bd() as u32),
        B | Bc | Bclr | Bcctr => offset,
        Sc | Mtmsr => offset + 4,
        Mtspr if word.spr() == spr::PID => offset + 4,
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
        B | Bclr | Bcctr | Sc | Rfi => true,
        Mtspr if word.spr() == spr::PID => true,
        _ => goes_to_core(insn, word),
    }
}

/// Whether only the KVM core can do the instruction, whatever the MSR is.
pub(crate) fn goes_to_core(insn: Insn, word: Word) -> bool {
    use Insn::*;
    match insn {
        Mfspr => !system::is_readable(word.spr()),
        Mtspr => !system::is_writable(word.spr()),
        Mftb => true,
        Mfmsr | Mtmsr | Wrtee | Wrteei | Rfi => false,
        Tlbwe => word.ws() > 2,
        _ => insn.flags().contains(ppc440_isa::Flags::PRIVILEGED),
    }
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
        Addi | Addis if word.ra() == 0 => chain!(integer::load_immediate),
        Addi | Addis => chain!(integer::addi),
        Addic => chain!(integer::addic::<false>),
        AddicDot => chain!(integer::addic::<true>),
        Subfic => chain!(integer::subfic),
        Mulli => chain!(multiply::mulli),
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
        Andi | Andis => chain!(integer::andi),
        Ori | Oris => chain!(integer::ori),
        Xori | Xoris => chain!(integer::xori),
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
        Cmp => chain!(integer::cmp),
        Cmpi => chain!(integer::cmpi),
        Cmpl => chain!(integer::cmpl),
        Cmpli => chain!(integer::cmpli),
        Isel => chain!(integer::isel),
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
            (false, false) => chain!(branch::b::<false, false>),
            (false, true) => chain!(branch::b::<false, true>),
            (true, false) => chain!(branch::b::<true, false>),
            (true, true) => chain!(branch::b::<true, true>),
        },
        Bc if word.aa() => chain!(branch::bc::<true>),
        Bc if word.lk() => chain!(branch::bc::<false>),
        Bc => match word.bo() & 0x1E {
            0b01100 => chain!(branch::bc_bit::<true>),
            0b00100 => chain!(branch::bc_bit::<false>),
            0b10000 => chain!(branch::bdnz),
            _ => chain!(branch::bc::<false>),
        },
        Bclr if word.bo() & 0x14 == 0x14 && !word.lk() => chain!(branch::blr),
        Bclr => chain!(branch::bclr),
        Bcctr => chain!(branch::bcctr),
        Crand => chain!(branch::crand),
        Crandc => chain!(branch::crandc),
        Creqv => chain!(branch::creqv),
        Crnand => chain!(branch::crnand),
        Crnor => chain!(branch::crnor),
        Cror => chain!(branch::cror),
        Crorc => chain!(branch::crorc),
        Crxor => chain!(branch::crxor),
        Mcrf => chain!(branch::mcrf),
        Mcrxr => chain!(branch::mcrxr),
        Mfcr => chain!(branch::mfcr),
        Mtcrf => chain!(branch::mtcrf),

        // Loads and stores.
        Lbz => d!(word, load::<Byte>),
        Lbzu => chain!(memory::load::<Byte, Du>),
        Lbzx => chain!(memory::load::<Byte, X>),
        Lbzux => chain!(memory::load::<Byte, Xu>),
        Lhz => d!(word, load::<Half>),
        Lhzu => chain!(memory::load::<Half, Du>),
        Lhzx => chain!(memory::load::<Half, X>),
        Lhzux => chain!(memory::load::<Half, Xu>),
        Lha => d!(word, load::<Algebraic>),
        Lhau => chain!(memory::load::<Algebraic, Du>),
        Lhax => chain!(memory::load::<Algebraic, X>),
        Lhaux => chain!(memory::load::<Algebraic, Xu>),
        Lwz => d!(word, load::<W>),
        Lwzu => chain!(memory::load::<W, Du>),
        Lwzx => chain!(memory::load::<W, X>),
        Lwzux => chain!(memory::load::<W, Xu>),
        Lhbrx => chain!(memory::load::<HalfReversed, X>),
        Lwbrx => chain!(memory::load::<WordReversed, X>),
        Stb => d!(word, store::<Byte>),
        Stbu => chain!(memory::store::<Byte, Du>),
        Stbx => chain!(memory::store::<Byte, X>),
        Stbux => chain!(memory::store::<Byte, Xu>),
        Sth => d!(word, store::<Half>),
        Sthu => chain!(memory::store::<Half, Du>),
        Sthx => chain!(memory::store::<Half, X>),
        Sthux => chain!(memory::store::<Half, Xu>),
        Stw => d!(word, store::<W>),
        Stwu => chain!(memory::store::<W, Du>),
        Stwx => chain!(memory::store::<W, X>),
        Stwux => chain!(memory::store::<W, Xu>),
        Sthbrx => chain!(memory::store::<HalfReversed, X>),
        Stwbrx => chain!(memory::store::<WordReversed, X>),
        Lmw => d!(word, lmw),
        Stmw => d!(word, stmw),
        Lswi => chain!(memory::lswi),
        Lswx => chain!(memory::lswx),
        Stswi => chain!(memory::stswi),
        Stswx => chain!(memory::stswx),
        Lwarx => chain!(memory::lwarx),
        Stwcx => chain!(memory::stwcx),
        Lfs => d!(word, load_float::<Single>),
        Lfsu => chain!(memory::load_float::<Single, Du>),
        Lfsx => chain!(memory::load_float::<Single, X>),
        Lfsux => chain!(memory::load_float::<Single, Xu>),
        Lfd => d!(word, load_float::<Double>),
        Lfdu => chain!(memory::load_float::<Double, Du>),
        Lfdx => chain!(memory::load_float::<Double, X>),
        Lfdux => chain!(memory::load_float::<Double, Xu>),
        Stfs => d!(word, store_float::<Single>),
        Stfsu => chain!(memory::store_float::<Single, Du>),
        Stfsx => chain!(memory::store_float::<Single, X>),
        Stfsux => chain!(memory::store_float::<Single, Xu>),
        Stfd => d!(word, store_float::<Double>),
        Stfdu => chain!(memory::store_float::<Double, Du>),
        Stfdx => chain!(memory::store_float::<Double, X>),
        Stfdux => chain!(memory::store_float::<Double, Xu>),
        Stfiwx => chain!(memory::store_float::<IntegerWord, X>),

        // Caches, barriers, hints. `dcba` never does anything on the 440.
        Dcbz => chain!(memory::dcbz),
        Dcbf | Dcbst | Icbi => chain!(memory::cache_block),
        Dcba | Dcbt | Dcbtst | Icbt => chain!(system::nothing),
        Isync => chain!(system::isync),
        Msync | Mbar => chain!(system::barrier),

        // System.
        Sc => chain!(system::sc),
        Tw => chain!(system::tw),
        Twi => chain!(system::twi),
        Mfspr => match word.spr() {
            spr::LR => chain!(system::mflr),
            spr::CTR => chain!(system::mfctr),
            _ => chain!(system::mfspr),
        },
        Mtspr => match word.spr() {
            spr::LR => chain!(system::mtlr),
            spr::CTR => chain!(system::mtctr),
            spr::PID => chain!(system::mtpid),
            _ => chain!(system::mtspr),
        },
        // The time base is the core's.
        Mftb => chain!(system::privileged),
        Mfmsr => chain!(system::mfmsr),
        Wrtee => chain!(system::wrtee),
        Wrteei => chain!(system::wrteei),
        Mtmsr => chain!(system::mtmsr),
        Rfi => chain!(system::rfi),
        Tlbwe if word.ws() <= 2 => chain!(system::tlbwe),
        Rfci | Rfmci | Mfdcr | Mtdcr | Tlbre | Tlbwe | Tlbsx | Tlbsync | Dcbi | Dccci | Iccci
        | Dcread | Icread => chain!(system::privileged),

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
        Fcmpu => chain!(float::fcmpu),
        Fcmpo => chain!(float::fcmpo),
        Mffs => rc!(word, float::mffs),
        Mtfsf => rc!(word, float::mtfsf),
        Mtfsfi => rc!(word, float::mtfsfi),
        Mtfsb0 => rc!(word, float::mtfsb0),
        Mtfsb1 => rc!(word, float::mtfsb1),
        Mcrfs => chain!(float::mcrfs),
    }
}
