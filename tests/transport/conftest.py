"""Makes the users' modules of these tests importable under one name each, whatever import mode pytest uses."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

for _name, _file in (("transport_samples", "samples.py"), ("transport_errors", "visible_errors.py")):
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(_file))
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])
