//! Loads and stores. The usual one is a look-up in the table for its direction (`fast.rs`) and a host
//! access; in code that runs much, an access to the space's window and nothing else. A load in the
//! supervisor's code looks in the pinned range first. Everything else -- no entry, not shown, across
//! pages, over code, MMIO -- is the interpreter's, behind the block.

use std::mem::offset_of;

use ppc440_isa::{Insn, regs::msr};

use super::super::context::{Context, stop};
use super::super::exec::{Extent, frame};
use super::super::groups::Member;
use super::assembler::DynamicLabel;
use super::{Cold, Emitter, Home, RAX, RDX, asm, at};
use crate::fast::{LOADS, STORES, WINDOW};

const PAGE: i32 = 4096;

/// Loads a unit from a host address into a host register.
macro_rules! read {
    ($e:expr, $unit:expr, $d:expr, $($at:tt)*) => {
        match $unit {
            Unit::Byte => asm!($e, ; movzx Rd($d), BYTE [$($at)*]),
            Unit::Half => asm!($e, ; movzx Rd($d), WORD [$($at)*] ; rol Rw($d), 8),
            Unit::Algebraic => {
                asm!($e, ; movzx Rd($d), WORD [$($at)*] ; bswap Rd($d) ; sar Rd($d), 16);
            }
            Unit::HalfReversed => asm!($e, ; movzx Rd($d), WORD [$($at)*]),
            Unit::Word => asm!($e, ; movbe Rd($d), [$($at)*]),
            Unit::Double => asm!($e, ; movbe Rq($d), [$($at)*]),
            Unit::WordReversed => asm!($e, ; mov Rd($d), [$($at)*]),
        }
    };
}

/// Stores a unit of a host register to a host address.
macro_rules! write {
    ($e:expr, $unit:expr, $s:expr, $($at:tt)*) => {
        match $unit {
            Unit::Byte => asm!($e, ; mov [$($at)*], Rb($s)),
            Unit::Half | Unit::Algebraic => asm!($e, ; movbe [$($at)*], Rw($s)),
            Unit::HalfReversed => asm!($e, ; mov [$($at)*], Rw($s)),
            Unit::Word => asm!($e, ; movbe [$($at)*], Rd($s)),
            Unit::Double => asm!($e, ; movbe [$($at)*], Rq($s)),
            Unit::WordReversed => asm!($e, ; mov [$($at)*], Rd($s)),
        }
    };
}

/// How an instruction forms its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// (RA|0) + D.
    D,
    /// RA + D, which goes to RA.
    Du,
    /// (RA|0) + RB.
    X,
    /// RA + RB, which goes to RA.
    Xu,
}

impl Form {
    fn updates(self) -> bool {
        matches!(self, Form::Du | Form::Xu)
    }
}

/// What is loaded or stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Half,
    Algebraic,
    HalfReversed,
    Word,
    WordReversed,
    Double,
}

impl Unit {
    fn extent(self) -> Extent {
        match self {
            Unit::Byte => Extent::Byte,
            Unit::Half | Unit::Algebraic | Unit::HalfReversed => Extent::Half,
            Unit::Word | Unit::WordReversed => Extent::Word,
            Unit::Double => Extent::AlignedDouble,
        }
    }
}

fn float_extent(double: bool) -> Extent {
    if double {
        Extent::AlignedDouble
    } else {
        Extent::AlignedWord
    }
}

fn float_unit(double: bool) -> Unit {
    if double { Unit::Double } else { Unit::Word }
}

