"""Isolated functions of a script, as engines send them to workers whose ``__main__`` is another program."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusters import run_program

pytestmark = pytest.mark.needs("namespaces")

SENDER = """
import json, pickle
import cloudpickle
from isolate_fn import isolated

FACTOR = 3

@isolated(timeout=20)
def times(n):
    return n * FACTOR


with open("sent", "wb") as file:
    file.write(cloudpickle.dumps([times, times.options(timeout=7)]))
by_name = pickle.dumps(times)
print(json.dumps([pickle.loads(by_name) is times, b"FACTOR" in by_name, times(2)]))
"""

RECEIVER = """
import json, pickle
with open("sent", "rb") as file:
    first, second = pickle.load(file)
print(json.dumps([first(4), second(5), first.policy.timeout, second.policy.timeout, type(first).__name__]))
"""


def test_cloudpickle_sends_the_function_and_pickle_its_name(tmp_path: Path) -> None:
    assert run_program(tmp_path, SENDER) == [True, False, 6]
    assert run_program(tmp_path, RECEIVER, name="other.py") == [12, 15, 20, 7, "Isolated"]
