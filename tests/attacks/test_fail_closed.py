"""Promise 7: what was asked is in force, or the call raises before the function runs.

Each step of the set-up is taken away, and each system call of it is made to fail: the caller refuses, says why, and the
function has not run. A step whose absence changes nothing that is promised is listed here with the reason.
"""

from __future__ import annotations

import json
import os
import sys

import hostile
import pytest
from support import open_without, python

from isolate_fn._enforce import sequence
from isolate_fn.errors import SetupError

pytestmark = pytest.mark.needs("namespaces")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PRIVILEGED = os.geteuid() == 0

# What stands in for a step, so that nothing promised is lost without it.
LATER = "a later step does it again; this one covers the time until then"
FEATURE = "it grants something, and its absence takes it away"
NO_PROMISE = "hardening that no promise rests on"
SAME_ID = "an ordinary caller's one id is mapped already, so there is nothing to change"
REDUNDANT = {
    "template: host's /proc": "only the old way of mounting reads it",
    "template: death signal": "the spawner is PID 1 of its own namespace: its end is everybody's",
    "death signal": LATER,
    "cgroup": "without a delegated group there is none to join",
    "out-of-memory score": NO_PROMISE,
    "loopback": FEATURE,
    "subreaper": FEATURE,
    "speculation": NO_PROMISE,
    "foreground": NO_PROMISE,
    "init: foreground": NO_PROMISE,
    "groups": "an ordinary caller cannot leave its groups; root's own are tested apart",
    "not dumpable": "also reset to 0 by the change of id, where there is one",
    "init: not dumpable": "likewise",
    "user id": "the one id that is mapped is the one taken before; this is for a caller whose real id is another",
    **({} if PRIVILEGED else dict.fromkeys(("outer id", "init: user id", "death signal again", "init: death signal"), SAME_ID)),
}
# A step whose successors would change the host, were they not taken away with it.
TOGETHER = {
    "namespaces": ("namespaces", "loopback", "host name"),
    "user namespace": ("user namespace", "no nested user namespaces"),
}
# What the refusal speaks of; other steps may be missed by whatever comes next.
NAMED = {
    "template: read-only root": "mounts",
    "keyring": "keyring",
    "namespaces": "own namespaces",
    "/proc": "own /proc",
    "/proc mounted": "own /proc",
    "host name": "host name",
    "no nested user namespaces": "",
    "session": "own session",
    "working directory": "working directory",
    "limits": "resource limits",
    "capability locks": "five empty capability sets",
    "capabilities": "five empty capability sets",
    "no new privileges": "landlock",
    "landlock": "landlock",
    "seccomp": "seccomp filter on every thread",
    "init: capability locks": "self-check of init: five empty capability sets",
    "init: capabilities": "self-check of init: five empty capability sets",
    "init: landlock": "self-check of init: landlock",
    "init: seccomp": "self-check of init: seccomp filter",
    "init: no new privileges": "init: landlock",
    **({"outer id": "uid_map", "init: user id": "user and group id"} if PRIVILEGED else {}),
    **({"death signal again": "ends with the spawner", "init: death signal": "ends with the spawner"} if PRIVILEGED else {}),
}

# Puts the process, and all it starts, under a filter that answers one system call with an errno. The third number is
# that of the first argument to look for, -1 for any.
_FILTER = """
import struct

def deny(number, code, first=-1):
    load = lambda offset: struct.pack("=HBBI", 0x20, 0, 0, offset)
    test = lambda value, skip: struct.pack("=HBBI", 0x15, 0, skip, value & 0xFFFFFFFF)
    give = lambda value: struct.pack("=HBBI", 0x06, 0, 0, value)
    program = load(0) + test(number, 1 if first < 0 else 3)
    program += b"" if first < 0 else load(16) + test(first, 1)
    program += give(0x50000 | code) + give(0x7FFF0000)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    buffer = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)))
    assert libc.prctl(22, 2, header, 0, 0) == 0, ctypes.get_errno()
"""

