//! Branches: to blocks that are known, to blocks that are not yet, and to where a register says.

use ppc440_isa::Insn;

use super::super::blocks::Link;
use super::super::conditions::With;
use super::super::context::stop;
use super::super::exec::{find_block, frame, packed_site};
use super::assembler::DynamicLabel;
use super::{Cold, Emitter, Home, RAX, alu, asm, at};

const PAGE: i32 = 4096;

impl Emitter {
    /// A branch; says whether the block goes on behind it.
    pub(super) fn branch(&mut self, insn: Insn) -> Option<bool> {
        let word = self.item.word;
        let own = self.item.offset as i32;
        match insn {
            Insn::B => {
                if word.lk() {
                    self.link_register();
                }
                self.count_all();
                let to = own.wrapping_add(word.li());
                if word.aa() {
                    asm!(self, ; mov eax, word.li());
                    self.indirect();
                } else if word.lk() && self.returns_here() {
                    self.call_block(to);
                } else {
                    match self.label_inside(to) {
                        Some(start) if !word.lk() => asm!(self, ; jmp =>start),
                        _ => self.jump(to),
                    }
                }
                Some(false)
            }
            Insn::Bc if word.aa() => {
                let bd = word.bd();
                self.conditional(move |e| {
                    asm!(e, ; mov eax, bd);
                    e.indirect();
                })
            }
            Insn::Bc => {
                let to = own.wrapping_add(word.bd());
                let always = word.bo() & 0x14 == 0x14;
                if always || word.lk() {
                    return self.conditional(move |e| e.jump(to));
                }
                // The usual one: the jump itself is conditional.
                self.count_all();
                let taken = self.asm.new_dynamic_label();
                if let Some(inside) = self.label_inside(to) {
                    self.jump_if(inside, true);
                    return Some(true);
                }
                self.jump_if(taken, true);
                if self.swaps.is_empty() && (0..PAGE).contains(&to) {
                    let jump = self.asm.offset().0 as u32 - 4;
                    self.links.push(Link {
                        jump,
                        stub: 0,
                        guard: None,
                        to: None,
                    });
                    let link = self.links.len() - 1;
                    self.cold.push(Cold::Stub {
                        from: taken,
                        link,
                        to: to as u32,
                    });
                } else {
                    self.cold.push(Cold::Jump { from: taken, to });
                }
                Some(true)
            }
            Insn::Bclr => self.conditional(Self::go_back),
            Insn::Bcctr => self.conditional(|e| {
                // A branch that writes LR has used `eax` by now.
                let lk = e.item.word.lk();
                let copy = e.ctr_copy.filter(|host| *host != RAX || !lk);
                if e.item.word.lk() && e.returns_here() {
                    asm!(e, ; push rax);
                }
                match (copy, e.ctr()) {
                    (Some(h), _) | (None, Home::Host(h)) => asm!(e, ; mov eax, Rd(h)),
                    (None, Home::Memory(m)) => asm!(e, ; mov eax, [BYTE rbp + m]),
                }
                asm!(e, ; and eax, -4);
                if e.item.word.lk() && e.returns_here() {
                    e.find_block();
                    asm!(e, ; call rcx);
                    e.arrive_back();
                } else {
                    e.indirect();
                }
            }),
            _ => None,
        }
    }

    /// Whether what is behind the branch is in its page.
    fn returns_here(&self) -> bool {
        self.item.offset as i32 + 4 < PAGE
    }

    /// Calls the code at an offset from the start of this page; LR is in `eax`.
    fn call_block(&mut self, to: i32) {
        self.leave_loop();
        asm!(self, ; push rax);
        let stub = self.asm.new_dynamic_label();
        let guard = self.enter_page(to, stub);
        // The displacement leads to the stub until the link is made.
        asm!(self, ; call =>stub);
        let jump = self.asm.offset().0 as u32 - 4;
        self.arrive_back();
        asm!(self, ; =>stub);
        self.links.push(Link {
            jump,
            stub: 0,
            guard,
            to: None,
        });
        self.stub(self.links.len() - 1, (to & (PAGE - 1)) as u32);
    }

    /// Where a call returns to, with LR in `eax`: goes on behind the branch.
    fn arrive_back(&mut self) {
        let behind = self.item.offset + 4;
        asm!(self, ; add rsp, 8 ; and eax, -PAGE ; mov [BYTE rbp + at::PC], eax);
        self.jump_known(behind);
    }

    /// Goes to LR: returns, if it is what the last call left there.
    fn go_back(&mut self) {
        self.leave_loop();
        let from = self.asm.new_dynamic_label();
        self.cold.push(Cold::GoBack { from });
        asm!(self,
            ; mov eax, [BYTE rbp + at::LR]
            ; and eax, -4
            ; cmp eax, [rsp + 8]
            ; jne =>from
            ; ret
        );
    }

