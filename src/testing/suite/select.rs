//! Which tests of a suite run: by name, and by a part of many.

use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Names of tests: a part of the name, all of it after `=`, or a pattern with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// A filter as it is written.
    pub fn new(text: impl Into<String>) -> Self {
        Filter(text.into())
    }

    /// Whether it takes a test of this name.
    pub fn takes(&self, name: &str) -> bool {
        match self.0.strip_prefix('=') {
            Some(exact) => exact == name,
            None if self.0.contains(['*', '?']) => matches(self.0.as_bytes(), name.as_bytes()),
            None => name.contains(&self.0),
        }
    }
}

/// Whether all of a text is what a pattern says: `*` is any text, `?` one byte.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // The last star, and how much of the text it has.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// One of several equal parts of the tests, for machines that share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    by_hash: bool,
    /// Which part, counted from 1.
    part: u32,
    parts: u32,
}

/// A partition that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no partition; write slice:M/N or hash:M/N, with M from 1 to N")]
pub struct ParsePartitionError(String);

impl FromStr for Partition {
    type Err = ParsePartitionError;

    fn from_str(text: &str) -> Result<Self, ParsePartitionError> {
        let wrong = || ParsePartitionError(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (part, parts) = rest.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let partition = Partition {
            by_hash: kind == "hash",
            part: number(part)?,
            parts: number(parts)?,
        };
        let is_one =
            ["hash", "slice"].contains(&kind) && (1..=partition.parts).contains(&partition.part);
        is_one.then_some(partition).ok_or_else(wrong)
    }
}

impl Partition {
    /// Whether a test of this name, the so many-th that the filters took, is in this part. By `hash`, a
    /// test stays in its part when others come and go.
    pub fn takes(self, name: &str, number: usize) -> bool {
        let number = match self.by_hash {
            false => number as u64,
            true => {
                let hash = Sha256::digest(name.as_bytes());
                hash.iter()
                    .take(8)
                    .fold(0, |all, byte| all << 8 | u64::from(*byte))
            }
        };
        number % u64::from(self.parts) == u64::from(self.part - 1)
    }
}

/// The indexes of the tests that all of these take, in order; no filter takes all.
pub fn select<'a>(
    names: impl Iterator<Item = &'a str>,
    filters: &[Filter],
    partition: Option<Partition>,
) -> Vec<usize> {
    let named = names
        .enumerate()
        .filter(|(_, name)| filters.is_empty() || filters.iter().any(|filter| filter.takes(name)));
    let taken = named.enumerate().filter(|(number, (_, name))| {
        partition.is_none_or(|partition| partition.takes(name, *number))
    });
    taken.map(|(_, (index, _))| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_a_part_all_or_a_pattern() {
        for (filter, name, takes) in [
            ("oo", "boot", true),
            ("=boot", "boot", true),
            ("=boot", "reboot", false),
            ("net-*", "net-tcp", true),
            ("net-*", "my net-tcp", false),
            ("*t?p*", "net-tcp-4", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("**", "", true),
            ("?", "", false),
        ] {
            assert_eq!(Filter::new(filter).takes(name), takes, "{filter} {name}");
        }
    }

    #[test]
    fn partitions_are_disjoint_and_whole() {
        let names: Vec<String> = (0..100).map(|n| format!("test {n}")).collect();
        for kind in ["slice", "hash"] {
            let mut all: Vec<usize> = Vec::new();
            for part in 1..=3 {
                let partition = format!("{kind}:{part}/3").parse().unwrap();
                let taken = select(names.iter().map(String::as_str), &[], Some(partition));
                assert!(taken.len() > 15, "{kind}: {}", taken.len());
                all.extend(taken);
            }
            all.sort_unstable();
            assert_eq!(all, (0..100).collect::<Vec<_>>(), "{kind}");
        }
        for wrong in [
            "slice:0/3",
            "slice:4/3",
            "hash:1",
            "1/2",
            "other:1/2",
            "slice:1/0",
        ] {
            let error = wrong.parse::<Partition>().unwrap_err().to_string();
            assert!(error.contains("slice:M/N"), "{error}");
        }
    }
}
