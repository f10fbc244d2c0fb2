//! The house: folders of `src` import downwards only, crates tie to each other as the design says,
//! and no files of a crate import each other in a ring.
//!
//! Sources are read as text. A path counts that begins with `crate`, `super` or `self`, in a `use` or
//! in the code; comments do not. A parent that only declares its children does not tie to them.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ppckvm::keys::{DEVICES, RNG, SETTINGS};

/// Folders of `src`, and those of its neighbours that each may name.
const LAYERS: [(&str, &[&str]); 5] = [
    ("host", &[]),
    ("loader", &[]),
    ("vm", &["host", "loader"]),
    ("machine", &["host", "loader", "vm"]),
    ("control", &["host", "loader", "vm", "machine"]),
];

/// Our crates: package, folder, and the packages of ours that each may depend on.
const CRATES: [(&str, &str, &[&str]); 8] = [
    (
        "ppckvm",
        ".",
        &["ppckvm-api", "ppckvm-devices", "ppckvm-fdt"],
    ),
    ("ppckvm-devices", "devices", &[]),
    ("ppckvm-fdt", "fdt", &[]),
    (
        "ppckvm-api",
        "kernel-glue/api",
        &["ppc440-cpu", "ppc440-isa", "ppc440-kvm"],
    ),
    ("ppc440-kvm", "kernel-glue/core", &["ppc440-isa"]),
    ("ppc440-cpu", "kernel-glue/cpu440", &["ppc440-isa"]),
    ("ppc440-isa", "kernel-glue/isa", &[]),
    (
        "ppc440-silicon",
        "kernel-glue/silicon",
        &["ppc440-isa", "ppc440-kvm"],
    ),
];

/// A module: the names from the crate's root to it.
type Module = Vec<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this extension below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The module that a file of a crate defines.
fn module(file: &Path) -> Module {
    let mut names: Module = file
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if names
        .last()
        .is_some_and(|name| matches!(name.as_str(), "mod" | "lib"))
    {
        names.pop();
    }
    names
}

/// The text without comments.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        Some(comment) => &line[..comment],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text before its tests, which stand at the end of a file.
fn without_tests(text: &str) -> &str {
    let test = text.match_indices("#[cfg(test)]").find(|(at, mark)| {
        let after = text[at + mark.len()..].trim_start();
        after.starts_with("mod ")
            && after
                .split_once(['{', ';'])
                .is_some_and(|(name, _)| after.as_bytes().get(name.len()) == Some(&b'{'))
    });
    test.map_or(text, |(at, _)| &text[..at])
}

/// `a::{b, c::{d}}` as paths.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let names = |text: &str| -> Vec<String> {
        let names = text
            .split("::")
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names
            .map(|name| {
                name.split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    };
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![names(tree)];
    };
    let body = rest.rsplit_once('}').map_or(rest, |(body, _)| body);
    let mut paths = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in body.char_indices().chain([(body.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = body[start..at].trim();
                start = at + 1;
                if !part.is_empty() {
                    let inside = expand(part).into_iter();
                    paths.extend(inside.map(|path| [names(head), path].concat()));
                }
            }
            _ => {}
        }
    }
    paths
}

/// The paths from `crate`, `super` or `self` in some code, in `use` items and outside.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = code;
    while let Some((at, start)) = ["crate::", "super::", "self::"]
        .iter()
        .filter_map(|start| Some((rest.find(start)?, *start)))
        .min()
    {
        let before = &rest[..at];
        let in_use = before.trim_end().ends_with("use");
        let is_start = !before.ends_with(|letter: char| is_word(letter) || letter == ':');
        let path = &rest[at..];
        let end = match in_use {
            true => path.find(';').unwrap_or(path.len()),
            false => path
                .find(|letter: char| !is_word(letter) && letter != ':')
                .unwrap_or(path.len()),
        };
        if is_start {
            found.extend(expand(&path[..end]));
        }
        rest = &path[end.max(start.len())..];
    }
    found
}

/// Where a path leads, from the crate's root.
fn resolve(from: &Module, path: &[String]) -> Module {
    let mut at = from.clone();
    let mut names = path.iter().peekable();
    if names.next_if(|name| *name == "crate").is_some() {
        at.clear();
    }
    while let Some(name) = names.next_if(|name| matches!(name.as_str(), "self" | "super")) {
        if name == "super" {
            at.pop();
        }
    }
    at.extend(names.cloned());
    at
}

