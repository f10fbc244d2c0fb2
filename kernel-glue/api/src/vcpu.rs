//! The guest's CPU: running it, as KVM_RUN does, and what another thread may do to it meanwhile.

use std::fmt;
use std::time::Duration;

use ppc440_cpu::{CodeStatistics, Engine, Pins, TranslatorError, TranslatorStatistics};
use ppc440_isa::Access;
use ppc440_isa::tlb::{ENTRIES, Tlbe};
use ppc440_kvm::{
    Exit, ExitData, Inject, InterruptLog, ResetKind, RunPage, State, Stats, Stop, StopRefused,
    Stuck, Timing, Translation, WatchFor, Where,
};

use crate::inproc::InProcess;
use crate::regs::{KvmRegs, KvmSregs};

/// The reason why [`Vcpu::run`] returned to the launcher.
///
/// Data is in ascending address order, so the most significant byte of a word comes first.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VcpuExit<'a> {
    /// A load from a guest physical address that is no RAM; fill the bytes in. They are 0 already.
    MmioRead(u64, &'a mut [u8]),
    /// A store to a guest physical address that is no RAM.
    MmioWrite(u64, &'a [u8]),
    /// `mfdcr` of a DCR number; fill the value in. It is 0 already.
    DcrRead(u32, &'a mut u32),
    /// `mtdcr` of a DCR number.
    DcrWrite(u32, u32),
    /// [`VcpuHandle::kick`] was called.
    Kicked,
    /// The guest reset itself.
    Reset {
        /// How far the reset reaches.
        kind: ResetKind,
        /// The watchdog ran out; otherwise the guest wrote DBCR0\[RST\].
        by_watchdog: bool,
    },
    /// The guest waits (MSR\[WE\]) or spins until an interrupt comes that no timer will bring, and
    /// would wait in [`Vcpu::run`]; said once for each wait, and only with [`Vcpu::set_hang_exits`].
    Waits {
        /// An external interrupt would wake it (MSR\[EE\]).
        external: bool,
        /// A critical interrupt would wake it (MSR\[CE\]).
        critical: bool,
    },
    /// The CPU can do nothing more, whatever comes.
    CannotGoOn {
        /// Where it stands, an effective address.
        pc: u32,
        /// The reason.
        reason: Stuck,
    },
    /// The guest stands where a debugger wants it to, before the instruction at its `pc`.
    Debug(Stop),
}

/// A failure to run the guest; a fault of the guest is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The host refused.
    #[error("the host cannot run the guest: {0}")]
    Host(#[from] std::io::Error),
}

/// Special registers that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetRegsError {
    /// The version is not this CPU's, and cannot be changed.
    #[error("the cpu's pvr is {has:#010x} and cannot become {wanted:#010x}")]
    Pvr {
        /// What the CPU is.
        has: u32,
        /// What was asked for.
        wanted: u32,
    },
}

/// Counts of what a CPU has done so far.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// Exits and traps by cause, under KVM's names.
    pub exits: Stats,
    /// Host time by cause, as far as [`Vcpu::set_timed`] had it measured.
    pub timing: Timing,
    /// Instructions completed.
    pub retired: u64,
    /// Decoded code.
    pub code: CodeStatistics,
    /// Translated code, where there is a translator.
    pub translator: Option<TranslatorStatistics>,
}

/// One guest CPU.
pub struct Vcpu {
    core: ppc440_kvm::Vcpu,
    hw: InProcess,
    page: RunPage,
    /// The value of a DCR read until the next run.
    dcr: u32,
    hang_exits: bool,
    /// [`VcpuExit::Waits`] was returned, and the guest has not gone on since.
    wait_reported: bool,
}

impl fmt::Debug for Vcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vcpu")
            .field("pc", &self.core.regs.pc)
            .finish_non_exhaustive()
    }
}

impl Vcpu {
    pub(crate) fn new(core: ppc440_kvm::Vcpu, hw: InProcess) -> Self {
        Vcpu {
            core,
            hw,
            page: RunPage::default(),
            dcr: 0,
            hang_exits: false,
            wait_reported: false,
        }
    }

