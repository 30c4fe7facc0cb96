"""Ten common mistakes: each fails, says what to write, and works once that is written, with nothing else changed."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from isolate_fn import isolated, ro, sandbox, tmpfs
from isolate_fn.presets import IMAGES
from isolate_fn.rules import BasicCapabilities, SystemIO

pytestmark = pytest.mark.needs("namespaces")

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
FONTS = "/usr/share/fonts"


def trusted_authorities(path):
    import ssl

    return ssl.create_default_context(cafile=path).cert_store_stats()["x509_ca"]


@pytest.mark.skipif(not os.path.exists(CERTIFICATES), reason=f"there is no {CERTIFICATES} on this machine")
def test_ssl_certificates(follow):
    pytest.importorskip("ssl", exc_type=ImportError)
    count, options = follow(trusted_authorities, CERTIFICATES)
    assert count == trusted_authorities(CERTIFICATES)
    assert "/etc/ssl/certs" in str(options["mounts"])


def addresses_of(name, port):
    return bool(socket.getaddrinfo(name, port))


def test_dns(follow, monkeypatch):
    # A service is looked up in a file that only a client of the network sees, so that this needs no network.
    with open("/etc/hosts", encoding="utf-8") as file:
        names = [name for line in file for name in line.partition("#")[0].split()[1:]]
    own = [name for name in names if "localhost" not in name and not name.startswith("ip6-")]
    if not own:
        pytest.skip("the machine's /etc/hosts names nothing that could be looked up without a network")
    value, options = follow(addresses_of, own[0], 80)
    assert value
    assert options == {"network": True}


def test_dns_of_a_client_that_makes_its_own_sockets(follow):
    value, options = follow(datagram_socket)
    assert value == "SOCK_DGRAM"
    assert options == {"network": True}


def datagram_socket():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        return made.type.name


def fill_shared_memory(count):
    with open("/dev/shm/data", "wb") as file:
        file.write(bytes(count))
    return os.path.getsize("/dev/shm/data")


def test_dev_shm(follow):
    size = 80 << 20
    value, options = follow(fill_shared_memory, size)
    assert value == size
    assert options["limits"].rootfs_size > size


def width_of_text(name):
    from PIL import ImageFont

    return ImageFont.truetype(name, 20).getlength("text")


@pytest.mark.skipif(not os.path.exists(FONTS), reason=f"there is no {FONTS} on this machine")
def test_fonts(follow):
    name = next((path.name for path in Path(FONTS).rglob("DejaVuSans.ttf")), None)
    if name is None:
        pytest.skip("there is no DejaVuSans.ttf on this machine")
    value, options = follow(width_of_text, name)
    assert value > 0
    assert FONTS in str(options["mounts"])


def name_of_locale(name):
    import locale

    return locale.setlocale(locale.LC_CTYPE, name)


def test_locale(follow, host):
    source = next((path for path in map(Path, ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")) if path.is_dir()), None)
    if source is None:
        pytest.skip("there is no locale C.UTF-8 in a directory on this machine")
    shutil.copytree(source, host / "xx_XX.utf8")
    value, options = follow(name_of_locale, "xx_XX.utf8", env={"LOCPATH": str(host)})
    assert value == "xx_XX.utf8"
    assert str(host) in str(options["mounts"])


def write_temporary():
    import tempfile

    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        return file.write(b"data")


def test_temporary_files(follow):
    value, options = follow(write_temporary)
    assert value == 4
    assert options["mounts"] == [tmpfs("/var/tmp")]


def run_a_program():
    import subprocess

    return subprocess.run(["/usr/bin/printf", "started"], capture_output=True, text=True, check=True).stdout


def test_subprocess(follow):
    value, options = follow(run_a_program)
    assert value == "started"
    assert "ForkAndExec()" in str(options["rules"])
    assert "/usr/bin/printf" in str(options["mounts"])


def sort_by_program():
    import subprocess

    return subprocess.run(["sort"], input="b\na\n", capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("options", [{}, {"env": {"PATH": "/nowhere:/bin"}}], ids=["PATH", "env"])
def test_a_program_by_its_name(follow, options):
    value, options = follow(sort_by_program, **options)
    assert value == "a\nb\n"
    assert options["mounts"] == [ro(shutil.which("sort", path=options.get("env", os.environ)["PATH"]))]


def test_a_program_that_is_nowhere_in_the_isolates_path(follow):
    with pytest.raises(FileNotFoundError, match="sort") as caught:
        follow(sort_by_program, env={"PATH": "/nowhere"})
    assert "mounts=" not in str(getattr(caught.value, "__notes__", ""))


def run_a_shell():
    import subprocess

    return subprocess.check_output("echo started", shell=True, text=True)


def test_a_shell(follow):
    value, options = follow(run_a_shell)
    assert value == "started\n"
    assert options["mounts"] == [ro("/bin/sh")]


def sum_in_threads(numbers):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(abs, numbers))


def test_threads(follow):
    import concurrent.futures.thread  # noqa: F401 - of this module's, so that the rules do not have to let it be imported

    value, options = follow(sum_in_threads, [-1, 2, -3], rules=["getpid"], preload=("concurrent.futures.thread",))
    assert value == 6
    assert "Threads" in str(options["rules"])


def write_and_lock():
    import fcntl

    with open("/tmp/out", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return file.write("written")


@pytest.mark.parametrize("rules", [IMAGES.rules, (SystemIO().allow_open_readonly(),)], ids=["preset", "own"])
def test_rules_that_conflict_with_what_is_needed(follow, rules):
    value, options = follow(write_and_lock, rules=[*rules], rounds=9)
    assert value == 7
    assert not [each for each in rules if isinstance(each, SystemIO) and each in options["rules"]], "it was replaced"


def use_database():
    import sqlite3

    with sqlite3.connect("/tmp/data.db") as database:
        database.execute("create table a (b)")
        database.execute("insert into a values (1)")
        return database.execute("select b from a").fetchone()[0]


def test_what_several_notes_advise_goes_together():
    """A database is opened for writing, and where that is denied for reading: both at once."""
    import sqlite3  # noqa: F401 - of this module's, so that the rules do not have to let it be imported

    rules = [BasicCapabilities(), SystemIO().allow_metadata()]
    with pytest.raises(Exception, match="unable to open") as caught:
        isolated(use_database, rules=rules, preload=("sqlite3",), prewarm=0)()
    notes = [each for each in caught.value.__notes__ if "openat" in each]
    assert notes
    assert all(each.endswith("add rules=[SystemIO().allow_open()]") for each in notes)


def offset_of(key):
    from datetime import datetime
    from zoneinfo import ZoneInfo

    return str(datetime(2026, 1, 1, tzinfo=ZoneInfo(key)).utcoffset())


def test_time_zone(follow, host):
    from zoneinfo import TZPATH

    source = next((Path(each, "Europe/Berlin") for each in TZPATH if Path(each, "Europe/Berlin").exists()), None)
    if source is None:
        pytest.skip("there is no time zone database on this machine")
    (host / "Mars").mkdir()
    shutil.copy(source, host / "Mars" / "Olympus")
    value, options = follow(offset_of, "Mars/Olympus", env={"PYTHONTZPATH": str(host)})
    assert value == "1:00:00"
    assert str(host) in str(options["mounts"])


def use_project_module(name):
    import importlib

    return importlib.import_module(name).VALUE


def test_a_module_of_the_project(follow, host, monkeypatch):
    # What an isolate sees was looked at before this module was there.
    (host / "present.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(host))
    assert isolated(prewarm=0)(len)("ab") == 2
    importlib.invalidate_caches()
    with sandbox() as box:  # prepared before the module is there
        (host / "still_later.py").write_text("VALUE = 8\n")
        with pytest.raises(ModuleNotFoundError) as caught:
            box.call(use_project_module, "still_later")
    assert f'add mounts=[ro("{host}/still_later.py")]' in caught.value.__notes__[0]
    value, options = follow(use_project_module, "still_later", mounts=[])
    assert value == 8
    assert options["mounts"] == [ro(f"{host}/still_later.py")]


def test_what_is_not_there_either_is_not_advised():
    with pytest.raises(ModuleNotFoundError) as caught:
        isolated(prewarm=0)(use_project_module)("there_is_no_such_module")
    assert not hasattr(caught.value, "__notes__")
    assert "there_is_no_such_module" not in sys.modules
