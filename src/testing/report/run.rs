//! A run of many tests, as plain data: what a runner knows, and a report shows.

use std::time::{Duration, SystemTime};

use super::{Case, Results};
use crate::testing::excerpt::Excerpt;
use crate::testing::ktap::Status;

/// A run of many tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What was tested, in a few words.
    pub title: String,
    /// When it began.
    pub started: SystemTime,
    /// How long all of it took.
    pub took: Duration,
    /// The tests, in the order in which they were selected.
    pub tests: Vec<TestRun>,
}

/// A test of a run, with each attempt at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The name, which no other test of the run has.
    pub name: String,
    /// What it came to after all attempts.
    pub status: Status,
    /// Why, in a line or a few; empty where there is nothing to say.
    pub message: String,
    /// The attempts, in order; none for a test that was not run.
    pub attempts: Vec<Attempt>,
    /// The command that repeats it alone, as a shell takes it; empty where there is none.
    pub repeat: String,
    /// What the last attempt reported of tests of its own.
    pub results: Option<Results>,
}

/// One guest that was started for a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What it came to.
    pub status: Status,
    /// How the guest ended, in a line.
    pub verdict: String,
    /// When it began, since the run's beginning.
    pub begin: Duration,
    /// When it ended, since the run's beginning.
    pub end: Duration,
    /// What the guest printed.
    pub console: Excerpt,
    /// What in the console was found bad: the first line that holds it is marked. Without it, a line
    /// is looked for with which kernels and test programs say that something is wrong.
    pub bad: Option<String>,
    /// What the guest was doing when it ended; empty where nobody looked.
    pub post_mortem: String,
}

/// Words with which kernels, shells and test programs say that something is wrong.
const COMPLAINTS: [&str; 16] = [
    "Oops: ",
    "BUG: ",
    "kernel BUG at ",
    "WARNING: CPU: ",
    "Unable to handle kernel ",
    "Kernel panic - not syncing",
    "Out of memory: Killed",
    "soft lockup - CPU",
    "self-detected stall on CPU",
    "blocked for more than",
    "EXPECTATION FAILED",
    "ASSERTION FAILED",
    "Segmentation fault",
    "Illegal instruction",
    "not ok ",
    "FATAL: ",
];

impl Attempt {
    /// How long it took.
    pub fn took(&self) -> Duration {
        self.end.saturating_sub(self.begin)
    }

    /// The index of the first bad line among `lines`, for an attempt that went badly.
    pub fn first_bad_line(&self, lines: &[String]) -> Option<usize> {
        if !self.status.is_bad() {
            return None;
        }
        let known = self.bad.as_ref().and_then(|bad| {
            let is_bad = |line: &String| !bad.is_empty() && line.contains(bad.as_str());
            lines.iter().position(is_bad)
        });
        known.or_else(|| {
            let complains = |line: &String| COMPLAINTS.iter().any(|words| line.contains(words));
            lines.iter().position(complains)
        })
    }
}

impl TestRun {
    /// Whether it passed although an attempt before went badly.
    pub fn is_flaky(&self) -> bool {
        !self.status.is_bad() && self.attempts.iter().any(|attempt| attempt.status.is_bad())
    }

    /// One word for what it came to: its status, or `flaky`.
    pub fn word(&self) -> &'static str {
        match self.is_flaky() {
            true => "flaky",
            false => self.status.word(),
        }
    }

    /// Whether somebody must look at it: it is bad, or flaky.
    pub fn needs_a_look(&self) -> bool {
        self.status.is_bad() || self.is_flaky()
    }

    /// How long all attempts took together.
    pub fn took(&self) -> Duration {
        self.attempts.iter().map(Attempt::took).sum()
    }

    /// Why it is what it is, in a line: its message's first, or how its last guest ended.
    pub fn reason(&self) -> &str {
        let verdict = self.attempts.last().map(|last| last.verdict.as_str());
        let message = self.message.lines().next().filter(|line| !line.is_empty());
        message.or(verdict).unwrap_or_default()
    }
}

impl Run {
    /// All cases of all tests, for the forms that know of no guests: the cases that a test's guest
    /// reported, below the test's name, and the test itself where it reported none, or went badly
    /// otherwise than they did.
    pub fn results(&self) -> Results {
        let mut cases = Vec::new();
        for test in &self.tests {
            let reported = test
                .results
                .as_ref()
                .filter(|results| !results.cases.is_empty());
            for case in reported.iter().flat_map(|results| &results.cases) {
                let mut case = case.clone();
                case.suites.insert(0, test.name.clone());
                cases.push(case);
            }
            let is_told = reported.is_some_and(|results| {
                !test.status.is_bad() || (test.status == Status::Failed && !results.passed())
            });
            if !is_told {
                let last = test.attempts.last();
                cases.push(Case {
                    suites: Vec::new(),
                    name: test.name.clone(),
                    status: test.status,
                    message: match test.is_flaky() {
                        true => format!("flaky: it passed at attempt {}", test.attempts.len()),
                        false => test.message.clone(),
                    },
                    log: last.map_or_else(String::new, |last| last.console.text()),
                });
            }
        }
        Results {
            target: self.title.clone(),
            cases,
        }
    }

