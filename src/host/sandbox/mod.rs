//! What the threads of a machine give up, once they have what they need.
//!
//! Each kind of thread ([`Role`]) keeps the system calls, files and capabilities of its own work.
//! It gives up the rest itself, before it begins to serve, so that the process as a whole stays as
//! it is for a program around the library.
//!
//! - System calls (`seccomp`, see `calls.rs`): what a thread never needs fails with `EPERM`, and
//!   what only an attacker wants ends the process.
//! - Files (`landlock`, see `files.rs`): by name, only what is listed. What is open stays open.
//! - Capabilities: none, but those by which a share of root's serves files of any owner, and the one
//!   by which root removes its sockets from other users' folders.
//! - No program that a thread starts gains rights (`no_new_privs`), and, where a program asks for it
//!   as a whole, nobody reads its memory (not dumpable).

mod calls;
mod files;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

pub use calls::Role;

/// Whether the threads of a machine give up what they do not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// All that this host's kernel has a way for.
    Auto,
    /// All of it, or an error.
    On,
    /// Nothing.
    #[default]
    Off,
}

/// A choice that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sandbox; write auto, on or off")]
pub struct ParseSandboxError(String);

impl FromStr for Sandbox {
    type Err = ParseSandboxError;

    fn from_str(text: &str) -> Result<Self, ParseSandboxError> {
        match text {
            "auto" => Ok(Sandbox::Auto),
            "on" => Ok(Sandbox::On),
            "off" => Ok(Sandbox::Off),
            _ => Err(ParseSandboxError(text.into())),
        }
    }
}

/// Why threads cannot give up what they do not need.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// This kernel has no way for a part of what [`Sandbox::On`] asks for.
    #[error("this host cannot have all of the sandbox: its kernel {0}; take what there is")]
    Missing(&'static str),
    /// The kernel refuses a part that it has a way for.
    #[error("the sandbox is not in force: {what}: {error}; {}", remedy(.error))]
    Refused {
        /// What was to be given up.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl SandboxError {
    /// Whether the process has as many files open as it may have.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self, SandboxError::Refused { error, .. } if is_limit(error))
    }
}

fn is_limit(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MFILE)
}

fn remedy(error: &io::Error) -> &'static str {
    match is_limit(error) {
        true => "allow the process more open files, with ulimit -n",
        false => "run without it",
    }
}

/// Makes an error of what the kernel said when `what` was to be given up.
fn refused<E: Into<Failure>>(what: &'static str) -> impl Fn(E) -> SandboxError {
    move |error| SandboxError::Refused {
        what,
        error: said(error.into()),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the kernel said, below what a library says of it.
fn said(error: Failure) -> io::Error {
    let first: &(dyn std::error::Error + 'static) = &*error;
    let all = std::iter::successors(Some(first), |error| error.source());
    let codes = all.filter_map(|error| match error.downcast_ref::<Errno>() {
        Some(code) => Some(code.raw_os_error()),
        None => error.downcast_ref::<io::Error>()?.raw_os_error(),
    });
    match codes.last() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    }
}

/// What the threads of a machine give up, as far as this host's kernel has a way for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// System calls are filtered.
    pub calls: bool,
    /// Files are confined.
    pub files: bool,
    /// Capabilities are given up.
    pub capabilities: bool,
}

/// What a kernel lacks that cannot filter system calls.
const NO_CALLS: &str = "does not filter system calls (seccomp)";
/// What a kernel lacks that cannot confine files.
const NO_FILES: &str = "does not confine files (landlock of Linux 5.19)";

impl InForce {
    /// All that this host's kernel has a way for.
    fn on_this_host() -> Self {
        InForce {
            calls: calls::are_filtered_here(),
            files: files::are_confined_here(),
            capabilities: true,
        }
    }

    /// What this kernel lacks.
    fn missing(self) -> impl Iterator<Item = &'static str> {
        let calls = (!self.calls).then_some(NO_CALLS);
        calls.into_iter().chain((!self.files).then_some(NO_FILES))
    }
}

