//! How many guests run at once: as many as there is memory for.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// What a guest takes besides its RAM, in bytes: translated code and its tables, and devices.
const BESIDE: u64 = 110 << 20;

/// Memory that is given out to guests; one is let in however little there is.
pub(super) struct Admission {
    limit: u64,
    taken: Mutex<(u64, usize)>,
    changed: Condvar,
}

impl Admission {
    /// With as much as this process may take, less a tenth.
    pub fn new() -> Self {
        let free = available(Path::new("/proc/meminfo"));
        let limits = group_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
        let most = [free, limits].into_iter().flatten().min();
        Admission::with(most.map_or(u64::MAX, |most| most / 10 * 9))
    }

    fn with(limit: u64) -> Self {
        Admission {
            limit,
            taken: Mutex::new((0, 0)),
            changed: Condvar::new(),
        }
    }

    /// Waits until a guest with so much RAM may run, which it may until what is returned is dropped.
    pub fn wait(&self, ram: u64) -> Admitted<'_> {
        let bytes = ram + BESIDE;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.1 > 0 && taken.0 + bytes > self.limit {
            taken = self
                .changed
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *taken = (taken.0 + bytes, taken.1 + 1);
        Admitted {
            admission: self,
            bytes,
        }
    }
}

/// Memory that a guest has.
pub(super) struct Admitted<'a> {
    admission: &'a Admission,
    bytes: u64,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let taken = self.admission.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        *taken = (taken.0 - self.bytes, taken.1 - 1);
        drop(taken);
        self.admission.changed.notify_all();
    }
}

/// The memory that the host can still give.
fn available(meminfo: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(meminfo).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The lowest limit of the control groups that a process is in, less what they have taken.
fn group_limit(groups: &Path, mounted: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(groups).ok()?;
    // `0::/path` of the unified hierarchy, or `n:memory:/path`.
    let of_line = |line: &str| -> Option<(PathBuf, [&'static str; 2])> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_start_matches('/');
        match controllers {
            "" => Some((mounted.join(path), ["memory.max", "memory.current"])),
            list if list.split(',').any(|one| one == "memory") => Some((
                mounted.join("memory").join(path),
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            )),
            _ => None,
        }
    };
    let left_of = |folder: &Path, [limit, usage]: [&str; 2]| -> Option<u64> {
        let number = |name: &str| -> Option<u64> {
            std::fs::read_to_string(folder.join(name))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        Some(number(limit)?.saturating_sub(number(usage).unwrap_or(0)))
    };
    let groups = text.lines().filter_map(of_line);
    let left = groups.flat_map(|(folder, files)| {
        let above: Vec<PathBuf> = folder.ancestors().map(Path::to_owned).collect();
        let within = above
            .into_iter()
            .take_while(|folder| folder.starts_with(mounted));
        within
            .filter_map(move |folder| left_of(&folder, files))
            .collect::<Vec<_>>()
    });
    left.min()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn guests_wait_for_memory_and_one_runs_however_little_there_is() {
        let admission = Admission::with(2 * (BESIDE + 100));
        let (first, second) = (admission.wait(100), admission.wait(100));
        std::thread::scope(|scope| {
            let (sender, waited) = mpsc::channel();
            let admission = &admission;
            scope.spawn(move || {
                let _third = admission.wait(100);
                sender.send(()).unwrap();
            });
            assert!(waited.try_recv().is_err());
            drop(first);
            waited.recv().unwrap();
        });
        drop(second);
        let huge = admission.wait(1 << 40);
        drop(huge);
        assert_eq!(*admission.taken.lock().unwrap(), (0, 0));
    }

    #[test]
    fn limits_of_groups_are_found_in_both_hierarchies_and_above() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("cgroup", "0::/a/b\n");
        write("fs/a/b/memory.max", "max\n");
        write("fs/a/memory.max", "1000\n");
        write("fs/a/memory.current", "400\n");
        let limit = || group_limit(&root.join("cgroup"), &root.join("fs"));
        assert_eq!(limit(), Some(600));
        write("cgroup", "5:cpu,memory:/c\n1:cpu:/\n");
        write("fs/memory/c/memory.limit_in_bytes", "500\n");
        assert_eq!(limit(), Some(500));
        write("cgroup", "0::/\n");
        assert_eq!(limit(), None);
        write("meminfo", "MemTotal: 9 kB\nMemAvailable:    2048 kB\n");
        assert_eq!(available(&root.join("meminfo")), Some(2 << 20));
    }
}
