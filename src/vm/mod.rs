//! A machine that is ready to run: its console, its memory, its registers, and its ends.

pub(crate) mod buses;
pub(crate) mod control;
pub(crate) mod deadlines;
pub(crate) mod entry;
mod kernel_log;
pub(crate) mod live_devices;
pub(crate) mod outcome;
pub(crate) mod port;
pub mod postmortem;
pub(crate) mod ram;
pub(crate) mod remote;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod time_of_day;
pub(crate) mod vmcore;
pub(crate) mod watch;
pub(crate) mod window;

use std::time::{Duration, Instant};

use std::sync::Arc;

use ppckvm_api::{
    Access, KvmRegs, ResetKind, State, Statistics, TLB_ENTRIES, TimerState, Tlbe, Translation,
    Vcpu, dbsr, tsr,
};
use ppckvm_devices::uic::Uic;
use ppckvm_devices::virtio::balloon::Target;
use ppckvm_devices::{Reset, Unanswered};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::host::console::{ConsoleHub, ConsoleInput, ConsoleOutput};
use crate::host::events::EventThread;
use crate::host::net::{ForwardedPort, LiveForwards};
use crate::host::sandbox::Confinement;
use crate::host::serial::Line;
use crate::loader::Placement;
use crate::loader::symbols::Symbols;
use crate::vm::buses::Buses;
use crate::vm::control::{Control, Phase, Request, RunEvent, Stopper};
use crate::vm::deadlines::Deadlines;
use crate::vm::live_devices::LiveDevices;
use crate::vm::outcome::{OnPanic, OnReset, Outcome, Standstills};
use crate::vm::ram::Ram;
use crate::vm::time_of_day::VirtualTime;
use crate::vm::watch::Watch;
use crate::vm::window::ConsoleWindow;

/// The event that [`Vm::run_until`] waits for, besides the end of the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until<'a> {
    text: Option<&'a [u8]>,
    within: Option<Duration>,
}

impl<'a> Until<'a> {
    /// Waits for nothing but the end.
    pub fn end() -> Self {
        Until::default()
    }

    /// Waits for text on the console, after the text that was last found.
    pub fn text(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Until {
            text: Some(text.as_ref()),
            within: None,
        }
    }

    /// Waits for so much host time.
    pub fn time(time: Duration) -> Self {
        Until {
            text: None,
            within: Some(time),
        }
    }

    /// Waits at most so much host time.
    pub fn within(self, time: Duration) -> Self {
        Until {
            within: Some(time),
            ..self
        }
    }
}

/// The reason why [`Vm::run_until`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The text was printed.
    Text,
    /// The time is over.
    Deadline,
    /// [`Stopper::ask_for_report`] was called: [`Vm::report`] says where the guest is.
    Report,
    /// The run ended.
    End(Outcome),
}

/// An access outside guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes at {gpa:#x} are not inside the guest's {ram:#x} bytes of ram")]
pub struct MemoryAccessError {
    /// The first guest physical address.
    pub gpa: u32,
    /// The length in bytes.
    pub bytes: usize,
    /// The guest's RAM in bytes.
    pub ram: u64,
}

