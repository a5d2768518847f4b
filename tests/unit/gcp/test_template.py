"""The document: what a service becomes on Google Cloud, and that nothing a user writes leaves its place."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gcp_document import Document, check
from tests.support.gcp_service import deployment, document, text

from pys_multi import CORS, JWT, App
from pys_multi import model as m
from pys_multi_providers.gcp.provider import DOCUMENT, GcpProvider
from pys_multi_providers.gcp.settings import GcpOptions
from pys_multi_tools import load, place, render

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = ("shop", "fastapi-notes")
ISSUER = "https://login.example"
SECRETS = {"OWN": "env:OWN", "NAMED": "gcp-sm:named", "FOREIGN": "gcp-sm:projects/other/secrets/foreign/versions/3"}
EVENTS = "full-dev-events-983ae26f@acme.iam.gserviceaccount.com"
PUBSUB = "service-${project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
STORAGE = "service-${project_number}@gs-project-accounts.iam.gserviceaccount.com"


def full() -> App:
    """A service with one of everything."""
    app = App("full", cors=CORS(origins=["https://full.example"]))
    jobs, steps, news = app.queue("jobs", visibility=90), app.queue("steps", ordered=True), app.topic("news")
    later = app.queue("later")
    files, items = app.bucket("files"), app.table("items", key="id", sort="at")
    own, named, foreign = app.secret("OWN"), app.secret("NAMED"), app.secret("FOREIGN")
    tokens = JWT(issuer=ISSUER, audience="full", jwks_url=f"{ISSUER}/.well-known/jwks.json")
    api = app.function(
        "api",
        concurrency=80,
        uses=[jobs.send, later.send, items.read, files.read, own, named, foreign],
        gcp={"min_instances": 1, "max_instances": 5},
    )
    api.get("/open/{name}", public=True)(lambda name: name)
    api.get("/tokens", auth=tokens)(lambda: None)
    api.get("/private")(lambda: None)
    app.function("inner").get("/inner")(lambda: None)
    options: dict[str, Any] = {
        "cpu": 2,
        "ingress": "internal",
        "vpc_connector": "projects/acme/locations/europe-west1/connectors/net",
        "vpc_egress": "all-traffic",
        "labels": {"team": "orders"},
    }
    worker = app.function("worker", timeout=20, memory=1024, uses=[news.publish, items.write, files.write], gcp=options)
    worker.consume(jobs, batch=50, window=0.5)(take)
    worker.consume(steps)(step)
    worker.subscribe(news, retries=7)(read)
    worker.created(files, prefix="in/", suffix=".csv", retries=1)(made)
    worker.deleted(files)(gone)
    worker.every("15 minutes")(often)
    worker.schedule("0 0 13 * FRI", timezone="Europe/Berlin")(unlucky)
    return app


def take(message: Any) -> None: ...
def step(message: Any) -> None: ...
def read(message: Any) -> None: ...
def made(event: Any) -> None: ...
def gone(event: Any) -> None: ...
def often() -> None: ...
def unlucky() -> None: ...


@pytest.fixture(scope="module")
def everything() -> Document:
    placed = deployment(
        full(),
        secrets=SECRETS,
        environment={"LOG_LEVEL": "info"},
        labels={"cost-centre": "42"},
        invokers=["user:ann@acme.example", "serviceAccount:caller@acme.iam.gserviceaccount.com"],
        build_service_account="builder@acme.iam.gserviceaccount.com",
    )
    return document(placed)


def example(name: str) -> str:
    flags = {"gcp.project": "p", "gcp.region": "europe-west1"}
    (placement,) = place(load(ROOT / "examples" / name, env={"PYS_MULTI_PYTHON": "3.13"}, flags=flags), ["gcp"])
    return render(placement)[DOCUMENT]


# ---- the examples


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_rendered_as_it_was(name: str) -> None:
    """After a change that is meant: python -m tests.unit.gcp.test_template"""
    found = example(name)
    Document(found)
    assert found == (GOLDEN / f"{name}.json").read_text()


def test_the_schemas_refuse_what_google_would() -> None:
    """So that the rest of these tests says something."""
    for wrong in (
        {"unknown": 1},
        {"environment": "GEN_3"},
        {"state": "ACTIVE"},
        {"serviceConfig": {"timeoutSeconds": "60"}},
        {"labels": {"Team": "x"}},
        {"serviceConfig": {"revision": "x"}},
    ):
        with pytest.raises(AssertionError):
            check("cloudfunctions.v2", "Function", wrong)
    with pytest.raises(AssertionError):
        check("pubsub.v1", "Subscription", {"messageRetentionDuration": "7 days"})


# ---- functions


def test_a_function_is_what_the_service_says(everything: Document) -> None:
    api, worker = everything.body("function:api"), everything.body("function:worker")
    assert everything.entries["function:api"]["name"] == "projects/acme/locations/europe-west1/functions/full-dev-api"
    assert api["environment"] == "GEN_2"
    assert api["buildConfig"] == {
        "runtime": "python313",
        "entryPoint": "handler",
        "serviceAccount": "projects/acme/serviceAccounts/builder@acme.iam.gserviceaccount.com",
    }
    config = api["serviceConfig"]
    assert (config["availableMemory"], config["availableCpu"], config["timeoutSeconds"]) == ("256Mi", "1", 30)
    assert (config["minInstanceCount"], config["maxInstanceCount"]) == (1, 5)
    assert config["maxInstanceRequestConcurrency"] == 80
    assert config["serviceAccountEmail"] == "full-dev-api@acme.iam.gserviceaccount.com"
    assert config["ingressSettings"] == "ALLOW_ALL"
    assert "vpcConnector" not in config
    config = worker["serviceConfig"]
    assert (config["availableMemory"], config["availableCpu"]) == ("1024Mi", "2")
    # As long as events may take: 51 requests come at once, and each waits for its turn of 20 seconds.
    assert config["timeoutSeconds"] == 540
    assert (config["ingressSettings"], config["vpcConnectorEgressSettings"]) == ("ALLOW_INTERNAL_ONLY", "ALL_TRAFFIC")
    assert worker["labels"] == {
        "cost-centre": "42",
        "team": "orders",
        "pys-multi-service": "full",
        "pys-multi-stage": "dev",
    }
    # The engine adds which build it runs.
    assert "source" not in api["buildConfig"]
    assert "pys-multi-build" not in api["labels"]


def test_an_instance_takes_every_request_of_a_batch_at_once(everything: Document) -> None:
    config = everything.body("function:worker")["serviceConfig"]
    assert config["maxInstanceRequestConcurrency"] == 51
    assert everything.variables("worker")["THREADS"] == "51"
    assert everything.body("function:inner")["serviceConfig"]["maxInstanceRequestConcurrency"] == 1


@pytest.mark.parametrize(
    ("memory", "concurrency", "cpu"),
    [
        *((128, 1, "0.083"), (256, 1, "0.167"), (512, 1, "0.333"), (1024, 1, "0.583"), (2048, 1, "1")),
        *((4096, 1, "2"), (8192, 1, "2"), (16_384, 1, "4"), (32_768, 1, "8"), (129, 1, "0.167")),
        *((128, 2, "1"), (1024, 16, "1"), (4096, 80, "2")),
    ],
)
def test_processors_go_with_the_memory(memory: int, concurrency: int, cpu: str) -> None:
    app = App("shop", public=True)
    app.function("api", memory=memory, concurrency=concurrency).get("/")(lambda: None)
    placed = deployment(app)
    assert GcpProvider().check(placed) == []
    assert document(placed).body("function:api")["serviceConfig"]["availableCpu"] == cpu


def test_a_time_of_part_of_a_second_is_rounded_up() -> None:
    app = App("shop", public=True)
    app.function("api", timeout=0.5).get("/")(lambda: None)
    assert document(deployment(app)).body("function:api")["serviceConfig"]["timeoutSeconds"] == 1


def test_a_function_is_told_what_it_was_granted_and_nothing_else(everything: Document) -> None:
    api = everything.variables("api")
    assert json.loads(api["PYS_MULTI_RESOURCES"]) == {
        "FOREIGN": "PYS_MULTI_SECRET_0",
        "NAMED": "PYS_MULTI_SECRET_1",
        "OWN": "PYS_MULTI_SECRET_2",
        "files": everything.entries["bucket:files"]["name"],
        "items": "projects/acme/databases/full-dev/documents/items",
        "jobs": "projects/acme/topics/full-dev-jobs",
        "later": "projects/acme/topics/full-dev-later",
    }
    assert (api["PYS_MULTI_FUNCTION"], api["PYS_MULTI_STAGE"], api["LOG_LEVEL"]) == ("api", "dev", "info")
    assert set(json.loads(everything.variables("worker")["PYS_MULTI_RESOURCES"])) == {"files", "items", "news"}
    assert "PYS_MULTI_RESOURCES" not in everything.variables("inner")


def test_secrets_come_from_secret_manager_by_reference(everything: Document) -> None:
    assert everything.body("function:api")["serviceConfig"]["secretEnvironmentVariables"] == [
        {"key": "PYS_MULTI_SECRET_0", "projectId": "other", "secret": "foreign", "version": "3"},
        {"key": "PYS_MULTI_SECRET_1", "projectId": "acme", "secret": "named", "version": "latest"},
        {"key": "PYS_MULTI_SECRET_2", "projectId": "acme", "secret": "full-dev-OWN", "version": "latest"},
    ]
    # Those of others are read, and never made.
    assert set(everything.of_kind("secrets")) == {"secret:OWN"}
    assert everything.body("secret:OWN")["replication"] == {"userManaged": {"replicas": [{"location": "europe-west1"}]}}


def test_the_runtime_is_told_of_its_events(everything: Document) -> None:
    about = json.loads(everything.variables("worker")["PYS_MULTI_EVENTS"])
    assert about["caller"] == EVENTS
    assert about["attempts"] == {
        "worker:take": 4,
        "worker:step": 4,
        "worker:read": 8,
        "worker:made": 2,
        "worker:gone": 4,
    }
    assert about["batches"] == {"worker:take": [50, 0.5]}
    assert about["topics"] == {
        "worker:take": "projects/acme/topics/full-dev-jobs",
        "worker:step": "projects/acme/topics/full-dev-steps",
    }
    assert about["dead"]["worker:take"] == "projects/acme/topics/full-dev-jobs.dead"
    assert about["dead"]["worker:made"] == "projects/acme/topics/full-dev.worker.made.dead"
    assert json.loads(everything.variables("api")["PYS_MULTI_EVENTS"]) == {"caller": EVENTS}


# ---- who may do what


def test_an_account_has_what_was_granted_and_nothing_else(everything: Document) -> None:
    bucket = everything.entries["bucket:files"]["name"]
    own = "projects/acme/serviceAccounts/full-dev-{0}@acme.iam.gserviceaccount.com"
    assert everything.granted("full-dev-api@acme.iam.gserviceaccount.com") == {
        "projects/acme/topics/full-dev-jobs": {"roles/pubsub.publisher"},
        "projects/acme/topics/full-dev-later": {"roles/pubsub.publisher"},
        "projects/acme": {"roles/datastore.viewer"},
        bucket: {"roles/storage.objectViewer"},
        own.format("api"): {"roles/iam.serviceAccountTokenCreator"},
        "projects/acme/secrets/full-dev-OWN": {"roles/secretmanager.secretAccessor"},
        "projects/acme/secrets/named": {"roles/secretmanager.secretAccessor"},
        "projects/other/secrets/foreign": {"roles/secretmanager.secretAccessor"},
    }
    dead = {
        f"projects/acme/topics/{name}.dead": {"roles/pubsub.publisher"}
        for name in (
            *("full-dev-jobs", "full-dev-steps", "full-dev.worker.read"),
            *("full-dev.worker.made", "full-dev.worker.gone"),
        )
    }
    assert everything.granted("full-dev-worker@acme.iam.gserviceaccount.com") == {
        **dead,
        # What has a delay is sent anew when it is due.
        "projects/acme/topics/full-dev-jobs": {"roles/pubsub.publisher"},
        "projects/acme/topics/full-dev-steps": {"roles/pubsub.publisher"},
        "projects/acme/topics/full-dev-news": {"roles/pubsub.publisher"},
        "projects/acme": {"roles/datastore.user"},
        bucket: {"roles/storage.legacyBucketWriter"},
        own.format("worker"): {"roles/iam.serviceAccountTokenCreator"},
    }
    assert everything.granted("full-dev-inner@acme.iam.gserviceaccount.com") == {}


@pytest.mark.parametrize(
    ("verbs", "role"),
    [
        (("get",), "objectViewer"),
        (("exists", "get", "list"), "objectViewer"),
        (("put",), "legacyBucketWriter"),
        (("delete", "list", "put"), "legacyBucketWriter"),
        (("get", "put"), "objectUser"),
        (("delete", "exists"), "objectUser"),
    ],
)
def test_a_bucket_s_role_is_the_narrowest_that_does(verbs: tuple[str, ...], role: str) -> None:
    function = m.Function(name="f", grants=(m.Grant(resource="files", verbs=verbs),))
    service = m.Service(name="shop", functions=(function,), resources=(m.Bucket(name="files"),))
    found = document(deployment(service))
    granted = found.granted("shop-dev-f@acme.iam.gserviceaccount.com")
    assert granted[found.entries["bucket:files"]["name"]] == {f"roles/storage.{role}"}


@pytest.mark.parametrize(
    ("verbs", "role"),
    [(("get",), "viewer"), (("get", "query"), "viewer"), (("put",), "user"), (("get", "update"), "user")],
)
def test_a_table_s_role_is_the_narrowest_that_does(verbs: tuple[str, ...], role: str) -> None:
    function = m.Function(name="f", grants=(m.Grant(resource="items", verbs=verbs),))
    service = m.Service(name="shop", functions=(function,), resources=(m.Table(name="items", key="id"),))
    granted = document(deployment(service)).granted("shop-dev-f@acme.iam.gserviceaccount.com")
    assert granted == {"projects/acme": {f"roles/datastore.{role}"}}


def test_a_role_of_the_project_holds_for_the_database_alone(everything: Document) -> None:
    found = [entry for entry in everything.entries.values() if entry["name"] == "projects/acme"]
    assert len(found) == 2
    for entry in found:
        assert entry["condition"]["expression"] == (
            'resource.type == "firestore.googleapis.com/Database" && '
            'resource.name == "projects/acme/databases/full-dev"'
        )


def test_everybody_may_call_only_where_a_route_says_so(everything: Document) -> None:
    services = "projects/acme/locations/europe-west1/services/full-dev-"
    assert everything.granted("allUsers") == {f"{services}api": {"roles/run.invoker"}}
    assert everything.granted(EVENTS) == {f"{services}worker": {"roles/run.invoker"}}
    assert everything.granted("user:ann@acme.example") == {f"{services}inner": {"roles/run.invoker"}}
    # Behind an open door the function itself looks at who calls.
    assert json.loads(everything.variables("api")["PYS_MULTI_INVOKERS"]) == [
        "ann@acme.example",
        "caller@acme.iam.gserviceaccount.com",
    ]
    assert "PYS_MULTI_INVOKERS" not in everything.variables("inner")


def test_google_s_agents_may_deliver_and_nothing_else(everything: Document) -> None:
    found = everything.granted(PUBSUB)
    account = f"projects/acme/serviceAccounts/{EVENTS}"
    assert found.pop(account) == {"roles/iam.serviceAccountOpenIdTokenCreator"}
    subscriptions = {name for name in found if "/subscriptions/" in name}
    pushed = {
        everything.entries[id]["name"]
        for id, body in everything.of_kind("subscriptions").items()
        if body.get("pushConfig")
    }
    assert subscriptions == pushed
    assert all(found[name] == {"roles/pubsub.subscriber"} for name in subscriptions)
    dead = {everything.entries[id]["name"] for id in everything.of_kind("topics") if id.startswith("dead-topic:")}
    assert found.keys() - subscriptions == dead
    assert everything.granted(STORAGE) == {
        f"projects/acme/topics/full-dev.worker.{name}": {"roles/pubsub.publisher"} for name in ("made", "gone")
    }


def test_no_role_is_basic_and_none_is_of_a_whole_project(everything: Document) -> None:
    for entry in everything.entries.values():
        if "role" in entry:
            assert entry["role"] not in ("roles/owner", "roles/editor", "roles/viewer")
            assert entry["name"] != "projects/acme" or "condition" in entry


# ---- queues, topics, buckets, tables


def test_a_queue_is_pushed_to_its_consumer(everything: Document) -> None:
    jobs = everything.body("subscription:jobs")
    address = "${function:worker:serviceConfig.uri}"
    assert jobs["topic"] == "projects/acme/topics/full-dev-jobs"
    assert jobs["pushConfig"] == {
        "pushEndpoint": f"{address}/.pys-multi/events/worker%3Atake",
        "oidcToken": {"serviceAccountEmail": EVENTS, "audience": address},
    }
    assert (jobs["ackDeadlineSeconds"], jobs["enableMessageOrdering"]) == (90, False)
    assert jobs["deadLetterPolicy"] == {
        "deadLetterTopic": "projects/acme/topics/full-dev-jobs.dead",
        "maxDeliveryAttempts": 100,
    }
    assert everything.body("subscription:steps")["enableMessageOrdering"] is True
    assert everything.body("subscription:steps")["ackDeadlineSeconds"] == 600
    assert everything.body("subscription:worker:read")["deadLetterPolicy"]["maxDeliveryAttempts"] == 100


def test_a_queue_that_nobody_consumes_keeps_its_messages(everything: Document) -> None:
    later = everything.body("subscription:later")
    assert later["pushConfig"] == {}
    assert "deadLetterPolicy" not in later
    assert later["messageRetentionDuration"] == f"{31 * 86_400}s"


def test_no_subscription_ends_by_itself(everything: Document) -> None:
    """Pub/Sub deletes one that is not used for 31 days where nothing else is said."""
    for body in everything.of_kind("subscriptions").values():
        assert body["expirationPolicy"] == {}


def test_a_bucket_tells_a_topic_of_the_trigger(everything: Document) -> None:
    made, gone = everything.body("notification:worker:made"), everything.body("notification:worker:gone")
    assert made == {
        "topic": "//pubsub.googleapis.com/projects/acme/topics/full-dev.worker.made",
        "event_types": ["OBJECT_FINALIZE"],
        "object_name_prefix": "in/",
        "payload_format": "JSON_API_V1",
        "custom_attributes": {"pys-multi-service": "full", "pys-multi-stage": "dev"},
    }
    assert gone["event_types"] == ["OBJECT_DELETE"]
    assert "object_name_prefix" not in gone
    assert everything.entries["notification:worker:made"]["name"] == everything.entries["bucket:files"]["name"]


def test_buckets_and_the_database_are_closed_and_kept(everything: Document) -> None:
    bucket, database = everything.body("bucket:files"), everything.body("database")
    assert bucket["iamConfiguration"] == {
        "uniformBucketLevelAccess": {"enabled": True},
        "publicAccessPrevention": "enforced",
    }
    assert bucket["location"] == "EUROPE-WEST1"
    assert (database["type"], database["locationId"]) == ("FIRESTORE_NATIVE", "europe-west1")
    assert database["deleteProtectionState"] == "DELETE_PROTECTION_ENABLED"
    assert (
        document(deployment(full(), secrets=SECRETS, database_location="eur3")).body("database")["locationId"] == "eur3"
    )


def test_items_are_not_indexed(everything: Document) -> None:
    """Nothing asks for a value in them, and an index entry for each would cost room, time and money."""
    entry = everything.entries["index:items"]
    assert entry["name"] == everything.entries["database"]["name"] + "/collectionGroups/items/fields/item"
    assert (entry["body"], entry["after"]) == ({"indexConfig": {"indexes": []}}, ["database"])


def test_logs_are_kept_for_a_time_of_their_own_where_asked(everything: Document) -> None:
    assert not {"log-bucket", "log-sink"} & everything.entries.keys()
    found = document(deployment(full(), secrets=SECRETS, log_retention_days=400))
    bucket, sink = found.entries["log-bucket"], found.body("log-sink")
    assert bucket["name"] == "projects/acme/locations/europe-west1/buckets/full-dev"
    assert bucket["body"] == {"description": "pys-multi full/dev: logs of its functions", "retentionDays": 400}
    assert bucket["holds_data"]
    assert found.entries["log-sink"]["name"] == "projects/acme/sinks/full-dev"
    assert sink["destination"] == f"logging.googleapis.com/{bucket['name']}"
    assert sink["filter"] == (
        'resource.type="cloud_run_revision" AND resource.labels.location="europe-west1" '
        'AND resource.labels.service_name=("full-dev-api" OR "full-dev-inner" OR "full-dev-worker")'
    )
    assert set(found.entries) - set(everything.entries) >= {"log-bucket", "log-sink"}


def test_what_holds_data_says_so(everything: Document) -> None:
    held = {id for id, entry in everything.entries.items() if entry.get("holds_data")}
    assert held == {
        *("bucket:files", "database"),
        *(f"{kind}:{queue}" for kind in ("topic", "subscription") for queue in ("jobs", "steps", "later")),
        *(
            f"dead-{kind}:{name}"
            for kind in ("topic", "subscription")
            for name in ("jobs", "steps", "worker:read", "worker:made", "worker:gone")
        ),
    }


def test_everything_that_can_be_labelled_says_whose_it_is(everything: Document) -> None:
    for kind in ("functions", "topics", "subscriptions", "buckets", "secrets"):
        for body in everything.of_kind(kind).values():
            assert body["labels"]["pys-multi-service"] == "full"
            assert body["labels"]["pys-multi-stage"] == "dev"
            assert body["labels"]["cost-centre"] == "42"
    for kind in ("jobs", "serviceAccounts"):
        for body in everything.of_kind(kind).values():
            assert body["description"].startswith("pys-multi full/dev: ")


# ---- schedules


def test_schedules_call_the_function_in_their_time_zone(everything: Document) -> None:
    jobs = everything.of_kind("jobs")
    assert {id: (job["schedule"], job["timeZone"]) for id, job in jobs.items()} == {
        "job:worker:often": ("*/15 * * * *", "UTC"),
        "job:worker:unlucky": ("0 0 13 * *", "Europe/Berlin"),
        "job:worker:unlucky#2": ("0 0 * * 5", "Europe/Berlin"),
    }
    for job in jobs.values():
        target = job["httpTarget"]
        assert target["uri"].startswith("${function:worker:serviceConfig.uri}/.pys-multi/events/worker%3A")
        assert target["oidcToken"] == {
            "serviceAccountEmail": EVENTS,
            "audience": "${function:worker:serviceConfig.uri}",
        }
        assert job["attemptDeadline"] == "600s"
        assert json.loads(base64.b64decode(target["body"]))["event"] == {"kind": "schedule"}
    second = json.loads(base64.b64decode(jobs["job:worker:unlucky#2"]["httpTarget"]["body"]))
    assert second["unless"] == {"expression": "0 0 13 * *", "timezone": "Europe/Berlin"}


@pytest.mark.parametrize(("timeout", "deadline"), [(1, "61s"), (1000, "1060s"), (1790, "1800s")])
def test_scheduler_waits_as_long_as_a_run_may_take(timeout: float, deadline: str) -> None:
    app = App("shop")
    app.function("worker", timeout=timeout).every("1 hour")(often)
    assert document(deployment(app)).body("job:worker:often")["attemptDeadline"] == deadline


# ---- the bundle


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_document_and_bundle_are_for_the_same_runtime(python: str) -> None:
    placed = deployment(full(), secrets=SECRETS, python=python)
    runtime = document(placed).body("function:api")["buildConfig"]["runtime"]
    assert runtime == f"python{python.replace('.', '')}"
    target = GcpProvider().target(placed)
    assert (target.python, target.architecture, target.system) == (python, "x86_64", "linux")
    assert set(target.files) == {"main.py"}


# ---- stability


def test_rendering_again_gives_the_same_bytes() -> None:
    assert text(deployment(full(), secrets=SECRETS)) == text(deployment(full(), secrets=SECRETS))


def test_a_new_thing_changes_nothing_that_is_there_already() -> None:
    before = document(deployment(full(), secrets=SECRETS)).entries
    app = full()
    app.table("more", key="id")
    app.function("another", public=True).get("/another")(lambda: None)
    after = document(deployment(app, secrets=SECRETS)).entries
    assert {id: entry for id, entry in after.items() if id in before} == before


def test_a_change_of_code_changes_nothing_in_the_document() -> None:
    placed = deployment(full(), secrets=SECRETS)
    functions = tuple(
        replace(f, triggers=tuple(replace(t, handler="elsewhere:other") for t in f.triggers))
        for f in placed.service.functions
    )
    assert text(replace(placed, service=replace(placed.service, functions=functions))) == text(placed)


def test_no_value_of_a_secret_is_in_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN", "canary-5d2a")
    assert "canary-5d2a" not in text(deployment(full(), secrets=SECRETS))


def test_options_that_no_test_here_sets_do_not_exist() -> None:
    options = {"cpu", "min_instances", "max_instances", "ingress", "vpc_connector", "vpc_egress", "labels"}
    assert set(GcpOptions.model_fields) == options


# ---- what users write

SYNTAX = (
    "${project_number}",
    "${function:api:serviceConfig.uri}",
    "$${x}",
    "${",
    "{{ name }} {% if %}",
    "\"quote\" 'quote' \\ \\n",
    "line\nline\r\n\ttab",
    "!Ref x: - no",
    "no",
    "1.10",
    "null",
    "🎉 ünïcode \u2028 \x7f",
    "a" * 200,
    "",
)
WRITTEN = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TEXTS = st.one_of(st.text(WRITTEN, max_size=20), st.sampled_from(SYNTAX))
IDENTIFIERS = st.from_regex(r"[A-Za-z_éü][A-Za-z0-9_éü]{0,60}", fullmatch=True)


def hostile_service(texts: list[str], handlers: list[str]) -> m.Service:
    """A service with user's text wherever there can be some."""
    environment = {f"V{number}": written for number, written in enumerate(texts)}
    ids = [f"api:{handler}-{number}" for number, handler in enumerate(handlers)]
    triggers: list[m.Trigger] = [
        m.ObjectEvent(id=ids[0], bucket="files", event="created", handler="h", prefix=texts[0], suffix=texts[1]),
        m.Schedule(id=ids[1], expression="0 6 * * *", handler="h", timezone="Europe/Berlin"),
        m.Consume(id=ids[2], queue="jobs", handler="h"),
        m.Subscribe(id=ids[3], topic="news", handler="h"),
    ]
    function = m.Function(
        name="api",
        environment=environment,
        triggers=tuple(triggers),
        grants=(m.Grant(resource="files", verbs=("get",)), m.Grant(resource="items", verbs=("put",))),
    )
    resources = (
        m.Bucket(name="files"),
        m.Queue(name="jobs"),
        m.Topic(name="news"),
        m.Table(name="items", key=texts[2]),
    )
    return m.Service(name="hostile", functions=(function,), resources=resources)


