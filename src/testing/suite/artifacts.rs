//! What is kept of a test in a folder: its output as it comes, and of one that went badly all that tells
//! why.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::Vm;
use crate::testing::report::Attempt;

/// The files of one attempt.
pub(super) struct Folder {
    path: PathBuf,
    /// What could not be written, in a line each.
    pub trouble: Vec<String>,
}

/// A name as a path's part: letters, digits and a few signs.
fn part(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+=".contains(c);
    let part: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    match part.trim_start_matches('.') {
        "" => "_".into(),
        rest => rest.into(),
    }
}

impl Folder {
    /// A folder for an attempt at the test with this name and number, and what is in it of an earlier run
    /// is gone.
    pub fn create(root: &Path, index: usize, name: &str, attempt: u32) -> io::Result<Self> {
        let mut path = root.join(format!("{:04}-{}", index + 1, part(name)));
        if attempt > 0 {
            path.push(format!("attempt-{}", attempt + 1));
        } else if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Folder {
            path,
            trouble: Vec::new(),
        })
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file in it, made now.
    pub fn file(&mut self, name: &str) -> Option<Box<dyn Write + Send>> {
        match File::create(self.path(name)) {
            Ok(file) => Some(Box::new(file)),
            Err(error) => {
                self.lost(name, &error);
                None
            }
        }
    }

    /// Notes that a file is not complete.
    pub fn lost(&mut self, name: &str, error: &io::Error) {
        let path = self.path(name);
        self.trouble
            .push(format!("{}: it is incomplete: {error}", path.display()));
    }

    fn write(&mut self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) {
        let written = File::create(self.path(name)).and_then(|mut file| write(&mut file));
        if let Err(error) = written {
            self.lost(name, &error);
        }
    }

    /// Keeps the guest's memory and registers, as an ELF core file in which the kernel's memory has the
    /// kernel's addresses.
    pub fn memory(&mut self, vm: &mut Vm) {
        self.write("vmcore", |file| {
            let mut sparse = Sparse { file, hole: 0 };
            vm.write_vmcore(&mut sparse, true)?;
            sparse.finish()
        });
    }

    /// Keeps the device tree.
    pub fn tree(&mut self, tree: &[u8]) {
        self.write("tree.dtb", |file| file.write_all(tree));
    }

    /// Keeps what the attempt came to.
    pub fn result(&mut self, attempt: &Attempt, message: &str) {
        let text = format!(
            "{}\n{message}\n{}\ntook {:.3} s\n\n{}",
            attempt.status,
            attempt.verdict,
            attempt.took().as_secs_f64(),
            attempt.post_mortem
        );
        self.write("result.txt", |file| file.write_all(text.as_bytes()));
    }

    /// Forgets all of it, as nobody looks at a test that passed.
    pub fn discard(self) {
        // A file that stays harms nobody.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A file in which zeros take no room.
struct Sparse<'a> {
    file: &'a mut File,
    /// Zeros that were not written yet, in bytes.
    hole: u64,
}

impl Sparse<'_> {
    /// Makes the file as long as what was written.
    fn finish(self) -> io::Result<()> {
        let end = self.file.stream_position()? + self.hole;
        self.file.set_len(end)
    }
}

impl Write for Sparse<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// A block of a host's file system.
        const BLOCK: usize = 4096;
        for block in bytes.chunks(BLOCK) {
            if block.iter().all(|byte| *byte == 0) {
                self.hole += block.len() as u64;
                continue;
            }
            if self.hole > 0 {
                let hole = i64::try_from(self.hole).map_err(io::Error::other)?;
                self.file.seek(SeekFrom::Current(hole))?;
                self.hole = 0;
            }
            self.file.write_all(block)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_paths_that_lead_nowhere_else() {
        for (name, expected) in [
            ("boot", "boot"),
            ("../../etc", "_.._etc"),
            ("..", "_"),
            ("a b/c\n", "a_b_c_"),
            ("äö", "__"),
        ] {
            assert_eq!(part(name), expected);
        }
    }

    #[test]
    fn zeros_take_no_room_and_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let mut bytes = vec![0; 3 << 20];
        bytes[0] = 1;
        bytes[2 << 20] = 2;
        let mut file = File::create(&path).unwrap();
        let mut sparse = Sparse {
            file: &mut file,
            hole: 0,
        };
        bytes
            .chunks(1000)
            .for_each(|part| sparse.write_all(part).unwrap());
        sparse.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_folder_begins_empty_and_says_what_it_lacks() {
        let root = tempfile::tempdir().unwrap();
        let mut first = Folder::create(root.path(), 0, "boot", 0).unwrap();
        first.tree(&[1, 2]);
        let retry = Folder::create(root.path(), 0, "boot", 1).unwrap();
        assert!(
            retry
                .path("x")
                .starts_with(root.path().join("0001-boot/attempt-2"))
        );
        let mut again = Folder::create(root.path(), 0, "boot", 0).unwrap();
        assert!(!again.path("tree.dtb").exists() && again.trouble.is_empty());
        fs::remove_dir_all(root.path().join("0001-boot")).unwrap();
        again.tree(&[1, 2]);
        assert!(
            again.trouble[0].contains("tree.dtb: it is incomplete"),
            "{:?}",
            again.trouble
        );
    }
}
