"""Real nodes among members that lie, strangers with stolen papers, and members that are none any more."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import msgspec
import pytest

from librarian import Librarian, LibrarianConfig
from node import MemoryNode, NodeConfig
from node.memory import Draft
from node.net.address import split_address, split_key
from node.net.audit import read_audit
from node.net.authority import Authority
from node.net.credentials import issue, store
from node.net.keys import make_pair
from node.net.zeromq import ZmqTransport
from protocol.messages import Message, Ping, RecallReply, RecallRequest, Records, Refused
from protocol.names import AgentName
from tests.support.endpoints import Stranger, stranger
from tests.support.settings import MakeConfig
from tests.support.sockets import connect
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

PRIVATE, LISTED, OPEN = "the walrus hides amber", "the heron owes silver", "the zebra carries copper"


def leads(node: MemoryNode, topic: str) -> list[str]:
    return sorted(lead.agent for lead in node.who_knows(topic, via="gossip").leads)


def dropped(node: MemoryNode, reason: str) -> int:
    return node.status().dropped.get(reason, 0)


def authority(config: NodeConfig) -> Authority:
    return Authority.open(config.credentials, config.mesh)


def asked(one: Stranger, query: str = "zebra") -> Message:
    one.tell(RecallRequest(1, query, 500))
    return one.hear()


# -- who speaks


def test_a_certificate_without_its_key_is_worth_nothing(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, stranger("bob", a) as bob:
        with stranger("thief", a, joins=False) as thief:
            thief.dealer.disconnect(a.address.partition("#")[0])
            connect(thief.dealer, a.address, make_pair())
            thief.tell(bob.hello(), sender="bob")
            wait_for(lambda: dropped(a, "wrong-key") == 1)

            assert not thief.dealer.poll(200)
        assert [info.agent for info in a.members() if info.status == "alive"] == ["a", "bob"]


@pytest.mark.parametrize(
    "said",
    [Ping(1), Records(()), RecallRequest(1, "zebra", 100)],
    ids=lambda message: type(message).__name__,
)
def test_a_member_that_speaks_in_anothers_name_is_not_heard(said: Message, make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("bob", a), stranger("eve", a) as eve:
        a.remember(OPEN, tags=["zebra"], visibility="mesh")

        eve.tell(said, sender="bob")
        wait_for(lambda: dropped(a, "wrong-sender") == 1)

        assert not eve.dealer.poll(200)
        assert isinstance(asked(eve), RecallReply)  # In its own name it is.


def test_who_forges_records_is_not_listened_to_for_a_while(make_config: MakeConfig) -> None:
    with MemoryNode("a", config=make_config()) as a, stranger("bob", a) as bob, stranger("eve", a) as eve:
        for version in range(2, 9):
            forged = eve.signed(msgspec.structs.replace(bob.record, version=version))
            eve.tell(Records((forged,), (bob.credentials.certificate,)))
        wait_for(lambda: dropped(a, "shut-out") >= 1)

        eve.tell(Ping(1))
        assert not eve.dealer.poll(200)
        bob.tell(Ping(2))
        assert bob.hear()
        (info,) = [one for one in a.members() if one.agent == "bob"]
        assert info.version == 1


# -- who is a member


def test_whoever_is_revoked_is_expelled_here_and_on_other_hosts_and_the_others_go_on(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    with (
        MemoryNode("a", config=config) as a,
        stranger("eve", a) as eve,
        MemoryNode("b", config=make_config(host="2", seeds=(a.address,))) as b,
    ):
        a.remember(OPEN, tags=["zebra"], visibility="mesh")
        wait_for(lambda: leads(b, "zebra") == ["a", "eve"])

        authority(config).revoke(AgentName("eve"))

        wait_for(lambda: leads(a, "zebra") == leads(b, "zebra") == ["a"])
        assert "eve" not in {info.agent for info in [*a.members(), *b.members()]}
        eve.tell(RecallRequest(1, "zebra", 100))
        assert not eve.dealer.poll(300)
        eve.tell(eve.hello())
        assert not eve.dealer.poll(300)
        assert b.ask("zebra", timeout_s=20.0).items
        wait_for(lambda: b.status().charter == a.status().charter == 2)


def test_the_key_of_the_digests_changes_under_a_running_mesh_and_who_was_away_is_found_again(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a:
        with MemoryNode("b", config=config) as b:
            b.remember(OPEN, tags=["zebra"])
            wait_for(lambda: leads(a, "zebra") == ["b"])
        a.remember(LISTED, tags=["heron"])

        authority(config).rotate()

        wait_for(lambda: a._endpoint.driver.peer.engine.record.digest.key_epoch == 2)
        assert leads(a, "heron") == ["a"]
        with MemoryNode("b", config=config) as b:
            wait_for(lambda: leads(a, "zebra") == ["b"])
            wait_for(lambda: leads(b, "heron") == ["a"])


def test_a_certificate_that_expires_while_its_owner_runs_ends_its_membership(make_config: MakeConfig) -> None:
    config = make_config()
    short = issue(Authority.create(config.credentials, config.mesh), AgentName("eve"), "agent", 1)
    store(config, short)
    with MemoryNode("a", config=config) as a, stranger("eve", a) as eve:
        wait_for(lambda: leads(a, "zebra") == ["eve"])

        a._endpoint._trust._clock = lambda: short.certificate.expires_at + 1.0

        wait_for(lambda: leads(a, "zebra") == [])
        eve.tell(RecallRequest(1, "zebra", 100))
        assert not eve.dealer.poll(300)


def test_a_clock_an_hour_off_changes_nothing(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, MemoryNode("b", config=config) as b:
        b._endpoint._trust._clock = lambda: time.time() + 3_600.0
        b._endpoint._trust._look_at = 0.0
        b.remember(OPEN, tags=["zebra"], visibility="mesh")
        wait_for(lambda: leads(a, "zebra") == ["b"])

        assert a.ask("zebra", timeout_s=20.0).items
        assert not a.status().dropped


# -- who is given what


def of_role(config: NodeConfig, name: str, role: str) -> None:
    """Issue a certificate in this role."""
    made = issue(authority(config), AgentName(name), role)  # type: ignore[arg-type]
    store(config, made)


def test_an_observer_asks_and_is_no_lead_and_every_answer_is_written_down(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a:
        of_role(config, "eye", "observer")
        a.remember(OPEN, tags=["zebra"], visibility="mesh", path="/open")
        a.remember(LISTED, tags=["zebra"])
        with MemoryNode("eye", config=config) as eye:
            eye.remember("The zebra was seen.", tags=["zebra"], visibility="mesh")
            wait_for(lambda: leads(eye, "zebra") == ["a"])

            found = eye.ask("zebra", timeout_s=20.0)

            assert OPEN in found.text
            assert LISTED not in found.text
            assert leads(a, "zebra") == ["a"]
            (entry,) = read_audit(config.audit_file(AgentName("a")), limit=10)
            assert (entry.asker, entry.role, entry.decision) == ("eye", "observer", "answered")
            assert entry.paths == ("/open",)
            assert OPEN not in config.audit_file(AgentName("a")).read_text()


def test_a_librarian_is_given_no_text_and_that_is_written_down(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config) as a, stranger("books", a, role="librarian") as books:
        a.remember(OPEN, tags=["zebra"], visibility="mesh")

        books.tell(RecallRequest(1, "zebra", 500))
        answers = [books.hear()]
        while not isinstance(answers[-1], Refused):
            answers.append(books.hear())

        assert answers[-1] == Refused(1, "peer-refused", "a librarian is given no text")
        (entry,) = read_audit(config.audit_file(AgentName("a")), limit=10)
        assert (entry.asker, entry.role, entry.decision) == ("books", "librarian", "refused")


# -- what leaves a node


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every frame that any transport of this process sends from now on, before it is encrypted."""
    frames: list[bytes] = []

    def seen(method: Callable[..., object]) -> Callable[..., object]:
        def send(self: ZmqTransport, *given: object) -> object:
            frame = given[-1]
            assert isinstance(frame, bytes)
            if not str(given[0]).startswith("control:"):  # To commands of the same user.
                frames.append(frame)
            return method(self, *given)

        return send

    for name in ("publish", "send"):
        monkeypatch.setattr(ZmqTransport, name, seen(getattr(ZmqTransport, name)))
    return frames


