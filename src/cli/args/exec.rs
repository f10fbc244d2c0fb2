//! The options of a command in the guest.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ppckvm::testing::agent::Init;
use ppckvm::{Sandbox, Serial, Spec};

use super::machine::RunOptions;
use super::{SpecResult, stdio_port};

pub const AFTER_HELP: &str = "\
The command runs as root, in /, without a terminal, with PATH, HOME, TERM and USER set. An agent that
comes with ppckvm starts it: it is added to the initial RAM disk, mounts /proc, /sys and /dev, and
where there is no initial RAM disk of the user's, the disk that root= names.

Exit status:
  0-255  the command's; 128 and the signal's number when a signal ended it; 127 when there is no such
         command, and 126 when it cannot be run
  33-36, 124  the guest ended otherwise, as for `run`: the last line on standard error says how, and
         --result tells it apart from the command's own status
  1      the launcher's own error, or a guest that ended orderly before the command did";

#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The kernel, as --kernel names it.
    #[arg(value_name = "FILE|DIRECTORY", conflicts_with = "kernel", hide = true)]
    pub(super) image: Option<String>,
    #[command(flatten)]
    pub(super) machine: RunOptions,
    #[command(flatten)]
    pub options: ExecOptions,
    /// What the launcher gives up before the guest starts: all that this kernel has a way for
    /// (auto), all or an error (on), or nothing (off).
    #[arg(long, value_name = "auto|on|off", default_value = "auto")]
    pub sandbox: Sandbox,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// What becomes of the guest's own init.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InitChoice {
    /// The command runs in its place.
    Instead,
    /// The command runs once the console has said --boot-text.
    AfterBoot,
}

#[derive(Clone, Debug, Args)]
pub struct ExecOptions {
    /// Copy a file or folder into the guest first, to a path there [default: its name in /].
    #[arg(long = "in", value_name = "HOST[:GUEST]", help_heading = EXEC, requires = "command")]
    pub copies_in: Vec<OsString>,
    /// Copy a file or folder out of the guest at the end, whatever the command's status [default: its
    /// name in this folder].
    #[arg(long = "out", value_name = "GUEST[:HOST]", help_heading = EXEC, requires = "command")]
    pub copies_out: Vec<OsString>,
    /// Set a variable of the command's environment.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable, help_heading = EXEC, requires = "command")]
    pub environment: Vec<(String, String)>,
    /// The command's standard input: a file, or - for this command's own [default: empty].
    #[arg(long, value_name = "FILE|-", help_heading = EXEC, requires = "command")]
    pub stdin: Option<PathBuf>,
    /// Write how it ended to a file, as JSON.
    #[arg(long, value_name = "FILE", help_heading = EXEC, requires = "command")]
    pub result: Option<PathBuf>,
    /// What becomes of the guest's own init.
    #[arg(long, value_enum, default_value = "instead", help_heading = EXEC, requires = "command")]
    init: InitChoice,
    /// What the console says when the guest's own init is done, for --init after-boot.
    #[arg(long, value_name = "TEXT", default_value = "login:", help_heading = EXEC, requires = "command")]
    pub boot_text: String,
}

const EXEC: &str = "Command";

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use NAME=VALUE".to_owned()),
    }
}

impl ExecOptions {
    pub fn init(&self) -> Init {
        match self.init {
            InitChoice::Instead => Init::Instead,
            InitChoice::AfterBoot => Init::AfterBoot,
        }
    }
}

impl ExecArgs {
    /// The machine that the options describe; its console leads nowhere unless they say where.
    pub fn spec(self) -> SpecResult {
        let mut spec = self.machine.spec(self.image.as_deref())?;
        if spec.serial.is_empty() {
            spec.serial.push(Serial::Null);
        }
        check_console(&spec)?;
        Ok(spec)
    }
}

/// Refuses a console on the standard output that is the command's.
fn check_console(spec: &Spec) -> Result<(), &'static str> {
    match stdio_port(spec) {
        Some(_) => Err(
            "standard input and output are the command's; give the console another \
                        destination, such as --serial file=console.log",
        ),
        None => Ok(()),
    }
}
