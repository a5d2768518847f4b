"""The deployer's rights: what the engine calls, on the things of that stage as far as Google knows; who has them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gcp_document import check, method
from tests.support.gcp_service import deployment, document
from tests.support.trust import claims_of, foreign_claims, gcp_audience, gcp_lets_in

from pys_multi import App
from pys_multi_providers.gcp.kinds import ACCOUNTS, KINDS, owned
from pys_multi_providers.gcp.permissions import deployer_policy, github_trust
from pys_multi_providers.gcp.view import names_of
from pys_multi_tools.cli import main
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.provider import Purpose

ROOT = Path(__file__).parents[3]
NUMBER = "123456789012"
#: A service has a name of its own in permissions.
APIS = {"firestore": "datastore", "cloudresourcemanager": "resourcemanager"}
VERBS = {"list": "list", "get": "get", "create": "create", "insert": "create", "patch": "update", "delete": "delete"}


def service(kinds: str = "http queue topic bucket table secret schedule") -> App:
    app = App("shop", public=True)
    first = app.function("main")
    if "http" in kinds:
        first.get("/")(lambda: None)
    if "queue" in kinds:
        first.consume(app.queue("jobs"))(lambda message: None)
    if "topic" in kinds:
        first.subscribe(app.topic("news"))(lambda message: None)
    if "bucket" in kinds:
        first.created(app.bucket("files"))(lambda event: None)
    uses: list[Any] = [app.table("items", key="id")] if "table" in kinds else []
    uses += [app.secret("KEY")] if "secret" in kinds else []
    uses += [app.secret("OTHER")] if "foreign" in kinds else []
    app.function("other", uses=uses)
    if "schedule" in kinds:
        first.every("1 hour")(lambda: None)
    return app


SECRETS = {"KEY": "env:KEY", "OTHER": "gcp-sm:theirs"}


def policy(kinds: str | None = None, purpose: Purpose = "deploy", **options: Any) -> dict[str, Any]:
    app = service(kinds) if kinds is not None else service()
    return deployer_policy(deployment(app, secrets=SECRETS, **options), purpose=purpose)


def permissions(found: dict[str, Any], *, under_condition: bool | None = None) -> set[str]:
    conditional = {b["role"].rpartition("/")[2]: "condition" in b for b in found["bindings"]}
    return {
        permission
        for role in found["roles"]
        if under_condition in (None, conditional[role["roleId"]])
        for permission in role["role"]["includedPermissions"]
    }


# ---- the documents are Google's own


@pytest.mark.parametrize("purpose", ["deploy", "preview", "plan"])
def test_the_documents_are_bodies_of_google_s_methods(purpose: Purpose) -> None:
    found = policy(purpose=purpose)
    check("iam.v1", "CreateServiceAccountRequest", found["service_account"])
    assert re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", found["service_account"]["accountId"])
    for role in found["roles"]:
        check("iam.v1", "CreateRoleRequest", role)
        assert re.fullmatch(r"[A-Za-z0-9_.]{3,64}", role["roleId"])
        listed = role["role"]["includedPermissions"]
        assert listed == sorted(set(listed))
        assert all(re.fullmatch(r"[a-z]+\.[A-Za-z]+\.[A-Za-z]+", permission) for permission in listed)
    for binding in found["bindings"]:
        check("iam.v1", "Binding", binding)
        assert len(binding["members"]) == 1
    trust = github_trust(deployment(service(), secrets=SECRETS), "acme/shop", "dev", number=NUMBER, purpose=purpose)
    check("iam.v1", "WorkloadIdentityPool", trust["pool"])
    check("iam.v1", "WorkloadIdentityPoolProvider", trust["provider"])
    assert len(trust["provider"]["displayName"]) <= 32
    for id in (trust["pool_id"], trust["provider_id"]):
        assert re.fullmatch(r"(?!gcp-)[a-z0-9-]{4,32}", id)


@pytest.mark.parametrize(("name", "stage"), [("a", "b"), ("s" * 40, "t" * 32), ("my-shop", "pr-12")])
def test_ids_fit_and_differ(name: str, stage: str) -> None:
    app = App(name, public=True)
    app.function("api", uses=[app.table("t", key="id")]).get("/")(lambda: None)
    ids = []
    for purpose in ("deploy", "preview", "plan"):
        found = deployer_policy(deployment(app, stage=stage), purpose=purpose)  # type: ignore[arg-type]
        ids += [found["service_account"]["accountId"], *(role["roleId"] for role in found["roles"])]
        assert re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", found["service_account"]["accountId"])
        assert all(re.fullmatch(r"[A-Za-z0-9_.]{3,64}", role["roleId"]) for role in found["roles"])
    assert len(set(ids)) == len(ids)


# ---- what deploying needs


def permission_of(kind: str, verb: str) -> str:
    """The permission of a method, by the rule that Google's own follow."""
    api, _, *path = kind.split(".")
    if path[-1] == "fields":
        return f"datastore.indexes.{VERBS[verb]}"
    if (api, path[-1], verb) == ("firestore", "databases", "get"):
        return "datastore.databases.getMetadata"
    return f"{APIS.get(api, api)}.{path[-1]}.{VERBS[verb]}"


