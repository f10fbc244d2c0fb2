//! A page of registers through which a guest powers the machine off, as Linux's `syscon-poweroff`
//! driver does. The real board has nothing like it.
//!
//! Registers are 32 bits and big-endian. All of them read as 0: the driver reads the register first
//! and writes only what differs.

use crate::access_width::{self, Order};
use crate::bus::{AccessError, MmioDevice};

/// The register page through which a guest powers the machine off.
pub struct Syscon {
    poweroff_offset: u32,
    poweroff_value: u32,
    power_off: Box<dyn FnMut() + Send>,
}

impl Syscon {
    /// A page whose register at `poweroff_offset` (in bytes, a multiple of 4) calls `power_off` when
    /// all 32 bits of `poweroff_value` are written there at once.
    ///
    /// The call comes on the vcpu's thread, from within the guest's store.
    pub fn new(
        poweroff_offset: u32,
        poweroff_value: u32,
        power_off: Box<dyn FnMut() + Send>,
    ) -> Self {
        Syscon {
            poweroff_offset,
            poweroff_value,
            power_off,
        }
    }
}

impl MmioDevice for Syscon {
    fn read(&mut self, _offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        data.fill(0);
        Ok(())
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        access_width::write(Order::Big, offset, data, |at, value, mask| {
            if at == self.poweroff_offset && mask == u32::MAX && value == self.poweroff_value {
                (self.power_off)();
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn only_the_value_powers_off_and_the_register_reads_as_zero() {
        let calls = Arc::new(AtomicU32::new(0));
        let counter = calls.clone();
        let mut syscon = Syscon::new(
            4,
            0x5555,
            Box::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
            }),
        );
        let count = || calls.load(Ordering::Relaxed);
        for (offset, data) in [
            (0, [0, 0, 0x55, 0x55]),
            (4, [0x55, 0x55, 0, 0]),
            (4, [0, 0, 0x55, 0x54]),
            (8, [0, 0, 0x55, 0x55]),
        ] {
            syscon.write(offset, &data).unwrap();
        }
        syscon.write(6, &[0x55, 0x55]).unwrap();
        assert_eq!(count(), 0);
        syscon.write(4, &[0, 0, 0x55, 0x55]).unwrap();
        assert_eq!(count(), 1);
        let mut data = [1; 4];
        syscon.read(4, &mut data).unwrap();
        assert_eq!(data, [0; 4]);
    }
}
