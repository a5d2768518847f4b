"""CloudFormation's functions: a value of a template is plain text, a number, or one of these.

What a user wrote never stands inside ``Fn::Sub``, where ``${`` would mean something.
"""

from __future__ import annotations

from typing import Any


def text(value: str) -> Any:
    """Text that means itself: where it has ``${`` in it, nobody takes that for a reference."""
    parts = value.split("${")
    return value if len(parts) == 1 else {"Fn::Join": ["$", [parts[0], *(f"{{{part}" for part in parts[1:])]]}


def sub(template: str) -> Any:
    """``Fn::Sub``, or the text itself where it refers to nothing."""
    return {"Fn::Sub": template} if "${" in template else template


def att(id: str, attribute: str = "Arn") -> Any:
    """An attribute of a resource."""
    return {"Fn::GetAtt": [id, attribute]}