impl fmt::Display for InForce {
    /// `sandbox: ` and what is given up; then what this kernel lacks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.calls, "system calls"),
            (self.files, "files"),
            (self.capabilities, "capabilities"),
        ];
        let parts = parts.iter().filter(|(given_up, _)| *given_up);
        let parts: Vec<&str> = parts.map(|(_, name)| *name).collect();
        if parts.is_empty() {
            return f.write_str("sandbox: none");
        }
        write!(f, "sandbox: {}", parts.join(", "))?;
        let missing: Vec<&str> = self.missing().collect();
        match missing.is_empty() {
            true => Ok(()),
            false => write!(f, " (this kernel {})", missing.join(" and ")),
        }
    }
}

/// The sockets of a machine, which it serves by name for as long as it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    /// Folders in which it made sockets, which it removes at its end.
    pub folders: Vec<PathBuf>,
    /// Whether the thread connects to sockets of others while it runs.
    pub connects: bool,
}

impl Sockets {
    /// Adds the folder of a socket at `path`.
    pub fn made_at(&mut self, path: &Path) {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        self.folders.push(folder.into());
    }
}

/// A folder that a thread serves.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The folder, open.
    pub folder: OwnedFd,
    /// Whether it is only read.
    pub readonly: bool,
}

/// A machine's sandbox: for its own threads, and for those that run it.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    in_force: InForce,
    sockets: Sockets,
}

impl Confinement {
    /// Makes a confinement for threads that serve no machine's sockets, after a look at what this
    /// host's kernel has a way for.
    ///
    /// # Errors
    /// What this kernel lacks, with [`Sandbox::On`].
    pub fn new(sandbox: Sandbox) -> Result<Self, SandboxError> {
        match sandbox {
            Sandbox::Off => Ok(Confinement::default()),
            Sandbox::Auto | Sandbox::On => Confinement::on(sandbox, InForce::on_this_host()),
        }
    }

    /// Makes one for a host that has a way for so much.
    fn on(sandbox: Sandbox, host: InForce) -> Result<Self, SandboxError> {
        match host.missing().next() {
            Some(missing) if sandbox == Sandbox::On => Err(SandboxError::Missing(missing)),
            _ => Ok(Confinement {
                in_force: host,
                sockets: Sockets::default(),
            }),
        }
    }

    /// Makes it one for a machine with these sockets.
    pub(crate) fn with_sockets(self, sockets: Sockets) -> Self {
        Confinement { sockets, ..self }
    }

    /// What the threads give up.
    pub fn in_force(&self) -> InForce {
        self.in_force
    }

    /// Confines the calling thread for good to what a thread of this kind needs, unless the sandbox
    /// is off. Threads that it starts later are confined as it is.
    ///
    /// The thread calls this when it has opened all that it needs.
    ///
    /// # Errors
    /// What the kernel refuses; the thread may have given up a part by then.
    pub fn confine(&self, role: Role) -> Result<(), SandboxError> {
        self.confine_to(role, None)
    }

    /// Confines as [`confine`](Self::confine) does, and leaves the thread a folder.
    pub(crate) fn confine_to(&self, role: Role, tree: Option<&Tree>) -> Result<(), SandboxError> {
        if self.in_force == InForce::default() {
            return Ok(());
        }
        rustix::thread::set_no_new_privs(true).map_err(refused("no_new_privs"))?;
        let none = Sockets::default();
        let sockets = match role {
            Role::Vcpu | Role::Events => &self.sockets,
            Role::Net | Role::Disk | Role::Share | Role::Waiter => &none,
        };
        if self.in_force.files {
            files::confine(role, &sockets.folders, tree).map_err(refused("files"))?;
        }
        self.drop_capabilities(role, sockets)?;
        if self.in_force.calls {
            calls::confine(role, sockets.connects).map_err(refused("system calls"))?;
        }
        tracing::debug!("a thread is confined to what {role:?} needs");
        Ok(())
    }

