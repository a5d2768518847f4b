"""The FastAPI application, called through the service as it is deployed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from notes.service import app

from pys_multi_tools.testing import Client


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(app) as client:
        yield client


def test_a_note_is_kept(client: Client) -> None:
    reply = client.post("/notes", json={"text": "buy milk", "tags": ["home"]})
    assert (reply.status, reply.json()["id"]) == (201, 1)
    assert client.get("/notes/1").json()["text"] == "buy milk"
    assert len(client.get("/notes?tag=home").json()) == 1
    assert client.get("/notes?tag=work").json() == []


def test_a_bad_note_is_refused_by_fastapi(client: Client) -> None:
    reply = client.post("/notes", json={"text": ""})
    assert reply.status == 422
    assert reply.json()["detail"][0]["loc"] == ["body", "text"]


def test_notes_are_streamed(client: Client) -> None:
    for text in ("one", "two"):
        client.post("/notes", json={"text": text})
    assert client.get("/notes.txt").text == "1: one\n2: two\n"


def test_a_note_can_be_deleted(client: Client) -> None:
    client.post("/notes", json={"text": "one"})
    assert client.delete("/notes/1").status == 204
    assert client.get("/notes/1").status == 404


def test_the_documentation_of_fastapi_is_there(client: Client) -> None:
    assert "/notes/{id}" in client.get("/openapi.json").json()["paths"]
    assert "swagger" in client.get("/docs").text
