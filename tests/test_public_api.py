"""The names that users rely on, and how they look from outside."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import isolate_fn
from isolate_fn import errors

ROOT = Path(__file__).parents[1]

# A name that goes missing here is a change that breaks users; a new one is listed on purpose.
FRONT_DOOR = {
    "Answer", "Denial", "Diagnosis", "Enforcement", "Host", "Isolate", "IsolateOutput", "IsolatedExecutor",
    "Learning", "Limits", "Network", "Policy", "Report", "Restrictions", "SafetyContext", "Seen", "SelfTest", "dev",
    "doctor", "explain", "file", "isolated", "learn", "lock_pid_file", "overlay", "restrict_privileges", "ro", "rw",
    "sandbox", "selftest", "symlink", "tmpfs", "would",
}  # fmt: skip
OPTIONS = {
    "mounts": (), "network": False, "rules": None, "limits": isolate_fn.Limits(), "timeout": None,
    "env": {}, "cwd": "/work", "returns": (), "raises": (), "preload": (), "reuse": False, "prewarm": 1,
    "idle_timeout": 60, "fresh_exec": False,
    "output": "relay", "on_denied": "report", "require": None, "accept": (),
    "expose": None, "name": None,
}  # fmt: skip
LIMITS = {
    "rootfs_size": 64 << 20, "rootfs_inodes": 16384, "memory": None, "cpu_time": None, "processes": 64,
    "open_files": 256, "file_size": None, "output": 8 << 20, "result": 256 << 20,
    "address_space": None, "cpus": None,
}  # fmt: skip


def test_front_door() -> None:
    assert set(isolate_fn.__all__) == FRONT_DOOR


def test_every_public_name_is_there_and_described() -> None:
    for name in isolate_fn.__all__:
        value = getattr(isolate_fn, name)
        if callable(value):
            assert inspect.getdoc(value), f"isolate_fn.{name} has no docstring"


def test_star_import_is_the_front_door() -> None:
    namespace: dict[str, object] = {}
    exec("from isolate_fn import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(isolate_fn.__all__)


def test_options_and_their_defaults() -> None:
    policy = isolate_fn.Policy()
    for name, default in OPTIONS.items():
        assert getattr(policy, name) == default, name


def test_limits_and_their_defaults() -> None:
    limits = isolate_fn.Limits()
    assert {name: getattr(limits, name) for name in LIMITS} == LIMITS


def test_decorating_takes_every_option() -> None:
    decorated = isolate_fn.isolated(**OPTIONS)(len)
    assert decorated.policy == isolate_fn.isolated(len).policy


@pytest.mark.parametrize(
    "attribute",
    ["policy", "__wrapped__", "options", "warm_up", "enforcement", "close", "submit", "map"],
)
def test_attributes_of_a_decorated_function(attribute: str) -> None:
    assert hasattr(isolate_fn.isolated(len), attribute)


def test_decorating_keeps_name_and_docstring() -> None:
    @isolate_fn.isolated
    def described(number: int) -> int:
        """Say something."""
        return number

    assert described.__name__ == "described"
    assert described.__doc__ == "Say something."
    assert str(inspect.signature(described)) in ("(number: 'int') -> 'int'", "(number: int) -> int")


def test_weakenings_have_to_be_imported_by_name() -> None:
    from isolate_fn import dangerous

    assert not set(dangerous.__all__) & set(isolate_fn.__all__)
    for name in dangerous.__all__:
        assert getattr(dangerous, name).__doc__, name


def test_presets_are_policies() -> None:
    from isolate_fn import presets

    for name in presets.__all__:
        preset = getattr(presets, name)
        assert isinstance(preset, isolate_fn.Policy)
        assert pickle.loads(pickle.dumps(preset)) == preset
        assert preset.network is False or name == "NETWORK_CLIENT"


def test_errors_are_one_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.IsolationError)


def test_package_is_marked_as_typed() -> None:
    assert (Path(isolate_fn.__file__).parent / "py.typed").is_file()


def test_every_module_imports_and_says_what_it_is() -> None:
    """Those of third parties' integrations apart: each needs its library."""
    for module in pkgutil.walk_packages(isolate_fn.__path__, "isolate_fn."):
        if "integrations" in module.name or module.name.endswith(("__main__", "pytest_plugin", "launcher")):
            continue
        assert importlib.import_module(module.name).__doc__, f"{module.name} has no docstring"


def test_signatures_as_a_type_checker_sees_them() -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--follow-imports=silent",
            "--no-error-summary",
            "tests/typing/api.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_command_line_answers(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from isolate_fn.cli import main; sys.exit(main())", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "isolate-fn" in done.stdout + done.stderr
