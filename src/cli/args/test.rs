//! The options of boot tests.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ppckvm::testing::suite::{FlakyResult, Partition};
use ppckvm::{Sandbox, Spec};

use super::SpecResult;
use super::machine::TestOptions;

pub const AFTER_HELP: &str = "\
Without a FILE, and without --kernel, the tests are those of ppckvm.toml. With a FILE, --kernel and
--timeout take the place of what it says; all else about the machine belongs into the file.

Exit status:
  0    all tests passed
  100  some did not
  4    no test was selected
  1    the runner's own error, also a report or an artifact that could not be written
  2    usage
  130, 143  ended by SIGINT or SIGTERM; the reports have what had ended
With --bisect, as `git bisect run` wants it: 0 good, 1 bad, 125 could not be tested.";

/// What becomes of a test that passes when it is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Flaky {
    /// It passes, and is reported as flaky.
    #[default]
    Pass,
    /// It fails.
    Fail,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Suites of tests.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    machine: TestOptions,
    /// Only tests whose name has this in it, is this after `=`, or matches this pattern with * and ?;
    /// several add up.
    #[arg(long, value_name = "NAME", help_heading = SELECTION)]
    pub filter: Vec<String>,
    /// Only one of N parts of the selected tests: every N-th, or by a hash of the name.
    #[arg(long, value_name = "slice:M/N|hash:M/N", help_heading = SELECTION)]
    pub partition: Option<Partition>,
    /// Print the names of the selected tests, and run none.
    #[arg(long, help_heading = SELECTION)]
    pub list: bool,
    /// Guests at once, as far as there is memory for them [default: one a processor].
    #[arg(short, long, value_name = "N", help_heading = RUNNING)]
    pub jobs: Option<NonZeroUsize>,
    /// How often a test that goes badly is tried again.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = RUNNING)]
    pub retries: u32,
    /// What becomes of a test that passes then.
    #[arg(long, value_enum, default_value = "pass", help_heading = RUNNING)]
    flaky_result: Flaky,
    /// Run all tests, whatever fails.
    #[arg(long, help_heading = RUNNING)]
    pub no_fail_fast: bool,
    /// What guests' threads give up: all that this kernel has a way for (auto), all or an error (on), or
    /// nothing (off).
    #[arg(long, value_name = "auto|on|off", default_value = "auto", help_heading = RUNNING)]
    pub sandbox: Sandbox,
    /// Answer with the exit statuses that `git bisect run` wants.
    #[arg(long, help_heading = RUNNING)]
    pub bisect: bool,
    /// Write JUnit's XML.
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub junit: Option<PathBuf>,
    /// Write a line of JSON for each result, as libtest does.
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub json: Option<PathBuf>,
    /// Write one page for people, which needs nothing else.
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub html: Option<PathBuf>,
    /// Print the results as TAP on standard output.
    #[arg(long, help_heading = REPORTS)]
    pub tap: bool,
    /// Keep what tells why of each test that goes badly: console, output, memory, device tree, packets.
    #[arg(long, value_name = "DIRECTORY", help_heading = REPORTS)]
    pub artifacts: Option<PathBuf>,
    /// The console reports tests in KTAP: KUnit, for one.
    #[arg(long, conflicts_with = "files", help_heading = ONE)]
    pub ktap: bool,
    /// Read results from a log that was made elsewhere, without a guest.
    #[arg(long, value_name = "FILE", conflicts_with = "files", help_heading = ONE)]
    pub ktap_log: Vec<PathBuf>,
    /// The console must say what matches this regular expression; several, in turn.
    #[arg(long, value_name = "REGEX", conflicts_with = "files", help_heading = ONE)]
    pub expect: Vec<String>,
    /// The console must not say what matches this regular expression.
    #[arg(long, value_name = "REGEX", conflicts_with = "files", help_heading = ONE)]
    pub reject: Vec<String>,
    /// A command that runs in the guest, whose status must be 0.
    #[arg(last = true, value_name = "CMD", conflicts_with = "files")]
    pub command: Vec<OsString>,
}

const SELECTION: &str = "Selection";
const RUNNING: &str = "Running";
const REPORTS: &str = "Reports";
const ONE: &str = "One test";

impl TestArgs {
    /// What becomes of a test that passes when it is tried again.
    pub fn flaky_result(&self) -> FlakyResult {
        match self.flaky_result {
            Flaky::Pass => FlakyResult::Pass,
            Flaky::Fail => FlakyResult::Fail,
        }
    }

    /// The machine that the options describe.
    pub fn spec(&self) -> SpecResult {
        self.machine.clone().spec(None)
    }

    /// The kernel and the time that take the place of a file's; an error if more was given.
    pub fn in_place(&self) -> Result<Vec<(&'static str, String)>, Box<dyn std::error::Error>> {
        let spec = self.spec()?;
        let mut in_place = Vec::new();
        if let Some(ppckvm::Image::File(kernel)) = &spec.boot.kernel {
            in_place.push(("kernel", kernel.to_string_lossy().into_owned()));
        }
        if let Some(timeout) = spec.timeout {
            in_place.push(("timeout", format!("{}s", timeout.as_secs_f64())));
        }
        let mut rest = spec;
        rest.boot.kernel = None;
        rest.timeout = None;
        match rest == Spec::default() {
            true => Ok(in_place),
            false => Err(
                "with a file of tests, only --kernel and --timeout can say something else of \
                          the machine; write the rest under [machine]"
                    .into(),
            ),
        }
    }
}
