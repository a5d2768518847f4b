"""Azurite, Microsoft's own counterpart of Azure Storage, on loopback: over TLS, as it takes tokens nowhere else.

    python -m tests.support.azurite     installs it, so that tests need not

It comes from npm, once, and is kept in the cache of bundles. Tokens are not verified there, only read (its option
``--oauth basic``), so the suite writes its own.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pys_multi_tools.bundle.cache import Cache

#: The account that it has without being told of others.
ACCOUNT = "devstoreaccount1"
WHY_NOT = "Azurite comes from npm, which is not on this machine (apt-get install npm)"
_LISTENS = re.compile(r"Azurite (\w+) service is successfully listening at (\S+)")


def installed() -> Path | None:
    """The folder that it is installed in, made at the first call; None without npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return None
    cache = Cache()
    with cache.in_use():
        return cache.get("images", f"azurite-{time.strftime('%Y-%m')}", _install)


def _install(folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true}')
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "azurite@^3.35"],
        cwd=folder,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


class Azurite:
    """One process with nothing in it; folder is for its certificate. on_line: told of each line of its access log."""

    def __init__(self, folder: Path, on_line: Callable[[str], None] = lambda _: None) -> None:
        home = installed()
        assert home is not None, WHY_NOT
        folder.mkdir(parents=True, exist_ok=True)
        #: What clients have to trust.
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        _make_certificate(self.certificate, key)
        self._trusts = ssl.create_default_context(cafile=str(self.certificate))
        ports = [f"--{service}Port" for service in ("blob", "queue", "table")]
        self._process = subprocess.Popen(
            [
                "node",
                str(home / "node_modules/azurite/dist/src/azurite.js"),
                *(part for port in ports for part in (port, "0")),
                *("--inMemoryPersistence", "--disableTelemetry"),
                *("--oauth", "basic", "--cert", str(self.certificate), "--key", str(key)),
                *("--blobKeepAliveTimeout", "120", "--tableKeepAliveTimeout", "120", "--skipApiVersionCheck"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._on_line = on_line
        said: list[str] = []
        found: dict[str, str] = {}
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said.append(line)
            if match := _LISTENS.search(line):
                found[match[1].lower()] = match[2]
            if len(found) == 3:
                break
        assert len(found) == 3, "".join(said)
        threading.Thread(target=self._read, daemon=True).start()
        #: URLs of the account's blobs and tables.
        self.blob = f"{found['blob']}/{ACCOUNT}"
        self.table = f"{found['table']}/{ACCOUNT}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._on_line(line.rstrip("\n"))

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def make_container(self, name: str) -> str:
        """The URL of a new container."""
        url = f"{self.blob}/{name}"
        self.call("PUT", f"{url}?restype=container")
        return url

    def make_table(self, name: str) -> str:
        """The URL of a new table."""
        self.call("POST", f"{self.table}/Tables", json.dumps({"TableName": name}).encode())
        return f"{self.table}/{name}"

    def call(
        self, method: str, url: str, body: bytes = b"", fields: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """The answer to the account's owner, which is one of success; its body was read and is gone."""
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=30, context=self._trusts)
        try:
            given = {
                "authorization": f"Bearer {token('https://storage.azure.com')}",
                "x-ms-version": "2020-12-06",
                "accept": "application/json;odata=nometadata",
                **({"content-type": "application/json"} if body else {}),
                **(fields or {}),
            }
            connection.request(method, f"{parts.path}?{parts.query}", body or None, given)
            response = connection.getresponse()
            content = response.read()
            assert response.status < 300, (response.status, content)
            return response
        finally:
            connection.close()


def token(audience: str, *, seconds: float = 3600) -> str:
    """A token as Entra writes them, without a signature."""
    now = int(time.time())
    claims = {
        "aud": audience.rstrip("/"),
        "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + int(seconds),
        "oid": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
        "tid": "dd0d0df1-06c3-436c-8034-4b9a153097ce",
        "ver": "1.0",
    }
    return ".".join(map(_encoded, ({"alg": "RS256", "typ": "JWT"}, claims))) + "." + _encoded({"signed": "by nobody"})


def _encoded(value: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _make_certificate(certificate: Path, key: Path) -> None:
    """A certificate of 127.0.0.1 that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


if __name__ == "__main__":
    print(installed() or WHY_NOT)
