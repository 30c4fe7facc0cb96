"""Policy files that are accepted, and those that are refused: shared by the tests of the reader and of the schema."""

from __future__ import annotations

import base64

from isolate_fn import Host, Limits, Network, Policy, dev, file, overlay, presets, ro, rw, symlink, tmpfs
from isolate_fn.dangerous import NoLandlock, TrustResult
from isolate_fn.rules import Arg, BasicCapabilities, Custom, LandlockRule, Networking, PortRule, Rule, Signals, SystemIO


def accepted(names: object) -> list[tuple[str, Policy]]:
    """Return texts and the policies that they say.

    Args:
        names: the module of names.py, in whatever way it was loaded.
    """
    n: type = names  # type: ignore[assignment]
    return [
        ("", Policy()),
        ("# nothing\n", Policy()),
        ('base = "READ_FILES"\ntimeout = 5', Policy.from_options(presets.READ_FILES, timeout=5)),
        ('base = "COMPUTE"\ntimeout = "none"', Policy.from_options(presets.COMPUTE, timeout=None)),
        (
            'base = "COMPUTE"\n[limits]\nmemory = "none"\nprocesses = 8',
            Policy.from_options(
                presets.COMPUTE,
                limits=Limits(rootfs_size="16M", memory=None, open_files=128, file_size="16M", processes=8),
            ),
        ),
        ('base = "XML"\nrules = "none"', Policy.from_options(presets.XML, rules=None)),
        ("rules = []", Policy(rules=())),
        ("network = true", Policy(network=True)),
        (
            'network = {connect = ["db.internal:5432"], loopback = [5432], dns = true}',
            Policy(network=Network(connect=["db.internal:5432"], loopback=[5432], dns=True)),
        ),
        ('mounts = ["/data"]', Policy(mounts=["/data"])),
        (
            'mounts = [{ro = "/a", dst = "/b", noexec = true, optional = true}, {rw = "/c", allow_code = true}]',
            Policy(mounts=[ro("/a", "/b", noexec=True, optional=True), rw("/c", allow_code=True)]),
        ),
        ('[[mounts]]\nro = "/a"\n[[mounts]]\nrw = "/b"\n', Policy(mounts=[ro("/a"), rw("/b")])),
        (
            'mounts = [{tmpfs = "/t", size = "1M"}, {tmpfs = "/u", size = 8192}, {overlay = "/o"}]',
            Policy(mounts=[tmpfs("/t", "1M"), tmpfs("/u", 8192), overlay("/o")]),
        ),
        (
            f'mounts = [{{file = "/f", text = "é\\n"}}, {{file = "/g", base64 = "{base64.b64encode(bytes(range(9))).decode()}"}}]',  # noqa: E501
            Policy(mounts=[file("/f", "é\n"), file("/g", bytes(range(9)))]),
        ),
        (
            'mounts = [{dev = "/dev/fuse"}, {symlink = "/l", target = "../x"}]',
            Policy(mounts=[dev("/dev/fuse"), symlink("/l", "../x")]),
        ),
        (
            'env = {LANG = "C.UTF-8", "a.b" = ""}\ncwd = "/elsewhere"',
            Policy(env={"LANG": "C.UTF-8", "a.b": ""}, cwd="/elsewhere"),
        ),
        (
            'returns = ["policy_names.Point", "policy_names.Point.Inner", "decimal.Decimal"]\nraises = ["KeyError", "policy_names.Mistake"]',  # noqa: E501
            Policy(returns=[n.Point, n.Point.Inner, __import__("decimal").Decimal], raises=[KeyError, n.Mistake]),
        ),
        (
            'returns = [{class = "policy_names.Point", encode = "policy_names.encode", decode = "policy_names.decode"}]',
            Policy(returns=[(n.Point, n.encode, n.decode)]),
        ),
        ('preload = ["json", "xml.etree"]', Policy(preload=["json", "xml.etree"])),
        (
            "reuse = true\nprewarm = 0\nidle_timeout = 2.5\nfresh_exec = true",
            Policy(reuse=True, prewarm=0, idle_timeout=2.5, fresh_exec=True),
        ),
        ("reuse = 7", Policy(reuse=7)),
        ('output = "capture"\non_denied = "kill"', Policy(output="capture", on_denied="kill")),
        ('output = {call = "policy_names.take"}', Policy(output=n.take)),
        ('require = ["network", "filesystem"]', Policy(require={"network", "filesystem"})),
        ("require = []", Policy(require=())),
        ('require = "all"', Policy()),
        ('accept = ["TrustResult", "isolate_fn.dangerous.NoLandlock"]', Policy(accept=(TrustResult, NoLandlock))),
        ('expose = {lookup = "policy_names.lookup"}', Policy(expose={"lookup": n.lookup})),
        (
            'expose = {lookup = {function = "policy_names.lookup", calls = 3, seconds = 1.5}}',
            Policy(expose={"lookup": Host(n.lookup, calls=3, seconds=1.5)}),
        ),
        ("[expose]", Policy(expose={})),
        ('expose = "none"', Policy()),
        ('name = "none"', Policy(name="none")),
        (
            (
                '[limits]\nrootfs_size = "1G"\nrootfs_inodes = 512\nmemory = "2G"\ncpu_time = 1.5\nprocesses = 3\nopen_files = 32\n'  # noqa: E501
                'file_size = 100\noutput = "1k"\nresult = "3T"\naddress_space = "1G"\ncpus = 1.5'
            ),
            Policy(
                limits=Limits(
                    rootfs_size="1G",
                    rootfs_inodes=512,
                    memory="2G",
                    cpu_time=1.5,
                    processes=3,
                    open_files=32,
                    file_size=100,
                    output="1K",
                    result="3T",
                    address_space="1G",
                    cpus=1.5,
                )
            ),
        ),
        (
            'rules = ["getpgrp", {set = "SystemIO", allow = ["stdout", {read_path = ["/x", "/y"], file_read = 7}]}]',
            Policy(
                rules=[
                    "getpgrp",
                    SystemIO().allow_stdout().allow_read_path("/x").allow_read_path("/y").allow_file_read(7),
                ]
            ),
        ),
        (
            '[[rules]]\nset = "BasicCapabilities"\n[[rules]]\nset = "Time"\n',
            Policy(rules=[BasicCapabilities(), __import__("isolate_fn.rules").rules.Time()]),
        ),
        ('rules = [{set = "BasicCapabilities", allow = "nothing"}]', Policy(rules=[BasicCapabilities.nothing()])),
        (
            'rules = [{set = "BasicCapabilities", without_executable_memory = true, without = ["mremap"]}]',
            Policy(rules=[BasicCapabilities().without_executable_memory().without("mremap")]),
        ),
        (
            'rules = [{set = "Networking", allow = ["everything", {connect_ports = [443, 80]}], without = ["listen", "bind"]}]',
            Policy(rules=[Networking.everything().allow_connect_ports(443, 80).without("listen", "bind")]),
        ),
        (
            'rules = [{set = "Signals", allow = [{raise = 12}], keep_inside = true}]',
            Policy(rules=[Signals().allow_raise(12).keep_inside()]),
        ),
        (
            'rules = [{set = "SystemIO", allow = "everything", restrict = [{call = "read", when = ["low32(arg0) < 3"]}]}]',
            Policy(rules=[SystemIO.everything().restrict(Rule("read", Arg(0, 32) < 3))]),
        ),
        (
            (
                'rules = [{set = "SystemIO", allow = ["read"], restrict = [[{call = "read", when = ["arg0 in {0, 0x5}"]}], '
                '[{call = "read", when = ["arg2 <= 4096", "arg2 != 0"]}]]}]'
            ),
            Policy(
                rules=[
                    SystemIO()
                    .allow_read()
                    .restrict(Rule("read", Arg(0).one_of(0, 5)))
                    .restrict(Rule("read", Arg(2) <= 4096, Arg(2) != 0))
                ]
            ),
        ),
        (
            (
                'rules = [{custom = "mine", permit = ["reboot", {call = "kill", when = ["signed low32(arg0) > -1"], need = true}, '  # noqa: E501
                '{call = "mmap", when = ["arg2 & 0x4 == 0"], gives_way_to = ["mmap"], reason = "data"}, '
                '{path = "/etc", rights = ["read_file"], optional = true}, {port = 443, rights = ["connect_tcp"]}]}]'
            ),
            Policy(
                rules=[
                    Custom(
                        "mine",
                        "reboot",
                        Rule("kill", Arg(0, 32).signed() > -1, need=True),
                        Rule("mmap", (Arg(2) & 4) == 0, gives_way_to=["mmap"]),
                        LandlockRule("/etc", ["read_file"], optional=True),
                        PortRule(443, ["connect_tcp"]),
                    )
                ]
            ),
        ),
        ('rules = [{object = "policy_names.READING"}]', Policy(rules=[n.READING])),
        ("[policies.a]\ntimeout = 1\n", None),
        ('[policies.a]\nbase = "b"\ntimeout = 1\n[policies.b]\nprewarm = 3\n', None),
    ]  # type: ignore[return-value]


