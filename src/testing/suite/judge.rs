//! What an attempt came to, all considered.

use std::fmt;

use super::plan::{End, TestPlan};
use crate::testing::agent::{AgentError, CommandStatus};
use crate::testing::ktap::{Status, Tree};
use crate::vm::outcome::Outcome;

/// Why a test did not come to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// The console did not say this.
    NotSaid(String),
    /// The console's input is gone.
    NotTyped(std::io::Error),
    /// The command ended so.
    Command(CommandStatus),
    /// The agent did not do it.
    Agent(AgentError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotSaid(wanted) => write!(f, "the console did not say {wanted}"),
            Fault::NotTyped(error) => write!(f, "the console takes no input: {error}"),
            Fault::Command(CommandStatus::Exited(status)) => {
                write!(f, "the command ended with status {status}")
            }
            Fault::Command(CommandStatus::Signal(signal)) => {
                write!(f, "signal {signal} ended the command")
            }
            Fault::Agent(error) => write!(f, "{error}"),
        }
    }
}

/// What is known at the end of an attempt.
pub(super) struct Facts<'a> {
    pub plan: &'a TestPlan,
    pub outcome: &'a Outcome,
    /// What the console said that it must not: the pattern and the line.
    pub rejected: Option<(String, String)>,
    pub fault: Option<Fault>,
    /// The tests that were reported.
    pub tree: Option<&'a Tree>,
    /// Somebody ended the whole run.
    pub is_cancelled: bool,
}

/// Whether an ending is the guest's own fault.
fn is_crash(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::KernelPanic { .. }
            | Outcome::TimedOutAfterPanic { .. }
            | Outcome::Hang { .. }
            | Outcome::CannotGoOn { .. }
            | Outcome::WatchdogReset(_)
    )
}

/// The status, and why in a line or a few; empty where there is nothing to say.
pub(super) fn judge(facts: Facts<'_>) -> (Status, String) {
    let Facts {
        plan,
        outcome,
        rejected,
        fault,
        tree,
        is_cancelled,
    } = facts;
    if is_cancelled {
        return (
            Status::Error,
            "the run was ended before this test was".into(),
        );
    }
    if let Some((pattern, line)) = rejected {
        return (
            Status::Failed,
            format!("the console said {pattern}: {line}"),
        );
    }
    let wanted = plan.end;
    let is_wanted = wanted.is_some_and(|end| end.is(outcome));
    let because = |fault: &Option<Fault>| match fault {
        // It says no more than the ending does.
        None | Some(Fault::Agent(AgentError::Ended)) => outcome.to_string(),
        Some(fault) => format!("{fault}: {outcome}"),
    };
    match outcome {
        Outcome::Failed(_) | Outcome::ConsoleLost(_) => {
            return (Status::Error, outcome.to_string());
        }
        _ if is_wanted => {}
        Outcome::TimedOut(_) => return (Status::TimedOut, because(&fault)),
        _ if is_crash(outcome) => return (Status::Crashed, because(&fault)),
        _ => {}
    }
    match fault {
        None => {}
        Some(fault @ Fault::Command(_)) => return (Status::Failed, fault.to_string()),
        Some(Fault::Agent(AgentError::Ended) | Fault::NotSaid(_)) => {
            return (Status::Failed, because(&fault));
        }
        Some(fault) => return (Status::Error, fault.to_string()),
    }
    if let Some(end) = wanted.filter(|_| !is_wanted) {
        let wanted = End::word(end);
        return (
            Status::Failed,
            format!("{outcome}, and the right ending is {wanted}"),
        );
    }
    match tree {
        Some(tree) if tree.counts().total() == 0 => {
            (Status::NoTests, "no test was reported".into())
        }
        Some(tree) if !tree.passed() => (Status::Failed, tree.counts().to_string()),
        _ => (Status::Passed, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::ktap::Ktap;

    fn plan(end: Option<End>) -> TestPlan {
        TestPlan {
            end,
            ..TestPlan::new("t", crate::Spec::default())
        }
    }

    fn status(end: Option<End>, outcome: Outcome, fault: Option<Fault>) -> (Status, String) {
        judge(Facts {
            plan: &plan(end),
            outcome: &outcome,
            rejected: None,
            fault,
            tree: None,
            is_cancelled: false,
        })
    }

    #[test]
    fn an_orderly_end_is_a_pass_unless_another_is_right() {
        assert_eq!(status(None, Outcome::PoweredOff, None).0, Status::Passed);
        assert_eq!(status(None, Outcome::Stopped, None).0, Status::Passed);
        let (failed, why) = status(Some(End::Reset), Outcome::PoweredOff, None);
        assert_eq!(failed, Status::Failed);
        assert_eq!(why, "the guest powered off, and the right ending is reset");
    }

    #[test]
    fn a_crash_and_a_time_out_are_told_apart_and_may_be_right() {
        let panic = || Outcome::KernelPanic {
            message: Some("no root".into()),
        };
        let late = || Outcome::TimedOut(Duration::from_secs(9));
        assert_eq!(status(None, panic(), None).0, Status::Crashed);
        assert_eq!(status(Some(End::Panic), panic(), None).0, Status::Passed);
        let waited = Some(Fault::NotSaid("\"login:\"".into()));
        let (crashed, why) = status(None, panic(), waited);
        assert_eq!(crashed, Status::Crashed);
        assert_eq!(
            why,
            "the console did not say \"login:\": kernel panic: no root"
        );
        assert_eq!(status(None, late(), None).0, Status::TimedOut);
        assert_eq!(status(Some(End::Timeout), late(), None).0, Status::Passed);
        let ended = Some(Fault::Agent(AgentError::Ended));
        assert_eq!(status(None, panic(), ended).1, "kernel panic: no root");
    }

    #[test]
    fn a_command_that_fails_fails_the_test() {
        let fault = Some(Fault::Command(CommandStatus::Exited(3)));
        let (failed, why) = status(None, Outcome::Stopped, fault);
        assert_eq!(
            (failed, why.as_str()),
            (Status::Failed, "the command ended with status 3")
        );
        let fault = Some(Fault::NotTyped(std::io::ErrorKind::BrokenPipe.into()));
        assert_eq!(status(None, Outcome::Stopped, fault).0, Status::Error);
    }

    #[test]
    fn results_count_once_all_else_is_right() {
        let judged = |log: &str, outcome: Outcome| {
            let mut ktap = Ktap::new();
            ktap.push(log.as_bytes());
            judge(Facts {
                plan: &plan(None),
                outcome: &outcome,
                rejected: None,
                fault: None,
                tree: Some(&ktap.finish()),
                is_cancelled: false,
            })
            .0
        };
        let passed = "KTAP version 1\n1..1\nok 1 a\n";
        assert_eq!(judged(passed, Outcome::PoweredOff), Status::Passed);
        assert_eq!(
            judged("KTAP version 1\n1..1\nnot ok 1 a\n", Outcome::Stopped),
            Status::Failed
        );
        assert_eq!(judged("", Outcome::Stopped), Status::NoTests);
        assert_eq!(
            judged(passed, Outcome::KernelPanic { message: None }),
            Status::Crashed
        );
    }
}
