"""The one error tree: whose fault it is, its wire code, and whether the operation may have happened.

Every error this product raises on purpose is a `MeshError`. Foreign errors
(`zmq`, `apsw`, `msgspec`) are translated where they enter, never further in.
"""

from __future__ import annotations

from typing import ClassVar


class MeshError(Exception):
    """Root of all errors raised on purpose.

    `code` travels on the wire and in `--json`; `exit_status` is what a command ends with;
    `indefinite` is true where the operation may have happened all the same.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1
    indefinite: ClassVar[bool] = False


class InvalidInput(MeshError, ValueError):
    """The user's fault: one field, what was wrong with it, and what would be right."""

    code = "invalid-input"
    exit_status = 2

    def __init__(self, field: str, problem: str, fix: str) -> None:
        super().__init__(f"{field}: {problem}; {fix}")
        self.field, self.problem, self.fix = field, problem, fix

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, str, str]]:
        return type(self), (self.field, self.problem, self.fix)


class NotFound(MeshError, LookupError):
    """Nothing is there under the name the user gave."""

    code = "not-found"


class MemoryInUse(MeshError):
    """Another process owns this memory; the message names its pid."""

    code = "memory-in-use"


class MemoryUnusable(MeshError):
    """The file is no memory of ours: another agent's, a newer schema's, damaged, or no database."""

    code = "memory-unusable"
    exit_status = 2


class StorageFailure(MeshError):
    """SQLite refused or the disk is full; the write did not happen."""

    code = "storage-failure"


class QuotaExceeded(MeshError):
    """The memory may not grow further; the write did not happen."""

    code = "quota"


class AddressInUse(MeshError):
    """The address to listen on belongs to another process."""

    code = "address-in-use"
    exit_status = 2


class NameTaken(MeshError):
    """Another live node of the mesh carries this agent's name."""

    code = "name-taken"


class WrongMesh(MeshError):
    """The address belongs to a member of another mesh."""

    code = "wrong-mesh"
    exit_status = 2


class NotAdmitted(MeshError):
    """Our certificate makes us no member of this mesh, or none any more."""

    code = "not-admitted"
    exit_status = 2


class WireMismatch(MeshError):
    """The two sides have no version of the wire format in common."""

    code = "wire-mismatch"


class MalformedFrame(MeshError):
    """A peer's fault: bytes that are no message. `reason` is a short word for the counters."""

    code = "malformed-frame"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class PeerSilent(MeshError):
    """No answer before the deadline. What was asked may have happened."""

    code = "peer-silent"
    indefinite = True


class PeerRefused(MeshError):
    """The peer answered, and the answer is no."""

    code = "peer-refused"


class NodeClosed(MeshError):
    """The node was closed, or is closing."""

    code = "node-closed"


BY_CODE: dict[str, type[MeshError]] = {
    cls.code: cls
    for cls in (
        MeshError,
        NotFound,
        MemoryInUse,
        MemoryUnusable,
        StorageFailure,
        QuotaExceeded,
        AddressInUse,
        NameTaken,
        WrongMesh,
        NotAdmitted,
        WireMismatch,
        PeerSilent,
        PeerRefused,
        NodeClosed,
    )
}


def from_code(code: str, message: str) -> MeshError:
    """The error that `code` names, as another process told it; an unknown code gives a plain `MeshError`."""
    if code == InvalidInput.code:
        field, _, rest = message.partition(": ")
        problem, _, fix = rest.rpartition("; ")
        return InvalidInput(field, problem, fix)
    return BY_CODE.get(code, MeshError)(message)
