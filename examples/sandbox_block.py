"""Several steps in one isolate: files go in, a library keeps its state, a program runs, files come out.

The attack: the rows of an uploaded table become a program's input and a database; one field is a shell
injection and one an SQL injection. Both work, as they would anywhere, on an isolate that holds nothing but
this upload.
"""

import tempfile
from pathlib import Path

from isolate_fn import Limits, sandbox

ROWS = "name\nAda\n$(cat {secret})\nx'); DROP TABLE people; --\n"
SHELL_SCRIPT = "while read line; do eval echo $line; done < upload.csv"


def load(path: str) -> None:
    import sqlite3

    database = sqlite3.connect("/work/people.sqlite")
    database.execute("CREATE TABLE people (name TEXT)")
    for line in Path(path).read_text().splitlines()[1:]:
        database.executescript(f"INSERT INTO people VALUES ('{line}');")


def tables() -> list[str]:
    import sqlite3

    database = sqlite3.connect("/work/people.sqlite")
    return [name for (name,) in database.execute("SELECT name FROM sqlite_schema")]


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        sandbox(limits=Limits(rootfs_size="16M", memory="256M"), timeout=20) as box,
    ):
        secret = Path(directory) / "secret.txt"
        secret.write_text("hunter2")
        box.put("/work/upload.csv", ROWS.format(secret=secret).encode())
        box.call(load, "/work/upload.csv")
        # State lives until the block ends: the second call sees what the first one did, the injection too.
        print("tables left after the SQL injection:", box.call(tables))
        done = box.run(["sh", "-c", SHELL_SCRIPT], capture_output=True, text=True)
        print("names the shell saw:", done.stdout.split())
        print("secret in its output:", "hunter2" in done.stdout)
        print("the database begins with:", box.get("/work/people.sqlite")[:15])


if __name__ == "__main__":
    main()
