//! Set-id bits: a file that runs as its owner or its group, on the host as well.
//!
//! A guest that shares a folder with users of the host could make such files for them, so regular
//! files get these bits only where the user asked for it (`setid`). A directory's set-group-id bit
//! says whose the files in it are, and stays.
//!
//! What is changed is no longer what its owner made run as himself: the host takes the bits away
//! when a file is written, cut or given away. It makes an exception for who has `CAP_FSETID`, as
//! root has, so the threads that serve shares do without.

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// What a user of the guest may do about the bits of regular files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetId {
    /// Set them.
    pub allowed: bool,
    /// Change a file that has them, and leave them.
    pub kept: bool,
}

impl SetId {
    /// Permission bits of a file of type `kind` for which the guest asked for `mode`.
    pub fn permissions(self, mode: u32, kind: FileType) -> Mode {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match kind {
            FileType::Directory => mode,
            _ if self.allowed => mode,
            _ => mode.difference(Mode::SUID | Mode::SGID),
        }
    }

    /// Changes a file's contents with `change`.
    pub fn contents<T>(self, change: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        match self.kept {
            true => with_exception(change),
            false => change(),
        }
    }
}

/// Makes the host take set-id bits away from what this thread changes, until it ends.
///
/// # Errors
/// What the host says.
pub fn give_up_exception() -> Result<(), Errno> {
    let mut sets = capabilities(None)?;
    if sets.effective.contains(CapabilitySet::FSETID) {
        sets.effective.remove(CapabilitySet::FSETID);
        set_capabilities(None, sets)?;
    }
    Ok(())
}

/// Does what needs the exception, where this process has it: sets a directory's bit for a group
/// that is not the process's, and writes as the guest's root, who keeps the bits.
pub fn with_exception<T>(act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let sets = capabilities(None)?;
    if !sets.permitted.contains(CapabilitySet::FSETID) {
        return act();
    }
    let mut raised = sets;
    raised.effective.insert(CapabilitySet::FSETID);
    set_capabilities(None, raised)?;
    let done = act();
    set_capabilities(None, sets)?;
    done
}
