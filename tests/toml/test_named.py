"""`policy="NAME"`: presets, the nearest pyproject.toml of the code that says the name, and what is refused there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from isolate_fn import IsolatedExecutor, Policy, isolated, presets, sandbox
from isolate_fn.errors import PolicyError
from isolate_fn.policy.toml.find import policy_named

ROOT = Path(__file__).parents[2]
PROJECT = """
[project]
name = "mine"
[tool.isolate_fn.policies.web]
base = "READ_FILES"
timeout = 7
[tool.isolate_fn.policies.other]
timeout = 8
"""
SAYS = "from isolate_fn import isolated\n@isolated(policy='web')\ndef f(): return 1\nprint(f.policy.timeout)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "src" / "package").mkdir(parents=True)
    (tmp_path / "src" / "package" / "code.py").write_text(SAYS)
    return tmp_path


def run(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_project_of_the_code_counts(project: Path) -> None:
    done = run(str(project / "src/package/code.py"), cwd=Path("/"))
    assert done.stdout == "7\n", done.stderr


IMPORTED = """
import os
from pathlib import Path
from isolate_fn import IsolatedExecutor, Policy, isolated, sandbox
FILE = os.path.join(os.path.dirname(__file__), "own.toml")
@isolated(policy="web")
def named(): return "named", os.path.exists(FILE)
@isolated(policy=Policy.from_toml(FILE, "own"))
def read(): return "read", os.path.exists(FILE)
@isolated(policy="TOOLS")
def preset(): return "preset"
@isolated(reuse=True)
def other(): return "other"
box, executor = sandbox(policy="web"), IsolatedExecutor(1, policy="web")
"""


@pytest.mark.needs("namespaces")
def test_modules_that_name_policies_are_imported_inside(project: Path) -> None:
    """Where the project's file is not: nothing of it decides anything there."""
    (project / "own.toml").write_text("[policies.own]\ntimeout = 5\n")
    (project / "module.py").write_text(IMPORTED)
    says = """
import module as m
print(m.named(), m.read(), m.preset(), m.other(), m.named.policy.timeout, m.read.policy.timeout)
with m.box, m.executor:
    print(m.box.call(m.named), m.executor.submit(m.other).result())
"""
    done = run("-c", says, cwd=project)
    assert done.stdout == "('named', False) ('read', False) preset other 7 5\n('named', False) other\n", done.stderr


@pytest.mark.needs("namespaces")
def test_inside_a_file_that_is_there_is_read(project: Path) -> None:
    says = """
import os
from isolate_fn import Policy, isolated, ro
from isolate_fn.errors import PolicyError
@isolated(mounts=[ro(os.path.abspath("pyproject.toml"), "/in/pyproject.toml")])
def ask():
    found = [Policy.from_toml("/in/pyproject.toml", "web").timeout]
    try:
        Policy.from_toml("/in/pyproject.toml", "nope")
    except PolicyError as error:
        found.append(error.problem)
    return found
print(*ask())
"""
    done = run("-c", says, cwd=project)
    assert done.stdout == "7 there is no policy 'nope'\n", done.stderr


