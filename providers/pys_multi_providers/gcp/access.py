"""Who may do what: the entries of IAM policies, one for each role on each resource."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class Access:
    """The entries of one deployment, each made once."""

    def __init__(self) -> None:
        # Kind, name, role, title of the condition.
        self._found: dict[tuple[str, str, str, str], Json] = {}

    def allow(self, kind: str, name: str, id: str, role: str, member: str, condition: Json | None = None) -> None:
        """Lets a member have a role on a resource; id is that of the resource in the document."""
        found = self._found.setdefault(
            (kind, name, role, condition["title"] if condition else ""),
            {
                "id": f"iam:{id}:{role.removeprefix('roles/')}",
                "kind": f"{kind}:iam",
                "name": name,
                "role": role,
                "condition": condition,
                "members": [],
            },
        )
        if member not in found["members"]:
            found["members"].append(member)

    def bindings(self) -> list[Json]:
        """All of them, as the document needs them."""
        return list(self._found.values())
