"""Real nodes on hosts of their own, which only gossip connects: what the simulator promises, on real sockets.

The faults are real as well: iptables cuts and loses, signals stop and kill, a proxy delays. The invariants
are looked at all the time (`tests/support/real_mesh.py`), with their names of `deploy/simulation/watch.py`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.simulation.watch import grace_s
from protocol.profile import Profile
from tests.support.namespaces import lan_of, reason_against
from tests.support.real_mesh import PORT, ROOT, TOPIC, RealMesh

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(300),  # Every wait has a limit of its own.
    pytest.mark.skipif(bool(reason_against()), reason=reason_against() or "namespaces work here"),
]

HEAL_S = 45.0
"""The stated time after a heal, see protocol/README.md."""

NEWS_S = 10.0
"""For a change, or a verdict that is told on, to be everywhere: two rounds of `sync_s`, whatever is lost."""

_SLOW_S = 0.15  # Of one way through the proxy.


def verdict_s(members: int) -> float:
    """For a crash to be known everywhere: found, suspected, buried, told; twice that on a busy machine."""
    return 2 * grace_s(Profile.lan(), members)


@contextmanager
def mesh_of(names: str, folder: Path, *, seeds: str) -> Iterator[RealMesh]:
    """A host for each letter; nothing runs yet."""
    with lan_of(names) as lan, RealMesh(lan, folder, seeds=seeds) as mesh:
        yield mesh


def settle(mesh: RealMesh, *, within_s: float = HEAL_S) -> float:
    """Seconds until all that run hold each other, at the same versions, and find each other by a topic."""
    names = {member.name for member in mesh.running()}
    return mesh.until(
        "directories are equal",
        lambda: mesh.directories_are_equal() and mesh.all_know(TOPIC, names),
        within_s=within_s,
    )


def start_whole(mesh: RealMesh, names: str) -> None:
    """All of them run, have something to tell, and know each other."""
    mesh.start(*names)
    for member in mesh.running():
        member.remember(TOPIC)
    settle(mesh)


def test_a_network_that_cannot_be_built_to_the_end_leaves_nothing() -> None:
    def namespaces() -> str:
        return subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout

    before = namespaces()

    with pytest.raises(subprocess.CalledProcessError), lan_of(["a", "b", "no/name"]):
        pass

    assert namespaces() == before


def test_a_cut_mesh_whose_halves_were_both_started_again_is_whole_soon_after_the_heal(
    short_folder: Path,
) -> None:
    with mesh_of("abcde", short_folder, seeds="ac") as mesh:
        start_whole(mesh, "abcde")

        mesh.excused |= set("abcde")
        mesh.lan.cut("ab", "cde")
        mesh.until(
            "each half has given the other up",
            lambda: mesh.directories_are_equal("ab") and mesh.directories_are_equal("cde"),
            within_s=verdict_s(5),
        )
        assert mesh.members["a"].leads(TOPIC) == set("ab")
        mesh.crash(*"bcde")
        mesh.start(*"bcde")
        mesh.members["b"].remember("volcano")
        mesh.members["e"].remember("glacier")
        mesh.until(
            "the halves know themselves again",
            lambda: mesh.directories_are_equal("ab") and mesh.directories_are_equal("cde"),
            within_s=HEAL_S,
        )
        mesh.run(seconds=8.0)  # Until the system itself seldom tries to connect any more.
        mesh.lan.heal()

        settle(mesh, within_s=HEAL_S)
        mesh.until(
            "what was learned in one half is known in the other",
            lambda: mesh.all_know("volcano", {"b"}) and mesh.all_know("glacier", {"e"}),
            within_s=NEWS_S,
        )


def test_the_slow_are_suspected_the_crashed_are_buried_and_who_comes_back_takes_over(
    short_folder: Path,
) -> None:
    with mesh_of("abcde", short_folder, seeds="ab") as mesh:
        start_whole(mesh, "abcde")

        # A node that is slow, for as long as nobody can tell it from a dead one.
        mesh.members["e"].stop()
        mesh.until("e is suspected", lambda: mesh.was_held("e", "suspect"), within_s=verdict_s(5))
        mesh.members["e"].go_on()
        mesh.until("e is alive to all", lambda: mesh.all_hold("e", "alive"), within_s=NEWS_S)
        settle(mesh)
        assert not mesh.was_held("e", "dead")

        # A crash, and a start at the same address when all have buried it.
        mesh.crash("d")
        mesh.until("d is dead to all", lambda: mesh.all_hold("d", "dead"), within_s=verdict_s(5))
        assert mesh.all_know(TOPIC, set("abce"))
        before = mesh.members["a"].members()["d"].incarnation
        mesh.start("d")
        mesh.until("d is back for all", lambda: mesh.all_hold("d", "alive"), within_s=NEWS_S)
        settle(mesh)
        mesh.excused.clear()
        assert mesh.members["a"].members()["d"].incarnation > before

        # A crash that nobody had the time to notice.
        before = mesh.members["a"].members()["c"].incarnation
        mesh.members["c"].end(signal.SIGKILL)
        mesh.start("c")
        mesh.until(
            "the new c is known to all",
            lambda: all(m.members()["c"].incarnation > before for m in mesh.running()),
            within_s=NEWS_S,
        )
        settle(mesh)
        assert not mesh.was_held("c", "dead")

        # A goodbye.
        mesh.members["b"].end(signal.SIGTERM)
        mesh.until("all were told that b left", lambda: mesh.all_hold("b", "left"), within_s=NEWS_S)
        assert mesh.all_know(TOPIC, set("acde"))
        settle(mesh)


def test_behind_a_slow_proxy_and_at_a_loss_of_a_fifth_nobody_that_lives_is_buried(short_folder: Path) -> None:
    with mesh_of("abcp", short_folder, seeds="a") as mesh, ExitStack() as stack:
        proxy, behind = mesh.lan.hosts["p"], mesh.lan.hosts["c"]
        ports = (str(PORT), str(PORT + 1))
        words = (sys.executable, "-m", "tests.support.slow_proxy", proxy.address, behind.address)
        running = subprocess.Popen(
            proxy.command(*words, str(_SLOW_S), *ports), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        stack.callback(running.communicate)
        stack.callback(running.kill)
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        for other in "ab":
            source = ("--source", mesh.lan.hosts[other].address)
            mesh.lan.drop("c", "--protocol", "tcp", *source, "--dport", ":".join(ports))
        mesh.start("c", advertise=proxy.address)

        # A slow way to one of them is no reason to suspect it.
        start_whole(mesh, "ab")
        mesh.members["c"].remember("volcano")
        mesh.members["b"].remember("glacier")
        mesh.until(
            "news pass both ways",
            lambda: mesh.all_know("volcano", {"c"}) and mesh.all_know("glacier", {"b"}),
            within_s=NEWS_S,
        )
        mesh.run(seconds=Profile.lan().silence_s + 1.0)
        assert proxy.address in mesh.members["b"].members()["c"].address
        assert not any(standing in ("suspect", "dead") for _, _, standing in mesh.standings)

        # Loss on top of that may make suspects, but buries nobody, and stops no news.
        mesh.lan.lose(0.2)
        mesh.run(seconds=10.0)
        mesh.members["c"].remember("earthquake")
        mesh.until("news of c are known", lambda: mesh.all_know("earthquake", {"c"}), within_s=2 * NEWS_S)
        mesh.run(seconds=5.0)
        settle(mesh)
        assert not any(standing == "dead" for _, _, standing in mesh.standings)
