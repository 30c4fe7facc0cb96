"""The filters that were compiled beforehand are those that the compiler makes."""

from __future__ import annotations

from typing import Any

import pytest

from isolate_fn._plan import ready_filters, seccomp_base
from isolate_fn._sys.numbers import MACHINES


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ready_filters.WORKERS)
def test_ready_filter_is_what_the_compiler_makes(machine: str, name: str) -> None:
    options = ready_filters.WORKERS[name]
    assert ready_filters.worker_filter(machine, **options) == seccomp_base.worker_filter(machine, **options)


@pytest.mark.parametrize("machine", MACHINES)
def test_ready_filter_of_init_is_what_the_compiler_makes(machine: str) -> None:
    assert ready_filters.init_filter(machine) == seccomp_base.init_filter(machine)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "options",
    [
        {"network": True, "on_denied": "errno"},
        {"network": True, "on_denied": "kill"},
        {"network": False, "on_denied": "kill"},
        {"network": False, "on_denied": "errno", "exec": True, "fork": None},
        {"network": False, "on_denied": "errno", "exec": True, "fork": True},
        {"network": False, "on_denied": "errno", "fork": True},
        {"narrowing": True},
        {"landlock": True},
    ],
    ids=str,
)
def test_no_option_gets_the_filter_of_another(machine: str, options: Any) -> None:
    assert ready_filters.worker_filter(machine, **options) == seccomp_base.worker_filter(machine, **options)


def test_ready_filters_differ() -> None:
    programs = [ready_filters.worker_filter("x86_64", **options) for options in ready_filters.WORKERS.values()]
    assert len(set(programs)) == len(ready_filters.WORKERS)


def test_no_filter_for_an_architecture_without_tables() -> None:
    with pytest.raises(KeyError):
        ready_filters.init_filter("mips")
