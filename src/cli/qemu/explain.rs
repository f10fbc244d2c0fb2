//! `--explain`: what becomes of each option, and the same machine as a command line of `ppckvm run`.

use std::fmt::Write;

use ppckvm::control::{GdbAddress, Language, MonitorSpec};
use ppckvm::{NotWritable, Spec};

use super::call::Call;
use super::table::Fate;

/// The whole explanation.
///
/// # Errors
/// A machine that no command line says.
pub fn text(call: &Call) -> Result<String, NotWritable> {
    let mut out = String::new();
    for note in &call.notes {
        let option = note.at.and_then(|at| call.given.get(at));
        let option = option.map_or_else(|| "without an option".into(), |given| given.text());
        // Writing to a string does not fail.
        let _ = writeln!(out, "{:<9} {option}: {}", note.fate, note.text);
    }
    match call.refusals().next() {
        Some(_) => out += "\nThe machine does not start.\n",
        None => {
            let line = command_line(&call.spec)? + &monitors(&call.conduct);
            let _ = write!(out, "\nThe same machine:\n{line}\n");
        }
    }
    Ok(out)
}

/// Whether the machine starts, as an exit status.
pub fn status(call: &Call) -> u8 {
    u8::from(call.notes.iter().any(|note| note.fate == Fate::Refused))
}

/// A machine as a command of a shell's.
///
/// # Errors
/// A machine that no command line says.
pub fn command_line(spec: &Spec) -> Result<String, NotWritable> {
    let words = arguments(spec)?.into_iter().map(|word| quoted(&word));
    Ok(format!("ppckvm {}", words.collect::<Vec<_>>().join(" ")))
}

/// A machine as arguments of the command.
///
/// # Errors
/// A machine that no command line says.
pub fn arguments(spec: &Spec) -> Result<Vec<String>, NotWritable> {
    let mut words = vec!["run".to_owned()];
    for (name, value) in spec.options()? {
        match value {
            None => words.push(format!("--{name}")),
            // Options whose values can be left out, and values that look like options.
            Some(value) if name == "balloon" || value.starts_with('-') => {
                words.push(format!("--{name}={value}"));
            }
            Some(value) => words.extend([format!("--{name}"), value]),
        }
    }
    Ok(words)
}

/// What controls the machine, as further arguments.
fn monitors(conduct: &super::draft::Conduct) -> String {
    let is_protocol = |monitor: &&MonitorSpec| monitor.language == Language::Qmp;
    let monitors = conduct.monitors.iter().map(|(_, monitor)| monitor);
    let controls = monitors
        .filter(is_protocol)
        .map(|monitor| format!(" --control {}", quoted(&monitor.at.to_string())));
    let paused = conduct.is_paused.then(|| " --paused".to_owned());
    let gdb = conduct.gdb.as_ref().map(|at| match at {
        GdbAddress::Tcp(address) => format!(" --gdb tcp:{address}"),
        GdbAddress::Unix(path) => format!(" --gdb {}", quoted(&format!("unix:{}", path.display()))),
    });
    controls.chain(gdb).chain(paused).collect()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,/:@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--kernel"), "--kernel");
        assert_eq!(quoted("console=ttyS0 panic=-1"), "'console=ttyS0 panic=-1'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
