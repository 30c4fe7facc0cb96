"""Judgements on Landlock, seccomp, and what this process was given on its way."""

from __future__ import annotations

from collections.abc import Iterator

from isolate_fn._diagnose.diagnosis import FAILED, INFO, OK, WEAKER, Check
from isolate_fn._diagnose.evidence import Evidence, how
from isolate_fn._plan import remedies
from isolate_fn._plan.landlock_differences import SIGNAL_ABI
from isolate_fn._sys.landlock_constants import NEWEST_ABI, RIGHTS

GROUP = "walls"


def checks(seen: Evidence) -> Iterator[Check]:
    """Yield the group's checks."""
    yield landlock(seen)
    yield seccomp(seen)
    yield actions(seen)
    yield this_process(seen)
    yield memory_files(seen)


def landlock(seen: Evidence) -> Check:
    """Judge whether there is the second wall around files, and which of its stones are missing."""
    name, told = "Landlock", seen.tried("landlock")
    abi = seen.features.landlock
    if not abi and not seen.namespaces:
        return Check(
            group=GROUP, name=name, status=FAILED, found="none", cause=seen.features.landlock_cause,
            fix=_landlock_fix(seen) + "; with it calls would be isolated without namespaces, by the engine 'landlock'",
        )  # fmt: skip
    if not abi:
        return Check(
            group=GROUP, name=name, status=WEAKER, found="none", cause=seen.features.landlock_cause,
            fix=_landlock_fix(seen) + "; without it mounts and the filter hold the same promises alone",
        )  # fmt: skip
    if told["ok"] and not told["holds"]:
        return Check(
            group=GROUP, name=name, status=FAILED, found=f"ABI {abi}, and does not hold",
            cause="a file could be read that its rules forbid", fix="report this as a defect, with the output of uname -a",
        )  # fmt: skip
    if not told["ok"] and not seen.untried:
        return Check(
            group=GROUP, name=name, status=FAILED, found=f"ABI {abi}; {how(told)}",
            cause="the kernel has it, and a rule set cannot be put in force",
            fix=remedies.allow(seen.seen, "filter", ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")),
        )  # fmt: skip
    if abi < SIGNAL_ABI and not seen.namespaces:
        return Check(
            group=GROUP, name=name, status=WEAKER, found=f"ABI {abi}",
            cause=f"without namespaces, programs and child processes are held together from ABI {SIGNAL_ABI} on: box.run() "
            "and rules= that permit them are refused", fix="run on Linux 6.12 or newer, or allow namespaces",
        )  # fmt: skip
    missing = [right for right in RIGHTS if right.abi > abi]
    if not missing:
        return Check(group=GROUP, name=name, status=OK, found=f"ABI {abi}")
    by_abi: dict[int, list[str]] = {}
    for right in missing:
        by_abi.setdefault(right.abi, []).append(right.meaning)
    linux = {right.abi: right.linux for right in RIGHTS}
    costs = "; ".join(f"ABI {number} (Linux {linux[number]}): {', '.join(words)}" for number, words in sorted(by_abi.items()))
    return Check(
        group=GROUP, name=name, status=OK, found=f"ABI {abi} of {NEWEST_ABI}",
        cause=f"newer kernels also restrict, as a second wall: {costs}", fix="a newer kernel; no promise rests on these",
    )  # fmt: skip


def _landlock_fix(seen: Evidence) -> str:
    cause = seen.features.landlock_cause
    instead = remedies.instead_of_linux(seen.seen)
    if instead is not None:
        return instead.fix
    if "PRETEND" in cause:
        return "unset ISOLATE_FN_PRETEND, which takes this away on purpose"
    if "filter" in cause:
        return remedies.allow(
            seen.seen, "filter", ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
        )
    if "lsm=" in cause:
        active = seen.files.read("/sys/kernel/security/lsm") or "capability,yama,apparmor"
        return f"boot with lsm=landlock,{active} (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub)"
    return "run on Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK"


def seccomp(seen: Evidence) -> Check:
    """Judge whether filters can be installed, and hold."""
    name, told = "seccomp filters", seen.tried("seccomp")
    if not seen.features.seccomp:
        return Check(
            group=GROUP, name=name, status=FAILED, found="none", cause="this kernel has none", fix=remedies.NO_FILTERS
        )
    if not told["ok"]:
        if seen.untried or not told.get("errno"):
            return Check(
                group=GROUP, name=name, status=INFO if seen.untried else FAILED, found="could not be tried", cause=how(told),
                fix="see the checks of limits and of the Python build",
            )  # fmt: skip
        if seen.seen.filters:
            fix = remedies.allow(seen.seen, "filter", ("seccomp", "prctl"))
            cause = "a filter that is in force already denies it"
            return Check(group=GROUP, name=name, status=FAILED, found=how(told), cause=cause, fix=fix)
        remedy = remedies.refusal("seccomp", told["errno"], False, seen.seen)
        known = "stands in for the kernel" in remedy.cause or "WSL" in remedy.cause
        fix = remedy.fix if known else f"{remedies.NO_FILTERS}; or, in an emulated container, {remedies.NATIVE}"
        cause = remedy.cause if known else "neither the kernel nor what stands in for it takes a filter"
        return Check(group=GROUP, name=name, status=FAILED, found=how(told), cause=cause, fix=fix)
    if not told["holds"]:
        return Check(
            group=GROUP, name=name, status=FAILED, found="installed, and does not hold",
            cause="a call was made that the filter answers with an errno", fix=remedies.NATIVE,
        )  # fmt: skip
    return Check(group=GROUP, name=name, status=OK, found="one was installed, and holds")


def actions(seen: Evidence) -> Check:
    """Judge which answers a filter can give."""
    name, told = "seccomp answers", seen.tried("seccomp")
    if not told["ok"]:
        return Check(group=GROUP, name=name, status=INFO, found="not tried: see seccomp filters")
    known = told["actions"]
    listed = ", ".join(action for action in ("errno", "kill_process", "user_notif", "log") if known.get(action))
    if not known["kill_process"]:
        cause = "a foreign architecture's calls cannot end the process"
        return Check(group=GROUP, name=name, status=FAILED, found=listed, cause=cause, fix=remedies.NO_FILTERS)
    if not known["user_notif"]:
        cause = "denied calls fail, and cannot be reported with path and line"
        fix = "run on Linux 5.0 or newer"
        if known.get("listener"):
            fix = remedies.allow(seen.seen, "filter", ("seccomp with SECCOMP_FILTER_FLAG_NEW_LISTENER",))
        return Check(group=GROUP, name=name, status=WEAKER, found=listed, cause=cause, fix=fix)
    return Check(group=GROUP, name=name, status=OK, found=listed)


def this_process(seen: Evidence) -> Check:
    """Tell what this process was given by whoever started it."""
    parts = []
    if seen.seen.filters:
        parts.append(
            "under seccomp filters" if seen.seen.filters < 0 else f"under {seen.seen.filters} seccomp filter(s)"
        )
    if seen.files.status("NoNewPrivs") == "1":
        parts.append("no_new_privs is set, so that setuid programs gain nothing; isolates set it anyway")
    if seen.seen.label:
        parts.append(f"AppArmor label {seen.seen.label!r}")
    if seen.seen.selinux:
        parts.append("SELinux enforces")
    if seen.seen.chrooted:
        parts.append("in a chroot")
    return Check(
        group=GROUP, name="this process", status=INFO, found="; ".join(parts) or "not restricted by anything seen here"
    )


def memory_files(seen: Evidence) -> Check:
    """Judge whether big results can travel in sealed memory."""
    name, told = "sealed memory files", seen.tried("memory")
    if told["ok"]:
        return Check(group=GROUP, name=name, status=OK, found="one was made and sealed")
    if seen.untried:
        return Check(group=GROUP, name=name, status=INFO, found="could not be tried", cause=seen.untried)
    fix = remedies.allow(seen.seen, "filter", ("memfd_create", "fcntl with F_ADD_SEALS"))
    if seen.files.sysctl("vm.memfd_noexec") == "2":
        fix = "as root: sysctl -w vm.memfd_noexec=1"
    return Check(
        group=GROUP, name=name, status=FAILED, found=how(told), cause="results of many bytes cannot travel", fix=fix
    )
