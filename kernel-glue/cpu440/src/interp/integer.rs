//! Integer arithmetic, logic, rotates, shifts and compares (PPC440x5 user's manual, chapter 9).

use ppc440_isa::{Cr, Regs};

use super::{Exec, Flow, Op};

/// Sets CR0 from a result, as every form with Rc does.
#[inline(always)]
pub(super) fn record(regs: &mut Regs, result: u32) {
    regs.cr.set_sign(0, i64::from(result as i32), regs.xer.so);
}

/// Sets XER[OV], and XER[SO] with it.
#[inline(always)]
pub(super) fn set_overflow(regs: &mut Regs, overflow: bool) {
    regs.xer.ov = overflow;
    regs.xer.so |= overflow;
}

/// What the six add-like instructions have in common: `a + b + carry`, where subtraction passes
/// `!a` and a carry of 1.
#[inline(always)]
fn add_with<const CA: bool, const OE: bool, const RC: bool>(
    regs: &mut Regs,
    op: &Op,
    a: u32,
    b: u32,
    carry: bool,
) -> Flow {
    let (sum, carry_1) = a.overflowing_add(b);
    let (sum, carry_2) = sum.overflowing_add(u32::from(carry));
    if CA {
        regs.xer.ca = carry_1 | carry_2;
    }
    if OE {
        // Both terms have the sign that the sum has not.
        set_overflow(regs, ((a ^ sum) & (b ^ sum)) >> 31 != 0);
    }
    regs.gpr[op.word.rt()] = sum;
    if RC {
        record(regs, sum);
    }
    Flow::Next
}

/// `name<OE, RC>`: CA recorded or not, the two terms, the carry in.
macro_rules! adders {
    ($($name:ident $ca:literal |$regs:ident, $op:ident| $a:expr, $b:expr, $carry:expr;)*) => {$(
        pub(super) fn $name<const OE: bool, const RC: bool>(_: &mut Exec, $regs: &mut Regs, $op: &Op) -> Flow {
            let (a, b, carry) = ($a, $b, $carry);
            add_with::<$ca, OE, RC>($regs, $op, a, b, carry)
        }
    )*};
}

adders! {
    add false |r, op| r.gpr[op.word.ra()], r.gpr[op.word.rb()], false;
    addc true |r, op| r.gpr[op.word.ra()], r.gpr[op.word.rb()], false;
    adde true |r, op| r.gpr[op.word.ra()], r.gpr[op.word.rb()], r.xer.ca;
    addme true |r, op| r.gpr[op.word.ra()], u32::MAX, r.xer.ca;
    addze true |r, op| r.gpr[op.word.ra()], 0, r.xer.ca;
    subf false |r, op| !r.gpr[op.word.ra()], r.gpr[op.word.rb()], true;
    subfc true |r, op| !r.gpr[op.word.ra()], r.gpr[op.word.rb()], true;
    subfe true |r, op| !r.gpr[op.word.ra()], r.gpr[op.word.rb()], r.xer.ca;
    subfme true |r, op| !r.gpr[op.word.ra()], u32::MAX, r.xer.ca;
    subfze true |r, op| !r.gpr[op.word.ra()], 0, r.xer.ca;
    neg false |r, op| !r.gpr[op.word.ra()], 0, true;
}

pub(super) fn addi(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.gpr[op.word.rt()] = regs.gpr[op.word.ra()].wrapping_add(op.imm);
    Flow::Next
}

/// `addi` and `addis` with RA = 0: the immediate itself.
pub(super) fn load_immediate(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.gpr[op.word.rt()] = op.imm;
    Flow::Next
}

pub(super) fn addic<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let a = regs.gpr[op.word.ra()];
    add_with::<true, false, RC>(regs, op, a, op.imm, false)
}

pub(super) fn subfic(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let a = !regs.gpr[op.word.ra()];
    add_with::<true, false, false>(regs, op, a, op.imm, true)
}

/// Two sources RS and RB into RA.
macro_rules! logical {
    ($($name:ident |$s:ident, $b:ident| $value:expr;)*) => {$(
        pub(super) fn $name<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            let ($s, $b) = (regs.gpr[op.word.rs()], regs.gpr[op.word.rb()]);
            let value: u32 = $value;
            regs.gpr[op.word.ra()] = value;
            if RC {
                record(regs, value);
            }
            Flow::Next
        }
    )*};
}

logical! {
    and |s, b| s & b;
    andc |s, b| s & !b;
    eqv |s, b| !(s ^ b);
    nand |s, b| !(s & b);
    nor |s, b| !(s | b);
    or |s, b| s | b;
    orc |s, b| s | !b;
    xor |s, b| s ^ b;
    slw |s, b| if b & 32 == 0 { s << (b & 31) } else { 0 };
    srw |s, b| if b & 32 == 0 { s >> (b & 31) } else { 0 };
}

/// One source RS into RA.
macro_rules! unary {
    ($($name:ident |$s:ident| $value:expr;)*) => {$(
        pub(super) fn $name<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            let $s = regs.gpr[op.word.rs()];
            let value: u32 = $value;
            regs.gpr[op.word.ra()] = value;
            if RC {
                record(regs, value);
            }
            Flow::Next
        }
    )*};
}

