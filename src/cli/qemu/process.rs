//! What a process is to its host: a file with its number, a daemon, or another program in its place.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::io::Errno;

/// Tells a daemon that it is one, and that its standard input is its parent.
const DAEMON: &str = "PPCKVM_QEMU_DAEMON";

/// A file that holds this process's number, locked for as long as this lives.
pub struct PidFile {
    path: PathBuf,
    _file: File,
}

impl PidFile {
    /// Makes the file, or takes over one whose process is gone.
    ///
    /// # Errors
    /// A file that cannot be made, or that another process has locked.
    pub fn create(path: &Path) -> Result<Self, String> {
        let fail = |why: &dyn std::fmt::Display| format!("cannot create PID file: {why}");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path);
        let mut file = file.map_err(|error| {
            fail(&format_args!(
                "Cannot open pid file {}: {error}",
                path.display()
            ))
        })?;
        let whole = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole)).map_err(|error| {
            fail(&format_args!(
                "Cannot lock pid file {}: {}; another machine has it",
                path.display(),
                error.desc()
            ))
        })?;
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| fail(&format_args!("Failed to write pid file: {error}")))?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(PidFile { path, _file: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // The lock goes with the process in any case.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether this process is the daemon that another one started.
pub fn is_daemon() -> bool {
    std::env::var_os(DAEMON).is_some()
}

/// Starts this command again as a daemon, and waits until its machine is ready; the exit status.
///
/// # Errors
/// The host starts no process.
pub fn daemonize() -> Result<u8, String> {
    let fail = |error: std::io::Error| format!("-daemonize: the host starts no process: {error}");
    let (mut ours, theirs) = UnixStream::pair().map_err(fail)?;
    let mut args = std::env::args_os();
    let mut command = Command::new(std::env::current_exe().map_err(fail)?);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args).env(DAEMON, "1");
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let mut child = command.spawn().map_err(fail)?;
    // The command holds the other end, whose last holder is now to be the child.
    drop(command);
    match ours.read(&mut [0]) {
        Ok(1) => Ok(0),
        // It has said why.
        _ => match child.wait().ok().and_then(|status| status.code()) {
            Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
            None => Ok(1),
        },
    }
}

/// Leaves the caller's terminal and folder, and tells the parent that the machine is ready.
///
/// # Errors
/// The host has no `/dev/null`.
pub fn become_daemon() -> Result<(), String> {
    let fail = |error: Errno| format!("-daemonize: {error}");
    // One that leads a group already cannot, and has no terminal to leave.
    let _ = rustix::process::setsid();
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| format!("-daemonize: /dev/null: {error}"))?;
    rustix::process::chdir("/").map_err(fail)?;
    rustix::stdio::dup2_stdout(&null).map_err(fail)?;
    rustix::stdio::dup2_stderr(&null).map_err(fail)?;
    // A parent that is gone needs no answer.
    let _ = rustix::io::write(rustix::stdio::stdin(), &[0]);
    rustix::stdio::dup2_stdin(&null).map_err(fail)
}

/// Runs another program in this one's place; returns only if that cannot be.
pub fn replace(program: &Path, args: &[OsString]) -> String {
    let same = |path: &Path| path.canonicalize().ok();
    let own = std::env::current_exe().ok();
    if own
        .as_deref()
        .and_then(same)
        .is_some_and(|own| Some(own) == same(program))
    {
        return format!(
            "PPCKVM_QEMU_REAL={}: this is ppckvm itself; name the real one",
            program.display()
        );
    }
    let error = Command::new(program).args(args).exec();
    format!("PPCKVM_QEMU_REAL={}: {error}", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_has_one_owner_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        // What a killed process left is taken over.
        std::fs::write(&path, "123456\n").unwrap();
        let first = PidFile::create(&path).unwrap();
        let own = format!("{}\n", std::process::id());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own);
        let error = PidFile::create(&path).err().unwrap();
        assert!(
            error.contains("cannot create PID file: Cannot lock"),
            "{error}"
        );
        drop(first);
        assert!(!path.exists());
        let error = PidFile::create(folder.path()).err().unwrap();
        assert!(error.contains("Cannot open pid file"), "{error}");
    }
}
