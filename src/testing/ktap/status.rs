//! What a test came to, and how many came to what.

use std::fmt;

/// What a test came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The test passed.
    Passed,
    /// The test passed, and was expected to fail (`XPASS`).
    UnexpectedPass,
    /// The test failed, and was expected to (`XFAIL`, `TODO`).
    ExpectedFailure,
    /// The test was not run (`SKIP`).
    Skipped,
    /// The test failed.
    Failed,
    /// The test was ended because it took too long (`TIMEOUT`).
    TimedOut,
    /// The test could not be carried out (`ERROR`).
    Error,
    /// The test began, or was announced, and nothing says how it ended.
    Crashed,
    /// The test says that it has tests of its own, and has none.
    NoTests,
}

impl Status {
    /// Whether somebody must look at it.
    pub fn is_bad(self) -> bool {
        match self {
            Status::Passed | Status::UnexpectedPass | Status::ExpectedFailure | Status::Skipped => {
                false
            }
            Status::Failed
            | Status::TimedOut
            | Status::Error
            | Status::Crashed
            | Status::NoTests => true,
        }
    }

    /// One word for it, in lower case.
    pub fn word(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::UnexpectedPass => "xpass",
            Status::ExpectedFailure => "xfail",
            Status::Skipped => "skipped",
            Status::Failed => "failed",
            Status::TimedOut => "timeout",
            Status::Error => "error",
            Status::Crashed => "crashed",
            Status::NoTests => "empty",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How many tests came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed, expectedly or not.
    pub passed: u64,
    /// Failed where they were expected to.
    pub expected_failures: u64,
    /// Not run.
    pub skipped: u64,
    /// Failed, or could not be carried out.
    pub failed: u64,
    /// Ended because they took too long.
    pub timed_out: u64,
    /// Without a result.
    pub crashed: u64,
    /// Faults in the output itself: missing results, wrong numbers, suites without tests. They are
    /// beside the tests, not among them.
    pub errors: u64,
}

impl Counts {
    /// Tests of every kind.
    pub fn total(&self) -> u64 {
        self.passed
            + self.expected_failures
            + self.skipped
            + self.failed
            + self.timed_out
            + self.crashed
    }

    /// Tests that somebody must look at.
    pub fn bad(&self) -> u64 {
        self.failed + self.timed_out + self.crashed
    }

    /// Counts a test.
    pub fn add(&mut self, status: Status) {
        match status {
            Status::Passed | Status::UnexpectedPass => self.passed += 1,
            Status::ExpectedFailure => self.expected_failures += 1,
            Status::Skipped => self.skipped += 1,
            Status::Failed | Status::Error => self.failed += 1,
            Status::TimedOut => self.timed_out += 1,
            Status::Crashed => self.crashed += 1,
            // Its fault is counted where it was found.
            Status::NoTests => {}
        }
    }

    /// Counts the tests of another part.
    pub fn join(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.expected_failures += other.expected_failures;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.crashed += other.crashed;
        self.errors += other.errors;
    }
}

impl fmt::Display for Counts {
    /// As `8 passed, 2 crashed, 3 errors`: what is there, or `no tests`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.passed, "passed"),
            (self.failed, "failed"),
            (self.timed_out, "timed out"),
            (self.crashed, "crashed"),
            (self.skipped, "skipped"),
            (self.expected_failures, "failed as expected"),
            (self.errors, "errors"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match parts.is_empty() {
            true => f.write_str("no tests"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_in_words() {
        let mut counts = Counts::default();
        assert_eq!(counts.to_string(), "no tests");
        [
            Status::Passed,
            Status::Crashed,
            Status::Passed,
            Status::Error,
        ]
        .iter()
        .for_each(|status| counts.add(*status));
        counts.errors = 3;
        assert_eq!(
            counts.to_string(),
            "2 passed, 1 failed, 1 crashed, 3 errors"
        );
        assert_eq!((counts.total(), counts.bad()), (4, 2));
    }
}