    /// Starts a thread that is confined before it does `work`, or does not do it.
    ///
    /// # Errors
    /// When the host has no more threads, or refuses to confine it.
    pub fn spawn(
        &self,
        thread: Builder,
        role: Role,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        self.spawn_with(thread, role, None, work)
    }

    /// Starts a thread as [`spawn`](Self::spawn) does, and leaves it a folder.
    pub(crate) fn spawn_with(
        &self,
        thread: Builder,
        role: Role,
        tree: Option<Tree>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let confinement = self.clone();
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread.spawn(move || {
            let confined = confinement.confine_to(role, tree.as_ref());
            drop(tree);
            let work = confined.is_ok().then_some(work);
            if tell.send(confined).is_ok()
                && let Some(work) = work
            {
                work();
            }
        })?;
        match told.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Keeps other processes of the user from reading this one's memory, and from having it written
    /// to a core file, unless the sandbox is off. It holds for the whole process, so only a program
    /// that is all about its machine calls this.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn hide_process(&self) -> Result<(), SandboxError> {
        if self.in_force == InForce::default() {
            return Ok(());
        }
        let not_dumpable = rustix::process::DumpableBehavior::NotDumpable;
        rustix::process::set_dumpable_behavior(not_dumpable).map_err(refused("not dumpable"))
    }

    fn drop_capabilities(&self, role: Role, sockets: &Sockets) -> Result<(), SandboxError> {
        let kept = match role {
            Role::Share => OF_SHARES,
            // A socket of root's may lie in another user's folder, or be another user's. Files keep
            // to the sockets' folders.
            Role::Vcpu | Role::Events if !sockets.folders.is_empty() && self.in_force.files => {
                CapabilitySet::DAC_OVERRIDE
            }
            _ => CapabilitySet::empty(),
        };
        let have = capabilities(None).map_err(refused("capabilities"))?;
        let sets = CapabilitySets {
            effective: have.effective & kept,
            permitted: have.permitted & kept,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).map_err(refused("capabilities"))
    }
}

/// What a share of root's does for files of any owner.
const OF_SHARES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_and_what_a_kernel_lacks_is_one_line() {
        let all = InForce {
            calls: true,
            files: true,
            capabilities: true,
        };
        for (in_force, line) in [
            (all, "sandbox: system calls, files, capabilities"),
            (InForce::default(), "sandbox: none"),
            (
                InForce {
                    files: false,
                    ..all
                },
                "sandbox: system calls, capabilities (this kernel does not confine files (landlock \
                 of Linux 5.19))",
            ),
        ] {
            assert_eq!(in_force.to_string(), line);
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_an_error_only_where_all_is_asked_for() {
        let host = InForce {
            calls: true,
            files: false,
            capabilities: true,
        };
        let auto = Confinement::on(Sandbox::Auto, host).unwrap();
        assert_eq!(auto.in_force(), host);
        let error = Confinement::on(Sandbox::On, host).unwrap_err().to_string();
        assert!(error.contains("landlock of Linux 5.19"), "{error}");
        assert!(error.ends_with("take what there is"), "{error}");
    }

    #[test]
    fn an_error_is_what_the_kernel_said_and_what_helps() {
        let files = refused("files");
        let error = files(Failure::from("a library's"));
        assert!(
            error
                .to_string()
                .ends_with("files: a library's; run without it"),
            "{error}"
        );
        let open = landlock::PathFd::new("/nowhere").unwrap_err();
        let error = refused("files")(open);
        let said = "files: No such file or directory (os error 2); run without it";
        assert!(error.to_string().ends_with(said), "{error}");
        let limit = refused::<Errno>("files")(Errno::MFILE);
        assert!(limit.to_string().ends_with("with ulimit -n"), "{limit}");
    }

    #[test]
    fn a_sockets_folder_is_where_its_path_says() {
        let mut sockets = Sockets::default();
        for path in ["s", "./s", "a/s", "/s"] {
            sockets.made_at(Path::new(path));
        }
        assert_eq!(
            sockets.folders,
            [".", ".", "a", "/"].map(PathBuf::from).to_vec()
        );
    }
}
