"""What an isolate would see of this interpreter and of made-up projects; nothing is mounted here."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

from isolate_fn._plan.orders import MountOrder
from isolate_fn._runtime import discover, discover_project, executable
from isolate_fn._runtime.discover_tree import Tree
from isolate_fn.errors import SetupError, Unsupported

PACKAGE = pathlib.Path(discover.__file__).parents[1]

# Run in an interpreter of its own: what is discovered is the interpreter itself.
SCRIPT = """
import sys, json
extra, before, package = json.loads(sys.stdin.read())
sys.path[:] = [entry for entry in sys.path if entry in ("",) or "python" in entry] + extra
exec(before)
sys.path.append(package)
from isolate_fn._runtime.discover import discover_runtime
view = discover_runtime()
print(json.dumps(vars(view) | {"orders": [(o.kind, o.destination, o.source) for o in view.orders]}))
"""


class Seen:
    """The view of a fresh interpreter, below one directory."""

    def __init__(
        self, root: pathlib.Path, *extra: pathlib.Path | str, before: str = "", cwd: str = "/usr"
    ) -> None:
        text = json.dumps([[str(entry) for entry in extra], before, str(PACKAGE.parent)])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            input=text,
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
        )
        assert result.returncode == 0, result.stderr
        view = json.loads(result.stdout)
        self.root = os.path.realpath(root)
        self.orders = {path: (kind, source) for kind, path, source in view["orders"]}
        self.sys_path: list[str] = view["sys_path"]
        self.editable = [tuple(pair) for pair in view["editable"]]

    @property
    def names(self) -> set[str]:
        """The mounts below the directory, relative to it."""
        return {os.path.relpath(path, self.root) for path in self.orders if path.startswith(f"{self.root}/")}


def make(root: pathlib.Path, *names: str) -> None:
    """Make files with their directories; a name that ends in a slash is a directory."""
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("")


def test_packages_and_modules_and_nothing_beside(tmp_path: pathlib.Path) -> None:
    make(
        tmp_path,
        "pkg/__init__.py",
        "pkg/data/table.csv",
        "pkg/sub/__init__.py",
        "module.py",
        "compiled.abi3.so",
        "dist.egg-info/PKG-INFO",
        ".env",
        ".git/config",
        ".hidden/__init__.py",
        ".hidden.py",
        "__pycache__/module.cpython-311.pyc",
        "secrets.json",
        "data/table.csv",
        "uploads/",
        "node_modules/x/y.py",
        "venv/pyvenv.cfg",
        "venv/lib.py",
        "not-a-name/__init__.py",
        "script-with-dash.py",
    )
    seen = Seen(tmp_path, tmp_path)
    assert seen.names == {"pkg", "module.py", "compiled.abi3.so", "dist.egg-info", "script-with-dash.py"}
    assert str(tmp_path) in seen.sys_path


def test_namespace_packages(tmp_path: pathlib.Path) -> None:
    make(
        tmp_path,
        "company/product/__init__.py",
        "company/product/data.bin",
        "company/tool.py",
        "company/notes.txt",
        "company/.env",
        "utils/helpers.py",
        "a/b/c/d/deep.py",
        "images/a.png",
    )
    assert Seen(tmp_path, tmp_path).names == {
        "company/product",
        "company/tool.py",
        "utils/helpers.py",
        "a/b/c/d/deep.py",
    }


def test_a_large_directory_of_data_is_given_up(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "module.py", "images/", "mixed/one.py")
    for number in range(1200):
        (tmp_path / f"images/{number}").touch()
    assert Seen(tmp_path, tmp_path).names == {"module.py", "mixed/one.py"}


@pytest.mark.parametrize("secret", [".env", ".env.production", ".git/config", ".netrc"])
def test_secrets_inside_packages(tmp_path: pathlib.Path, secret: str) -> None:
    make(
        tmp_path,
        f"top/{secret}",
        "top/__init__.py",
        "top/data/x.csv",
        "top/.hidden",
        "deep/__init__.py",
        "deep/settings/__init__.py",
        f"deep/settings/{secret}",
        "deep/other/x.py",
        "clean/__init__.py",
        "clean/.gitignore",
    )
    assert Seen(tmp_path, tmp_path).names == {
        "top/__init__.py",
        "top/data",
        "deep/__init__.py",
        "deep/settings/__init__.py",
        "deep/other",
        "clean",
    }


def test_site_packages_are_shown_whole(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "lib/site-packages/data.txt", "lib/site-packages/pkg/__init__.py")
    assert Seen(tmp_path, tmp_path / "lib/site-packages").names == {"lib/site-packages"}


def test_nothing_is_mounted_within_a_mount(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "pkg/__init__.py", "pkg/plugins/one.py", "other.py")
    seen = Seen(tmp_path, tmp_path / "pkg/plugins", tmp_path, tmp_path)
    assert seen.names == {"pkg", "other.py"}
    assert [path for path in seen.sys_path if path.startswith(str(tmp_path))] == [
        str(tmp_path / "pkg/plugins"),
        str(tmp_path),
    ]
    places = sorted(seen.orders)
    assert not any(inner.startswith(f"{outer}/") for outer in places for inner in places)


def test_missing_and_strange_entries(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "empty/", "file.txt")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("inner/module.py", "")
    seen = Seen(
        tmp_path,
        tmp_path / "none",
        tmp_path / "empty",
        tmp_path / "app.zip/inner",
        before="sys.path.append(3)",
    )
    assert seen.names == {"app.zip"}
    assert [path for path in seen.sys_path if path.startswith(str(tmp_path))] == [
        str(tmp_path / "app.zip/inner")
    ]


def test_the_empty_entry_is_the_current_directory(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "module.py", ".env")
    seen = Seen(tmp_path, cwd=str(tmp_path))
    assert seen.names == {"module.py"}
    assert seen.sys_path[0] == os.path.realpath(tmp_path)


def test_a_deleted_current_directory(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "gone/module.py")
    before = (
        f"import os, shutil\nos.chdir({str(tmp_path / 'gone')!r})\nshutil.rmtree(os.getcwd())\n"
        f"sys.path.insert(0, ''); sys.path.append({str(PACKAGE.parent)!r})\n"
        "from isolate_fn._runtime import discover, sources\n"
        "discover.runtime_key(); sources.code_roots()"
    )
    assert Seen(tmp_path, before=before).names == set()


def test_the_home_directory_holds_no_namespace_packages(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "module.py", "pkg/__init__.py", "projects/mine/secret.py")
    before = f"import os; os.environ['HOME'] = {str(tmp_path)!r}"
    assert Seen(tmp_path, tmp_path, before=before).names == {"module.py", "pkg"}


def test_the_root_directory_as_current_directory() -> None:
    seen = Seen(pathlib.Path("/"), cwd="/")
    assert "/" not in seen.orders
    assert not any(path.startswith(("/home/", "/root/.ssh", "/var/", "/proc")) for path in seen.orders)


def test_paths_through_symbolic_links(tmp_path: pathlib.Path) -> None:
    """A path written with links means the same inside, and its target is mounted once."""
    make(tmp_path, "real/project/pkg/__init__.py", "real/project/module.py", "elsewhere/linked/__init__.py")
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "absolute").symlink_to(tmp_path / "alias/project")
    (tmp_path / "real/project/linked").symlink_to("../../elsewhere/linked")
    seen = Seen(tmp_path, tmp_path / "absolute", tmp_path / "alias/project")
    root = seen.root
    assert {path: order for path, order in seen.orders.items() if path.startswith(root)} == {
        f"{root}/real/project/pkg": ("bind", f"{root}/real/project/pkg"),
        f"{root}/real/project/module.py": ("copy", f"{root}/real/project/module.py"),
        f"{root}/real/project/linked": ("symlink", "../../elsewhere/linked"),
        f"{root}/elsewhere/linked": ("bind", f"{root}/elsewhere/linked"),
        f"{root}/alias": ("symlink", "real"),
        f"{root}/absolute": ("symlink", f"{tmp_path}/alias/project"),
    }
    assert {f"{tmp_path}/absolute", f"{tmp_path}/alias/project"} <= set(seen.sys_path)


def test_editable_finder_of_setuptools(tmp_path: pathlib.Path) -> None:
    make(
        tmp_path,
        "src/mypkg/__init__.py",
        "src/mypkg/data.txt",
        "src/single.py",
        "src/ns/part/__init__.py",
        "src/ns/readme.txt",
        "src/.env",
    )
    before = f"""
