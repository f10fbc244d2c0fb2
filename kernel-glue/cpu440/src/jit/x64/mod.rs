//! The x86-64 back end: one pass over a block's instructions, one function for each kind.
//!
//! A function either makes host code for its instruction or says that it does not, and then the
//! interpreter's operation is called in its place: the semantics of what is rare exist once.
//! What is rarely run -- slow accesses, traps, jumps whose target is not known yet -- is collected
//! in [`Cold`] and put behind the block.

mod assembler;
mod branch;
mod float;
mod integer;
mod memory;
mod system;

use std::fmt;
use std::mem::offset_of;

use ppc440_isa::{Insn, Regs, Word};

use super::blocks::{Link, LinkId};
use super::conditions::{self, Comparison};
use super::context::stop;
use super::exec::{BIAS, Extent, NOWHERE, PINNED, Shared, packed_site};
use super::flags::{self, Flags};
use super::frontend::{Block, Item};
use super::groups::{Groups, Member};
use super::loops::{self, CTR};
use assembler::{Assembler, DynamicLabel};
use memory::Form;

pub(super) use assembler::ROOM as MOST_BYTES;

/// Assembles for the emitter that is named first.
macro_rules! asm {
    ($e:expr, $($t:tt)*) => { dynasmrt::dynasm!($e.asm ; .arch x64 $($t)*) };
}
use asm;

/// An operation on a host register and a guest register, wherever that is.
macro_rules! alu {
    ($e:expr, $op:ident, $host:expr, $guest:expr) => {
        match $e.home($guest) {
            Home::Host(h) => asm!($e, ; $op Rd($host), Rd(h)),
            Home::Memory(m) => asm!($e, ; $op Rd($host), [BYTE rbp + m]),
        }
    };
    ($e:expr, $op:ident, $target:expr, $host:expr, $guest:expr) => {
        match $e.home($guest) {
            Home::Host(h) => asm!($e, ; $op Rd($target), Rd($host), Rd(h)),
            Home::Memory(m) => asm!($e, ; $op Rd($target), Rd($host), [BYTE rbp + m]),
        }
    };
}
use alu;

/// Scratch registers.
const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;

/// Where the GPRs and CTR are in code that keeps no others.
const HOMES: [u8; 33] = {
    let mut homes = [NOWHERE; 33];
    let mut guest = 0;
    while guest < 32 {
        homes[guest] = PINNED[guest];
        guest += 1;
    }
    homes
};

/// A guest register in a host register that belongs to a pinned one; where both are in memory.
#[derive(Clone, Copy, Debug)]
struct Swap {
    host: u8,
    pinned: i8,
    guest: i8,
}

/// Where a guest register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// In a host register.
    Host(u8),
    /// At this offset from `rbp`.
    Memory(i8),
}

/// Offsets from `rbp` to what is in [`Regs`]; all but the SPRGs and FPRs fit a byte.
mod at {
    use super::*;
    use ppc440_isa::{Cr, Xer};

    const fn near(offset: usize) -> i8 {
        let offset = offset as i32 - BIAS;
        assert!(offset == offset as i8 as i32);
        offset as i8
    }

    pub const PC: i8 = near(offset_of!(Regs, pc));
    pub const MSR: i8 = near(offset_of!(Regs, msr));
    pub const LR: i8 = near(offset_of!(Regs, lr));
    pub const CTR: i8 = near(offset_of!(Regs, ctr));
    pub const USPRG0: i32 = offset_of!(Regs, usprg0) as i32 - BIAS;
    pub const SRR0: i32 = offset_of!(Regs, srr0) as i32 - BIAS;
    pub const SRR1: i32 = offset_of!(Regs, srr1) as i32 - BIAS;
    pub const CSRR0: i32 = offset_of!(Regs, csrr0) as i32 - BIAS;
    pub const CSRR1: i32 = offset_of!(Regs, csrr1) as i32 - BIAS;
    pub const DEAR: i32 = offset_of!(Regs, dear) as i32 - BIAS;
    pub const ESR: i32 = offset_of!(Regs, esr) as i32 - BIAS;
    pub const MMUCR: i32 = offset_of!(Regs, mmucr) as i32 - BIAS;
    pub const PID: i32 = offset_of!(Regs, pid) as i32 - BIAS;
    pub const RESERVATION: i32 = offset_of!(Regs, reservation) as i32 - BIAS;
    pub const MASKED: i32 = offset_of!(Regs, masked) as i32 - BIAS;
    pub const TLB_WRITES: i32 = offset_of!(Regs, tlb_writes) as i32 - BIAS;
    pub const FPSCR: i32 = offset_of!(Regs, fpscr) as i32 - BIAS;
    pub const SO: i8 = near(offset_of!(Regs, xer) + offset_of!(Xer, so));
    pub const CA: i8 = near(offset_of!(Regs, xer) + offset_of!(Xer, ca));
    const CR: usize = offset_of!(Regs, cr);

