"""From a service and its settings to what the template needs; pure.

The template names no build: which bundle a function runs (``<Function>Build``) and which published version its
alias points to (``<Function>Version``) are parameters. So what is rendered for review is what is deployed, a
change of code alone is a change of parameters alone, and a version is published when its bundle is up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from pys_multi.model import Bucket, Consume, Function, Mount, ObjectEvent, Queue, Route, Schedule, Service, Subscribe
from pys_multi.model import Secret as SecretResource
from pys_multi.model import Table as TableResource
from pys_multi.model import Topic as TopicResource
from pys_multi_providers.aws import cron, grants
from pys_multi_providers.aws.intrinsics import att, sub, text
from pys_multi_providers.aws.names import ALIAS, Names, logical
from pys_multi_providers.aws.routes import IAM, HttpRoute, Tokens, routes_of
from pys_multi_providers.aws.secrets import SecretSource, sources
from pys_multi_providers.aws.settings import AwsOptions, AwsSettings
from pys_multi_tools.deployment import Deployment

Json = dict[str, Any]

#: Seconds a queue keeps a message: the most there is ("SetQueueAttributes", MessageRetentionPeriod).
KEPT_FOR = 1_209_600
#: What AWS advises: a message stays hidden for six times the timeout of its function.
_VISIBILITY_TIMES, _MAX_VISIBILITY = 6, 43_200
#: An HTTP API waits no longer, milliseconds ("HTTP API quotas").
_MAX_INTEGRATION = 30_000
HANDLER = "pys_multi_providers.aws.runtime.handler"


def view(deployment: Deployment) -> Json:
    """The context of ``aws/template.json.j2``."""
    return _View(deployment).context()


def settings_of(deployment: Deployment) -> AwsSettings:
    """The provider's own settings of a deployment."""
    if not isinstance(deployment.settings, AwsSettings):
        raise TypeError(f"settings of the aws provider are AwsSettings, not {type(deployment.settings).__name__}")
    return deployment.settings


def options_of(function: Function) -> AwsOptions:
    """The provider's own options of a function."""
    return AwsOptions.model_validate(dict(function.options.get("aws", {})))


def names_of(deployment: Deployment) -> Names:
    """What the things of a deployment are called."""
    return Names(deployment.service.name, deployment.stage)


def stack_tags(deployment: Deployment) -> dict[str, str]:
    """The tags of the stack, which CloudFormation gives to everything in it."""
    own = {"pys-multi:service": deployment.service.name, "pys-multi:stage": deployment.stage}
    return {**settings_of(deployment).tags, **own}


def variables_of(deployment: Deployment) -> Iterator[tuple[Function, dict[str, Any]]]:
    """The environment of each function, as the template has it."""
    whole = _View(deployment)
    return ((function, whole.variables(function)) for function in deployment.service.functions)


