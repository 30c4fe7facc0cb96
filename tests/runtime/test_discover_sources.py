"""Sources of mounts as they are found on a real file system."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from isolate_fn._plan.mounts import ResolvedSource, compile_mounts
from isolate_fn._runtime.sources import code_roots, resolve_sources, settle_mount_points
from isolate_fn.errors import PolicyError
from isolate_fn.policy import Mount, Policy, dev, overlay, ro, rw, tmpfs


def found(*mounts: Mount) -> tuple[ResolvedSource | None, ...]:
    return resolve_sources(Policy(mounts=mounts)).sources


def test_kinds_and_real_paths(tmp_path: pathlib.Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("")
    (tmp_path / "link").symlink_to("f")
    real = os.path.realpath(tmp_path)
    assert found(
        ro(tmp_path / "d"), ro(tmp_path / "link", "/x"), tmpfs("/t"), dev("/dev/null", "/dev/zip")
    ) == (
        ResolvedSource(f"{real}/d", "directory"),
        ResolvedSource(f"{real}/f", "file"),
        None,
        ResolvedSource("/dev/null", "device"),
    )


def test_missing_sources(tmp_path: pathlib.Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("none", "dangling", "none/below"):
        with pytest.raises(PolicyError) as caught:
            found(ro("/usr"), ro(tmp_path / name))
        assert caught.value.field == "mounts[1]"
        assert str(tmp_path / name) in caught.value.problem
        assert "does not exist" in caught.value.problem
        assert "optional=True" in caught.value.remedy

    resolution = resolve_sources(Policy(mounts=[ro(tmp_path / "none", optional=True)]))
    assert resolution.sources == (None,)
    assert str(tmp_path / "none") in resolution.dropped[0]


def test_a_loop_of_links_is_not_optional(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PolicyError, match="cannot be reached"):
        found(ro(tmp_path / "loop", optional=True))


def test_wrong_kinds(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "environ").symlink_to("/proc/self/environ")
    for mount, problem in (
        (ro(tmp_path / "pipe"), "named pipe"),
        (ro(tmp_path / "null"), "is a device"),
        (ro(tmp_path / "environ"), "host's processes"),
        (dev(tmp_path / "file"), "not a device"),
        (overlay(tmp_path / "file"), "not a directory"),
    ):
        with pytest.raises(PolicyError, match=problem) as caught:
            found(mount)
        assert caught.value.field == "mounts[0]"
        assert caught.value.remedy


def test_sockets_are_warned_of(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        resolution = resolve_sources(
            Policy(mounts=[ro(tmp_path), ro(tmp_path / "s", "/s"), ro(tmp_path / "plain", "/p")])
        )
    assert [warning.partition(" shows")[0] for warning in resolution.warnings] == [
        f"mounts[0] ro({str(tmp_path)!r})",
        f"mounts[1] ro({str(tmp_path / 's')!r}, '/s')",
    ]
    assert resolution.sources[1] is not None
    assert resolution.sources[1].kind == "socket"


def refusal(path: str | pathlib.Path) -> str:
    """Return why a writable mount is refused, nothing if it is not."""
    policy = Policy(mounts=[rw(path, "/out")])
    resolution = resolve_sources(policy)
    try:
        compile_mounts(policy, (), resolved_sources=resolution.sources, importable=resolution.importable)
    except PolicyError as error:
        return error.problem
    return ""


def test_writable_code(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that this process could import or run later, and data beside it."""
    home, project = tmp_path / "home", tmp_path / "project"
    for path in (
        "pkg/data",
        "out/deep",
        "plugins",
        "json",
        "cached/__pycache__",
        "repo/.git/hooks",
        "repo/sub",
    ):
        (project / path).mkdir(parents=True)
    for path in ("pkg/__init__.py", "plugins/one.py", "module.py", "settings.txt"):
        (project / path).write_text("")
    for path in (".config/x", "bin", "results"):
        (home / path).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.syspath_prepend(str(project))

    refused = {
        project: "contains 'repo' with a .git",
        tmp_path: "contains",
        project / "pkg": "in the package",
        project / "pkg/data": "in the package",
        project / "plugins": "holds modules",
        project / "cached": "holds modules",
        project / "module.py": "is a module",
        project / "json": "name of a module",
        project / "repo": "holds a .git",
        project / "repo/.git/hooks": "holds a .git",
        home: "home directory",
        home / ".config": "'.config' in the home directory",
        home / ".config/x": "'.config' in the home directory",
        home / "bin": "'bin' in the home directory",
        pathlib.Path(sys.prefix): "sys.prefix",
        pathlib.Path(os.__file__).parent: "the system's" if sys.base_prefix == "/usr" else "sys.base_prefix",
        pathlib.Path("/usr/share"): "the system's",
        pathlib.Path("/etc"): "the system's",
    }
    assert {str(path) for path, reason in refused.items() if reason not in refusal(path)} == set()
    for path in (
        project / "out",
        project / "out/deep",
        project / "settings.txt",
        project / "repo/sub",
        home / "results",
    ):
        assert refusal(path) == ""


