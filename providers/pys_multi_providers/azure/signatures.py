"""URLs that let whoever has them get or put one object: user delegation SAS, without any shared key.

"Create a user delegation SAS", 2026-11, for versions from 2020-12-06 on.
"""

from __future__ import annotations

from time import gmtime, strftime
from urllib.parse import quote, urlencode, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Seconds that a key, and so what is signed with it, holds at most: seven days.
MOST = 604_800


def utc(moment: float) -> str:
    """Seconds since the epoch as Azure writes them."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(moment))


def signed(key: Mapping[str, Any], container: str, name: str, permissions: str, ends: float, version: str) -> str:
    """The URL of one object of a container (a URL), good for these permissions until a time.

    key: the user delegation key, by the names of its XML.
    """
    parts = urlsplit(container)
    host, path = parts.netloc, parts.path
    # The account is the first label of the host; where all accounts have one host, the first part of the path.
    account = host.partition(".")[0] if ".blob." in host else path.split("/")[1]
    canonical = f"/blob/{account}{path.removeprefix(f'/{account}')}/{name}"
    protocol = parts.scheme if parts.scheme == "https" else "https,http"
    expiry = utc(ends)
    text = "\n".join(
        (
            permissions,
            "",  # start
            expiry,
            canonical,
            key["SignedOid"],
            key["SignedTid"],
            key["SignedStart"],
            key["SignedExpiry"],
            key["SignedService"],
            key["SignedVersion"],
            "",  # authorized user
            "",  # unauthorized user
            "",  # correlation id
            "",  # addresses
            protocol,
            version,
            "b",  # one blob
            "",  # snapshot
            "",  # encryption scope
            "",  # cache control, content disposition, encoding, language and type of the answer
            "",
            "",
            "",
            "",
        )
    )
    fields = {
        "sp": permissions,
        "se": expiry,
        "skoid": key["SignedOid"],
        "sktid": key["SignedTid"],
        "skt": key["SignedStart"],
        "ske": key["SignedExpiry"],
        "sks": key["SignedService"],
        "skv": key["SignedVersion"],
        "spr": protocol,
        "sv": version,
        "sr": "b",
        "sig": _signature(key["Value"], text),
    }
    return f"{container}/{quote(name)}?{urlencode(fields)}"


def _signature(key: str, text: str) -> str:
    from base64 import b64decode, b64encode
    from hmac import digest

    return b64encode(digest(b64decode(key), text.encode(), "sha256")).decode()
