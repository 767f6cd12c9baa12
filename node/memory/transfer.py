"""A memory as lines of JSON: all versions with their numbers and times, tombstones, links and grants.

The first line says what the file is, the last how many lines there must have been. A file is read and checked
as a whole before anything of it is written. What is here already and is the same is passed over, so a later
export of the same memory adds what is new; where the two went different ways, nothing is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import apsw
import msgspec

from node.memory import database
from node.memory.access import check_granted
from node.memory.records import Draft, Visibility, check_draft, check_label, check_path, check_time
from protocol.errors import InvalidInput
from protocol.names import check_agent_name

FORMAT = 1
MAX_LINE_BYTES = 8 * 1024 * 1024
"""A text of 1 MiB whose every byte is written as \\u00XX, and all else a memory may hold."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", forbid_unknown_fields=True):
    pass


class HeaderLine(_Line, frozen=True, kw_only=True, tag="avm-memory"):
    """The first line. A reader refuses a `format` it does not know."""

    format: int
    agent: str


class VersionLine(_Line, frozen=True, kw_only=True, tag="version", omit_defaults=True):
    """One version, in the order of the log."""

    path: str
    version: int
    created_at: float
    written_at: float
    forgotten: bool = False
    erased: bool = False
    visibility: Visibility = "listed"
    importance: float = 0.5
    title: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    expires_at: float | None = None
    text: str = ""

    @property
    def is_empty(self) -> bool:
        """A tombstone, or what an erasure left."""
        return self.forgotten or self.erased

    def draft(self) -> Draft:
        """What was remembered."""
        return Draft(
            text=self.text,
            path=self.path,
            title=self.title,
            tags=self.tags,
            importance=self.importance,
            visibility=self.visibility,
            metadata=self.metadata,
            expires_at=self.expires_at,
        )


class LinkLine(_Line, frozen=True, kw_only=True, tag="link"):
    """One link."""

    path: str
    target: str
    kind: str
    weight: float


class GrantLine(_Line, frozen=True, kw_only=True, tag="grant"):
    """One grant."""

    path: str
    agent: str


class EndLine(_Line, frozen=True, kw_only=True, tag="end"):
    """The last line: how many lines stand between it and the first."""

    lines: int


class Import(msgspec.Struct, frozen=True):
    """A file that passed every check; each version and link with the number of its line."""

    versions: list[tuple[int, VersionLine]]
    links: list[tuple[int, LinkLine]]
    grants: list[GrantLine]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """How many versions were written, and how many were here already."""

    versions: int
    known: int
    links: int
    grants: int


_VERSIONS = """
    SELECT path, version, created_at, written_at, forgotten, erased, visibility, importance, title, tags,
           metadata, expires_at, text FROM versions ORDER BY id"""
_decode = msgspec.json.Decoder(HeaderLine | VersionLine | LinkLine | GrantLine | EndLine).decode
_encode = msgspec.json.Encoder().encode


def exported(path: Path) -> Iterator[bytes]:
    """The lines of the memory in that file, each with its end, as of one moment; others may go on writing."""
    connection: apsw.Connection | None = None
    try:
        connection = database.connect(path, apsw.SQLITE_OPEN_READONLY)
        connection.execute("BEGIN")
        for line in _lines(connection):
            yield _encode(line) + b"\n"
    except apsw.Error as error:
        raise database.translate(error, path) from error
    finally:
        if connection is not None:
            connection.close()


def _lines(connection: apsw.Connection) -> Iterator[_Line]:
    count = 0
    agent: str = connection.execute("SELECT value FROM meta WHERE name = 'agent'").get
    yield HeaderLine(format=FORMAT, agent=agent)
    for row in connection.execute(_VERSIONS):
        count += 1
        yield version_line(row)
    for path, target, kind, weight in connection.execute("SELECT path, target, kind, weight FROM links"):
        count += 1
        yield LinkLine(path=path, target=target, kind=kind, weight=weight)
    for agent, path in connection.execute("SELECT agent, path FROM grants"):
        count += 1
        yield GrantLine(agent=agent, path=path)
    yield EndLine(lines=count)


def version_line(row: tuple[Any, ...]) -> VersionLine:
    """A version from its row, in the order of `_VERSIONS`."""
    *head, forgotten, erased, visibility, importance, title, tags, metadata, expires_at, text = row
    path, version, created_at, written_at = head
    return VersionLine(
        path=path,
        version=version,
        created_at=created_at,
        written_at=written_at,
        forgotten=bool(forgotten),
        erased=bool(erased),
        visibility=visibility,
        importance=importance,
        title=title,
        tags=msgspec.json.decode(tags, type=tuple[str, ...]) if tags else (),
        metadata=msgspec.json.decode(metadata, type=dict[str, Any]) if metadata else {},
        expires_at=expires_at,
        text=text,
    )


def parse(stream: BinaryIO, name: str) -> Import:
    """A whole file, held in memory. `InvalidInput` names the first line that is wrong, as name:number."""
    found = Import([], [], [])
    latest: dict[str, VersionLine] = {}
    end: EndLine | None = None
    number = 0
    for number, raw in enumerate(_bounded(stream, name), 1):
        where = f"{name}:{number}"
        if end is not None:
            raise InvalidInput(where, "stands behind the last line", "remove it")
        try:
            line = _decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(where, f"is no line of an export ({error})", "export it again") from None
        if (number == 1) != isinstance(line, HeaderLine):
            fix = "give a file made by avm export"
            raise InvalidInput(where, "an export has its header on the first line only", fix)
        try:
            end = _take(line, number, found, latest)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error.field}", error.problem, error.fix) from None
    if end is None:
        raise InvalidInput(f"{name}:{number + 1}", "the export ends before its last line", "export it again")
    return found


def _take(
    line: HeaderLine | VersionLine | LinkLine | GrantLine | EndLine,
    number: int,
    found: Import,
    latest: dict[str, VersionLine],
) -> EndLine | None:
    match line:
        case HeaderLine():
            if line.format != FORMAT:
                raise InvalidInput("format", f"{line.format} is not known", "upgrade avm-mesh")
        case VersionLine():
            _check_version(line, latest.get(line.path))
            latest[line.path] = line
            found.versions.append((number, line))
        case LinkLine():
            check_path(line.path)
            check_path(line.target)
            check_label("kind", line.kind, 64)
            if not 0.0 < line.weight <= 1.0 or line.path == line.target:
                raise InvalidInput("weight", "or path is out of range", "use 0 to 1 and two memories")
            found.links.append((number, line))
        case GrantLine():
            check_agent_name(line.agent)
            check_granted(line.path)
            found.grants.append(line)
        case EndLine():
            if line.lines != number - 2:
                raise InvalidInput("lines", f"are {number - 2}, not {line.lines}", "export it again")
            return line
    return None


def _check_version(line: VersionLine, before: VersionLine | None) -> None:
    check_path(line.path)
    check_time("created_at", line.created_at)
    check_time("written_at", line.written_at)
    expected = 1 if before is None else before.version + 1
    if line.version != expected:
        raise InvalidInput("version", f"{line.version} of {line.path} is not {expected}", "export it again")
    if not line.is_empty:
        check_draft(line.draft())
    elif line.text or line.title or line.tags or line.metadata:
        raise InvalidInput("text", "stands in what was forgotten or erased", "export it again")


def _bounded(stream: BinaryIO, name: str) -> Iterable[bytes]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            fix = "split what made it"
            raise InvalidInput(f"{name}:{number}", f"is longer than {MAX_LINE_BYTES} bytes", fix)
        yield line