def librarian_of(config: NodeConfig) -> LibrarianConfig:
    return LibrarianConfig(
        mesh=config.mesh,
        profile=config.profile,
        runtime_dir=config.runtime_dir / "shelf",
        credentials_dir=config.credentials_dir,
    )


def test_nothing_private_is_in_any_byte_that_leaves_a_node_or_in_a_librarians_files(
    make_config: MakeConfig, left: list[bytes]
) -> None:
    config = make_config()
    with Librarian("books", librarian_of(config)) as books:
        seeded = msgspec.structs.replace(config, seeds=(books.address,))
        with MemoryNode("a", config=seeded) as a, MemoryNode("b", config=seeded) as b:
            a.remember(PRIVATE, title="Ambergate", path="/vault/amber", tags=["walrus"], visibility="private")
            a.remember(LISTED, title="Silvergate", path="/vault/silver", tags=["heron"])
            a.remember(OPEN, title="Coppergate", path="/yard/copper", tags=["zebra"], visibility="mesh")
            a.forget(a.remember(f"{PRIVATE} still", tags=["walrus"], visibility="private").path)
            wait_for(lambda: leads(b, "zebra") == ["a"])
            wait_for(lambda: [lead.agent for lead in b.who_knows("heron", via="librarian").leads] == ["a"])

            assert OPEN in b.ask("zebra copper", timeout_s=20.0).text
            b.ask("walrus amber heron silver", timeout_s=20.0)
            b.who_knows("walrus", via="librarian")
            a.erase("/vault/amber")

        whole = b"".join(left)
        for text in (PRIVATE, "Ambergate", "/vault/amber", LISTED, "Silvergate", "/vault/silver"):
            assert text.encode() not in whole, text
        assert OPEN.encode() in whole  # What is searched is what was sent.
        files = b"".join(path.read_bytes() for path in files_below(librarian_of(config).runtime_dir))
        for text in (PRIVATE, LISTED, OPEN, "Coppergate", "/yard/copper"):
            assert text.encode() not in files, text


