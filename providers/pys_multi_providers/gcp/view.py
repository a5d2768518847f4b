"""From a service and its settings to what the document needs; pure.

The document names no build: the engine adds which bundle a function runs. What is known only once another resource is
there, such as a function's address, is a reference to it, ``${function:api:serviceConfig.uri}``. It says who may do
what beside the resources: one entry for each role on each resource.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pys_multi.model import (
    Bucket,
    Consume,
    Function,
    Mount,
    ObjectEvent,
    Queue,
    Route,
    Schedule,
    Service,
    Subscribe,
    Table,
    Topic,
)
from pys_multi_providers.gcp import cron, grants
from pys_multi_providers.gcp.access import Access
from pys_multi_providers.gcp.names import Names
from pys_multi_providers.gcp.secrets import sources
from pys_multi_providers.gcp.settings import GcpSettings, options_of
from pys_multi_providers.gcp.sizing import (
    MAX_ATTEMPTS,
    MIN_ACK,
    ack_deadline,
    concurrency_of,
    cpu_of,
    run_deadline,
    time_of,
)
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.errors import ProviderError

Json = dict[str, Any]

#: Path of everything that is no user's request; the id of its trigger follows.
EVENTS_PATH = "/.pys-multi/events/"
_AGENTS = {
    "pubsub": "serviceAccount:service-${project_number}@gcp-sa-pubsub.iam.gserviceaccount.com",
    "storage": "serviceAccount:service-${project_number}@gs-project-accounts.iam.gserviceaccount.com",
}
_INGRESS = {"all": "ALLOW_ALL", "internal": "ALLOW_INTERNAL_ONLY", "internal-and-gclb": "ALLOW_INTERNAL_AND_GCLB"}
_EGRESS = {"private-ranges-only": "PRIVATE_RANGES_ONLY", "all-traffic": "ALL_TRAFFIC"}
_STORAGE_EVENTS = {"created": "OBJECT_FINALIZE", "deleted": "OBJECT_DELETE"}

_TOPICS, _SUBSCRIPTIONS = "pubsub.v1.projects.topics", "pubsub.v1.projects.subscriptions"
_ACCOUNTS, _BUCKETS = "iam.v1.projects.serviceAccounts", "storage.v1.buckets"
_SERVICES, _PROJECTS = "run.v2.projects.locations.services", "cloudresourcemanager.v3.projects"
_SECRETS = "secretmanager.v1.projects.secrets"

PROJECT_HINT = 'add --project ID, set GOOGLE_CLOUD_PROJECT, or write project = "ID" under [tool.pys-multi.gcp]'
REGION_HINT = (
    "add --region NAME, such as europe-west1, set GOOGLE_CLOUD_REGION, or write region under [tool.pys-multi.gcp]"
)


def view(deployment: Deployment) -> Json:
    """The context of ``gcp/resources.json.j2``. Raises ProviderError where no project or region is named."""
    return _View(deployment).context()


def settings_of(deployment: Deployment) -> GcpSettings:
    """The provider's own settings of a deployment."""
    if not isinstance(deployment.settings, GcpSettings):
        raise TypeError(f"settings of the gcp provider are GcpSettings, not {type(deployment.settings).__name__}")
    return deployment.settings


def place_of(deployment: Deployment) -> tuple[str, str]:
    """Project and region. Raises ProviderError where one is not named."""
    region = settings_of(deployment).region
    if not region:
        raise ProviderError("no region is named", where="gcp", hint=REGION_HINT)
    return names_of(deployment).project, region


def names_of(deployment: Deployment) -> Names:
    """What the things of a deployment are called. Raises ProviderError where no project is named."""
    project = settings_of(deployment).project
    if not project:
        raise ProviderError("no project is named", where="gcp", hint=PROJECT_HINT)
    return Names(deployment.service.name, deployment.stage, project)


def main_of(deployment: Deployment) -> str:
    """The file that functions-framework loads: main.py, unless the project has a module of that name itself."""
    root = deployment.project.root
    taken = any((root / folder / name).exists() for folder in ("", "src") for name in ("main.py", "main"))
    return "pys_multi_main.py" if taken else "main.py"


def environments_of(deployment: Deployment) -> Iterator[tuple[Function, dict[str, str]]]:
    """The environment of each function, as the document has it."""
    whole = _View(deployment)
    return ((function, whole.variables(function)) for function in deployment.service.functions)


