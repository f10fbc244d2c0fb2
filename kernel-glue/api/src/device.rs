//! What `/dev/kvm` of this host is, as far as asking tells: missing, forbidden, another
//! architecture's, or a 440's.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a kernel offers KVM.
pub const DEV_KVM: &str = "/dev/kvm";

/// The one version of KVM's ABI that ever was.
const API_VERSION: i32 = 12;

/// KVM_CAP_PPC_BOOKE_SREGS: only the KVM of a Book E host has it.
const CAP_PPC_BOOKE_SREGS: u64 = 62;

/// KVM_CAP_SW_TLB: the e500 has it and the 440 has not.
const CAP_SW_TLB: u64 = 69;

/// Why a device is no 440's KVM. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// There is no such file.
    #[error("{} does not exist: this kernel offers no kvm; a 440 host needs its module loaded", path.display())]
    Missing {
        /// The device.
        path: PathBuf,
    },
    /// The host forbids it.
    #[error("{} may not be opened by this user ({error}); ask for access to it", path.display())]
    Forbidden {
        /// The device.
        path: PathBuf,
        /// What the host said.
        error: std::io::Error,
    },
    /// The host refuses for another reason.
    #[error("{} cannot be opened: {error}", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What the host said.
        error: std::io::Error,
    },
    /// Something else answers.
    #[error(
        "{} is not kvm: it answers version {version} where kvm answers {API_VERSION}", path.display()
    )]
    Version {
        /// The device.
        path: PathBuf,
        /// The device's answer to KVM_GET_API_VERSION.
        version: i32,
    },
    /// KVM of another architecture.
    #[error(
        "{} is the kvm of a host of architecture {arch} and runs {arch} guests only, not a 440's",
        path.display()
    )]
    Foreign {
        /// The device.
        path: PathBuf,
        /// The host's architecture.
        arch: &'static str,
    },
    /// KVM of an e500.
    #[error("{} is the kvm of an e500 host and runs e500 guests only, not a 440's", path.display())]
    E500 {
        /// The device.
        path: PathBuf,
    },
    /// A 440's, which this build has no driver for.
    #[error(
        "{} is the kvm of a 440 host, and this build drives the in-process core only", path.display()
    )]
    NoDriver {
        /// The device.
        path: PathBuf,
    },
}

/// Asks the device at `path` what it is.
///
/// # Errors
/// Why it cannot run a 440's guest. That is every answer so far: the driver for a 440 host comes
/// with the kernel module.
pub fn probe(path: &Path) -> Result<(), ProbeError> {
    let path = path.to_path_buf();
    let opened = match CString::new(path.as_os_str().as_bytes()) {
        Ok(name) => kvm_ioctls::Kvm::new_with_path(&name).map_err(std::io::Error::from),
        Err(error) => Err(error.into()),
    };
    let kvm = match opened {
        Ok(kvm) => kvm,
        Err(error) => {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => ProbeError::Missing { path },
                std::io::ErrorKind::PermissionDenied => ProbeError::Forbidden { path, error },
                _ => ProbeError::Open { path, error },
            });
        }
    };
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(ProbeError::Version { path, version });
    }
    // The number of a capability means the same on every architecture.
    let arch = std::env::consts::ARCH;
    if arch != "powerpc" || kvm.check_extension_raw(CAP_PPC_BOOKE_SREGS) <= 0 {
        return Err(ProbeError::Foreign { path, arch });
    }
    if kvm.check_extension_raw(CAP_SW_TLB) > 0 {
        return Err(ProbeError::E500 { path });
    }
    Err(ProbeError::NoDriver { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = probe(&dir.path().join("kvm")).unwrap_err();
        assert!(matches!(error, ProbeError::Missing { .. }));
        assert!(error.to_string().contains("/kvm does not exist"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_device_is_not_kvm() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = probe(file.path()).unwrap_err();
        assert!(
            matches!(error, ProbeError::Version { version: -1, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_directory_cannot_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            probe(dir.path()).unwrap_err(),
            ProbeError::Open { .. }
        ));
    }

    #[test]
    fn this_hosts_device_is_told_from_a_440s() {
        let error = probe(Path::new(DEV_KVM)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("/dev/kvm "), "{text}");
        if cfg!(target_arch = "x86_64") {
            assert!(
                !matches!(error, ProbeError::NoDriver { .. } | ProbeError::E500 { .. }),
                "{text}"
            );
        }
    }
}
