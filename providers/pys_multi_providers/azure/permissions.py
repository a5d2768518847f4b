"""What the deployer of a service must be allowed to do, and who may become the deployer.

Azure gives rights on places and not on names: the role is for one resource group, with the kinds of things that the
service has; stages that must not reach each other have groups of their own. It is given with a condition, by which the
deployer can pass on the roles of the template to identities, and nothing else ("Delegate Azure role assignment
management to others with conditions"). A deleted Key Vault is in no group: who is to purge one gets a second role.
Names of actions: "Azure permissions", 2026-11; the one of One Deploy is in "RBAC permissions required to access Kudu".

For every preview it is the same role, as previews are stages in that group. For a plan it is what of it reads, without
anybody's messages, objects and secrets: of blobs it sees what tells of releases, by a condition. What-if is a question,
and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pys_multi.model import ObjectEvent
from pys_multi_providers.azure import grants
from pys_multi_providers.azure.clouds import CLOUDS
from pys_multi_providers.azure.secrets import sources
from pys_multi_providers.azure.view import names_of, options_of, settings_of
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.provider import Purpose
from pys_multi_tools.trust import github_subject

Json = dict[str, Any]

_ISSUER = "https://token.actions.githubusercontent.com"
#: Letters of a federated credential's name ("Microsoft Entra limits": 3 to 120 letters, digits, - and _).
_MAX_NAME = 120

_ALWAYS = """
    Microsoft.Resources/subscriptions/resourceGroups/read
    Microsoft.Resources/subscriptions/resourceGroups/resources/read
    Microsoft.Resources/deployments/read
    Microsoft.Resources/deployments/write
    Microsoft.Resources/deployments/delete
    Microsoft.Resources/deployments/cancel/action
    Microsoft.Resources/deployments/validate/action
    Microsoft.Resources/deployments/whatIf/action
    Microsoft.Resources/deployments/exportTemplate/action
    Microsoft.Resources/deployments/operations/read
    Microsoft.Resources/deployments/operationstatuses/read
    Microsoft.Authorization/roleAssignments/read
    Microsoft.Authorization/roleAssignments/write
    Microsoft.Authorization/roleAssignments/delete
    Microsoft.ManagedIdentity/userAssignedIdentities/read
    Microsoft.ManagedIdentity/userAssignedIdentities/write
    Microsoft.ManagedIdentity/userAssignedIdentities/delete
    Microsoft.ManagedIdentity/userAssignedIdentities/assign/action
    Microsoft.Web/serverfarms/read
    Microsoft.Web/serverfarms/write
    Microsoft.Web/serverfarms/delete
    Microsoft.Web/serverfarms/join/action
    Microsoft.Web/sites/read
    Microsoft.Web/sites/write
    Microsoft.Web/sites/delete
    Microsoft.Web/sites/publish/action
    Microsoft.Web/sites/basicPublishingCredentialsPolicies/read
    Microsoft.Web/sites/basicPublishingCredentialsPolicies/write
    Microsoft.Web/sites/config/read
    Microsoft.Web/sites/config/write
    Microsoft.Web/sites/config/*/action
    Microsoft.Web/sites/functions/read
    Microsoft.Web/sites/host/listkeys/action
    Microsoft.Storage/storageAccounts/read
    Microsoft.Storage/storageAccounts/write
    Microsoft.Storage/storageAccounts/delete
    Microsoft.Storage/storageAccounts/blobServices/read
    Microsoft.Storage/storageAccounts/blobServices/write
    Microsoft.Storage/storageAccounts/blobServices/containers/read
    Microsoft.Storage/storageAccounts/blobServices/containers/write
    Microsoft.Storage/storageAccounts/blobServices/containers/delete
    Microsoft.Storage/storageAccounts/tableServices/read
    Microsoft.Storage/storageAccounts/tableServices/tables/read
    Microsoft.Storage/storageAccounts/tableServices/tables/write
    Microsoft.Storage/storageAccounts/tableServices/tables/delete
    Microsoft.OperationalInsights/workspaces/read
    Microsoft.OperationalInsights/workspaces/write
    Microsoft.OperationalInsights/workspaces/delete
    Microsoft.OperationalInsights/workspaces/query/read
    Microsoft.OperationalInsights/workspaces/query/*/read
    Microsoft.OperationalInsights/workspaces/sharedKeys/action
    Microsoft.Insights/components/read
    Microsoft.Insights/components/write
    Microsoft.Insights/components/delete
    Microsoft.Insights/metrics/read
    Microsoft.AlertsManagement/smartDetectorAlertRules/read
    Microsoft.AlertsManagement/smartDetectorAlertRules/delete
