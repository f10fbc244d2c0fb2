//! Into translated code and back: the registers' roles, and the code that every block shares.
//!
//! | host register | holds |
//! |---|---|
//! | `rbp` | address of [`Regs`], and [`BIAS`] more |
//! | `r15` | the data space's tables (`fast.rs`); its window follows behind them |
//! | `r14d` | instructions that may still run |
//! | `rax` `rcx` `rdx` `xmm0`-`xmm5` | nothing for long |
//! | the other nine | the guest's most used registers, see [`PINNED`]; zeros above bit 31, on which addresses in the window rely |
//! | `rsp` | the calls that wait for their return: guest and host address of each |
//!
//! A guest's call is a host's call, so that the host predicts where it returns to: the branch pushes
//! what LR becomes, and calls. A return compares LR with what is there, and returns; where they
//! differ, all calls are forgotten. They are forgotten too when translated code is left, and when the
//! mode changes: what a call knows of its page and of code holds as long as neither happens. As
//! translated code comes back after forty thousand instructions, they take 640 KB of the thread's
//! stack at the most; after fewer, if that has no room for as many (`stack.rs`).
//!
//! While translated code runs, `Regs::pc` is the start of the page that it runs in, and the pinned
//! registers' values are in the host's. At every instruction that may stop, both are as the guest
//! expects them; which instruction it is, and how many were completed since `r14d` was last
//! brought up to date, is known when the code is made.
// UNSAFE BECAUSE: to run code that was made is to call an address.
#![allow(unsafe_code)]

use std::mem::offset_of;

use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm, x64::X64Relocation};
use ppc440_isa::Regs;

use super::calls;
use super::context::{Context, RESUME_AT_PC};
use super::signal::{self, Running};
use crate::fast::{LOADS, STORES};

/// The assembler of the shared code; blocks have one of their own.
type Assembler = VecAssembler<X64Relocation>;

/// The host register that holds a guest register, or [`NOWHERE`]: the nine that compiled code uses
/// most.
pub(super) const PINNED: [u8; 32] = {
    let mut pinned = [NOWHERE; 32];
    pinned[9] = 3; // rbx
    pinned[1] = 6; // rsi
    pinned[3] = 7; // rdi
    pinned[10] = 8;
    pinned[31] = 9;
    pinned[30] = 10;
    pinned[4] = 11;
    pinned[8] = 12;
    pinned[5] = 13;
    pinned
};

/// How far `rbp` is into [`Regs`]: most of it is then within a byte's reach.
pub(super) const BIAS: i32 = 128;

/// Not in a host register.
pub(super) const NOWHERE: u8 = 0xFF;

/// Offsets from `rbp` in translated code: what it keeps beside the registers.
pub(super) mod frame {
    use super::super::groups::SLOTS;
    use super::*;
    use ppc440_isa::Scratch;

    const FIRST: i32 = offset_of!(Regs, scratch) as i32 - BIAS;
    const fn near(slot: i32) -> i8 {
        let offset = FIRST + 8 * slot;
        assert!(offset == offset as i8 as i32);
        offset as i8
    }

    /// [`Regs::pc`](Regs).
    pub const PC: i8 = (offset_of!(Regs, pc) as i32 - BIAS) as i8;
    /// [`Context::pinned_bytes`](super::Context::pinned_bytes).
    pub const PINNED_BYTES: i8 = near(0);
    /// [`Context::pinned_host`](super::Context::pinned_host).
    pub const PINNED_HOST: i8 = near(1);
    /// The fetch space's table.
    pub const FETCH: i8 = near(2);
    /// The tables of entries, by RAM page.
    pub const ENTRIES: i8 = near(3);
    /// Where the code memory begins.
    pub const CODE: i8 = near(4);
    /// Address of the [`Context`](super::Context).
    pub const CONTEXT: i32 = FIRST + 8 * 5;
    /// `rsp` where no call waits for its return.
    pub const BASE: i32 = FIRST + 8 * 6;
    /// The bits of a double that make the single which `stfs` stores.
    pub const SINGLE: i32 = FIRST + 8 * 7;
    /// For each group of accesses in use, where the lowest of its addresses is in the host; 0 when
    /// they have no look-up in common this time.
    pub const GROUPS: i32 = FIRST + 8 * 8;
    const _: () = assert!(8 * (8 + SLOTS) == size_of::<Scratch>());
}

