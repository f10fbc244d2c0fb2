//! File descriptors, of which a process has only so many: what guests and clients cause leaves some
//! for the launcher itself.
//!
//! Every taker asks the same question, and no count is kept: the host's kernel gives out the lowest
//! number that is free, so a new descriptor's number tells how many there are at least, whoever in
//! the process has them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// How many descriptors the process may have, as it was when a machine was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    limit: usize,
}

/// The fewest and the most descriptors that are kept for the launcher's own files.
const KEPT: (usize, usize) = (8, 64);

impl Descriptors {
    /// What the process may have now (`RLIMIT_NOFILE`).
    pub fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::with_limit(limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        }))
    }

    /// A process that may have `limit` descriptors.
    pub const fn with_limit(limit: usize) -> Self {
        Descriptors { limit }
    }

    /// How many one device may hold for its guest: half, so that no device alone leaves the others
    /// nothing.
    pub const fn half(self) -> usize {
        self.limit / 2
    }

    /// Descriptors for guests and clients; the rest is the launcher's own.
    const fn for_guests(self) -> usize {
        let eighth = self.limit / 8;
        let kept = match eighth {
            few if few < KEPT.0 => KEPT.0,
            many if many > KEPT.1 => KEPT.1,
            eighth => eighth,
        };
        self.limit.saturating_sub(kept)
    }

    /// Keeps a descriptor that a guest or a client had the launcher open.
    ///
    /// # Errors
    /// `EMFILE` when it is one of those that are kept for the launcher; it is closed again.
    pub fn admit<F: AsFd>(self, file: F) -> io::Result<F> {
        let number = usize::try_from(file.as_fd().as_raw_fd()).unwrap_or(usize::MAX);
        match number < self.for_guests() {
            true => Ok(file),
            false => Err(Errno::MFILE.into()),
        }
    }
}

/// A descriptor that is held so that a client can be taken, and turned away, when none is left:
/// a client that is not taken keeps its listener ready for ever.
#[derive(Debug)]
pub(crate) struct Reserve(Option<OwnedFd>);

impl Reserve {
    /// Takes the descriptor, a duplicate of `file`, which is the listener or another that lives as
    /// long.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(file: impl AsFd) -> io::Result<Self> {
        hold(file).map(|file| Reserve(Some(file)))
    }

    /// Has `accept` take the next client in the place of the reserve, and turns that client away;
    /// whether there was one. `file` is what [`Reserve::new`] was given.
    pub fn turn_away<C>(
        &mut self,
        file: impl AsFd,
        accept: impl FnOnce() -> io::Result<C>,
    ) -> bool {
        // None when somebody else was quicker the last time.
        let came = self.0.take().is_some() && accept().is_ok();
        self.0 = hold(file).ok();
        came
    }
}

fn hold(file: impl AsFd) -> io::Result<OwnedFd> {
    // Not opened by a name, which a sandbox may have taken away.
    Ok(rustix::io::fcntl_dupfd_cloexec(file, 0)?)
}

/// Whether an error says that the process, or the host, has no descriptors or memory left, which
/// passes.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_few_descriptors_are_kept_for_the_launcher() {
        for (limit, guests) in [
            (0, 0),
            (16, 8),
            (64, 56),
            (256, 224),
            (1 << 20, (1 << 20) - 64),
        ] {
            let descriptors = Descriptors::with_limit(limit);
            assert_eq!(descriptors.for_guests(), guests, "of {limit}");
            assert_eq!(descriptors.half(), limit / 2);
        }
        // Without a limit there is enough for all.
        assert!(
            Descriptors::with_limit(usize::MAX)
                .admit(File::open("/dev/null").unwrap())
                .is_ok()
        );
    }

    #[test]
    fn a_descriptor_beyond_the_guests_part_is_given_back() {
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd() as usize;
        let least = Descriptors::with_limit(number + KEPT.0);
        let error = least.admit(file).unwrap_err();
        assert!(is_exhausted(&error), "{error}");
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd() as usize;
        assert!(
            Descriptors::with_limit(number + 1 + KEPT.0)
                .admit(file)
                .is_ok()
        );
    }

    #[test]
    fn a_client_is_turned_away_in_the_place_of_the_reserve() {
        let file = File::open("/dev/null").unwrap();
        let mut reserve = Reserve::new(&file).unwrap();
        assert!(reserve.turn_away(&file, || Ok(())));
        assert!(!reserve.turn_away(&file, || Err::<(), _>(io::ErrorKind::WouldBlock.into())));
        assert!(reserve.turn_away(&file, || Ok(())));
    }
}
