"""Errors keep their meaning across processes, and names are checked where they enter."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import errors
from protocol.errors import BY_CODE, InvalidInput, MalformedFrame, MeshError, PeerSilent, from_code
from protocol.messages import Announce, Claim
from protocol.names import check_agent_name, check_mesh_name, is_agent_name
from protocol.wire import decode, encode
from tests.support.messages import NAMES


def all_errors() -> list[type[MeshError]]:
    return [told for told in vars(errors).values() if isinstance(told, type) and issubclass(told, MeshError)]


def test_every_error_has_a_code_of_its_own_that_fits_a_refusal() -> None:
    codes = [error.code for error in all_errors()]

    assert len(set(codes)) == len(codes)
    assert all(0 < len(code) <= 32 for code in codes)


def test_every_error_that_another_process_may_tell_is_found_by_its_code() -> None:
    built_otherwise = {InvalidInput, MalformedFrame}

    assert set(BY_CODE.values()) == set(all_errors()) - built_otherwise


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_an_error_told_by_another_process_keeps_class_and_message(code: str) -> None:
    error = from_code(code, "what happened")

    assert type(error) is BY_CODE[code]
    assert str(error) == "what happened"


def test_an_unknown_code_is_a_plain_error() -> None:
    assert type(from_code("of-a-later-version", "x")) is MeshError


def test_bad_input_keeps_field_problem_and_fix_across_processes() -> None:
    told = InvalidInput("agent", "'Bob: x; y' is no name", "use small letters")

    for heard in (from_code(told.code, str(told)), pickle.loads(pickle.dumps(told))):
        assert isinstance(heard, InvalidInput)
        assert (heard.field, heard.problem, heard.fix) == (told.field, told.problem, told.fix)


def test_only_silence_leaves_open_whether_it_happened() -> None:
    assert [error for error in all_errors() if error.indefinite] == [PeerSilent]


@pytest.mark.parametrize("name", ["a", "7", "alice", "a.b_c-d", "a" * 64])
def test_a_good_name_is_taken_as_it_is(name: str) -> None:
    assert (check_agent_name(name), check_mesh_name(name)) == (name, name)


@pytest.mark.parametrize(
    "name", ["", "Alice", "-a", ".a", "a b", "a/b", "é", "a\n", "a\x00", "a" * 65, "\u0661"]
)
def test_a_bad_name_is_refused_with_what_would_be_right(name: str) -> None:
    assert not is_agent_name(name)
    with pytest.raises(InvalidInput, match=r"agent: .* is no name; use 1 to 64 of a-z 0-9"):
        check_agent_name(name)
    with pytest.raises(InvalidInput, match="mesh: "):
        check_mesh_name(name)


def test_a_very_long_bad_name_is_quoted_in_part() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_agent_name("X" * 100_000)

    assert len(str(caught.value)) < 250


@given(st.text(max_size=70) | NAMES)
def test_the_wire_takes_the_same_names_as_the_command_line(name: str) -> None:
    frame = encode(check_agent_name("alice"), Announce((Claim("bob", 1, 1, "alive"),)))
    renamed = frame.replace(b"\xa3bob", _short_text(name))

    try:
        decode(renamed)
        taken = True
    except MalformedFrame:
        taken = False
    assert taken == is_agent_name(name)


def _short_text(text: str) -> bytes:
    raw = text.encode()
    return b"\xda" + len(raw).to_bytes(2, "big") + raw