def test_everything_in_the_document_can_be_listed_made_changed_and_removed() -> None:
    found = permissions(policy(log_retention_days=90))
    placed = deployment(service(), secrets=SECRETS, log_retention_days=90)
    used = {entry["kind"] for entry in document(placed).entries.values()}
    assert {kind for kind in used if ":iam" not in kind} - {"storage.v1.notifications"} == set(KINDS)
    for name, kind in KINDS.items():
        for verb in ("list", "get", kind.making, "patch", *(["delete"] if kind.parent is not None else ())):
            assert method(name, verb)
            assert permission_of(name, verb) in found, (name, verb)
    for kind in used:
        if kind.endswith(":iam"):
            api, _, *path = kind.removesuffix(":iam").split(".")
            for verb in ("getIamPolicy", "setIamPolicy"):
                assert f"{APIS.get(api, api)}.{path[-1]}.{verb}" in found, kind


@pytest.mark.parametrize("purpose", ["deploy", "plan"])
def test_what_a_schedule_calls_is_seen(purpose: Purpose) -> None:
    """Scheduler shows the target of a job to nobody else, and it is compared."""
    assert "cloudscheduler.jobs.fullView" in permissions(policy(purpose=purpose))


def test_what_a_service_does_not_have_needs_no_right() -> None:
    plain = permissions(policy("http"))
    for api in ("pubsub", "cloudscheduler", "secretmanager", "datastore", "logging"):
        # Leftovers of former deploys are found by listing.
        assert all(name.endswith(".list") for name in plain if name.startswith(f"{api}.")), api
    assert "resourcemanager.projects.setIamPolicy" not in plain
    assert "secretmanager.secrets.create" not in permissions(policy("http foreign"))


def test_the_right_to_grant_is_of_two_roles_alone() -> None:
    """Whoever could change the whole policy of a project would own it."""
    found = policy()
    [role] = [r for r in found["roles"] if "resourcemanager.projects.setIamPolicy" in r["role"]["includedPermissions"]]
    assert role["role"]["includedPermissions"] == ["resourcemanager.projects.setIamPolicy"]
    [binding] = [b for b in found["bindings"] if b["role"].endswith(role["roleId"])]
    assert binding["condition"]["expression"] == (
        "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
        ".hasOnly(['roles/datastore.user', 'roles/datastore.viewer'])"
    )


def expression_of(found: dict[str, Any], part: str) -> str:
    [binding] = [b for b in found["bindings"] if b["role"].endswith(f".{part}")]
    expression: str = binding["condition"]["expression"]
    return expression


def test_objects_and_secrets_are_those_of_the_stage() -> None:
    found = policy("http bucket secret")
    everywhere = permissions(found, under_condition=False)
    for permission in ("storage.objects.get", "secretmanager.versions.access", "storage.buckets.delete"):
        assert permission in permissions(found)
        assert permission not in everywhere
    bucket = document(deployment(service("bucket"))).entries["bucket:files"]["name"]
    expression = expression_of(found, "data")
    [started] = re.findall(r'startsWith\("projects/_/buckets/([^"]+)"\)', expression)
    assert bucket.startswith(started)
    assert started == "shop-dev-"
    assert 'resource.name.extract("/secrets/{name}").startsWith("shop-dev-")' in expression


def test_a_secret_of_others_is_let_be_read_and_not_read() -> None:
    found = policy("http foreign")
    [role] = [role for role in found["roles"] if role["roleId"].endswith(".secrets")]
    assert role["role"]["includedPermissions"] == [
        "secretmanager.secrets.getIamPolicy",
        "secretmanager.secrets.setIamPolicy",
    ]
    assert expression_of(found, "secrets") == 'resource.name.extract("/secrets/{name}") == "theirs"'


def test_bundles_are_those_of_the_stage() -> None:
    inside = 'resource.name.startsWith("projects/_/buckets/pys-multi-")'
    assert expression_of(policy("http"), "bundles") == (
        f'({inside} && resource.type == "storage.googleapis.com/Bucket") || '
        f'({inside} && resource.name.extract("/objects/{{name}}").startsWith("shop/dev/"))'
    )
    assert expression_of(policy("http", artefact_bucket="bundles"), "bundles") == (
        '(resource.name == "projects/_/buckets/bundles") || '
        '(resource.name.startsWith("projects/_/buckets/bundles/objects/") && '
        'resource.name.extract("/objects/{name}").startsWith("shop/dev/"))'
    )


def test_a_preview_s_rights_are_for_all_of_them() -> None:
    found = policy(purpose="preview")
    assert permissions(found) == permissions(policy())
    [started] = re.findall(r'startsWith\("projects/_/buckets/([^"]+)"\)', expression_of(found, "data"))
    for stage in ("pr-17", "pr-1234567890"):
        bucket = document(deployment(service("bucket"), stage=stage)).entries["bucket:files"]["name"]
        assert bucket.startswith(started)
    assert not "shop-production-files".startswith(started)
    assert 'startsWith("shop/pr-")' in expression_of(found, "bundles")


