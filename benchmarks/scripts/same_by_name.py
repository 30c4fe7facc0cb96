"""The work of cold_by_name.py in one process; another sandbox is around it."""

from measured import add

assert add(1) == 2