    pub const fn gpr(n: usize) -> i8 {
        near(offset_of!(Regs, gpr) + 4 * (n & 31))
    }

    pub fn sprg(n: usize) -> i32 {
        (offset_of!(Regs, sprg) + 4 * n) as i32 - BIAS
    }

    pub fn fpr(n: usize) -> i32 {
        (offset_of!(Regs, fpr) + 8 * n) as i32 - BIAS
    }

    /// LT, GT and EQ of a CR field.
    pub const fn sign(field: usize) -> i8 {
        near(CR + offset_of!(Cr, signs) + 8 * (field & 7))
    }

    /// The byte of a CR field's sign that has LT, as its bit 6.
    pub const fn sign_top(field: usize) -> i8 {
        near(CR + offset_of!(Cr, signs) + 8 * (field & 7) + 7)
    }
}

/// Code for behind the block.
#[derive(Clone, Copy)]
enum Cold {
    /// Too few instructions may run.
    Budget { from: DynamicLabel },
    /// Calls a shared routine with an instruction, and goes on.
    Call {
        from: DynamicLabel,
        back: DynamicLabel,
        routine: u32,
        word: u32,
        site: i32,
    },
    /// Finds an access by its page's entry, and goes on with that.
    LookUp {
        from: DynamicLabel,
        back: DynamicLabel,
        slow: DynamicLabel,
        store: bool,
        extent: Extent,
    },
    /// Makes the effective address of an access that the window does not show, unless it is there
    /// already; calls a shared routine, and goes on.
    Refused {
        access: u32,
        back: DynamicLabel,
        item: Item,
        form: Option<Form>,
        routine: u32,
        site: i32,
    },
    /// Looks up what is loaded from outside the pinned range; see [`Emitter::check_pinned`].
    Find {
        from: DynamicLabel,
        back: DynamicLabel,
        slow: DynamicLabel,
        start: u32,
        bytes: u8,
    },
    /// Does an access of a group on its own, and goes on.
    Alone {
        from: DynamicLabel,
        back: DynamicLabel,
        item: Item,
        member: Member,
        done: u32,
    },
    /// Leaves with a reason.
    Leave {
        from: DynamicLabel,
        stop: u32,
        site: i32,
    },
    /// Goes on with an instruction that may change the mode, or is the core's.
    Resume {
        from: DynamicLabel,
        word: u32,
        site: i32,
    },
    /// Goes on in another block; see [`Emitter::link`].
    Jump { from: DynamicLabel, to: i32 },
    /// Goes to the address in `eax`.
    GoBack { from: DynamicLabel },
    /// Asks for a link.
    Stub {
        from: DynamicLabel,
        link: usize,
        to: u32,
    },
}

/// What a block became.
pub(super) struct Code<'a> {
    /// The host code.
    pub bytes: &'a [u8],
    /// The jumps that lead from it to other blocks.
    pub links: &'a [Link],
    /// The accesses to the window, and where the code is that goes on with each if it is refused.
    pub sites: &'a [(u32, u32)],
    /// Whether it does floating-point arithmetic or comparisons.
    pub uses_float: bool,
}

