//! Words: the first sentence of a public item's documentation stands alone, as a hover or an index
//! shows it.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the libraries' sources.
const SOURCES: [&str; 8] = [
    "src",
    "devices/src",
    "fdt/src",
    "kernel-glue/api/src",
    "kernel-glue/core/src",
    "kernel-glue/cpu440/src",
    "kernel-glue/isa/src",
    "kernel-glue/silicon/src",
];

/// Words with which a sentence leans on the one before it, or on the name of its item.
const LEANING: [&str; 14] = [
    "Also", "As", "It", "Its", "Likewise", "Like", "None", "Of", "Same", "That", "The same",
    "Their", "They", "Those",
];

/// All sources below a folder, those of tests and of the command left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "cli" {
            found.extend(files(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
    found
}

/// Whether a sentence begins with a word of [`LEANING`].
fn leans(sentence: &str) -> bool {
    LEANING.iter().any(|word| {
        let rest = sentence.strip_prefix(word);
        rest.is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_alphanumeric()))
    })
}

/// The lines that begin the documentation of public items and of public enums' variants, where they
/// do not stand alone.
fn leaning_lines(text: &str) -> Vec<String> {
    let code = text.split("\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    let mut first: Option<&str> = None;
    let mut in_public_enum = false;
    for line in code.lines() {
        let trimmed = line.trim();
        if let Some(doc) = trimmed.strip_prefix("///") {
            first.get_or_insert(doc.trim());
            continue;
        }
        // An attribute, which may take several lines, stands between an item and its words.
        if trimmed.starts_with(['#', '"']) || matches!(trimmed, ")]" | "))]") {
            continue;
        }
        match () {
            () if line.starts_with("pub enum ") => in_public_enum = true,
            () if line.starts_with('}') => in_public_enum = false,
            () => {}
        }
        let is_variant =
            in_public_enum && trimmed.starts_with(|letter: char| letter.is_ascii_uppercase());
        let is_public = trimmed.starts_with("pub ") || is_variant;
        found.extend(first.take().filter(|doc| is_public && leans(doc)));
    }
    found.into_iter().map(str::to_owned).collect()
}

#[test]
fn doc_sentences_of_public_items_stand_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for folder in SOURCES {
        for path in files(&root.join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().display();
            wrong.extend(
                leaning_lines(&text)
                    .iter()
                    .map(|line| format!("{path}: {line}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sentence_that_leans_on_another_is_found() {
    let text = "\
/// A table.
pub struct Table {
    /// Its entries, of which
    /// there are many.
    #[serde(skip)]
    pub entries: u32,
    /// Of no interest outside.
    hidden: u32,
}
/// Asks.
pub enum Question {
    /// The same as ever.
    #[error(
        \"what\"
    )]
    Old,
    /// Items of a list.
    New(u32),
}
mod tests {
    /// Likewise.
    pub fn none() {}
}
";
    let expected = ["Its entries, of which", "The same as ever."];
    assert_eq!(leaning_lines(text), expected);
}
