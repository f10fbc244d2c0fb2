//! A device that records what its transport does, for the transports' tests.

use std::sync::{Arc, Mutex};

use super::byte_order::ByteOrder;
use super::device::{Activation, VirtioDevice, read_fields};

pub(super) struct Calls<M> {
    pub activation: Option<Activation<M>>,
    pub activations: u32,
    pub notified: Vec<u16>,
    pub written: Vec<(u32, Vec<u8>, ByteOrder)>,
}

pub(super) struct Probe<M> {
    device: u16,
    calls: Arc<Mutex<Calls<M>>>,
}

impl<M> Probe<M> {
    /// A device of any kind with feature 0, two queues and a field of 32 bits.
    pub fn new(device: u16) -> (Self, Arc<Mutex<Calls<M>>>) {
        let calls = Arc::new(Mutex::new(Calls {
            activation: None,
            activations: 0,
            notified: Vec::new(),
            written: Vec::new(),
        }));
        let probe = Probe {
            device,
            calls: calls.clone(),
        };
        (probe, calls)
    }
}

impl<M: Send> VirtioDevice<M> for Probe<M> {
    fn device_id(&self) -> u16 {
        self.device
    }

    fn features(&self) -> u64 {
        1
    }

    fn queue_sizes(&self) -> &[u16] {
        &[32, 32]
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder) {
        read_fields(&order.put_u32(0x0102_0304), offset, data);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], order: ByteOrder) {
        let mut calls = self.calls.lock().unwrap();
        calls.written.push((offset, data.to_vec(), order));
    }

    fn activate(&mut self, activation: Activation<M>) {
        let mut calls = self.calls.lock().unwrap();
        calls.activations += 1;
        calls.activation = Some(activation);
    }

    fn notify(&mut self, queue: u16) {
        self.calls.lock().unwrap().notified.push(queue);
    }

    fn reset(&mut self) {
        self.calls.lock().unwrap().activation = None;
    }
}
