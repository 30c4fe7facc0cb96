"""What every process needs to go on existing, and memory beyond that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isolate_fn.policy.conditions import Arg

from .builtin import Builtin, Permission, rules
from .groups import DESCRIPTOR_FLAGS, MAP_SHARED
from .kernel_words import Fcntl, MapFlag, Protection

_BASIC = Permission(
    "",
    "brk munmap mremap madvise mprotect membarrier "
    "sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait restart_syscall "
    "futex futex_wait futex_wake futex_requeue futex_waitv get_robust_list set_robust_list rseq "
    "sched_yield sched_getaffinity getcpu "
    "getpid gettid getppid getuid geteuid getgid getegid uname getrlimit "
    "getrandom clock_gettime clock_getres gettimeofday time "
    "close fstat exit exit_group",
    (
        *rules("mmap", Arg(3, 32).has_all(MapFlag.ANONYMOUS), reason="MAP_ANONYMOUS", gives_way_to="mmap"),
        *rules("prlimit64", Arg(0, 32).eq(0), Arg(2).eq(0), reason="its own limits, reading", need=True),
    ),
)


@dataclass(frozen=True, init=False, repr=False)
class BasicCapabilities(Builtin):
    """Memory of its own, locks, signal handlers, the clock, who it is, and its end.

    Permits:
        brk munmap mremap madvise mprotect membarrier
        sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait restart_syscall
        futex futex_wait futex_wake futex_requeue futex_waitv get_robust_list set_robust_list rseq
        sched_yield sched_getaffinity getcpu
        getpid gettid getppid getuid geteuid getgid getegid uname getrlimit
        getrandom clock_gettime clock_getres gettimeofday time
        close fstat exit exit_group
        mmap: MAP_ANONYMOUS (gives way)
        prlimit64: its own limits, reading

    It is added by itself wherever rule sets are used, and gives way then: a call that another set restricts is
    left to that set. Enable it explicitly to say otherwise, and yours replaces the automatic one:
    ``BasicCapabilities().without("mremap")``, ``.restrict(Rule(...))``, ``.without_executable_memory()``,
    ``BasicCapabilities.nothing()``. Taking away what CPython and glibc rely on (futex, rseq, munmap,
    restart_syscall) ends the process at its next lock, thread or stop.

    Mapping an open file is not in here, because it reads (and shared, writes) what the file's own rules deny: it
    comes with the sets that let files be read. Nor is tgkill, which reaches other processes: without
    ``Signals().allow_raise(pid)`` os.abort() ends in SIGSEGV instead of SIGABRT.
    """

    _ALWAYS = (_BASIC,)

    def without_executable_memory(self) -> Self:
        """Return the set in which memory can neither be mapped nor made executable, and files not be mapped at all.

        No code can then be added to the process: no just-in-time compiler, no ctypes callback, no extension module.
        Other builtin sets give way in that, but for ``SystemIO.everything()``, which is then a conflict.
        """
        forbidden = Arg(2, 32).has_none(Protection.EXEC)
        why = "without PROT_EXEC"
        return self.restrict(*rules("mmap mprotect", forbidden, reason=why))


_SHARED_FILES = Permission("allow_shared_files()", "msync mincore", (*MAP_SHARED, *DESCRIPTOR_FLAGS))
_MEMORY_FILES = Permission(
    "allow_memory_files()",
    "memfd_create ftruncate",
    (
        *MAP_SHARED,
        *rules(
            "fcntl",
            Arg(1, 32).one_of(Fcntl.ADD_SEALS, Fcntl.GET_SEALS),
            reason="F_ADD_SEALS F_GET_SEALS",
            need=True,
        ),
    ),
)
_LOCKING = Permission("allow_locking()", "mlock mlock2 mlockall munlock munlockall")
_PLACEMENT = Permission("allow_placement()", "mbind get_mempolicy set_mempolicy set_mempolicy_home_node")
_PROTECTION_KEYS = Permission("allow_protection_keys()", "pkey_alloc pkey_free pkey_mprotect mseal map_shadow_stack")


@dataclass(frozen=True, init=False, repr=False)
class Memory(Builtin):
    """Memory that is more than a process's own heap.

    ``Memory()`` permits nothing; choose with its methods, or ``Memory.everything()``.
    """

    _EVERYTHING = (_SHARED_FILES, _MEMORY_FILES, _LOCKING, _PLACEMENT, _PROTECTION_KEYS)

    def allow_shared_files(self) -> Self:
        """Permit to share memory through files that are open: mmap objects, multiprocessing, databases.

        Permits:
            msync mincore
            mmap: MAP_SHARED (gives way)
            ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
            fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
        """
        return self._with(_SHARED_FILES)

    def allow_memory_files(self) -> Self:
        """Permit files that exist in memory only. Their pages are in no limit but a cgroup's.

        Permits:
            memfd_create ftruncate
            mmap: MAP_SHARED (gives way)
            fcntl: F_ADD_SEALS F_GET_SEALS
        """
        return self._with(_MEMORY_FILES)

    def allow_locking(self) -> Self:
        """Permit to keep memory out of swap, within RLIMIT_MEMLOCK.

        Permits:
            mlock mlock2 mlockall munlock munlockall
        """
        return self._with(_LOCKING)

    def allow_placement(self) -> Self:
        """Permit to place memory on NUMA nodes, as OpenBLAS and libnuma try to; they do without it.

        Permits:
            mbind get_mempolicy set_mempolicy set_mempolicy_home_node
        """
        return self._with(_PLACEMENT)

    def allow_protection_keys(self) -> Self:
        """Permit memory protection keys, sealing of mappings, and shadow stacks.

        Permits:
            pkey_alloc pkey_free pkey_mprotect mseal map_shadow_stack
        """
        return self._with(_PROTECTION_KEYS)
