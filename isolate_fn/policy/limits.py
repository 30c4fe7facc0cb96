"""How much a call may use."""

from __future__ import annotations

from isolate_fn._frozen import dataclass
from isolate_fn.errors import PolicyError

from . import checks
from .values import Value

# The fields that hold bytes, for printing them as "64M".
_SIZES = frozenset({"rootfs_size", "memory", "file_size", "output", "result", "address_space"})


@dataclass(frozen=True, init=False, repr=False)
class Limits(Value):
    """How much a call may use; reaching a limit raises `LimitExceeded` with the field's name.

    Sizes are bytes, given as an int or as ``"64K"``, ``"512M"``, ``"1G"``. None means no limit of its own.

    Args:
        rootfs_size: bytes of all files written inside, on the tmpfs that is the isolate's root. At least 64K.
        rootfs_inodes: number of files, directories and links on it. At least 256: the file tree itself needs
            some.
        memory: bytes of real memory of all processes together. By cgroup v2 where a delegated group can be
            had, else by watching: then a burst between two looks may pass the limit before it is stopped.
        cpu_time: seconds of processor time of any one process.
        processes: processes and threads at one time.
        open_files: open descriptors of any one process. At least 16: Python and the channel need some.
        file_size: bytes of any one file that is written.
        output: bytes of stdout and stderr together that are relayed or captured.
        result: bytes of the encoded result.
        address_space: bytes of address space of any one process. Breaks numpy, torch and just-in-time
            compilers, which reserve far more than they use; prefer ``memory``.
        cpus: processors' worth of time, such as 1.5.

    Raises:
        PolicyError: a value has the wrong type or is out of range.
    """

    _prefix = "limits."

    rootfs_size: int
    rootfs_inodes: int
    memory: int | None
    cpu_time: float | None
    processes: int
    open_files: int
    file_size: int | None
    output: int
    result: int
    address_space: int | None
    cpus: float | None

    def __init__(
        self,
        *,
        rootfs_size: int | str = "64M",
        rootfs_inodes: int = 16384,
        memory: int | str | None = None,
        cpu_time: float | None = None,
        processes: int = 64,
        open_files: int = 256,
        file_size: int | str | None = None,
        output: int | str = "8M",
        result: int | str = "256M",
        address_space: int | str | None = None,
        cpus: float | None = None,
    ) -> None:
        self._keep(
            # tmpfs takes size=0 and nr_inodes=0 for "no limit", so zero must never get there.
            rootfs_size=checks.size("limits.rootfs_size", rootfs_size, minimum=64 << 10),
            rootfs_inodes=checks.number_of("limits.rootfs_inodes", rootfs_inodes, minimum=256),
            memory=None if memory is None else checks.size("limits.memory", memory),
            cpu_time=None if cpu_time is None else checks.seconds("limits.cpu_time", cpu_time),
            # PID_MAX_LIMIT of 64-bit kernels.
            processes=checks.number_of("limits.processes", processes, maximum=1 << 22),
            # fs.nr_open, above which setrlimit(2) fails, is 1048576 unless the administrator changed it.
            open_files=checks.number_of("limits.open_files", open_files, minimum=16, maximum=1 << 20),
            file_size=None if file_size is None else checks.size("limits.file_size", file_size),
            output=checks.size("limits.output", output),
            result=checks.size("limits.result", result),
            address_space=None
            if address_space is None
            else checks.size("limits.address_space", address_space),
            cpus=None if cpus is None else _processors(cpus),
        )

    def _show(self, name: str) -> str:
        value = getattr(self, name)
        return repr(checks.show_size(value)) if name in _SIZES and value is not None else repr(value)


def _processors(value: object) -> float:
    wanted = "use a number such as 1 or 1.5, at most 8192"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PolicyError("limits.cpus", f"{checks.show(value)} is not a number of processors", wanted)
    if not 0 < value <= 8192:  # also refuses NaN; 8192 is the kernel's own highest NR_CPUS
        raise PolicyError("limits.cpus", f"{checks.show(value)} is out of range", wanted)
    return value
