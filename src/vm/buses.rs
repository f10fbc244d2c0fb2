//! The buses that the guest's accesses go to.

use ppckvm_devices::{DcrBus, MmioBus};

/// The two buses, each device on one of them.
#[derive(Default)]
pub(crate) struct Buses {
    pub mmio: MmioBus,
    pub dcr: DcrBus,
}
