//! A software PowerPC 440: runs problem-state code against translations it is given, and traps
//! for the rest.
//!
//! It knows no VM: no supervisor state, no devices, no guest TLB. The KVM core above it maps
//! translations, enters, and handles the trap that comes back.
#![deny(unsafe_code)]

mod budget;
mod clock;
mod code;
mod error;
mod execution;
mod fast;
pub mod fpu;
mod interp;
#[cfg(target_arch = "x86_64")]
mod jit;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_jit.rs"]
mod jit;
mod memfd;
mod mmu;
mod pins;
mod ram;
mod supervisor;
mod table;
mod watch;
mod window;

use std::sync::Arc;
use std::time::Duration;

use ppc440_isa::{Mapping, Mode, Regs, SpaceId, Supervisor, Trap};

pub use clock::Clock;
pub use code::{CodeStatistics, TranslatorStatistics};
pub use error::{CpuError, TranslatorError};
pub use execution::{Engine, EngineChoice, Execution};
pub use fast::Windows;
pub use pins::Pins;
pub use ram::{GuestMemory, Region, memory_file};
pub use watch::CodeWatch;

use clock::TimeBase;
use code::CodeCache;
use interp::{Exec, Flow, predecode, run_one};
use jit::{Jit, Ran};
use mmu::Mmu;
use ram::Ram;
use supervisor::{Answer, Entry};

/// One software 440 over one mapping of guest RAM.
#[derive(Debug)]
pub struct Cpu {
    exec: Exec,
    code: CodeCache,
    jit: Option<Jit>,
    not_translator: Option<TranslatorError>,
    pins: Pins,
    time: TimeBase,
    retired: u64,
}

impl Cpu {
    /// Makes a CPU over `ram`, whose time base ticks at `timer_hz`.
    ///
    /// # Errors
    /// When the host has no address space left for the translation tables, 8 MiB a space, or
    /// `ram` is not mapped for reading and writing; when the translator was asked for, and the host
    /// does not have or allow it.
    pub fn new(
        ram: Arc<Region>,
        pins: Pins,
        clock: Clock,
        timer_hz: u64,
        execution: impl Into<Execution>,
    ) -> Result<Self, CpuError> {
        ram.bitmap().connect(&pins);
        let ram = Ram::new(ram).map_err(CpuError::Ram)?;
        let code = CodeCache::new(&ram);
        let mmu = Mmu::new(ram).map_err(|error| CpuError::Tables {
            bytes: Mmu::TABLE_BYTES,
            error,
        })?;
        let mut exec = Exec::new(mmu);
        let Execution { engine, windows } = execution.into();
        let translator = match engine {
            EngineChoice::Only(Engine::Interpreter) => None,
            _ => Some(Jit::new(&mut exec, windows)),
        };
        let (jit, not_translator) = match (translator, engine) {
            (None, _) => (None, None),
            (Some(Ok(jit)), _) => (Some(jit), None),
            (Some(Err(why)), EngineChoice::Auto) => (None, Some(why)),
            (Some(Err(why)), EngineChoice::Only(_)) => return Err(why.into()),
        };
        Ok(Cpu {
            exec,
            jit,
            not_translator,
            code,
            pins,
            time: TimeBase::new(clock, timer_hz),
            retired: 0,
        })
    }

    /// Makes these the translation spaces of fetches, and of loads and stores, now and whenever an
    /// instruction puts the guest into `mode`, until one of them is cleared.
    #[inline]
    pub fn select(&mut self, mode: Mode, fetch: SpaceId, data: SpaceId) {
        self.exec.mmu.select(mode, fetch, data);
    }

