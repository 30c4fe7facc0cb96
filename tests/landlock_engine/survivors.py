"""A program to run inside: it leaves processes behind in every way, tells that they run, and stays.

``python survivors.py MARKER SECONDS``. One of them is another process all the time.
"""

import ctypes
import os
import signal
import sys
import time


def go_on(marker: str, *, chain: bool) -> None:
    """Take the name by which the test looks, and never end."""
    ctypes.CDLL(None).prctl(15, marker.encode(), 0, 0, 0)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if chain:
            if os.fork():
                os._exit(0)  # the child goes on, under another number
            time.sleep(0.0005)
        else:
            time.sleep(0.01)
    os._exit(0)


def main() -> None:
    """Fork twice into sessions of their own, ignoring what can be ignored."""
    marker, seconds = sys.argv[1:]
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for chain in (False, True):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                go_on(marker, chain=chain)
            os._exit(0)
    time.sleep(float(seconds))


if __name__ == "__main__":
    main()
