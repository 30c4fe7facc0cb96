"""Where the processor time of a fresh call goes, by process and by what asked the kernel for it.

    python -m benchmarks.profiles [--calls 100] [--json FILE]        # as root, with perf

The kernel interrupts both processors 4,000 times a second (``perf record -a -g -e cpu-clock``); what was running then is
counted. Which process is which follows from who forked whom: the spawner is the descendant with the most children. Times
are processor time per call, summed over both processors, not what the caller waits. The calling process by function is in
`benchmarks.functions`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from benchmarks import machine, stage, table, written

RATE = 4000  # per second
KTHREADD = 2
_FORK = re.compile(r"\s(\d+\.\d+): PERF_RECORD_FORK\((\d+):(\d+)\):\((\d+):\d+\)")
_SAMPLE = re.compile(r"^.*?\s(\d+)/\d+\s+(\d+\.\d+):.*cpu-clock")
_FRAME = re.compile(r"^\s+([0-9a-f]+) (\S+)")
_KERNEL = 1 << 63
_PREFIX = re.compile(r"^(__x64_sys_|__arm64_sys_|__do_sys_|__se_sys_|ksys_|__sys_|do_)")


class Sample(NamedTuple):
    """One interruption.

    Attributes:
        pid: what was running.
        time: seconds.
        kernel: functions of the kernel, innermost first; empty where it ran in its own code.
    """

    pid: int
    time: float
    kernel: tuple[str, ...]


class Forked(NamedTuple):
    """One process began another."""

    time: float
    child: int
    parent: int


def read(lines: Iterable[str]) -> Iterator[Sample | Forked]:
    """Return what ``perf script`` prints, as values."""
    head: tuple[int, float] | None = None
    frames: list[str] = []
    for line in lines:
        if head is not None and (frame := _FRAME.match(line)):
            if int(frame[1], 16) >= _KERNEL:
                frames.append(frame[2].partition("+")[0])
            continue
        if head is not None:
            yield Sample(*head, tuple(frames))
            head, frames = None, []
        if sample := _SAMPLE.match(line):
            head = int(sample[1]), float(sample[2])
        elif (fork := _FORK.search(line)) and fork[2] == fork[3]:  # else a thread
            yield Forked(float(fork[1]), int(fork[2]), int(fork[4]))
    if head is not None:
        yield Sample(*head, tuple(frames))


def reason(kernel: tuple[str, ...]) -> str:
    """Return what asked the kernel for its work: a system call, a page fault, the end of a process, work put off."""
    if not kernel:
        return "own code"
    if "do_exit" in kernel:
        return "end of the process"
    for outer in ("process_one_work", "x64_sys_call", "do_syscall_64", "invoke_syscall"):
        if outer in kernel[1:]:
            return _PREFIX.sub("", kernel[kernel.index(outer) - 1])
    for part, what in (
        ("page_fault", "page faults"),
        ("ret_from_fork", "start of the process"),
        ("sysvec", "interrupts"),
    ):
        if any(part in name for name in kernel):
            return what
    return "rest of the kernel"


def split(events: Iterable[Sample | Forked], caller: int) -> dict[str, Counter[str]]:
    """Count samples by role and reason, from the first isolate on.

    Raises:
        ValueError: the caller has no spawner in this profile.
    """
    samples, parents, times = [], dict[int, int](), dict[int, float]()
    for event in events:
        if isinstance(event, Sample):
            samples.append(event)
        else:
            parents[event.child], times[event.child] = event.parent, event.time
    below = {pid for pid in parents if caller in _line(pid, parents)}
    children = Counter(parents[pid] for pid in below if parents[pid] != caller)
    if not children:
        raise ValueError("the caller has no spawner in this profile")
    spawner = children.most_common(1)[0][0]
    began = min(time for pid, time in times.items() if parents[pid] == spawner)
    found: dict[str, Counter[str]] = {
        role: Counter() for role in ("caller", "spawner", "init", "worker", "kernel threads")
    }
    for sample in samples:
        role = _role(sample.pid, caller, spawner, parents)
        if role and sample.time >= began:
            found[role][reason(sample.kernel)] += 1
    return found


def _line(pid: int, parents: dict[int, int]) -> list[int]:
    """Return a process's ancestors, nearest first."""
    found: list[int] = []
    while (parent := parents.get(pid)) and parent not in found:
        found.append(parent)
        pid = parent
    return found


def _role(pid: int, caller: int, spawner: int, parents: dict[int, int]) -> str:
    """Return a process's role; empty for those of others and those that only start the spawner."""
    if pid in (caller, spawner):
        return "caller" if pid == caller else "spawner"
    ancestors = _line(pid, parents)
    if spawner in ancestors:
        return "init" if ancestors[0] == spawner else "worker"
    return "kernel threads" if KTHREADD in ancestors else ""


def record(calls: int, directory: str, built: str) -> tuple[int, str]:
    """Profile a script that makes so many calls; return its pid and the file of what ``perf script`` says.

    Raises:
        subprocess.CalledProcessError: perf or the script failed.
    """
    script = os.path.join(built, "scripts", "many_fresh", "many_fresh.py")
    data, text = os.path.join(directory, "perf.data"), os.path.join(directory, "perf.txt")
    options = ["-q", "-a", "-g", "-e", "cpu-clock", "-F", str(RATE), "-o", data]
    done = subprocess.run(
        ["perf", "record", *options, "--", sys.executable, script, str(calls)],
        check=True, stdout=subprocess.PIPE, text=True, env=stage.environment(built),
    )  # fmt: skip
    with open(text, "w", encoding="utf-8") as file:
        fields = "comm,pid,tid,time,event,ip,sym"
        subprocess.run(["perf", "script", "-i", data, "--show-task-events", "-F", fields], check=True, stdout=file)
    return int(done.stdout.split()[0]), text


def cells(counts: Mapping[str, Mapping[str, int]], calls: int) -> list[tuple[str, ...]]:
    """Return the cells of a table: milliseconds per call by role, then what each role's come from."""
    found = {role: Counter(reasons) for role, reasons in counts.items()}

    def per_call(samples: int) -> str:
        return table.number(samples / RATE * 1000 / calls)

    rows: list[tuple[str, ...]] = [("processor time of one fresh call [ms]", "all", "own code", "kernel")]
    for role, reasons in found.items():
        total, own = reasons.total(), reasons["own code"]
        rows.append((role, per_call(total), per_call(own), per_call(total - own)))
    for role, reasons in found.items():
        most = [(what, number) for what, number in reasons.most_common(7) if what != "own code"]
        rows.extend((f"  {role}: {what}", per_call(number), "", "") for what, number in most)
    return rows


def main() -> int:
    """Profile, print, write JSON where asked; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    options = parser.parse_args()
    with stage.build() as built, tempfile.TemporaryDirectory() as directory:
        caller, text = record(options.calls, directory, built)
        with open(text, encoding="utf-8", errors="replace") as lines:
            found = split(read(lines), caller)
    print(table.plain(cells(found, options.calls)))
    if options.json:
        about = {**machine.describe(), "calls": options.calls, "rate": RATE}
        written.save(options.json, {"about": about, "samples": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
