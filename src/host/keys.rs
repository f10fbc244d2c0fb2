//! Options that are lists: `--disk path=FILE,readonly`.
//!
//! A list has keys with values and keys without. A comma in a value is written twice.

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `key`.
    Flag(&'static str),
    /// `key=value`, once.
    Value(&'static str),
    /// `key=value`, any number of times.
    Values(&'static str),
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Key::Flag(name) | Key::Value(name) | Key::Values(name) => name,
        }
    }
}

/// The value of a key that is on or off, as QEMU's users write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch(pub bool);

/// Why a text is no [`Switch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use on or off")]
pub(crate) struct ParseSwitchError;

impl std::str::FromStr for Switch {
    type Err = ParseSwitchError;

    fn from_str(text: &str) -> Result<Self, ParseSwitchError> {
        match text {
            "on" | "yes" | "y" => Ok(Switch(true)),
            "off" | "no" | "n" => Ok(Switch(false)),
            _ => Err(ParseSwitchError),
        }
    }
}

/// Why a list cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A key that the option does not have.
    #[error("`{key}` is no key; there are {known}")]
    Unknown {
        /// What was given.
        key: String,
        /// The keys that there are.
        known: String,
    },
    /// A key without the value that it needs.
    #[error("{0} needs a value; write {0}=VALUE")]
    NoValue(&'static str),
    /// A value for a key that takes none.
    #[error("{0} takes no value; leave `={1}` out")]
    UselessValue(&'static str, String),
    /// A key that can be there only once.
    #[error("{0} is given twice; leave one of them out")]
    Twice(&'static str),
    /// A key that must be there.
    #[error("{0} is missing; write {0}=VALUE")]
    Missing(&'static str),
    /// A value that is none.
    #[error("{key}={value}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
    /// Keys that cannot be together, or something else about the whole list.
    #[error("{0}")]
    List(String),
}

/// A list that has been read.
#[derive(Clone, Debug)]
pub(crate) struct Options(Vec<(&'static str, Option<String>)>);

impl Options {
    /// Reads a list whose keys are among `keys`.
    pub fn parse(text: &str, keys: &[Key]) -> Result<Self, OptionError> {
        let mut found: Vec<(&'static str, Option<String>)> = Vec::new();
        for item in items(text) {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (item, None),
            };
            let key = keys.iter().find(|key| key.name() == name);
            let Some(key) = key.copied() else {
                let known: Vec<&str> = keys.iter().map(|key| key.name()).collect();
                let (key, known) = (name, known.join(", "));
                return Err(OptionError::Unknown { key, known });
            };
            let name = key.name();
            let twice = found.iter().any(|(other, _)| *other == name);
            match (key, &value) {
                (Key::Flag(_), Some(value)) => {
                    return Err(OptionError::UselessValue(name, value.clone()));
                }
                (Key::Value(_) | Key::Values(_), None) => return Err(OptionError::NoValue(name)),
                (Key::Value(_) | Key::Values(_), Some(value)) if value.is_empty() => {
                    return Err(OptionError::NoValue(name));
                }
                (Key::Flag(_) | Key::Value(_), _) if twice => {
                    return Err(OptionError::Twice(name));
                }
                _ => found.push((name, value)),
            }
        }
        Ok(Options(found))
    }

    /// Whether a key without value is there.
    pub fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| *key == name)
    }

    /// A key's value.
    pub fn value(&self, name: &'static str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values of a key, in order.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let of_key = self.0.iter().filter(move |(key, _)| *key == name);
        of_key.filter_map(|(_, value)| value.as_deref())
    }

    /// The value of a key that must be there.
    pub fn required(&self, name: &'static str) -> Result<&str, OptionError> {
        self.value(name).ok_or(OptionError::Missing(name))
    }

    /// A key's value as something else.
    pub fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, OptionError>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |value: &str| {
            value.parse().map_err(|error: T::Err| OptionError::Value {
                key: name,
                value: value.to_owned(),
                why: error.to_string(),
            })
        };
        self.value(name).map(parse).transpose()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[Key] = &[
        Key::Value("path"),
        Key::Flag("readonly"),
        Key::Values("fwd"),
        Key::Value("cid"),
    ];

    #[test]
    fn keys_flags_and_doubled_commas() {
        let list = Options::parse("path=a,,b=c,readonly,fwd=1,fwd=2,cid=7", KEYS).unwrap();
        assert_eq!(list.required("path"), Ok("a,b=c"));
        assert!(list.flag("readonly"));
        assert_eq!(list.values("fwd").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(list.parsed::<u32>("cid"), Ok(Some(7)));
        let empty = Options::parse("", KEYS).unwrap();
        assert!(!empty.flag("readonly"));
        assert_eq!(empty.required("path"), Err(OptionError::Missing("path")));
        assert_eq!(empty.parsed::<u32>("cid"), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_remedy() {
        for (text, message) in [
            (
                "pth=a",
                "`pth` is no key; there are path, readonly, fwd, cid",
            ),
            ("path", "path needs a value; write path=VALUE"),
            ("path=", "path needs a value; write path=VALUE"),
            ("readonly=yes", "readonly takes no value; leave `=yes` out"),
            (
                "path=a,path=b",
                "path is given twice; leave one of them out",
            ),
            (
                "readonly,readonly",
                "readonly is given twice; leave one of them out",
            ),
        ] {
            let error = Options::parse(text, KEYS).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let list = Options::parse("cid=x", KEYS).unwrap();
        let error = list.parsed::<u32>("cid").unwrap_err().to_string();
        assert!(error.starts_with("cid=x: invalid digit"), "{error}");
    }
}
