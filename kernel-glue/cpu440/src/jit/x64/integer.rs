//! Integer arithmetic, logic, rotates, shifts, compares and the condition register.

use ppc440_isa::Insn;

use super::super::flags::{self, CA, has_oe, records};
use super::{Emitter, Home, RAX, RCX, RDX, alu, asm, at};
use crate::interp::rotate_mask;

/// What an addition adds to the first source.
#[derive(Clone, Copy)]
enum Term {
    Register(usize),
    Immediate(i32),
}

/// What carry comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carry {
    Zero,
    One,
    Ca,
}

impl Emitter {
    /// An integer instruction; `false` when it is left to the interpreter.
    pub(super) fn integer(&mut self, insn: Insn) -> bool {
        use Insn::*;
        let word = self.item.word;
        let (rt, ra, rb, rs) = (word.rt(), word.ra(), word.rb(), word.rs());
        // Overflow is hardly ever asked for.
        if word.oe() && has_oe(insn) {
            return false;
        }
        match insn {
            Addi => self.add_immediate(rt, ra, word.d()),
            Addis => self.add_immediate(rt, ra, word.d() << 16),
            Add => self.add(rt, ra, rb),
            Subf => self.subtract(rt, ra, rb),
            Neg => {
                let d = self.target(rt, RAX);
                self.load(d, ra);
                asm!(self, ; neg Rd(d));
                self.set(rt, d);
            }
            Addic | AddicDot => self.carry(rt, ra, false, Term::Immediate(word.d()), Carry::Zero),
            Subfic => self.carry(rt, ra, true, Term::Immediate(word.d()), Carry::One),
            Addc => self.carry(rt, ra, false, Term::Register(rb), Carry::Zero),
            Adde => self.carry(rt, ra, false, Term::Register(rb), Carry::Ca),
            Addze => self.carry(rt, ra, false, Term::Immediate(0), Carry::Ca),
            Addme => self.carry(rt, ra, false, Term::Immediate(-1), Carry::Ca),
            Subfc => self.carry(rt, ra, true, Term::Register(rb), Carry::One),
            Subfe => self.carry(rt, ra, true, Term::Register(rb), Carry::Ca),
            Subfze => self.carry(rt, ra, true, Term::Immediate(0), Carry::Ca),
            Subfme => self.carry(rt, ra, true, Term::Immediate(-1), Carry::Ca),
            Mulli => {
                let a = self.value(ra, RAX);
                let d = self.target(rt, RAX);
                asm!(self, ; imul Rd(d), Rd(a), word.d());
                self.set(rt, d);
            }
            Mullw => {
                let d = self.target(rt, RAX);
                // A factor that is in the product's place must be the first.
                let (first, second) = match self.home(rb) == Home::Host(d) {
                    true => (rb, ra),
                    false => (ra, rb),
                };
                self.load(d, first);
                alu!(self, imul, d, second);
                self.set(rt, d);
            }
            Mulhw => {
                self.signed(RAX, ra);
                self.signed(RCX, rb);
                asm!(self, ; imul rax, rcx ; shr rax, 32);
                self.set(rt, RAX);
            }
            Mulhwu => {
                self.load(RAX, ra);
                let b = self.value(rb, RCX);
                asm!(self, ; imul rax, Rq(b) ; shr rax, 32);
                self.set(rt, RAX);
            }
            Divw => self.divide(rt, ra, rb, true),
            Divwu => self.divide(rt, ra, rb, false),
            Cmp | Cmpi | Cmpl | Cmpli if self.is_unseen(flags::field(word.crfd())) => {}
            Cmp => {
                self.signed(RAX, ra);
                self.signed(RCX, rb);
                asm!(self, ; sub rax, rcx);
                return self.compared(word.crfd());
            }
            Cmpi => {
                self.signed(RAX, ra);
                match word.d() {
                    0 => asm!(self, ; test rax, rax),
                    imm => asm!(self, ; sub rax, imm),
                }
                return self.compared(word.crfd());
            }
            Cmpl => {
                self.load(RAX, ra);
                let b = self.value(rb, RCX);
                asm!(self, ; sub rax, Rq(b));
                return self.compared(word.crfd());
            }
            Cmpli => {
                self.load(RAX, ra);
                match word.ui() as i32 {
                    0 => asm!(self, ; test rax, rax),
                    imm => asm!(self, ; sub rax, imm),
                }
                return self.compared(word.crfd());
            }
            Isel => self.select(rt, ra, rb, word.bc() as usize),
            Andi => self.logic_immediate(ra, rs, word.ui(), |e, d, imm| asm!(e, ; and Rd(d), imm)),
            Andis => self.logic_immediate(
                ra,
                rs,
                word.ui() << 16,
                |e, d, imm| asm!(e, ; and Rd(d), imm),
            ),
            Ori if word.ui() == 0 && ra == rs => {}
            Ori => self.logic_immediate(ra, rs, word.ui(), |e, d, imm| asm!(e, ; or Rd(d), imm)),
            Oris => self.logic_immediate(
                ra,
                rs,
                word.ui() << 16,
                |e, d, imm| asm!(e, ; or Rd(d), imm),
            ),
            Xori => self.logic_immediate(ra, rs, word.ui(), |e, d, imm| asm!(e, ; xor Rd(d), imm)),
            Xoris => self.logic_immediate(
                ra,
                rs,
                word.ui() << 16,
                |e, d, imm| asm!(e, ; xor Rd(d), imm),
            ),
            Or if rs == rb => self.copy(ra, rs),
            And | Or | Xor | Nand | Nor | Eqv | Andc | Orc => self.logic(insn, ra, rs, rb),
            Cntlzw => {
                let d = self.target(ra, RAX);
                match self.home(rs) {
                    Home::Host(s) => asm!(self, ; lzcnt Rd(d), Rd(s)),
                    Home::Memory(m) => asm!(self, ; lzcnt Rd(d), [BYTE rbp + m]),
                }
                self.set(ra, d);
            }
            Extsb => {
                let d = self.target(ra, RAX);
                match self.home(rs) {
                    Home::Host(s) => {
                        // Every host register's low byte can be named in 64-bit mode.
                        asm!(self, ; mov eax, Rd(s) ; movsx Rd(d), al);
                    }
                    Home::Memory(m) => asm!(self, ; movsx Rd(d), BYTE [BYTE rbp + m]),
                }
                self.set(ra, d);
            }
            Extsh => {
                let d = self.target(ra, RAX);
                match self.home(rs) {
                    Home::Host(s) => asm!(self, ; movsx Rd(d), Rw(s)),
                    Home::Memory(m) => asm!(self, ; movsx Rd(d), WORD [BYTE rbp + m]),
                }
                self.set(ra, d);
            }
            Rlwinm => self.rotate_and_mask(ra, rs, word.sh(), word.mb(), word.me()),
            Rlwimi => self.rotate_and_insert(ra, rs, word.sh(), word.mb(), word.me()),
            Rlwnm => {
                self.load(RAX, rs);
                self.load(RCX, rb);
                asm!(self, ; rol eax, cl);
                let mask = rotate_mask(word.mb(), word.me());
                if mask != u32::MAX {
                    asm!(self, ; and eax, mask as i32);
                }
                self.set(ra, RAX);
            }
            Slw | Srw => {
                // 64 bits wide, so that counts of 32 to 63 leave nothing.
                self.load(RCX, rb);
                self.load(RAX, rs);
                if insn == Slw {
                    asm!(self, ; shlx rax, rax, rcx ; mov eax, eax);
                } else {
                    asm!(self, ; shrx rax, rax, rcx);
                }
                self.set(ra, RAX);
            }
            Sraw if self.is_unseen(CA) => {
                self.signed(RAX, rs);
                self.load(RCX, rb);
                asm!(self, ; sarx rax, rax, rcx);
                self.set(ra, RAX);
            }
            Sraw => {
                self.signed(RAX, rs);
                self.load(RCX, rb);
                // Bits that fall off a negative number make a carry; shifted back, they are lost.
                asm!(self,
                    ; mov rdx, rax
                    ; sarx rax, rax, rcx
                    ; shlx rcx, rax, rcx
                    ; cmp rcx, rdx
                    ; setne cl
                    ; shr rdx, 63
                    ; and cl, dl
                    ; mov [BYTE rbp + at::CA], cl
                );
                self.set(ra, RAX);
            }
            Srawi if self.is_unseen(CA) => {
                let d = self.target(ra, RAX);
                self.load(d, rs);
                asm!(self, ; sar Rd(d), word.sh() as i8);
                self.set(ra, d);
            }
            Srawi => {
                let sh = word.sh() as i8;
                let d = self.target(ra, RAX);
                if sh == 0 {
                    self.load(d, rs);
                    asm!(self, ; mov BYTE [BYTE rbp + at::CA], 0);
                } else {
                    self.load(RCX, rs);
                    let lost = (1u32 << sh) - 1;
                    asm!(self,
                        ; mov edx, ecx
                        ; sar edx, 31
                        ; and edx, lost as i32
                        ; test ecx, edx
                        ; setne [BYTE rbp + at::CA]
                        ; sar ecx, sh
                    );
                    if d == RAX {
                        asm!(self, ; mov eax, ecx);
                    } else {
                        asm!(self, ; mov Rd(d), ecx);
                    }
                }
                self.set(ra, d);
            }
            Mcrf => {
                let (to, from) = (word.crfd(), word.crfs());
                asm!(self,
                    ; mov rax, [BYTE rbp + at::sign(from)]
                    ; mov [BYTE rbp + at::sign(to)], rax
                );
            }
            Mtcrf => self.move_to_cr(rs, word.crm()),
            Mfcr => self.move_from_cr(rt),
            Mullhw | Mullhwu | Mulchw | Mulchwu | Mulhhw | Mulhhwu => {
                self.half_product(insn, ra, rb);
                self.set(rt, RAX);
            }
            Maclhw | Maclhwu | Macchw | Macchwu | Machhw | Machhwu => {
                self.half_product(insn, ra, rb);
                alu!(self, add, RAX, rt);
                self.set(rt, RAX);
            }
            _ => return false,
        }
        if records(insn, word.rc()) && !self.is_unseen(flags::field(0)) {
            let result = if writes_ra(insn) { ra } else { rt };
            self.signed(RAX, result);
            asm!(self, ; test rax, rax);
            return self.compared(0);
        }
        true
    }

