//! Commands in the guest: words, environment, standard files, status.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::AgentError;
use super::link::{AgentLink, unexpected};
use super::protocol::{MOST_BODY, MOST_DATA, WINDOW, number, send};

/// The environment that a command has unless it is given another value.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("TERM", "dumb"),
    ("USER", "root"),
];

/// Most words and variables of a command.
const MOST_WORDS: usize = 4000;

/// A command to run in the guest, as root and without a terminal.
pub struct GuestCommand {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: OsString,
    input: Option<Box<dyn Read + Send>>,
}

impl std::fmt::Debug for GuestCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestCommand")
            .field("words", &self.words)
            .finish_non_exhaustive()
    }
}

impl GuestCommand {
    /// A program, found by the guest's `PATH` unless it has a slash, with its arguments; its folder is
    /// `/`, its standard input is empty, its environment is [`ENVIRONMENT`].
    pub fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        let variable = |(name, value): (&str, &str)| (name.into(), value.into());
        GuestCommand {
            words: words.into_iter().map(Into::into).collect(),
            environment: ENVIRONMENT.map(variable).into(),
            folder: "/".into(),
            input: None,
        }
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.into()));
        self
    }

    /// Sets the folder in which it runs.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<OsString>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Sets where its standard input comes from. A reader that waits when the command has ended is
    /// left waiting, on a thread of its own.
    #[must_use]
    pub fn input(mut self, input: impl Read + Send + 'static) -> Self {
        self.input = Some(Box::new(input));
        self
    }

    /// The body of the request.
    fn body(&self) -> Result<Vec<u8>, AgentError> {
        let words = self.words.len() + self.environment.len();
        let mut body = vec![u8::from(self.input.is_some())];
        for count in [self.words.len(), self.environment.len()] {
            body.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        }
        add(&mut body, &[&self.folder])?;
        for word in &self.words {
            add(&mut body, &[word])?;
        }
        for (name, value) in &self.environment {
            add(&mut body, &[name, OsStr::new("="), value])?;
        }
        if self.words.is_empty() {
            return Err(path_error(
                OsStr::new(""),
                "a command has at least one word",
            ));
        }
        match body.len() > MOST_BODY || words > MOST_WORDS {
            true => Err(AgentError::TooLong {
                bytes: body.len(),
                words,
            }),
            false => Ok(body),
        }
    }
}

/// Adds a text of these parts, and its end.
fn add(body: &mut Vec<u8>, parts: &[&OsStr]) -> Result<(), AgentError> {
    for part in parts {
        if part.as_bytes().contains(&0) {
            return Err(path_error(part, "a byte of zero cannot be passed"));
        }
        body.extend_from_slice(part.as_bytes());
    }
    body.push(0);
    Ok(())
}

