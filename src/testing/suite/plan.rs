//! What a test is to do, as data.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use crate::testing::agent::Init;
use crate::vm::outcome::Outcome;
use crate::{Net, Spec};

/// The most memory that a compiled pattern may take, in bytes.
const PATTERN: usize = 1 << 20;

/// The time that a test has where nobody says how much.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// A test: a machine, what it is to do, and what is right.
#[derive(Clone, Debug)]
pub struct TestPlan {
    /// The name, which no other test of the suite has.
    pub name: String,
    /// The machine. A console that it does not name is the test's.
    pub spec: Spec,
    /// What is done, in order.
    pub stages: Vec<Stage>,
    /// What the console must not say.
    pub reject: Vec<Pattern>,
    /// The ending that is right; without one, any orderly ending is, and the test ends its guest when it
    /// is done.
    pub end: Option<End>,
    /// The time that the guest may take, in host time.
    pub timeout: Duration,
    /// How often it is tried again when it goes badly; the runner's number without one.
    pub retries: Option<u32>,
    /// What becomes of the guest's own init where commands are run.
    pub init: Init,
    /// The command that repeats the test alone, as a shell takes it; empty where there is none.
    pub repeat: String,
}

/// A part of a test.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// What is waited for and typed on the console first.
    pub dialogue: Vec<Step>,
    /// What is copied into the guest then, from and to.
    pub copies_in: Vec<(PathBuf, PathBuf)>,
    /// The command that is run, and its arguments.
    pub run: Option<Vec<OsString>>,
    /// Variables of the command's environment.
    pub environment: Vec<(String, String)>,
    /// What is copied out at last, from and to.
    pub copies_out: Vec<(PathBuf, PathBuf)>,
    /// Whether the command's output, or the console where there is none, reports tests of its own.
    pub ktap: bool,
}

impl Stage {
    /// Whether the stage needs an agent in the guest.
    pub(super) fn needs_agent(&self) -> bool {
        self.run.is_some() || !self.copies_in.is_empty() || !self.copies_out.is_empty()
    }
}

/// A step of a dialogue on the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Waits until the console says this.
    Expect(Pattern),
    /// Types this.
    Send(String),
}

/// What is looked for in text.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// These words.
    Text(String),
    /// What a regular expression matches.
    Regex(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Text(text) => write!(f, "{text:?}"),
            Pattern::Regex(regex) => write!(f, "/{}/", regex.as_str()),
        }
    }
}

impl Pattern {
    /// Reads a regular expression.
    ///
    /// # Errors
    /// One that is malformed, or takes too much memory.
    pub fn regex(text: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(text).size_limit(PATTERN).build();
        regex.map(Pattern::Regex).map_err(|error| error.to_string())
    }

    /// Where in `text` the first match ends.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        match self {
            Pattern::Text(words) => {
                let at = memchr::memmem::find(text, words.as_bytes())?;
                Some(at + words.len())
            }
            Pattern::Regex(regex) => regex.find(text).map(|found| found.end()),
        }
    }
}

/// Kinds of endings that a test can want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The guest powers the machine off.
    PowerOff,
    /// The guest's kernel halts.
    Halt,
    /// The guest resets the machine.
    Reset,
    /// The watchdog resets the guest.
    Watchdog,
    /// The kernel panics.
    Panic,
    /// The guest hangs.
    Hang,
    /// The time is over and the guest runs.
    Timeout,
}

impl End {
    /// All of them, with the words for them.
    pub const ALL: [(&'static str, End); 7] = [
        ("power-off", End::PowerOff),
        ("halt", End::Halt),
        ("reset", End::Reset),
        ("watchdog", End::Watchdog),
        ("panic", End::Panic),
        ("hang", End::Hang),
        ("timeout", End::Timeout),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        let mut all = End::ALL.iter();
        all.find(|(_, end)| *end == self)
            .map_or("", |(word, _)| word)
    }

    /// Whether a run ended so.
    pub fn is(self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::PoweredOff => self == End::PowerOff,
            Outcome::Halted => self == End::Halt,
            Outcome::Reset(_) => self == End::Reset,
            Outcome::WatchdogReset(_) => self == End::Watchdog,
            Outcome::KernelPanic { .. } | Outcome::TimedOutAfterPanic { .. } => self == End::Panic,
            Outcome::Hang { .. } => self == End::Hang,
            Outcome::TimedOut(_) => self == End::Timeout,
            _ => false,
        }
    }
}

impl TestPlan {
    /// A test that boots a machine and waits for its end.
    pub fn new(name: impl Into<String>, mut spec: Spec) -> Self {
        TestPlan {
            name: name.into(),
            timeout: spec.timeout.take().unwrap_or(TIMEOUT),
            spec,
            stages: Vec::new(),
            reject: Vec::new(),
            end: None,
            retries: None,
            init: Init::Instead,
            repeat: String::new(),
        }
    }

    /// Whether an agent goes into the guest.
    pub(super) fn needs_agent(&self) -> bool {
        self.stages.iter().any(Stage::needs_agent)
    }

    /// Whether the console reports tests of its own.
    pub(super) fn reads_ktap_from_console(&self) -> bool {
        let mut stages = self.stages.iter();
        stages.any(|stage| stage.ktap && stage.run.is_none())
    }

    /// Whether the test is over only when its guest is.
    pub(super) fn waits_for_end(&self) -> bool {
        let is_idle = self
            .stages
            .iter()
            .all(|stage| !stage.needs_agent() && stage.dialogue.is_empty() && !stage.ktap);
        self.end.is_some() || is_idle
    }

    /// Its networks.
    pub(super) fn networks(&mut self) -> impl Iterator<Item = &mut Net> {
        self.spec
            .devices
            .iter_mut()
            .filter_map(|device| match &mut device.device {
                crate::Device::Net(net) => Some(net),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_where_their_first_match_ends() {
        let text = Pattern::Text("login:".into());
        assert_eq!(text.find(b"buildroot login: x"), Some(16));
        assert_eq!(text.find(b"logi"), None);
        let regex = Pattern::regex("[0-9]+ ok$").unwrap();
        assert_eq!(regex.find(b"a 12 ok"), Some(7));
        assert_eq!(regex.to_string(), "/[0-9]+ ok$/");
        assert_eq!(text.to_string(), "\"login:\"");
        assert!(Pattern::regex("(").is_err());
        let large = Pattern::regex(r"\w{1000}{1000}").unwrap_err();
        assert!(large.contains("size"), "{large}");
    }

    #[test]
    fn an_ending_is_right_or_not() {
        assert!(End::PowerOff.is(&Outcome::PoweredOff));
        assert!(End::Panic.is(&Outcome::KernelPanic { message: None }));
        assert!(!End::Panic.is(&Outcome::PoweredOff));
        assert!(End::Timeout.is(&Outcome::TimedOut(TIMEOUT)));
        for (word, end) in End::ALL {
            assert_eq!(end.word(), word);
        }
    }
}
