"""`explain` of functions and policies: words, tree, JSON and page, held against the policy and against a real isolate."""

from __future__ import annotations

import html.parser
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Host, Limits, Policy, explain, file, isolated, ro, rw, sandbox, symlink, tmpfs
from isolate_fn.cli import main
from isolate_fn.dangerous import NoLandlock, NoSeccomp, TrustResult
from isolate_fn.errors import PolicyError
from isolate_fn.rules import ForkAndExec, Interpreter, SystemIO, Threads

pytestmark = pytest.mark.needs("namespaces")
ROOT = Path(__file__).parents[2]


def lookup(key: str) -> str:
    return key


def said(subject: Any, **more: Any) -> dict[str, Any]:
    return json.loads(explain(subject, form="json", **more))  # type: ignore[no-any-return]


def words(subject: Any, title: str, **more: Any) -> str:
    return "\n".join(f"{line['text']} [{line['origin']}]" for line in said(subject, **more)["sections"][title])


@pytest.fixture
def rich_policy(tmp_path: Path) -> Policy:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "file").write_text("x")
    return Policy(
        mounts=[
            ro(tmp_path / "in"),
            rw(tmp_path / "out", "/results"),
            tmpfs("/scratch", "2M"),
            file("/etc/app.conf", "x"),
            symlink("/conf", "/etc/app.conf"),
        ],
        limits=Limits(memory="512M", cpu_time=3, processes=7, open_files=33, file_size="5M", rootfs_size="9M"),
        timeout=12,
        env={"LANG": "C.UTF-8"},
        raises=[KeyError],
        name="thumbnail",
    )


def test_words_of_files(rich_policy: Policy, tmp_path: Path) -> None:
    reads, writes = words(rich_policy, "Can read"), words(rich_policy, "Can write")
    assert f"{tmp_path}/in (the host's) [mounts[0] ro({str(tmp_path / 'in')!r})]" in reads
    assert f"/results (the host's, {tmp_path}/out on the host)" in reads
    assert "/etc/app.conf (a file made of the policy's text)" in reads
    assert "/results: the host's own files, for good" in writes
    assert "/scratch: 2M in memory, gone afterwards" in writes
    assert "/tmp, /dev/shm, /work: together 9M" in writes
    assert str(tmp_path / "in") not in writes
    assert "host's own" not in words(Policy(), "Can write")


def test_words_of_use_and_surroundings(rich_policy: Policy) -> None:
    uses = words(rich_policy, "Can use")
    for part in ("12 seconds", "memory: 512M", "processor: 3 seconds", "7 processes", "33 open files", "at most 5M"):
        assert part in uses
    assert "wall clock: no end" in words(Policy(), "Can use")
    assert "environment variables: LANG" in words(rich_policy, "Is told")
    assert "C.UTF-8" not in explain(rich_policy), "values may be secrets"
    assert "no environment variable but those that every isolate has: PATH, HOME" in words(Policy(), "Is told")
    assert "exceptions of KeyError" in words(rich_policy, "Can give back")


def test_words_of_reach() -> None:
    assert "no network" in words(Policy(), "Can reach")
    assert "the host's whole network" in words(Policy(network=True), "Can reach")
    exposed = Policy(expose={"lookup": Host(lookup, calls=3, seconds=2)})
    assert "host function lookup(), at most 3 calls and 2 seconds for each call" in words(exposed, "Can reach")


def test_words_of_programs() -> None:
    assert words(Policy(), "Can run") == "threads [filter]\nno child process [filter]\nno program [filter]"
    assert "programs that its file tree holds" in words(Policy(), "Can run", program=True)
    assert "child processes of its own" in words(Policy(rules=[Interpreter(), ForkAndExec()]), "Can run")
    narrow = words(Policy(rules=[Interpreter(), "getppid"]), "Can run")
    assert "threads" not in narrow
    assert "the system call getppid" in narrow
    assert "threads" in words(Policy(rules=[Interpreter(), Threads().allow_create()]), "Can run")


def test_words_of_weakness(tmp_path: Path) -> None:
    def weak(policy: Policy) -> str:
        return words(policy, "Weaker than it could be")

    assert "TrustResult: promise that nothing that comes back executes" in weak(Policy(accept=(TrustResult,)))
    assert "unpickled here" in words(Policy(accept=(TrustResult,)), "Can give back")
    assert "NoSeccomp: the filter" in weak(Policy(accept=(NoSeccomp,)))
    assert "seccomp" not in said(Policy(accept=(NoSeccomp,)))["walls"]
    assert "landlock" not in said(Policy(accept=(NoLandlock,)))["walls"]
    assert "network namespace is shared" in weak(Policy(network=True))
    assert "may be run outside" in weak(Policy(mounts=[rw(tmp_path, allow_code=True)]))
    assert "need not hold: filesystem, processes, syscalls" in weak(Policy(require={"network"}))
    assert "share a worker" in weak(Policy(reuse=True))
    for part in ("TrustResult", "shared", "run outside", "need not hold", "share a worker"):
        assert part not in weak(Policy())


