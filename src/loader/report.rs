//! What an image is, as text for a person: sections of labelled values, one inside the other.

use std::fmt;

/// A layer of an image, and what is inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The layer's name.
    pub title: String,
    /// The labels and values, in order.
    pub fields: Vec<(String, String)>,
    /// The layers inside it.
    pub inside: Vec<Section>,
}

impl Section {
    pub(super) fn new(title: impl Into<String>) -> Section {
        Section {
            title: title.into(),
            ..Section::default()
        }
    }

    pub(super) fn field(&mut self, label: impl Into<String>, value: impl Into<String>) {
        self.fields.push((label.into(), value.into()));
    }

    /// A 32-bit checksum, and whether it is the one that the image names.
    pub(super) fn checksum(&mut self, label: &str, actual: u32, expected: u32) {
        let value = match actual == expected {
            true => format!("{expected:#010x} ok"),
            false => format!("{expected:#010x} bad: the crc of what is there is {actual:#010x}"),
        };
        self.field(label, value);
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        writeln!(f, "{:indent$}{}", "", self.title, indent = 2 * depth)?;
        let width = self.fields.iter().map(|(label, _)| label.len()).max();
        let width = width.unwrap_or(0);
        for (label, value) in &self.fields {
            let indent = 2 * depth + 2;
            writeln!(f, "{:indent$}{label:width$}  {value}", "")?;
        }
        self.inside
            .iter()
            .try_for_each(|section| section.write(f, depth + 1))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// A number of bytes for a person.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_485_760 => format!("{bytes} bytes ({} KiB)", bytes >> 10),
        _ => format!("{bytes} bytes ({} MiB)", bytes >> 20),
    }
}

/// A list for a person: its first entries, and how many more there are.
pub(super) fn shortened<T: AsRef<str>>(list: impl Iterator<Item = T>, separator: &str) -> String {
    const SHOWN: usize = 8;
    let mut list = list.fuse();
    let shown: Vec<T> = list.by_ref().take(SHOWN).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match list.count() {
        0 => shown.join(separator),
        more => format!("{}{separator}and {more} more", shown.join(separator)),
    }
}
