//! Command lines that are nearly right: what was meant, in our spelling.
//!
//! Most of them come from QEMU's command line, which spells options with one dash.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use ppckvm::Printable;

use crate::args::Cli;

/// The exit status of wrong usage.
const USAGE: i32 = 2;

/// What is written elsewhere, without its dashes, and what to write here.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["m", "mem", "ram"],
        "write --memory SIZE, for example --memory 256M",
    ),
    (
        &["drive", "hda", "hdb", "blockdev", "pflash"],
        "write --disk path=FILE",
    ),
    (&["snapshot"], "write --disk path=FILE,overlay"),
    (
        &["netdev", "nic"],
        "write --net user, --net tap=NAME or --net unix=PATH",
    ),
    (&["virtfs", "fsdev"], "write --share path=DIR,tag=NAME"),
    (&["chardev"], "write --serial DEST or --console DEST"),
    (
        &["device"],
        "write --disk, --net, --share, --vsock, --console, --balloon or --rng",
    ),
    (
        &["nographic", "display", "vga", "curses"],
        "leave it out: there is no display, and UART0 has the terminal",
    ),
    (
        &["monitor", "qmp", "mon"],
        "write --control unix=PATH for programs; Ctrl-a c is the monitor then",
    ),
    (
        &["machine", "M"],
        "leave it out: the board is always a Bamboo",
    ),
    (&["smp"], "leave it out: the board has one cpu"),
    (&["enable-kvm"], "write --accel kvm"),
    (
        &["no-reboot"],
        "leave it out: a reset ends the run unless --on-reset reboot says otherwise",
    ),
    (
        &["no-shutdown"],
        "leave it out: a guest that powers off ends the run",
    ),
    (&["cmdline", "bootargs"], "write --append STR"),
    (&["ramdisk", "initramfs", "rootfs"], "write --initrd FILE"),
    (&["image"], "write --kernel FILE"),
    (
        &["icount", "rtc"],
        "write --clock virtual for runs that repeat",
    ),
    (
        &["d", "D", "trace"],
        "set PPCKVM_LOG=debug in the environment",
    ),
    (&["v", "verbose"], "set PPCKVM_LOG=info in the environment"),
    (&["q", "quiet"], "set PPCKVM_LOG=error in the environment"),
];

/// Reads the command line; what cannot be read ends the process here, with status 2.
pub fn parse() -> Cli {
    let error = match Cli::try_parse() {
        Ok(cli) => return cli,
        Err(error) => error,
    };
    if !error.use_stderr() {
        // Help or the version.
        error.exit();
    }
    // Nothing can be done when standard error is gone.
    let _ = error.print();
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    for hint in hints(&given, error.kind()) {
        eprintln!("ppckvm: {hint}");
    }
    std::process::exit(USAGE);
}

/// What was meant, one line each.
fn hints(given: &[OsString], kind: ErrorKind) -> Vec<String> {
    match kind {
        ErrorKind::InvalidUtf8 => given
            .iter()
            .enumerate()
            .filter_map(not_text(given))
            .collect(),
        ErrorKind::InvalidSubcommand => given.first().map(subcommand).into_iter().collect(),
        _ => given
            .iter()
            .filter_map(|arg| option(arg.to_str()?))
            .collect(),
    }
}

/// Names an argument that is no text, by the option before it.
fn not_text(given: &[OsString]) -> impl Fn((usize, &OsString)) -> Option<String> {
    move |(index, arg)| {
        if arg.to_str().is_some() {
            return None;
        }
        let before = index.checked_sub(1).and_then(|index| given[index].to_str());
        let option = before.filter(|before| before.starts_with("--"));
        let of = option.map(|option| format!("the value of {option}, "));
        let (of, text) = (
            of.unwrap_or_default(),
            Printable::bytes(arg.as_encoded_bytes()),
        );
        Some(format!(
            "{of}`{text}`, is not UTF-8; give the file another name"
        ))
    }
}

