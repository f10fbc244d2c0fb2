//! The translator: guest code to x86-64 host code, a block at a time, when it is first run.
//!
//! | file | holds |
//! |---|---|
//! | `frontend.rs` | guest words to the instructions of a block; knows no host |
//! | `flags.rs` | which flags nobody can see; knows no host either |
//! | `conditions.rs` | which branches can compare again; likewise |
//! | `loops.rs` | which registers a loop uses; likewise |
//! | `groups.rs` | which accesses have one look-up in common; likewise |
//! | `first_runs.rs` | code that has run once or twice, and is not worth a translation yet |
//! | `x64/` | instructions to host code, one pass, one function for each kind; knows no cache |
//! | `hotness.rs` | which code runs much |
//! | `window_backoff.rs` | which accesses of it go by the tables all the same |
//! | `signal.rs`† | accesses that the host's MMU refuses |
//! | `stack.rs`† | how much of its stack the thread has left |
//! | `blocks.rs`† | which blocks there are, and the jumps between them |
//! | `memory.rs`† | the memory that host code lies in |
//! | `interp_ops.rs` | what the interpreter runs in code's place |
//! | `stopwatch.rs`† | a clock that costs next to nothing |
//! | `status.rs`† | FPSCR behind translated arithmetic |
//! | `context.rs` | what code, the functions that it calls and its caller give each other |
//! | `exec.rs`† | the registers' roles, the code that all blocks share, and into it |
//! | `calls.rs`† | the functions of ours that code calls |
//! | `mod.rs`† | translating, linking, forgetting, and running |
//!
//! † holds `unsafe`.
//!
//! Translated code gives exactly the interpreter's results. It runs until it has to come back: for a
//! trap that the core does not deal with on the way, for a block or a jump that is not there yet, or
//! when its instructions are used up. What is rare is left to the interpreter, one operation at a time.

// The assembler converts register numbers to numbers of their own type.
#![allow(clippy::useless_conversion)]

mod blocks;
mod calls;
mod conditions;
mod context;
mod exec;
mod first_runs;
mod flags;
mod frontend;
mod groups;
mod hotness;
mod interp_ops;
mod loops;
mod memory;
mod signal;
mod stack;
mod status;
mod stopwatch;
mod window_backoff;
mod x64;

use ppc440_isa::{Regs, Trap, regs::msr};

use crate::code::TranslatorStatistics;
use crate::error::TranslatorError;
use crate::fast::Fast;
use crate::interp::{Exec, Flow};
use crate::pins::Pins;
use crate::supervisor::{Answer, Entry};
use crate::watch::Keeper;
use blocks::{Blocks, Hot, Link, Made};
use context::{Context, stop};
use exec::Shared;
use first_runs::FirstRuns;
use frontend::Block;
use hotness::{Hotness, Next};
use interp_ops::InterpOps;
use memory::CodeMemory;
use signal::{Running, Sites};
use status::UnsettledFpscr;
use stopwatch::{Start, ticks};
use window_backoff::WindowBackoff;
use x64::{Emitter, MOST_BYTES};

const PAGE: u32 = 4096;

/// Bytes of translated code that are kept.
const CODE_BYTES: usize = 32 << 20;

/// Instructions between two looks at the pins: ten or twenty microseconds. With 10,000, coming back took a
/// tenth of the time of the benchmark `integers` (`tests/bench`); with 40,000 it does not show.
const SLICE: u32 = 40_000;

/// How often all code is made again because the supervisor's pinned range begins somewhere else: a
/// loader has another one than the kernel, but no kernel has several in turn. Chosen, not
/// measured; a guest that moves its range more often gets code that looks addresses up.
const MOVES: u32 = 16;

/// How translated code came back.
#[derive(Debug)]
pub(crate) enum Ran {
    /// With a trap.
    Trapped(Trap),
    /// Behind a store over code, `Exec::changed`, which must be forgotten.
    CodeChanged,
    /// Before a block of more instructions than may run; the interpreter can run the rest.
    Short,
}

