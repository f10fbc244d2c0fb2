//! The way in: choosing where the 440 core runs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ppc440_cpu::Region;

use crate::device::{DEV_KVM, ProbeError, probe};
use crate::vm::{Vm, VmOptions};

/// The place where the 440 core runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accel {
    /// In a 440 host's kernel where there is one, else in this process.
    #[default]
    Auto,
    /// In the kernel of a 440 host, or nowhere.
    Kvm,
    /// In this process.
    Inproc,
}

/// A core that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("no 440 behind kvm: {0}; or take the in-process core, which runs on any host")]
pub struct OpenError(#[from] ProbeError);

/// A place where 440 guests run.
#[derive(Debug)]
pub struct Kvm {
    /// Why not in a kernel, when nobody asked for this process.
    not_kernel: Option<ProbeError>,
}

impl Kvm {
    /// Opens the place that `accel` names.
    ///
    /// # Errors
    /// [`Accel::Kvm`] on a host whose kernel has no KVM for the 440.
    pub fn open(accel: Accel) -> Result<Self, OpenError> {
        Self::open_at(accel, Path::new(DEV_KVM))
    }

    /// Opens a core as [`Kvm::open`] does, with the device at `path`.
    ///
    /// # Errors
    /// As [`Kvm::open`].
    pub fn open_at(accel: Accel, path: &Path) -> Result<Self, OpenError> {
        let not_kernel = match accel {
            Accel::Inproc => None,
            // `probe` finds no device that this build drives, so all that there is to have from
            // it is the reason.
            Accel::Auto => probe(path).err(),
            Accel::Kvm => {
                probe(path)?;
                None
            }
        };
        Ok(Kvm { not_kernel })
    }

    /// Which place it is, for a person.
    pub fn backend(&self) -> String {
        self.to_string()
    }

    /// Why the guest does not run in a kernel, when [`Accel::Auto`] had to choose.
    pub fn not_kernel(&self) -> Option<&ProbeError> {
        self.not_kernel.as_ref()
    }

    /// A machine without CPU whose RAM is parts of `ram`.
    pub fn create_vm(&self, ram: Arc<Region>, options: VmOptions) -> Vm {
        Vm::new(ram, options)
    }
}

impl fmt::Display for Kvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("in-process 440 core")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_this_process_and_keeps_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvm");
        let kvm = Kvm::open_at(Accel::Auto, &path).unwrap();
        assert_eq!(kvm.backend(), "in-process 440 core");
        assert!(matches!(kvm.not_kernel(), Some(ProbeError::Missing { .. })));
        assert!(
            Kvm::open_at(Accel::Inproc, &path)
                .unwrap()
                .not_kernel()
                .is_none()
        );
    }

    #[test]
    fn kvm_without_a_440_is_an_error_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let error = Kvm::open_at(Accel::Kvm, &dir.path().join("kvm"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("does not exist") && error.contains("in-process"),
            "{error}"
        );
    }
}