/// Makes host code, block by block. Its buffers stay from one to the next.
pub(super) struct Emitter {
    asm: Assembler,
    shared: Shared,
    /// Where the block will be in the code memory.
    at: u32,
    first_link: LinkId,
    links: Vec<Link>,
    cold: Vec<Cold>,
    /// Where the guest's GPRs and CTR are while the block runs.
    homes: [u8; 33],
    /// What the block keeps in other guest registers' host registers.
    swaps: Vec<Swap>,
    /// Targets of branches within the block, by offset, and where they are.
    inside: Vec<(u32, DynamicLabel)>,
    groups: Groups,
    /// What the current instruction shares with other accesses.
    member: Option<Member>,
    /// The group whose number in the frame `rcx` holds, 0 included.
    pointer: Option<usize>,
    item: Item,
    /// For each instruction of the block, the flags that it sets and nobody can see.
    unseen: Vec<Flags>,
    /// The flags that the current instruction sets and nobody can see.
    item_unseen: Flags,
    /// The branches that can make a comparison again, by their numbers in the block, and that.
    comparisons: Vec<(usize, Comparison)>,
    /// How many of them are done.
    compared: usize,
    /// The comparison that the current instruction can make again.
    comparison: Option<Comparison>,
    /// Instructions before the current one that `r14d` still counts.
    done: u32,
    /// The current instruction is counted already.
    counted: bool,
    /// The CR field whose sign the host's flags show.
    flags: Option<usize>,
    /// The host register that has CTR's value because the instruction before put it there.
    ctr_copy: Option<u8>,
    /// XER\[SO\] may be 1. As long as it never was, code does not look at it.
    pub summary: bool,
    /// Where the pinned range begins, if code is to look there first for what it loads.
    pub direct: Option<u32>,
    /// The code is one that runs much: what it loads and stores is in windows.
    pub windows: bool,
    /// Bit n: the block's instruction n goes by the tables all the same.
    pub by_tables: u64,
    /// Whether the current one does.
    is_by_tables: bool,
    sites: Vec<(u32, u32)>,
    /// MSR\[FP\] is known to be 1.
    fp_checked: bool,
    uses_float: bool,
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").finish_non_exhaustive()
    }
}

impl Emitter {
    /// For blocks that use this shared code.
    pub fn new(shared: Shared) -> Self {
        Emitter {
            asm: Assembler::new(),
            shared,
            at: 0,
            first_link: 0,
            links: Vec::new(),
            cold: Vec::new(),
            homes: HOMES,
            swaps: Vec::new(),
            inside: Vec::new(),
            groups: Groups::default(),
            member: None,
            pointer: None,
            item: Item::new(Word(0), 0),
            unseen: Vec::new(),
            item_unseen: 0,
            comparisons: Vec::new(),
            compared: 0,
            comparison: None,
            done: 0,
            counted: false,
            flags: None,
            ctr_copy: None,
            summary: false,
            direct: None,
            windows: false,
            by_tables: 0,
            is_by_tables: false,
            sites: Vec::new(),
            fp_checked: false,
            uses_float: false,
        }
    }

    /// Makes the code of a block, to lie at offset `at` of the code memory; `first_link` is the
    /// number of its first link.
    pub fn compile(&mut self, block: &Block, at: u32, first_link: LinkId) -> Code<'_> {
        (self.at, self.first_link) = (at, first_link);
        self.asm.clear();
        self.links.clear();
        self.sites.clear();
        (self.done, self.counted) = (0, false);
        (self.flags, self.fp_checked, self.uses_float) = (None, false, false);
        (self.pointer, self.ctr_copy, self.compared) = (None, None, 0);

