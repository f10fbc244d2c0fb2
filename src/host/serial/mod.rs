//! Where the serial ports lead: `--serial`, one destination for each UART in order.
//!
//! Each port has a console hub ([`crate::host::console::ConsoleHub`]), which queues and never drops; what
//! differs is the files behind it. Everything that can be in use is taken here, before the guest
//! starts.

mod connect;
mod log;
pub(crate) mod pty;

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use event_manager::MutEventSubscriber;
use rustix::fs::OFlags;
use rustix::io::Errno;
use vmm_sys_util::eventfd::EventFd;

use crate::host::console::io::{ConsoleIo, Files};
use crate::host::console::{ConsoleHub, Owner};
use crate::host::listener::Listener;
use connect::Inherited;

/// Bytes of output that may wait for a file or pipe before the guest waits too.
const FILE_LIMIT: usize = 64 << 10;

/// As [`FILE_LIMIT`], for destinations whose reader may come at any time.
const CLIENT_LIMIT: usize = 1 << 20;

/// The destination of a serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Serial {
    /// Standard input and output of the process; on a terminal, `Ctrl-a` is for the launcher.
    Stdio,
    /// No destination: output is dropped, and nothing comes in.
    Null,
    /// A file for output, which is created or emptied.
    File(PathBuf),
    /// A new pseudo-terminal.
    Pty,
    /// A Unix socket that listens at a path which does not exist yet.
    Unix(PathBuf),
    /// A TCP socket that listens at `HOST:PORT`; port 0 takes a free one.
    Tcp(String),
    /// A connection to who listens at a Unix socket's path.
    UnixConnect(PathBuf),
    /// A connection to who listens at `HOST:PORT`.
    TcpConnect(String),
    /// A descriptor that the process was started with: a socket that listens, one that is connected,
    /// or a file, pipe or terminal that is open for reading and writing.
    Descriptor(u32),
}

/// Whether `Ctrl-a` in the input of [`Serial::Stdio`] is for the launcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapeKey {
    /// When standard input is a terminal.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: every byte is the guest's.
    Off,
}

/// The place where a serial port's bytes come from and go to.
#[derive(Debug, Default)]
pub struct Console {
    pub(crate) input: Option<OwnedFd>,
    pub(crate) output: Option<OwnedFd>,
    pub(crate) escape: bool,
    /// Opened when the machine is built, in place of the files.
    pub(crate) serial: Option<Serial>,
}

impl Console {
    /// Keeps bytes in memory, for [`crate::Vm::write`], [`crate::Vm::output`] and the pipes.
    pub fn memory() -> Self {
        Console::default()
    }

    /// Reads from one file and writes to another, of any kind. The end of the input file is no
    /// error: the guest runs on.
    pub fn files(input: Option<OwnedFd>, output: OwnedFd) -> Self {
        Console {
            input,
            output: Some(output),
            escape: false,
            serial: None,
        }
    }

    /// Uses a destination that is opened when the machine is built.
    pub fn serial(destination: Serial) -> Self {
        Console {
            serial: Some(destination),
            ..Console::default()
        }
    }

    /// The console without its files: where they lead to, as far as that can be said.
    pub(crate) fn destination(&self) -> Serial {
        self.serial.clone().unwrap_or(Serial::Null)
    }

    /// Whether it has files of its own.
    pub(crate) fn has_files(&self) -> bool {
        self.input.is_some() || self.output.is_some()
    }

    /// Sets whether `Ctrl-a` in the input is for the launcher (see `Ctrl-a h`).
    pub fn with_escape(mut self, escape: bool) -> Self {
        self.escape = escape;
        self
    }
}

/// The text is not a serial port's destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no destination; use stdio, null, file=PATH, pty, unix=PATH, tcp=HOST:PORT, \
     unix-connect=PATH, tcp-connect=HOST:PORT or fd=N"
)]
pub struct ParseSerialError(String);

/// A serial port's destination that cannot be used; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// The destination cannot be opened.
    #[error("destination {destination}: {error}{}", remedy(.error))]
    Open {
        /// The destination as it was given.
        destination: Serial,
        /// The host's error.
        error: std::io::Error,
    },
    /// A log of the console cannot be written.
    #[error("the console log {} cannot be written: {error}", .file.display())]
    Log {
        /// The log.
        file: PathBuf,
        /// The host's error.
        error: std::io::Error,
    },
    /// There are more destinations than ports.
    #[error("{given} serial destinations were given, and the board has {uarts} ports")]
    TooMany {
        /// The number of destinations.
        given: usize,
        /// The number of ports.
        uarts: usize,
    },
    /// Two ports lead to standard input and output.
    #[error(
        "two serial ports or consoles cannot both have standard input and output; give one another \
         destination"
    )]
    TwoStdio,
    /// The host has no event descriptor left.
    #[error(
        "the host gives no event descriptor: {0}; allow the process more open files, with ulimit -n"
    )]
    Events(std::io::Error),
}

