//! Devices with threads or buffers of their own, which must stop before the machine goes, and which
//! may leave requests to be done before the guest goes on.

use std::sync::{Arc, Mutex};

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::Backlog;
use ppckvm_devices::virtio::mmio::Mmio;
use ppckvm_devices::virtio::pci::Pci;

use crate::host::lock::lock;

/// A device behind either transport.
pub(crate) trait LiveDevice: Send {
    /// Stops the device: see `Transport::stop`.
    fn stop(&self);

    /// Does a part of what the device left: see `Transport::work_off`.
    fn work_off(&self);
}

impl LiveDevice for Arc<Mutex<Mmio<GuestMemory>>> {
    fn stop(&self) {
        lock(self).transport().stop();
    }

    fn work_off(&self) {
        lock(self).transport().work_off();
    }
}

impl LiveDevice for Arc<Mutex<Pci<GuestMemory>>> {
    fn stop(&self) {
        lock(self).transport().stop();
    }

    fn work_off(&self) {
        lock(self).transport().work_off();
    }
}

/// The devices in the order in which they were attached. They are stopped when asked, or when this
/// is dropped: buffers are flushed, threads end.
#[derive(Default)]
pub(crate) struct LiveDevices {
    devices: Vec<Box<dyn LiveDevice>>,
    /// Requests that devices left when the guest notified them.
    pub backlog: Backlog,
}

impl LiveDevices {
    /// Has a device stopped at the end, after those that were added before.
    pub fn add(&mut self, device: impl LiveDevice + 'static) {
        self.devices.push(Box::new(device));
    }

    /// Stops all devices; once.
    pub fn stop(&mut self) {
        for device in std::mem::take(&mut self.devices) {
            device.stop();
        }
    }

    /// Does a bounded part of the requests that devices left.
    #[cold]
    pub fn work_off(&self) {
        for device in &self.devices {
            device.work_off();
        }
    }
}

impl Drop for LiveDevices {
    fn drop(&mut self) {
        self.stop();
    }
}
