//! Which pages of guest RAM hold decoded code, and who wrote to them.
//!
//! A write through `vm-memory` reports itself through the `Bitmap` of its region, so a device
//! that does DMA over decoded code invalidates it without knowing that there is any.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use vm_memory::bitmap::{Bitmap, NewBitmap, RefSlice, WithBitmapSlice};

use crate::pins::Pins;

const PAGE: usize = 4096;

/// Who keeps something that was made from a page's code; each has a bit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Keeper {
    /// The interpreter's decoded operations.
    Interpreter = 1,
    /// Translated code.
    Translator = 2,
    /// A block that is not worth a translation yet, while it runs.
    FirstRun = 4,
}

/// One byte per 4 KiB page of RAM: who keeps code made from it.
#[derive(Debug, Default)]
pub struct CodeWatch {
    pages: Box<[AtomicU8]>,
    /// Ranges of RAM, offset and length, that other threads wrote over decoded code.
    written: Mutex<Vec<(u32, u32)>>,
    any_written: AtomicBool,
    pins: OnceLock<Pins>,
}

impl CodeWatch {
    /// Tells whom to stop when decoded code is written over.
    pub(crate) fn connect(&self, pins: &Pins) {
        // A second CPU over the same RAM would need its own list; there is none on this board.
        let _ = self.pins.set(pins.clone());
    }

    /// Whether the page that holds offset `ram` has decoded code; offsets outside have none.
    #[inline(always)]
    pub(crate) fn watched(&self, ram: u32) -> bool {
        self.pages
            .get((ram >> 12) as usize)
            .is_some_and(|page| page.load(Ordering::Relaxed) != 0)
    }

    /// Whether the page that holds offset `ram` has translated code, and nothing else made from it.
    pub(crate) fn is_translators(&self, ram: u32) -> bool {
        self.pages
            .get((ram >> 12) as usize)
            .is_some_and(|page| page.load(Ordering::Relaxed) == Keeper::Translator as u8)
    }

    /// Starts or stops the watch over one page. Must come before the page is read for decoding:
    /// a writer first writes, then looks.
    pub(crate) fn set(&self, ram_page: u32, keeper: Keeper, watched: bool) {
        if let Some(page) = self.pages.get(ram_page as usize) {
            match watched {
                true => page.fetch_or(keeper as u8, Ordering::SeqCst),
                false => page.fetch_and(!(keeper as u8), Ordering::SeqCst),
            };
        }
    }

    /// The ranges written since the last call.
    pub(crate) fn take_written(&self) -> Vec<(u32, u32)> {
        // Looked at with every entry: a plain load, until there is something.
        if !self.any_written.load(Ordering::Relaxed)
            || !self.any_written.swap(false, Ordering::SeqCst)
        {
            return Vec::new();
        }
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'a> WithBitmapSlice<'a> for CodeWatch {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for CodeWatch {
    fn mark_dirty(&self, offset: usize, len: usize) {
        let pages = offset / PAGE..=offset.saturating_add(len.saturating_sub(1)) / PAGE;
        // Pairs with `set`: either this write is seen by the decoder, or the watch is seen here.
        std::sync::atomic::fence(Ordering::SeqCst);
        let watched = pages.into_iter().any(|page| {
            self.pages
                .get(page)
                .is_some_and(|page| page.load(Ordering::SeqCst) != 0)
        });
        if watched && len > 0 {
            self.written
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((offset as u32, len as u32));
            self.any_written.store(true, Ordering::SeqCst);
            if let Some(pins) = self.pins.get() {
                pins.publish();
            }
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.watched(offset as u32)
    }

    fn slice_at(&self, offset: usize) -> RefSlice<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for CodeWatch {
    fn with_len(len: usize) -> Self {
        CodeWatch {
            pages: (0..len.div_ceil(PAGE)).map(|_| AtomicU8::new(0)).collect(),
            ..CodeWatch::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writes_to_watched_pages_are_kept() {
        let watch = CodeWatch::with_len(3 * PAGE);
        watch.set(1, Keeper::Interpreter, true);
        watch.mark_dirty(16, 4);
        watch.mark_dirty(2 * PAGE, 4);
        assert!(watch.take_written().is_empty());
        watch.mark_dirty(PAGE - 2, 4);
        watch.slice_at(PAGE).mark_dirty(8, 2);
        assert_eq!(
            watch.take_written(),
            [(PAGE as u32 - 2, 4), (PAGE as u32 + 8, 2)]
        );
        assert!(watch.take_written().is_empty());
        assert!(watch.watched(PAGE as u32 + 5) && !watch.watched(0) && !watch.watched(u32::MAX));
    }

    #[test]
    fn a_page_is_the_translators_if_nobody_else_keeps_anything_of_it() {
        let watch = CodeWatch::with_len(2 * PAGE);
        assert!(!watch.is_translators(8));
        watch.set(0, Keeper::Translator, true);
        assert!(watch.is_translators(8) && !watch.is_translators(PAGE as u32));
        watch.set(0, Keeper::FirstRun, true);
        assert!(!watch.is_translators(8));
    }
}
