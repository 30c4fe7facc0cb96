"""IPython and notebooks: what cells define is isolated like anything else, and what a later cell redefines is taken."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]
pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.needs("module:IPython")]

CELLS = [
    """
    import dataclasses, enum, os
    from isolate_fn import isolated, sandbox
    SCALE = 10
    class Colour(enum.Enum):
        RED = 1
    @dataclasses.dataclass
    class Point:
        x: int
        colour: Colour = Colour.RED
    """,
    """
    @isolated
    def move(point: Point) -> Point:
        print("moved inside")
        return Point(point.x * SCALE)
    @isolated(reuse=True)
    def name():
        return "first"
    move(Point(1)), name(), name()
    """,
    # Globals and functions change under the same names, and a class as well.
    """
    SCALE = 20
    move(Point(1))
    """,
    """
    @isolated(reuse=True)
    def name():
        return "second"
    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 7
    @isolated
    def move(point: Point) -> Point:
        return Point(point.x, point.y + 1)
    move(Point(1)), name(), name()
    """,
    """
    def fails():
        raise ValueError("in the cell")
    try:
        isolated(fails)()
    except ValueError as error:
        print(repr(error))
    """,
    """
    with sandbox() as box:
        box.call(lambda: open("kept", "w").write(str(SCALE)))
        box.run(["echo", "from a program"])
        held = box.get("kept")
    held
    """,
    """
    import asyncio
    await asyncio.gather(*(asyncio.to_thread(move, Point(n)) for n in range(3)))
    """,
    """
    os.makedirs("here", exist_ok=True)
    with open("here/late.py", "w") as file:
        file.write("def answer(): return 42\\n")
    os.chdir("here")  # the first entry of sys.path is ''
    import late
    isolated(late.answer)(), name()
    """,
]
SHOWN = [
    "",
    "moved inside (Point(x=10, colour=<Colour.RED: 1>), 'first', 'first')",
    "moved inside Point(x=20, colour=<Colour.RED: 1>)",
    "(Point(x=1, y=8), 'second', 'second')",
    "ValueError('in the cell')",
    "from a program b'20'",
    "[Point(x=0, y=8), Point(x=1, y=8), Point(x=2, y=8)]",
    "(42, 'second')",
]


@pytest.mark.needs("module:ipykernel", "module:nbclient")
def test_a_notebook(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(f"CELLS = {[textwrap.dedent(cell) for cell in CELLS]!r}\n")
    printed = run(
        """
        import nbformat
        from cells import CELLS
        from nbclient import NotebookClient
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
        NotebookClient(book, timeout=60, kernel_name="python3").execute()
        for cell in book.cells:
            shown = (output["text"] if "text" in output else output["data"]["text/plain"] for output in cell.outputs)
            print(" ".join(" ".join(shown).split()))
        """,
        options=("-W", "ignore"),
        stderr=None,  # the kernel's remarks
    )
    assert printed.splitlines() == SHOWN


@pytest.mark.needs("module:ipykernel", "module:nbclient")
def test_a_cell_is_interrupted(run: Run) -> None:
    """The button that stops a cell sends SIGINT: the isolate is killed, and the kernel goes on."""
    printed = run(
        """
        import nbformat
        from nbclient import NotebookClient
        cells = ["from isolate_fn import isolated\\nimport os, signal, threading",
                 "sleep = isolated(output=lambda *given: os.kill(os.getpid(), signal.SIGINT))("
                 "lambda: print('x', flush=True) or __import__('time').sleep(1000))\\nsleep()",
                 "isolated(lambda: 5)()"]
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        NotebookClient(book, timeout=60, kernel_name="python3", allow_errors=True).execute()
        print([output["ename"] for output in book.cells[1].outputs if output["output_type"] == "error"])
        print(book.cells[2].outputs[0]["data"]["text/plain"])
        """,
        options=("-W", "ignore"),
        stderr=None,  # the kernel's remarks
    )
    assert printed == "['KeyboardInterrupt']\n5\n"


def test_ipython(run: Run, tmp_path: Path) -> None:
    """A file of cells, as ``ipython FILE.ipy``, and what is typed at its prompt."""
    (tmp_path / "cells.ipy").write_text("\n".join(map(textwrap.dedent, CELLS[:2])) + "\nprint(move(Point(3)).x)\n")
    words = ("-m", "IPython", "--quick", "--colors=NoColor", "--no-banner", "--no-confirm-exit", "--HistoryManager.enabled=False")
    assert run("", *words, "cells.ipy").splitlines()[-2:] == ["moved inside", "30"]
    typed = "from isolate_fn import isolated\n@isolated\ndef double(n):\n    return n * 2\n\ndouble(21)\n%time double(4)\nexit\n"
    printed = run("", *words, "--simple-prompt", typed=typed, stderr=True)
    assert "42" in printed
    assert "8" in printed.split("Wall time")[1]
    assert "Error" not in printed
