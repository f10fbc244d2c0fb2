//! How a run ended: a value for an embedder, an exit status and a line for a person.

use std::fmt;
use std::time::Duration;

use ppckvm_api::{ResetKind, Stuck};

use crate::printable::Printable;

/// The effect of a reset of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReset {
    /// A reset ends the run.
    #[default]
    Exit,
    /// The machine starts again from the same files, its memory zero.
    Reboot,
}

/// The effect of a panic of the guest's kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPanic {
    /// A panic ends the run, once the kernel has said all that it says of it.
    #[default]
    Exit,
    /// The guest goes on with what its kernel does then: it resets, or stays where it is.
    Continue,
}

/// What it does to the run that the guest stands still for good: its kernel halted, it hangs, or it
/// powered the machine off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStandstill {
    /// The run ends.
    #[default]
    Exit,
    /// The machine stays as it is until something else ends the run.
    Stay,
}

/// What each kind of standstill does to the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standstills {
    /// The guest's kernel stopped, said so, and stays where it is.
    pub on_halt: OnStandstill,
    /// Nothing can ever wake or move the guest, or its CPU cannot go on.
    pub on_hang: OnStandstill,
    /// The guest powered the machine off.
    pub on_power_off: OnStandstill,
}

impl Standstills {
    /// What the run does that came to `cause`, which is `judged` all considered.
    pub(crate) fn of(self, on_panic: OnPanic, cause: &Outcome, judged: &Outcome) -> OnStandstill {
        match (cause, judged) {
            (_, Outcome::Halted) => self.on_halt,
            (Outcome::PoweredOff, _) => self.on_power_off,
            (Outcome::Hang { .. } | Outcome::CannotGoOn { .. }, Outcome::KernelPanic { .. })
                if on_panic == OnPanic::Exit =>
            {
                OnStandstill::Exit
            }
            (Outcome::Hang { .. } | Outcome::CannotGoOn { .. }, _) => self.on_hang,
            _ => OnStandstill::Exit,
        }
    }
}

/// The way in which a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The guest powered the machine off.
    PoweredOff,
    /// The guest's kernel stopped, said so, and stays where it is.
    Halted,
    /// The guest reset itself through DBCR0, and `--on-reset` said to end.
    Reset(ResetKind),
    /// The watchdog reset the guest.
    WatchdogReset(ResetKind),
    /// The guest's kernel panicked, whatever it did next.
    KernelPanic {
        /// The reason that it said; `None` when it said nothing that could be found.
        message: Option<String>,
    },
    /// Nothing can ever wake or move the guest.
    Hang {
        /// The effective address at which it stands.
        pc: u32,
        /// The way in which it stands there.
        how: Hang,
    },
    /// The CPU cannot go on, whatever happens.
    CannotGoOn {
        /// The effective address at which it stands.
        pc: u32,
        /// The reason.
        reason: Stuck,
    },
    /// The time that [`crate::Machine::timeout`] allows is over.
    TimedOut(Duration),
    /// The time was over, and the guest's kernel had panicked before and stayed where it was: what
    /// [`crate::OnPanic::Continue`] can come to.
    TimedOutAfterPanic {
        /// The reason that it said; `None` when it said nothing that could be found.
        message: Option<String>,
        /// The time that [`crate::Machine::timeout`] allows.
        after: Duration,
    },
    /// [`crate::Stopper::stop`] was called. The guest can be run on.
    Stopped,
    /// The user typed the escape sequence that quits.
    Quit,
    /// The console's reader or the console's file is gone; the message says how.
    ConsoleLost(String),
    /// The launcher or its host failed; the message says how.
    Failed(String),
}

/// The way in which a guest hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hang {
    /// The guest branches to itself with interrupts off.
    Spins,
    /// The guest waits (MSR\[WE\]) and every interrupt that could wake it is off, in the core or in
    /// the interrupt controller.
    Waits,
}

impl Outcome {
    /// The ending for what the core says of a CPU that does nothing more.
    pub(crate) fn stuck(pc: u32, reason: Stuck) -> Self {
        match reason {
            Stuck::Spins => Outcome::Hang {
                pc,
                how: Hang::Spins,
            },
            Stuck::WaitsDeaf => Outcome::Hang {
                pc,
                how: Hang::Waits,
            },
            Stuck::EndlessInterrupts | Stuck::MachineCheckDisabled => {
                Outcome::CannotGoOn { pc, reason }
            }
        }
    }

    /// The exit status of the command for this ending.
    ///
    /// 0: the guest powered off, halted or reset, or the user quit. 1: the launcher's own error.
    /// 33: the CPU cannot go on. 34: the kernel panicked. 35: the guest hangs. 36: the watchdog
    /// reset the guest. 124: the time ran out, and the kernel had not panicked.
    pub fn exit_status(&self) -> u8 {
        match self {
            Outcome::PoweredOff
            | Outcome::Halted
            | Outcome::Reset(_)
            | Outcome::Stopped
            | Outcome::Quit => 0,
            Outcome::ConsoleLost(_) | Outcome::Failed(_) => 1,
            Outcome::CannotGoOn { .. } => 33,
            Outcome::KernelPanic { .. } | Outcome::TimedOutAfterPanic { .. } => 34,
            Outcome::Hang { .. } => 35,
            Outcome::WatchdogReset(_) => 36,
            Outcome::TimedOut(_) => 124,
        }
    }

