//! Windows: guest pages in the host's address space, each at a fixed distance from where the guest
//! sees it.
//!
//! A space's window is 4 GiB of host addresses, one for each effective address. A page of guest RAM
//! that the space translates is mapped there once more, at its place and with the guest's rights; an
//! access to it is then an access to window plus effective address, with nothing to look up and
//! nothing to test. What the window does not show, the host's MMU refuses (`jit/signal.rs`). So a page
//! is there only as long as the space translates it: `fast.rs` sees to that.
//!
//! To show a page and to take it away are calls to the host's kernel, and each page that is shown takes
//! mappings, of which a process may have some 65,000; so only pages that are worth it are shown, and not
//! too many (`budget.rs`).
// UNSAFE BECAUSE: pages are mapped at addresses that translated code computes.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect};
use vm_memory::FileOffset;

use crate::ram::Ram;
use crate::table::Reservation;

const PAGE: usize = 4096;
/// Bytes of a window.
const BYTES: usize = 1 << 32;
/// Bytes before and behind a window that nobody may access: displacements lead at most so far beyond it.
pub(crate) const GUARD: usize = 1 << 16;

/// Tables, and a window behind them if the host had room for it.
#[derive(Debug)]
pub(crate) struct Window {
    memory: Reservation,
    /// Where the window begins in `memory`.
    start: usize,
    /// The host refuses to hide anything.
    #[cfg(test)]
    pub refuses: bool,
}

/// What is shown in windows: the memory file of guest RAM.
#[derive(Debug)]
pub(crate) struct Shown {
    file: Arc<File>,
    start: u64,
    bytes: usize,
}

impl Shown {
    /// `None` when guest RAM is no file, and can be mapped only once.
    pub fn new(ram: &Ram) -> Option<Self> {
        let file: &FileOffset = ram.file()?;
        Some(Shown {
            file: file.arc().clone(),
            start: file.start(),
            bytes: ram.bytes(),
        })
    }
}

impl Window {
    /// `count` windows, with `tables` bytes of zeros in front of each, of which `written` can be
    /// written; all multiples of 4096. On a host that has not as much address space to give, 4 GiB
    /// each, they are tables without windows.
    ///
    /// # Errors
    /// When there is no room for the tables either.
    pub fn several(count: usize, tables: usize, written: &[Range<usize>]) -> io::Result<Vec<Self>> {
        let bytes = tables + GUARD + BYTES + GUARD;
        match Reservation::sparse(count, bytes, 0..tables, written) {
            Ok(memory) => Ok(Self::behind(tables, memory)),
            Err(_) => Self::none(count, tables, written),
        }
    }

    /// Tables without windows.
    ///
    /// # Errors
    /// When the host has no address space left for the tables.
    pub fn none(count: usize, tables: usize, written: &[Range<usize>]) -> io::Result<Vec<Self>> {
        let memory = Reservation::sparse(count, tables, 0..tables, written)?;
        Ok(Self::behind(tables, memory))
    }

    fn behind(tables: usize, memory: Vec<Reservation>) -> Vec<Self> {
        let window = |memory| Window {
            memory,
            start: tables + GUARD,
            #[cfg(test)]
            refuses: false,
        };
        memory.into_iter().map(window).collect()
    }

    /// Whether there is a window behind the tables.
    pub fn is_there(&self) -> bool {
        self.memory.bytes() > self.start
    }

    /// Where the tables begin; the window begins [`GUARD`] behind them.
    #[inline(always)]
    pub fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    /// Shows the page of RAM at offset `ram` at effective page `page`, in place of what was there;
    /// `false` when it cannot be shown, and then what is there is not known.
    #[must_use]
    pub fn show(&mut self, page: usize, shown: &Shown, ram: u32, writable: bool) -> bool {
        let ram = ram as usize & !(PAGE - 1);
        if !self.is_there() || ram + PAGE > shown.bytes {
            return false;
        }
        let access = match writable {
            true => ProtFlags::READ | ProtFlags::WRITE,
            false => ProtFlags::READ,
        };
        // SAFETY: the page is inside this reservation, to which no Rust reference exists; translated
        // code, which alone reaches it, expects there what its guest may see, and this is it.
        let mapped = unsafe {
            mmap(
                self.page(page),
                PAGE,
                access,
                MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE,
                &shown.file,
                shown.start + ram as u64,
            )
        };
        mapped.is_ok()
    }

    /// Lets nobody store to a page that is shown; `false` when the host refuses.
    #[must_use]
    pub fn protect(&mut self, page: usize) -> bool {
        // SAFETY: as in `show`; and nobody has a right less than before to what is not the window's.
        self.is_there() && unsafe { mprotect(self.page(page), PAGE, MprotectFlags::READ) }.is_ok()
    }

    /// Shows nothing at `pages` any more; `false` when the host refuses, as it may at its limit of
    /// mappings.
    #[must_use]
    pub fn hide(&mut self, pages: Range<usize>) -> bool {
        if !self.is_there() {
            return true;
        }
        #[cfg(test)]
        if self.refuses {
            return false;
        }
        // SAFETY: as in `show`.
        let hidden = unsafe {
            mmap_anonymous(
                self.page(pages.start),
                pages.len() * PAGE,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
            )
        };
        hidden.is_ok()
    }

    /// Shows nothing any more; `false` when the host refuses. Then there is no window any more, and no
    /// code may access where it was: what is shown there is not known.
    ///
    /// At the process's limit of mappings the host's kernel still takes a call that splits none. So
    /// the range is the window with its guards: in front of it are tables, which are mapped otherwise,
    /// so a mapping begins there, and none that is shown reaches over its end.
    #[must_use]
    pub fn hide_all(&mut self) -> bool {
        if !self.is_there() {
            return true;
        }
        let bytes = GUARD + BYTES + GUARD;
        // SAFETY: the range is the end of this reservation, to which no Rust reference exists;
        // translated code, which alone reaches it, expects nothing there that is shown.
        let hidden = unsafe {
            let base: *mut c_void = self.base().as_ptr().add(self.start - GUARD).cast();
            let replaced = mmap_anonymous(
                base,
                bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
            );
            // To forbid all access takes no mapping at all: what is shown has mappings of its own.
            replaced.is_ok() || mprotect(base, bytes, MprotectFlags::empty()).is_ok()
        };
        #[cfg(test)]
        let hidden = hidden && !self.refuses;
        if !hidden {
            self.memory.leak_from(self.start - GUARD);
        }
        hidden
    }

    /// Where an effective page is.
    fn page(&self, page: usize) -> *mut c_void {
        assert!(page < BYTES / PAGE, "an effective page has 20 bits");
        // SAFETY: whoever calls has a window behind the tables, and the page is in it.
        unsafe { self.base().as_ptr().add(self.start + page * PAGE).cast() }
    }
}
