"""Who sends without end costs a node little, and the others nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import psutil
import pytest
import zmq

from node import MemoryNode, NodeClient
from node.net.zeromq.inflow import Inflow
from protocol import wire
from protocol.messages import Ack, Ping
from tests.support.endpoints import Stranger, stranger
from tests.support.members import member_process
from tests.support.settings import MakeConfig
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a connection received"),
]

PART, PARTS = bytes(130_000), 3_000


def most_resident(pid: int, done: Callable[[], object]) -> int:
    """The most bytes that the process had in memory until `done`."""
    process, most = psutil.Process(pid), 0

    def looked() -> object:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return done()

    wait_for(looked, 60.0)
    return most


@pytest.mark.parametrize("joins", [False, True], ids=["stranger", "member"])
def test_a_message_of_hundreds_of_megabytes_is_never_held(joins: bool, make_config: MakeConfig) -> None:
    config = make_config()
    with (
        MemoryNode("b", config=config) as b,
        member_process("a", config) as a,
        NodeClient("a", config=config) as client,
    ):
        wait_for(lambda: len(b.members()) == 2)
        with stranger("eve", _At(a.address, config), joins=joins) as eve:
            before = psutil.Process(a.pid).memory_info().rss
            sender = threading.Thread(target=flood, args=(eve,))
            sender.start()

            # What comes behind it is no frame, and counted; by then all of it was taken in, or hung up on.
            most = most_resident(a.pid, lambda: client.status().dropped.get("wire-version"))
            sender.join()

        assert most - before < 64 << 20, f"{(most - before) >> 20} MiB"
        b.remember("The zebra.", tags=["zebra"])
        wait_for(lambda: [lead.agent for lead in client.who_knows("zebra").leads] == ["b"])
        wait_for(lambda: psutil.Process(a.pid).memory_info().rss - before < 100 << 20)


def flood(eve: Stranger) -> None:
    """One message, as long as it is taken."""
    eve.dealer.setsockopt(zmq.SNDTIMEO, 5_000)
    try:
        for _ in range(PARTS):
            eve.dealer.send(PART, zmq.SNDMORE)
        eve.dealer.send(b"")
        eve.dealer.send(b"once more")
    except zmq.ZMQError:
        return


class _At:
    """A member in another process, as a stranger meets it."""

    def __init__(self, address: str, config: object) -> None:
        self.address, self.config = address, config


def test_what_was_taken_of_a_connection_is_not_held_against_it() -> None:
    inflow = Inflow(())

    assert not inflow.is_of_use
    inflow.look(1.0)
    assert inflow.ended == 0


def test_a_member_that_has_much_to_say_is_not_hung_up_on(make_config: MakeConfig) -> None:
    config = make_config()
    with MemoryNode("b", config=config) as b, member_process("a", config) as a:
        wait_for(lambda: len(b.members()) == 2)
        with stranger("eve", _At(a.address, config)) as eve:
            for _ in range(600):  # 77 MiB in frames of the largest size; what is beyond a share is dropped.
                eve.dealer.send(bytes(wire.MAX_FRAME_BYTES))
            eve.tell(Ping(7))
            wait_for(lambda: isinstance(eve.hear(), Ack))
