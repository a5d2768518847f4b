"""An HTTP server on loopback that notes what comes and answers 418."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class NotingFront:
    """seen: method, target, headers by lower-case name, body, of each request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def __getattr__(self, name: str) -> Any:
                if not name.startswith("do_"):
                    raise AttributeError(name)
                return self.answer

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                names = dict.fromkeys(name.lower() for name in self.headers)
                headers = {name: ", ".join(self.headers.get_all(name, ())) for name in names}
                seen.append((self.command, self.path, headers, body))
                self.send_response(418)
                self.send_header("x-request-id", "r1")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
