//! The machine as the remote protocol works on it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use gdbstub::common::Signal;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadRangeStepping, SingleThreadRangeSteppingOps, SingleThreadResume,
    SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};
use ppckvm_api::{State, Stop, WatchFor, Where};

use super::events::Events;
use super::registers::{self, CoreRegisters, Power440, Register};
use super::{memory, monitor};
use crate::control::subject::Subject;
use crate::vm::Vm;
use crate::vm::control::RunEvent;
use crate::vm::outcome::{OnStandstill, Standstills};
use crate::vm::remote::CallError;

/// How long the vcpu's thread is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the guest stands, as gdb is told.
pub type StopReason = SingleThreadStopReason<u32>;

/// The machine, for one debugger after the other.
pub struct Debuggee {
    pub subject: Subject,
    pub events: Arc<Events>,
    /// The addresses that the guest steps through.
    range: Option<Range<u32>>,
    /// What standstills did before a debugger came.
    before: Option<Standstills>,
}

impl Debuggee {
    pub fn new(subject: Subject, events: Arc<Events>) -> Self {
        Debuggee {
            subject,
            events,
            range: None,
            before: None,
        }
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vm) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        self.subject.remote.call(PATIENCE, work)
    }

    /// A debugger came: the guest stands, and a standstill does not end the run any more.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub fn attach(&mut self) -> Result<(), CallError> {
        let events = self.events.clone();
        let before = self.call(move |vm| {
            let before = vm.standstills;
            vm.standstills.on_halt = OnStandstill::Stay;
            vm.standstills.on_hang = OnStandstill::Stay;
            vm.pause();
            events.clear();
            before
        })?;
        self.before.get_or_insert(before);
        Ok(())
    }

    /// The debugger left: the guest goes on as if there had been none.
    pub fn detach(&mut self) {
        let before = self.before.take();
        self.range = None;
        // The run may be over.
        let _ = self.call(move |vm| {
            if let Some(before) = before {
                vm.standstills = before;
            }
            vm.vcpu.remove_stops();
            vm.vcpu.pass_stop();
            vm.resume();
        });
    }

    /// Ends the run.
    pub fn kill(&mut self) {
        self.subject.quit();
    }

    /// Lets the guest go on, for one instruction or until something stops it.
    fn go_on(&mut self, steps: bool) -> Result<(), CallError> {
        let events = self.events.clone();
        self.call(move |vm| {
            // All that led to this stop has been told by now.
            events.clear();
            vm.resume();
            vm.vcpu.pass_stop();
            if steps {
                vm.vcpu.step_next();
            }
        })
    }

    /// Holds the guest.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub fn hold(&mut self) -> Result<(), CallError> {
        self.range = None;
        self.subject.remote.pause()?;
        self.events.clear();
        Ok(())
    }

    /// What stopped the guest since it went on.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub fn stopped(&mut self) -> Result<Option<StopReason>, CallError> {
        while let Some(event) = self.events.take() {
            let reason = match event {
                RunEvent::Stopped(stop) => self.reason(stop)?,
                RunEvent::Ended(outcome) => Some(StopReason::Exited(outcome.exit_status())),
                RunEvent::StandsStill(outcome) => {
                    tracing::warn!("{outcome}; gdb has the guest");
                    self.hold()?;
                    Some(StopReason::Signal(Signal::SIGTRAP))
                }
                RunEvent::Paused => Some(StopReason::Signal(Signal::SIGINT)),
                _ => None,
            };
            if reason.is_some() {
                self.range = None;
                return Ok(reason);
            }
        }
        Ok(None)
    }

    /// What a stop is for gdb; none where it goes on stepping.
    fn reason(&mut self, stop: Stop) -> Result<Option<StopReason>, CallError> {
        Ok(Some(match stop {
            Stop::Breakpoint => StopReason::SwBreak(()),
            Stop::Watchpoint { ea, kind } => StopReason::Watch {
                tid: (),
                addr: ea,
                kind: match kind {
                    WatchFor::Loads => WatchKind::Read,
                    WatchFor::Stores => WatchKind::Write,
                    WatchFor::Both => WatchKind::ReadWrite,
                },
            },
            Stop::Stepped => {
                if let Some(range) = self.range.clone()
                    && range.contains(&self.call(|vm| vm.state().regs.pc)?)
                {
                    self.go_on(true)?;
                    return Ok(None);
                }
                StopReason::DoneStep
            }
        }))
    }

    /// The machine's state, and its DCRs.
    fn state(&self) -> Result<(State, Vec<u32>), CallError> {
        self.call(|vm| {
            let dcrs = vm.uics.each_ref().map(|uic| {
                let state = uic.state();
                let masked = state.sr & state.er;
                [
                    state.sr, state.er, state.cr, state.pr, state.tr, masked, state.vcr,
                ]
            });
            (vm.state(), dcrs.concat())
        })
    }
}

/// An error of the machine, which ends the session.
fn fatal<T>(result: Result<T, CallError>) -> TargetResult<T, Debuggee> {
    result.map_err(TargetError::Fatal)
}

impl Target for Debuggee {
    type Arch = Power440;
    type Error = CallError;

