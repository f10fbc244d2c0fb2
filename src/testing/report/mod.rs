//! Results of tests, and the forms in which other programs read them.
//!
//! A [`Results`] is a flat list of cases with the suites that lead to each. It is written as JUnit's
//! XML ([`junit`]), as TAP ([`tap`]), and as `libtest`'s lines of JSON ([`libtest`]). A log's tests
//! as they are nested are written as `kunit.py` does ([`kunit`]).
//!
//! A [`Run`] is what a runner of many tests knows: each test with its guests, their consoles and how
//! they ended. It is written as a page for people ([`html`]) and for a job on GitHub ([`github`]).

pub mod github;
pub mod html;
mod json;
pub mod junit;
pub mod kunit;
pub mod libtest;
mod run;
pub mod tap;

use std::collections::HashSet;

pub use run::{Attempt, Run, TestRun};

use super::ktap::{Counts, Status, Test, Tree};

/// One test of those that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The suites around it, outermost first.
    pub suites: Vec<String>,
    /// The test's own name. No other case of the same suites has it.
    pub name: String,
    /// What it came to.
    pub status: Status,
    /// Why, in a line or a few; empty where there is nothing to say.
    pub message: String,
    /// What was said while it ran.
    pub log: String,
}

impl Case {
    /// The names that lead to it and its own, with `::` between.
    pub fn full_name(&self) -> String {
        let names = self.suites.iter().chain([&self.name]);
        names.map(String::as_str).collect::<Vec<_>>().join("::")
    }
}

/// What the tests of a target came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// The target: a log's or a test's name.
    pub target: String,
    /// The cases, in the order in which they ran.
    pub cases: Vec<Case>,
}

impl Results {
    /// The results of a log; faults in the log are cases that failed.
    pub fn of(target: &str, tree: &Tree) -> Self {
        let leaves = tree.leaves();
        let mut cases: Vec<Case> = leaves
            .iter()
            .map(|leaf| {
                let (name, suites) = leaf.path.split_last().expect("a test has a name");
                Case {
                    suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
                    name: (*name).to_owned(),
                    status: leaf.status,
                    message: message(leaf.test),
                    log: leaf.test.log.text(),
                }
            })
            .collect();
        let mut errors = tree.errors.clone();
        if tree.more_errors > 0 {
            errors.push(format!("{} more faults of the log", tree.more_errors));
        }
        cases.extend(
            errors
                .into_iter()
                .enumerate()
                .map(|(number, message)| Case {
                    suites: Vec::new(),
                    name: format!("log: fault {}", number + 1),
                    status: Status::Error,
                    message,
                    log: String::new(),
                }),
        );
        let mut path = Vec::new();
        add_unlisted(&mut path, &tree.tests, &tree.unlisted, &mut cases);
        make_unique(&mut cases);
        Results {
            target: target.to_owned(),
            cases,
        }
    }

    /// How many cases came to what.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            match case.status {
                // A case of its own here.
                Status::NoTests => counts.add(Status::Failed),
                status => counts.add(status),
            }
        }
        counts
    }

    /// Whether there are cases, and none of them is bad.
    pub fn passed(&self) -> bool {
        !self.cases.is_empty() && self.counts().bad() == 0
    }
}

/// Why a test came to what it did.
fn message(test: &Test) -> String {
    let mut lines: Vec<&str> = test.directive.iter().map(String::as_str).collect();
    lines.extend(test.errors.iter().map(String::as_str));
    lines.join("\n")
}

/// A case for tests of which there were too many to list, wherever that is.
fn add_unlisted(path: &mut Vec<String>, tests: &[Test], unlisted: &Counts, cases: &mut Vec<Case>) {
    if unlisted.total() > 0 || unlisted.errors > 0 {
        let bad = unlisted.bad() > 0 || unlisted.errors > 0;
        cases.push(Case {
            suites: path.clone(),
            name: format!("{} more tests", unlisted.total()),
            status: if bad { Status::Failed } else { Status::Passed },
            message: format!("they are too many to list: {unlisted}"),
            log: String::new(),
        });
    }
    for test in tests {
        path.push(test.name.clone());
        add_unlisted(path, &test.tests, &test.unlisted, cases);
        path.pop();
    }
}

/// Numbers cases whose names and suites read the same once they are joined.
fn make_unique(cases: &mut [Case]) {
    let mut taken = HashSet::new();
    for case in cases {
        let (suites, name) = (case.suites.join("."), case.name.clone());
        let mut number = 1;
        while !taken.insert((suites.clone(), case.name.clone())) {
            number += 1;
            case.name = format!("{name} ({number})");
        }
    }
}

/// The results that the writers are tested with: one of each kind, and names that need care.
#[cfg(test)]
fn sample() -> Results {
    let log = "\
KTAP version 1
1..6
    KTAP version 1
    # Subtest: ring
    1..3
    ok 1 empty
    # full: EXPECTATION FAILED at <ring.c>:7 & \u{1}
    not ok 2 full
    ok 3 wraps # SKIP no \"memory\"
not ok 1 ring
ok 2 a.b/c # TODO
not ok 3 later # TODO not yet
not ok 4 slow # TIMEOUT 45 seconds
ok 5 last
";
    let mut ktap = super::ktap::Ktap::new();
    ktap.push(log.as_bytes());
    Results::of("kernel", &ktap.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ktap;

    #[test]
    fn cases_are_those_that_count_with_their_suites() {
        let results = sample();
        let names: Vec<String> = results.cases.iter().map(Case::full_name).collect();
        let expected = [
            "ring::empty",
            "ring::full",
            "ring::wraps",
            "a.b/c",
            "later",
            "slow",
            "last",
            "test 6",
        ];
        assert_eq!(names, expected);
        assert_eq!(
            results.counts().to_string(),
            "3 passed, 1 failed, 1 timed out, 1 crashed, 1 skipped, 1 failed as expected"
        );
        assert!(!results.passed());
    }

    #[test]
    fn a_log_without_results_is_no_pass() {
        let results = Results::of("empty", &Ktap::new().finish());
        assert_eq!(results.cases[0].status, Status::Error);
        assert!(!results.passed());
        let none = Results {
            target: "none".into(),
            cases: Vec::new(),
        };
        assert!(!none.passed());
    }

    #[test]
    fn names_that_read_the_same_once_joined_are_numbered() {
        let mut ktap = Ktap::new();
        ktap.push(b"KTAP version 1\n1..2\n  # Subtest: a.b\n  1..1\n  ok 1 x\nok 1 a.b\n");
        ktap.push(
            b"  # Subtest: a\n  1..1\n    # Subtest: b\n    1..1\n    ok 1 x\n  ok 1 b\nok 2 a\n",
        );
        let results = Results::of("t", &ktap.finish());
        let names: Vec<&str> = results
            .cases
            .iter()
            .map(|case| case.name.as_str())
            .collect();
        assert_eq!(names, ["x", "x (2)"]);
    }

    #[test]
    fn tests_that_are_only_counted_are_a_case_that_says_so() {
        let mut tree = Ktap::new().finish();
        tree.errors.clear();
        tree.unlisted.passed = 7;
        tree.unlisted.failed = 1;
        let results = Results::of("t", &tree);
        assert_eq!(results.cases[0].name, "8 more tests");
        assert_eq!(results.cases[0].status, Status::Failed);
    }
}
