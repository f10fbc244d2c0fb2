//! The host around the guest: what a kernel module (or a simulation) must be able to do.

use ppc440_isa::Regs;
use ppc440_kvm::Pins;

/// What becomes of the reservation bit when the guest is entered.
///
/// The bit cannot be read, and the host's own code uses it too: what it is to be is said at each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// The bit is the guest's, as the guest left it.
    Keep,
    /// The guest holds one: a `lwarx` of a word of the host's makes it.
    Hold,
    /// The guest holds none: a `stwcx.` to such a word ends any.
    Drop,
}

/// How the guest is entered, beside its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// PID while the guest runs: the TID of its space.
    pub tid: u8,
    /// The real MSR while the guest runs.
    pub msr: u32,
    /// The reservation bit.
    pub reservation: Reservation,
}

/// How the guest came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// The interrupt, by the number of its IVOR.
    pub number: u8,
    /// ESR as the interrupt left it.
    pub esr: u32,
    /// DEAR as the interrupt left it.
    pub dear: u32,
    /// The instruction at `pc`, if it was fetched; it may be asked for in vain.
    pub word: Option<u32>,
}

/// A page of guest RAM in the host's real memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Number of the real page of 4096 bytes.
    pub page: u32,
    /// log2 of the pages of the largest block that is naturally aligned in real memory, that contains
    /// this page, and whose pages follow each other in guest RAM as they do in real memory.
    pub order: u8,
}

/// A 440 that runs a host, from where the guest's turns are made.
///
/// Everything is called with the host's interrupts off, except where they are let in.
pub trait Port {
    /// Runs the guest at `regs.pc` until something interrupts it; the world switch. Of the registers it
    /// loads and saves GPRs, `pc`, LR, CTR, CR, XER and USPRG0, and loads SPRG4-7.
    fn enter(&mut self, regs: &mut Regs, turn: Turn) -> Stop;

    /// Writes an entry of the TLB, with `tid` in it.
    fn tlb_write(&mut self, index: u8, words: [u32; 3], tid: u8);

    /// Invalidates the instruction cache.
    fn iccci(&mut self);

    /// The frame of the page at RAM offset `ram`; `None` when it is not there.
    fn frame(&self, ram: u32) -> Option<Frame>;

    /// Reads guest RAM at byte offset `ram`; `false`, with `bytes` untouched, when the range is not
    /// inside it.
    fn load(&self, ram: u32, bytes: &mut [u8]) -> bool;

    /// Writes guest RAM, as [`Port::load`] reads it; a later fetch sees it.
    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool;

    /// Writes `words` to the beginning of a page of the host's own, such that a fetch through any
    /// translation sees them, and says which page that is.
    fn scratch(&mut self, words: [u32; 2]) -> Frame;

    /// Gives the floating-point unit to the guest: `fpr` and `fpscr`.
    fn fp_load(&mut self, regs: &Regs);

    /// Takes the floating-point unit back, with the guest's `fpr` and `fpscr`.
    fn fp_save(&mut self, regs: &mut Regs);

    /// Whether the guest held a reservation when it last came back; it no longer does. Asked before
    /// anything that could make or end one.
    fn take_reservation(&mut self) -> bool;

    /// Lets the host take its own interrupt `number`, which ended the guest's turn, and whatever else
    /// waits. `true`: the core is to look at its inputs, or the guest's thread is wanted elsewhere.
    fn interrupted(&mut self, number: u8) -> bool;

    /// The time base.
    fn time_base(&self) -> u64;

    /// Has the host interrupt the guest's turn when the time base comes to `deadline`, and not for an
    /// earlier one.
    fn arm(&mut self, deadline: Option<u64>);

    /// The core's inputs as they are now; takes a pending kick.
    fn pins(&mut self) -> Pins;

    /// Host time in nanoseconds from an arbitrary start.
    fn stopwatch(&self) -> u64;

    /// Takes note of an instruction that was completed in the guest's place: for a simulation, which
    /// counts them.
    fn completed(&mut self) {}
}