def test_a_directory_of_repositories(tmp_path: pathlib.Path) -> None:
    (tmp_path / "all/one/.git").mkdir(parents=True)
    assert "contains 'one' with a .git" in refusal(tmp_path / "all")


def test_the_root_directory_on_sys_path_refuses_not_everything(tmp_path: pathlib.Path) -> None:
    code = (
        "import sys; sys.path.append(sys.argv[2])\n"
        "from isolate_fn._runtime.sources import code_roots, resolve_sources\n"
        "from isolate_fn.policy import Policy, rw\n"
        "print(resolve_sources(Policy(mounts=[rw(sys.argv[1])])).sources[0].code == '')\n"
        "print([root for root in code_roots() if root.path == '/' and root.deep])\n"
    )
    package = str(pathlib.Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), package],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "True\n[]\n"


def test_code_roots_are_real_paths() -> None:
    roots = code_roots()
    assert all(root.path == os.path.realpath(root.path) for root in roots)
    assert {root.what for root in roots} >= {"the home directory", "sys.prefix", "the sys.path entry"}


def test_mount_points_must_exist(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in/there").mkdir(parents=True)
    (tmp_path / "in/file").write_text("")

    def check(*mounts: Mount) -> None:
        policy = Policy(mounts=mounts)
        resolution = resolve_sources(policy)
        settle_mount_points(
            compile_mounts(policy, (), resolved_sources=resolution.sources, importable=resolution.importable)
        )

    outer = ro(tmp_path / "in", "/in")
    check(outer, tmpfs("/in/there"))
    check(outer, ro(tmp_path / "in/file", "/in/file"))
    check(tmpfs("/t"), ro(tmp_path, "/t/anywhere"))
    check(outer, tmpfs("/in/there"), ro(tmp_path, "/in/there/anywhere"))
    for inner in (tmpfs("/in/none"), tmpfs("/in/file"), ro(tmp_path / "in/file", "/in/there")):
        with pytest.raises(PolicyError) as caught:
            check(outer, inner)
        assert caught.value.field == "mounts[1]"
        assert repr(inner) in caught.value.problem
        assert str(tmp_path / "in") in caught.value.remedy


@pytest.mark.parametrize("name", ["link", "way", "way/file", "round"])
def test_mount_points_behind_links(tmp_path: pathlib.Path, name: str) -> None:
    """No link in a granted mount is followed by those who mount: somebody inside may have made it."""
    (tmp_path / "in/there").mkdir(parents=True)
    (tmp_path / "in/there/file").write_text("")
    (tmp_path / "in/link").symlink_to("there/file")
    (tmp_path / "in/way").symlink_to("there")
    (tmp_path / "in/round").symlink_to("round")
    mounts = [ro(tmp_path / "in"), ro(tmp_path / "in/there", tmp_path / "in" / name)]
    if not (tmp_path / "in" / name).is_dir():
        mounts[1] = ro(tmp_path / "in/there/file", tmp_path / "in" / name)
    policy = Policy(mounts=mounts)
    resolution = resolve_sources(policy)
    orders = compile_mounts(policy, (), resolved_sources=resolution.sources, importable=resolution.importable)
    with pytest.raises(PolicyError, match=r"a symbolic link is on the way|no file .* exists") as caught:
        settle_mount_points(orders)
    assert caught.value.field == "mounts[1]"
