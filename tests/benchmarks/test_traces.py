"""Traces and profiles read from text."""

from __future__ import annotations

import pytest

from benchmarks import functions, profiles, syscalls
from benchmarks.measured import MARK_BEGIN, MARK_END, MARK_INSIDE

TRACE = f"""\
100 1.000001 execve("/usr/bin/python3", ["python3", "one_fresh.py"], 0x7ff /* 9 vars */) = 0
100 1.000002 clone3({{flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD}}, 88) = 101
101 1.000003 clone(child_stack=NULL, flags=SIGCHLD, child_tidptr=0x7f) = 102
102 1.000004 poll([{{fd=3, events=POLLIN}}], 1, -1 <unfinished ...>
100 1.000005 access("{MARK_BEGIN}", F_OK) = -1 ENOENT (No such file or directory)
100 1.000006 sendmsg(3, {{msg_name=NULL, msg_namelen=0}}, MSG_NOSIGNAL) = 114
102 1.000007 <... poll resumed>) = 1 ([{{fd=3, revents=POLLIN}}])
102 1.000008 unshare(CLONE_NEWPID) = 0
102 1.000009 clone(child_stack=NULL, flags=SIGCHLD, child_tidptr=0x7f <unfinished ...>
103 1.000010 prctl(PR_SET_PDEATHSIG, SIGKILL <unfinished ...>
102 1.000011 <... clone resumed>) = 3 /* 103 in strace's PID NS */
103 1.000012 <... prctl resumed>) = 0
103 1.000013 clone(child_stack=NULL, flags=SIGCHLD, child_tidptr=0x7f) = 2 /* 104 in strace's PID NS */
104 1.000014 prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) = 0
104 1.000015 made_up(1) = 0
104 1.000016 access("{MARK_INSIDE}", F_OK) = -1 ENOENT (No such file or directory)
104 1.000017 write(3, "answer", 6) = 6
103 1.000018 +++ killed by SIGKILL +++
102 1.000019 --- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=3}} ---
100 1.000020 recvfrom(3, "answer", 262144, 0, NULL, NULL) = 6
100 1.000021 access("{MARK_END}", F_OK) = -1 ENOENT (No such file or directory)
100 1.000022 close(3) = 0
"""


def test_calls_between_the_marks_by_process() -> None:
    counts = syscalls.count(syscalls.read(TRACE.splitlines()))
    before, after = (counts[part] for part in syscalls.PARTS)
    assert before["caller"] == {"sendmsg": 1}
    assert before["spawner"] == {"unshare": 1, "clone": 1}
    assert before["init"] == {"prctl": 1, "clone": 1}
    assert before["worker"] == {"prctl": 1, "made_up": 1}
    assert {role: dict(found) for role, found in after.items() if found} == {
        "caller": {"recvfrom": 1}, "worker": {"write": 1},
    }  # fmt: skip


def test_kinds_of_calls_add_up() -> None:
    rows = syscalls.by_kind(syscalls.count(syscalls.read(TRACE.splitlines())))
    assert rows[0] == ("until the function runs", "caller", "spawner", "init", "worker", "all")
    assert ("privileges", "0", "0", "1", "1", "2") in rows
    assert ("other", "0", "0", "0", "1", "1") in rows
    assert ("together", "1", "2", "2", "2", "7") in rows
    assert ("together", "1", "0", "0", "1", "2") in rows


@pytest.mark.parametrize("mark", [MARK_BEGIN, MARK_INSIDE, MARK_END])
def test_a_trace_without_a_mark_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="mark"):
        syscalls.count(syscalls.read(TRACE.replace(mark, "/elsewhere").splitlines()))


def test_no_call_is_of_two_kinds() -> None:
    names = [name for names in syscalls.KINDS.values() for name in names.split()]
    assert len(names) == len(set(names))


