"""What is learned in these tests: real work, and attacks on whoever looks on. Imports little: isolates import it, too."""

import os
import sqlite3
import subprocess
import sys
import threading


def thumbnail(path):
    from PIL import Image

    with Image.open(path) as image:
        image.thumbnail((8, 8))
        return image.size


def count_certificates(directory):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(f"{directory}/bundle.pem")
    return len(context.get_ca_certs())


def offset(name):
    import datetime
    import zoneinfo

    return datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo(name)).utcoffset().total_seconds()


def list_by_a_program(directory):
    return subprocess.run(["/bin/ls", directory], capture_output=True, text=True, check=True).stdout.split()


def insert(path):
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("insert into t values (2)")
    count = connection.execute("select count(*) from t").fetchone()[0]
    connection.close()
    return count


def write_files(directory):
    os.mkdir(f"{directory}/made")
    for name in ("a", "b"):
        with open(f"{directory}/made/{name}", "w") as file:
            file.write(name)
    os.rename(f"{directory}/made/a", f"{directory}/made/c")
    return sorted(os.listdir(f"{directory}/made"))


def import_by_path(directory):
    sys.path.insert(0, directory)
    import learned_helper

    return learned_helper.answer()


def read_many(directory):
    return sum(len(open(f"{directory}/{number}").read()) for number in range(6))


def in_threads(directory):
    found = []
    threads = [threading.Thread(target=lambda: found.append(open("2").read())) for _ in range(4)]
    os.chdir(directory)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# --- attacks ---------------------------------------------------------------------------------------------------------


def attempt(act, *args):
    try:
        return act(*args)
    except OSError as error:
        return error.errno


def read(path):
    with open(path, "rb") as file:
        return file.read().decode("latin-1")


def read_all(paths):
    return [attempt(read, path) for path in paths]


def read_in_every_way(path):
    """Reach one file by all the ways there are to name it."""
    above, name = os.path.split(path)
    handle = os.open(above, os.O_PATH)
    os.chdir(above)

    def by(opened):
        with open(opened, "rb") as file:
            return file.read().decode("latin-1")

    def reopened():
        number = os.open(path, os.O_PATH)
        return by(os.open(f"/proc/self/fd/{number}", os.O_RDONLY))

    def linked():
        os.symlink(path, "/tmp/innocent")
        return read("/tmp/innocent")

    def by_a_program():
        done = subprocess.run(["/bin/cat", path], capture_output=True, text=True, check=False)
        return done.stdout or done.returncode

    ways = [
        lambda: read(path),
        lambda: read(f"{above}/./{name}"),
        lambda: read(f"{above}/../{os.path.basename(above)}/{name}"),
        lambda: read(name),
        lambda: by(os.open(name, os.O_RDONLY, dir_fd=handle)),
        lambda: by(os.open(path, os.O_RDWR)),
        reopened,
        linked,
        by_a_program,
        lambda: os.listdir(above) if name == "id_ed25519" else 13,
    ]
    return [attempt(way) for way in ways]


def change_through(path):
    """Try to change a file of the host's through the descriptor that was given for reading it."""
    number = os.open(path, os.O_RDONLY)
    tries = [
        lambda: os.write(number, b"x"),
        lambda: os.ftruncate(number, 0),
        lambda: os.fchmod(number, 0o777),
        lambda: os.utime(number),
        lambda: os.setxattr(number, "user.x", b"x"),
        lambda: os.open(f"/proc/self/fd/{number}", os.O_RDWR),
        lambda: os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_APPEND),
        lambda: os.link(f"/proc/self/fd/{number}", f"{path}.linked"),
        lambda: os.unlink(path),
        lambda: os.rename(path, f"{path}.renamed"),
        lambda: os.mkdir(f"{os.path.dirname(path)}/made"),
    ]
    return [attempt(each) for each in tries]


