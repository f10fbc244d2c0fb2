//! A device tree in memory as source text that dtc compiles back to the same tree.
//!
//! A blob does not say what a value means, so its form is guessed by dtc's own rule: strings where
//! every byte is one of a string's and the last is NUL, else cells, else bytes.

use crate::blob::{Node, Property, Tree};
use std::fmt::Write;

impl Tree {
    /// The tree as device tree source, version 1.
    pub fn to_dts(&self) -> String {
        let mut text = String::from("/dts-v1/;\n\n");
        for reservation in &self.reservations {
            line(&mut text, 0, &format!("/memreserve/ {reservation};"));
        }
        write_node(&mut text, 0, &self.root);
        text
    }
}

fn line(text: &mut String, depth: usize, content: &str) {
    text.extend(std::iter::repeat_n('\t', depth));
    text.push_str(content);
    text.push('\n');
}

/// The reader bounds the depth, so recursion is bounded too.
fn write_node(text: &mut String, depth: usize, node: &Node) {
    let name = if depth == 0 { "/" } else { &node.name };
    line(text, depth, &format!("{name} {{"));
    for property in &node.properties {
        line(text, depth + 1, &property_text(property));
    }
    for (index, child) in node.children.iter().enumerate() {
        if index > 0 || !node.properties.is_empty() {
            text.push('\n');
        }
        write_node(text, depth + 1, child);
    }
    line(text, depth, "};");
}

fn property_text(property: &Property) -> String {
    let Property { name, value } = property;
    if value.is_empty() {
        return format!("{name};");
    }
    let (cells, rest) = value.as_chunks::<4>();
    if looks_like_strings(value) {
        let strings = value[..value.len() - 1]
            .split(|byte| *byte == 0)
            .map(quoted);
        format!("{name} = {};", strings.collect::<Vec<_>>().join(", "))
    } else if rest.is_empty() {
        let cells = cells
            .iter()
            .map(|cell| format!("{:#x}", u32::from_be_bytes(*cell)));
        format!("{name} = <{}>;", cells.collect::<Vec<_>>().join(" "))
    } else {
        let bytes = value.iter().map(|byte| format!("{byte:02x}"));
        format!("{name} = [{}];", bytes.collect::<Vec<_>>().join(" "))
    }
}

/// More NULs than other bytes are a number, not a list of empty strings.
fn looks_like_strings(value: &[u8]) -> bool {
    let nuls = value.iter().filter(|byte| **byte == 0).count();
    value.last() == Some(&0)
        && nuls <= value.len() - nuls
        && value
            .iter()
            .all(|byte| matches!(byte, 0 | 0x07..=0x0D | b' '..=b'~'))
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\r' => text.push_str("\\r"),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => {
                // Two digits always: a shorter escape would swallow a digit that follows it.
                write!(text, "\\x{other:02x}").expect("a string takes any text");
            }
        }
    }
    text.push('"');
    text
}
