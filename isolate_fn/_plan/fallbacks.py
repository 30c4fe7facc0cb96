"""Calls that say the same thing twice: what libc falls back to, and what would get round a condition.

Both tables are about calls whose arguments a filter cannot see, or that came later than the ones everybody uses.
"""

from __future__ import annotations

#: call -> older calls. Where no rule set permits the first and one permits any of the others, the first is answered
#: ENOSYS: libc, CPython and others then do the same with the older one, and do so on no other errno. (EPERM for clone3
#: ends every thread start, and for close_range or pidfd_open a subprocess; measured on CPython 3.11 to 3.13.)
FALLBACKS = {
    "accept4": "accept",
    "clone3": "clone",
    "close_range": "close",
    "copy_file_range": "read pread64",
    "epoll_pwait2": "epoll_pwait epoll_wait",
    "execveat": "execve",
    "faccessat2": "faccessat access",
    "fchmodat2": "fchmodat chmod",
    "futex_requeue": "futex",
    "futex_wait": "futex",
    "futex_waitv": "futex",
    "futex_wake": "futex",
    "getxattrat": "getxattr lgetxattr",
    "io_uring_enter": "read epoll_ctl",
    "io_uring_register": "read epoll_ctl",
    "io_uring_setup": "read epoll_ctl",
    "listxattrat": "listxattr llistxattr",
    "map_shadow_stack": "mmap",
    "mseal": "mprotect",
    "openat2": "openat open",
    "pidfd_open": "wait4 waitid",
    "preadv2": "preadv",
    "pwritev2": "pwritev",
    "removexattrat": "removexattr lremovexattr",
    "renameat2": "renameat rename",
    "rseq_slice_yield": "sched_yield",
    "setxattrat": "setxattr lsetxattr",
    "statx": "newfstatat stat",
}

#: call -> calls whose conditions it gets round, because its own arguments lie behind a pointer (or in a ring of
#: requests that no filter sees).
UNSEEN = {
    "clone3": "clone",
    "openat2": "open openat creat",
    "io_uring_setup": (
        "open openat read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 socket connect bind "
        "listen accept accept4 sendto sendmsg recvfrom recvmsg ioctl unlinkat renameat mkdirat"
    ),
}
