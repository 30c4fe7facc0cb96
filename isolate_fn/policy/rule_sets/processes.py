"""Other processes and programs, and the pipes to talk to them."""

from __future__ import annotations

from dataclasses import dataclass

from isolate_fn.policy.conditions import Arg

from .builtin import Builtin, Permission, rules
from .groups import CLONE_PROCESS, DESCRIPTOR_FLAGS, DUPLICATE, READ_OPENED, WRITE_OPENED
from .kernel_words import ArchPrctl, Fcntl

_ARCH_PRCTL = rules(
    "arch_prctl",
    Arg(0, 32).one_of(*ArchPrctl),
    reason="thread-local storage, AMX, shadow stacks",
    need=True,
)
_FORK_AND_EXEC = Permission(
    "",
    f"fork vfork execve execveat wait4 waitid pipe pipe2 close close_range {DUPLICATE} "
    "set_tid_address setsid setpgid chdir fchdir umask",
    (*CLONE_PROCESS, *_ARCH_PRCTL, *DESCRIPTOR_FLAGS, *READ_OPENED),
)
_PIPES = Permission(
    "",
    "pipe pipe2 close poll ppoll select pselect6",
    (
        *DESCRIPTOR_FLAGS,
        *rules(
            "fcntl",
            Arg(1, 32).one_of(Fcntl.GETPIPE_SZ, Fcntl.SETPIPE_SZ),
            reason="F_GETPIPE_SZ F_SETPIPE_SZ",
            need=True,
        ),
        *READ_OPENED,
        *WRITE_OPENED,
    ),
)


@dataclass(frozen=True, init=False, repr=False)
class ForkAndExec(Builtin):
    """Child processes and other programs, under the same rules.

    Permits:
        fork vfork execve execveat wait4 waitid pipe pipe2 close close_range dup dup2 dup3
        set_tid_address setsid setpgid chdir fchdir umask
        clone: without namespaces and CLONE_PARENT
        arch_prctl: thread-local storage, AMX, shadow stacks
        ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
        fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
        read readv: descriptors from 3 up (gives way)

    A program started this way needs, to begin with, to open, read and map its libraries:
    ``SystemIO().allow_open_readonly().allow_read().allow_metadata()``, or with Landlock
    ``SystemIO().allow_execute_path("/usr")``. Python's subprocess reads the child's start-up error from a pipe; that
    permission gives way where another set restricts reading (``SystemIO().allow_stdin()``), and subprocess fails
    then. Pipes to the child need ``Pipes()``, ending it ``Signals().allow_kill()``.

    clone3 is answered ENOSYS: its flags, among them those for namespaces, lie behind a pointer.
    """

    _ALWAYS = (_FORK_AND_EXEC,)


@dataclass(frozen=True, init=False, repr=False)
class Pipes(Builtin):
    """Pipes, and waiting for them.

    Permits:
        pipe pipe2 close poll ppoll select pselect6
        fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
        fcntl: F_GETPIPE_SZ F_SETPIPE_SZ
        ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
        read readv: descriptors from 3 up (gives way)
        write writev: descriptors from 3 up (gives way)

    Reading and writing cannot tell a pipe from a file. So they leave the standard streams alone, and give way where
    another set restricts them: with ``SystemIO().allow_stdout()`` nothing but standard output is written to.
    """

    _ALWAYS = (_PIPES,)
