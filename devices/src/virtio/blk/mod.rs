//! The block device (virtio 1.2, 5.2).
//!
//! [`Blk`] is the chip: features, configuration fields, and who is told when the driver has
//! requests. [`Server`] does the requests of an active device; it is shared by as many threads of
//! the host's as like to, so several requests are under way at a time, and none of them on the
//! vcpu's. What holds the data is a [`Medium`] of the host's.

mod fields;
mod lease;
mod request;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use virtio_bindings::virtio_blk as spec;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{GuestMemory, VolatileSlice};

use super::{Activation, ByteOrder, VirtioDevice, read_fields};

pub use lease::Lease;
pub use server::{Serve, Server};

/// The device ID (virtio 1.2, 5.2.1).
pub const DEVICE_ID: u16 = 2;

/// The unit of all positions and sizes, in bytes, whatever the block size says.
pub const SECTOR: u64 = 512;

/// Bytes of a serial number (GET_ID); a shorter one ends in zeros.
pub const ID_BYTES: usize = 20;

/// Entries of each queue.
const QUEUE_SIZE: u16 = 256;

/// The data segments of one request: the queue without header and status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// The most ranges that one discard or write-zeroes request has.
const MAX_RANGES: u32 = 32;

/// The most sectors of one range to discard.
const MAX_DISCARD_SECTORS: u32 = 1 << 22;

/// The most sectors of one range to zero, which a host without holes must write.
const MAX_ZEROES_SECTORS: u32 = 1 << 18;

/// What holds a disk's data, on the host. Offsets and lengths are in bytes.
///
/// Its methods wait for the host. They are called from several threads at a time, also for
/// overlapping ranges, whose order is nobody's promise then. The device asks only for what is inside
/// the disk; all of a buffer list is done, or an error. The buffers are touched only during the lease
/// ([`Lease::during`]), which may end while the host is waited for.
pub trait Medium: Send + Sync {
    /// The size in sectors.
    fn sectors(&self) -> u64;

    /// Whether the guest may only read.
    fn readonly(&self) -> bool;

    /// The serial number; what is longer than [`ID_BYTES`] is cut off.
    fn serial(&self) -> &str;

    /// Fills the buffers with what is at `offset`.
    ///
    /// # Errors
    /// What the host says; the guest sees an I/O error.
    fn read<B: BitmapSlice>(
        &self,
        offset: u64,
        to: &[VolatileSlice<'_, B>],
        lease: &Lease,
    ) -> io::Result<()>;

    /// Writes the buffers at `offset`.
    ///
    /// # Errors
    /// What the host says; the guest sees an I/O error.
    fn write<B: BitmapSlice>(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_, B>],
        lease: &Lease,
    ) -> io::Result<()>;

    /// Returns when all writes that returned before are durable.
    ///
    /// # Errors
    /// What the host says; the guest sees an I/O error.
    fn flush(&self) -> io::Result<()>;

    /// A range is of no more use; it may read as anything from now on.
    ///
    /// # Errors
    /// What the host says; the guest sees an I/O error.
    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Makes a range read as zeros; with `unmap` the host may keep no room for it.
    ///
    /// # Errors
    /// What the host says; the guest sees an I/O error.
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()>;
}

/// The threads of the host's that call [`Serve::serve_next`].
pub trait Workers: Send {
    /// Starts to serve. It is called for one server at a time.
    fn start(&mut self, server: Arc<dyn Serve>);

    /// The driver has requests: one more thread is to look. Does not wait.
    fn wake(&self);

    /// Returns when no thread serves any more and none has the server; or, when the host keeps one
    /// for too long, after [`Serve::abandon`].
    fn stop(&mut self);
}

/// What the driver chose, which a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Writes are durable only after a flush; otherwise each is before it is answered. It is the
    /// field `writeback`, and counts only when the driver can flush.
    pub writeback: bool,
}

impl Default for State {
    fn default() -> Self {
        State { writeback: true }
    }
}

/// A block device over a medium.
pub struct Blk<D, W> {
    medium: Arc<D>,
    workers: W,
    queue_sizes: Vec<u16>,
    /// [`State::writeback`], which the server reads.
    writeback: Arc<AtomicBool>,
    /// The active server's.
    lease: Arc<Lease>,
    active: bool,
}

impl<D: Medium, W: Workers> Blk<D, W> {
    /// A device with so many queues, at least one, each of which takes requests of any kind.
    pub fn new(medium: D, workers: W, queues: u16) -> Self {
        Blk {
            medium: Arc::new(medium),
            workers,
            queue_sizes: vec![QUEUE_SIZE; queues.max(1).into()],
            writeback: Arc::new(AtomicBool::new(State::default().writeback)),
            lease: Arc::default(),
            active: false,
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        State {
            writeback: self.writeback.load(Ordering::SeqCst),
        }
    }

    /// Takes up a state that a snapshot held.
    pub fn set_state(&mut self, state: State) {
        self.writeback.store(state.writeback, Ordering::SeqCst);
    }
}

impl<M, D, W> VirtioDevice<M> for Blk<D, W>
where
    M: GuestMemory + Send + Sync + 'static,
    D: Medium + 'static,
    W: Workers,
{
    fn device_id(&self) -> u16 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        let mut bits = 1 << spec::VIRTIO_BLK_F_SEG_MAX
            | 1 << spec::VIRTIO_BLK_F_BLK_SIZE
            | 1 << spec::VIRTIO_BLK_F_FLUSH
            | 1 << spec::VIRTIO_BLK_F_CONFIG_WCE;
        if self.queue_sizes.len() > 1 {
            bits |= 1 << spec::VIRTIO_BLK_F_MQ;
        }
        bits | if self.medium.readonly() {
            1 << spec::VIRTIO_BLK_F_RO
        } else {
            1 << spec::VIRTIO_BLK_F_DISCARD | 1 << spec::VIRTIO_BLK_F_WRITE_ZEROES
        }
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder) {
        let queues = self.queue_sizes.len() as u16;
        let state = self.state();
        let image = fields::image(self.medium.sectors(), queues, state, order);
        read_fields(&image, offset, data);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], _order: ByteOrder) {
        if let (fields::WRITEBACK, [value]) = (offset, data) {
            self.writeback.store(*value != 0, Ordering::SeqCst);
        }
    }

    fn activate(&mut self, activation: Activation<M>) {
        self.lease = Arc::default();
        let server = Server::new(
            self.medium.clone(),
            self.writeback.clone(),
            self.lease.clone(),
            activation,
        );
        self.workers.start(Arc::new(server));
        self.active = true;
        // A driver may fill its queues before it is done with the device.
        self.workers.wake();
    }

    fn notify(&mut self, _queue: u16) {
        self.workers.wake();
    }

    fn reset(&mut self) {
        if std::mem::take(&mut self.active) {
            self.lease.recall();
            self.workers.stop();
        }
        self.set_state(State::default());
    }
}
