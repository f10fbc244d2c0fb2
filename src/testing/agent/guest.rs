//! A machine with its agent, for tests: what is asked of the agent runs the guest until it is done.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Agent, AgentError, AgentLink, CommandOutput, GuestCommand, Init};
use crate::testing::PATIENCE;
use crate::{BuildError, Machine, Outcome, Reached, Until, Vm};

/// Lines of the console that an [`AgentFailure`] shows.
const SHOWN_LINES: usize = 40;

/// Why a guest with an agent did not do what a test wanted; `Debug` writes the same as `Display`.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AgentFailure {
    /// The machine cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The host has no threads for it.
    #[error("the host gives no thread: {0}")]
    Thread(std::io::Error),
    /// The agent did not do it.
    #[error("{error}; the console's end is:\n{console}")]
    Agent {
        /// The reason.
        error: AgentError,
        /// The last lines on the console.
        console: String,
    },
    /// The guest ended first.
    #[error("the guest ended: {outcome}; the console's end is:\n{console}")]
    Ended {
        /// How.
        outcome: Outcome,
        /// The last lines on the console.
        console: String,
    },
    /// The request took longer than the guest's patience; the guest was ended.
    #[error("not done within {patience:?}; the console's end is:\n{console}")]
    Deadline {
        /// How long it was waited for.
        patience: Duration,
        /// The last lines on the console.
        console: String,
    },
}

impl std::fmt::Debug for AgentFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A machine whose agent runs commands and moves files.
#[derive(Debug)]
pub struct AgentGuest {
    /// The machine itself.
    pub vm: Vm,
    link: AgentLink,
    patience: Duration,
}

impl AgentGuest {
    /// Builds the machine and boots it to its agent, which takes the place of its init.
    ///
    /// # Errors
    /// A machine that cannot be built, or a guest that does not come to its agent in time.
    pub fn boot(machine: Machine) -> Result<Self, AgentFailure> {
        let patience = PATIENCE;
        let fails = |error| AgentFailure::Agent {
            error,
            console: String::new(),
        };
        let agent = Agent::new(Init::Instead).map_err(fails)?;
        let mut vm = agent.install(machine).map_err(fails)?.build()?;
        let greeting = agent.listen(&vm).map_err(AgentFailure::Thread)?;
        let link = drive(&mut vm, patience, || greeting.wait(patience))?;
        Ok(AgentGuest { vm, link, patience })
    }

    /// Sets the longest wait for one request, in host time; 240 s by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// A command that cannot be passed, or a guest that ends first or takes too long.
    pub fn run(&mut self, command: GuestCommand) -> Result<CommandOutput, AgentFailure> {
        self.ask(|link| {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let status = link.run(command, &mut stdout, &mut stderr)?;
            Ok(CommandOutput {
                status,
                stdout,
                stderr,
            })
        })
    }

    /// Reads a file in the guest.
    ///
    /// # Errors
    /// As [`AgentLink::read_file`], and a guest that ends first or takes too long.
    pub fn read_file(&mut self, path: impl AsRef<Path>) -> Result<Vec<u8>, AgentFailure> {
        let path = path.as_ref();
        self.ask(|link| {
            let mut bytes = Vec::new();
            link.read_file(path, &mut bytes)?;
            Ok(bytes)
        })
    }

    /// Writes a file in the guest, with mode 644.
    ///
    /// # Errors
    /// As [`AgentLink::put_file`], and a guest that ends first or takes too long.
    pub fn write_file(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), AgentFailure> {
        let path = path.as_ref();
        self.ask(|link| link.put_file(Path::new("memory"), bytes, 0o644, path))
    }

    /// Copies a file or a folder into the guest.
    ///
    /// # Errors
    /// As [`AgentLink::copy_in`], and a guest that ends first or takes too long.
    pub fn copy_in(
        &mut self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<(), AgentFailure> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.ask(|link| link.copy_in(from, to))
    }

    /// Copies a file or a folder out of the guest.
    ///
    /// # Errors
    /// As [`AgentLink::copy_out`], and a guest that ends first or takes too long.
    pub fn copy_out(
        &mut self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<(), AgentFailure> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.ask(|link| link.copy_out(from, to))
    }

    /// Has the guest write all that waits to its disks.
    ///
    /// # Errors
    /// A guest that ends first or takes too long.
    pub fn sync(&mut self) -> Result<(), AgentFailure> {
        self.ask(AgentLink::sync)
    }

    fn ask<T: Send>(
        &mut self,
        request: impl FnOnce(&mut AgentLink) -> Result<T, AgentError> + Send,
    ) -> Result<T, AgentFailure> {
        let link = &mut self.link;
        drive(&mut self.vm, self.patience, || request(link))
    }
}

/// Runs the guest on this thread until what is asked on another one is done.
fn drive<T: Send>(
    vm: &mut Vm,
    patience: Duration,
    request: impl FnOnce() -> Result<T, AgentError> + Send,
) -> Result<T, AgentFailure> {
    let is_done = AtomicBool::new(false);
    let stopper = vm.stopper();
    let deadline = Instant::now() + patience;
    let mut ended = None;
    let answer = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let answer = request();
            is_done.store(true, Ordering::SeqCst);
            stopper.ask_for_report();
            answer
        });
        while !is_done.load(Ordering::SeqCst) {
            let left = deadline.saturating_duration_since(Instant::now());
            match vm.run_until(Until::time(left)) {
                Reached::End(outcome) => {
                    ended = Some(outcome);
                    break;
                }
                Reached::Deadline => break,
                Reached::Report | Reached::Text => {}
            }
        }
        if !is_done.load(Ordering::SeqCst) {
            // Who waits for the channel sees its end.
            vm.abandon();
        }
        thread.join()
    });
    let console = || last_lines(&vm.output_text());
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(AgentError::Ended)) => Err(match ended {
            Some(outcome) => AgentFailure::Ended {
                outcome,
                console: console(),
            },
            None => AgentFailure::Deadline {
                patience,
                console: console(),
            },
        }),
        Ok(Err(error)) => Err(AgentFailure::Agent {
            error,
            console: console(),
        }),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn last_lines(console: &str) -> String {
    let console = console.replace('\r', "");
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
