//! `PPCKVM_QEMU`: what a caller whose scripts stay as they are wants otherwise than QEMU does it.

use std::time::Duration;

use ppckvm::Spec;
use ppckvm::keys::{KeyList, RUN};

/// The variable.
pub const VARIABLE: &str = "PPCKVM_QEMU";

/// What it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// A panic of the guest's kernel ends the run.
    pub panic_exits: bool,
    /// A guest that hangs ends the run.
    pub hang_exits: bool,
    /// A kernel that halts ends the run.
    pub halt_exits: bool,
    /// The exit status and the last lines are those of `ppckvm run`.
    pub is_verdict: bool,
    /// How long the guest may run.
    pub timeout: Option<Duration>,
    /// What would be accepted without having an effect is refused.
    pub is_strict: bool,
}

impl Settings {
    /// Reads `panic=exit,hang=exit,halt=exit,status=verdict,timeout=2m,strict`.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Settings::default();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            match item.split_once('=') {
                Some(("panic", "exit")) => settings.panic_exits = true,
                Some(("panic", "continue")) => settings.panic_exits = false,
                Some(("hang", "exit")) => settings.hang_exits = true,
                Some(("hang", "stay")) => settings.hang_exits = false,
                Some(("halt", "exit")) => settings.halt_exits = true,
                Some(("halt", "stay")) => settings.halt_exits = false,
                Some(("status", "verdict")) => settings.is_verdict = true,
                Some(("status", "qemu")) => settings.is_verdict = false,
                Some(("timeout", value)) => settings.timeout = Some(duration(value)?),
                None if item == "strict" => settings.is_strict = true,
                _ => {
                    return Err(format!(
                        "{VARIABLE}: `{item}` is no setting; there are panic=exit, hang=exit, \
                         halt=exit, status=verdict, timeout=DURATION and strict"
                    ));
                }
            }
        }
        Ok(settings)
    }
}

/// A duration as `--timeout` takes it.
fn duration(text: &str) -> Result<Duration, String> {
    let mut list = KeyList::new(&RUN);
    let mut spec = Spec::default();
    let read = list
        .add("timeout", Some(text))
        .and_then(|()| spec.apply(&list));
    match (read, spec.timeout) {
        (Ok(()), Some(timeout)) => Ok(timeout),
        (Err(error), _) => Err(format!("{VARIABLE}: {error}")),
        (Ok(()), None) => Err(format!("{VARIABLE}: timeout needs a value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read() {
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
        let all = "panic=exit,hang=exit,halt=exit,status=verdict,timeout=2m,strict";
        let expected = Settings {
            panic_exits: true,
            hang_exits: true,
            halt_exits: true,
            is_verdict: true,
            timeout: Some(Duration::from_secs(120)),
            is_strict: true,
        };
        assert_eq!(Settings::parse(all), Ok(expected));
        let none = format!("{all},panic=continue,hang=stay,halt=stay,status=qemu");
        assert!(!Settings::parse(&none).unwrap().panic_exits);
    }

    #[test]
    fn what_is_no_setting_is_refused_with_all_there_are() {
        for text in ["panic", "panic=stop", "quick", "timeout=soon", "status=0"] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.starts_with("PPCKVM_QEMU: "), "{error}");
        }
    }
}
