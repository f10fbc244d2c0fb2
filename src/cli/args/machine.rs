//! The options that describe a machine, made from the library's tables of keys.
//!
//! A new setting or key is declared there and appears here by itself.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::error::{Error, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use ppckvm::keys::{
    BOOT, Choice, DEVICES, Key, KeyList, RNG, RUN, Table, Takes, check, key_lines, read, read_rng,
    usage,
};
use ppckvm::{ConfigFile, Device, DeviceSpec, Place, Spec};

/// Which of the options a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them: `run`.
    Run,
    /// All of them, and a kernel is not necessary: `test`.
    Test,
    /// Those of which the device tree depends: `dtb`.
    Tree,
    /// The same without the kernel, which is no option there: `inspect`.
    Image,
}

/// A machine as the command line describes it.
#[derive(Clone, Debug)]
struct MachineArgs {
    config: Option<PathBuf>,
    settings: Vec<KeyList>,
    /// Devices in the order in which they were given.
    devices: Vec<DeviceSpec>,
    rng: Option<Place>,
    no_rng: bool,
}

/// The headings in the help.
const DEVICE_HEADING: &str = "Devices";

/// A text that begins a sentence or a line of help.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The option of one setting.
fn setting(key: &'static Key) -> Arg {
    let default = key.default;
    let default = default.map_or(String::new(), |default| format!(" [default: {default}]"));
    let arg = Arg::new(key.name)
        .long(key.name)
        .help(format!("{}{default}", capital(key.help)));
    let Some(value) = key.placeholder() else {
        return arg.action(ArgAction::SetTrue);
    };
    let arg = arg.value_name(value);
    let arg = match key.takes {
        Takes::Choice(choices) => {
            let word = |choice: &Choice| PossibleValue::new(choice.word).help(choice.help.trim());
            let words: Vec<PossibleValue> = choices.iter().map(word).collect();
            arg.value_parser(words)
        }
        _ => arg.value_parser(move |text: &str| check(key, text).map(|()| text.to_owned())),
    };
    match key.many {
        true => arg.action(ArgAction::Append),
        false => arg,
    }
}

/// The option of one device.
fn device(table: &'static Table) -> Arg {
    let arg = Arg::new(table.option)
        .long(table.option)
        .help_heading(DEVICE_HEADING)
        .help(format!("{}: {}", table.about, usage(table)))
        .long_help(format!(
            "{}: {}\n{}",
            table.about,
            usage(table),
            key_lines(table)
        ))
        .value_parser(move |text: &str| {
            read(&KeyList::parse(table, text).map_err(|error| error.to_string())?)
                .map_err(|error| error.to_string())
        });
    let must_have_keys = table.keys.iter().any(|key| key.required || key.alternative);
    let arg = arg.value_name("KEYS");
    match (table.several, must_have_keys) {
        (true, _) => arg.action(ArgAction::Append),
        (false, true) => arg,
        (false, false) => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value(""),
    }
}

fn rng() -> Arg {
    Arg::new(RNG.option)
        .long(RNG.option)
        .help_heading(DEVICE_HEADING)
        .value_name("KEYS")
        .help(format!("{}: {}", RNG.about, usage(RNG)))
        .conflicts_with("no-rng")
        .value_parser(|text: &str| {
            KeyList::parse(RNG, text)
                .and_then(|list| read_rng(&list))
                .map_err(|error| error.to_string())
        })
}

fn config() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(
            "A machine as a TOML file, whose keys are these options; relative paths in it are \
             relative to its folder. Options of the command line win over the file, and their \
             devices come after its own",
        )
}

/// The tables of a command's settings.
fn settings(scope: Scope) -> impl Iterator<Item = (&'static Table, &'static Key)> {
    let tables = [&BOOT, &RUN];
    let keys = tables
        .into_iter()
        .flat_map(|table| table.keys.iter().map(move |key| (table, key)));
    keys.filter(move |(table, key)| match scope {
        Scope::Run | Scope::Test => true,
        Scope::Tree => *table == &BOOT || key.name == "no-rng",
        Scope::Image => (*table == &BOOT && key.name != "kernel") || key.name == "no-rng",
    })
}

fn arguments(scope: Scope, command: Command) -> Command {
    let settings = settings(scope).map(|(_, key)| {
        let arg = setting(key);
        match (scope, key.name) {
            (Scope::Run, "kernel") => {
                arg.required_unless_present_any(["config", "image"])
                    .help(format!(
                        "{}. It can also stand without --kernel",
                        capital(key.help)
                    ))
            }
            (_, "no-rng") => arg.help_heading(DEVICE_HEADING),
            _ => arg,
        }
    });
    command
        .args([config()])
        .args(settings)
        .args(DEVICES.iter().map(|table| device(table)))
        .args([rng()])
}