/// The translated code of a CPU.
#[derive(Debug)]
pub(crate) struct Jit {
    memory: CodeMemory,
    shared: Shared,
    emitter: Emitter,
    ops: InterpOps,
    /// Where the first block's code begins.
    first: u32,
    blocks: Blocks,
    block: Block,
    first_runs: FirstRuns,
    hotness: Hotness,
    sites: Sites,
    backoff: WindowBackoff,
    /// Some code does floating-point arithmetic or comparisons.
    uses_float: bool,
    /// Where the supervisor's pinned range begins, as its code has it.
    pinned: u32,
    /// How often that has changed.
    moves: u32,
    statistics: TranslatorStatistics,
    /// What [`ticks`] counted while blocks were translated, and where it began.
    ticks: u64,
    start: Start,
}

// UNSAFE BECAUSE: a machine moves from thread to thread, and its operations and code with it.
#[allow(unsafe_code)]
// SAFETY: nothing in `Op` is tied to a thread: it holds a function pointer and numbers.
unsafe impl Send for Jit {}

impl Jit {
    /// Whether this host can run translated code.
    pub fn is_supported() -> bool {
        x64::is_supported()
    }

    /// A translator for the CPU that `exec` belongs to, which gets its fast tables, and windows if they
    /// are wanted.
    ///
    /// # Errors
    /// When the host has not the processor for it, no memory or address space for code and tables, or
    /// does not allow it.
    pub fn new(exec: &mut Exec, windows: bool) -> Result<Self, TranslatorError> {
        Self::with_code_memory(exec, CODE_BYTES, windows)
    }

    fn with_code_memory(
        exec: &mut Exec,
        bytes: usize,
        windows: bool,
    ) -> Result<Self, TranslatorError> {
        if !Self::is_supported() {
            return Err(TranslatorError::Processor);
        }
        // It is mapped twice.
        let mut memory =
            CodeMemory::new(bytes).map_err(|error| TranslatorError::of_code(2 * bytes, error))?;
        let fast = Fast::new(&exec.mmu.ram, windows).map_err(|error| TranslatorError::Tables {
            bytes: Fast::TABLE_BYTES,
            error,
        })?;
        if fast.has_windows() {
            signal::install().map_err(TranslatorError::Signal)?;
        }
        let (code, shared) = exec::shared(memory.address(0));
        memory.push(&code);
        let pages = exec.mmu.ram.bytes().div_ceil(PAGE as usize);
        exec.mmu.fast = Some(fast);
        Ok(Jit {
            first: memory.next(),
            blocks: Blocks::new(pages, shared.miss),
            memory,
            emitter: Emitter::new(shared),
            ops: InterpOps::new(),
            shared,
            block: Block::default(),
            first_runs: FirstRuns::new(),
            hotness: Hotness::new(),
            sites: Sites::default(),
            backoff: WindowBackoff::new(),
            uses_float: false,
            pinned: 0,
            moves: 0,
            statistics: TranslatorStatistics::default(),
            ticks: 0,
            start: Start::now(),
        })
    }

    /// Translates code before it runs for the first time.
    pub fn translate_at_once(&mut self) {
        self.first_runs.most = 0;
    }