/// Offsets of the code that every block shares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared {
    /// `extern "sysv64" fn(*mut Regs, *mut Context, *const u8) -> u32`: runs the code at the third.
    pub enter: u32,
    /// Leaves, with `eax` one of [`stop`](super::context::stop).
    pub leave: u32,
    /// Adds the low half of `ecx` to `pc` and takes the high half off the budget, then leaves.
    pub leave_at: u32,
    /// Where an indirect jump leads that finds no code: `eax` is the target.
    pub miss: u32,
    /// Called with an instruction in `ecx` and its place in `edx`: runs its operation.
    pub interpret: u32,
    /// Called for a load, as [`Shared::interpret`] is, with the load's address in `eax`.
    pub load: u32,
    /// Called for a store, as [`Shared::interpret`] is, with the store's address in `eax`.
    pub store: u32,
    /// Entered as `load` is, for a page that the window does not show.
    pub show_load: u32,
    /// Entered as `store` is, for a page that the window does not show, or not for stores.
    pub show_store: u32,
    /// Goes on here with an instruction that may change the mode, or is the core's: its word in
    /// `ecx` and its place in `edx`, as above.
    pub resume: u32,
    /// Goes on at the effective address in `eax`, a multiple of 4, and forgets all calls.
    pub go_back: u32,
    /// For each [`Extent`], called with the address of a load in `eax` whose index has no entry: gives
    /// in `rcx` what is to be added to the address and clears ZF; or sets ZF, when there is no entry
    /// for its page, or not one for all of it. It keeps all registers but `edx`.
    pub find_load: [u32; Extent::COUNT],
    /// For each [`Extent`], called for a store as [`Shared::find_load`] is for a load.
    pub find_store: [u32; Extent::COUNT],
    /// Called with the addresses of the first byte of a load in `eax` and of the last in `edx`: looks
    /// them up. Gives the host address in `rcx` and clears ZF; or sets ZF, when there is no entry, or
    /// not one for both. It keeps all registers but `edx`.
    pub find: u32,
}

/// What an access is made of, as far as its address is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// A byte, or a cache line whose address is aligned.
    Byte,
    /// A half-word, anywhere in a page.
    Half,
    /// A word, anywhere in a page.
    Word,
    /// A word at a multiple of four.
    AlignedWord,
    /// A double-word at a multiple of eight.
    AlignedDouble,
}

impl Extent {
    pub const COUNT: usize = 5;
    const ALL: [Extent; Extent::COUNT] = [
        Extent::Byte,
        Extent::Half,
        Extent::Word,
        Extent::AlignedWord,
        Extent::AlignedDouble,
    ];

    /// Zeros at the end of its address, if it is aligned.
    pub fn zeros(self) -> i8 {
        match self {
            Extent::Byte => 0,
            Extent::Half => 1,
            Extent::Word | Extent::AlignedWord => 2,
            Extent::AlignedDouble => 3,
        }
    }

    fn must_be_aligned(self) -> bool {
        matches!(self, Extent::AlignedWord | Extent::AlignedDouble)
    }
}

/// The bits of a double that `stfs` stores: sign, first exponent bit, and the 30 from bit 5 on.
const SINGLE: i64 = 0xC7FF_FFFF_E000_0000u64 as i64;

/// Where an instruction is: its offset in its page, and the instructions before it that the budget
/// still counts, in the upper half.
pub(super) fn packed_site(offset: u32, done: u32) -> i32 {
    (offset | done << 16) as i32
}

/// Assembles what finds the code at the effective address in `eax`, a multiple of 4: its host address
/// goes to `rcx`, and the start of its page to `pc`.
macro_rules! find_block {
    ($asm:expr) => {
        dynasmrt::dynasm!($asm
            ; .arch x64
            ; mov ecx, eax
            ; shr ecx, 12
            ; mov rdx, [BYTE rbp + $crate::jit::exec::frame::FETCH]
            ; mov ecx, [rdx + 4 * rcx]
            ; mov rdx, [BYTE rbp + $crate::jit::exec::frame::ENTRIES]
            ; mov rdx, [rdx + 8 * rcx]
            ; mov ecx, eax
            ; and ecx, -4096
            ; mov [BYTE rbp + $crate::jit::exec::frame::PC], ecx
            ; mov ecx, eax
            ; and ecx, 4092
            ; mov ecx, [rdx + rcx]
            ; add rcx, [BYTE rbp + $crate::jit::exec::frame::CODE]
        )
    };
}
pub(super) use find_block;