# One throwaway process for many attempts: each group of them is made by a fork, with a spawner of its own.
_CALL = """
import ctypes, json, os, sys
sys.path[:0] = {paths!r}
import hostile
from isolate_fn import Policy, rw
from isolate_fn._api.prepare import prepare
from isolate_fn._runtime import call, lifetime
from isolate_fn._runtime.signature import sign
from isolate_fn._transport.calls import encode_call, function_part, function_reference
from isolate_fn.errors import IsolationError
{helpers}

def attempt(removed):
    marker = os.path.join({place!r}, "ran")
    try:
        policy = Policy(prewarm=0, mounts=[rw({place!r}, "/marker")], **{options!r})
        prepared = prepare(policy, removed=tuple(removed), by_value=True)
        reference = function_reference(hostile.touch_and_wait)
        part, encoded = function_part(reference), encode_call(reference, ("/marker/ran",), {{}})
        call.run(prepared, sign(reference, prepared), encoded, part)
        error = {{"type": "", "ran": True, "text": ""}}
    except IsolationError as failure:
        parts = {{name: getattr(failure, name, None) for name in ("step", "call", "errno", "remedy")}}
        error = {{"type": type(failure).__name__, "ran": failure.ran, "text": str(failure), **parts}}
    error["marker"] = os.path.exists(marker)
    if error["marker"]:
        os.unlink(marker)
    print(json.dumps(error), flush=True)

for group in {groups!r}:
    pid = os.fork()
    if pid == 0:
        try:
            for before, removed in group:
                exec(before)
                attempt(removed)
            lifetime._at_exit()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
"""


def attempt(place, *attempts, shared=False, env=None, **options):
    """Make calls in a throwaway process; return how each ended.

    Args:
        place: a directory for it.
        *attempts: (lines of Python to run first, names of the steps to leave out).
        shared: one spawner for all, as for the calls of a program; else each attempt has its own.
        env: more environment variables.
        **options: of the policy.
    """
    elsewhere, marked = place / "elsewhere", place / "marked"
    elsewhere.mkdir(exist_ok=True)
    marked.mkdir(exist_ok=True)
    attempts = attempts or (("", ()),)
    script = _CALL.format(
        paths=[os.path.dirname(hostile.__file__), ROOT], helpers=_FILTER, place=str(marked), options=options,
        groups=[attempts] if shared else [[each] for each in attempts],
    )  # fmt: skip
    ended = python(script, cwd=elsewhere, env=env, timeout=110)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(found) == len(attempts), ended
    return found


def refused(error):
    """Say whether the function did not run, and the caller was told so."""
    return error["type"] in ("SetupError", "InternalError", "Unsupported") and not error["ran"] and not error["marker"]


STEPS = [
    (name, [step.name for step in getattr(sequence, name)])
    for name in dir(sequence)
    if name.isupper() and isinstance(getattr(sequence, name), tuple)
]
# Steps of processes in namespaces of their own: what they lack harms no later isolate of their spawner, as a whole call
# at the end shows. Without one of the others the spawner itself may be in no state to go on.
IN_FORKS = ("INIT_LOCKS", "WORKER_BUILDS", "WORKER_LOCKS", "WORKER_RESTRICTS")


@pytest.mark.parametrize(("name", "steps"), STEPS, ids=[name for name, _ in STEPS])
def test_without_any_one_step_the_function_does_not_run(tmp_path, name, steps):
    without = [("", TOGETHER.get(step, (step,))) for step in steps]
    if name in IN_FORKS:
        *results, whole = attempt(tmp_path, *without, ("", ()), shared=True)
        assert whole["marker"], whole
    else:
        results = attempt(tmp_path, *without)
    for step, error in zip(steps, results, strict=True):
        if step in REDUNDANT:
            assert refused(error) or (error["marker"] and not error["type"]), (step, error)
            continue
        assert refused(error), (step, error)
        assert NAMED.get(step, "") in error["text"], (step, error)


def test_with_every_step_the_function_runs(tmp_path):
    assert attempt(tmp_path) == [{"type": "", "ran": True, "text": "", "marker": True}]


def test_every_removal_is_noticed_or_explained():
    """A step that is new in the sequence is noticed here first."""
    names = {step for _, steps in STEPS for step in steps}
    assert set(REDUNDANT) - names <= {"cgroup"}
    assert set(NAMED) <= names


