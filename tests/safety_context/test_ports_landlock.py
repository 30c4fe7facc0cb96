"""The Landlock tests of the Rust crate extrasafe, ported: each has the name that it has there."""

from __future__ import annotations

from typing import Any

import pytest

from isolate_fn import SafetyContext
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.rules import SystemIO

pytestmark = pytest.mark.needs("landlock>=3")

DIRECTORIES = """
for name in ("a", "b"):
    os.makedirs(f"{name}/allowed", exist_ok=True); os.makedirs(f"{name}/denied", exist_ok=True)
    with open(f"{name}/file", "w") as file:
        file.write("content")
NO = errno.EACCES
"""


def apply(sets: str, rest: str) -> str:
    import textwrap

    return f"SafetyContext().enable({sets}).apply_to_current_thread()\n{textwrap.dedent(rest)}"


def test_landlock_read_file(holds: Any) -> None:
    holds(DIRECTORIES, apply("SystemIO().allow_read_path('a/file')", """
    with open("a/file") as file:
        assert file.read() == "content"
    denied(lambda: open("b/file"), NO)
    """))  # fmt: skip


def test_landlock_write_file(holds: Any) -> None:
    holds(DIRECTORIES, apply("SystemIO().allow_write_file('a').allow_read_path('a')", """
    with open("a/file", "a") as file:
        file.write(" and more")
    with open("a/file") as file:
        assert file.read() == "content and more"
    denied(lambda: open("a/new", "w"), NO)
    denied(lambda: open("b/file", "a"), NO)
    """))  # fmt: skip


def test_landlock_create_file_in_path(holds: Any) -> None:
    holds(DIRECTORIES, apply("SystemIO().allow_create_in_dir('a')", """
    open("a/new", "w").close()
    denied(lambda: open("b/new", "w"), NO)
    """))  # fmt: skip


def test_landlock_delete_file(holds: Any) -> None:
    holds(DIRECTORIES, apply("SystemIO().allow_remove_file('a').allow_list_dir('a')", """
    os.unlink("a/file")
    assert "file" not in os.listdir("a")
    denied(lambda: os.unlink("b/file"), NO)
    """))  # fmt: skip


def test_landlock_read_dir(holds: Any) -> None:
    """A path is everything below it, and nothing above."""
    holds(DIRECTORIES + "open('a/allowed/file', 'w').write('below')", apply("SystemIO().allow_read_path('a/allowed')", """
    with open("a/allowed/file") as file:
        assert file.read() == "below"
    denied(lambda: open("a/file"), NO)
    """))  # fmt: skip


def test_landlock_create_dir(holds: Any) -> None:
    holds(DIRECTORIES, apply("SystemIO().allow_create_dir('a')", """
    os.mkdir("a/new")
    denied(lambda: os.mkdir("b/new"), NO)
    """))  # fmt: skip


def test_landlock_list_dir(holds: Any) -> None:
    holds(DIRECTORIES, apply("SystemIO().allow_list_dir('a')", """
    assert sorted(os.listdir("a")) == ["allowed", "denied", "file"]
    denied(lambda: os.listdir("b"), NO)
    """))  # fmt: skip


def test_landlock_delete_dir(holds: Any) -> None:
    holds(DIRECTORIES, apply("SystemIO().allow_remove_dir('a').allow_list_dir('a')", """
    os.rmdir("a/allowed")
    denied(lambda: os.rmdir("b/denied"), NO)
    assert sorted(os.listdir("a")) == ["denied", "file"]
    """))  # fmt: skip


TREE = """
for name in ("parent/ro", "parent/rw", "other/ro"):
    os.makedirs(name)
NO = errno.EACCES
"""
USE = """
with open("parent/rw/new", "w") as file:
    file.write("written")
assert (os.listdir("parent/ro"), os.listdir("parent/rw")) == ([], ["new"])
os.rmdir("parent/ro")
with open("parent/rw/new") as file:
    assert file.read() == "written"
denied(lambda: os.rmdir("other/ro"), NO)
denied(lambda: open("other/new", "w"), NO)
"""
READ_ONLY = "SystemIO().allow_read_path('parent/ro').allow_list_dir('parent/ro')"
READ_WRITE = (
    ".allow_create_in_dir('parent/rw').allow_list_dir('parent/rw').allow_read_path('parent/rw')"
    ".allow_write_file('parent/rw')"
)


def test_landlock_one_ruleset(holds: Any) -> None:
    holds(TREE, apply(f"{READ_ONLY}{READ_WRITE}.allow_remove_dir('parent')", USE))


def test_landlock_different_rulesets(holds: Any) -> None:
    holds(TREE, apply(f"{READ_ONLY}, SystemIO(){READ_WRITE}.allow_remove_dir('parent')", USE))