/// What a file of `src` names in a folder that it must not know.
fn upward(file: &Path, text: &str) -> Vec<String> {
    let from = module(file);
    let Some((_, below)) = LAYERS
        .iter()
        .find(|(folder, _)| from.first().is_some_and(|f| f == folder))
    else {
        return Vec::new();
    };
    let is_layer = |name: &str| LAYERS.iter().any(|(folder, _)| *folder == name) || name == "cli";
    let named = paths(&code(text))
        .into_iter()
        .map(|path| resolve(&from, &path));
    let upward = named.filter(|path| {
        path.first().is_some_and(|folder| {
            *folder != from[0] && is_layer(folder) && !below.contains(&folder.as_str())
        })
    });
    upward
        .map(|path| format!("src/{}: {}", file.display(), path.join("::")))
        .collect()
}

/// The files of a crate that each of its files names.
fn ties(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let tie = |(from, text): (&Module, &String)| {
        let text = code(without_tests(text));
        let named = paths(&text).into_iter().filter_map(|path| {
            let mut to = resolve(from, &path);
            while !to.is_empty() && !sources.contains_key(&to) {
                to.pop();
            }
            (!to.is_empty() && to != *from).then_some(to)
        });
        (from.clone(), named.collect())
    };
    sources.iter().map(tie).collect()
}

/// What can be reached from a file over one tie or more.
fn reach(ties: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = ties.get(from).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module.clone()) {
            next.extend(ties.get(module).into_iter().flatten());
        }
    }
    reached
}

/// The rings of a crate, each with its files in order.
fn rings(sources: &BTreeMap<Module, String>) -> BTreeSet<Vec<String>> {
    let ties = ties(sources);
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        ties.keys().map(|from| (from, reach(&ties, from))).collect();
    let ring = |(from, to): (&&Module, &BTreeSet<Module>)| {
        let back = to.iter().filter(|other| reached[other].contains(*from));
        let ring: Vec<String> = back.map(|module| module.join("/")).collect();
        (ring.len() > 1).then_some(ring)
    };
    reached.iter().filter_map(ring).collect()
}

/// A crate's files outside `tests`, by module; a binary of its own is none of them.
fn sources(folder: &str) -> BTreeMap<Module, String> {
    let src = root().join(folder).join("src");
    let read = |path: PathBuf| {
        let module = module(path.strip_prefix(&src).unwrap());
        let is_test = module.iter().any(|name| name == "tests");
        let is_command = folder == "." && module[..].first().is_some_and(|name| name == "cli");
        (!is_test && !is_command).then(|| (module, fs::read_to_string(path).unwrap()))
    };
    files(&src).into_iter().filter_map(read).collect()
}

