//! What is told of tests while they run: a line for each that ends, and on a terminal one for each that
//! runs.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ppckvm::testing::report::TestRun;
use ppckvm::testing::suite::RunEvent;

use crate::log::Log;

/// How often the lines of running tests are made again.
const TICK: Duration = Duration::from_millis(250);

/// Tests that have a line while they run; more are counted.
const SHOWN: usize = 8;

/// What runs, and what is over.
pub struct Progress {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    log: Log,
    is_terminal: bool,
    state: Mutex<State>,
    is_over: Condvar,
}

struct State {
    begin: Instant,
    all: usize,
    done: usize,
    bad: usize,
    running: Vec<Running>,
    is_over: bool,
}

struct Running {
    index: usize,
    name: String,
    attempt: u32,
    since: Instant,
}

impl Progress {
    /// For so many tests.
    pub fn start(log: Log, all: usize) -> Self {
        let shared = Arc::new(Shared {
            log,
            is_terminal: rustix::termios::isatty(rustix::stdio::stderr()),
            state: Mutex::new(State {
                begin: Instant::now(),
                all,
                done: 0,
                bad: 0,
                running: Vec::new(),
                is_over: false,
            }),
            is_over: Condvar::new(),
        });
        let ticker = shared.is_terminal.then(|| {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name("progress".into());
            // Without a thread, the lines come when a test begins or ends.
            thread.spawn(move || shared.tick()).ok()
        });
        Progress {
            shared,
            ticker: ticker.flatten(),
        }
    }

    /// Takes note of what happened.
    pub fn take(&self, event: RunEvent<'_>) {
        let mut state = self.shared.state();
        match event {
            RunEvent::Began {
                index,
                name,
                attempt,
            } => {
                state.running.retain(|running| running.index != index);
                state.running.push(Running {
                    index,
                    name: name.to_owned(),
                    attempt,
                    since: Instant::now(),
                });
            }
            RunEvent::TriedAgain { test, .. } => {
                self.shared.log.tell(line("again", test));
            }
            RunEvent::Ended { index, test } => {
                state.running.retain(|running| running.index != index);
                state.done += 1;
                state.bad += usize::from(test.status.is_bad());
                self.shared.log.tell(line(test.word(), test));
            }
            _ => {}
        }
        self.shared.show(&state);
    }

    /// Takes the lines of running tests away.
    pub fn finish(mut self) {
        self.shared.state().is_over = true;
        self.shared.is_over.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
        self.shared.log.show(Vec::new());
    }
}

/// A test that ended, in a line.
fn line(word: &str, test: &TestRun) -> String {
    let took = test
        .attempts
        .last()
        .map_or(Duration::ZERO, |last| last.took());
    let why = match test.message.lines().next() {
        Some(why) if !why.is_empty() => format!(": {why}"),
        _ => String::new(),
    };
    let cases = test
        .results
        .as_ref()
        .map_or(0, |results| results.cases.len());
    let cases = match cases {
        0 => String::new(),
        count => format!(" ({count} cases)"),
    };
    format!(
        "{word:>8} [{:>8.3} s] {}{cases}{why}",
        took.as_secs_f64(),
        test.name
    )
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        let mut state = self.state();
        while !state.is_over {
            self.show(&state);
            let waited = self.is_over.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn show(&self, state: &State) {
        if self.is_terminal && !state.is_over {
            self.log.show(state.lines(Instant::now()));
        }
    }
}

impl State {
    /// A line for each test that runs, and one for all.
    fn lines(&self, now: Instant) -> Vec<String> {
        let mut lines: Vec<String> = self
            .running
            .iter()
            .take(SHOWN)
            .map(|running| {
                let seconds = now.saturating_duration_since(running.since).as_secs_f64();
                let again = match running.attempt {
                    0 => String::new(),
                    number => format!(", attempt {}", number + 1),
                };
                format!(" running [{seconds:>8.1} s] {}{again}", running.name)
            })
            .collect();
        if let more @ 1.. = self.running.len().saturating_sub(SHOWN) {
            lines.push(format!(" running {more} more"));
        }
        let elapsed = now.saturating_duration_since(self.begin);
        let left = match self.done {
            0 => String::new(),
            done => {
                let rest = u32::try_from(self.all - done).unwrap_or(u32::MAX);
                let each = elapsed / u32::try_from(done).unwrap_or(u32::MAX);
                format!(", about {} s left", each.saturating_mul(rest).as_secs())
            }
        };
        let Self { all, done, bad, .. } = self;
        lines.push(format!(
            "{done} of {all} done, {bad} bad, {} s{left}",
            elapsed.as_secs()
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_tests_have_lines_and_the_rest_is_counted() {
        let begin = Instant::now();
        let running = |index: usize| Running {
            index,
            name: format!("t{index}"),
            attempt: u32::from(index == 0),
            since: begin,
        };
        let state = State {
            begin,
            all: 20,
            done: 4,
            bad: 1,
            running: (0..10).map(running).collect(),
            is_over: false,
        };
        let lines = state.lines(begin + Duration::from_secs(8));
        assert_eq!(lines.len(), SHOWN + 2);
        assert_eq!(lines[0], " running [     8.0 s] t0, attempt 2");
        assert_eq!(lines[SHOWN], " running 2 more");
        assert_eq!(
            lines[SHOWN + 1],
            "4 of 20 done, 1 bad, 8 s, about 32 s left"
        );
    }
}
