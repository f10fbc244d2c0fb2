//! Whose turn it is to be set up, where there are several consoles.
//!
//! Linux before 6.2 takes the number of a console's terminal, sleeps, and counts it as taken only
//! then (`init_port_console`). Two devices whose control messages it handles meanwhile get the same
//! number: one terminal reaches the one that came last, the other device has none. A driver handles
//! control messages from a thread of its own, so this happens to devices that are found one after
//! the other. So a console whose driver asks for its ports hears of them when all that asked before
//! it are done, and terminals get their numbers in the order in which drivers found the consoles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Ports;

/// The order of a machine's consoles; clones are the same.
pub struct Turns<M>(Arc<Mutex<Waiting<M>>>);

/// Consoles that are not set up, the one whose turn it is first. Weak, because each console has this.
type Waiting<M> = VecDeque<Weak<Mutex<Ports<M>>>>;

impl<M> Clone for Turns<M> {
    fn clone(&self) -> Self {
        Turns(self.0.clone())
    }
}

impl<M> Default for Turns<M> {
    fn default() -> Self {
        Turns(Arc::default())
    }
}

impl<M> Turns<M> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a console behind those that wait, unless it is among them; whether it must wait.
    pub(super) fn ask(&self, console: &Arc<Mutex<Ports<M>>>) -> bool {
        let console = Arc::downgrade(console);
        let mut waiting = self.waiting();
        waiting.retain(|other| other.strong_count() > 0);
        if place(&waiting, &console).is_none() {
            waiting.push_back(console.clone());
        }
        place(&waiting, &console) != Some(0)
    }

    /// Takes a console out, and returns the one whose turn it is because of that.
    pub(super) fn done(&self, console: &Arc<Mutex<Ports<M>>>) -> Option<Arc<Mutex<Ports<M>>>> {
        let mut waiting = self.waiting();
        let place = place(&waiting, &Arc::downgrade(console))?;
        waiting.remove(place);
        waiting.retain(|other| other.strong_count() > 0);
        waiting.front().filter(|_| place == 0)?.upgrade()
    }
}

fn place<M>(waiting: &Waiting<M>, console: &Weak<Mutex<Ports<M>>>) -> Option<usize> {
    waiting.iter().position(|other| other.ptr_eq(console))
}