# (text, line, key path, words of the message): what shape alone refuses, so reader and schema both do.
REFUSED = [
    ("timeot = 5", 1, "timeot", "did you mean 'timeout'?"),
    ("\nmounts = 3", 2, "mounts", "3 is not a list"),
    ('mounts = "/data"', 1, "mounts", "is not a list"),
    ('mounts = [\n"/a",\n"b"]', 3, "mounts[1]", "'b' is not an absolute path"),
    ('mounts = [\n"/a",\n{rr = "/b"}]', 3, "mounts[1].rr", "did you mean 'r"),
    ('mounts = [{ro = "/a", rw = "/b"}]', 1, "mounts[0]", "'ro' and 'rw' are two kinds"),
    ('mounts = [{ro = "/a", destination = "/b"}]', 1, "mounts[0].destination", "there are: ro, dst, optional, noexec"),
    ('mounts = [{ro = "/a", size = "1M"}]', 1, "mounts[0].size", "there is no key"),
    ('[[mounts]]\nro = "/a"\n[[mounts]]\nro = "/b"\nnoexc = true', 5, "mounts[1].noexc", "did you mean 'noexec'?"),
    ('mounts = [{file = "/a"}]', 1, "mounts[0]", "'text' or 'base64' is missing"),
    ('mounts = [{file = "/a", text = "", base64 = ""}]', 1, "mounts[0]", "two kinds"),
    ('mounts = [{symlink = "/a"}]', 1, "mounts[0]", "'target' is missing"),
    ("mounts = [{}]", 1, "mounts[0]", "is missing"),
    ('network = "yes"', 1, "network", "is not true or false, or a table"),
    ("network = {dns = 1}", 1, "network.dns", "1 is not true or false"),
    ('network = {conect = ["a:1"]}', 1, "network.conect", "did you mean 'connect'?"),
    ("network = {loopback = [70000]}", 1, "network.loopback[0]", "out of range"),
    ("timeout = 0", 1, "timeout", "out of range"),
    ("timeout = -1.5", 1, "timeout", "out of range"),
    ("timeout = true", 1, "timeout", "true is not"),
    ('timeout = "5s"', 1, "timeout", "positive number of seconds"),
    ("timeout = 2020-01-01", 1, "timeout", "is not"),
    ('\n\n[limits]\nmemroy = "1G"', 4, "limits.memroy", "did you mean 'memory'?"),
    ('limits.memory = "1GB"', 1, "limits.memory", "'1GB' is not a size"),
    ("limits.memory = 0", 1, "limits.memory", "out of range"),
    ("limits.open_files = 3", 1, "limits.open_files", "from 16"),
    ("limits = 3", 1, "limits", "is not a table"),
    ("[env]\nA = 1", 2, "env.A", "1 is not a text"),
    ('[env]\n"A=B" = "x"', 2, 'env."A=B"', "is not a name of a variable"),
    ('cwd = "work"', 1, "cwd", "is not an absolute path"),
    ('returns = ["not a name"]', 1, "returns[0]", "is not a dotted name"),
    ('returns = [{class = "policy_names.Point"}]', 1, "returns[0]", "'encode' is missing"),
    ("raises = [1]", 1, "raises[0]", "is not a dotted name"),
    ('preload = ["nu mpy"]', 1, "preload[0]", "is not the name of a module"),
    ("reuse = 0", 1, "reuse", "out of range"),
    ("prewarm = -1", 1, "prewarm", "out of range"),
    ('output = "rely"', 1, "output", "did you mean 'relay'?"),
    ('output = {cal = "x"}', 1, "output.cal", "did you mean 'call'?"),
    ('on_denied = "Kill"', 1, "on_denied", "did you mean 'kill'?"),
    ('require = ["netwrk"]', 1, "require[0]", "did you mean 'network'?"),
    ('accept = ["trustresult"]', 1, "accept[0]", "did you mean 'TrustResult'?"),
    ('accept = ["Danger"]', 1, "accept[0]", "is not one of its words"),
    ('expose = {_x = "policy_names.lookup"}', 1, "expose._x", "is not a public name"),
    ('expose = {x = {function = "policy_names.lookup", cals = 1}}', 1, "expose.x.cals", "did you mean 'calls'?"),
    ('name = ""', 1, "name", "is not a name"),
    ('rules = "SystemIO"', 1, "rules", "is not"),
    ('rules = ["Write"]', 1, "rules[0]", "is not the name of a system call"),
    ("rules = [1]", 1, "rules[0]", "is not the name of a system call"),
    ('rules = [{sett = "SystemIO"}]', 1, "rules[0].sett", "did you mean 'set'?"),
    ('rules = [{set = "SystmIO"}]', 1, "rules[0].set", "did you mean 'SystemIO'?"),
    ('rules = [{set = "SystemIO", alow = []}]', 1, "rules[0].alow", "did you mean 'allow'?"),
    ('rules = [{set = "SystemIO", allow = ["stdot"]}]', 1, "rules[0].allow[0]", "did you mean 'stdout'?"),
    ('rules = [{set = "Threads", allow = ["stdout"]}]', 1, "rules[0].allow[0]", "is not one of its words"),
    (
        'rules = [{set = "SystemIO", allow = [{read_pth = "/"}]}]',
        1,
        "rules[0].allow[0].read_pth",
        "did you mean 'read_path'?",
    ),
    ('rules = [{set = "SystemIO", allow = [{}]}]', 1, "rules[0].allow[0]", "the table is empty"),
    ('rules = [{set = "SystemIO", allow = ["read_path"]}]', 1, "rules[0].allow[0]", "is not one of its words"),
    ('rules = [{set = "ForkAndExec", allow = "everything"}]', 1, "rules[0].allow", "is not"),
    ('rules = [{set = "Threads", keep_inside = true}]', 1, "rules[0].keep_inside", "there is no key"),
    ('rules = [{set = "SystemIO", restrict = [{call = "read"}]}]', 1, "rules[0].restrict[0]", "'when' is missing"),
    ('rules = [{custom = " "}]', 1, "rules[0].custom", "is not a name"),
    ('rules = [{custom = "m", permit = [{cal = "x"}]}]', 1, "rules[0].permit[0].cal", "did you mean 'call'?"),
    (
        'rules = [{custom = "m", permit = [{path = "/x", rights = ["read"]}]}]',
        1,
        "rules[0].permit[0].rights[0]",
        "read_file",
    ),
    (
        'rules = [{custom = "m", permit = [{port = 1, rights = []}]}]',
        1,
        "rules[0].permit[0].rights",
        "the list is empty",
    ),
    ("policies = 3", 1, "policies", "is not a table"),
    ("[policies.a]\ntimeot = 1", 2, "policies.a.timeot", "did you mean 'timeout'?"),
    ('[policies."a b"]\n', 1, 'policies."a b"', "letters, digits"),
]

