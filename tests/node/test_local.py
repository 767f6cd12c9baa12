"""A memory while no node runs."""

from __future__ import annotations

import pytest

from node import LocalMemory, MemoryNode
from node.local import drafts_from
from protocol.errors import InvalidInput, MemoryInUse, NodeClosed
from tests.support.settings import MakeConfig


def test_a_memory_works_without_a_mesh_and_a_node_finds_what_it_holds(make_config: MakeConfig) -> None:
    config = make_config()
    with LocalMemory("a", config=config) as memory:
        path = memory.remember("The zebra.", tags=["zebra"]).path
        assert memory.recall("zebra").items[0].path == path
        assert memory.statistics().memories == 1
        assert not config.folder.exists(), "nothing is registered"

    with pytest.raises(NodeClosed):
        memory.read(path)


@pytest.mark.processes
def test_a_node_and_a_memory_take_turns(make_config: MakeConfig) -> None:
    config = make_config()
    with LocalMemory("a", config=config) as memory:
        path = memory.remember("The zebra.", tags=["zebra"]).path
        with pytest.raises(MemoryInUse):
            MemoryNode("a", config=config)

    with MemoryNode("a", config=config) as node:
        assert node.read(path).text == "The zebra."
        with pytest.raises(MemoryInUse):
            LocalMemory("a", config=config)


def test_tags_given_as_one_string_are_refused(make_config: MakeConfig) -> None:
    with LocalMemory("a", config=make_config()) as memory:
        with pytest.raises(InvalidInput) as raised:
            memory.remember("The zebra.", tags="zebra")

        assert raised.value.field == "tags"
        assert memory.statistics().memories == 0


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", ".a", "a" * 65, "a b", "a\n"])
def test_a_name_that_is_none_opens_nothing(name: str, make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(InvalidInput) as raised:
        LocalMemory(name, config=config)

    assert raised.value.field == "agent"
    assert not config.data_dir.exists()


def test_the_folder_of_memories_is_its_users_own(make_config: MakeConfig) -> None:
    config = make_config()
    LocalMemory("a", config=config).close()

    assert config.memory_file("a").parent.stat().st_mode & 0o777 == 0o700  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([{}], "drafts[0]"),
        ([{"text": "x"}, {"text": 1}], "drafts[1].text"),
        ([{"text": "x", "tags": "y"}], "drafts[0].tags"),
    ],
)
def test_drafts_that_are_none_are_named(values: list[dict[str, object]], field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        drafts_from(values)

    assert raised.value.field == field


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("השחרור ייצא ביום שישי", "השחרור"),
        ("الإصدار يوم الجمعة", "الإصدار"),
        ("\u202eabc\u202c תאריך 2024 Friday", "friday"),
        ("Cafe\u0301 a\u030aben", "café"),
        ("Café", "cafe\u0301"),
        ("a\u0300\u0301\u0302\u0303\u0304bc zebra", "zebra"),
        ("नमस्ते दुनिया", "दुनिया"),
        ("nul\x00byte zebra", "zebra"),
        ("👩🏽 zebra 🏳️", "zebra"),
    ],
)
def test_text_of_any_script_is_found_and_comes_back_as_it_was_written(
    text: str, asked: str, make_config: MakeConfig
) -> None:
    with LocalMemory("a", config=make_config()) as memory:
        memory.remember("Something else, about nothing.")
        path = memory.remember(text, path=f"/{asked}").path

        assert memory.read(path).text == text
        assert [hit.path for hit in memory.search(asked)] == [path]
        assert [hit.path for hit in memory.search(f'"{asked}"')] == [path]
        assert memory.recall(asked).items[0].text == text
        assert memory.survey(asked).entries[0].path == path
        assert memory.fetch([path]).text == text
