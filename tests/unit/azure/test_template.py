"""The template: what a service becomes on Azure, and that nothing a user writes leaves its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.arm.expressions import PURE, evaluate
from tests.support.azure_schemas import problems
from tests.support.azure_service import SUBSCRIPTION, UNIQUE, Rendered, deployment, template

from pys_multi import JWT, App
from pys_multi import model as m
from pys_multi_providers.azure import grants
from pys_multi_providers.azure.kinds import KINDS
from pys_multi_providers.azure.provider import TEMPLATE, AzureProvider
from pys_multi_tools import load, place, render

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = ("shop", "fastapi-notes")
SUBNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/n/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
SECRETS = {"OWN": "env:OWN", "NAMED": "azure-kv:https://team.vault.azure.net/secrets/named"}


def full() -> App:
    """A service with one of everything."""
    app = App("full")
    jobs, steps, news = app.queue("jobs", visibility=90), app.queue("steps", ordered=True), app.topic("news")
    files, items = app.bucket("files"), app.table("items", key="id", sort="at")
    own, named = app.secret("OWN"), app.secret("NAMED")
    tokens = JWT(issuer="https://login.example", audience="full", jwks_url="https://login.example/keys")
    api = app.function(
        "api", uses=[jobs.send, items.read, files.read, own, named], concurrency=20, azure={"always_ready": 2}
    )
    api.get("/open/{name}", public=True)(lambda name: name)
    api.get("/tokens", auth=tokens)(lambda: None)
    api.get("/private")(lambda: None)
    options: dict[str, Any] = {"max_instances": 7, "vnet": SUBNET, "tags": {"team": "[orders]"}, "always_ready": 1}
    worker = app.function(
        "worker", timeout=20, memory=1024, uses=[news.publish, items.write, files.write], azure=options
    )

    @worker.consume(jobs, batch=50, window=0.5)
    def job(message: Any) -> None: ...

    @worker.consume(steps)
    def step(message: Any) -> None: ...

    @worker.subscribe(news, retries=7)
    def read(message: Any) -> None: ...

    @worker.created(files, prefix="in/", suffix=".csv", retries=1)
    def arrived(event: Any) -> None: ...

    @worker.deleted(files)
    def gone(event: Any) -> None: ...

    @worker.every("15 minutes")
    def often() -> None: ...

    @worker.schedule("0 0 13 * FRI", timezone="Europe/Berlin")
    def unlucky() -> None: ...

    return app


@pytest.fixture(scope="module")
def everything() -> Rendered:
    return template(deployment(full(), secrets=SECRETS, environment={"LOG_LEVEL": "info"}, tags={"cost": "42"}))


def example(name: str) -> str:
    env = {"PYS_MULTI_PYTHON": "3.13", "PYS_MULTI_AZURE_RESOURCE_GROUP": "g", "PYS_MULTI_AZURE_LOCATION": "westeurope"}
    (placement,) = place(load(ROOT / "examples" / name, env=env), ["azure"])
    return render(placement)[TEMPLATE]


# ---- the examples, and what Azure publishes


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_rendered_as_it_was(name: str) -> None:
    """After a change that is meant: python -m tests.unit.azure.test_template"""
    assert example(name) == (GOLDEN / f"{name}.json").read_text()


def found_wrong(rendered: Rendered) -> list[str]:
    return [
        problem
        for entry in rendered.resources
        for problem in problems({**entry["body"], **{key: entry[key] for key in ("type", "apiVersion", "name")}})
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_azure_publishes(name: str) -> None:
    assert found_wrong(Rendered(example(name))) == []


def test_everything_is_what_azure_publishes(everything: Rendered) -> None:
    assert found_wrong(everything) == []
    used = {entry["type"] for entry in everything.resources}
    assert used == set(KINDS.values()) - {KINDS["secret"]}
    protected = template(deployment(full(), secrets=SECRETS, purge_protection=True, redundancy="GZRS"))
    assert found_wrong(protected) == []


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Microsoft.Web/sites", {"properties": {"functionAppConfig": {"runtime": {"name": "cobol"}}}}),
        ("Microsoft.Web/sites", {"properties": {"serverFarmID": "x"}}),
        ("Microsoft.Storage/storageAccounts", {"properties": {"minimumTlsVersion": "TLS9"}}),
        ("Microsoft.ServiceBus/namespaces/queues", {"properties": {"maxDeliveryCount": "4"}}),
        ("Microsoft.Authorization/roleAssignments", {"properties": {"principalId": "x"}}),
    ],
)
def test_the_published_data_refuses_what_is_wrong(kind: str, change: dict[str, Any], everything: Rendered) -> None:
    entry = next(entry for entry in everything.resources if entry["type"] == kind)
    assert problems({**entry["body"], **change, "type": kind, "apiVersion": entry["apiVersion"], "name": "x"})


# ---- what a service becomes


def test_nothing_is_made_that_a_service_has_no_use_for() -> None:
    app = App("small", public=True)
    app.get("/")(lambda: None)
    kinds = {entry["type"] for entry in template(deployment(app)).resources}
    assert not [kind for kind in kinds if kind.startswith(("Microsoft.ServiceBus", "Microsoft.EventGrid"))]
    assert KINDS["vault"] not in kinds
    assert KINDS["table"] not in kinds


def test_where_it_is_put_is_said_or_the_groups(everything: Rendered) -> None:
    app = App("small", public=True)
    app.get("/")(lambda: None)
    rendered = template(deployment(app, location=None))
    assert {b["location"] for b in rendered.of("Microsoft.Web/sites").values()} == {"northeurope"}
    assert {b["location"] for b in everything.of("Microsoft.Web/sites").values()} == {"westeurope"}


def test_everything_that_can_have_tags_says_whose_it_is(everything: Rendered) -> None:
    for entry in everything.resources:
        if "location" in entry["body"]:
            tags = entry["body"]["tags"]
            assert (tags["pys-multi-service"], tags["pys-multi-stage"], tags["cost"]) == ("full", "dev", "42")
    worker = everything.of("Microsoft.Web/sites")[f"full-dev-worker-{UNIQUE}"]
    assert worker["tags"]["team"] == "[orders]"


def test_a_function_is_an_app_with_a_plan_and_an_identity_of_its_own(everything: Rendered) -> None:
    sites = everything.of("Microsoft.Web/sites")
    assert list(sites) == [f"full-dev-api-{UNIQUE}", f"full-dev-worker-{UNIQUE}"]
    for name, site in sites.items():
        assert site["kind"] == "functionapp,linux"
        assert site["properties"]["serverFarmId"].endswith(f"/serverfarms/{name}")
        (identity,) = site["identity"]["userAssignedIdentities"]
        assert identity.endswith(f"/userAssignedIdentities/{name}")
        storage = site["properties"]["functionAppConfig"]["deployment"]["storage"]
        assert storage["authentication"]["userAssignedIdentityResourceId"] == identity
        function = name.removeprefix("full-dev-").removesuffix(f"-{UNIQUE}")
        assert storage["value"] == f"https://fulldevd{UNIQUE}.blob.core.windows.net/pys-multi-package-{function}"
        assert site["properties"]["functionAppConfig"]["runtime"] == {"name": "python", "version": "3.13"}
    for plan in everything.of("Microsoft.Web/serverfarms").values():
        assert plan["sku"] == {"name": "FC1", "tier": "FlexConsumption"}


def test_a_function_is_as_large_and_as_many_as_it_says(everything: Rendered) -> None:
    api, worker = everything.of("Microsoft.Web/sites").values()
    assert api["properties"]["functionAppConfig"]["scaleAndConcurrency"] == {
        "instanceMemoryMB": 512,
        "maximumInstanceCount": 100,
        "alwaysReady": [{"name": "http", "instanceCount": 2}],
        "triggers": {"http": {"perInstanceConcurrency": 20}},
    }
    scale = worker["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    assert (scale["instanceMemoryMB"], scale["maximumInstanceCount"]) == (2048, 7)
    assert {entry["name"] for entry in scale["alwaysReady"]} == {
        f"function:on_{name}" for name in ("job", "step", "read", "arrived", "gone", "often", "unlucky")
    }
    assert worker["properties"]["virtualNetworkSubnetId"] == SUBNET
    assert "virtualNetworkSubnetId" not in api["properties"]


def test_a_function_is_told_what_it_was_granted_and_nothing_else(everything: Rendered) -> None:
    api = everything.variables("api")
    assert json.loads(api["PYS_MULTI_RESOURCES"]) == {
        "NAMED": "PYS_MULTI_SECRET_0",
        "OWN": "PYS_MULTI_SECRET_1",
        "files": f"https://fulldevd{UNIQUE}.blob.core.windows.net/files",
        "items": f"https://fulldevd{UNIQUE}.table.core.windows.net/items",
        "jobs": f"https://full-dev-{UNIQUE}.servicebus.windows.net/jobs",
    }
    named = "@Microsoft.KeyVault(SecretUri=https://team.vault.azure.net/secrets/named)"
    own = f"@Microsoft.KeyVault(SecretUri=https://full-dev-{UNIQUE}.vault.azure.net/secrets/OWN)"
    assert (api["PYS_MULTI_SECRET_0"], api["PYS_MULTI_SECRET_1"]) == (named, own)
    assert (api["PYS_MULTI_FUNCTION"], api["PYS_MULTI_STAGE"], api["LOG_LEVEL"]) == ("api", "dev", "info")
    assert "PYS_MULTI_EVENTS" not in api
    worker = everything.variables("worker")
    assert set(json.loads(worker["PYS_MULTI_RESOURCES"])) == {"files", "items", "news"}


def test_a_function_is_told_where_its_messages_come_from_and_when_its_timers_go_off(everything: Rendered) -> None:
    events = json.loads(everything.variables("worker")["PYS_MULTI_EVENTS"])
    assert events == {
        "worker:job": {"queue": "jobs", "attempts": 4},
        "worker:step": {"queue": "steps", "attempts": 4},
        "worker:read": {"topic": "news", "subscription": "worker-read", "attempts": 8},
        "worker:arrived": {"queue": "for.worker-arrived", "attempts": 2},
        "worker:gone": {"queue": "for.worker-gone", "attempts": 4},
        "worker:often": {"schedule": "0 */15 * * * *"},
        "worker:unlucky": {"schedule": "0 0 22,23 * * *"},
    }
    namespace = everything.of(KINDS["namespace"])
    assert list(namespace) == [f"full-dev-{UNIQUE}"]
    for event in events.values():
        if "queue" in event:
            queue = everything.properties(KINDS["queue"], f"full-dev-{UNIQUE}/{event['queue']}")
            assert queue["maxDeliveryCount"] == event["attempts"]
    (subscription,) = everything.of(KINDS["subscription"]).values()
    assert subscription["properties"]["maxDeliveryCount"] == 8


def test_what_cannot_be_delivered_is_kept(everything: Rendered) -> None:
    queues = everything.of(KINDS["queue"])
    assert len(queues) == 4
    for body in (*queues.values(), *everything.of(KINDS["subscription"]).values()):
        assert body["properties"]["deadLetteringOnMessageExpiration"] is True
    ordered = {name.partition("/")[2]: body["properties"]["requiresSession"] for name, body in queues.items()}
    assert [name for name, value in ordered.items() if value] == ["steps"]
    assert everything.properties(KINDS["queue"], f"full-dev-{UNIQUE}/jobs")["lockDuration"] == "PT1M30S"


@pytest.mark.parametrize(("visibility", "lock"), [(None, "PT1M"), (1, "PT5S"), (61, "PT1M1S"), (43_200, "PT5M")])
def test_a_lock_is_as_long_as_azure_knows(visibility: float | None, lock: str) -> None:
    app = App("locks")
    queue = app.queue("jobs", visibility=visibility)
    app.function("worker", timeout=1).consume(queue)(lambda message: None)
    (body,) = template(deployment(app)).of(KINDS["queue"]).values()
    assert body["properties"]["lockDuration"] == lock


def test_events_of_a_bucket_go_to_a_queue_in_the_name_of_an_identity_that_may_only_send(everything: Rendered) -> None:
    (topic,) = everything.of(KINDS["system_topic"]).values()
    account = f"/storageAccounts/fulldevd{UNIQUE}"
    assert topic["properties"]["source"].endswith(account)
    subscriptions = everything.of(KINDS["event_subscription"])
    assert len(subscriptions) == 2
    arrived = everything.properties(KINDS["event_subscription"], f"full-dev-{UNIQUE}/worker-arrived")
    delivery = arrived["deliveryWithResourceIdentity"]
    assert delivery["destination"]["properties"]["resourceId"].endswith("/queues/for.worker-arrived")
    assert arrived["filter"]["includedEventTypes"] == ["Microsoft.Storage.BlobCreated"]
    assert arrived["filter"]["subjectBeginsWith"] == "/blobServices/default/containers/files/blobs/in/"
    assert arrived["filter"]["subjectEndsWith"] == ".csv"
    bus, storage = f"Microsoft.ServiceBus/namespaces/full-dev-{UNIQUE}", f"Microsoft.Storage{account}"
    assert everything.roles("full-dev") == {
        (grants.BUS_SENDER, f"{bus}/queues/for.worker-arrived"),
        (grants.BUS_SENDER, f"{bus}/queues/for.worker-gone"),
        (grants.BLOB_CONTRIBUTOR, f"{storage}/blobServices/default/containers/pys-multi-undelivered"),
    }


def test_an_identity_may_do_what_was_granted_and_nothing_else(everything: Rendered) -> None:
    bus, account = (
        f"Microsoft.ServiceBus/namespaces/full-dev-{UNIQUE}",
        f"Microsoft.Storage/storageAccounts/fulldevd{UNIQUE}",
    )
    containers, tables = f"{account}/blobServices/default/containers", f"{account}/tableServices/default/tables"

    def always(function: str) -> set[tuple[str, str]]:
        return {
            (grants.BLOB_OWNER, f"Microsoft.Storage/storageAccounts/fulldevh{UNIQUE}"),
            (grants.BLOB_CONTRIBUTOR, f"{containers}/pys-multi-package-{function}"),
            (grants.METRICS_PUBLISHER, f"Microsoft.Insights/components/full-dev-{UNIQUE}"),
        }

    assert everything.roles("full-dev-api") == always("api") | {
        (grants.BUS_SENDER, f"{bus}/queues/jobs"),
        (grants.TABLE_READER, f"{tables}/items"),
        (grants.BLOB_READER, f"{containers}/files"),
        (grants.BLOB_DELEGATOR, account),
        (grants.VAULT_SECRETS_USER, f"Microsoft.KeyVault/vaults/full-dev-{UNIQUE}/secrets/OWN"),
    }
    assert everything.roles("full-dev-worker") == always("worker") | {
        (grants.BUS_RECEIVER, f"{bus}/queues/jobs"),
        (grants.BUS_RECEIVER, f"{bus}/queues/steps"),
        (grants.BUS_RECEIVER, f"{bus}/queues/for.worker-arrived"),
        (grants.BUS_RECEIVER, f"{bus}/queues/for.worker-gone"),
        (grants.BUS_RECEIVER, f"{bus}/topics/news/subscriptions/worker-read"),
        (grants.BUS_SENDER, f"{bus}/topics/news"),
        (grants.TABLE_CONTRIBUTOR, f"{tables}/items"),
        (grants.BLOB_CONTRIBUTOR, f"{containers}/files"),
        (grants.BLOB_DELEGATOR, account),
    }
    assert {role for entry in ("api", "worker") for role, _ in everything.roles(f"full-dev-{entry}")} <= set(
        grants.ASSIGNED
    )


def test_nothing_is_open_and_no_key_opens_anything(everything: Rendered) -> None:
    for account in everything.of(KINDS["account"]).values():
        assert account["properties"]["allowSharedKeyAccess"] is False
        assert account["properties"]["allowBlobPublicAccess"] is False
        assert account["properties"]["minimumTlsVersion"] == "TLS1_2"
    assert {body["properties"]["publicAccess"] for body in everything.of(KINDS["container"]).values()} == {"None"}
    (namespace,) = everything.of(KINDS["namespace"]).values()
    assert namespace["properties"]["disableLocalAuth"] is True
    (insights,) = everything.of(KINDS["insights"]).values()
    assert insights["properties"]["DisableLocalAuth"] is True
    (vault,) = everything.of(KINDS["vault"]).values()
    assert vault["properties"]["enableRbacAuthorization"] is True
    assert {body["properties"]["allow"] for body in everything.of(KINDS["publishing"]).values()} == {False}
    assert len(everything.of(KINDS["publishing"])) == 4
    assert all(site["properties"]["httpsOnly"] for site in everything.of("Microsoft.Web/sites").values())
    words = ("listKeys", "listkeys", "AccountKey", "SharedAccessKey", "connectionString'")
    assert not [word for word in words if word in everything.text]


def test_a_vault_is_purged_with_the_stage_unless_it_must_not_be() -> None:
    (free,) = template(deployment(full(), secrets=SECRETS)).of(KINDS["vault"]).values()
    assert free["properties"]["softDeleteRetentionInDays"] == 7
    assert "enablePurgeProtection" not in free["properties"]
    (kept,) = template(deployment(full(), secrets=SECRETS, purge_protection=True)).of(KINDS["vault"]).values()
    assert (kept["properties"]["softDeleteRetentionInDays"], kept["properties"]["enablePurgeProtection"]) == (90, True)


def test_an_app_waits_for_what_it_needs_from_its_start_on(everything: Rendered) -> None:
    site = next(
        entry
        for entry in everything.resources
        if entry["name"] == f"full-dev-api-{UNIQUE}" and "sites" in entry["type"]
    )
    needs = "\n".join(site["needs"])
    for part in ("serverfarms/full-dev-api", "userassignedidentities/full-dev-api", "containers/pys-multi-package-api"):
        assert part in needs
    assert needs.count("roleassignments") == len(everything.roles("full-dev-api"))


def test_a_change_of_settings_is_seen_in_a_tag() -> None:
    def digest(environment: dict[str, str]) -> str:
        (site,) = template(deployment(app, environment=environment)).of("Microsoft.Web/sites").values()
        found: str = site["tags"]["pys-multi-settings"]
        return found

    app = App("small", public=True)
    app.get("/")(lambda: None)
    assert digest({"LEVEL": "info"}) == digest({"LEVEL": "info"})
    assert digest({"LEVEL": "info"}) != digest({"LEVEL": "debug"})


def test_outputs_say_the_hosts(everything: Rendered) -> None:
    entry = everything.template.text["outputs"]["hosts"]["value"]
    assert set(entry) == {"api", "worker"}


def test_sovereign_clouds_have_addresses_of_their_own() -> None:
    placed = deployment(full(), secrets={**SECRETS, "NAMED": "env:NAMED"}, cloud="china")
    worker = template(placed).variables("worker")
    assert worker["SERVICE_BUS__fullyQualifiedNamespace"] == f"full-dev-{UNIQUE}.servicebus.chinacloudapi.cn"
    api = template(placed).variables("api")
    assert api["PYS_MULTI_SECRET_0"].endswith(".vault.azure.cn/secrets/NAMED)")
    assert ".blob.core.chinacloudapi.cn/" in api["PYS_MULTI_RESOURCES"]
    hosts = f"https://fulldevh{UNIQUE}.blob.core.chinacloudapi.cn"
    assert api["AzureWebJobsStorage__blobServiceUri"] == hosts
    assert "AzureWebJobsStorage__accountName" not in api


# ---- what users write


SYNTAX = (
    "[concat('x')]",
    "[parameters('unique')]",
    "[[x]",
    "[[[x]]",
    "[x",
    "x]",
    "[]",
    "[",
    "['']",
    "''",
    "'",
    "${unique}",
    "@Microsoft.KeyVault(SecretUri=x)",
    "%WEBSITE_NAME%",
    "{0} {{ name }} {% if %}",
    '"quote" \\ \\n',
    "line\nline\r\n\ttab",
    "no",
    "1.10",
    "null",
    "<principalId of api>",
    "🎉 ünïcode \u2028 \x7f",
    "a" * 200,
    "",
)
WRITTEN = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TEXTS = st.one_of(st.text(WRITTEN, max_size=20), st.text("[]'${}uniqe()\\\"\n,", max_size=20), st.sampled_from(SYNTAX))


def hostile_service(texts: list[str]) -> m.Service:
    """A service with user's text wherever there can be some."""
    event = m.ObjectEvent(
        id="api:Ünï", bucket="files", event="created", handler="a.b", prefix=texts[0], suffix=texts[1]
    )
    function = m.Function(
        name="api",
        environment={f"V{number}": text for number, text in enumerate(texts)},
        triggers=(event,),
        options={"azure": {"tags": {f"k{number}": text for number, text in enumerate(texts[:5])}}},
    )
    resources = (m.Bucket(name="files"), m.Table(name="items", key=texts[2] or "k", sort=f"s{texts[3]}"))
    return m.Service(name="hostile", functions=(function,), resources=resources)


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(TEXTS, min_size=25, max_size=40), value=TEXTS)
def test_what_a_user_writes_arrives_as_it_was(texts: list[str], value: str) -> None:
    """More than ten thousand texts; every one comes out of Resource Manager's expressions as it went in."""
    service = hostile_service(texts)
    rendered = template(deployment(service, environment={"PLAIN": value}, tags={"cost": value, value: "named"}))
    function = service.functions[0]
    variables = rendered.variables("api")
    assert {name: variables[name] for name in function.environment} == function.environment
    assert variables["PLAIN"] == value
    (site,) = rendered.of("Microsoft.Web/sites").values()
    tags = function.options["azure"]["tags"]
    assert {name: site["tags"][name] for name in tags} == tags
    assert site["tags"]["cost"] == ("named" if value == "cost" else value)
    assert site["tags"].get(value) in (tags.get(value), "named")
    (subscription,) = rendered.of(KINDS["event_subscription"]).values()
    found = subscription["properties"]["filter"]
    assert found["subjectBeginsWith"] == f"/blobServices/default/containers/files/blobs/{texts[0]}"
    assert found["subjectEndsWith"] == texts[1]
    # Nothing else came of it: the same resources as with harmless text.
    assert [entry["id"] for entry in rendered.resources] == _PLAIN_IDS


