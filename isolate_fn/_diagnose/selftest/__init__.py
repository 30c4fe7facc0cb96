"""Attacks on this very machine's isolation, and what they came to. `isolate-fn selftest` and `isolate_fn.selftest`.

``attack.py`` says what an attack is. The attacks themselves stand in one module or two for each promise, as functions with
their words beside them: ``files*``, ``network``, ``processes*``, ``leaks``, ``answers*``, ``limits``, ``closed``. They run
inside isolates, and where that is harmless in ``plain.py``, a throwaway process without walls. ``world.py`` is what they are
let loose on, ``running.py`` lets them loose and judges, ``result.py`` tells. Importing this imports none of them.
"""