    /// Runs translated code at `regs.pc` for at most `left` instructions; what ran is taken off.
    pub fn run(
        &mut self,
        exec: &mut Exec,
        regs: &mut Regs,
        left: &mut u32,
        pins: &Pins,
        entry: &mut Entry<'_>,
    ) -> Ran {
        if exec.mmu.has_windows() {
            signal::unblock();
        }
        let deepest = stack::calls_that_fit();
        // A jump that waits for its target.
        let mut link = None;
        loop {
            if pins.take_attention() {
                return Ran::Trapped(Trap::Attention);
            }
            if *left == 0 {
                return Ran::Trapped(Trap::Budget);
            }
            if regs.xer.so && !self.emitter.summary {
                // Code that does not look at it is of no use any more.
                self.flush(exec);
                self.emitter.summary = true;
                link = None;
            }
            if exec.mmu.has_lost_windows() {
                // Some code accesses them.
                self.flush(exec);
                exec.mmu.give_up_windows();
                link = None;
            }
            let pinned = exec.mmu.pinned_loads();
            let direct = regs.msr & msr::PR == 0 && pinned.bytes != 0;
            if direct && pinned.start != self.pinned && self.moves < MOVES {
                self.flush(exec);
                self.pinned = pinned.start;
                self.moves += 1;
                link = None;
            }
            let direct = direct && pinned.start == self.pinned;
            self.emitter.direct = direct.then_some(self.pinned);
            let pc = regs.pc;
            let (fetch_space, _) = exec.mmu.selected();
            let Some(ram) = exec.mmu.fetch_page(pc) else {
                match entry.ask(&mut exec.mmu, regs, Trap::Fetch, left) {
                    Answer::Trap => return Ran::Trapped(Trap::Fetch),
                    Answer::Retry => {}
                    Answer::GoOn => link = None,
                }
                continue;
            };
            let (ram_page, word) = (ram >> 12, (pc >> 2 & 0x3FF) as usize);
            self.emitter.windows = !direct && exec.mmu.shows_at_once();
            self.backoff.both_ways = exec.mmu.shows_at_once();
            let next = match direct || !exec.mmu.has_windows() {
                true => Next::default(),
                false => self.hotness.next((ram_page << 12) + 4 * word as u32),
            };
            if next.is_sample {
                self.sample(ram_page, word);
            }
            let code = match self.blocks.entry(ram_page, word) {
                Some(code) => code,
                None if self.first_runs.count((ram_page << 12) + 4 * word as u32) => {
                    link = None;
                    let at = (ram_page, word);
                    match self.first_runs.run(exec, regs, at, left) {
                        Flow::Next | Flow::Jump => {}
                        Flow::CodeChanged => return Ran::CodeChanged,
                        _ if entry.ask(&mut exec.mmu, regs, exec.trap, left) == Answer::Trap => {
                            return Ran::Trapped(exec.trap);
                        }
                        _ => {}
                    }
                    continue;
                }
                None => self.translate(exec, ram_page, word),
            };
            let Some(fast) = &mut exec.mmu.fast else {
                return Ran::Short;
            };
            fast.fill_fetch(fetch_space, pc, ram_page);
            if let Some(id) = link.take()
                && let Some(link) = self.blocks.link(id, ram_page, word)
            {
                self.make(link, ram_page, code);
            }
            let uncached = fast.uncached;
            let Some((data, fetch)) = exec.mmu.fast_tables() else {
                return Ran::Short;
            };
            let slice = (*left).min(match next.alone {
                true => self.open(ram_page, word),
                false => SLICE.min(deepest),
            });
            regs.pc = pc & !(PAGE - 1);
            let mut context = Context {
                exec,
                ops: &raw mut self.ops,
                entry,
                blocks: &raw const self.blocks,
                backoff: &raw mut self.backoff,
                rest: *left - slice,
                budget: slice as i32,
                data,
                pinned_start: self.pinned,
                pinned_bytes: 0,
                pinned_host: 0,
                fetch,
                entries: self.blocks.tables(),
                code: self.memory.address(0),
                done: 0,
                summary: self.emitter.summary,
                uncached,
                uses_float: self.uses_float,
                unsettled: UnsettledFpscr::NOTHING,
            };
            context.pin(pinned);
            if self.uses_float {
                status::take_inexact();
            }
            self.statistics.entries += 1;
            let running = Running {
                code: self.memory.address(0).addr(),
                sites: &self.sites,
            };
            // UNSAFE BECAUSE: translated code is run here, and what it needs is known here only.
            #[allow(unsafe_code)]
            // SAFETY: `shared` has the entry code, and `code` is that of a block that was not
            // forgotten; what `context` points to is borrowed by this function, which uses it again
            // when that has returned.
            let why = unsafe {
                exec::enter(
                    self.memory.address(self.shared.enter),
                    regs,
                    &mut context,
                    self.memory.address(code),
                    &running,
                )
            };
            status::settle(&mut context.unsettled, &mut regs.fpscr);
            let unused = context.budget - context.done as i32;
            *left -= slice - unused as u32;
            let trap = match why & 0xFF {
                stop::MISS | stop::SUMMARY => continue,
                stop::LINK => {
                    link = Some(why >> 8);
                    continue;
                }
                stop::BUDGET => {
                    self.hotness.slice_ended();
                    self.backoff.tick();
                    if *left != 0 && slice == *left + (slice - unused as u32) {
                        return Ran::Short;
                    }
                    continue;
                }
                stop::CODE_CHANGED => return Ran::CodeChanged,
                stop::BY_TABLES => {
                    self.forget_refused(exec);
                    continue;
                }
                stop::ATTENTION => Trap::Attention,
                stop::FP_UNAVAILABLE => Trap::FpUnavailable,
                // The supervisor was asked where it happened.
                _ => return Ran::Trapped(exec.trap),
            };
            if entry.ask(&mut exec.mmu, regs, trap, left) == Answer::Trap {
                return Ran::Trapped(trap);
            }
        }
    }

