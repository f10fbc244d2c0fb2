//! A suite as a test target of cargo's: listed, filtered, shared out and tried again by `cargo test` and
//! `cargo nextest`.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use super::Suite;
use super::attempt::Cancel;
use super::runner::RunOptions;
use crate::testing::report::TestRun;

/// Lines of the console that a failure shows.
const SHOWN_LINES: usize = 40;

impl Suite {
    /// Runs the suite as the `main` of a test target with `harness = false`: takes the arguments of a test
    /// program, and prints what one prints. Each test is one of the target's; guests run in parallel as
    /// the arguments say.
    pub fn main(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let suite = Arc::new(self);
        let trial = |(index, name): (usize, &str)| {
            let suite = suite.clone();
            Trial::test(name, move || suite.trial(index))
        };
        let trials = suite.names().enumerate().map(trial).collect();
        libtest_mimic::run(&arguments, trials).exit_code()
    }

    fn trial(&self, index: usize) -> Result<(), Failed> {
        let ran = self.run(
            &[index],
            &RunOptions::default(),
            &Cancel::default(),
            &|_| {},
        );
        match ran.run.tests.first() {
            Some(test) if !test.status.is_bad() => Ok(()),
            Some(test) => Err(explanation(test).into()),
            None => Err("the suite has no such test".into()),
        }
    }
}

/// Why a test went badly: its reason, the end of its console, and where its guest stood.
fn explanation(test: &TestRun) -> String {
    let mut text = format!("{}: {}\n", test.word(), test.reason());
    if let Some(attempt) = test.attempts.last() {
        let lines: Vec<String> = attempt.console.lines().collect();
        for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
            text.push_str("  | ");
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&attempt.post_mortem);
        text.push_str(&attempt.verdict);
    }
    text
}
