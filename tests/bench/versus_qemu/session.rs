//! A running machine: its console as timed text, its memory, its end.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Why the benchmark cannot go on, in words.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Memory of a machine's process in MiB.
pub struct Memory {
    /// The most that was ever resident.
    pub peak: f64,
    /// How much of the guest's RAM is resident; `None` when it has no mapping of its own.
    pub guest_ram: Option<f64>,
}

/// A child process whose standard input and output are a guest's console.
pub struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<(Instant, Vec<u8>)>,
    /// Output that no `wait_for` has passed yet.
    unread: Vec<u8>,
    /// When the newest byte of `unread` came.
    newest: Instant,
    patience: Duration,
    /// When the process was asked for.
    pub started: Instant,
}

impl Session {
    /// Starts `command`; no later step may take longer than `patience`.
    pub fn start(mut command: Command, patience: Duration) -> Result<Session, Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|error| Failure(format!("starting {:?}: {error}", command.get_program())))?;
        let input = child.stdin.take();
        let mut stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, output) = mpsc::channel();
        // Bytes get their time where they arrive, not where somebody looks for them.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender
                    .send((Instant::now(), buffer[..count].to_vec()))
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Session {
            child,
            input,
            output,
            unread: Vec::new(),
            newest: started,
            patience,
            started,
        })
    }

    /// Waits until the console shows `text`, drops everything up to it, and returns when it came.
    pub fn wait_for(&mut self, text: &str) -> Result<Instant, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            let mut windows = self.unread.windows(text.len());
            if let Some(at) = windows.position(|window| window == text.as_bytes()) {
                self.unread.drain(..at + text.len());
                return Ok(self.newest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok((time, bytes)) => {
                    self.newest = time;
                    self.unread.extend(bytes);
                }
                Err(reason) => {
                    let why = match reason {
                        RecvTimeoutError::Timeout => "did not come in time",
                        RecvTimeoutError::Disconnected => "did not come before the machine ended",
                    };
                    let shown = String::from_utf8_lossy(&self.unread);
                    return Err(Failure(format!(
                        "`{text}` {why}; the console shows: {shown}"
                    )));
                }
            }
        }
    }

    /// Types a line.
    pub fn send(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().expect("standard input is a pipe");
        writeln!(input, "{line}").map_err(|error| Failure(format!("typing `{line}`: {error}")))
    }

    /// The process's memory now, for a guest with `megabytes` MiB of RAM.
    pub fn memory(&self, megabytes: u32) -> Result<Memory, Failure> {
        let read = |name: &str| {
            let path = format!("/proc/{}/{name}", self.child.id());
            fs::read_to_string(&path).map_err(|error| Failure(format!("reading {path}: {error}")))
        };
        let peak = field(&read("status")?, "VmHWM:")
            .ok_or_else(|| Failure("the process's status has no VmHWM".to_owned()))?;
        // Guest RAM is the mapping of exactly its size; in smaps, Size comes before Rss.
        let size = u64::from(megabytes) * 1024;
        let maps = read("smaps")?;
        let guest_ram = maps
            .split("\nSize:")
            .find(|map| number(map) == Some(size))
            .and_then(|map| field(map, "Rss:"));
        Ok(Memory {
            peak: peak as f64 / 1024.0,
            guest_ram: guest_ram.map(|kilobytes| kilobytes as f64 / 1024.0),
        })
    }

    /// Waits until the machine has ended, and wants status 0.
    pub fn finish(mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.patience;
        // The console closes when the process ends, or just before.
        while let Ok(_more) = self
            .output
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {}
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Failure(format!("the machine ended with {status}")));
                }
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(Failure(format!("waiting for the machine: {error}"))),
            }
        }
        Err(Failure("the machine did not end in time".to_owned()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Already gone after `finish`; otherwise a failed run must not leave a machine behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number of kB after `name` in a file of /proc.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| number(line.strip_prefix(name)?))
}

fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}
