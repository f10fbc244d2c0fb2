//! What other threads and devices ask of a running machine: end, come back to the caller, or do
//! some work in between; and what it tells them.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use ppckvm_api::{Stop, VcpuHandle};

use crate::host::lock::lock;
use crate::vm::outcome::Outcome;

/// Why the vcpu loop must come back.
#[derive(Debug)]
pub(crate) enum Request {
    /// The run is over.
    End(Outcome),
    /// The text that the caller waits for was printed.
    TextSeen,
    /// The caller's deadline passed.
    Deadline,
    /// Somebody wants to know where the guest is.
    Report,
    /// Somebody has work for the vcpu's thread, after which the guest goes on.
    Work(Work),
}

/// Work for the vcpu's thread. What it is, [`crate::vm::remote`] knows: this file knows no machine.
pub(crate) struct Work(pub Box<dyn Any + Send>);

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

/// How much work may wait. Each of a few clients waits for what it asked for, so more is a fault.
const WORK_LIMIT: usize = 64;

/// What a machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The machine was built, and its guest has not executed an instruction.
    Built,
    /// The machine runs, or its caller runs it on at will.
    Running,
    /// The machine is held, and its guest's time stands still.
    Paused,
    /// The run is over, or about to be.
    Ended,
}

/// Something that happened to a machine, for who watches it from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEvent {
    /// The machine is held.
    Paused,
    /// The guest came to where a debugger wants it to stop; the machine is held.
    Stopped(Stop),
    /// The machine goes on.
    Resumed,
    /// The guest starts again.
    Reset {
        /// It reset itself; otherwise somebody outside did.
        by_guest: bool,
    },
    /// The watchdog reset it.
    Watchdog,
    /// The guest's kernel panicked, and this is what it said of the reason.
    Panicked(Option<String>),
    /// The guest stands still for good, and the machine stays as it is.
    StandsStill(Outcome),
    /// The run is over.
    Ended(Outcome),
}

/// The progress of a machine's end, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The guest runs, or was not started.
    Runs,
    /// The machine's devices finish what they have begun on the host.
    Stopping,
    /// Readers take the last of its output; one who takes nothing is given up after some seconds.
    Draining,
    /// The run is over, and its outcome is with the caller.
    Over,
}

#[derive(Debug, Default)]
struct Requests {
    end: Option<Outcome>,
    text: bool,
    deadline: bool,
    report: bool,
    work: VecDeque<Work>,
    /// The run is over, and nobody does any work.
    is_closed: bool,
}

impl Requests {
    fn any(&self) -> bool {
        self.end.is_some() || self.text || self.deadline || self.report || !self.work.is_empty()
    }

    /// The end, unless it is the guest's own.
    fn asked_end(&self) -> Option<Outcome> {
        self.end.clone().filter(|outcome| !outcome.is_final())
    }
}

type Hook = Box<dyn Fn() + Send + Sync>;
type Watcher = Box<dyn Fn(&RunEvent) + Send + Sync>;

/// Requests to one machine, from whichever thread.
#[derive(Default)]
pub(crate) struct Control {
    requests: Mutex<Requests>,
    /// A request came.
    requested: Condvar,
    /// Whether there are any requests: what the vcpu loop looks at after each exit.
    raised: AtomicBool,
    /// A [`Phase`] that the vcpu's thread has come to by itself.
    phase: AtomicU8,
    asked: Mutex<Option<Outcome>>,
    vcpu: Mutex<Option<VcpuHandle>>,
    /// Wake the vcpu's thread where it waits for room in a console.
    hooks: Mutex<Vec<Hook>>,
    /// Who is told what happens.
    watchers: Mutex<Vec<Watcher>>,
    /// The guest has begun.
    is_begun: AtomicBool,
    is_paused: AtomicBool,
}

impl Control {
    /// The vcpu to stop from now on.
    pub fn attach(&self, vcpu: VcpuHandle) {
        *lock(&self.vcpu) = Some(vcpu);
    }

    /// What else to call with each request.
    pub fn on_request(&self, hook: impl Fn() + Send + Sync + 'static) {
        lock(&self.hooks).push(Box::new(hook));
    }

