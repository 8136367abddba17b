//! The filter of system calls, by calls that no library makes for us. A filter holds for the thread that sets it and for those that it makes.

use std::io::Error;
use std::thread;

#[path = "../src/sandbox/calls.rs"]
mod calls;

type Call = (libc::c_long, [i64; 4], &'static str);

/// What must be refused. Without a filter each would fail for its arguments, or for nothing.
fn others() -> Vec<Call> {
    let parent = rustix::process::getppid().map_or(1, |parent| i64::from(parent.as_raw_nonzero().get()));
    let attach = i64::from(libc::PTRACE_SEIZE);
    let (inet, packet, netlink) = (i64::from(libc::AF_INET), i64::from(libc::AF_PACKET), i64::from(libc::AF_NETLINK));
    let (executable, private) = (i64::from(libc::PROT_EXEC), i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS));
    vec![
        (libc::SYS_ptrace, [attach, parent, 0, 0], "ptrace"),
        (libc::SYS_process_vm_readv, [parent, 0, 0, 0], "another process's memory"),
        (libc::SYS_pidfd_open, [parent, 0, 0, 0], "another process"),
        (libc::SYS_kill, [parent, 0, 0, 0], "a signal to another process"),
        (libc::SYS_tgkill, [parent, parent, 0, 0], "a signal to another process"),
        (libc::SYS_prlimit64, [parent, 0, 0, 0], "another process's limits"),
        (libc::SYS_mount, [0; 4], "mount"),
        (libc::SYS_umount2, [0; 4], "umount2"),
        (libc::SYS_unshare, [0; 4], "unshare"),
        (libc::SYS_setns, [-1, 0, 0, 0], "setns"),
        (libc::SYS_chroot, [0; 4], "chroot"),
        (libc::SYS_kexec_load, [0, 1 << 20, 0, 0], "kexec_load"),
        (libc::SYS_kexec_file_load, [-1, -1, 0, 0], "kexec_file_load"),
        (libc::SYS_init_module, [0; 4], "init_module"),
        (libc::SYS_reboot, [0; 4], "reboot"),
        (libc::SYS_swapon, [0; 4], "swapon"),
        (libc::SYS_bpf, [-1, 0, 0, 0], "bpf"),
        (libc::SYS_perf_event_open, [0; 4], "perf_event_open"),
        (libc::SYS_userfaultfd, [-1, 0, 0, 0], "userfaultfd"),
        (libc::SYS_io_uring_setup, [0; 4], "io_uring_setup"),
        (libc::SYS_keyctl, [-1, 0, 0, 0], "keyctl"),
        (libc::SYS_clock_settime, [0; 4], "clock_settime"),
        (libc::SYS_setresuid, [-1, -1, -1, 0], "setresuid"),
        (libc::SYS_splice, [-1, 0, -1, 0], "a call that no drive makes"),
        (libc::SYS_socket, [inet, i64::from(libc::SOCK_STREAM), 0, 0], "a network"),
        (libc::SYS_socket, [packet, i64::from(libc::SOCK_RAW), 0, 0], "a network"),
        (libc::SYS_socket, [netlink, i64::from(libc::SOCK_RAW), 0, 0], "the kernel's own network"),
        (libc::SYS_mmap, [0, 4096, executable, private], "memory for programs"),
        (libc::SYS_ioctl, [0, libc::TIOCSTI.cast_signed(), 0, 0], "keys for a terminal"),
        (0x4000_0000 | libc::SYS_getpid, [0; 4], "a call of another binary interface"),
    ]
}

/// What is answered, with the error if it is one.
#[expect(unsafe_code, reason = "calls that no library makes for us")]
fn call(number: libc::c_long, [first, second, third, fourth]: [i64; 4]) -> Result<i64, i32> {
    // SAFETY: no address is handed over, and zero is none that anything is written to.
    let answer = unsafe { libc::syscall(number, first, second, third, fourth, -1, 0) };
    if answer == -1 { Err(Error::last_os_error().raw_os_error().unwrap_or_default()) } else { Ok(answer) }
}

/// In a thread that may make the calls of a drive, and `more`.
fn confined(more: &'static [libc::c_long], test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        if calls::restrict(more).expect("a filter") {
            thread::spawn(test).join().expect("all as it should be");
        } else {
            eprintln!("skipped: there is no filter for this processor");
        }
    });
    thread.join().expect("all as it should be");
}

#[test]
fn calls_that_no_drive_makes_are_refused() {
    confined(&[], || {
        for (number, arguments, what) in others() {
            assert_eq!(call(number, arguments), Err(libc::EPERM), "{what}");
        }
        assert_eq!(call(libc::SYS_getpid, [0; 4]), Ok(i64::from(std::process::id())), "and others are not");
    });
}

/// A thread may be made, as the one of this test was, and a process may not: by the newer call, and by the older one.
#[test]
fn there_is_no_second_process() {
    confined(&[], || {
        for (number, refusal) in [(libc::SYS_clone3, libc::ENOSYS), (libc::SYS_clone, libc::EPERM)] {
            let flags = if number == libc::SYS_clone { i64::from(libc::SIGCHLD) } else { 0 };
            let answer = call(number, [flags, 0, 0, 0]);
            if answer == Ok(0) {
                // The child that should not be, on a copy of our stack.
                std::process::exit(1);
            }
            assert_eq!(answer, Err(refusal));
        }
    });
}

#[test]
fn who_shall_become_another_user_may_do_that_and_no_more() {
    confined(calls::TO_BECOME_A_USER, || {
        let refused: Vec<_> = others().into_iter().filter(|other| call(other.0, other.1) == Err(libc::EPERM)).collect();
        let allowed = others().into_iter().filter(|other| !refused.contains(other)).map(|other| other.2);
        assert_eq!(allowed.collect::<Vec<_>>(), ["setresuid"]);
    });
}