"""
#: Releases and packages are blobs; containers that are taken away are emptied by that.
_ALWAYS_DATA = """
    Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read
    Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write
    Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action
    Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete
"""
_BUS = """
    Microsoft.ServiceBus/namespaces/read
    Microsoft.ServiceBus/namespaces/write
    Microsoft.ServiceBus/namespaces/delete
    Microsoft.ServiceBus/namespaces/queues/read
    Microsoft.ServiceBus/namespaces/queues/write
    Microsoft.ServiceBus/namespaces/queues/delete
    Microsoft.ServiceBus/namespaces/topics/read
    Microsoft.ServiceBus/namespaces/topics/write
    Microsoft.ServiceBus/namespaces/topics/delete
    Microsoft.ServiceBus/namespaces/topics/subscriptions/read
    Microsoft.ServiceBus/namespaces/topics/subscriptions/write
    Microsoft.ServiceBus/namespaces/topics/subscriptions/delete
"""
#: To look at dead letters, and to put them back.
_BUS_DATA = """
    Microsoft.ServiceBus/namespaces/messages/send/action
    Microsoft.ServiceBus/namespaces/messages/receive/action
"""
_EVENTS = """
    Microsoft.EventGrid/systemTopics/read
    Microsoft.EventGrid/systemTopics/write
    Microsoft.EventGrid/systemTopics/delete
    Microsoft.EventGrid/systemTopics/eventSubscriptions/read
    Microsoft.EventGrid/systemTopics/eventSubscriptions/write
    Microsoft.EventGrid/systemTopics/eventSubscriptions/delete
    Microsoft.EventGrid/eventSubscriptions/write
"""
_VAULT = """
    Microsoft.KeyVault/vaults/read
    Microsoft.KeyVault/vaults/write
    Microsoft.KeyVault/vaults/delete
"""
_VAULT_DATA = """
    Microsoft.KeyVault/vaults/secrets/getSecret/action
    Microsoft.KeyVault/vaults/secrets/setSecret/action
    Microsoft.KeyVault/vaults/secrets/readMetadata/action
"""
#: In the subscription.
_DELETED_VAULTS = """
    Microsoft.KeyVault/locations/deletedVaults/read
    Microsoft.KeyVault/locations/deletedVaults/purge/action