def is_open(function: Function) -> bool:
    """Whether strangers may call one of its routes: then everybody may call all of them, and the function itself finds
    out who does."""
    return any(isinstance(t, Route | Mount) and (t.public or bool(t.auth)) for t in function.triggers)


def private_routes(function: Function) -> list[Route | Mount]:
    """Its routes that strangers may not call."""
    return [t for t in function.triggers if isinstance(t, Route | Mount) and not t.public and not t.auth]


def is_invoked(function: Function) -> bool:
    """Whether events come to it."""
    return any(not isinstance(trigger, Route | Mount) for trigger in function.triggers)


def log_filter(region: str, functions: list[str]) -> str:
    """What logs of functions are, in the query language of Cloud Logging. functions: as they are called there."""
    listed = " OR ".join(f'"{name}"' for name in functions)
    return (
        f'resource.type="cloud_run_revision" AND resource.labels.location="{region}" '
        f"AND resource.labels.service_name=({listed})"
    )


class _View:
    """One deployment, while it is looked at."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.service: Service = deployment.service
        self.settings = settings_of(deployment)
        self.project, self.region = place_of(deployment)
        self.names = names_of(deployment)
        self.resources = {resource.name: resource for resource in self.service.resources}
        self.secrets = sources(deployment)
        self.environment = dict(deployment.project.settings.environment)
        self.labels = {**self.settings.labels, **self.names.labels}
        self.events = self.names.email(self.names.events_account)
        self.consumers = {
            trigger.queue: (function, trigger)
            for function in self.service.functions
            for trigger in function.triggers
            if isinstance(trigger, Consume)
        }
        self.access = Access()

    def context(self) -> Json:
        functions = [self.function(function) for function in self.service.functions]
        topics = [self.topic(r.name, r.kind == "queue") for r in self.service.resources if isinstance(r, Queue | Topic)]
        subscriptions = [
            *(self.queue(resource) for resource in self.service.resources if isinstance(resource, Queue)),
            *(self.inbox(function, trigger) for function, trigger in self.told()),
        ]
        tables = [resource for resource in self.service.resources if isinstance(resource, Table)]
        jobs = [job for function in self.service.functions for job in self.jobs(function)]
        self.grant_events(subscriptions)
        for function in self.service.functions:
            self.grant_calls(function)
            self.grant_uses(function)
        return {
            "project": self.project,
            "region": self.region,
            "service": self.service.name,
            "stage": self.deployment.stage,
            "labels": self.labels,
            "functions": functions,
            "events_account": {
                "name": self.account(self.names.events_account),
                "display": _cut(f"{self.service.name} {self.deployment.stage}: events", 100),
                "description": f"{self.names.owner}: calls its functions in the name of queues, buckets and schedules",
            },
            "events": self.events,
            "topics": topics,
            "subscriptions": subscriptions,
            "buckets": [self.bucket(r.name) for r in self.service.resources if isinstance(r, Bucket)],
            "notifications": [self.notification(f, t) for f, t in self.told() if isinstance(t, ObjectEvent)],
            "database": self.database() if tables else None,
            "tables": [
                {"id": f"index:{table.name}", "name": f"{self.database_name}/collectionGroups/{table.name}/fields/item"}
                for table in tables
            ],
            "logs": self.logs(),
            "secrets": [
                {"id": f"secret:{name}", "name": self.secret(name)}
                for name, source in self.secrets.items()
                if source.is_ours
            ],
            "jobs": jobs,
            "bindings": self.access.bindings(),
        }

    # ---- functions

    def function(self, function: Function) -> Json:
        options = options_of(function)
        what = f"function {function.name} of {self.service.name}, stage {self.deployment.stage}"
        account = self.names.account(function.name)
        build_account, main = self.settings.build_service_account, main_of(self.deployment)
        return {
            "id": f"function:{function.name}",
            "name": f"{self.location}/functions/{self.names.function(function.name)}",
            "account": {
                "id": f"account:{function.name}",
                "name": self.account(account),
                "display": _cut(f"{self.service.name} {self.deployment.stage}: {function.name}", 100),
                "description": f"{self.names.owner}: what the function {function.name} runs as",
            },
            "email": self.names.email(account),
            "description": what[:1].upper() + what[1:],
            "runtime": f"python{self.deployment.project.settings.python.replace('.', '')}",
            "build_account": f"projects/{self.project}/serviceAccounts/{build_account}" if build_account else None,
            "main": main if main != "main.py" else None,
            "memory": f"{function.memory}Mi",
            "cpu": f"{cpu_of(function):g}",
            "timeout": time_of(function),
            "concurrency": concurrency_of(function),
            "least": options.min_instances,
            "most": options.max_instances,
            "ingress": _INGRESS[options.ingress],
            "connector": options.vpc_connector,
            "egress": _EGRESS[options.vpc_egress],
            "environment": self.variables(function),
            "secrets": [self.secret_variable(name, number) for number, name in enumerate(self.secrets_of(function))],
            "labels": {**self.settings.labels, **options.labels, **self.names.labels},
        }

    def variables(self, function: Function) -> dict[str, str]:
        """The environment: plain values of the settings and the function, and what the runtime must know."""
        plain = {**self.environment, **function.environment}
        own = {
            "PYS_MULTI_FUNCTION": function.name,
            "PYS_MULTI_STAGE": self.deployment.stage,
            "PYS_MULTI_EVENTS": _compact(self.about(function)),
            # Of functions-framework: a thread for each request that comes at once.
            "THREADS": str(concurrency_of(function)),
        }
        if known := self.places(function):
            own["PYS_MULTI_RESOURCES"] = _compact(known)
        if is_open(function) and private_routes(function) and (invokers := self.invokers()):
            own["PYS_MULTI_INVOKERS"] = _compact(invokers)
        return {**dict(sorted(plain.items())), **own}

    def about(self, function: Function) -> Json:
        """What the runtime must know of the events that come to a function."""
        found: Json = {"caller": self.events, "dead": {}, "attempts": {}, "batches": {}, "topics": {}}
        for trigger in function.triggers:
            if not isinstance(trigger, Consume | Subscribe | ObjectEvent):
                continue
            found["dead"][trigger.id] = self.topic_name(self.dead_of(trigger))
            found["attempts"][trigger.id] = self.attempts_of(trigger)
            if isinstance(trigger, Consume):
                found["topics"][trigger.id] = self.topic_name(self.names.topic(trigger.queue))
                if trigger.batch > 1:
                    found["batches"][trigger.id] = [trigger.batch, trigger.window]
        return {key: value for key, value in found.items() if value}

    def places(self, function: Function) -> dict[str, str]:
        """Resource → where it is, of what the function was granted."""
        numbers = {name: number for number, name in enumerate(self.secrets_of(function))}
        return {grant.resource: self.place(grant.resource, numbers) for grant in function.grants}

    def place(self, name: str, numbers: Mapping[str, int]) -> str:
        match self.resources[name].kind:
            case "secret":
                return _secret_variable(numbers[name])
            case "bucket":
                return self.names.bucket(name)
            case "table":
                return f"{self.database_name}/documents/{name}"
        return self.topic_name(self.names.topic(name))

    def invokers(self) -> list[str]:
        """The e-mails of those who may call private routes; of groups and domains a token says nothing."""
        known = (invoker.partition(":") for invoker in self.settings.invokers)
        return [email for kind, _, email in known if kind in ("user", "serviceAccount")]

    def secrets_of(self, function: Function) -> list[str]:
        return [grant.resource for grant in function.grants if grant.resource in self.secrets]

    def secret_variable(self, name: str, number: int) -> Json:
        source = self.secrets[name]
        return {
            "key": _secret_variable(number),
            "projectId": source.project or self.project,
            "secret": source.secret or self.names.secret(name),
            "version": source.version,
        }

    # ---- queues, topics, buckets, tables

    def topic(self, name: str, keeps: bool) -> Json:
        return {"id": f"topic:{name}", "name": self.topic_name(self.names.topic(name)), "holds_data": keeps}

    def queue(self, queue: Queue) -> Json:
        """The subscription of a queue: pushed to its consumer, or kept until there is one."""
        found: Json = {
            "id": f"subscription:{queue.name}",
            "name": self.subscription_name(self.names.topic(queue.name)),
            "topic": self.topic_name(self.names.topic(queue.name)),
            "topic_id": None,
            "ordered": queue.ordered,
            "holds_data": True,
            "push": None,
            "deadline": MIN_ACK,
            "dead": None,
        }
        consumer = self.consumers.get(queue.name)
        if consumer is not None:
            function, trigger = consumer
            found |= self.pushed(function, trigger, queue)
        return found

    def inbox(self, function: Function, trigger: Subscribe | ObjectEvent) -> Json:
        """The subscription of a trigger on a topic, or on the topic that a bucket tells."""
        if isinstance(trigger, Subscribe):
            topic, topic_id = self.names.topic(trigger.topic), None
        else:
            topic, topic_id = self.names.trigger(trigger.id), f"notice-topic:{trigger.id}"
        return {
            "id": f"subscription:{trigger.id}",
            "name": self.subscription_name(self.names.trigger(trigger.id)),
            "topic": self.topic_name(topic),
            "topic_id": topic_id,
            "ordered": False,
            "holds_data": False,
            **self.pushed(function, trigger, None),
        }

    def pushed(self, function: Function, trigger: Consume | Subscribe | ObjectEvent, queue: Queue | None) -> Json:
        dead = self.dead_of(trigger)
        return {
            "push": self.call(function, trigger.id),
            "deadline": ack_deadline(function, queue),
            "dead": {
                "topic_id": f"dead-topic:{queue.name if queue else trigger.id}",
                "topic": self.topic_name(dead),
                "id": f"dead-subscription:{queue.name if queue else trigger.id}",
                "name": self.subscription_name(dead),
                "attempts": MAX_ATTEMPTS,
            },
        }

    def call(self, function: Function, trigger: str) -> Json:
        """Where an event goes to, and for whom its token is."""
        address = f"${{function:{function.name}:serviceConfig.uri}}"
        return {"url": f"{address}{EVENTS_PATH}{quote(trigger, safe='')}", "audience": address}

    def attempts_of(self, trigger: Consume | Subscribe | ObjectEvent) -> int:
        if isinstance(trigger, Consume):
            queue = self.resources[trigger.queue]
            return 1 + (queue.retries if isinstance(queue, Queue) else 0)
        return 1 + trigger.retries

    def dead_of(self, trigger: Consume | Subscribe | ObjectEvent) -> str:
        if isinstance(trigger, Consume):
            return self.names.dead(trigger.queue)
        return self.names.dead_trigger(trigger.id)

    def told(self) -> Iterator[tuple[Function, Subscribe | ObjectEvent]]:
        """Triggers that have a subscription of their own."""
        for function in self.service.functions:
            for trigger in function.triggers:
                if isinstance(trigger, Subscribe | ObjectEvent):
                    yield function, trigger

    def bucket(self, name: str) -> Json:
        return {"id": f"bucket:{name}", "name": self.names.bucket(name), "location": self.region.upper()}

    def notification(self, function: Function, trigger: ObjectEvent) -> Json:  # noqa: ARG002 (one of a pair)
        return {
            "id": f"notification:{trigger.id}",
            "name": self.names.bucket(trigger.bucket),
            "topic": f"//pubsub.googleapis.com/{self.topic_name(self.names.trigger(trigger.id))}",
            "event": _STORAGE_EVENTS[trigger.event],
            "prefix": trigger.prefix,
            "own": self.names.labels,
        }

    def database(self) -> Json:
        return {"name": self.database_name, "location": self.settings.database_location or self.region}

    # ---- logs

    def logs(self) -> Json | None:
        """Where logs of the functions are kept beside the project's own bucket, if for a time of their own."""
        days = self.settings.log_retention_days
        if days is None:
            return None
        bucket = f"{self.location}/buckets/{self.names.logs}"
        return {
            "bucket": bucket,
            "destination": f"logging.googleapis.com/{bucket}",
            "sink": f"projects/{self.project}/sinks/{self.names.logs}",
            "days": days,
            "description": f"{self.names.owner}: logs of its functions",
            "filter": log_filter(self.region, [self.names.function(f.name) for f in self.service.functions]),
        }

    # ---- schedules

    def jobs(self, function: Function) -> Iterator[Json]:
        for trigger in function.triggers:
            if not isinstance(trigger, Schedule):
                continue
            for part, found in enumerate(cron.translate(trigger.expression, trigger.timezone)):
                body: Json = {"event": {"kind": "schedule"}}
                if found.only:
                    body["only"] = {"expression": found.only, "timezone": found.timezone}
                if found.unless:
                    body["unless"] = {"expression": found.unless, "timezone": found.timezone}
                yield {
                    "id": f"job:{trigger.id}" + (f"#{part + 1}" if part else ""),
                    "name": f"{self.location}/jobs/{self.names.job(trigger.id, part)}",
                    "description": _cut(f"{self.names.owner}: {trigger.id}, {trigger.expression}", 500),
                    "schedule": found.text,
                    "timezone": found.timezone,
                    "deadline": f"{run_deadline(function)}s",
                    "call": self.call(function, trigger.id),
                    "body": b64encode(_compact(body).encode()).decode(),
                }

    # ---- who may do what

    def grant_calls(self, function: Function) -> None:
        """Who may call a function: everybody where strangers may call a route, else its invokers and its events."""
        service = f"{self.location}/services/{self.names.function(function.name)}"
        if is_open(function):
            members = ["allUsers"]
        else:
            members = [f"serviceAccount:{self.events}"] if is_invoked(function) else []
            members += self.settings.invokers if private_routes(function) else ()
        for member in members:
            self.access.allow(_SERVICES, service, f"function:{function.name}", grants.INVOKER, member)

    def grant_uses(self, function: Function) -> None:
        """What a function's account may do: its grants, each on that resource alone, and what its events need."""
        account = self.names.account(function.name)
        member = f"serviceAccount:{self.names.email(account)}"
        for grant in function.grants:
            resource = self.resources[grant.resource]
            role = grants.role(resource.kind, grant.verbs)
            if isinstance(resource, Queue | Topic):
                topic = self.topic_name(self.names.topic(resource.name))
                self.access.allow(_TOPICS, topic, f"topic:{resource.name}", role, member)
            elif isinstance(resource, Bucket):
                self.access.allow(_BUCKETS, self.names.bucket(resource.name), f"bucket:{resource.name}", role, member)
            elif isinstance(resource, Table):
                self.access.allow(_PROJECTS, f"projects/{self.project}", "project", role, member, self.of_database)
            else:
                self.access.allow(_SECRETS, self.secret(resource.name), f"secret:{resource.name}", role, member)
            if grants.signs(resource.kind, grant.verbs):
                self.access.allow(_ACCOUNTS, self.account(account), f"account:{function.name}", grants.SIGNER, member)
        for trigger in function.triggers:
            if isinstance(trigger, Consume):
                # A message with a delay is sent anew when it is due.
                topic = self.topic_name(self.names.topic(trigger.queue))
                self.access.allow(_TOPICS, topic, f"topic:{trigger.queue}", grants.PUBLISHER, member)
            if isinstance(trigger, Consume | Subscribe | ObjectEvent):
                dead = self.topic_name(self.dead_of(trigger))
                about = trigger.queue if isinstance(trigger, Consume) else trigger.id
                self.access.allow(_TOPICS, dead, f"dead-topic:{about}", grants.PUBLISHER, member)

    def grant_events(self, subscriptions: list[Json]) -> None:
        """What Google's own agents need to deliver: Pub/Sub, to bury and to call; Storage, to tell."""
        for subscription in subscriptions:
            dead = subscription["dead"]
            if dead is not None:
                self.access.allow(_TOPICS, dead["topic"], dead["topic_id"], grants.PUBLISHER, _AGENTS["pubsub"])
                self.access.allow(
                    _SUBSCRIPTIONS, subscription["name"], subscription["id"], grants.SUBSCRIBER, _AGENTS["pubsub"]
                )
            if subscription["topic_id"] is not None:
                self.access.allow(
                    _TOPICS, subscription["topic"], subscription["topic_id"], grants.PUBLISHER, _AGENTS["storage"]
                )
        if any(subscription["push"] for subscription in subscriptions):
            events = self.account(self.names.events_account)
            self.access.allow(_ACCOUNTS, events, "events-account", grants.IDENTITY_TOKENS, _AGENTS["pubsub"])

    # ---- full names

    @property
    def location(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def of_database(self) -> Json:
        """The condition that a role of the project holds for this database alone."""
        return {
            "title": _cut(self.names.owner, 100),
            "expression": 'resource.type == "firestore.googleapis.com/Database" && '
            f'resource.name == "{self.database_name}"',
        }

    @property
    def database_name(self) -> str:
        return f"projects/{self.project}/databases/{self.names.database}"

    def account(self, account: str) -> str:
        return f"projects/{self.project}/serviceAccounts/{self.names.email(account)}"

    def topic_name(self, topic: str) -> str:
        return f"projects/{self.project}/topics/{topic}"

    def subscription_name(self, subscription: str) -> str:
        return f"projects/{self.project}/subscriptions/{subscription}"

    def secret(self, name: str) -> str:
        source = self.secrets[name]
        return f"projects/{source.project or self.project}/secrets/{source.secret or self.names.secret(name)}"


def _secret_variable(number: int) -> str:
    return f"PYS_MULTI_SECRET_{number}"


def _cut(text: str, limit: int) -> str:
    """The beginning of a text that has so many bytes at most."""
    return text.encode()[:limit].decode(errors="ignore")


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