        flags::unseen(&block.items, &mut self.unseen);
        self.plan(block);
        self.enter_loop();
        let short = self.asm.new_dynamic_label();
        if let Some((_, start)) = self.inside.first().copied() {
            asm!(self, ; =>start);
        }
        asm!(self, ; cmp r14d, block.items.len() as i32 ; jl =>short);
        self.cold.push(Cold::Budget { from: short });
        let mut open = true;
        for (n, item) in block.items.iter().enumerate() {
            assert!(self.asm.has_room(), "a block's code is bounded");
            (self.item, self.item_unseen) = (*item, self.unseen[n]);
            self.member = self.groups.member(n);
            self.comparison = match self.comparisons.get(self.compared) {
                Some((at, comparison)) if *at == n => {
                    self.compared += 1;
                    Some(*comparison)
                }
                _ => None,
            };
            self.is_by_tables = self.by_tables >> n & 1 != 0;
            self.arrive();
            open = self.instruction();
            if !open {
                break;
            }
            if !std::mem::take(&mut self.counted) {
                self.done += 1;
            }
        }
        if open {
            let behind = self.item.offset + 4;
            if self.done != 0 {
                let done = -(self.done as i8);
                asm!(self, ; lea r14, [BYTE r14 + done]);
            }
            self.jump(behind as i32);
        }
        self.emit_cold(block.items[0].offset);
        for link in &mut self.links {
            link.jump += at;
            link.stub += at;
            link.guard = link.guard.map(|guard| guard + at);
        }
        Code {
            bytes: self.asm.finish(),
            links: &self.links,
            sites: &self.sites,
            uses_float: self.uses_float,
        }
    }

    /// Makes the code of the current instruction; says whether the block goes on behind it.
    fn instruction(&mut self) -> bool {
        let Some(insn) = self.item.insn else {
            self.interpret();
            return false;
        };
        // These are made of instructions that leave the host's flags alone, or test them.
        let keeps_flags = match insn {
            Insn::Addi | Insn::Addis | Insn::Bc | Insn::Bclr | Insn::Bcctr => true,
            Insn::Or => self.item.word.rs() == self.item.word.rb() && !self.item.word.rc(),
            _ => false,
        };
        if !keeps_flags {
            self.flags = None;
        }
        // So do these with `rcx`, but for the last two.
        if self.member.is_none() && !matches!(insn, Insn::Addi | Insn::Addis | Insn::Or) {
            self.pointer = None;
        }
        if insn != Insn::Bcctr {
            self.ctr_copy = None;
        }
        // The most frequent come first.
        if self.integer(insn) || self.memory(insn) {
            return true;
        }
        if let Some(goes_on) = self.branch(insn) {
            return goes_on;
        }
        if let Some(goes_on) = self.system(insn) {
            return goes_on;
        }
        if !self.float(insn) {
            self.interpret();
        }
        true
    }

    /// Decides where the guest's registers are, and which branches stay within the block.
    fn plan(&mut self, block: &Block) {
        self.homes = HOMES;
        self.swaps.clear();
        self.inside.clear();
        let (first, last) = (
            block.items[0].offset,
            block.items[block.items.len() - 1].offset,
        );
        // The start comes first in the list; it is always in it, and costs nothing.
        let start = self.asm.new_dynamic_label();
        self.inside.push((first, start));
        for item in &block.items {
            if let Some(to) = loops::target(item)
                && item.insn == Some(Insn::Bc)
                && to > item.offset as i32
                && to <= last as i32
                && !self.inside.iter().any(|(at, _)| *at == to as u32)
            {
                let label = self.asm.new_dynamic_label();
                self.inside.push((to as u32, label));
            }
        }
        let inside = &self.inside[1..];
        self.groups.clear();
        if !self.windows {
            self.groups
                .find(block, |offset| inside.iter().any(|(at, _)| *at == offset));
        }
        conditions::find(
            &block.items,
            |offset| inside.iter().any(|(at, _)| *at == offset),
            &mut self.comparisons,
        );
        let Some(uses) = loops::uses(block) else {
            return;
        };
        // The most used of those in memory, in the place of the least used of the pinned.
        let mut wanted: Vec<usize> = (0..uses.len())
            .filter(|guest| HOMES[*guest] == NOWHERE && uses[*guest] >= 2)
            .collect();
        wanted.sort_by_key(|guest| std::cmp::Reverse(uses[*guest]));
        let mut idle: Vec<usize> = (0..32).filter(|guest| HOMES[*guest] != NOWHERE).collect();
        idle.sort_by_key(|guest| uses[*guest]);
        for (guest, pinned) in wanted.into_iter().zip(idle) {
            if uses[guest] < uses[pinned] + 2 {
                break;
            }
            let host = HOMES[pinned];
            self.homes[guest] = host;
            self.homes[pinned] = NOWHERE;
            self.swaps.push(Swap {
                host,
                pinned: at::gpr(pinned),
                guest: if guest == CTR {
                    at::CTR
                } else {
                    at::gpr(guest)
                },
            });
        }
    }

    /// Takes the loop's registers into host registers.
    fn enter_loop(&mut self) {
        for n in 0..self.swaps.len() {
            let Swap {
                host,
                pinned,
                guest,
            } = self.swaps[n];
            asm!(self, ; mov [BYTE rbp + pinned], Rd(host) ; mov Rd(host), [BYTE rbp + guest]);
        }
    }

    /// Gives the host registers back to the pinned registers. Host flags, `rax`, `rcx` and `rdx`
    /// stay as they are.
    fn leave_loop(&mut self) {
        for n in 0..self.swaps.len() {
            let Swap {
                host,
                pinned,
                guest,
            } = self.swaps[n];
            asm!(self, ; mov [BYTE rbp + guest], Rd(host) ; mov Rd(host), [BYTE rbp + pinned]);
        }
    }

    /// Before an instruction that branches within the block lead to: what they leave known.
    fn arrive(&mut self) {
        let found = self.inside[1..]
            .iter()
            .find(|(at, _)| *at == self.item.offset);
        if let Some((_, label)) = found.copied() {
            if self.done != 0 {
                let done = -(self.done as i8);
                asm!(self, ; lea r14, [BYTE r14 + done]);
                self.done = 0;
            }
            asm!(self, ; =>label);
            (self.flags, self.fp_checked, self.pointer) = (None, false, None);
            self.ctr_copy = None;
        }
    }

    /// Where a branch within the block leads, if the offset `to` is in it, before or behind.
    fn label_inside(&self, to: i32) -> Option<DynamicLabel> {
        let ahead = to > self.item.offset as i32;
        let mut inside = self.inside.iter().enumerate();
        let found = inside.find(|(n, (at, _))| *at as i32 == to && (ahead || *n == 0));
        found.map(|(_, (_, label))| *label)
    }

    /// Whether the current instruction sets flags, all of `flags`, that nobody can see.
    fn is_unseen(&self, flags: Flags) -> bool {
        self.item_unseen & flags == flags
    }

    /// Where a guest register is.
    fn home(&self, guest: usize) -> Home {
        match self.homes[guest & 31] {
            NOWHERE => Home::Memory(at::gpr(guest)),
            host => Home::Host(host),
        }
    }

    /// Where CTR is.
    fn ctr(&self) -> Home {
        match self.homes[CTR] {
            NOWHERE => Home::Memory(at::CTR),
            host => Home::Host(host),
        }
    }

    /// A host register with a guest register's value: its own, or `scratch`, loaded.
    fn value(&mut self, guest: usize, scratch: u8) -> u8 {
        match self.home(guest) {
            Home::Host(host) => host,
            Home::Memory(m) => {
                asm!(self, ; mov Rd(scratch), [BYTE rbp + m]);
                scratch
            }
        }
    }

    /// Loads a guest register's value into a host register.
    fn load(&mut self, host: u8, guest: usize) {
        match self.home(guest) {
            Home::Host(h) if h == host => {}
            Home::Host(h) => asm!(self, ; mov Rd(host), Rd(h)),
            Home::Memory(m) => asm!(self, ; mov Rd(host), [BYTE rbp + m]),
        }
    }

    /// Where to make the new value of a guest register: its own host register, or `scratch`.
    fn target(&self, guest: usize, scratch: u8) -> u8 {
        match self.home(guest) {
            Home::Host(host) => host,
            Home::Memory(_) => scratch,
        }
    }

    /// Gives a guest register the value in a host register.
    fn set(&mut self, guest: usize, host: u8) {
        match self.home(guest) {
            Home::Host(h) if h == host => {}
            Home::Host(h) => asm!(self, ; mov Rd(h), Rd(host)),
            Home::Memory(m) => asm!(self, ; mov [BYTE rbp + m], Rd(host)),
        }
    }

    /// Brings `r14d` up to date, the current instruction included.
    fn count_all(&mut self) {
        let done = -(self.done as i8 + 1);
        asm!(self, ; lea r14, [BYTE r14 + done]);
        self.done = 0;
        self.counted = true;
    }

    /// The current instruction's place.
    fn site(&self) -> i32 {
        packed_site(self.item.offset, self.done)
    }

    /// Gives the current instruction to the interpreter.
    fn interpret(&mut self) {
        self.leave_loop();
        asm!(self, ; mov ecx, self.item.word.0 as i32 ; mov edx, self.site());
        self.call(self.shared.interpret);
        self.enter_loop();
    }

    /// Gives the current instruction to the interpreter if a jump to the returned label is taken,
    /// and then goes on at `back`.
    fn interpret_cold(&mut self, back: DynamicLabel) -> DynamicLabel {
        self.call_cold(self.shared.interpret, back)
    }

    /// Gives the current instruction, an access, to `routine` if a jump to the returned label is
    /// taken.
    fn access_cold(&mut self, routine: u32, back: DynamicLabel) -> DynamicLabel {
        self.call_cold(routine, back)
    }

    fn call_cold(&mut self, routine: u32, back: DynamicLabel) -> DynamicLabel {
        let from = self.asm.new_dynamic_label();
        let cold = Cold::Call {
            from,
            back,
            routine,
            word: self.item.word.0,
            site: self.site(),
        };
        self.cold.push(cold);
        from
    }

    /// Leaves with `stop` if a jump to the returned label is taken.
    fn leave_cold(&mut self, stop: u32, site: i32) -> DynamicLabel {
        let from = self.asm.new_dynamic_label();
        self.cold.push(Cold::Leave { from, stop, site });
        from
    }

    /// Leaves with `stop`.
    fn leave(&mut self, stop: u32, site: i32) {
        self.leave_loop();
        asm!(self, ; mov ecx, site ; mov eax, stop as i32);
        self.go(self.shared.leave_at);
    }

    /// Calls shared code with an instruction, and goes on at `back`.
    fn call_for(&mut self, routine: u32, word: u32, site: i32, back: DynamicLabel) {
        self.leave_loop();
        asm!(self, ; mov ecx, word as i32 ; mov edx, site);
        self.call(routine);
        self.enter_loop();
        asm!(self, ; jmp =>back);
    }

    /// Calls shared code.
    fn call(&mut self, routine: u32) {
        self.asm.push(0xE8);
        self.lead_to(routine);
    }

    /// Goes on in shared code.
    fn go(&mut self, routine: u32) {
        self.asm.push(0xE9);
        self.lead_to(routine);
    }

    fn lead_to(&mut self, routine: u32) {
        let behind = self.at + self.asm.offset().0 as u32 + 4;
        self.asm.push_u32(routine.wrapping_sub(behind));
    }

    /// Puts what is rarely run behind the block, whose first instruction is at `first`.
    fn emit_cold(&mut self, first: u32) {
        // A jump's code may ask for more.
        let mut next = 0;
        while let Some(cold) = self.cold.get(next).copied() {
            assert!(self.asm.has_room(), "a block's code is bounded");
            self.emit(cold, first);
            next += 1;
        }
        self.cold.clear();
    }

    fn emit(&mut self, cold: Cold, first: u32) {
        match cold {
            Cold::Budget { from } => {
                asm!(self, ; =>from);
                self.leave(stop::BUDGET, packed_site(first, 0));
            }
            Cold::Call {
                from,
                back,
                routine,
                word,
                site,
            } => {
                asm!(self, ; =>from);
                self.call_for(routine, word, site, back);
            }
            Cold::LookUp {
                from,
                back,
                slow,
                store,
                extent,
            } => {
                asm!(self, ; =>from);
                self.find(store, extent);
                asm!(self, ; jnz =>back ; jmp =>slow);
            }
            Cold::Refused {
                access,
                back,
                item,
                form,
                routine,
                site,
            } => {
                let on = self.asm.offset().0 as u32;
                self.sites.push((self.at + access, self.at + on));
                if let Some(form) = form {
                    self.item = item;
                    self.address_of(form);
                }
                self.call_for(routine, item.word.0, site, back);
            }
            Cold::Find {
                from,
                back,
                slow,
                start,
                bytes,
            } => {
                let last = i32::from(bytes) - 1;
                asm!(self,
                    ; =>from
                    ; lea eax, [rcx + start as i32]
                    ; lea edx, [BYTE rax + last as i8]
                );
                self.call(self.shared.find);
                asm!(self, ; jnz =>back ; jmp =>slow);
            }
            Cold::Alone {
                from,
                back,
                item,
                member,
                done,
            } => {
                asm!(self, ; =>from);
                (self.item, self.done) = (item, done);
                self.access_alone(member, back);
            }
            Cold::Leave { from, stop, site } => {
                asm!(self, ; =>from);
                self.leave(stop, site);
            }
            Cold::Resume { from, word, site } => {
                asm!(self, ; =>from);
                self.leave_loop();
                asm!(self, ; mov ecx, word as i32 ; mov edx, site);
                self.go(self.shared.resume);
            }
            Cold::Jump { from, to } => {
                asm!(self, ; =>from);
                self.jump(to);
            }
            Cold::GoBack { from } => {
                asm!(self, ; =>from);
                self.go(self.shared.go_back);
            }
            Cold::Stub { from, link, to } => {
                asm!(self, ; =>from);
                self.stub(link, to);
            }
        }
    }
}

/// Whether this host has the instructions that the code uses.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("avx")
}
