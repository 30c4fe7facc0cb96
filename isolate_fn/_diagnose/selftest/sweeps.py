"""Promise 3, by way of the kernel, continued: whole families of system calls that must not be reached from inside."""

from __future__ import annotations

from isolate_fn._diagnose.selftest.attack import Facts, Found
from isolate_fn._diagnose.selftest.native import asked
from isolate_fn._diagnose.selftest.processes import PROCESSES

REFUSED = "the calls are refused before the kernel looks at them"

_BAD = 1  # an address where nothing is
_SWEEPS: dict[str, tuple[str, tuple[tuple[str | int, ...], ...]]] = {
    "tracing": ("watch or patch the kernel and others (bpf, perf, userfaultfd)", (
        ("bpf", 5, _BAD, 8), ("perf_event_open", _BAD, 0, -1, -1, 0), ("userfaultfd", -1), ("kcmp", 1, 1, 9, 0, 0),
        ("process_madvise", -1, 0, 0, 0, 0), ("process_mrelease", -1, 0), ("lookup_dcookie", 0, 0, 0), ("ptrace", 9999, 0, 0, 0),
    )),
    "modules": ("load code into the kernel, or replace it", (
        ("init_module", _BAD, 8, _BAD), ("finit_module", -1, _BAD, 0), ("delete_module", _BAD, 0),
        ("kexec_load", 0, 99, _BAD, 0), ("kexec_file_load", -1, -1, 0, _BAD, 0),
    )),
    "machine": ("stop the machine, or change its name, clock, swap and accounts", (
        ("reboot", 0, 0, 0, 0), ("sethostname", _BAD, -1), ("setdomainname", _BAD, -1), ("settimeofday", _BAD, 0),
        ("clock_settime", 99, _BAD), ("clock_adjtime", 99, _BAD), ("adjtimex", _BAD), ("swapon", _BAD, 0), ("swapoff", _BAD),
        ("acct", _BAD), ("quotactl", -1, _BAD, 0, 0), ("iopl", 99), ("ioperm", -1, 1, 0), ("syslog", -1, 0, 0),
    )),
    "obscure": ("call rarely used parts of the kernel", (
        ("io_setup", 0, _BAD), ("io_submit", 0, -1, 0), ("vmsplice", -1, _BAD, 1, 0), ("splice", -1, 0, -1, 0, 1, 0),
        ("tee", -1, -1, 1, 0), ("remap_file_pages", _BAD, 1, 1, 0, 0), ("move_pages", 0, 1, _BAD, 0, 0, 0),
        ("migrate_pages", 0, -1, _BAD, _BAD), ("modify_ldt", 99, 0, 0), ("sched_setattr", 0, _BAD, 0), ("cachestat", -1, 0, 0, 0),
        ("name_to_handle_at", -1, _BAD, _BAD, _BAD, 0), ("statmount", _BAD, _BAD, 0, 0), ("listmount", _BAD, _BAD, 0, 0),
        ("fanotify_mark", -1, 0, 0, 0, 0), ("mq_unlink", _BAD), ("msgget", -1, 0), ("semget", -1, 0, 0), ("uselib", _BAD),
        ("sysfs", 9, 0, 0), ("ustat", -1, _BAD), ("personality", 0x20008),
    )),
}  # fmt: skip


def _sweep(name: str) -> Found:
    """With arguments that the kernel finds wrong at once: it must not even be asked."""
    return {str(each[0]): asked(*each) for each in _SWEEPS[name][1]}


@PROCESSES.attack("kernel-tracing", _SWEEPS["tracing"][0], held=REFUSED)
def tracing(facts: Facts) -> Found:
    """Watch or patch."""
    return _sweep("tracing")


@PROCESSES.attack("kernel-modules", _SWEEPS["modules"][0], held=REFUSED)
def modules(facts: Facts) -> Found:
    """Load code."""
    return _sweep("modules")


@PROCESSES.attack("kernel-machine", _SWEEPS["machine"][0], held=REFUSED)
def machine(facts: Facts) -> Found:
    """Change the machine."""
    return _sweep("machine")


@PROCESSES.attack("kernel-obscure", _SWEEPS["obscure"][0], held=REFUSED)
def obscure(facts: Facts) -> Found:
    """Call what nobody calls."""
    return _sweep("obscure")
