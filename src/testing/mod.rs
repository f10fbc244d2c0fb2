//! Guests under test: booted, typed at, waited for, asked for what a command printed.
//!
//! A [`Guest`] is a [`Vm`] with a shell on its console. Every wait is bounded by the guest's
//! patience, and what cannot be had is a [`Failure`] that says what was wanted and shows the end of
//! the console, so `unwrap` in a test is enough to see what went wrong.
//!
//! ```no_run
//! use ppckvm::Machine;
//! use ppckvm::testing::Guest;
//!
//! let machine = Machine::new().kernel("uImage").initrd("rootfs.cpio.gz");
//! let mut guest = Guest::start(machine)?;
//! guest.expect("~ # ")?;
//! assert_eq!(guest.run("nproc")?.output, "1\n");
//! assert_eq!(guest.run("test -e /etc/passwd")?.status, 0);
//! guest.power_off()?;
//! # Ok::<(), ppckvm::testing::Failure>(())
//! ```

pub mod agent;
pub mod excerpt;
pub mod ktap;
pub mod report;
#[cfg(feature = "config")]
pub mod suite;

use std::fmt;
use std::time::Duration;

pub use ktap::{Ktap, Status};

use crate::{BuildError, Machine, Outcome, Reached, Until, Vm};

/// The prompt of a root shell in BusyBox and Buildroot, which a [`Guest`] waits for by default.
pub const PROMPT: &str = "# ";

/// Longest wait of a [`Guest`] by default: many times what a boot takes on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Lines of the console that a [`Failure`] shows.
const SHOWN_LINES: usize = 60;

/// The result of a command in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Exit status as the shell's `$?` has it: 128 + n after signal n.
    pub status: u8,
    /// Standard output and standard error as the console showed them, without carriage returns.
    pub output: String,
}

/// The reason why a guest did not do what a test wanted.
///
/// `Debug` writes the same as `Display`, so that `unwrap` shows the console as text.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The machine cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Text that did not come.
    #[error("no {wanted:?} within {patience:?}; the console's end is:\n{console}")]
    Deadline {
        /// The text.
        wanted: String,
        /// How long it was waited for.
        patience: Duration,
        /// The last lines on the console.
        console: String,
    },
    /// A guest that ended before what was wanted came.
    #[error("the guest ended before {wanted:?}: {outcome}; the console's end is:\n{console}")]
    Ended {
        /// The text.
        wanted: String,
        /// How it ended.
        outcome: Outcome,
        /// The last lines on the console.
        console: String,
    },
    /// A guest that did not end.
    #[error("the guest did not end within {patience:?}; the console's end is:\n{console}")]
    StillRunning {
        /// How long its end was waited for.
        patience: Duration,
        /// The last lines on the console.
        console: String,
    },
    /// A guest that ended otherwise than wanted.
    #[error("the guest ended otherwise than wanted: {outcome}; the console's end is:\n{console}")]
    OtherEnd {
        /// How it ended.
        outcome: Outcome,
        /// The last lines on the console.
        console: String,
    },
    /// A command whose exit status is not 0.
    #[error("`{line}` ended with status {status}; it printed:\n{output}")]
    Status {
        /// The command.
        line: String,
        /// Its exit status.
        status: u8,
        /// What it printed.
        output: String,
    },
    /// A shell whose answer holds no exit status.
    #[error("the shell said no exit status after `{line}`, but {answer:?}")]
    NoStatus {
        /// The command.
        line: String,
        /// What stood where the status should.
        answer: String,
    },
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A machine with a shell on its console.
#[derive(Debug)]
pub struct Guest {
    /// The machine itself, for all that is not typing and waiting.
    pub vm: Vm,
    prompt: String,
    patience: Duration,
    /// Commands that were run, which makes the mark of each its own.
    commands: u32,
}

impl Guest {
    /// Builds the machine; the guest runs from the first wait on.
    ///
    /// # Errors
    /// A machine that cannot be built.
    pub fn start(machine: Machine) -> Result<Self, Failure> {
        Ok(Guest {
            vm: machine.build()?,
            prompt: PROMPT.to_owned(),
            patience: PATIENCE,
            commands: 0,
        })
    }

    /// Builds the machine and boots it to the shell's prompt.
    ///
    /// # Errors
    /// A machine that cannot be built, or a guest that does not come to the prompt.
    pub fn boot(machine: Machine) -> Result<Self, Failure> {
        let mut guest = Guest::start(machine)?;
        guest.expect_prompt()?;
        Ok(guest)
    }