@pytest.mark.needs("root")
def test_supplementary_groups_of_a_privileged_caller_are_noticed(tmp_path):
    before = "os.setgroups([4, 24])"
    without, with_it = attempt(tmp_path, (before, ("groups",)), (before, ()))
    assert refused(without)
    assert "no supplementary groups" in without["text"]
    assert with_it["marker"]


# --- calls that fail -------------------------------------------------------------------------------------------------

FAILING = {
    "unshare": (1, -1),
    "seccomp": (1, 1),
    "seccomp unknown": (38, 1),
    "mount": (1, -1),
    "mount unknown": (38, -1),
    "pivot_root": (1, -1),
    "umount2": (1, -1),
    "open_tree": (1, -1),
    "open_tree unknown": (38, -1),
    "move_mount": (1, -1),
    "mount_setattr": (1, -1),
    "fsopen": (38, -1),
    "openat2": (38, -1),
    "setns": (1, -1),
    "close_range": (38, -1),
    "sethostname": (1, -1),
    "capset": (1, -1),
    "keyctl": (1, -1),
    "landlock_restrict_self": (1, -1),
    "landlock_add_rule": (1, -1),
    "prctl no_new_privs": (1, 38),
    "prctl dumpable": (1, 4),
    "prctl bounding set": (1, 24),
    "prctl securebits": (1, 28),
    "prctl ambient": (1, 47),
    "prctl death signal": (1, 1),
    "pidfd_open": (38, -1),
}


@pytest.mark.needs("landlock")
def test_a_call_of_the_set_up_that_fails_keeps_the_function_from_running(tmp_path):
    from isolate_fn._sys.numbers import table

    numbers = table(os.uname().machine)
    attempts = [(f"deny({numbers[what.split()[0]]}, {code}, {first})", ()) for what, (code, first) in FAILING.items()]
    for what, error in zip(FAILING, attempt(tmp_path, *attempts), strict=True):
        assert refused(error), (what, error)
        assert error["remedy"], (what, error)
        if error["type"] == "SetupError" and what != "setns":  # setns also ends the spawner, which cannot go on without
            assert error["step"], (what, error)
            assert error["call"], (what, error)
            assert error["errno"] == FAILING[what][0], (what, error)


def test_a_limit_on_descriptors_never_runs_a_function_without_walls(tmp_path):
    before = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (%d, %d))"
    for error in attempt(tmp_path, *((before % (most, most), ()) for most in (16, 24, 32))):
        assert not error["marker"] or not error["type"]


# --- kernels that lack something -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pretend", "ends"),
    [
        ("seccomp=0", "Unsupported"),
        ("landlock=0", "ran"),
        ("landlock=1", "ran"),
        ("mount_setattr=0", "ran"),
        ("userns=0,privileged=0,landlock=0", "Unsupported"),
    ],
)
def test_a_kernel_that_lacks_something_is_told_or_refused(tmp_path, pretend, ends):
    (error,) = attempt(tmp_path, env={"ISOLATE_FN_PRETEND": pretend})
    if ends == "ran":
        assert error["marker"], error
    else:
        assert refused(error), error
        assert error["type"] == ends


def test_landlock_is_there_or_the_call_refused_where_it_is_required(tmp_path):
    (error,) = attempt(tmp_path, env={"ISOLATE_FN_PRETEND": "landlock=0"}, require=("landlock",))
    assert not error["marker"], error
    assert not error["ran"]


def test_python_version_of_the_throwaway_process_is_ours():
    assert python("import sys; print(sys.version_info[:2])").stdout.strip() == str(sys.version_info[:2])


TOOLS_FAIL_FIRST = """
from isolate_fn._enforce.scene import StepFailed
from isolate_fn._runtime import worker

def serve(scene):
    if scene.role == "tools":
        raise StepFailed("user namespace", "unshare", 28, "No space left on device")
    import time
    time.sleep(1000)

worker._serve = serve
"""


def test_the_process_that_starts_tools_fails_before_the_worker_does(weaken):
    """For the same reason, mostly, and whoever is first is heard: it has ended when the worker has not said a word."""
    with pytest.raises(SetupError, match="user namespace: unshare failed: ENOSPC"):
        open_without((), **weaken(TOOLS_FAIL_FIRST)).__enter__()
