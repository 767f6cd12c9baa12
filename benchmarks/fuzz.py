"""Every parser that reads bytes from outside, fed with valid input that was bent at random, for a time each.

A parser may refuse with the error that it states, and nothing else: any other exception ends the run with the
input that caused it, in hex. Seeds make a run the same again. The engines are fed with what decodes, and
their invariants are checked after every message.

    python benchmarks/fuzz.py [--only wire,engine,...] [--seconds 600] [--seed 1]
"""

from __future__ import annotations

import atexit
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import zmq
from rich.console import Console
from rich.progress import Progress

from benchmarks.identity import LIAR, OWN, Authority, mesh_of
from benchmarks.report import Columns, arguments, report
from node.memory import transfer
from node.net.address import split_key
from node.net.authority import Authority as MeshAuthority
from node.net.control import ControlServer
from node.net.credentials import issue, parse
from node.net.enrolment import Invitation, Request, parse_line
from node.net.keys import SocketKeys
from node.net.zeromq.admission import Admission
from node.net.zeromq.sockets import open_context
from protocol import wire
from protocol.delta import apply_delta, delta_of, unpack_flips
from protocol.digest import Announced, Digest
from protocol.effects import Publish, Route, Send
from protocol.errors import InvalidInput, MalformedFrame
from protocol.messages import (
    Ack,
    Announce,
    Chartered,
    Claim,
    Get,
    Gossip,
    Heartbeat,
    Hello,
    Message,
    Metadata,
    Neighbour,
    Ping,
    PingRequest,
    Quote,
    RecallReply,
    RecallRequest,
    Records,
    Suspicion,
    Sync,
    SyncDiff,
    Welcome,
    Who,
)
from protocol.names import AgentName

_BATCH = 200
_ODD = (0, 1, 0x7F, 0x80, 0x90, 0x91, 0xC0, 0xC4, 0xC6, 0xCF, 0xD3, 0xDC, 0xDD, 0xFF)


class Target(NamedTuple):
    """What begins, and who takes it: True, or False where it refuses as it may."""

    seeds: list[bytes]
    take: Callable[[bytes], bool]


def bend(rng: Random, seeds: list[bytes]) -> bytes:
    """One of them with a few changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.choice(_ODD)
            case 2:
                data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 9)))
            case 3:
                del data[at : at + rng.choice((1, 2, 8, 64))]
            case 4:
                data[at:at] = data[at : at + rng.randrange(64)]
            case 5:
                other = rng.choice(seeds)
                start = rng.randrange(len(other) + 1)
                data[at : at + 32] = other[start : start + 32]
            case _:
                data[at : at + 8] = rng.choice((bytes(8), b"\xff" * 8, b"\xdd\xff\xff\xff\xff" + bytes(3)))
    return bytes(data[: wire.MAX_FRAME_BYTES + 1])


def wire_target() -> Target:
    """Frames of peers."""
    seeds = [wire.encode(LIAR, message) for message in messages()]

    def take(data: bytes) -> bool:
        try:
            sender, message = wire.decode(data)
        except MalformedFrame:
            return False
        assert wire.decode(wire.encode(sender, message)) == (sender, message)
        return True

    return Target(seeds, take)


def engine_target() -> Target:
    """Whatever decodes, said to an engine by a member; a new engine every so often."""
    seeds = [wire.encode(LIAR, message) for message in messages() if isinstance(message, Gossip)]
    engine, heard, now = mesh_of(8, Authority(), guarded=True)[0], 0, 0.0

    def take(data: bytes) -> bool:
        nonlocal engine, heard, now
        try:
            _, message = wire.decode(data)
        except MalformedFrame:
            return False
        if not isinstance(message, Gossip):
            return False
        if heard % 2_000 == 1_999:
            engine, now = mesh_of(8, Authority(), guarded=True)[0], 0.0
        heard, now = heard + 1, now + 0.01
        way = Route("tcp://liar:1") if heard % 2 else None
        for effect in [*engine.on_message(now, LIAR, way, message), *engine.on_tick(now)]:
            if isinstance(effect, Send | Publish):
                wire.encode(OWN, effect.message)
        engine.check()
        return True

    return Target(seeds, take)


def delta_target() -> Target:
    """The flips of a delta."""
    authority = Authority()
    authority.certificate("m0000")
    base, record = authority.record("m0000", 1), authority.record("m0000", 2)
    delta = delta_of(base, record, limit_bytes=4_096)
    assert delta is not None

    def take(data: bytes) -> bool:
        unpack_flips(data, limit=1_024)
        return apply_delta(base, msgspec.structs.replace(delta, flips=data[:8_192])) is not None

    return Target([delta.flips, b"", b"\x80\x01\x01"], take)


def control_target() -> Target:
    """Commands of this host's user: whatever comes, an answer or nothing."""
    answers: list[bytes] = []
    server = ControlServer({"add": lambda a, b: a + b}, lambda _route, frame: answers.append(frame))
    seeds = [
        msgspec.msgpack.encode(command)
        for command in ((1, "add", {"a": 1, "b": 2}), (2, "none", {}), (3, "add", {"a": "x" * 50}))
    ]

    def take(data: bytes) -> bool:
        answers.clear()
        server.on_frame(data, Route("control:00"))
        return bool(answers)

    return Target(seeds, take)


