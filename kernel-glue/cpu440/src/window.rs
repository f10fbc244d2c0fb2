//! Windows: guest pages in the host's address space, each at a fixed distance from where the guest
//! sees it.
//!
//! A space's window is 4 GiB of host addresses, one for each effective address. A page of guest RAM
//! that translated code reaches often is mapped there once more, at its place; an access to it is
//! then an access to window plus effective address, and what it waits for is the address alone, not
//! an entry of a table. Whether a page is there is `fast.rs`'s to know.
//!
//! To show a page is a call to the host's kernel and a mapping of its own, of which a process may have
//! some 65,000; so only pages that are worth it are shown, and not too many.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use vm_memory::FileOffset;

use crate::ram::Ram;
use crate::table::Reservation;

const PAGE: usize = 4096;
/// Bytes of a window.
const BYTES: usize = 1 << 32;

/// Tables, and a window behind them if the host had room for it.
#[derive(Debug)]
pub(crate) struct Window {
    memory: ManuallyDrop<Reservation>,
    /// Where the window begins in `memory`.
    start: usize,
    /// The host refused to map a page, and may have taken away what was there before: the addresses
    /// may be somebody else's by now.
    has_holes: bool,
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
        match Reservation::sparse(count, tables + BYTES, 0..tables, written) {
            Ok(memory) => Ok(Self::behind(tables, memory)),
            Err(_) => Self::none(count, tables, written),
        }
    }

    /// Tables without windows.
    ///
    /// # Errors
    /// As for those with windows.
    pub fn none(count: usize, tables: usize, written: &[Range<usize>]) -> io::Result<Vec<Self>> {
        let memory = Reservation::sparse(count, tables, 0..tables, written)?;
        Ok(Self::behind(tables, memory))
    }

    fn behind(tables: usize, memory: Vec<Reservation>) -> Vec<Self> {
        let window = |memory| Window {
            memory: ManuallyDrop::new(memory),
            start: tables,
            has_holes: false,
        };
        memory.into_iter().map(window).collect()
    }

    /// Whether there is a window behind the tables.
    pub fn is_there(&self) -> bool {
        self.memory.bytes() > self.start
    }

    /// Where the tables begin; the window begins as many bytes behind as the tables have.
    #[inline(always)]
    pub fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    /// Shows the page of RAM at offset `ram` at effective page `page`, in place of what was there;
    /// `false` when it cannot be shown, and then nothing is there.
    pub fn show(&mut self, page: usize, shown: &Shown, ram: u32) -> bool {
        let (at, ram) = (self.start + page * PAGE, ram as usize & !(PAGE - 1));
        if self.has_holes || at + PAGE > self.memory.bytes() || ram + PAGE > shown.bytes {
            return false;
        }
        // SAFETY: the page is inside this reservation, to which no Rust reference exists; translated
        // code, which alone reaches it, does so only after a look at tables that do not say so yet.
        let mapped = unsafe {
            mmap(
                self.base().as_ptr().add(at).cast(),
                PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE,
                &shown.file,
                shown.start + ram as u64,
            )
        };
        self.has_holes = mapped.is_err();
        mapped.is_ok()
    }

    /// Shows nothing any more.
    pub fn hide_all(&mut self) {
        if self.has_holes || !self.is_there() {
            return;
        }
        // SAFETY: as in `show`: the tables say already that nothing is shown.
        let hidden = unsafe {
            mmap_anonymous(
                self.base().as_ptr().add(self.start).cast(),
                BYTES,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
            )
        };
        self.has_holes = hidden.is_err();
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if !self.has_holes {
            // SAFETY: it is dropped here alone, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}
