//! What problem state can do of the system, what the CPU does for the guest's supervisor, and what
//! goes to the KVM core.

use std::mem::offset_of;

use ppc440_isa::regs::{mmucr, msr};
use ppc440_isa::tlb::ENTRIES;
use ppc440_isa::{Insn, TlbWrite, TlbWrites, spr};

use super::super::context::stop;
use super::super::exec::packed_site;
use super::assembler::DynamicLabel;
use super::{Cold, Emitter, Home, RAX, RDX, asm, at};
use crate::interp::{OWN_MSR, goes_to_core};

/// An SPR that a move reads or writes as it is.
struct Held {
    /// Offset from `rbp`.
    at: i32,
    /// Problem state may move it too.
    user: bool,
}

/// Where an SPR is; none for those that take more than a move.
fn held(number: u32) -> Option<Held> {
    let (at, user) = match number {
        spr::LR => (at::LR.into(), true),
        spr::USPRG0 => (at::USPRG0, true),
        spr::SPRG4_USER..=spr::SPRG7_USER => {
            (at::sprg((number - spr::SPRG4_USER) as usize + 4), true)
        }
        spr::SPRG0..=spr::SPRG7 => (at::sprg((number - spr::SPRG0) as usize), false),
        spr::SRR0 => (at::SRR0, false),
        spr::SRR1 => (at::SRR1, false),
        spr::CSRR0 => (at::CSRR0, false),
        spr::CSRR1 => (at::CSRR1, false),
        spr::DEAR => (at::DEAR, false),
        spr::ESR => (at::ESR, false),
        spr::MMUCR => (at::MMUCR, false),
        _ => return None,
    };
    Some(Held { at, user })
}

impl Emitter {
    /// A system instruction; says whether the block goes on behind it.
    pub(super) fn system(&mut self, insn: Insn) -> Option<bool> {
        let word = self.item.word;
        let rt = word.rt();
        if goes_to_core(insn, word) {
            return Some(self.resume());
        }
        match insn {
            Insn::Isync => {
                let waiting = self.attention();
                asm!(self, ; cmp DWORD [rbp + at::TLB_WRITES], 0 ; jne =>waiting);
                Some(true)
            }
            Insn::Msync | Insn::Mbar => {
                // What orders a store before a later load on this host, and faster than `mfence`.
                asm!(self, ; lock or DWORD [rsp], 0);
                Some(true)
            }
            Insn::Sc => Some(self.resume()),
            Insn::Tw | Insn::Twi if word.to() == 31 => {
                self.interpret();
                Some(false)
            }
            Insn::Mfspr => {
                match word.spr() {
                    spr::CTR => {
                        let ctr = match self.ctr() {
                            Home::Host(h) => h,
                            Home::Memory(m) => {
                                asm!(self, ; mov eax, [BYTE rbp + m]);
                                RAX
                            }
                        };
                        self.set(rt, ctr);
                    }
                    spr::PID => {
                        self.supervisor_only();
                        asm!(self, ; movzx eax, BYTE [rbp + at::PID]);
                        self.set(rt, RAX);
                    }
                    number => match held(number) {
                        Some(Held { at, user }) => {
                            if !user {
                                self.supervisor_only();
                            }
                            self.move_from(rt, at);
                        }
                        None => self.interpret(),
                    },
                }
                Some(true)
            }
            Insn::Mtspr => {
                match word.spr() {
                    spr::CTR => {
                        let s = self.value(rt, RAX);
                        match self.ctr() {
                            Home::Host(h) => asm!(self, ; mov Rd(h), Rd(s)),
                            Home::Memory(m) => asm!(self, ; mov [BYTE rbp + m], Rd(s)),
                        }
                        self.ctr_copy = Some(s);
                    }
                    spr::PID => return Some(self.resume()),
                    spr::MMUCR => {
                        self.supervisor_only();
                        self.load(RAX, rt);
                        asm!(self,
                            ; and eax, mmucr::IMPLEMENTED as i32
                            ; mov [rbp + at::MMUCR], eax
                        );
                    }
                    number => match held(number) {
                        Some(Held { at, user }) => {
                            if !user {
                                self.supervisor_only();
                            }
                            let s = self.value(rt, RAX);
                            asm!(self, ; mov [rbp + at], Rd(s));
                        }
                        None => self.interpret(),
                    },
                }
                Some(true)
            }
            Insn::Mfmsr => {
                self.supervisor_only();
                self.move_from(rt, at::MSR.into());
                Some(true)
            }
            Insn::Mtmsr => {
                self.supervisor_only();
                self.load(RAX, rt);
                let other = self.turn_cold();
                self.change_msr(other);
                let masks = self.asm.new_dynamic_label();
                asm!(self, ; test eax, msr::EE as i32 ; jz =>masks);
                self.unmasked();
                asm!(self, ; =>masks);
                self.fp_checked = false;
                Some(true)
            }
            Insn::Rfi => {
                self.supervisor_only();
                let other = self.turn_cold();
                let go = self.asm.new_dynamic_label();
                asm!(self,
                    ; mov eax, [rbp + at::SRR1]
                    ; test eax, msr::EE as i32
                    ; jz =>go
                    ; cmp BYTE [rbp + at::MASKED], 0
                    ; jne =>other
                    ; =>go
                    ; cmp DWORD [rbp + at::TLB_WRITES], 0
                    ; jne =>other
                );
                self.change_msr(other);
                self.count_all();
                asm!(self, ; mov eax, [rbp + at::SRR0] ; and eax, -4);
                self.indirect();
                Some(false)
            }
            Insn::Tlbwe => {
                self.supervisor_only();
                let full = self.turn_cold();
                self.load(RAX, word.ra());
                let value = self.value(rt, RDX);
                let write = at::TLB_WRITES + offset_of!(TlbWrites, writes) as i32;
                let (index, word_of, tid) = (
                    write + offset_of!(TlbWrite, index) as i32,
                    write + offset_of!(TlbWrite, word) as i32,
                    write + offset_of!(TlbWrite, tid) as i32,
                );
                asm!(self,
                    ; mov ecx, [rbp + at::TLB_WRITES]
                    ; cmp ecx, TlbWrites::MOST as i32
                    ; jae =>full
                    ; and eax, ENTRIES as i32 - 1
                    ; mov [rbp + 8 * rcx + write], Rd(value)
                    ; mov [rbp + 8 * rcx + index], al
                    ; mov BYTE [rbp + 8 * rcx + word_of], word.ws() as i8
                    ; mov eax, [rbp + at::MMUCR]
                    ; mov [rbp + 8 * rcx + tid], al
                    ; inc ecx
                    ; mov [rbp + at::TLB_WRITES], ecx
                );
                Some(true)
            }
            Insn::Wrteei if word.0 & msr::EE == 0 => {
                self.supervisor_only();
                asm!(self, ; and DWORD [BYTE rbp + at::MSR], !msr::EE as i32);
                Some(true)
            }
            Insn::Wrteei => {
                self.supervisor_only();
                asm!(self, ; or DWORD [BYTE rbp + at::MSR], msr::EE as i32);
                self.unmasked();
                Some(true)
            }
            Insn::Wrtee => {
                self.supervisor_only();
                self.load(RAX, rt);
                let masks = self.asm.new_dynamic_label();
                asm!(self,
                    ; mov ecx, [BYTE rbp + at::MSR]
                    ; and ecx, !msr::EE as i32
                    ; and eax, msr::EE as i32
                    ; or ecx, eax
                    ; mov [BYTE rbp + at::MSR], ecx
                    ; test eax, eax
                    ; jz =>masks
                );
                self.unmasked();
                asm!(self, ; =>masks);
                Some(true)
            }
            _ => None,
        }
    }