pub(super) fn path_error(path: &OsStr, why: &'static str) -> AgentError {
    AgentError::Path {
        path: path.to_string_lossy().into_owned(),
        why,
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandStatus {
    /// The command exited, with this status; 127 also when there is no such command, 126 when it cannot be run.
    Exited(u8),
    /// A signal ended it.
    Signal(u8),
}

impl CommandStatus {
    /// The status that a shell would see: 128 + n after signal n.
    pub fn code(self) -> u8 {
        match self {
            CommandStatus::Exited(status) => status,
            CommandStatus::Signal(signal) => signal.saturating_add(128),
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// How it ended.
    pub status: CommandStatus,
    /// The command's standard output, byte by byte.
    pub stdout: Vec<u8>,
    /// The command's standard error, byte by byte.
    pub stderr: Vec<u8>,
}

impl AgentLink {
    /// Runs a command; what it writes goes to the two writers as it comes, and a writer that waits
    /// makes it wait.
    ///
    /// # Errors
    /// A command that is too long, a guest that ends first or breaks the channel, and a writer that
    /// fails: after that error, nothing more can be asked of this guest.
    pub fn run(
        &mut self,
        command: GuestCommand,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<CommandStatus, AgentError> {
        self.send(b'R', &[&command.body()?])?;
        let pump = command.input.map(|input| self.pump(input)).transpose()?;
        let status = self.pass_on(stdout, stderr, pump.as_deref());
        if let Some(pump) = pump {
            pump.stop();
        }
        status
    }

    fn pass_on(
        &mut self,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
        pump: Option<&Pump>,
    ) -> Result<CommandStatus, AgentError> {
        let failed = |stream| move |error| AgentError::Output { stream, error };
        loop {
            let message = self.next()?;
            match message.kind {
                b'o' => {
                    let written = stdout.write_all(message.body);
                    written
                        .and_then(|()| stdout.flush())
                        .map_err(failed("standard output"))?;
                }
                b'e' => {
                    let written = stderr.write_all(message.body);
                    written
                        .and_then(|()| stderr.flush())
                        .map_err(failed("standard error"))?;
                }
                b'c' => {
                    let (count, _) = number(message.body)?;
                    let pump = pump.ok_or_else(unexpected)?;
                    pump.allow(count as usize)?;
                }
                b'x' => {
                    return match *message.body {
                        [0, status] => Ok(CommandStatus::Exited(status)),
                        [1, signal] => Ok(CommandStatus::Signal(signal)),
                        _ => Err(unexpected()),
                    };
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// Starts the thread that brings standard input.
    fn pump(&self, input: Box<dyn Read + Send>) -> Result<Arc<Pump>, AgentError> {
        let pump = Arc::new(Pump {
            room: Mutex::new(Room {
                bytes: WINDOW,
                over: false,
            }),
            changed: Condvar::new(),
            over: Mutex::new(false),
        });
        let thread = std::thread::Builder::new().name("agent input".into());
        let (theirs, channel, tag) = (pump.clone(), self.input.clone(), self.tag);
        let spawned = thread.spawn(move || {
            theirs.bring(input, |bytes| {
                let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
                send(&mut *channel, tag, b'I', &[bytes])
            });
        });
        match spawned {
            Ok(_) => Ok(pump),
            Err(error) => Err(AgentError::Host {
                path: "a thread for standard input".into(),
                error,
            }),
        }
    }
}

struct Room {
    /// How many bytes the agent has room for.
    bytes: usize,
    over: bool,
}

/// What brings a command's standard input.
///
/// Two locks, because sending may wait until the guest reads, which it does not while nobody takes
/// its output; and who takes that must not wait for the sender.
struct Pump {
    room: Mutex<Room>,
    changed: Condvar,
    /// The command has ended; held while bytes are sent.
    over: Mutex<bool>,
}

impl Pump {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings all of it, as the agent has room.
    fn bring(&self, mut input: impl Read, send: impl Fn(&[u8]) -> Result<(), AgentError>) {
        let mut buffer = vec![0; MOST_DATA];
        loop {
            let mut room = self.room();
            while room.bytes == 0 && !room.over {
                room = self
                    .changed
                    .wait(room)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if room.over {
                return;
            }
            let most = room.bytes.min(MOST_DATA);
            drop(room);
            let count = match input.read(&mut buffer[..most]) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!(
                        "standard input cannot be read, and ends for the command: {error}"
                    );
                    0
                }
            };
            self.room().bytes -= count;
            let over = self.over();
            if *over || send(&buffer[..count]).is_err() || count == 0 {
                return;
            }
        }
    }

    /// The agent took so many bytes.
    fn allow(&self, count: usize) -> Result<(), AgentError> {
        let mut room = self.room();
        room.bytes += count;
        if room.bytes > WINDOW {
            let why = "it says that more was taken than was sent";
            return Err(AgentError::Broken { why });
        }
        self.changed.notify_all();
        Ok(())
    }

    /// The command has ended: nothing is sent any more when this returns.
    fn stop(&self) {
        self.room().over = true;
        self.changed.notify_all();
        *self.over() = true;
    }
}

/// A path of the guest's as bytes in a request.
pub(super) fn guest_path(path: &OsStr) -> Result<Vec<u8>, AgentError> {
    let why = match path.as_bytes() {
        bytes if bytes.len() >= 4000 => "the path is longer than 4000 bytes",
        bytes if bytes.contains(&0) => "a path cannot have a byte of zero",
        [b'/', ..] => return Ok(path.to_owned().into_vec()),
        _ => "a path in the guest begins with a slash",
    };
    Err(path_error(path, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_words_and_variables_in_order() {
        let mut command = GuestCommand::new(["a", "b c"]);
        command.environment.clear();
        let body = command.env("K", "1").env("K", "2").body().unwrap();
        assert_eq!(body, b"\0\0\x02\0\x01/\0a\0b c\0K=2\0");
    }

    #[test]
    fn what_no_request_can_hold_is_refused() {
        let refusal = |command: GuestCommand| command.body().unwrap_err().to_string();
        let none: [&str; 0] = [];
        assert!(refusal(GuestCommand::new(none)).contains("at least one word"));
        assert!(refusal(GuestCommand::new(["a\0"])).contains("byte of zero"));
        assert!(refusal(GuestCommand::new(["a".repeat(MOST_BODY)])).contains("--in"));
        assert!(refusal(GuestCommand::new(vec!["a"; MOST_WORDS])).contains("4000"));
    }

    #[test]
    fn input_waits_for_room_and_ends_with_the_command() {
        let pump = Arc::new(Pump {
            room: Mutex::new(Room {
                bytes: 4,
                over: false,
            }),
            changed: Condvar::new(),
            over: Mutex::new(false),
        });
        let sent = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (pump, sent) = (pump.clone(), sent.clone());
            move || {
                pump.bring(&b"abcdefgh"[..], |bytes| {
                    sent.lock().unwrap().push(bytes.to_vec());
                    Ok(())
                });
            }
        });
        while pump.room().bytes > 0 {
            std::thread::yield_now();
        }
        pump.allow(1).unwrap();
        while sent.lock().unwrap().len() < 2 {
            std::thread::yield_now();
        }
        pump.stop();
        thread.join().unwrap();
        assert_eq!(*sent.lock().unwrap(), [&b"abcd"[..], b"e"]);
        assert!(pump.allow(WINDOW + 1).is_err());
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(CommandStatus::Exited(3).code(), 3);
        assert_eq!(CommandStatus::Signal(9).code(), 137);
    }
}
