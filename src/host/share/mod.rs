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
#[cfg(test)]
mod tests;
mod wire;
mod worker;

use std::path::PathBuf;
use std::str::FromStr;

use ppckvm_devices::virtio::p9::P9;

use crate::machine::keys::{Key, OptionError, Options};
use crate::machine::virtio::Place;
use crate::machine::{BuildError, Machine};

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
    /// What the guest mounts: 1 to 31 characters without spaces.
    pub tag: String,
    /// Whether the guest may only read.
    pub readonly: bool,
    /// How the device is attached.
    pub place: Place,
}

/// Why a folder cannot be shared. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A tag that the guest could not name.
    #[error("--share tag={0}: {1}")]
    Tag(String, &'static str),
}

impl FromStr for Share {
    type Err = OptionError;

    /// Reads `path=DIR,tag=NAME[,readonly][,bus=mmio|pci][,legacy]`.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let [bus, legacy] = Place::KEYS;
        let keys = [
            Key::Value("path"),
            Key::Value("tag"),
            Key::Flag("readonly"),
            bus,
            legacy,
        ];
        let options = Options::parse(text, &keys)?;
        let tag = options.required("tag")?;
        if let Err(why) = check_tag(tag) {
            return Err(OptionError::Value {
                key: "tag",
                value: tag.into(),
                why: why.into(),
            });
        }
        Ok(Share {
            path: options.required("path")?.into(),
            tag: tag.into(),
            readonly: options.flag("readonly"),
            place: Place::from_options(&options)?,
        })
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    match tag.len() {
        1..=LONGEST_TAG if tag.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(()),
        1..=LONGEST_TAG => Err("a tag has no spaces and only ASCII characters"),
        _ => Err("a tag has 1 to 31 characters"),
    }
}

impl Machine {
    /// A folder that the guest can mount with
    /// `mount -t 9p -o trans=virtio,version=9p2000.L TAG DIRECTORY`.
    ///
    /// It is confined to the folder: it follows no link out of it, and opens no device, pipe or
    /// socket of the host's. What it creates has this process's owner, or the guest's when this
    /// process is root's; device nodes it cannot create. Extended attributes are not supported, and
    /// locks hold among the guest's own processes.
    pub fn share(mut self, share: Share) -> Self {
        let name = format!("share {}", share.tag);
        let same = self.count_attached_as(&name) > 0;
        let Share {
            path,
            tag,
            readonly,
            place,
        } = share;
        self.attach(name, place, move |_| {
            let why = match same {
                true => Err("two shares have it; give each its own"),
                false => check_tag(&tag),
            };
            why.map_err(|why| ShareError::Tag(tag.clone(), why))?;
            let folder = folder::Folder::open(&path).map_err(ShareError::from)?;
            let options = server::Options {
                readonly,
                give_away: rustix::process::geteuid().is_root(),
                limits: Limits::of_this_process(),
            };
            let thread = ShareThread::new(Server::new(folder, options));
            let thread = thread.map_err(|error| BuildError::Host {
                what: "thread",
                error,
            })?;
            Ok(Box::new(P9::new(&tag, thread)))
        });
        self
    }
}
