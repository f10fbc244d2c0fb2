//! Files that a thread reaches by name. What it has open it keeps.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::Tree;
use super::calls::Role;

/// The oldest kernel interface that serves, of Linux 5.19. With the first one, nothing can be moved
/// from one folder of a share to another.
const NEEDED: ABI = ABI::V2;

/// The newest kernel interface of which all is asked for, of Linux 6.12. What it adds to
/// [`NEEDED`], the filters of system calls refuse as well; it is a second wall.
const WANTED: ABI = ABI::V6;

/// What every thread may read: the C library's allocator asks how many processors there are, and the
/// translator how many mappings a process may have.
const READABLE: [&str; 2] = [
    "/proc/sys/vm/max_map_count",
    "/sys/devices/system/cpu/online",
];

/// The host's name servers, which a user network asks in the guest's place and which may change.
const NAME_SERVERS: &str = "/etc/resolv.conf";

/// Whether this host's kernel can do all that is needed.
pub fn are_confined_here() -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules.handle_access(AccessFs::from_all(NEEDED)).is_ok()
}

/// Confines the calling thread for good: to what every thread may read, the sockets in `folders`,
/// which it removes, and the folder that it serves.
pub fn confine(role: Role, folders: &[PathBuf], tree: Option<&Tree>) -> Result<(), RulesetError> {
    let read = BitFlags::from(AccessFs::ReadFile);
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::AbstractUnixSocket)?;
    if role != Role::Net {
        rules = rules.handle_access(AccessNet::ConnectTcp)?;
    }
    // Paths that are not there are left out.
    let mut rules = rules
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(folders, AccessFs::RemoveFile))?;
    if role == Role::Net {
        rules = rules.add_rules(path_beneath_rules(name_servers(), read))?;
    }
    if let Some(tree) = tree {
        let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
        let access = match tree.readonly {
            true => AccessFs::from_read(WANTED),
            false => AccessFs::from_all(WANTED) & !devices,
        };
        let access = access & !BitFlags::from(AccessFs::Execute);
        rules = rules.add_rule(PathBeneath::new(&tree.folder, access))?;
    }
    rules.restrict_self().map(drop)
}

/// Where the host's name servers are read: the file, and where it is a link, the folder that it
/// leads to, in which programs replace it. Not `/etc`, which has more than that.
fn name_servers() -> Vec<PathBuf> {
    let file = PathBuf::from(NAME_SERVERS);
    let folder = file.canonicalize().ok();
    let folder = folder.as_deref().and_then(Path::parent);
    let folder = folder.filter(|folder| !["/", "/etc"].map(Path::new).contains(folder));
    folder
        .map(Path::to_owned)
        .into_iter()
        .chain([file])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{self, ErrorKind};

    use rustix::fs::{CWD, FileType, Mode, OFlags};

    use super::*;
    use crate::host::sandbox::{Confinement, Sandbox};

    /// Does `work` on a thread that is left the folder `shared`.
    fn inside(shared: &Path, readonly: bool, work: impl FnOnce() + Send + 'static) {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let folder = rustix::fs::open(shared, flags, Mode::empty()).unwrap();
        let all = Confinement::new(Sandbox::On).unwrap();
        let thread = std::thread::Builder::new();
        let tree = Some(Tree { folder, readonly });
        let thread = all.spawn_with(thread, Role::Share, tree, work).unwrap();
        thread.join().unwrap();
    }

    fn refused<T>(result: io::Result<T>) {
        let error = result.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }

    fn renamed(from: PathBuf, to: PathBuf) -> io::Result<()> {
        let flags = rustix::fs::RenameFlags::empty();
        Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags)?)
    }

    #[test]
    fn a_share_reaches_its_folder_and_nothing_outside() {
        let top = tempfile::tempdir().unwrap();
        let (shared, outside) = (top.path().join("shared"), top.path().join("outside"));
        for folder in [&shared, &outside] {
            fs::create_dir(folder).unwrap();
            fs::create_dir(folder.join("below")).unwrap();
            fs::write(folder.join("file"), "contents").unwrap();
        }
        let (within, without) = (shared.clone(), outside.clone());
        inside(&shared, false, move || {
            File::create(within.join("new")).unwrap();
            assert_eq!(fs::read(within.join("file")).unwrap(), b"contents");
            renamed(within.join("new"), within.join("below/moved")).unwrap();
            let fifo = within.join("fifo");
            rustix::fs::mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
            refused(File::open(without.join("file")));
            refused(File::create(without.join("new")));
            refused(fs::read_dir(&without));
            refused(renamed(without.join("file"), within.join("taken")));
            refused(renamed(within.join("file"), without.join("given")));
        });
        assert!(shared.join("below/moved").exists() && shared.join("file").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
    }

    #[test]
    fn a_share_that_is_only_read_is_not_written() {
        let shared = tempfile::tempdir().unwrap();
        let folder = shared.path().to_owned();
        fs::write(folder.join("file"), "contents").unwrap();
        inside(shared.path(), true, move || {
            assert_eq!(fs::read(folder.join("file")).unwrap(), b"contents");
            refused(File::create(folder.join("new")));
            refused(File::options().write(true).open(folder.join("file")));
            refused(renamed(folder.join("file"), folder.join("other")));
        });
        assert_eq!(fs::read(shared.path().join("file")).unwrap(), b"contents");
    }
}
