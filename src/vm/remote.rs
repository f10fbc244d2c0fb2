//! A running machine from other threads: hold it and let it go on, reset it, and have the vcpu's
//! thread do what needs the machine itself.
//!
//! While a machine is held, its guest's time stands still: time base, decrementer, fixed interval
//! and watchdog go on where they stopped, as QEMU's do. The clock chip has the host's time all the
//! while, the host's limit on the run counts on, and devices finish what they have begun.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use ppckvm_api::ResetKind;

use crate::host::net::{ForwardError, ForwardedPort, HostForward, LiveForwards, Protocol};
use crate::vm::Vm;
use crate::vm::control::{Control, Request, RunEvent, Status, Stopper, Work};
use crate::vm::outcome::{OnReset, Outcome};

/// What the vcpu's thread is asked to do.
type Call = Box<dyn FnOnce(&mut Vm) + Send>;

/// How long [`Remote`] waits for the vcpu's thread, which comes back within milliseconds unless the
/// host keeps it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the vcpu's thread did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The run is over, or too much waits already.
    #[error("the machine does not run, or has too much to do")]
    NotTaken,
    /// The run ended before.
    #[error("the machine ended before it could answer")]
    Ended,
    /// The thread did not come back in time: nobody runs the machine, or the host keeps it.
    #[error(
        "the machine did not answer within {0:?}; nobody runs it, or a disk or a share of the host's does not answer"
    )]
    TimedOut(Duration),
    /// The host has no memory for the guest to start again, or the files that it starts from are no
    /// longer held.
    #[error("the guest cannot start again: {0}")]
    NoReset(&'static str),
}

/// A handle on a machine for other threads; clones are of the same machine.
#[derive(Clone)]
pub struct Remote {
    control: Arc<Control>,
    networks: Vec<LiveForwards>,
}

impl Remote {
    /// What the machine does.
    pub fn status(&self) -> Status {
        self.control.status()
    }

    /// What ends the run.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.control.clone())
    }

    /// Calls `watcher` with all that happens, from any thread. It must not wait.
    pub fn on_event(&self, watcher: impl Fn(&RunEvent) + Send + Sync + 'static) {
        self.control.on_event(watcher);
    }

    /// Has the vcpu's thread call `work` between two instructions of the guest, or while the machine
    /// is held, and returns what that returns.
    ///
    /// # Errors
    /// The run is over, or the thread does not come back `within` that time; it then does not call
    /// `work` any more, unless it has begun.
    pub fn call<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce(&mut Vm) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (sender, answer) = sync_channel(1);
        let given_up = Arc::new(AtomicBool::new(false));
        let is_late = given_up.clone();
        let call: Call = Box::new(move |vm| {
            if !is_late.load(Ordering::SeqCst) {
                // Who gave up meanwhile wants no answer.
                let _ = sender.try_send(work(vm));
            }
        });
        if !self.control.ask(Work(Box::new(call))) {
            return Err(CallError::NotTaken);
        }
        answer.recv_timeout(within).map_err(|error| match error {
            RecvTimeoutError::Disconnected => CallError::Ended,
            RecvTimeoutError::Timeout => {
                given_up.store(true, Ordering::SeqCst);
                CallError::TimedOut(within)
            }
        })
    }

    /// Holds the machine, and returns when it stands: see [`Vm::pause`].
    ///
    /// # Errors
    /// As [`Remote::call`].
    pub fn pause(&self) -> Result<(), CallError> {
        self.call(PATIENCE, Vm::pause)
    }

    /// Lets a machine that is held go on.
    ///
    /// # Errors
    /// As [`Remote::call`].
    pub fn resume(&self) -> Result<(), CallError> {
        self.call(PATIENCE, Vm::resume)
    }

    /// Resets the board as a power switch would: the guest starts again, or stays held at its start.
    /// Where a reset is to end the run ([`OnReset::Exit`]), it ends as [`Outcome::Stopped`].
    ///
    /// # Errors
    /// As [`Remote::call`].
    pub fn reset(&self) -> Result<(), CallError> {
        self.call(PATIENCE, Vm::reset)?
    }

    /// Forwards another port of the host's into the guest, of the network device of this name, or
    /// of the first user network.
    ///
    /// # Errors
    /// A network that there is not, or a port that the host does not give.
    pub fn add_forward(
        &self,
        network: Option<&str>,
        forward: &HostForward,
    ) -> Result<ForwardedPort, ForwardError> {
        self.network(network)?.add(forward)
    }

    /// Stops forwarding a port; its connections stay. Whether it was forwarded.
    ///
    /// # Errors
    /// A network that there is not.
    pub fn remove_forward(
        &self,
        network: Option<&str>,
        protocol: Protocol,
        host: SocketAddr,
    ) -> Result<bool, ForwardError> {
        self.network(network)?.remove(protocol, host)
    }

    /// The ports that are forwarded now.
    pub fn forwarded_ports(&self) -> Vec<ForwardedPort> {
        self.networks.iter().flat_map(LiveForwards::ports).collect()
    }

    fn network(&self, name: Option<&str>) -> Result<&LiveForwards, ForwardError> {
        let mut networks = self.networks.iter();
        let found = networks.find(|network| name.is_none_or(|name| network.name() == name));
        found.ok_or_else(|| ForwardError::NoNetwork(name.unwrap_or("user").to_owned()))
    }
}

impl Vm {
    /// A handle for other threads, while this one runs the machine.
    pub fn remote(&self) -> Remote {
        Remote {
            control: self.control.clone(),
            networks: self.networks.clone(),
        }
    }

    /// Holds the machine: running it executes nothing until [`Vm::resume`], and the guest's time
    /// stands still.
    pub fn pause(&mut self) {
        if self.held.is_none() {
            self.held = Some(self.vcpu.state().timers);
            self.control.set_paused(true);
            self.control.tell(&RunEvent::Paused);
        }
    }

    /// Lets a machine that is held go on.
    pub fn resume(&mut self) {
        if let Some(timers) = self.held.take() {
            let mut state = self.vcpu.state();
            state.timers = timers;
            self.vcpu.set_state(&state);
            self.control.set_paused(false);
            self.control.tell(&RunEvent::Resumed);
        }
    }

    /// Resets the board as a power switch would: see [`Remote::reset`].
    ///
    /// # Errors
    /// The host has no memory for it.
    pub fn reset(&mut self) -> Result<(), CallError> {
        if self.on_reset == OnReset::Exit {
            self.control.request(Request::End(Outcome::Stopped));
            return Ok(());
        }
        self.reboot(ResetKind::System)
            .map_err(|_| CallError::NoReset("the host has no memory for it"))?;
        self.control.tell(&RunEvent::Reset { by_guest: false });
        Ok(())
    }

    /// What a reset of the guest does from now on.
    ///
    /// # Errors
    /// A machine that was built to end with a reset holds its files no longer.
    pub fn set_on_reset(&mut self, on_reset: OnReset) -> Result<(), CallError> {
        if on_reset == OnReset::Reboot && self.placement.segments.is_empty() {
            let why = "the machine was started to end with a reset, and holds its files no longer";
            return Err(CallError::NoReset(why));
        }
        self.on_reset = on_reset;
        Ok(())
    }

    /// Does what another thread asked for.
    pub(crate) fn work(&mut self, Work(work): Work) {
        match work.downcast::<Call>() {
            Ok(call) => call(self),
            Err(_) => tracing::error!("work of an unknown kind is left undone"),
        }
    }
}
