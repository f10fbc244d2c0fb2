//! A server for gdb: registers, memory, breakpoints and watchpoints of the guest, in gdb's remote
//! protocol.
//!
//! Breakpoints and watchpoints are the core's (`kernel-glue/core/src/stops.rs`): no word of the guest's
//! memory changes, its own debug registers stay its own, and translated code runs on. While nobody is
//! connected, nothing is different from a machine without the server.

mod client;
mod events;
mod memory;
mod monitor;
mod registers;
mod target;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::JoinHandle;

use gdbstub::stub::{DisconnectReason, GdbStub};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::inventory::Inventory;
use super::subject::Subject;
use crate::host::listener::Listener;
use crate::vm::Vm;
use client::{Client, Loop};
use events::Events;
use target::Debuggee;

/// Where gdb connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GdbAddress {
    /// A TCP port, as `HOST:PORT`.
    Tcp(String),
    /// A socket of this host.
    Unix(PathBuf),
}

/// Text that is no address for gdb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place for gdb; write tcp:PORT, tcp:HOST:PORT or unix:PATH")]
pub struct ParseGdbError(String);

impl FromStr for GdbAddress {
    type Err = ParseGdbError;

    fn from_str(text: &str) -> Result<Self, ParseGdbError> {
        let wrong = || ParseGdbError(text.to_owned());
        let (kind, rest) = text.split_once([':', '=']).ok_or_else(wrong)?;
        match kind {
            "unix" if !rest.is_empty() => Ok(GdbAddress::Unix(rest.into())),
            "tcp" => {
                let (host, port) = rest.rsplit_once(':').unwrap_or(("", rest));
                port.parse::<u16>().map_err(|_| wrong())?;
                // Who can connect has the guest, and so what its launcher may do.
                let host = if host.is_empty() { "127.0.0.1" } else { host };
                Ok(GdbAddress::Tcp(format!("{host}:{port}")))
            }
            _ => Err(wrong()),
        }
    }
}

/// Why no debugger can be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GdbError {
    /// Nothing can listen there.
    #[error("gdb: {at}: {error}; choose another place, or end what uses it")]
    Listen {
        /// The place.
        at: String,
        /// The host's error.
        error: io::Error,
    },
    /// The host has no thread or descriptor left.
    #[error("the host gives gdb's server no thread: {0}")]
    Host(io::Error),
}

/// The server, which ends when this is dropped.
pub struct GdbServer {
    name: String,
    events: Arc<Events>,
    thread: Option<JoinHandle<()>>,
}

impl GdbServer {
    /// Listens, and serves one debugger at a time from then on.
    ///
    /// # Errors
    /// A place where nothing can listen, or a host without a thread.
    pub fn start(vm: &Vm, inventory: Inventory, at: &GdbAddress) -> Result<Self, GdbError> {
        let (listener, place) = match at {
            GdbAddress::Tcp(address) => (Listener::tcp(address), format!("tcp:{address}")),
            GdbAddress::Unix(path) => (Listener::unix(path), format!("unix:{}", path.display())),
        };
        let listener = listener.map_err(|error| GdbError::Listen { at: place, error })?;
        let events = Arc::new(Events::new().map_err(GdbError::Host)?);
        let watcher = events.clone();
        vm.remote().on_event(move |event| watcher.add(event));
        let name = match listener.name().split_once('=') {
            Some(("unix", path)) => path.to_owned(),
            Some((_, address)) => address.to_owned(),
            None => String::new(),
        };
        let debuggee = Debuggee::new(Subject::new(vm.remote(), inventory), events.clone());
        let thread = std::thread::Builder::new().name("gdb".into());
        let thread = thread.spawn(move || serve(&listener, debuggee));
        Ok(GdbServer {
            name,
            events,
            thread: Some(thread.map_err(GdbError::Host)?),
        })
    }

    /// Returns what gdb's `target remote` takes: `HOST:PORT`, or a path.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for GdbServer {
    fn drop(&mut self) {
        self.events.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("gdb's thread panicked");
        }
    }
}

/// Serves debuggers, one after the other.
fn serve(listener: &Listener, mut debuggee: Debuggee) {
    let events = debuggee.events.clone();
    while !events.is_over() {
        let mut waited = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(&events.wake, PollFlags::IN),
        ];
        match poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return tracing::error!("gdb's server ends: {error}"),
        }
        events.rest();
        let Ok(client) = listener.accept() else {
            continue;
        };
        session(&mut debuggee, Client::new(client, events.clone()));
    }
}

/// Serves one debugger.
fn session(debuggee: &mut Debuggee, client: Client) {
    if let Err(error) = debuggee.attach() {
        return tracing::warn!("gdb: {error}");
    }
    tracing::info!("gdb is connected; the guest stands");
    let ended = GdbStub::new(client).run_blocking::<Loop>(debuggee);
    match ended {
        Ok(DisconnectReason::Kill) => debuggee.kill(),
        Ok(_) => {}
        Err(error) => tracing::info!("gdb: {error}"),
    }
    debuggee.detach();
}
