"""What leaves a node, as frames and on the wire; what a captured digest tells; what lies in files."""

from __future__ import annotations

import socket
import threading
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
from node.net.address import split_address
from node.net.transport import Received
from node.net.zeromq import ZmqTransport
from protocol import wire
from protocol.messages import RecallReply, RecallRequest
from tests.support.endpoints import stranger
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

PRIVATE, LISTED, OPEN = "the walrus hides amber", "the heron owes silver", "the zebra carries copper"


def leads(node: MemoryNode, topic: str) -> list[str]:
    return sorted(lead.agent for lead in node.who_knows(topic, via="gossip").leads)


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
            a.remember(PRIVATE, title="Ambergate", path="/vault/amber", tags=["okapi"], visibility="private")
            a.remember(LISTED, title="Silvergate", path="/vault/silver", tags=["heron"])
            a.remember(OPEN, title="Coppergate", path="/yard/copper", tags=["zebra"], visibility="mesh")
            a.forget(a.remember(f"{PRIVATE} still", tags=["okapi"], visibility="private").path)
            wait_for(lambda: leads(b, "zebra") == ["a"])
            wait_for(lambda: [lead.agent for lead in b.who_knows("heron", via="librarian").leads] == ["a"])

            assert OPEN in b.ask("zebra copper", timeout_s=20.0).text
            b.ask("walrus amber heron silver", timeout_s=20.0)
            b.who_knows("walrus", via="librarian")
            a.erase("/vault/amber")

        whole = b"".join(left)
        for text in (PRIVATE, "okapi", "hides", "Ambergate", "/vault/amber"):
            assert text.encode() not in whole, text
        for text in (LISTED, "Silvergate", "/vault/silver"):
            assert text.encode() not in whole, text
        for text in (OPEN, "heron"):  # What is searched is what was sent.
            assert text.encode() in whole, text
        files = b"".join(path.read_bytes() for path in files_below(librarian_of(config).runtime_dir))
        assert b"books" in files
        for text in (PRIVATE, LISTED, OPEN, "Ambergate", "Silvergate", "Coppergate", "/vault", "/yard"):
            assert text.encode() not in files, text


def reaching(node: MemoryNode) -> list[bytes]:
    """The frames that reach the node from now on; they arrive all the same."""
    peer, frames = node._endpoint.driver.peer, list[bytes]()
    take = peer.on_received

    def listen(now: float, received: Received) -> None:
        frames.append(received.frame)
        take(now, received)

    peer.on_received = listen  # type: ignore[method-assign]
    return frames


def test_a_listed_text_leaves_in_the_answer_to_whom_it_is_granted_and_in_nothing_else(
    make_config: MakeConfig, left: list[bytes]
) -> None:
    config = make_config()
    with (
        MemoryNode("a", config=config) as a,
        MemoryNode("b", config=config) as b,
        MemoryNode("c", config=config) as c,
    ):
        to_b, to_c = reaching(b), reaching(c)
        a.remember(LISTED, path="/vault/silver", tags=["heron"])
        a.grant("/vault/silver", "b")
        wait_for(lambda: leads(b, "heron") == leads(c, "heron") == ["a"])

        granted, refused = (node.ask("heron silver", timeout_s=20.0) for node in (b, c))

    assert LISTED in granted.text
    assert refused.text == ""
    holding = [wire.decode(frame) for frame in left if LISTED.encode() in frame]
    assert [(sender, type(message)) for sender, message in holding] == [("a", RecallReply)]
    assert [LISTED.encode() in b"".join(frames) for frames in (to_b, to_c)] == [True, False]
    assert any(isinstance(wire.decode(frame)[1], RecallReply) for frame in to_c)


@contextmanager
def tapped(address: str, taken: list[bytes]) -> Iterator[str]:
    """An address that leads to this one; `taken` is what passes on the way to it and back."""
    host, port = split_address(address)

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
    taken: list[bytes] = []
    with MemoryNode("alabaster", config=make_config()) as a, stranger("eve", a) as eve:
        a.remember(OPEN, tags=["zebra"], visibility="mesh")
        record = a._endpoint.driver.peer.engine.record
        key = a.address.partition("#")[2]
        with tapped(record.router, taken) as router, tapped(record.publisher, taken) as publisher:
            eve.connect(f"{router}#{key}")
            eve.tell(RecallRequest(1, "zebra copper", 500))
            reply = eve.hear()
            with eve.hearing(f"{publisher}#{key}") as hearer:
                assert hearer.poll(10_000)
                published = hearer.recv()

    assert isinstance(reply, RecallReply)
    assert OPEN.encode() in b"".join(left)
    assert b"alabaster" in published
    passed = b"".join(taken)
    assert len(passed) > 1_000
    for text in (OPEN, "zebra", "alabaster", "eve"):
        assert text.encode() not in passed, text


def test_a_captured_digest_of_a_node_is_of_no_use_to_who_has_no_key(make_config: MakeConfig) -> None:
    config, draw = make_config(), Random(1)
    words = list(dict.fromkeys("".join(draw.choices("bdfgklmnprtvxz", k=7)) for _ in range(20_000)))
    true = set(words[::100])
    with MemoryNode("a", config=config) as a, MemoryNode("b", config=config) as b:
        a.remember_many([Draft(text=f"On {word}.", tags=(word,)) for word in true])
        wait_for(lambda: {info.agent: info.topics for info in b.members()}.get("a", 0) >= len(true))
        engine = b._endpoint.driver.peer.engine
        member, keys = engine.members.get(a.agent), engine.gate.keys
    assert member is not None
    assert member.record is not None
    digest = member.record.digest

    hits = Counter(word in true for word in words if digest.may_contain(word))

    assert all(digest.may_contain(word, keys[digest.key_epoch]) for word in true)
    share_of_true, share_of_others = hits[True] / len(true), hits[False] / (len(words) - len(true))
    assert abs(share_of_true - share_of_others) < 0.05


def test_what_a_node_keeps_is_closed_to_other_users(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("a", config=config):
        for folder in (config.folder, config.credentials):
            assert folder.stat().st_mode & 0o077 == 0
        for path in files_below(config.credentials):
            assert path.stat().st_mode & 0o077 == 0, path
