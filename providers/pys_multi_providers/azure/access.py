"""Role assignments: who may do what, each on one resource and with a name that is the same in every deploy."""

from __future__ import annotations

from typing import Any

from pys_multi_providers.azure.expressions import expression, resource_id
from pys_multi_providers.azure.kinds import KINDS, VERSIONS
from pys_multi_providers.azure.names import Names


class Access:
    """The assignments of one deployment, each made once."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._found: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def allow(self, identity: str, role: str, kind: str, *names: str) -> None:
        """Lets an identity have a role on a resource of the group."""
        self._found[identity, role, resource_id(kind, *names)] = (kind, *names)

    def depends(self, identity: str) -> list[str]:
        """The ids of the assignments of an identity, for what needs them from its start on."""
        return [expression(_id(who, role, scope)) for (who, role, scope) in self._found if who == identity]

    def assignments(self) -> list[dict[str, Any]]:
        """All of them, as the template needs them."""
        return [
            {
                "name": expression(_name(who, role, scope)),
                "scope": expression(scope),
                "role": expression(f"subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{role}')"),
                "principal": expression(
                    f"reference({resource_id(KINDS['identity'], who)}, '{VERSIONS['identity']}').principalId"
                ),
                "depends": [
                    expression(resource_id(KINDS["identity"], who)),
                    *([] if kind == KINDS["secret"] else [expression(scope)]),
                    *([expression(resource_id(KINDS["vault"], name))] if kind == KINDS["secret"] else []),
                ],
            }
            for (who, role, scope), (kind, name, *_) in self._found.items()
        ]


def _name(who: str, role: str, scope: str) -> str:
    """A UUID, of which one tenant has each once: so the ids in it begin with the subscription's."""
    return f"guid({scope}, {resource_id(KINDS['identity'], who)}, '{role}')"


def _id(who: str, role: str, scope: str) -> str:
    return f"extensionResourceId({scope}, '{KINDS['assignment']}', {_name(who, role, scope)})"
