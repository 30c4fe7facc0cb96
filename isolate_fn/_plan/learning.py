"""What `learn` asks about, and the orders of an isolate that it looks on at: wide to look at, narrow to open, closed as ever.

Every wall of an ordinary isolate stands. Two are wider: programs may be started and sockets made, as in the widest policy
without weakenings; and the host's files are mounted read-only, but Landlock permits to open only those that every isolate
has. All others are opened by the spawner, which looks at each, and hands over a descriptor (decision 20).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isolate_fn._plan import sharing
from isolate_fn._plan.landlock import downgrade, landlock_wanted
from isolate_fn._plan.orders import LandlockOrders, Learning, MountOrder, Plan
from isolate_fn._plan.seccomp import ALLOW, NOTIFY, Entry, Rule, SyscallPolicy, compile_filter
from isolate_fn._plan.seccomp_base import worker_filter
from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features
from isolate_fn._sys.landlock_constants import AccessFS
from isolate_fn.errors import Unsupported
from isolate_fn.policy.conditions import Arg

OLDEST_KERNEL = (5, 13)
_AT_EMPTY_PATH = 0x1000
_MSG_EOR = 0x80

_FILES = (
    "open openat openat2 creat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat statfs chdir "
    "getxattr lgetxattr listxattr llistxattr execve execveat mkdir mkdirat unlink unlinkat rmdir rename renameat renameat2 "
    "link linkat symlink symlinkat truncate chmod fchmodat fchmodat2 chown lchown fchownat utimensat utime utimes futimesat "
    "setxattr lsetxattr mknod mknodat inotify_add_watch"
)
_OTHERS = "clone clone3 fork vfork connect bind sendmsg sendmmsg socket socketpair listen kill tgkill setsid prctl"


def watching_filter(machine: str) -> bytes:
    """Return a program that asks about the calls that tell what a policy must grant, and permits everything.

    It is never alone: the filter that denies stands beside it, and of two answers the kernel takes the stricter.
    Looks at open descriptors (``fstat``) are not asked about, nor what sends without an address.
    """
    entries = {name: Entry((), NOTIFY) for name in f"{_FILES} {_OTHERS}".split()}
    entries["newfstatat"] = Entry((Rule((Arg(3, 32).has_all(_AT_EMPTY_PATH),), ALLOW),), NOTIFY)
    # What ends a record is not asked about: so the listener itself is sent, which nobody else could answer for.
    entries["sendmsg"] = Entry((Rule((Arg(2, 32).has_all(_MSG_EOR),), ALLOW),), NOTIFY)
    entries["sendto"] = Entry((Rule((Arg(4).eq(0),), ALLOW),), NOTIFY)
    return compile_filter(SyscallPolicy(tuple(sorted(entries.items())), ALLOW, ALLOW, ALLOW), machine)


def check(features: Features) -> None:
    """Refuse a machine that cannot do it safely.

    Raises:
        Unsupported: names what is missing.
    """
    found = "Linux {}.{}".format(*features.kernel)
    if not features.landlock or features.kernel < OLDEST_KERNEL:
        raise Unsupported(
            "learn",
            "Landlock (Linux 5.13): it keeps from being read what is only mounted to be looked at",
            f"{found}; {features.landlock_cause or 'a kernel before it'}",
            "run on Linux 5.13 or newer with landlock among its LSMs, or read the denials of ordinary calls: docs/denials.md",
        )
    if not (features.seccomp and features.user_notification):
        raise Unsupported(
            "learn",
            "seccomp user notification that lets calls go on (Linux 5.5) and hands over descriptors (Linux 5.9)",
            f"{found} without it",
            "run on Linux 5.13 or newer, outside of containers whose profile denies seccomp(2)",
        )


def widened(
    plan: Plan,
    features: Features,
    wide: Sequence[MountOrder],
    *,
    file: str,
    allowed: Iterable[str],
    programs: Iterable[str],
    network: bool,
) -> Plan:
    """Return the orders of an isolate that is looked on at.

    Args:
        plan: of a policy without rules, for functions and programs.
        features: of this kernel.
        wide: mounts of the host's files that are only to be looked at.
        file: where the spawner writes what it sees.
        allowed: paths with secrets that may be read all the same.
        programs: files of the host's that may be executed, beside those that every isolate has.
        network: addresses outside may be reached.
    """
    covered = tuple(order.destination for order in wide)
    own = [order for order in plan.mounts if not _shown_by(order, covered)]
    mounts = (*wide, *own) if wide else tuple(own)
    once = sharing.shared(mounts, plan.cwd)
    mounts = sharing.without_own_copies(mounts, once)
    directories, files = sharing.mount_points(mounts, once, plan.cwd)
    landlock = _landlock(plan, features, programs)
    program = worker_filter(features.machine, exec=True, network=True)
    killable = k.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV if features.killable_wait else 0
    return plan._replace(
        mounts=mounts,
        shared=once,
        mount_points=directories,
        file_points=files,
        landlock=landlock,
        landlock_tools=landlock,
        filter_worker=program,
        filter_tools=program,
        listen=0,
        learning=Learning(
            program=watching_filter(features.machine),
            flags=k.SECCOMP_FILTER_FLAG_NEW_LISTENER | killable,
            file=file,
            plain=tuple(path for path, access in landlock.path_rules if access & AccessFS.READ_FILE),
            allowed=tuple(allowed),
            network=network,
        ),
    )


def _shown_by(order: MountOrder, covered: Sequence[str]) -> bool:
    """Tell whether an order of the runtime is shown by a wide mount at the same place already."""
    if order.granted or order.kind not in ("bind", "copy") or order.source != order.destination:
        return False
    return any(order.destination == each or order.destination.startswith(f"{each}/") for each in covered)


def _landlock(plan: Plan, features: Features, programs: Iterable[str]) -> LandlockOrders:
    """Permit to read, write and execute what an ordinary isolate may, each file by itself, and these programs.

    A right to execute alone would be none: execve(2) opens the file to read.
    """
    orders = [order._replace(kind="bind", is_directory=False) if order.kind == "copy" else order for order in plan.mounts]
    wanted = landlock_wanted([*orders, *_devices(plan)], sharing.own_places(plan.cwd), exec=True, network=True)
    rules = {path: access for path, access in wanted.path_rules if path != "/"}
    for path in programs:
        rules.setdefault(path, int(AccessFS.READ_FILE | AccessFS.EXECUTE))
    return downgrade(wanted._replace(path_rules=tuple(rules.items())), features.landlock)[0]


def _devices(plan: Plan) -> list[MountOrder]:
    if plan.landlock is None:
        return []
    return [
        MountOrder("device", path, path, is_directory=False)
        for path, _ in plan.landlock.path_rules
        if path.startswith("/dev/") and path != "/dev/shm"
    ]
