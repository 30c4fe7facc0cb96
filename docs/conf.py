"""Sphinx configuration; the docs are built with warnings as errors."""

from __future__ import annotations

import isolate_fn

project = "isolate-fn"
release = version = isolate_fn.__version__
copyright = "the isolate_fn contributors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = "isolate_fn"
html_static_path = ["_static"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # "Attributes:" of frozen dataclasses would else be described twice
# Single backquotes in docstrings name things; not all of them are documented objects.
default_role = "code"
