//! Loads, stores and cache instructions (PPC440x5 user's manual, sections 2.3 and 4.2, chapter 9).
//!
//! Only what one mapped page (or the pinned range) serves is done here. Everything else -- no
//! translation, no permission, a page crossing, an FPU access that is misaligned, a page that is
//! little-endian, small or not RAM -- traps with nothing changed, and the KVM core decides or
//! performs the access itself.

use ppc440_isa::{Access, Regs, Trap};

use super::{Exec, Flow, Op};
use crate::mmu::Stored;
use crate::ram::Unit;

/// How an instruction forms its effective address.
pub(super) trait Form {
    /// RA receives the effective address.
    const UPDATE: bool;
    /// The effective address.
    fn ea(regs: &Regs, op: &Op) -> u32;
}

/// RA + D, RA not 0.
pub(super) struct D;
/// D alone, RA being 0.
pub(super) struct D0;
/// RA + D, which goes to RA.
pub(super) struct Du;
/// (RA|0) + RB.
pub(super) struct X;
/// RA + RB, which goes to RA.
pub(super) struct Xu;

impl Form for D {
    const UPDATE: bool = false;
    #[inline(always)]
    fn ea(regs: &Regs, op: &Op) -> u32 {
        regs.gpr[op.word.ra()].wrapping_add(op.imm)
    }
}

impl Form for D0 {
    const UPDATE: bool = false;
    #[inline(always)]
    fn ea(_: &Regs, op: &Op) -> u32 {
        op.imm
    }
}

impl Form for Du {
    const UPDATE: bool = true;
    #[inline(always)]
    fn ea(regs: &Regs, op: &Op) -> u32 {
        D::ea(regs, op)
    }
}

impl Form for X {
    const UPDATE: bool = false;
    #[inline(always)]
    fn ea(regs: &Regs, op: &Op) -> u32 {
        let base = if op.word.ra() == 0 {
            0
        } else {
            regs.gpr[op.word.ra()]
        };
        base.wrapping_add(regs.gpr[op.word.rb()])
    }
}

impl Form for Xu {
    const UPDATE: bool = true;
    #[inline(always)]
    fn ea(regs: &Regs, op: &Op) -> u32 {
        regs.gpr[op.word.ra()].wrapping_add(regs.gpr[op.word.rb()])
    }
}

#[cold]
#[inline(never)]
fn fault(exec: &mut Exec, op: &Op, ea: u32, access: Access) -> Flow {
    exec.trap(Trap::Data {
        ea,
        access,
        word: op.word.0,
    })
}

/// What goes from memory to a GPR, and back.
pub(super) trait Kind {
    /// What lies in memory.
    type Memory: Unit;
    /// The register's value of what was loaded.
    fn extend(value: Self::Memory) -> u32;
    /// What is stored of the register's value.
    fn truncate(value: u32) -> Self::Memory;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $memory:ty, |$loaded:ident| $extend:expr, |$stored:ident| $truncate:expr;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;
        impl Kind for $name {
            type Memory = $memory;
            #[inline(always)]
            fn extend($loaded: $memory) -> u32 {
                $extend
            }
            #[inline(always)]
            fn truncate($stored: u32) -> $memory {
                $truncate
            }
        }
    )*};
}

kinds! {
    /// A byte, zero-extended.
    Byte u8, |v| u32::from(v), |v| v as u8;
    /// A half word, zero-extended.
    Half u16, |v| u32::from(v), |v| v as u16;
    /// A half word, sign-extended.
    Algebraic u16, |v| v as i16 as u32, |v| v as u16;
    /// A half word, byte-reversed.
    HalfReversed u16, |v| u32::from(v.swap_bytes()), |v| (v as u16).swap_bytes();
    /// A word.
    Word u32, |v| v, |v| v;
    /// A word, byte-reversed.
    WordReversed u32, |v| v.swap_bytes(), |v| v.swap_bytes();
}

pub(super) fn load<K: Kind, F: Form>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = F::ea(regs, op);
    let Some(value) = exec.mmu.load::<K::Memory>(ea) else {
        return fault(exec, op, ea, Access::Load);
    };
    regs.gpr[op.word.rt()] = K::extend(value);
    if F::UPDATE {
        regs.gpr[op.word.ra()] = ea;
    }
    Flow::Next
}

