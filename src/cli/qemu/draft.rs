//! What QEMU's options say, collected in their order before anything is decided: some of them mean
//! what they mean only beside others.

use ppckvm::control::{GdbAddress, Language, MonitorSpec};
use ppckvm::{OnReset, Spec, Standstills};

use super::properties::Properties;
use super::table::Fate;

/// An option as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// With its dash, as it was written.
    pub option: String,
    /// Its value, where it takes one.
    pub value: Option<String>,
}

impl Given {
    /// The option and its value as messages name them.
    pub fn text(&self) -> String {
        match &self.value {
            Some(value) => format!("{} {value}", self.option),
            None => self.option.clone(),
        }
    }

    /// The value; empty where there is none.
    pub fn value(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }
}

/// What becomes of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which of the options it is about; none for what is so without any.
    pub at: Option<usize>,
    /// What becomes of it.
    pub fate: Fate,
    /// In words.
    pub text: String,
    /// Whether the user is told when the machine starts.
    pub is_said: bool,
}

/// A part of the machine that an option names, and the option's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub at: usize,
    pub name: String,
    pub properties: Properties,
    /// Something else of the machine's has it.
    pub is_used: bool,
}

/// A network card of `-nic`, or of `-net nic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    pub at: usize,
    pub model: Option<String>,
    pub mac: Option<String>,
    /// What is at its other end: a back end, or the name of one.
    pub end: CardEnd,
}

/// What is at a card's other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardEnd {
    /// A back end of its own.
    Own(Part),
    /// One that `-netdev` names.
    Named(String),
    /// The one of `-net`.
    Hub,
}

/// What somebody wants to know instead of running a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    Help,
    Version,
    Machines,
    MachineOptions,
    Cpus,
    Accelerators,
    Devices,
    Device(String),
    NetworkEnds,
    NetworkCards,
    CharacterDevices,
    Displays,
    Vga,
    Audio,
    LogItems,
    Objects,
}

/// What the run does beside the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// A file that names this process while it runs.
    pub pid_file: Option<std::path::PathBuf>,
    /// The caller has its prompt back when the machine is ready.
    pub daemonize: bool,
    /// Accesses that nothing answers are reported.
    pub reports_accesses: bool,
    /// The exit status of a run that a panic ended.
    pub panic_status: u8,
    /// What QEMU calls each port that has a pseudo-terminal: serial ports, then virtio consoles.
    pub labels: Vec<String>,
    /// Monitors that have a place of their own, and what QEMU calls the device of each.
    pub monitors: Vec<(String, MonitorSpec)>,
    /// The guest is held before its first instruction.
    pub is_paused: bool,
    /// Where gdb is served.
    pub gdb: Option<GdbAddress>,
    /// The machine's name.
    pub name: Option<String>,
    /// What the caller calls each user network, and what this machine does.
    pub network_names: Vec<(String, String)>,
    /// What the environment wants otherwise.
    pub settings: super::settings::Settings,
}

/// Everything that was said so far.
#[derive(Debug)]
pub struct Draft {
    pub given: Vec<Given>,
    pub notes: Vec<Note>,
    pub spec: Spec,
    pub conduct: Conduct,
    pub probe: Option<Probe>,
    pub machine: Option<(usize, String)>,
    pub cpu: Option<(usize, String)>,
    pub accelerators: Vec<(usize, String)>,
    pub nographic: bool,
    pub display: Option<String>,
    pub no_defaults: bool,
    pub snapshot: bool,
    pub serials: Vec<(usize, String)>,
    pub monitors: Vec<(usize, Language, String)>,
    pub chardevs: Vec<Part>,
    pub drives: Vec<Part>,
    pub devices: Vec<Part>,
    pub netdevs: Vec<Part>,
    pub cards: Vec<Card>,
    /// Back ends of `-net`.
    pub hub_ends: Vec<Part>,
    /// An option said that networks are not the default ones.
    pub names_networks: bool,
    pub fsdevs: Vec<Part>,
    /// What QEMU calls each virtio console that has a pseudo-terminal.
    pub console_labels: Vec<String>,
}

impl Draft {
    /// Nothing but QEMU's defaults: 128 MiB, a reset that starts the machine again, and nothing
    /// that a guest does by itself that ends the run but powering off.
    pub fn new(given: Vec<Given>) -> Self {
        let stay = ppckvm::OnStandstill::Stay;
        let spec = Spec {
            memory: ppckvm::MemorySize::from_bytes(128 << 20),
            on_reset: OnReset::Reboot,
            on_panic: ppckvm::OnPanic::Continue,
            standstills: Standstills {
                on_halt: stay,
                on_hang: stay,
                ..Standstills::default()
            },
            rng: None,
            ..Spec::default()
        };
        Draft {
            given,
            spec,
            notes: Vec::new(),
            conduct: Conduct::default(),
            probe: None,
            machine: None,
            cpu: None,
            accelerators: Vec::new(),
            nographic: false,
            display: None,
            no_defaults: false,
            snapshot: false,
            serials: Vec::new(),
            monitors: Vec::new(),
            chardevs: Vec::new(),
            drives: Vec::new(),
            devices: Vec::new(),
            netdevs: Vec::new(),
            cards: Vec::new(),
            hub_ends: Vec::new(),
            names_networks: false,
            fsdevs: Vec::new(),
            console_labels: Vec::new(),
        }
    }

    /// Says what becomes of an option.
    pub fn note(&mut self, at: usize, fate: Fate, text: impl Into<String>) {
        self.notes.push(Note {
            at: Some(at),
            fate,
            text: text.into(),
            is_said: false,
        });
    }

    /// Says what becomes of an option, also when the machine starts.
    pub fn say(&mut self, at: usize, fate: Fate, text: impl Into<String>) {
        self.note(at, fate, text);
        if let Some(note) = self.notes.last_mut() {
            note.is_said = true;
        }
    }

    /// Refuses an option.
    pub fn refuse(&mut self, at: usize, why: impl Into<String>) {
        self.note(at, Fate::Refused, why);
    }

    /// Refuses an option if it cannot be taken.
    pub fn check<T>(&mut self, at: usize, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(at, why);
                None
            }
        }
    }

    /// A part of an option's value.
    pub fn part(&self, at: usize, implied: &str) -> Part {
        let mut properties = Properties::parse(self.given[at].value(), implied);
        Part {
            at,
            name: properties.take(implied).unwrap_or_default(),
            properties,
            is_used: false,
        }
    }
}
