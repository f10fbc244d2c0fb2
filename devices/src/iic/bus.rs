//! The two-wire bus behind an IIC controller: its slaves, and which of them the master addressed.

/// Which way the bytes of a transfer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Bytes go from the master to the slave.
    Write,
    /// Bytes go from the slave to the master.
    Read,
}

/// A device on the bus. It sees whole bytes, and only those that are for it.
pub trait Slave: Send {
    /// A START, or a repeated START, with this slave's address; says whether it acknowledges.
    fn start(&mut self, direction: Direction) -> bool;

    /// The master sends a byte; says whether the slave acknowledges.
    fn write(&mut self, byte: u8) -> bool;

    /// The master takes a byte.
    fn read(&mut self) -> u8;

    /// The transfer is over: a STOP, or a START with another slave's address.
    fn stop(&mut self);
}

/// An address that a slave cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Another slave has the address.
    #[error("iic address {0:#04x} has a device already; give one of them another address")]
    Taken(u8),
    /// Not 7 bits, or one of those that the bus specification reserves.
    #[error("iic address {0:#04x} is reserved; take one from 0x08 to 0x77")]
    Reserved(u8),
}

/// The slaves, and the transfer under way.
#[derive(Default)]
pub(super) struct SlaveBus {
    slaves: Vec<(u8, Box<dyn Slave>)>,
    /// The address of the slave that acknowledged the last START.
    selected: Option<u8>,
}

impl SlaveBus {
    pub fn attach(&mut self, address: u8, slave: Box<dyn Slave>) -> Result<(), AttachError> {
        if !(0x08..0x78).contains(&address) {
            return Err(AttachError::Reserved(address));
        }
        if self.slaves.iter().any(|(taken, _)| *taken == address) {
            return Err(AttachError::Taken(address));
        }
        self.slaves.push((address, slave));
        Ok(())
    }

    pub fn selected(&self) -> Option<u8> {
        self.selected
    }

    /// Takes up what [`SlaveBus::selected`] returned; the slaves keep their own state.
    pub fn set_selected(&mut self, selected: Option<u8>) {
        self.selected = selected;
    }

    fn slave(&mut self, address: u8) -> Option<&mut Box<dyn Slave>> {
        self.slaves
            .iter_mut()
            .find(|(there, _)| *there == address)
            .map(|(_, slave)| slave)
    }

    fn current(&mut self) -> Option<&mut Box<dyn Slave>> {
        self.slave(self.selected?)
    }

    /// A START and the first byte, address << 1 | direction; says whether anybody acknowledges.
    pub fn start(&mut self, first: u8) -> bool {
        let address = first >> 1;
        if self.selected != Some(address) {
            self.stop();
        }
        let direction = match first & 1 {
            0 => Direction::Write,
            _ => Direction::Read,
        };
        let acknowledged = self
            .slave(address)
            .is_some_and(|slave| slave.start(direction));
        self.selected = acknowledged.then_some(address);
        acknowledged
    }

    /// A byte to the selected slave; says whether it acknowledges.
    pub fn write(&mut self, byte: u8) -> bool {
        self.current().is_some_and(|slave| slave.write(byte))
    }

    /// A byte from the selected slave; the line stays high when there is none.
    pub fn read(&mut self) -> u8 {
        self.current().map_or(0xFF, |slave| slave.read())
    }

    /// Ends the transfer with a STOP.
    pub fn stop(&mut self) {
        if let Some(slave) = self.current() {
            slave.stop();
        }
        self.selected = None;
    }
}
