//! A command line of QEMU's, as a machine and what becomes of each option.

use ppckvm::Spec;

use super::draft::{Conduct, Draft, Given, Note, Probe};
use super::settings::Settings;
use super::table::{Fate, entry_of};
use super::{models, networks, ports, read};

/// A command line that was read.
#[derive(Debug)]
pub struct Call {
    pub given: Vec<Given>,
    /// What becomes of the options, in their order; what is so without any comes last.
    pub notes: Vec<Note>,
    pub spec: Spec,
    pub conduct: Conduct,
    /// What is asked for in place of a run.
    pub probe: Option<Probe>,
}

impl Call {
    /// Reads a command line without the program's name.
    pub fn read(args: &[String], settings: Settings) -> Self {
        let (given, wrong) = split(args);
        let mut draft = Draft::new(given);
        for at in 0..draft.given.len() {
            let name = draft.given[at].option.trim_start_matches('-').to_owned();
            if let Some(entry) = entry_of(&name) {
                let before = draft.notes.len();
                (entry.read)(&mut draft, at);
                if draft.notes.len() == before {
                    draft.note(at, entry.fate, entry.text);
                }
            }
        }
        for (at, why) in wrong {
            draft.refuse(at, why);
        }
        resolve(&mut draft, settings);
        let mut notes = std::mem::take(&mut draft.notes);
        if settings.is_strict {
            for note in &mut notes {
                if note.fate == Fate::Accepted && note.at.is_some() {
                    note.fate = Fate::Refused;
                }
            }
        }
        notes.sort_by_key(|note| note.at.unwrap_or(usize::MAX));
        Call {
            given: draft.given,
            notes,
            spec: draft.spec,
            conduct: draft.conduct,
            probe: draft.probe,
        }
    }

    /// What is refused, as one line each.
    pub fn refusals(&self) -> impl Iterator<Item = String> {
        let refused = self.notes.iter().filter(|note| note.fate == Fate::Refused);
        refused.map(|note| self.line(note))
    }

    /// What the user is told of a machine that starts, as one line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let said = self.notes.iter().filter(|note| note.is_said);
        said.filter(|note| note.fate != Fate::Refused)
            .map(|note| self.line(note))
    }

    fn line(&self, note: &Note) -> String {
        match note.at.and_then(|at| self.given.get(at)) {
            Some(given) => format!("{}: {}", given.text(), note.text),
            None => note.text.clone(),
        }
    }
}

/// The options and their values; also what is wrong with those that are none.
fn split(args: &[String]) -> (Vec<Given>, Vec<(usize, String)>) {
    let (mut given, mut wrong) = (Vec::new(), Vec::new());
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let at = given.len();
        let name = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
        let mut value = None;
        match name.map(entry_of) {
            None => wrong.push((
                at,
                "the board has no disk controller that takes a file; write -drive file=FILE,if=virtio"
                    .to_owned(),
            )),
            Some(None) => wrong.push((at, "invalid option".to_owned())),
            Some(Some(entry)) if entry.value.is_some() => match args.next() {
                Some(next) => value = Some(next.clone()),
                None => wrong.push((at, "requires an argument".to_owned())),
            },
            Some(Some(_)) => {}
        }
        given.push(Given {
            option: arg.clone(),
            value,
        });
    }
    (given, wrong)
}

/// Decides what options mean only beside others.
fn resolve(draft: &mut Draft, settings: Settings) {
    match draft.machine.clone() {
        Some((_, name)) if name == "bamboo" => {}
        // Who asks what there is needs no machine.
        Some((_, name)) if name == "none" && draft.probe.is_some() => {}
        Some((at, name)) => draft.refuse(
            at,
            format!("unsupported machine type: \"{name}\"; only bamboo is modelled"),
        ),
        None if draft.probe.is_some() => {}
        None => draft.notes.push(Note {
            at: None,
            fate: Fate::Refused,
            text: "no machine is named, and QEMU's default is not modelled; write -M bamboo".into(),
            is_said: false,
        }),
    }
    read::accelerator(draft);
    if let Some((at, name)) = draft.cpu.clone() {
        let under_kvm = draft.spec.accel != ppckvm::Accel::Inproc;
        match name.as_str() {
            "440epb" | "440ep" | "440epa" => {}
            "host" | "max" if under_kvm => {}
            _ => draft.refuse(
                at,
                format!("unable to find CPU model '{name}'; the core is a 440epb"),
            ),
        }
    }
    read::settings(draft, settings);
    networks::resolve(draft);
    models::resolve(draft);
    ports::resolve(draft);
    draft.conduct.labels.append(&mut draft.console_labels);
    if draft.spec.boot.kernel.is_none() && draft.probe.is_none() {
        draft.notes.push(Note {
            at: None,
            fate: Fate::Refused,
            text: "no kernel is named, and the board has no firmware; write -kernel FILE".into(),
            is_said: false,
        });
    }
    if draft.conduct.daemonize {
        daemon(draft);
    }
}

/// A daemon has no terminal.
fn daemon(draft: &mut Draft) {
    let at = draft
        .given
        .iter()
        .position(|given| given.option.trim_start_matches('-') == "daemonize");
    let at = at.unwrap_or_default();
    if draft.nographic {
        draft.refuse(at, "-nographic cannot be used with -daemonize");
    } else if draft.spec.serial.contains(&ppckvm::Serial::Stdio)
        || draft
            .conduct
            .monitors
            .iter()
            .any(|(_, monitor)| monitor.at == ppckvm::Serial::Stdio)
    {
        draft.refuse(
            at,
            "cannot use stdio with -daemonize; write -serial unix:PATH,server=on,wait=off",
        );
    }
}
