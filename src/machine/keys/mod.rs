//! Options as text: which keys there are, declared once for the command line, configuration files,
//! error messages and the manual.
//!
//! | module | |
//! |---|---|
//! | `mod` | [`Key`], [`Table`], and lists as they were given, [`KeyList`] |
//! | [`settings`] | the machine's own: `kernel`, `memory` and so on |
//! | [`devices`] | the devices' tables, and a list as a device and back |
//! | [`config_file`] | a whole machine as a TOML file |
//! | [`manual`] | the tables as help and as Markdown |
//!
//! A new key is a line in a device's table and a line in its `read` and `write`.

mod balloon;
pub(crate) mod config_file;
mod console;
pub(crate) mod devices;
mod disk;
pub(crate) mod manual;
mod net;
mod place;
pub(crate) mod settings;
mod share;
mod vsock;

use std::path::Path;

/// The kind of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// No value: the key alone says it.
    Nothing,
    /// A text; the name stands for it in usage lines.
    Text(&'static str),
    /// A whole number.
    Number(&'static str),
    /// A path that need not exist yet.
    Path(&'static str),
    /// A file or folder that must exist.
    Input(&'static str),
    /// A serial port's destination.
    Destination,
    /// One of several words.
    Choice(&'static [Choice]),
}

/// A word that a key can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The word.
    pub word: &'static str,
    /// The word's meaning.
    pub help: &'static str,
}

/// One key of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key's name.
    pub name: &'static str,
    /// The kind of value that it takes.
    pub takes: Takes,
    /// Whether it may be given more than once.
    pub many: bool,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it excludes all other keys that are so marked, one of which must be given.
    pub alternative: bool,
    /// The value that stands in its place when it is not given, if it has one.
    pub default: Option<&'static str>,
    /// The key's effect, in words without a full stop.
    pub help: &'static str,
}

impl Key {
    const fn new(name: &'static str, takes: Takes, help: &'static str) -> Self {
        Key {
            name,
            takes,
            many: false,
            required: false,
            alternative: false,
            default: None,
            help,
        }
    }

    const fn many(self) -> Self {
        Key { many: true, ..self }
    }

    const fn required(self) -> Self {
        Key {
            required: true,
            ..self
        }
    }

    const fn alternative(self) -> Self {
        Key {
            alternative: true,
            ..self
        }
    }

    const fn or(self, default: &'static str) -> Self {
        Key {
            default: Some(default),
            ..self
        }
    }

    /// Writes the key and what it takes: `readonly`, `path=FILE`, `format=raw|qcow2`.
    pub fn usage(&self) -> String {
        match self.value_name() {
            None => self.name.to_owned(),
            Some(value) => format!("{}={value}", self.name),
        }
    }

    /// The word that stands for the value where its words stand elsewhere; `None` for a key
    /// without.
    pub fn placeholder(&self) -> Option<&'static str> {
        Some(match self.takes {
            Takes::Nothing => return None,
            Takes::Text(name) | Takes::Number(name) | Takes::Path(name) | Takes::Input(name) => {
                name
            }
            Takes::Destination => "DEST",
            Takes::Choice(_) => "WORD",
        })
    }

    /// The word that stands for the value in usage lines; `None` for a key without.
    pub fn value_name(&self) -> Option<String> {
        match self.takes {
            Takes::Choice(choices) => {
                let words: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
                Some(words.join("|"))
            }
            _ => self.placeholder().map(str::to_owned),
        }
    }
}

/// The keys of one option.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// The option's name on the command line and in a file: `disk`.
    pub option: &'static str,
    /// The option's purpose.
    pub about: &'static str,
    /// The keys, in the order of usage lines.
    pub keys: &'static [Key],
    /// The name of what the alternatives among the keys are, for messages.
    pub alternatives: &'static str,
    /// The key that a value without a key belongs to.
    pub bare: Option<&'static str>,
    /// Keys of other programs, and ours for them.
    pub mistakes: &'static [(&'static str, &'static str)],
    /// Whether a machine can have several.
    pub several: bool,
}