@contextmanager
def tapped(node: MemoryNode, taken: list[bytes]) -> Iterator[str]:
    """An address that leads to the node, and what passes on the way to it and back."""
    host, port = split_address(split_key(node.address)[0])

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while read := source.recv(65_536):
                taken.append(read)
                target.sendall(read)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as opened:
        both: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                came = opened.enter_context(listener.accept()[0])
                there = opened.enter_context(socket.create_connection((host, port)))
                both.extend((came, there))
                threads = [
                    threading.Thread(target=carry, args=pair) for pair in ((came, there), (there, came))
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for one in (listener, *both):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            server.join()


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nobody_reads_on_the_wire_what_members_say(make_config: MakeConfig, left: list[bytes]) -> None:
    """The frames that leave are the same that are searched above; on the wire they are encrypted."""
    config = make_config()
    taken: list[bytes] = []
    with MemoryNode("a", config=config) as a:
        a.remember(OPEN, tags=["zebra"], visibility="mesh")
        with stranger("eve", a) as eve, tapped(a, taken) as address:
            eve.dealer.disconnect(a.address.partition("#")[0])
            pair = eve.credentials.curve_key, eve.credentials.curve_secret
            connect(eve.dealer, f"{address}#{a.address.partition('#')[2]}", pair)
            reply = asked(eve, "zebra copper")

    assert isinstance(reply, RecallReply)
    assert OPEN.encode() in b"".join(left)
    wire = b"".join(taken)
    assert len(wire) > 500
    for text in (OPEN, "zebra", "eve"):
        assert text.encode() not in wire, text


def test_a_captured_digest_of_a_node_is_of_no_use_to_who_has_no_key(make_config: MakeConfig) -> None:
    config, draw = make_config(), Random(1)
    words = sorted({"".join(draw.choices("bdfgklmnprstvz", k=7)) for _ in range(20_000)})
    true = words[::100]
    with MemoryNode("a", config=config) as a, stranger("eve", a) as eve:
        a.remember_many([Draft(text=f"On {word}.", tags=(word,)) for word in true])
        wait_for(lambda: a.status().topics >= len(true))
        record = a._endpoint.driver.peer.engine.record
        epoch = eve.credentials.charter.epochs[-1]

    hits = Counter(word in set(true) for word in words if record.digest.may_contain(word))
    share_of_true, share_of_others = hits[True] / len(true), hits[False] / (len(words) - len(true))
    assert abs(share_of_true - share_of_others) < 0.05
    assert record.digest.key_epoch == epoch.number


def test_what_a_node_keeps_is_closed_to_other_users(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config):
        for folder in (config.folder, config.credentials):
            assert folder.stat().st_mode & 0o077 == 0
        for path in files_below(config.credentials):
            assert path.stat().st_mode & 0o077 == 0, path
