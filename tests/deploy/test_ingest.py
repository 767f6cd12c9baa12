"""Files to drafts: sections, pieces, lines, and what is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.ingest import PIECE_CHARS, Collected, collect, markdown_sections, text_sections
from protocol.errors import InvalidInput


def collected(*paths: Path) -> Collected:
    return collect(paths, prefix="/in", tags=(), visibility="listed")


def test_markdown_is_parted_at_headings_and_titled_by_those_above() -> None:
    sections = markdown_sections("intro\n# Guide\nfirst\n## Install\nsecond\n# Other\nthird\n## Empty\n")

    assert [(section.title, section.text) for section in sections] == [
        ("", "intro"),
        ("Guide", "first"),
        ("Guide > Install", "second"),
        ("Other", "third"),
    ]


def test_a_hash_inside_fenced_code_is_no_heading() -> None:
    sections = markdown_sections(
        "# Run\n```sh\n# a comment\n```\n~~~~\n```\n# still code\n~~~~\n# Next\nend\n"
    )

    assert [section.title for section in sections] == ["Run", "Next"]


def test_text_is_parted_at_blank_lines_into_pieces() -> None:
    paragraph = "word " * 150

    sections = text_sections("\n\n".join([paragraph] * 5))

    assert len(sections) == 3
    assert all(len(section.text) <= PIECE_CHARS for section in sections)


def test_a_folder_gives_its_files_without_hidden_ones_and_counts_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\ntext one\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "B C.txt").write_text("text two")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.md").write_text("# hidden\nhidden")

    found = collected(tmp_path)

    assert [draft.path for draft in found.drafts] == ["/in/a/one", "/in/deep/b-c"]
    assert (found.files, found.passed_over) == (2, 1)


def test_equal_headings_get_paths_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "log.md"
    file.write_text("# Notes\none\n# Notes\ntwo\n")

    assert [draft.path for draft in collected(file).drafts] == ["/in/log/notes", "/in/log/notes-2"]


def test_lines_of_json_may_say_everything_of_a_memory(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text(
        '{"text": "one"}\n\n{"text": "two", "path": "/x/y", "tags": ["t"], "importance": 1, '
        '"visibility": "mesh", "metadata": {"k": [1]}}\n'
    )

    first, second = collected(file).drafts

    assert (first.path, first.text) == ("/in/m/000001", "one")
    assert (second.path, second.tags, second.visibility, second.metadata) == (
        "/x/y",
        ("t",),
        "mesh",
        {"k": [1]},
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{broken", "malformed"),
        ('{"title": "no text"}', "text"),
        ('{"text": 5}', "text"),
        ('{"text": ""}', "text"),
        ('{"text": "x", "importance": 2}', "importance"),
        ('{"text": "x", "path": "/a/../b"}', "path"),
        ('{"text": "x", "visibility": "all"}', "visibility"),
        ("[1]", "object"),
        ("[" * 3000, "line"),
        ('{"text": "lone \\ud800 surrogate"}', "surrogate"),
        ('{"text": "x", "importance": NaN}', "malformed"),
        ('{"text": "x", "importance": 1e400}', "range"),
        ('{"text": "x", "expires_at": 1000}', "expires_at"),
        ('{"text": "x", "path": "/a\\u0000b"}', "path"),
        ('{"text": "' + "x" * 10 * 1024 * 1024 + '"}', "text"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path: Path, line: str, named: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text(f'{{"text": "fine"}}\n{line}\n')

    with pytest.raises(InvalidInput) as caught:
        collected(file)

    assert f"{file}:2" in str(caught.value)
    assert named in str(caught.value) or named == "line"
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_bytes(b"one\ncaf\xe9\n")

    with pytest.raises(InvalidInput, match=r"x\.txt:2: is no UTF-8 at byte 7"):
        collected(file)


def test_text_of_any_script_and_with_nul_bytes_is_taken_as_it_is(tmp_path: Path) -> None:
    odd = "a\x00b \u202eright\u202c to left, שלום, مرحبا, e\u0301, \U0001f600, \u0e20\u0e32"
    (tmp_path / "o.txt").write_text(odd)
    (tmp_path / "o.jsonl").write_text(f'{{"text": {json.dumps(odd)}}}\n')

    assert [draft.text for draft in collected(tmp_path).drafts] == [odd, odd]


def test_a_line_of_ten_mebibytes_in_a_text_becomes_several_memories(tmp_path: Path) -> None:
    (tmp_path / "long.md").write_text("# Long\n" + "word " * (2 * 1024 * 1024))

    drafts = collected(tmp_path).drafts

    assert len(drafts) == 40
    assert len({draft.path for draft in drafts}) == 40


@pytest.mark.parametrize("name", ["nothing.md", "tool.exe"])
def test_a_file_that_is_missing_or_of_another_kind_is_refused_when_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "tool.exe":
        file.write_bytes(b"MZ")

    with pytest.raises(InvalidInput, match=name):
        collected(file)


def test_a_byte_order_mark_and_windows_line_ends_vanish(tmp_path: Path) -> None:
    file = tmp_path / "w.md"
    file.write_bytes("\ufeff# Head\r\nbody\r\n".encode())

    (draft,) = collected(file).drafts

    assert (draft.title, draft.text) == ("Head", "body")


def test_a_section_longer_than_a_memory_becomes_several(tmp_path: Path) -> None:
    file = tmp_path / "long.md"
    file.write_text("# Long\n" + "é" * 600_000)

    drafts = collected(file).drafts

    assert len(drafts) == 3
    assert sum(len(draft.text) for draft in drafts) == 600_000
