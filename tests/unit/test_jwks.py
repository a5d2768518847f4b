"""Key sets fetched over HTTP from a real server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from pys_multi.auth import JWT
from pys_multi.errors import DefinitionError, HTTPError
from pys_multi.http import Request
from pys_multi.jwks import COOL_DOWN, FIRST_COOL_DOWN, MAX_BYTES, STALE_TTL, TTL, RemoteKeys

Answer = Callable[[BaseHTTPRequestHandler], None]


class Issuer:
    """An issuer: its keys, what it answers, and how often it was asked."""

    def __init__(self) -> None:
        self.private: dict[str, ed25519.Ed25519PrivateKey] = {}
        self.asked = 0
        self.answer: Answer = self.answer_keys
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                issuer.answer(self)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.add("one")

    def add(self, kid: str) -> None:
        self.private[kid] = ed25519.Ed25519PrivateKey.generate()

    def document(self) -> bytes:
        eddsa = pyjwt.get_algorithm_by_name("EdDSA")
        keys = [
            {**eddsa.to_jwk(key.public_key(), as_dict=True), "kid": kid, "key_ops": ["verify"]}
            for kid, key in self.private.items()
        ]
        return json.dumps({"keys": keys}).encode()

    def answer_keys(self, handler: BaseHTTPRequestHandler) -> None:
        self.send(handler, 200, self.document())

    def send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def token(self, kid: str = "one", **claims: Any) -> str:
        body = {"iss": "me", "exp": 10**10, **claims}
        key = self.private.get(kid) or ed25519.Ed25519PrivateKey.generate()
        return pyjwt.encode(body, key, algorithm="EdDSA", headers={"kid": kid})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pys_multi.jwks.time", made)
    return made


def status(auth: JWT, token: str) -> int:
    try:
        auth.authenticate(Request("GET", "/", headers={"authorization": f"Bearer {token}"}))
    except HTTPError as error:
        return error.status
    return 200


def tokens(issuer: Issuer) -> JWT:
    return JWT(issuer="me", audience=None, jwks_url=issuer.url, algorithms=["EdDSA"])


def test_keys_are_fetched_at_first_need_and_kept(issuer: Issuer, clock: Clock) -> None:
    auth = tokens(issuer)
    assert issuer.asked == 0
    for number in range(3):
        assert status(auth, issuer.token(n=number)) == 200
    assert issuer.asked == 1
    clock.now += TTL - 1
    assert status(auth, issuer.token()) == 200
    assert issuer.asked == 1
    clock.now += 1
    assert status(auth, issuer.token()) == 200
    assert issuer.asked == 2


def test_a_new_key_is_found_at_once_after_the_cool_down(issuer: Issuer, clock: Clock) -> None:
    auth = tokens(issuer)
    assert status(auth, issuer.token()) == 200
    clock.now += COOL_DOWN
    issuer.add("two")
    assert status(auth, issuer.token("two")) == 200
    assert issuer.asked == 2


def test_invented_key_names_do_not_make_it_ask_again_and_again(issuer: Issuer, clock: Clock) -> None:
    auth = tokens(issuer)
    assert status(auth, issuer.token()) == 200
    clock.now += COOL_DOWN
    for number in range(5):
        assert status(auth, issuer.token(f"invented-{number}")) == 401
    assert issuer.asked == 2


def test_a_key_that_was_withdrawn_is_not_accepted_though_its_token_is_remembered(issuer: Issuer, clock: Clock) -> None:
    auth = tokens(issuer)
    token = issuer.token()
    assert status(auth, token) == 200
    issuer.private.clear()
    issuer.add("two")
    clock.now += TTL
    assert status(auth, token) == 401


def test_old_keys_serve_while_the_issuer_is_down_but_not_forever(
    issuer: Issuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    auth = tokens(issuer)
    assert status(auth, issuer.token()) == 200
    issuer.answer = lambda handler: issuer.send(handler, 500, b"")
    clock.now += TTL
    for number in range(3):
        assert status(auth, issuer.token(n=number)) == 200
    assert issuer.asked == 2
    assert "cannot be fetched" in caplog.text
    clock.now += STALE_TTL + 1
    assert status(auth, issuer.token()) == 503
    issuer.answer = issuer.answer_keys
    clock.now += COOL_DOWN
    assert status(auth, issuer.token()) == 200


def test_without_any_keys_it_is_503_with_a_time_to_come_back(issuer: Issuer, clock: Clock) -> None:
    auth = tokens(issuer)
    issuer.answer = lambda handler: issuer.send(handler, 503, b"")
    with pytest.raises(HTTPError) as caught:
        auth.authenticate(Request("GET", "/", headers={"authorization": f"Bearer {issuer.token()}"}))
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": str(FIRST_COOL_DOWN)})
    issuer.answer = issuer.answer_keys
    assert status(auth, issuer.token()) == 503
    assert issuer.asked == 1
    clock.now += FIRST_COOL_DOWN
    assert status(auth, issuer.token()) == 200


def _redirect(issuer: Issuer) -> Answer:
    return lambda handler: issuer.send(handler, 302, b"", Location=issuer.url + "/elsewhere")


ANSWERS: dict[str, Callable[[Issuer], Answer]] = {
    "not found": lambda issuer: lambda handler: issuer.send(handler, 404, b"{}"),
    "redirect": _redirect,
    "not json": lambda issuer: lambda handler: issuer.send(handler, 200, b"<html>"),
    "not a set": lambda issuer: lambda handler: issuer.send(handler, 200, b"[]"),
    "too deep": lambda issuer: lambda handler: issuer.send(handler, 200, b"[" * 100_000),
    "too large": lambda issuer: lambda handler: issuer.send(handler, 200, b" " * (MAX_BYTES + 1)),
    "no http": lambda issuer: lambda handler: handler.wfile.write(b"nonsense\r\n\r\n") and None,
    "cut off": lambda issuer: lambda handler: issuer.send(handler, 200, b"{", **{"Content-Length": "100"}),
    "not utf-8": lambda issuer: lambda handler: issuer.send(handler, 200, b"\xff\xfe\xfd"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_no_key_set_is_503(issuer: Issuer, name: str) -> None:
    issuer.answer = ANSWERS[name](issuer)
    assert status(tokens(issuer), issuer.token()) == 503
    assert issuer.asked == 1  # a redirect, too, is not followed


def test_nobody_listening_is_503(issuer: Issuer) -> None:
    auth = tokens(issuer)
    token = issuer.token()
    issuer.server.shutdown()
    issuer.server.server_close()
    assert status(auth, token) == 503


def test_a_server_that_says_nothing_is_503(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi.jwks.TIMEOUT", 0.05)
    over = threading.Event()
    issuer.answer = lambda handler: over.wait(30) and None
    assert status(tokens(issuer), issuer.token()) == 503
    over.set()


def test_a_server_that_answers_byte_by_byte_does_not_keep_callers_waiting(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pys_multi.jwks.TIMEOUT", 0.3)
    refused = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        body = issuer.document()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) + 100))
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" ")
                refused.wait(0.05)
            handler.wfile.write(body)
        except OSError:
            pass  # nobody reads any more

    issuer.answer = drip
    assert status(tokens(issuer), issuer.token()) == 503
    refused.set()


def test_many_threads_fetch_once(issuer: Issuer) -> None:
    auth = tokens(issuer)
    token = issuer.token()
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(status(auth, token))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 8
    assert issuer.asked == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://issuer.example/keys",
        "http://127.evil.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "ftp://issuer.example/keys",
        "file:///etc/passwd",
        "https://",
        "https:///keys",
        "https://issuer.example:port/",
        "//issuer.example/keys",
        "https://[::1/",
    ],
)
def test_urls_that_are_not_https_are_refused(url: str) -> None:
    with pytest.raises(DefinitionError, match="https"):
        RemoteKeys(url)


@pytest.mark.parametrize(
    "url", ["https://issuer.example/keys", "http://localhost:1/", "http://[::1]:1/", "http://127.0.0.2/"]
)
def test_https_and_this_machine_are_allowed(url: str) -> None:
    assert RemoteKeys(url).url == url