/// Stores a unit, and says how the block goes on.
#[inline(always)]
fn put<T: Unit>(exec: &mut Exec, op: &Op, ea: u32, value: T) -> Flow {
    match exec.mmu.store(ea, value) {
        Stored::Done => Flow::Next,
        Stored::OverCode(ram) => exec.over_code(ram, size_of::<T>() as u32),
        Stored::No => fault(exec, op, ea, Access::Store),
    }
}

pub(super) fn store<K: Kind, F: Form>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = F::ea(regs, op);
    let flow = put(exec, op, ea, K::truncate(regs.gpr[op.word.rs()]));
    if F::UPDATE && flow != Flow::Trap {
        regs.gpr[op.word.ra()] = ea;
    }
    flow
}

/// What goes from an FPR to memory.
pub(super) trait FloatKind {
    /// What lies in memory.
    type Memory: Unit;
    /// What is stored of the register's value.
    fn truncate(value: u64) -> Self::Memory;
}

/// What also comes from there.
pub(super) trait LoadedFloat: FloatKind {
    /// The register's value of what was loaded.
    fn extend(value: Self::Memory) -> u64;
}

/// A single, held in the register as a double.
pub(super) struct Single;
/// A double.
pub(super) struct Double;
/// The low word of the register, as it is.
pub(super) struct IntegerWord;

impl FloatKind for Single {
    type Memory = u32;
    fn truncate(value: u64) -> u32 {
        crate::fpu::double_to_single(value)
    }
}

impl LoadedFloat for Single {
    fn extend(value: u32) -> u64 {
        crate::fpu::single_to_double(value)
    }
}

impl FloatKind for Double {
    type Memory = u64;
    #[inline(always)]
    fn truncate(value: u64) -> u64 {
        value
    }
}

impl LoadedFloat for Double {
    #[inline(always)]
    fn extend(value: u64) -> u64 {
        value
    }
}

impl FloatKind for IntegerWord {
    type Memory = u32;
    #[inline(always)]
    fn truncate(value: u64) -> u32 {
        value as u32
    }
}

/// Whether the core must look at a floating-point access because it may be an Alignment
/// interrupt: it is not word-aligned, or crosses a quadword (section 6.5.6).
#[inline(always)]
fn misaligned<T>(ea: u32) -> bool {
    ea & 3 != 0 || ea % 16 + size_of::<T>() as u32 > 16
}

pub(super) fn load_float<K: LoadedFloat, F: Form>(
    exec: &mut Exec,
    regs: &mut Regs,
    op: &Op,
) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    let ea = F::ea(regs, op);
    let loaded = if misaligned::<K::Memory>(ea) {
        None
    } else {
        exec.mmu.load::<K::Memory>(ea)
    };
    let Some(value) = loaded else {
        return fault(exec, op, ea, Access::Load);
    };
    regs.fpr[op.word.frt()] = K::extend(value);
    if F::UPDATE {
        regs.gpr[op.word.ra()] = ea;
    }
    Flow::Next
}

pub(super) fn store_float<K: FloatKind, F: Form>(
    exec: &mut Exec,
    regs: &mut Regs,
    op: &Op,
) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    let ea = F::ea(regs, op);
    if misaligned::<K::Memory>(ea) {
        return fault(exec, op, ea, Access::Store);
    }
    let flow = put(exec, op, ea, K::truncate(regs.fpr[op.word.frs()]));
    if F::UPDATE && flow != Flow::Trap {
        regs.gpr[op.word.ra()] = ea;
    }
    flow
}

pub(super) fn lwarx(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = X::ea(regs, op);
    let Some(value) = exec.mmu.load::<u32>(ea) else {
        return fault(exec, op, ea, Access::Load);
    };
    regs.gpr[op.word.rt()] = value;
    regs.reservation = true;
    Flow::Next
}

/// Stores when the reservation bit is set. Without it the access is still translated, so that a
/// TLB miss is taken (chapter 9, `stwcx.`).
pub(super) fn stwcx(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = X::ea(regs, op);
    if exec.mmu.writable(ea, 4).is_none() {
        return fault(exec, op, ea, Access::Store);
    }
    let reserved = std::mem::take(&mut regs.reservation);
    regs.cr
        .set_field(0, u8::from(reserved) << 1 | u8::from(regs.xer.so));
    if reserved {
        put(exec, op, ea, regs.gpr[op.word.rs()])
    } else {
        Flow::Next
    }
}

