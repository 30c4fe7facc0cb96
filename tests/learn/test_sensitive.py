"""Files with secrets: never readable by default, by whatever name; never granted by themselves; always flagged."""

from __future__ import annotations

import errno
import os

import lessons
import pytest

from isolate_fn import learn
from isolate_fn._plan.sensitive import by_content, by_name
from isolate_fn.errors import PolicyError

pytestmark = pytest.mark.needs("namespaces", "landlock")

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n-----END OPENSSH PRIVATE KEY-----\n"
NAMES = (
    ".ssh/id_ed25519", ".ssh/config", ".gnupg/trustdb.gpg", ".aws/credentials", ".config/gcloud/x", ".kube/config",
    ".docker/config.json", ".netrc", ".pypirc", ".env", ".env.local", "server.key", "private.pem", "notes.txt",
)  # fmt: skip


@pytest.fixture
def home(elsewhere):
    for name in NAMES:
        path = elsewhere / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(KEY if name in ("private.pem", "notes.txt") else "SECRET")
    (elsewhere / "plain.txt").write_text("plain")
    (elsewhere / "link.txt").symlink_to(elsewhere / ".env")
    return elsewhere


def test_secrets_are_refused_flagged_and_not_granted(home):
    paths = [str(home / name) for name in (*NAMES, "link.txt", "plain.txt")]
    with learn() as seen:
        assert seen.call(lessons.read_all, paths) == [errno.EACCES] * (len(NAMES) + 1) + ["plain"]
    assert list(map(repr, seen.policy.mounts)) == [f"ro('{home}/plain.txt')"]
    flagged = [flag.subject for flag in seen.flags if flag.kind == "secret"]
    assert set(paths) - {str(home / "plain.txt")} == set(flagged)
    assert not any(flag.granted for flag in seen.flags)
    assert set(seen.sensitive) == set(flagged)
    assert "SECRET" not in seen.json()


@pytest.mark.parametrize("name", [".env", "notes.txt", ".ssh/id_ed25519"])
def test_no_way_to_name_it_leads_to_it(home, name):
    with learn() as seen:
        found = seen.call(lessons.read_in_every_way, str(home / name))
    assert not any(isinstance(each, str) and "SECRET" in each for each in found)
    assert all(isinstance(each, int) and each for each in found), found
    assert not any(name in repr(mount) for mount in seen.policy.mounts)


def test_what_is_allowed_by_name_is_read_granted_and_flagged(home, under):
    with learn(allow=[home / ".env"]) as seen:
        assert seen.call(lessons.read_all, [str(home / ".env"), str(home / ".netrc")]) == ["SECRET", errno.EACCES]
    assert list(map(repr, seen.policy.mounts)) == [f"ro('{home}/.env')"]
    assert [(flag.subject, flag.granted) for flag in seen.flags] == [(f"{home}/.env", True), (f"{home}/.netrc", False)]
    assert under(seen.policy, lessons.read_all, [str(home / ".env")]) == ["SECRET"]


def test_a_directory_with_secrets_is_not_granted_as_a_whole(home):
    with learn() as seen:
        seen.call(lessons.look_at, [str(home)])
    assert seen.policy.mounts == ()
    assert [flag.kind for flag in seen.flags] == ["secret"]
    assert str(home) in str(seen.flags[0])


def test_naming_a_secret_grants_nothing(home):
    with learn() as seen:
        seen.call(lessons.look_at, [str(home / name) for name in NAMES])
    assert seen.policy.mounts == ()


def test_writing_beside_secrets_copies_none_and_grants_none(home):
    with learn() as seen:
        assert "made" in seen.call(lessons.write_and_list, str(home))
    assert not any("copy" in repr(mount) for mount in seen.policy.mounts)
    assert seen.policy.mounts == ()
    assert any(flag.kind == "secret" and str(home) == flag.subject for flag in seen.flags)
    assert not (home / "made").exists()


def test_a_directory_with_secrets_is_not_lent_for_writing(home):
    with pytest.raises(PolicyError, match="holds secrets"):
        learn(rw=[home])
    with learn(rw=[home], allow=[home]) as seen:
        assert "made" in seen.call(lessons.write_and_list, str(home))
    assert (home / "made").exists()


def test_system_secrets():
    with learn() as seen:
        found = seen.call(lessons.read_all, ["/etc/shadow", "/proc/1/environ", "/etc/gshadow"])
    assert not any(isinstance(each, str) for each in found)
    assert not any("shadow" in repr(mount) or "proc" in repr(mount) for mount in seen.policy.mounts)


@pytest.mark.parametrize(
    "path",
    [
        "/home/x/.ssh/known_hosts", "/root/.gnupg/x/y", "/h/.aws/credentials", "/h/.config/gcloud/a", "/h/.kube/config",
        "/h/.docker/config.json", "/h/.netrc", "/h/.pypirc", "/p/.env", "/p/.env.production", "/proc/12/environ",
        "/x/proc/12/task/3/environ", "/etc/shadow", "/etc/shadow-", "/etc/ssl/private/a.crt", "/p/id_rsa", "/p/id_ed25519_work",
        "/etc/ssh/ssh_host_rsa_key", "/p/tls.key", "/p/store.p12", "/var/run/secrets/kubernetes.io/token", "/h/.git-credentials",
        "/p/line\nbreak.key", "/p/secrets.yaml", "/etc/wireguard/wg0.conf", "/p/terraform.tfstate", "/etc/krb5.keytab",
        "/p/SERVER.KEY", "/p/cert.PFX", "/p/Credentials.json", "/p/.env~", "/p/.env.a\nb",
        "/p/.env-prod", "/h/.Xauthority", "/h/.config/rclone/rclone.conf", "/h/.m2/settings.xml", "/h/.msmtprc", "/p/tls.key.bak",
        "/p/signing_key", "/p/application_default_credentials.json", "/p/credential-file",
        "/etc/nginx/tls/private/a", "/etc/sudoers.dist",
    ],
)  # fmt: skip
def test_names_of_secrets(path):
    assert by_name(path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/ssl/certs/a.pem", "/usr/share/x/keyboard", "/p/id_rsa.pub", "/p/environment.py", "/p/.environ", "/p/keys.py",
        "/etc/passwd", "/p/docker/config.json", "/p/gh/x", "/proc/self/status", "/p/id_map.txt",
        "/p/google/auth/credentials.py", "/var/www/private/a.html", "/p/keyed",
    ],
)  # fmt: skip
def test_names_of_no_secrets(path):
    assert not by_name(path)


def test_contents():
    assert by_content("/p/a.txt", KEY.encode())
    assert by_content("/p/a.pem", b"something")
    assert not by_content("/p/a.pem", b"-----BEGIN CERTIFICATE-----\nabc")
    assert by_content("/p/both.pem", b"-----BEGIN CERTIFICATE-----\nabc\n" + KEY.encode())
    assert not by_content("/p/a.txt", os.urandom(4096))
