//! The interrupt controllers, and the wires to them.

use std::sync::Arc;

use ppckvm_api::VcpuHandle;
use ppckvm_devices::uic::Uic;
use ppckvm_devices::{IrqLine, IrqSink};
use ppckvm_fdt::board::{Board, Controller, DcrRange, Interrupt, MmioRange, Trigger};

/// The core's two interrupt inputs as the end of UIC0's wires.
struct CpuInputs(VcpuHandle);

const EXTERNAL: u32 = 0;
const CRITICAL: u32 = 1;

impl IrqSink for CpuInputs {
    fn set(&self, input: u32, level: bool) {
        match input {
            EXTERNAL => self.0.set_external(level),
            _ => self.0.set_critical(level),
        }
    }
}

/// The interrupt controllers, UIC1 cascaded into UIC0, UIC0 tied to the core.
pub(crate) struct Wires {
    pub uic0: Uic,
    pub uic1: Uic,
}

impl Wires {
    pub fn new(board: &Board, vcpu: VcpuHandle) -> Self {
        let inputs: Arc<dyn IrqSink> = Arc::new(CpuInputs(vcpu));
        let uic0 = Uic::new(
            IrqLine::to(inputs.clone(), EXTERNAL),
            IrqLine::to(inputs, CRITICAL),
        );
        let cascade = |wire: usize| match board.uic1.cascade {
            Some(wires) => uic0.line(wires[wire].input.into()),
            None => IrqLine::detached(),
        };
        let uic1 = Uic::new(cascade(0), cascade(1));
        Wires { uic0, uic1 }
    }

    /// A new wire to an input.
    pub fn to(&self, interrupt: Interrupt) -> IrqLine {
        let uic = match interrupt.controller {
            Controller::Uic0 => &self.uic0,
            Controller::Uic1 => &self.uic1,
        };
        match interrupt.trigger {
            Trigger::RisingEdge | Trigger::LevelHigh => uic.line(interrupt.input.into()),
            Trigger::FallingEdge | Trigger::LevelLow => uic.active_low_line(interrupt.input.into()),
        }
    }

    /// A new wire to an input, or to nowhere.
    pub fn optional(&self, interrupt: Option<Interrupt>) -> IrqLine {
        interrupt.map_or_else(IrqLine::detached, |interrupt| self.to(interrupt))
    }
}

/// The addresses of an MMIO range, for the bus.
pub(crate) fn range(mmio: MmioRange) -> std::ops::Range<u64> {
    let base = u64::from(mmio.base);
    base..base + u64::from(mmio.size)
}

/// A unit's DCR numbers, for the bus.
pub(crate) fn dcrs(range: DcrRange) -> std::ops::Range<u32> {
    u32::from(range.base)..u32::from(range.base) + u32::from(range.count)
}
