//! Register numbers and layouts of virtio over PCI (virtio 1.2, 4.1).

/// The PCI vendor identity of all virtio devices.
pub const VENDOR_ID: u16 = 0x1AF4;
/// What a device number is added to, for a device that speaks virtio 1.0.
pub const MODERN_DEVICE_ID: u16 = 0x1040;

/// The device identity of a transitional or legacy device, for the kinds that have one (4.1.2.1).
pub const fn transitional_id(device: u16) -> Option<u16> {
    Some(match device {
        1 => 0x1000,
        2 => 0x1001,
        5 => 0x1002,
        3 => 0x1003,
        8 => 0x1004,
        4 => 0x1005,
        9 => 0x1009,
        _ => return None,
    })
}

/// The class and subclass of a device, which drivers do not look at, but people do.
pub const fn class(device: u16) -> u16 {
    match device {
        // Ethernet, SCSI, other communication.
        1 => 0x0200,
        2 => 0x0100,
        3 | 19 => 0x0780,
        _ => 0x00FF,
    }
}

/// A vendor-specific capability.
pub const CAP_VENDOR: u8 = 0x09;

/// Capability: the common configuration.
pub const CAP_COMMON: u8 = 1;
/// Capability: notifications.
pub const CAP_NOTIFY: u8 = 2;
/// Capability: the interrupt status.
pub const CAP_ISR: u8 = 3;
/// Capability: the device's configuration fields.
pub const CAP_DEVICE: u8 = 4;
/// Capability: a way to the BAR through configuration space.
pub const CAP_PCI: u8 = 5;

/// Which BAR has the memory-mapped structures.
pub const MEMORY_BAR: u8 = 1;
/// Bytes of the memory BAR.
pub const MEMORY_SIZE: u32 = 0x4000;
/// Bytes of each structure in it.
pub const STRUCTURE: u32 = 0x1000;
/// Memory BAR: the common configuration.
pub const COMMON: u32 = 0x0000;
/// Memory BAR: the interrupt status.
pub const ISR: u32 = 0x1000;
/// Memory BAR: the device's configuration fields.
pub const DEVICE: u32 = 0x2000;
/// Memory BAR: notifications.
pub const NOTIFY: u32 = 0x3000;
/// Bytes from one queue's notification register to the next.
pub const NOTIFY_MULTIPLIER: u32 = 4;

/// The common configuration's fields, by the 32-bit word that holds them (4.1.4.3).
pub mod common {
    /// Selects a half of the device's features.
    pub const DEVICE_FEATURE_SELECT: u32 = 0x00;
    /// The selected half of the device's features.
    pub const DEVICE_FEATURE: u32 = 0x04;
    /// Selects a half of the driver's features.
    pub const DRIVER_FEATURE_SELECT: u32 = 0x08;
    /// The selected half of the driver's features.
    pub const DRIVER_FEATURE: u32 = 0x0C;
    /// Low half: MSI-X vector. High half: number of queues.
    pub const MSIX_NUM_QUEUES: u32 = 0x10;
    /// Byte 0: status. Byte 1: configuration generation. High half: selects a queue.
    pub const STATUS_GENERATION_SELECT: u32 = 0x14;
    /// Low half: the selected queue's size. High half: its MSI-X vector.
    pub const QUEUE_SIZE_MSIX: u32 = 0x18;
    /// Low half: whether the selected queue is in use. High half: where its notification register is.
    pub const QUEUE_ENABLE_NOTIFY: u32 = 0x1C;
    /// The selected queue's descriptor table.
    pub const QUEUE_DESC: u32 = 0x20;
    /// The selected queue's available ring.
    pub const QUEUE_DRIVER: u32 = 0x28;
    /// The selected queue's used ring.
    pub const QUEUE_DEVICE: u32 = 0x30;
    /// Bytes.
    pub const SIZE: u32 = 0x38;
}

/// MSI-X vector: none.
pub const NO_VECTOR: u16 = 0xFFFF;

/// Bytes of the legacy I/O BAR.
pub const IO_SIZE: u32 = 0x100;

/// The legacy I/O BAR's fields, by the 32-bit word that holds them (4.1.4.10).
pub mod legacy {
    /// The device's features.
    pub const DEVICE_FEATURES: u32 = 0x00;
    /// The driver's features.
    pub const DRIVER_FEATURES: u32 = 0x04;
    /// The selected queue's first page.
    pub const QUEUE_ADDRESS: u32 = 0x08;
    /// Low half: the selected queue's size. High half: selects a queue.
    pub const QUEUE_SIZE_SELECT: u32 = 0x0C;
    /// Low half: notifies a queue. Byte 2: status. Byte 3: interrupt status, cleared by reading it.
    pub const NOTIFY_STATUS_ISR: u32 = 0x10;
    /// Where in that word the interrupt status is.
    pub const ISR: u32 = 0x13;
    /// The first configuration field.
    pub const CONFIG: u32 = 0x14;
}
