"""System calls that isolates get whatever the arguments, with reasons, and answers to those they do not get.

`seccomp_arguments.py` and `seccomp_sockets.py` hold the calls that depend on their arguments, `seccomp_base.py` makes
policies of all three. A call in none of these tables is denied. Names of both architectures stand side by side: one
that an architecture does not have is simply absent there.
"""

from __future__ import annotations

from typing import NamedTuple

from isolate_fn._plan.seccomp import Action
from isolate_fn.policy.conditions import Condition


class Grant(NamedTuple):
    """Calls allowed whatever their arguments."""

    reason: str
    names: str


class Checked(NamedTuple):
    """Calls allowed when all conditions hold. Several entries for one call are or-ed.

    Attributes:
        reason: why it is allowed, or why only so.
        names: the calls, separated by spaces.
        conditions: all must hold.
        otherwise: what the call is answered where no entry matches; None for the policy's default.
    """

    reason: str
    names: str
    conditions: tuple[Condition, ...]
    otherwise: Action | None = None


WORKER = (
    Grant(
        "data of descriptors it holds",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2",
    ),
    Grant("descriptors it holds", "lseek close close_range dup dup2 dup3"),
    Grant("metadata; the mounts decide what is visible", "fstat newfstatat stat lstat statx statfs fstatfs"),
    Grant("tests of access; the mounts decide", "access faccessat faccessat2"),
    Grant("directories", "getdents64 getdents readlink readlinkat getcwd chdir fchdir"),
    Grant("read-ahead hints", "fadvise64 readahead"),
    Grant(
        "extended attributes, reading: shutil.copy2",
        "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr",
    ),
    Grant("changes to files; only writable mounts have any", "rmdir unlink unlinkat rename renameat renameat2"),
    Grant("links; a link crosses no mount", "symlink symlinkat link linkat"),
    Grant("sizes of files", "truncate ftruncate fallocate"),
    Grant("times of files", "utimensat utime utimes futimesat"),
    Grant("mask of new files", "umask"),
    Grant("flushing files it holds; sync(2) and syncfs(2) stall the host", "fsync fdatasync sync_file_range"),
    Grant("copies in the kernel between descriptors it holds", "copy_file_range sendfile"),
    Grant("whole-file locks: filelock, databases", "flock"),
    Grant(
        "memory; executable pages too, which ctypes, cffi and numba need",
        "brk mmap munmap mremap mprotect madvise",
    ),
    Grant("memory, rarer calls", "mincore msync mlock munlock mlock2 membarrier mseal map_shadow_stack"),
    Grant("memory protection keys", "pkey_alloc pkey_free pkey_mprotect"),
    Grant(
        "locks; a denied futex or rseq aborts the process",
        "futex futex_wake futex_wait futex_requeue futex_waitv",
    ),
    Grant("per-thread state", "rseq set_robust_list get_robust_list set_tid_address gettid"),
    Grant("scheduling, reading", "sched_yield sched_getaffinity sched_getparam sched_getscheduler getcpu"),
    Grant("scheduling limits, reading", "sched_get_priority_min sched_get_priority_max"),
    Grant("the end of threads and processes", "exit exit_group wait4 waitid"),
    Grant("who am I", "getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups"),
    Grant("who am I, rarer", "getpgrp getpgid getsid capget getpriority"),
    Grant("use and limits, reading", "getrusage getrlimit sysinfo uname times"),
    Grant("signals to what the pid namespace holds", "kill tgkill"),
    Grant(
        "signal handling",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait",
    ),
    Grant("signal handling; restart_syscall resumes sleeps after SIGSTOP", "sigaltstack restart_syscall pause"),
    Grant(
        "timers",
        "alarm getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete",
    ),
    Grant("timers as descriptors", "timerfd_create timerfd_settime timerfd_gettime"),
    Grant("sleeping and the time", "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time"),
    Grant("pipes and events", "pipe pipe2 eventfd eventfd2"),
    Grant("waiting for descriptors", "epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2"),
    Grant("waiting for descriptors, older", "poll ppoll select pselect6"),
    Grant("sockets it holds: its channel and its own pairs", "shutdown getsockname getpeername"),
)

FORK = (Grant("child processes", "fork vfork"),)
EXEC = (
    Grant("other programs, under these same walls", "execve execveat"),
    Grant("shells and tools make process groups and sessions; the pid namespace holds them", "setpgid setsid"),
    Grant("tools pin their threads; only to processors that the isolate has", "sched_setaffinity"),
)

NETWORK = (
    Grant("connections; the network namespace decides where to", "bind connect listen accept accept4"),
    Grant("messages", "sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg"),
)
MEMFD = (Grant("memory files: their pages are in no limit but the cgroup's", "memfd_create"),)

LANDLOCK = (
    Grant("restricts itself further, by Landlock", "landlock_create_ruleset landlock_add_rule landlock_restrict_self"),
)

