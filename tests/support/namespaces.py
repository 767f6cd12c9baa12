"""A network of hosts on this machine: each a network namespace with an address of its own, on one bridge.

Everything stands in namespaces of our own, the bridge as well, so that the machine's own network is not
touched, and deleting the namespaces leaves nothing. It needs root, `ip` and `iptables`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

_NETWORK = "10.77.0"


class Host:
    """One host: `command` makes a command line run in it."""

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name, self.namespace, self.address = name, namespace, address

    def command(self, *words: str) -> list[str]:
        """What runs `words` in this host."""
        return ["ip", "netns", "exec", self.namespace, *words]


class Lan:
    """Hosts that reach each other, until rules of iptables say otherwise."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._bridge = f"{prefix}-lan"
        self._made = ExitStack()  # Of what is on it, all is deleted, even if one of them cannot be.
        self.hosts: dict[str, Host] = {}

    def build(self, names: Sequence[str]) -> None:
        """Make the bridge, and a host for each name. What was made before an error is known to `close`."""
        self._make(self._bridge)
        _ip("-n", self._bridge, "link", "add", "lan", "type", "bridge")
        _ip("-n", self._bridge, "link", "set", "lan", "up")
        for number, name in enumerate(names, start=1):
            host = Host(name, f"{self._prefix}-{name}", f"{_NETWORK}.{number}")
            self._make(host.namespace)
            self.hosts[name] = host
            port = f"port{number}"
            pair = ("link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._bridge)
            _ip("-n", host.namespace, *pair)
            _ip("-n", self._bridge, "link", "set", port, "master", "lan", "up")
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.namespace, "link", "set", "eth0", "up")
            _ip("-n", host.namespace, "link", "set", "lo", "up")

    def close(self) -> None:
        """Delete all that was made; processes that are left in it are ended before."""
        self._made.close()

    # -- faults

    def cut(self, half: Collection[str], other: Collection[str]) -> None:
        """Nothing passes between the two, either way."""
        for here, there in ((half, other), (other, half)):
            for name in here:
                for source in there:
                    self.drop(name, "--source", self.hosts[source].address)

    def lose(self, share: float) -> None:
        """Every host loses this share of what comes in."""
        for name in self.hosts:
            self.drop(name, "--match", "statistic", "--mode", "random", "--probability", str(share))

    def drop(self, name: str, *rule: str) -> None:
        """This host drops what comes in and fits `rule`."""
        _run(self.hosts[name].command("iptables", "--wait", "--append", "INPUT", *rule, "--jump", "DROP"))

    def heal(self) -> None:
        """Everything passes again."""
        for host in self.hosts.values():
            _run(host.command("iptables", "--wait", "--flush", "INPUT"))

    def _make(self, namespace: str) -> None:
        _ip("netns", "add", namespace)
        self._made.callback(_delete, namespace)


@contextmanager
def lan_of(names: Iterable[str]) -> Iterator[Lan]:
    """A network with a host for each name, gone afterwards, whatever happened."""
    lan = Lan(f"avm{secrets.token_hex(3)}")
    try:
        lan.build(list(names))
        yield lan
    finally:
        lan.close()


@cache
def reason_against() -> str:
    """Why no such network can be made here, in a few words; empty where it can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "iptables"):
        if shutil.which(program) is None:
            return f"network namespaces need the program {program}"
    try:
        with lan_of(["a"]) as lan:
            lan.lose(0.5)
            lan.heal()
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.strip()[:200]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"network namespaces do not work here: {error}"
    return ""


def _delete(namespace: str) -> None:
    with suppress(subprocess.CalledProcessError):
        for pid in _ip("netns", "pids", namespace).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    _ip("netns", "delete", namespace)


def _ip(*words: str) -> str:
    return _run(["ip", *words])


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
