//! What is at the other ends of devices: it takes what it is given, and has something back.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ppckvm_devices::virtio::balloon::Discard;
use ppckvm_devices::virtio::console::Sink;
use ppckvm_devices::virtio::net::{LARGEST_FRAME, Offload, Offloads, SMALLEST_FRAME, Wire};
use ppckvm_devices::virtio::p9::{Exchange, Serve, Worker};
use ppckvm_devices::virtio::vsock::{Host, MOST_DATA, Packets};

use super::RAM;

/// Counts what reaches the host, and holds it against RAM.
#[derive(Clone, Default)]
pub struct Outside(Arc<AtomicU64>);

impl Outside {
    pub fn count(&self, number: usize) {
        self.0.fetch_add(number as u64, Ordering::Relaxed);
    }

    pub fn counted(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A console's.
impl Sink for Outside {
    fn send(&self, bytes: &[u8]) {
        assert!(bytes.len() as u64 <= RAM * 1024);
        self.count(bytes.len());
    }

    fn has_room(&self) {
        self.count(1);
    }
}

/// A balloon's.
impl Discard for Outside {
    fn discard(&mut self, range: Range<u64>) -> std::io::Result<()> {
        assert!(range.start < range.end && range.end <= RAM, "{range:?}");
        assert!((range.start | range.end).is_multiple_of(4096), "{range:?}");
        self.count(1);
        Ok(())
    }
}

/// A network's: each frame comes back.
pub struct Echo {
    pub outside: Outside,
    pub frames: VecDeque<Vec<u8>>,
}

impl Wire for Echo {
    fn offloads(&self) -> Offloads {
        Offloads::ALL
    }

    fn is_ready(&mut self) -> bool {
        self.frames.len() < 16
    }

    fn send(&mut self, frame: &[u8], _offload: Offload) {
        assert!((SMALLEST_FRAME..=LARGEST_FRAME).contains(&frame.len()));
        self.outside.count(1);
        self.frames.push_back(frame.to_vec());
    }

    fn receive(&mut self) -> Option<(&[u8], Offload)> {
        let frame = self.frames.front()?;
        Some((frame, Offload::default()))
    }

    fn received(&mut self) {
        self.frames.pop_front();
    }
}

/// What a device hands over while it is active, for whoever works for it.
pub struct Handed<T: ?Sized>(Arc<Mutex<Option<Box<T>>>>);

impl<T: ?Sized> Clone for Handed<T> {
    fn clone(&self) -> Self {
        Handed(self.0.clone())
    }
}

impl<T: ?Sized> Default for Handed<T> {
    fn default() -> Self {
        Handed(Arc::default())
    }
}

impl<T: ?Sized> Handed<T> {
    fn get(&self) -> MutexGuard<'_, Option<Box<T>>> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Worker for Handed<dyn Serve> {
    fn start(&mut self, requests: Box<dyn Serve>) {
        *self.get() = Some(requests);
    }

    fn wake(&self) {}

    fn stop(&mut self) {
        *self.get() = None;
    }
}

/// A folder's: each message is answered with its own bytes.
struct Parrot(Outside);

impl Exchange for Parrot {
    fn longest(&self) -> usize {
        8192
    }

    fn answer(&mut self, request: &[u8], room: usize, reply: &mut Vec<u8>) -> bool {
        assert!(request.len() <= self.longest());
        self.0.count(1);
        reply.clear();
        reply.extend(&request[..request.len().min(room)]);
        true
    }
}

impl Handed<dyn Serve> {
    pub fn serve(&self, outside: &Outside) {
        if let Some(requests) = &mut *self.get() {
            let mut parrot = Parrot(outside.clone());
            while requests.serve_next(&mut parrot) {}
        }
    }
}

impl Host for Handed<dyn Packets> {
    fn start(&mut self, packets: Box<dyn Packets>) {
        *self.get() = Some(packets);
    }

    fn wake(&self) {}

    fn stop(&mut self) {
        *self.get() = None;
    }
}

impl Handed<dyn Packets> {
    /// Each packet comes back, as far as there is room for it.
    pub fn serve(&self, outside: &Outside) {
        let Some(packets) = &mut *self.get() else {
            return;
        };
        let mut data = Vec::new();
        while let Ok(Some(header)) = packets.receive(&mut data) {
            assert!(data.len() <= MOST_DATA);
            outside.count(1);
            if let Ok(Some(room)) = packets.room() {
                // What cannot be sent breaks the device, which the driver sees.
                let _ = packets.send(header, &data[..data.len().min(room)]);
            }
        }
        packets.flush();
    }
}