    /// Makes the vcpu loop return; of several ends the first counts.
    pub fn request(&self, request: Request) {
        {
            let mut requests = lock(&self.requests);
            match request {
                Request::End(outcome) => {
                    if !outcome.is_final() {
                        lock(&self.asked).get_or_insert_with(|| outcome.clone());
                    }
                    requests.end.get_or_insert(outcome);
                }
                Request::TextSeen => requests.text = true,
                Request::Deadline => requests.deadline = true,
                Request::Report => requests.report = true,
                Request::Work(work) => requests.work.push_back(work),
            }
            self.raised.store(true, Ordering::SeqCst);
            self.requested.notify_all();
        }
        if let Some(vcpu) = &*lock(&self.vcpu) {
            vcpu.kick();
        }
        self.call_hooks();
    }

    /// Has the vcpu's thread do some work soon; not if the run is over, or too much waits already.
    pub fn ask(&self, work: Work) -> bool {
        {
            let requests = lock(&self.requests);
            if requests.is_closed || requests.work.len() >= WORK_LIMIT {
                return false;
            }
        }
        self.request(Request::Work(work));
        true
    }

    /// Has `watcher` told what happens. It must not wait.
    pub fn on_event(&self, watcher: impl Fn(&RunEvent) + Send + Sync + 'static) {
        lock(&self.watchers).push(Box::new(watcher));
    }

    /// Tells what happened.
    pub fn tell(&self, event: &RunEvent) {
        for watcher in &*lock(&self.watchers) {
            watcher(event);
        }
    }

    /// The guest executes its first instruction now.
    pub fn set_begun(&self) {
        self.is_begun.store(true, Ordering::SeqCst);
    }

    /// Whether the guest has executed an instruction.
    pub fn has_begun(&self) -> bool {
        self.is_begun.load(Ordering::SeqCst)
    }

