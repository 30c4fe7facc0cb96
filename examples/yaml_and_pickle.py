"""Settings and models from strangers: loading them must not run their code here.

The attack: YAML tags and pickles name functions that are called while loading. Both below call os.system and
write a file. Isolated, the code still runs, but in a place without the host's files, without network and
without programs; and what it returns is decoded without ever running anything.

Needs: pip install pyyaml
"""

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

from isolate_fn import isolated


@isolated(timeout=10)
def load_yaml(text: str) -> Any:
    import yaml

    return yaml.unsafe_load(text)


@isolated(timeout=10)
def load_pickle(data: bytes) -> Any:
    return pickle.loads(data)


class Payload:
    """Pickles to a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        marker = Path(directory) / "owned"
        hostile_yaml = f'!!python/object/apply:os.system ["touch {marker}"]'
        hostile_pickle = pickle.dumps(Payload(f"touch {marker}"))
        for name, load, data in (("yaml", load_yaml, hostile_yaml), ("pickle", load_pickle, hostile_pickle)):
            for side, function in (("unprotected", load.__wrapped__), ("isolated", load)):
                try:
                    answer = repr(function(data))
                except Exception as error:
                    answer = type(error).__name__
                print(f"{name}, {side}: {answer}; the code's file on the host: {marker.exists()}")
                marker.unlink(missing_ok=True)
        print("honest yaml, isolated:", load_yaml("answer: 42"))


if __name__ == "__main__":
    main()
