//! The manual says what the program does: its tables are the tables that the options are read by,
//! and its links lead somewhere.
//!
//! `PPCKVM_WRITE_MANUAL=1 cargo test --test manual` writes the tables anew.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use ppckvm::keys::by_name;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text with each table between `<!-- table: NAME -->` and `<!-- end -->` as it should be.
fn with_tables(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- table: ") {
        let (name, after) = after.split_once(" -->\n").unwrap();
        let (_, after) = after.split_once("<!-- end -->").unwrap();
        let table = by_name(name).unwrap_or_else(|| panic!("there is no table {name}"));
        out += &format!("{before}<!-- table: {name} -->\n{table}<!-- end -->");
        rest = after;
    }
    out + rest
}

#[test]
fn the_manuals_tables_are_the_options() {
    let path = root().join("docs/manual.md");
    let text = fs::read_to_string(&path).unwrap();
    let right = with_tables(&text);
    if std::env::var_os("PPCKVM_WRITE_MANUAL").is_some() {
        fs::write(&path, &right).unwrap();
        return;
    }
    for name in [
        "settings", "disk", "net", "share", "vsock", "console", "balloon", "rng",
    ] {
        assert!(
            text.contains(&format!("<!-- table: {name} -->")),
            "the manual has no table {name}"
        );
    }
    for (line, (is, should)) in text.lines().zip(right.lines()).enumerate() {
        assert_eq!(
            is,
            should,
            "docs/manual.md:{}; write it with PPCKVM_WRITE_MANUAL=1 cargo test --test manual",
            line + 1
        );
    }
    assert_eq!(text.len(), right.len());
}

/// The files of ours that a Markdown text links to, relative to its folder.
fn links(text: &str) -> Vec<String> {
    let parts = text.split("](").skip(1);
    let targets = parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned()));
    let ours = targets.filter(|target| !target.starts_with('#') && !target.contains("://"));
    ours.collect()
}

fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn links_in_the_documents_lead_to_files_and_headings() {
    let mut files = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    markdown_files(&root().join("docs"), &mut files);
    let mut links_seen = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for link in links(&text) {
            links_seen += 1;
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = file.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link}", file.display());
            if !heading.is_empty() {
                let words = heading.replace('-', " ");
                let text = fs::read_to_string(&target).unwrap().to_lowercase();
                assert!(
                    text.contains(&format!("# {words}")),
                    "{}: {link}",
                    file.display()
                );
            }
        }
    }
    assert!(links_seen > 20, "{links_seen}");
}