    /// LR becomes the address behind the branch, and `eax` too.
    fn link_register(&mut self) {
        let behind = self.item.offset as i32 + 4;
        asm!(self, ; mov eax, [BYTE rbp + at::PC] ; add eax, behind ; mov [BYTE rbp + at::LR], eax);
    }

    /// A branch that goes where `go` says if its condition holds.
    fn conditional(&mut self, go: impl FnOnce(&mut Self)) -> Option<bool> {
        let word = self.item.word;
        self.count_all();
        let always = word.bo() & 0x14 == 0x14;
        let behind = self.asm.new_dynamic_label();
        if word.lk() {
            // The target may be LR itself: it is read first, and kept in LR's place by `go`.
            self.flags = None;
            if self.item.insn == Some(Insn::Bclr) {
                // `bclrl`: the old LR is the target.
                asm!(self, ; mov eax, [BYTE rbp + at::LR]);
                self.link_register_keeping_rax();
                asm!(self, ; and eax, -4);
                if !always {
                    self.jump_if(behind, false);
                }
                self.indirect();
                return self.after(always, behind);
            }
            self.link_register();
        }
        if !always {
            self.jump_if(behind, false);
        }
        go(self);
        self.after(always, behind)
    }

    fn after(&mut self, always: bool, behind: DynamicLabel) -> Option<bool> {
        asm!(self, ; =>behind);
        self.flags = None;
        Some(!always)
    }

    fn link_register_keeping_rax(&mut self) {
        let behind = self.item.offset as i32 + 4;
        asm!(self, ; mov ecx, [BYTE rbp + at::PC] ; add ecx, behind ; mov [BYTE rbp + at::LR], ecx);
    }

    /// Jumps to a label if the branch's condition holds, or if it does not; `rax` is kept.
    fn jump_if(&mut self, label: DynamicLabel, holds: bool) {
        let word = self.item.word;
        let (bo, bi) = (word.bo(), word.bi() as usize);
        let counts = bo & 4 == 0;
        let tests = bo & 16 == 0;
        let skip = self.asm.new_dynamic_label();
        if counts {
            self.flags = None;
            // CTR is 0 after counting: branch, or do not.
            match self.ctr() {
                Home::Host(h) => asm!(self, ; dec Rd(h)),
                // The host's processors forward what was stored to a load more quickly than to an
                // instruction that works on memory.
                Home::Memory(m) => asm!(self,
                    ; mov ecx, [BYTE rbp + m]
                    ; dec ecx
                    ; mov [BYTE rbp + m], ecx
                ),
            }
            let on_zero = bo & 2 != 0;
            match (tests, holds) {
                (false, _) if on_zero == holds => asm!(self, ; jz =>label),
                (false, _) => asm!(self, ; jnz =>label),
                // Both must hold: when the count does not, it is decided.
                (true, true) if on_zero => asm!(self, ; jnz =>skip),
                (true, true) => asm!(self, ; jz =>skip),
                (true, false) if on_zero => asm!(self, ; jnz =>label),
                (true, false) => asm!(self, ; jz =>label),
            }
        }
        if tests {
            let when = (bo & 8 != 0) == holds;
            if !self.jump_again(bi, when, label) {
                self.jump_on_bit(bi, when, label);
            } else if counts {
                // There is a way here without the comparison.
                self.flags = None;
            }
        }
        asm!(self, ; =>skip);
    }

    /// Makes the comparison again that set a CR bit, LT, GT or EQ, and jumps if that is `when`; says
    /// whether it could, and had to.
    fn jump_again(&mut self, bit: usize, when: bool, label: DynamicLabel) -> bool {
        let field = bit / 4;
        let Some(comparison) = self.comparison.filter(|_| self.flags != Some(field)) else {
            return false;
        };
        let Home::Host(a) = self.home(comparison.register) else {
            return false;
        };
        match comparison.with {
            With::Number(0) => asm!(self, ; test Rd(a), Rd(a)),
            With::Number(number) => asm!(self, ; cmp Rd(a), number),
            With::Register(b) => alu!(self, cmp, a, b),
        }
        self.flags = comparison.signed.then_some(field);
        match (bit % 4, when, comparison.signed) {
            (0, true, true) => asm!(self, ; jl =>label),
            (0, false, true) => asm!(self, ; jge =>label),
            (0, true, false) => asm!(self, ; jb =>label),
            (0, false, false) => asm!(self, ; jae =>label),
            (1, true, true) => asm!(self, ; jg =>label),
            (1, false, true) => asm!(self, ; jle =>label),
            (1, true, false) => asm!(self, ; ja =>label),
            (1, false, false) => asm!(self, ; jbe =>label),
            (_, true, _) => asm!(self, ; je =>label),
            (_, false, _) => asm!(self, ; jne =>label),
        }
        true
    }