    /// Takes note that a slice ended before the code at a word of a RAM page. If that runs much, it is
    /// forgotten, to be made again as such.
    fn sample(&mut self, ram_page: u32, word: usize) {
        let ram = (ram_page << 12) + 4 * word as u32;
        // What is beside code that runs much is likely to be called by it, or to be part of its loop.
        let hot = self.hotness.take(ram) || self.blocks.has_hot(ram_page);
        if !hot {
            return;
        }
        if let Some(block) = self.blocks.hot(ram_page, word) {
            // Perhaps it was refused windows, and that is long ago.
            let by_tables = u32::from(block.by_tables);
            if by_tables == 0 || self.by_tables(ram, block.words.into()).count_ones() >= by_tables {
                return;
            }
        } else {
            self.statistics.hot += 1;
            self.hotness.found();
        }
        // It is made again at once, so the page keeps its watch.
        let memory = &mut self.memory;
        self.blocks
            .forget_block(ram_page, word, |link| unlink(memory, link));
        self.emitter.windows = true;
    }

    /// Forgets the code of the access that is to go by the tables now.
    fn forget_refused(&mut self, exec: &mut Exec) {
        let (ram_page, word) = (self.backoff.last >> 12, self.backoff.last % PAGE / 4);
        let memory = &mut self.memory;
        let unlink = |link| unlink(memory, link);
        let (_, empty) = self.blocks.forget_hot(ram_page, word as usize, unlink);
        if empty {
            exec.mmu
                .ram
                .watch()
                .set(ram_page, Keeper::Translator, false);
        }
    }

    /// Which of `words` instructions from a RAM address on go by the tables, one bit each.
    fn by_tables(&self, ram: u32, words: usize) -> u64 {
        let instructions = (ram..).step_by(4).take(words).zip(0..);
        let by_tables = instructions.filter(|(ram, _)| self.backoff.is_by_tables(*ram));
        by_tables.fold(0, |all, (_, n)| all | 1 << n)
    }

    /// Sees to it that a block comes back when it has run, and leads nowhere by itself; gives how many
    /// instructions it has.
    fn open(&mut self, ram_page: u32, word: usize) -> u32 {
        let memory = &mut self.memory;
        let words = self
            .blocks
            .open(ram_page, word, |link| unlink(memory, link));
        words.max(1)
    }

    /// Translates the block that begins at a word of a RAM page; gives where its code is.
    #[cold]
    fn translate(&mut self, exec: &mut Exec, ram_page: u32, word: usize) -> u32 {
        let start = ticks();
        let ram = ram_page << 12;
        self.make_room(exec);
        if self.blocks.is_new(ram_page) {
            // Before anything is read: whoever writes from now on is seen.
            exec.mmu.forbid_fast_stores(ram);
            exec.mmu.ram.watch().set(ram_page, Keeper::Translator, true);
        }
        self.block.read(&exec.mmu.ram, ram + 4 * word as u32);
        let code = self.memory.next();
        let first_link = self.blocks.next_link();
        let hot = self.emitter.windows;
        let words = self.block.items.len();
        let by_tables = match hot {
            true => self.by_tables(ram + 4 * word as u32, words),
            false => 0,
        };
        self.emitter.by_tables = by_tables;
        let made = self.emitter.compile(&self.block, code, first_link);
        self.uses_float |= made.uses_float;
        self.memory.push(made.bytes);
        self.sites.set(code, made.bytes.len() as u32, made.sites);
        let made = Made {
            code,
            links: made.links,
            hot: hot.then_some(Hot {
                words: words as u8,
                by_tables: by_tables.count_ones() as u8,
            }),
        };
        let added = self.blocks.add(ram_page, word, words, made);
        let (memory, links) = (&mut self.memory, &mut self.statistics.links);
        self.blocks.link_within(added, |link, code| {
            memory.patch(link.jump, code.wrapping_sub(link.jump + 4));
            *links += 1;
        });
        self.statistics.blocks += 1;
        self.statistics.instructions += words as u64;
        self.ticks += ticks().wrapping_sub(start);
        code
    }

