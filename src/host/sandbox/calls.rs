//! System calls: one list for each kind of thread.
//!
//! Two filters are in force. The first ends the process for what none of our threads ever does and
//! only an attacker wants: a program in place of this one, code in new memory, a device node. The
//! kernel does it, with SIGSYS and a line in its own log, so that nothing in a process that is no
//! longer ours has a say in it. The second lets a thread's own list through, and all else fails with
//! `EPERM`: a newer C library that tries a call of its own meets an error, not the end.
//!
//! A call that is allowed whatever its arguments costs nothing more: since Linux 5.11 the kernel
//! knows its number without running the filters. So the order of the lists does not matter, and
//! only calls that are seldom made are told apart by their arguments.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// The kinds of threads that a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs the guest, and ends the machine.
    Vcpu,
    /// Serves consoles, sockets and timers.
    Events,
    /// Serves a network.
    Net,
    /// Does a disk's requests.
    Disk,
    /// Serves a shared folder.
    Share,
    /// Waits: for the process's signals, for the terminal, for lines of its log, or for the end of
    /// the guest.
    Waiter,
}

/// A system call, and what its arguments must be.
type Call = (c_long, Vec<SeccompCondition>);

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [
        Role::Vcpu,
        Role::Events,
        Role::Net,
        Role::Disk,
        Role::Share,
        Role::Waiter,
    ];

    /// System calls with any arguments, besides those of every thread.
    fn calls(self) -> &'static [c_long] {
        match self {
            Role::Vcpu => VCPU,
            Role::Events => EVENTS,
            Role::Net => NET,
            Role::Disk => DISK,
            Role::Share => SHARE,
            Role::Waiter => WAITER,
        }
    }

    /// What is asked of devices and files with `ioctl`.
    fn requests(self) -> &'static [&'static [u32]] {
        match self {
            Role::Vcpu | Role::Events => &[TERMINAL, FILES],
            Role::Net => &[FILES],
            Role::Waiter => &[TERMINAL],
            Role::Disk | Role::Share => &[],
        }
    }

    /// System calls with certain arguments; `connects` says whether a thread connects to sockets of
    /// the host.
    fn rules(self, connects: bool) -> Vec<Call> {
        let mut rules = vec![
            // Reading limits, not setting them; signals to threads of this process.
            (libc::SYS_prlimit64, vec![is_null(2)]),
            (libc::SYS_tgkill, vec![is(0, std::process::id().into())]),
            // Waking who waits for signals, from the handler, which runs in any thread.
            (libc::SYS_sendto, vec![is_null(4)]),
        ];
        let commands = FCNTL.iter();
        rules.extend(commands.map(|command| number(libc::SYS_fcntl, 1, *command)));
        let requests = self.requests().concat().into_iter();
        rules.extend(requests.map(|request| (libc::SYS_ioctl, vec![is(1, request.into())])));
        match self {
            Role::Events if connects => {
                rules.extend([
                    (libc::SYS_connect, vec![]),
                    number(libc::SYS_socket, 0, libc::AF_UNIX),
                ]);
            }
            Role::Net => {
                let families = [libc::AF_INET, libc::AF_INET6];
                rules.extend(families.map(|family| number(libc::SYS_socket, 0, family)));
            }
            Role::Share => {
                let kinds = [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK];
                rules.extend(kinds.map(|kind| (libc::SYS_mknodat, vec![is_type(kind)])));
            }
            Role::Vcpu | Role::Events | Role::Disk | Role::Waiter => {}
        }
        if self != Role::Share {
            rules.push((libc::SYS_openat, vec![only_reads(2)]));
            #[cfg(target_arch = "x86_64")]
            rules.push((libc::SYS_open, vec![only_reads(1)]));
        }
        rules
    }
}