    /// Says whether the machine is held.
    pub fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::SeqCst);
    }

    /// What the machine does.
    pub fn status(&self) -> Status {
        match self.phase() {
            Phase::Runs if self.is_paused.load(Ordering::SeqCst) => Status::Paused,
            Phase::Runs if self.is_begun.load(Ordering::SeqCst) => Status::Running,
            Phase::Runs => Status::Built,
            _ => Status::Ended,
        }
    }

    /// Whether a request waits to be taken.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Says how far the run is.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
        let dropped = {
            let mut requests = lock(&self.requests);
            requests.is_closed = phase != Phase::Runs;
            if phase == Phase::Runs {
                *lock(&self.asked) = requests.asked_end();
                VecDeque::new()
            } else {
                // Who waits for it learns that nobody does it.
                std::mem::take(&mut requests.work)
            }
        };
        drop(dropped);
        self.call_hooks();
    }

    /// The end that somebody asked for who is not the guest.
    pub fn asked(&self) -> Option<Outcome> {
        lock(&self.asked).clone()
    }

    fn call_hooks(&self) {
        for hook in &*lock(&self.hooks) {
            hook();
        }
    }

    /// How far the run is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            phase if phase == Phase::Stopping as u8 => Phase::Stopping,
            phase if phase == Phase::Draining as u8 => Phase::Draining,
            phase if phase == Phase::Over as u8 => Phase::Over,
            _ => Phase::Runs,
        }
    }

    /// The next request: an end before text, text before the deadline, then a report, work last.
    pub fn take(&self) -> Option<Request> {
        let mut requests = lock(&self.requests);
        let request = if let Some(outcome) = requests.end.take() {
            Some(Request::End(outcome))
        } else if std::mem::take(&mut requests.text) {
            Some(Request::TextSeen)
        } else if std::mem::take(&mut requests.deadline) {
            Some(Request::Deadline)
        } else if std::mem::take(&mut requests.report) {
            Some(Request::Report)
        } else {
            requests.work.pop_front().map(Request::Work)
        };
        self.raised.store(requests.any(), Ordering::SeqCst);
        request
    }

    /// Waits for the next request.
    pub fn wait(&self) -> Request {
        loop {
            if let Some(request) = self.take() {
                return request;
            }
            let requests = lock(&self.requests);
            if !requests.any() {
                let woken = self.requested.wait(requests);
                drop(woken.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Forgets what an earlier wait left behind.
    pub fn forget_waits(&self) {
        let mut requests = lock(&self.requests);
        requests.text = false;
        requests.deadline = false;
        self.raised.store(requests.any(), Ordering::SeqCst);
    }
}

/// Ends a machine's run from any thread; clones stop the same machine.
#[derive(Clone)]
pub struct Stopper(pub(crate) Arc<Control>);

impl Stopper {
    /// Makes the current run, or else the next one, return [`Outcome::Stopped`].
    pub fn stop(&self) {
        self.0.request(Request::End(Outcome::Stopped));
    }

    /// Makes [`crate::Vm::run_until`] return [`crate::Reached::Report`] where the guest is now, so
    /// that its thread can call [`crate::Vm::report`] and run it on. [`crate::Vm::run`] does not
    /// return for it.
    pub fn ask_for_report(&self) {
        self.0.request(Request::Report);
    }

    /// Returns how far the run is with its end. One that stays [`Phase::Runs`] for seconds after it
    /// was asked to end, or [`Phase::Stopping`], is kept by the host: by a disk or a share that
    /// does not answer.
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Returns the end that this run was asked for first, by [`Stopper::stop`], by the timeout or
    /// by the console's user; `None` when nobody did.
    pub fn asked(&self) -> Option<Outcome> {
        self.0.asked()
    }

    /// Whether somebody has asked for the end of this run.
    pub fn is_asked(&self) -> bool {
        self.0.asked().is_some()
    }

    /// Calls `hook`, from any thread, whenever the guest is asked to stop or the run comes to
    /// another [`Phase`]. It must not wait.
    pub fn on_request(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.0.on_request(hook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_counts_and_comes_before_waits() {
        let control = Control::default();
        assert!(!control.is_raised() && control.take().is_none());
        control.request(Request::TextSeen);
        control.request(Request::End(Outcome::PoweredOff));
        control.request(Request::End(Outcome::Stopped));
        assert!(matches!(
            control.take(),
            Some(Request::End(Outcome::PoweredOff))
        ));
        assert!(control.is_raised());
        assert!(matches!(control.take(), Some(Request::TextSeen)));
        assert!(!control.is_raised() && control.take().is_none());
    }

    #[test]
    fn a_report_waits_for_what_else_was_asked_and_survives_it() {
        let control = Arc::new(Control::default());
        let stopper = Stopper(control.clone());
        stopper.ask_for_report();
        control.request(Request::Deadline);
        control.forget_waits();
        assert!(matches!(control.take(), Some(Request::Report)));
        assert!(control.take().is_none());
    }

    #[test]
    fn whoever_waits_for_the_end_knows_whether_it_was_asked_for_and_how_far_it_is() {
        let control = Arc::new(Control::default());
        let stopper = Stopper(control.clone());
        let (sender, calls) = std::sync::mpsc::channel();
        stopper.on_request(move || sender.send(()).unwrap());
        control.request(Request::End(Outcome::PoweredOff));
        assert_eq!((stopper.asked(), stopper.phase()), (None, Phase::Runs));
        stopper.stop();
        control.request(Request::End(Outcome::Quit));
        control.set_phase(Phase::Stopping);
        assert_eq!(stopper.asked(), Some(Outcome::Stopped));
        assert_eq!(stopper.phase(), Phase::Stopping);
        assert_eq!(calls.try_iter().count(), 4);
        // The next run, which nobody has asked to end.
        control.take();
        control.set_phase(Phase::Runs);
        assert_eq!((stopper.asked(), stopper.phase()), (None, Phase::Runs));
        // A stop before a run ends it.
        stopper.stop();
        control.set_phase(Phase::Runs);
        assert_eq!(stopper.asked(), Some(Outcome::Stopped));
    }

    #[test]
    fn who_waits_is_woken_by_a_request_of_another_thread() {
        let control = Arc::new(Control::default());
        let waiting = std::thread::spawn({
            let control = control.clone();
            move || control.wait()
        });
        control.request(Request::Report);
        assert!(matches!(waiting.join().unwrap(), Request::Report));
        // One that came before is not waited for.
        control.request(Request::Deadline);
        assert!(matches!(control.wait(), Request::Deadline));
    }

    #[test]
    fn a_stop_survives_when_waits_are_forgotten() {
        let control = Arc::new(Control::default());
        control.request(Request::Deadline);
        Stopper(control.clone()).stop();
        control.forget_waits();
        assert!(control.is_raised());
        assert!(matches!(
            control.take(),
            Some(Request::End(Outcome::Stopped))
        ));
        assert!(control.take().is_none());
    }
}