def test_nonexistant_file_no_error(ok: Any) -> None:
    """Deliberately different: a path that does not exist is an error that names it, unless said to be optional."""
    ok("""
    context = SafetyContext().enable(SystemIO().allow_create_in_dir("missing")).landlock_only()
    assert "'missing'" in str(refused(PolicyError, context.apply_to_current_thread))
    assert untouched()
    optional = Custom("optional", LandlockRule("missing", access.create_file(), optional=True))
    SafetyContext().enable(optional).landlock_only().apply_to_current_thread()
    """)


def test_duplicate_path() -> None:
    context = SafetyContext().enable(SystemIO().allow_list_dir("/etc"))
    with pytest.raises(ConflictingRules) as caught:
        context.enable(SystemIO().allow_list_dir("/etc"))
    assert "The same path" in caught.value.problem
    assert "was used in two different landlock rules." in caught.value.problem


def test_landlock_with_seccomp_arg_filters() -> None:
    """Deliberately different: listing and reading open for reading only, so they break no promise of read-only.

    What opens for writing does, on a path or not.
    """
    SafetyContext().enable(SystemIO().allow_open_readonly().allow_list_dir("/etc"))
    SafetyContext().enable(SystemIO().allow_open_readonly(), SystemIO().allow_read_path("/etc"))
    for sets in (
        (SystemIO().allow_open_readonly(), SystemIO().allow_write_file("/etc")),
        (SystemIO().allow_create_in_dir("/etc"), SystemIO().allow_open_readonly()),
    ):
        with pytest.raises(ConflictingRules) as caught:
            SafetyContext().enable(*sets)
        assert caught.value.syscall in ("open", "openat")


def test_landlock_only(holds: Any) -> None:
    with pytest.raises(PolicyError, match="no rules were enabled"):
        SafetyContext().landlock_only().apply_to_current_thread()
    holds(DIRECTORIES, """
    SafetyContext().enable(SystemIO().allow_create_in_dir("a")).landlock_only().apply_to_current_thread()
    os.getpid(), os.getpgid(0)
    open("a/new", "w").close()
    denied(lambda: os.listdir("a"), NO)
    denied(lambda: os.listdir("/etc"), NO)
    """)  # fmt: skip


def test_landlock_apply_to_all_fails(ok: Any) -> None:
    """Until Landlock ABI 8, of which this pretends to have less."""
    ok("""
    context = SafetyContext().enable(SystemIO().allow_read_path("/etc")).landlock_only()
    error = refused(Unsupported, context.apply_to_all_threads)
    assert "Landlock does not support syncing to all threads" in str(error)
    assert untouched()
    """, env={"ISOLATE_FN_PRETEND": "landlock=7"})  # fmt: skip


# --- what the seed's Landlock lets through ----------------------------------------------------------------------------


def test_a_file_that_may_only_be_read_cannot_be_emptied(holds: Any) -> None:
    """The seed handles no right to truncate."""
    for only in ("", ".landlock_only()"):
        holds(DIRECTORIES, f"""
        SafetyContext().enable(SystemIO().allow_read_path("a")){only}.apply_to_current_thread()
        denied(lambda: os.open("a/file", os.O_RDONLY | os.O_TRUNC), NO, errno.EPERM)
        denied(lambda: os.truncate("a/file", 0), NO, errno.EPERM)
        """)  # fmt: skip


def test_executing_needs_a_right_that_there_is(holds: Any) -> None:
    """In the seed nothing grants it, so under Landlock no program ever starts."""
    holds("import subprocess, shutil; shutil.copy('/bin/true', 'mine')", """
    system = SystemIO().allow_execute_path("/usr")
    loader = [Custom(path, LandlockRule(path, access.execute() | access.read_path(), optional=True))
              for path in ("/lib", "/lib64", "/etc/ld.so.cache") if not os.path.islink(path)]
    mine = Custom("mine", LandlockRule("mine", {"read_file"}), LandlockRule("/dev/null", {"read_file", "write_file"}))
    SafetyContext().enable(ForkAndExec(), system, mine, *loader).apply_to_current_thread()
    assert subprocess.run(["/usr/bin/true"]).returncode == 0
    try:
        # Where it forks, the child cannot even write down why: 255 is what subprocess then has.
        assert subprocess.run([os.path.abspath("mine")]).returncode == 255
    except PermissionError as error:
        assert error.errno == errno.EACCES   # where it spawns, since 3.13
    """)  # fmt: skip


def test_moving_between_directories(holds: Any) -> None:
    """In the seed nothing permits rename(2), and nothing grants the right to move."""
    holds(DIRECTORIES, apply("SystemIO().allow_move_in_dir('a')", """
    os.rename("a/file", "a/allowed/moved")
    denied(lambda: os.rename("a/allowed/moved", "b/moved"), NO, errno.EXDEV)
    """))  # fmt: skip
