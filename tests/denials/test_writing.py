"""Files that were to be written or made where no mount shows them, or a read-only one; and errors raised from such."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from isolate_fn import Policy, isolated, ro, rw, sandbox, would
from isolate_fn._runtime.chain import chain, writes

pytestmark = pytest.mark.needs("namespaces")


@pytest.fixture
def out(host):
    """A file in a directory of the host, both of which everybody may write."""
    (host / "out.txt").write_text("before")
    (host / "out.txt").chmod(0o666)
    host.chmod(0o777)
    return host / "out.txt"


def write(path):
    with open(path, "w") as file:
        return file.write("after")


def write_by_pathlib(path):
    return Path(path).write_text("after")


def append_by_descriptor(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.close(descriptor)
    return 5


def copy_there(path):
    with open("/tmp/source", "w") as file:
        file.write("after")
    shutil.copyfile("/tmp/source", path)
    return 5


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def pack(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "b")
    return 5


def notes_of(function, *args, **options):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it says is compared
        isolated(prewarm=0, **options)(function)(*args)
    return getattr(caught.value, "__notes__", [])


WRITERS = [write, write_by_pathlib, append_by_descriptor, copy_there, pack]


@pytest.mark.parametrize("function", WRITERS, ids=lambda each: each.__name__)
def test_a_file_to_be_written_is_advised_writable(follow, out, function):
    value, options = follow(function, str(out))
    assert value == 5
    assert options["mounts"] == [rw(out)]
    (note,) = notes_of(function, str(out))
    assert "(rw lets it change the host's own)" in note
    assert note.endswith(would(Policy(), "open", str(out), "w").fix.replace("'", '"'))


@pytest.mark.parametrize("function", WRITERS, ids=lambda each: each.__name__)
def test_a_file_to_be_made_is_advised_its_directory(follow, out, function):
    value, options = follow(function, str(out.with_name("new")))
    assert value == 5
    assert options["mounts"] == [rw(out.parent)]
    assert out.with_name("new").exists()


def test_directories_to_be_made(follow, out):
    def make(path):
        os.makedirs(path, exist_ok=True)
        return write(f"{path}/out.txt")

    value, options = follow(make, str(out.parent / "a" / "b"))
    assert value == 5
    assert {mount.word for mount in options["mounts"]} == {"rw"}
    assert (out.parent / "a" / "b" / "out.txt").exists()


def test_a_file_to_be_read_is_advised_read_only(follow, out):
    value, options = follow(read, str(out))
    assert value == "before"
    assert options["mounts"] == [ro(out)]
    assert notes_of(read, str(out.with_name("nowhere"))) == []


@pytest.mark.parametrize("name", ["out.txt", "new"])
@pytest.mark.parametrize("inside", ["", "/data"])
def test_below_a_read_only_mount_the_word_in_its_place_is_named(out, name, inside):
    mount, better = (ro(out.parent, inside), rw(out.parent, inside)) if inside else (ro(out.parent), rw(out.parent))
    path = f"{inside or out.parent}/{name}"
    (note,) = notes_of(write, path, mounts=[mount])
    assert f"{path!r} is read-only in the isolate" in note
    assert note.endswith(f"; in place of {mount!r}: {better!r}")
    assert note.endswith(would(Policy(mounts=[mount]), "open", path, "w").fix)
    assert isolated(write, mounts=[better], prewarm=0)(path) == 5


def test_what_is_withheld_is_never_advised_writable(out):
    for name in (".env", "id_rsa", "server.key"):
        out.with_name(name).write_text("x")
        out.with_name(name).chmod(0o666)
        (note,) = notes_of(write, str(out.with_name(name)))
        assert note.endswith("so mount it only if the function is meant to have that")
        assert notes_of(write, str(out.with_name(name)), mounts=[ro(out.parent)]) == []
    for path in ("/etc/there-is-no-such-file", "/there-is-no-such-file", "/usr/lib/there-is-no-such-file"):
        assert "rw(" not in str(notes_of(write, path))


def test_what_this_program_runs_is_not_advised_writable(out, monkeypatch):
    (out.parent / "project").mkdir()
    (out.parent / "project" / "part.py").write_text("")
    (out.parent / "data").mkdir()
    (out.parent / "data" / ".git").mkdir()
    monkeypatch.syspath_prepend(str(out.parent / "project"))
    assert notes_of(write, str(out.parent / "project" / "part.py")) == []  # a part of the runtime
    for path in ("project/new.py", "data/new"):
        (note,) = notes_of(write, str(out.parent / path))
        assert "rw(" not in note
        assert "code that this program runs" in note


def wrapped(path):
    try:
        write(path)
    except OSError as error:
        raise RuntimeError(f"cannot save: {error}") from error


def raised_meanwhile(path):
    try:
        write(path)
    except OSError:
        raise ValueError("cannot save")  # noqa: B904 - the context is what is tried


def wrapped_twice(path):
    try:
        wrapped(path)
    except RuntimeError as error:
        raise LookupError(1) from error


def wrapped_import(path):
    try:
        __import__(path)
    except ImportError as error:
        raise RuntimeError from error


@pytest.mark.parametrize("function", [wrapped, raised_meanwhile, wrapped_twice], ids=lambda each: each.__name__)
def test_what_an_error_was_raised_from_is_told_of(out, function):
    (note,) = notes_of(function, str(out))
    assert note.endswith(f'; add mounts=[rw("{out}")]')
    with open(__file__, encoding="utf-8") as file:
        line = next(number for number, text in enumerate(file, 1) if 'open(path, "w")' in text)
    assert f" at {__file__}:{line};" in note


def test_a_module_that_an_error_was_raised_from(host, monkeypatch):
    with sandbox() as box:  # prepared before the module is there
        (host / "much_later.py").write_text("VALUE = 8\n")
        monkeypatch.syspath_prepend(str(host))
        with pytest.raises(RuntimeError) as caught:
            box.call(wrapped_import, "much_later")
    assert caught.value.__notes__[0].endswith(f'add mounts=[ro("{host}/much_later.py")]')


def test_a_chain_is_followed_so_far_and_in_no_circle():
    first = ValueError()
    last = first
    for _ in range(1000):
        last.__context__ = ValueError()
        last = last.__context__
    assert 1 < len(chain(first)) < 100
    one, other = ValueError(), KeyError()
    one.__cause__, other.__context__ = other, one
    assert chain(one) == [one, other]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('with open(os.path.join(home, "x"), "wb") as file:', True),
        ("with self.open(mode='w', encoding=encoding) as f:", True),
        ('fp = builtins.open(filename, "w+b")', True),
        ('tarfile.open(path, "w:gz")', True),
        ('path.open("a")', True),
        ("os.mkdir(path)", True),
        ('open(os.path.join(home, "x"))', False),
        ('open(path, "rb")', False),
        ('open(os.path.join(home, "w"), encoding="utf-8")', False),
        ('value = table.get("k", "a")', False),
        ("return load(path)", False),
    ],
)
def test_lines_that_tell_of_writing(line, told):
    assert writes(f'  File "a.py", line 1, in f\n    {line}\n') is told
    assert writes(f'    save("a", "w")\n    open(path)\n    {line}\n') is told


@pytest.mark.parametrize("text", ["open(", "open((", "open(a,", ".open('rb", "open(()()", "(a)"])
def test_hostile_lines_take_no_time(text):
    assert not writes(("    " + text * 400 + "\n") * 1000)
