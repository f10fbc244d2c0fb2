//! The command line of `qemu-system-ppc -M bamboo`: the command called by that name, or
//! `ppckvm qemu`.
//!
//! | module | |
//! |---|---|
//! | [`table`] | every option, what it takes, and what becomes of it |
//! | [`models`] | the same for the models of `-device` |
//! | [`read`] | what each option says, put down in a [`draft`] |
//! | [`ports`], [`networks`], [`models`] | what options mean beside others |
//! | [`call`] | a whole command line, as a [`ppckvm::Spec`] and what becomes of each option |
//! | [`settings`] | `PPCKVM_QEMU` |
//! | [`probes`], [`explain`] | what is printed in place of a run |
//! | [`run`], [`process`] | the run, as QEMU's callers expect one |

mod call;
mod draft;
mod explain;
mod models;
mod networks;
mod ports;
mod probes;
mod process;
mod properties;
mod read;
mod run;
mod settings;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

use call::Call;
use settings::{Settings, VARIABLE};

use crate::log::{Log, Voice};
use crate::{FAILED, signals};

/// The names by which the command is QEMU's.
const NAMES: [&str; 3] = ["qemu-system-ppc", "qemu-system-ppc64", "qemu-system-ppcemb"];

/// The variable that names the program which gets what is refused here.
const REAL: &str = "PPCKVM_QEMU_REAL";

/// QEMU's name by which this command was called, if it was.
pub fn name_of(command: Option<&OsStr>) -> Option<&'static str> {
    let name = Path::new(command?).file_name()?;
    NAMES.into_iter().find(|known| name == *known)
}

/// Does what QEMU's arguments say, under one of its names; the exit status.
pub fn main(name: Option<&'static str>, args: &[OsString]) -> u8 {
    let name = name.unwrap_or(NAMES[0]);
    match serve(name, args) {
        Ok(status) => status,
        Err(error) => {
            for line in error.lines() {
                // Nothing can be done when standard error is gone.
                let _ = writeln!(std::io::stderr(), "{name}: {}", ppckvm::Printable(line));
            }
            FAILED
        }
    }
}

fn serve(name: &'static str, args: &[OsString]) -> Result<u8, String> {
    let settings = match std::env::var_os(VARIABLE) {
        None => Settings::default(),
        Some(text) => Settings::parse(&text.to_string_lossy())?,
    };
    let mut texts = Vec::new();
    for arg in args {
        let text = arg.to_str().ok_or_else(|| {
            let arg = ppckvm::Printable::bytes(arg.as_encoded_bytes());
            format!("`{arg}` is not UTF-8; give the file another name")
        })?;
        texts.push(text.to_owned());
    }
    let count = texts.len();
    texts.retain(|text| text != "--explain" && text != "-explain");
    let call = Call::read(&texts, settings);
    if texts.len() < count {
        let text = explain::text(&call).map_err(|error| error.to_string())?;
        print(&text)?;
        return Ok(explain::status(&call));
    }
    if let Some(probe) = &call.probe {
        print(&probes::answer(probe, name)?)?;
        return Ok(probes::status(probe));
    }
    let refusals: Vec<String> = call.refusals().collect();
    if !refusals.is_empty() {
        if let Some(real) = std::env::var_os(REAL).filter(|real| !real.is_empty()) {
            return Err(process::replace(Path::new(&real), args));
        }
        return Err(refusals.join("\n"));
    }
    if call.conduct.daemonize && !process::is_daemon() {
        return process::daemonize();
    }
    start(name, call)
}

fn start(name: &'static str, call: Call) -> Result<u8, String> {
    let no_signals = |error: std::io::Error| crate::no_signals(&error);
    signals::settle().map_err(no_signals)?;
    // Before any other thread is there.
    let held = signals::hold().map_err(no_signals)?;
    let log = Log::start(Voice::Qemu {
        name,
        accesses: call.conduct.reports_accesses,
    });
    call.warnings().for_each(|warning| log.say(warning));
    let status = run::run(call, held, &log).unwrap_or_else(|error| {
        log.conclude(error);
        FAILED
    });
    log.finish();
    Ok(status)
}

fn print(text: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| format!("standard output cannot be written: {error}"))
}
