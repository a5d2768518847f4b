"""Who is who, as Google says it: the metadata server, identity tokens with the keys that check them, and signBlob.

Written from "View and query VM metadata", "OpenID Connect" (discovery document) and the reference of
`projects.serviceAccounts.signBlob`, 2026-11.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_ID = "key-of-the-tests"


class Identity:
    """A server of all three on loopback, for one service account. calls: the paths that were asked for."""

    def __init__(self, email: str) -> None:
        self.email = email
        self.calls: list[str] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.calls.append(self.path)
                if self.path.startswith("/computeMetadata/") and self.headers["metadata-flavor"] != "Google":
                    self._answer(403, b"Missing Metadata-Flavor:Google header.")
                elif self.path.endswith("/default/token"):
                    token = {"access_token": "ya29.of-the-tests", "expires_in": 3599, "token_type": "Bearer"}
                    self._answer(200, json.dumps(token).encode())
                elif self.path.endswith("/default/email"):
                    self._answer(200, outer.email.encode())
                elif self.path == "/oauth2/v3/certs":
                    self._answer(200, json.dumps(outer.key_set()).encode())
                else:
                    self._answer(404, b"Not Found")

            def do_POST(self) -> None:
                outer.calls.append(self.path)
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.headers["authorization"] != "Bearer ya29.of-the-tests":
                    self._answer(401, b"{}")
                elif self.path == f"/v1/projects/-/serviceAccounts/{outer.email}:signBlob":
                    signed = outer.sign(base64.b64decode(body["payload"]))
                    answer = {"keyId": KEY_ID, "signedBlob": base64.b64encode(signed).decode()}
                    self._answer(200, json.dumps(answer).encode())
                else:
                    self._answer(404, b"{}")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Variables by which a function finds it."""
        return {
            "GCE_METADATA_HOST": self.host,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": f"http://{self.host}",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_OAUTH2": f"http://{self.host}",
        }

    def key_set(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**public, "kid": KEY_ID, "alg": "RS256", "use": "sig"}]}

    def token(self, email: str, audience: str, **claims: Any) -> str:
        """An identity token, as Google signs it."""
        now = int(time.time())
        found = {
            "iss": "https://accounts.google.com",
            "aud": audience,
            "email": email,
            "email_verified": True,
            "sub": "1234567890",
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        return jwt.encode(found, self._key, algorithm="RS256", headers={"kid": KEY_ID})

    def sign(self, payload: bytes) -> bytes:
        return self._key.sign(payload, padding.PKCS1v15(), hashes.SHA256())

    def is_signed(self, payload: bytes, signature: bytes) -> bool:
        try:
            self._key.public_key().verify(signature, payload, padding.PKCS1v15(), hashes.SHA256())
        except Exception:
            return False
        return True