    /// Whether what the guest stood at, its registers and its kernel's log say why it ended.
    pub fn wants_explanation(&self) -> bool {
        matches!(
            self,
            Outcome::KernelPanic { .. }
                | Outcome::Hang { .. }
                | Outcome::CannotGoOn { .. }
                | Outcome::TimedOut(_)
                | Outcome::TimedOutAfterPanic { .. }
        )
    }

    /// Whether the guest itself came to an end, so that running it on makes no sense.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Outcome::Stopped
                | Outcome::TimedOut(_)
                | Outcome::TimedOutAfterPanic { .. }
                | Outcome::Quit
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::PoweredOff => f.write_str("the guest powered off"),
            Outcome::Halted => f.write_str("the guest halted"),
            Outcome::KernelPanic { message } => panic(f, message.as_deref()),
            Outcome::Hang { pc, how } => {
                let how = match how {
                    Hang::Spins => "it branches to itself with interrupts off",
                    Hang::Waits => "it waits, and everything that could wake it is off",
                };
                write!(f, "the guest hangs at pc {pc:#010x}: {how}")
            }
            Outcome::Reset(kind) => write!(f, "the guest reset the {}", reach(*kind)),
            Outcome::WatchdogReset(kind) => write!(f, "the watchdog reset the {}", reach(*kind)),
            Outcome::CannotGoOn { pc, reason } => {
                let reason = match reason {
                    Stuck::EndlessInterrupts => {
                        "interrupt follows interrupt and no instruction completes"
                    }
                    Stuck::MachineCheckDisabled => "a machine check came while MSR[ME] is 0",
                    Stuck::Spins | Stuck::WaitsDeaf => "nothing can move it any more",
                };
                write!(f, "the cpu cannot go on at pc {pc:#010x}: {reason}")
            }
            Outcome::TimedOut(after) => {
                write!(f, "the guest was still running after {after:?}")
            }
            Outcome::TimedOutAfterPanic { message, after } => {
                panic(f, message.as_deref())?;
                write!(
                    f,
                    "; the guest did not come back until the time was over, after {after:?}"
                )
            }
            Outcome::Stopped => f.write_str("the run was stopped"),
            Outcome::Quit => f.write_str("quit from the console"),
            Outcome::ConsoleLost(how) => {
                write!(f, "the console's output is lost: {}", Printable(how))
            }
            Outcome::Failed(error) => Printable(error).fmt(f),
        }
    }
}

fn panic(f: &mut fmt::Formatter<'_>, message: Option<&str>) -> fmt::Result {
    match message {
        Some(message) => write!(f, "kernel panic: {}", Printable(message)),
        None => f.write_str("kernel panic, and the kernel did not say why"),
    }
}

fn reach(kind: ResetKind) -> &'static str {
    match kind {
        ResetKind::Core => "core",
        ResetKind::Chip => "chip",
        ResetKind::System => "system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(message: &str) -> Outcome {
        Outcome::TimedOutAfterPanic {
            message: Some(message.into()),
            after: Duration::from_secs(90),
        }
    }

    #[test]
    fn a_panic_that_is_cut_short_later_is_said_with_both() {
        assert_eq!(
            late("no root").to_string(),
            "kernel panic: no root; the guest did not come back until the time was over, after 90s"
        );
    }

    #[test]
    fn what_the_guest_says_does_not_act_on_a_terminal() {
        let said = "\u{1b}]0;title\u{7}\r\u{9b}2Jx\ny";
        for outcome in [
            Outcome::KernelPanic {
                message: Some(said.into()),
            },
            late(said),
            Outcome::Failed(said.into()),
            Outcome::ConsoleLost(said.into()),
        ] {
            let line = outcome.to_string();
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(line.contains("\\u{1b}]0;title\\u{7}\\r"), "{line}");
        }
    }

    #[test]
    fn each_ending_has_the_documented_status() {
        let reason = Stuck::EndlessInterrupts;
        for (outcome, status) in [
            (Outcome::PoweredOff, 0),
            (Outcome::Halted, 0),
            (Outcome::Reset(ResetKind::System), 0),
            (Outcome::Quit, 0),
            (Outcome::ConsoleLost("broken pipe".into()), 1),
            (Outcome::CannotGoOn { pc: 0x100, reason }, 33),
            (Outcome::KernelPanic { message: None }, 34),
            (Outcome::stuck(0x100, Stuck::Spins), 35),
            (Outcome::stuck(0x100, Stuck::WaitsDeaf), 35),
            (Outcome::WatchdogReset(ResetKind::Chip), 36),
            (Outcome::TimedOut(Duration::from_secs(90)), 124),
            (late("no root"), 34),
        ] {
            assert_eq!(outcome.exit_status(), status, "{outcome}");
        }
    }

    #[test]
    fn a_stuck_cpu_is_named_with_its_pc() {
        let outcome = Outcome::CannotGoOn {
            pc: 0x700,
            reason: Stuck::MachineCheckDisabled,
        };
        assert_eq!(
            outcome.to_string(),
            "the cpu cannot go on at pc 0x00000700: a machine check came while MSR[ME] is 0"
        );
    }
}
