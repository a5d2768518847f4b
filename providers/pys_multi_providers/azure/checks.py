"""What Azure alone knows to be wrong: found before anything is uploaded, each with what to do.

Numbers are those of "Flex Consumption plan", "App settings reference for Azure Functions", "Service Bus quotas",
"Azure Event Grid quotas and limits", "Understanding the Table service data model", and "Best practices for ARM
templates", as of 2026-11.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from pys_multi.errors import DefinitionError
from pys_multi.model import Consume, Function, Mount, ObjectEvent, Queue, Route, Schedule, Service, Subscribe
from pys_multi_providers.azure import cron, entry
from pys_multi_providers.azure.expressions import MAX_EXPRESSION
from pys_multi_providers.azure.secrets import source
from pys_multi_providers.azure.view import MAX_LOCK, MEMORY_SIZES, memory_of, options_of, own_tags, settings_of
from pys_multi_tools.deployment import Deployment, Problem
from pys_multi_tools.secret_values import misplaced

_MAX_RESOURCES, _MAX_TEMPLATE, _MAX_OUTPUTS = 800, 4 * 1024 * 1024, 64
#: Seconds for which the host goes on renewing the lock of a message (host.json, maxAutoLockRenewalDuration).
_MAX_RENEWED = 7200
#: "Azure Event Grid quotas and limits", event subscriptions of a system topic.
_MAX_BLOB_EVENTS = 500
#: Tags of a resource, of which pys-multi has some; letters of a tag of a storage account, which has the least.
_MAX_TAGS, _MAX_TAG_NAME, _MAX_TAG_VALUE = 50, 128, 256
_OWN_TAGS = 4
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What Azure, its Functions host or the template sets itself ("App settings reference", "Flex Consumption plan
#: deprecations", "Environment variables and app settings in Azure App Service").
_RESERVED = re.compile(
    "(?i)AzureWebJobs.*|AzureFunctions.*|APPLICATIONINSIGHTS_.*|APPINSIGHTS_.*|WEBSITES?_.*|FUNCTIONS_.*|SCM_.*|"
    "DIAGNOSTICS_.*|SERVICE_BUS__.*|IDENTITY_(ENDPOINT|HEADER)|MSI_(ENDPOINT|SECRET)|AZURE_CLIENT_ID|"
    "ENABLE_ORYX_BUILD|CONTAINER_NAME|HOST_VERSION|PYTHON_(THREADPOOL_THREAD_COUNT|ENABLE_INIT_INDEXING)|"
    "PYTHON_ISOLATE_WORKER_DEPENDENCIES"
)
#: Azure would put the value of a secret or of a configuration store in its place.
_REFERENCE = re.compile(r"\s*@Microsoft\.(KeyVault|AppConfiguration)\(", re.IGNORECASE)


def has_valid_options(service: Service) -> bool:
    """Whether the options of every function are ones that this provider has."""
    try:
        for function in service.functions:
            options_of(function)
    except ValidationError:
        return False
    return True


def problems(deployment: Deployment) -> Iterator[Problem]:
    """Everything that Azure would refuse, or do otherwise than the service says."""
    settings = settings_of(deployment)
    yield from misplaced(deployment, source, '"azure-kv:https://VAULT.vault.azure.net/secrets/NAME"')
    yield from _tags(_source(deployment, "azure.tags"), settings.tags, own_tags(deployment))
    yield from _environment(deployment)
    for resource in deployment.service.resources:
        if resource.options.get("azure"):
            what = "on azure, resources have no options"
            yield _error(f"{resource.kind} {resource.name}", what, "remove azure={…} from it")
        if isinstance(resource, Queue):
            yield from _queue(resource)
    for function in deployment.service.functions:
        yield from _function(function)
    yield from _addresses(deployment)
    events = [t for f in deployment.service.functions for t in f.triggers if isinstance(t, ObjectEvent)]
    if len(events) > _MAX_BLOB_EVENTS:
        what = f"{len(events)} triggers wait for events of buckets, and Azure tells {_MAX_BLOB_EVENTS} of one account"
        yield _error(f"service {deployment.service.name}", what, "split the service into several")


def fits(text: str) -> Iterator[Problem]:
    """What is wrong with a template as a whole. text: as it is rendered."""
    where, split = "the template", "split the service into several, or give one function more to do"
    template = json.loads(text)
    resources, size = len(template["resources"]), len(text.encode())
    if resources > _MAX_RESOURCES:
        what = f"it has {resources:,} resources, and Resource Manager takes {_MAX_RESOURCES} in one deployment"
        yield _error(where, what, split)
    if size > _MAX_TEMPLATE:
        yield _error(where, f"it has {size:,} bytes, and Resource Manager takes {_MAX_TEMPLATE:,}", split)
    for resource in template["resources"]:
        settings = resource.get("properties", {}).get("siteConfig", {}).get("appSettings", ())
        for setting in settings:
            if len(setting["value"]) > MAX_EXPRESSION and setting["name"].startswith("PYS_MULTI_"):
                function = resource["tags"]["pys-multi-function"]
                length = f"{len(setting['value']):,} characters"
                what = f"to say where its resources are takes {length}, and Resource Manager takes {MAX_EXPRESSION:,}"
                yield _error(f"function {function}", what, "use fewer resources in one function")


# ---- functions


def _function(function: Function) -> Iterator[Problem]:
    where, options = f"function {function.name}", options_of(function)
    yield from _tags(where, options.tags, {})
    size = memory_of(function)
    if function.memory > MEMORY_SIZES[0] and size != function.memory:
        sizes = ", ".join(f"{size:,}" for size in MEMORY_SIZES)
        yield _warning(
            where,
            f"Azure has instances of {sizes} MB: it runs on {size:,} MB, and that is what it costs",
            f"write memory={size}, or less where it needs less",
        )
    if options.always_ready > options.max_instances:
        what = f"{options.always_ready} instances are always ready, and there may be {options.max_instances} at most"
        yield _error(where, what, "raise max_instances, or lower always_ready")
    taking = [t for t in function.triggers if isinstance(t, Consume | Subscribe | ObjectEvent)]
    if taking and function.timeout + entry.GRACE > _MAX_RENEWED:
        yield _error(
            where,
            f"a message is kept from others for {_MAX_RENEWED:,} s at most, and it may work on one for "
            f"{function.timeout:g} s",
            f"write timeout={_MAX_RENEWED - entry.GRACE} or less",
        )
    for trigger in function.triggers:
        if isinstance(trigger, Schedule):
            yield from _schedule(trigger)
    yield from _routes(function)


def _schedule(schedule: Schedule) -> Iterator[Problem]:
    try:
        timer = cron.translate(schedule.expression, schedule.timezone)
    except DefinitionError as error:
        yield _error(schedule.id, str(error), "correct the schedule")
        return
    if timer.only:
        why = (
            "Azure has no timer like it" if schedule.timezone == "UTC" else "timers of Flex Consumption know UTC alone"
        )
        yield _warning(
            schedule.id,
            f"{why}: the function starts {cron.starts(timer):,} times in 30 days, and does nothing where it is not due",
            "each such start costs a second of the function; a time in UTC at a fixed minute of an hour needs none",
        )


def _routes(function: Function) -> Iterator[Problem]:
    routes = [t for t in function.triggers if isinstance(t, Route | Mount)]
    is_mixed = len({bool(t.public or t.auth) for t in routes}) > 1
    for trigger in routes:
        first = trigger.path.lstrip("/").partition("/")[0].lower()
        taken = next(
            (name for name in ("admin", "runtime") if first == name or (is_mixed and first.startswith(name))), ""
        )
        if taken:
            yield _error(trigger.id, f"the Functions host keeps paths that begin with /{taken} for itself", "rename it")
    for id in entry.conflicts(function):
        yield _error(
            id,
            "it is public, and Azure cannot tell it from a private route of the same function",
            "give private routes a function of their own, or let the paths differ in a part that is plain text",
        )


def _addresses(deployment: Deployment) -> Iterator[Problem]:
    fronted = [f.name for f in deployment.service.functions if any(isinstance(t, Route | Mount) for t in f.triggers)]
    if len(fronted) > 1:
        yield _warning(
            f"service {deployment.service.name}",
            f"each of the functions {', '.join(fronted)} has an address of its own, and there is no common one",
            "give all routes to one function, or put Azure API Management or Front Door in front of them",
        )


def _environment(deployment: Deployment) -> Iterator[Problem]:
    for name, value in deployment.project.settings.environment.items():
        yield from _variable(_source(deployment, f"environment.{name}"), name, value)
    for function in deployment.service.functions:
        seen: dict[str, str] = {}
        for name, value in {**deployment.project.settings.environment, **function.environment}.items():
            if name in function.environment:
                yield from _variable(f"function {function.name}", name, value)
            other = seen.setdefault(name.lower(), name)
            if other != name:
                what = f"Azure sees one setting in {other!r} and {name!r}"
                yield _error(f"function {function.name}", what, "give one of them another name")


def _variable(where: str, name: str, value: str) -> Iterator[Problem]:
    if name.upper() == "TZ":
        hint = "leave it out; a schedule has a time zone of its own, timezone=…, and code can use zoneinfo"
        yield _error(where, "Flex Consumption knows no time zone but UTC", hint)
    elif _RESERVED.fullmatch(name):
        yield _error(where, f"setting {name!r} is Azure's or pys-multi's own", "give it another name")
    elif not _ENVIRONMENT_NAME.fullmatch(name):
        hint = "use letters, digits and '_', and do not begin with a digit"
        yield _error(where, f"Azure takes no setting {name!r}", hint)
    if _REFERENCE.match(value):
        yield _error(
            where,
            f"Azure takes the value of {name!r} for a reference and would put what it refers to in its place",
            "use app.secret() for a secret, or write the text in another form",
        )


# ---- resources


def _queue(queue: Queue) -> Iterator[Problem]:
    if queue.visibility is not None and queue.visibility > MAX_LOCK:
        yield _warning(
            f"queue {queue.name}",
            f"Service Bus locks a message for {MAX_LOCK} s at most: where an instance dies, it is delivered again "
            f"after that, and not after {queue.visibility:g} s",
            f"write visibility={MAX_LOCK} or less; while a handler runs, its message stays locked in any case",
        )


# ---- what users write


def _tags(where: str, tags: Mapping[str, str], own: Mapping[str, str]) -> Iterator[Problem]:
    if len(tags) + _OWN_TAGS > _MAX_TAGS:
        yield _error(where, f"{len(tags)} tags are more than Azure takes", f"use at most {_MAX_TAGS - _OWN_TAGS}")
    seen: dict[str, str] = {name.lower(): name for name in own}
    for name, value in tags.items():
        if not 0 < len(name) <= _MAX_TAG_NAME or re.search(r"[<>%&\\?/\x00-\x1f\x7f]", name) or name != name.strip():
            hint = f"use 1 to {_MAX_TAG_NAME} characters and none of < > % & \\ ? /"
            yield _error(where, f"{name!r} is no name of a tag", hint)
        elif re.match("(?i)(microsoft|azure|windows|pys-multi-)", name):
            yield _error(where, f"tag {name!r}: names that begin so are Azure's or pys-multi's own", "rename it")
        elif seen.setdefault(name.lower(), name) != name:
            yield _error(where, f"Azure sees one tag in {seen[name.lower()]!r} and {name!r}", "leave one of them out")
        if len(value) > _MAX_TAG_VALUE:
            yield _error(where, f"the value of tag {name!r} has more than {_MAX_TAG_VALUE} characters", "shorten it")


def _source(deployment: Deployment, key: str) -> str:
    return deployment.project.sources.get(key, key)


def _error(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint)


def _warning(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint, severity="warning")
