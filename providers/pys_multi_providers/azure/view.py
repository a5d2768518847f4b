"""From a service and its settings to what the template needs; pure.

The template knows neither the subscription nor the packages: the end of names is its one parameter, and packages go to
the apps when they are there. So what is rendered for review is what is deployed, and a change of code alone changes
nothing in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pys_multi.model import Bucket, Consume, Function, Mount, ObjectEvent, Queue, Route, Schedule, Service, Subscribe
from pys_multi.model import Table as TableResource
from pys_multi.model import Topic as TopicResource
from pys_multi_providers.azure import cron, entry, grants
from pys_multi_providers.azure.access import Access
from pys_multi_providers.azure.clouds import CLOUDS, Suffixes
from pys_multi_providers.azure.expressions import expression, resource_id, sub, text
from pys_multi_providers.azure.kinds import KINDS, VERSIONS
from pys_multi_providers.azure.names import Names
from pys_multi_providers.azure.secrets import sources
from pys_multi_providers.azure.settings import AzureOptions, AzureSettings
from pys_multi_tools.deployment import Deployment

Json = dict[str, Any]

#: Sizes of instances in MB ("Flex Consumption plan", instance sizes; 2026-11).
MEMORY_SIZES = (512, 2048, 4096)
#: Name of the connection under which the triggers' identity finds Service Bus.
CONNECTION = "SERVICE_BUS"
#: Seconds for which a delivered message is locked: the most there is. The host renews it while a handler runs.
MAX_LOCK = 300
_MIN_LOCK = 5


def view(deployment: Deployment) -> Json:
    """The context of ``azure/template.json.j2``."""
    return View(deployment).context()


def settings_of(deployment: Deployment) -> AzureSettings:
    """The provider's own settings of a deployment."""
    if not isinstance(deployment.settings, AzureSettings):
        raise TypeError(f"settings of the azure provider are AzureSettings, not {type(deployment.settings).__name__}")
    return deployment.settings


def options_of(function: Function) -> AzureOptions:
    """The provider's own options of a function."""
    return AzureOptions.model_validate(dict(function.options.get("azure", {})))


def names_of(deployment: Deployment) -> Names:
    """What the things of a deployment are called; their end stands for itself, as in the template."""
    return Names(deployment.service.name, deployment.stage)


def tags_of(deployment: Deployment) -> dict[str, str]:
    """The tags of everything."""
    return {**settings_of(deployment).tags, **own_tags(deployment)}


def own_tags(deployment: Deployment) -> dict[str, str]:
    """The tags by which pys-multi knows what is its own."""
    return {"pys-multi-service": deployment.service.name, "pys-multi-stage": deployment.stage}


def memory_of(function: Function) -> int:
    """The smallest instance that has the memory, in MB."""
    return next((size for size in MEMORY_SIZES if size >= function.memory), MEMORY_SIZES[-1])


def lock_of(queue: Queue | None) -> int:
    """Seconds for which a delivered message is locked, unless its handler still runs."""
    if queue is None or queue.visibility is None:
        return 60
    return max(_MIN_LOCK, min(MAX_LOCK, round(queue.visibility)))


