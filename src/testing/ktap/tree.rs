//! The tests of a log, as they are nested.

use super::status::{Counts, Status};
use crate::testing::excerpt::Excerpt;

/// A test, or a suite with tests of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Test {
    /// The test's name, which none of its neighbours has: a name that repeats has ` (2)` after it.
    pub name: String,
    /// What its own result line says, or what its absence comes to.
    pub status: Status,
    /// What stands after `#` on its result line.
    pub directive: Option<String>,
    /// What was said while it ran.
    pub log: Excerpt,
    /// Faults in its output.
    pub errors: Vec<String>,
    /// KUnit's attributes, as `speed` and `slow`.
    pub attributes: Vec<(String, String)>,
    /// The tests that it consists of.
    pub tests: Vec<Test>,
    /// Tests of its own that are counted, and of which nothing else is kept: there were too many.
    pub unlisted: Counts,
}

/// The tests of a whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tree {
    /// The outermost tests of all documents, in order.
    pub tests: Vec<Test>,
    /// Faults in the log that belong to no test.
    pub errors: Vec<String>,
    /// Faults of that kind beyond those that are kept.
    pub more_errors: u64,
    /// How many documents the log holds: each begins with a version line.
    pub documents: u64,
    /// Outermost tests that are counted, and of which nothing else is kept.
    pub unlisted: Counts,
    /// Lines with which a kernel says that something is wrong with it, each with the test in which it
    /// came.
    pub oopses: Vec<Oops>,
}

/// A line with which a kernel says that something is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oops {
    /// The names of the tests that were open, outermost first.
    pub path: Vec<String>,
    /// The line, without a prefix.
    pub line: String,
}

/// A test that counts, with its place.
#[derive(Clone, Debug)]
pub struct Leaf<'a> {
    /// The names that lead to it, its own last.
    pub path: Vec<&'a str>,
    /// The test.
    pub test: &'a Test,
    /// What it came to: its status, or an error that its output has.
    pub status: Status,
    /// Whether [`Tree::counts`] counts its status; else it is here for its errors alone.
    pub counted: bool,
}

impl Test {
    /// Whether its own status counts, rather than those of its tests: it has none, or says that it
    /// failed and none of them did.
    fn counts_itself(&self, below: &Counts) -> bool {
        below.total() == 0 || (self.status.is_bad() && below.bad() == 0)
    }

    /// How many of its tests came to what; a test without tests counts itself.
    pub fn counts(&self) -> Counts {
        let mut counts = counts(&self.tests, &self.unlisted);
        if self.counts_itself(&counts) {
            counts.add(self.status);
        }
        counts.errors += self.errors.len() as u64;
        counts
    }

    /// What it comes to with its tests: its own status, unless one of them is worse, or all were
    /// skipped.
    pub fn overall(&self) -> Status {
        let below = counts(&self.tests, &self.unlisted);
        match self.status {
            status if status.is_bad() => status,
            _ if below.crashed > 0 => Status::Crashed,
            _ if below.bad() > 0 => Status::Failed,
            Status::Passed if below.total() > 0 && below.total() == below.skipped => {
                Status::Skipped
            }
            status => status,
        }
    }

    fn leaves<'a>(&'a self, path: &mut Vec<&'a str>, found: &mut Vec<Leaf<'a>>) {
        path.push(&self.name);
        for test in &self.tests {
            test.leaves(path, found);
        }
        let below = counts(&self.tests, &self.unlisted);
        let counted = self.counts_itself(&below);
        // Faults that no other line of a report would show.
        let is_faulty = !self.errors.is_empty() && !self.status.is_bad() && below.bad() == 0;
        if counted || is_faulty || self.status == Status::NoTests {
            found.push(Leaf {
                path: path.clone(),
                test: self,
                status: if is_faulty {
                    Status::Error
                } else {
                    self.status
                },
                counted,
            });
        }
        path.pop();
    }
}

fn counts(tests: &[Test], unlisted: &Counts) -> Counts {
    let mut all = *unlisted;
    tests.iter().for_each(|test| all.join(&test.counts()));
    all
}

impl Tree {
    /// How many tests came to what.
    pub fn counts(&self) -> Counts {
        let mut counts = counts(&self.tests, &self.unlisted);
        counts.errors += self.errors.len() as u64 + self.more_errors;
        counts
    }

    /// Whether there were tests, none of them is bad, and the log has no faults.
    pub fn passed(&self) -> bool {
        let counts = self.counts();
        counts.bad() == 0 && counts.errors == 0
    }

    /// The tests that count, each with its place, in the order of the log: those without tests of
    /// their own, and those that are bad although none of theirs is.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut found = Vec::new();
        let mut path = Vec::new();
        for test in &self.tests {
            test.leaves(&mut path, &mut found);
        }
        found
    }
}