    /// Loads a guest register's value, sign-extended to 64 bits.
    fn signed(&mut self, host: u8, guest: usize) {
        match self.home(guest) {
            Home::Host(h) => asm!(self, ; movsxd Rq(host), Rd(h)),
            Home::Memory(m) => asm!(self, ; movsxd Rq(host), DWORD [BYTE rbp + m]),
        }
    }

    /// Sets a CR field from the number in `rax`, which the host's flags show, and SO.
    pub(super) fn compared(&mut self, field: usize) -> bool {
        if !self.summary {
            asm!(self, ; mov [BYTE rbp + at::sign(field)], rax);
            self.flags = Some(field);
            return true;
        }
        // As `Cr::set_sign` has it.
        let (differ, done) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        asm!(self,
            ; cmp BYTE [BYTE rbp + at::SO], 0
            ; je =>done
            ; test rax, rax
            ; jnz =>differ
            ; bts rax, 63
            ; =>differ
            ; btc rax, 61
            ; =>done
            ; mov [BYTE rbp + at::sign(field)], rax
        );
        self.flags = None;
        true
    }

    fn copy(&mut self, to: usize, from: usize) {
        if to != from {
            let s = self.value(from, self.target(to, RAX));
            self.set(to, s);
        }
    }

    fn add_immediate(&mut self, rt: usize, ra: usize, imm: i32) {
        let d = self.target(rt, RAX);
        if ra == 0 {
            match self.home(rt) {
                Home::Host(d) => asm!(self, ; mov Rd(d), imm),
                Home::Memory(m) => asm!(self, ; mov DWORD [BYTE rbp + m], imm),
            }
            return;
        }
        let a = self.value(ra, RAX);
        match i8::try_from(imm) {
            Ok(imm) => asm!(self, ; lea Rd(d), [BYTE Rq(a) + imm]),
            Err(_) => asm!(self, ; lea Rd(d), [Rq(a) + imm]),
        }
        self.set(rt, d);
    }

