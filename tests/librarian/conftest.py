"""For the tests of the librarian: a small mesh, and Hypothesis without its clock and its dice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.librarians import SmallMesh
from tests.support.settings import MakeConfig

settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture
def mesh(make_config: MakeConfig) -> Iterator[SmallMesh]:
    """A mesh without members yet."""
    with SmallMesh(make_config) as small:
        yield small
