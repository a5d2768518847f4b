"""Exchanges over connections that are kept, and what is known of a request that has no answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from tests.support.scripted_api import DROP, ScriptedApi

from pys_multi.rest import Connections, Unanswered


@pytest.fixture
def connections() -> Iterator[Connections]:
    connections = Connections()
    yield connections
    connections.close()


@pytest.fixture
def keeping() -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that answers with the number of the connection, as long as the other side likes; its connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve(peer: socket.socket, number: int) -> None:
        while peer.recv(65536):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-Name: Value\r\n\r\n%d" % number)

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            accepted.append(peer)
            threading.Thread(target=serve, args=(peer, len(accepted)), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", accepted
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for peer in accepted:
        peer.close()


def test_a_connection_is_kept_and_one_that_has_ended_is_replaced(
    connections: Connections, keeping: tuple[str, list[socket.socket]]
) -> None:
    address, accepted = keeping
    answers = [connections.exchange("GET", address, "/", {}, None) for _ in range(3)]
    assert [answer.body for answer in answers] == [b"1"] * 3
    assert (answers[0].status, answers[0].fields["x-name"]) == (200, "Value")
    accepted[0].shutdown(socket.SHUT_RDWR)
    # A request that is sent once is sent on one that is there.
    assert connections.exchange("POST", address, "/", {}, b"x").body == b"2"
    connections.close()
    assert connections.exchange("GET", address, "/", {}, None).body == b"3"


def test_what_was_sent_may_have_happened(connections: Connections) -> None:
    with ScriptedApi(lambda _: DROP) as api:
        with pytest.raises(Unanswered) as raised:
            connections.exchange("POST", api.url, "/a?b=c", {}, b"x")
        assert raised.value.may_have_happened
        [asked] = api.asked
        assert (asked.path, asked.body) == ("/a?b=c", b"x")


def test_what_reached_nobody_has_not(connections: Connections) -> None:
    with pytest.raises(Unanswered, match="ConnectionRefusedError") as raised:
        connections.exchange("POST", "http://127.0.0.1:1", "/", {}, b"x")
    assert not raised.value.may_have_happened
