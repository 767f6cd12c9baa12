"""What can go wrong between a text and its vector."""

from __future__ import annotations

from protocol.errors import MeshError


class EncoderUnavailable(MeshError):
    """No vector now: the extra is not installed, or the encoder's process does not answer in time.

    Nothing is lost by asking again later; the same text always has the same vector.
    """

    code = "encoder-unavailable"


class EncoderRefused(MeshError):
    """The encoder answered that it will not do this request, because too much waits or it asks too much."""

    code = "encoder-refused"


class WrongWeights(EncoderUnavailable):
    """The model's files are not those we know, or are no model we can run; the message names the file."""

    code = "wrong-weights"
    exit_status = 2


class UnusableDevice(EncoderUnavailable):
    """The device that was configured is not one that the engine can use here; the message names it."""

    code = "unusable-device"
    exit_status = 2


BY_CODE: dict[str, type[MeshError]] = {
    kind.code: kind for kind in (EncoderUnavailable, EncoderRefused, WrongWeights, UnusableDevice)
}
