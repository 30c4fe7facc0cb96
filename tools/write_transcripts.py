"""Write the transcripts in docs/explain.md and docs/learn.md: what the commands there print, run in small projects.

    python3 tools/write_transcripts.py            # rewrite them
    python3 tools/write_transcripts.py --check    # exit 1 where what does not depend on the machine is out of date

A transcript is the block below a comment ``<!-- transcript: COMMAND -->``; ``| until TITLE`` and ``| section TITLE`` cut it, and
``| both`` adds what it writes to stderr, before the rest. To be written they are run as root, those of explain.md with the
system's own Python: the project then really is /srv/thumbs, and the tree shows no more than most systems have.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MODULE = '''
from isolate_fn import Limits, isolated, ro, rw

@isolated(mounts=[ro("{here}/uploads"), rw("{here}/results", "/out")], limits=Limits(memory="512M"), timeout=10)
def thumbnail(path: str) -> bytes: ...
'''
QUESTIONS = '''
from isolate_fn import would
from thumbs import thumbnail

print(would(thumbnail, "open", "/etc/passwd"))
print(would(thumbnail, "open", "/etc/shadow"))
print(would(thumbnail, "open", "{here}/uploads/cat.png", "w"))
print(would(thumbnail, "open", "/out/cat.png", "w"))
print(would(thumbnail, "connect", "example.org", 443))
print(would(thumbnail, "run", "convert"))
print(would(thumbnail, "syscall", "ptrace", 16, 1))
'''
PRICES = """
import csv

def total(path: str) -> float:
    with open("/srv/prices/rates/" + open(path.replace("orders", "currency")).read().strip()) as rate:
        factor = float(rate.read())
    try:
        open("/srv/prices/.env").read()
    except OSError:
        pass
    with open(path, newline="") as file:
        value = factor * sum(float(row["price"]) for row in csv.DictReader(file))
    with open("/srv/prices/results/total", "w") as file:
        file.write(f"{value}\\n")
    return value
"""
_BLOCK = re.compile(r"(<!-- transcript: (.*?) -->\n```text\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)
# Lines that differ from machine to machine.
_OF_MACHINE = re.compile(
    r"the Python runtime|[├└│]|this machine|Landlock ABI|  memory: |most used|Limits\(|locale|timeout="
    r"|^(memory|processes|cpu_time|timeout|open_files|mounts) =|^\]|^    \"/"
)


def thumbs(here: str) -> None:
    """Write the project that docs/explain.md speaks of."""
    for name in ("uploads", "results"):
        os.mkdir(f"{here}/{name}")
    Path(here, "uploads", "cat.png").write_bytes(b"")
    Path(here, "thumbs.py").write_text(MODULE.replace("{here}", here))
    Path(here, "questions.py").write_text(QUESTIONS.replace("{here}", here))


def prices(here: str) -> None:
    """Write the project that docs/learn.md speaks of."""
    for name in ("rates", "results"):
        os.mkdir(f"{here}/{name}")
    Path(here, "prices.py").write_text(PRICES.replace("/srv/prices", here))
    Path(here, "orders.csv").write_text("item,price\napple,2.50\npear,3\n")
    Path(here, "currency.csv").write_text("EUR\n")
    Path(here, "rates", "EUR").write_text("1.1\n")
    Path(here, "rates", "USD").write_text("1\n")
    Path(here, ".env").write_text("PASSWORD=x\n")
    Path(here, "wide.toml").write_text(f'mounts = ["{here}/rates", "{here}/orders.csv", "/etc/ssl/certs"]\nnetwork = true\n')


PAGES: dict[str, tuple[str, Callable[[str], None]]] = {
    "explain.md": ("/srv/thumbs", thumbs),
    "learn.md": ("/srv/prices", prices),
}


def transcript(command: str, here: str, shown_as: str) -> str:
    """Return what a command prints, as the page shows it."""
    words, _, cut = command.partition(" | ")
    argv = shlex.split(words.replace(shown_as, here))
    if argv[0] == "isolate-fn":
        argv[:1] = ["python3", "-c", "import sys; from isolate_fn.cli import main; sys.exit(main())"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{here}/packages", "PYTHONDONTWRITEBYTECODE": "1"}
    kind, _, argument = cut.partition(" ")
    argv = [sys.executable, *argv[1:]]
    done = subprocess.run(argv, cwd=here, env=environment, capture_output=True, text=True, check=kind != "both")
    text = f"{done.stderr}{done.stdout}" if kind == "both" else done.stdout
    lines = text.replace(here, shown_as).splitlines()
    if kind == "until":
        lines = [*lines[: next(index for index, line in enumerate(lines) if line.startswith(argument))], "..."]
    elif kind == "section":
        start = next(index for index, line in enumerate(lines) if line.startswith(argument))
        lines = lines[start : lines.index("", start)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def main() -> int:
    """Write or compare the transcripts; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="such as learn.md; all if left out")
    given = parser.parse_args()
    return max(page(DOCS / name, *PAGES[name], check=given.check) for name in given.pages or PAGES)


def page(path: Path, shown_as: str, project: Callable[[str], None], *, check: bool) -> int:
    """Write or compare the transcripts of one page; return the exit status."""
    text = path.read_text(encoding="utf-8")
    # Lines are broken by the length of paths, so in a short directory; beside /tmp, which isolates have one of their own of.
    with tempfile.TemporaryDirectory(dir="/tmp" if project is thumbs else "/var/tmp") as directory:
        here = f"{os.path.realpath(directory)}/{os.path.basename(shown_as)}" if check else shown_as
        os.chmod(directory, 0o711)  # noqa: S103 - isolates enter it under an id of their own
        os.mkdir(here)
        try:
            # Not from the checkout, whose other modules would be on the way of imports, and so in the tree.
            shutil.copytree(ROOT / "isolate_fn", f"{here}/packages/isolate_fn", ignore=shutil.ignore_patterns("__pycache__"))
            project(here)
            wanted = _BLOCK.sub(lambda block: block[1] + transcript(block[2], here, shown_as) + block[4], text)
        finally:
            shutil.rmtree(here)
    if not check:
        path.write_text(wanted, encoding="utf-8")
        return 0
    if stable(text) == stable(wanted):
        return 0
    sys.stderr.write(f"docs/{path.name} is not up to date: run python3 tools/write_transcripts.py\n")
    return 1


def stable(text: str) -> list[str]:
    """Return the lines that every machine prints alike."""
    blocks = (block[3].replace("\n" + " " * 6, " ") for block in _BLOCK.finditer(text))  # wrapped by the length of paths
    return [line for block in blocks for line in block.splitlines() if not _OF_MACHINE.search(line)]


if __name__ == "__main__":
    sys.exit(main())
