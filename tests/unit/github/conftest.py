"""A GitHub of the tests' own for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.github_server import REPOSITORY, GitHub, github

from pys_multi_tools.github.client import Client


@pytest.fixture
def server() -> Iterator[GitHub]:
    with github() as found:
        yield found


@pytest.fixture
def client(server: GitHub) -> Client:
    return Client(f"{server.url}/api", REPOSITORY, server.token, sleep=lambda seconds: None)
