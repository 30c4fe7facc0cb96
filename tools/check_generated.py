"""Check that every generated file is what its generator would write. Run it with the packages of ``.[test]`` installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

GENERATORS = (
    "tools/generate_syscall_numbers.py",  # needs linux-libc-dev
    "tools/generate_ready_filters.py",
    "tools/generate_policy_schema.py",
    "tools/generate_rules_page.py",
    "tools/generate_parity_page.py",
    "tools/generate_selftest_page.py",
    "tools/generate_doctor_page.py",
    "-m benchmarks.page",
    "-m benchmarks.scaling",
)


def main() -> int:
    """Run all of them; return how many say no."""
    commands = ([sys.executable, *generator.split(), "--check"] for generator in GENERATORS)
    return sum(subprocess.run(command, cwd=ROOT, check=False).returncode != 0 for command in commands)


if __name__ == "__main__":
    sys.exit(main())
