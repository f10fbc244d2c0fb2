//! The tables as help texts and as Markdown.

use std::fmt::Write;

use super::devices::{DEVICES, RNG};
use super::settings::SETTINGS;
use super::{Key, Table, Takes};

/// Writes an option's keys in one line: `path=FILE[,format=raw|qcow2][,readonly]`.
pub fn usage(table: &Table) -> String {
    let mut text = String::new();
    let is_first = |text: &str| text.is_empty();
    let alternatives: Vec<String> = table
        .keys
        .iter()
        .filter(|key| key.alternative)
        .map(Key::usage)
        .collect();
    text.push_str(&alternatives.join("|"));
    for key in table.keys.iter().filter(|key| !key.alternative) {
        let comma = if is_first(&text) { "" } else { "," };
        let usage = key.usage();
        let _ = match (key.required, key.many) {
            (true, _) => write!(text, "{comma}{usage}"),
            (false, true) => write!(text, "[{comma}{usage}]..."),
            (false, false) => write!(text, "[{comma}{usage}]"),
        };
    }
    text
}

/// Writes an option's keys, one a line, each with what it does.
pub fn key_lines(table: &Table) -> String {
    let width = |key: &Key| key.usage().len();
    let width = table.keys.iter().map(width).filter(|width| *width <= 24);
    let width = width.max().unwrap_or(0);
    let line = |key: &Key| {
        let usage = key.usage();
        match usage.len() <= width {
            true => format!("  {usage:width$}  {}", key.help),
            false => format!("  {usage}  {}", key.help),
        }
    };
    table.keys.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What a key does, with its default and its words where they need explaining.
fn about(key: &Key) -> String {
    let default = match key.default {
        Some(default) => format!("; {default} without this"),
        None => String::new(),
    };
    let many = match key.many {
        true => "; any number of times",
        false => "",
    };
    format!("{}{many}{default}", key.help)
}

/// Writes an option's keys as a Markdown table.
pub fn markdown(table: &Table) -> String {
    let mut text = "| Key | |\n|---|---|\n".to_owned();
    for key in table.keys {
        let usage = key.usage().replace('|', "\\|");
        let _ = writeln!(text, "| `{usage}` | {} |", about(key).replace('|', "\\|"));
    }
    text
}

/// Writes the machine's settings as a Markdown table: option, words, what it does.
pub fn settings_markdown() -> String {
    let mut text = "| Option | |\n|---|---|\n".to_owned();
    for key in SETTINGS.iter().flat_map(|table| table.keys) {
        let value = match key.value_name() {
            None => String::new(),
            Some(value) => format!(" {value}"),
        };
        let words = match key.takes {
            Takes::Choice(choices) => {
                let word =
                    |choice: &super::Choice| format!("`{}`: {}", choice.word, choice.help.trim());
                let words: Vec<String> = choices.iter().map(word).collect();
                format!(". {}", words.join(". "))
            }
            _ => String::new(),
        };
        let row = format!("| `--{}{value}` | {}{words} |", key.name, about(key));
        let _ = writeln!(text, "{}", escaped(&row));
    }
    text
}

/// A row whose bars inside cells are escaped.
fn escaped(row: &str) -> String {
    let inside = row.trim_start_matches("| ").trim_end_matches(" |");
    let cells: Vec<String> = inside
        .split(" | ")
        .map(|cell| cell.replace('|', "\\|"))
        .collect();
    format!("| {} |", cells.join(" | "))
}

/// Writes a table of the manual by its name: `settings`, or a device's option.
pub fn by_name(name: &str) -> Option<String> {
    if name == "settings" {
        return Some(settings_markdown());
    }
    let mut tables = DEVICES.iter().copied().chain([RNG]);
    tables.find(|table| table.option == name).map(markdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_has_what_must_be_there_without_brackets() {
        let usage = |name: &str| usage(DEVICES.iter().find(|table| table.option == name).unwrap());
        assert!(usage("disk").starts_with("path=FILE[,format=raw|qcow2][,readonly]"));
        assert!(usage("net").starts_with("user|tap=NAME|unix=PATH[,hostfwd="));
        assert!(usage("vsock").starts_with("cid=N,uds=PATH[,bus=mmio|pci]"));
        assert_eq!(usage("balloon"), "[bus=mmio|pci][,legacy]");
    }

    #[test]
    fn each_key_is_in_the_manual_and_each_row_has_two_cells() {
        for name in [
            "settings", "disk", "net", "share", "vsock", "console", "balloon", "rng",
        ] {
            let text = by_name(name).unwrap();
            for row in text.lines() {
                let bars = row.replace("\\|", "").matches('|').count();
                assert_eq!(bars, 3, "{row}");
            }
        }
        for table in DEVICES {
            let text = by_name(table.option).unwrap();
            assert_eq!(text.lines().count(), 2 + table.keys.len());
            assert!(
                table
                    .keys
                    .iter()
                    .all(|key| text.contains(&format!("`{}", key.name)))
            );
        }
        assert!(by_name("settings").unwrap().contains("`--memory SIZE`"));
        assert_eq!(by_name("floppy"), None);
    }
}