impl Emitter {
    /// A load, store or cache instruction; `false` when it is left to the interpreter.
    pub(super) fn memory(&mut self, insn: Insn) -> bool {
        use Insn::*;
        match insn {
            Lbz => self.load_integer(Unit::Byte, Form::D),
            Lbzu => self.load_integer(Unit::Byte, Form::Du),
            Lbzx => self.load_integer(Unit::Byte, Form::X),
            Lbzux => self.load_integer(Unit::Byte, Form::Xu),
            Lhz => self.load_integer(Unit::Half, Form::D),
            Lhzu => self.load_integer(Unit::Half, Form::Du),
            Lhzx => self.load_integer(Unit::Half, Form::X),
            Lhzux => self.load_integer(Unit::Half, Form::Xu),
            Lha => self.load_integer(Unit::Algebraic, Form::D),
            Lhau => self.load_integer(Unit::Algebraic, Form::Du),
            Lhax => self.load_integer(Unit::Algebraic, Form::X),
            Lhaux => self.load_integer(Unit::Algebraic, Form::Xu),
            Lhbrx => self.load_integer(Unit::HalfReversed, Form::X),
            Lwz => self.load_integer(Unit::Word, Form::D),
            Lwzu => self.load_integer(Unit::Word, Form::Du),
            Lwzx => self.load_integer(Unit::Word, Form::X),
            Lwzux => self.load_integer(Unit::Word, Form::Xu),
            Lwbrx => self.load_integer(Unit::WordReversed, Form::X),
            Stb => self.store_integer(Unit::Byte, Form::D),
            Stbu => self.store_integer(Unit::Byte, Form::Du),
            Stbx => self.store_integer(Unit::Byte, Form::X),
            Stbux => self.store_integer(Unit::Byte, Form::Xu),
            Sth => self.store_integer(Unit::Half, Form::D),
            Sthu => self.store_integer(Unit::Half, Form::Du),
            Sthx => self.store_integer(Unit::Half, Form::X),
            Sthux => self.store_integer(Unit::Half, Form::Xu),
            Sthbrx => self.store_integer(Unit::HalfReversed, Form::X),
            Stw => self.store_integer(Unit::Word, Form::D),
            Stwu => self.store_integer(Unit::Word, Form::Du),
            Stwx => self.store_integer(Unit::Word, Form::X),
            Stwux => self.store_integer(Unit::Word, Form::Xu),
            Stwbrx => self.store_integer(Unit::WordReversed, Form::X),
            Lfd => self.load_float(true, Form::D),
            Lfdu => self.load_float(true, Form::Du),
            Lfdx => self.load_float(true, Form::X),
            Lfdux => self.load_float(true, Form::Xu),
            Lfs => self.load_float(false, Form::D),
            Lfsu => self.load_float(false, Form::Du),
            Lfsx => self.load_float(false, Form::X),
            Lfsux => self.load_float(false, Form::Xu),
            Stfd => self.store_float(true, Form::D),
            Stfdu => self.store_float(true, Form::Du),
            Stfdx => self.store_float(true, Form::X),
            Stfdux => self.store_float(true, Form::Xu),
            Stfs => self.store_float(false, Form::D),
            Stfsu => self.store_float(false, Form::Du),
            Stfsx => self.store_float(false, Form::X),
            Stfsux => self.store_float(false, Form::Xu),
            Lwarx => self.load_and_reserve(),
            Stwcx => self.store_conditional(),
            Dcbz => self.zero_line(),
            Dcbt | Dcbtst | Dcba | Icbt => {}
            _ => return false,
        }
        true
    }

    /// The effective address, in `eax`.
    pub(super) fn address_of(&mut self, form: Form) {
        let word = self.item.word;
        let (ra, rb, d) = (word.ra(), word.rb(), word.d());
        let base = ra != 0 || form.updates();
        match form {
            Form::D | Form::Du if !base => asm!(self, ; mov eax, d),
            Form::D | Form::Du => {
                let a = self.value(ra, RAX);
                match i8::try_from(d) {
                    Ok(0) => asm!(self, ; mov eax, Rd(a)),
                    Ok(d) => asm!(self, ; lea eax, [BYTE Rq(a) + d]),
                    Err(_) => asm!(self, ; lea eax, [Rq(a) + d]),
                }
            }
            Form::X | Form::Xu if !base => self.load(RAX, rb),
            Form::X | Form::Xu => match (self.home(ra), self.home(rb)) {
                (Home::Host(a), Home::Host(b)) => asm!(self, ; lea eax, [Rq(a) + Rq(b)]),
                (Home::Host(a), Home::Memory(m)) | (Home::Memory(m), Home::Host(a)) => {
                    asm!(self, ; mov eax, [BYTE rbp + m] ; add eax, Rd(a));
                }
                (Home::Memory(a), Home::Memory(b)) => {
                    asm!(self, ; mov eax, [BYTE rbp + a] ; add eax, [BYTE rbp + b]);
                }
            },
        }
    }