pub(super) fn lmw<F: Form>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = F::ea(regs, op);
    let first = op.word.rt();
    let Some(ram) = exec.mmu.readable(ea, 4 * (32 - first as u32)) else {
        return fault(exec, op, ea, Access::Load);
    };
    for (n, register) in regs.gpr[first..].iter_mut().enumerate() {
        // One page, so inside RAM as its first byte is.
        *register = exec.mmu.ram.load(ram + 4 * n as u32).unwrap_or(0);
    }
    Flow::Next
}

pub(super) fn stmw<F: Form>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = F::ea(regs, op);
    let first = op.word.rs();
    let bytes = 4 * (32 - first as u32);
    let Some(ram) = exec.mmu.writable(ea, bytes) else {
        return fault(exec, op, ea, Access::Store);
    };
    for (n, &register) in regs.gpr[first..].iter().enumerate() {
        exec.mmu.ram.store(ram + 4 * n as u32, register);
    }
    exec.written(ram, bytes)
}

/// Loads `bytes` bytes into registers from RT on, wrapping from 31 to 0, the last zero-filled.
fn load_string(exec: &mut Exec, regs: &mut Regs, op: &Op, ea: u32, bytes: u32) -> Flow {
    if bytes == 0 {
        return Flow::Next;
    }
    let Some(ram) = exec.mmu.readable(ea, bytes) else {
        return fault(exec, op, ea, Access::Load);
    };
    for n in (0..bytes).step_by(4) {
        let byte = |at: u32| -> u32 {
            let loaded = (at < bytes)
                .then(|| exec.mmu.ram.load::<u8>(ram + at))
                .flatten();
            u32::from(loaded.unwrap_or(0))
        };
        regs.gpr[(op.word.rt() + n as usize / 4) % 32] =
            byte(n) << 24 | byte(n + 1) << 16 | byte(n + 2) << 8 | byte(n + 3);
    }
    Flow::Next
}

fn store_string(exec: &mut Exec, regs: &mut Regs, op: &Op, ea: u32, bytes: u32) -> Flow {
    if bytes == 0 {
        return Flow::Next;
    }
    let Some(ram) = exec.mmu.writable(ea, bytes) else {
        return fault(exec, op, ea, Access::Store);
    };
    for n in 0..bytes {
        let register = regs.gpr[(op.word.rs() + n as usize / 4) % 32];
        exec.mmu
            .ram
            .store(ram + n, (register >> (24 - 8 * (n % 4))) as u8);
    }
    exec.written(ram, bytes)
}

/// The address of `lswi` and `stswi`: (RA|0).
fn immediate_string(regs: &Regs, op: &Op) -> (u32, u32) {
    let ea = if op.word.ra() == 0 {
        0
    } else {
        regs.gpr[op.word.ra()]
    };
    let bytes = if op.word.nb() == 0 { 32 } else { op.word.nb() };
    (ea, bytes)
}

pub(super) fn lswi(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (ea, bytes) = immediate_string(regs, op);
    load_string(exec, regs, op, ea, bytes)
}

pub(super) fn stswi(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (ea, bytes) = immediate_string(regs, op);
    store_string(exec, regs, op, ea, bytes)
}

pub(super) fn lswx(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (ea, bytes) = (X::ea(regs, op), u32::from(regs.xer.count));
    load_string(exec, regs, op, ea, bytes)
}

pub(super) fn stswx(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (ea, bytes) = (X::ea(regs, op), u32::from(regs.xer.count));
    store_string(exec, regs, op, ea, bytes)
}

pub(super) fn dcbz(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = X::ea(regs, op);
    let Some(ram) = exec.mmu.zeroable(ea & !31) else {
        return fault(exec, op, ea, Access::Store);
    };
    for n in (0..32).step_by(8) {
        exec.mmu.ram.store(ram + n, 0u64);
    }
    exec.written(ram, 32)
}

/// `dcbf`, `dcbst`, `icbi`: translated and checked as a load, without further effect, because
/// there is no cache and stores already forget decoded code.
pub(super) fn cache_block(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let ea = X::ea(regs, op);
    match exec.mmu.readable(ea, 1) {
        Some(_) => Flow::Next,
        None => fault(exec, op, ea, Access::Load),
    }
}