_PLAIN_IDS = [entry["id"] for entry in template(deployment(hostile_service(["x"] * 40))).resources]


@pytest.mark.parametrize(
    ("written", "means"),
    [("[[test value]", "[test value]"), ("[test] value", "[test] value"), ("[concat('a', 'b''c')]", "ab'c")],
)
def test_texts_mean_what_azure_says_that_they_mean(written: str, means: str) -> None:
    """The examples of "Syntax and expressions in ARM templates", through what reads templates here."""
    assert evaluate(written, PURE) == means


def test_no_value_of_a_secret_is_in_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN", "canary-5d2a")
    assert "canary-5d2a" not in AzureProvider().render(deployment(full(), secrets=SECRETS))[TEMPLATE]


# ---- stability


def test_a_new_thing_changes_nothing_that_is_there_already() -> None:
    before = {entry["id"]: entry["body"] for entry in template(deployment(full(), secrets=SECRETS)).resources}
    app = full()
    app.table("more", key="id")
    app.function("another", public=True).get("/another")(lambda: None)
    after = {entry["id"]: entry["body"] for entry in template(deployment(app, secrets=SECRETS)).resources}
    assert {id: body for id, body in after.items() if id in before} == before


def test_a_template_is_the_same_every_time_and_whatever_the_order_of_settings() -> None:
    placed = deployment(full(), secrets=SECRETS, environment={"A": "1", "B": "2"})
    other = deployment(full(), secrets=dict(reversed(SECRETS.items())), environment={"B": "2", "A": "1"})
    assert AzureProvider().render(placed) == AzureProvider().render(other)


def test_many_functions_take_no_more_time_each() -> None:
    function = full().service().functions[0]
    many = m.Service(
        name="many",
        functions=tuple(replace(function, name=f"f{number}", grants=()) for number in range(60)),
        resources=full().service().resources,
    )
    rendered = template(deployment(many, secrets=SECRETS))
    assert len(rendered.of("Microsoft.Web/sites")) == 60


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in EXAMPLES:
        (GOLDEN / f"{name}.json").write_text(example(name))
