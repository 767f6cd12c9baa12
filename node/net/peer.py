"""A member of the mesh without its clock and sockets: decodes frames, feeds the engine, performs its effects.

The driver gives it real time and ZeroMQ, the simulator virtual time and a fake network;
everything in between is the same code and the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec

from node.net.peerwatch import PeerWatch, SilentPeer, WrongPeer
from node.net.rates import FRAMES_A_SECOND, Rates
from node.net.transport import Received, Transport, TransportStatistics
from node.net.troublemakers import SHUT_OUT_S, Troublemakers
from protocol import wire
from protocol.ask import AskTable, Outcome
from protocol.effects import (
    Blame,
    CharterChanged,
    Effect,
    Expel,
    Halt,
    MemberChanged,
    Publish,
    RaiseIncarnation,
    Route,
    Send,
    Subscribe,
    Unsubscribe,
)
from protocol.errors import MalformedFrame
from protocol.gossip import GossipEngine
from protocol.messages import (
    Certificate,
    Charter,
    Hello,
    Message,
    Metadata,
    MetadataAck,
    RecallReply,
    RecallRequest,
    Refusal,
    Refused,
    Reply,
    Request,
    Welcome,
    Who,
    WhoReply,
)
from protocol.names import AgentName
from protocol.statistics import GossipStatistics
from protocol.wire import WIRE_VERSION

_log = logging.getLogger(__name__)

RequestHandler = Callable[[float, AgentName, Route, Request], None]


class Hooks(msgspec.Struct, kw_only=True):
    """What the owner of a peer wants to hear of; called in the thread that drives the peer."""

    on_request: RequestHandler = lambda _now, _sender, _route, _request: None
    on_member_changed: Callable[[float, MemberChanged], None] = lambda _now, _change: None
    on_incarnation: Callable[[int], None] = lambda _incarnation: None
    on_charter: Callable[[Charter], None] = lambda _charter: None
    on_halt: Callable[[Halt], None] = lambda _halt: None
    on_tick: Callable[[float], Iterable[Effect]] = lambda _now: ()


class TrafficStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Frames and bytes since the start; `dropped` counts refused frames by reason."""

    frames_in: int
    bytes_in: int
    frames_out: int
    bytes_out: int
    unsent: int
    strays: int
    dropped: dict[str, int]


class PeerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a member knows of how it is doing.

    `silent`: subscribed to, and unheard for three heartbeats and `silence_s`. `wrong`: whose frames were
    refused, the last 64 of them.
    """

    traffic: TrafficStatistics
    transport: TransportStatistics
    gossip: GossipStatistics
    silent: tuple[SilentPeer, ...]
    wrong: tuple[WrongPeer, ...]


class Peer:
    """One member. Not thread-safe: whoever calls it holds the driver's lock."""

    def __init__(
        self,
        engine: GossipEngine,
        asks: AskTable,
        transport: Transport,
        hooks: Hooks | None = None,
        *,
        decode: Callable[[bytes], tuple[AgentName, Message]] = wire.decode,
    ) -> None:
        """`decode` is `wire.decode`, or one that gives the same and remembers it."""
        self._decode = decode
        self.engine, self.asks, self.transport = engine, asks, transport
        self.hooks = hooks or Hooks()
        self._waiting: dict[int, Callable[[Outcome], None]] = {}
        self._dropped: Counter[str] = Counter()
        self._watch = PeerWatch()
        self._trouble, self._rates = Troublemakers(), Rates()
        self._proven: AgentName | None = None  # Who sent the frame at hand, where its key tells.
        self._frames_in = self._bytes_in = self._frames_out = self._bytes_out = self._unsent = 0

    def on_received(self, now: float, received: Received) -> None:
        """Take one frame. A bad one is dropped, counted, and logged at its first kind only."""
        self._frames_in += 1
        self._bytes_in += len(received.frame)
        if (
            received.key is not None
            and received.route is not None
            and not self._is_in_turn(now, received.key)
        ):
            return
        try:
            sender, message = self._decode(received.frame)
        except MalformedFrame as error:
            self._drop(now, received, error.reason, str(error))
            return
        if received.publisher is not None:
            if received.publisher != sender:
                reason = "wrong-publisher"
                self._drop(now, received, reason, f"{sender} in frames of {received.publisher}")
                return
            self._watch.heard(sender, now)
        flaw = self._flaw_of(sender, message, received.key)
        if flaw:
            self._drop(now, received, flaw, f"{type(message).__name__} in the name of {sender}")
            return
        self._proven = sender if self._is_proven(sender, received.key) else None
        if self._trouble.is_shut_out(sender, now):
            self._dropped["shut-out"] += 1
            return
        match message:
            case Who() | Metadata() | MetadataAck() | RecallRequest():
                if received.route is not None:
                    self.hooks.on_request(now, sender, received.route, message)
            case WhoReply() | RecallReply() | Refused():
                self._on_reply(now, sender, message)
            case _:
                if isinstance(message, Hello):
                    self._look_at(now, message)
                self.perform(now, self.engine.on_message(now, sender, received.route, message))

    def _is_in_turn(self, now: float, key: bytes) -> bool:
        """Whether the owner of `key` keeps to its share of us; looked at before its frame is."""
        verdict = self._rates.take(key, now, is_member=self.engine.gate.is_admitted(key))
        if verdict == "taken":
            return True
        self._dropped[verdict] += 1
        if self._dropped[verdict] == 1:
            _log.warning("a peer sends more than %g frames a second: it is %s", FRAMES_A_SECOND, verdict)
        return False

    def _flaw_of(self, sender: AgentName, message: Message, key: bytes | None) -> str:
        """Why the connection with this key does not speak for `sender`: a name in a frame proves nothing.

        Who is not introduced may introduce itself, by a certificate of the very key it is connected with.
        """
        if key is None:
            return ""
        if self._is_proven(sender, key):
            return "barred" if self.engine.gate.is_barred(sender) else ""
        match message:
            case Hello(certificate=certificate) | Refusal(certificate=certificate):
                shown: tuple[Certificate | None, ...] = (certificate,)
            case Welcome(certificates=certificates):
                shown = certificates
            case _:
                return "wrong-sender" if self.engine.gate.is_admitted(key) else "not-introduced"
        is_its_own = any(one and one.agent == sender and one.curve_key == key for one in shown)
        return "" if is_its_own else "wrong-key"

    def _is_proven(self, sender: AgentName, key: bytes | None) -> bool:
        return key is not None and self.engine.gate.key_of(sender) == key.hex()

    def on_tick(self, now: float) -> None:
        """Do what is due: gossip, expired asks, the owner's own affairs."""
        if now >= self.engine.next_deadline():
            self.perform(now, self.engine.on_tick(now))
        if now >= self.asks.next_deadline():
            self.expire(now)
        self.perform(now, self.hooks.on_tick(now))

    def expire(self, now: float) -> None:
        """End asks whose deadline has passed."""
        for outcome in self.asks.expire(now):
            self._waiting.pop(outcome.ask)(outcome)

    def next_deadline(self) -> float:
        """When `on_tick` must be called next."""
        if not self._waiting:
            return self.engine.next_deadline()
        return min(self.engine.next_deadline(), self.asks.next_deadline())

    def ask(
        self,
        now: float,
        peers: Mapping[AgentName, Route],
        make: Callable[[int, AgentName], Request],
        *,
        timeout_s: float,
        done: Callable[[Outcome], None],
    ) -> None:
        """Ask `peers` and call `done` once, with what came by the deadline."""
        number, effects = self.asks.start(now, peers, make, timeout_s=timeout_s)
        self._waiting[number] = done
        self.perform(now, effects)
        if not peers:
            self.expire(now)

    def perform(self, now: float, effects: Iterable[Effect]) -> None:
        """Do what an engine wants done, in its order."""
        for effect in effects:
            match effect:
                case Send(route, message):
                    self.send(route, message)
                case Publish(message):
                    frame = self._encode(message)
                    if frame is not None:
                        self.transport.publish(frame)
                case Subscribe(agent, address):
                    self._watch.heard_at[agent] = now
                    self.transport.subscribe(agent, address)
                case Unsubscribe(agent):
                    self._watch.heard_at.pop(agent, None)
                    self.transport.unsubscribe(agent)
                case MemberChanged():
                    if effect.before != effect.after:
                        _log.info("member %s: %s, was %s", effect.agent, effect.after, effect.before)
                    self.hooks.on_member_changed(now, effect)
                case RaiseIncarnation(incarnation):
                    self.hooks.on_incarnation(incarnation)
                case Blame(agent, reason):
                    self._blame(now, agent, reason)
                case Expel(agent, reason):
                    _log.warning("member %s may take part no more: its certificate was %s", agent, reason)
                    self._watch.refused(agent, "expelled", f"its certificate was {reason}", now)
                    self.transport.cut_off()
                case CharterChanged(charter):
                    self.hooks.on_charter(charter)
                case Halt():
                    self.hooks.on_halt(effect)

    def send(self, route: Route, message: Message) -> None:
        """One message to one member; what cannot be sent is counted."""
        frame = self._encode(message)
        if frame is not None and not self.transport.send(route, frame):
            self._unsent += 1

    def statistics(self, now: float) -> PeerStatistics:
        """A frozen snapshot. Takes some 50 us, most of it to count descriptors."""
        profile, gossip = self.engine.profile, self.engine.statistics()
        beat_s = profile.sparse_heartbeat_s if gossip.sparse else profile.heartbeat_s
        return PeerStatistics(
            traffic=self.traffic(),
            transport=self.transport.statistics(),
            gossip=gossip,
            silent=self._watch.silent(now, max(profile.silence_s, 3 * beat_s)),
            wrong=self._watch.wrong(now),
        )

    def traffic(self) -> TrafficStatistics:
        """The part of `statistics` that costs nothing."""
        return TrafficStatistics(
            frames_in=self._frames_in,
            bytes_in=self._bytes_in,
            frames_out=self._frames_out,
            bytes_out=self._bytes_out,
            unsent=self._unsent,
            strays=self.asks.strays,
            dropped=dict(self._dropped),
        )

    def _encode(self, message: Message) -> bytes | None:
        try:
            frame = wire.encode(self.engine.name, message)
        except MalformedFrame as error:
            _log.error("could not send: %s", error)
            self._unsent += 1
            return None
        self._frames_out += 1
        self._bytes_out += len(frame)
        return frame

    def _on_reply(self, now: float, sender: AgentName, reply: Reply) -> None:
        outcome = self.asks.on_reply(now, sender, reply)
        if outcome is not None:
            self._waiting.pop(outcome.ask)(outcome)

    def _look_at(self, now: float, hello: Hello) -> None:
        """Take note of who belongs to another mesh, or speaks another version: the engine refuses it."""
        who, mesh = f"{hello.record.agent} at {hello.record.router}", self.engine.mesh
        if hello.mesh != mesh:
            self._watch.refused(who, "wrong-mesh", f"it is of mesh {hello.mesh}, we of {mesh}", now)
        elif not hello.oldest <= WIRE_VERSION <= hello.newest:
            detail = f"it speaks wire version {hello.oldest} to {hello.newest}, we {WIRE_VERSION}"
            self._watch.refused(who, "wire-version", detail, now)

    def _blame(self, now: float, agent: AgentName, reason: str) -> None:
        """`agent`, or somebody in its name, sent what no honest member sends."""
        if not self._trouble.counts(agent):
            _log.warning("refused what %s sent, the first of its kind: %s", agent, reason)
        self._watch.refused(agent, "forged", reason, now)
        self._dropped["forged"] += 1
        if agent == self._proven and self._trouble.blame(agent, now):
            _log.warning("nothing is taken from %s for %g s", agent, SHUT_OUT_S)

    def _drop(self, now: float, received: Received, reason: str, detail: str) -> None:
        self._dropped[reason] += 1
        # Not the name in the frame, which proves nothing, but whose connection it is.
        owner = "" if received.key is None else self.engine.gate.owner_of(received.key)
        self._watch.refused(received.publisher or owner or "a stranger", reason, detail, now)
        if self._dropped[reason] == 1:
            _log.warning("dropped a frame, the first of its kind: %s", detail)
