"""Cookies: what a caller sends, and what a response sets (RFC 6265)."""

from __future__ import annotations

from pys_multi.http import TOKEN


def parse_cookies(header: str) -> dict[str, str]:
    """A ``Cookie`` header (RFC 6265, section 4.2.1) as name → value; the first of a repeated name wins."""
    cookies: dict[str, str] = {}
    for part in header.split(";"):
        name, sep, value = part.strip().partition("=")
        if sep and name:
            value = value.strip()
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = value[1:-1]
            cookies.setdefault(name.strip(), value)
    return cookies


def set_cookie(
    name: str,
    value: str,
    max_age: int | None,
    path: str,
    domain: str | None,
    secure: bool,
    http_only: bool,
    same_site: str | None,
) -> str:
    """The value of a ``Set-Cookie`` field; see :meth:`pys_multi.Response.set_cookie`."""
    if not isinstance(name, str) or not name or not TOKEN.issuperset(name):
        raise ValueError(f"{name!r} is not a cookie name")
    for part, what in ((value, "value"), (path, "path"), (domain or "", "domain")):
        if not isinstance(part, str) or not part.isascii() or not part.isprintable() or ";" in part:
            raise ValueError(f"the {what} of cookie {name!r} has a character that cookies cannot carry")
    if any(character in value for character in ' ",\\'):
        raise ValueError(
            f"the value of cookie {name!r} has a space, quote, comma or backslash, which cookies cannot carry: "
            "encode it, for example with urllib.parse.quote"
        )
    if not path.startswith("/"):
        raise ValueError(f"the path of cookie {name!r} begins with '/'")
    if max_age is not None and (isinstance(max_age, bool) or not isinstance(max_age, int)):
        raise ValueError(f"max_age of cookie {name!r} is whole seconds, not {max_age!r}")
    if same_site not in (None, "Lax", "Strict", "None"):
        raise ValueError("same_site is 'Lax', 'Strict', 'None' or None")
    # Browsers drop such cookies without a word (RFC 6265bis, sections 4.1.2.7 and 4.1.3).
    if not secure and (same_site == "None" or name.startswith(("__Secure-", "__Host-"))):
        raise ValueError(f"cookie {name!r} needs secure=True, or browsers ignore it")
    if name.startswith("__Host-") and (path != "/" or domain):
        raise ValueError(f"cookie {name!r} needs path='/' and no domain, or browsers ignore it")
    text = f"{name}={value}; Path={path}"
    if max_age is not None:
        text += f"; Max-Age={max_age}"
    if domain:
        text += f"; Domain={domain}"
    if secure:
        text += "; Secure"
    if http_only:
        text += "; HttpOnly"
    if same_site:
        text += f"; SameSite={same_site}"
    return text
