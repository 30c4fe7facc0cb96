"""Write the transcript in docs/selftest.md: a run of ``isolate-fn selftest`` on the machine that this is called on.

Without arguments it runs the selftest and rewrites the transcript; with ``--check`` it runs nothing, and ends with status 1
when the transcript lacks an attack, or has one too many.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from isolate_fn import SelfTest  # noqa: E402

PAGE = ROOT / "docs" / "selftest.md"
BEGIN, END = "<!-- transcript -->\n```text\n", "```\n<!-- end of transcript -->\n"
_PROGRAM = "import sys; from isolate_fn.cli import main; sys.exit(main())"


def transcript() -> str:
    """Run the selftest as from a shell, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "110"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "selftest"], cwd="/", env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def parts() -> tuple[str, str, str]:
    """Return the page before, in and after its transcript."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def main() -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the attacks, run nothing")
    check = parser.parse_args().check
    before, inside, after = parts()
    if not check:
        PAGE.write_text(before + BEGIN + transcript() + END + after, encoding="utf-8")
        return 0
    shown = re.findall(r"^  (?:held|BROKEN|moot|n/a) +(\S+)", inside, re.MULTILINE)
    wrong = set(shown) ^ {attack.id for attack in SelfTest.catalogue()}
    if wrong:
        sys.stderr.write(f"docs/selftest.md differs in {', '.join(sorted(wrong))}: python {sys.argv[0]}\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
