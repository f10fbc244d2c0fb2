//! What the tests of whole machines share: guests of a few instructions, and where kernels are.
// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub mod asm;
pub mod command;
pub mod linux;

use std::path::PathBuf;

/// A kernel or root file system that `tests/guests/build.sh` made; `name` is the variable that it
/// prints.
///
/// # Panics
/// When the variable is not set, naming the command that sets it.
pub fn guest(name: &str) -> PathBuf {
    let path = std::env::var_os(name).map(PathBuf::from).unwrap_or_else(|| {
        panic!(
            "{name} is not set: the guests are missing; run tests/run.sh, or build them and set \
             their paths with: set -a; eval \"$(tests/guests/build.sh all)\"; set +a"
        )
    });
    assert!(
        path.is_file(),
        "{name} names {}, which is no file; build the guests again with tests/guests/build.sh all",
        path.display()
    );
    path
}
