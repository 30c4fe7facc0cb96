"""Every Python block of the README and the documentation is run; links, figures, commands are checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for page in ROOT.glob("docs/**/*.md") if "_build" not in page.parts)]
)

FENCE = re.compile(r"^```(\w+)?[ ]*(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NO_RUN = re.compile(r"no-run: \S.{10,}")


class Block(NamedTuple):
    """One fenced block: its page, line, language, the words after the language, and its text."""

    page: Path
    line: int
    language: str
    words: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1] or "", match[2].strip(), match[3]))
    return found


PYTHON = [block for block in blocks() if block.language in ("python", "pycon", "py")]


def test_there_are_blocks() -> None:
    """The expression above still finds them."""
    assert len([block for block in PYTHON if not block.words]) >= 10


@pytest.mark.parametrize("block", [block for block in PYTHON if block.words], ids=lambda block: block.name)
def test_a_block_that_is_not_run_says_why(block: Block) -> None:
    assert block.language == "python", "write scripts with asserts, not sessions: they can be run"
    assert NO_RUN.fullmatch(block.words), f"say why: ```python no-run: reason (found {block.words!r})"
    compile(block.text, block.name, "exec")


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(
    "block", [block for block in PYTHON if not block.words], ids=lambda block: block.name
)
def test_block_runs(block: Block, tmp_path: Path) -> None:
    """As a reader would: in a file of its own, in a fresh interpreter, warnings as errors."""
    script = tmp_path / "block.py"
    script.write_text(block.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # also where the package is not installed
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, f"{block.name}\n{done.stdout}{done.stderr}"
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        goal = (page.parent / path) if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)
    assert not broken


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#{1,6} (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("figure", sorted(ROOT.glob("docs/_static/*.svg")), ids=lambda figure: figure.name)
def test_figure_describes_itself(figure: Path) -> None:
    tree = ElementTree.parse(figure)
    names = {child.tag.rpartition("}")[2] for child in tree.getroot()}
    assert {"title", "desc"} <= names
    assert "background" not in figure.read_text(), "figures are transparent, for light and dark pages"


def test_commands_of_the_readme_exist() -> None:
    """Each of the two stands alone in a block, the script knows it, and the continuous check calls it."""
    commands = {
        block.text.strip()
        for block in blocks()
        if block.page == ROOT / "README.md" and block.language == "sh"
    }
    assert {"sh run demo", "sh run tests"} <= commands
    script = (ROOT / "run").read_text()
    assert "\ndemo)" in script
    assert "\ntests)" in script
    check = (ROOT / ".ci" / "run").read_text()
    assert "sh run demo" in check
    assert "sh run tests" in check
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("script", ["run", ".ci/run"])
def test_scripts_parse(script: str) -> None:
    shell = "bash" if script.startswith(".ci") else "sh"
    subprocess.run([shell, "-n", str(ROOT / script)], check=True)


def test_usage_is_printed_for_nonsense() -> None:
    done = subprocess.run(["sh", str(ROOT / "run"), "dance"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "sh run tests" in done.stderr


def test_changelog_fragments_have_a_kind() -> None:
    kinds = {"added", "changed", "fixed", "security"}
    for fragment in (ROOT / "changelog.d").iterdir():
        if fragment.name != "README.md":
            assert fragment.name.split(".")[-2:-1][0] in kinds, fragment.name
            assert fragment.read_text().strip()
