"""Files to drafts: one memory for each section. Everything is read and checked before anything is written.

Markdown is parted at its headings (not at those inside fenced code), text at blank lines into pieces of up
to 2,000 characters, JSONL is one memory a line with the fields of a draft. Paths come from file names and
headings, so that ingesting again finds the same memories.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from node.memory.records import (
    MAX_PATH_CHARS,
    MAX_TEXT_BYTES,
    MAX_TITLE_CHARS,
    Draft,
    Visibility,
    check_draft,
    check_expiry,
)
from protocol.errors import InvalidInput

MARKDOWN = frozenset({".md", ".markdown"})
TEXT = frozenset({".txt", ".rst", ".text"})
LINES = frozenset({".jsonl", ".ndjson"})
PIECE_CHARS = 2_000
_LONGEST_PIECE_CHARS = MAX_TEXT_BYTES // 4  # Four bytes a character at the most.

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"^\s{0,3}(```+|~~~+)")


class Collected(msgspec.Struct, frozen=True):
    """Drafts that passed every check, and how many files they came from."""

    drafts: list[Draft]
    files: int
    passed_over: int


class _Section(msgspec.Struct, frozen=True):
    title: str
    text: str


def collect(
    paths: Sequence[Path], *, prefix: str, tags: tuple[str, ...], visibility: Visibility
) -> Collected:
    """Drafts from files and folders. `InvalidInput` names the file, and the line where there is one."""
    drafts: list[Draft] = []
    taken: Counter[str] = Counter()
    files = passed_over = 0
    for given in paths:
        for file, name in _files(given):
            if file.suffix.lower() not in MARKDOWN | TEXT | LINES:
                if file == given:
                    fix = f"use one of {' '.join(sorted(MARKDOWN | TEXT | LINES))}"
                    raise InvalidInput(str(file), "is of a kind that is not understood", fix)
                passed_over += 1
                continue
            files += 1
            drafts += _drafts(file, f"{prefix.rstrip('/')}/{_slug_path(name)}", tags, visibility, taken)
    return Collected(drafts, files, passed_over)


def _files(given: Path) -> Iterator[tuple[Path, Path]]:
    """Each file, and its name relative to what was given; hidden ones are left out."""
    if given.is_file():
        yield given, Path(given.name)
    elif given.is_dir():
        for file in sorted(given.rglob("*")):
            name = file.relative_to(given)
            if file.is_file() and not any(part.startswith(".") for part in name.parts):
                yield file, name
    else:
        raise InvalidInput(str(given), "is no file and no folder", "check the name")


def _drafts(
    file: Path, path: str, tags: tuple[str, ...], visibility: Visibility, taken: Counter[str]
) -> Iterator[Draft]:
    text = _read(file)
    suffix = file.suffix.lower()
    if suffix in LINES:
        yield from _from_lines(file, text, path, tags, visibility)
        return
    sections = markdown_sections(text) if suffix in MARKDOWN else text_sections(text)
    for section in sections:
        title = section.title or file.stem
        place = f"{path}/{_slug(section.title)}" if section.title else path
        for piece in _pieces(section.text):
            taken[place] += 1
            number = taken[place]
            draft = Draft(
                text=piece,
                path=(place if number == 1 else f"{place}-{number}")[:MAX_PATH_CHARS],
                title=title[:MAX_TITLE_CHARS],
                tags=tags,
                visibility=visibility,
            )
            yield _checked(draft, str(file))


def _from_lines(
    file: Path, text: str, path: str, tags: tuple[str, ...], visibility: Visibility
) -> Iterator[Draft]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            fields: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
            fields = {"path": f"{path}/{number:06d}", "visibility": visibility, **fields}
            draft = msgspec.convert(fields, Draft)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise InvalidInput(where, f"is no memory ({error})", 'write it as {"text": "…"}') from None
        yield _checked(msgspec.structs.replace(draft, tags=(*draft.tags, *tags)), where)


def markdown_sections(text: str) -> list[_Section]:
    """Sections by heading, each titled by the headings above it; what has no text of its own is left out."""
    found: list[_Section] = []
    trail: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""

    def close() -> None:
        body = "\n".join(lines).strip()
        if body:
            found.append(_Section(" > ".join(title for _, title in trail), body))
        lines.clear()

    for line in text.split("\n"):
        opening = _FENCE.match(line)
        if opening is not None:
            mark = opening[1]
            if not fence:
                fence = mark
            elif mark.startswith(fence):
                fence = ""
        heading = None if fence or opening else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        close()
        level = len(heading[1])
        trail = [*(one for one in trail if one[0] < level), (level, heading[2] or "section")]
    close()
    return found


def text_sections(text: str) -> list[_Section]:
    """Paragraphs together, up to `PIECE_CHARS`; a longer paragraph stays whole."""
    found: list[_Section] = []
    current = ""
    for paragraph in re.split(r"\n\s*\n", text):
        piece = paragraph.strip()
        if not piece:
            continue
        if current and len(current) + len(piece) > PIECE_CHARS:
            found.append(_Section("", current))
            current = piece
        else:
            current = f"{current}\n\n{piece}" if current else piece
    return [*found, _Section("", current)] if current else found


def _pieces(text: str) -> Iterable[str]:
    """The text, in parts where it is longer than a memory may be."""
    for start in range(0, len(text), _LONGEST_PIECE_CHARS):
        piece = text[start : start + _LONGEST_PIECE_CHARS]
        if piece.strip():
            yield piece


def _checked(draft: Draft, where: str) -> Draft:
    try:
        return check_expiry(check_draft(draft), time.time())
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.field}", error.problem, error.fix) from None


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"is no UTF-8 at byte {error.start}"
        raise InvalidInput(f"{file}:{line}", problem, "convert the file first") from None
    except OSError as error:
        raise InvalidInput(str(file), f"cannot be read ({error.strerror})", "check its permissions") from None


def _slug_path(name: Path) -> str:
    return "/".join(_slug(part) for part in name.with_suffix("").parts)


def _slug(text: str) -> str:
    """A path's segment: letters, digits and dashes, of any script."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[^\w]+", "-", plain).strip("-_")[:80] or "section"