fn subcommand(given: &OsString) -> String {
    match given.to_str().and_then(option) {
        Some(hint) => hint,
        None => {
            let given = Printable::bytes(given.as_encoded_bytes());
            format!("to boot it, write: ppckvm run {given}")
        }
    }
}

/// What an option is here that is spelt as elsewhere.
fn option(arg: &str) -> Option<String> {
    let name = arg.strip_prefix('-')?;
    let (dashes, name) = match name.strip_prefix('-') {
        Some(name) => ("--", name),
        None => ("-", name),
    };
    let name = name.split('=').next().filter(|name| !name.is_empty())?;
    let write = ELSEWHERE.iter().find(|(names, _)| names.contains(&name));
    if let Some((_, write)) = write {
        return Some(format!("{dashes}{}: {write}", Printable(name)));
    }
    let is_ours = Cli::command().get_subcommands().any(|command| {
        let mut options = command.get_arguments();
        options.any(|option| option.get_long() == Some(name))
    });
    (dashes == "-" && is_ours).then(|| format!("-{name}: write --{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn hint(args: &[&str]) -> String {
        let given: Vec<OsString> = args.iter().map(OsString::from).collect();
        let all = [&[OsString::from("ppckvm")], given.as_slice()].concat();
        let error = Cli::try_parse_from(all).unwrap_err();
        hints(&given, error.kind()).join("\n")
    }

    #[test]
    fn other_spellings_are_answered_with_ours() {
        for (args, answer) in [
            (&["run", "-kernel", "uImage"][..], "-kernel: write --kernel"),
            (&["run", "k", "-append", "quiet"], "-append: write --append"),
            (
                &["run", "k", "-m", "256"],
                "-m: write --memory SIZE, for example --memory 256M",
            ),
            (
                &["run", "k", "-drive", "file=d"],
                "-drive: write --disk path=FILE",
            ),
            (
                &["run", "k", "--monitor", "none"],
                "--monitor: write --control unix=PATH",
            ),
            (
                &["run", "k", "-nographic"],
                "-nographic: leave it out: there is no display",
            ),
            (
                &["run", "k", "--cmdline=x"],
                "--cmdline: write --append STR",
            ),
            (&["uImage"], "to boot it, write: ppckvm run uImage"),
            (&["run", "k", "--frobnicate"], ""),
        ] {
            let hint = hint(args);
            assert!(
                hint.starts_with(answer) && hint.is_empty() == answer.is_empty(),
                "{hint}"
            );
        }
    }

    #[test]
    fn no_hint_is_about_an_option_that_there_is() {
        let run = Cli::command();
        let run = run.find_subcommand("run").unwrap();
        for (names, write) in ELSEWHERE {
            for option in run.get_arguments().filter_map(|option| option.get_long()) {
                assert!(!names.contains(&option), "{option}");
            }
            // And what is to be written exists.
            for word in write.split(&[' ', ',', ':'][..]) {
                let option = word.strip_prefix("--");
                assert!(
                    option.is_none_or(|option| run
                        .get_arguments()
                        .any(|is| is.get_long() == Some(option))),
                    "{word}"
                );
            }
        }
    }

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let file = OsStr::from_bytes(b"path=a\xff\x1b").to_owned();
        let given = ["run".into(), "k".into(), "--disk".into(), file];
        let error = Cli::try_parse_from([&["ppckvm".into()], &given[..]].concat()).unwrap_err();
        assert_eq!(
            hints(&given, error.kind()),
            ["the value of --disk, `path=a\\xff\\u{1b}`, is not UTF-8; give the file another name"]
        );
    }

    #[test]
    fn a_kernel_needs_no_option() {
        for args in [
            &["ppckvm", "run", "uImage"][..],
            &["ppckvm", "run", "--kernel", "uImage"],
        ] {
            assert!(Cli::try_parse_from(args).is_ok());
        }
        assert!(Cli::try_parse_from(["ppckvm", "run", "a", "--kernel", "b"]).is_err());
        assert!(Cli::try_parse_from(["ppckvm", "run"]).is_err());
    }
}