def test_walls_are_those_of_the_report() -> None:
    for policy in (Policy(), Policy(network=True), Policy(rules=[Interpreter()])):
        assert tuple(said(policy)["walls"]) == isolated(policy=policy)(len).enforcement().layers


# --- the tree -----------------------------------------------------------------------------------------------------------


def leaves(branch: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    path = f"{above}/{branch['name']}" if branch["name"] != "/" else ""
    return [(path or "/", branch["access"]), *(leaf for each in branch.get("below", ()) for leaf in leaves(each, path))]


def look(paths: list[str]) -> list[tuple[bool, bool, bool]]:
    """Inside: whether each path is there, is a link, and can be written."""
    found = []
    for path in paths:
        writable = os.path.isdir(path)
        try:
            if writable:
                with open(f"{path}/.try", "w"):
                    pass
                os.unlink(f"{path}/.try")
        except OSError:
            writable = False
        found.append((os.path.lexists(path), os.path.islink(path), writable))
    return found


def names(directories: list[str]) -> list[list[str]]:
    return [sorted(os.listdir(each)) for each in directories]


@pytest.mark.parametrize("program", [False, True])
def test_the_tree_is_what_an_isolate_sees(rich_policy: Policy, program: bool) -> None:
    places = [
        (path, access) for path, access in leaves(said(rich_policy, program=program)["tree"]) if "modules)" not in path
    ]
    assert len(places) > 30
    paths = [path for path, _ in places]
    directories = ["/", "/etc", "/dev"]
    if program:
        with sandbox(policy=rich_policy) as box:
            there, listed = box.call(look, paths), box.call(names, directories)
    else:
        function = isolated(policy=rich_policy)
        there, listed = function(look)(paths), function(names)(directories)
    wrong = [
        f"{path} ({access}): {state}"
        for (path, access), state in zip(places, there, strict=True)
        if state[0] is False
        or state[1] is not (access == "link")
        or (state[2] and access not in ("rw", "own", "link"))
        or (access in ("rw", "own") and not state[2])
    ]
    assert not wrong
    for directory, entries in zip(directories, listed, strict=True):
        prefix = directory.rstrip("/") + "/"
        known = {path.removeprefix(prefix).partition("/")[0] for path in paths if path.startswith(prefix)}
        assert set(entries) - {"grants"} == known - {""}, directory


def test_the_drawing_has_every_branch(rich_policy: Policy) -> None:
    text = explain(rich_policy)
    drawing = text.partition("Its file tree")[2].partition("Base filter")[0]
    count = len(leaves(said(rich_policy)["tree"]))
    assert len([line for line in drawing.splitlines()[1:] if line.strip()]) == count
    assert re.search(r"├── results +rw +mounts\[1\]", drawing)
    assert re.search(r"├── scratch +own +mounts\[2\]", drawing)
    assert re.search(r"├── conf +link +-> /etc/app.conf", drawing)


# --- forms --------------------------------------------------------------------------------------------------------------


class Checked(html.parser.HTMLParser):
    """Reads a page strictly: every tag is closed, and nothing is loaded."""

    VOID = frozenset({"meta", "line", "rect", "polygon"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"}
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in {"src", "href", "action", "style", "xlink:href"}
            assert "url(" not in (value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(page: str) -> Checked:
    checked = Checked()
    checked.feed(page)
    checked.close()
    assert checked.open == []
    return checked


def test_the_page_stands_alone(rich_policy: Policy, tmp_path: Path) -> None:
    page = explain(rich_policy, form="html")
    checked = read_page(page)
    assert not re.search(r"@import|url\(|https?://", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert checked.seen["svg"] == 1
    assert checked.seen["rect"] == 5, "four walls and what they are around"
    for index, mount in enumerate(rich_policy.mounts):
        assert mount.word == "symlink" or f"mounts[{index}] {mount!r}" in checked.text
    assert f"{tmp_path}/in" in checked.text
    assert "every other call -> errno EPERM" in checked.text


def test_the_picture_has_the_walls_that_stand(rich_policy: Policy) -> None:
    def walls(policy: Policy) -> list[str]:
        page = explain(policy, form="html").partition("<svg")[2].partition("</svg")[0]
        return re.findall(r'<text class="soft" x="\d+" y="\d+">(namespaces|mounts|landlock|filter)</text>', page)

    assert walls(Policy()) == ["namespaces", "mounts", "landlock", "filter"]
    assert walls(Policy(accept=(NoSeccomp, NoLandlock))) == ["namespaces", "mounts"]
    stopped = {each["title"]: each["stopped"] for each in said(Policy())["channels"]}
    assert stopped == {
        "files it reads": "mounts",
        "files it writes": "mounts",
        "network": "filter",
        "programs": "filter",
        "host functions": "filter",
        "results": "",
    }
    opened = {
        each["title"]
        for each in said(Policy.from_options(rich_policy, network=True))["channels"]
        if not each["stopped"]
    }
    assert opened == {"files it reads", "files it writes", "network", "results"}
    crossed = explain(Policy(), form="html").count('<line class="shut"')
    assert crossed == 5 * 3


def test_odd_names_are_text(tmp_path: Path) -> None:
    odd = tmp_path / "<script>alert(1)</script>\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}&amp;\"'"
    odd.mkdir(parents=True)
    policy = Policy(mounts=[ro(odd, f"/{odd.name.replace('/', '_')}")], name="<b>name</b>")
    checked = read_page(explain(policy, form="html"))
    assert "script" not in checked.seen
    assert "b" not in checked.seen
    assert "<b>name</b>" in checked.text
    assert "<script>alert(1)" in checked.text
    for form in ("text", "html"):
        made = explain(policy, form=form)
        assert "\x1b" not in made
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in made
    assert json.loads(explain(policy, form="json"))["name"] == "<b>name</b>"


def test_of_a_function() -> None:
    @isolated(timeout=3)
    def quick() -> None: ...

    text = quick.explain()
    assert text == explain(quick)
    assert "What test_of_a_function.<locals>.quick may do" in text
    assert "wall clock: 3 seconds" in text
    assert "Base filter of every worker:" in text
    assert json.loads(quick.explain(form="json"))["about"] == "function"
    assert "Base filter of every program" in explain(Policy(), program=True)


def test_where_this_machine_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "userns=0,privileged=0,landlock=0")
    text = explain(Policy(name="never seen"))
    assert "a call of it would raise Unsupported" in text
    assert "Base filter of every worker:" in text


def test_forms_are_few() -> None:
    with pytest.raises(PolicyError, match="is not one of its values"):
        explain(Policy(), form="pdf")
    with pytest.raises(PolicyError, match="rule sets have no form"):
        explain([SystemIO()], form="html")


# --- the command --------------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.toml").write_text('timeout = 4\nname = "mine"\n')
    (tmp_path / "explained.py").write_text("from isolate_fn import isolated\n@isolated(timeout=6)\ndef parse(x): ...\n")
    monkeypatch.chdir(tmp_path)
    for arguments, part in (
        (["--policy", "p.toml"], "wall clock: 4 seconds"),
        (["explained:parse"], "wall clock: 6 seconds"),
        (["--policy", "COMPUTE"], "wall clock: 60 seconds"),
    ):
        assert main(["explain", *arguments]) == 0
        assert part in capsys.readouterr().out
        assert main(["explain", "--json", *arguments]) == 0
        assert any(part == line["text"] for line in json.loads(capsys.readouterr().out)["sections"]["Can use"])
        assert main(["explain", "--html", *arguments]) == 0
        assert part in read_page(capsys.readouterr().out).text
    assert main(["explain", "--html", "Threads"]) == 2
    assert "is for one function or policy" in capsys.readouterr().err
    (tmp_path / "p.toml").write_text("timeot = 4\n")
    assert main(["explain", "--policy", "p.toml"]) == 1
    assert capsys.readouterr().err == (
        "isolate-fn explain: p.toml:1: timeot: there is no key 'timeot'\n  try: did you mean 'timeout'?\n"
    )


@pytest.fixture
def on_terminal(terminal: Callable[..., tuple[int, bytes]]) -> Callable[..., str]:
    """Explain a preset on a terminal of its own; return what was written there."""

    def run(**environment: str) -> str:
        without = "import sys; sys.modules['rich'] = None; " if "PLAIN" in environment else ""
        code = f"{without}from isolate_fn.cli import main; main(['explain', '--policy', 'XML'])"
        given = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}
        status, text = terminal([sys.executable, "-c", code], given)
        assert status == 0
        return text.decode().replace("\r\n", "\n")

    return run


def test_colours_are_for_terminals(on_terminal: Callable[..., str]) -> None:
    piped = subprocess.run(
        [sys.executable, "-c", "from isolate_fn.cli import main; main(['explain', '--policy', 'XML'])"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert "\x1b" not in piped
    assert "\x1b" not in on_terminal(NO_COLOR="1")
    for more in ({}, {"PLAIN": "1"}):
        coloured = on_terminal(**more)
        assert "\x1b[" in coloured
        plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
        assert plain.rstrip() == piped.rstrip()


def test_the_transcripts_of_the_page_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "write_transcripts.py", "--check"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
