"""What extrasafe 0.5.1 permits, set by set, and why the sets of this package differ.

Data for `generate_rules_page.py` and for the tests, which hold every difference against it: one that is not listed
here, or listed and not there, fails.

The names of the seed's sets and methods are ours as well. pyextrasafe 0.1.0a1 wraps an older release of the same sets
and has no tables of its own. `UserId` comes from a branch of extrasafe and is taken over without a difference.
"""

from __future__ import annotations

from typing import NamedTuple

IO_READ = "read readv preadv preadv2 pread64 lseek"
IO_WRITE = "write writev pwritev pwritev2 pwrite64 fsync fdatasync lseek"
IO_OPEN = "open openat openat2"
IO_META = "stat fstat newfstatat lstat statx getdents getdents64 getcwd"
IO_CLOSE = "close close_range"
NET = (
    "epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 select pselect6 poll ppoll accept accept4 "
    "eventfd eventfd2 fcntl ioctl getsockopt setsockopt getpeername getsockname "
    "listen recvfrom recvmsg recvmmsg read readv preadv preadv2 "
    "sendto sendmsg sendmmsg sendfile write writev pwritev pwritev2"
)


class Seed(NamedTuple):
    """What one method (or constructor) of the seed permits.

    Attributes:
        simple: calls whatever their arguments.
        conditional: calls with conditions.
        landlock: words of ``landlock_words.PATH_RIGHTS`` for the path that is given.
    """

    simple: str = ""
    conditional: str = ""
    landlock: str = ""


class Difference(NamedTuple):
    """One thing that is not as in the seed.

    Attributes:
        change: ``"added"``: we permit it whatever its arguments, the seed does not permit it. ``"added, checked"``: we
            permit it with conditions. ``"removed"``: we do not permit it. ``"checked"``: the seed permits it whatever
            its arguments, we with conditions. ``"corrected"``: both have conditions, ours are others.
        calls: the system calls, or for ``"right"`` words of Landlock.
        reason: why.
    """

    change: str
    calls: str
    reason: str


SEEDS = {
    "BasicCapabilities()": Seed(
        "brk mmap munmap madvise mlock mlock2 mlockall mprotect munlock munlockall sigaltstack rt_sigaction "
        "rt_sigprocmask rt_sigreturn futex get_robust_list set_robust_list readlink getpid gettid uname getrandom "
        "sched_getaffinity sched_setaffinity sched_yield rseq exit exit_group"
    ),
    "Threads().allow_create()": Seed("clone clone3"),
    "Threads().allow_sleep()": Seed("clock_nanosleep nanosleep"),
    "ForkAndExec()": Seed("fork vfork execve execveat wait4 waitid clone clone3"),
    "Pipes()": Seed("pipe pipe2"),
    "Time().allow_gettime()": Seed("clock_gettime clock_getres"),
    "SystemIO.everything()": Seed(f"{IO_READ} {IO_WRITE} {IO_OPEN} {IO_META} {IO_CLOSE} unlink unlinkat"),
    "SystemIO().allow_read()": Seed(IO_READ),
    "SystemIO().allow_write()": Seed(IO_WRITE),
    "SystemIO().allow_unlink()": Seed("unlink unlinkat"),
    "SystemIO().allow_open()": Seed(IO_OPEN),
    "SystemIO().allow_open_readonly()": Seed("", "open openat"),
    "SystemIO().allow_metadata()": Seed(IO_META),
    "SystemIO().allow_ioctl()": Seed("ioctl fcntl"),
    "SystemIO().allow_close()": Seed(IO_CLOSE),
    "SystemIO().allow_stdin()": Seed("", "read"),
    "SystemIO().allow_stdout()": Seed("", "write"),
    "SystemIO().allow_stderr()": Seed("", "write"),
    "SystemIO().allow_file_read(file)": Seed("", f"{IO_READ} {IO_META}"),
    "SystemIO().allow_file_write(file)": Seed("", "write"),
    "SystemIO().allow_read_path(path)": Seed(f"{IO_CLOSE} {IO_READ} {IO_META} {IO_OPEN}", "", "read_file"),
    "SystemIO().allow_write_file(path)": Seed(f"{IO_CLOSE} {IO_WRITE} {IO_META} {IO_OPEN}", "", "write_file"),
    "SystemIO().allow_create_in_dir(path)": Seed(f"creat {IO_OPEN}", "", "create_file write_file"),
    "SystemIO().allow_list_dir(path)": Seed(f"{IO_META} {IO_CLOSE} ioctl fcntl {IO_OPEN}", "", "list_dir"),
    "SystemIO().allow_create_dir(path)": Seed("mkdir mkdirat", "", "create_dir"),
    "SystemIO().allow_remove_file(path)": Seed("unlink unlinkat", "", "remove_file"),
    "SystemIO().allow_remove_dir(path)": Seed("rmdir unlinkat", "", "remove_dir"),
    "SystemIO().allow_ssl_files()": Seed(f"{IO_CLOSE} {IO_READ} {IO_META} {IO_OPEN}"),
    "SystemIO().allow_dns_files()": Seed(f"{IO_CLOSE} {IO_READ} {IO_META} {IO_OPEN}"),
    "Networking().allow_running_tcp_clients()": Seed(NET),
    "Networking().allow_running_tcp_servers()": Seed(NET),
    "Networking().allow_running_udp_sockets()": Seed(NET),
    "Networking().allow_running_unix_clients()": Seed(NET),
    "Networking().allow_running_unix_servers()": Seed(NET),
    "Networking().allow_start_tcp_clients()": Seed(f"connect {NET}", "socket"),
    "Networking().allow_start_tcp_servers()": Seed(f"bind {NET}", "socket"),
    "Networking().allow_start_udp_servers()": Seed(f"bind {NET}", "socket"),
    "Networking().allow_start_unix_servers()": Seed(f"bind {NET}", "socket"),
    "Networking().allow_connect()": Seed("connect"),
    "UserId().allow_get()": Seed("geteuid getresuid getuid"),
    "UserId().allow_set()": Seed("setfsuid setresuid setreuid setuid"),
    "UserId().allow_everything()": Seed("geteuid getresuid getuid setfsuid setresuid setreuid setuid"),
    **{
        f"UserId().allow_{call}()": Seed(call)
        for call in ["geteuid", "getresuid", "getuid", "setfsuid", "setresuid", "setreuid", "setuid"]
    },
}