class _View:
    """One deployment, while it is looked at."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.service: Service = deployment.service
        self.settings = settings_of(deployment)
        self.names = names_of(deployment)
        self.resources = {resource.name: resource for resource in self.service.resources}
        self.secrets = sources(deployment)
        self.environment = dict(deployment.project.settings.environment)
        self.consumers = {
            trigger.queue: (function, trigger)
            for function in self.service.functions
            for trigger in function.triggers
            if isinstance(trigger, Consume)
        }
        self.fronted = [f for f in self.service.functions if any(isinstance(t, Route | Mount) for t in f.triggers)]

    def context(self) -> Json:
        schedules = [schedule for f in self.service.functions for schedule in self.schedules(f)]
        events = [
            (f, trigger)
            for f in self.service.functions
            for trigger in f.triggers
            if isinstance(trigger, Subscribe | ObjectEvent)
        ]
        front = self.settings.http if self.fronted else None
        return {
            "description": f"Service {self.service.name}, stage {self.deployment.stage}; written by pys-multi",
            "functions": [self.function(f) for f in self.service.functions],
            "queues": [self.queue(r) for r in self.service.resources if isinstance(r, Queue)],
            "inboxes": [self.inbox(f, trigger) for f, trigger in events],
            "sources": [source for f in self.service.functions for source in self.event_sources(f)],
            "topics": [
                {"id": logical(r.name, "topic"), "name": self.names.topic(r.name)}
                for r in self.service.resources
                if isinstance(r, TopicResource)
            ],
            "buckets": [self.bucket(r) for r in self.service.resources if isinstance(r, Bucket)],
            "tables": [self.table(r) for r in self.service.resources if isinstance(r, TableResource)],
            "secrets": [
                {"id": _secret_id(name), "name": self.names.secret(name)}
                for name, source in self.secrets.items()
                if source.kept_in == "own"
            ],
            "schedules": schedules,
            "schedule_group": self.names.api,
            "scheduler_role": sub(f"{self.names.scheduler_role}-${{AWS::Region}}"),
            "scheduled": [logical(f.name, "alias") for f in self.service.functions if _scheduled(f)],
            "missed": self.names.dead_schedules,
            "api": self.api() if front == "http-api" else None,
            "urls": [self.url(f) for f in self.fronted] if front == "function-url" else [],
            # What a front of one's own calls.
            "called": [logical(f.name, "alias") for f in self.fronted] if front in ("rest-api", "alb") else [],
            "kept_for": KEPT_FOR,
            "kms_key": self.settings.kms_key,
            "key_actions": list(grants.KEY),
        }

    # ---- functions

    def function(self, function: Function) -> Json:
        options = options_of(function)
        return {
            "name": function.name,
            "id": logical(function.name, "function"),
            "role": logical(function.name, "role"),
            "logs": logical(function.name, "logs"),
            "alias": logical(function.name, "alias"),
            "alias_name": ALIAS,
            "retries": logical(function.name, "retries"),
            "build": build_parameter(function.name),
            "version": version_parameter(function.name),
            "physical": self.names.function(function.name),
            "physical_role": sub(f"{self.names.role(function.name)}-${{AWS::Region}}"),
            "log_group": self.names.log_group(function.name),
            "retention": options.log_retention_days or self.settings.log_retention_days,
            "description": f"Function {function.name} of {self.service.name}, stage {self.deployment.stage}",
            "runtime": f"python{self.deployment.project.settings.python}",
            "architecture": self.settings.architecture,
            "handler": HANDLER,
            "key": sub(self.names.artefact(f"${{{build_parameter(function.name)}}}")),
            "memory": function.memory,
            "timeout": max(1, ceil(function.timeout)),
            "storage": options.ephemeral_storage,
            "reserved": options.reserved_concurrency,
            "layers": list(options.layers),
            "vpc": options.vpc,
            "environment": self.variables(function),
            "statements": list(self.statements(function)),
            "tags": [{"Key": text(key), "Value": text(value)} for key, value in sorted(options.tags.items())],
            "schedules": _scheduled(function),
        }

    def variables(self, function: Function) -> dict[str, Any]:
        """The environment: plain values of the settings and the function, and what the runtime must know."""
        plain = {**self.environment, **function.environment}
        queues = self.queues_of(function)
        known = self.places(function)
        own: dict[str, Any] = {"PYS_MULTI_FUNCTION": function.name, "PYS_MULTI_STAGE": self.deployment.stage}
        if queues:
            own["PYS_MULTI_QUEUES"] = _compact(queues)
        buckets = {self.names.bucket(t.bucket): t.bucket for t in function.triggers if isinstance(t, ObjectEvent)}
        if buckets:
            own["PYS_MULTI_BUCKETS"] = sub(_compact(buckets))
        if known:
            own["PYS_MULTI_RESOURCES"] = sub(_compact(known))
        return {**{name: text(value) for name, value in sorted(plain.items())}, **own}

    def queues_of(self, function: Function) -> dict[str, str]:
        """Name of a queue → id of the trigger that takes from it."""
        found = {}
        for trigger in function.triggers:
            if isinstance(trigger, Consume):
                found[self.queue_name(trigger.queue)] = trigger.id
            elif isinstance(trigger, Subscribe | ObjectEvent):
                found[self.names.trigger_queue(trigger.id)] = trigger.id
        return found

    def places(self, function: Function) -> dict[str, str]:
        """Resource → where it is, of what the function was granted; for ``Fn::Sub``."""
        found = {}
        for grant in function.grants:
            resource = self.resources[grant.resource]
            if isinstance(resource, SecretResource):
                source = self.secrets[resource.name]
                found[resource.name] = (
                    f"${{{_secret_id(resource.name)}.Id}}" if source.kept_in == "own" else _place(source)
                )
            else:
                # The reference of a queue is its URL, of a topic its ARN, of a bucket and a table its name.
                found[resource.name] = f"${{{logical(resource.name, resource.kind)}}}"
        return found

    def statements(self, function: Function) -> Iterator[Json]:
        """What the role of the function allows: its log, its queues, and its grants, each on that resource alone."""
        yield _allow("Log", ["logs:CreateLogStream", "logs:PutLogEvents"], att(logical(function.name, "logs")))
        for number, trigger in enumerate(function.triggers):
            if isinstance(trigger, Consume):
                yield _allow(f"Take{number}", list(grants.CONSUME), att(logical(trigger.queue, "queue")))
            elif isinstance(trigger, Subscribe | ObjectEvent):
                yield _allow(f"Take{number}", list(grants.CONSUME), att(logical(trigger.id, "inbox")))
        if self.settings.kms_key:
            yield _allow("Key", list(grants.KEY), self.settings.kms_key)
        if _scheduled(function):
            yield _allow("KeepFailedRun", ["sqs:SendMessage"], att("Missed"))
        for number, grant in enumerate(function.grants):
            for part, statement in enumerate(self.granted(grant.resource, grant.verbs)):
                yield {"Sid": f"Use{number}{'Objects' if part else ''}", **statement}

    def granted(self, name: str, verbs: tuple[str, ...]) -> Iterator[Json]:
        resource = self.resources[name]
        if isinstance(resource, SecretResource):
            source = self.secrets[name]
            kept_in = "ssm" if source.kept_in == "ssm" else "secretsmanager"
            where = att(_secret_id(name), "Id") if source.kept_in == "own" else secret_arn(source)
            yield {"Effect": "Allow", "Action": grants.actions(kept_in, verbs), "Resource": where}
            return
        id = logical(name, resource.kind)
        own = grants.actions(resource.kind, verbs)
        if own:
            where = {"Ref": id} if isinstance(resource, TopicResource) else att(id)
            yield {"Effect": "Allow", "Action": own, "Resource": where}
        if isinstance(resource, Bucket) and (objects := grants.object_actions(verbs)):
            yield {"Effect": "Allow", "Action": objects, "Resource": sub(f"${{{id}.Arn}}/*")}

    # ---- queues, topics, buckets, tables

    def queue_name(self, name: str) -> str:
        resource = self.resources[name]
        return self.names.queue(name, ordered=isinstance(resource, Queue) and resource.ordered)

    def queue(self, queue: Queue) -> Json:
        consumer = self.consumers.get(queue.name)
        return {
            "id": logical(queue.name, "queue"),
            "dead": logical(queue.name, "dead"),
            "name": self.names.queue(queue.name, ordered=queue.ordered),
            "dead_name": self.names.dead_queue(queue.name, ordered=queue.ordered),
            "arn": _queue_arn(self.names.queue(queue.name, ordered=queue.ordered)),
            "visibility": visibility_of(queue, *(consumer or (None, None))),
            "deliveries": queue.retries + 1,
            "ordered": queue.ordered,
            "keeps_data": True,
        }

    def inbox(self, function: Function, trigger: Subscribe | ObjectEvent) -> Json:
        """The queue that what a topic or bucket tells waits in until the function took it."""
        name = self.names.trigger_queue(trigger.id)
        subscribed = isinstance(trigger, Subscribe)
        if isinstance(trigger, Subscribe):
            origin: Any = {"Ref": logical(trigger.topic, "topic")}
        else:
            # Not a reference: the bucket itself waits for this policy.
            origin = sub(f"arn:${{AWS::Partition}}:s3:::{self.names.bucket(trigger.bucket)}")
        return {
            "id": logical(trigger.id, "inbox"),
            "dead": logical(trigger.id, "dead"),
            "policy": logical(trigger.id, "policy"),
            "subscription": logical(trigger.id, "subscription") if subscribed else None,
            "topic": origin,
            "name": name,
            "dead_name": self.names.dead_trigger_queue(trigger.id),
            "arn": _queue_arn(name),
            "visibility": visibility_of(None, function, None),
            "deliveries": trigger.retries + 1,
            "ordered": False,
            "keeps_data": False,
            "origin": origin,
            "principal": "sns.amazonaws.com" if subscribed else "s3.amazonaws.com",
        }

    def event_sources(self, function: Function) -> Iterator[Json]:
        for trigger in function.triggers:
            if not isinstance(trigger, Consume | Subscribe | ObjectEvent):
                continue
            consume = trigger if isinstance(trigger, Consume) else None
            queue = self.resources.get(consume.queue) if consume else None
            ordered = isinstance(queue, Queue) and queue.ordered
            batch = consume.batch if consume else 1
            window = ceil(consume.window) if consume and not ordered else 0
            yield {
                "id": logical(trigger.id, "source"),
                "alias": logical(function.name, "alias"),
                "role": logical(function.name, "role"),
                "queue": logical(consume.queue, "queue") if consume else logical(trigger.id, "inbox"),
                "batch": batch,
                # Batches above ten need a window of a second or more ("CreateEventSourceMapping").
                "window": max(window, 1) if batch > 10 else window,
                "ordered": ordered,
            }

    def bucket(self, bucket: Bucket) -> Json:
        notices = [
            {
                "event": "s3:ObjectCreated:*" if trigger.event == "created" else "s3:ObjectRemoved:*",
                "inbox": logical(trigger.id, "inbox"),
                "rules": [
                    {"Name": name, "Value": text(value)}
                    for name, value in (("prefix", trigger.prefix), ("suffix", trigger.suffix))
                    if value
                ],
                "policy": logical(trigger.id, "policy"),
            }
            for function in self.service.functions
            for trigger in function.triggers
            if isinstance(trigger, ObjectEvent) and trigger.bucket == bucket.name
        ]
        return {
            "id": logical(bucket.name, "bucket"),
            "name": sub(self.names.bucket(bucket.name)),
            "notices": notices,
        }

    def table(self, table: TableResource) -> Json:
        attributes = [("HASH", table.key), *([("RANGE", table.sort)] if table.sort else [])]
        return {
            "id": logical(table.name, "table"),
            "name": self.names.table(table.name),
            "attributes": [{"AttributeName": text(name), "AttributeType": "S"} for _, name in attributes],
            "keys": [{"AttributeName": text(name), "KeyType": kind} for kind, name in attributes],
        }

    # ---- schedules

    def schedules(self, function: Function) -> Iterator[Json]:
        for trigger in function.triggers:
            if not isinstance(trigger, Schedule):
                continue
            for part, found in enumerate(cron.translate(trigger.expression, trigger.timezone)):
                event: Json = {
                    "kind": "schedule",
                    "time": "<aws.scheduler.scheduled-time>",
                    "id": "<aws.scheduler.execution-id>",
                    "attempt": "<aws.scheduler.attempt-number>",
                }
                envelope: Json = {"trigger": trigger.id, "event": event}
                if found.only:
                    envelope["only"] = {"expression": found.only, "timezone": found.timezone}
                if found.unless:
                    envelope["unless"] = {"expression": found.unless, "timezone": found.timezone}
                yield {
                    "id": logical(trigger.id, "schedule") + (f"Part{part + 1}" if part else ""),
                    "name": self.names.schedule(trigger.id, part),
                    "description": f"{trigger.id}: {trigger.expression}",
                    "expression": found.text,
                    "timezone": found.timezone,
                    "alias": logical(function.name, "alias"),
                    "input": _compact({"pys_multi": envelope}),
                }

    # ---- HTTP

    def api(self) -> Json:
        routes = routes_of(self.service, native_jwt=self.settings.native_jwt)
        authorizers = {route.access: None for route in routes if isinstance(route.access, Tokens)}
        ids = {tokens: logical(_compact([tokens.issuer, *tokens.audience]), "authorizer") for tokens in authorizers}
        return {
            "name": self.names.api,
            "log_group": self.names.api_log_group,
            "retention": self.settings.log_retention_days,
            "description": f"Routes of {self.service.name}, stage {self.deployment.stage}",
            "log_format": _compact(_ACCESS_LOG),
            "integrations": [
                {
                    "id": logical(function.name, "integration"),
                    "permission": logical(function.name, "permission"),
                    "alias": logical(function.name, "alias"),
                    "timeout": max(50, min(_MAX_INTEGRATION, ceil(function.timeout * 1000))),
                }
                for function in self.fronted
            ],
            "authorizers": [
                {"id": id, "name": id, "issuer": text(tokens.issuer), "audience": [text(a) for a in tokens.audience]}
                for tokens, id in ids.items()
            ],
            "routes": [self.route(route, ids) for route in routes],
            "domain": self.settings.domain,
            "mapping_key": (self.settings.base_path or "").lstrip("/"),
            "domain_url": f"https://{self.settings.domain.name}{self.settings.base_path or ''}"
            if self.settings.domain
            else "",
        }

    def route(self, route: HttpRoute, authorizers: Mapping[Any, str]) -> Json:
        native = isinstance(route.access, Tokens)
        return {
            "id": logical(route.key, "route"),
            "key": text(route.key),
            "authorization": "JWT" if native else route.access,
            "authorizer": authorizers[route.access] if native else None,
            "target": sub(f"integrations/${{{logical(route.function, 'integration')}}}"),
        }

    def url(self, function: Function) -> Json:
        routes = routes_of(Service(name=self.service.name, functions=(function,)), native_jwt=False)
        return {
            "id": logical(function.name, "url"),
            "function": logical(function.name, "function"),
            "alias": logical(function.name, "alias"),
            "alias_name": ALIAS,
            "auth": IAM if routes[-1].access == IAM else "NONE",
            "call": logical(function.name, "permission"),
            "through": logical(function.name, "passage"),
        }


#: One line of the access log, as JSON ("Customizing HTTP API access logs").
_ACCESS_LOG = {
    "requestId": "$context.requestId",
    "ip": "$context.identity.sourceIp",
    "time": "$context.requestTime",
    "method": "$context.httpMethod",
    "path": "$context.path",
    "route": "$context.routeKey",
    "status": "$context.status",
    "bytes": "$context.responseLength",
    "latencyMs": "$context.responseLatency",
    "error": "$context.error.message",
    "integrationError": "$context.integrationErrorMessage",
}


def build_parameter(function: str) -> str:
    """The parameter that says which build a function runs."""
    return logical(function, "build")


def version_parameter(function: str) -> str:
    """The parameter that says which published version a function's alias points to; "$LATEST" until there is one."""
    return logical(function, "version")


