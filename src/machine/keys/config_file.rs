//! A whole machine as a TOML file.
//!
//! ```toml
//! kernel = "uImage"
//! memory = "64M"
//! serial = ["stdio", "pty"]
//!
//! [[disk]]
//! path = "root.qcow2"
//! overlay = true
//!
//! [[net]]
//! user = true
//! hostfwd = ["tcp::2222-:22"]
//! ```
//!
//! The keys are the command line's long options and the keys of their lists. Devices have their slots
//! in the order of the file. Relative paths are relative to the file's folder.

use std::fmt::{self, Write};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_writer::{ToTomlValue, TomlStringBuilder};

use super::devices::{self, DEVICES, RNG};
use super::settings::SETTINGS;
use super::{Key, KeyList, NotWritable, OptionError, Table, Takes};
use crate::machine::spec::Spec;

/// A configuration file that cannot be used; nothing was started.
#[derive(Debug)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, counted from 1, where one is known.
    pub line: Option<usize>,
    /// The key, as `memory` or `disk.path`, where one is known.
    pub key: Option<String>,
    /// The fault that was found in it.
    pub fault: Box<ConfigFault>,
}

/// The reason why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// The file cannot be read.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Read(io::Error),
    /// The file is not valid TOML.
    #[error("{0}; see toml.io for what a file looks like")]
    Syntax(String),
    /// A key or a value is invalid.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A value has another type.
    #[error("this is {found}, and must be {wanted}; write {example}")]
    Type {
        /// The type that it has.
        found: &'static str,
        /// The type that it must have.
        wanted: &'static str,
        /// An example of how it is written.
        example: String,
    },
    /// A key's value is one that it cannot have.
    #[error("{0}")]
    Invalid(String),
    /// There are several devices of a kind of which a machine has one.
    #[error("there can be one; leave the others out")]
    Several,
    /// A file that is named does not exist.
    #[error("{}: {error}; check the path, which is relative to the configuration file's folder", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}", self.fault)
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}

/// Keys of one part of a file, and where they stand.
#[derive(Debug)]
struct Part {
    list: KeyList,
    /// The part's own line.
    line: usize,
    /// The lines of the list's items.
    lines: Vec<usize>,
}

/// A configuration file that was read: every key is known and has a value of its type.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    settings: Vec<Part>,
    devices: Vec<Part>,
    rng: Option<Part>,
}

/// A file while it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// The file's name, for messages and for the paths in it.
    pub path: &'a Path,
    /// All of it.
    pub text: &'a str,
}

/// A key of a table and its value, each with where it stands.
pub(crate) type Entry<'k, 'v> = (
    &'k Spanned<std::borrow::Cow<'v, str>>,
    &'k Spanned<DeValue<'v>>,
);

impl<'a> Reader<'a> {
    /// The line of a place in the file, counted from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The keys of the whole file.
    ///
    /// # Errors
    /// A text that is no TOML.
    pub fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| ConfigError {
            file: self.path.to_owned(),
            line: error.span().map(|span| self.line(&span)),
            key: None,
            fault: Box::new(ConfigFault::Syntax(error.message().to_owned())),
        })
    }

    /// What is wrong on a line, with a key.
    pub fn error(&self, line: usize, key: &str, fault: impl Into<ConfigFault>) -> ConfigError {
        ConfigError {
            file: self.path.to_owned(),
            line: Some(line),
            key: (!key.is_empty()).then(|| key.to_owned()),
            fault: Box::new(fault.into()),
        }
    }

    /// What is wrong with the type of a value.
    pub fn wrong_type(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        wanted: &'static str,
        example: &str,
    ) -> ConfigError {
        let fault = ConfigFault::Type {
            found: type_of(value.get_ref()),
            wanted,
            example: example.to_owned(),
        };
        self.error(self.line(&value.span()), key, fault)
    }

    /// Adds one key to a part.
    fn add(
        &self,
        part: &mut Part,
        at: &str,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        let line = self.line(&name.span());
        let name = name.get_ref();
        let failed = |fault: ConfigFault| {
            let key = match at {
                "" => name.to_string(),
                at => format!("{at}.{name}"),
            };
            self.error(line, &key, fault)
        };
        let Some(key) = part.list.table.key(name) else {
            let pushed = part.list.push(name, None, name);
            return pushed.map_err(|error| self.error(line, at, error));
        };
        for value in values(key, value.get_ref()).map_err(failed)? {
            let pushed = part.list.push(name, value.as_deref(), name);
            pushed.map_err(|error| failed(error.into()))?;
            part.lines.push(line);
        }
        Ok(())
    }

    /// The keys of a device.
    fn device(
        &self,
        table: &'static Table,
        span: &Range<usize>,
        keys: &DeTable<'_>,
    ) -> Result<Part, ConfigError> {
        let mut part = Part::new(table, self.line(span));
        for (name, value) in keys.iter() {
            self.add(&mut part, table.option, name, value)?;
        }
        Ok(part)
    }

    /// The tables of one device option, each with where it stands.
    fn tables(
        &self,
        table: &'static Table,
        line: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<(usize, Part)>, ConfigError> {
        let one = |span: Range<usize>, value: &DeValue<'_>| match value {
            DeValue::Table(keys) => Ok((span.start, self.device(table, &span, keys)?)),
            other => Err(self.error(
                line,
                table.option,
                ConfigFault::Type {
                    found: type_of(other),
                    wanted: "a table of keys",
                    example: header(table),
                },
            )),
        };
        match value.get_ref() {
            DeValue::Array(elements) if table.several || elements.len() < 2 => elements
                .iter()
                .map(|element| one(element.span(), element.get_ref()))
                .collect(),
            DeValue::Array(elements) => {
                let second = elements
                    .get(1)
                    .map_or(line, |second| self.line(&second.span()));
                Err(self.error(second, table.option, ConfigFault::Several))
            }
            single => Ok(vec![one(value.span(), single)?]),
        }
    }
}