def import_target() -> Target:
    """Files of memories."""
    lines = [
        b'{"line":"avm-memory","format":1,"agent":"alice"}',
        b'{"line":"version","path":"/a","version":1,"written_at":1.0,"created_at":1.0,"text":"tea"}',
        b'{"line":"grant","agent":"bob","path":"/a"}',
        b'{"line":"end","lines":3}',
    ]

    def take(data: bytes) -> bool:
        try:
            transfer.parse(io.BytesIO(data), "a file")
        except InvalidInput:
            return False
        return True

    return Target([b"\n".join(lines) + b"\n"], take)


def credentials_target() -> Target:
    """Files of keys and certificates."""
    folder = Path(tempfile.mkdtemp(prefix="avm-"))
    atexit.register(shutil.rmtree, folder)
    authority = MeshAuthority.create(folder, "bench")
    own = issue(authority, AgentName("alice"), "agent", seeds=(f"tcp://10.0.0.1:7700#{'0a' * 32}",))

    def take(data: bytes) -> bool:
        try:
            parse(Path("alice.json"), data, mesh="bench", agent=AgentName("alice"))
        except InvalidInput:
            return False
        return True

    return Target([msgspec.json.encode(own)], take)


def enrolment_target() -> Target:
    """Frames to an open invitation, by who has its secret and by who has not."""
    folder = Path(tempfile.mkdtemp(prefix="avm-"))
    atexit.register(shutil.rmtree, folder)
    authority = MeshAuthority.create(folder, "bench")
    invitation = Invitation(authority, AgentName("bob"), "agent", 10)
    seeds = [
        msgspec.msgpack.encode(request)
        for request in (
            Request(1, invitation.secret),
            Request(1, invitation.secret, "bench", bytes(range(32)), bytes(range(1, 33))),
            Request(1, bytes(16), "other", b"", b"", stored=True),
        )
    ]

    def take(data: bytes) -> bool:
        return b"refusal" not in invitation.answer(data)

    return Target(seeds, take)


def line_target() -> Target:
    """Lines that users paste: of an invitation, and addresses with keys."""
    address = f"tcp://10.0.0.5:4242#{'6d' * 32}"

    def take(data: bytes) -> bool:
        text = data.decode("utf-8", "surrogateescape")
        found = 0
        for reader in (parse_line, split_key):
            try:
                reader(text)
                found += 1
            except InvalidInput:
                continue
        return bool(found)

    return Target([f"{address}/{'f9' * 16}".encode(), address.encode()], take)