    /// Adds a translation to a space; at least the page at `ea_wanted` is kept.
    pub fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping) {
        self.exec.mmu.map(space, ea_wanted, mapping);
    }

    /// Removes what translates any of `bytes` bytes at `ea`, both multiples of 4096.
    pub fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        self.exec.mmu.unmap(space, ea, bytes);
    }

    /// Empties a space.
    pub fn clear(&mut self, space: SpaceId) {
        self.exec.mmu.clear(space);
    }

    /// Runs at `regs.pc` for at most `budget` instructions and says why it stopped: a trap that
    /// `supervisor`, which is asked first, does not deal with.
    pub fn enter(&mut self, regs: &mut Regs, budget: u32, supervisor: &mut dyn Supervisor) -> Trap {
        self.forget_written_code();
        let mut left = budget;
        let mut entry = Entry::new(supervisor, self.retired + u64::from(budget));
        let trap = loop {
            let Some(jit) = &mut self.jit else {
                break self.run(regs, &mut left, &mut entry);
            };
            match jit.run(&mut self.exec, regs, &mut left, &self.pins, &mut entry) {
                Ran::Trapped(trap) => break trap,
                Ran::CodeChanged => self.forget_changed_code(),
                // Nobody counts instructions under the host's clock.
                Ran::Short if self.time.is_host() && left < budget => break Trap::Budget,
                Ran::Short => break self.run(regs, &mut left, &mut entry),
            }
        };
        self.retired += u64::from(budget - left);
        trap
    }

    /// Executes one instruction that the core fetched itself; `None` when it completed.
    pub fn execute(&mut self, regs: &mut Regs, word: u32) -> Option<Trap> {
        let (op, _) = predecode(word, 0);
        let behind = regs.pc.wrapping_add(4);
        match run_one(op, &mut self.exec, regs) {
            Flow::Jump => {}
            // What it stopped for, the core looks at before it goes on.
            Flow::Next | Flow::Stop => regs.pc = behind,
            Flow::CodeChanged => {
                regs.pc = behind;
                self.forget_changed_code();
            }
            Flow::Trap | Flow::Undecoded => return Some(self.exec.trap),
            Flow::Call => {
                regs.pc = behind;
                return Some(self.exec.trap);
            }
        }
        self.retired += 1;
        None
    }

    /// The interpreter's loop: find the page that `pc` is in, and run its operations from there
    /// until one jumps, traps, or the budget or the page ends.
    fn run(&mut self, regs: &mut Regs, left: &mut u32, entry: &mut Entry<'_>) -> Trap {
        // The page that `pc` is in, as long as it stays there, and the space that it was fetched
        // in. Only the supervisor changes translations meanwhile.
        let mut page_ea = 1;
        let mut space = 0;
        let mut page = 0;
        loop {
            if self.pins.take_attention() {
                return Trap::Attention;
            }
            if *left == 0 {
                return Trap::Budget;
            }
            let pc = regs.pc;
            let (fetch_space, _) = self.exec.mmu.selected();
            if pc & !0xFFF != page_ea || fetch_space != space {
                let Some(ram) = self.exec.mmu.fetch_page(pc) else {
                    if entry.ask(&mut self.exec.mmu, regs, Trap::Fetch, left) == Answer::Trap {
                        return Trap::Fetch;
                    }
                    page_ea = 1;
                    continue;
                };
                if !self.exec.mmu.ram.watch().watched(ram) {
                    self.exec.mmu.forbid_fast_stores(ram);
                }
                page = self.code.page(ram, &self.exec.mmu.ram);
                (page_ea, space) = (pc & !0xFFF, fetch_space);
            }
            let first = (pc >> 2 & 0x3FF) as usize;
            regs.pc = page_ea;
            let (flow, done) = self.code.run(page, first, *left, &mut self.exec, regs);
            let behind = pc.wrapping_add(4 * done);
            *left -= done;
            match flow {
                Flow::Jump => {}
                Flow::Next => regs.pc = behind,
                Flow::Undecoded => {
                    regs.pc = behind.wrapping_sub(4);
                    *left += 1;
                    let word = first + done as usize - 1;
                    self.code.decode(page, word, &self.exec.mmu.ram);
                }
                Flow::CodeChanged => {
                    regs.pc = behind;
                    self.forget_changed_code();
                    page_ea = 1;
                }
                Flow::Trap | Flow::Call | Flow::Stop => {
                    regs.pc = match flow {
                        Flow::Trap => behind.wrapping_sub(4),
                        _ => behind,
                    };
                    *left += u32::from(flow != Flow::Stop);
                    let trap = self.exec.trap;
                    if entry.ask(&mut self.exec.mmu, regs, trap, left) == Answer::Trap {
                        return trap;
                    }
                    page_ea = 1;
                }
            }
        }
    }

    #[cold]
    fn forget_changed_code(&mut self) {
        let (ram, bytes) = self.exec.changed;
        self.invalidate(ram, bytes);
    }

    /// Forgets what was made from any of the `bytes` bytes of RAM at `ram`.
    fn invalidate(&mut self, ram: u32, bytes: u32) {
        self.code.invalidate(ram, bytes, &self.exec.mmu.ram);
        if let Some(jit) = &mut self.jit {
            jit.invalidate(ram, bytes, &mut self.exec);
        }
    }

    fn forget_written_code(&mut self) {
        for (ram, bytes) in self.exec.mmu.ram.watch().take_written() {
            self.invalidate(ram, bytes);
        }
    }

    /// Reads RAM at byte offset `ram`; `false` when the range is not inside it.
    pub fn load(&self, ram: u32, bytes: &mut [u8]) -> bool {
        let memory = &self.exec.mmu.ram;
        if ram as usize + bytes.len() > memory.bytes() {
            return false;
        }
        for (at, byte) in (ram..).zip(bytes) {
            *byte = memory.load(at).unwrap_or(0);
        }
        true
    }

    /// Writes RAM at byte offset `ram`; `false` when the range is not inside it. Code decoded from
    /// there is forgotten.
    pub fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        let memory = &self.exec.mmu.ram;
        if ram as usize + bytes.len() > memory.bytes() {
            return false;
        }
        for (at, &byte) in (ram..).zip(bytes) {
            memory.store(at, byte);
        }
        self.invalidate(ram, bytes.len() as u32);
        true
    }

    /// Counts an instruction that the core completed in this CPU's place.
    #[inline]
    pub fn retire(&mut self) {
        self.retired += 1;
    }

    /// Instructions completed since the CPU was made.
    #[inline]
    pub fn retired(&self) -> u64 {
        self.retired
    }

    /// The time base, in ticks.
    pub fn time_base(&self) -> u64 {
        self.time.ticks(self.retired)
    }

    /// Instructions that may run before the time base must be looked at again.
    pub fn budget(&self, deadline: Option<u64>) -> u32 {
        self.time.budget(self.retired, deadline)
    }

    /// Host time until the tick `deadline` if the guest waits for it; `None` under the virtual clock.
    pub fn until(&self, deadline: u64) -> Option<Duration> {
        self.time.until(deadline)
    }

    /// Under the virtual clock, lets idle time pass up to the tick `deadline`.
    pub fn skip_to(&mut self, deadline: u64) {
        self.time.skip_to(self.retired, deadline);
    }

    /// Under [`Clock::Host`], lets time run ahead of the host's clock by at most these ticks.
    pub fn run_ahead(&mut self, ticks: u64) {
        self.time.run_ahead(ticks);
    }

    /// Tells the clock that the guest waited for an interrupt, for so much of the host's time.
    pub fn waited(&mut self, time: Duration) {
        self.time.waited(time);
    }

    /// Host time in nanoseconds since the CPU was made.
    pub fn stopwatch(&self) -> u64 {
        self.time.stopwatch()
    }

    /// What the decoded code amounts to.
    pub fn statistics(&self) -> CodeStatistics {
        self.code.statistics()
    }

    /// What the translator has done, where there is one.
    pub fn translator_statistics(&self) -> Option<TranslatorStatistics> {
        let fast = self.exec.mmu.fast.as_ref();
        let shown_pages = fast.and_then(|fast| fast.has_windows().then(|| fast.shown() as u64));
        self.jit.as_ref().map(|jit| TranslatorStatistics {
            shown_pages,
            ..jit.statistics()
        })
    }

    /// Sets when the translator, if there is one, shows pages in windows. It makes no difference to the
    /// guest.
    pub fn set_windows(&mut self, windows: Windows) {
        if let Some(fast) = &mut self.exec.mmu.fast {
            fast.windows = windows;
        }
    }

    /// Has the translator, if there is one, translate all code before it runs for the first time, and not
    /// only what runs again and again. It makes no difference to the guest.
    pub fn translate_at_once(&mut self) {
        if let Some(jit) = &mut self.jit {
            jit.translate_at_once();
        }
    }

    /// Returns why the interpreter executes guest code, where [`EngineChoice::Auto`] had to take it.
    pub fn not_translator(&self) -> Option<&TranslatorError> {
        self.not_translator.as_ref()
    }

    /// Returns what executes guest code.
    pub fn engine(&self) -> Engine {
        match self.jit {
            Some(_) => Engine::Translator,
            None => Engine::Interpreter,
        }
    }
}
