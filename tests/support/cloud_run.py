"""What stands in front of a function on Cloud Run, as far as a function and its callers see it.

From "Authenticating service-to-service", "Authenticate developers", "Quotas and limits" and "Container runtime
contract" (2026-11): whoever is no invoker is refused before the function sees anything; of the token that was checked
the function gets no signature; requests have at most 32 MiB; the client's address and the scheme are added.
Left out: revisions, scaling and traffic.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import jwt

Fields = Sequence[tuple[str, str]]

MAX_BODY = 32 * 1024 * 1024
_TIMEOUT = 40


@dataclass(frozen=True, slots=True)
class Service:
    """One service. address: of the process. host: that callers know it by. invokers: members that may call, such as
    "allUsers"."""

    address: str
    host: str
    invokers: frozenset[str]


class Refused(Exception):
    """What Cloud Run answers itself."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@contextmanager
def called(
    service: Service, method: str, target: str, fields: Fields = (), body: bytes = b""
) -> Iterator[http.client.HTTPResponse]:
    """The response to one request. Raises Refused."""
    if len(body) > MAX_BODY:
        raise Refused(413)
    fields = list(fields) if "allUsers" in service.invokers else _let_pass(service, fields)
    given = {name.lower() for name, _ in fields}
    connection = http.client.HTTPConnection(urlsplit(service.address).netloc, timeout=_TIMEOUT)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        if "host" not in given:
            connection.putheader("host", service.host)
        for name, value in fields:
            if name.lower() not in ("x-forwarded-for", "x-forwarded-proto"):
                connection.putheader(name, value.encode("latin-1"))
        forwarded = [value for name, value in fields if name.lower() == "x-forwarded-for"]
        connection.putheader("x-forwarded-for", ",".join([*forwarded, "127.0.0.1"]))
        connection.putheader("x-forwarded-proto", "https")
        if body or method in ("POST", "PUT", "PATCH"):
            connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read: the answer says why
            connection.send(body)
        yield connection.getresponse()
    finally:
        connection.close()


def _let_pass(service: Service, fields: Fields) -> list[tuple[str, str]]:
    """The fields as the function gets them. Raises Refused where the caller is no invoker."""
    names = [name.lower() for name, _ in fields]
    checked = "x-serverless-authorization" if "x-serverless-authorization" in names else "authorization"
    if checked not in names:
        raise Refused(403)
    found = []
    for name, value in fields:
        if name.lower() == checked:
            claims = jwt.decode(value.partition(" ")[2], options={"verify_signature": False})
            kind = "serviceAccount" if claims["email"].endswith(".gserviceaccount.com") else "user"
            if claims["aud"] != f"https://{service.host}" or f"{kind}:{claims['email']}" not in service.invokers:
                raise Refused(403)
            value = f"{value.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"
        found.append((name, value))
    return found
