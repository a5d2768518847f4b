"""What both ways have in common by which the Functions host hands HTTP requests to the Python worker.

Streamed, which every current worker can: the host sends the caller's request on to a server inside the worker
(``streaming.py``), with its fields, its body as it comes, and the answer's as it goes. Without it (the worker's option
PYTHON_ENABLE_INIT_INDEXING=0 turns it off): as objects of azure-functions (``objects.py``).

The path. The host decodes it, all but %2F, and encodes it again: as an object it leaves what then looks encoded
alone, so that %25 in front of two hex digits is gone. The front end of Azure says in a field what the caller wrote.
Since others could write such a field too, it counts only where it says the same as the host's path.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pys_multi.http import Response

#: What the front end writes: path and query string as the caller sent them, and where the caller is.
RAW_URL, CLIENT = "x-waws-unencoded-url", "client-ip"
#: What opens private routes: Azure has looked at it, and it is nobody's in the function.
KEY = "x-functions-key"
#: Fields about one connection (RFC 9110, section 7.6.1): the host has its own with the caller.
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)


def path_of(path: str, raw: str, *, is_object: bool = False) -> str:
    """The path as the caller meant it, decoded once.

    path: as the host encodes it. raw: what the front end says that the caller wrote, empty without. is_object:
    whether the host left alone what looks encoded.
    """
    if "%" not in path:
        return path
    from urllib.parse import unquote

    decoded = unquote(path)
    if raw:
        wrote = raw.partition("?")[0]
        # As the host decodes it: all but the slash.
        seen = "%2F".join(map(unquote, wrote.replace("%2f", "%2F").split("%2F")))
        same = unquote(seen) == decoded if is_object else seen == decoded.replace("%2f", "%2F")
        if same:
            return unquote(wrote)
    return decoded.replace("%2F", "/").replace("%2f", "/")


def client_of(fields: Mapping[str, str]) -> str:
    """The caller's address: what the front end says, which it lets nobody else say, or the last of those who sent the
    request on."""
    found = fields.get(CLIENT) or fields.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if found.startswith("["):
        return found[1:].partition("]")[0]
    return found.partition(":")[0] if found.count(":") == 1 else found


def fields_of(response: Response) -> list[tuple[str, str]]:
    """The response's fields without those about a connection."""
    return [pair for pair in response.headers if pair[0].lower() not in HOP_BY_HOP]
