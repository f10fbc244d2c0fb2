//! A pseudo-terminal: the port holds the master, a terminal program opens the slave by its name.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// How long a reader of the slave may take nothing at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked at then.
const LOOK: Duration = Duration::from_millis(10);

/// The other side, held open so that clients can come and go.
pub(crate) struct Slave {
    file: OwnedFd,
    name: String,
}

/// A new pair; the master neither waits nor echoes.
pub(crate) fn open() -> io::Result<(OwnedFd, Slave)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?
        .into_string()
        .map_err(io::Error::other)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(&name, flags, Mode::empty())?;
    let mut mode = tcgetattr(&file)?;
    mode.make_raw();
    tcsetattr(&file, OptionalActions::Now, &mode)?;
    let flags = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
    Ok((master, Slave { file, name }))
}

impl Slave {
    /// The terminal's path, for example `/dev/pts/3`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn unread(&self) -> usize {
        rustix::io::ioctl_fionread(&self.file).map_or(0, |bytes| bytes as usize)
    }

    /// Waits until a client has read what the terminal holds, and says how many bytes it left:
    /// closing the master takes them away.
    pub fn drain(&self) -> usize {
        let mut left = self.unread();
        let mut looks = 0;
        // The terminal passes bytes on a little after they were written, so once more at 0.
        while looks <= 1 || left > 0 && LOOK * looks < PATIENCE {
            std::thread::sleep(LOOK);
            let now = self.unread();
            looks = if now == left { looks + 1 } else { 0 };
            left = now;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_unchanged_and_are_waited_for() {
        let (master, slave) = open().unwrap();
        assert_eq!(rustix::io::write(&master, b"a\n\x03\x04b").unwrap(), 5);
        let reader = std::thread::spawn({
            let name = slave.name().to_owned();
            move || {
                let file = rustix::fs::open(name, OFlags::RDONLY | OFlags::NOCTTY, Mode::empty());
                let mut bytes = [0; 16];
                let count = rustix::io::read(file.unwrap(), &mut bytes).unwrap();
                bytes[..count].to_vec()
            }
        });
        assert_eq!(slave.drain(), 0);
        assert_eq!(reader.join().unwrap(), b"a\n\x03\x04b");
    }
}