    /// The index of the address in `eax`, in `rcx`.
    fn index(&mut self, extent: Extent) {
        match extent.zeros() {
            0 => asm!(self, ; mov ecx, eax ; shr ecx, 12),
            zeros => asm!(self, ; rorx ecx, eax, zeros ; shr ecx, 12 - zeros),
        }
    }

    /// Looks up the address in `eax`: gives in `rcx` what is to be added to it. Goes to `slow`, with the
    /// address in `eax`, when its page has no entry, or the address does not fit the extent.
    fn look_up(&mut self, store: bool, extent: Extent, slow: DynamicLabel) {
        self.index(extent);
        match store {
            false => asm!(self, ; mov rcx, [r15 + 8 * rcx + LOADS]),
            true => asm!(self, ; mov rcx, [r15 + 8 * rcx + STORES]),
        }
        asm!(self, ; test rcx, rcx);
        if extent.zeros() == 0 {
            asm!(self, ; jz =>slow);
            return;
        }
        let [from, back] = [self.asm.new_dynamic_label(), self.asm.new_dynamic_label()];
        self.cold.push(Cold::LookUp {
            from,
            back,
            slow,
            store,
            extent,
        });
        asm!(self, ; jz =>from ; =>back);
    }

    /// Finds the access at the address in `eax` by its page's entry: calls [`Shared::find_load`], or its
    /// like for stores.
    ///
    /// [`Shared::find_load`]: super::super::exec::Shared::find_load
    pub(super) fn find(&mut self, store: bool, extent: Extent) {
        let routines = match store {
            false => &self.shared.find_load,
            true => &self.shared.find_store,
        };
        self.call(routines[extent as usize]);
    }

    /// Whether the current access goes to the window.
    fn is_windowed(&self) -> bool {
        self.windows && !self.is_by_tables
    }

    /// The current access's address in the window, a host register and a displacement from the window;
    /// and whether the effective address is in `eax`.
    fn in_window(&mut self, form: Form) -> (u8, i32, bool) {
        let (ra, d) = (self.item.word.ra(), self.item.word.d());
        if ra == 0 || matches!(form, Form::X | Form::Xu) {
            self.address_of(form);
            (RAX, 0, true)
        } else {
            // Guest registers have zeros above them in the host's. Where the displacement leads out
            // of the address space, nothing is shown.
            (self.value(ra, RAX), d, false)
        }
    }

    /// The next instruction is an access to the window: where it is refused, `routine` is called with the
    /// effective address, which is in `eax` already if it is `known`, and the block goes on at `back`.
    fn may_be_refused(&mut self, store: bool, form: Form, known: bool, back: DynamicLabel) {
        let routine = match store {
            false => self.shared.show_load,
            true => self.shared.show_store,
        };
        self.cold.push(Cold::Refused {
            access: self.asm.offset().0 as u32,
            back,
            item: self.item,
            form: (!known).then_some(form),
            routine,
            site: self.site(),
        });
    }

    /// Puts the effective address into RA, whose host register may be `a`.
    fn update(&mut self, form: Form, a: u8, known: bool) {
        let (ra, d) = (self.item.word.ra(), self.item.word.d());
        if !form.updates() {
            return;
        }
        if known {
            self.set(ra, RAX);
            return;
        }
        let to = self.target(ra, RAX);
        asm!(self, ; lea Rd(to), [Rq(a) + d]);
        self.set(ra, to);
    }

    /// The host address of what an integer load loads, in `rcx`, and its effective address in `eax` if
    /// RA gets that; the pinned range begins at `start`. Any alignment will do in the range, as it
    /// goes on from page to page.
    fn find_direct(&mut self, start: u32, unit: Unit, form: Form, slow: DynamicLabel) {
        let (ra, d) = (self.item.word.ra(), self.item.word.d());
        if form == Form::D && ra != 0 {
            let a = self.value(ra, RAX);
            let d = d.wrapping_sub(start as i32);
            asm!(self, ; lea ecx, [Rq(a) + d]);
        } else {
            self.address_of(form);
            asm!(self, ; lea ecx, [rax + start.wrapping_neg() as i32]);
        }
        self.check_pinned(start, 1 << unit.extent().zeros(), slow);
    }

