//! Where `unsafe` is, and that whoever reads a map of a crate is told.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of our own sources.
const FOLDERS: [&str; 5] = ["devices", "fdt", "kernel-glue", "src", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<PathBuf> {
    let all = FOLDERS
        .iter()
        .map(|folder| files(&root().join(folder), "rs"));
    all.flatten().collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}

/// Whether a line opens the file, or what follows, for `unsafe`.
fn opens(line: &str) -> bool {
    let attribute = line
        .trim_start()
        .trim_start_matches("#!")
        .trim_start_matches('#');
    attribute.starts_with("[allow(unsafe_code") || attribute.starts_with("[expect(unsafe_code")
}

/// The files that a text marks with a dagger, as it names them, below `folder`.
fn marked(text: &str, folder: &Path) -> BTreeSet<PathBuf> {
    let ends = text.match_indices("`†").map(|(end, _)| end);
    ends.filter_map(|end| Some(folder.join(&text[text[..end].rfind('`')? + 1..end])))
        .collect()
}

#[test]
fn the_readmes_mark_exactly_the_files_with_unsafe() {
    let with_unsafe: BTreeSet<PathBuf> = sources()
        .into_iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
        .filter(|path| text(path).lines().any(opens))
        .collect();
    assert!(!with_unsafe.is_empty(), "this finds none");
    // A README names files of its crate's sources, the head of a module files beside it.
    let mut by_readme = BTreeSet::new();
    for folder in FOLDERS.map(|folder| root().join(folder)) {
        for readme in files(&folder, "md") {
            let sources = readme.with_file_name("src");
            by_readme.extend(marked(&text(&readme), &sources));
        }
    }
    assert_eq!(by_readme, with_unsafe, "marked in READMEs, and with unsafe");
    for module in sources().iter().filter(|path| path.ends_with("mod.rs")) {
        let folder = module.parent().expect("a folder");
        let text = text(module);
        let head: String = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        let map = marked(&head, folder);
        if !map.is_empty() {
            let here = |path: &&PathBuf| path.starts_with(folder);
            let expected = with_unsafe.iter().filter(here).cloned().collect();
            assert_eq!(map, expected, "marked in {}", module.display());
        }
    }
}

#[test]
fn whoever_allows_unsafe_says_why_in_a_line() {
    for path in sources() {
        let text = text(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| opens(line)) {
            let before = at.checked_sub(1).map_or("", |before| lines[before].trim());
            let says = before.strip_prefix("// UNSAFE BECAUSE: ");
            let place = format!("{}:{}", path.display(), at + 1);
            assert!(says.is_some_and(|why| !why.is_empty()), "{place}");
        }
    }
}