/// Makes the code that every block shares, to begin at offset 0 of the code memory.
pub(super) fn shared(base: *const u8) -> (Vec<u8>, Shared) {
    let mut asm = Assembler::new(base.addr());
    let mut shared = Shared::default();
    let at = |asm: &Assembler| asm.offset().0 as u32;
    let pc = offset_of!(Regs, pc) as i32 - BIAS;

    macro_rules! asm {
        ($($t:tt)*) => { dynasm!(asm ; .arch x64 $($t)*) };
    }
    let spill = |asm: &mut Assembler| {
        for (guest, host) in pinned() {
            dynasm!(asm ; .arch x64 ; mov [rbp + 4 * guest - BIAS], Rd(host));
        }
    };
    let fill = |asm: &mut Assembler| {
        for (guest, host) in pinned() {
            dynasm!(asm ; .arch x64 ; mov Rd(host), [rbp + 4 * guest - BIAS]);
        }
    };

    // Calls a function of ours with the context, the registers, and what is in `edx`, `ecx` and `r8d`;
    // the guest's registers are in memory.
    let call = |asm: &mut Assembler, function: *const ()| {
        dynasm!(asm ; .arch x64
            ; mov rdi, [rbp + frame::CONTEXT]
            ; lea rsi, [rbp - BIAS]
            ; mov [rdi + offset_of!(Context, budget) as i32], r14d
            ; mov rax, QWORD function as i64
            ; call rax
        );
    };

    shared.enter = at(&asm);
    asm!(
        ; push rbx ; push rbp ; push r12 ; push r13 ; push r14 ; push r15
        ; lea rbp, [rdi + BIAS]
        // What no return address is, where a call has its own, and the same again; and 8 bytes.
        ; push 1 ; push 1 ; push 1
        ; mov [rbp + frame::BASE], rsp
        ; mov rax, rdx
        ; mov [rbp + frame::CONTEXT], rsi
        ; mov rcx, [rsi + offset_of!(Context, fetch) as i32]
        ; mov [BYTE rbp + frame::FETCH], rcx
        ; mov rcx, [rsi + offset_of!(Context, entries) as i32]
        ; mov [BYTE rbp + frame::ENTRIES], rcx
        ; mov rcx, [rsi + offset_of!(Context, code) as i32]
        ; mov [BYTE rbp + frame::CODE], rcx
        ; mov rcx, [rsi + offset_of!(Context, pinned_bytes) as i32]
        ; mov [BYTE rbp + frame::PINNED_BYTES], rcx
        ; mov rcx, [rsi + offset_of!(Context, pinned_host) as i32]
        ; mov [BYTE rbp + frame::PINNED_HOST], rcx
        ; mov rcx, QWORD SINGLE
        ; mov [rbp + frame::SINGLE], rcx
        ; mov r15, [rsi + offset_of!(Context, data) as i32]
        ; mov r14d, [rsi + offset_of!(Context, budget) as i32]
    );
    fill(&mut asm);
    asm!(; jmp rax ; .align 16);

    shared.leave_at = at(&asm);
    asm!(
        ; movzx edx, cx
        ; add [rbp + pc], edx
        ; shr ecx, 16
        ; sub r14d, ecx
    );
    shared.leave = at(&asm);
    asm!(; ->leave:);
    spill(&mut asm);
    asm!(
        ; mov rcx, [rbp + frame::CONTEXT]
        ; mov [rcx + offset_of!(Context, budget) as i32], r14d
        ; mov rsp, [rbp + frame::BASE]
        ; add rsp, 24
        ; pop r15 ; pop r14 ; pop r13 ; pop r12 ; pop rbp ; pop rbx
        ; ret
        ; .align 16
    );
    shared.miss = at(&asm);
    asm!(; mov [rbp + pc], eax);
    spill(&mut asm);
    call(&mut asm, calls::miss as *const ());
    fill(&mut asm);
    asm!(; cmp eax, RESUME_AT_PC as i32 ; je ->resume_at_pc ; test eax, eax ; jnz ->leave ; mov eax, [rbp + pc]);
    find_block!(asm);
    asm!(; jmp rcx ; .align 16);

    for (offset, function) in [
        (&mut shared.interpret, calls::interpret as *const ()),
        (&mut shared.load, calls::access::<false, false> as *const ()),
        (&mut shared.store, calls::access::<true, false> as *const ()),
        (
            &mut shared.show_load,
            calls::access::<false, true> as *const (),
        ),
        (
            &mut shared.show_store,
            calls::access::<true, true> as *const (),
        ),
    ] {
        *offset = asm.offset().0 as u32;
        asm!(; sub rsp, 8);
        spill(&mut asm);
        asm!(; mov r8d, eax);
        call(&mut asm, function);
        asm!(
            ; add rsp, 8
            ; test eax, eax
            ; jnz >stops
        );
        fill(&mut asm);
        asm!(; ret ; stops: ; add rsp, 8);
        // The function may have changed pinned registers; they must not be spilled over.
        fill(&mut asm);
        asm!(; cmp eax, RESUME_AT_PC as i32 ; je ->resume_at_pc ; jmp ->leave ; .align 16);
    }
    shared.resume = at(&asm);
    spill(&mut asm);
    call(&mut asm, calls::resume as *const ());
    fill(&mut asm);
    asm!(
        ; cmp eax, RESUME_AT_PC as i32
        ; jne ->leave
        ; ->resume_at_pc:
        ; mov rcx, [rbp + frame::CONTEXT]
        ; mov r15, [rcx + offset_of!(Context, data) as i32]
        ; mov rdx, [rcx + offset_of!(Context, fetch) as i32]
        ; mov [BYTE rbp + frame::FETCH], rdx
        ; mov rax, [rcx + offset_of!(Context, pinned_bytes) as i32]
        ; mov [BYTE rbp + frame::PINNED_BYTES], rax
        ; mov rax, [rcx + offset_of!(Context, pinned_host) as i32]
        ; mov [BYTE rbp + frame::PINNED_HOST], rax
        ; xor eax, eax
        ; xchg eax, [rcx + offset_of!(Context, done) as i32]
        ; sub r14d, eax
        ; mov eax, [rbp + pc]
    );
    shared.go_back = at(&asm);
    asm!(
        // Calls that wait may never return, or not in the mode that they were made in.
        ; mov rsp, [rbp + frame::BASE]
    );
    find_block!(asm);
    asm!(; jmp rcx ; .align 16);
    for extent in Extent::ALL {
        shared.find_load[extent as usize] = find(&mut asm, extent, LOADS);
        shared.find_store[extent as usize] = find(&mut asm, extent, STORES);
    }
    shared.find = at(&asm);
    asm!(
        ; xor edx, eax
        ; test edx, -4096
        ; jnz >apart
        ; mov ecx, eax
        ; shr ecx, 12
        ; mov rcx, [r15 + 8 * rcx + LOADS]
        ; test rcx, rcx
        ; jz >none
        // A host address is not 0.
        ; add rcx, rax
        ; none: ; ret
        ; apart: ; cmp eax, eax ; ret
        ; .align 16
    );
    let code = asm
        .finalize()
        .expect("the shared code's labels are all there");
    (code, shared)
}