import types
finder = types.ModuleType("__editable___mypkg_1_0_finder")
finder.MAPPING = {{"mypkg": {str(tmp_path / "src/mypkg")!r}, "single": {str(tmp_path / "src/single")!r},
                   "ns.part": {str(tmp_path / "src/ns/part")!r}, "gone": {str(tmp_path / "src/gone")!r}}}
finder.NAMESPACES = {{"ns": [{str(tmp_path / "src/ns")!r}]}}
sys.modules[finder.__name__] = finder
"""
    seen = Seen(tmp_path, before=before)
    assert seen.names == {"src/mypkg", "src/single.py", "src/ns/part"}
    assert seen.editable == [
        ("mypkg", str(tmp_path / "src/mypkg")),
        ("ns.part", str(tmp_path / "src/ns/part")),
        ("single", str(tmp_path / "src/single.py")),
        ("ns", str(tmp_path / "src/ns")),
    ]


def test_editable_finder_of_editables(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "pkg/__init__.py", "mod.py")
    before = f"""
class RedirectingFinder:
    _redirections = {{"pkg": {str(tmp_path / "pkg/__init__.py")!r}, "mod": {str(tmp_path / "mod.py")!r}}}
    @classmethod
    def find_spec(cls, *args): return None
sys.meta_path.append(RedirectingFinder)
"""
    seen = Seen(tmp_path, before=before)
    assert seen.names == {"pkg", "mod.py"}
    assert seen.editable == [("mod", str(tmp_path / "mod.py")), ("pkg", str(tmp_path / "pkg"))]


def test_many_single_modules_are_copied(tmp_path: pathlib.Path) -> None:
    make(tmp_path, *(f"m{number}.py" for number in range(1200)))
    os.truncate(tmp_path / "m7.py", 300_000)
    tree = Tree()
    discover_project.add_project(tree, str(tmp_path))
    kinds = {order.destination: (order.kind, order.size) for order in tree.orders() if order.kind != "symlink"}
    assert len(kinds) == 1200
    assert {path for path, (kind, _) in kinds.items() if kind == "bind"} == {os.path.realpath(tmp_path / "m7.py")}


def test_what_is_copied_is_bounded_in_all(tmp_path: pathlib.Path) -> None:
    names = [f"m{number}.py" for number in range(200)]
    make(tmp_path, *names)
    for name in names:
        os.truncate(tmp_path / name, 200_000)
    tree = Tree()
    discover_project.add_project(tree, str(tmp_path))
    copied = [order.size for order in tree.orders() if order.kind == "copy"]
    assert 0 < sum(copied) <= 32 << 20
    assert len(copied) < 200


def test_too_many_single_modules(tmp_path: pathlib.Path) -> None:
    names = [f"m{number}.py" for number in range(1001)]
    make(tmp_path, *names)
    for name in names:
        os.truncate(tmp_path / name, 300_000)  # too big to be copied
    tree = Tree()
    with pytest.raises(SetupError) as caught:
        discover_project.add_project(tree, str(tmp_path))
    assert "1000" in caught.value.call
    assert "package" in caught.value.remedy


# --- this interpreter -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def view() -> discover.RuntimeView:
    return discover.discover_runtime()


def covers(orders: tuple[MountOrder, ...], path: str) -> bool:
    """Tell whether a path, links followed, is within a mount."""
    real = os.path.realpath(path)
    return any(
        real == order.destination or real.startswith(f"{order.destination}/")
        for order in orders
        if order.kind in ("bind", "copy")
    )


def test_python_itself_is_shown(view: discover.RuntimeView) -> None:
    import ctypes

    for path in (
        view.interpreter,
        sys.executable,
        os.__file__,
        ctypes.__file__,
        pytest.__file__,
        str(PACKAGE),
    ):
        assert covers(view.orders, path), path
    with open("/proc/self/maps") as maps:
        loaded = {line.split()[-1] for line in maps if ".so" in line and "/" in line}
    assert [path for path in loaded if not covers(view.orders, path)] == []


def test_nothing_else_is_shown(view: discover.RuntimeView) -> None:
    for path in (
        "/etc/shadow",
        "/etc/ssh",
        "/usr/bin/env",
        "/usr/share/doc",
        "/var/lib",
        "/proc/1",
        "/sys/kernel",
    ):
        assert not covers(view.orders, path), path
    assert not any(order.destination in ("/", "/etc", "/usr", "/home", "/root") for order in view.orders)


def test_orders_are_read_only_resolved_and_apart(view: discover.RuntimeView) -> None:
    for order in view.orders:
        assert order.read_only
        assert not order.granted
        assert order.origin.startswith("runtime: ")
        assert order.destination == os.path.normpath(order.destination)
        if order.kind == "bind":
            assert order.source == order.destination == os.path.realpath(order.source)
            assert order.is_directory == os.path.isdir(order.source)
    places = [order.destination for order in view.orders]
    assert len(places) == len(set(places))


def test_merged_usr_is_recreated(view: discover.RuntimeView) -> None:
    links = {order.destination: order.source for order in view.orders if order.kind == "symlink"}
    for path in ("/bin", "/sbin", "/lib", "/lib64"):
        if os.path.islink(path):
            assert links[path] == os.readlink(path)


def test_etc_tells_nothing_of_the_host(view: discover.RuntimeView) -> None:
    files = {order.destination: order.data for order in view.orders if order.kind == "file"}
    assert [line.split(b":")[0] for line in files["/etc/passwd"].splitlines()] == [b"isolate", b"nobody"]
    assert b"isolate:x:1000:" in files["/etc/group"]
    assert b"localhost" in files["/etc/hosts"]
    assert b"dns" not in files["/etc/nsswitch.conf"]
    assert "/etc/resolv.conf" not in files


def test_the_view_is_small(view: discover.RuntimeView) -> None:
    """Without the project's own modules, a virtual environment takes few mounts."""
    own = [order for order in view.orders if order.origin != "runtime: the program's modules"]
    assert len(own) <= 30