/// The packages of ours that a manifest names as dependencies, those of tests left out.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim().trim_matches(['[', ']']);
        } else if section.ends_with("dependencies")
            && !section.starts_with("workspace")
            && !section.contains("dev-")
        {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if CRATES.iter().any(|(package, ..)| *package == name) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn folders_of_src_name_only_those_below() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    for (folder, _) in LAYERS {
        for path in files(&src.join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            wrong.extend(upward(path.strip_prefix(&src).unwrap(), &text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_depend_on_those_below_and_on_nothing_else_of_ours() {
    for (package, folder, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(dependencies(&manifest), allowed, "{package}");
    }
}

#[test]
fn no_files_import_each_other_in_a_ring() {
    let mut wrong = Vec::new();
    for (package, folder, _) in CRATES {
        for ring in rings(&sources(folder)) {
            wrong.push(format!("{package}: {}", ring.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The command's options that some library code names: a program around the library has none.
fn options_named(text: &str) -> Vec<String> {
    let settings = SETTINGS
        .iter()
        .flat_map(|table| table.keys)
        .map(|key| key.name);
    let devices = DEVICES
        .iter()
        .copied()
        .chain([RNG])
        .map(|table| table.option);
    let own = ["config", "print-config", "report", "format"];
    let options: BTreeSet<&str> = settings.chain(devices).chain(own).collect();
    let code = code(without_tests(text));
    let mut found = Vec::new();
    for (at, _) in code.match_indices("--") {
        let name = &code[at + 2..];
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '-';
        let end = name.find(|letter| !is_name(letter)).unwrap_or(name.len());
        if !code[..at].ends_with('-') && options.contains(&name[..end]) {
            found.push(format!("--{}", &name[..end]));
        }
    }
    found
}

#[test]
fn the_library_names_no_option_of_the_command() {
    let mut wrong = Vec::new();
    for (package, folder, _) in CRATES {
        for (module, text) in sources(folder) {
            let named = options_named(&text);
            wrong.extend(
                named
                    .iter()
                    .map(|name| format!("{package} {}: {name}", module.join("/"))),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_option_in_a_string_is_found() {
    let text = "/// As `--disk` says.\n#[error(\"leave \\\n --load-address out\")]\nlet x = y--;";
    assert_eq!(options_named(text), ["--load-address"]);
    let text =
        "\"objcopy --change-section-lma\" \"---[ end\"\n#[cfg(test)]\nmod tests {\n\"--disk\"}";
    assert_eq!(options_named(text), [""; 0]);
}

#[test]
fn a_folder_that_names_one_above_is_found() {
    for (text, named) in [
        ("use crate::machine::Machine;", "machine::Machine"),
        (
            "use crate::{host::lock, vm::{Vm, control::Control}};",
            "vm::Vm",
        ),
        ("fn f(vm: &crate::vm::Vm) {}", "vm::Vm"),
        (
            "use super::super::super::super::vm::watch::Watch;",
            "vm::watch::Watch",
        ),
        ("pub(crate) use crate::cli::args;", "cli::args"),
        ("use crate::loader::Kernel;", "loader::Kernel"),
    ] {
        let found = upward(Path::new("host/net/user/tcp.rs"), text);
        let line = format!("src/host/net/user/tcp.rs: {named}");
        assert!(found.contains(&line), "{text}: {found:?}");
    }
    for text in [
        "use crate::host::lock::lock;",
        "use super::{Backend, NetError};",
        "//! As `use crate::vm::Vm;` would.",
        "use std::machine::Machine;",
        "use smoltcp::wire::crate_of::vm;",
    ] {
        assert_eq!(upward(Path::new("host/net/mod.rs"), text), [""; 0]);
    }
    assert_eq!(
        upward(Path::new("vm/run.rs"), "use crate::host::lock;"),
        [""; 0]
    );
    assert_eq!(
        upward(Path::new("vm/run.rs"), "use crate::machine::spec;").len(),
        1
    );
}

/// The paths in a document's code spans, each with a folder or an ending.
fn paths_named(document: &str) -> Vec<&str> {
    let spans = document
        .split("\n```")
        .step_by(2)
        .flat_map(|text| text.split('`').skip(1).step_by(2));
    let is_path = |span: &&str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        span.chars().all(plain) && span.contains('/') && !span.starts_with('/')
    };
    spans.filter(is_path).collect()
}

#[test]
fn the_map_of_the_design_names_files_that_exist() {
    let document = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let paths = paths_named(&document);
    assert!(paths.len() > 15, "{paths:?}");
    // The flows name the crates of `kernel-glue` without it.
    let exists = |path: &str| {
        let folders = ["", "kernel-glue"];
        folders
            .iter()
            .any(|folder| root().join(folder).join(path).exists())
    };
    let missing: Vec<_> = paths.into_iter().filter(|path| !exists(path)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn paths_of_a_document_are_found() {
    let document = "`src/vm/run.rs`, `stb`, `/dev/kvm` and\n```\n`a/b.rs`\n```\n`fdt/`";
    assert_eq!(paths_named(document), ["src/vm/run.rs", "fdt/"]);
}

#[test]
fn a_ring_is_found_and_a_line_is_none() {
    let crate_of = |files: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let file = |(path, text): &(&str, &str)| (module(Path::new(path)), (*text).to_owned());
        files.iter().map(file).collect()
    };
    let ring = crate_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod c;\nuse crate::b::B;"),
        ("a/c.rs", "use super::A;"),
        ("b.rs", "fn f() -> crate::a::c::C {}"),
    ]);
    assert_eq!(
        rings(&ring),
        BTreeSet::from([["a", "a/c", "b"].map(str::to_owned).to_vec()])
    );
    let line = crate_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod c;\nuse crate::b::B;"),
        ("a/c.rs", "use super::A;"),
        (
            "b.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n use crate::a::c::C;\n}",
        ),
    ]);
    assert_eq!(rings(&line), BTreeSet::new());
}

#[test]
fn a_dependency_of_ours_is_found_where_it_counts() {
    let manifest = "[workspace.dependencies]\nppc440-isa = { path = \"x\" }\n[dependencies]\n\
                    libc.workspace = true\nppckvm-api.workspace = true\n[dev-dependencies]\n\
                    ppc440-cpu.workspace = true\n[target.'cfg(unix)'.dependencies]\n\
                    ppckvm-fdt = { path = \"fdt\" }\n";
    let found: Vec<String> = dependencies(manifest).into_iter().collect();
    assert_eq!(found, ["ppckvm-api", "ppckvm-fdt"]);
}
