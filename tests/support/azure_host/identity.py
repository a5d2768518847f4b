"""The endpoint that gives an app tokens of its identity, as the platform has it in every instance."""

from __future__ import annotations

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.support.azurite import token

AUDIENCES = ("https://storage.azure.com/", "https://servicebus.azure.net/")


class Identity:
    """The endpoint. client: id of the identity that the app has to name."""

    def __init__(self, client: str) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.header, self._server.client = secrets.token_hex(16), client
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        #: What is in the environment of every instance.
        self.environment = {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}/msi/token",
            "IDENTITY_HEADER": self._server.header,
        }

    @property
    def asked(self) -> list[str]:
        """For whom tokens were made, in order."""
        return list(self._server.asked)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    header, client = "", ""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.headers.get("X-IDENTITY-HEADER") != self.server.header:
            self._answer(401, {"message": "X-IDENTITY-HEADER is missing or wrong"})
        elif parts.path != "/msi/token" or query.get("api-version") != "2019-08-01":
            self._answer(400, {"message": f"{self.path} is not known"})
        elif query.get("client_id") != self.server.client or query.get("resource") not in AUDIENCES:
            self._answer(400, {"message": f"no identity or no audience: {query}"})
        else:
            self.server.asked.append(query["resource"])
            self._answer(
                200,
                {
                    "access_token": token(query["resource"]),
                    "expires_on": str(int(time.time()) + 3600),
                    "resource": query["resource"],
                    "token_type": "Bearer",
                    "client_id": self.server.client,
                },
            )

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