_CLONE3 = Difference(
    "removed",
    "clone3",
    "its flags lie behind a pointer, where no filter can refuse new namespaces; answered ENOSYS, it makes libc use clone",
)
_OPENAT2 = Difference("removed", "openat2", "its flags lie behind a pointer; nothing uses it without need")
_DESCRIPTOR_FLAGS = Difference(
    "checked",
    "ioctl fcntl",
    "any request includes typing into the terminal (TIOCSTI), devices, file attributes, leases and signals to others",
)
_PYTHON_OPEN = Difference(
    "added, checked",
    "ioctl fcntl",
    "what Python asks of every file that it opens, and no other request",
)
_MORE_METADATA = Difference(
    "added",
    "access faccessat faccessat2 readlink readlinkat statfs fstatfs",
    "os.access(), os.path.realpath() and shutil.disk_usage() look at metadata as well; on aarch64 readlinkat is the only "
    "one there is",
)
_READ_ONLY_FLAGS = Difference(
    "checked",
    "open openat",
    "reading needs no flag that writes; before Landlock ABI 3 O_TRUNC empties a file that may only be read",
)
_MAPPED = Difference(
    "added, checked",
    "mmap",
    "files are also read by mapping them, extension modules among them; BasicCapabilities no longer maps files",
)
_READ_PATH = (_READ_ONLY_FLAGS, _OPENAT2, _MAPPED, _PYTHON_OPEN, _MORE_METADATA)

_NET_READ_WRITE = Difference(
    "checked",
    "read readv write writev sendfile",
    "they work on files as well and would void SystemIO's allow_stdin() and allow_stdout(): from descriptor 3 up only, "
    "and giving way to such a restriction",
)
_NET_OFFSETS = Difference(
    "removed", "preadv preadv2 pwritev pwritev2", "reading and writing at offsets fails on sockets"
)
_NET_ADDED = Difference(
    "added", "close shutdown", "without them every socket stays open, and TLS cannot end a connection"
)
_NET_CLIENT = Difference("removed", "listen accept accept4", "a client, or a UDP socket, does not accept connections")
_NET_SEND = Difference(
    "checked",
    "sendto sendmsg sendmmsg",
    "with MSG_FASTOPEN they connect, past a filter without connect() and past Landlock's ports",
)
_NET = (_NET_SEND, _DESCRIPTOR_FLAGS, _NET_READ_WRITE, _NET_OFFSETS, _NET_ADDED)
_SOCKET = Difference(
    "corrected",
    "socket",
    "the seed compares AF_* and SOCK_* as bit masks: AF_INET then admits AF_ALG, AF_UNIX admits AF_PACKET, and "
    "SOCK_STREAM and SOCK_DGRAM admit SOCK_RAW; protocols were not looked at",
)

