"""ARM's expressions: a value of a template is plain text, a number, or an expression in brackets.

What a user wrote never stands inside an expression. Rules: "Syntax and expressions in ARM templates" (2026-11): a
text that begins with ``[`` and ends with ``]`` is an expression unless it begins with ``[[``; any other text means
itself, also one that only begins with a bracket; inside an expression ``''`` is a quote.
"""

from __future__ import annotations

from pys_multi_providers.azure.names import UNIQUE

#: Characters of one expression.
MAX_EXPRESSION = 24_576
#: The parameter that holds the end of names.
_PARAMETER = f"parameters('{UNIQUE.strip('${}')}')"


def text(value: str) -> str:
    """Text that means itself."""
    return f"[{value}" if value.startswith("[") and value.endswith("]") else value


def sub(template: str) -> str:
    """Text with the end of names in it; the text itself where it is not."""
    return f"[{quoted(template)}]" if UNIQUE in template else text(template)


def quoted(template: str) -> str:
    """The same as a part of an expression."""
    parts: list[str] = []
    for number, plain in enumerate(template.split(UNIQUE)):
        if number:
            parts.append(_PARAMETER)
        if plain:
            parts.append("'" + plain.replace("'", "''") + "'")
    if not parts:
        return "''"
    return parts[0] if len(parts) == 1 else f"concat({', '.join(parts)})"


def resource_id(kind: str, *names: str) -> str:
    """The id of a resource of the same group, as a part of an expression."""
    return f"resourceId({', '.join(quoted(part) for part in (kind, *names))})"


def expression(inner: str) -> str:
    """A part of an expression as a whole one."""
    return f"[{inner}]"
