//! The command, run with files of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::asm::Asm;

/// The command, with a folder for its files.
pub struct Ppckvm {
    dir: TempDir,
}

impl Ppckvm {
    pub fn new() -> Self {
        Ppckvm {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The command, run in its folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppckvm"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("PPCKVM_LOG");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a guest of a few instructions.
    pub fn guest(&self, program: Asm, args: &[&str]) -> Output {
        self.file("guest", program.elf(0, 0));
        self.run(&[&["run", "--kernel", "guest"], args].concat())
    }

    /// Starts a guest with pipes at all three ends.
    pub fn spawn(&self, program: Asm, args: &[&str]) -> Child {
        self.file("guest", program.elf(0, 0));
        self.command(&[&["run", "--kernel", "guest"], args].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