/// Where each value of an option stands on the command line, and the value.
fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Vec<(usize, T)> {
    let indices = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<T>(id).into_iter().flatten();
    indices.zip(values.cloned()).collect()
}

/// The settings that were given.
fn read_settings(scope: Scope, matches: &ArgMatches) -> Result<Vec<KeyList>, Error> {
    let mut lists = vec![KeyList::new(&BOOT), KeyList::new(&RUN)];
    for (table, key) in settings(scope) {
        let list = lists.iter_mut().find(|list| list.table() == table);
        let list = list.expect("there is a list for each table");
        let values: Vec<Option<String>> = match key.takes {
            Takes::Nothing if matches.get_flag(key.name) => vec![None],
            Takes::Nothing => vec![],
            _ => {
                let values = matches.get_many::<String>(key.name).into_iter().flatten();
                values.map(|value| Some(value.clone())).collect()
            }
        };
        for value in values {
            list.add(key.name, value.as_deref())
                .map_err(|error| Error::raw(ErrorKind::InvalidValue, format!("{error}\n")))?;
        }
    }
    Ok(lists)
}

impl MachineArgs {
    fn read(scope: Scope, matches: &ArgMatches) -> Result<Self, Error> {
        let devices = DEVICES.iter();
        let mut devices: Vec<(usize, DeviceSpec)> = devices
            .flat_map(|table| given(matches, table.option))
            .collect();
        devices.sort_by_key(|(index, _)| *index);
        Ok(MachineArgs {
            config: matches.get_one("config").cloned(),
            settings: read_settings(scope, matches)?,
            devices: devices.into_iter().map(|(_, device)| device).collect(),
            rng: matches.get_one("rng").copied(),
            no_rng: matches.get_flag("no-rng"),
        })
    }

    /// The file's machine, and what the command line says of it in place and in addition.
    fn spec(mut self, kernel: Option<&str>) -> Result<Spec, Box<dyn std::error::Error>> {
        if let Some(kernel) = kernel {
            let boot = self.settings.iter_mut().find(|list| list.table() == &BOOT);
            let boot = boot.expect("there is a list for each table");
            boot.add("kernel", Some(kernel))?;
        }
        let mut spec = match &self.config {
            None => Spec::default(),
            Some(path) => {
                let mut file = ConfigFile::read(path)?;
                let keys = self.settings.iter().flat_map(KeyList::items);
                keys.for_each(|(key, _)| file.forget(key.name));
                if self.rng.is_some() || self.no_rng {
                    file.forget("rng");
                    file.forget("no-rng");
                }
                file.spec()?
            }
        };
        for list in &self.settings {
            spec.apply(list)?;
        }
        if self.rng.is_some() {
            spec.rng = self.rng;
        }
        for device in self.devices {
            add(&mut spec, device);
        }
        Ok(spec)
    }
}

/// Attaches a device; where there can be one of a kind, it takes the place of the one that is there.
fn add(spec: &mut Spec, device: DeviceSpec) {
    let is_one = matches!(device.device, Device::Vsock(_) | Device::Balloon);
    let same = |other: &&mut DeviceSpec| {
        std::mem::discriminant(&other.device) == std::mem::discriminant(&device.device)
    };
    match spec.devices.iter_mut().find(same).filter(|_| is_one) {
        Some(other) => *other = device,
        None => spec.devices.push(device),
    }
}

/// The options of one command; each scope is a type, as the argument parser wants it.
macro_rules! options {
    ($($(#[doc = $doc:literal])* $name:ident => $scope:ident),*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub struct $name(MachineArgs);

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                arguments(Scope::$scope, command)
            }

            fn augment_args_for_update(command: Command) -> Command {
                arguments(Scope::$scope, command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                MachineArgs::read(Scope::$scope, matches).map($name)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl $name {
            /// The machine, of the configuration file and the options; `kernel` is its kernel, when
            /// it stands alone on the command line.
            ///
            /// # Errors
            /// A configuration file that cannot be used.
            pub fn spec(
                self,
                kernel: Option<&str>,
            ) -> Result<Spec, Box<dyn std::error::Error>> {
                self.0.spec(kernel)
            }
        }
    )*};
}

options! {
    /// A machine that runs.
    RunOptions => Run,
    /// The machine of a test.
    TestOptions => Test,
    /// A machine whose device tree is asked for.
    TreeOptions => Tree,
    /// A machine that an image is for.
    ImageOptions => Image
}
