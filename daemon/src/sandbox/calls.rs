//! The system calls that a drive needs once its files and sockets are open, and no others (seccomp). Calls that are not listed fail
//! with EPERM, as if the right were missing, and end nothing.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// With any arguments. The groups say what for.
const ALLOWED: &[libc::c_long] = &[
    // Memory. Mapping and protecting it has conditions.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    // Files and folders; Landlock says which.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_utimensat,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fchmod,
    libc::SYS_unlinkat,
    libc::SYS_dup,
    libc::SYS_dup3,
    // Sockets, which are of the unix family: making them has conditions.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Waiting, and events that are signalled without waiting.
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_io_getevents,
    libc::SYS_io_destroy,
    // Threads of this process, their signals and their end. Making threads, and signalling them, has conditions.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Time, and what the process is.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// Older names of what is above, for C libraries that still use them.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// What a process needs that shall become another user's, and has no use for afterwards: the rights that these calls ask for are gone with
/// the user.
pub const TO_BECOME_A_USER: &[libc::c_long] = &[
    libc::SYS_setgroups,
    libc::SYS_setgid,
    libc::SYS_setresgid,
    libc::SYS_setuid,
    libc::SYS_setresuid,
    libc::SYS_fchownat,
];

/// What a descriptor may be asked: how much there is to read, whether it is a terminal; and told: not to wait.
const REQUESTS: &[libc::c_ulong] =
    &[libc::FIONREAD as libc::c_ulong, libc::FIONBIO as libc::c_ulong, libc::TCGETS as libc::c_ulong];

/// Refuses, for this thread and those that it makes, all other calls, except for `more`. False where the filter's language does not know
/// this processor.
pub fn restrict(more: &[libc::c_long]) -> anyhow::Result<bool> {
    let Ok(processor) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        [ALLOWED, ALLOWED_HERE, more].concat().into_iter().map(|call| (call, Vec::new())).collect();
    rules.extend(conditional()?);
    // A new thread's flags lie in memory here, where no filter sees them. A C library that is told that there is no such call makes the
    // thread by the older one. The stricter of two filters counts, and of two alike the later one.
    let all = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let missing = SeccompAction::Errno(u32::try_from(libc::ENOSYS)?);
    let no_clone3 = SeccompFilter::new(all, SeccompAction::Allow, missing, processor)?;
    rules.insert(libc::SYS_clone3, Vec::new());
    // The second filter is set by a call of which the first one must know nothing.
    let refusal = SeccompAction::Errno(u32::try_from(libc::EPERM)?);
    let allowed = SeccompFilter::new(rules, refusal, SeccompAction::Allow, processor)?;
    for filter in [no_clone3, allowed] {
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)?;
    }
    Ok(true)
}

/// Calls that depend on their arguments: any of a call's rules lets it pass.
fn conditional() -> anyhow::Result<Vec<(i64, Vec<SeccompRule>)>> {
    let unix = || is(0, u64::try_from(libc::AF_UNIX)?);
    let executable = u64::try_from(libc::PROT_EXEC)?;
    let thread = u64::try_from(libc::CLONE_THREAD | libc::CLONE_VM)?;
    let ourselves = u64::from(std::process::id());
    let requests = REQUESTS.iter().map(|&request| is(1, request)).collect::<anyhow::Result<Vec<_>>>()?;
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME];
    let names = names.iter().map(|&name| is(0, u64::try_from(name)?)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(vec![
        (libc::SYS_socket, vec![unix()?]),
        (libc::SYS_socketpair, vec![unix()?]),
        (libc::SYS_mmap, vec![has(2, executable, 0)?]),
        (libc::SYS_mprotect, vec![has(2, executable, 0)?]),
        (libc::SYS_clone, vec![has(0, thread, thread)?]),
        (libc::SYS_tgkill, vec![is(0, ourselves)?]),
        // Only of this process, which is 0.
        (libc::SYS_prlimit64, vec![is(0, 0)?]),
        (libc::SYS_ioctl, requests),
        (libc::SYS_prctl, names),
    ])
}

/// An argument has this value.
fn is(argument: u8, value: u64) -> anyhow::Result<SeccompRule> {
    rule(argument, SeccompCmpOp::Eq, value)
}

/// An argument has, of these bits, those.
fn has(argument: u8, bits: u64, those: u64) -> anyhow::Result<SeccompRule> {
    rule(argument, SeccompCmpOp::MaskedEq(bits), those)
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}
