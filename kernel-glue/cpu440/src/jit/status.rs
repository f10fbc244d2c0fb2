//! FPSCR behind translated arithmetic: worked out when somebody looks.
//!
//! Translated code keeps the operands of the last operation and the outcome of the last comparison
//! after it; that an earlier one was inexact is in the host's MXCSR. [`settle`] makes FPSCR of it.
// UNSAFE BECAUSE: MXCSR is read and written by instructions.
#![allow(unsafe_code)]

use std::arch::asm;

use ppc440_isa::regs::fpscr;

use crate::fpu;

macro_rules! operations {
    ($($name:ident $function:ident($($operand:ident),+);)*) => {
        /// The operations that translated code does itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(super) enum Arithmetic {
            $(#[doc = concat!("`", stringify!($function), "`.")] $name,)*
        }

        impl Arithmetic {
            const ALL: &[Arithmetic] = &[$(Arithmetic::$name),*];

            /// Does the operation for what it leaves in FPSCR.
            fn redo(self, status: &mut u32, of: &UnsettledFpscr) {
                match self {
                    $(Arithmetic::$name => {
                        fpu::$function(status, $(of.$operand),+);
                    })*
                }
            }
        }
    };
}

operations! {
    Fadd fadd(a, b);
    Fadds fadds(a, b);
    Fsub fsub(a, b);
    Fsubs fsubs(a, b);
    Fmul fmul(a, c);
    Fmuls fmuls(a, c);
    Fdiv fdiv(a, b);
    Fdivs fdivs(a, b);
    Fmadd fmadd(a, c, b);
    Fmadds fmadds(a, c, b);
    Fmsub fmsub(a, c, b);
    Fmsubs fmsubs(a, c, b);
    Fnmadd fnmadd(a, c, b);
    Fnmadds fnmadds(a, c, b);
    Fnmsub fnmsub(a, c, b);
    Fnmsubs fnmsubs(a, c, b);
    Frsp frsp(b);
}

/// No operation since FPSCR was last settled.
const NONE: u32 = u32::MAX;

/// What FPSCR still lacks.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct UnsettledFpscr {
    /// The last operation, an [`Arithmetic`], or all ones.
    pub operation: u32,
    /// FPCC of a comparison after it, or 0.
    pub fpcc: u32,
    /// FRA, if the operation has it.
    pub a: u64,
    /// FRC.
    pub c: u64,
    /// FRB.
    pub b: u64,
}

impl UnsettledFpscr {
    /// Nothing.
    pub const NOTHING: UnsettledFpscr = UnsettledFpscr {
        operation: NONE,
        fpcc: 0,
        a: 0,
        c: 0,
        b: 0,
    };
}

/// Brings FPSCR up to date.
#[inline]
pub(super) fn settle(unsettled: &mut UnsettledFpscr, status: &mut u32) {
    if unsettled.operation != NONE || unsettled.fpcc != 0 {
        settle_now(unsettled, status);
    }
}

#[cold]
fn settle_now(unsettled: &mut UnsettledFpscr, status: &mut u32) {
    let last = Arithmetic::ALL.get(unsettled.operation as usize);
    if let Some(operation) = last {
        if take_inexact() {
            // FX tells of an exception bit that was 0 before.
            if *status & fpscr::XX == 0 {
                *status |= fpscr::FX;
            }
            *status |= fpscr::XX;
        }
        operation.redo(status, unsettled);
    }
    if unsettled.fpcc != 0 {
        *status = *status & !fpscr::FPCC | unsettled.fpcc << 12;
    }
    *unsettled = UnsettledFpscr::NOTHING;
}

/// MXCSR: a result was inexact.
const PE: u32 = 1 << 5;

/// Whether the host's arithmetic was inexact since the last call.
pub(super) fn take_inexact() -> bool {
    let mut mxcsr = 0u32;
    // SAFETY: stores MXCSR to the number, which is writable.
    unsafe {
        asm!("stmxcsr [{0}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
    }
    let inexact = mxcsr & PE != 0;
    if inexact {
        mxcsr &= !PE;
        // SAFETY: loads what MXCSR held but for a sticky bit that nobody else looks at: no bit
        // that is reserved, and no change of rounding or masks.
        unsafe {
            asm!("ldmxcsr [{0}]", in(reg) &raw const mxcsr, options(nostack, preserves_flags, readonly));
        }
    }
    inexact
}
