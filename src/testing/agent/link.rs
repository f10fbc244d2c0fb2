//! The way to an agent that has greeted: which channel it is, and one request after the other.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::AgentError;
use super::protocol::{Greeted, Message, Messages, Token, number, send, wait_for_greeting};
use crate::host::console::{ConsoleInput, ConsoleOutput};
use crate::host::sandbox::{Confinement, Role};

/// The channels on which an agent may greet.
pub struct Greeting {
    links: Receiver<Result<AgentLink, AgentError>>,
}

impl Greeting {
    /// Listens on all of a machine's channels.
    pub(super) fn new(
        pipes: Vec<(String, ConsoleOutput, ConsoleInput)>,
        token: Token,
        confinement: &Confinement,
    ) -> std::io::Result<Self> {
        let (sender, links) = channel();
        for (name, output, input) in pipes {
            let sender = sender.clone();
            let thread = std::thread::Builder::new().name(format!("agent {name}"));
            confinement.spawn(thread, Role::Waiter, move || {
                listen(&name, output, input, token, &sender);
            })?;
        }
        Ok(Greeting { links })
    }

    /// Waits until the agent greets.
    ///
    /// # Errors
    /// A guest that ends first, that does not come to its agent within `patience`, or that has
    /// something else in its place.
    pub fn wait(self, patience: Duration) -> Result<AgentLink, AgentError> {
        match self.links.recv_timeout(patience) {
            Ok(link) => {
                let mut link = link?;
                link.done()?;
                Ok(link)
            }
            Err(RecvTimeoutError::Timeout) => Err(AgentError::NoAnswer { patience }),
            Err(RecvTimeoutError::Disconnected) => Err(AgentError::Ended),
        }
    }
}

/// Listens on one channel, and reads to its end what comes where the agent is not: nobody else
/// would, and the guest would wait.
fn listen(
    name: &str,
    mut output: ConsoleOutput,
    input: ConsoleInput,
    token: Token,
    links: &Sender<Result<AgentLink, AgentError>>,
) {
    let link = match wait_for_greeting(&mut output, token) {
        Ok(Greeted::Agent) => Ok(AgentLink {
            messages: Messages::new(output, token),
            input: Arc::new(Mutex::new(input)),
            tag: token.tag(),
        }),
        Ok(Greeted::Other) => {
            let _ = links.send(Err(AgentError::Pretender {
                channel: name.to_owned(),
            }));
            let _ = std::io::copy(&mut output, &mut std::io::sink());
            return;
        }
        Ok(Greeted::End) | Err(_) => return,
    };
    if let Err(unwanted) = links.send(link)
        && let Ok(link) = unwanted.0
    {
        link.discard();
    }
}

/// The way to a guest's agent.
pub struct AgentLink {
    messages: Messages<ConsoleOutput>,
    pub(super) input: Arc<Mutex<ConsoleInput>>,
    pub(super) tag: [u8; 4],
}

impl std::fmt::Debug for AgentLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentLink").finish_non_exhaustive()
    }
}

impl AgentLink {
    /// Sends a message.
    pub(super) fn send(&self, kind: u8, parts: &[&[u8]]) -> Result<(), AgentError> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut *input, self.tag, kind, parts)
    }

    /// The next message; one that says that the request failed is an error.
    pub(super) fn next(&mut self) -> Result<Message<'_>, AgentError> {
        let message = self.messages.next()?;
        if message.kind != b'f' {
            return Ok(message);
        }
        let (code, what) = number(message.body)?;
        Err(AgentError::Guest {
            what: String::from_utf8_lossy(what).into_owned(),
            error: std::io::Error::from_raw_os_error(code.cast_signed()),
        })
    }

    /// Waits until a request is done.
    pub(super) fn done(&mut self) -> Result<(), AgentError> {
        match self.next()?.kind {
            b'k' => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Has the guest write all that waits to its disks.
    ///
    /// # Errors
    /// A guest that ends first.
    pub fn sync(&mut self) -> Result<(), AgentError> {
        self.send(b'B', &[])?;
        self.done()
    }

    fn discard(mut self) {
        while self.messages.next().is_ok() {}
    }
}

/// A message at the wrong time.
pub(super) fn unexpected() -> AgentError {
    AgentError::Broken {
        why: "it is of a kind that does not belong here",
    }
}
