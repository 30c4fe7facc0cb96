"""Rule sets: named permissions as frozen values. Public as `isolate_fn.rules`.

`base.py` has what every set is made of, `builtin.py` what the builtin ones share, `groups.py` what several of them
permit. A method's docstring lists under "Permits:" exactly what it adds; a test holds that against the value.
"""