fn remedy(error: &std::io::Error) -> &'static str {
    if Errno::from_io_error(error) == Some(Errno::NXIO) {
        return "; nobody reads this pipe, start its reader first";
    }
    if Errno::from_io_error(error) == Some(Errno::BADF) {
        return "; open it in the program that starts this one, and let it be inherited";
    }
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; stop what uses it, remove a path that is left over, or name another"
        }
        std::io::ErrorKind::ConnectionRefused => "; start what listens there first",
        std::io::ErrorKind::AddrNotAvailable => "; name an address of this host",
        _ => "",
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Serial::Stdio => f.write_str("stdio"),
            Serial::Null => f.write_str("null"),
            Serial::File(path) => write!(f, "file={}", path.display()),
            Serial::Pty => f.write_str("pty"),
            Serial::Unix(path) => write!(f, "unix={}", path.display()),
            Serial::Tcp(address) => write!(f, "tcp={address}"),
            Serial::UnixConnect(path) => write!(f, "unix-connect={}", path.display()),
            Serial::TcpConnect(address) => write!(f, "tcp-connect={address}"),
            Serial::Descriptor(number) => write!(f, "fd={number}"),
        }
    }
}

impl FromStr for Serial {
    type Err = ParseSerialError;

    fn from_str(text: &str) -> Result<Self, ParseSerialError> {
        Ok(match text.split_once('=') {
            None if text == "stdio" => Serial::Stdio,
            None if text == "null" => Serial::Null,
            None if text == "pty" => Serial::Pty,
            Some(("file", path)) if !path.is_empty() => Serial::File(path.into()),
            Some(("unix", path)) if !path.is_empty() => Serial::Unix(path.into()),
            Some(("tcp", address)) if address.contains(':') => Serial::Tcp(address.into()),
            Some(("unix-connect", path)) if !path.is_empty() => Serial::UnixConnect(path.into()),
            Some(("tcp-connect", address)) if address.contains(':') => {
                Serial::TcpConnect(address.into())
            }
            Some(("fd", number)) => match number.parse() {
                Ok(number) => Serial::Descriptor(number),
                Err(_) => return Err(ParseSerialError(text.into())),
            },
            _ => return Err(ParseSerialError(text.into())),
        })
    }
}

/// A port's far end.
pub(crate) struct Line {
    pub hub: Arc<ConsoleHub>,
    /// How a user finds it, if it has a name of its own.
    pub name: Option<String>,
    /// Somebody can see what the guest sends there.
    pub connected: bool,
    /// `Ctrl-a` in its input is for the launcher.
    #[cfg_attr(not(feature = "control"), expect(dead_code))]
    pub has_escape: bool,
    slave: Option<pty::Slave>,
}

impl Line {
    /// Waits until all output is with whoever reads it; what is left is said once.
    pub fn drain(&self, port: &str, patience: Option<std::time::Duration>) {
        let mut lost = self.hub.drain(patience);
        if let Some(slave) = &self.slave {
            lost += slave.drain();
        }
        if lost > 0 {
            tracing::warn!("nobody reads {port}: the last {lost} bytes of output are lost");
        }
    }
}

/// The ports' far ends, and what serves them on the event thread.
#[derive(Default)]
pub(crate) struct Lines {
    pub lines: Vec<Line>,
    /// The file that has what one of them sends too.
    pub log: Option<Line>,
    pub subscribers: Vec<Box<dyn MutEventSubscriber + Send>>,
}

/// Opens a destination for each of `uarts` ports, those given, then nowhere; behind them, one for
/// each virtio console. `escape` is for standard input, and `owner` makes the owner of each, by its
/// number.
pub(crate) fn open(
    consoles: Vec<Console>,
    uarts: usize,
    virtio: Vec<Console>,
    escape: EscapeKey,
    owner: impl Fn(usize) -> Arc<dyn Owner>,
) -> Result<Lines, SerialError> {
    let given = consoles.len();
    if given > uarts {
        return Err(SerialError::TooMany { given, uarts });
    }
    let is_stdio = |console: &&Console| console.serial == Some(Serial::Stdio);
    if consoles.iter().chain(&virtio).filter(is_stdio).count() > 1 {
        return Err(SerialError::TwoStdio);
    }
    let mut all = Lines::default();
    let rest = std::iter::repeat_with(Console::memory);
    let consoles = consoles.into_iter().chain(rest).take(uarts);
    for (index, console) in consoles.chain(virtio).enumerate() {
        // The first port, and what an embedder gives as a console in memory, it can read.
        let given = index == 0 || index < given || index >= uarts;
        let connected = given && console.serial != Some(Serial::Null);
        let (files, name, slave) = far_end(console, escape)?;
        let may_come_later = files.listener.is_some() || slave.is_some();
        let limit = if may_come_later {
            CLIENT_LIMIT
        } else {
            FILE_LIMIT
        };
        let used = files.output.is_some() || files.input.is_some() || files.listener.is_some();
        let has_escape = files.escape;
        let wake = used
            .then(|| EventFd::new(0))
            .transpose()
            .map_err(SerialError::Events)?;
        let own = wake
            .as_ref()
            .map(EventFd::try_clone)
            .transpose()
            .map_err(SerialError::Events)?;
        let owner = owner(index);
        let hub = ConsoleHub::new(owner.clone(), own, limit);
        if let Some(wake) = wake {
            let io = ConsoleIo::new(files, hub.clone(), owner, wake);
            let io = io.map_err(SerialError::Events)?;
            all.subscribers.push(Box::new(io));
        }
        if !given {
            hub.set_unconnected(format!("uart{index}"));
        }
        all.lines.push(Line {
            hub,
            name,
            connected,
            has_escape,
            slave,
        });
    }
    Ok(all)
}