INIT = (
    Grant("its sockets and files of /proc", "read readv pread64 write writev lseek close close_range"),
    Grant("its sockets", "sendto sendmsg recvfrom recvmsg shutdown"),
    Grant("files of /proc", "fstat newfstatat stat lstat statx getdents64 readlink readlinkat"),
    Grant("how full the root is", "statfs fstatfs"),
    Grant("memory, nothing executable", "brk munmap mremap madvise"),
    Grant("locks and per-thread state", "futex rseq set_robust_list sched_yield"),
    Grant(
        "signals",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack",
    ),
    Grant("resuming a sleep after SIGSTOP", "restart_syscall"),
    Grant("ending what is left of the isolate, and itself", "kill tgkill exit exit_group"),
    Grant("reaping", "wait4 waitid"),
    Grant("waiting", "poll ppoll select pselect6 nanosleep clock_nanosleep"),
    Grant("waiting, by selectors", "epoll_create1 epoll_ctl epoll_wait epoll_pwait"),
    Grant("the time and its own use of it", "clock_gettime clock_getres gettimeofday time getrusage times"),
    Grant("who am I", "getpid getppid gettid getuid geteuid getgid getegid"),
)

#: Calls with a fallback in libc, CPython or a library that is taken on ENOSYS and, for most, on nothing else.
FALL_BACK = (
    "clone3 openat2 pidfd_open io_uring_setup io_uring_enter io_uring_register rseq_slice_yield "
    "setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr"
)

#: Answered ENOTSUP where programs run: cp -p takes that for a file system without ACLs, and EPERM for a
#: failure. Workers get EPERM, which shutil.copy2 takes the same way.
NO_ATTRIBUTES = "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr"

#: Denied with an errno even where denials kill: ordinary programs try these, get "no", and go on.
TOLERATED = (
    "mbind set_mempolicy get_mempolicy "  # OpenBLAS and libnuma place memory
    "sched_setaffinity sched_setscheduler sched_setparam setpriority "  # thread pools
    "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr "  # shutil.copy2
    "chown fchown lchown fchownat "  # sqlite and archivers keep an owner where they can
    "socket connect "  # pwd and getaddrinfo look for nscd
    "prlimit64 prctl fcntl getsockopt setsockopt arch_prctl getrandom "  # one request of many
    "mlockall munlockall inotify_init inotify_init1 memfd_create personality"
)

#: Denied by an errno, and not worth a report: libraries try these in passing and lose nothing. seccomp(2) is here for
#: another reason: where a second listener could be installed, the first would not have the last word.
QUIET = (
    "seccomp "
    "mbind set_mempolicy get_mempolicy sched_setaffinity sched_setscheduler sched_setparam "  # OpenBLAS, thread pools
    "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr "  # shutil.copy2
    "connect prlimit64 prctl fcntl getsockopt setsockopt arch_prctl getrandom"  # one request of many
)

#: What options permit and do no harm inside the other walls: where they are denied, a filter put on top may tell of it.
LATER = "fork vfork execve execveat setpgid setsid memfd_create"

#: In no policy, whatever its options. (Kernels since 6.14 do not ask filters about uretprobe and uprobe: the
#: kernel's trampolines enter through these, and a call from anywhere else ends in SIGILL.)
NEVER = (
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd "
    "pidfd_send_signal pidfd_open setns unshare clone3 mount umount2 pivot_root chroot mount_setattr "
    "move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick statmount listmount listns "
    "open_by_handle_at name_to_handle_at mknod mknodat setxattr lsetxattr fsetxattr setxattrat removexattr "
    "lremovexattr fremovexattr removexattrat quotactl quotactl_fd acct swapon swapoff reboot kexec_load "
    "kexec_file_load init_module finit_module delete_module bpf perf_event_open userfaultfd io_uring_setup "
    "io_uring_enter io_uring_register io_setup io_submit io_getevents io_pgetevents io_cancel io_destroy "
    "keyctl add_key request_key personality modify_ldt iopl ioperm setuid setgid setreuid setregid "
    "setresuid setresgid setgroups setfsuid setfsgid capset settimeofday clock_settime adjtimex "
    "clock_adjtime sethostname setdomainname syslog vhangup lookup_dcookie fanotify_init fanotify_mark "
    "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch memfd_secret splice tee vmsplice "
    "remap_file_pages migrate_pages move_pages mbind set_mempolicy set_mempolicy_home_node get_mempolicy "
    "sched_setparam sched_setscheduler sched_setattr setpriority ioprio_set rt_sigqueueinfo "
    "rt_tgsigqueueinfo tkill signalfd signalfd4 mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify "
    "mq_getsetattr msgget msgsnd msgrcv msgctl semget semop semtimedop semctl shmget shmat shmdt shmctl "
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr lsm_set_self_attr "
    "lsm_list_modules cachestat uretprobe uprobe rseq_slice_yield sync syncfs openat2 setrlimit uselib "
    "ustat sysfs _sysctl nfsservctl create_module query_module get_kernel_syms afs_syscall tuxcall security "
    "getpmsg putpmsg vserver epoll_ctl_old epoll_wait_old set_thread_area get_thread_area file_setattr"
)