    fn add(&mut self, rt: usize, ra: usize, rb: usize) {
        match (self.home(ra), self.home(rb)) {
            (Home::Host(a), Home::Host(b)) => {
                let d = self.target(rt, RAX);
                if d == a {
                    asm!(self, ; add Rd(d), Rd(b));
                } else if d == b {
                    asm!(self, ; add Rd(d), Rd(a));
                } else {
                    asm!(self, ; lea Rd(d), [Rq(a) + Rq(b)]);
                }
                self.set(rt, d);
            }
            (_, Home::Host(b)) => {
                let d = self.target(rt, RAX);
                if d == b {
                    alu!(self, add, d, ra);
                    self.set(rt, d);
                } else {
                    self.load(RAX, ra);
                    asm!(self, ; add eax, Rd(b));
                    self.set(rt, RAX);
                }
            }
            _ => {
                let d = self.target(rt, RAX);
                self.load(d, ra);
                alu!(self, add, d, rb);
                self.set(rt, d);
            }
        }
    }

    /// `rt = rb - ra`.
    fn subtract(&mut self, rt: usize, ra: usize, rb: usize) {
        let d = self.target(rt, RAX);
        let d = if self.home(ra) == Home::Host(d) && ra != rb {
            RAX
        } else {
            d
        };
        self.load(d, rb);
        alu!(self, sub, d, ra);
        self.set(rt, d);
    }