    /// Sees to it that the next block fits, whatever it becomes: gives up the oldest ones that lie
    /// where it may come to lie.
    fn make_room(&mut self, exec: &mut Exec) {
        if !self.memory.fits(MOST_BYTES) {
            // What is behind this place is of the last lap, and older than all before it.
            let end = self.memory.next();
            while let Some((code, _)) = self.blocks.oldest()
                && code >= end
            {
                self.give_up_oldest(exec);
            }
            self.memory.rewind(self.first);
        }
        let start = self.memory.next();
        while let Some((code, _)) = self.blocks.oldest()
            && (start..start + MOST_BYTES as u32).contains(&code)
        {
            self.give_up_oldest(exec);
        }
        while self.blocks.is_full() {
            self.give_up_oldest(exec);
        }
    }

    /// Gives up all code.
    fn flush(&mut self, exec: &mut Exec) {
        while self.blocks.oldest().is_some() {
            self.give_up_oldest(exec);
        }
        self.memory.rewind(self.first);
    }

    fn give_up_oldest(&mut self, exec: &mut Exec) {
        let Some((_, ram_page)) = self.blocks.oldest() else {
            return;
        };
        let memory = &mut self.memory;
        let (live, empty) = self.blocks.give_up_oldest(|link| unlink(memory, link));
        self.statistics.evicted += u64::from(live);
        if empty {
            let watch = exec.mmu.ram.watch();
            watch.set(ram_page, Keeper::Translator, false);
        }
    }

    /// Makes a link lead to code in a RAM page.
    fn make(&mut self, link: Link, ram_page: u32, code: u32) {
        if let Some(guard) = link.guard {
            self.memory.patch(guard, ram_page + 1);
        }
        self.memory
            .patch(link.jump, code.wrapping_sub(link.jump + 4));
        self.statistics.links += 1;
    }

    /// Forgets what was translated from any of the `bytes` bytes of RAM at `ram`.
    pub fn invalidate(&mut self, ram: u32, bytes: u32, exec: &mut Exec) {
        if bytes == 0 {
            return;
        }
        let last = ram.saturating_add(bytes - 1);
        for ram_page in ram >> 12..=last >> 12 {
            let base = ram_page << 12;
            let (from, to) = (ram.max(base) - base, last.min(base + PAGE - 1) - base);
            if !self.blocks.holds_code(ram_page, from, to) {
                continue;
            }
            self.backoff.forget(base + from..base + to + 1);
            let gone = self.forget(ram_page, from, to, exec);
            self.statistics.invalidated += u64::from(gone);
        }
    }

    /// Forgets what was translated from any byte of `from..=to` of a RAM page; gives how many
    /// instructions.
    fn forget(&mut self, ram_page: u32, from: u32, to: u32, exec: &mut Exec) -> u32 {
        let memory = &mut self.memory;
        let unlink = |link| unlink(memory, link);
        let (gone, empty) = self.blocks.forget(ram_page, from, to, unlink);
        if empty {
            let watch = exec.mmu.ram.watch();
            watch.set(ram_page, Keeper::Translator, false);
        }
        gone
    }

    /// What the translator has done so far.
    pub fn statistics(&self) -> TranslatorStatistics {
        TranslatorStatistics {
            code_bytes: self.memory.held() as u64,
            table_bytes: (self.blocks.bytes() + self.sites.bytes()) as u64,
            first_runs: self.first_runs.instructions,
            nanoseconds: (self.ticks as f64 * self.start.nanoseconds_per_tick()) as u64,
            ..self.statistics
        }
    }
}

/// Makes a jump lead to its stub again.
fn unlink(memory: &mut CodeMemory, link: Link) {
    if let Some(guard) = link.guard {
        memory.patch(guard, u32::MAX);
    }
    memory.patch(link.jump, link.stub.wrapping_sub(link.jump + 4));
}

#[cfg(test)]
mod tests;
