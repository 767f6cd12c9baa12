"""What a memory is made of, and the checks every one of them passes before it is written.

A check returns what it was given, or raises `InvalidInput` with the name of the field.
Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NoReturn, get_args

import msgspec

from protocol.errors import InvalidInput
from protocol.names import AgentName

Visibility = Literal["private", "listed", "mesh"]
"""`private`: never leaves, never announced. `listed`: topics are announced, the text goes to nobody.
`mesh`: any member may read."""

VISIBILITIES: frozenset[str] = frozenset(get_args(Visibility))
ANNOUNCED: frozenset[str] = frozenset({"listed", "mesh"})

MAX_TEXT_BYTES = 1_048_576
MAX_TITLE_CHARS = 512
MAX_PATH_CHARS = 512
MAX_TAGS = 64
MAX_TAG_CHARS = 64
MAX_METADATA_BYTES = 16_384
MAX_PAGE = 1_000
MAX_QUERY_CHARS = 16_384
LATEST_TIME = 253_402_300_799.0  # The last second of 9999.

_CONTROL = "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_PATH = re.compile(rf"(?:/(?!\.\.?(?:/|\Z))[^/{_CONTROL}]+)+")
_UNPRINTABLE = re.compile(f"[{_CONTROL}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be remembered. Without a path one is made; at a known path it becomes the next version.

    From `expires_at` on it is in no answer, and soon it is buried as if it were forgotten.
    """

    text: str
    path: str | None = None
    title: str = ""
    tags: tuple[str, ...] = ()
    importance: float = 0.5
    visibility: Visibility = "listed"
    metadata: Mapping[str, object] = {}
    expires_at: float | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a memory, whole. `created_at` is the time of its first version, or of
    the first since it was last forgotten; `updated_at` is this version's."""

    agent: AgentName
    path: str
    version: int
    title: str
    text: str
    tags: tuple[str, ...]
    importance: float
    visibility: Visibility
    created_at: float
    updated_at: float
    metadata: Mapping[str, object]
    expires_at: float | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A committed write. `stored` is false where the same content was there already: no new version.

    `similar`: paths of other memories that say nearly the same, at most three, the nearest first.
    """

    path: str
    version: int
    stored: bool
    similar: tuple[str, ...] = ()


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a memory's history; `forgotten` marks a tombstone, `erased` one whose text was removed."""

    path: str
    version: int
    written_at: float
    title: str
    length_chars: int
    forgotten: bool
    erased: bool = False
    expires_at: float | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A memory found. Scores are positive, higher is better, and compare within one query only."""

    path: str
    version: int
    title: str
    score: float
    excerpt: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A memory in a listing; `place` in the log is higher the later it was written."""

    path: str
    version: int
    title: str
    tags: tuple[str, ...]
    updated_at: float
    length_chars: int
    place: int = 0


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """A store at one moment. With several threads reading, hits and misses may miss a few."""

    memories: int
    versions: int
    file_bytes: int
    cache_hits: int
    cache_misses: int


def check_draft(draft: Draft) -> Draft:
    """`draft` as it may be written; tags given as a list become a tuple, repeated ones are dropped."""
    check_text(draft.text)
    if draft.path is not None:
        check_path(draft.path)
    title = draft.title
    if title:
        _check_str("title", title)
        if len(title) > MAX_TITLE_CHARS:
            _refuse("title", f"has {len(title)} characters", f"use at most {MAX_TITLE_CHARS}")
        _check_unicode("title", title)
    elif title != "":
        _check_str("title", title)
    _check_importance(draft.importance)
    if draft.expires_at is not None:
        check_time("expires_at", draft.expires_at)
    if not isinstance(draft.visibility, str) or draft.visibility not in VISIBILITIES:
        _refuse("visibility", f"{draft.visibility!r} is none", "use private, listed or mesh")
    if draft.metadata:
        encode_metadata(draft.metadata)
    tags = check_tags(draft.tags) if draft.tags != () else ()
    return draft if tags is draft.tags else msgspec.structs.replace(draft, tags=tags)


def check_text(text: str) -> str:
    """1 byte to 1 MiB of UTF-8, not only white space, no lone surrogates."""
    _check_str("text", text)
    if not text or text.isspace():
        _refuse("text", "is empty", "give something to remember")
    size = len(text)
    if not text.isascii():
        _check_unicode("text", text)
        size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        _refuse("text", f"has {size} bytes", f"use at most {MAX_TEXT_BYTES} (1 MiB); split it into several")
    return text


