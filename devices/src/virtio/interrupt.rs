//! How a device tells its driver: the interrupt status, the wire, and the device's own troubles.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use super::queue_error::QueueError;
use crate::irq::IrqLine;
use crate::repeats::Repeats;

/// Interrupt status: buffers were used.
pub const ISR_QUEUE: u8 = 1;
/// Interrupt status: the configuration changed, or the device needs a reset.
pub const ISR_CONFIG: u8 = 2;

struct Shared {
    /// The name that messages use for the device.
    name: String,
    isr: AtomicU8,
    /// The wire is held down: PCI's interrupt disable.
    masked: AtomicBool,
    needs_reset: AtomicBool,
    /// A guest that breaks its queues over and over fills no log.
    complaints: Repeats,
    /// Counts changes of the configuration.
    generation: AtomicU32,
    irq: IrqLine,
}

/// A device's way to its driver; clones are the same.
///
/// Any thread may use it. What it is told after the transport reset the device has no
/// effect worth mentioning, because a device is silent by then.
#[derive(Clone)]
pub struct Interrupt(Arc<Shared>);

impl Interrupt {
    /// An interrupt on a wire; `name` is for messages.
    pub fn new(name: impl Into<String>, irq: IrqLine) -> Self {
        Interrupt(Arc::new(Shared {
            name: name.into(),
            isr: AtomicU8::new(0),
            masked: AtomicBool::new(false),
            needs_reset: AtomicBool::new(false),
            complaints: Repeats::new(),
            generation: AtomicU32::new(0),
            irq,
        }))
    }

    /// The name that messages use for the device.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Buffers were used, and [`super::Queue::needs_interrupt`] says that the driver wants to know.
    pub fn used(&self) {
        self.raise(ISR_QUEUE);
    }

    /// The configuration fields changed. They show the new values already.
    pub fn config_changed(&self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.raise(ISR_CONFIG);
    }

    /// The device cannot go on until the driver resets it (DEVICE_NEEDS_RESET). The reason is
    /// logged the first time, and then as [`Repeats`] says.
    pub fn needs_reset(&self, why: impl fmt::Display) {
        let name = &self.0.name;
        match self.0.complaints.count() {
            Some(1) => tracing::warn!("{name}: {why}; the guest must reset the device"),
            Some(so_far) => tracing::debug!("{name}: {why}, the {so_far}th such event"),
            None => {}
        }
        self.0.needs_reset.store(true, Ordering::SeqCst);
        self.raise(ISR_CONFIG);
    }

    /// Says that a queue is broken, as [`Interrupt::needs_reset`] says other reasons.
    pub fn queue_broken(&self, queue: u16, error: &QueueError) {
        self.needs_reset(format_args!("queue {queue}: {error}"));
    }

    fn raise(&self, bits: u8) {
        self.0.isr.fetch_or(bits, Ordering::SeqCst);
        self.drive();
    }

    fn drive(&self) {
        let shared = &self.0;
        shared.irq.follow(|| {
            shared.isr.load(Ordering::SeqCst) != 0 && !shared.masked.load(Ordering::SeqCst)
        });
    }

    /// Returns the interrupt status register.
    pub fn status(&self) -> u8 {
        self.0.isr.load(Ordering::SeqCst)
    }

    /// Clears bits of the interrupt status and returns what it was.
    pub fn acknowledge(&self, bits: u8) -> u8 {
        let before = self.0.isr.fetch_and(!bits, Ordering::SeqCst);
        self.drive();
        before
    }

    /// Holds the wire down, or lets go of it.
    pub fn set_masked(&self, masked: bool) {
        self.0.masked.store(masked, Ordering::SeqCst);
        self.drive();
    }

    /// Counts changes of the configuration, from any number.
    pub fn generation(&self) -> u32 {
        self.0.generation.load(Ordering::SeqCst)
    }

    /// Whether the device said that it needs a reset.
    pub fn is_reset_needed(&self) -> bool {
        self.0.needs_reset.load(Ordering::SeqCst)
    }

    /// Clears all that is pending, as a reset of the device does.
    pub fn clear(&self) {
        self.0.needs_reset.store(false, Ordering::SeqCst);
        self.acknowledge(u8::MAX);
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt")
            .field("name", &self.0.name)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_follows_the_status() {
        let irq = IrqLine::detached();
        let interrupt = Interrupt::new("test", irq.clone());
        interrupt.used();
        interrupt.config_changed();
        assert!(irq.is_asserted());
        assert_eq!(interrupt.acknowledge(ISR_QUEUE), ISR_QUEUE | ISR_CONFIG);
        assert!(irq.is_asserted());
        interrupt.set_masked(true);
        assert!(!irq.is_asserted());
        interrupt.set_masked(false);
        assert!(irq.is_asserted());
        assert_eq!(interrupt.acknowledge(ISR_CONFIG), ISR_CONFIG);
        assert!(!irq.is_asserted());
        assert_eq!(interrupt.generation(), 1);
    }

    /// Counts lines, of any level.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicU32>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn event(&self, _event: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _span: &tracing::span::Id, _other: &tracing::span::Id) {}

        fn enter(&self, _span: &tracing::span::Id) {}

        fn exit(&self, _span: &tracing::span::Id) {}
    }

    #[test]
    fn a_guest_that_breaks_its_queues_over_and_over_fills_no_log() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let interrupt = Interrupt::new("test", IrqLine::detached());
            for head in 0..1000 {
                interrupt.queue_broken(0, &QueueError::BrokenChain { head });
                assert!(interrupt.is_reset_needed());
                interrupt.clear();
            }
        });
        assert_eq!(lines.0.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn a_device_in_trouble_says_so_until_it_is_reset() {
        let irq = IrqLine::detached();
        let interrupt = Interrupt::new("test", irq.clone());
        interrupt.queue_broken(1, &QueueError::TooLong { head: 3 });
        assert!(interrupt.is_reset_needed() && irq.is_asserted());
        assert_eq!(interrupt.status(), ISR_CONFIG);
        interrupt.clear();
        assert!(!interrupt.is_reset_needed() && !irq.is_asserted());
    }
}