impl Table {
    /// Returns a key by its name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
        names.join(", ")
    }

    /// The alternatives, as `user, tap=NAME or unix=PATH`.
    fn alternatives(&self) -> String {
        let alternatives = self.keys.iter().filter(|key| key.alternative);
        let mut usages: Vec<String> = alternatives.map(Key::usage).collect();
        let last = usages.pop().unwrap_or_default();
        format!("{} or {last}", usages.join(", "))
    }

    /// What somebody meant who wrote `item`, in which `name` is no key of ours.
    fn meant(&self, name: &str, item: &str) -> Option<String> {
        let mistake = self.mistakes.iter().find(|(wrong, _)| *wrong == name);
        let near = |key: &&&Key| {
            let distance = strsim::osa_distance(key.name, name);
            distance <= 2 && distance < key.name.len().min(name.len()).div_ceil(2)
        };
        let key = match mistake {
            Some((_, right)) => self.key(right),
            None => {
                let near = self.keys.iter().filter(|key| near(&key));
                near.min_by_key(|key| strsim::osa_distance(key.name, name))
            }
        };
        match (key, self.bare) {
            (Some(key), _) => Some(key.usage()),
            // A word with a dot or a slash is a file's name.
            (None, Some(bare)) if item == name && item.contains(['.', '/']) => {
                Some(format!("{bare}={item}"))
            }
            _ => None,
        }
    }
}

