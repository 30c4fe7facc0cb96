"""The order of set-up, as data: each step says why it stands where it does. The order is the security property.

A short-lived process builds, once per plan, the tree that isolates share. The spawner completes a copy of it for one
isolate and forks init, which enters that and stays outside the user namespace; worker (and, in a sandbox block, tools)
enters the user namespace last, so that code inside has no authority over its own mounts at all.
"""

from __future__ import annotations

from isolate_fn._enforce import limits, locks, namespaces, privileges, rootfs, template
from isolate_fn._enforce.scene import Step

TEMPLATE_BUILDS: tuple[Step, ...] = (
    Step("template: death signal", "first: a dead spawner takes this process along", namespaces.die_with_the_spawner),
    Step("template: host's /proc", "by handle; without mount_setattr, mounts are found in it", namespaces.keep_old_proc),
    Step("template: mount namespace", "before the first mount, or it would appear on the host", template.leave_mount_namespace),
    Step("template: sources", "by handle, before the stage covers a host directory", template.take_runtime),
    Step("template: root", "everything else is mounted inside it", template.build_root),
    Step("template: mounts", "the runtime's, then mount points for the caller's", template.mount_runtime),
    Step("template: /dev", "after the orders, which must not cover it unasked", template.build_dev),
    Step("template: pivot root", "the host's tree is unreachable from here on", template.enter_root),
    Step("template: read-only root", "after the last name was made in it", template.read_only_root),
)

# In the spawner, which goes back to its own mount namespace: a process that was just forked would copy every page that
# this touches (decision 9).
SPAWNER_BUILDS: tuple[Step, ...] = (
    Step("host's /proc", "by handle, while the host's tree is still visible", namespaces.keep_old_proc),
    Step("sources", "by handle, while the host's tree is still visible", rootfs.take_grants),
    Step("file tree", "a private copy of the template's", rootfs.copy_tree),
    Step("writable places", "before the orders, which may lie inside them", rootfs.writable_places),
    Step("mounts", "the caller's, in the order given", rootfs.mount_grants),
    Step("tree kept", "by handle: init is born in the spawner's own mount namespace", rootfs.keep_tree),
    Step("namespaces", "init is born in these", namespaces.leave_namespaces),
    Step("loopback", "needs the privilege over the new network namespace", namespaces.loopback_up),
    Step("host name", "needs the privilege over the new UTS namespace", namespaces.name_the_host),
)

INIT_BUILDS: tuple[Step, ...] = (
    Step("death signal", "first: a dead spawner takes this process along", namespaces.die_with_the_spawner),
    Step("session", "before anything could open a terminal", namespaces.own_session),
    Step("cgroup", "before memory is used that it should count", namespaces.join_cgroup),
    Step("out-of-memory score", "through the host's /proc: our own is read-only", namespaces.prefer_us_when_memory_is_short),
    Step("keyring", "keyrings are in no namespace; the filter denies keyctl later", namespaces.empty_keyring),
    Step("groups", "while the privilege to change them is there", privileges.leave_groups),
    Step("/proc", "needs the new pid namespace, and the host's /proc still visible", rootfs.make_proc),
    Step("cgroup namespace", "must start at the group joined above", namespaces.leave_cgroup_namespace),
    Step("tree entered", "the host's tree is unreachable from here on", rootfs.enter_tree),
    Step("/proc mounted", "after the orders: it was made for nobody to cover", rootfs.attach_proc),
)

WORKER_BUILDS: tuple[Step, ...] = (
    Step("death signal", "fork(2) clears it", namespaces.die_with_the_spawner),
    Step("outer id", "while the privilege to change it is there", namespaces.take_outer_id),
    Step("user namespace", "last of the namespaces: it owns none of the others", namespaces.enter_user_namespace),
    Step("user id", "real and saved ids too, which may have been others", privileges.become_inner_user),
    Step("no nested user namespaces", "needs the capabilities over the new namespace", namespaces.no_nested_user_namespaces),
    Step("session", "its own, so that it cannot signal init's group", namespaces.own_session),
    Step("working directory", "before Landlock counts the walk", rootfs.working_directory),
    Step("descriptors", "closes the host's /proc, the last way out by handle", limits.only_our_descriptors),
    Step("subreaper", "of tools only: the filter denies the option later", privileges.collect_orphans),
    Step("limits", "after set-up, which they shall not limit", limits.resource_limits),
    Step("capability locks", "needs CAP_SETPCAP, which the next step gives up", privileges.lock_capabilities),
    Step("capabilities", "after the last step that needs one", privileges.empty_capabilities),
    Step("not dumpable", "after the change of id, which resets it", privileges.not_dumpable),
    Step("death signal again", "a change of id clears it", namespaces.die_with_the_spawner),
    Step("speculation", "the filter denies prctl options later", privileges.no_speculation),
    Step("no new privileges", "required by the last two (prctl(2))", privileges.no_new_privileges),
    Step("foreground", "what follows is waited for", limits.to_the_foreground),
)

# With fresh_exec an execve(2) lies before these.
WORKER_RESTRICTS: tuple[Step, ...] = (
    Step("not dumpable", "execve(2) resets it", privileges.not_dumpable),
    Step("landlock", "after all mounts, which it forbids, and after any exec, which it forbids too", locks.landlock),
)

WORKER_LOCKS: tuple[Step, ...] = (
    Step("seccomp", "last: it takes away the calls every step above used", locks.filter_calls),
)

INIT_LOCKS: tuple[Step, ...] = (
    Step("init: capability locks", "needs CAP_SETPCAP, which the change of id would take", privileges.lock_capabilities),
    Step("init: user id", "after the roles were started with the privilege it gives up", privileges.become_outer_user),
    Step("init: capabilities", "init only waits from here on", privileges.empty_capabilities),
    Step("init: not dumpable", "hides init's memory and descriptors from the worker", privileges.not_dumpable),
    Step("init: death signal", "a change of id clears it", namespaces.die_with_the_spawner),
    Step("init: no new privileges", "required by the next two", privileges.no_new_privileges),
    Step("init: landlock", "init reads /proc and nothing else", locks.landlock),
    Step("init: foreground", "from here on it watches limits", limits.to_the_foreground),
    Step("init: seccomp", "last", locks.filter_calls),
)
