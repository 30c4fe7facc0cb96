"""What the child is told: plain tuples, nothing in here is a question.

These types cross from the caller to the spawner and are read by code after the point of no return, so they are
named tuples of plain values: cheap to import, cheap to send (as what `plain` makes of them), impossible to change on the
way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from isolate_fn._records import NamedTuple


class MountOrder(NamedTuple):
    """One entry of the isolate's file tree; entries are carried out in order.

    Attributes:
        kind: ``"bind"``, ``"tmpfs"``, ``"file"``, ``"copy"``, ``"symlink"``, ``"device"`` or ``"directory"``.
        destination: absolute, normalised path inside the new root (no ``..``, no ``.``, no trailing slash).
        source: host path with every symlink already resolved (bind, copy, device), or the target text (symlink).
        read_only: bind and tmpfs: make it and everything mounted below it read-only.
        noexec: bind and tmpfs: refuse execve(2) and executable mappings of files below it.
        is_directory: bind: the source is a directory (else a file; the mount point is then made as a file).
        size: tmpfs: bytes. copy: bytes of the source when it was looked at.
        data: file: its content.
        granted: True when the user asked for it (a mount word), False for the runtime's own mounts.
        origin: which word asked for it, for error messages: ``"mounts[2] ro('/data')"`` or ``"runtime: stdlib"``.
        remap: id-map the mount although nobody asked for it, because not every user may read the source.
    """

    kind: str
    destination: str
    source: str = ""
    read_only: bool = True
    noexec: bool = False
    is_directory: bool = True
    size: int = 0
    data: bytes = b""
    granted: bool = False
    origin: str = ""
    remap: bool = False


class LandlockOrders(NamedTuple):
    """A Landlock rule set as plain integers: what is handled (denied unless a rule allows it), and the rules.

    Attributes:
        handled_fs: LANDLOCK_ACCESS_FS_*.
        handled_net: LANDLOCK_ACCESS_NET_*.
        scoped: LANDLOCK_SCOPE_*.
        path_rules: (path, LANDLOCK_ACCESS_FS_*).
        attribute_size: bytes of struct landlock_ruleset_attr that the kernel knows.
        port_rules: (port, LANDLOCK_ACCESS_NET_*); isolates have none, their network namespace decides.
    """

    handled_fs: int
    handled_net: int
    scoped: int
    path_rules: tuple[tuple[str, int], ...]
    attribute_size: int
    port_rules: tuple[tuple[int, int], ...] = ()

    @property
    def empty(self) -> bool:
        """Tell whether it restricts nothing; landlock_create_ruleset(2) answers ENOMSG to such a one."""
        return not (self.handled_fs or self.handled_net or self.scoped)


class Narrowing(NamedTuple):
    """What ``rules=`` adds on top of the base filter, for good.

    Attributes:
        program: assembled seccomp program.
        landlock: rule set, its paths those inside; None where no rule names any.
        file_rights: the bits of it that a path may have which is no directory; the kernel answers EINVAL to others.
        optional: paths of it that need not exist.
        threads: whether a thread may be started: one that cannot is no sign of a limit then.
        listen: SECCOMP_FILTER_FLAG_* with which the program is installed, so that the spawner hears of what it denies; 0
            for denials that nobody hears of.
    """

    program: bytes
    landlock: LandlockOrders | None
    file_rights: int
    optional: tuple[str, ...]
    threads: bool
    listen: int = 0


class Learning(NamedTuple):
    """What an isolate is told whose calls are looked on at by the spawner, before they are carried out (decision 20).

    Attributes:
        program: seccomp program that asks about what matters and lets through everything else; it stands beside the filter
            that denies, and permits nothing that one denies.
        flags: SECCOMP_FILTER_FLAG_* with which it is installed.
        file: where the spawner writes what it has seen, a line of JSON for each news.
        plain: places that the kernel's walls alone guard: what is opened elsewhere is opened by the spawner, or is not.
        allowed: files and directories with secrets that may be read all the same.
        network: addresses outside may be reached.
    """

    program: bytes
    flags: int
    file: str
    plain: tuple[str, ...]
    allowed: tuple[str, ...]
    network: bool


class Plan(NamedTuple):
    """Everything one isolate is told. Compiled once per policy, sent once per spawner, shared by its isolates.

    Attributes:
        name: of the policy, for messages.
        mounts: the file tree, in order.
        mount_points: directories that the shared tree must have for what is mounted per isolate.
        file_points: likewise, files.
        shared: for each mount order, whether it is carried out once for all isolates of the plan.
        rootfs_size: bytes of the root tmpfs, shared by ``/tmp``, ``/dev/shm`` and the working directory.
        rootfs_inodes: files and directories that it may hold.
        cwd: working directory, absolute.
        hostname: of the new UTS namespace.
        namespaces: CLONE_NEW* flags that init unshares (user, pid and mount come from other steps).
        inner_id: user and group id of the worker inside its user namespace.
        mount_api: ``"detached"`` (open_tree, mount_setattr; Linux 5.12) or ``"classic"`` (mount(2)).
        rlimits: (resource, soft, hard) of the worker.
        landlock: rule set of the worker; None where the kernel has none.
        landlock_tools: of the process that starts tools, which may execute files.
        landlock_init: rule set of PID 1; None where the kernel has none.
        filter_worker: assembled seccomp program of the worker, empty for none.
        filter_tools: of the process that starts tools, empty for none.
        filter_init: of PID 1, empty for none.
        roles: processes that init starts: ``("worker",)`` or ``("worker", "tools")``.
        memory: bytes of the whole process tree that init watches, 0 for no limit.
        cpu_time: seconds of the whole process tree that init watches, 0 for no limit.
        idle_timeout: seconds after which a worker that waits for a call ends by itself, 0 for never. Somewhat longer than
            the caller keeps it for use, so that no call is sent to one that is about to end.
        sys_path: the worker's ``sys.path``.
        editable: (module name, path) of editable installs that work by an import finder.
        prefixes: ``(sys.prefix, sys.exec_prefix)`` of the caller.
        open_check: whether the self-check may try an unshare under the filter (not where a denial kills).
        interpreter: path of the executable, inside as outside.
        fresh_exec: the worker executes it anew inside, instead of going on as a fork of the spawner.
        rules: what the worker puts itself under once the function's module is imported, None for the base filter alone.
        rules_tools: what each program that is started puts itself under.
        removed: names of walls taken away; only the test helpers fill it, every report lists it.
        observer: module that looks on in the worker, and its settings: coverage; empty for none.
        listen: SECCOMP_FILTER_FLAG_* with which worker and tools install their filter, so that the spawner hears of what
            it denies; 0 for denials that nobody hears of.
        engine: ``"namespaces"`` or ``"landlock"``; what follows is for the latter alone.
        scratch: directory in which each isolate gets one of its own.
        before_worker: seccomp programs of the worker that are stacked before the base filter.
        before_tools: of the process that starts tools, likewise.
        processes: processes and threads that init watches, 0 where the kernel counts them.
        entries: directories that may not be listed, with what can be imported from them: (path, ((name, path), ...)).
        children: code inside may start processes, which must be found to be watched.
        scratch_rights: LANDLOCK_ACCESS_FS_* in that directory.
        scope: LANDLOCK_SCOPE_* by which processes are held; 0 where this kernel has none.
        learning: the spawner looks on; None for all but `learn`.
    """

    name: str
    mounts: tuple[MountOrder, ...]
    shared: tuple[bool, ...]
    mount_points: tuple[str, ...]
    file_points: tuple[str, ...]
    rootfs_size: int
    rootfs_inodes: int
    cwd: str
    hostname: str
    namespaces: int
    inner_id: int
    mount_api: str
    rlimits: tuple[tuple[int, int, int], ...]
    landlock: LandlockOrders | None
    landlock_tools: LandlockOrders | None
    landlock_init: LandlockOrders | None
    filter_worker: bytes
    filter_tools: bytes
    filter_init: bytes
    roles: tuple[str, ...]
    memory: int
    cpu_time: float
    idle_timeout: float
    sys_path: tuple[str, ...]
    editable: tuple[tuple[str, str], ...]
    prefixes: tuple[str, str]
    open_check: bool
    interpreter: str
    fresh_exec: bool
    rules: Narrowing | None
    rules_tools: Narrowing | None
    removed: tuple[str, ...] = ()
    observer: tuple[str, str] = ("", "")
    listen: int = 0
    engine: str = "namespaces"
    scratch: str = ""
    before_worker: tuple[bytes, ...] = ()
    before_tools: tuple[bytes, ...] = ()
    processes: int = 0
    entries: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    children: bool = False
    scratch_rights: int = 0
    scope: int = 0
    learning: Learning | None = None


class Start(NamedTuple):
    """What differs between two isolates of one plan.

    Attributes:
        plan_id: number under which the spawner knows the plan.
        outer_id: host user id the worker runs under.
        outer_group: host group id the worker runs under.
        idmap_from: host id of the caller whose files become the isolate's own through id-mapped mounts, -1 for none.
        descriptors: roles of the descriptors that travel with the message, in order:
            ``status``, ``worker``, ``tools``, ``stdout``, ``stderr``, ``cgroup``. The spawner adds ``denials``.
        function: the function it is meant for, as it would be sent with a call; its module is imported behind the walls
            while the worker waits. Empty for none.
        grants: mounts of this isolate alone, below `GRANTS`: what one call was given (decision 14).
        grant_rules: Landlock rules that go with them, as in `LandlockOrders.path_rules`.
        filter: seccomp program that is stacked on the worker's own, empty for none.
        scratch: path of its own directory, which does not exist yet; empty with the namespaces engine.
    """

    plan_id: int
    outer_id: int
    outer_group: int
    idmap_from: int
    descriptors: tuple[str, ...]
    function: bytes = b""
    grants: tuple[MountOrder, ...] = ()
    grant_rules: tuple[tuple[str, int], ...] = ()
    filter: bytes = b""
    scratch: str = ""


OWN_PID = 0x7EEDFACE
"""Stands in a filter for the number of the process that takes it, which puts its own there; no process has this one."""

GRANTS = "/grants"
"""Where the mounts of one call lie, each in a directory of its own: ``/grants/0/a.png``."""


def with_grants(plan: Plan, grants: tuple[MountOrder, ...], rules: tuple[tuple[str, int], ...]) -> Plan:
    """Return the orders of one isolate: its plan's, and the grants of one call, which come last.

    Args:
        plan: the plan, which all calls share, whatever they grant.
        grants: `Start.grants`.
        rules: `Start.grant_rules`.
    """
    if not grants:
        return plan
    landlock, init = plan.landlock, plan.landlock_init
    if plan.engine == "landlock" and init is not None:  # its layer lies below the worker's
        plan = plan._replace(landlock_init=init._replace(path_rules=init.path_rules + rules))
    return plan._replace(
        mounts=(*plan.mounts, MountOrder("directory", GRANTS, origin="grants"), *grants),
        shared=plan.shared + (False,) * (1 + len(grants)),
        landlock=landlock and landlock._replace(path_rules=landlock.path_rules + rules),
    )


def plain(value: Any) -> Any:
    """Return orders, or what they are made of, as marshal can write them: nothing but builtin types, exactly.

    Raises:
        TypeError: something is neither a tuple nor text, bytes, a number, True, False or None.
    """
    if type(value) in _BUILTIN:
        return value
    if isinstance(value, tuple):
        return tuple([plain(item) for item in value])
    if isinstance(value, int):  # an enum's
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"orders hold a {type(value).__name__}")


_BUILTIN = {str, bytes, int, float, bool, type(None)}


def plan_of(values: tuple[Any, ...]) -> Plan:
    """Undo `plain` of a plan."""
    plan = Plan(*values)
    return plan._replace(
        mounts=tuple([MountOrder(*order) for order in plan.mounts]),
        landlock=_landlock(plan.landlock),
        landlock_tools=_landlock(plan.landlock_tools),
        landlock_init=_landlock(plan.landlock_init),
        rules=_narrowing(plan.rules),
        rules_tools=_narrowing(plan.rules_tools),
        learning=plan.learning and Learning(*plan.learning),
    )


def start_of(values: tuple[Any, ...]) -> Start:
    """Undo `plain` of a start."""
    start = Start(*values)
    return start._replace(grants=tuple([MountOrder(*order) for order in start.grants])) if start.grants else start


def _landlock(values: tuple[Any, ...] | None) -> LandlockOrders | None:
    return None if values is None else LandlockOrders(*values)


def _narrowing(values: tuple[Any, ...] | None) -> Narrowing | None:
    if values is None:
        return None
    rules = Narrowing(*values)
    return rules._replace(landlock=_landlock(rules.landlock))
