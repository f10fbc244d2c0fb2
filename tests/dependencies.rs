//! What is linked into ppckvm may be: licences, sources and names, held against `deny.toml` without
//! a network.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

/// The registry that Cargo knows without being told.
const REGISTRY: &str = "registry+";

/// Every package of the lock file that this host builds, as `cargo metadata` describes it.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].take();
    packages.as_array().unwrap().clone()
}

/// This host's target triple, as `rustc -vV` says.
fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

fn rules() -> toml::Table {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    std::fs::read_to_string(file).unwrap().parse().unwrap()
}

fn names(rules: &toml::Table, table: &str, key: &str) -> Vec<String> {
    let list = rules[table][key].as_array().unwrap();
    list.iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// Whether a licence expression can be met with licences that are allowed.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = Expression::parse_mode(expression, ParseMode::LAX).unwrap();
    expression.evaluate(|licence: &LicenseReq| allowed.contains(&licence.to_string()))
}

#[test]
fn every_licence_is_allowed() {
    let allowed = names(&rules(), "licenses", "allow");
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| {
            let licence = package["license"].as_str().unwrap_or("none");
            licence == "none" || !is_allowed(licence, &allowed)
        })
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert_eq!(
        refused, [""; 0],
        "take another package, or argue for it in deny.toml"
    );
}

#[test]
fn an_expression_needs_all_that_it_joins_with_and() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
    assert!(is_allowed("MIT/Apache-2.0", &allowed));
    assert!(is_allowed("(MIT OR GPL-2.0-only) AND Zlib", &allowed));
    assert!(!is_allowed("MIT AND Apache-2.0", &allowed));
    assert!(!is_allowed("GPL-2.0-only", &allowed));
}

#[test]
fn every_package_comes_from_the_registry_or_from_here() {
    for package in packages() {
        let source = package["source"].as_str();
        let from_here = source.is_none()
            && package["manifest_path"]
                .as_str()
                .is_some_and(|path| Path::new(path).starts_with(env!("CARGO_MANIFEST_DIR")));
        assert!(
            from_here || source.is_some_and(|source| source.starts_with(REGISTRY)),
            "{} comes from {source:?}",
            package["name"]
        );
    }
}

#[test]
fn no_package_is_one_that_was_turned_down() {
    let banned = names(&rules(), "bans", "deny");
    assert!(!banned.is_empty());
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        assert!(
            !banned.iter().any(|other| other == name),
            "{name} is in deny.toml's bans"
        );
    }
}

#[test]
fn no_package_wants_a_newer_compiler_than_ours_promises() {
    let number = |version: &str| -> Vec<u32> {
        version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect()
    };
    let packages = packages();
    let ours = packages
        .iter()
        .find(|package| package["name"] == "ppckvm")
        .unwrap();
    let promised = number(ours["rust_version"].as_str().unwrap());
    for package in &packages {
        if let Some(wanted) = package["rust_version"].as_str() {
            assert!(
                number(wanted)[..2] <= promised[..2],
                "{} wants Rust {wanted}, and Cargo.toml's rust-version is lower",
                package["name"]
            );
        }
    }
}
