//! Runs the guest on a thread of its own and sees to it that the process ends when it should, also
//! when that thread does not come back: a disk of the host's that hangs keeps it for as long as it
//! likes.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ppckvm::{Outcome, Phase, Reached, Report, Role, Statistics, Stopper, Until, Vm};

use crate::log::Log;

/// The stack of the guest's thread. Translated code uses up to 640 KB of it.
const STACK: usize = 2 << 20;

/// How long the host may keep the guest's thread once the run was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the devices may take then to finish what they have begun, each of them with a patience
/// of its own.
const DEVICES: Duration = Duration::from_secs(10);

/// How often that is looked at. Time is counted in these, so that a process that was stopped
/// meanwhile has not lost its patience.
const TICK: Duration = Duration::from_millis(100);

/// What is known of a guest that has stopped.
pub struct Finished {
    pub outcome: Outcome,
    pub report: Report,
    pub statistics: Statistics,
    pub elapsed: Duration,
    /// The guest left the last line of its output open.
    pub open_line: bool,
    /// What brings the terminal that shows the output back to how a shell has it.
    pub leave_terminal: Vec<u8>,
}

/// A guest on its thread.
pub struct Guest {
    events: Receiver<Event>,
    stopper: Stopper,
}

enum Event {
    /// Somebody asked for something.
    Asked,
    Finished(Box<Finished>),
    /// The machine is gone.
    Gone,
}

/// Why nothing is known of how the guest ended.
pub enum Kept {
    /// The run was to end in this way, and the host keeps the guest's thread.
    ByHost(Outcome),
    /// The guest's thread ended by a fault of this program, which it has said.
    Fault,
}

impl Guest {
    /// Runs the machine to its end, on a thread that has given up what it does not need;
    /// `is_line_open` says whether the guest left its last line open.
    pub fn start(
        vm: Vm,
        log: Log,
        is_line_open: impl FnOnce(&Vm) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, events) = channel();
        let stopper = vm.stopper();
        let asked = sender.clone();
        stopper.on_request(move || {
            let _ = asked.send(Event::Asked);
        });
        let thread = std::thread::Builder::new().name("vcpu".into());
        let confinement = vm.confinement().clone();
        confinement.spawn(thread.stack_size(STACK), Role::Vcpu, move || {
            run(vm, &log, is_line_open, &sender);
        })?;
        Ok(Guest { events, stopper })
    }

    /// Waits until the guest has stopped. Once the run was asked to end, the host may keep it for
    /// a while only.
    pub fn finished(&self) -> Result<Box<Finished>, Kept> {
        let mut waited = (Phase::Runs, Duration::ZERO);
        loop {
            let phase = self.stopper.phase();
            let asked = self.stopper.asked();
            let patience = match phase {
                Phase::Runs => PATIENCE,
                _ => DEVICES,
            };
            let is_kept = matches!(phase, Phase::Runs | Phase::Stopping);
            if waited.0 != phase {
                waited = (phase, Duration::ZERO);
            }
            let event = match asked {
                Some(outcome) if is_kept && waited.1 >= patience => {
                    return Err(Kept::ByHost(outcome));
                }
                Some(_) => self.events.recv_timeout(TICK),
                None => self
                    .events
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Finished(finished)) => return Ok(finished),
                Ok(Event::Asked) => {}
                Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => return Err(Kept::Fault),
                Err(RecvTimeoutError::Timeout) => waited.1 += TICK,
            }
        }
    }

    /// Waits until the machine is gone, for a while only; whether it is.
    pub fn is_gone(&self) -> bool {
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            match self.events.recv_timeout(TICK) {
                Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(Event::Asked | Event::Finished(_)) => {}
                Err(RecvTimeoutError::Timeout) => waited += TICK,
            }
        }
        false
    }
}

/// The guest's thread.
fn run(mut vm: Vm, log: &Log, is_line_open: impl FnOnce(&Vm) -> bool, events: &Sender<Event>) {
    let start = Instant::now();
    let outcome = loop {
        match vm.run_until(Until::end()) {
            Reached::End(outcome) => break outcome,
            Reached::Report => {
                let report = vm.report();
                log.tell(&report);
                if let Some(panic) = report.panic {
                    log.tell(format_args!("ppckvm: earlier: {panic}"));
                }
                log.tell("ppckvm: the guest runs on");
            }
            // Nobody asks for these.
            Reached::Text | Reached::Deadline => {}
        }
    };
    let elapsed = start.elapsed();
    // The receiver lives as long as the process.
    let _ = events.send(Event::Finished(Box::new(Finished {
        report: vm.report(),
        statistics: vm.statistics(),
        elapsed,
        open_line: is_line_open(&vm),
        leave_terminal: vm.leave_terminal(),
        outcome,
    })));
    vm.leave();
    let _ = events.send(Event::Gone);
}
