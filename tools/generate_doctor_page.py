"""Write docs/doctor.md: the words of doctor_page.md beside this file, with transcripts and the list of needed calls.

    python tools/generate_doctor_page.py            # rewrite the page
    python tools/generate_doctor_page.py --check    # exit 1 when it is not what would be written
    python tools/generate_doctor_page.py --record   # look at this machine anew first

A transcript is what `isolate-fn doctor` prints of a diagnosis; the diagnoses are in doctor_recordings.json, as
`isolate-fn doctor --json` printed them on the machine where --record was last run. The interpreter's path is replaced
there, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "doctor.md"
WORDS = Path(__file__).resolve().parent / "doctor_page.md"
RECORDINGS = Path(__file__).resolve().parent / "doctor_recordings.json"
TRANSCRIPT = re.compile(r"<!-- transcript: (\w+)( --problems)? -->\n")
CALLS = "<!-- calls -->"
WIDTH = 96
_HERE = "/usr/bin/python3"

# Name -> what the process does to itself before it is looked at, and the files that stand for the machine's.
UBUNTU = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
    "/proc/self/attr/apparmor/current": "unconfined",
    "/proc/self/status": "Seccomp_filters:\t0",
    "/proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:21 / /proc rw - proc proc rw",
}
DOCKER = {
    "/.dockerenv": "",
    "/proc/self/status": "Seccomp:\t2\nSeccomp_filters:\t1",
    "/proc/self/mountinfo": "22 1 0:40 / / rw - overlay overlay rw\n23 22 0:21 / /proc rw - proc proc rw",
}
PATIENTS: dict[str, tuple[str, dict[str, str]]] = {
    "healthy": ("", {}),
    "docker": ("deny(*DOCKER_DENIES)", DOCKER),
    "ubuntu": ("refuse_as_the_kernel_does(errno.EACCES)", UBUNTU),
}


def record() -> dict[str, Any]:
    """Return a diagnosis of each patient, made on this machine as an ordinary user."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "diagnose")]
    import patients

    found = {}
    for name, (before, files) in PATIENTS.items():
        with tempfile.TemporaryDirectory() as directory:
            root = patients.tree(Path(directory), files) if files else None
            document = patients.run(Path(directory), before, root=root).document
        text = json.dumps(document)
        for path in sorted(set(re.findall(r"/[\w./-]+/bin/python3[\w.]*", text)), key=len, reverse=True):
            text = text.replace(path, _HERE)
        found[name] = json.loads(text)
    return found


def page() -> str:
    """Return the page."""
    sys.path.insert(0, str(ROOT))
    from isolate_fn._plan.remedies import NEEDED_CALLS
    from isolate_fn.cli.doctor import plain

    recordings = json.loads(RECORDINGS.read_text(encoding="utf-8"))

    def transcript(match: re.Match[str]) -> str:
        lines = plain(recordings[match[1]], width=WIDTH, problems=bool(match[2]))
        return "\n".join(["```text", f"$ isolate-fn doctor{match[2] or ''}", *lines, "```", ""])

    words = WORDS.read_text(encoding="utf-8")
    return TRANSCRIPT.sub(transcript, words).replace(CALLS, ", ".join(f'"{name}"' for name in NEEDED_CALLS))


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is another")
    parser.add_argument("--record", action="store_true", help="look at this machine anew first")
    options = parser.parse_args(arguments)
    if options.record:
        RECORDINGS.write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
    text = page()
    if options.check:
        return 0 if OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text else 1
    OUTPUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