/// Makes what finds an access by its page's entry in `table`; gives its offset.
fn find(asm: &mut Assembler, extent: Extent, table: i32) -> u32 {
    let offset = asm.offset().0 as u32;
    let last = (1 << extent.zeros()) - 1;
    if extent.must_be_aligned() {
        dynasm!(asm ; .arch x64 ; test al, last as i8 ; jnz >none);
    } else if last != 0 {
        dynasm!(asm ; .arch x64
            ; lea edx, [rax + last]
            ; xor edx, eax
            ; test edx, -4096
            ; jnz >none
        );
    }
    dynasm!(asm ; .arch x64
        ; mov ecx, eax
        ; shr ecx, 12
        ; mov rcx, [r15 + 8 * rcx + table]
        ; test rcx, rcx
        ; ret
        ; none:
        ; cmp eax, eax
        ; ret
        ; .align 16
    );
    offset
}

/// The pinned guest registers and where they are.
fn pinned() -> impl Iterator<Item = (i32, u8)> {
    (0..).zip(PINNED).filter(|(_, host)| *host != NOWHERE)
}

/// Runs the code at `code`.
///
/// # Safety
/// `entry` is the shared entry code, `code` a block's, `context` is filled in, and its pointers are
/// valid and nobody else's until this returns.
pub(super) unsafe fn enter(
    entry: *const u8,
    regs: &mut Regs,
    context: &mut Context<'_>,
    code: *const u8,
    running: &Running<'_>,
) -> u32 {
    // SAFETY: `shared` made a function of this type there.
    let function: extern "sysv64" fn(*mut Regs, *mut Context<'_>, *const u8) -> u32 =
        unsafe { std::mem::transmute(entry) };
    signal::during(running, || function(regs, context, code))
}
