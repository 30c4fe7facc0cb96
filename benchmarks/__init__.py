"""What isolated calls cost, each budget against its peer, in the same run.

    nox -s bench                               # everything, with what it is compared to installed
    python -m benchmarks [--quick] [--only NAME ...] [--details] [--json FILE]
                         [--plots DIRECTORY] [--strict]
    python -m benchmarks.page --write          # docs/performance.md from the committed figures
    python -m benchmarks.syscalls              # the system calls of one fresh isolate, by process and stage
    python -m benchmarks.profiles              # where the processor time of a fresh call goes (root, perf)

    budgets.py      the budgets, as data                        figures.py     percentiles, ratios; pure
    suites/         one file per thing measured                 findings.py    what they hand over, plain data
    peers/          what it is compared to                      verdicts.py    budgets against findings; pure
    measured.py     the functions that travel                   table.py       as text
    scripts/        whole scripts that are measured             plots.py       as SVG
    stage.py        where all that runs                         page.py        as documentation, with the words of page.md
    rounds.py       interleaving                                processes.py   what the processes of isolates hold

Why not pyperf for all of it: pyperf measures one thing to the end in processes of its own and compares files afterwards.
The budgets are ratios, and on a shared machine the minutes between two files differ by more than the contestants do. So
here a *round* is a short burst of every contestant, one after the other, in another order each time, and the rounds are
many: a slow second hits all. Two ratios come out of that, of the medians over all calls and the median of the ratios round
by round; where nothing disturbs they agree. pyperf is used where it is better: for what happens inside one process
(`suites/micro.py`), and for what it knows of the machine.

Every suite runs in a process of its own, so that what one leaves running or allocated is not measured by the next.
"""
