"""Puts this process where containers put theirs, as far as the kernel can be told to by anybody.

What is simulated: the user, the capabilities, no_new_privs, the system call filter, and a read-only root file system. What
is not: the container's own mounts, its pid, network and cgroup namespaces, which take nothing away from this engine.
"""

from __future__ import annotations

import os

from isolate_fn._plan.seccomp import ALLOW, ENOSYS, EPERM, Entry, Rule, SyscallPolicy, compile_filter
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k
from isolate_fn.policy.conditions import Arg

# What Docker's default profile does not let through for a process without capabilities (moby/profiles, seccomp/default.json,
# 02e898b): all of it answers EPERM. Kubernetes' RuntimeDefault is the container runtime's, which has the same list.
DENIED = """
_sysctl acct add_key afs_syscall bpf chroot clock_settime create_module delete_module fanotify_init file_getattr
file_setattr finit_module fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy getpmsg init_module io_uring_enter
io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl listns lookup_dcookie
lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount move_pages
nfsservctl open_by_handle_at open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root process_madvise putpmsg
query_module quotactl quotactl_fd reboot request_key rseq_slice_yield security set_mempolicy set_mempolicy_home_node
setdomainname sethostname setns settimeofday swapoff swapon sysfs syslog tuxcall umount2 unshare uprobe uselib userfaultfd
ustat vhangup vserver
"""
NAMESPACES = 0x7E020000
FAMILIES = (*range(12), 13, 14, 15, 16, 17, 18, 21, 22, 24, *range(26, 34), 35, 36, 39, *range(41, 46))
# CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP
DOCKER_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
USER = 61234


def container_filter() -> bytes:
    """Return Docker's default profile as a program."""
    entries = dict.fromkeys(DENIED.split(), Entry((), EPERM))
    entries["clone3"] = Entry((), ENOSYS)
    entries["clone"] = Entry((Rule((Arg(0, 64).masked(NAMESPACES, 0),)),), EPERM)
    entries["socket"] = Entry((Rule((Arg(0, 32).one_of(*FAMILIES),)),), EPERM)
    personalities = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
    entries["personality"] = Entry((Rule((Arg(0, 32).one_of(*personalities),)),), EPERM)
    return compile_filter(SyscallPolicy.of(entries, default=ALLOW), os.uname().machine)


def become_ordinary() -> None:
    """Become a user without capabilities; one who is that already stays who they are."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        calls.prctl(k.PR_SET_DUMPABLE, 1)


def pretend() -> None:
    """Only say that there are no user namespaces."""
    become_ordinary()
    os.environ["ISOLATE_FN_PRETEND"] = "userns=0"


def pretend_root() -> None:
    """Stay root, and only say that nothing can be built."""
    os.environ["ISOLATE_FN_PRETEND"] = "userns=0,privileged=0"


def docker() -> None:
    """``docker run --user``: the default profile around a user without capabilities."""
    become_ordinary()
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    calls.seccomp_filter(container_filter())


def docker_root() -> None:
    """``docker run``: root with the default capabilities. Needs root."""
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)  # the runtime installs the filter before it gives up CAP_SYS_ADMIN
    calls.seccomp_filter(container_filter())
    for number in range(40):
        if not DOCKER_CAPABILITIES >> number & 1:
            calls.prctl(k.PR_CAPBSET_DROP, number)
    keep_capabilities(DOCKER_CAPABILITIES)


def kubernetes() -> None:
    """The restricted profile: runAsNonRoot, every capability dropped, no privilege escalation, RuntimeDefault."""
    if os.geteuid() == 0:
        calls.drop_bounding_set()
    become_ordinary()
    calls.drop_all_capabilities()
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    calls.seccomp_filter(container_filter())


def kubernetes_read_only() -> None:
    """The same with ``readOnlyRootFilesystem`` and an emptyDir at /tmp. Needs root, to mount."""
    read_only_root()
    calls.mount("tmpfs", "/tmp", "tmpfs", k.MS_NOSUID | k.MS_NODEV, "mode=1777")
    kubernetes()


def kubernetes_nothing_writable() -> None:
    """The same without the emptyDir, and with the /dev/shm of a pod that was given none."""
    read_only_root()
    kubernetes()


def read_only_root() -> None:
    """Make all mounts read-only, in a mount namespace of our own."""
    calls.unshare(k.CLONE_NEWNS)
    calls.mount("", "/", flags=k.MS_REC | k.MS_PRIVATE)
    calls.mount_setattr(k.AT_FDCWD, "/", k.MOUNT_ATTR_RDONLY, recursive=True)


def keep_capabilities(mask: int) -> None:
    """Keep these capabilities and no others."""
    import ctypes
    import struct

    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", k.LINUX_CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


SIMULATIONS = {
    "pretend": pretend,
    "docker": docker,
    "kubernetes": kubernetes,
    "kubernetes, read-only root": kubernetes_read_only,
}
OTHERS = {
    "root": pretend_root,
    "pretend older": become_ordinary,
    "docker, root": docker_root,
    "nothing writable": kubernetes_nothing_writable,
}
NEED_ROOT = {"kubernetes, read-only root", "docker, root"}