def test_tools_and_network() -> None:
    view = discover.discover_runtime(tools=True, network=True)
    assert covers(view.orders, "/usr/bin/env")
    assert covers(view.orders, "/usr/share")
    assert not covers(view.orders, "/usr/local/etc")
    files = {order.destination: order.data for order in view.orders if order.kind == "file"}
    assert b"hosts: files dns" in files["/etc/nsswitch.conf"]


def test_extra_sys_path(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "module.py")
    view = discover.discover_runtime(extra_sys_path=[str(tmp_path)])
    assert str(tmp_path) in view.sys_path
    assert covers(view.orders, str(tmp_path / "module.py"))


@pytest.mark.parametrize("here", ["once", "pack", "plugins"])
def test_a_working_directory_that_was_on_the_path_for_an_import(tmp_path: pathlib.Path, here: str) -> None:
    """What sys.path led to while a module was imported; not what was loaded from a file, nor other directories."""
    make(tmp_path, "once/job.py", "once/helper.py", "once/.env", "once/data.txt")
    make(tmp_path, "pack/package/__init__.py", "pack/package/inner.py", "plugins/plugin.py", "plugins/other.py")
    before = f"""
import os, sys, importlib.util
sys.path[:] = filter(None, sys.path)
for directory, name in (("once", "job"), ("pack", "package.inner")):
    sys.path.insert(0, {str(tmp_path)!r} + "/" + directory)
    __import__(name)
    del sys.path[0]
spec = importlib.util.spec_from_file_location("plugin", {str(tmp_path)!r} + "/plugins/plugin.py")
sys.modules["plugin"] = importlib.util.module_from_spec(spec)
os.chdir({str(tmp_path)!r} + "/{here}")
"""
    seen = Seen(tmp_path, before=before)
    expected = {"once": {"once/job.py", "once/helper.py"}, "pack": {"pack/package"}, "plugins": set[str]()}
    assert seen.names == expected[here]
    assert (f"{tmp_path}/{here}" in seen.sys_path) == bool(expected[here])
    assert Seen(tmp_path).names == set()


def test_the_key_changes_with_what_matters(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    key = discover.runtime_key()
    assert discover.runtime_key() == key
    assert isinstance(hash(key), int)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert discover.runtime_key() != key


def test_an_embedding_server_is_not_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_base_executable", "/usr/bin/env", raising=False)
    monkeypatch.setattr(sys, "executable", "/usr/bin/env")
    found = executable.find_interpreter()
    assert "python" in os.path.basename(found)
    version = subprocess.run([found, "-V"], capture_output=True, text=True, check=True).stdout
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in version


def test_no_interpreter_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    import sysconfig

    monkeypatch.setattr(sys, "_base_executable", "/usr/bin/env", raising=False)
    monkeypatch.setattr(sys, "base_exec_prefix", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))
    with pytest.raises(Unsupported) as caught:
        executable.find_interpreter()
    assert "/usr/bin/env" in caught.value.found
    assert "install python" in caught.value.remedy