def visibility_of(queue: Queue | None, function: Function | None, consume: Consume | None) -> int:
    """Seconds that a delivered message stays hidden: what the queue says, else from its consumer's timeout."""
    if queue is not None and queue.visibility is not None:
        return ceil(queue.visibility)
    if function is None:
        return 30
    return min(_MAX_VISIBILITY, _VISIBILITY_TIMES * ceil(function.timeout) + ceil(consume.window if consume else 0))


def _place(source: SecretSource) -> str:
    """What the function asks for: the ARN of a secret (a part of it is enough), or the name of a parameter."""
    if source.kept_in == "ssm" or source.name.startswith("arn:"):
        return source.name
    return f"{_SECRETS_AT}{source.name}"


def secret_arn(source: SecretSource) -> Any:
    """The ARN of a secret that is there already, as the role's policy names it."""
    if source.name.startswith("arn:"):
        return source.name
    if source.kept_in == "ssm":
        return sub(f"{_PARAMETERS_AT}{source.name.lstrip('/')}")
    # Secrets Manager puts "-" and six letters of its own behind a name.
    return sub(f"{_SECRETS_AT}{source.name}-??????")


_SECRETS_AT = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:"
_PARAMETERS_AT = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/"


def _allow(sid: str, actions: list[str], resource: Any) -> Json:
    return {"Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": resource}


def _queue_arn(name: str) -> Any:
    return sub(f"arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{name}")


def _secret_id(name: str) -> str:
    return logical(name, "secret")


def _scheduled(function: Function) -> bool:
    return any(isinstance(trigger, Schedule) for trigger in function.triggers)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
