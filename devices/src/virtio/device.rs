//! What a virtio device looks like to its transport, and what it is given when it starts.

use super::byte_order::ByteOrder;
use super::interrupt::Interrupt;
use super::queue::Queue;
use super::queue_error::QueueError;

/// A virtio device behind any transport (virtio 1.2, chapter 2).
///
/// All calls come from the vcpu's thread, one after the other. None of them may wait for the host,
/// but [`VirtioDevice::reset`] waits for the device's own threads to let go of guest memory.
///
/// `M` is a `vm_memory::GuestMemory` that is cheap to clone.
pub trait VirtioDevice<M>: Send {
    /// Which kind of device it is (virtio 1.2, chapter 5).
    fn device_id(&self) -> u16;

    /// The device-specific feature bits that are offered, 0 to 23 and 50 up. The transport adds
    /// the bits of the queues and of its own, see [`super::transport`].
    fn features(&self) -> u64;

    /// The largest size of each virtqueue, powers of 2 up to 1024.
    fn queue_sizes(&self) -> &[u16];

    /// Answers a read of the configuration fields by filling all of `data`; offsets after them
    /// read as 0. [`read_fields`] does so from an image of the fields.
    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder);

    /// Takes a write to the configuration fields; read-only and missing ones ignore it.
    fn config_write(&mut self, _offset: u32, _data: &[u8], _order: ByteOrder) {}

    /// The driver is ready (DRIVER_OK): the device may use the queues from now on.
    fn activate(&mut self, activation: Activation<M>);

    /// The driver says that a queue has buffers. It wakes whoever serves the queue and does not
    /// block. It comes only between `activate` and `reset`, for a queue that exists.
    fn notify(&mut self, queue: u16);

    /// Whether requests are left that the device found when it was last notified, because it does
    /// only a bounded part of them at once. Devices whose own threads do the work have none.
    fn has_backlog(&self) -> bool {
        false
    }

    /// Does a bounded part of the requests that are left.
    fn work_off(&mut self) {}

    /// Back to the state after power-on, the configuration fields too. When it returns, nothing
    /// touches guest memory any more and the [`Activation`] is dropped. It also comes when the device is
    /// not active.
    fn reset(&mut self);
}

impl<M, D: VirtioDevice<M> + ?Sized> VirtioDevice<M> for Box<D> {
    fn device_id(&self) -> u16 {
        (**self).device_id()
    }

    fn features(&self) -> u64 {
        (**self).features()
    }

    fn queue_sizes(&self) -> &[u16] {
        (**self).queue_sizes()
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder) {
        (**self).config_read(offset, data, order);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], order: ByteOrder) {
        (**self).config_write(offset, data, order);
    }

    fn activate(&mut self, activation: Activation<M>) {
        (**self).activate(activation);
    }

    fn notify(&mut self, queue: u16) {
        (**self).notify(queue);
    }

    fn has_backlog(&self) -> bool {
        (**self).has_backlog()
    }

    fn work_off(&mut self) {
        (**self).work_off();
    }

    fn reset(&mut self) {
        (**self).reset();
    }
}

/// The memory, queues and features that a device works with between `activate` and `reset`.
#[derive(Debug)]
pub struct Activation<M> {
    /// Guest memory.
    pub memory: M,
    /// The queues in their order. One that the driver did not set up is there too and stays empty.
    pub queues: Vec<Queue>,
    /// The feature bits that both sides agreed on, the transport's too.
    pub features: u64,
    /// The byte order of request headers.
    pub order: ByteOrder,
    /// The way to tell the driver.
    pub interrupt: Interrupt,
}

impl<M> Activation<M> {
    /// Gives a queue up for the reason `error` and tells the driver that the device needs a reset.
    ///
    /// For what a driver must not do, whether [`Queue::pop`] found it or the device in a request.
    pub fn break_queue(&mut self, queue: u16, error: &QueueError) {
        if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
            queue.give_up();
        }
        self.interrupt.queue_broken(queue, error);
    }
}

/// Fills `data` from `offset` of the image of a device's configuration fields; 0 after its end.
pub fn read_fields(image: &[u8], offset: u32, data: &mut [u8]) {
    data.fill(0);
    let from = image.get(offset as usize..).unwrap_or_default();
    for (to, from) in data.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_in_zeros() {
        let mut data = [9; 4];
        read_fields(&[1, 2, 3], 1, &mut data);
        assert_eq!(data, [2, 3, 0, 0]);
        read_fields(&[1, 2, 3], u32::MAX, &mut data);
        assert_eq!(data, [0; 4]);
    }
}
