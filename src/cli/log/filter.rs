//! `PPCKVM_LOG`: a level, or levels for parts of the program.

use std::ffi::OsStr;

use ppckvm::Printable;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The crates that say something: ours, and libraries that log as we do.
const PARTS: [&str; 9] = [
    "ppckvm",
    "ppckvm_api",
    "ppckvm_devices",
    "ppckvm_fdt",
    "ppc440_cpu",
    "ppc440_kvm",
    "imago",
    "event_manager",
    "smoltcp",
];

/// What is logged by default.
const USUAL: LevelFilter = LevelFilter::WARN;

/// What to log, and what is wrong with the text, if anything; warnings are logged in any case that
/// the text does not name.
pub fn read(text: &OsStr) -> (Targets, Option<String>) {
    let usual = Targets::new().with_default(USUAL);
    if text.is_empty() {
        return (usual, None);
    }
    let complain = |why: &str| {
        let text = Printable::bytes(text.as_encoded_bytes());
        format!(
            "PPCKVM_LOG={text}: {why}; write off, error, warn, info, debug or trace, or the level \
             of a part such as ppckvm::vm=debug; warnings are logged"
        )
    };
    let Some(text) = text.to_str() else {
        return (usual, Some(complain("this is no text")));
    };
    let mut filter = usual.clone();
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let (part, level) = match item.split_once('=') {
            Some((part, level)) => (part, level),
            None if item.parse::<LevelFilter>().is_ok() => ("", item),
            None => (item, "trace"),
        };
        let root = part.split("::").next().unwrap_or_default();
        if !part.is_empty() && !PARTS.contains(&root) {
            let part = Printable(part);
            return (
                usual,
                Some(complain(&format!("`{part}` is no level and no part"))),
            );
        }
        let Ok(level) = level.parse::<LevelFilter>() else {
            let level = Printable(level);
            return (usual, Some(complain(&format!("`{level}` is no level"))));
        };
        filter = match part {
            "" => filter.with_default(level),
            part => filter.with_target(part, level),
        };
    }
    (filter, None)
}

/// Nothing of accesses that no device answers, which QEMU's users ask for.
pub fn without_accesses(filter: Targets) -> Targets {
    filter.with_target(ppckvm::UNANSWERED, LevelFilter::OFF)
}

/// Whether somebody looks for details, and wants to know when and where.
pub fn is_detailed(filter: &Targets) -> bool {
    let levels = filter.iter().map(|(_, level)| level);
    levels
        .chain(filter.default_level())
        .any(|level| level >= Level::DEBUG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(filter: &Targets, target: &str, level: Level) -> bool {
        filter.would_enable(target, &level)
    }

    #[test]
    fn levels_and_parts_are_read() {
        let (filter, complaint) = read("info,ppckvm::vm=debug, imago".as_ref());
        assert_eq!(complaint, None);
        assert!(logs(&filter, "ppckvm::host", Level::INFO));
        assert!(!logs(&filter, "ppckvm::host", Level::DEBUG));
        assert!(logs(&filter, "ppckvm::vm::run", Level::DEBUG));
        assert!(logs(&filter, "imago::qcow2", Level::TRACE));
        assert!(is_detailed(&filter));
        for (text, detailed) in [
            ("", false),
            ("off", false),
            ("info", false),
            ("DEBUG", true),
        ] {
            let (filter, complaint) = read(text.as_ref());
            assert_eq!(
                (complaint, is_detailed(&filter)),
                (None, detailed),
                "{text}"
            );
        }
    }

    #[test]
    fn a_part_of_its_own_leaves_the_warnings_of_others() {
        let (filter, _) = read("ppckvm::vm=debug".as_ref());
        assert!(logs(&filter, "ppckvm_devices", Level::WARN));
    }

    #[test]
    fn a_misspelt_level_is_named_and_warnings_stay() {
        for text in ["inof", "ppckvm=inof", "ppckwm=debug", "warn,inof"] {
            let (filter, complaint) = read(text.as_ref());
            let complaint = complaint.unwrap();
            assert!(
                complaint.contains("inof") || complaint.contains("ppckwm"),
                "{complaint}"
            );
            assert!(logs(&filter, "ppckvm", Level::WARN), "{text}");
            assert!(!logs(&filter, "ppckvm", Level::INFO), "{text}");
        }
    }
}
