"""A mesh of real `avm node` processes on hosts of their own, and a watch over what must hold in it.

The invariants bear the names they have in `deploy/simulation/watch.py`, and a broken one is the same error:

 versions   (incarnation, version) that a member holds of another never goes back while it remembers it.
 live       no live member is declared dead, but for those that are excused: read from every node's log,
            which has each change of standing, so that none is missed.
 leads      whom a member holds for dead, left or forgotten is no lead of it.

`look` checks them all; whoever waits for something here looks all the time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from deploy.simulation.watch import Broken
from node.client import NodeClient
from node.config import NodeConfig
from node.net.address import with_key
from node.net.authority import Authority
from node.net.credentials import Credentials, issue, store
from node.net.endpoint import MemberInfo
from protocol.errors import MeshError
from protocol.names import AgentName
from tests.support.namespaces import Host, Lan

ROOT = Path(__file__).resolve().parents[2]
PORT = 7700  # On every host; what it publishes goes out at the next.
MESH = "real"
TOPIC = "shared"

_STEP_S = 0.1
_STANDING = re.compile(r"node\.net\.peer: member (\S+): (\w+), was (\w+)$")
_LIVING = ("alive", "suspect")


class RealMember:
    """One agent on one host, through all its processes: its folders stay the same."""

    def __init__(
        self, host: Host, folder: Path, own: Credentials, *, seeds: Iterable[str], advertise: str = ""
    ) -> None:
        """`own`: as they were issued by the authority, on another host than this."""
        self.name, self.host = host.name, host
        self.folder, self.log = folder / host.name, folder / f"{host.name}.log"
        self.config = NodeConfig(
            mesh=MESH,
            data_dir=self.folder / "data",
            runtime_dir=self.folder / "run",
            credentials_dir=self.folder / "credentials",
        )
        store(self.config, own)
        self.process: subprocess.Popen[str] | None = None
        self.client: NodeClient | None = None
        self.stopped = False
        listen = ("--listen", f"tcp://{host.address}:{PORT}", "--mesh", MESH)
        found = [word for seed in seeds for word in ("--seed", seed)]
        at = ("--advertise", advertise) if advertise else ()
        self._words = ["node", self.name, *listen, *found, *at, "--log-level", "info"]

    @property
    def running(self) -> bool:
        """Whether it takes part: it runs, and is not stopped."""
        return self.process is not None and not self.stopped

    def launch(self) -> None:
        """Start its process; `await_ready` waits for it."""
        environment = os.environ | {
            "AVM_HOME": str(self.folder),
            "AVM_VECTORS": "off",
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.host.command(sys.executable, "-P", "-m", "deploy.cli", *self._words),
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )

    def await_ready(self) -> None:
        """Until it takes commands; fails with what it wrote where it does not."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready at "), f"{self.name} did not start: {line}{self.log.read_text()}"
        self.client = NodeClient(self.name, config=self.config)

    def end(self, number: signal.Signals) -> None:
        """By this signal, if it runs: SIGKILL is a crash, SIGTERM a graceful leave."""
        if self.client is not None:
            self.client.close()
        if self.process is not None:
            self.process.send_signal(number)
            if self.stopped and number != signal.SIGKILL:
                self.process.send_signal(signal.SIGCONT)
            self.process.communicate(timeout=30)
        self.client, self.process, self.stopped = None, None, False

    def stop(self) -> None:
        """SIGSTOP: a machine that is too slow for anything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def remember(self, topic: str) -> None:
        """A memory of this topic, which others may ask for."""
        assert self.client is not None
        self.client.remember(f"A note on {topic}.", tags=[topic], visibility="mesh")

    def members(self) -> dict[str, MemberInfo]:
        """All it knows of, by name."""
        assert self.client is not None
        return {info.agent: info for info in self.client.members()}

    def leads(self, topic: str) -> set[str]:
        """Whom its own directory names for this topic."""
        assert self.client is not None
        return {lead.agent for lead in self.client.who_knows(topic, limit=50, via="gossip").leads}


class RealMesh:
    """All of them. A context manager that ends every process, however the block was left."""

    def __init__(self, lan: Lan, folder: Path, *, seeds: Collection[str]) -> None:
        self.lan, self._folder = lan, folder
        self._seeds = seeds
        self._authority = Authority.create(folder / "authority", MESH)
        self._issued: dict[str, Credentials] = {}
        self.members: dict[str, RealMember] = {}
        self.excused: set[str] = set()
        """Members that may be declared dead from now on: they are, or are cut off."""
        self._held: dict[str, dict[str, tuple[int, int]]] = {}
        self._read: dict[str, int] = {}
        self.standings: list[tuple[str, str, str]] = []
        """(observer, member, its new standing), as the logs told, oldest first for each observer."""

    def start(self, *names: str, advertise: str = "") -> None:
        """Start these, all at once: for the first time or again."""
        for name in names:
            if name not in self.members:
                seeds = [self._address_of(seed) for seed in self._seeds if seed != name]
                own, host = self._credentials_of(name), self.lan.hosts[name]
                self.members[name] = RealMember(host, self._folder, own, seeds=seeds, advertise=advertise)
            self._held[name] = {}
            self.members[name].launch()
        for name in names:
            self.members[name].await_ready()

    def _credentials_of(self, name: str) -> Credentials:
        if name not in self._issued:
            self._issued[name] = issue(self._authority, AgentName(name), "agent")
        return self._issued[name]

    def _address_of(self, name: str) -> str:
        key = self._credentials_of(name).curve_key
        return with_key(f"tcp://{self.lan.hosts[name].address}:{PORT}", key)

    def crash(self, *names: str) -> None:
        """SIGKILL, all at once."""
        self.excused |= set(names)
        for name in names:
            self.members[name].end(signal.SIGKILL)

    def running(self) -> list[RealMember]:
        """Who takes part."""
        return [member for member in self.members.values() if member.running]

    # -- what is so

    def directories_are_equal(self, among: Collection[str] = ()) -> bool:
        """Whether all that run, or these, hold each other for living and nobody else, at equal versions."""
        chosen = [member for member in self.running() if not among or member.name in among]
        names = {member.name for member in chosen}
        views = [
            frozenset(
                (one.agent, one.incarnation, one.version)
                for one in member.members().values()
                if one.status in _LIVING
            )
            for member in chosen
        ]
        return len(set(views)) == 1 and {agent for agent, _, _ in views[0]} == names

    def all_hold(self, name: str, standing: str) -> bool:
        """Whether every other that runs holds `name` for this: `unknown` where it was forgotten."""
        views = [member.members().get(name) for member in self.running() if member.name != name]
        return all((view.status if view else "unknown") == standing for view in views)

    def all_know(self, topic: str, holders: set[str]) -> bool:
        """Whether all that run have exactly these leads."""
        return all(member.leads(topic) == holders for member in self.running())

    def was_held(self, name: str, standing: str) -> bool:
        """Whether anybody has told in its log that it holds `name` for this, as of the last look."""
        return any(member == name and found == standing for _, member, found in self.standings)

    def until(self, what: str, done: Callable[[], bool], *, within_s: float) -> float:
        """Seconds until `done`, looking at the invariants all the while; fails after `within_s`."""
        begun = time.monotonic()
        while True:
            self.look()
            took_s = time.monotonic() - begun
            if done():
                print(f"{what} after {took_s:.1f} s")
                return took_s
            assert took_s < within_s, f"{what}: not so after {within_s:g} s\n{self.told()}"
            time.sleep(_STEP_S)

    def run(self, seconds: float) -> None:
        """Let it go on for so long, and look."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(_STEP_S)

    # -- what must be so

    def look(self) -> None:
        """All invariants, of all that run. Raises `Broken`."""
        for member in self.running():
            before = member.members()
            self._look_at_versions(member.name, before)
            leads = member.leads(TOPIC)
            after = member.members()
            for agent in leads:
                standings = [view[agent].status if agent in view else "forgotten" for view in (before, after)]
                if not any(standing in _LIVING for standing in standings):
                    raise Broken("leads", f"{agent} is a lead of {member.name}, and {standings[0]}")
        self._look_at_the_living()

    def told(self) -> str:
        """What every node holds, and the last of what was logged: for a test that failed."""
        lines = []
        for member in self.running():
            held = [f"{one.agent} {one.status} {one.incarnation}.{one.version}" for one in _views(member)]
            lines.append(f"{member.name}: {', '.join(held)}")
        return "\n".join([*lines, *map(str, self.standings[-20:])])

    def _look_at_versions(self, observer: str, view: dict[str, MemberInfo]) -> None:
        held = self._held[observer]
        for agent in held.keys() - view.keys():
            del held[agent]  # Forgotten: what comes later is news from a stranger.
        for agent, one in view.items():
            now = (one.incarnation, one.version)
            if now < held.get(agent, now):
                raise Broken("versions", f"{observer} went back from {held[agent]} to {now} of {agent}")
            held[agent] = now

    def _look_at_the_living(self) -> None:
        for observer, agent, standing in self._read_logs():
            if standing == "dead" and agent not in self.excused:
                raise Broken("live", f"{observer} took {agent} for dead")

    def _read_logs(self) -> list[tuple[str, str, str]]:
        """What was logged since they were last read."""
        found: list[tuple[str, str, str]] = []
        for name, member in self.members.items():
            with member.log.open() as log:
                log.seek(self._read.get(name, 0))
                lines = log.readlines()
                if lines and not lines[-1].endswith("\n"):
                    lines.pop()
                self._read[name] = self._read.get(name, 0) + sum(len(line.encode()) for line in lines)
            matches = map(_STANDING.search, lines)
            found += [(name, match[1], match[2]) for match in matches if match]
        self.standings += found
        return found

    def __enter__(self) -> RealMesh:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.end(signal.SIGKILL)


def _views(member: RealMember) -> list[MemberInfo]:
    try:
        return list(member.members().values())
    except MeshError:
        return []
