//! Many tests: in parallel, with retries, within the host's memory.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::admission::Admission;
use super::attempt::{Cancel, Ground, Tried, attempt};
use super::plan::TestPlan;
use crate::Sandbox;
use crate::testing::ktap::Status;
use crate::testing::report::{Run, TestRun};

/// What becomes of a test that passes when it is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlakyResult {
    /// The test passes, and is reported as flaky.
    #[default]
    Pass,
    /// The test fails.
    Fail,
}

/// How tests are run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// What the run is called in reports.
    pub title: String,
    /// Guests at once; as many as the host has processors without it.
    pub jobs: Option<NonZeroUsize>,
    /// How often a test is tried again that does not say so itself.
    pub retries: u32,
    /// What becomes of a test that passes when it is tried again.
    pub flaky_result: FlakyResult,
    /// Whether no further test begins once one failed.
    pub fails_fast: bool,
    /// What guests' threads give up.
    pub sandbox: Sandbox,
    /// The folder for what is kept of tests that go badly.
    pub artifacts: Option<PathBuf>,
}

/// What happens while tests run.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// An attempt at a test begins.
    Began {
        /// The test's place in the suite.
        index: usize,
        /// The test.
        name: &'a str,
        /// The attempt's number, counted from 0.
        attempt: u32,
    },
    /// An attempt went badly, and the test is tried again.
    TriedAgain {
        /// The test's place in the suite.
        index: usize,
        /// What it came to so far.
        test: &'a TestRun,
    },
    /// A test is over.
    Ended {
        /// The test's place in the suite.
        index: usize,
        /// What it came to.
        test: &'a TestRun,
    },
}

/// What a run came to, and what it could not write.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The tests.
    pub run: Run,
    /// Artifacts that are not complete, in a line each.
    pub trouble: Vec<String>,
}

/// Runs the tests of a suite that have these indexes, in that order.
pub(super) fn run(
    plans: &[TestPlan],
    selection: &[usize],
    options: &RunOptions,
    cancel: &Cancel,
    tell: &(dyn Fn(RunEvent<'_>) + Sync),
) -> Ran {
    let ground = Ground {
        start: Instant::now(),
        sandbox: options.sandbox,
        artifacts: options.artifacts.as_deref(),
        cancel,
    };
    let started = SystemTime::now();
    let admission = Admission::new();
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Vec<Mutex<Option<TestRun>>> = selection.iter().map(|_| Mutex::new(None)).collect();
    let trouble = Mutex::new(Vec::new());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::SeqCst);
            let Some(index) = selection.get(place).copied() else {
                return;
            };
            let Some(plan) = plans.get(index) else {
                continue;
            };
            let is_over =
                cancel.is_cancelled() || (options.fails_fast && has_failed.load(Ordering::SeqCst));
            let test = match is_over {
                true => not_run(plan),
                false => {
                    let _admitted = admission.wait(plan.spec.memory.bytes());
                    let place = Place { plan, index };
                    one(place, options, &ground, &trouble, tell)
                }
            };
            if test.status.is_bad() {
                has_failed.store(true, Ordering::SeqCst);
            }
            tell(RunEvent::Ended { index, test: &test });
            *done[place].lock().unwrap_or_else(PoisonError::into_inner) = Some(test);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = options.jobs.map_or(cores, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 1..jobs.min(selection.len()) {
            // Without a thread, there are fewer guests at once.
            let thread = std::thread::Builder::new().name("tests".into());
            let _ = thread.spawn_scoped(scope, work);
        }
        work();
    });
    let tests = done.into_iter().filter_map(|test| {
        let test = test.into_inner();
        test.unwrap_or_else(PoisonError::into_inner)
    });
    Ran {
        run: Run {
            title: options.title.clone(),
            started,
            took: ground.start.elapsed(),
            tests: tests.collect(),
        },
        trouble: trouble.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}

/// A test that was selected and did not begin.
fn not_run(plan: &TestPlan) -> TestRun {
    TestRun {
        name: plan.name.clone(),
        status: Status::Skipped,
        message: "the run was over before it began".into(),
        attempts: Vec::new(),
        repeat: plan.repeat.clone(),
        results: None,
    }
}

/// A test and its place in the suite.
#[derive(Clone, Copy)]
struct Place<'a> {
    plan: &'a TestPlan,
    index: usize,
}

/// Tries a test until it passes, or as often as it may.
fn one(
    Place { plan, index }: Place<'_>,
    options: &RunOptions,
    ground: &Ground<'_>,
    trouble: &Mutex<Vec<String>>,
    tell: &(dyn Fn(RunEvent<'_>) + Sync),
) -> TestRun {
    let retries = plan.retries.unwrap_or(options.retries);
    let mut test = not_run(plan);
    for number in 0..=retries {
        tell(RunEvent::Began {
            index,
            name: &plan.name,
            attempt: number,
        });
        let Tried {
            attempt,
            message,
            results,
            trouble: lost,
        } = attempt(plan, index, number, ground);
        trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(lost);
        test.status = attempt.status;
        test.message = message;
        test.results = results;
        test.attempts.push(attempt);
        if !test.status.is_bad() || ground.cancel.is_cancelled() || number == retries {
            break;
        }
        tell(RunEvent::TriedAgain { index, test: &test });
    }
    if test.is_flaky() && options.flaky_result == FlakyResult::Fail {
        test.status = Status::Failed;
        test.message = "it passed, but not at once".into();
    }
    test
}