/// Options that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The option does not have this key.
    #[error("`{key}` is no key; {}there are {known}", .meant.as_ref().map(|meant| format!("write {meant}; ")).unwrap_or_default())]
    Unknown {
        /// The key that was given.
        key: String,
        /// The key that was probably meant.
        meant: Option<String>,
        /// The keys that there are.
        known: String,
    },
    /// A key has not the value that it needs.
    #[error("{0} needs a value; write {0}={1}")]
    NoValue(&'static str, String),
    /// A key that takes no value has one.
    #[error("{0} takes no value; leave `={1}` out")]
    UselessValue(&'static str, String),
    /// A key that can be given once is given twice.
    #[error("{0} is given twice; leave one of them out")]
    Twice(&'static str),
    /// A key that must be given is missing.
    #[error("{0} is missing; write {0}={1}")]
    Missing(&'static str, String),
    /// A key out of several alternatives must be given, and none is.
    #[error("no {what} is named; write {known}")]
    NoAlternative {
        /// The name of what the alternatives are.
        what: &'static str,
        /// The alternatives.
        known: String,
    },
    /// Two keys are given that exclude each other.
    #[error("two {what}s are named; leave one of {first} and {second} out")]
    TwoAlternatives {
        /// The name of what the alternatives are.
        what: &'static str,
        /// One key.
        first: &'static str,
        /// Another key.
        second: &'static str,
    },
    /// The key cannot take this value.
    #[error("{key}={value}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// The reason, and what to write.
        why: String,
    },
    /// Keys are given that cannot be together, or the whole list has another fault.
    #[error("{0}")]
    List(String),
}

/// Keys as they were given, each known and with a value where it takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyList {
    table: &'static Table,
    items: Vec<(&'static Key, Option<String>)>,
}

impl KeyList {
    /// Makes a list without keys.
    pub fn new(table: &'static Table) -> Self {
        KeyList {
            table,
            items: Vec::new(),
        }
    }

    /// Reads `key=value,key,...`; a comma in a value is written twice.
    ///
    /// # Errors
    /// A key that there is not, or one that is there too often or without its value.
    pub fn parse(table: &'static Table, text: &str) -> Result<Self, OptionError> {
        let mut list = KeyList::new(table);
        for item in items(text) {
            match item.split_once('=') {
                Some((name, value)) => list.push(name, Some(value), &item)?,
                None => list.push(&item, None, &item)?,
            }
        }
        Ok(list)
    }

    /// Adds a key with its value, or without one.
    ///
    /// # Errors
    /// As [`KeyList::parse`].
    pub fn add(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionError> {
        self.push(name, value, name)
    }

    /// Adds a key; `item` is how it was written, for the message.
    fn push(&mut self, name: &str, value: Option<&str>, item: &str) -> Result<(), OptionError> {
        let Some(key) = self.table.key(name) else {
            return Err(OptionError::Unknown {
                key: name.to_owned(),
                meant: self.table.meant(name, item),
                known: self.table.names(),
            });
        };
        let value = value.filter(|value| !value.is_empty() || key.takes == Takes::Nothing);
        match (key.value_name(), value) {
            (None, Some(value)) => Err(OptionError::UselessValue(key.name, value.to_owned())),
            (Some(name), None) => Err(OptionError::NoValue(key.name, name)),
            _ if !key.many && self.has(key.name) => Err(OptionError::Twice(key.name)),
            (_, value) => {
                self.items.push((key, value.map(str::to_owned)));
                Ok(())
            }
        }
    }

    /// Adds a key of the table's that the caller knows, with its value.
    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        let key = self.table.key(name).expect("the table has its own keys");
        self.items.push((key, Some(value.to_string())));
        self
    }

    /// Adds a key of the table's without a value, if it is `on`.
    fn with_flag(mut self, name: &'static str, on: bool) -> Self {
        let key = self.table.key(name).expect("the table has its own keys");
        if on {
            self.items.push((key, None));
        }
        self
    }

    /// Adds a key of the table's with its value, if there is one.
    fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The table of the option that the keys belong to.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// The keys and their values, in order.
    pub fn items(&self) -> impl Iterator<Item = (&'static Key, Option<&str>)> {
        self.items
            .iter()
            .map(|(key, value)| (*key, value.as_deref()))
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether a key was given.
    pub fn has(&self, name: &str) -> bool {
        self.items.iter().any(|(key, _)| key.name == name)
    }

    /// A key's value.
    fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values of a key, in order.
    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_key = self.items.iter().filter(move |(key, _)| key.name == name);
        of_key.filter_map(|(_, value)| value.as_deref())
    }

    /// The value of a key that must be there.
    fn needed(&self, name: &'static str) -> Result<&str, OptionError> {
        self.value(name).ok_or_else(|| {
            let key = self.table.key(name).expect("the table has its own keys");
            OptionError::Missing(name, key.value_name().unwrap_or_default())
        })
    }

    /// The one key of the alternatives that is there, and its value.
    fn alternative(&self) -> Result<(&'static str, Option<&str>), OptionError> {
        let what = self.table.alternatives;
        let mut given = self.items().filter(|(key, _)| key.alternative);
        let known = || self.table.alternatives();
        let (first, value) = given.next().ok_or_else(|| OptionError::NoAlternative {
            what,
            known: known(),
        })?;
        match given.next() {
            None => Ok((first.name, value)),
            Some((second, _)) => Err(OptionError::TwoAlternatives {
                what,
                first: first.name,
                second: second.name,
            }),
        }
    }

    /// A key's value as something else.
    fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, OptionError>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |value: &str| {
            value
                .parse()
                .map_err(|error: T::Err| bad(name, value, error))
        };
        self.value(name).map(parse).transpose()
    }

    /// The value of a key that is on or off; none when the key is not there.
    fn switch(&self, name: &'static str) -> Result<Option<bool>, OptionError> {
        let read = |value| on(value).ok_or_else(|| bad(name, value, "use on or off"));
        self.value(name).map(read).transpose()
    }

    /// Takes relative paths as relative to a folder.
    pub fn resolve(&mut self, folder: &Path) {
        let resolved = |path: &str| folder.join(path).to_string_lossy().into_owned();
        for (key, value) in &mut self.items {
            let Some(value) = value else { continue };
            match key.takes {
                Takes::Path(_) | Takes::Input(_) => *value = resolved(value),
                Takes::Destination => {
                    for kind in ["file", "unix", "unix-connect"] {
                        if let Some(path) =
                            value.strip_prefix(kind).and_then(|v| v.strip_prefix('='))
                        {
                            *value = format!("{kind}={}", resolved(path));
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for KeyList {
    /// Writes the list as the command line takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let item = |(key, value): (&Key, Option<&str>)| match value {
            None => key.name.to_owned(),
            Some(value) => format!("{}={}", key.name, value.replace(',', ",,")),
        };
        f.write_str(&self.items().map(item).collect::<Vec<_>>().join(","))
    }
}

/// The error for a value that a key cannot take.
fn bad(key: &'static str, value: &str, why: impl ToString) -> OptionError {
    OptionError::Value {
        key,
        value: value.to_owned(),
        why: why.to_string(),
    }
}

/// `on` and `off`.
const SWITCH: Takes = Takes::Choice(&[
    Choice {
        word: "on",
        help: "Yes.",
    },
    Choice {
        word: "off",
        help: "No.",
    },
]);

/// What `on` or `off` says.
fn on(word: &str) -> Option<bool> {
    match word {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// `on` or `off`.
fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The items between commas; two commas are one that belongs to the item.
fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let item = items.last_mut().expect("there is one from the start");
        match c {
            ',' if chars.next_if_eq(&',').is_some() => item.push(','),
            ',' => items.push(String::new()),
            c => item.push(c),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// A value of the machine's that no text can say: it is in memory, or its name is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be written down: {why}")]
pub struct NotWritable {
    /// The value's name, for example `disk0`.
    pub what: String,
    /// The reason.
    pub why: &'static str,
}

/// A path as text.
fn text_of<'a>(what: &str, path: &'a Path) -> Result<&'a str, NotWritable> {
    path.to_str().ok_or_else(|| NotWritable {
        what: format!("{what} {}", path.display()),
        why: "the name is not UTF-8",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: Table = Table {
        option: "thing",
        about: "A thing.",
        keys: &[
            Key::new("path", Takes::Path("FILE"), "where it is").required(),
            Key::new("readonly", Takes::Nothing, "not written"),
            Key::new("fwd", Takes::Text("PORT"), "a port").many(),
            Key::new("cid", Takes::Number("N"), "a number"),
        ],
        alternatives: "",
        bare: Some("path"),
        mistakes: &[("ro", "readonly"), ("file", "path")],
        several: true,
    };

    #[test]
    fn keys_flags_and_doubled_commas() {
        let text = "path=a,,b=c,readonly,fwd=1,fwd=2,cid=7";
        let list = KeyList::parse(&TABLE, text).unwrap();
        assert_eq!(list.needed("path"), Ok("a,b=c"));
        assert!(list.has("readonly"));
        assert_eq!(list.values("fwd").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(list.parsed::<u32>("cid"), Ok(Some(7)));
        assert_eq!(list.to_string(), text);
        let empty = KeyList::parse(&TABLE, "").unwrap();
        assert!(!empty.has("readonly"));
        let missing = empty.needed("path").unwrap_err().to_string();
        assert_eq!(missing, "path is missing; write path=FILE");
        assert_eq!(empty.parsed::<u32>("cid"), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_remedy() {
        for (text, message) in [
            (
                "quux=a",
                "`quux` is no key; there are path, readonly, fwd, cid",
            ),
            ("path", "path needs a value; write path=FILE"),
            ("path=", "path needs a value; write path=FILE"),
            ("readonly=yes", "readonly takes no value; leave `=yes` out"),
            ("readonly=", "readonly takes no value; leave `=` out"),
            (
                "path=a,path=b",
                "path is given twice; leave one of them out",
            ),
            (
                "readonly,readonly",
                "readonly is given twice; leave one of them out",
            ),
        ] {
            let error = KeyList::parse(&TABLE, text).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let list = KeyList::parse(&TABLE, "cid=x").unwrap();
        let error = list.parsed::<u32>("cid").unwrap_err().to_string();
        assert!(error.starts_with("cid=x: invalid digit"), "{error}");
    }

    #[test]
    fn what_was_probably_meant_is_said() {
        for (text, meant) in [
            ("ro", "write readonly;"),
            ("file=a.img", "write path=FILE;"),
            ("pth=a", "write path=FILE;"),
            ("readnoly", "write readonly;"),
            ("d1.qcow2", "write path=d1.qcow2;"),
            ("/dev/sdb", "write path=/dev/sdb;"),
        ] {
            let error = KeyList::parse(&TABLE, text).unwrap_err().to_string();
            assert!(error.contains(meant), "{text}: {error}");
        }
        for text in ["nokey", "x", "cache=none", "a.b=c"] {
            let error = KeyList::parse(&TABLE, text).unwrap_err().to_string();
            assert!(!error.contains("write"), "{text}: {error}");
        }
    }

    #[test]
    fn paths_are_resolved_and_nothing_else() {
        let mut list = KeyList::parse(&TABLE, "path=a/b,fwd=c").unwrap();
        list.resolve(Path::new("/d"));
        assert_eq!(list.to_string(), "path=/d/a/b,fwd=c");
        list.resolve(Path::new("/e"));
        assert_eq!(list.to_string(), "path=/d/a/b,fwd=c");
    }
}
