"""Which files hold secrets, by their names and by what is in them, and which directories hold too much of everything.

What would grant them is never proposed: `learn` flags them, and a report of what was missing names no mount for them.
"""

from __future__ import annotations

import os
import re

_DIRECTORIES = {
    ".ssh": "SSH keys",
    ".gnupg": "GnuPG keys",
    ".aws": "tokens of AWS",
    ".azure": "tokens of Azure",
    ".kube": "tokens of Kubernetes",
    ".docker": "tokens of Docker registries",
    ".password-store": "passwords",
    ".mozilla": "a browser's passwords and cookies",
    ".thunderbird": "mail and its passwords",
    "keyrings": "passwords of the desktop",
    "gcloud": "tokens of Google Cloud",
    "gh": "tokens of GitHub",
    "google-chrome": "a browser's passwords and cookies",
    "chromium": "a browser's passwords and cookies",
}
_ONLY_IN_CONFIG = ("gcloud", "gh", "google-chrome", "chromium")
_FILES = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what)  # a name may hold a line feed; other systems write SERVER.KEY
    for pattern, what in (
        (r"\.env([._~-].*)?|\.envrc", "settings with secrets"),
        (r"\.netrc|\.pgpass|\.my\.cnf|\.mylogin\.cnf|\.git-credentials|\.s3cfg|\.boto", "passwords"),
        (r"\.msmtprc|\.fetchmailrc|rclone\.conf|logins\.json", "passwords"),
        (r"\.pypirc|\.npmrc|\.yarnrc|\.vault-token|\.terraformrc|\.Xauthority|.*token\.json", "tokens"),
        (r"(.*_)?credentials?([._-].*)?(?<!\.py)", "tokens"),  # modules of that name are code
        (r"id_(rsa|dsa|ecdsa|ed25519)[^/]*(?<!\.pub)|.*_key", "private keys"),
        (r".*\.(key|p12|pfx|jks|keystore|keytab|ppk|kdbx)(\.bak|\.old|~)?", "private keys"),
        (r"secrets?\.(ya?ml|json|toml|ini|cfg|env)|.*\.tfstate|wallet\.dat|kubeconfig", "secrets of a deployment"),
        (r"shadow-?|gshadow-?|sudoers.*|master\.passwd|opasswd", "passwords of the system"),
        (r"\.(bash|zsh|python|psql|mysql)_history|\.histfile", "what somebody has typed"),
    )
)
_PLACES = tuple(
    (re.compile(pattern, re.DOTALL), what)
    for pattern, what in (
        (r"/(ssl|tls|pki|certs?|certificates)/(.*/)?private(/|$)", "private keys"),
        (r"/\.m2/settings(-security)?\.xml$", "passwords"),
        (r"^/etc/sudoers\.d(/|$)", "passwords of the system"),
        (r"^/etc/(NetworkManager/system-connections|wireguard|openvpn|kubernetes|krb5kdc)(/|$)", "keys of networks and clusters"),
        (r"^/(proc|.*/proc)/[^/]+/(task/[^/]+/)?(environ|mem|cmdline|maps|auxv)$", "memory of a process"),
        (r"^/var/run/secrets(/|$)|^/run/secrets(/|$)", "secrets of a container"),
    )
)
_BUNDLE = re.compile(r".*\.(pem|crt|cer)", re.IGNORECASE | re.DOTALL)
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File|AGE-SECRET-KEY-1|-----BEGIN PGP PRIVATE")
_PUBLIC = re.compile(rb"-----BEGIN (TRUSTED |X509 )?(CERTIFICATE|PUBLIC KEY|X509 CRL|DH PARAMETERS)")
_BROAD = (
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/root", "/run", "/sbin", "/srv", "/tmp",
    "/usr", "/usr/lib", "/usr/local", "/usr/share", "/var", "/var/lib", "/var/run", "/var/tmp",
)  # fmt: skip
LOOKED_AT = 1 << 20
"""Bytes of a file that may hold a key among certificates."""


def is_broad(path: str) -> bool:
    """Tell whether a directory holds what belongs to the whole system, or to all that a user does.

    Args:
        path: absolute, without links.
    """
    return path in _BROAD or path == os.path.realpath(os.path.expanduser("~")) or os.path.dirname(path) == "/home"


def by_name(path: str) -> str:
    """Say what a path holds that nobody should be given by the way, empty for nothing that its name tells.

    Args:
        path: absolute.
    """
    *above, last = path.split("/")
    for index, name in enumerate([*above, last]):
        if name in _DIRECTORIES and (name not in _ONLY_IN_CONFIG or ".config" in above[:index]):
            return _DIRECTORIES[name]
    for pattern, what in _FILES:
        if pattern.fullmatch(last):
            return what
    return next((what for pattern, what in _PLACES if pattern.search(path)), "")


def may_hold_keys(path: str) -> bool:
    """Tell whether all of a file is to be looked at, and not only its beginning."""
    return _BUNDLE.fullmatch(path.rpartition("/")[2]) is not None


def by_content(path: str, content: bytes) -> str:
    """Say what a file holds that nobody should be given by the way, empty for nothing.

    Args:
        path: its own.
        content: its beginning, or of one that `may_hold_keys` up to `LOOKED_AT` bytes.
    """
    if _KEY.search(content):
        return "private keys"
    if path.lower().endswith(".pem") and not _PUBLIC.search(content):
        return "perhaps private keys"
    return ""
