"""The deployer's rights: what the template needs, in one group alone; and who may have them."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.azure_service import SUBSCRIPTION, Rendered, deployment, template
from tests.support.trust import AZURE_AUDIENCE, azure_lets_in, claims_of, foreign_claims

from pys_multi import App
from pys_multi_providers.azure import grants
from pys_multi_providers.azure.permissions import deployer_roles, github_trust
from pys_multi_providers.azure.provider import AzureProvider
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.provider import Purpose

ROOT = Path(__file__).parents[3]
SUBNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/n/providers/Microsoft.Network/virtualNetworks/v/subnets/s"


def service(kinds: str = "http queue topic bucket table secret schedule vnet") -> App:
    app = App("shop", public=True)
    main = app.function("main", azure={"vnet": SUBNET} if "vnet" in kinds else {})
    if "http" in kinds:
        main.get("/")(lambda: None)
    if "queue" in kinds:
        main.consume(app.queue("jobs"))(lambda message: None)
    if "topic" in kinds:
        main.subscribe(app.topic("news"))(lambda message: None)
    if "bucket" in kinds:
        main.created(app.bucket("files"))(lambda event: None)
    if "table" in kinds:
        app.table("items", key="id")
    if "secret" in kinds:
        app.function("other", uses=[app.secret("KEY")])
    if "schedule" in kinds:
        main.every("1 hour")(lambda: None)
    return app


def placed(kinds: str | None = None, **options: Any) -> Any:
    app = service(kinds) if kinds is not None else service()
    return deployment(app, secrets={"KEY": "env:KEY"}, subscription=SUBSCRIPTION, **options)


def roles(kinds: str | None = None, purpose: Purpose = "deploy", **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployer_roles(placed(kinds, **options), purpose=purpose)["roles"]
    return found


def allows(definition: dict[str, Any], action: str) -> bool:
    """Whether a role allows an action, as Azure reads it: in any case, with * for anything."""
    return any(fnmatch.fnmatchcase(action.lower(), known.lower()) for known in definition["Actions"])


@pytest.mark.parametrize("kinds", ["http", "queue", "http bucket", None])
@pytest.mark.parametrize("purpose", ["deploy", "preview"])
def test_everything_in_the_template_can_be_made_and_removed(kinds: str | None, purpose: Purpose) -> None:
    rendered: Rendered = template(placed(kinds))
    definition = roles(kinds, purpose)[0]["definition"]
    for kind in {entry["type"] for entry in rendered.resources}:
        verbs = ["read", "write", "delete"]
        if kind.endswith(("basicPublishingCredentialsPolicies", "blobServices")):
            verbs.remove("delete")  # they go with what they are in
        for verb in verbs:
            assert allows(definition, f"{kind}/{verb}"), (kind, verb)


def test_what_the_engine_does_beside_that_is_allowed() -> None:
    definition = roles()[0]["definition"]
    for action in (
        "Microsoft.Resources/deployments/whatIf/action",
        "Microsoft.Resources/deployments/exportTemplate/action",
        "Microsoft.Resources/deployments/operations/read",
        "Microsoft.Resources/deployments/delete",
        "Microsoft.Resources/subscriptions/resourceGroups/resources/read",
        "Microsoft.Web/sites/publish/action",
        "Microsoft.Web/sites/functions/read",
        "Microsoft.Web/sites/host/listkeys/action",
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
        "Microsoft.OperationalInsights/workspaces/query/AppTraces/read",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
    ):
        assert allows(definition, action), action
    data = definition["DataActions"]
    assert "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write" in data
    assert "Microsoft.KeyVault/vaults/secrets/setSecret/action" in data
    assert "Microsoft.ServiceBus/namespaces/messages/receive/action" in data


def test_a_role_is_for_one_group_and_knows_no_star_for_everything() -> None:
    deployer, purge = roles()
    assert deployer["definition"]["AssignableScopes"] == [f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g"]
    assert deployer["assignment"]["scope"] == f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g"
    starred = [action for action in deployer["definition"]["Actions"] if "*" in action]
    assert starred == [
        "Microsoft.OperationalInsights/workspaces/query/*/read",
        "Microsoft.Web/sites/config/*/action",
    ]
    assert purge["definition"]["AssignableScopes"] == [f"/subscriptions/{SUBSCRIPTION}"]
    assert purge["definition"]["Actions"] == [
        "Microsoft.KeyVault/locations/deletedVaults/read",
        "Microsoft.KeyVault/locations/deletedVaults/purge/action",
    ]
    for refused in (
        "Microsoft.Authorization/roleDefinitions/write",
        "Microsoft.Storage/storageAccounts/listKeys/action",
        "Microsoft.ServiceBus/namespaces/authorizationRules/listKeys/action",
        "Microsoft.Web/sites/publishxml/action",
        "Microsoft.Resources/subscriptions/resourceGroups/delete",
        "Microsoft.Compute/virtualMachines/write",
    ):
        assert not allows(deployer["definition"], refused), refused


def test_the_deployer_passes_on_the_roles_of_the_template_and_no_other() -> None:
    condition = roles()[0]["assignment"]["condition"]
    assert roles()[0]["assignment"]["conditionVersion"] == "2.0"
    sets = re.findall(r"RoleDefinitionId\] ForAnyOfAnyValues:GuidEquals \{([^}]*)\}", condition)
    assert len(sets) == 2
    assert {id for found in sets for id in found.split(", ")} == set(grants.ASSIGNED)
    rendered = template(placed())
    used = {
        body["properties"]["roleDefinitionId"].rpartition("/")[2]
        for body in rendered.of("Microsoft.Authorization/roleAssignments").values()
    }
    assert used <= set(grants.ASSIGNED)
    assert condition.count("{'ServicePrincipal'}") == 2
    for action in ("write", "delete"):
        assert f"!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{action}'}})" in condition
    assert condition.count("(") == condition.count(")")


def test_a_small_service_needs_less() -> None:
    (deployer,) = roles("http")
    services = {action.partition("/")[0] for action in deployer["definition"]["Actions"]}
    assert not services & {"Microsoft.ServiceBus", "Microsoft.EventGrid", "Microsoft.KeyVault", "Microsoft.Network"}
    assert not [action for action in deployer["definition"]["DataActions"] if "Storage" not in action]
    assert len(roles("secret", purge_protection=True)) == 1


def test_a_plan_changes_nothing_and_reads_no_data_but_what_tells_of_releases() -> None:
    (plan,) = roles(purpose="plan")
    definition = plan["definition"]
    read = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
    assert definition["DataActions"] == [read]
    assert plan["assignment"]["condition"] == (
        f"((!(ActionMatches{{'{read}'}})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name]"
        " StringEquals 'pys-multi-releases'))"
    )
    for action in definition["Actions"]:
        assert action.endswith("/read") or action.rpartition("/deployments/")[2] in (
            "validate/action",
            "whatIf/action",
            "exportTemplate/action",
        )
    assert allows(definition, "Microsoft.Resources/deployments/whatIf/action")


def test_what_is_not_known_yet_is_said_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    monkeypatch.delenv("AZURE_DEFAULTS_GROUP", raising=False)
    (role,) = deployer_roles(deployment(service("http"), resource_group=None))["roles"]
    assert role["assignment"]["scope"] == "/subscriptions/SUBSCRIPTION/resourceGroups/RESOURCE_GROUP"
    (role,) = deployer_roles(deployment(service("http")), subscription="s-1")["roles"]
    assert role["assignment"]["scope"] == "/subscriptions/s-1/resourceGroups/g"


def test_a_secret_without_a_place_is_refused() -> None:
    with pytest.raises(ProviderError, match="aws-sm"):
        deployer_roles(deployment(service("secret"), secrets={"KEY": "aws-sm:x"}))


@pytest.mark.parametrize(
    ("repository", "subject"),
    [
        ("acme/shop", "repo:acme/shop:environment:prod"),
        ("acme@12/shop.js@34", "repo:acme@12/shop.js@34:environment:prod"),
    ],
)
def test_workflows_of_one_environment_are_trusted_in_both_forms_of_the_subject(repository: str, subject: str) -> None:
    document = github_trust(repository, "prod")
    assert document["issuer"] == "https://token.actions.githubusercontent.com"
    assert (document["subject"], document["audiences"]) == (subject, ["api://AzureADTokenExchange"])
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}", document["name"])


@pytest.mark.parametrize(("cloud", "end"), [("china", "China"), ("usgov", "USGov")])
def test_sovereign_clouds_exchange_tokens_for_another_audience(cloud: str, end: str) -> None:
    assert github_trust("acme/shop", "prod", cloud=cloud)["audiences"] == [f"api://AzureADTokenExchange{end}"]


def test_an_environment_cannot_pretend_to_be_another_part_of_the_subject() -> None:
    document = github_trust("acme/shop", "a:ref:refs/heads/main")
    assert document["subject"] == "repo:acme/shop:environment:a%3Aref%3Arefs/heads/main"


@pytest.mark.parametrize(
    "repository", ["shop", "acme/*", "acme/shop:ref", "acme@1/shop", "acme/shop@2", "*/*", "", "a/b\n"]
)
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(ProviderError, match="no GitHub repository"):
        github_trust(repository, "prod")


@pytest.mark.parametrize(("ids", "repository"), [(False, "acme/shop"), (True, "acme@12/shop@34")])
def test_a_token_of_that_environment_is_let_in_and_foreign_ones_are_not(ids: bool, repository: str) -> None:
    document = github_trust(repository, "prod")
    assert azure_lets_in(document, claims_of(ids=ids, aud=AZURE_AUDIENCE))
    foreign = foreign_claims(ids=ids, aud=AZURE_AUDIENCE)
    assert len(foreign) >= 30
    assert [what for what, claims in foreign.items() if azure_lets_in(document, claims)] == []


def test_the_provider_gives_both_documents() -> None:
    provider = AzureProvider()
    found = provider.permissions(placed("http"), account=None, repository=None, environment=None)
    assert set(found) == {"policy"}
    found = provider.permissions(
        placed("http"), account="s-2", repository="acme/shop", environment=None, purpose="plan"
    )
    assert found["trust_policy"]["subject"].endswith(":environment:dev")
    assert "s-2" in json.dumps(found["policy"])
