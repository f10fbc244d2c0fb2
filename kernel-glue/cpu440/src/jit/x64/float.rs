//! Floating point: the usual case here, everything else in the interpreter.
//!
//! The usual case is rounding to nearest, no exception enabled, and a result that is a normal
//! number. Then the host's arithmetic gives the same bits. Which of FPRF, FR, FI and XX an operation
//! leaves is worked out when somebody looks at FPSCR, from the operands of the last one, which are
//! kept, and from the host's own record of inexact results; see [`super::super::status`].
//!
//! Single-precision forms compute in double and round again. That is right unless the first
//! rounding ended exactly half way between two singles, and then the interpreter does it.

use std::mem::offset_of;

use ppc440_isa::{Insn, regs::fpscr};

use super::super::context::Context;
use super::super::exec::frame;
use super::super::status::{Arithmetic, UnsettledFpscr};
use super::{Emitter, asm, at};

/// The FPSCR bits that must be 0 for the usual case: exceptions enabled, other roundings.
const UNUSUAL: u32 = fpscr::VE | fpscr::OE | fpscr::UE | fpscr::ZE | fpscr::XE | fpscr::RN;

/// Offsets into [`Context`].
const OPERATION: i32 =
    (offset_of!(Context, unsettled) + offset_of!(UnsettledFpscr, operation)) as i32;
const FPCC: i32 = (offset_of!(Context, unsettled) + offset_of!(UnsettledFpscr, fpcc)) as i32;
const FRA: i32 = (offset_of!(Context, unsettled) + offset_of!(UnsettledFpscr, a)) as i32;
const FRC: i32 = (offset_of!(Context, unsettled) + offset_of!(UnsettledFpscr, c)) as i32;
const FRB: i32 = (offset_of!(Context, unsettled) + offset_of!(UnsettledFpscr, b)) as i32;

impl Emitter {
    /// A floating-point instruction; `false` when it is left to the interpreter.
    pub(super) fn float(&mut self, insn: Insn) -> bool {
        use Insn::*;
        let word = self.item.word;
        if word.rc() && !matches!(insn, Fcmpu | Fcmpo) {
            // CR1 shows FPSCR.
            return false;
        }
        let (to, from) = (at::fpr(word.frt()), at::fpr(word.frb()));
        match insn {
            Fmr => {
                self.check_fp();
                asm!(self, ; mov rax, [rbp + from] ; mov [rbp + to], rax);
            }
            Fneg => {
                self.check_fp();
                asm!(self, ; mov rax, [rbp + from] ; btc rax, 63 ; mov [rbp + to], rax);
            }
            Fabs => {
                self.check_fp();
                asm!(self, ; mov rax, [rbp + from] ; btr rax, 63 ; mov [rbp + to], rax);
            }
            Fnabs => {
                self.check_fp();
                asm!(self, ; mov rax, [rbp + from] ; bts rax, 63 ; mov [rbp + to], rax);
            }
            Fadd => self.arithmetic(Arithmetic::Fadd, false),
            Fadds => self.arithmetic(Arithmetic::Fadds, true),
            Fsub => self.arithmetic(Arithmetic::Fsub, false),
            Fsubs => self.arithmetic(Arithmetic::Fsubs, true),
            Fmul => self.arithmetic(Arithmetic::Fmul, false),
            Fmuls => self.arithmetic(Arithmetic::Fmuls, true),
            Fdiv => self.arithmetic(Arithmetic::Fdiv, false),
            Fdivs => self.arithmetic(Arithmetic::Fdivs, true),
            Fmadd => self.arithmetic(Arithmetic::Fmadd, false),
            Fmadds => self.arithmetic(Arithmetic::Fmadds, true),
            Fmsub => self.arithmetic(Arithmetic::Fmsub, false),
            Fmsubs => self.arithmetic(Arithmetic::Fmsubs, true),
            Fnmadd => self.arithmetic(Arithmetic::Fnmadd, false),
            Fnmadds => self.arithmetic(Arithmetic::Fnmadds, true),
            Fnmsub => self.arithmetic(Arithmetic::Fnmsub, false),
            Fnmsubs => self.arithmetic(Arithmetic::Fnmsubs, true),
            Frsp => self.arithmetic(Arithmetic::Frsp, true),
            Fcmpu | Fcmpo => self.compare_float(),
            _ => return false,
        }
        true
    }

