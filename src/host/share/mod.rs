//! Shared folders: a 9P2000.L server over a folder of the host's, behind a virtio device.
//!
//! [`Server`] turns a request into a reply and knows nothing of virtio: bytes in, bytes out. What
//! keeps the guest inside the folder is in `folder.rs`, and where limits are kept in `fids.rs`.

mod attributes;
mod directory;
mod entries;
mod fids;
mod files;
mod folder;
mod server;
mod set_id;
#[cfg(test)]
mod tests;
mod wire;
mod worker;

use std::path::PathBuf;

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::p9::P9;

use crate::host::sandbox::{Confinement, Tree};

use fids::Limits;
pub use folder::FolderError;
use server::Server;
use worker::ShareThread;

/// Longest tag in bytes, which is what other machines take too.
const LONGEST_TAG: usize = 31;

/// A folder of the host's that the guest can mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The folder.
    pub path: PathBuf,
    /// The name by which the guest mounts it: 1 to 31 characters without spaces.
    pub tag: String,
    /// Whether the guest may only read.
    pub readonly: bool,
    /// Whether the guest may make regular files that run as their owner or group (set-user-id,
    /// set-group-id). They do so for the host's users too.
    pub setid: bool,
}

/// A share that cannot be made; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The folder cannot be shared.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The guest could not name this tag.
    #[error("the share with tag {0:?}: {1}")]
    Tag(String, &'static str),
    /// Another share has the tag.
    #[error("the share with tag {0:?}: two shares have it; give each its own")]
    SameTag(String),
    /// The host has no thread left.
    #[error("the host gives no thread: {0}")]
    Thread(std::io::Error),
}

/// Whether a guest can name a tag; if not, why.
pub(crate) fn check_tag(tag: &str) -> Result<(), &'static str> {
    match tag.len() {
        1..=LONGEST_TAG if tag.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(()),
        1..=LONGEST_TAG => Err("a tag has no spaces and only ASCII characters"),
        _ => Err("a tag has 1 to 31 characters"),
    }
}

/// Opens the folder, and makes the device and the thread that serve it.
///
/// # Errors
/// A folder that cannot be shared, or a tag that cannot be named.
pub(crate) fn open(
    share: &Share,
    confinement: &Confinement,
) -> Result<Box<dyn VirtioDevice<GuestMemory>>, ShareError> {
    let Share {
        path,
        tag,
        readonly,
        setid,
    } = share;
    check_tag(tag).map_err(|why| ShareError::Tag(tag.clone(), why))?;
    let folder = folder::Folder::open(path)?;
    let options = server::Options {
        readonly: *readonly,
        setid: *setid,
        give_away: rustix::process::geteuid().is_root(),
        limits: Limits::of_this_process(),
    };
    let tree = folder.tree().map(|folder| Tree {
        folder,
        readonly: *readonly,
    });
    let tree = tree.map_err(|error| ShareError::Thread(error.into()))?;
    let thread = ShareThread::new(tag, Server::new(folder, options), confinement, tree);
    let thread = thread.map_err(ShareError::Thread)?;
    Ok(Box::new(P9::new(tag, thread)))
}
