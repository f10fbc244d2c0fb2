//! The ranges of the PLB that lead to PCI memory and to PCI I/O ports.

use super::{SharedBridge, any_function, lock};
use crate::bus::{AccessError, MmioDevice};

/// A range of the PLB in which the PMM windows lead to PCI memory; where none does, nothing answers.
pub struct MemoryWindow {
    bridge: SharedBridge,
    /// The range's first address on the PLB.
    base: u32,
}

impl MemoryWindow {
    /// The range that begins at `base` on the PLB.
    pub fn new(bridge: SharedBridge, base: u32) -> Self {
        MemoryWindow { bridge, base }
    }

    /// The PCI address of `length` bytes at an offset, when one window holds all of them.
    fn translate(&self, offset: u32, length: usize) -> Option<u64> {
        let last = u32::try_from(length.checked_sub(1)?).ok()?;
        let first = self.base.checked_add(offset)?;
        let bridge = lock(&self.bridge);
        let pci = bridge.outbound(first)?;
        let end = bridge.outbound(first.checked_add(last)?)?;
        (pci.checked_add(last.into()) == Some(end)).then_some(pci)
    }
}

impl MmioDevice for MemoryWindow {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        let address = self
            .translate(offset, data.len())
            .ok_or(AccessError::Unclaimed)?;
        if !any_function(&self.bridge, |function| function.memory_read(address, data)) {
            data.fill(0xFF);
            lock(&self.bridge).master_abort();
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        let address = self
            .translate(offset, data.len())
            .ok_or(AccessError::Unclaimed)?;
        if !any_function(&self.bridge, |function| {
            function.memory_write(address, data)
        }) {
            lock(&self.bridge).master_abort();
        }
        Ok(())
    }
}

/// The range of the PLB that is PCI I/O from port 0 on.
pub struct IoWindow(pub SharedBridge);

impl MmioDevice for IoWindow {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        if !any_function(&self.0, |function| function.io_read(offset, data)) {
            data.fill(0xFF);
            lock(&self.0).master_abort();
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        if !any_function(&self.0, |function| function.io_write(offset, data)) {
            lock(&self.0).master_abort();
        }
        Ok(())
    }
}