/// A machine that is built, which runs on the thread that calls [`Vm::run`]; dropping it ends it.
pub struct Vm {
    pub(crate) confinement: Confinement,
    pub(crate) description: String,
    pub(crate) on_reset: OnReset,
    pub(crate) on_panic: OnPanic,
    pub(crate) standstills: Standstills,
    pub(crate) timeout: Option<Duration>,
    /// Without its segments where the guest never starts again.
    pub(crate) placement: Placement,
    /// The CPU as it was made, for the next start.
    pub(crate) pristine: State,
    pub(crate) vcpu: Vcpu,
    /// Where the virtual clock's time goes for the devices, if it is in use.
    pub(crate) virtual_time: Option<Arc<VirtualTime>>,
    /// The virtio devices, stopped before anything else of the machine goes.
    pub(crate) live_devices: LiveDevices,
    pub(crate) balloon: Option<Target>,
    pub(crate) networks: Vec<LiveForwards>,
    pub(crate) buses: Buses,
    pub(crate) unanswered: Unanswered,
    pub(crate) ram: Ram,
    pub(crate) uics: [Uic; 2],
    /// The serial ports' far ends; the first is the console. Behind them, the virtio consoles'.
    pub(crate) lines: Vec<Line>,
    /// The file that has what a console sends too.
    pub(crate) console_log: Option<Line>,
    /// How many serial ports there are.
    pub(crate) uarts: usize,
    /// Which lines are channels to an agent in the guest, best first.
    pub(crate) agent_lines: Vec<usize>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) symbols: Option<Arc<Symbols>>,
    pub(crate) control: Arc<Control>,
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) events: EventThread,
    /// How the guest ended, after which it does not run again.
    pub(crate) ended: Option<Outcome>,
    pub(crate) started: bool,
    /// The guest came to a standstill that did not end the run.
    pub(crate) stands_still: bool,
    /// The timers as they stand while the machine is held.
    pub(crate) held: Option<TimerState>,
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vm")
            .field("description", &self.description)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Vm {
    /// Runs the guest until the run ends. Console output is with its destination by then.
    ///
    /// The guest runs on the calling thread, and translated code uses up to 640 KB of its stack: a
    /// thread of one's own should have 1 MiB or more. It handles SIGSEGV, which the thread must not
    /// block; one that is not the guest's goes to the handler that the process had before.
    pub fn run(&mut self) -> Outcome {
        loop {
            match self.run_until(Until::end()) {
                Reached::End(outcome) => return outcome,
                // Who wants to see it calls `run_until`.
                Reached::Report => {}
                // Nobody asked for these, so nobody makes them.
                Reached::Text | Reached::Deadline => return Outcome::Stopped,
            }
        }
    }

    /// Runs the guest until what `until` says, or the end of the run.
    pub fn run_until(&mut self, until: Until<'_>) -> Reached {
        if let Some(outcome) = &self.ended {
            return Reached::End(outcome.clone());
        }
        self.control.forget_waits();
        self.control.set_phase(Phase::Runs);
        if !self.started {
            self.started = true;
            self.deadlines.set_run(self.timeout);
            self.events.kick();
        }
        let within = until.within;
        self.set_wait(within.and_then(|time| Instant::now().checked_add(time)));
        match until.text {
            Some(text) => self.console().search(text),
            None => self.console().stop_searching(),
        }
        let request = self.drive();
        self.set_wait(None);
        self.console().stop_searching();
        match request {
            Request::TextSeen => Reached::Text,
            Request::Deadline => Reached::Deadline,
            // `drive` does work where it comes.
            Request::Report | Request::Work(_) => Reached::Report,
            Request::End(outcome) => {
                self.finish(&outcome);
                Reached::End(outcome)
            }
        }
    }

    /// Has the event thread call the vcpu back at `deadline`.
    fn set_wait(&self, deadline: Option<Instant>) {
        if self.deadlines.set_wait(deadline) {
            self.events.kick();
        }
    }

    /// Gives the guest up: it does not run again, and whoever reads or writes a console of its sees the
    /// end.
    pub(crate) fn abandon(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(Outcome::Stopped);
            self.live_devices.stop();
            self.lines.iter().for_each(|line| line.hub.end());
        }
    }

    fn finish(&mut self, outcome: &Outcome) {
        self.control.set_phase(Phase::Stopping);
        if outcome.is_final() {
            self.ended = Some(outcome.clone());
            self.live_devices.stop();
            self.lines.iter().for_each(|line| line.hub.end());
        }
        self.control.set_phase(Phase::Draining);
        // A guest that ended by itself has a reader who wants all of it; who stopped it may not.
        let patience = (!outcome.is_final()).then_some(DRAIN_PATIENCE);
        for (index, line) in self.lines.iter().enumerate() {
            line.drain(&self.port_name(index), patience);
        }
        if let Some(log) = &self.console_log {
            log.drain("the console log", patience);
        }
        self.control.set_phase(Phase::Over);
        self.control.tell(&RunEvent::Ended(outcome.clone()));
    }

    /// Puts the machine into the state in which the guest starts: memory as the files say, CPU as
    /// the kernel's entry wants it. Fresh memory holds zeros elsewhere.
    pub(crate) fn load(&mut self) -> std::io::Result<()> {
        self.ram.load(&self.placement.segments)?;
        let ram = self.ram.region.size() as u32;
        let state = entry::state(&self.pristine, &self.placement.registers, ram);
        self.vcpu.set_state(&state);
        Ok(())
    }

    /// Starts the guest again after a reset of this kind, as if it had just been built but for the
    /// registers that record a reset, DBSR\[MRR\] and TSR\[WRS\], and for what such a reset leaves
    /// alone: devices after one of the core, the clock chip always. The console goes on.
    pub(crate) fn reboot(&mut self, kind: ResetKind) -> std::io::Result<()> {
        // At once: no watchdog runs on while the rest is seen to.
        self.vcpu.reset(kind);
        let by_watchdog = self.vcpu.state().timers.tsr & tsr::WRS;
        let reach = match kind {
            ResetKind::Core => Reset::Core,
            ResetKind::Chip => Reset::Chip,
            ResetKind::System => Reset::System,
        };
        self.buses.mmio.reset_by(reach);
        self.buses.dcr.reset_by(reach);
        self.ram.clear()?;
        self.watch.forget();
        self.load()?;
        let mut state = self.vcpu.state();
        state.sprs.dbsr = state.sprs.dbsr & !dbsr::MRR | (kind as u32) << 28;
        state.timers.tsr = state.timers.tsr & !tsr::WRS | by_watchdog;
        self.vcpu.set_state(&state);
        self.stands_still = false;
        if self.held.is_some() {
            self.held = Some(state.timers);
        }
        Ok(())
    }

    /// Ends the machine as dropping it does, but leaves its memory to the end of the process, which
    /// frees it all at once and sooner. For a program that ends now.
    pub fn leave(self) {
        // The devices' threads and sockets are among the fields that are dropped.
        std::mem::forget((self.vcpu, self.ram));
    }

    /// UART0's far end.
    fn console(&self) -> &Arc<ConsoleHub> {
        &self.lines[0].hub
    }

    /// `uart0` and so on, then `console0` and so on.
    fn port_name(&self, index: usize) -> String {
        match index.checked_sub(self.uarts) {
            None => format!("uart{index}"),
            Some(console) => format!("console{console}"),
        }
    }

    /// The serial ports and virtio consoles that a user finds under a name of their own, as
    /// `uart0` or `console0`, and that name: a pseudo-terminal's path, `unix=PATH`, or
    /// `tcp=ADDRESS:PORT`.
    pub fn serial_names(&self) -> impl Iterator<Item = (String, &str)> {
        let lines = self.lines.iter().enumerate();
        lines.filter_map(|(index, line)| Some((self.port_name(index), line.name.as_deref()?)))
    }

    /// Ports of the host that lead into the guest now, in the order of the options.
    pub fn forwarded_ports(&self) -> Vec<ForwardedPort> {
        self.networks.iter().flat_map(LiveForwards::ports).collect()
    }

    /// Returns what brings the terminal that a console writes to back to how a shell has it: shows
    /// the cursor, leaves colours and the alternate screen. It is for the terminal, once the run
    /// has ended; empty when no console writes to one, or nothing is left to do.
    pub fn leave_terminal(&self) -> Vec<u8> {
        let lines = self.lines.iter();
        lines.flat_map(|line| line.hub.leave_terminal()).collect()
    }

    /// Returns what the guest has sent on a serial port so far, as [`Vm::output`] does for UART0;
    /// empty for a port that the board does not have.
    pub fn serial_output(&self, uart: usize) -> Vec<u8> {
        let line = self.lines.get(uart).filter(|_| uart < self.uarts);
        line.map_or_else(Vec::new, |line| line.hub.output())
    }

    fn virtio_console(&self, console: usize) -> Option<&Arc<ConsoleHub>> {
        let line = self.lines.get(self.uarts.checked_add(console)?);
        line.map(|line| &line.hub)
    }

    /// Returns what the guest has sent on a virtio console so far, as [`Vm::output`] does for
    /// UART0; empty for a console that was not attached.
    pub fn virtio_console_output(&self, console: usize) -> Vec<u8> {
        let hub = self.virtio_console(console);
        hub.map_or_else(Vec::new, |hub| hub.output())
    }

    /// Types on a virtio console, as [`Vm::write`] does on UART0, and returns whether there is such
    /// a console.
    pub fn virtio_console_write(&mut self, console: usize, bytes: impl AsRef<[u8]>) -> bool {
        let hub = self.virtio_console(console);
        hub.map(|hub| hub.receive(bytes.as_ref())).is_some()
    }

    /// The pipes of the channels to an agent in the guest, best first, and what each is called; those
    /// that were taken before are missing.
    pub(crate) fn agent_pipes(&self) -> Vec<(String, ConsoleOutput, ConsoleInput)> {
        let pipes = |index: &usize| {
            let hub = &self.lines[*index].hub;
            Some((self.port_name(*index), hub.reader()?, hub.writer()))
        };
        self.agent_lines.iter().filter_map(pipes).collect()
    }

    /// Sends a break on a serial port, and returns whether the guest took it: it must have the port
    /// open, and have read what was typed before. Linux takes it for the start of a SysRq command,
    /// whose letter is typed next.
    pub fn send_break(&mut self, uart: usize) -> bool {
        let line = self.lines[..self.uarts].get(uart);
        line.is_some_and(|line| line.hub.send_break())
    }

    /// The window of a virtio console, whose size can be set while the guest runs; `None` for a
    /// console that was not attached.
    pub fn virtio_console_window(&self, console: usize) -> Option<ConsoleWindow> {
        let hub = self.virtio_console(console)?;
        Some(ConsoleWindow(Arc::downgrade(hub)))
    }

    /// The host's side of the balloon; `None` when it was not attached.
    pub fn balloon(&self) -> Option<&Target> {
        self.balloon.as_ref()
    }

    /// Returns how much of guest RAM the host holds pages for, in bytes.
    ///
    /// # Errors
    /// As the host says.
    pub fn resident_memory(&self) -> std::io::Result<u64> {
        self.ram.resident()
    }

    /// Returns the machine's sandbox, for threads of the caller that serve it, above all the one that runs
    /// the guest and drops the machine.
    ///
    /// A thread that is confined cannot be freed again: it opens no files and starts no threads, so
    /// a program with other work gives a machine a thread of its own.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Describes in one line where and how the guest runs.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns a handle that ends the run from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.control.clone())
    }

    /// Types on the guest's console. Nothing is dropped: the guest gets it as fast as it reads.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.console().receive(bytes.as_ref());
    }

    /// Returns what the guest has printed so far, as bytes; at least the last mebibyte of it.
    pub fn output(&self) -> Vec<u8> {
        self.console().output()
    }

    /// Returns what the guest has printed so far, as text; what is not UTF-8 is replaced.
    pub fn output_text(&self) -> String {
        String::from_utf8_lossy(&self.output()).into_owned()
    }

    /// Returns the guest's output as a pipe for another thread, from here on; `None` when it goes
    /// to a file, or to a pipe that was taken before.
    pub fn console_reader(&self) -> Option<ConsoleOutput> {
        self.console().reader()
    }

    /// Returns the guest's input as a pipe for another thread.
    pub fn console_writer(&self) -> ConsoleInput {
        self.console().writer()
    }

    /// Reads guest memory.
    ///
    /// # Errors
    /// A range that is not inside RAM.
    pub fn read_memory(&self, gpa: u32, bytes: &mut [u8]) -> Result<(), MemoryAccessError> {
        let error = self.check_memory(gpa, bytes.len());
        let memory = self.ram.memory.read_slice(bytes, GuestAddress(gpa.into()));
        error.and(memory.map_err(|_| self.memory_error(gpa, bytes.len())))
    }

    /// Writes guest memory; code that the guest executed from there is decoded again.
    ///
    /// # Errors
    /// A range that is not inside RAM. Nothing was written.
    pub fn write_memory(&mut self, gpa: u32, bytes: &[u8]) -> Result<(), MemoryAccessError> {
        self.check_memory(gpa, bytes.len())?;
        let written = self.ram.memory.write_slice(bytes, GuestAddress(gpa.into()));
        written.map_err(|_| self.memory_error(gpa, bytes.len()))
    }

    fn check_memory(&self, gpa: u32, bytes: usize) -> Result<(), MemoryAccessError> {
        if self.ram.memory.check_range(GuestAddress(gpa.into()), bytes) {
            Ok(())
        } else {
            Err(self.memory_error(gpa, bytes))
        }
    }

    fn memory_error(&self, gpa: u32, bytes: usize) -> MemoryAccessError {
        MemoryAccessError {
            gpa,
            bytes,
            ram: self.ram.region.size() as u64,
        }
    }

    /// Returns the user registers, pc and MSR, in KVM's layout.
    pub fn registers(&mut self) -> KvmRegs {
        self.vcpu.regs()
    }

    /// Replaces the user registers, pc and MSR.
    pub fn set_registers(&mut self, registers: &KvmRegs) {
        self.vcpu.set_regs(registers);
    }

    /// Returns all that the guest can tell of its CPU: registers, timers, TLB.
    pub fn state(&mut self) -> State {
        let mut state = self.vcpu.state();
        if let Some(timers) = self.held {
            state.timers = timers;
        }
        state
    }

    /// Returns the guest's TLB.
    pub fn tlb(&self) -> &[Tlbe; TLB_ENTRIES] {
        self.vcpu.tlb()
    }

    /// Translates an effective address as the guest's CPU would now.
    pub fn translate(&self, ea: u32, access: Access) -> Option<Translation> {
        self.vcpu.translate_now(ea, access)
    }

    /// Returns counts of what the CPU has done so far.
    pub fn statistics(&self) -> Statistics {
        self.vcpu.statistics()
    }
}

/// How long a reader that takes nothing is waited for when the run was stopped from outside.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
