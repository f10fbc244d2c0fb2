//! The numbers by which nodes of the generated tree point to others.

use crate::board::Controller;

/// Nodes that others point to.
#[derive(Clone, Copy)]
pub(crate) enum Phandle {
    Cpu = 1,
    Uic0,
    Uic1,
    Mal0,
    Zmii0,
    Syscon,
}

impl Phandle {
    /// The largest number that a node of the board has.
    pub const LAST: u32 = Phandle::Syscon as u32;
}

impl From<Controller> for Phandle {
    fn from(controller: Controller) -> Phandle {
        match controller {
            Controller::Uic0 => Phandle::Uic0,
            Controller::Uic1 => Phandle::Uic1,
        }
    }
}