/// What C libraries, the allocator and every thread's own life need; also its end by a fault.
const EVERY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    // A fault's handler hands it on to the one that was there before.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// What every thread needs where older calls are still there.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_getpgrp,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_stat,
    libc::SYS_time,
];
/// What every thread needs where older calls are still there.
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// What newer C libraries may wait with. These calls have the same number on every architecture, as
/// has [`FCHMODAT2`].
const NEWER: &[c_long] = &[FUTEX_WAKE, FUTEX_WAIT, FUTEX_REQUEUE];
const FUTEX_WAKE: c_long = 454;
const FUTEX_WAIT: c_long = 455;
const FUTEX_REQUEUE: c_long = 456;
const FCHMODAT2: c_long = 452;

/// Commands about descriptors, but those that have signals sent to other processes.
const FCNTL: &[c_int] = &[
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_OFD_GETLK,
    libc::F_OFD_SETLK,
];

/// The balloon's holes, a console's last output, images that are flushed, sockets that are removed.
const VCPU: &[c_long] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_timerfd_settime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// Clients that are taken and served, and timers.
const EVENTS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_timerfd_settime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// Sockets out and in, but none that begins to listen.
const NET: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_timerfd_settime,
];

/// Images, which are open.
const DISK: &[c_long] = &[
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
];

/// Everything about files below the folder.
const SHARE: &[c_long] = &[
    // For the bits that a file's owner sets, see `set_id`.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fdatasync,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// What tells of signals, and ends the wait for them.
const WAITER: &[c_long] = &[libc::SYS_recvfrom, libc::SYS_shutdown];

/// Requests about terminals: modes, window, and the foreground.
const TERMINAL: &[u32] = &[
    libc::TCGETS as u32,
    libc::TCSETS as u32,
    libc::TCSETSW as u32,
    libc::TCSETSF as u32,
    libc::TCGETS2 as u32,
    libc::TCSETS2 as u32,
    libc::TCSETSW2 as u32,
    libc::TCSETSF2 as u32,
    libc::TIOCGPGRP as u32,
    libc::TIOCGWINSZ as u32,
];

/// Requests about any file.
const FILES: &[u32] = &[libc::FIONBIO as u32, libc::FIONREAD as u32];

/// What ends the process, in every thread and with any arguments: another program, other processes'
/// memory, the kernel's own programs and rings, mounts, keys, and ways out of what confines a
/// process.
const DEADLY: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// What ends the process, in every thread, with certain arguments: code in memory, and devices.
fn deadly_arguments() -> Vec<Call> {
    vec![
        (libc::SYS_mmap, vec![executable()]),
        (libc::SYS_mprotect, vec![executable()]),
        (libc::SYS_pkey_mprotect, vec![executable()]),
        (libc::SYS_mknodat, vec![is_type(libc::S_IFCHR)]),
        (libc::SYS_mknodat, vec![is_type(libc::S_IFBLK)]),
    ]
}

fn condition(argument: u8, length: Length, op: Op, value: u64) -> SeccompCondition {
    SeccompCondition::new(argument, length, op, value).expect("a system call has six arguments")
}

/// A number of 32 bits.
fn is(argument: u8, value: u64) -> SeccompCondition {
    condition(argument, Length::Dword, Op::Eq, value)
}

/// A call whose `argument` is a small number.
fn number(call: c_long, argument: u8, value: c_int) -> Call {
    (call, vec![is(argument, value.unsigned_abs().into())])
}

fn is_null(argument: u8) -> SeccompCondition {
    condition(argument, Length::Qword, Op::Eq, 0)
}

fn masked(argument: u8, mask: u64, value: u64) -> SeccompCondition {
    condition(argument, Length::Dword, Op::MaskedEq(mask), value)
}

/// The flags of an `open` that neither writes nor makes a file.
fn only_reads(argument: u8) -> SeccompCondition {
    let writes = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC).unsigned_abs();
    masked(argument, writes.into(), 0)
}

/// A file's type, in the mode of `mknodat`.
fn is_type(kind: u32) -> SeccompCondition {
    masked(2, libc::S_IFMT.into(), kind.into())
}

