//! What other threads and devices ask of a running machine: end, or come back to the caller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ppckvm_api::VcpuHandle;

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
}

#[derive(Debug, Default)]
struct Pending {
    end: Option<Outcome>,
    text: bool,
    deadline: bool,
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// Requests to one machine, from whichever thread.
#[derive(Default)]
pub(crate) struct Control {
    pending: Mutex<Pending>,
    /// Whether anything is pending: what the vcpu loop looks at after each exit.
    raised: AtomicBool,
    vcpu: Mutex<Option<VcpuHandle>>,
    /// Wake the vcpu's thread where it waits for room in a console.
    hooks: Mutex<Vec<Hook>>,
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
            let mut pending = lock(&self.pending);
            match request {
                Request::End(outcome) => {
                    pending.end.get_or_insert(outcome);
                }
                Request::TextSeen => pending.text = true,
                Request::Deadline => pending.deadline = true,
            }
            self.raised.store(true, Ordering::SeqCst);
        }
        if let Some(vcpu) = &*lock(&self.vcpu) {
            vcpu.kick();
        }
        for hook in &*lock(&self.hooks) {
            hook();
        }
    }

    /// Whether a request waits to be taken.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// The next request: an end before text, text before the deadline.
    pub fn take(&self) -> Option<Request> {
        let mut pending = lock(&self.pending);
        let request = if let Some(outcome) = pending.end.take() {
            Some(Request::End(outcome))
        } else if std::mem::take(&mut pending.text) {
            Some(Request::TextSeen)
        } else if std::mem::take(&mut pending.deadline) {
            Some(Request::Deadline)
        } else {
            None
        };
        let more = pending.end.is_some() || pending.text || pending.deadline;
        self.raised.store(more, Ordering::SeqCst);
        request
    }

    /// Forgets what an earlier wait left behind.
    pub fn forget_waits(&self) {
        let mut pending = lock(&self.pending);
        pending.text = false;
        pending.deadline = false;
        self.raised.store(pending.end.is_some(), Ordering::SeqCst);
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
