"""The types of resources in the template, and the version of the interface that each is written for.

Versions are ones that Microsoft's own libraries on PyPI use, so that the tests can hold the template against those.
"""

from __future__ import annotations

from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    "identity": "Microsoft.ManagedIdentity/userAssignedIdentities",
    "account": "Microsoft.Storage/storageAccounts",
    "blob_service": "Microsoft.Storage/storageAccounts/blobServices",
    "container": "Microsoft.Storage/storageAccounts/blobServices/containers",
    "table": "Microsoft.Storage/storageAccounts/tableServices/tables",
    "namespace": "Microsoft.ServiceBus/namespaces",
    "queue": "Microsoft.ServiceBus/namespaces/queues",
    "topic": "Microsoft.ServiceBus/namespaces/topics",
    "subscription": "Microsoft.ServiceBus/namespaces/topics/subscriptions",
    "system_topic": "Microsoft.EventGrid/systemTopics",
    "event_subscription": "Microsoft.EventGrid/systemTopics/eventSubscriptions",
    "vault": "Microsoft.KeyVault/vaults",
    "secret": "Microsoft.KeyVault/vaults/secrets",
    "workspace": "Microsoft.OperationalInsights/workspaces",
    "insights": "Microsoft.Insights/components",
    "plan": "Microsoft.Web/serverfarms",
    "site": "Microsoft.Web/sites",
    "publishing": "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
    "assignment": "Microsoft.Authorization/roleAssignments",
}
_OF_NAMESPACE = {
    "Microsoft.ManagedIdentity": "2024-11-30",
    "Microsoft.Storage": "2024-01-01",
    "Microsoft.ServiceBus": "2021-11-01",
    "Microsoft.EventGrid": "2025-02-15",
    "Microsoft.KeyVault": "2025-05-01",
    "Microsoft.OperationalInsights": "2025-07-01",
    "Microsoft.Insights": "2020-02-02",
    "Microsoft.Web": "2024-11-01",
    "Microsoft.Authorization": "2022-04-01",
}
VERSIONS: Mapping[str, str] = {
    **{kind: _OF_NAMESPACE[name.partition("/")[0]] for kind, name in KINDS.items()},
    # Microsoft.AlertsManagement/smartDetectorAlertRules, which is in no template: Azure makes it with the insights.
    "alert_rule": "2021-04-01",
}
