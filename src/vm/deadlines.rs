//! When the vcpu must be called back; the event thread looks at each tick.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::host::lock::lock;
use crate::vm::control::{Control, Request};
use crate::vm::outcome::Outcome;

/// The deadlines of one machine.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    /// End of the current wait.
    wait: Option<Instant>,
    /// End of the whole run, and how long that is.
    run: Option<(Instant, Duration)>,
}

impl Deadlines {
    /// Calls the vcpu back at `deadline`, until the next call of this. Returns whether the event
    /// thread must tick now to learn of it.
    #[must_use]
    pub fn set_wait(&self, deadline: Option<Instant>) -> bool {
        let before = std::mem::replace(&mut lock(&self.0).wait, deadline);
        before != deadline && deadline.is_some()
    }

    /// Ends the run after `limit` from now. The event thread must tick to learn of it.
    pub fn set_run(&self, limit: Option<Duration>) {
        let end = limit.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
        lock(&self.0).run = end;
    }

    /// Requests what is due at `now`, and returns when something else will be.
    pub fn pass(&self, now: Instant, control: &Control) -> Option<Instant> {
        let mut times = lock(&self.0);
        if times.wait.take_if(|at| *at <= now).is_some() {
            control.request(Request::Deadline);
        }
        if let Some((_, limit)) = times.run.take_if(|(at, _)| *at <= now) {
            control.request(Request::End(Outcome::TimedOut(limit)));
        }
        let run = times.run.map(|(at, _)| at);
        times.wait.into_iter().chain(run).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_requested_once_and_the_rest_waits() {
        let control = Control::default();
        let deadlines = Deadlines::default();
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        assert!(deadlines.set_wait(Some(now)));
        assert!(!deadlines.set_wait(Some(now)));
        deadlines.set_run(Some(hour));
        let next = deadlines.pass(now, &control).unwrap();
        assert!(next > now + hour / 2);
        assert!(matches!(control.take(), Some(Request::Deadline)));
        assert_eq!(deadlines.pass(now, &control), Some(next));
        assert!(control.take().is_none());
        assert_eq!(deadlines.pass(next, &control), None);
        assert!(
            matches!(control.take(), Some(Request::End(Outcome::TimedOut(limit))) if limit == hour)
        );
        assert!(!deadlines.set_wait(None));
    }
}
