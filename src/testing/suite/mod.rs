//! Suites of boot tests: guests that are started, talked with, given commands, and judged.
//!
//! A [`Suite`] is read from a file, or made of [`TestPlan`]s. It runs the tests in parallel, within the
//! host's memory, and gives a [`Run`](super::report::Run), which [`report`](super::report) writes in the forms that
//! others read. The command `ppckvm test` is this and nothing more.
//!
//! ```no_run
//! use ppckvm::testing::suite::{Cancel, RunOptions, Suite};
//!
//! let suite = Suite::from_file("ppckvm.toml")?;
//! let all: Vec<usize> = (0..suite.tests.len()).collect();
//! let ran = suite.run(&all, &RunOptions::default(), &Cancel::default(), &|_| {});
//! assert!(ran.run.tests.iter().all(|test| !test.status.is_bad()));
//! # Ok::<(), ppckvm::ConfigError>(())
//! ```

mod admission;
mod artifacts;
mod attempt;
mod console;
mod file;
mod harness;
mod judge;
mod plan;
mod runner;
mod select;

use std::collections::HashSet;
use std::path::Path;

pub use attempt::Cancel;
pub use file::{KEYS, check_ports};
pub use plan::{End, Pattern, Stage, Step, TIMEOUT, TestPlan};
pub use runner::{FlakyResult, Ran, RunEvent, RunOptions};
pub use select::{Filter, ParsePartitionError, Partition, select};

use crate::machine::keys::config_file::{ConfigError, ConfigFault, ConfigFile};

/// The file that a suite is read from where none is named.
pub const FILE: &str = "ppckvm.toml";

/// Tests that are run together.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The tests, in order.
    pub tests: Vec<TestPlan>,
}

impl Suite {
    /// Reads a suite; nothing is started.
    ///
    /// # Errors
    /// A file that cannot be read, or with a key, a value or a path that cannot be used; the error names
    /// the line.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Suite::from_file_with(path, |_| {})
    }

    /// Reads a suite as [`Suite::from_file`] does; `change` may set settings of each test's machine in the
    /// place of the file's, before they are checked.
    ///
    /// # Errors
    /// As [`Suite::from_file`].
    pub fn from_file_with(
        path: impl AsRef<Path>,
        mut change: impl FnMut(&mut ConfigFile),
    ) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: path.to_owned(),
            line: None,
            key: None,
            fault: Box::new(ConfigFault::Read(error)),
        })?;
        let mut tests = file::parse(path, &text, &mut change)?;
        for test in &mut tests {
            let (file, name) = (path.to_string_lossy(), format!("={}", test.name));
            test.repeat = format!("ppckvm test {} --filter {}", quoted(&file), quoted(&name));
        }
        Ok(Suite { tests })
    }

    /// Makes a suite of one test.
    pub fn of(test: TestPlan) -> Self {
        Suite { tests: vec![test] }
    }

    /// Makes one suite of several.
    ///
    /// # Errors
    /// A name that two of them have.
    pub fn join(suites: impl IntoIterator<Item = Suite>) -> Result<Self, SameName> {
        let tests: Vec<TestPlan> = suites.into_iter().flat_map(|suite| suite.tests).collect();
        let mut names = HashSet::new();
        match tests.iter().find(|test| !names.insert(test.name.as_str())) {
            Some(test) => Err(SameName(test.name.clone())),
            None => Ok(Suite { tests }),
        }
    }

    /// Runs the tests that have these indexes, in that order, and tells what happens from the threads
    /// that they run on.
    pub fn run(
        &self,
        selection: &[usize],
        options: &RunOptions,
        cancel: &Cancel,
        tell: &(dyn Fn(RunEvent<'_>) + Sync),
    ) -> Ran {
        runner::run(&self.tests, selection, options, cancel, tell)
    }

    /// Returns the tests' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(|test| test.name.as_str())
    }
}

/// Two suites with a test of the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "two of the files have a test {0:?}; give one of them another name, or run them one by one"
)]
pub struct SameName(String);

/// Writes a word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests;
