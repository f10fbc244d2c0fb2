//! The machine's own settings: what it boots, its size, its clock, its ends.

use std::path::Path;
use std::time::Duration;

use super::{
    Choice, Key, KeyList, NotWritable, OptionError, SWITCH, Table, Takes, bad, on, switch, text_of,
};
use crate::host::serial::{EscapeKey, Serial};
use crate::loader::Image;
use crate::machine::keys::devices;
use crate::machine::spec::place::Place;
use crate::machine::spec::{Accel, Clock, Cpu, Spec};
use crate::vm::outcome::{OnPanic, OnReset, OnStandstill};

/// Settings of what is booted, which every command has.
pub static BOOT: Table = Table {
    option: "machine",
    about: "What is booted",
    keys: &[
        Key::new(
            "kernel",
            Takes::Input("FILE|DIRECTORY"),
            "the kernel: uImage, FIT, ELF (vmlinux and boot wrappers), treeImage, any of them \
             compressed, or a kernel's build directory",
        ),
        Key::new(
            "load-address",
            Takes::Number("ADDRESS"),
            "where a kernel file without any header goes, and where it starts",
        ),
        Key::new(
            "fit-config",
            Takes::Text("NAME"),
            "configuration of a FIT image, in place of its default one",
        ),
        Key::new(
            "initrd",
            Takes::Input("FILE"),
            "initial RAM disk: a cpio archive, compressed or not, with or without a uImage header",
        ),
        Key::new(
            "append",
            Takes::Text("STR"),
            "the kernel's command line; without it, a tree given with dtb keeps its own. The \
             console is UART0 in any case",
        ),
        Key::new(
            "dtb",
            Takes::Input("FILE"),
            "device tree blob in place of the generated one; memory, command line and initrd are \
             filled in",
        ),
        Key::new(
            "memory",
            Takes::Text("SIZE"),
            "guest RAM with K, M or G; what 4 SDRAM banks can express, at most 1G",
        )
        .or("256M"),
    ],
    ..NO_TABLE
};

/// Settings of how the machine runs.
pub static RUN: Table = Table {
    option: "machine",
    about: "How it runs",
    keys: &[
        Key::new(
            "accel",
            Takes::Choice(ACCEL),
            "where the 440 core runs: in this process, or behind /dev/kvm on a 440 host",
        )
        .or("auto"),
        Key::new(
            "cpu",
            Takes::Choice(CPU),
            "what executes guest instructions in this process",
        )
        .or("auto"),
        Key::new(
            "windows",
            SWITCH,
            "whether translated code may let the host's MMU check its accesses, which takes a \
             handler of SIGSEGV for the process",
        )
        .or("on"),
        Key::new(
            "timeout",
            Takes::Text("DURATION"),
            "end the run after this time, for example 90s or 2m (a plain number is seconds), with \
             status 124",
        ),
        Key::new(
            "on-reset",
            Takes::Choice(ON_RESET),
            "what to do when the guest resets",
        )
        .or("exit"),
        Key::new(
            "on-panic",
            Takes::Choice(ON_PANIC),
            "what to do when the guest's kernel panics",
        )
        .or("exit"),
        Key::new(
            "on-halt",
            Takes::Choice(ON_STANDSTILL),
            "what to do when the guest's kernel halts",
        )
        .or("exit"),
        Key::new(
            "on-hang",
            Takes::Choice(ON_STANDSTILL),
            "what to do when nothing can wake or move the guest any more",
        )
        .or("exit"),
        Key::new(
            "on-power-off",
            Takes::Choice(ON_STANDSTILL),
            "what to do when the guest powers off",
        )
        .or("exit"),
        Key::new(
            "symbols",
            Takes::Input("FILE"),
            "the kernel's symbols for back traces, a vmlinux or a System.map; without this, those \
             of a kernel that is an ELF file or a build directory",
        ),
        Key::new(
            "serial",
            Takes::Destination,
            "where a serial port leads, once for each port in order, UART0 first: stdio, null, \
             file=PATH, pty, unix=PATH or tcp=HOST:PORT, which listen, unix-connect=PATH or \
             tcp-connect=HOST:PORT, which connect, or fd=N, a descriptor that this process was started \
             with. Without any, UART0 has stdio, unless a console has it; ports that are not named lead \
             nowhere",
        )
        .many(),
        Key::new(
            "console-log",
            Takes::Path("FILE"),
            "a file that has everything that the console prints too, byte for byte: what goes to \
             standard output, or UART0's where nothing does. It is emptied first",
        ),
        Key::new(
            "escape",
            Takes::Choice(ESCAPE),
            "whether Ctrl-a in standard input is for the launcher, and Ctrl-c in a terminal the guest's",
        )
        .or("auto"),
        Key::new(
            "clock",
            Takes::Choice(CLOCK),
            "what drives the guest's time base: the host's clock, or executed instructions, which \
             makes runs repeatable",
        )
        .or("host"),
        Key::new(
            "stats",
            Takes::Nothing,
            "at the end, print exits by cause, instructions, speed and memory to standard error",
        ),
        Key::new("no-rng", Takes::Nothing, "no entropy device"),
    ],
    ..NO_TABLE
};

