//! A capture of what passes on a network, in the format that libpcap reads (`pcap-savefile(5)`).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ppckvm_devices::virtio::net::{Offload, Offloads, Wire};

use super::{Backend, NetError};

/// In the host's byte order, which tells a reader that order; times have nanoseconds.
const MAGIC: u32 = 0xA1B2_3C4D;
const VERSION: (u16, u16) = (2, 4);
const ETHERNET: u32 = 1;

/// As many bytes as any reader takes of one packet; no frame has more.
const SNAP_LENGTH: u32 = 262_144;

/// A network whose frames also go to a file.
pub(super) struct Captured {
    inner: Box<dyn Backend>,
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Captured {
    /// Makes the file, or empties it.
    pub fn new(path: &Path, inner: Box<dyn Backend>) -> Result<Self, NetError> {
        let create = || -> io::Result<_> {
            let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
            let mut header = Vec::with_capacity(24);
            header.extend(MAGIC.to_ne_bytes());
            header.extend(VERSION.0.to_ne_bytes());
            header.extend(VERSION.1.to_ne_bytes());
            // The time zone and its accuracy, which nobody uses.
            header.extend([0; 8]);
            header.extend(SNAP_LENGTH.to_ne_bytes());
            header.extend(ETHERNET.to_ne_bytes());
            file.write_all(&header)?;
            file.flush()?;
            Ok(file)
        };
        let file = create().map_err(|error| NetError::Pcap {
            path: path.into(),
            error,
        })?;
        Ok(Captured {
            inner,
            path: path.into(),
            file: Some(file),
        })
    }

    fn ends(&mut self, error: &io::Error) {
        tracing::error!(
            "pcap={}: {error}; the capture ends here, the network goes on",
            self.path.display()
        );
        self.file = None;
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(Write::flush) {
            self.ends(&error);
        }
    }
}

fn record(file: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let length = frame.len() as u32;
    let mut header = [0; 16];
    // Seconds are unsigned there, and last until 2106.
    header[..4].copy_from_slice(&(now.as_secs() as u32).to_ne_bytes());
    header[4..8].copy_from_slice(&now.subsec_nanos().to_ne_bytes());
    header[8..12].copy_from_slice(&length.to_ne_bytes());
    header[12..].copy_from_slice(&length.to_ne_bytes());
    file.write_all(&header)?;
    file.write_all(frame)
}

impl Wire for Captured {
    fn offloads(&self) -> Offloads {
        self.inner.offloads()
    }

    fn attach(&mut self, offloads: Option<Offloads>) {
        self.inner.attach(offloads);
    }

    fn is_ready(&mut self) -> bool {
        self.inner.is_ready()
    }

    fn send(&mut self, frame: &[u8], offload: Offload) {
        if let Some(Err(error)) = self.file.as_mut().map(|file| record(file, frame)) {
            self.ends(&error);
        }
        self.inner.send(frame, offload);
    }

    fn receive(&mut self) -> Option<(&[u8], Offload)> {
        self.inner.receive()
    }

    fn received(&mut self) {
        let recorded = match (&mut self.file, self.inner.receive()) {
            (Some(file), Some((frame, _))) => record(file, frame),
            _ => Ok(()),
        };
        if let Err(error) = recorded {
            self.ends(&error);
        }
        self.inner.received();
    }
}

impl Backend for Captured {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }

    fn poll(&mut self, now: Instant) {
        self.inner.poll(now);
    }

    fn deadline(&mut self) -> Option<Instant> {
        // Nothing else is left to do: who looks at the file now sees all of it.
        self.flush();
        self.inner.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::{Frames, frame_queues};
    use super::*;

    #[test]
    fn both_directions_are_in_the_file_once_nothing_else_is_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("capture");
        let (port, end) = frame_queues().unwrap();
        let inner = Box::new(Frames::new(&end).unwrap());
        let mut captured = Captured::new(&path, inner).unwrap();
        captured.send(&[1; 20], Offload::default());
        port.send(vec![2; 15]).unwrap();
        captured.poll(Instant::now());
        assert_eq!(captured.receive().unwrap().0, [2; 15]);
        captured.received();
        captured.deadline();
        assert_eq!(port.try_receive(), Some(vec![1; 20]));
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file.len(), 24 + 16 + 20 + 16 + 15);
        assert_eq!(file[..4], MAGIC.to_ne_bytes());
        assert_eq!(file[24 + 8..24 + 12], 20u32.to_ne_bytes());
        assert_eq!(file[40..60], [1; 20]);
        assert_eq!(file[76..], [2; 15]);
    }

    #[test]
    fn a_capture_that_cannot_be_made_is_refused() {
        let (_port, end) = frame_queues().unwrap();
        let inner = Box::new(Frames::new(&end).unwrap());
        let error = Captured::new(Path::new("/nowhere/capture"), inner)
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("pcap=/nowhere/capture: "));
    }

    #[test]
    fn a_full_disk_ends_the_capture_and_not_the_network() {
        let (port, end) = frame_queues().unwrap();
        let inner = Box::new(Frames::new(&end).unwrap());
        let mut captured = Captured {
            inner,
            path: "/dev/full".into(),
            file: Some(BufWriter::new(File::create("/dev/full").unwrap())),
        };
        captured.send(&[1; 20], Offload::default());
        captured.deadline();
        assert!(captured.file.is_none());
        captured.send(&[2; 20], Offload::default());
        assert_eq!(port.try_receive(), Some(vec![1; 20]));
        assert_eq!(port.try_receive(), Some(vec![2; 20]));
    }
}
