//! Devices with threads or buffers of their own, which must stop before the machine goes.

/// Stops devices, in the order in which they were attached, when asked or dropped: buffers are
/// flushed, threads end.
#[derive(Default)]
pub(crate) struct LiveDevices(Vec<Box<dyn FnMut() + Send>>);

impl LiveDevices {
    /// Has `stop` called at the end, after those that were added before.
    pub fn add(&mut self, stop: impl FnMut() + Send + 'static) {
        self.0.push(Box::new(stop));
    }

    /// Stops all devices; once.
    pub fn stop(&mut self) {
        for mut stop in std::mem::take(&mut self.0) {
            stop();
        }
    }
}

impl Drop for LiveDevices {
    fn drop(&mut self) {
        self.stop();
    }
}