def race(plain, secret, rounds):
    """Change the path of an open while it is looked at; return what was read."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(each).ljust(512, b"\0") for each in (plain, secret)]
    shared = ctypes.create_string_buffer(names[0], 512)
    over = threading.Event()

    def flip():
        while not over.is_set():
            for name in names:
                ctypes.memmove(shared, name, 512)

    thread = threading.Thread(target=flip)
    thread.start()
    found = set()
    for _ in range(rounds):
        number = libc.open(shared, os.O_RDONLY)
        if number >= 0:
            found.add(os.read(number, 100).decode("latin-1"))
            os.close(number)
        else:
            found.add(ctypes.get_errno())
    over.set()
    thread.join()
    return sorted(found, key=str)


def kill_everybody():
    import signal

    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    tried = [attempt(os.kill, number, signal.SIGKILL) for number in (1, -1, *range(2, 2000)) if number != os.getpid()]
    return sorted(set(map(str, tried))), sorted(numbers)


def escape():
    """Try the usual ways out; return what the kernel says."""
    import ctypes
    import socket

    libc = ctypes.CDLL(None, use_errno=True)

    def call(*numbers):
        return 0 if libc.syscall(*numbers) >= 0 else ctypes.get_errno()

    found = {
        "unix socket": attempt(lambda: socket.socket(socket.AF_UNIX).fileno() and 0),
        "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno() and 0),
        "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) and ctypes.get_errno(),
        "chroot": attempt(os.chroot, "/tmp"),
        "unshare": libc.unshare(0x10000000) and ctypes.get_errno(),
        "core_pattern": attempt(lambda: open("/proc/sys/kernel/core_pattern", "w").close() or 0),
        "host's /proc": attempt(lambda: os.stat("/proc/kallsyms") and 0),
        "devices": attempt(lambda: os.stat("/dev/mem") and 0),
    }
    if os.uname().machine == "x86_64":
        found |= {"ptrace": call(101, 16, 1, 0, 0), "seccomp": call(317, 1, 8, 0), "bpf": call(321, 0, 0, 0)}
    return found


def ask_about_many(count):
    for number in range(count):
        os.path.exists(f"/opt/there-is-none-{number}")
    return count


def ask_about_long():
    found = [attempt(os.stat, "/" + "x" * length) for length in (200, 300, 4000, 4094, 4095, 4096, 5000, 70000)]
    return [each if isinstance(each, int) else 0 for each in found]


def ask_at_odd_addresses():
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    for address in (0, 1, 8, (1 << 47) - 1, 1 << 63, (1 << 64) - 1):
        found.append(0 if libc.open(ctypes.c_void_p(address), 0) >= 0 else ctypes.get_errno())
    return found


def fork_and_look(directory):
    """Fork, and fork again, in a thread; each looks at a file of its own."""
    found = []

    def work(number):
        pid = os.fork()
        if pid == 0:
            inner = os.fork()
            if inner == 0:
                read(f"{directory}/{number}")
                os._exit(0)
            os.waitpid(inner, 0)
            os._exit(0)
        found.append(os.waitpid(pid, 0)[1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def foreign_numbers(path):
    """Open by a number of the x32 ABI, where x86_64 has one."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.syscall(0x40000000 | 2, os.fsencode(path), 0)
    return os.read(number, 100) if number >= 0 else ctypes.get_errno()


def look_at(paths):
    for path in paths:
        attempt(os.stat, path)
        attempt(os.listdir, path)


def write_and_list(directory):
    """Write into a directory of which there may be a copy; return what is in it."""
    with open(f"{directory}/made", "w") as file:
        file.write("x")
    return sorted(os.listdir(directory))


def look_for_records(directory):
    """Return which files of a directory can be opened for writing."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [name for name in names if attempt(os.open, f"{directory}/{name}", os.O_WRONLY) not in (1, 13, 30)]


def fail_after_reading(path):
    """Raise once a file was read."""
    read(path)
    return 1 // 0


def reach(host, port):
    """Connect, and return the errno."""
    import socket

    return attempt(lambda: socket.create_connection((host, port), timeout=5).close() or 0)


def yield_lines(path):
    """Yield lines."""
    with open(path) as file:
        yield from file


async def yield_lines_async(path):
    """Yield lines."""
    for line in yield_lines(path):
        yield line


async def read_async(path):
    """Read a file."""
    return read(path)


def call_as_32_bit():
    """Make a system call of the 32-bit architecture: mov eax, 20 (getpid); int 0x80; ret."""
    import ctypes
    import mmap

    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def reach_unix_sockets(stream: str, datagram: str) -> list[str]:
    """Try each way to a unix socket that lies where everything may be looked at; return those that lead there."""
    import socket

    reached = []
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(stream)
        reached.append("connect")
    except OSError:
        pass
    ways = {
        "connected": lambda one: (one.connect(datagram), one.send(b"inside")),
        "sendto": lambda one: one.sendto(b"inside", datagram),
        "sendmsg": lambda one: one.sendmsg([b"inside"], [], 0, datagram),
    }
    for name, way in ways.items():
        try:
            one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        except OSError:
            continue
        with one, other:
            try:
                way(one)
            except OSError:
                continue
            reached.append(name)
    return reached


def dig(directory, depth):
    """Make a directory in another, very often: no path of the system leads to the end of it."""
    os.chdir(directory)
    with open("first", "w"):
        pass
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    os.chmod(".", 0)
    return depth


def unlink_nothing(directory, count):
    missing = 0
    for number in range(count):
        try:
            os.unlink(f"{directory}/{number}")
        except OSError:
            missing += 1
    return missing


def fill_a_file_that_nobody_sees(directory, megabytes):
    with open(f"{directory}/hidden", "wb", buffering=0) as file:
        os.unlink(file.name)
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
    return "filled"