    /// Jumps if a CR bit is `when`.
    pub(super) fn jump_on_bit(&mut self, bit: usize, when: bool, label: DynamicLabel) {
        let field = bit / 4;
        let known = self.flags == Some(field);
        if !known {
            self.flags = None;
        }
        match (bit % 4, known) {
            (0, true) => match when {
                true => asm!(self, ; jl =>label),
                false => asm!(self, ; jge =>label),
            },
            (0, false) => {
                asm!(self, ; test BYTE [BYTE rbp + at::sign_top(field)], 0x40);
                match when {
                    true => asm!(self, ; jnz =>label),
                    false => asm!(self, ; jz =>label),
                }
            }
            (1, _) => {
                if !known {
                    asm!(self, ; cmp QWORD [BYTE rbp + at::sign(field)], 0);
                }
                match when {
                    true => asm!(self, ; jg =>label),
                    false => asm!(self, ; jle =>label),
                }
            }
            (2, _) => {
                if !known {
                    asm!(self, ; cmp DWORD [BYTE rbp + at::sign(field)], 0);
                }
                match when {
                    true => asm!(self, ; je =>label),
                    false => asm!(self, ; jne =>label),
                }
            }
            _ => {
                // Whether bits 61 and 62 differ: only then is the upper one of the two set after
                // counting on. `eax` and `edx` are somebody's.
                asm!(self,
                    ; mov rcx, [BYTE rbp + at::sign(field)]
                    ; shr rcx, 61
                    ; inc ecx
                    ; test cl, 2
                );
                self.flags = None;
                match when {
                    true => asm!(self, ; jnz =>label),
                    false => asm!(self, ; jz =>label),
                }
            }
        }
    }

    /// Goes on at an offset from the start of this page, in this page or another.
    pub(super) fn jump(&mut self, to: i32) {
        self.leave_loop();
        let stub = self.asm.new_dynamic_label();
        let guard = self.enter_page(to, stub);
        self.jump_linked(stub, guard, to);
    }

    /// Jumps to an address in this page, where no loop's registers are in the host's.
    fn jump_known(&mut self, to: u32) {
        let stub = self.asm.new_dynamic_label();
        self.jump_linked(stub, None, to as i32);
    }

    /// Makes `pc` the start of the page of an offset from the start of this one, and goes to `stub` if
    /// another page has come to be there; then gives where the page's number is in the code.
    fn enter_page(&mut self, to: i32, stub: DynamicLabel) -> Option<u32> {
        if (0..PAGE).contains(&to) {
            return None;
        }
        let pages = to & !(PAGE - 1);
        asm!(self,
            ; mov eax, [BYTE rbp + at::PC]
            ; add eax, pages
            ; mov ecx, eax
            ; shr ecx, 12
            ; mov rdx, [BYTE rbp + frame::FETCH]
            ; mov [BYTE rbp + at::PC], eax
            ; cmp DWORD [rdx + 4 * rcx], DWORD -1
        );
        let guard = self.asm.offset().0 as u32 - 4;
        asm!(self, ; jne =>stub);
        Some(guard)
    }

    /// A jump that becomes a link; `stub` is its stub.
    fn jump_linked(&mut self, stub: DynamicLabel, guard: Option<u32>, to: i32) {
        // The displacement leads to the stub until the link is made.
        asm!(self, ; jmp =>stub);
        let jump = self.asm.offset().0 as u32 - 4;
        asm!(self, ; =>stub);
        let stub = self.asm.offset().0 as u32;
        self.links.push(Link {
            jump,
            stub,
            guard,
            to: None,
        });
        self.stub(self.links.len() - 1, (to & (PAGE - 1)) as u32);
    }

    /// Asks for a link to be made, to an offset in the page that `pc` names.
    pub(super) fn stub(&mut self, link: usize, to: u32) {
        let id = self.first_link + link as u32;
        let known = &mut self.links[link];
        known.stub = self.asm.offset().0 as u32;
        known.to = known.guard.is_none().then_some((to / 4) as u16);
        asm!(self, ; mov ecx, packed_site(to, 0) ; mov eax, (stop::LINK | id << 8) as i32);
        self.go(self.shared.leave_at);
    }

    /// Goes on at the effective address in `eax`, a multiple of 4.
    pub(super) fn indirect(&mut self) {
        self.find_block();
        asm!(self, ; jmp rcx);
    }

    /// The code at the effective address in `eax`, in `rcx`; `pc` becomes the start of its page.
    fn find_block(&mut self) {
        self.leave_loop();
        find_block!(self.asm);
    }
}
