//! `--console-log`: a file that has everything that a console sends, whatever becomes of it where the
//! console leads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::{FILE_LIMIT, Line, Lines, SerialError, create};
use crate::host::console::io::{ConsoleIo, Files};
use crate::host::console::{ConsoleHub, Owner};

/// What a log asks of the machine: as little as it can, because the console is there without it.
struct LogOwner {
    console: Arc<dyn Owner>,
    file: PathBuf,
}

impl Owner for LogOwner {
    fn printed(&self, _: &[u8], _: bool) {}

    fn text_found(&self) {}

    fn wants_return(&self) -> bool {
        self.console.wants_return()
    }

    fn on_return_wanted(&self, hook: Box<dyn Fn() + Send + Sync>) {
        self.console.on_return_wanted(hook);
    }

    fn quit(&self) {}

    fn output_lost(&self, how: String) {
        tracing::warn!(
            "the console log {} is incomplete: {how}; the guest runs on",
            self.file.display()
        );
    }
}

impl Lines {
    /// Has everything that the console at this number of `lines` sends written to a file too, which
    /// is made, or emptied.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn log(
        &mut self,
        number: usize,
        path: &Path,
        console: Arc<dyn Owner>,
    ) -> Result<(), SerialError> {
        let Some(line) = self.lines.get(number) else {
            return Ok(());
        };
        let file = create(path).map_err(|error| SerialError::Log {
            file: path.to_owned(),
            error,
        })?;
        let files = Files {
            output: Some(file),
            ..Files::default()
        };
        let owner = Arc::new(LogOwner {
            console,
            file: path.to_owned(),
        });
        let wake = EventFd::new(0).map_err(SerialError::Events)?;
        let own = wake.try_clone().map_err(SerialError::Events)?;
        let hub = ConsoleHub::new(owner.clone(), Some(own), FILE_LIMIT);
        let io = ConsoleIo::new(files, hub.clone(), owner, wake).map_err(SerialError::Events)?;
        self.subscribers.push(Box::new(io));
        line.hub.copy_to(hub.clone());
        self.log = Some(Line {
            hub,
            name: None,
            connected: true,
            has_escape: false,
            slave: None,
        });
        Ok(())
    }
}