def zap_target() -> Target:
    """What ZeroMQ asks of who may connect: the parts of a request, each behind its length."""
    context = open_context()
    atexit.register(context.destroy, 0)
    member = bytes(range(32))
    handler = Admission(context, SocketKeys(public=bytes(32), secret=bytes(32), is_admitted=member.__eq__))
    asker = context.socket(zmq.DEALER)
    asker.connect("inproc://zeromq.zap.01")
    seeds = [
        b"".join(
            bytes((len(part),)) + part
            for part in (b"", b"1.0", b"7", domain, b"10.0.0.1", b"", b"CURVE", key)
        )
        for domain, key in ((b"router", bytes(32)), (b"publisher", member), (b"publisher", bytes(32)))
    ]

    def take(data: bytes) -> bool:
        parts: list[bytes] = []
        rest = data
        while rest and len(parts) < 20:
            parts.append(rest[1 : 1 + rest[0]])
            rest = rest[1 + rest[0] :]
        asker.send_multipart(parts or [b""])
        handler.serve()
        answered = False
        while asker.poll(0):
            answered = asker.recv_multipart()[3:4] == [b"200"]
        return answered

    return Target(seeds, take)


def messages() -> Iterator[Message]:
    """One of each kind that can be bent into something."""
    authority = Authority()
    certificate = authority.certificate("m0002")
    record = authority.record("m0002", 3)
    claim = Claim("m0002", 1, 3, "suspect")
    base = authority.record("m0002", 2)
    delta = delta_of(base, record, limit_bytes=4_096)
    assert delta is not None
    topics = (Announced("tea", 1, 0.5),)
    yield from (
        Hello("bench", wire.WIRE_VERSION, wire.WIRE_VERSION, record, certificate, 1),
        Welcome("bench", wire.WIRE_VERSION, (record,), (certificate,), 1),
        Heartbeat(1, 3, 2**60, bytes(16), (claim,)),
        Announce((claim,), (record,), (delta,), (Suspicion("m0002", 1, ("m0003", "m0004")),)),
        Get(("m0002", "m0003")),
        Records((record, base), (certificate,)),
        Sync(bytes(256), 1),
        SyncDiff((3, 7), (claim,), 32),
        Ping(7),
        Ack(7, 1, 3),
        PingRequest(7, "m0003"),
        Neighbour(1, 3, True, False),
        Chartered(authority.charter),
        Who(1, ("tea",), 10),
        Metadata(1, 0, topics, ("milk",)),
        RecallRequest(1, "tea?", 100),
        RecallReply(1, (Quote("/a", 1, "t", "text", 3, 0.5, "fts", False),)),
        Records((msgspec.structs.replace(record, digest=Digest.classic(topics)),)),
    )


TARGETS: dict[str, Callable[[], Target]] = {
    "wire": wire_target,
    "engine": engine_target,
    "delta": delta_target,
    "control": control_target,
    "import": import_target,
    "credentials": credentials_target,
    "enrolment": enrolment_target,
    "line": line_target,
    "zap": zap_target,
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", default=",".join(TARGETS), help=f"some of {','.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each parser (600)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chosen, seconds = options.only.split(","), 2.0 if options.quick else options.seconds
    unknown = [name for name in chosen if name not in TARGETS]
    if unknown:
        parser.error(f"--only: {unknown[0]!r} is none of {', '.join(TARGETS)}")
    rows = []
    logging.disable()  # Of what is refused.
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for name in chosen:
            rng, target = Random(options.seed), TARGETS[name]()
            inputs = taken = 0
            started = time.monotonic()
            task = bar.add_task(name, total=seconds)
            while (passed := time.monotonic() - started) < seconds:
                bar.update(task, completed=passed)
                for _ in range(_BATCH):
                    data = bend(rng, target.seeds)
                    try:
                        taken += target.take(data)
                    except BaseException:
                        print(f"{name}, input {inputs} of seed {options.seed}: {data.hex()}")
                        raise
                    inputs += 1
            rows.append({"what": name, "inputs": inputs, "taken": taken, "seconds": seconds, "reached": True})
    columns: Columns = {
        "inputs": lambda row: f"{row['inputs']:,}",
        "taken": lambda row: f"{row['taken'] / row['inputs']:.0%}",
        "seconds": lambda row: f"{row['seconds']:.0f}",
    }
    report(rows, columns, options.json)


if __name__ == "__main__":
    main()
