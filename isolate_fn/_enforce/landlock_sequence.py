"""The order of set-up of isolates without namespaces, as data; that of the others is in `sequence.py`.

The spawner makes a private directory and forks init. Init gives up what it has, enters a Landlock domain, and forks the
roles inside it: whatever runs in the isolate is in that domain, by which init can end all of it at once. Each role then
enters a narrower domain of its own, from which it cannot signal init.
"""

from __future__ import annotations

from isolate_fn._enforce import confinement, limits, namespaces, privileges, scratch
from isolate_fn._enforce.scene import Step

SPAWNER_BUILDS: tuple[Step, ...] = (
    Step("scratch directory", "by the caller's id, which may give it away; whoever survives removes it", scratch.make),
)

INIT_BUILDS: tuple[Step, ...] = (
    Step("session", "before anything could open a terminal", namespaces.own_session),
    Step("orphans", "before there is any", confinement.adopt_orphans),
    Step("keyring", "the filter denies keyctl later", confinement.empty_keyring_if_allowed),
    Step("capability locks", "needs CAP_SETPCAP, which the change of id takes", confinement.lock_capabilities_if_allowed),
    Step("user id", "before Landlock: what this id cannot reach is allowed to nobody", confinement.become_own_user),
    Step("dumpable", "a change of id resets it", confinement.dumpable),
    # Written with CAP_SYS_RESOURCE it would be the lowest that init could ever have again.
    Step("out-of-memory score", "of the roles, which are forked from here", confinement.prefer_the_roles_when_memory_is_short),
    Step("no new privileges", "required by the next", privileges.no_new_privileges),
    Step("init: landlock", "before the roles are forked: the domain is what holds them together", confinement.landlock),
)

WORKER_BUILDS: tuple[Step, ...] = (
    Step("death signal", "fork(2) clears it", namespaces.die_with_the_spawner),
    Step("cgroup", "init stays out of it, so that no kill of the group hits it", namespaces.join_cgroup),
    Step("session", "its own, so that it cannot signal init's group", namespaces.own_session),
    Step("working directory", "inside the private directory", scratch.working_directory),
    Step("process limit", "above what the user has already", confinement.process_limit),
    Step("descriptors", "whatever else is open", limits.only_our_descriptors),
    Step("subreaper", "of tools only: the filter denies the option later", privileges.collect_orphans),
    Step("limits", "after set-up, which they shall not limit", limits.resource_limits),
    Step("speculation", "the filter denies prctl options later", privileges.no_speculation),
    Step("foreground", "what follows is waited for", limits.to_the_foreground),
)

# With fresh_exec an execve(2) lies before these.
WORKER_RESTRICTS: tuple[Step, ...] = (
    Step("landlock", "after any exec, which it forbids", confinement.landlock),
)

WORKER_LOCKS: tuple[Step, ...] = (
    Step("seccomp", "last: it takes away the calls every step above used", confinement.filter_calls),
)

INIT_LOCKS: tuple[Step, ...] = (
    Step("init: own score", "after the roles were forked", confinement.back_to_our_own_score),
    Step("init: foreground", "from here on it watches limits", limits.to_the_foreground),
    Step("init: seccomp", "last", confinement.filter_calls),
)
