"""What must hold of rules on every supported kernel and architecture, checked without pytest beside ``smoke.py``.

Three parts: the filter of every builtin rule set in every form, the kernel's answers against the emulator's;
`SafetyContext` applied, with Landlock as far as this kernel has it; `isolated(rules=[...])`. One line for each check.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
# In a virtual machine everything lies in one directory, in the repository the sets are beside the tests of the compiler.
sys.path += [str(HERE), str(HERE.parent / "plan")]

import landlock_checks  # noqa: E402
import rules_paths  # noqa: E402, F401 - notes its checks there
import rules_threads  # noqa: E402, F401
from builtin_sets import EVERY  # noqa: E402
from harmless import HARMLESS, OWN_ANSWERS  # noqa: E402
from throwaway import MACHINE, Failed, Other, Skipped, denied, expect, in_child, native, where  # noqa: E402

from isolate_fn import SafetyContext, isolated  # noqa: E402
from isolate_fn._plan.bpf import length  # noqa: E402
from isolate_fn._plan.emulator import SeccompData, run  # noqa: E402
from isolate_fn._plan.rule_sets import compile_rule_sets  # noqa: E402
from isolate_fn._plan.seccomp import ALLOW, SyscallPolicy, compile_filter  # noqa: E402
from isolate_fn._sys import calls, numbers, this_process_calls  # noqa: E402
from isolate_fn._sys.features import probe  # noqa: E402
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, SECCOMP_RET_DATA  # noqa: E402
from isolate_fn.rules import KILL_PROCESS, LOG, NOTIFY, TRAP, RuleSet, SystemIO, Threads  # noqa: E402

Answers = list[tuple[int, int]]
Check = Callable[[], object]


# --- filters: the kernel against the emulator ------------------------------------------------------------------------


def answers_under(program: bytes) -> Answers:
    """Return what the kernel answers to the harmless calls under a filter."""

    def ask() -> Answers:
        this_process_calls.set_no_new_privs()
        calls.install_filter(program, 0)
        answers = [native(name, *values) for name, values in HARMLESS]
        return [
            (0, code) if name in OWN_ANSWERS and not code else (result, code)
            for (name, _), (result, code) in zip(HARMLESS, answers, strict=True)
        ]

    return in_child(ask)  # type: ignore[return-value]


def agrees(entry: RuleSet, free: Answers) -> str:
    """Compare all calls under a set's filter with the emulator, and where that permits, with the kernel's own answers."""
    program, table = compile_rule_sets([entry]).filter(MACHINE), numbers.table(MACHINE)
    differing, permitted = [], 0
    for (name, values), found, control in zip(HARMLESS, answers_under(program), free, strict=True):
        verdict = run(program, SeccompData(table[name], AUDIT_ARCH[MACHINE], values)).verdict
        permitted += verdict == ALLOW.verdict
        wanted = control if verdict == ALLOW.verdict else (-1, verdict & SECCOMP_RET_DATA)
        if found != wanted:
            differing.append(f"{name}{values}: kernel {found}, emulator {wanted}")
    if differing:
        raise Failed("; ".join(differing))
    return f"{permitted} of {len(HARMLESS)} calls permitted, {length(program)} instructions"


def x32_is_killed() -> None:
    if MACHINE != "x86_64":
        raise Skipped(f"x32 calls are of x86_64, this is {MACHINE}")
    try:
        in_child(lambda: (enabled("write").apply_to_current_thread(), native(39 | 0x40000000)))
    except Failed as how:
        expect(str(how), "ended by SIGSYS")
        return
    raise Failed("an x32 call was answered")


# --- SafetyContext ---------------------------------------------------------------------------------------------------


def enabled(*sets: RuleSet | str) -> SafetyContext:
    return SafetyContext().enable(*sets)


def output_only() -> None:
    """Standard output and standard error, and nothing else."""
    pipes = {1: os.pipe(), 2: os.pipe()}

    def inside() -> None:
        for number, (_, writing) in pipes.items():
            os.dup2(writing, number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
        done = enabled(SystemIO().allow_stdout().allow_stderr()).apply_to_all_threads()
        print("printed", flush=True)
        print("warned", file=sys.stderr, flush=True)
        denied(lambda: os.open("/dev/null", os.O_RDONLY))
        denied(lambda: os.write(pipes[1][1], b"by another descriptor"))
        denied(lambda: os.getpgid(0))
        expect((done.seccomp, done.landlock_abi, done.dropped, native(2000)[1]), (True, 0, (), errno.ENOSYS))

    in_child(inside)
    for _, writing in pipes.values():
        os.close(writing)
    expect([os.read(reading, 99) for reading, _ in pipes.values()], [b"printed\n", b"warned\n"])


def all_threads() -> None:
    other = Other()
    expect(enabled("write").apply_to_all_threads().threads, "all")
    expect((native("getpgid", 0), other.run(lambda: native("getpgid", 0))), ((-1, errno.EPERM),) * 2)


def new_threads() -> None:
    """glibc starts threads by clone3, whose flags no filter sees: it must fall back to clone."""
    enabled(Threads().allow_create()).apply_to_current_thread()
    expect(Other().run(lambda: native("getpgid", 0)), (-1, errno.EPERM))


def ends_by_sigsys(action: Callable[[], object]) -> None:
    try:
        in_child(action)
    except Failed as how:
        expect(str(how), "ended by SIGSYS")
        return
    raise Failed("it lives")


def kills() -> None:
    ends_by_sigsys(lambda: (enabled("write").with_action(KILL_PROCESS).apply_to_all_threads(), native("getpgid", 0)))


def traps() -> None:
    ends_by_sigsys(lambda: (enabled("write").with_action(TRAP(7)).apply_to_all_threads(), native("getpgid", 0)))
    caught: list[int] = []
    signal.signal(signal.SIGSYS, lambda number, _: caught.append(number))
    enabled("write").with_action(TRAP(7)).apply_to_all_threads()
    native("getpgid", 0)
    expect(caught, [signal.SIGSYS])


def logs() -> None:
    enabled("write").with_action(LOG).apply_to_all_threads()
    expect(native("getpgid", 0)[1], 0)


def notifies() -> None:
    other = Other()
    done = enabled("write").with_action(NOTIFY).apply_to_all_threads()
    expect(
        (done.threads, done.listener is not None and done.listener >= 0, other.thread.is_alive()), ("all", True, True)
    )


def contexts() -> dict[str, Check]:
    return {
        "a filter kills x32 calls": x32_is_killed,
        "output only: printing works, opening does not": output_only,
        "all threads, filter alone": all_threads,
        "threads are started": new_threads,
        "the answer KILL_PROCESS": kills,
        "the answer TRAP": traps,
        "the answer LOG": logs,
        "the answer NOTIFY": notifies,
    }


# --- isolates --------------------------------------------------------------------------------------------------------


def asked(call: str) -> int:
    try:
        getattr(os, call)(0)
    except OSError as failure:
        return failure.errno or 0
    return 0


def first_byte(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)


def isolate_of_calls() -> None:
    expect((isolated(prewarm=0)(asked)("getsid"), isolated(prewarm=0)(asked)("getpgid")), (0, 0))
    listed = isolated(rules=["getpgid"], prewarm=0)(asked)
    expect((listed("getpgid"), listed("getsid")), (0, errno.EPERM))


def isolate_of_sets() -> None:
    reading = SystemIO().allow_open_readonly().allow_read().allow_metadata().allow_close()
    expect(isolated(rules=[reading], prewarm=0)(first_byte)("/dev/zero"), b"\0")
    denied(lambda: isolated(rules=[], prewarm=0)(first_byte)("/dev/zero"))


# --- running them ----------------------------------------------------------------------------------------------------


class Tally:
    """Runs checks, prints a line for each, counts."""

    def __init__(self) -> None:
        self.passed = self.skipped = self.failed = 0

    def run(self, name: str, check: Check) -> None:
        """Run one; an exception is a failure, `Skipped` is not."""
        try:
            said = check()
        except Skipped as reason:
            self.skipped += 1
            print(f"  skipped {name}: {reason}", flush=True)
        except Exception as error:
            self.failed += 1
            place = "" if isinstance(error, Failed) else f"{where(error.__traceback__)}: {type(error).__name__}: "
            print(f"  FAILED  {name}: {place}{error}", flush=True)
        else:
            self.passed += 1
            print(f"  ok      {name}{f': {said}' if isinstance(said, str) else ''}", flush=True)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.skipped} skipped, {self.failed} failed"


def in_empty_directory(action: Callable[[], object]) -> object:
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as directory:
        return in_child(lambda: (os.chdir(directory), action())[1])


def main() -> int:
    """Run every check, with ``--no-filters`` all but the first part; return 1 if one failed."""
    features, tallies = probe(), {part: Tally() for part in ("filters", "contexts", "isolates")}
    abi = features.landlock
    print(platform.release(), MACHINE, "python", platform.python_version(), "uid", os.geteuid(), "Landlock ABI", abi)
    free = answers_under(compile_filter(SyscallPolicy(default=ALLOW, unknown=ALLOW), MACHINE))
    for label, entry in EVERY.items() if "--no-filters" not in sys.argv else ():
        tallies["filters"].run(f"filter of {label}", lambda entry=entry: agrees(entry, free))  # type: ignore[misc]
    for name, check in contexts().items():
        tallies["contexts"].run(name, lambda check=check: in_child(check))  # type: ignore[misc]
    for name, with_abi in landlock_checks.CHECKS.items():
        each = lambda with_abi=with_abi: in_empty_directory(lambda: with_abi(abi))  # noqa: E731
        tallies["contexts"].run(name, each)
    tallies["isolates"].run("rules=[...] of plain names", isolate_of_calls)
    tallies["isolates"].run("rules=[...] of sets", isolate_of_sets)
    if "--no-filters" in sys.argv:
        del tallies["filters"]
    for part, tally in tallies.items():
        print(f"{part}: {tally}")
    return int(any(tally.failed for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