@settings(max_examples=400, deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=25, max_size=40),
    handlers=st.lists(IDENTIFIERS, min_size=4, max_size=4),
    value=TEXTS,
)
def test_what_a_user_writes_arrives_as_it_was(texts: list[str], handlers: list[str], value: str) -> None:
    """More than ten thousand texts; every one is what and where it was, in a document that is still valid."""
    service = hostile_service(texts, handlers)
    found = document(deployment(service, environment={"PLAIN": value}))
    variables = found.variables("api")
    assert {name: variables[name] for name in service.functions[0].environment} == service.functions[0].environment
    assert variables["PLAIN"] == value
    ids = [trigger.id for trigger in service.functions[0].triggers]
    assert found.body(f"notification:{ids[0]}").get("object_name_prefix", "") == texts[0]
    assert set(json.loads(variables["PYS_MULTI_EVENTS"])["dead"]) == {ids[0], ids[2], ids[3]}
    # Nothing else came of it: as many resources as with harmless text, of the same kinds.
    assert sorted(entry["kind"] for entry in found.entries.values()) == _PLAIN_KINDS
    names = [(entry["kind"], entry["name"], entry.get("role")) for entry in found.entries.values()]
    assert len(set(names)) == len(names)


_PLAIN_KINDS = sorted(
    entry["kind"]
    for entry in document(
        deployment(hostile_service(["x"] * 25, ["a", "b", "c", "d"]), environment={})
    ).entries.values()
)


