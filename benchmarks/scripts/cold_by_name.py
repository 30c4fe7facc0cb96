"""A whole script with one isolated call of a module's function."""

from measured import add

from isolate_fn import isolated

assert isolated(add)(1) == 2