"""
_READ_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
#: What only looks, beside what its name says. Keys of an app and the value of a secret are no looking.
_ASKS = frozenset(
    {
        "Microsoft.Resources/deployments/validate/action",
        "Microsoft.Resources/deployments/whatIf/action",
        "Microsoft.Resources/deployments/exportTemplate/action",
    }
)


def deployer_roles(deployment: Deployment, *, subscription: str | None = None, purpose: Purpose = "deploy") -> Json:
    """The least that deploying needs, or another purpose: ``roles``, each with its ``definition``, as
    `az role definition create` takes it, and ``assignment``, where and under which condition to give it.

    Raises ProviderError for a secret whose reference Azure has no place for.
    """
    try:
        parts = list(_parts(deployment))
    except ValueError as error:
        raise ProviderError(f"a secret {error}", where="secrets", hint="pys-multi check says which, and why") from error
    actions = sorted({action for some, _ in parts for action in some.split()})
    data = sorted({action for _, some in parts for action in some.split()})
    settings = settings_of(deployment)
    whole = f"/subscriptions/{subscription or settings.subscription or 'SUBSCRIPTION'}"
    group = settings.resource_group or "RESOURCE_GROUP"
    scope = f"{whole}/resourceGroups/{group}"
    if purpose == "plan":
        asking = [action for action in actions if action.endswith("/read") or action in _ASKS]
        only = {"condition": releases_alone(names_of(deployment).releases), "conditionVersion": "2.0"}
        return {"roles": [_role(f"pys-multi plan in {group}", scope, asking, [_READ_BLOBS], only)]}
    condition = {"condition": delegation(), "conditionVersion": "2.0"}
    roles = [_role(f"pys-multi {purpose} in {group}", scope, actions, data, condition)]
    if "Microsoft.KeyVault/vaults/delete" in actions and not settings.purge_protection:
        roles.append(_role(f"pys-multi purge for {group}", whole, _DELETED_VAULTS.split()))
    return {"roles": roles}


def _role(name: str, scope: str, actions: list[str], data: Sequence[str] = (), condition: Json | None = None) -> Json:
    definition = {
        "Name": name,
        "IsCustom": True,
        "Description": f"{name}; written by pys-multi permissions",
        "Actions": actions,
        "NotActions": [],
        "DataActions": list(data),
        "NotDataActions": [],
        "AssignableScopes": [scope],
    }
    return {"definition": definition, "assignment": {"scope": scope, **(condition or {})}}


def _parts(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """(actions, data actions) for what the service has."""
    service = deployment.service
    kinds = {resource.kind for resource in service.resources}
    told = any(isinstance(trigger, ObjectEvent) for function in service.functions for trigger in function.triggers)
    yield _ALWAYS, _ALWAYS_DATA
    if kinds & {"queue", "topic"} or told:
        yield _BUS, _BUS_DATA
    if told:
        yield _EVENTS, ""
    if any(not source.uri for source in sources(deployment).values()):
        yield _VAULT, _VAULT_DATA
    if any(options_of(function).vnet for function in service.functions):
        yield "Microsoft.Network/virtualNetworks/subnets/read Microsoft.Network/virtualNetworks/subnets/join/action", ""


def releases_alone(container: str) -> str:
    """The condition: of blobs, only those of that container ("Azure role assignment conditions for Blob Storage")."""
    return (
        f"((!(ActionMatches{{'{_READ_BLOBS}'}})) OR "
        f"(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals '{container}'))"
    )


def delegation() -> str:
    """The condition: of role assignments, only those of the template's own roles, and only to identities."""
    roles = "{" + ", ".join(sorted(grants.ASSIGNED)) + "}"

    def only(action: str, of: str) -> str:
        kind = "Microsoft.Authorization/roleAssignments"
        return (
            f"((!(ActionMatches{{'{kind}/{action}'}})) OR "
            f"(@{of}[{kind}:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {roles} AND "
            f"@{of}[{kind}:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {{'ServicePrincipal'}}))"
        )

    return f"{only('write', 'Request')} AND {only('delete', 'Resource')}"


def github_trust(repository: str, environment: str, *, cloud: str = "public") -> Json:
    """The federated credential by which workflows of one GitHub repository sign in, from one environment alone.

    As `az identity federated-credential create` and `az ad app federated-credential create` take it; Entra compares
    issuer, subject and audience with those of the token letter by letter. repository: "OWNER/NAME", or
    "OWNER@ID/NAME@ID" for one whose subjects carry ids. Raises ProviderError for what is no repository.
    """
    subject = github_subject(repository, environment)
    name = re.sub("[^A-Za-z0-9_-]+", "-", f"github-{repository}-{environment}").strip("-")[:_MAX_NAME]
    return {
        "name": name,
        "issuer": _ISSUER,
        "subject": subject,
        "audiences": [CLOUDS[cloud].exchange_audience],
        "description": f"Workflows of {repository} in the environment {environment}",
    }
