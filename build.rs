//! Says which commit is built, for `ppckvm --version`, in builds that are made to be used: for others
//! each commit would mean building everything again.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        println!("cargo:rustc-env=PPCKVM_COMMIT=");
        return;
    }
    // A commit changes these; a package has neither, and no commit.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let commit = commit
        .map(|commit| format!(" ({commit})"))
        .unwrap_or_default();
    println!("cargo:rustc-env=PPCKVM_COMMIT={commit}");
}

/// What git says about the folder of this package, if there is a git and it is a repository's.
fn git(args: &[&str]) -> Option<String> {
    let top = Command::new("git")
        .args(["rev-parse", "--show-prefix"])
        .output()
        .ok()?;
    // A package that was unpacked inside another repository is not of its commits.
    if !top.status.success() || !top.stdout.trim_ascii().is_empty() {
        return None;
    }
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