DIFFERENCES = {
    "BasicCapabilities()": (
        Difference(
            "checked",
            "mmap",
            "mapping an open file reads it, and writes it where shared, whatever the file's own rules say; memory of its "
            "own is left. Sets that read files map them privately; Memory().allow_shared_files() and Sqlite() share them",
        ),
        Difference(
            "removed", "mlock mlock2 mlockall munlock munlockall", "takes memory from others: Memory().allow_locking()"
        ),
        Difference("removed", "sched_setaffinity", "reaches other processes: Threads().allow_affinity()"),
        Difference("removed", "readlink", "reads every link of the system: SystemIO().allow_metadata()"),
        Difference(
            "added",
            "restart_syscall",
            "without it, SIGSTOP and SIGCONT during a lock with a timeout abort the process, and poll() fails",
        ),
        Difference("added", "mremap membarrier", "memory of its own; realloc of large blocks"),
        Difference(
            "added",
            "futex_wait futex_wake futex_requeue futex_waitv",
            "the same as futex, for newer libcs",
        ),
        Difference(
            "added",
            "getppid getuid geteuid getgid getegid getrlimit getcpu",
            "denied, getuid() returns -1 without an exception; limits are read at the start of every thread",
        ),
        Difference("added, checked", "prlimit64", "its own limits, reading only; glibc's getrlimit()"),
        Difference(
            "added",
            "clock_gettime clock_getres gettimeofday time",
            "the clocks of a process and of a thread are not in the vDSO: time.process_time()",
        ),
        Difference("added", "close fstat", "about descriptors that are there, and needed by everything that opens one"),
        Difference("added", "rt_sigtimedwait", "waits for its own signals"),
    ),
    "Threads().allow_create()": (
        Difference("checked", "clone", "without conditions it also makes processes, and user namespaces"),
        _CLONE3,
        Difference("added, checked", "prctl", "names of threads, which libraries give to theirs"),
    ),
    "ForkAndExec()": (
        Difference("checked", "clone", "without conditions it also makes user namespaces"),
        _CLONE3,
        Difference(
            "added",
            "pipe pipe2 close close_range dup dup2 dup3",
            "subprocess reports a failed start through a pipe, and puts descriptors in their places",
        ),
        Difference(
            "added",
            "set_tid_address",
            "the start of every glibc program",
        ),
        Difference(
            "added, checked",
            "arch_prctl",
            'without it every glibc program ends with "cannot set up thread-local storage" on x86_64',
        ),
        Difference(
            "added", "setsid setpgid chdir fchdir umask", "subprocess's start_new_session, process_group, cwd, umask"
        ),
        Difference("added, checked", "read readv", "subprocess reads the child's error from that pipe"),
        Difference("added, checked", "ioctl fcntl", "flags of descriptors: inheritable, close on exec"),
    ),
    "Pipes()": (
        Difference("added", "close", "every pipe has two ends, of which one is closed"),
        Difference("added", "poll ppoll select pselect6", "waiting for a pipe; extrasafe has it for networks only"),
        Difference("added, checked", "read readv write writev", "pipes are there to be read and written"),
        Difference("added, checked", "ioctl fcntl", "flags of descriptors: non-blocking, inheritable"),
    ),
    "Time().allow_gettime()": (
        Difference("added", "gettimeofday time", "older ways to the same clock, where the vDSO has none"),
    ),
    "SystemIO.everything()": (
        Difference("added", "creat", "opens, as open does"),
        Difference("added", "fcntl", "extrasafe's everything() has neither this nor ioctl"),
        Difference(
            "added, checked", "ioctl", "all requests but two, which type into the terminal that started the program"
        ),
        Difference("added", "ftruncate truncate fallocate", "file.truncate() failed"),
        Difference("added", "mkdir mkdirat rmdir", "directories were left out"),
        Difference(
            "added",
            "rename renameat renameat2 link linkat symlink symlinkat",
            "os.replace(), os.link() and os.symlink() failed",
        ),
        Difference(
            "added",
            "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utimensat utime utimes futimesat umask",
            "shutil.copy2() failed",
        ),
        _MORE_METADATA,
        Difference("added", "dup dup2 dup3", "os.dup2()"),
        Difference("added", "chdir fchdir", "os.chdir(), shutil.rmtree()"),
        Difference("added", "flock", "whole-file locks"),
        Difference("added", "sync syncfs sync_file_range", "flushing"),
        Difference("added", "fadvise64 readahead copy_file_range sendfile splice tee", "what copying files uses"),
        Difference("added", "mmap msync mincore", "files are also read and written by mapping them"),
        Difference(
            "added",
            "getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat "
            "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat",
            "extended attributes; shutil.copy2() lists them",
        ),
        Difference("added", "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch", "watching files"),
        Difference("added, checked", "mknod mknodat", "named pipes and socket files; no devices"),
    ),
    "SystemIO().allow_read()": (_MAPPED,),
    "SystemIO().allow_write()": (Difference("added", "ftruncate", "file.truncate() failed"),),
    "SystemIO().allow_open()": (Difference("added", "creat", "opens, as open does"),),
    "SystemIO().allow_open_readonly()": (
        Difference(
            "corrected",
            "open openat",
            "the seed's mask lacks O_TRUNC, with which a file that is opened for reading is emptied, and O_TMPFILE",
        ),
    ),
    "SystemIO().allow_metadata()": (_MORE_METADATA,),
    "SystemIO().allow_ioctl()": (_DESCRIPTOR_FLAGS,),
    "SystemIO().allow_stdin()": (
        Difference("added, checked", "readv", "os.readv() reads as well, and other sets' readv must give way"),
    ),
    "SystemIO().allow_stdout()": (
        Difference("added, checked", "writev", "os.writev() writes as well, and other sets' writev must give way"),
    ),
    "SystemIO().allow_stderr()": (
        Difference("added, checked", "writev", "os.writev() writes as well, and other sets' writev must give way"),
    ),
    "SystemIO().allow_file_read(file)": (
        Difference("removed", "stat lstat getcwd", "their first argument is a pointer, so these rules never matched"),
        Difference(
            "corrected",
            "newfstatat statx",
            "with AT_EMPTY_PATH only, which is how libc asks about the descriptor itself",
        ),
        Difference("added, checked", "mmap", "reading it by mapping it"),
    ),
    "SystemIO().allow_file_write(file)": (
        Difference(
            "added, checked",
            "writev pwritev pwritev2 pwrite64 fsync fdatasync ftruncate lseek",
            "a file object also seeks, flushes and truncates",
        ),
    ),
    "SystemIO().allow_read_path(path)": _READ_PATH,
    "SystemIO().allow_ssl_files()": (
        *_READ_PATH,
        Difference(
            "right",
            "read_file list_dir",
            "Debian's certificates are links into /usr/share/ca-certificates, which the seed does not allow; other "
            "systems keep theirs in /etc/pki or /var/lib; OpenSSL reads its configuration",
        ),
    ),
    "SystemIO().allow_dns_files()": (
        *_READ_PATH,
        Difference("right", "read_file", "names of services and protocols, for getaddrinfo(host, 'http')"),
    ),
    "SystemIO().allow_write_file(path)": (
        _OPENAT2,
        _MORE_METADATA,
        _PYTHON_OPEN,
        Difference("added", "ftruncate", "file.truncate()"),
        Difference(
            "right",
            "truncate",
            'since Landlock ABI 3 truncating is a right of its own, without which open(path, "w") fails',
        ),
    ),
    "SystemIO().allow_create_in_dir(path)": (
        _OPENAT2,
        _PYTHON_OPEN,
        Difference("added", "close", "what is created is closed"),
        Difference(
            "right",
            "truncate",
            'since Landlock ABI 3 truncating is a right of its own, without which open(path, "w") fails',
        ),
    ),
    "SystemIO().allow_list_dir(path)": (
        _READ_ONLY_FLAGS,
        _OPENAT2,
        _DESCRIPTOR_FLAGS,
        _MORE_METADATA,
    ),
    "Networking().allow_running_tcp_clients()": (*_NET, _NET_CLIENT),
    "Networking().allow_running_tcp_servers()": _NET,
    "Networking().allow_running_udp_sockets()": (*_NET, _NET_CLIENT),
    "Networking().allow_running_unix_clients()": (*_NET, _NET_CLIENT),
    "Networking().allow_running_unix_servers()": _NET,
    "Networking().allow_start_tcp_clients()": (*_NET, _NET_CLIENT, _SOCKET),
    "Networking().allow_start_tcp_servers()": (*_NET, _SOCKET),
    "Networking().allow_start_udp_servers()": (*_NET, _NET_CLIENT, _SOCKET),
    "Networking().allow_start_unix_servers()": (*_NET, _SOCKET),
}

#: Paths of allow_ssl_files() and allow_dns_files() that the seed has.
SEED_PATHS = {
    "SystemIO().allow_ssl_files()": {
        "/etc/ssl/certs": "read_file list_dir",
        "/etc/ca-certificates": "read_file list_dir",
        "/etc/localtime": "read_file",
    },
    "SystemIO().allow_dns_files()": {
        "/etc/resolv.conf": "read_file",
        "/etc/hosts": "read_file",
        "/etc/host.conf": "read_file",
        "/etc/nsswitch.conf": "read_file",
        "/etc/gai.conf": "read_file",
    },
}
