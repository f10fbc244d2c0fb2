//! What programs ask before they start a machine: which options, models and back ends there are, in
//! the form in which QEMU lists them.

use std::fmt::Write;

use super::draft::Probe;
use super::models::MODELS;
use super::table::{Fate, OPTIONS};

/// The version of QEMU whose command line this is, which feature tests compare.
const VERSION: &str = "10.0.0";

/// The variables that change how a command line is taken.
const ENVIRONMENT: &str = "\
Environment:
  PPCKVM_QEMU       panic=exit, hang=exit, halt=exit: these end the run; status=verdict: with the
                    status of `ppckvm run`; timeout=DURATION; strict: what would change nothing is
                    refused; parted by commas
  PPCKVM_QEMU_REAL  a program that gets each command line which is refused here
";

/// The answer.
///
/// # Errors
/// A model that there is not.
pub fn answer(probe: &Probe, program: &str) -> Result<String, String> {
    Ok(match probe {
        Probe::Version => version(),
        Probe::Help => help(program),
        Probe::Machines => "Supported machines are:\n\
                            bamboo               bamboo\n\
                            none                 empty machine\n"
            .into(),
        Probe::MachineOptions => "bamboo-machine options:\n  \
                                  append=<string>        - Linux kernel command line\n  \
                                  dtb=<string>           - Linux kernel device tree file\n  \
                                  initrd=<string>        - Linux initial ramdisk file\n  \
                                  kernel=<string>        - Linux kernel image file\n  \
                                  memory=<MemorySizeConfiguration> - Memory size configuration\n"
            .into(),
        Probe::Cpus => "Available CPUs:\n  \
                        440epa           PVR 42221850\n  \
                        440epb           PVR 422218d3\n  \
                        440ep            (alias for 440epb)\n"
            .into(),
        Probe::Accelerators => "Accelerators supported in QEMU binary:\ntcg\nkvm\n".into(),
        Probe::Devices => devices(),
        Probe::Device(name) => device(name)?,
        Probe::NetworkEnds => "Available netdev backend types:\nstream\ntap\nuser\n".into(),
        Probe::NetworkCards => "Available NIC models for this configuration:\nvirtio-net-pci\n".into(),
        Probe::CharacterDevices => {
            "Available chardev backend types: \n  pty\n  null\n  stdio\n  socket\n  file\n".into()
        }
        Probe::Displays => "Available display backend types:\nnone\n".into(),
        Probe::Vga => "none                 no graphic card\n".into(),
        Probe::Audio => "Available audio drivers:\nnone\n".into(),
        Probe::LogItems => "Log items (comma separated):\n\
                            guest_errors    log when the guest OS does something invalid (eg accessing a\n\
                            non-existent register)\n\
                            unimp           log unimplemented functionality\n"
            .into(),
        Probe::Objects => {
            "List of user creatable objects:\n  memory-backend-ram\n  rng-builtin\n  rng-random\n".into()
        }
    })
}

/// The exit status of an answer; QEMU has another for some lists.
pub fn status(probe: &Probe) -> u8 {
    u8::from(matches!(probe, Probe::LogItems))
}

fn version() -> String {
    let ours = env!("CARGO_PKG_VERSION");
    format!(
        "QEMU emulator version {VERSION} (ppckvm {ours})\n\
         The command line of QEMU's bamboo, served by ppckvm, which is no part of QEMU\n"
    )
}

fn help(program: &str) -> String {
    let mut out = format!(
        "{}usage: {program} [options]\n\n\
         {program} --explain ARGS... says what becomes of each option.\n\n{ENVIRONMENT}\n",
        version()
    );
    for entry in OPTIONS {
        let value = entry
            .value
            .map_or(String::new(), |value| format!(" {value}"));
        let names: Vec<String> = entry.names.iter().map(|name| format!("-{name}")).collect();
        let fate = match entry.fate {
            Fate::Honoured | Fate::Mapped => String::new(),
            fate => format!("{fate}: "),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{}{value}\n                {fate}{}",
            names.join("|"),
            entry.text
        );
    }
    out
}

fn devices() -> String {
    let mut out = String::new();
    let mut group = "";
    for model in MODELS.iter().filter(|model| model.fate != Fate::Refused) {
        if group != model.group {
            let gap = if group.is_empty() { "" } else { "\n" };
            group = model.group;
            let _ = writeln!(out, "{gap}{group} devices:");
        }
        for name in model.names {
            let bus = match *name {
                "virtconsole" => ", bus virtio-serial-bus",
                "loader" => "",
                _ => ", bus PCI",
            };
            let alias = model.names[0].strip_suffix("-pci") == Some(*name);
            if !alias {
                let _ = writeln!(out, "name \"{name}\"{bus}, desc \"{}\"", model.text);
            }
        }
    }
    out
}

fn device(name: &str) -> Result<String, String> {
    let model = MODELS.iter().find(|model| model.names.contains(&name));
    match model {
        Some(model) if model.fate != Fate::Refused => Ok(format!(
            "{name} options:\n  id=<str>               - {}\n",
            model.text
        )),
        _ => Err(format!("Device '{name}' not found")),
    }
}