    /// Goes on with the current instruction where it may change the mode, or is the core's.
    fn resume(&mut self) -> bool {
        self.leave_loop();
        asm!(self, ; mov ecx, self.item.word.0 as i32 ; mov edx, self.site());
        self.go(self.shared.resume);
        false
    }

    /// Goes on so, with the current instruction, if a jump to the returned label is taken.
    fn turn_cold(&mut self) -> DynamicLabel {
        let from = self.asm.new_dynamic_label();
        let (word, site) = (self.item.word.0, self.site());
        self.cold.push(Cold::Resume { from, word, site });
        from
    }

    /// Makes `eax` the MSR, unless it changes more than the CPU's own bits: then it goes to `core`.
    fn change_msr(&mut self, core: DynamicLabel) {
        asm!(self,
            ; and eax, msr::IMPLEMENTED as i32
            ; mov ecx, eax
            ; xor ecx, [BYTE rbp + at::MSR]
            ; test ecx, !OWN_MSR as i32
            ; jnz =>core
            ; mov [BYTE rbp + at::MSR], eax
        );
    }

    /// Where to go when the core must look behind the current instruction.
    fn attention(&mut self) -> DynamicLabel {
        let behind = packed_site(self.item.offset + 4, self.done + 1);
        self.leave_cold(stop::ATTENTION, behind)
    }

    /// Leaves behind the current instruction, which set MSR[EE], if an interrupt waited for it.
    fn unmasked(&mut self) {
        let waits = self.attention();
        asm!(self, ; cmp BYTE [rbp + at::MASKED], 0 ; jne =>waits);
    }

    fn move_from(&mut self, rt: usize, from: i32) {
        match self.home(rt) {
            Home::Host(d) => asm!(self, ; mov Rd(d), [rbp + from]),
            Home::Memory(m) => asm!(self, ; mov eax, [rbp + from] ; mov [BYTE rbp + m], eax),
        }
    }

    /// Goes to the core in problem state.
    fn supervisor_only(&mut self) {
        let from = self.turn_cold();
        asm!(self,
            ; test DWORD [BYTE rbp + at::MSR], msr::PR as i32
            ; jnz =>from
        );
    }
}