/// All settings, which are the keys of a file's first part.
pub static SETTINGS: [&Table; 2] = [&BOOT, &RUN];

const NO_TABLE: Table = Table {
    option: "",
    about: "",
    keys: &[],
    alternatives: "",
    bare: None,
    mistakes: &[],
    several: false,
};

/// Declares a choice's words once, for reading and for writing.
macro_rules! choice {
    ($words:ident for $name:ident { $($(#[doc = $help:literal])* $word:literal => $value:ident),* $(,)? }) => {
        const $words: &[Choice] = &[$(Choice { word: $word, help: concat!($($help),*) }),*];

        impl Word for $name {
            fn word(self) -> &'static str {
                match self { $($name::$value => $word),* }
            }

            fn by(word: &str) -> Option<Self> {
                match word {
                    $($word => Some($name::$value),)*
                    _ => None,
                }
            }
        }
    };
}

/// A choice that is written as a word.
trait Word: Sized {
    fn word(self) -> &'static str;
    fn by(word: &str) -> Option<Self>;
}

choice!(ACCEL for Accel {
    /// /dev/kvm when it is a 440's, else in this process
    "auto" => Auto,
    /// /dev/kvm, or an error
    "kvm" => Kvm,
    /// In this process
    "inproc" => Inproc,
});
choice!(CPU for Cpu {
    /// The fastest that this build has for this host
    "auto" => Auto,
    /// The interpreter
    "interp" => Interp,
    /// The translator to host code
    "jit" => Jit,
});
choice!(ON_RESET for OnReset {
    /// End the run with status 0
    "exit" => Exit,
    /// Start again from the same files
    "reboot" => Reboot,
});
choice!(ON_PANIC for OnPanic {
    /// End the run with status 34 once the kernel has said all of it
    "exit" => Exit,
    /// Go on: the kernel resets, or stays where it is
    "continue" => Continue,
});
choice!(ON_STANDSTILL for OnStandstill {
    /// End the run
    "exit" => Exit,
    /// Leave the machine as it is until something else ends the run
    "stay" => Stay,
});
choice!(ESCAPE for EscapeKey {
    /// When standard input is a terminal
    "auto" => Auto,
    /// Always, also when it is a pipe
    "on" => On,
    /// Never: every byte is the guest's, and Ctrl-c in a terminal ends the run
    "off" => Off,
});
choice!(CLOCK for Clock {
    /// The host's monotonic clock; a guest that does nothing but wait in a loop for its time base to pass
    /// is ahead of it by up to 0.25 s, which it waits longer when it idles
    "host" => Host,
    /// The host's monotonic clock, always
    "host-strict" => HostStrict,
    /// One tick per instruction; idle time is skipped
    "virtual" => Virtual,
});

fn chosen<T: Word>(key: &'static Key, value: &str) -> Result<T, OptionError> {
    let words = key.value_name().unwrap_or_default();
    T::by(value).ok_or_else(|| bad(key.name, value, format!("use {}", words.replace('|', ", "))))
}

/// A guest physical address, decimal or hexadecimal.
fn address(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let address = match digits {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    address.map_err(|error| format!("{error}; write it like 4194304 or 0x400000"))
}

/// A duration with its unit, or in seconds, as other commands take it.
fn duration(text: &str) -> Result<Duration, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    let parsed = match is_plain.then(|| text.parse()) {
        Some(Ok(seconds)) => Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string()),
        _ => humantime::parse_duration(text).map_err(|why| why.to_string()),
    };
    parsed.map_err(|why| format!("{why}; write 90s, 2m or, in seconds, 90"))
}

impl Spec {
    /// Takes settings over from a list; those that it does not have stay as they are, and serial
    /// ports are replaced as a whole.
    ///
    /// # Errors
    /// A value that a setting cannot have.
    pub fn apply(&mut self, list: &KeyList) -> Result<(), OptionError> {
        if list.has("serial") {
            self.serial.clear();
        }
        let mut items = list.items();
        items.try_for_each(|(key, value)| self.set(key, value.unwrap_or_default()))
    }

    /// Sets one setting; the value of a key without one is empty.
    ///
    /// # Errors
    /// A value that it cannot have.
    pub(super) fn set(&mut self, key: &'static Key, value: &str) -> Result<(), OptionError> {
        let why = |why: String| bad(key.name, value, why);
        match key.name {
            "kernel" => self.boot.kernel = Some(Image::File(value.into())),
            "load-address" => {
                self.boot.kernel_options.load_address = Some(address(value).map_err(why)?);
            }
            "fit-config" => self.boot.kernel_options.fit_config = Some(value.into()),
            "initrd" => self.boot.initrd = Some(Image::File(value.into())),
            "append" => self.boot.append = Some(value.into()),
            "dtb" => self.boot.dtb = Some(Image::File(value.into())),
            "memory" => {
                let size = value.parse();
                self.memory = size.map_err(|error| bad(key.name, value, error))?;
            }
            "windows" => {
                self.windows = on(value).ok_or_else(|| bad(key.name, value, "use on or off"))?
            }
            "accel" => self.accel = chosen(key, value)?,
            "cpu" => self.cpu = chosen(key, value)?,
            "timeout" => {
                self.timeout = Some(duration(value).map_err(why)?);
            }
            "on-reset" => self.on_reset = chosen(key, value)?,
            "on-panic" => self.on_panic = chosen(key, value)?,
            "on-halt" => self.standstills.on_halt = chosen(key, value)?,
            "on-hang" => self.standstills.on_hang = chosen(key, value)?,
            "on-power-off" => self.standstills.on_power_off = chosen(key, value)?,
            "symbols" => self.symbols = Some(value.into()),
            "serial" => {
                let serial: Result<Serial, _> = value.parse();
                self.serial
                    .push(serial.map_err(|error| bad(key.name, value, error))?);
            }
            "console-log" => self.console_log = Some(value.into()),
            "escape" => self.escape = chosen(key, value)?,
            "clock" => self.clock = chosen(key, value)?,
            "stats" => self.timed = true,
            "no-rng" => self.rng = None,
            _ => {
                return Err(OptionError::List(format!("`{}` is no setting", key.name)));
            }
        }
        Ok(())
    }

    /// The settings as lists of keys that make them.
    pub(crate) fn settings(&self) -> Result<[KeyList; 2], NotWritable> {
        let options = &self.boot.kernel_options;
        let address = options.load_address.map(|address| format!("{address:#x}"));
        let boot = KeyList::new(&BOOT)
            .with_some("kernel", file("kernel", self.boot.kernel.as_ref())?)
            .with_some("load-address", address)
            .with_some("fit-config", options.fit_config.as_ref())
            .with_some("initrd", file("initrd", self.boot.initrd.as_ref())?)
            .with_some("append", self.boot.append.as_ref())
            .with_some("dtb", file("dtb", self.boot.dtb.as_ref())?)
            .with("memory", self.memory);
        let symbols = self.symbols.as_deref();
        let symbols = symbols.map(|path| text_of("symbols", path)).transpose()?;
        let mut run = KeyList::new(&RUN)
            .with("accel", self.accel.word())
            .with("cpu", self.cpu.word())
            .with("windows", switch(self.windows))
            .with_some("timeout", self.timeout.map(humantime::format_duration))
            .with("on-reset", self.on_reset.word())
            .with("on-panic", self.on_panic.word())
            .with("on-halt", self.standstills.on_halt.word())
            .with("on-hang", self.standstills.on_hang.word())
            .with("on-power-off", self.standstills.on_power_off.word())
            .with_some("symbols", symbols);
        for serial in &self.serial {
            if let Serial::File(path) | Serial::Unix(path) | Serial::UnixConnect(path) = serial {
                text_of("serial", path)?;
            }
            run = run.with("serial", serial);
        }
        let log = self.console_log.as_deref();
        let log = log.map(|path| text_of("console-log", path)).transpose()?;
        let run = run
            .with_some("console-log", log)
            .with("escape", self.escape.word())
            .with("clock", self.clock.word())
            .with_flag("stats", self.timed)
            .with_flag("no-rng", self.rng.is_none());
        Ok([boot, run])
    }
}

impl Spec {
    /// The machine as options of the command line, each with its value if it takes one; settings
    /// that are as they would be without the option are left out.
    ///
    /// ```
    /// use ppckvm::{Disk, Spec};
    ///
    /// let mut spec = Spec::default();
    /// spec.devices.push(Disk::file("root.img").into());
    /// assert_eq!(spec.options()?, [("disk", Some("path=root.img".into()))]);
    /// # Ok::<(), ppckvm::NotWritable>(())
    /// ```
    ///
    /// # Errors
    /// Something that is in memory, or whose name is not UTF-8.
    pub fn options(&self) -> Result<Vec<(&'static str, Option<String>)>, NotWritable> {
        let mut options = Vec::new();
        for list in self.settings()? {
            let given = list
                .items()
                .filter(|(key, value)| key.default != *value || value.is_none());
            options.extend(given.map(|(key, value)| (key.name, value.map(str::to_owned))));
        }
        for device in &self.devices {
            let list = devices::write(device)?;
            options.push((list.table().option, Some(list.to_string())));
        }
        if let Some(place) = self.rng.filter(|place| *place != Place::default()) {
            let list = devices::write_rng(place);
            options.push((list.table().option, Some(list.to_string())));
        }
        Ok(options)
    }
}

fn file<'a>(what: &str, image: Option<&'a Image>) -> Result<Option<&'a str>, NotWritable> {
    match image {
        None => Ok(None),
        Some(Image::File(path)) => Ok(Some(text_of(what, path)?)),
        Some(image) => Err(NotWritable {
            what: format!("{what} {}", Path::display(&image.path())),
            why: "it is in memory",
        }),
    }
}

