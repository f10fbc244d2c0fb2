//! The vcpu loop: one match on why the CPU came back.

use ppckvm_api::{VcpuExit, msr};
use ppckvm_devices::{AccessError, AccessKind};

use crate::vm::Vm;
use crate::vm::control::{Request, RunEvent};
use crate::vm::outcome::{Hang, OnPanic, OnReset, OnStandstill, Outcome};

/// The target of what is logged of accesses that no device answers.
pub const UNANSWERED: &str = "ppckvm::unanswered";

impl Vm {
    /// Runs the guest until somebody requests otherwise or it ends.
    pub(crate) fn drive(&mut self) -> Request {
        loop {
            let request = match self.stands_still || self.held.is_some() {
                true => self.control.wait(),
                false => match self.drive_on() {
                    Some(request) => request,
                    None => continue,
                },
            };
            let cause = match request {
                Request::Work(work) => {
                    self.work(work);
                    continue;
                }
                Request::End(cause) => cause,
                request => return request,
            };
            let outcome = self.judge(cause.clone());
            match self.standstills.of(self.on_panic, &cause, &outcome) {
                OnStandstill::Exit => return Request::End(outcome),
                OnStandstill::Stay => {
                    tracing::warn!("{outcome}; the machine stays as it is");
                    self.stands_still = true;
                    self.control.tell(&RunEvent::StandsStill(outcome));
                }
            }
        }
    }

    /// What the ending is, all considered that the kernel said and left in memory.
    fn judge(&mut self, outcome: Outcome) -> Outcome {
        match self.watch.judge(outcome) {
            Outcome::KernelPanic { message: None } => Outcome::KernelPanic {
                message: self.post_mortem().panic_message(),
            },
            Outcome::Hang { pc, how } => {
                // A kernel whose console is off halts without a word.
                let place = self.symbols.as_ref().and_then(|symbols| symbols.locate(pc));
                match place.as_ref().map(|place| place.name.as_str()) {
                    Some("machine_hang" | "machine_halt" | "machine_power_off") => Outcome::Halted,
                    _ => Outcome::Hang { pc, how },
                }
            }
            outcome => outcome,
        }
    }

    /// Whether an interrupt from outside can still wake a guest that waits for one.
    fn can_be_woken(&self, external: bool, critical: bool) -> bool {
        let [uic0, _] = &self.uics;
        let state = uic0.state();
        external && state.er & !state.cr != 0 || critical && state.er & state.cr != 0
    }

    /// Runs the guest; none when it is held from now on.
    fn drive_on(&mut self) -> Option<Request> {
        self.control.set_begun();
        loop {
            // A device, another thread or the console may have asked since the last look; a kick
            // that comes later ends the run below.
            if self.control.is_raised()
                && let Some(request) = self.control.take()
            {
                return Some(request);
            }
            // The guest goes on when its requests are done; between parts of them, the look above.
            if self.live_devices.backlog.take() {
                self.live_devices.work_off();
                self.settle_lines();
                continue;
            }
            if let Some(time) = &self.virtual_time {
                time.set(self.vcpu.time_base());
            }
            let exit = match self.vcpu.run() {
                Ok(exit) => exit,
                Err(error) => return Some(Request::End(Outcome::Failed(error.to_string()))),
            };
            let (kind, address, answer) = match exit {
                VcpuExit::MmioRead(gpa, data) => {
                    let answer = self.buses.mmio.read(gpa, data);
                    if answer.is_err() {
                        data.fill(0);
                    }
                    (AccessKind::MmioRead, gpa, answer)
                }
                VcpuExit::MmioWrite(gpa, data) => {
                    (AccessKind::MmioWrite, gpa, self.buses.mmio.write(gpa, data))
                }
                VcpuExit::DcrRead(dcrn, data) => {
                    let answer = self.buses.dcr.read(dcrn);
                    *data = answer.unwrap_or(0);
                    (AccessKind::DcrRead, dcrn.into(), answer.map(drop))
                }
                VcpuExit::DcrWrite(dcrn, data) => (
                    AccessKind::DcrWrite,
                    dcrn.into(),
                    self.buses.dcr.write(dcrn, data),
                ),
                VcpuExit::Kicked => continue,
                VcpuExit::Debug(stop) => {
                    self.control.tell(&RunEvent::Stopped(stop));
                    self.pause();
                    return None;
                }
                VcpuExit::Waits { external, critical } => {
                    if self.can_be_woken(external, critical) {
                        continue;
                    }
                    let regs = self.vcpu.regs();
                    let pc = regs.pc as u32;
                    let how = match regs.msr as u32 & msr::WE {
                        0 => Hang::Spins,
                        _ => Hang::Waits,
                    };
                    return Some(Request::End(Outcome::Hang { pc, how }));
                }
                VcpuExit::Reset { kind, by_watchdog } => {
                    let outcome = match by_watchdog {
                        true => Outcome::WatchdogReset(kind),
                        false => Outcome::Reset(kind),
                    };
                    // A panic that said nothing is found in the kernel's memory, which goes now.
                    let outcome = self.judge(outcome);
                    let panicked = matches!(outcome, Outcome::KernelPanic { .. });
                    if self.on_reset == OnReset::Exit || panicked && self.on_panic == OnPanic::Exit
                    {
                        return Some(Request::End(outcome));
                    }
                    tracing::info!("{outcome}; the guest starts again");
                    if by_watchdog {
                        self.control.tell(&RunEvent::Watchdog);
                    }
                    if let Err(error) = self.reboot(kind) {
                        let error = format!("the guest's memory cannot be filled anew: {error}");
                        return Some(Request::End(Outcome::Failed(error)));
                    }
                    self.control.tell(&RunEvent::Reset { by_guest: true });
                    continue;
                }
                VcpuExit::CannotGoOn { pc, reason } => {
                    return Some(Request::End(Outcome::stuck(pc, reason)));
                }
                // The enum can grow; whatever comes, the guest must not be run on blindly.
                other => {
                    let error = format!("the core came back for an unknown reason: {other:?}");
                    return Some(Request::End(Outcome::Failed(error)));
                }
            };
            if let Err(error) = answer {
                self.say_unanswered(kind, address, error);
            }
            self.settle_lines();
        }
    }

    /// Lets the consoles' far ends catch up with what a device sent.
    fn settle_lines(&self) {
        for line in self.lines.iter().chain(&self.console_log) {
            if line.hub.needs_settling() {
                line.hub.settle();
            }
        }
    }

    /// Logs an access that nothing answered, each address once.
    #[cold]
    fn say_unanswered(&mut self, kind: AccessKind, address: u64, error: AccessError) {
        if !self.unanswered.is_new(kind, address) {
            return;
        }
        let pc = self.vcpu.exit_pc();
        let name = match kind {
            AccessKind::MmioRead | AccessKind::MmioWrite => self.buses.mmio.name_at(address),
            AccessKind::DcrRead | AccessKind::DcrWrite => u32::try_from(address)
                .ok()
                .and_then(|dcrn| self.buses.dcr.name_at(dcrn)),
        };
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        tracing::warn!(target: UNANSWERED, "{kind} at {address:#x}{name} from pc {pc:#010x}: {error}; a read gives 0");
        if self.unanswered.is_full() {
            tracing::warn!(target: UNANSWERED, "no further accesses of this kind are reported");
        }
    }
}