impl Part {
    fn new(table: &'static Table, line: usize) -> Self {
        Part {
            list: KeyList::new(table),
            line,
            lines: Vec::new(),
        }
    }
}

/// How a device's keys begin.
fn header(table: &Table) -> String {
    match table.several {
        true => format!("[[{}]]", table.option),
        false => format!("[{}]", table.option),
    }
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A key's values as the command line has them: none for a flag that is off.
fn values(key: &Key, value: &DeValue<'_>) -> Result<Vec<Option<String>>, ConfigFault> {
    if let DeValue::Array(elements) = value
        && key.many
    {
        let one = |element: &Spanned<DeValue<'_>>| Ok(Some(scalar(key, element.get_ref())?));
        return elements.iter().map(one).collect();
    }
    match (key.takes, value) {
        (Takes::Nothing, DeValue::Boolean(on)) => Ok(on.then_some(None).into_iter().collect()),
        _ => Ok(vec![Some(scalar(key, value)?)]),
    }
}

fn scalar(key: &Key, value: &DeValue<'_>) -> Result<String, ConfigFault> {
    let is_switch = |choices: &[super::Choice]| choices.iter().any(|choice| choice.word == "on");
    match (key.takes, value) {
        (Takes::Nothing, _) => {}
        (_, DeValue::String(text)) => return Ok(text.to_string()),
        (Takes::Number(_), DeValue::Integer(number)) => {
            let prefix = if number.radix() == 16 { "0x" } else { "" };
            return Ok(format!("{prefix}{}", number.as_str()));
        }
        (Takes::Choice(choices), DeValue::Boolean(on)) if is_switch(choices) => {
            return Ok(if *on { "on" } else { "off" }.to_owned());
        }
        _ => {}
    }
    Err(ConfigFault::Type {
        found: type_of(value),
        wanted: match key.takes {
            Takes::Nothing => "true or false",
            Takes::Number(_) => "a whole number or a text",
            _ if key.many => "a text or a list of texts",
            _ => "a text",
        },
        example: example(key),
    })
}

/// How a key is written in a file.
fn example(key: &Key) -> String {
    let value = match key.takes {
        Takes::Nothing => return format!("{} = true", key.name),
        Takes::Choice(choices) => choices[0].word.to_owned(),
        _ => key.value_name().unwrap_or_default(),
    };
    match key.many {
        true => format!("{} = [\"{value}\"]", key.name),
        false => format!("{} = \"{value}\"", key.name),
    }
}

impl ConfigFile {
    /// Reads a file. Its keys are known afterwards; their values are checked by
    /// [`ConfigFile::spec`].
    ///
    /// # Errors
    /// A file that cannot be read, or is no TOML, or has keys that there are not.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: path.to_owned(),
            line: None,
            key: None,
            fault: Box::new(ConfigFault::Read(error)),
        })?;
        ConfigFile::parse(path, &text)
    }

    /// Reads a file's text as [`ConfigFile::read`] does; `path` is for messages and for the paths
    /// in it.
    ///
    /// # Errors
    /// As [`ConfigFile::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let reader = Reader { path, text };
        let root = reader.parse()?;
        ConfigFile::of_keys(&reader, root.get_ref().iter())
    }

    /// Reads the keys of a machine which stand among others in a file.
    ///
    /// # Errors
    /// A key that no machine has, or a value that is not of its type.
    pub(crate) fn of_keys<'k, 'v: 'k>(
        reader: &Reader<'_>,
        keys: impl Iterator<Item = Entry<'k, 'v>>,
    ) -> Result<Self, ConfigError> {
        let path = reader.path;
        let mut settings = SETTINGS.map(|table| Part::new(table, 1));
        let mut found: Vec<(usize, Part)> = Vec::new();
        let mut rng = None;
        for (name, value) in keys {
            let line = reader.line(&name.span());
            let is_named = |table: &&&Table| table.option == name.get_ref().as_ref();
            if let Some(table) = DEVICES.iter().find(is_named) {
                found.extend(reader.tables(table, line, value)?);
            } else if RNG.option == name.get_ref().as_ref() {
                rng = reader.tables(RNG, line, value)?.pop().map(|(_, part)| part);
            } else if let Some(part) = settings
                .iter_mut()
                .find(|part| part.list.table.key(name.get_ref()).is_some())
            {
                reader.add(part, "", name, value)?;
            } else {
                return Err(reader.error(line, "", unknown(name.get_ref())));
            }
        }
        found.sort_by_key(|(at, _)| *at);
        let mut file = ConfigFile {
            path: path.to_owned(),
            settings: settings.into(),
            devices: found.into_iter().map(|(_, part)| part).collect(),
            rng,
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        for part in file.settings.iter_mut().chain(&mut file.devices) {
            part.list.resolve(folder);
        }
        Ok(file)
    }

    /// Takes what another list of keys of the same file says: its settings in the place of these, but the
    /// kernel's command line after this one's, and its devices after these.
    pub(crate) fn override_with(&mut self, other: ConfigFile) {
        for part in other.settings {
            let mut replaced: Vec<&str> = Vec::new();
            for ((key, value), line) in part.list.items.into_iter().zip(part.lines) {
                let mut value = value;
                if key.name == "append" {
                    let before = self
                        .settings
                        .iter()
                        .flat_map(|part| part.list.values("append"));
                    let all = before.map(str::to_owned).chain(value);
                    value = Some(all.collect::<Vec<_>>().join(" "));
                }
                if !replaced.contains(&key.name) {
                    self.forget(key.name);
                    replaced.push(key.name);
                }
                let mut settings = self.settings.iter_mut();
                if let Some(own) = settings.find(|own| own.list.table == part.list.table) {
                    own.list.items.push((key, value));
                    own.lines.push(line);
                }
            }
        }
        self.devices.extend(other.devices);
        if other.rng.is_some() {
            self.forget("no-rng");
            self.rng = other.rng;
        }
    }

    /// Gives a setting a value that does not stand in the file, in the place of those that do.
    pub fn set(&mut self, setting: &str, value: &str) {
        self.forget(setting);
        for part in &mut self.settings {
            if let Some(key) = part.list.table.key(setting) {
                part.list.items.push((key, Some(value.to_owned())));
                part.lines.push(part.line);
            }
        }
    }

    /// Forgets a setting, because something else says it.
    pub fn forget(&mut self, setting: &str) {
        for part in &mut self.settings {
            let mut lines = part.lines.iter();
            let is_kept = |key: &Key| key.name != setting;
            let items = std::mem::take(&mut part.list.items);
            let kept = items.into_iter().zip(lines.by_ref().copied());
            let (items, lines) = kept.filter(|((key, _), _)| is_kept(key)).unzip();
            (part.list.items, part.lines) = (items, lines);
        }
        if matches!(setting, "rng" | "no-rng") {
            self.rng = None;
        }
    }

    /// Returns the machine that the file describes.
    ///
    /// # Errors
    /// A value that a key cannot have, or a file that is named and not there.
    pub fn spec(&self) -> Result<Spec, ConfigError> {
        let spec = self.unchecked_spec()?;
        for part in &self.settings {
            self.check_inputs("", part)?;
        }
        for part in &self.devices {
            self.check_inputs(part.list.table.option, part)?;
        }
        Ok(spec)
    }

    /// The machine that the file describes, whether or not the files are there that it names.
    fn unchecked_spec(&self) -> Result<Spec, ConfigError> {
        let mut spec = Spec::default();
        for part in &self.settings {
            for ((key, value), line) in part.list.items.iter().zip(&part.lines) {
                let set = spec.set(key, value.as_deref().unwrap_or_default());
                set.map_err(|error| self.error(*line, key.name, error))?;
            }
        }
        if let Some(part) = &self.rng {
            if spec.rng.is_none() {
                let both = "rng and no-rng exclude each other; leave one of them out";
                return Err(self.error(part.line, "rng", OptionError::List(both.into())));
            }
            let place = devices::read_rng(&part.list);
            spec.rng = Some(place.map_err(|error| self.error(part.line, "rng", error))?);
        }
        for part in &self.devices {
            let option = part.list.table.option;
            let device = devices::read(&part.list);
            let device = device.map_err(|error| match error {
                OptionError::Value { key, .. } => {
                    let items = part.list.items.iter().zip(&part.lines);
                    let at = items.clone().find(|((item, _), _)| item.name == key);
                    let line = at.map_or(part.line, |(_, line)| *line);
                    self.error(line, option, error)
                }
                error => self.error(part.line, option, error),
            })?;
            spec.devices.push(device);
        }
        Ok(spec)
    }

    fn error(&self, line: usize, key: &str, fault: impl Into<ConfigFault>) -> ConfigError {
        ConfigError {
            file: self.path.clone(),
            line: Some(line),
            key: Some(key.to_owned()),
            fault: Box::new(fault.into()),
        }
    }

    /// Checks that the files which are named are there.
    fn check_inputs(&self, option: &str, part: &Part) -> Result<(), ConfigError> {
        for ((key, value), line) in part.list.items.iter().zip(&part.lines) {
            let (Takes::Input(_), Some(path)) = (key.takes, value) else {
                continue;
            };
            if let Err(error) = std::fs::metadata(path) {
                let name = match option {
                    "" => key.name.to_owned(),
                    option => format!("{option}.{}", key.name),
                };
                let path = path.into();
                return Err(self.error(*line, &name, ConfigFault::Missing { path, error }));
            }
        }
        Ok(())
    }
}

