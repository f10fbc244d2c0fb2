//! Why there is no CPU, or no translator.

use std::io;

/// A CPU that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// Guest RAM cannot be used.
    #[error("{0}")]
    Ram(#[source] io::Error),
    /// The host has no address space for the interpreter's tables.
    #[error(
        "the cpu's tables need {} of address space ({error}); raise the process's limit (ulimit -v)",
        mebibytes(*.bytes)
    )]
    Tables {
        /// Bytes that are needed.
        bytes: u64,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// The translator was asked for, and cannot be had.
    #[error("{0}; or take the interpreter, which runs on any host")]
    Translator(#[from] TranslatorError),
}

/// Why the translator cannot execute guest code here; the interpreter can.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslatorError {
    /// No code is made for the host's processor.
    #[error(
        "there is no translator for this host's processor ({}), which would have to be an x86-64 with movbe, bmi2, lzcnt and fma",
        std::env::consts::ARCH
    )]
    Processor,
    /// The host lets this process execute nothing that it has written itself.
    #[error(
        "this process may not execute code that it makes ({0}); the host forbids it (sysctl vm.memfd_noexec, selinux or seccomp) and would have to allow it"
    )]
    Forbidden(#[source] io::Error),
    /// The host has no memory or address space left for code.
    #[error(
        "the translator's code needs {} of address space ({error}); raise the process's limit (ulimit -v)",
        mebibytes(*.bytes)
    )]
    Code {
        /// Bytes that are needed.
        bytes: u64,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// The host has no address space left for tables.
    #[error(
        "the translator's tables need {} of address space ({error}); raise the process's limit (ulimit -v)",
        mebibytes(*.bytes)
    )]
    Tables {
        /// Bytes that are needed.
        bytes: u64,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// The host does not let this process handle SIGSEGV, which windows need.
    #[error(
        "this process may not handle SIGSEGV ({0}), which the translator's windows need; switch windows off"
    )]
    Signal(#[source] io::Error),
}

impl TranslatorError {
    /// The reason why `bytes` bytes that are to hold code cannot be had.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub(crate) fn of_code(bytes: usize, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => TranslatorError::Forbidden(error),
            _ => TranslatorError::Code {
                bytes: bytes as u64,
                error,
            },
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_told_from_a_limit() {
        for denied in [1, 13] {
            let error = TranslatorError::of_code(1, io::Error::from_raw_os_error(denied));
            assert!(matches!(error, TranslatorError::Forbidden(_)), "{error}");
            assert!(error.to_string().contains("vm.memfd_noexec"), "{error}");
        }
        let error = TranslatorError::of_code(64 << 20, io::Error::from_raw_os_error(12));
        let text = error.to_string();
        assert!(
            text.contains("64 MiB") && text.contains("ulimit -v"),
            "{text}"
        );
    }
}
