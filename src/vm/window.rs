//! The window in which a person sees a virtio console.

use std::sync::Weak;

use ppckvm_devices::virtio::console::WindowSize;

use crate::host::console::ConsoleHub;

/// Sets the size of a virtio console's window from any thread; clones are the same window.
#[derive(Clone)]
pub struct ConsoleWindow(pub(crate) Weak<ConsoleHub>);

impl ConsoleWindow {
    /// Tells the guest how large the window is, if that changed. A guest that starts later finds
    /// this size; a machine that has ended ignores it.
    pub fn set_size(&self, size: WindowSize) {
        if let Some(hub) = self.0.upgrade() {
            hub.set_size(size);
        }
    }
}

impl std::fmt::Debug for ConsoleWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleWindow").finish_non_exhaustive()
    }
}