    fn arithmetic(&mut self, operation: Arithmetic, single: bool) {
        use Arithmetic::*;
        let word = self.item.word;
        let (fra, frb, frc) = (
            at::fpr(word.fra()),
            at::fpr(word.frb()),
            at::fpr(word.frc()),
        );
        self.check_fp();
        self.uses_float = true;
        let back = self.asm.new_dynamic_label();
        let odd = self.interpret_cold(back);
        asm!(self, ; test DWORD [rbp + at::FPSCR], UNUSUAL as i32 ; jnz =>odd);
        match operation {
            Fadd | Fadds | Fsub | Fsubs | Fdiv | Fdivs => asm!(self,
                ; vmovsd xmm0, [rbp + fra]
                ; vmovsd xmm1, [rbp + frb]
            ),
            Fmul | Fmuls => asm!(self,
                ; vmovsd xmm0, [rbp + fra]
                ; vmovsd xmm2, [rbp + frc]
            ),
            Frsp => asm!(self, ; vmovsd xmm1, [rbp + frb]),
            _ => asm!(self,
                ; vmovsd xmm0, [rbp + fra]
                ; vmovsd xmm2, [rbp + frc]
                ; vmovsd xmm1, [rbp + frb]
                ; vmovapd xmm3, xmm0
            ),
        }
        match operation {
            Fadd | Fadds => asm!(self, ; vaddsd xmm3, xmm0, xmm1),
            Fsub | Fsubs => asm!(self, ; vsubsd xmm3, xmm0, xmm1),
            Fmul | Fmuls => asm!(self, ; vmulsd xmm3, xmm0, xmm2),
            Fdiv | Fdivs => asm!(self, ; vdivsd xmm3, xmm0, xmm1),
            Fmadd | Fmadds | Fnmadd | Fnmadds => asm!(self, ; vfmadd213sd xmm3, xmm2, xmm1),
            Fmsub | Fmsubs | Fnmsub | Fnmsubs => asm!(self, ; vfmsub213sd xmm3, xmm2, xmm1),
            Frsp => {}
        }
        // Biased exponents of results that need no second look: normal, and not the lowest, which
        // may have been rounded up from something too small.
        let (lowest, highest) = if single { (898, 1150) } else { (2, 2045) };
        if single {
            if operation == Frsp {
                asm!(self, ; vcvtsd2ss xmm3, xmm1, xmm1);
            } else {
                asm!(self,
                    ; vmovd eax, xmm3
                    ; and eax, 0x1FFF_FFFF
                    ; cmp eax, 0x1000_0000
                    ; je =>odd
                    ; vcvtsd2ss xmm3, xmm3, xmm3
                );
            }
            asm!(self, ; vcvtss2sd xmm3, xmm3, xmm3);
        }
        asm!(self,
            ; vmovq rax, xmm3
            ; lea rdx, [rax + rax]
            ; shr rdx, 53
            ; sub edx, lowest
            ; cmp edx, highest - lowest
            ; ja =>odd
        );
        if matches!(operation, Fnmadd | Fnmadds | Fnmsub | Fnmsubs) {
            asm!(self, ; btc rax, 63);
        }
        asm!(self,
            ; mov [rbp + at::fpr(word.frt())], rax
            ; mov rcx, [rbp + frame::CONTEXT]
            ; mov DWORD [rcx + OPERATION], operation as i32
            ; mov DWORD [rcx + FPCC], 0
        );
        match operation {
            Fadd | Fadds | Fsub | Fsubs | Fdiv | Fdivs => asm!(self,
                ; vmovsd [rcx + FRA], xmm0
                ; vmovsd [rcx + FRB], xmm1
            ),
            Fmul | Fmuls => asm!(self,
                ; vmovsd [rcx + FRA], xmm0
                ; vmovsd [rcx + FRC], xmm2
            ),
            Frsp => asm!(self, ; vmovsd [rcx + FRB], xmm1),
            _ => asm!(self,
                ; vmovsd [rcx + FRA], xmm0
                ; vmovsd [rcx + FRC], xmm2
                ; vmovsd [rcx + FRB], xmm1
            ),
        }
        asm!(self, ; =>back);
    }

    /// `fcmpu` and `fcmpo`, which are the same unless there is a NaN.
    fn compare_float(&mut self) {
        let word = self.item.word;
        let field = word.crfd();
        self.check_fp();
        self.uses_float = true;
        let back = self.asm.new_dynamic_label();
        let odd = self.interpret_cold(back);
        asm!(self,
            ; test DWORD [rbp + at::FPSCR], UNUSUAL as i32
            ; jnz =>odd
            ; vmovsd xmm0, [rbp + at::fpr(word.fra())]
            ; vucomisd xmm0, [rbp + at::fpr(word.frb())]
            ; jp =>odd
            ; seta al
            ; setb cl
            ; movzx eax, al
            ; movzx ecx, cl
            // FPCC: 2 for equal, 4 for greater, 8 for less.
            ; lea edx, [rcx + 2 * rcx]
            ; add edx, eax
            ; lea edx, [rdx + rdx + 2]
            ; sub rax, rcx
            ; mov [BYTE rbp + at::sign(field)], rax
            ; mov rcx, [rbp + frame::CONTEXT]
            ; mov [rcx + FPCC], edx
            ; =>back
        );
    }
}
