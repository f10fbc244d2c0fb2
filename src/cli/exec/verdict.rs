//! How `exec` ended: a status, a line, and the file of `--result`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use ppckvm::Outcome;
use ppckvm::testing::agent::{AgentError, CommandStatus};

use crate::FAILED;
use crate::signals;

/// The status of a guest that did not come to its agent in time, as of any time-out.
const TIMED_OUT: u8 = 124;

/// How it ended.
#[derive(Debug)]
pub enum Verdict {
    /// The command did.
    Command(CommandStatus),
    /// A signal ended this process's run.
    Signal(u8),
    /// The guest ended before the command did.
    Guest(Outcome),
    /// The agent could not do its part.
    Agent(AgentError),
}

impl Verdict {
    /// What it is, of what the agent said, how the guest ended, and the signal that was caught.
    pub fn new(
        answer: Result<CommandStatus, AgentError>,
        outcome: Outcome,
        signal: Option<u8>,
    ) -> Self {
        match (answer, signal, outcome) {
            (Ok(status), _, _) => Verdict::Command(status),
            (_, Some(signal), _) => Verdict::Signal(signal),
            (Err(AgentError::Ended | AgentError::NoBoot { .. }), _, outcome) => {
                Verdict::Guest(outcome)
            }
            (Err(error), _, Outcome::Stopped) => Verdict::Agent(error),
            (Err(_), _, outcome) => Verdict::Guest(outcome),
        }
    }

    /// This process's exit status.
    pub fn status(&self) -> u8 {
        match self {
            Verdict::Command(status) => status.code(),
            Verdict::Signal(signal) => signals::STATUS + signal,
            // An orderly end is none of the command's.
            Verdict::Guest(outcome) => outcome.exit_status().max(FAILED),
            Verdict::Agent(AgentError::NoAnswer { .. }) => TIMED_OUT,
            Verdict::Agent(_) => FAILED,
        }
    }

    /// The last line on standard error; none after the command's own end.
    pub fn line(&self) -> Option<String> {
        Some(match self {
            Verdict::Command(_) => return None,
            Verdict::Signal(signal) => format!("ended by signal {signal}"),
            Verdict::Guest(outcome) => format!("before the command ended: {outcome}"),
            Verdict::Agent(error) => error.to_string(),
        })
    }

    /// Whether the console's end may explain it.
    pub fn wants_console(&self) -> bool {
        matches!(
            self,
            Verdict::Guest(_)
                | Verdict::Agent(
                    AgentError::NoAnswer { .. }
                        | AgentError::Broken { .. }
                        | AgentError::Pretender { .. }
                )
        )
    }

    /// Whether where the guest was may explain it.
    pub fn wants_report(&self) -> bool {
        match self {
            Verdict::Guest(outcome) => outcome.wants_explanation(),
            Verdict::Agent(AgentError::NoAnswer { .. }) => true,
            _ => false,
        }
    }

    /// As one line of JSON.
    fn json(&self) -> String {
        let status = self.status();
        let (kind, rest) = match self {
            Verdict::Command(CommandStatus::Exited(_)) => ("exit", String::new()),
            Verdict::Command(CommandStatus::Signal(signal)) => {
                ("signal", format!(",\"signal\":{signal}"))
            }
            Verdict::Signal(signal) => ("interrupted", format!(",\"signal\":{signal}")),
            Verdict::Guest(outcome) => (kind(outcome), message(outcome)),
            Verdict::Agent(error @ AgentError::NoAnswer { .. }) => ("no-answer", message(error)),
            Verdict::Agent(error) => ("error", message(error)),
        };
        format!("{{\"kind\":\"{kind}\",\"status\":{status}{rest}}}\n")
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::PoweredOff => "powered-off",
        Outcome::Halted => "halted",
        Outcome::Reset(_) => "reset",
        Outcome::WatchdogReset(_) => "watchdog-reset",
        Outcome::KernelPanic { .. } | Outcome::TimedOutAfterPanic { .. } => "panic",
        Outcome::Hang { .. } => "hang",
        Outcome::CannotGoOn { .. } => "cannot-go-on",
        Outcome::TimedOut(_) => "timeout",
        _ => "ended",
    }
}

fn message(text: &impl ToString) -> String {
    format!(",\"message\":\"{}\"", escaped(&text.to_string()))
}

/// A text as JSON has it between its quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => escaped.extend(['\\', letter]),
            letter if letter.is_control() => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// The file that `--result` names, made before the guest starts.
pub struct ResultFile {
    name: String,
    file: File,
}

impl ResultFile {
    /// Makes the file.
    pub fn create(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(ResultFile { name, file }),
            Err(error) => Err(format!("--result {name}: {error}")),
        }
    }

    /// Writes how it ended.
    pub fn write(mut self, verdict: &Verdict) -> Result<(), String> {
        let written = self.file.write_all(verdict.json().as_bytes());
        written.map_err(|error| format!("--result {}: {error}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_one_object_with_its_status() {
        let read = |verdict: &Verdict| -> serde_json::Value {
            serde_json::from_str(&verdict.json()).unwrap()
        };
        let exit = read(&Verdict::Command(CommandStatus::Exited(3)));
        assert_eq!(exit, serde_json::json!({"kind": "exit", "status": 3}));
        let message = Some("a \"b\" \\ \u{1b}".to_owned());
        let panic = read(&Verdict::Guest(Outcome::KernelPanic { message }));
        assert_eq!(
            (&panic["kind"], &panic["status"]),
            (&"panic".into(), &34.into())
        );
    }

    #[test]
    fn a_guest_that_ends_orderly_before_the_command_is_an_error() {
        let verdict = Verdict::new(Err(AgentError::Ended), Outcome::PoweredOff, None);
        assert_eq!(verdict.status(), 1);
        assert!(verdict.line().unwrap().contains("before the command ended"));
    }
}