    /// Runs the guest until the launcher must act. A load that exited is completed first, with
    /// what was filled in. A guest that waits (MSR\[WE\]) blocks in here until an interrupt comes.
    ///
    /// # Errors
    /// When the host refuses to run the guest; never because of what the guest does.
    pub fn run(&mut self) -> Result<VcpuExit<'_>, RunError> {
        self.take_answer();
        let exit = loop {
            match self.core.run(&mut self.hw) {
                Exit::Wait { deadline: None } if self.hang_exits && !self.wait_reported => {
                    self.wait_reported = true;
                    return Ok(self.waits());
                }
                Exit::Wait { deadline } => self.wait(deadline),
                exit => break exit,
            }
        };
        // A kick says nothing about the guest: it waits on.
        self.wait_reported &= exit == Exit::Interrupted;
        exit.write_to(&mut self.page);
        Ok(match exit {
            Exit::Mmio {
                gpa, len, write, ..
            } => {
                let data = mmio_data(&mut self.page.exit, len);
                if write {
                    VcpuExit::MmioWrite(gpa, data)
                } else {
                    VcpuExit::MmioRead(gpa, data)
                }
            }
            Exit::Dcr {
                dcrn, write: false, ..
            } => {
                self.dcr = 0;
                VcpuExit::DcrRead(dcrn.into(), &mut self.dcr)
            }
            Exit::Dcr { dcrn, data, .. } => VcpuExit::DcrWrite(dcrn.into(), data),
            Exit::Reset { kind, by_watchdog } => VcpuExit::Reset { kind, by_watchdog },
            Exit::Debug(stop) => VcpuExit::Debug(stop),
            Exit::CannotGoOn { pc, reason } => VcpuExit::CannotGoOn { pc, reason },
            // The loop above ends no `Wait`; as a spurious kick it would do no harm.
            Exit::Interrupted | Exit::Wait { .. } => VcpuExit::Kicked,
        })
    }

    fn waits(&self) -> VcpuExit<'static> {
        let msr = self.core.regs.msr;
        VcpuExit::Waits {
            external: msr & ppc440_isa::regs::msr::EE != 0,
            critical: msr & ppc440_isa::regs::msr::CE != 0,
        }
    }

    /// Whether a guest that nothing can move any more makes [`Vcpu::run`] return: one that spins
    /// or waits with interrupts off as [`VcpuExit::CannotGoOn`], one that only an interrupt from
    /// outside can move as [`VcpuExit::Waits`]. Otherwise it is run, or waits, as on hardware.
    pub fn set_hang_exits(&mut self, on: bool) {
        self.hang_exits = on;
        self.core.set_hang_exits(on);
    }

    /// Returns the interrupts that the guest took first since its reset, and those that it took last.
    pub fn interrupt_log(&self) -> &InterruptLog {
        self.core.interrupt_log()
    }

    /// Gives the core what the launcher filled in for the read that exited last, if one did.
    fn take_answer(&mut self) {
        if !self.page.dcr_is_write() && self.page.exit_reason == ppc440_kvm::exit_reason::DCR {
            self.page.set_dcr_data(self.dcr);
        }
        self.core.complete(&self.page);
    }

    /// Lets time pass until the tick `deadline`, an input changes, or somebody kicks.
    fn wait(&mut self, deadline: Option<u64>) {
        let InProcess { cpu, pins, .. } = &mut self.hw;
        let time = match deadline {
            None => None,
            Some(tick) => match cpu.until(tick) {
                Some(Duration::ZERO) => return,
                None => return cpu.skip_to(tick),
                time => time,
            },
        };
        let start = cpu.stopwatch();
        pins.wait(time);
        let waited = cpu.stopwatch().saturating_sub(start);
        cpu.waited(Duration::from_nanos(waited));
    }

    /// The free-running time base, in ticks of the timer clock since the machine was made. It never
    /// goes back, whatever the guest writes into its own; under the virtual clock it is the time.
    pub fn time_base(&self) -> u64 {
        self.hw.cpu.time_base()
    }

    /// Returns what executes guest code.
    pub fn engine(&self) -> Engine {
        self.hw.cpu.engine()
    }

    /// Returns why the interpreter executes guest code, where `EngineChoice::Auto` had to take it.
    pub fn not_translator(&self) -> Option<&TranslatorError> {
        self.hw.cpu.not_translator()
    }

    /// The way to this CPU from other threads.
    pub fn handle(&self) -> VcpuHandle {
        VcpuHandle(self.hw.pins.clone())
    }

    /// Requests or withdraws an external interrupt, as KVM_INTERRUPT does; from other threads, and
    /// for a level, [`VcpuHandle::set_external`].
    pub fn interrupt(&mut self, request: Inject) {
        self.core.inject(request);
    }

    /// The run page as the last exit left it.
    pub fn run_page(&self) -> &RunPage {
        &self.page
    }

    /// The address of the instruction whose access exited last.
    pub fn exit_pc(&self) -> u32 {
        self.core.exit_pc()
    }

    /// The user registers.
    pub fn regs(&mut self) -> KvmRegs {
        KvmRegs::of(&self.state())
    }

    /// Replaces the user registers.
    pub fn set_regs(&mut self, regs: &KvmRegs) {
        let mut state = self.state();
        regs.put(&mut state);
        self.set_state(&state);
    }

    /// The special registers.
    pub fn sregs(&mut self) -> KvmSregs {
        KvmSregs::of(&self.state())
    }

    /// Replaces the special registers whose groups are named in `features`.
    ///
    /// # Errors
    /// A PVR that is not this CPU's.
    pub fn set_sregs(&mut self, sregs: &KvmSregs) -> Result<(), SetRegsError> {
        let mut state = self.state();
        if sregs.pvr != state.sprs.pvr {
            return Err(SetRegsError::Pvr {
                has: state.sprs.pvr,
                wanted: sregs.pvr,
            });
        }
        sregs.put(&mut state);
        self.set_state(&state);
        Ok(())
    }

    /// The guest's TLB.
    pub fn tlb(&self) -> &[Tlbe; ENTRIES] {
        self.core.tlb()
    }

    /// Replaces entry `index` of the guest's TLB, of which the low six bits count.
    pub fn set_tlb(&mut self, index: usize, entry: Tlbe) {
        self.core.set_tlb(index, entry);
    }

    /// Where an effective address leads, as KVM_TRANSLATE does: bits 0-31 (LSB 0) are the address,
    /// 32-39 the PID, 40 the address space. Permissions are those of supervisor state.
    pub fn translate(&self, linear: u64) -> Option<Translation> {
        self.core.translate_in(
            linear as u32,
            (linear >> 32) as u8,
            linear >> 40 & 1 != 0,
            false,
        )
    }

    /// Translates an effective address for the guest as it is now.
    pub fn translate_now(&self, ea: u32, access: Access) -> Option<Translation> {
        self.core.translate(ea, access)
    }

    /// All that the guest can tell of its CPU, the answer to an exit included.
    pub fn state(&mut self) -> State {
        self.take_answer();
        self.core.state(&self.hw)
    }

    /// Becomes the CPU that `state` was taken of. Memory slots stay.
    pub fn set_state(&mut self, state: &State) {
        self.core.set_state(&self.hw, state);
        // An exit that is out no longer asks for an answer.
        self.page = RunPage::default();
    }

    /// Has [`Vcpu::run`] return before the instruction at `place`; the guest's memory and its debug
    /// registers stay as they are.
    ///
    /// # Errors
    /// One breakpoint too many.
    pub fn add_breakpoint(&mut self, place: Where) -> Result<(), StopRefused> {
        self.core.add_breakpoint(place)
    }

    /// Removes the breakpoint at `place`; whether there was one.
    pub fn remove_breakpoint(&mut self, place: Where) -> bool {
        self.core.remove_breakpoint(place)
    }

    /// Has [`Vcpu::run`] return before an instruction that accesses any of `bytes` bytes at
    /// effective address `ea`.
    ///
    /// # Errors
    /// One watchpoint too many, or a range of no byte or of more than 4096.
    pub fn add_watchpoint(
        &mut self,
        ea: u32,
        bytes: u32,
        kind: WatchFor,
    ) -> Result<(), StopRefused> {
        self.core.add_watchpoint(ea, bytes, kind)
    }

    /// Removes a watchpoint that was added with the same arguments; whether there was one.
    pub fn remove_watchpoint(&mut self, ea: u32, bytes: u32, kind: WatchFor) -> bool {
        self.core.remove_watchpoint(ea, bytes, kind)
    }

    /// Removes every breakpoint and watchpoint, and the wish for a step.
    pub fn remove_stops(&mut self) {
        self.core.remove_stops();
    }

    /// Lets the instruction at `pc` run in the next [`Vcpu::run`] even if it is armed.
    pub fn pass_stop(&mut self) {
        self.core.pass_stop(&self.hw);
    }

    /// Has [`Vcpu::run`] return after one instruction, see `ppc440_kvm::Vcpu::step_next`.
    pub fn step_next(&mut self) {
        self.core.step_next();
    }

    /// Resets the core as the hardware would, see `ppc440_kvm::Vcpu::reset`.
    pub fn reset(&mut self, kind: ResetKind) {
        self.core.reset(&self.hw, kind);
        self.page = RunPage::default();
    }

    /// Whether time by cause is measured, at two looks at the host's clock for each entry.
    pub fn set_timed(&mut self, on: bool) {
        self.core.set_timed(on);
    }

    /// What the CPU has done so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            exits: *self.core.stats(),
            timing: *self.core.timing(),
            retired: self.hw.cpu.retired(),
            code: self.hw.cpu.statistics(),
            translator: self.hw.cpu.translator_statistics(),
        }
    }

    /// An SPR number that no 440 has and that the guest's supervisor used for the first time since
    /// the last call; for the log.
    pub fn take_unknown_spr(&mut self) -> Option<u16> {
        self.core.take_unknown_spr()
    }
}

/// The first `len` bytes of `mmio.data`.
fn mmio_data(exit: &mut ExitData, len: u8) -> &mut [u8] {
    const DATA: usize = 8;
    &mut exit.0[DATA..DATA + usize::from(len.min(8))]
}

/// What other threads do to a CPU; clones are the same CPU's.
#[derive(Clone, Debug)]
pub struct VcpuHandle(Pins);

impl VcpuHandle {
    /// Drives the external (non-critical) interrupt input.
    pub fn set_external(&self, level: bool) {
        self.0.set_external(level);
    }

    /// Drives the critical interrupt input.
    pub fn set_critical(&self, level: bool) {
        self.0.set_critical(level);
    }

    /// Makes the current [`Vcpu::run`], or else the next one, return [`VcpuExit::Kicked`].
    pub fn kick(&self) {
        self.0.kick();
    }
}
