"""A new host joins by one pasted line, and no shared secret stays behind.

    avm mesh join tcp://host:port#<key of the socket>/<secret of this invitation>

    host of the authority           new host
                       <- Request   the secret
    Offer              ->           who it would be, by which authority: it looks whether that may be
                       <- Request   the secret, public keys; the private ones were drawn there and stay
    Admission          ->           certificate, charter, seeds
                       <- Request   the secret, stored: the invitation is used up

It may ask again where an answer was lost: the same keys get the same certificate, others get none.

Invariants:
 1. An invitation makes one certificate at most, for the one agent and role that it was made for.
 2. After `MAX_WRONG` wrong secrets it is over, whoever sent them.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from node.net.address import split_address
from node.net.authority import Authority
from node.net.credentials import MAX_SEEDS, PrivateKeys, Seed
from node.net.zeromq.enrolment import EnrolmentCall, EnrolmentListener
from protocol.errors import InvalidInput, MeshError, PeerRefused, PeerSilent, from_code
from protocol.messages import Body, Certificate, Charter, Name, PublicKey, Role
from protocol.names import AgentName

MAX_WRONG: Final = 5
ANSWER_S: Final = 10.0
SECRET_BYTES: Final = 16
_LINE: Final = re.compile(rf"(tcp://[^\s#/]{{1,250}})#([0-9a-f]{{64}})/([0-9a-f]{{{2 * SECRET_BYTES}}})")
_TRIES: Final = 2  # A request whose answer was lost is sent once more.
_LOOK_S: Final = 0.5

Key = Annotated[bytes, Meta(max_length=32)]


class Request(Body, frozen=True):
    """`mesh` is empty where any will do; keys are empty where it only asks what it would be."""

    version: Literal[1]
    secret: Annotated[bytes, Meta(max_length=64)]
    mesh: Annotated[str, Meta(max_length=64)] = ""
    verify_key: Key = b""
    curve_key: Key = b""
    stored: bool = False


class Offer(Body, frozen=True, tag="offer"):
    """Who it would be."""

    mesh: Name
    agent: Name
    role: Role
    authority: PublicKey


class Admission(Body, frozen=True, tag="admission"):
    """All it needs beside its private keys."""

    certificate: Certificate
    charter: Charter
    seeds: Annotated[tuple[Seed, ...], Meta(max_length=MAX_SEEDS)] = ()


class Refusal(Body, frozen=True, tag="refusal"):
    """As an error has it."""

    code: str
    message: str


Reply = Offer | Admission | Refusal
_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class Line(NamedTuple):
    """What is pasted."""

    address: str
    key: bytes
    secret: bytes

    def __str__(self) -> str:
        return f"{self.address}#{self.key.hex()}/{self.secret.hex()}"


def parse_line(text: str) -> Line:
    """`tcp://host:port#key/secret`; `InvalidInput` where it is none."""
    found = _LINE.fullmatch(text)
    if found is None:
        raise InvalidInput(
            "line",
            "is none of `avm mesh invite`",
            "paste it whole: tcp://host:port#key/secret, a key of 64 and a secret of 32 hexadecimal digits",
        )
    try:
        split_address(found[1])
    except InvalidInput as error:
        raise InvalidInput("line", error.problem, "paste it whole") from None
    return Line(found[1], bytes.fromhex(found[2]), bytes.fromhex(found[3]))


class Invitation:
    """One agent may join: decides what each frame is answered with."""

    def __init__(
        self,
        authority: Authority,
        agent: AgentName,
        role: Role,
        days: float,
        *,
        seeds: tuple[str, ...] = (),
        replace: bool = False,
    ) -> None:
        self.secret = secrets.token_bytes(SECRET_BYTES)
        self.wrong = 0
        """Frames without the secret."""
        self.admitted: Certificate | None = None
        """What was issued."""
        self.is_used_up = False
        """Whether the new host has stored it."""
        self._authority, self._agent, self._role, self._days = authority, agent, role, days
        self._seeds, self._replace = seeds[:MAX_SEEDS], replace

    def answer(self, frame: bytes) -> bytes:
        """What to reply to `frame`; nothing raises, whatever it is."""
        try:
            request = _requests.decode(frame)
        except (msgspec.DecodeError, ValueError, RecursionError):
            request = None
        if request is None or not hmac.compare_digest(request.secret, self.secret):
            self.wrong += 1
            return _encoder.encode(Refusal(PeerRefused.code, "this line is not the one of the invitation"))
        try:
            return _encoder.encode(self._reply(request))
        except MeshError as error:
            return _encoder.encode(Refusal(error.code, str(error)))

    def _reply(self, request: Request) -> Reply:
        mesh = self._authority.mesh
        if request.mesh not in ("", mesh):
            raise InvalidInput("mesh", f"the invitation is to {mesh}, not {request.mesh}", "leave out --mesh")
        keys = (request.verify_key, request.curve_key)
        if keys == (b"", b""):
            return Offer(mesh, self._agent, self._role, self._authority.public)
        if self.admitted is None:
            if len(request.verify_key) != 32 or len(request.curve_key) != 32:
                raise InvalidInput("keys", "are not of 32 bytes each", "use `avm mesh join`")
            self.admitted = self._authority.issue(
                self._agent, self._role, self._days, *keys, replace=self._replace
            )
        if (self.admitted.verify_key, self.admitted.curve_key) != keys:
            raise PeerRefused("the invitation was used by another host already; ask for a new line")
        self.is_used_up = self.is_used_up or request.stored
        return Admission(self.admitted, self._authority.charter(), self._seeds)


def serve(invitation: Invitation, listener: EnrolmentListener, *, seconds: float) -> Certificate:
    """Answer until the new host has stored its certificate, which is returned.

    Raises `PeerSilent` where it does not within `seconds`, `PeerRefused` after `MAX_WRONG` wrong secrets.
    """
    end = time.monotonic() + seconds
    while not invitation.is_used_up:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise _over(invitation, PeerSilent, f"nobody joined within {seconds / 60:g} minutes")
        got = listener.receive(min(left_s, _LOOK_S))
        if got is not None:
            sender, frame = got
            listener.reply(sender, invitation.answer(frame))
        if invitation.wrong >= MAX_WRONG:
            raise _over(invitation, PeerRefused, f"{MAX_WRONG} times somebody came with a wrong secret")
    assert invitation.admitted is not None
    return invitation.admitted


def _over(invitation: Invitation, kind: type[MeshError], why: str) -> MeshError:
    admitted = invitation.admitted
    if admitted is None:
        return kind(f"the invitation is over: {why}; nothing was issued, invite again")
    agent = admitted.agent
    return kind(
        f"the invitation is over: a certificate was issued for {agent}, and the new host did not say that it "
        f"stored it; where it has not, `avm mesh revoke {agent}` and invite again with --replace"
    )


def join(
    line: Line,
    keys: PrivateKeys,
    *,
    mesh: str | None,
    accept: Callable[[Offer], None],
    keep: Callable[[Offer, Admission], None],
) -> None:
    """Get a certificate for `keys`: `accept` is told what it will be, `keep` stores it; both may raise, and
    before `accept` returns nothing is issued.

    Raises `PeerSilent` where nobody answers, or what the other side refuses it for.
    """
    with EnrolmentCall(line.address, line.key, timeout_s=ANSWER_S) as call:

        def ask(verify_key: bytes = b"", curve_key: bytes = b"", *, stored: bool = False) -> Reply:
            frame = _encoder.encode(Request(1, line.secret, mesh or "", verify_key, curve_key, stored))
            return _request(call, frame)

        offer = ask()
        if not isinstance(offer, Offer):
            raise PeerRefused(f"{line.address} did not say what the invitation is for")
        accept(offer)
        admission = ask(keys.verify_key, keys.curve_key)
        if not isinstance(admission, Admission):
            raise PeerRefused(f"{line.address} sent no certificate")
        keep(offer, admission)
        with contextlib.suppress(
            PeerSilent
        ):  # It is stored; who invited is told what to do if it does not hear.
            ask(keys.verify_key, keys.curve_key, stored=True)


def _request(call: EnrolmentCall, frame: bytes) -> Reply:
    for _ in range(_TRIES - 1):
        try:
            return _decoded(call.request(frame, timeout_s=ANSWER_S / _TRIES))
        except PeerSilent:
            continue
    return _decoded(call.request(frame, timeout_s=ANSWER_S / _TRIES))


def _decoded(frame: bytes) -> Reply:
    try:
        reply = _replies.decode(frame)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise PeerRefused("the answer is none that this version understands") from None
    if isinstance(reply, Refusal):
        raise from_code(reply.code, reply.message)
    return reply