    /// `rt = (ra or its complement) + term + carry`, with CA if anybody can see it.
    fn carry(&mut self, rt: usize, ra: usize, complement: bool, term: Term, carry: Carry) {
        // `!a + b + 1` is `b - a`, and `!a + b + c` is `b - a - !c`; the host's carry of a
        // difference is a borrow, which is CA inverted.
        if complement {
            match term {
                Term::Register(rb) => self.load(RAX, rb),
                Term::Immediate(imm) => asm!(self, ; mov eax, imm),
            }
            if carry == Carry::Ca {
                asm!(self, ; cmp BYTE [BYTE rbp + at::CA], 1);
                alu!(self, sbb, RAX, ra);
            } else {
                alu!(self, sub, RAX, ra);
            }
            if !self.is_unseen(CA) {
                asm!(self, ; setnc [BYTE rbp + at::CA]);
            }
            self.set(rt, RAX);
        } else {
            // A term that the sum would come to lie over is still needed.
            let d = match term {
                Term::Register(rb) if rb == rt => RAX,
                _ => self.target(rt, RAX),
            };
            self.load(d, ra);
            match (term, carry) {
                (Term::Register(rb), Carry::Ca) => {
                    self.carry_in();
                    alu!(self, adc, d, rb);
                }
                (Term::Immediate(imm), Carry::Ca) => {
                    self.carry_in();
                    asm!(self, ; adc Rd(d), imm);
                }
                (Term::Register(rb), _) => alu!(self, add, d, rb),
                (Term::Immediate(imm), _) => asm!(self, ; add Rd(d), imm),
            }
            if !self.is_unseen(CA) {
                asm!(self, ; setc [BYTE rbp + at::CA]);
            }
            self.set(rt, d);
        }
    }

    /// Division; by zero, and of the lowest number by -1, the interpreter knows what comes out.
    fn divide(&mut self, rt: usize, ra: usize, rb: usize, signed: bool) {
        let back = self.asm.new_dynamic_label();
        let odd = self.interpret_cold(back);
        self.load(RCX, rb);
        self.load(RAX, ra);
        if signed {
            // -1 and 0 are the two divisors that may overflow.
            asm!(self,
                ; lea edx, [rcx + 1]
                ; cmp edx, 1
                ; jbe =>odd
                ; cdq
                ; idiv ecx
            );
        } else {
            asm!(self,
                ; test ecx, ecx
                ; jz =>odd
                ; xor edx, edx
                ; div ecx
            );
        }
        self.set(rt, RAX);
        asm!(self, ; =>back);
    }