unary! {
    cntlzw |s| s.leading_zeros();
    extsb |s| s as i8 as u32;
    extsh |s| s as i16 as u32;
    // `or rs, rs`, the usual way to move a register.
    move_register |s| s;
}

/// RS and the immediate into RA; `andi.` and `andis.` record.
macro_rules! logical_immediate {
    ($($name:ident $rc:literal |$s:ident, $imm:ident| $value:expr;)*) => {$(
        pub(super) fn $name(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            let ($s, $imm) = (regs.gpr[op.word.rs()], op.imm);
            let value: u32 = $value;
            regs.gpr[op.word.ra()] = value;
            if $rc {
                record(regs, value);
            }
            Flow::Next
        }
    )*};
}

logical_immediate! {
    andi true |s, imm| s & imm;
    ori false |s, imm| s | imm;
    xori false |s, imm| s ^ imm;
}

/// Bits MB to ME of the manual's numbering, wrapping around when MB is the larger.
pub(crate) fn rotate_mask(mb: u32, me: u32) -> u32 {
    let from_mb = u32::MAX >> (mb & 31);
    let to_me = u32::MAX << (31 - (me & 31));
    if mb <= me {
        from_mb & to_me
    } else {
        from_mb | to_me
    }
}

/// The mask is in `imm`.
pub(super) fn rlwinm<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let value = regs.gpr[op.word.rs()].rotate_left(op.word.sh()) & op.imm;
    regs.gpr[op.word.ra()] = value;
    if RC {
        record(regs, value);
    }
    Flow::Next
}

/// The mask is in `imm`.
pub(super) fn rlwnm<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let value = regs.gpr[op.word.rs()].rotate_left(regs.gpr[op.word.rb()] & 31) & op.imm;
    regs.gpr[op.word.ra()] = value;
    if RC {
        record(regs, value);
    }
    Flow::Next
}

/// The mask is in `imm`.
pub(super) fn rlwimi<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let inserted = regs.gpr[op.word.rs()].rotate_left(op.word.sh()) & op.imm;
    let value = inserted | regs.gpr[op.word.ra()] & !op.imm;
    regs.gpr[op.word.ra()] = value;
    if RC {
        record(regs, value);
    }
    Flow::Next
}

#[inline(always)]
fn shift_right_algebraic<const RC: bool>(regs: &mut Regs, op: &Op, shift: u32) -> Flow {
    let s = regs.gpr[op.word.rs()] as i32;
    let (value, lost) = if shift < 32 {
        (s >> shift, s & !(-1i32 << shift))
    } else {
        (s >> 31, s)
    };
    regs.xer.ca = s < 0 && lost != 0;
    regs.gpr[op.word.ra()] = value as u32;
    if RC {
        record(regs, value as u32);
    }
    Flow::Next
}

pub(super) fn sraw<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let shift = regs.gpr[op.word.rb()] & 63;
    shift_right_algebraic::<RC>(regs, op, shift)
}

pub(super) fn srawi<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    shift_right_algebraic::<RC>(regs, op, op.word.sh())
}

pub(super) fn cmp(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (a, b) = (regs.gpr[op.word.ra()] as i32, regs.gpr[op.word.rb()] as i32);
    regs.cr
        .set_sign(op.word.crfd(), i64::from(a) - i64::from(b), regs.xer.so);
    Flow::Next
}

pub(super) fn cmpi(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let a = regs.gpr[op.word.ra()] as i32;
    regs.cr.set_sign(
        op.word.crfd(),
        i64::from(a) - i64::from(op.imm as i32),
        regs.xer.so,
    );
    Flow::Next
}

pub(super) fn cmpl(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (a, b) = (regs.gpr[op.word.ra()], regs.gpr[op.word.rb()]);
    regs.cr
        .set_sign(op.word.crfd(), i64::from(a) - i64::from(b), regs.xer.so);
    Flow::Next
}

pub(super) fn cmpli(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let a = regs.gpr[op.word.ra()];
    regs.cr.set_sign(
        op.word.crfd(),
        i64::from(a) - i64::from(op.imm),
        regs.xer.so,
    );
    Flow::Next
}

pub(super) fn isel(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let a = if op.word.ra() == 0 {
        0
    } else {
        regs.gpr[op.word.ra()]
    };
    let b = regs.gpr[op.word.rb()];
    // The condition is the field where other forms have FRC: bits 21 to 25.
    let condition = regs.cr.bit(op.word.frc() as u32);
    regs.gpr[op.word.rt()] = if condition { a } else { b };
    Flow::Next
}

/// Position of the first zero byte of RS || RB, 1 to 8, or 8 when there is none (chapter 9,
/// `dlmzb`).
pub(super) fn dlmzb<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let string = u64::from(regs.gpr[op.word.rs()]) << 32 | u64::from(regs.gpr[op.word.rb()]);
    let zero = string.to_be_bytes().iter().position(|&byte| byte == 0);
    let count = zero.map_or(8, |at| at as u32 + 1);
    regs.gpr[op.word.ra()] = count;
    regs.xer.count = count as u8;
    if RC {
        let field = match zero {
            Some(0..=3) => Cr::GT,
            Some(_) => Cr::LT,
            None => Cr::EQ,
        };
        regs.cr.set_field(0, field | u8::from(regs.xer.so));
    }
    Flow::Next
}
