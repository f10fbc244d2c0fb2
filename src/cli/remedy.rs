//! Remedies in this command's options: what the library cannot spell.

use std::error::Error;

use ppckvm::{BuildError, Remedy};

/// The options that a remedy is about.
fn options(remedy: Remedy) -> Option<&'static str> {
    Some(match remedy {
        Remedy::GiveKernel => "--kernel FILE",
        Remedy::MoreMemory => "--memory SIZE",
        Remedy::PassAsDeviceTree | Remedy::LeaveOutDeviceTree => "--dtb FILE",
        Remedy::PassAsInitrd => "--initrd FILE",
        Remedy::GiveLoadAddress | Remedy::CopyOrGiveLoadAddress | Remedy::LeaveOutLoadAddress => {
            "--load-address ADDRESS"
        }
        Remedy::LeaveOutFitConfig | Remedy::ChooseFitConfig => "--fit-config NAME",
        Remedy::LeaveOutCommandLine => "--append STR",
        Remedy::FreeMmioSlot => "bus=pci, --no-rng",
        Remedy::FreePciSlot => "bus=mmio",
        Remedy::AttachOverPci => "bus=pci, or see what `ppckvm dtb` prints without --dtb",
        Remedy::TakeSandboxThereIs => "--sandbox auto",
        Remedy::LeaveOutSandbox => "--sandbox off",
        _ => return None,
    })
}

/// An error of the library's, with the options that help against it.
pub fn spelled(error: &BuildError) -> String {
    match error.remedy().and_then(options) {
        Some(options) => format!("{error} ({options})"),
        None => error.to_string(),
    }
}

/// Any error of this command's.
pub fn message(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<BuildError>() {
        Some(error) => spelled(error),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;
    use ppckvm::keys::DEVICES;

    #[test]
    fn every_remedy_of_an_option_names_options_that_there_are() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let is_option = |name: &str| run.get_arguments().any(|arg| arg.get_long() == Some(name));
        let is_key = |name: &str| DEVICES.iter().all(|table| table.key(name).is_some());
        for remedy in Remedy::OF_OPTIONS {
            let options = options(remedy).unwrap();
            let mut known = 0;
            for word in options.split([' ', ',', '`']) {
                if let Some(name) = word.strip_prefix("--") {
                    assert!(is_option(name), "{word}");
                    known += 1;
                } else if let Some((name, _)) = word.split_once('=') {
                    assert!(is_key(name), "{word}");
                    known += 1;
                }
            }
            assert!(known > 0, "{options}");
        }
        assert_eq!(options(Remedy::Words("build it again")), None);
    }
}
