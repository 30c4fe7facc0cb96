"""The JSON schema of policy files, for editors; made of the same table that the reader goes by."""

from __future__ import annotations

import json

from isolate_fn.policy.toml import rule_shapes
from isolate_fn.policy.toml.shapes import Schema
from isolate_fn.policy.toml.vocabulary import file_shape, policy_shape

TITLE = "isolate_fn policies"


def schema() -> Schema:
    """Return the schema (draft 7) of a file, and of ``[tool.isolate_fn]`` in a pyproject.toml."""
    policy = policy_shape()
    found = file_shape().schema()
    found["properties"] |= {key: {"$ref": f"#/definitions/policy/properties/{key}"} for key in policy.keys}
    shared = (policy, rule_shapes.RULE, rule_shapes.TIGHTER, rule_shapes.TIGHTENING, rule_shapes._CALLS)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE,
        "description": "One policy, or several by name in [policies.NAME]. In pyproject.toml: [tool.isolate_fn.policies.NAME].",
        "definitions": {shape.ref: shape.definition() for shape in shared},
        **found,
    }


def schema_text() -> str:
    """Return the schema as it is kept in the package."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