PROFILE = """\
kthreadd     2/2        0.000000: PERF_RECORD_FORK(9:9):(2:2)
python   100/100    10.000100: PERF_RECORD_FORK(101:101):(100:100)
python   100/100    10.000150: PERF_RECORD_FORK(100:199):(100:100)
python   101/101    10.000200: PERF_RECORD_FORK(102:102):(101:101)
python   100/100    10.000300: cpu-clock:
\tffffffff81000001 do_nanosleep+0x1
\tffffffff81000002 __x64_sys_nanosleep+0x2
\tffffffff81000003 do_syscall_64+0x3
\t          123456 time_sleep+0x4

python   102/102    10.000400: PERF_RECORD_FORK(103:103):(102:102)
python   103/103    10.000500: PERF_RECORD_FORK(104:104):(103:103)
python   102/102    10.000600: cpu-clock:
\tffffffff81000001 copy_process+0x1
\tffffffff81000002 __do_sys_clone+0x2
\tffffffff81000003 do_syscall_64+0x3
\t          123456 fork+0x4

python   103/103    10.000700: cpu-clock:
\tffffffff81000001 do_wp_page+0x1
\tffffffff81000002 exc_page_fault+0x2
\tffffffff81000003 asm_exc_page_fault+0x3

python   104/104    10.000800: cpu-clock:
\t          123456 _PyEval_EvalFrameDefault+0x4

python   104/104    10.000900: cpu-clock:
\tffffffff81000001 exit_mmap+0x1
\tffffffff81000002 do_exit+0x2
\tffffffff81000003 __x64_sys_exit_group+0x3
\tffffffff81000004 do_syscall_64+0x4

kworker/u8:1     9/9       10.001000: cpu-clock:
\tffffffff81000001 synchronize_rcu+0x1
\tffffffff81000002 cleanup_net+0x2
\tffffffff81000003 process_one_work+0x3
\tffffffff81000004 ret_from_fork+0x4

python   105/105    10.001100: PERF_RECORD_FORK(106:106):(102:102)
other program   77/77       10.001200: cpu-clock:
\t          123456 main+0x4
"""


def test_samples_by_role_and_reason() -> None:
    found = profiles.split(profiles.read(PROFILE.splitlines()), 100)
    assert {role: dict(reasons) for role, reasons in found.items()} == {
        "caller": {},  # what it did before the first isolate is no part of a call
        "spawner": {"clone": 1},
        "init": {"page faults": 1},
        "worker": {"own code": 1, "end of the process": 1},
        "kernel threads": {"cleanup_net": 1},
    }


def test_a_profile_without_a_spawner_is_refused() -> None:
    with pytest.raises(ValueError, match="no spawner"):
        profiles.split(profiles.read(PROFILE.splitlines()), 500)


def test_a_table_of_milliseconds_per_call() -> None:
    rows = profiles.cells({"caller": {"own code": 8, "poll": 4}}, calls=2)
    assert rows == [
        ("processor time of one fresh call [ms]", "all", "own code", "kernel"),
        ("caller", "1.50", "1", "0.500"),
        ("  caller: poll", "0.500", "", ""),
    ]


STACKS = """\
<module> (many_warm.py);Isolated.__call__ (/x/isolate_fn/_api/function.py);WarmCalls.call (/x/isolate_fn/_runtime/warm.py) 870
<module> (many_warm.py);_find_and_load (<frozen importlib._bootstrap>);<module> (json/decoder.py) 50
<module> (many_warm.py) 9
process 1 is gone
"""


def test_time_by_function() -> None:
    found = functions.own_time(STACKS.splitlines())
    assert found == {"_runtime/warm.py: WarmCalls.call": 870, "imports": 50, "many_warm.py: <module>": 9}
    rows = functions.cells({"warm": found})
    assert rows[1:] == [
        ("warm: `_runtime/warm.py: WarmCalls.call`", "94 %"), ("warm: `imports`", "5 %"),
        ("warm: `many_warm.py: <module>`", "1 %"), ("warm: all others", "0 %"),
    ]  # fmt: skip
