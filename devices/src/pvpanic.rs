//! A byte through which a guest says that its kernel panicked, as Linux's `pvpanic-mmio` driver
//! does. The real board has nothing like it.
//!
//! A read returns the events that can be reported, a write reports some.

use crate::bus::{AccessError, MmioDevice};

/// The kernel panicked, and nothing in the guest takes care of it.
pub const PANICKED: u8 = 0x01;
/// The kernel panicked and goes on into its crash kernel.
pub const CRASH_LOADED: u8 = 0x02;
/// The events that can be reported.
pub const EVENTS: u8 = PANICKED | CRASH_LOADED;

/// The events that a guest reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel panicked, and nothing in the guest takes care of it.
    Panicked,
    /// The kernel panicked and goes on into its crash kernel.
    CrashLoaded,
}

/// The values that a snapshot of the device must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The events that were reported since the last reset.
    pub reported: u8,
}

/// The panic device, which reports each kind of event once until it is reset: a guest can store to it
/// millions of times a second.
pub struct Pvpanic {
    report: Box<dyn FnMut(Event) + Send>,
    state: State,
}

impl Pvpanic {
    /// A device that calls `report` for the first event of each kind.
    ///
    /// The call comes on the vcpu's thread, from within the guest's store.
    pub fn new(report: Box<dyn FnMut(Event) + Send>) -> Self {
        Pvpanic {
            report,
            state: State::default(),
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Pvpanic::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }
}

impl MmioDevice for Pvpanic {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        data.fill(0);
        if let (0, Some(byte)) = (offset, data.first_mut()) {
            *byte = EVENTS;
        }
        Ok(())
    }

    /// Only the byte at 0 does something. A byte may report several events.
    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        let events = match (offset, data.first()) {
            (0, Some(byte)) => *byte,
            _ => 0,
        };
        let events = events & EVENTS & !self.state.reported;
        self.state.reported |= events;
        if events & CRASH_LOADED != 0 {
            (self.report)(Event::CrashLoaded);
        }
        if events & PANICKED != 0 {
            (self.report)(Event::Panicked);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_says_what_it_takes_and_reports_what_is_written() {
        let (sender, events) = mpsc::channel();
        let mut device = Pvpanic::new(Box::new(move |event| sender.send(event).unwrap()));
        let mut byte = [0];
        device.read(0, &mut byte).unwrap();
        assert_eq!(byte, [3]);
        device.read(1, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        device.write(1, &[3]).unwrap();
        device.write(0, &[0x80 | 0x04]).unwrap();
        assert_eq!(events.try_iter().count(), 0);
        device.write(0, &[PANICKED]).unwrap();
        device.write(0, &[CRASH_LOADED, 0]).unwrap();
        assert_eq!(
            events.try_iter().collect::<Vec<_>>(),
            [Event::Panicked, Event::CrashLoaded]
        );
    }

    #[test]
    fn a_flood_of_stores_is_one_event_of_each_kind_until_the_reset() {
        let (sender, events) = mpsc::channel();
        let mut device = Pvpanic::new(Box::new(move |event| sender.send(event).unwrap()));
        for _ in 0..1000 {
            device.write(0, &[CRASH_LOADED]).unwrap();
        }
        device.write(0, &[EVENTS]).unwrap();
        let reported = events.try_iter().collect::<Vec<_>>();
        assert_eq!(reported, [Event::CrashLoaded, Event::Panicked]);
        let state = device.state();
        device.reset();
        device.write(0, &[CRASH_LOADED]).unwrap();
        assert_eq!(events.try_iter().count(), 1);
        device.set_state(state);
        device.write(0, &[EVENTS]).unwrap();
        assert_eq!(events.try_iter().count(), 0);
    }
}
