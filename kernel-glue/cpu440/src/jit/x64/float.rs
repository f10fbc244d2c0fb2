//! Floating point.

use dynasmrt::DynasmApi;
use ppc440_isa::Insn;

use super::{Emitter, asm, at};

impl Emitter<'_> {
    /// A floating-point instruction; `false` when it is left to the interpreter.
    pub(super) fn float(&mut self, insn: Insn) -> bool {
        use Insn::*;
        let word = self.item.word;
        if word.rc() {
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
            _ => return false,
        }
        true
    }
}
