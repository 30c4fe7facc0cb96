"""Getting the function at the worker: where modules come from, and what is said when they do not come."""

from __future__ import annotations

from typing import Any

import pytest

SEND = "import {module}\nfrom harness import send\nsend({module}.work)"


def test_directory_that_is_not_on_the_workers_path(project: Any) -> None:
    project.write("elsewhere/library.py", "def work():\n    return __name__, __file__.split('/')[-2]")
    project.call(SEND.format(module="library"), project.directory / "elsewhere")
    assert project.serve() == "('library', 'elsewhere')"


def test_package_that_is_not_on_the_workers_path(project: Any) -> None:
    project.write("elsewhere/package/__init__.py", "from .deep import part\nNAME = 'package'")
    project.write("elsewhere/package/deep/__init__.py", "")
    project.write(
        "elsewhere/package/deep/part.py",
        "from ..deep.other import VALUE\ndef work():\n    return VALUE, __name__",
    )
    project.write("elsewhere/package/deep/other.py", "VALUE = 7")
    project.call(SEND.format(module="package.deep.part"), project.directory / "elsewhere")
    assert project.serve() == "(7, 'package.deep.part')"


def test_namespace_package_that_is_not_on_the_workers_path(project: Any) -> None:
    project.write("elsewhere/space/part.py", "def work():\n    return __name__")
    project.call(SEND.format(module="space.part"), project.directory / "elsewhere")
    assert project.serve() == "'space.part'"


def test_another_module_of_the_same_name_comes_first_inside(project: Any) -> None:
    project.write("first/library.py", "def work():\n    return 'wrong'")
    project.write("second/library.py", "def work():\n    return 'right'")
    project.call(SEND.format(module="library"), project.directory / "second")
    assert project.serve(project.directory / "first") == "'right'"


def test_another_package_of_the_same_name_comes_first_inside(project: Any) -> None:
    project.write("first/package/__init__.py", "")
    project.write("first/package/other.py", "VALUE = 'wrong'")
    project.write("second/package/__init__.py", "")
    project.write("second/package/other.py", "VALUE = 'right'")
    project.write("second/package/part.py", "def work():\n    from package.other import VALUE\n    return VALUE")
    project.call(SEND.format(module="package.part"), project.directory / "second")
    assert project.serve(project.directory / "first") == "'right'"


def test_module_under_a_made_up_name(project: Any) -> None:
    # What pytest does with --import-mode=importlib, and notebooks' helpers.
    path = project.write("plugins/one.py", "def work():\n    return __name__")
    project.call(f"""
        import sys
        from importlib.util import module_from_spec, spec_from_file_location
        from harness import send
        for name in ("plugins_one", "made.up.name"):
            spec = spec_from_file_location(name, {str(path)!r})
            module = module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            send(module.work)
    """)
    assert project.serve().split() == ["'plugins_one'", "'made.up.name'"]


def test_module_inside_an_archive(project: Any) -> None:
    import zipfile

    with zipfile.ZipFile(project.directory / "app.zip", "w") as archive:
        archive.writestr("library.py", "def work():\n    return __file__[-18:]")
    archive_path = project.directory / "app.zip"
    project.call(SEND.format(module="library"), archive_path)
    assert project.serve(archive_path) == "'app.zip/library.py'"


def test_relative_entry_of_the_callers_path(project: Any) -> None:
    project.write("elsewhere/library.py", "def work():\n    return 1")
    project.call(
        f"import os, sys; os.chdir({str(project.directory)!r}); sys.path.insert(0, 'elsewhere')\n"
        + SEND.format(module="library")
    )
    assert project.serve() == "1"


def test_editable_mapping(project: Any) -> None:
    project.write("source/kept_here/__init__.py", "def work():\n    from editable.part import VALUE\n    return VALUE")
    project.write("source/kept_here/part.py", "VALUE = 3")
    project.write("source/single.py", "def work():\n    return 4")
    project.write("source/space/part.py", "def work():\n    return 5")
    paths = {
        "editable": str(project.directory / "source/kept_here"),
        "alone": str(project.directory / "source/single.py"),
        "room": str(project.directory / "source/space"),
    }
    answers = project.call(f"""
        from isolate_fn._transport.received import EditableFinder
        EditableFinder.install({paths!r})
        import editable, alone, room.part, importlib.util
        print(editable.work(), alone.work(), room.part.work(), importlib.util.find_spec("absent"))
    """)
    assert answers == "3 4 5 None"


REFUSED = [  # the module's text at the caller, its text inside (None: gone), words of the refusal
    ("def work(): pass", None, ["'library'", "no module of that name inside", "sys.path", "mounts=[ro("]),
    ("def work(): pass", "import absent_dependency", ["no module named 'absent_dependency'", "mount"]),
    ("def work(): pass", "1 / 0", ["ZeroDivisionError", "top level"]),
    ("def work(): pass", "raise SystemExit(3)", ["SystemExit", "top level"]),
    ("def work(): pass", "def work(:", ["SyntaxError"]),
    ("def work(): pass", "", ["has no attribute 'work'", "restart the caller"]),
    (
        "def deep(): pass\ndeep.__wrapped__ = work = lambda: 1\nwork.__qualname__ = 'deep'",
        "def deep(): pass",
        ["'__wrapped__'"],
    ),
]


@pytest.mark.parametrize(("text", "inside", "words"), REFUSED)
def test_refusal_says_why(project: Any, text: str, inside: str | None, words: list[str]) -> None:
    path = project.write("library.py", text)
    project.call(SEND.format(module="library"))
    if inside is None:
        path.unlink()
    else:
        path.write_text(inside)
    answer = project.serve()
    assert answer.startswith("rejected | ")
    assert [word for word in words if word not in answer] == []


def test_another_file_inside_and_the_callers_not_visible(project: Any) -> None:
    project.write("first/library.py", "def work():\n    return 'wrong'")
    path = project.write("second/library.py", "def work():\n    return 'right'")
    project.call(SEND.format(module="library"), project.directory / "second")
    path.unlink()
    answer = project.serve(project.directory / "first")
    assert "not visible inside" in answer
    assert f"mounts=[ro('{path.parent}')]" in answer


def test_failing_import_is_not_run_twice(project: Any) -> None:
    path = project.write("library.py", "def work(): pass")
    project.call(SEND.format(module="library"))
    path.write_text("print('running')\n1 / 0")
    assert project.serve().count("running") == 1


def test_class_of_an_argument_that_is_missing_inside(project: Any) -> None:
    project.write("elsewhere/shapes.py", "class Point:\n    pass")
    program = "import shapes\nfrom harness import send\nsend(id, shapes.Point())\nsend(lambda a: a, shapes.Point())"
    project.call(program, project.directory / "elsewhere")
    for answer in project.serve().splitlines():
        assert "ModuleNotFoundError" in answer
        assert "directory that holds 'shapes'" in answer


def test_garbage_is_a_refusal(project: Any) -> None:
    from isolate_fn._transport import received
    from isolate_fn.errors import CallRejected

    with pytest.raises(CallRejected, match="an argument"):
        received.load_arguments(b"\x80\x05garbage")
    with pytest.raises(CallRejected, match="send a callable"):
        received.load_function(b"VI1\n.")