# What only the words, or what is installed, can refuse: the schema knows nothing of it.
REFUSED_BY_WORDS = [
    ('base = "REED_FILES"', 1, "base", "did you mean 'READ_FILES'?"),
    ('timeout = 3\nbase = "read_files"', 2, "base", "did you mean 'READ_FILES'?"),
    ('mounts = ["/a", "/b",\n"/a"]', 2, "mounts[2]", "has the same place inside"),
    ('mounts = [\n{ro = "/proc/1"}]', 2, "mounts[0]", "host's processes"),
    ('mounts = [{file = "/a", base64 = "abc"}]', 1, "mounts[0].base64", "is not base64"),
    ('[limits]\nprocesses = 3\nrootfs_size = "1K"', 3, "limits.rootfs_size", "from 64K"),
    ('network = {connect = ["a:1",\n "a:99999"]}', 2, "network.connect[1]", "out of range"),
    ('returns = ["policy_names.Pint"]', 1, "returns[0]", "did you mean 'Point'?"),
    ('returns = ["policy_names.NUMBER"]', 1, "returns[0]", "is not a class"),
    ('returns = ["no_such_module.X"]', 1, "returns[0]", "No module named 'no_such_module'"),
    ('raises = ["KeyError",\n"policy_names.Point"]', 2, "raises[1]", "is not an Exception class"),
    ('raises = ["StopIteration"]', 1, "raises[0]", "control flow"),
    ('require = ["syscalls"]\naccept = ["NoSeccomp"]', 2, "accept", "gives up what"),
    ('rules = [{object = "policy_names.NUMBER"}]', 1, "rules[0].object", "is a int, not a rule set"),
    ('rules = [{set = "SystemIO", allow = ["everything", "nothing"]}]', 1, "rules[0].allow", "at once"),
    (
        'rules = [{set = "SystemIO", allow = ["read"], without = ["wrte"]}]',
        1,
        "rules[0].without",
        "does not permit 'wrte'",
    ),
    (
        'rules = [{custom = "m", permit = [{call = "x", when = ["arg0 ~ 1"]}]}]',
        1,
        "rules[0].permit[0].when[0]",
        "is not a condition",
    ),
    (
        'rules = [{custom = "m", permit = [{call = "x", when = ["arg0 & 1 == 2"]}]}]',
        1,
        "rules[0].permit[0].when[0]",
        "outside the mask",
    ),
    (
        'rules = [{custom = "m", permit = [{call = "x", when = ["arg0 < -1"]}]}]',
        1,
        "rules[0].permit[0].when[0]",
        "unsigned",
    ),
    ("timeout = 1\n[policies.a]\n", 1, "timeout", "beside named ones"),
    ("[policies.XML]\n", 1, "policies.XML", "is a preset"),
    ('[policies.main]\nbase = "b"\n[policies.b]\nbase = "main"', 4, "policies.b.base", "goes round in a circle"),
    ('[policies.main]\nbase = "mein"\n', 2, "policies.main.base", "did you mean 'main'?"),
    ("timeout = 1\ntimeout = 2", 2, "the file", "is not TOML"),
    ("timeout = ", 1, "the file", "is not TOML"),
    ("x = 1\n\n[[", 3, "the file", "is not TOML"),
]
