"""What Google Cloud alone knows to be wrong: found before anything is uploaded, each with what to do.

Numbers are those of "Cloud Run functions quotas", "Cloud Run quotas and limits", "Configure CPU limits" and "memory
limits" of Cloud Run, "Known issues in Cloud Run", "Pub/Sub quotas and limits", "Pub/Sub notifications for Cloud
Storage", "Bucket naming requirements" and the discovery documents, as of 2026-11.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from pys_multi.model import Bucket, Consume, Function, Mount, ObjectEvent, Queue, Route, Schedule, Subscribe
from pys_multi_providers.gcp.secrets import source
from pys_multi_providers.gcp.settings import options_of
from pys_multi_providers.gcp.sizing import MAX_ATTEMPTS, MAX_RUN, MIN_ACK, concurrency_of, cpu_of
from pys_multi_providers.gcp.view import (
    PROJECT_HINT,
    REGION_HINT,
    environments_of,
    is_open,
    log_filter,
    names_of,
    private_routes,
    settings_of,
)
from pys_multi_tools import daylight
from pys_multi_tools.deployment import Deployment, Problem
from pys_multi_tools.secret_values import misplaced

#: Of an event: Google's own limit for functions that events drive; Pub/Sub gives a push 600 s, with the start.
_EVENT_TIMEOUT = 540
_MAX_CONCURRENCY = 1000
#: Memory in MiB, least and most, by processors of an instance; below one, the most by the least share.
_MEMORY: Mapping[int, tuple[int, int]] = {
    1: (128, 4096),
    2: (128, 8192),
    4: (2048, 16_384),
    6: (4096, 24_576),
    8: (4096, 32_768),
}
_SHARES = ((0.5, 1024), (0.08, 512))
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What Cloud Run and functions-framework set themselves ("Reserved environment variables"), and what the document sets.
_RESERVED = re.compile(
    "PORT|K_(SERVICE|REVISION|CONFIGURATION)|FUNCTION_(TARGET|SIGNATURE_TYPE)|CLOUD_RUN_.*|X_GOOGLE_.*|THREADS|"
    "PYS_MULTI_.*"
)
_MAX_VARIABLES, _MAX_VALUE = 1000, 32 * 1024
#: Of one resource, and those of them that are of pys-multi: service, stage, build, and that it holds data.
_MAX_LABELS, _OWN_LABELS = 64, 4
#: Notifications of one bucket about one kind of event.
_MAX_EVENT_NOTIFICATIONS = 10
_MAX_KEY = 1024
#: What a project has until it asks for more.
_ACCOUNTS, _FUNCTIONS, _JOBS = 100, 1000, 1000
#: Characters of what a sink of Cloud Logging lets through ("LogSink", filter).
_MAX_FILTER = 20_000
#: Paths that Cloud Run's front answers itself, or lets nobody have.
_TAKEN = re.compile(r"/healthz|/eventlog|/_ah(/.*)?")
_MIB = 1024


def problems(deployment: Deployment) -> Iterator[Problem]:
    """Everything that Google Cloud would refuse, or do otherwise than the service says."""
    if deployment.service.functions and not can_render(deployment):
        return  # check_options() of the tools says what is wrong with them
    settings = settings_of(deployment)
    if not settings.project:
        yield _error("gcp.project", "no project is named", PROJECT_HINT)
    if not settings.region:
        yield _error("gcp.region", "no region is named", REGION_HINT)
    yield from misplaced(deployment, source, '"gcp-sm:NAME"')
    yield from _labels(_source(deployment, "gcp.labels"), settings.labels)
    for resource in deployment.service.resources:
        if resource.options.get("gcp"):
            where = f"{resource.kind} {resource.name}"
            yield _error(where, "on gcp, resources have no options", "remove gcp={…} from it")
    for function in deployment.service.functions:
        yield from _function(function, settings.region or "")
        yield from _callers(function, deployment)
        for trigger in function.triggers:
            if isinstance(trigger, Schedule):
                yield from _schedule(trigger, function)
            elif isinstance(trigger, Route | Mount):
                yield from _path(trigger)
            else:
                yield from _event(trigger, function)
    yield from _queues(deployment)
    yield from _notifications(deployment)
    yield from _names(deployment)
    yield from _logs(deployment)
    yield from _quotas(deployment)


def environment_problems(deployment: Deployment) -> Iterator[Problem]:
    """Environments that Cloud Run would refuse. The rest of the deployment must be in order."""
    own = deployment.project.settings.environment
    for function, variables in environments_of(deployment):
        where = f"function {function.name}"
        for name in {**own, **function.environment}:
            if not _ENVIRONMENT_NAME.fullmatch(name):
                hint = "begin it with a letter or '_', and use letters, digits and '_'"
                yield _error(where, f"Cloud Run takes no environment variable {name!r}", hint)
            elif _RESERVED.fullmatch(name):
                yield _error(where, f"environment variable {name!r} is set by the platform", "give it another name")
        for name, value in variables.items():
            size = len(value.encode())
            if size > _MAX_VALUE:
                what = "what says where its resources are" if name.startswith("PYS_MULTI_") else f"{name!r}"
                hint = "use fewer resources in one function, or put large values into a file or a secret"
                yield _error(where, f"{what} has {size:,} bytes in its environment, of at most {_MAX_VALUE:,}", hint)
        if len(variables) > _MAX_VARIABLES:
            what = f"it has {len(variables):,} environment variables, and Cloud Run takes {_MAX_VARIABLES:,}"
            yield _error(where, what, "put several values into one, or into a file")


def fits(text: str) -> Iterator[Problem]:
    """What is wrong with a document as a whole. text: as it is rendered."""
    entries = json.loads(text)["resources"]
    ids = Counter(entry["id"] for entry in entries)
    names = Counter((e["kind"], e["name"]) for e in entries if "body" in e and not e["kind"].endswith(".notifications"))
    for id in sorted(id for id, count in ids.items() if count > 1):
        yield _error("the document", f"two things in it would be called {id!r}", "give one of them another name")
    for kind, name in sorted(key for key, count in names.items() if count > 1):
        what = f"two things in it would be {kind.split('.')[-1]} {name!r}"
        yield _error("the document", what, "give one of them another name")


def can_render(deployment: Deployment) -> bool:
    """Whether there is a function, and every one has options that can be."""
    try:
        return [options_of(function) for function in deployment.service.functions] != []
    except ValidationError:
        return False


# ---- functions


def _function(function: Function, region: str) -> Iterator[Problem]:
    where, options = f"function {function.name}", options_of(function)
    yield from _labels(where, options.labels)
    if options.min_instances > options.max_instances:
        what = f"it keeps {options.min_instances} instances, of at most {options.max_instances}"
        yield _error(where, what, "raise max_instances")
    concurrency = concurrency_of(function)
    if concurrency > _MAX_CONCURRENCY:
        yield _error(
            where,
            f"an instance would take {concurrency:,} requests at once, a request for each message of its batches, and "
            f"Cloud Run allows {_MAX_CONCURRENCY:,}",
            "make the batches smaller, or give each consumer a function of its own",
        )
    yield from _cpu(function, where, concurrency)
    if options.vpc_connector and region and f"/locations/{region}/" not in options.vpc_connector:
        yield _error(
            where, f"its connector {options.vpc_connector!r} is not in {region}", "name a connector of the same region"
        )


def _cpu(function: Function, where: str, concurrency: int) -> Iterator[Problem]:
    given = options_of(function).cpu
    if given is None:
        return  # what the view chooses fits
    cpu, memory = cpu_of(function), function.memory
    if cpu < 1:
        if concurrency > 1:
            what = f"an instance with {cpu:g} processors takes one request at a time, and this one takes {concurrency}"
            yield _error(where, what, "write gcp={'cpu': 1}, or leave cpu out")
        most = next((most for share, most in _SHARES if cpu >= share), 0)
        if memory > most:
            what = f"an instance with {cpu:g} processors has at most {most:,} MB, not {memory:,}"
            yield _error(where, what, f"write gcp={{'cpu': {0.5 if memory <= _MIB else 1}}}, or leave cpu out")
    elif cpu not in _MEMORY:
        known = ", ".join(map(str, _MEMORY))
        yield _error(where, f"Cloud Run has no {cpu:g} processors", f"use {known}, or less than 1")
    else:
        least, most = _MEMORY[int(cpu)]
        if not least <= memory <= most:
            what = f"an instance with {cpu:g} processors has {least:,} to {most:,} MB, not {memory:,}"
            yield _error(where, what, "change memory or cpu, or leave cpu out")


def _callers(function: Function, deployment: Deployment) -> Iterator[Problem]:
    """Of private routes beside open ones, the function itself finds out who calls."""
    private = private_routes(function)
    if not private or not is_open(function):
        return
    unknown = [i for i in settings_of(deployment).invokers if i.startswith(("group:", "domain:"))]
    if unknown:
        yield _error(
            private[0].id,
            f"it is private and its function has open routes too, so the function looks at the caller's token, which "
            f"does not say whether it is of {unknown[0]!r}",
            "give private routes a function of their own, or name users and service accounts in gcp.invokers",
        )


def _schedule(schedule: Schedule, function: Function) -> Iterator[Problem]:
    if function.timeout > MAX_RUN:
        yield _error(
            schedule.id,
            f"Scheduler waits {MAX_RUN:,} s for a run, and the function may take {function.timeout:g} s",
            f"write timeout={MAX_RUN}, or let the schedule put the work into a queue",
        )
    yield from daylight.problems(schedule, "Scheduler may skip that run")


def _event(trigger: Consume | Subscribe | ObjectEvent, function: Function) -> Iterator[Problem]:
    window = trigger.window if isinstance(trigger, Consume) else 0.0
    if function.timeout + window > _EVENT_TIMEOUT:
        waits = f", and its window is {window:g} s" if window else ""
        yield _error(
            trigger.id,
            f"Google gives an event {_EVENT_TIMEOUT} s, and the function may take {function.timeout:g} s{waits}",
            f"write timeout={_EVENT_TIMEOUT - window:g}, or split the work into several messages",
        )
    if not isinstance(trigger, Consume) and 1 + trigger.retries > MAX_ATTEMPTS:
        yield _error(trigger.id, *_too_often(trigger.retries))


def _path(trigger: Route | Mount) -> Iterator[Problem]:
    if isinstance(trigger, Mount):
        return
    if _TAKEN.fullmatch(trigger.path):
        yield _error(trigger.id, f"Cloud Run keeps the path {trigger.path} for itself", "give the route another path")
    elif trigger.path.endswith("z"):
        what = "Cloud Run keeps some paths that end in 'z' for itself, and does not say which"
        yield _warning(trigger.id, what, "give the route a path that ends in another letter")


# ---- resources


def _queues(deployment: Deployment) -> Iterator[Problem]:
    for queue in deployment.service.resources:
        if not isinstance(queue, Queue):
            continue
        where = f"queue {queue.name}"
        if 1 + queue.retries > MAX_ATTEMPTS:
            yield _error(where, *_too_often(queue.retries))
        if queue.visibility is not None and queue.visibility < MIN_ACK:
            what = f"Pub/Sub delivers a message again after {MIN_ACK} s at the earliest, not {queue.visibility:g} s"
            yield _warning(where, what, f"write visibility={MIN_ACK}, or leave it out")


def _too_often(retries: int) -> tuple[str, str]:
    what = f"Pub/Sub delivers a message {MAX_ATTEMPTS} times at most, not {1 + retries}"
    return what, f"write retries={MAX_ATTEMPTS - 1}"


def _notifications(deployment: Deployment) -> Iterator[Problem]:
    count: Counter[tuple[str, str]] = Counter()
    for function in deployment.service.functions:
        for trigger in function.triggers:
            if not isinstance(trigger, ObjectEvent):
                continue
            if len(trigger.prefix.encode()) > _MAX_KEY:
                what = f"a prefix has at most {_MAX_KEY:,} bytes, as the name of an object has"
                yield _error(trigger.id, what, "shorten it")
            if any(sign in trigger.prefix for sign in "\r\n"):
                yield _error(trigger.id, "no object of Storage has a line break in its name", "change the prefix")
            count[trigger.bucket, trigger.event] += 1
    split = "let one handler publish to a topic, and the others subscribe"
    for (bucket, event), number in count.items():
        if number > _MAX_EVENT_NOTIFICATIONS:
            what = f"{number} triggers want to know what is {event} there, and Storage tells {_MAX_EVENT_NOTIFICATIONS}"
            yield _error(f"bucket {bucket}", what, split)


# ---- names and quotas


def _names(deployment: Deployment) -> Iterator[Problem]:
    service = deployment.service
    if service.name.startswith("goog"):
        what = "Google lets no name begin with 'goog' but its own"
        yield _error(f"service {service.name}", what, "give the service another name")
        return
    if not settings_of(deployment).project:
        return
    names = names_of(deployment)
    for resource in service.resources:
        if isinstance(resource, Bucket) and re.search("g[o0]{2}g[l1]e", names.bucket(resource.name)):
            yield _error(
                f"bucket {resource.name}",
                f"it would be called {names.bucket(resource.name)!r}, and a bucket's name has no 'google' in it",
                "give the service or the bucket another name",
            )


def _logs(deployment: Deployment) -> Iterator[Problem]:
    settings, names = settings_of(deployment), deployment.service.functions
    if settings.log_retention_days is None or not settings.project:
        return
    found = log_filter(settings.region or "", [names_of(deployment).function(function.name) for function in names])
    if len(found) > _MAX_FILTER:
        what = f"one sink cannot tell of {len(names):,} functions: its filter would be {len(found):,} characters long"
        hint = f"leave log_retention_days out; Cloud Logging takes {_MAX_FILTER:,} characters"
        yield _error(_source(deployment, "gcp.log_retention_days"), what, hint)


def _quotas(deployment: Deployment) -> Iterator[Problem]:
    service = deployment.service
    where, ask = f"service {service.name}", "ask for a higher quota: https://console.cloud.google.com/iam-admin/quotas"
    functions = len(service.functions)
    if functions + 1 > _ACCOUNTS:
        what = f"it has {functions + 1:,} service accounts, and a project allows {_ACCOUNTS} until it asks for more"
        yield _warning(where, what, ask)
    if functions > _FUNCTIONS:
        what = f"it has {functions:,} functions, and a region allows {_FUNCTIONS:,} until the project asks for more"
        yield _warning(where, what, ask)
    jobs = sum(isinstance(trigger, Schedule) for function in service.functions for trigger in function.triggers)
    if jobs > _JOBS:
        what = f"it has {jobs:,} schedules, and a region allows {_JOBS:,} until the project asks for more"
        yield _warning(where, what, ask)


def _labels(where: str, labels: Mapping[str, str]) -> Iterator[Problem]:
    for key in labels:
        if key.startswith(("goog", "pys-multi-")):
            whose = "Google's" if key.startswith("goog") else "pys-multi's"
            yield _error(where, f"label {key!r}: labels with this beginning are {whose}", "give it another name")
    if len(labels) > _MAX_LABELS - _OWN_LABELS:
        yield _error(
            where, f"{len(labels)} labels are more than Google takes", f"use at most {_MAX_LABELS - _OWN_LABELS}"
        )


def _source(deployment: Deployment, key: str) -> str:
    return deployment.project.sources.get(key) or key


def _error(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint)


def _warning(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint, severity="warning")