    /// Makes a host address in `rcx` of the offset from `start` in `ecx`: in the pinned range, or by a
    /// look-up behind the block if the `bytes` bytes there are elsewhere, in one page. If they are not
    /// there either, goes to `slow` with their effective address in `eax`.
    fn check_pinned(&mut self, start: u32, bytes: u8, slow: DynamicLabel) {
        let [from, back] = [self.asm.new_dynamic_label(), self.asm.new_dynamic_label()];
        self.cold.push(Cold::Find {
            from,
            back,
            slow,
            start,
            bytes,
        });
        asm!(self,
            ; cmp ecx, [BYTE rbp + frame::PINNED_BYTES]
            ; jae =>from
            ; add rcx, [BYTE rbp + frame::PINNED_HOST]
            ; =>back
        );
    }

    fn load_integer(&mut self, unit: Unit, form: Form) {
        let (rt, ra) = (self.item.word.rt(), self.item.word.ra());
        let back = self.asm.new_dynamic_label();
        let d = self.target(rt, RDX);
        if let Some(member) = self.member {
            let at = self.find_group(false, member, back);
            read!(self, unit, d, BYTE rcx + at);
            self.set(rt, d);
            asm!(self, ; =>back);
            return;
        }
        if self.is_windowed() {
            let (a, displacement, known) = self.in_window(form);
            self.may_be_refused(false, form, known, back);
            read!(self, unit, d, r15 + Rq(a) + WINDOW + displacement);
            self.set(rt, d);
            self.update(form, a, known);
            asm!(self, ; =>back);
            return;
        }
        let slow = self.access_cold(self.shared.load, back);
        if let Some(start) = self.direct {
            self.find_direct(start, unit, form, slow);
            read!(self, unit, d, rcx);
        } else {
            self.address_of(form);
            self.look_up(false, unit.extent(), slow);
            read!(self, unit, d, rcx + rax);
        }
        self.set(rt, d);
        if form.updates() {
            self.set(ra, RAX);
        }
        asm!(self, ; =>back);
    }

    fn store_integer(&mut self, unit: Unit, form: Form) {
        let (rs, ra) = (self.item.word.rs(), self.item.word.ra());
        let back = self.asm.new_dynamic_label();
        if let Some(member) = self.member {
            let at = self.find_group(true, member, back);
            let s = self.value(rs, RDX);
            write!(self, unit, s, BYTE rcx + at);
            asm!(self, ; =>back);
            return;
        }
        if self.is_windowed() {
            let (a, displacement, known) = self.in_window(form);
            let s = self.value(rs, RDX);
            self.may_be_refused(true, form, known, back);
            write!(self, unit, s, r15 + Rq(a) + WINDOW + displacement);
            self.update(form, a, known);
            asm!(self, ; =>back);
            return;
        }
        let slow = self.access_cold(self.shared.store, back);
        self.address_of(form);
        self.look_up(true, unit.extent(), slow);
        let s = self.value(rs, RDX);
        write!(self, unit, s, rcx + rax);
        if form.updates() {
            self.set(ra, RAX);
        }
        asm!(self, ; =>back);
    }