    /// Makes XER[CA] the host's carry. It was stored as a byte, and a wider load of it waits for the
    /// store.
    fn carry_in(&mut self) {
        asm!(self, ; cmp BYTE [BYTE rbp + at::CA], 1 ; cmc);
    }

    fn select(&mut self, rt: usize, ra: usize, rb: usize, bit: usize) {
        if ra == 0 {
            asm!(self, ; xor edx, edx);
        } else {
            self.load(RDX, ra);
        }
        self.load(RAX, rb);
        let otherwise = self.asm.new_dynamic_label();
        self.jump_on_bit(bit, false, otherwise);
        asm!(self, ; mov eax, edx ; =>otherwise);
        self.set(rt, RAX);
    }

    fn logic_immediate(
        &mut self,
        ra: usize,
        rs: usize,
        imm: u32,
        operation: impl Fn(&mut Self, u8, i32),
    ) {
        let d = self.target(ra, RAX);
        self.load(d, rs);
        operation(self, d, imm as i32);
        self.set(ra, d);
    }

    fn logic(&mut self, insn: Insn, ra: usize, rs: usize, rb: usize) {
        use Insn::*;
        match insn {
            And | Or | Xor | Nand | Nor | Eqv => {
                // They commute: whichever source is the target's home goes first.
                let d = self.target(ra, RAX);
                let (first, second) = if self.home(rb) == Home::Host(d) {
                    (rb, rs)
                } else {
                    (rs, rb)
                };
                self.load(d, first);
                match insn {
                    And | Nand => alu!(self, and, d, second),
                    Or | Nor => alu!(self, or, d, second),
                    _ => alu!(self, xor, d, second),
                }
                if matches!(insn, Nand | Nor | Eqv) {
                    asm!(self, ; not Rd(d));
                }
                self.set(ra, d);
            }
            Andc => {
                let b = self.value(rb, RAX);
                let d = self.target(ra, RAX);
                alu!(self, andn, d, b, rs);
                self.set(ra, d);
            }
            _ => {
                self.load(RAX, rb);
                asm!(self, ; not eax);
                alu!(self, or, RAX, rs);
                self.set(ra, RAX);
            }
        }
    }

    fn rotate_and_mask(&mut self, ra: usize, rs: usize, sh: u32, mb: u32, me: u32) {
        let mask = rotate_mask(mb, me);
        let d = self.target(ra, RAX);
        match (sh, mb, me) {
            // slwi, srwi, and masks without a rotate.
            (sh, 0, me) if me == 31 - sh => {
                self.load(d, rs);
                if sh != 0 {
                    asm!(self, ; shl Rd(d), sh as i8);
                }
            }
            (sh, mb, 31) if sh != 0 && mb == 32 - sh => {
                self.load(d, rs);
                asm!(self, ; shr Rd(d), mb as i8);
            }
            (0, 24, 31) if matches!(self.home(rs), Home::Memory(_)) => {
                if let Home::Memory(m) = self.home(rs) {
                    asm!(self, ; movzx Rd(d), BYTE [BYTE rbp + m]);
                }
            }
            (0, 16, 31) => match self.home(rs) {
                Home::Host(s) => asm!(self, ; movzx Rd(d), Rw(s)),
                Home::Memory(m) => asm!(self, ; movzx Rd(d), WORD [BYTE rbp + m]),
            },
            (0, _, _) => {
                self.load(d, rs);
                asm!(self, ; and Rd(d), mask as i32);
            }
            _ if mask == u32::MAX => {
                let s = self.value(rs, RAX);
                asm!(self, ; rorx Rd(d), Rd(s), (32 - sh) as i8);
            }
            // What the rotate brings around is masked away: a shift does.
            _ if mb <= me && 31 - me >= sh => {
                self.load(d, rs);
                asm!(self, ; shl Rd(d), sh as i8 ; and Rd(d), mask as i32);
            }
            _ if mb <= me && mb >= 32 - sh => {
                self.load(d, rs);
                asm!(self, ; shr Rd(d), (32 - sh) as i8 ; and Rd(d), mask as i32);
            }
            _ => {
                let s = self.value(rs, RAX);
                asm!(self, ; rorx Rd(d), Rd(s), (32 - sh) as i8 ; and Rd(d), mask as i32);
            }
        }
        self.set(ra, d);
    }

