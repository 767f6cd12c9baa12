"""Times as people write them: a span such as 30m, a date or time of ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from node.memory.records import check_time
from protocol.errors import InvalidInput

_SPAN = re.compile(r"(\d{1,9})([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def span_s(field: str, text: str) -> float:
    """Seconds of 90s, 30m, 1h, 7d or 2w."""
    found = _SPAN.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise InvalidInput(field, f"{text[:80]!r} is no span of time", "write it as 90s, 30m, 1h, 7d or 2w")
    return float(int(found[1]) * _UNIT_S[found[2]])


def moment(field: str, text: str) -> float:
    """Seconds since 1970 of 2026-03-01, 2026-03-01T12:00, or with an offset; without one it is UTC."""
    try:
        found = datetime.fromisoformat(text.strip())
        return check_time(field, (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidInput(
            field, f"{text[:80]!r} is no time", "write it as 2026-03-01 or 2026-03-01T12:00, UTC"
        ) from None


def shown(seconds: float) -> str:
    """A time for people, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
