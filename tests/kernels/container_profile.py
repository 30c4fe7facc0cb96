"""Let the doctor look at a process under a container's seccomp profile, such as Docker's seccomp/default.json.

    python tests/kernels/container_profile.py PROFILE.json [--cap CAP_SYS_ADMIN] [--allow]

The profile becomes a real filter of this process: deny by default, allow what it lists for these capabilities. Conditions
on arguments are left out, but for clone(2), whose flags matter here. ``--allow`` adds the calls that isolates need. The
exit status is the doctor's.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from isolate_fn._plan.remedies import NEEDED_CALLS  # noqa: E402
from isolate_fn._sys import calls, numbers  # noqa: E402
from isolate_fn._sys import constants as k  # noqa: E402

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50001, 0x50026
NAMESPACE_FLAGS = 0x7E020000
DOCKER_S_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def listed(profile: dict, capabilities: set[str]) -> set[str]:
    """Return the calls that a profile allows to a container with these capabilities."""
    allowed = set()
    for rule in profile["syscalls"]:
        wants, excludes = rule.get("includes", {}), rule.get("excludes", {})
        here = DOCKER_S_NAMES[calls.MACHINE]
        ours = set(wants.get("caps", ())) <= capabilities and not set(excludes.get("caps", ())) & capabilities
        if rule["action"] == "SCMP_ACT_ALLOW" and ours and here in wants.get("arches", (here,)):
            limited = bool(rule.get("args")) and "clone" in rule["names"]
            allowed |= {"clone without namespaces"} if limited else set(rule["names"])
    return allowed


def install(allowed: set[str]) -> None:
    """Put this process under the filter."""
    table = numbers.table(calls.MACHINE)
    steps = [(0x20, 0, 0, 0)]
    for name in sorted(allowed & set(table)):
        steps += [(0x15, 0, 1, table[name]), (0x06, 0, 0, ALLOW)]
    if "clone" not in allowed:
        steps += [(0x15, 0, 4, table["clone"]), (0x20, 0, 0, 16), (0x45, 1, 0, NAMESPACE_FLAGS), (0x06, 0, 0, ALLOW)]
        steps += [(0x06, 0, 0, EPERM)]
    if "clone3" not in allowed:
        steps += [(0x15, 0, 1, table["clone3"]), (0x06, 0, 0, ENOSYS)]
    steps += [(0x06, 0, 0, EPERM)]
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    calls.seccomp_filter(b"".join(struct.pack("=HBBI", *step) for step in steps))


def main() -> None:
    """Install the profile and become the doctor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--cap", action="append", default=[])
    parser.add_argument("--allow", action="store_true")
    options = parser.parse_args()
    allowed = listed(json.loads(Path(options.profile).read_text(encoding="utf-8")), set(options.cap))
    missing = [name for name in NEEDED_CALLS if name not in allowed]
    print(f"of what isolates need, the profile lacks: {', '.join(missing) or 'nothing'}", flush=True)
    install(allowed | set(NEEDED_CALLS if options.allow else ()))
    os.environ["PYTHONPATH"] = str(ROOT)
    program = "from isolate_fn.cli import main; raise SystemExit(main(['doctor', '--problems']))"
    os.execv(sys.executable, [sys.executable, "-c", program])


if __name__ == "__main__":
    main()