    fn rotate_and_insert(&mut self, ra: usize, rs: usize, sh: u32, mb: u32, me: u32) {
        let mask = rotate_mask(mb, me);
        let s = self.value(rs, RAX);
        if sh == 0 {
            asm!(self, ; mov eax, Rd(s));
        } else {
            asm!(self, ; rorx eax, Rd(s), (32 - sh) as i8);
        }
        asm!(self, ; and eax, mask as i32);
        match self.home(ra) {
            Home::Host(d) => asm!(self, ; and Rd(d), !mask as i32 ; or Rd(d), eax),
            Home::Memory(m) => asm!(self,
                ; and DWORD [BYTE rbp + m], !mask as i32
                ; or [BYTE rbp + m], eax
            ),
        }
    }

    /// The product of two halves, in `eax`.
    fn half_product(&mut self, insn: Insn, ra: usize, rb: usize) {
        use Insn::*;
        let unsigned = matches!(
            insn,
            Mullhwu | Mulchwu | Mulhhwu | Maclhwu | Macchwu | Machhwu
        );
        let (a_high, b_high) = match insn {
            Mullhw | Mullhwu | Maclhw | Maclhwu => (false, false),
            Mulchw | Mulchwu | Macchw | Macchwu => (false, true),
            _ => (true, true),
        };
        for (host, guest, high) in [(RAX, ra, a_high), (RCX, rb, b_high)] {
            self.load(host, guest);
            match (high, unsigned) {
                (true, true) => asm!(self, ; shr Rd(host), 16),
                (true, false) => asm!(self, ; sar Rd(host), 16),
                (false, true) => asm!(self, ; movzx Rd(host), Rw(host)),
                (false, false) => asm!(self, ; movsx Rd(host), Rw(host)),
            }
        }
        asm!(self, ; imul eax, ecx);
    }

    fn move_to_cr(&mut self, rs: usize, crm: u32) {
        self.load(RDX, rs);
        let signs = ppc440_isa::SIGNS.as_ptr() as i64;
        asm!(self, ; mov rcx, QWORD signs);
        for field in 0..8 {
            if crm & 0x80 >> field == 0 {
                continue;
            }
            let shift = 28 - 4 * field as i8;
            asm!(self, ; mov eax, edx);
            if shift != 0 {
                asm!(self, ; shr eax, shift);
            }
            asm!(self,
                ; and eax, 15
                ; mov rax, [rcx + 8 * rax]
                ; mov [BYTE rbp + at::sign(field)], rax
            );
        }
    }

    fn move_from_cr(&mut self, rt: usize) {
        // LT, GT, EQ and SO are shifted in from the right, field by field.
        asm!(self, ; xor eax, eax);
        for field in 0..8 {
            asm!(self,
                ; mov rcx, [BYTE rbp + at::sign(field)]
                ; mov rdx, rcx
                ; shr rdx, 62
                ; and edx, 1
                ; lea eax, [rdx + 2 * rax]
                ; xor edx, edx
                ; test rcx, rcx
                ; setg dl
                ; lea eax, [rdx + 2 * rax]
                ; xor edx, edx
                ; test ecx, ecx
                ; sete dl
                ; lea eax, [rdx + 2 * rax]
                ; lea rdx, [rcx + rcx]
                ; xor rdx, rcx
                ; shr rdx, 62
                ; and edx, 1
                ; lea eax, [rdx + 2 * rax]
            );
        }
        self.set(rt, RAX);
    }
}

/// Whether the result goes to RA.
fn writes_ra(insn: Insn) -> bool {
    use Insn::*;
    matches!(
        insn,
        Andi | Andis
            | And
            | Or
            | Xor
            | Nand
            | Nor
            | Eqv
            | Andc
            | Orc
            | Cntlzw
            | Extsb
            | Extsh
            | Rlwinm
            | Rlwimi
            | Rlwnm
            | Slw
            | Srw
            | Sraw
            | Srawi
    )
}
