"""Policies in TOML files: read, written, found by name, described to editors.

    locate       lines of keys, which tomllib forgets         shapes        kinds of values: check, and JSON schema
    place        a key of a file, and errors that name it     vocabulary    every key there is; rule_shapes those of rules
    read, rules  from TOML to words                           write, rules  from words to TOML
    find         policies by name: presets and projects       schema        the vocabulary for editors

Loaded only when a policy is read, written or named. This is the one place among the words that opens files.
"""

from __future__ import annotations
