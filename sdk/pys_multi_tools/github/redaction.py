"""Secrets, and what looks like one, taken out of every text that leaves: log, comment, summary and outputs.

Known are the values of the environment whose names say that they are secret, and whatever is added later. Each is
found as it is, and in base64, hexadecimal, percent and JSON form. What looks like a credential is taken out although
nobody said it was one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

MASK = "***"
#: Shorter values are words and numbers that occur in any text.
SHORTEST = 6

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWO?R?D|PASSPHRASE|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY|SIGNING|ENCRYPT|WEBHOOK|DSN"
    r"|(?:^|_)(?:KEY|PASS|PWD|AUTH|PAT)(?:_|$|\d)|CONNECTION_?STRING|DATABASE_URL",
    re.IGNORECASE,
)
# Their names read as if they held a secret, and they hold paths, addresses and names that a log needs.
_NO_SECRETS = re.compile(
    r"ACTIONS_ID_TOKEN_REQUEST_URL|AWS_WEB_IDENTITY_TOKEN_FILE|AZURE_FEDERATED_TOKEN_FILE|.*_(?:FILE|PATH|DIR)|SSH_AUTH_SOCK"
    r"|GOOGLE_APPLICATION_CREDENTIALS|(?:OLD)?PWD|INPUT_.*(?<!TOKEN)"
    # The addresses of Secrets Manager and Secret Manager.
    r"|AWS_ENDPOINT_URL_.*|CLOUDSDK_API_ENDPOINT_OVERRIDES_.*"
)
# Published forms of credentials: https://docs.github.com/en/code-security/secret-scanning, RFC 7468, RFC 7519.
_LOOKS = re.compile(
    r"gh[pousr]_[A-Za-z0-9_]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|\bya29\.[A-Za-z0-9_-]{20,}|\bAIza[A-Za-z0-9_-]{35}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bpypi-[A-Za-z0-9_-]{16,}|\bnpm_[A-Za-z0-9]{36}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=-]{16,}"
)


class Redactor:
    """Takes the secrets out of a text. values: what is secret."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*values)

    def add(self, *values: str) -> None:
        """Keep further values out of every text from now on."""
        for value in values:
            for part in {value.strip(), *(line.strip() for line in value.splitlines())}:
                if len(part) >= SHORTEST:
                    self._forms.update(form for form in _forms(part) if len(form) >= SHORTEST)
        # The longest first: a secret may be a part of another one.
        ordered = sorted(self._forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _LOOKS.sub(MASK, text)


def secrets_of(environment: Mapping[str, str], named: Iterable[str] = ()) -> Iterator[str]:
    """The values of an environment that are secret: by the name of the variable, or because it is ``named``."""
    wanted = set(named)
    for name, value in environment.items():
        if name in wanted or (_SECRET_NAME.search(name) and not _NO_SECRETS.fullmatch(name)):
            yield value


def _forms(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogateescape")
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="", errors="surrogateescape")
    yield quote(value, errors="surrogateescape")
    yield quote_plus(value, errors="surrogateescape")
    yield data.hex()
    yield data.hex().upper()
    yield repr(value)[1:-1]
    for shift in range(3):
        # In the base64 of a longer text the value begins at any of three places; its middle is the same in each.
        coded = base64.b64encode(b"\0" * shift + data).decode()
        start, end = -(-shift * 8 // 6), (shift + len(data)) * 8 // 6
        if end - start >= SHORTEST + 2:
            yield coded[start:end]
            yield coded[start:end].replace("+", "-").replace("/", "_")