/// The error for a name that is neither a setting nor a device.
fn unknown(name: &str) -> OptionError {
    let keys = SETTINGS
        .iter()
        .flat_map(|table| table.keys)
        .map(|key| key.name);
    let tables = DEVICES.iter().copied().chain([RNG]);
    let options = tables.clone().map(|table| table.option);
    let known: Vec<&str> = keys.clone().chain(options.clone()).collect();
    let distance = |known: &str| strsim::osa_distance(known, name);
    let near = keys.chain(options).filter(|known| distance(known) <= 2);
    let meant = near.min_by_key(|known| distance(known));
    let meant = meant.map(
        |meant| match tables.clone().find(|table| table.option == meant) {
            Some(table) => header(table),
            None => meant.to_owned(),
        },
    );
    OptionError::Unknown {
        key: name.to_owned(),
        meant,
        known: known.join(", "),
    }
}

impl Spec {
    /// Reads a machine from a TOML file: the keys are the command line's long options and the keys
    /// of their lists. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// A file that cannot be read or used; the error names file, line and key.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        ConfigFile::read(path)?.spec()
    }

    /// Writes the machine as the text of a TOML file, from which [`Spec::from_toml_file`] makes the
    /// same one. Relative paths in it are taken as relative to `folder`, which is this process's in
    /// most cases; `None` leaves them as they are.
    ///
    /// # Errors
    /// An image, a disk or a network that is in memory.
    pub fn to_toml(&self, folder: Option<&Path>) -> Result<String, NotWritable> {
        let mut text = String::new();
        let resolve = |mut list: KeyList| {
            if let Some(folder) = folder {
                list.resolve(folder);
            }
            list
        };
        for list in self.settings()? {
            write_keys(&mut text, &resolve(list));
        }
        let rng = self.rng.map(devices::write_rng);
        let rng = rng.filter(|list| !list.is_empty());
        let devices = self.devices.iter().map(devices::write);
        let devices = devices.collect::<Result<Vec<_>, _>>()?;
        for list in devices.into_iter().chain(rng) {
            let _ = writeln!(text, "\n{}", header(list.table));
            write_keys(&mut text, &resolve(list));
        }
        Ok(text)
    }
}

/// Writes a line for each key; writing to a text cannot fail.
fn write_keys(text: &mut String, list: &KeyList) {
    for key in list.table.keys {
        let mut values = list.values(key.name).map(|value| quoted(key, value));
        let _ = match (key.takes, key.many) {
            _ if !list.has(key.name) => Ok(()),
            (Takes::Nothing, _) => writeln!(text, "{} = true", key.name),
            (_, true) => {
                let values: Vec<String> = values.collect();
                writeln!(text, "{} = [{}]", key.name, values.join(", "))
            }
            (_, false) => writeln!(text, "{} = {}", key.name, values.next().unwrap_or_default()),
        };
    }
}

/// A value in TOML.
fn quoted(key: &Key, value: &str) -> String {
    match key.takes {
        Takes::Number(_) => value.to_owned(),
        _ => TomlStringBuilder::new(value).as_default().to_toml_value(),
    }
}

#[cfg(test)]
mod tests;