# ---- size


def large(count: int) -> m.Service:
    """Functions with three triggers each."""
    functions = tuple(
        m.Function(
            name=f"f{number}",
            triggers=(
                m.Route(id=f"f{number}:GET", method="GET", path=f"/f{number}/{{id}}", handler="h", public=True),
                m.Consume(id=f"f{number}:take", queue=f"q{number}", handler="h"),
                m.Schedule(id=f"f{number}:run", expression="0 6 * * *", handler="h"),
            ),
            grants=(m.Grant(resource=f"q{number}", verbs=("send",)),),
        )
        for number in range(count)
    )
    return m.Service(
        name="large", functions=functions, resources=tuple(m.Queue(name=f"q{number}") for number in range(count))
    )


def test_a_large_service_is_rendered_whole() -> None:
    found = json.loads(text(deployment(large(1000))))["resources"]
    kinds = [entry["kind"].rpartition(".")[2] for entry in found]
    assert (kinds.count("functions"), kinds.count("jobs"), kinds.count("subscriptions")) == (1000, 1000, 2000)


if __name__ == "__main__":
    for name in EXAMPLES:
        (GOLDEN / f"{name}.json").write_text(example(name))
    began = time.perf_counter()
    text(deployment(large(1000)))
    print(f"1,000 functions: {time.perf_counter() - began:.2f} s")
