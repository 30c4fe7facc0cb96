"""How whoever confines a process lets it do more: Docker, Podman, Kubernetes, LXC, systemd, each in its own words."""

from __future__ import annotations

_DOCKER_FILTER = (
    "{run} run --security-opt seccomp=profile.json, a copy of the default profile that allows {calls}; "
    "to see whether it is that: --security-opt seccomp=unconfined"
)
ALLOW: dict[str, dict[str, str]] = {
    "Docker": {
        "filter": _DOCKER_FILTER.replace("{run}", "docker"),
        "apparmor": "docker run --security-opt apparmor=unconfined, or a profile that allows mount and userns",
        "selinux": "docker run --security-opt label=disable",
        "proc": "docker run --security-opt systempaths=unconfined",
    },
    "Podman": {
        "filter": _DOCKER_FILTER.replace("{run}", "podman"),
        "apparmor": "podman run --security-opt apparmor=unconfined",
        "selinux": "podman run --security-opt label=disable",
        "proc": "podman run --security-opt unmask=ALL",
    },
    "Kubernetes": {
        "filter": "in the container's securityContext: seccompProfile: {{type: Localhost, localhostProfile: profile.json}}, "
        "a copy of the runtime's default that allows {calls}; to see whether it is that: seccompProfile: {{type: Unconfined}}",
        "apparmor": "in the container's securityContext: appArmorProfile: {{type: Unconfined}}",
        "selinux": "in the container's securityContext: seLinuxOptions: {{type: spc_t}}",
        "proc": "in the container's securityContext: procMount: Unmasked, which needs hostUsers: false in the pod",
    },
    "LXC": dict.fromkeys(
        ("filter", "apparmor", "selinux", "proc"),
        "on the host: lxc config set NAME security.nesting true (incus: the same), then restart the container",
    ),
    "systemd-nspawn": dict.fromkeys(
        ("filter", "apparmor", "selinux", "proc"),
        "on the host: systemd-nspawn --private-users=pick --system-call-filter='@mount @process @keyring'",
    ),
    "systemd unit": {
        "filter": "systemctl edit {unit}, and below [Service]: RestrictNamespaces=no, and where SystemCallFilter= is set "
        "one more line SystemCallFilter=@mount @process @keyring @sandbox sethostname capset; then restart it",
        "apparmor": "systemctl edit {unit}, and below [Service] an empty AppArmorProfile=; then restart it",
        "selinux": "systemctl edit {unit}, and below [Service] SELinuxContext= with a domain that may; then restart it",
        "proc": "systemctl edit {unit}, and below [Service]: ProcSubset=all, ProtectProc=default, ProtectKernelTunables=no, "
        "ProtectKernelLogs=no; then restart it",
    },
    "": {
        "filter": "find the program that started this one under a seccomp filter, and allow {calls} there",
        "apparmor": "as root: allow userns and mount in the AppArmor profile {label}",
        "selinux": "as root: look at `ausearch -m avc -ts recent`, and allow user_namespace create for this domain",
        "proc": "start the program where /proc is not covered by other mounts",
    },
}
#: Which of several places speaks: whoever is asked to allow something is the innermost that can.
SPEAKERS = ("Kubernetes", "Podman", "Docker", "LXC", "systemd-nspawn", "systemd unit")
