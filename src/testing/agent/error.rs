//! What can be wrong with what is asked of a guest's agent.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why an agent did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// No agent can go into this machine.
    #[error("the agent cannot be started: {0}")]
    Machine(&'static str),
    /// The agent did not greet.
    #[error(
        "the guest's agent did not answer within {patience:?}: the kernel did not come to its first \
         process, or has no way to the host (CONFIG_BLK_DEV_INITRD; CONFIG_VIRTIO_CONSOLE or \
         CONFIG_SERIAL_8250)"
    )]
    NoAnswer {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The text that says that the guest's init is done did not come.
    #[error("the console did not say {text:?}, which is to say that the guest's init is done")]
    NoBoot {
        /// The text.
        text: String,
    },
    /// The guest ended first.
    #[error("the guest ended before the command did")]
    Ended,
    /// Something else than the agent that was put into this guest.
    #[error("something in the guest that is not its agent answered on {channel}")]
    Pretender {
        /// The channel.
        channel: String,
    },
    /// Bytes on the channel that are no message of the agent's.
    #[error("the guest sent a broken message in place of its agent's: {why}")]
    Broken {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The guest's kernel refused.
    #[error("{}: in the guest: {error}", .what.escape_debug())]
    Guest {
        /// A path, or what else it is about.
        what: String,
        /// What the guest's kernel said.
        error: io::Error,
    },
    /// The host's kernel refused.
    #[error("{}: {error}", path.display())]
    Host {
        /// The path.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// Output of the command's that cannot be written.
    #[error("the command's {stream} cannot be written: {error}")]
    Output {
        /// Which of the two.
        stream: &'static str,
        /// What the host said.
        error: io::Error,
    },
    /// A path that cannot be used.
    #[error("{path:?}: {why}")]
    Path {
        /// The path.
        path: String,
        /// The reason.
        why: &'static str,
    },
    /// Words and variables that are too many.
    #[error(
        "the command with its environment has {bytes} bytes and {words} words and variables; at most \
         131000 and 4000 can be passed, so put it into a file that --in copies"
    )]
    TooLong {
        /// Their bytes.
        bytes: usize,
        /// Their number.
        words: usize,
    },
}
