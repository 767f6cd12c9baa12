"""Bad input is refused with the name of its field, before anything is written."""

from __future__ import annotations

import math
from typing import Any

import pytest

from node.memory.records import MAX_TEXT_BYTES, Draft, check_draft, check_path, check_prefix, check_query
from protocol.errors import InvalidInput


@pytest.mark.parametrize(
    ("field", "draft"),
    [
        ("text", {"text": ""}),
        ("text", {"text": " \n\t"}),
        ("text", {"text": None}),
        ("text", {"text": b"bytes"}),
        ("text", {"text": "x" * (MAX_TEXT_BYTES + 1)}),
        ("text", {"text": "é" * (MAX_TEXT_BYTES // 2 + 1)}),
        ("text", {"text": "lone \ud800 surrogate"}),
        ("path", {"path": "/notes/../secret"}),
        ("path", {"path": "/notes/./a"}),
        ("path", {"path": "/notes/.."}),
        ("path", {"path": "notes/a"}),
        ("path", {"path": "/"}),
        ("path", {"path": ""}),
        ("path", {"path": "/notes//a"}),
        ("path", {"path": "/notes/"}),
        ("path", {"path": "/a\x00b"}),
        ("path", {"path": "/a\nb"}),
        ("path", {"path": "/a\udfffb"}),
        ("path", {"path": "/" + "a" * 512}),
        ("path", {"path": "/shared/space/a"}),
        ("path", {"path": 7}),
        ("title", {"title": "x" * 513}),
        ("title", {"title": None}),
        ("title", {"title": "\udc00"}),
        ("tags", {"tags": "one string"}),
        ("tags", {"tags": ("",)}),
        ("tags", {"tags": ("x" * 65,)}),
        ("tags", {"tags": ("a\x00b",)}),
        ("tags", {"tags": tuple(f"t{n}" for n in range(65))}),
        ("tags", {"tags": (1,)}),
        ("importance", {"importance": 2}),
        ("importance", {"importance": -0.1}),
        ("importance", {"importance": math.nan}),
        ("importance", {"importance": math.inf}),
        ("importance", {"importance": True}),
        ("importance", {"importance": "0.5"}),
        ("visibility", {"visibility": "public"}),
        ("visibility", {"visibility": None}),
        ("visibility", {"visibility": []}),
        ("metadata", {"metadata": {"a": object()}}),
        ("metadata", {"metadata": {1: "a"}}),
        ("metadata", {"metadata": ["a"]}),
        ("metadata", {"metadata": {"a": "x" * 17_000}}),
        ("metadata", {"metadata": {"a": "\ud800"}}),
    ],
)
def test_a_bad_draft_is_refused_with_the_name_of_its_field(field: str, draft: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as told:
        check_draft(Draft(**{"text": "some text", **draft}))

    assert told.value.field == field
    assert "\n" not in str(told.value)


def test_a_good_draft_passes_as_it_is() -> None:
    draft = Draft(
        text="a\x00b", path="/notes/…/ünï", title="T", tags=("a", "b"), importance=1, metadata={"a": 1}
    )

    assert check_draft(draft) is draft


def test_tags_given_as_a_list_become_a_tuple_without_repeats() -> None:
    checked = check_draft(Draft(text="x", tags=["a", "b", "a"]))  # type: ignore[arg-type]

    assert checked.tags == ("a", "b")


def test_a_text_of_exactly_the_limit_passes() -> None:
    assert check_draft(Draft(text="x" * MAX_TEXT_BYTES))


def test_dots_within_a_segment_are_no_way_up() -> None:
    assert check_path("/notes/..a/b..c/...") == "/notes/..a/b..c/..."


@pytest.mark.parametrize("prefix", ["", "notes", "/a\x00"])
def test_a_prefix_begins_a_path(prefix: str) -> None:
    with pytest.raises(InvalidInput, match="prefix"):
        check_prefix(prefix)


@pytest.mark.parametrize("query", ["", "  ", "x" * 20_000, None])
def test_an_empty_or_endless_query_is_refused(query: Any) -> None:
    with pytest.raises(InvalidInput, match="query"):
        check_query(query)
