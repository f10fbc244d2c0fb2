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
    /// How much of the guest's RAM is resident.
    pub guest_ram: f64,
}

/// How a machine's process maps the guest's RAM.
#[derive(Clone, Copy)]
pub enum Ram {
    /// As a file whose name begins like this.
    Named(&'static str),
    /// As private memory without a name, for so many MiB of RAM: the smallest such mapping that holds
    /// them, is writable and not executable. A neighbour may be in it.
    Anonymous(u32),
}

/// A text that the console showed.
pub struct Seen {
    /// When its end came.
    pub time: Instant,
    /// What the process's threads had computed by then.
    pub computed: Duration,
    /// What came before it.
    pub before: String,
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

    /// Waits until the console shows `text`, and drops everything up to it.
    pub fn wait_for(&mut self, text: &str) -> Result<Seen, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            let mut windows = self.unread.windows(text.len());
            if let Some(at) = windows.position(|window| window == text.as_bytes()) {
                let passed: Vec<u8> = self.unread.drain(..at + text.len()).collect();
                return Ok(Seen {
                    time: self.newest,
                    computed: self.computed(),
                    before: String::from_utf8_lossy(&passed[..at]).into_owned(),
                });
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

    /// The processor time of the process's threads; 0 when it has ended.
    fn computed(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let nanoseconds = threads
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|thread| {
                let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
                number(&text)
            });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// The process's memory now.
    pub fn memory(&self, ram: Ram) -> Result<Memory, Failure> {
        let read = |name: &str| {
            let path = format!("/proc/{}/{name}", self.child.id());
            fs::read_to_string(&path).map_err(|error| Failure(format!("reading {path}: {error}")))
        };
        let peak = field(&read("status")?, "VmHWM:")
            .ok_or_else(|| Failure("the process's status has no VmHWM".to_owned()))?;
        let guest_ram = resident(&read("smaps")?, ram)
            .ok_or_else(|| Failure("the process's smaps show no guest RAM".to_owned()))?;
        Ok(Memory {
            peak: peak as f64 / 1024.0,
            guest_ram: guest_ram as f64 / 1024.0,
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

/// How many kB of the guest's RAM are resident, from the process's smaps.
fn resident(smaps: &str, ram: Ram) -> Option<u64> {
    let mut found = Vec::new();
    // Each mapping starts with a line of its addresses, permissions and name, which is the only one
    // whose first word has no colon at its end.
    let mut head = "";
    let mut size = 0;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [addresses, ..] if !addresses.ends_with(':') => head = line,
            ["Size:", kilobytes, ..] => size = kilobytes.parse().ok()?,
            ["Rss:", kilobytes, ..] => {
                let is = match (ram, head.split_whitespace().collect::<Vec<_>>().as_slice()) {
                    (Ram::Named(name), [_, _, _, _, _, path, ..]) => path.starts_with(name),
                    (Ram::Anonymous(mebibytes), [_, "rw-p", _, _, _]) => {
                        size >= u64::from(mebibytes) * 1024
                    }
                    _ => false,
                };
                if is {
                    found.push((size, kilobytes.parse::<u64>().ok()?));
                }
            }
            _ => {}
        }
    }
    match ram {
        // Changes of protection may have split it.
        Ram::Named(_) => found
            .iter()
            .map(|(_, rss)| *rss)
            .reduce(|all, rss| all + rss),
        Ram::Anonymous(_) => found.iter().min().map(|(_, rss)| *rss),
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