pub(crate) type FarEnd = (Files, Option<String>, Option<pty::Slave>);

/// Opens a destination: its files, how a user finds it, and what keeps a pseudo-terminal open.
pub(crate) fn far_end(console: Console, escape: EscapeKey) -> Result<FarEnd, SerialError> {
    let Some(destination) = console.serial else {
        let files = Files {
            input: console.input,
            output: console.output,
            escape: console.escape,
            ..Files::default()
        };
        return Ok((files, None, None));
    };
    let failed = |error| SerialError::Open {
        destination: destination.clone(),
        error,
    };
    match &destination {
        Serial::Null => Ok(Default::default()),
        Serial::Stdio => {
            // Duplicates, because the port closes what it is given.
            let stdin = rustix::stdio::stdin();
            let input = rustix::io::fcntl_dupfd_cloexec(stdin, 3).ok();
            let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
                .map_err(|error| failed(error.into()))?;
            let files = Files {
                escape: match escape {
                    EscapeKey::Auto => input.is_some() && rustix::termios::isatty(stdin),
                    EscapeKey::On => true,
                    EscapeKey::Off => false,
                },
                input,
                output: Some(output),
                ..Files::default()
            };
            Ok((files, None, None))
        }
        Serial::File(path) => {
            let files = Files {
                output: Some(create(path).map_err(failed)?),
                ..Files::default()
            };
            Ok((files, None, None))
        }
        Serial::Pty => {
            let (master, slave) = pty::open().map_err(failed)?;
            let input = master.try_clone().map_err(failed)?;
            let name = slave.name().to_owned();
            let files = Files {
                input: Some(input),
                output: Some(master),
                nonblocking: true,
                ..Files::default()
            };
            Ok((files, Some(name), Some(slave)))
        }
        Serial::Unix(path) => Ok(listening(Listener::unix(path).map_err(failed)?)),
        Serial::Tcp(address) => Ok(listening(Listener::tcp(address).map_err(failed)?)),
        Serial::UnixConnect(path) => connected(connect::unix(path)).map_err(failed),
        Serial::TcpConnect(address) => connected(connect::tcp(address)).map_err(failed),
        Serial::Descriptor(number) => match connect::inherited(*number).map_err(failed)? {
            Inherited::Listens(listener) => Ok(listening(listener)),
            Inherited::Connected(socket) => connected(Ok(socket)).map_err(failed),
            Inherited::File(file) => {
                let files = Files {
                    input: Some(file.try_clone().map_err(failed)?),
                    output: Some(file),
                    ..Files::default()
                };
                Ok((files, None, None))
            }
        },
    }
}

/// Makes a file for output, or empties it.
fn create(path: &Path) -> std::io::Result<OwnedFd> {
    // A pipe without a reader must not hold up the start without a word.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    Ok(options.custom_flags(nonblocking).open(path)?.into())
}

fn listening(listener: Listener) -> FarEnd {
    let name = listener.name();
    let files = Files {
        nonblocking: true,
        listener: Some(listener),
        ..Files::default()
    };
    (files, Some(name), None)
}

/// A connection whose end does not end the guest: what it sends from then on leads nowhere.
fn connected(socket: std::io::Result<OwnedFd>) -> std::io::Result<FarEnd> {
    let socket = socket?;
    let files = Files {
        input: Some(socket.try_clone()?),
        output: Some(socket),
        nonblocking: true,
        may_leave: true,
        ..Files::default()
    };
    Ok((files, None, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_written_as_it_is_read() {
        for text in [
            "stdio",
            "null",
            "pty",
            "file=/tmp/a=b",
            "unix=s",
            "tcp=127.0.0.1:0",
            "tcp=[::1]:5555",
            "unix-connect=/tmp/a=b",
            "tcp-connect=localhost:5555",
            "fd=7",
        ] {
            assert_eq!(text.parse::<Serial>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_all_there_are() {
        for text in [
            "",
            "file",
            "file=",
            "unix=",
            "tcp=5555",
            "udp=:1",
            "stdio=1",
            "unix-connect=",
            "tcp-connect=5555",
            "fd=",
            "fd=-1",
            "fd=x",
        ] {
            let error = text.parse::<Serial>().unwrap_err().to_string();
            assert!(error.contains("tcp=HOST:PORT"), "{text}: {error}");
        }
    }
}
