//! A Unix stream socket on which each frame follows its length, 32 bits big-endian: what passt
//! serves, and QEMU's `-netdev stream`.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ppckvm_devices::virtio::net::{LARGEST_FRAME, Offload, SMALLEST_FRAME, Wire};
use rustix::event::epoll::EventFlags;

use super::user::Readiness;
use super::{Backend, NetError};

/// Bytes that wait for the peer before the guest waits.
const BACKLOG: usize = 512 << 10;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Bytes of the length before each frame.
const LENGTH: usize = 4;

/// A connection.
pub(super) struct Stream {
    path: PathBuf,
    socket: UnixStream,
    readiness: Readiness,
    /// What was read; frames start at `start`.
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    /// Bytes of `output` that are written.
    written: usize,
    is_gone: bool,
}

impl Stream {
    /// Connects to who listens at a path.
    pub fn connect(path: &Path) -> Result<Self, NetError> {
        let connect = || -> io::Result<Self> {
            let socket = UnixStream::connect(path)?;
            Self::over(path, socket)
        };
        connect().map_err(|error| NetError::Unix {
            path: path.into(),
            error,
        })
    }

    fn over(path: &Path, socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let mut readiness = Readiness::new()?;
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        readiness.add(&socket, edges)?;
        Ok(Stream {
            path: path.into(),
            socket,
            readiness,
            input: Vec::new(),
            start: 0,
            output: Vec::new(),
            written: 0,
            is_gone: false,
        })
    }

    fn lost(&mut self, why: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.is_gone, true) {
            tracing::error!(
                "unix={}: {why}; the guest's network leads nowhere now",
                self.path.display()
            );
            self.output.clear();
            self.written = 0;
        }
    }

    fn flush(&mut self) {
        while self.written < self.output.len() && !self.is_gone {
            match self.socket.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.lost(&error),
            }
        }
        self.output.clear();
        self.written = 0;
    }

    /// The bytes of the next frame in the input, once they are all there.
    fn frame(&mut self) -> Option<std::ops::Range<usize>> {
        loop {
            let rest = &self.input[self.start..];
            let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
            if length > LARGEST_FRAME {
                let why = format!("the peer sends a frame of {length} bytes, which none has");
                self.lost(&why);
                return None;
            }
            let from = self.start + LENGTH;
            if rest.len() < LENGTH + length {
                return None;
            }
            if length >= SMALLEST_FRAME {
                return Some(from..from + length);
            }
            self.start = from + length;
        }
    }

    /// Reads more; false when there is nothing now.
    fn fill(&mut self) -> bool {
        self.input.drain(..self.start);
        self.start = 0;
        let old = self.input.len();
        self.input.resize(old + CHUNK, 0);
        let read = self.socket.read(&mut self.input[old..]);
        self.input.truncate(old + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => {
                self.lost(&"the peer closed the connection");
                false
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) => {
                self.lost(&error);
                false
            }
        }
    }
}

impl Wire for Stream {
    fn is_ready(&mut self) -> bool {
        self.is_gone || self.output.len() - self.written < BACKLOG
    }

    fn send(&mut self, frame: &[u8], _offload: Offload) {
        if !self.is_gone {
            let length = frame.len() as u32;
            self.output.extend(length.to_be_bytes());
            self.output.extend(frame);
        }
    }

    fn receive(&mut self) -> Option<(&[u8], Offload)> {
        loop {
            if self.is_gone {
                return None;
            }
            if let Some(frame) = self.frame() {
                return Some((&self.input[frame], Offload::default()));
            }
            if self.is_gone || !self.fill() {
                return None;
            }
        }
    }

    fn received(&mut self) {
        if let Some(frame) = self.frame() {
            self.start = frame.end;
        }
    }
}

impl Backend for Stream {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.readiness.descriptor())
    }

    fn poll(&mut self, _now: Instant) {
        self.readiness.take();
        self.flush();
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.flush();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Stream::over(Path::new("test"), ours).unwrap(), theirs)
    }

    fn next(stream: &mut Stream) -> Option<Vec<u8>> {
        let frame = stream.receive().map(|(frame, _)| frame.to_vec());
        if frame.is_some() {
            stream.received();
        }
        frame
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let (mut stream, mut peer) = pair();
        let frames: Vec<Vec<u8>> = vec![vec![1; 14], vec![2; 60], vec![3; LARGEST_FRAME]];
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend((frame.len() as u32).to_be_bytes());
            bytes.extend(frame);
        }
        let mut seen = Vec::new();
        for part in bytes.chunks(37) {
            peer.write_all(part).unwrap();
            seen.extend(next(&mut stream));
        }
        assert!(seen == frames);
        assert!(next(&mut stream).is_none() && !stream.is_gone);
    }

    #[test]
    fn what_is_too_short_is_skipped() {
        let (mut stream, mut peer) = pair();
        peer.write_all(&[0, 0, 0, 0, 0, 0, 0, 2, 9, 9, 0, 0, 0, 14])
            .unwrap();
        peer.write_all(&[5; 14]).unwrap();
        assert_eq!(next(&mut stream), Some(vec![5; 14]));
    }

    #[test]
    fn a_length_beyond_any_frame_ends_the_connection() {
        let (mut stream, mut peer) = pair();
        peer.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(next(&mut stream).is_none());
        assert!(stream.is_gone);
        stream.send(&[0; 14], Offload::default());
        assert!(stream.is_ready() && stream.output.is_empty());
    }

    #[test]
    fn a_peer_that_does_not_read_makes_the_guest_wait() {
        let (mut stream, mut peer) = pair();
        let mut sent = 0;
        while stream.is_ready() {
            stream.send(&[7; 1514], Offload::default());
            stream.poll(Instant::now());
            sent += 1;
        }
        let mut seen = vec![0; LENGTH + 1514];
        for _ in 0..sent {
            stream.poll(Instant::now());
            peer.read_exact(&mut seen).unwrap();
            assert_eq!(seen[..LENGTH], 1514u32.to_be_bytes());
        }
        assert!(stream.is_ready());
    }

    #[test]
    fn a_peer_that_leaves_is_noticed_once() {
        let (mut stream, peer) = pair();
        drop(peer);
        assert!(next(&mut stream).is_none() && stream.is_gone);
        assert!(next(&mut stream).is_none());
    }
}
