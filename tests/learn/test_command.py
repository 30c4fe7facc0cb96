"""``isolate-fn learn``: what it prints, saves and checks, and how it ends."""

from __future__ import annotations

import json
import os

import pytest

from isolate_fn import Policy, Seen

pytestmark = pytest.mark.needs("namespaces", "landlock")

MODULE = '''
import subprocess
from isolate_fn import isolated, ro

def lengths(*paths, twice=False):
    return [len(open(path).read()) * (1 + twice) for path in paths]

@isolated(mounts=[ro("{here}/a"), ro("{here}/b")])
def decorated(path):
    return open(path).read()

def fail():
    raise KeyError("gone")
'''


@pytest.fixture
def project(elsewhere):
    for name in ("a", "b"):
        (elsewhere / name).write_text(name)
    (elsewhere / "lessons_of_command.py").write_text(MODULE.replace("{here}", str(elsewhere)))
    return elsewhere


def test_a_program(project, command, tmp_path):
    done = command("learn", "--toml", "--", "cat", project / "a", "/etc/shadow", project / "none")
    assert done.returncode == 1  # cat's own
    assert "a\n" in done.stderr or done.stderr.count("a")
    assert "nothing of the host's can be changed" in done.stderr
    assert "there is no network" in done.stderr
    assert "# /etc/shadow: holds passwords of the system" in done.stdout or os.geteuid() != 0
    (tmp_path / "p.toml").write_text(done.stdout)
    assert f"ro('{project}/a')" in map(repr, Policy.from_toml(tmp_path / "p.toml").mounts)
    ran = command("run", "--policy", tmp_path / "p.toml", "--", "cat", project / "a")
    assert (ran.returncode, ran.stdout) == (0, "a")
    assert command("run", "--policy", tmp_path / "p.toml", "--", "cat", project / "b").returncode == 1


def test_a_function_with_arguments(project, command):
    done = command("learn", "lessons_of_command:lengths", project / "a", "twice=true", cwd=project)
    assert done.returncode == 0
    assert "returned [2]" in done.stderr
    assert "@isolated(" in done.stdout
    assert f"ro('{project}/a')" in done.stdout
    assert "from isolate_fn import" in done.stdout
    assert f'"{project}/a"' in done.stdout  # as TOML


def test_a_script_that_calls_it(project, command):
    script = project / "calls.py"
    script.write_text(f"import lessons_of_command as m\nfor name in 'ab':\n    m.lengths('{project}/' + name)\n")
    done = command("learn", "--json", "--script", script, "lessons_of_command:lengths", cwd=project)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["runs"] == 2
    assert f"ro('{project}/a')" in document["decorator"]
    assert f"ro('{project}/b')" in document["decorator"]


def test_a_script_that_is_missing_is_not_the_functions_error(project, command):
    done = command("learn", "--script", "none.py", "lessons_of_command:lengths", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "isolate-fn learn: --script none.py: No such file or directory\n"


def test_runs_are_saved_and_merged(project, command, tmp_path):
    for name in ("a", "b"):
        done = command("learn", "--save", tmp_path / f"{name}.json", "--", "cat", project / name)
        assert done.returncode == 0
    merged = command("learn", "--toml", "--merge", tmp_path / "a.json", "--merge", tmp_path / "b.json")
    assert merged.returncode == 0
    assert f'"{project}/a"' in merged.stdout
    assert f'"{project}/b"' in merged.stdout
    assert Seen.load(tmp_path / "a.json").runs == 1


def test_check_fails_for_what_no_run_used(project, command, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(f'mounts = ["{project}/a", "{project}/b"]\n')
    done = command("learn", "--check", policy, "--", "cat", project / "a")
    assert done.returncode == 1
    assert done.stdout == f"mounts[1] ro('{project}/b'): nothing of it was used\n"
    done = command("learn", "--check", policy, "--", "cat", project / "a", project / "b")
    assert (done.returncode, done.stdout) == (0, "")


def test_check_of_a_functions_own_policy(project, command, tmp_path):
    name, saved = "lessons_of_command:decorated", tmp_path / "a.json"
    done = command("learn", "--save", saved, "--check", name, name, project / "a", cwd=project)
    assert done.returncode == 1
    assert f"ro('{project}/b')" in done.stdout
    done = command("learn", "--merge", saved, "--check", name, name, project / "b", cwd=project)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_not_needed_is_trimmed(project, command):
    script = f"cat {project}/a; test -e {project}/b; true"
    plain = command("learn", "--toml", "--", "sh", "-c", script)
    trimmed = command("learn", "--toml", "--trim", "--", "sh", "-c", script)
    assert f'"{project}/b"' in plain.stdout
    assert f'"{project}/b"' not in trimmed.stdout
    assert f'"{project}/a"' in trimmed.stdout


def test_a_function_that_raises(project, command):
    done = command("learn", "lessons_of_command:fail", cwd=project)
    assert done.returncode == 1
    assert "raised KeyError" in done.stderr
    assert "@isolated" in done.stdout


def test_escapes_do_not_reach_the_terminal(project, command):
    path = project / "\x1b]0;title\x07"
    path.write_text("\x1b[31mred")
    done = command("learn", "--", "cat", path, project / "\x1b[2Jnone")
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x07" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a program"),
        (["--"], "no program"),
        (["nomodule"], "not MODULE:FUNCTION"),
        (["there_is_none:f"], "No module named"),
        (["--merge", "/there/is/none"], "No such file"),
        (["--check", "os:getcwd", "--", "true"], "not a function decorated"),
        (["--rw", "/there/is/none", "--", "true"], "there is no"),
    ],
)
def test_wrong_command_lines(command, words, said):
    done = command("learn", *words)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stdout == ""


def test_a_program_that_is_not_there(command):
    assert command("learn", "--", "/there/is/none").returncode == 127


def test_help_says_what_is_permitted(command):
    done = command("learn", "--help")
    assert done.returncode == 0
    for word in ("--net", "--check", "--merge", "--trim", "refused and flagged"):
        assert word in " ".join(done.stdout.split())


def test_check_of_a_run_that_fails_tells_both(project, command, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(f'mounts = ["{project}/b"]\n')
    done = command("learn", "--check", policy, "--", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert "nothing of it was used" in done.stdout