    /// Where in the host the lowest address of the current access's group is, in `rcx`; gives the
    /// access's distance from there. Without a common look-up, it is done alone, up to `back`.
    fn find_group(&mut self, store: bool, member: Member, back: DynamicLabel) -> i8 {
        let word = self.item.word;
        let alone = self.asm.new_dynamic_label();
        self.cold.push(Cold::Alone {
            from: alone,
            back,
            item: self.item,
            member,
            done: self.done,
        });
        let kept = frame::GROUPS + 8 * member.slot as i32;
        let direct = self.direct.filter(|_| member.is_first && !store);
        if let Some(start) = direct {
            let base = self.value(word.ra(), RAX);
            let low = i32::from(member.low).wrapping_sub(start as i32);
            asm!(self, ; lea ecx, [Rq(base) + low]);
            self.check_pinned(start, member.span, alone);
            asm!(self, ; mov [rbp + kept], rcx);
        } else if member.is_first {
            let base = self.value(word.ra(), RAX);
            let last = member.span as i32 - 1;
            asm!(self,
                ; lea eax, [Rq(base) + i32::from(member.low)]
                ; lea edx, [rax + last]
                ; xor edx, eax
                ; test edx, -PAGE
                ; jnz =>alone
            );
            let extent = match member.alignment {
                1 => Extent::Byte,
                2 => Extent::Half,
                _ => Extent::AlignedWord,
            };
            self.look_up(store, extent, alone);
            asm!(self, ; add rcx, rax ; mov [rbp + kept], rcx);
        } else {
            if self.pointer != Some(member.slot) {
                asm!(self, ; mov rcx, [rbp + kept]);
            }
            asm!(self, ; test rcx, rcx ; jz =>alone);
        }
        self.pointer = Some(member.slot);
        (word.d() - i32::from(member.low)) as i8
    }

    /// Does the current access, one of a group, on its own, and goes on at `back` with the group's
    /// number in `rcx`.
    pub(super) fn access_alone(&mut self, member: Member, back: DynamicLabel) {
        let word = self.item.word;
        let (unit, store) = match self.item.insn {
            Some(Insn::Lbz) => (Unit::Byte, false),
            Some(Insn::Lhz) => (Unit::Half, false),
            Some(Insn::Lha) => (Unit::Algebraic, false),
            Some(Insn::Stb) => (Unit::Byte, true),
            Some(Insn::Sth) => (Unit::Half, true),
            Some(Insn::Stw) => (Unit::Word, true),
            _ => (Unit::Word, false),
        };
        let kept = frame::GROUPS + 8 * member.slot as i32;
        if member.is_first {
            asm!(self, ; mov QWORD [rbp + kept], 0);
        }
        let routine = if store {
            self.shared.store
        } else {
            self.shared.load
        };
        let done = self.asm.new_dynamic_label();
        let slow = self.access_cold(routine, done);
        self.address_of(Form::D);
        self.find(store, unit.extent());
        asm!(self, ; jz =>slow);
        if store {
            let s = self.value(word.rs(), RDX);
            write!(self, unit, s, rcx + rax);
        } else {
            let d = self.target(word.rt(), RDX);
            read!(self, unit, d, rcx + rax);
            self.set(word.rt(), d);
        }
        asm!(self, ; =>done ; mov rcx, [rbp + kept] ; jmp =>back);
    }

    fn load_and_reserve(&mut self) {
        let rt = self.item.word.rt();
        let back = self.asm.new_dynamic_label();
        let slow = self.access_cold(self.shared.load, back);
        let d = self.target(rt, RDX);
        if let Some(start) = self.direct {
            self.find_direct(start, Unit::Word, Form::X, slow);
            asm!(self, ; movbe Rd(d), [rcx]);
        } else {
            self.address_of(Form::X);
            self.look_up(false, Extent::AlignedWord, slow);
            asm!(self, ; movbe Rd(d), [rcx + rax]);
        }
        asm!(self, ; mov BYTE [rbp + at::RESERVATION], 1);
        self.set(rt, d);
        asm!(self, ; =>back);
    }

    /// Without a reservation, it is left to the interpreter.
    fn store_conditional(&mut self) {
        let rs = self.item.word.rs();
        let back = self.asm.new_dynamic_label();
        let slow = self.access_cold(self.shared.store, back);
        self.address_of(Form::X);
        asm!(self, ; cmp BYTE [rbp + at::RESERVATION], 0 ; je =>slow);
        self.look_up(true, Extent::AlignedWord, slow);
        let s = self.value(rs, RDX);
        asm!(self,
            ; movbe [rcx + rax], Rd(s)
            ; mov BYTE [rbp + at::RESERVATION], 0
            ; xor eax, eax
        );
        self.compared(0);
        asm!(self, ; =>back);
        self.flags = None;
    }

