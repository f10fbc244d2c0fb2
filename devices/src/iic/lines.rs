//! The two lines, driven by software bit by bit through DIRECTCNTL.
//!
//! This is the slaves' end: it recognises START and STOP, collects bits into bytes, and pulls the
//! data line down to acknowledge and to send. Linux does transfers without data this way, which is
//! how `i2cdetect` looks for devices.

use super::bus::SlaveBus;

/// What the slaves wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A START.
    #[default]
    Idle,
    /// The bits of a byte from the master; the first byte is an address.
    Receive { first: bool, bits: u8, byte: u8 },
    /// The end of the clock in which they acknowledge; whether the slave sends then.
    Acknowledge { sends: bool },
    /// The master to clock the bits of a byte out.
    Send { bits: u8, byte: u8 },
    /// The master's acknowledgement, and what it was.
    AwaitAcknowledge { acknowledged: bool },
}

/// The levels on the lines, and how far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Whether the master lets the data line go.
    data: bool,
    /// Whether the master lets the clock line go; no slave here ever stretches the clock.
    clock: bool,
    /// Whether a slave pulls the data line down.
    pulled: bool,
    phase: Phase,
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            data: true,
            clock: true,
            pulled: false,
            phase: Phase::Idle,
        }
    }
}

impl Lines {
    /// The level of the data line.
    pub(super) fn data(&self) -> bool {
        self.data && !self.pulled
    }

    /// The level of the clock line.
    pub(super) fn clock(&self) -> bool {
        self.clock
    }

    /// The master drives the lines: false pulls one down, true lets it go.
    pub(super) fn drive(&mut self, data: bool, clock: bool, bus: &mut SlaveBus) {
        // Data changes while the clock is low, unless it is meant as START or STOP: so the clock
        // falls first and rises last.
        if self.clock && !clock {
            self.clock = false;
            self.fall(bus);
        }
        let before = self.data();
        self.data = data;
        if self.clock && before != self.data() {
            self.start_or_stop(bus);
        }
        if !self.clock && clock {
            self.clock = true;
            self.rise();
        }
    }

    /// Data changed while the clock was high.
    fn start_or_stop(&mut self, bus: &mut SlaveBus) {
        self.pulled = false;
        self.phase = if self.data {
            bus.stop();
            Phase::Idle
        } else {
            Phase::Receive {
                first: true,
                bits: 0,
                byte: 0,
            }
        };
    }

    /// The clock rises: whoever listens takes a bit.
    fn rise(&mut self) {
        let level = self.data();
        match &mut self.phase {
            Phase::Receive { bits, byte, .. } => {
                *byte = (*byte << 1) | u8::from(level);
                *bits += 1;
            }
            Phase::AwaitAcknowledge { acknowledged } => *acknowledged = !level,
            Phase::Idle | Phase::Acknowledge { .. } | Phase::Send { .. } => {}
        }
    }

    /// The clock falls: whoever sends puts out the next bit.
    fn fall(&mut self, bus: &mut SlaveBus) {
        let receive = Phase::Receive {
            first: false,
            bits: 0,
            byte: 0,
        };
        self.phase = match self.phase {
            Phase::Receive {
                first,
                bits: 8,
                byte,
            } => {
                let acknowledged = match first {
                    true => bus.start(byte),
                    false => bus.write(byte),
                };
                self.pulled = acknowledged;
                match acknowledged {
                    true => Phase::Acknowledge {
                        sends: first && byte & 1 != 0,
                    },
                    false => Phase::Idle,
                }
            }
            Phase::Acknowledge { sends: true } | Phase::AwaitAcknowledge { acknowledged: true } => {
                let byte = bus.read();
                self.pulled = byte & 0x80 == 0;
                Phase::Send { bits: 1, byte }
            }
            Phase::Acknowledge { sends: false } => {
                self.pulled = false;
                receive
            }
            Phase::Send { bits: 8, .. } => {
                self.pulled = false;
                Phase::AwaitAcknowledge {
                    acknowledged: false,
                }
            }
            Phase::Send { bits, byte } => {
                self.pulled = (byte << bits) & 0x80 == 0;
                Phase::Send {
                    bits: bits + 1,
                    byte,
                }
            }
            Phase::AwaitAcknowledge {
                acknowledged: false,
            } => Phase::Idle,
            waiting @ (Phase::Idle | Phase::Receive { .. }) => waiting,
        };
    }
}
