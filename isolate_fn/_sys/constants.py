"""Numbers of the kernel's interface, with the header they stand in and the release they came with.

Plain integers and no enum: the child imports this, and an import of ``enum`` is not free there.
"""

from __future__ import annotations

# <linux/sched.h>: namespaces
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000  # Linux 4.6
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# <linux/mount.h>: mount(2)
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_RELATIME = 1 << 21
MNT_DETACH = 2

# <linux/mount.h>: open_tree(2), move_mount(2) since Linux 5.2, mount_setattr(2) since Linux 5.12
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000

# <linux/mount.h>: fsopen(2), fsconfig(2), fsmount(2) since Linux 5.2
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

# <linux/fcntl.h>
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
O_PATH = 0o10000000

# <linux/openat2.h>: openat2(2) since Linux 5.6
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_GET_SECCOMP = 21
SECCOMP_MODE_FILTER = 2
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36  # Linux 3.4
PR_SET_NO_NEW_PRIVS = 38  # Linux 3.5
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47  # Linux 4.3
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_SET_SPECULATION_CTRL = 53  # Linux 4.17
PR_SPEC_STORE_BYPASS = 0
PR_SPEC_INDIRECT_BRANCH = 1
PR_SPEC_FORCE_DISABLE = 8

# <linux/securebits.h>: NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with its lock, and KEEP_CAPS locked off
SECUREBITS_LOCKED = 0xEF
SECBIT_NO_SETUID_FIXUP = 0x04

# <linux/capability.h>
LINUX_CAPABILITY_VERSION_3 = 0x20080522
CAP_SETPCAP = 8

# <linux/keyctl.h>
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_READ = 11
KEY_SPEC_SESSION_KEYRING = -3

# <linux/seccomp.h>
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1  # Linux 3.17
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8  # Linux 5.0
SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 16  # Linux 5.7
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32  # Linux 5.19

PROBE = 0x69736F6C
"""Second argument, which the kernel does not look at, of the unshare(2) that an isolate's self-check makes to see it fail.
Filters whose denials are heard of answer it by themselves."""

# <linux/landlock.h>
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
LANDLOCK_RULE_NET_PORT = 2

# <linux/sockios.h>, <linux/if.h>
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