/// Checks a setting's value.
///
/// # Errors
/// What is wrong, and what to write.
pub fn check(key: &'static Key, value: &str) -> Result<(), String> {
    match Spec::default().set(key, value) {
        Err(OptionError::Value { why, .. }) => Err(why),
        Err(error) => Err(error.to_string()),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> &'static Key {
        let found = SETTINGS.iter().find_map(|table| table.key(name));
        found.unwrap()
    }

    #[test]
    fn every_setting_is_read_and_written() {
        for table in SETTINGS {
            for key in table.keys {
                let value = match key.takes {
                    Takes::Nothing => "",
                    Takes::Text(_) if key.name == "memory" => "64M",
                    Takes::Text(_) if key.name == "timeout" => "1m 30s",
                    Takes::Text(_) => "text",
                    Takes::Number(_) => "0x400000",
                    Takes::Path(_) | Takes::Input(_) => "/a/b",
                    Takes::Destination => "unix=/a",
                    Takes::Choice(choices) => choices[choices.len() - 1].word,
                };
                let mut spec = Spec::default();
                spec.set(key, value).unwrap();
                assert_ne!(spec, Spec::default(), "{}", key.name);
                let written = spec.settings().unwrap();
                let mut again = Spec::default();
                for list in &written {
                    again.apply(list).unwrap();
                }
                assert_eq!(again, spec, "{}", key.name);
            }
        }
    }

    #[test]
    fn defaults_are_what_the_table_says() {
        for table in SETTINGS {
            for key in table.keys {
                if let Some(default) = key.default {
                    let mut spec = Spec::default();
                    spec.set(key, default).unwrap();
                    assert_eq!(spec, Spec::default(), "{}", key.name);
                }
            }
        }
    }

    #[test]
    fn what_a_setting_cannot_be_is_said_with_the_remedy() {
        for (name, value, part) in [
            ("memory", "256", "write 256M"),
            ("memory", "lots", "is not a number"),
            ("timeout", "soon", "write 90s, 2m or, in seconds, 90"),
            ("timeout", "", "write 90s, 2m"),
            ("timeout", "1.2.3", "write 90s, 2m"),
            ("timeout", "99999999999999999999999", "write 90s, 2m"),
            ("windows", "yes", "use on or off"),
            ("cpu", "440", "use auto, interp, jit"),
            ("load-address", "0xg", "write it like 4194304"),
            ("serial", "tty", "use stdio, null"),
        ] {
            let error = check(key(name), value).unwrap_err();
            assert!(error.contains(part), "{name}={value}: {error}");
        }
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, millis) in [
            ("90s", 90_000),
            ("2m", 120_000),
            ("1m 30s", 90_000),
            ("90", 90_000),
            ("0.5", 500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_in_memory_cannot_be_written() {
        let mut spec = Spec::default();
        spec.boot.kernel = Some(Image::Program {
            gpa: 0,
            bytes: vec![0; 4],
        });
        let error = spec.settings().unwrap_err().to_string();
        assert!(
            error.contains("kernel program") && error.contains("memory"),
            "{error}"
        );
    }
}
