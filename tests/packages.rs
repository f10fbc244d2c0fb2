//! Packages: what `cargo package` would publish of each crate, and that it says what a registry shows.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Packages, with the most files and the most kilobytes of files that each may have: about half as
/// much again as it had when this was written.
const PACKAGES: [(&str, usize, u64); 8] = [
    ("ppc440-isa", 30, 300),
    ("ppc440-kvm", 40, 400),
    ("ppc440-cpu", 110, 900),
    ("ppc440-silicon", 25, 130),
    ("ppckvm-api", 25, 100),
    ("ppckvm-devices", 130, 1000),
    ("ppckvm-fdt", 30, 220),
    ("ppckvm", 360, 2700),
];

/// Files that every package has beside its sources.
const ALWAYS: [&str; 4] = ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Files and folders that a package may have.
const ALLOWED: [&str; 12] = [
    ".cargo_vcs_info.json",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "build.rs",
    "docs/",
    "examples/",
    "src/",
];

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .arg("--offline")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of this workspace, as `cargo metadata` describes them.
fn members() -> Vec<Value> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].take();
    packages.as_array().unwrap().clone()
}

/// What is wrong with the list of a package's files; `size` is that of a file of the list.
fn faults(list: &[&str], most: (usize, u64), size: impl Fn(&str) -> u64) -> Vec<String> {
    let missing = ALWAYS.iter().filter(|name| !list.contains(name));
    let mut found: Vec<String> = missing.map(|name| format!("{name} is missing")).collect();
    let stray = list.iter().filter(|file| {
        let allowed = |name: &&str| *file == name || name.ends_with('/') && file.starts_with(name);
        !ALLOWED.iter().any(allowed)
    });
    found.extend(stray.map(|file| format!("{file} is in it")));
    let kilobytes = list.iter().map(|file| size(file)).sum::<u64>() / 1024;
    if list.len() > most.0 || kilobytes > most.1 {
        found.push(format!("{} files of {kilobytes} KB", list.len()));
    }
    found
}

#[test]
fn a_package_holds_its_sources_and_licences_and_no_tests() {
    let members = members();
    assert_eq!(members.len(), PACKAGES.len(), "a crate without its bounds");
    for (name, files, kilobytes) in PACKAGES {
        let package = members.iter().find(|package| package["name"] == name);
        let manifest = Path::new(package.unwrap()["manifest_path"].as_str().unwrap());
        let text = cargo(&["package", "--list", "--allow-dirty", "--package", name]);
        let list: Vec<&str> = text.lines().collect();
        // Cargo writes some of them itself.
        let size = |file: &str| {
            let path = manifest.with_file_name("").join(file);
            path.metadata().map_or(0, |file| file.len())
        };
        let faults = faults(&list, (files, kilobytes), size);
        assert!(faults.is_empty(), "{name}: {}", faults.join(", "));
    }
}

#[test]
fn what_does_not_belong_into_a_package_is_found() {
    let list = [
        "Cargo.toml",
        "LICENSE-MIT",
        "src/lib.rs",
        "target/x",
        "LICENSE-APACHE",
    ];
    assert_eq!(
        faults(&list, (4, 9), |_| 2048),
        [
            "README.md is missing",
            "target/x is in it",
            "5 files of 10 KB"
        ]
    );
}

#[test]
fn a_package_says_what_a_registry_shows() {
    for package in members() {
        let name = &package["name"];
        for key in [
            "description",
            "license",
            "readme",
            "repository",
            "rust_version",
        ] {
            assert!(package[key].is_string(), "{name} has no {key}");
        }
        for key in ["keywords", "categories"] {
            let words = package[key].as_array().unwrap();
            assert!((1..=5).contains(&words.len()), "{name}: {key}");
        }
    }
}

#[test]
fn test_drivers_are_not_in_the_library_that_is_released() {
    let features = |kinds| cargo(&["tree", "--package", "ppckvm", "--edges", kinds]);
    let feature = "feature \"test-support\"";
    assert!(!features("normal,build,features").contains(feature));
    // The tests have it, by the same name.
    assert!(features("normal,dev,features").contains(feature));
}