    /// Sets the shell's prompt, [`PROMPT`] by default.
    #[must_use]
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = prompt.into();
        self
    }

    /// Sets the longest wait in host time, [`PATIENCE`] by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs the guest until the console says `text`, after the text that was last found.
    ///
    /// # Errors
    /// A guest that ends first, or does not say it in time.
    pub fn expect(&mut self, text: &str) -> Result<(), Failure> {
        let until = Until::text(text).within(self.patience);
        match self.run_until(until) {
            Reached::Text => Ok(()),
            Reached::Deadline | Reached::Report => Err(Failure::Deadline {
                wanted: text.to_owned(),
                patience: self.patience,
                console: self.end_of_console(),
            }),
            Reached::End(outcome) => Err(Failure::Ended {
                wanted: text.to_owned(),
                outcome,
                console: self.end_of_console(),
            }),
        }
    }

    /// Runs the guest until the shell's prompt is there.
    ///
    /// # Errors
    /// As [`Guest::expect`].
    pub fn expect_prompt(&mut self) -> Result<(), Failure> {
        let prompt = self.prompt.clone();
        self.expect(&prompt)
    }

    /// Types a line at the prompt and waits until the shell begins to execute it, not for its end.
    ///
    /// # Errors
    /// As [`Guest::expect`].
    pub fn type_line(&mut self, line: &str) -> Result<(), Failure> {
        self.commands += 1;
        let mark = self.commands;
        // The shell computes the mark, so that the echo of what is typed does not hold it; and
        // only that says where the answer begins, because the shell wraps long lines.
        self.vm.write(format!("echo @$(({mark}))@; {line}\n"));
        self.expect(&format!("@{mark}@\r\n"))
    }

    /// Returns what the console showed since a line was typed, once the prompt is back.
    ///
    /// # Errors
    /// As [`Guest::expect`].
    pub fn answer(&mut self) -> Result<String, Failure> {
        self.expect_prompt()?;
        let output = self.vm.output();
        let output = String::from_utf8_lossy(&output).replace('\r', "");
        let begin = format!("@{}@\n", self.commands);
        let answer = output.rsplit_once(&begin).map_or("", |(_, answer)| answer);
        let end = answer.rfind(&self.prompt).unwrap_or(answer.len());
        // What stands before the prompt's last words on its line is the prompt's too: `~ # `.
        let end = answer[..end].rfind('\n').map_or(0, |at| at + 1);
        Ok(answer[..end].to_owned())
    }

    /// Types a command, waits for its end, and asks for its exit status.
    ///
    /// Kernel messages on the same console are part of the output: a quiet `loglevel=` keeps them
    /// out. The command must not take the shell's input.
    ///
    /// # Errors
    /// As [`Guest::expect`].
    pub fn run(&mut self, line: &str) -> Result<Ran, Failure> {
        self.type_line(line)?;
        let output = self.answer()?;
        self.commands += 1;
        let mark = self.commands;
        self.vm.write(format!("echo @$?@$(({mark}))@\n"));
        self.expect(&format!("@{mark}@\r\n"))?;
        let console = self.vm.output();
        let console = String::from_utf8_lossy(&console).into_owned();
        let said = console.rsplit_once(&format!("@{mark}@\r\n"));
        let said = said.and_then(|(before, _)| before.rsplit_once('@'));
        let said = said.map_or("", |(_, status)| status);
        let status = said.parse().map_err(|_| Failure::NoStatus {
            line: line.to_owned(),
            answer: said.to_owned(),
        })?;
        self.expect_prompt()?;
        Ok(Ran { status, output })
    }

    /// Runs a command that must end with status 0, and returns what it printed.
    ///
    /// # Errors
    /// Another exit status, and as [`Guest::expect`].
    pub fn output_of(&mut self, line: &str) -> Result<String, Failure> {
        let Ran { status, output } = self.run(line)?;
        match status {
            0 => Ok(output),
            _ => Err(Failure::Status {
                line: line.to_owned(),
                status,
                output,
            }),
        }
    }

    /// Runs the guest until its run ends.
    ///
    /// # Errors
    /// A guest that does not end in time.
    pub fn end(&mut self) -> Result<Outcome, Failure> {
        match self.run_until(Until::end().within(self.patience)) {
            Reached::End(outcome) => Ok(outcome),
            Reached::Text | Reached::Deadline | Reached::Report => Err(Failure::StillRunning {
                patience: self.patience,
                console: self.end_of_console(),
            }),
        }
    }

    /// Has the shell power the machine off at once, without its init.
    ///
    /// # Errors
    /// Any other end, or none in time.
    pub fn power_off(&mut self) -> Result<(), Failure> {
        self.vm.write("poweroff -f\n");
        match self.end()? {
            Outcome::PoweredOff => Ok(()),
            outcome => Err(Failure::OtherEnd {
                outcome,
                console: self.end_of_console(),
            }),
        }
    }

    /// Runs the guest until the host sees what it waits for; `wanted` names that in a failure.
    ///
    /// # Errors
    /// A guest that ends first, or a condition that does not become true in time.
    pub fn wait_until(
        &mut self,
        wanted: &str,
        mut holds: impl FnMut(&Vm) -> bool,
    ) -> Result<(), Failure> {
        /// Between two looks at the condition.
        const LOOK: Duration = Duration::from_millis(20);
        let mut left = self.patience;
        while !holds(&self.vm) {
            if left.is_zero() {
                return Err(Failure::Deadline {
                    wanted: wanted.to_owned(),
                    patience: self.patience,
                    console: self.end_of_console(),
                });
            }
            left = left.saturating_sub(LOOK);
            if let Reached::End(outcome) = self.vm.run_until(Until::time(LOOK)) {
                return Err(Failure::Ended {
                    wanted: wanted.to_owned(),
                    outcome,
                    console: self.end_of_console(),
                });
            }
        }
        Ok(())
    }

    /// Runs the guest; reports that somebody else asks for are no reason to come back.
    fn run_until(&mut self, until: Until<'_>) -> Reached {
        loop {
            let reached = self.vm.run_until(until);
            if reached != Reached::Report {
                return reached;
            }
        }
    }

    /// The last lines on the console, without carriage returns.
    fn end_of_console(&self) -> String {
        let text = self.vm.output_text().replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests;