fn executable() -> SeccompCondition {
    let exec = libc::PROT_EXEC.unsigned_abs().into();
    masked(2, exec, exec)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The architecture, where filters can be made for it.
fn architecture() -> Option<TargetArch> {
    TargetArch::try_from(std::env::consts::ARCH).ok()
}

/// Whether this host filters system calls: a thread tries it, because a container may forbid it.
pub fn are_filtered_here() -> bool {
    let Some(arch) = architecture() else {
        return false;
    };
    let attempt = std::thread::Builder::new().name("seccomp".into());
    let attempt =
        attempt.spawn(move || seccompiler::apply_filter(&deadly(arch)?).map_err(Failure::from));
    attempt.is_ok_and(|thread| thread.join().is_ok_and(|applied| applied.is_ok()))
}

/// Confines the calling thread for good; `connects` says whether it connects to sockets of the host.
pub fn confine(role: Role, connects: bool) -> Result<(), Failure> {
    let arch = architecture().ok_or("this architecture is unknown")?;
    for filter in [deadly(arch)?, allowed(role, connects, arch)?] {
        seccompiler::apply_filter(&filter)?;
    }
    Ok(())
}

/// The filter that ends the process.
fn deadly(arch: TargetArch) -> Result<BpfProgram, Failure> {
    let calls = DEADLY.iter().map(|call| (*call, Vec::new()));
    let calls = calls.chain(deadly_arguments());
    program(
        calls,
        SeccompAction::Allow,
        SeccompAction::KillProcess,
        arch,
    )
}

/// The filter that lets a thread's own calls through.
fn allowed(role: Role, connects: bool, arch: TargetArch) -> Result<BpfProgram, Failure> {
    let calls = [EVERY, OLDER, NEWER, role.calls()].concat();
    let calls = calls.into_iter().map(|call| (call, Vec::new()));
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    program(
        calls.chain(role.rules(connects)),
        refused,
        SeccompAction::Allow,
        arch,
    )
}

/// A filter that does `found` for these calls and `else_` for all others. A call that is there both
/// with and without conditions has none.
fn program(
    calls: impl IntoIterator<Item = Call>,
    else_: SeccompAction,
    found: SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram, Failure> {
    let mut rules = BTreeMap::<c_long, Option<Vec<SeccompRule>>>::new();
    for (call, conditions) in calls {
        let of_call = rules.entry(call).or_insert_with(|| Some(Vec::new()));
        match conditions.is_empty() {
            true => *of_call = None,
            false => {
                if let Some(of_call) = of_call {
                    of_call.push(SeccompRule::new(conditions)?);
                }
            }
        }
    }
    let rules = rules
        .into_iter()
        .map(|(call, rules)| (call, rules.unwrap_or_default()));
    let filter = SeccompFilter::new(rules.collect(), else_, found, arch)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_is_allowed_what_ends_the_process() {
        for role in Role::ALL {
            let calls = [EVERY, OLDER, NEWER, role.calls()].concat();
            assert!(DEADLY.iter().all(|call| !calls.contains(call)), "{role:?}");
            let rules = role.rules(true);
            assert!(
                rules.iter().all(|(call, _)| !DEADLY.contains(call)),
                "{role:?}"
            );
        }
    }

    #[test]
    fn a_call_without_conditions_is_allowed_whatever_others_say() {
        let Some(arch) = architecture() else { return };
        let make = |calls: Vec<Call>| {
            let refused = SeccompAction::Errno(1);
            program(calls, refused, SeccompAction::Allow, arch).unwrap()
        };
        let free = || (libc::SYS_sendto, vec![]);
        let bound = || (libc::SYS_sendto, vec![is_null(4)]);
        let expected = make(vec![free()]);
        assert_eq!(make(vec![bound(), free()]), expected);
        assert_eq!(make(vec![free(), bound()]), expected);
        assert_ne!(make(vec![bound()]), expected);
    }
}