def test_the_working_directory_does_not(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever chooses the directory that a program is started in does not choose what its functions may do."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "pyproject.toml").write_text("[tool.isolate_fn.policies.web]\nnetwork = true\ntimeout = 99\n")
    assert run(str(project / "src/package/code.py"), cwd=elsewhere).stdout == "7\n"


def test_the_nearest_project_counts(project: Path) -> None:
    (project / "src" / "pyproject.toml").write_text("[tool.isolate_fn.policies.web]\ntimeout = 3\n")
    assert run(str(project / "src/package/code.py"), cwd=project).stdout == "3\n"
    (project / "src" / "pyproject.toml").write_text("[project]\n")
    done = run(str(project / "src/package/code.py"), cwd=project)
    assert "there is no policy 'web'" in done.stderr
    assert "policies there: none" in done.stderr


def test_code_without_a_file_is_of_the_working_directory(project: Path) -> None:
    done = run("-c", SAYS.replace("f.policy", "f.policy"), cwd=project / "src")
    assert done.stdout == "7\n", done.stderr


def test_what_is_not_there_is_refused_with_what_is(project: Path) -> None:
    code = (project / "src/package/code.py").read_text().replace("'web'", "'webb'")
    (project / "src/package/code.py").write_text(code)
    done = run(str(project / "src/package/code.py"), cwd=project)
    assert done.returncode == 1
    assert f"{project / 'pyproject.toml'}:" in done.stderr
    assert "did you mean 'web'? policies there: web, other; presets: COMPUTE, " in done.stderr


def test_no_project_at_all(tmp_path: Path) -> None:
    if any((above / "pyproject.toml").exists() for above in tmp_path.parents):
        pytest.fail("this test needs a temporary directory outside of any project")
    with pytest.raises(PolicyError, match=rf"there is no policy 'web', and no pyproject\.toml in or above '{tmp_path}'"):
        policy_named("web", tmp_path)


def test_installed_packages_do_not_ask_the_project_above_them(project: Path) -> None:
    inside = project / "venv" / "lib" / "site-packages" / "library"
    inside.mkdir(parents=True)
    (inside / "code.py").write_text(SAYS)
    done = run(str(inside / "code.py"), cwd=project)
    assert "installed packages have none" in done.stderr


def test_a_mistake_in_the_project_names_its_line(project: Path) -> None:
    text = PROJECT.replace("timeout = 8", "timeot = 8")
    (project / "pyproject.toml").write_text(text)
    with pytest.raises(PolicyError) as refusal:
        policy_named("web", project)
    assert refusal.value.line == text.splitlines().index("timeot = 8") + 1
    assert refusal.value.field == "tool.isolate_fn.policies.other.timeot"
    (project / "pyproject.toml").write_text("[tool.isolate_fn]\ntimeout = 8\n")
    with pytest.raises(PolicyError, match=r":2: tool\.isolate_fn\.timeout: the policy has no name"):
        policy_named("web", project)


def test_presets_by_name_everywhere(project: Path) -> None:
    assert Policy.from_options("READ_FILES") == presets.READ_FILES
    assert isolated(policy="READ_FILES", timeout=5)(len).policy.timeout == 5
    assert sandbox(policy="COMPUTE").policy == presets.COMPUTE
    with IsolatedExecutor(1, policy="COMPUTE", name="x") as executor:
        assert executor.policy == Policy.from_options(presets.COMPUTE, name="x")
    with pytest.raises(PolicyError, match="there is no policy 'READ_FILE'") as refusal:
        isolated(policy="READ_FILE")
    assert "did you mean 'READ_FILES'?" in str(refusal.value)


def test_a_policy_may_not_be_called_like_a_preset(project: Path) -> None:
    (project / "pyproject.toml").write_text(PROJECT + "[tool.isolate_fn.policies.XML]\nnetwork = true\n")
    with pytest.raises(PolicyError, match="'XML' is a preset"):
        policy_named("web", project)
    with pytest.raises(PolicyError, match="'XML' is a preset"):
        policy_named("XML", project)


def test_from_toml_reads_a_project_by_path(project: Path) -> None:
    assert Policy.from_toml(project / "pyproject.toml", "other") == Policy(timeout=8)
    with pytest.raises(PolicyError, match="the policies here have names: web, other"):
        Policy.from_toml(project / "pyproject.toml")


def test_a_project_that_others_may_write_is_refused(project: Path) -> None:
    (project / "pyproject.toml").chmod(0o666)
    with pytest.raises(PolicyError, match="can be written by everybody"):
        policy_named("web", project)
    assert policy_named("XML", project) == presets.XML


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_project_of_a_stranger_is_refused(project: Path) -> None:
    os.chown(project / "pyproject.toml", 4711, 4711)
    with pytest.raises(PolicyError, match="belongs to user 4711"):
        policy_named("web", project / "src")


def test_the_marker_of_pytest_takes_names(project: Path) -> None:
    (project / "test_it.py").write_text(textwrap.dedent("""
        import os
        import pytest

        @pytest.mark.isolate_fn(policy="web", env={"HERE": "1"})
        def test_inside():
            assert os.environ["HERE"] == "1"

        @pytest.mark.isolate_fn(policy="wbe")
        def test_unknown():
            pass
    """))  # fmt: skip
    for more in ((), ("--isolate-fn", "--isolate-fn-policy", "other")):
        # No other plugin, and this one also where the package is not installed.
        plugins = ("-p", "isolate_fn.pytest_plugin", "-p", "no:cacheprovider")
        done = run("-m", "pytest", "-q", *plugins, *more, cwd=project, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
        assert "there is no policy 'wbe'" in done.stdout
        assert "did you mean 'web'?" in done.stdout