def check_path(path: str) -> str:
    """An absolute path such as /notes/auth: no empty segment, no `.` or `..`, no control characters."""
    _check_str("path", path)
    if len(path) > MAX_PATH_CHARS:
        _refuse("path", f"has {len(path)} characters", f"use at most {MAX_PATH_CHARS}")
    if _PATH.fullmatch(path) is None:
        if not path.startswith("/"):
            problem = f"{path[:80]!r} does not start with /"
        elif {".", ".."} & set(path.split("/")):
            problem = f"{path[:80]!r} has a segment . or .."
        else:
            problem = f"{path[:80]!r} has an empty segment or a control character"
        _refuse("path", problem, "use a path such as /notes/auth")
    if path == "/shared" or path.startswith("/shared/"):
        _refuse("path", "/shared is kept for shared spaces", "use another first segment")
    return path


def check_prefix(prefix: str) -> str:
    """The beginning of a path; it may end within a segment."""
    _check_str("prefix", prefix)
    if not prefix.startswith("/") or _UNPRINTABLE.search(prefix):
        _refuse("prefix", f"{prefix[:80]!r} begins no path", "use / or a beginning such as /notes")
    return prefix


def check_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """At most 64 tags of 1 to 64 printable characters, in the order given."""
    if not isinstance(tags, tuple | list):
        _refuse("tags", f"is a {type(tags).__name__}", "give a sequence of strings")
    for tag in tags:
        _check_str("tags", tag)
        if not tag.strip() or len(tag) > MAX_TAG_CHARS or _UNPRINTABLE.search(tag):
            _refuse("tags", f"{tag[:80]!r} is no tag", f"use 1 to {MAX_TAG_CHARS} printable characters")
    if len(tags) > MAX_TAGS:
        _refuse("tags", f"are {len(tags)}", f"use at most {MAX_TAGS}")
    distinct = tuple(dict.fromkeys(tags))
    return tags if distinct == tags else distinct


def check_label(field: str, value: str, most_chars: int) -> str:
    """1 to `most_chars` printable characters, not only white space."""
    _check_str(field, value)
    if not value.strip() or len(value) > most_chars or _UNPRINTABLE.search(value):
        _refuse(field, f"{value[:80]!r} is none", f"use 1 to {most_chars} printable characters")
    return value


def check_query(query: str) -> str:
    """A question or words to look for. Any characters; nothing in it is an operator."""
    _check_str("query", query)
    if not query or query.isspace():
        _refuse("query", "is empty", "give a question or some words")
    if len(query) > MAX_QUERY_CHARS:
        _refuse("query", f"has {len(query)} characters", f"use at most {MAX_QUERY_CHARS}")
    return query


def check_count(field: str, value: int, most: int | None = None) -> int:
    """A whole number, 1 or more, and at most `most`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < 1 or (most is not None and value > most):
        fix = "use a whole number, 1 or more" if most is None else f"use a whole number, 1 to {most}"
        _refuse(field, f"{value!r} is out of range", fix)
    return value


def check_time(field: str, seconds: float) -> float:
    """Seconds since the epoch, UTC, from 1970 to 9999."""
    # The comparison is false for NaN.
    if not isinstance(seconds, float | int) or isinstance(seconds, bool) or not 0 <= seconds <= LATEST_TIME:
        _refuse(field, f"{seconds!r} is no time", "give seconds since 1970, UTC")
    return float(seconds)


def check_expiry(draft: Draft, now: float) -> Draft:
    """Refuse what would have expired before it is written."""
    if draft.expires_at is not None and draft.expires_at <= now:
        _refuse("expires_at", f"{draft.expires_at!r} is past", "give a time to come")
    return draft


def encode_metadata(metadata: Mapping[str, object]) -> str:
    """`metadata` as JSON with sorted keys, at most 16 KiB."""
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        _refuse("metadata", "is no mapping of names to values", "give a dict with strings as keys")
    try:
        encoded = msgspec.json.encode(dict(metadata), order="deterministic")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        _refuse("metadata", f"is no JSON ({error})", "use strings, numbers, booleans, lists and dicts")
    if len(encoded) > MAX_METADATA_BYTES:
        _refuse("metadata", f"has {len(encoded)} bytes", f"use at most {MAX_METADATA_BYTES}")
    return encoded.decode()


def _check_importance(importance: float) -> None:
    # The comparison is false for NaN.
    kind = type(importance)
    if (kind is not float and kind is not int) or not 0.0 <= importance <= 1.0:
        _refuse("importance", f"{importance!r} is out of range", "use a number from 0 to 1")


def _check_str(field: str, value: object) -> None:
    if not isinstance(value, str):
        _refuse(field, f"is a {type(value).__name__}", "give a string")


def _check_unicode(field: str, value: str) -> None:
    if not value.isascii() and (found := _SURROGATE.search(value)) is not None:
        _refuse(field, f"has a lone surrogate at character {found.start()}", "give valid Unicode text")


def _refuse(field: str, problem: str, fix: str) -> NoReturn:
    raise InvalidInput(field, problem, fix)