    /// While no page of RAM is mapped uncached: in such a page, it is an alignment error.
    fn zero_line(&mut self) {
        let back = self.asm.new_dynamic_label();
        let slow = self.access_cold(self.shared.store, back);
        self.address_of(Form::X);
        asm!(self, ; and eax, -32);
        asm!(self,
            ; mov rdx, [rbp + frame::CONTEXT]
            ; cmp BYTE [rdx + offset_of!(Context, uncached) as i32], 0
            ; jne =>slow
        );
        self.look_up(true, Extent::Byte, slow);
        asm!(self,
            ; vpxor xmm0, xmm0, xmm0
            ; vmovdqu [rcx + rax], xmm0
            ; vmovdqu [rcx + rax + 16], xmm0
            ; =>back
        );
    }

    /// Leaves unless MSR\[FP\] is 1; it cannot change within a block.
    pub(super) fn check_fp(&mut self) {
        if !std::mem::replace(&mut self.fp_checked, true) {
            let unavailable = self.leave_cold(stop::FP_UNAVAILABLE, self.site());
            asm!(self,
                ; test DWORD [BYTE rbp + at::MSR], msr::FP as i32
                ; jz =>unavailable
            );
        }
    }

    /// Goes to `slow` if the address in `eax` is not aligned as a look-up would ask for.
    fn must_be_aligned(&mut self, double: bool, slow: DynamicLabel) {
        let last = if double { 7 } else { 3 };
        asm!(self, ; test al, last ; jnz =>slow);
    }

    /// An access of a double that is no multiple of eight is left to the interpreter, which knows
    /// the ones that cross a quadword.
    fn load_float(&mut self, double: bool, form: Form) {
        let (frt, ra) = (self.item.word.frt(), self.item.word.ra());
        self.check_fp();
        let back = self.asm.new_dynamic_label();
        let slow = self.access_cold(self.shared.load, back);
        self.address_of(form);
        let unit = float_unit(double);
        if self.is_windowed() {
            self.must_be_aligned(double, slow);
            self.may_be_refused(false, form, true, back);
            read!(self, unit, RDX, r15 + rax + WINDOW);
        } else {
            self.look_up(false, float_extent(double), slow);
            read!(self, unit, RDX, rcx + rax);
        }
        if !double {
            // Widening is exact; but the host would make a signalling NaN quiet.
            asm!(self,
                ; lea ecx, [rdx + rdx]
                ; cmp ecx, DWORD 0xFF00_0000u32 as i32
                ; jae =>slow
                ; vmovd xmm0, edx
                ; vcvtss2sd xmm0, xmm0, xmm0
                ; vmovq rdx, xmm0
            );
        }
        asm!(self, ; mov [rbp + at::fpr(frt)], rdx);
        if form.updates() {
            self.set(ra, RAX);
        }
        asm!(self, ; =>back);
    }

    fn store_float(&mut self, double: bool, form: Form) {
        let (frs, ra) = (self.item.word.frs(), self.item.word.ra());
        self.check_fp();
        let back = self.asm.new_dynamic_label();
        let slow = self.access_cold(self.shared.store, back);
        self.address_of(form);
        let windowed = self.is_windowed();
        match windowed {
            true => self.must_be_aligned(double, slow),
            false => self.look_up(true, float_extent(double), slow),
        }
        let from = at::fpr(frs);
        if double {
            asm!(self, ; mov rdx, [rbp + from]);
        } else {
            // Numbers too small for a normal single are the interpreter's, but for zeros.
            let fits = self.asm.new_dynamic_label();
            asm!(self,
                ; mov edx, [rbp + from + 4]
                ; and edx, 0x7FF0_0000
                ; cmp edx, 896 << 20
                ; ja =>fits
                ; mov rdx, [rbp + from]
                ; add rdx, rdx
                ; jnz =>slow
                ; =>fits
                ; mov rdx, [rbp + from]
                ; pext rdx, rdx, [rbp + frame::SINGLE]
            );
        }
        let unit = float_unit(double);
        if windowed {
            self.may_be_refused(true, form, true, back);
            write!(self, unit, RDX, r15 + rax + WINDOW);
        } else {
            write!(self, unit, RDX, rcx + rax);
        }
        if form.updates() {
            self.set(ra, RAX);
        }
        asm!(self, ; =>back);
    }
}
