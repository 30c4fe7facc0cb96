"""What the engine without namespaces stops, in each place that it is made for; each attack succeeds without the wall."""

from __future__ import annotations

import errno
import os

import pytest
from simulation import NEED_ROOT, SIMULATIONS

pytestmark = pytest.mark.needs("landlock>=6", "interpreter")

DENIED = {-errno.EPERM, -errno.EACCES, -errno.ENOSYS, -errno.ENOTSUP, -errno.EXDEV, -errno.EAFNOSUPPORT}
ATTACKS = [
    "read an unmounted file", "list a directory", "write an unmounted file", "make a file outside", "truncate", "chmod",
    "utime", "extended attributes", "link", "TCP", "UDP", "unix socket", "abstract socket", "signal", "ptrace", "environment",
    "memory of a process", "command line", "affinity", "fork", "stop init",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("simulation", SIMULATIONS)
def test_attack_is_denied_and_succeeds_without_the_wall(run_simulated, simulation, attack):
    if simulation in NEED_ROOT and os.geteuid():
        pytest.skip("mounting a read-only root needs root")
    walls, bare = run_simulated(simulation)[attack]
    assert walls in DENIED, (walls, bare)
    assert bare not in DENIED, (walls, bare)
    assert not isinstance(bare, int) or bare >= 0, bare


@pytest.mark.parametrize("simulation", SIMULATIONS)
def test_the_engine_is_chosen_and_says_what_differs(run_simulated, simulation):
    if simulation in NEED_ROOT and os.geteuid():
        pytest.skip("mounting a read-only root needs root")
    engine, _, properties, differences, _ = run_simulated(simulation)["engine"]
    assert engine == "landlock"
    assert properties == ["filesystem", "network", "processes", "syscalls"]
    assert any("pid namespace" in line for line in differences)
    cause = {"pretend": "ISOLATE_FN_PRETEND"}.get(simulation, "answers unshare(2)")
    assert cause in differences[0]


def test_every_attack_is_one_of_these(run_simulated):
    assert set(run_simulated("pretend")) == {*ATTACKS, "engine"}


# --- older kernels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5])
def test_attacks_are_denied_at_every_abi(run_simulated, abi):
    told = run_simulated("pretend older", f"userns=0,landlock={abi}")
    let_through = {attack: told[attack][0] for attack in ATTACKS if told[attack][0] not in DENIED}
    assert not let_through
    assert told["engine"][2] == ["filesystem", "network", "processes", "syscalls"]
