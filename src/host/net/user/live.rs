//! Forwarded ports of a user network that runs: asked for by other threads, done by the network's.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::forward::{HostForward, Opened, Protocol};
use crate::host::lock::lock;
use crate::host::net::{ForwardedPort, NetError};

/// How long the network's thread, which never waits, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a port cannot be forwarded while the guest runs, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// No user network of this name.
    #[error("there is no user network `{0}`")]
    NoNetwork(String),
    /// The host does not give the port.
    #[error(transparent)]
    Host(#[from] NetError),
    /// The network's thread is gone, or kept by the host.
    #[error("the user network does not answer")]
    NoAnswer,
}

/// What is asked of a network's thread.
pub(super) enum Asked {
    Add(Opened, Sender<Result<(), NetError>>),
    Remove(Protocol, SocketAddr, Sender<bool>),
}

/// What waits for a network's thread.
pub(super) struct Inbox {
    asked: Mutex<Vec<Asked>>,
    pub wake: OwnedFd,
}

impl Inbox {
    pub fn new() -> std::io::Result<Self> {
        Ok(Inbox {
            asked: Mutex::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// All that was asked since.
    pub fn take(&self) -> Vec<Asked> {
        // Empty when another look has seen it.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut lock(&self.asked))
    }

    fn ask<T>(&self, make: impl FnOnce(Sender<T>) -> Asked) -> Receiver<T> {
        let (sender, answer) = channel();
        lock(&self.asked).push(make(sender));
        // Full only when the thread is awake already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        answer
    }
}

/// The forwarded ports of one user network, for other threads.
#[derive(Clone)]
pub(crate) struct LiveForwards {
    name: Arc<str>,
    inbox: Arc<Inbox>,
    ports: Arc<Mutex<Vec<ForwardedPort>>>,
}

impl LiveForwards {
    pub(super) fn new(name: &str, inbox: Arc<Inbox>, ports: Vec<ForwardedPort>) -> Self {
        LiveForwards {
            name: name.into(),
            inbox,
            ports: Arc::new(Mutex::new(ports)),
        }
    }

    /// The network device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is forwarded now.
    pub fn ports(&self) -> Vec<ForwardedPort> {
        lock(&self.ports).clone()
    }

    /// Forwards another port.
    ///
    /// # Errors
    /// What the host does not give.
    pub fn add(&self, forward: &HostForward) -> Result<ForwardedPort, ForwardError> {
        // Here, because a network's thread may have given up to open ports.
        let opened = Opened::new(forward)?;
        let port = ForwardedPort {
            network: self.name.to_string(),
            forward: *forward,
            host: opened.at,
        };
        let answer = self.inbox.ask(|sender| Asked::Add(opened, sender));
        let added = answer.recv_timeout(PATIENCE);
        added.map_err(|_| ForwardError::NoAnswer)??;
        lock(&self.ports).push(port.clone());
        Ok(port)
    }

    /// Stops forwarding a port; whether it was forwarded.
    ///
    /// # Errors
    /// The network is gone.
    pub fn remove(&self, protocol: Protocol, host: SocketAddr) -> Result<bool, ForwardError> {
        let asked = |sender| Asked::Remove(protocol, host, sender);
        let answer = self.inbox.ask(asked).recv_timeout(PATIENCE);
        let was_there = answer.map_err(|_| ForwardError::NoAnswer)?;
        let is_it = |port: &ForwardedPort| port.forward.protocol == protocol && port.host == host;
        lock(&self.ports).retain(|port| !is_it(port));
        Ok(was_there)
    }
}