    /// How many tests came to what, by [`TestRun::word`], the worst first.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for &word in &WORDS {
            let tests = self.tests.iter().filter(|test| test.word() == word);
            let count = tests.count();
            if count > 0 {
                counts.push((word, count));
            }
        }
        counts
    }

    /// The tests' indexes, the worst first, and in the order of the run where they are as bad.
    pub fn worst_first(&self) -> Vec<usize> {
        let rank = |index: &usize| {
            let word = self.tests[*index].word();
            WORDS.iter().position(|other| *other == word)
        };
        let mut indexes: Vec<usize> = (0..self.tests.len()).collect();
        indexes.sort_by_key(rank);
        indexes
    }
}

/// All words of [`TestRun::word`], the worst first.
const WORDS: [&str; 10] = [
    "crashed", "failed", "timeout", "error", "empty", "flaky", "xfail", "xpass", "passed",
    "skipped",
];

/// A run that the writers are tested with: one test of each kind, and text that needs care.
#[cfg(test)]
pub(super) fn sample_run() -> Run {
    use crate::testing::excerpt::Bounds;
    let attempt = |status: Status, begin: u64, text: &str| {
        let mut console = Excerpt::new(Bounds {
            lines: 100,
            bytes: 4096,
        });
        text.lines().for_each(|line| console.push(line));
        Attempt {
            status,
            verdict: "the guest powered off".into(),
            begin: Duration::from_millis(begin),
            end: Duration::from_millis(begin + 1500),
            console,
            bad: None,
            post_mortem: String::new(),
        }
    };
    let test = |name: &str, status: Status, attempts: Vec<Attempt>| TestRun {
        name: name.into(),
        status,
        message: String::new(),
        attempts,
        repeat: format!("ppckvm test --filter '={name}'"),
        results: None,
    };
    let panic = "Linux version 6.1\n\u{1b}[31mred\u{1b}[0m <b>&\nKernel panic - not syncing: <x>";
    let mut crashed = test(
        "disk::</script><script>",
        Status::Crashed,
        vec![attempt(Status::Crashed, 1500, panic)],
    );
    crashed.message = "100%: the kernel panicked\nat once".into();
    crashed.attempts[0].post_mortem = "pc 0xc0001234 <panic+0x10>".into();
    let mut with_results = test(
        "kunit",
        Status::Failed,
        vec![attempt(Status::Failed, 0, "not ok 2 full")],
    );
    with_results.results = Some(super::sample());
    Run {
        title: "sample & co".into(),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(951_826_085),
        took: Duration::from_millis(4500),
        tests: vec![
            test(
                "boot",
                Status::Passed,
                vec![attempt(Status::Passed, 0, "ok")],
            ),
            with_results,
            crashed,
            test(
                "net",
                Status::Passed,
                vec![
                    attempt(Status::TimedOut, 1500, "waits"),
                    attempt(Status::Passed, 3000, "ok"),
                ],
            ),
            test("later", Status::Skipped, Vec::new()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_order_begin_with_the_worst() {
        let run = sample_run();
        let expected = [
            ("crashed", 1),
            ("failed", 1),
            ("flaky", 1),
            ("passed", 1),
            ("skipped", 1),
        ];
        assert_eq!(run.counts(), expected);
        assert_eq!(run.worst_first(), [2, 1, 3, 0, 4]);
    }

    #[test]
    fn a_pass_after_a_failure_is_flaky() {
        let run = sample_run();
        let flaky: Vec<bool> = run.tests.iter().map(TestRun::is_flaky).collect();
        assert_eq!(flaky, [false, false, false, true, false]);
    }

    #[test]
    fn cases_of_a_test_are_below_its_name_and_a_test_without_is_a_case() {
        let results = sample_run().results();
        let names: Vec<String> = results.cases.iter().map(Case::full_name).collect();
        assert_eq!(names[0], "boot");
        assert_eq!(names[1], "kunit::ring::empty");
        assert!(!names.contains(&"kunit".to_owned()), "{names:?}");
        assert_eq!(names.last().unwrap(), "later");
        let net = results
            .cases
            .iter()
            .find(|case| case.name == "net")
            .unwrap();
        assert_eq!(net.message, "flaky: it passed at attempt 2");
    }

    #[test]
    fn every_status_has_its_place_in_the_order() {
        for status in [
            Status::Passed,
            Status::UnexpectedPass,
            Status::ExpectedFailure,
            Status::Skipped,
            Status::Failed,
            Status::TimedOut,
            Status::Error,
            Status::Crashed,
            Status::NoTests,
        ] {
            assert!(WORDS.contains(&status.word()), "{status}");
        }
    }

    #[test]
    fn the_first_bad_line_is_the_one_that_is_known_or_the_first_complaint() {
        let run = sample_run();
        let mut attempt = run.tests[2].attempts[0].clone();
        let lines: Vec<String> = attempt.console.lines().collect();
        assert_eq!(attempt.first_bad_line(&lines), Some(2));
        attempt.bad = Some("red".into());
        assert_eq!(attempt.first_bad_line(&lines), Some(1));
        attempt.bad = Some("never said".into());
        assert_eq!(attempt.first_bad_line(&lines), Some(2));
        attempt.status = Status::Passed;
        assert_eq!(attempt.first_bad_line(&lines), None);
    }
}