def test_a_plan_changes_nothing_and_reads_no_secret() -> None:
    found = permissions(policy(purpose="plan"))
    for permission in found:
        assert permission.rpartition(".")[2] in ("fullView", "get", "list", "getIamPolicy", "getMetadata", "use"), (
            permission
        )
    assert "logging.logEntries.list" not in found
    assert "secretmanager.versions.access" not in found
    # It reads the documents of former deploys, and nobody's objects.
    with_objects = [
        role["roleId"]
        for role in policy(purpose="plan")["roles"]
        if "storage.objects.get" in role["role"]["includedPermissions"]
    ]
    assert [id.rpartition(".")[2] for id in with_objects] == ["bundles"]


@pytest.mark.parametrize("purpose", ["deploy", "preview", "plan"])
def test_a_deploy_does_not_take_its_deployer_for_a_part_of_the_stage(purpose: Purpose) -> None:
    made = deployment(service("http"))
    account = deployer_policy(made, purpose=purpose)["service_account"]["serviceAccount"]
    assert not owned(ACCOUNTS, account, names_of(made).owner, {}, "")


@pytest.mark.parametrize("purpose", ["deploy", "preview", "plan"])
def test_no_function_has_the_account_of_its_deployer(purpose: Purpose) -> None:
    app = App("shop")
    app.function(purpose)
    made = deployment(app, stage="pr" if purpose == "preview" else "dev")
    account = deployer_policy(made, purpose=purpose)["service_account"]["accountId"]
    assert account != names_of(made).account(purpose)


def test_no_role_is_predefined() -> None:
    for purpose in ("deploy", "preview", "plan"):
        for binding in policy(purpose=purpose)["bindings"]:  # type: ignore[arg-type]
            assert binding["role"].startswith("projects/acme/roles/pysMulti")


# ---- who may become the deployer


def trust(repository: str = "acme/shop", environment: str = "production", **options: Any) -> dict[str, Any]:
    return github_trust(deployment(service(), secrets=SECRETS, **options), repository, environment, number=NUMBER)


def test_the_workflows_of_one_environment_become_the_deployer_and_no_others() -> None:
    found = trust(environment="prod")
    audience = gcp_audience(found)
    assert gcp_lets_in(found, claims_of(aud=audience))
    for what, claims in foreign_claims(aud=audience).items():
        assert not gcp_lets_in(found, claims), what


def test_a_repository_with_ids_has_the_other_form() -> None:
    found = trust("acme@12/shop@34", environment="prod")
    audience = gcp_audience(found)
    assert gcp_lets_in(found, claims_of(ids=True, aud=audience))
    for what, claims in foreign_claims(ids=True, aud=audience).items():
        assert not gcp_lets_in(found, claims), what


@settings(max_examples=30)
@given(environment=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=255))
def test_the_name_of_an_environment_cannot_leave_its_place(environment: str) -> None:
    found = trust(environment=environment)
    audience = gcp_audience(found)
    assert gcp_lets_in(found, claims_of(environment=environment, aud=audience))
    assert not gcp_lets_in(found, claims_of(environment=f"{environment}x", aud=audience))


def test_a_long_subject_is_not_google_s_own() -> None:
    """google.subject has 127 bytes at most, and a token with a longer one would be refused."""
    short, long = trust(), trust(environment="e" * 200)
    assert short["provider"]["attributeMapping"]["google.subject"] == "assertion.sub"
    assert long["provider"]["attributeMapping"]["google.subject"] == "assertion.jti"


def test_the_binding_is_of_the_deployer_s_account() -> None:
    found = trust()
    account = policy()["service_account"]["accountId"]
    assert found["service_account"] == f"{account}@acme.iam.gserviceaccount.com"
    assert found["binding"]["resource"].endswith(found["service_account"])
    assert found["binding"]["role"] == "roles/iam.workloadIdentityUser"


@pytest.mark.parametrize("repository", ["acme", "acme/shop/x", "acme/*", "acme@1/shop", "a b/c", ""])
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(ProviderError, match="no GitHub repository"):
        trust(repository)


@pytest.mark.parametrize("number", [None, "acme", ""])
def test_federation_needs_the_number_of_the_project(number: str | None) -> None:
    with pytest.raises(ProviderError, match="by its number") as error:
        github_trust(deployment(service(), secrets=SECRETS), "acme/shop", "dev", number=number)
    assert "gcloud projects describe acme" in error.value.hint


def test_a_secret_that_leads_nowhere_is_said() -> None:
    with pytest.raises(ProviderError, match="'aws-sm'"):
        deployer_policy(deployment(service("secret"), secrets={"KEY": "aws-sm:x"}))


def test_the_command_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["permissions", "--cloud", "gcp", "--project", "p", "--region", "europe-west1"]
    arguments += ["--github", "acme/shop", "--account", NUMBER, "-C", str(ROOT / "examples" / "shop")]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policy"]["roles"]
    assert "environment:dev" in found["trust_policy"]["provider"]["attributeCondition"]