    fn base_ops(&mut self) -> BaseOps<'_, Power440, CallError> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Debuggee {
    fn read_registers(&mut self, regs: &mut CoreRegisters) -> TargetResult<(), Self> {
        let (state, _) = fatal(self.state())?;
        *regs = CoreRegisters::of(&state);
        Ok(())
    }

    fn write_registers(&mut self, regs: &CoreRegisters) -> TargetResult<(), Self> {
        let regs = regs.clone();
        fatal(self.call(move |vm| {
            let mut state = vm.state();
            regs.put(&mut state);
            vm.vcpu.set_state(&state);
        }))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, (), Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u32, data: &mut [u8]) -> TargetResult<usize, Self> {
        let count = data.len();
        let read = fatal(self.call(move |vm| {
            let mut bytes = vec![0; count];
            let read = memory::read(vm, start, &mut bytes);
            bytes.truncate(read);
            bytes
        }))?;
        if read.is_empty() && count > 0 {
            return Err(TargetError::NonFatal);
        }
        data[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    fn write_addrs(&mut self, start: u32, data: &[u8]) -> TargetResult<(), Self> {
        let bytes = data.to_vec();
        match fatal(self.call(move |vm| memory::write(vm, start, &bytes)))? {
            true => Ok(()),
            false => Err(TargetError::NonFatal),
        }
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<()> for Debuggee {
    fn read_register(
        &mut self,
        (): (),
        register: Register,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let (mut state, dcrs) = fatal(self.state())?;
        Ok(registers::read(&mut state, &dcrs, register, buffer))
    }

    fn write_register(
        &mut self,
        (): (),
        register: Register,
        value: &[u8],
    ) -> TargetResult<(), Self> {
        let value = value.to_vec();
        let is_written = fatal(self.call(move |vm| {
            let mut state = vm.state();
            let is_written = registers::write(&mut state, register, &value);
            if is_written {
                vm.vcpu.set_state(&state);
            }
            is_written
        }))?;
        match is_written {
            true => Ok(()),
            false => Err(TargetError::NonFatal),
        }
    }
}

impl SingleThreadResume for Debuggee {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), CallError> {
        self.range = None;
        self.go_on(false)
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<SingleThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Debuggee {
    fn step(&mut self, _: Option<Signal>) -> Result<(), CallError> {
        self.range = None;
        self.go_on(true)
    }
}

impl SingleThreadRangeStepping for Debuggee {
    fn resume_range_step(&mut self, start: u32, end: u32) -> Result<(), CallError> {
        self.range = Some(start..end);
        self.go_on(true)
    }
}

impl Breakpoints for Debuggee {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl Debuggee {
    fn add_breakpoint(&mut self, ea: u32) -> TargetResult<bool, Self> {
        let added = self.call(move |vm| vm.vcpu.add_breakpoint(Where::Effective(ea)));
        Ok(fatal(added)?.is_ok())
    }

    fn remove_breakpoint(&mut self, ea: u32) -> TargetResult<bool, Self> {
        fatal(self.call(move |vm| vm.vcpu.remove_breakpoint(Where::Effective(ea))))
    }
}

impl SwBreakpoint for Debuggee {
    fn add_sw_breakpoint(&mut self, ea: u32, _: usize) -> TargetResult<bool, Self> {
        self.add_breakpoint(ea)
    }

    fn remove_sw_breakpoint(&mut self, ea: u32, _: usize) -> TargetResult<bool, Self> {
        self.remove_breakpoint(ea)
    }
}

impl HwBreakpoint for Debuggee {
    fn add_hw_breakpoint(&mut self, ea: u32, _: usize) -> TargetResult<bool, Self> {
        self.add_breakpoint(ea)
    }

    fn remove_hw_breakpoint(&mut self, ea: u32, _: usize) -> TargetResult<bool, Self> {
        self.remove_breakpoint(ea)
    }
}

fn watched(kind: WatchKind) -> WatchFor {
    match kind {
        WatchKind::Read => WatchFor::Loads,
        WatchKind::Write => WatchFor::Stores,
        WatchKind::ReadWrite => WatchFor::Both,
    }
}

impl HwWatchpoint for Debuggee {
    fn add_hw_watchpoint(
        &mut self,
        ea: u32,
        bytes: u32,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        let added = self.call(move |vm| vm.vcpu.add_watchpoint(ea, bytes, watched(kind)));
        Ok(fatal(added)?.is_ok())
    }

    fn remove_hw_watchpoint(
        &mut self,
        ea: u32,
        bytes: u32,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        fatal(self.call(move |vm| vm.vcpu.remove_watchpoint(ea, bytes, watched(kind))))
    }
}

impl MonitorCmd for Debuggee {
    fn handle_monitor_cmd(
        &mut self,
        command: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), CallError> {
        let line = String::from_utf8_lossy(command).into_owned();
        out.write_raw(monitor::command(&mut self.subject, &line).as_bytes());
        Ok(())
    }
}

impl TargetDescriptionXmlOverride for Debuggee {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let text = registers::description(annex).ok_or(TargetError::NonFatal)?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(text.len());
        let part = &text.as_bytes()[start..];
        let part = &part[..part.len().min(length).min(buffer.len())];
        buffer[..part.len()].copy_from_slice(part);
        Ok(part.len())
    }
}
