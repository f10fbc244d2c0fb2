//! What problem state can do of the system, and what goes to the KVM core.

use dynasmrt::{DynasmApi, DynasmLabelApi};
use ppc440_isa::regs::msr;
use ppc440_isa::{Insn, spr};

use super::super::exec::{frame, place, stop};
use super::super::frontend::{SPRG0, SPRG7, USER_SPRG4, USER_SPRG7, goes_to_core};
use super::{Cold, Emitter, Home, RAX, asm, at};

impl Emitter {
    /// A system instruction; says whether the block goes on behind it.
    pub(super) fn system(&mut self, insn: Insn) -> Option<bool> {
        let word = self.item.word;
        let rt = word.rt();
        if goes_to_core(insn, word) {
            return Some(self.privileged());
        }
        match insn {
            Insn::Isync => Some(true),
            Insn::Msync | Insn::Mbar => {
                // What orders a store before a later load on this host, and faster than `mfence`.
                asm!(self, ; lock or DWORD [rsp + frame::CONTEXT], 0);
                Some(true)
            }
            Insn::Sc => {
                // What completed is what came before; the core counts the call itself.
                let behind = place(self.item.offset + 4, self.done);
                self.leave(stop::SYSCALL, behind);
                Some(false)
            }
            Insn::Tw | Insn::Twi if word.to() == 31 => {
                self.interpret();
                Some(false)
            }
            Insn::Mfspr => Some(match word.spr() {
                spr::LR => self.move_from(rt, at::LR.into()),
                spr::CTR => {
                    let ctr = match self.ctr() {
                        Home::Host(h) => h,
                        Home::Memory(m) => {
                            asm!(self, ; mov eax, [BYTE rbp + m]);
                            RAX
                        }
                    };
                    self.set(rt, ctr);
                    true
                }
                spr::USPRG0 => self.move_from(rt, at::USPRG0),
                // Problem state may read SPRG4-7 by these numbers.
                n @ USER_SPRG4..=USER_SPRG7 => {
                    self.move_from(rt, at::sprg((n - USER_SPRG4) as usize + 4))
                }
                n @ SPRG0..=SPRG7 => {
                    self.supervisor_only();
                    self.move_from(rt, at::sprg((n - SPRG0) as usize))
                }
                _ => {
                    self.interpret();
                    true
                }
            }),
            Insn::Mtspr => Some(match word.spr() {
                spr::LR => self.move_to(rt, at::LR.into()),
                spr::CTR => {
                    let s = self.value(rt, RAX);
                    match self.ctr() {
                        Home::Host(h) => asm!(self, ; mov Rd(h), Rd(s)),
                        Home::Memory(m) => asm!(self, ; mov [BYTE rbp + m], Rd(s)),
                    }
                    true
                }
                spr::USPRG0 => self.move_to(rt, at::USPRG0),
                n @ SPRG0..=SPRG7 => {
                    self.supervisor_only();
                    self.move_to(rt, at::sprg((n - SPRG0) as usize))
                }
                _ => {
                    self.interpret();
                    true
                }
            }),
            Insn::Mfmsr => {
                self.supervisor_only();
                Some(self.move_from(rt, at::MSR.into()))
            }
            _ => None,
        }
    }

    fn move_from(&mut self, rt: usize, from: i32) -> bool {
        match self.home(rt) {
            Home::Host(d) => asm!(self, ; mov Rd(d), [rbp + from]),
            Home::Memory(m) => asm!(self, ; mov eax, [rbp + from] ; mov [BYTE rbp + m], eax),
        }
        true
    }

    fn move_to(&mut self, rs: usize, to: i32) -> bool {
        let s = self.value(rs, RAX);
        asm!(self, ; mov [rbp + to], Rd(s));
        true
    }

    /// Leaves for the core, which knows the instruction.
    fn privileged(&mut self) -> bool {
        self.leave_loop();
        asm!(self, ; mov edx, self.item.word.0 as i32 ; mov ecx, self.place());
        self.go(self.shared.leave_with_word);
        false
    }

    /// Leaves for the core in problem state.
    fn supervisor_only(&mut self) {
        let from = self.asm.new_dynamic_label();
        let (word, place) = (self.item.word.0, self.place());
        self.cold.push(Cold::Privileged { from, word, place });
        asm!(self,
            ; test DWORD [BYTE rbp + at::MSR], msr::PR as i32
            ; jnz =>from
        );
    }
}