class View:
    """One deployment, while it is looked at."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.service: Service = deployment.service
        self.settings = settings_of(deployment)
        self.names = names_of(deployment)
        self.cloud: Suffixes = CLOUDS[self.settings.cloud]
        self.resources = {resource.name: resource for resource in self.service.resources}
        self.secrets = sources(deployment)
        self.environment = dict(deployment.project.settings.environment)
        self.access = Access(self.names)
        self.own_secrets = [source.resource for source in self.secrets.values() if not source.uri]
        self.events = [
            (function, trigger)
            for function in self.service.functions
            for trigger in function.triggers
            if isinstance(trigger, ObjectEvent)
        ]
        kinds = {resource.kind for resource in self.service.resources}
        self.has_bus = bool(kinds & {"queue", "topic"} or self.events)

    def context(self) -> Json:
        names = self.names
        functions = [self.function(function) for function in self.service.functions]
        if self.events:
            self.pass_events_on()
        return {
            "versions": VERSIONS,
            "kinds": KINDS,
            "location": self.settings.location or expression("resourceGroup().location"),
            "tags": _texts(tags_of(self.deployment)),
            "functions": functions,
            "accounts": [
                {"name": sub(names.storage), "sku": f"Standard_{self.settings.redundancy}"},
                {"name": sub(names.host_storage), "sku": "Standard_LRS"},
            ],
            "blob_service": sub(f"{names.storage}/default"),
            "account": self.depends("account", names.storage),
            "blobs": self.depends("blob_service", names.storage, "default"),
            "containers": [sub(f"{names.storage}/default/{container}") for container in self.containers()],
            "tables": [
                sub(f"{names.storage}/default/{names.table(r.name)}")
                for r in self.service.resources
                if isinstance(r, TableResource)
            ],
            "bus": self.bus() if self.has_bus else None,
            "events": self.blob_events() if self.events else None,
            "vault": self.vault() if self.own_secrets else None,
            "workspace": sub(names.workspace),
            "workspace_id": self.depends("workspace", names.workspace),
            "insights": sub(names.insights),
            "retention": self.settings.log_retention_days,
            "assignments": self.access.assignments(),
            "hosts": {
                f.name: expression(f"{self.reference('site', names.site(f.name))}.defaultHostName")
                for f in self.service.functions
            },
        }

    # ---- functions

    def function(self, function: Function) -> Json:
        options, names = options_of(function), self.names
        identity = names.identity(function.name)
        self.grant(function)
        variables = self.variables(function)
        tags = {**tags_of(self.deployment), **options.tags, "pys-multi-function": function.name}
        return {
            "name": function.name,
            "site": sub(names.site(function.name)),
            "plan": sub(names.plan(function.name)),
            "plan_id": self.depends("plan", names.plan(function.name)),
            "site_id": self.depends("site", names.site(function.name)),
            "policies": [sub(f"{names.site(function.name)}/{policy}") for policy in ("ftp", "scm")],
            "identity": sub(identity),
            "identity_id": self.depends("identity", identity),
            # Azure tells nobody what an app's settings are, so that a plan would not see one change.
            "tags": _texts({**tags, "pys-multi-settings": _digest(variables)}),
            "plain_tags": _texts(tags),
            "package": sub(f"{self.account('blob')}/{names.package_container(function.name)}"),
            "python": self.deployment.project.settings.python,
            "memory": memory_of(function),
            "max_instances": options.max_instances,
            "always_ready": list(self.always_ready(function, options.always_ready)),
            "concurrency": function.concurrency,
            "vnet": text(options.vnet) if options.vnet else None,
            "has_secrets": any(grant.resource in self.secrets for grant in function.grants),
            "variables": variables,
            "depends": [
                self.depends("plan", names.plan(function.name)),
                self.depends("identity", identity),
                self.depends("insights", names.insights),
                self.depends("container", names.storage, "default", names.package_container(function.name)),
                *self.access.depends(identity),
            ],
        }

    def always_ready(self, function: Function, count: int) -> Iterator[Json]:
        """All routes are one group; each other trigger is one of its own ("Flex Consumption plan", always ready)."""
        if not count:
            return
        if any(isinstance(trigger, Route | Mount) for trigger in function.triggers):
            yield {"name": "http", "instanceCount": count}
        for reaction in entry.reactions_of(self.service, function):
            yield {"name": f"function:{reaction.name}", "instanceCount": count}

    def variables(self, function: Function) -> dict[str, str]:
        """The settings of the app, which are its environment: by name, as the template has them."""
        identity = f"{self.reference('identity', self.names.identity(function.name))}.clientId"
        insights = self.reference("insights", self.names.insights)
        own = {
            "PYS_MULTI_FUNCTION": function.name,
            "PYS_MULTI_STAGE": self.deployment.stage,
            "AZURE_CLIENT_ID": expression(identity),
            **self.host_account(),
            "AzureWebJobsStorage__credential": "managedidentity",
            "AzureWebJobsStorage__clientId": expression(identity),
            "APPLICATIONINSIGHTS_CONNECTION_STRING": expression(f"{insights}.ConnectionString"),
            "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": expression(
                f"concat('ClientId=', {identity}, ';Authorization=AAD')"
            ),
            **entry.app_settings(function),
        }
        if self.has_bus:
            own[f"{CONNECTION}__fullyQualifiedNamespace"] = sub(self.bus_host)
            own[f"{CONNECTION}__credential"] = "managedidentity"
            own[f"{CONNECTION}__clientId"] = expression(identity)
        places = dict(self.places(function))
        for name, variable in self.secret_variables(function):
            places[name] = variable
            uri = (
                self.secrets[name].uri
                or f"https://{self.names.vault}.{self.cloud.vault}/secrets/{self.names.secret(name)}"
            )
            own[variable] = sub(f"@Microsoft.KeyVault(SecretUri={uri})")
        if places:
            own["PYS_MULTI_RESOURCES"] = sub(_compact(places))
        if events := {trigger.id: found for trigger in function.triggers if (found := self.event(trigger))}:
            own["PYS_MULTI_EVENTS"] = sub(_compact(events))
        plain = {**self.environment, **function.environment}
        return {**_texts(dict(sorted(plain.items()))), **dict(sorted(own.items()))}

    def host_account(self) -> dict[str, str]:
        """Where the host has its storage; by its name alone it looks in the global cloud ("Connecting to host storage
        with an identity")."""
        name = self.names.host_storage
        if self.settings.cloud == "public":
            return {"AzureWebJobsStorage__accountName": sub(name)}
        return {
            f"AzureWebJobsStorage__{service}ServiceUri": sub(f"https://{name}.{service}.{self.cloud.storage}")
            for service in ("blob", "queue", "table")
        }

    def places(self, function: Function) -> Iterator[tuple[str, str]]:
        """(resource, where it is) of what the function was granted, but secrets."""
        for grant in function.grants:
            match self.resources[grant.resource]:
                case Bucket(name=name):
                    yield name, f"{self.account('blob')}/{self.names.container(name)}"
                case TableResource(name=name):
                    yield name, f"{self.account('table')}/{self.names.table(name)}"
                case Queue(name=name):
                    yield name, f"https://{self.bus_host}/{self.names.queue(name)}"
                case TopicResource(name=name):
                    yield name, f"https://{self.bus_host}/{self.names.topic(name)}"

    def secret_variables(self, function: Function) -> Iterator[tuple[str, str]]:
        """(secret, name of the variable that has its value) of what the function was granted."""
        granted = sorted(grant.resource for grant in function.grants if grant.resource in self.secrets)
        return ((name, f"PYS_MULTI_SECRET_{number}") for number, name in enumerate(granted))

    def event(self, trigger: object) -> Json | None:
        """What the runtime must know of a trigger: where its messages come from, or when its timer is due."""
        match trigger:
            case Schedule():
                return {"schedule": cron.translate(trigger.expression, trigger.timezone).schedule}
            case Consume():
                queue = self.resources[trigger.queue]
                retries = queue.retries if isinstance(queue, Queue) else 0
                return {"queue": self.names.queue(trigger.queue), "attempts": 1 + retries}
            case Subscribe():
                subscription = self.names.subscription(trigger.id)
                place = {"topic": self.names.topic(trigger.topic), "subscription": subscription}
                return {**place, "attempts": 1 + trigger.retries}
            case ObjectEvent():
                return {"queue": self.names.inbox(trigger.id), "attempts": 1 + trigger.retries}
        return None

    def grant(self, function: Function) -> None:
        """What the identity of a function may do: its own package and host, its messages, and its grants."""
        names, access = self.names, self.access
        who = names.identity(function.name)
        access.allow(who, grants.BLOB_OWNER, KINDS["account"], names.host_storage)
        package = names.package_container(function.name)
        access.allow(who, grants.BLOB_CONTRIBUTOR, KINDS["container"], names.storage, "default", package)
        access.allow(who, grants.METRICS_PUBLISHER, KINDS["insights"], names.insights)
        for trigger in function.triggers:
            match trigger:
                case Consume():
                    access.allow(who, grants.BUS_RECEIVER, KINDS["queue"], names.namespace, names.queue(trigger.queue))
                case ObjectEvent():
                    access.allow(who, grants.BUS_RECEIVER, KINDS["queue"], names.namespace, names.inbox(trigger.id))
                case Subscribe():
                    place = (names.namespace, names.topic(trigger.topic), names.subscription(trigger.id))
                    access.allow(who, grants.BUS_RECEIVER, KINDS["subscription"], *place)
        for grant in function.grants:
            resource = self.resources[grant.resource]
            role = grants.role(resource.kind, grant.verbs)
            match resource:
                case Bucket(name=name):
                    access.allow(who, role, KINDS["container"], names.storage, "default", names.container(name))
                    if grants.presigns(grant.verbs):
                        access.allow(who, grants.BLOB_DELEGATOR, KINDS["account"], names.storage)
                case TableResource(name=name):
                    access.allow(who, role, KINDS["table"], names.storage, "default", names.table(name))
                case Queue(name=name):
                    access.allow(who, role, KINDS["queue"], names.namespace, names.queue(name))
                case TopicResource(name=name):
                    access.allow(who, role, KINDS["topic"], names.namespace, names.topic(name))
                case _ if not self.secrets[resource.name].uri:
                    access.allow(who, role, KINDS["secret"], names.vault, names.secret(resource.name))

    # ---- storage

    def containers(self) -> Iterator[str]:
        yield self.names.releases
        if self.events:
            yield self.names.undelivered
        yield from (self.names.package_container(function.name) for function in self.service.functions)
        yield from (self.names.container(r.name) for r in self.service.resources if isinstance(r, Bucket))

    def account(self, service: str) -> str:
        """The address of the account's blobs or tables."""
        return f"https://{self.names.storage}.{service}.{self.cloud.storage}"

    # ---- Service Bus

    @property
    def bus_host(self) -> str:
        return f"{self.names.namespace}.{self.cloud.service_bus}"

    def bus(self) -> Json:
        names = self.names
        queues = [
            {
                "name": sub(f"{names.namespace}/{names.queue(queue.name)}"),
                "lock": _duration(lock_of(queue)),
                "deliveries": 1 + queue.retries,
                "ordered": queue.ordered,
            }
            for queue in self.service.resources
            if isinstance(queue, Queue)
        ]
        inboxes = [
            {
                "name": sub(f"{names.namespace}/{names.inbox(trigger.id)}"),
                "lock": _duration(lock_of(None)),
                "deliveries": 1 + trigger.retries,
                "ordered": False,
            }
            for _, trigger in self.events
        ]
        subscriptions = [
            {
                "name": sub(f"{names.namespace}/{names.topic(trigger.topic)}/{names.subscription(trigger.id)}"),
                "topic": self.depends("topic", names.namespace, names.topic(trigger.topic)),
                "lock": _duration(lock_of(None)),
                "deliveries": 1 + trigger.retries,
            }
            for function in self.service.functions
            for trigger in function.triggers
            if isinstance(trigger, Subscribe)
        ]
        return {
            "name": sub(names.namespace),
            "id": self.depends("namespace", names.namespace),
            "queues": [*queues, *inboxes],
            "topics": [
                sub(f"{names.namespace}/{names.topic(topic.name)}")
                for topic in self.service.resources
                if isinstance(topic, TopicResource)
            ],
            "subscriptions": subscriptions,
        }

    # ---- events of buckets

    def pass_events_on(self) -> None:
        """What the identity that passes the events on may do: send to their queues, and keep what those do not take."""
        names, who = self.names, self.names.events_identity
        for _, trigger in self.events:
            self.access.allow(who, grants.BUS_SENDER, KINDS["queue"], names.namespace, names.inbox(trigger.id))
        place = (names.storage, "default", names.undelivered)
        self.access.allow(who, grants.BLOB_CONTRIBUTOR, KINDS["container"], *place)

    def blob_events(self) -> Json:
        names = self.names
        return {
            "identity": sub(names.events_identity),
            "identity_id": self.depends("identity", names.events_identity),
            "topic": sub(names.system_topic),
            "topic_id": self.depends("system_topic", names.system_topic),
            "undelivered": names.undelivered,
            "after": [
                self.depends("system_topic", names.system_topic),
                self.depends("container", names.storage, "default", names.undelivered),
                *self.access.depends(names.events_identity),
            ],
            "subscriptions": [self.blob_subscription(trigger) for _, trigger in self.events],
        }

    def blob_subscription(self, trigger: ObjectEvent) -> Json:
        names = self.names
        kind = "Created" if trigger.event == "created" else "Deleted"
        container = f"/blobServices/default/containers/{names.container(trigger.bucket)}/blobs/"
        return {
            "name": sub(f"{names.system_topic}/{names.subscription(trigger.id)}"),
            "queue": self.depends("queue", names.namespace, names.inbox(trigger.id)),
            "type": f"Microsoft.Storage.Blob{kind}",
            "prefix": text(container + trigger.prefix),
            "suffix": text(trigger.suffix),
        }

    # ---- secrets

    def vault(self) -> Json:
        return {
            "name": sub(self.names.vault),
            "purge_protection": self.settings.purge_protection,
            # The least there is, so that a name is free again soon; the most, where it is asked to be kept.
            "kept": 90 if self.settings.purge_protection else 7,
        }

    # ----

    def depends(self, kind: str, *names: str) -> str:
        """The id of a resource of the template, as a value."""
        return expression(resource_id(KINDS[kind], *names))

    def reference(self, kind: str, *names: str) -> str:
        """What a resource of the template says of itself, as a part of an expression."""
        return f"reference({resource_id(KINDS[kind], *names)}, '{VERSIONS[kind]}')"


def _texts(values: dict[str, str]) -> dict[str, str]:
    return {text(name): text(value) for name, value in values.items()}


def _duration(seconds: int) -> str:
    """ISO 8601."""
    minutes, rest = divmod(seconds, 60)
    return "PT" + (f"{minutes}M" if minutes else "") + (f"{rest}S" if rest or not minutes else "")


def _digest(value: object) -> str:
    return hashlib.sha256(_compact(value).encode()).hexdigest()[:16]


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
