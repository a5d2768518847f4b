"""What Azure indexes of a bundle: ``function_app.py`` (v2 model) and ``host.json``, and the settings that go with them.

One bundle serves every function of the service, so the file names the triggers of all of them and registers those of
the function that the app is (``PYS_MULTI_FUNCTION``). Names that differ by stage come from the app's settings.

HTTP. Azure tries the routes of an app in the alphabetical order of its functions' names, without regard to how
specific they are (FunctionMetadataManager and WebJobsRouter of the host, 4.1037; issue 3153 of its repository): the
names made here put them into the order that pys-multi's own routing has. An app whose routes are all open to strangers,
or all private, needs one route for everything. Where both kinds are in one function, each private template is a
function of its own that asks for a key, each public one that overlaps with it as well, without a key, and the rest
stays open; the runtime refuses a private route that came through an open one, for Azure matches paths that are not
fully decoded.

Messages. The Python worker cannot settle single messages of a batch without an SDK and gRPC in the bundle, and it
settles one message by how its invocation ends. So every message is an invocation of its own (cardinality one), and a
handler that takes batches gets those that run at the same time, gathered in the instance (``batches.py``): each is
completed or abandoned by itself, and Service Bus counts deliveries and keeps dead letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from re import sub
from typing import TYPE_CHECKING

from pys_multi.model import Function, Mount, Route, Service
from pys_multi.routing import Template
from pys_multi.runtime import HEALTH_PATH
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.render import render

if TYPE_CHECKING:
    from pys_multi.routing import Segment

#: What of this provider ships into a function.
RUNTIME_MODULES = tuple(
    f"pys_multi_providers.azure.{name}"
    for name in (
        "batches",
        "calls",
        "deadlines",
        "entities",
        "events",
        "fronts",
        "logs",
        "objects",
        "resources",
        "runtime",
        "signatures",
        "streaming",
        "tables",
        "tokens",
    )
)
#: Route below which an app takes events by hand: ``POST /.pys-multi/events/<trigger>`` with a key of the app.
EVENTS_ROUTE = ".pys-multi/events"
#: Seconds between the end that the runtime sets to a handler and the one that Azure sets to its worker process,
#: in which a message that failed is held before it is delivered again.
GRACE = 90
#: Messages that one instance takes beside those that its handlers work on, in the place of such as failed and are held.
_ROOM = 4

#: A route's template as ASP.NET writes it: its segments, each text, "{pN}" or "{pN:regex(…)}", or "{*pN}" at the end.
_Pattern = tuple[str, ...]
#: A pattern, a method or "*", and whether that needs no key.
_Asked = tuple[_Pattern, str, bool]
#: The constraint of a whole number: ASP.NET's own "int" and "long" have no more digits than they can hold, and a sign.
_INT = "regex(^[0-9]+$)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One HTTP function of an app. methods: None for all. anonymous: whether it needs no key."""

    name: str
    route: str
    methods: tuple[str, ...] | None = None
    anonymous: bool = False
    is_events: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """One function of an app that a queue, topic or timer triggers. kind: `queue`, `topic` or `timer`."""

    name: str
    id: str
    kind: str
    sessions: bool = False


def files(deployment: Deployment) -> dict[str, bytes]:
    """The entry files of the bundle, path → content."""
    service = deployment.service
    apps = [
        {"name": function.name, "http": http_of(function), "reactions": reactions_of(service, function)}
        for function in service.functions
    ]
    rendered = {
        "function_app.py": render("pys_multi_templates", "azure/function_app.py.j2", {"functions": apps}),
        "host.json": render("pys_multi_templates", "azure/host.json.j2", {}),
    }
    return {path: text.encode() for path, text in rendered.items()}


def function_names(service: Service, function: Function) -> list[str]:
    """The functions that Azure has indexed once the app of this function is right."""
    return sorted(
        [entry.name for entry in http_of(function)] + [entry.name for entry in reactions_of(service, function)]
    )


def app_settings(function: Function) -> dict[str, str]:
    """Settings of the app that belong to these files, beside the environment of the function."""
    calls = max([function.concurrency, *(getattr(trigger, "batch", 1) for trigger in function.triggers)]) + _ROOM
    end = ceil(function.timeout) + GRACE
    prefix = "AzureFunctionsJobHost__"
    return {
        f"{prefix}functionTimeout": f"{end // 3600:02d}:{end // 60 % 60:02d}:{end % 60:02d}",
        f"{prefix}extensions__serviceBus__maxConcurrentCalls": str(calls),
        f"{prefix}extensions__serviceBus__maxConcurrentSessions": str(calls),
        # Otherwise the host answers "/" with a page of its own where no route does.
        "AzureWebJobsDisableHomepage": "true",
        # The worker of Python 3.11 and 3.12 streams only where it indexes at its start.
        "PYTHON_ENABLE_INIT_INDEXING": "1",
        "PYTHON_THREADPOOL_THREAD_COUNT": str(max(function.concurrency, 1)),
    }


def reactions_of(service: Service, function: Function) -> list[Reaction]:
    """What triggers the function other than HTTP."""
    found: list[Reaction] = []
    taken: set[str] = set()
    for trigger in function.triggers:
        if isinstance(trigger, Route | Mount):
            continue
        name = _named(f"on_{trigger.handler.rpartition('.')[2].rpartition(':')[2]}", taken)
        if trigger.kind == "schedule":
            found.append(Reaction(name=name, id=trigger.id, kind="timer"))
        elif trigger.kind == "subscribe":
            found.append(Reaction(name=name, id=trigger.id, kind="topic"))
        else:  # an event of a bucket comes through a queue of its own
            queue = getattr(trigger, "queue", "")
            sessions = bool(queue) and getattr(service.resource(queue), "ordered", False)
            found.append(Reaction(name=name, id=trigger.id, kind="queue", sessions=sessions))
    return found


def _named(wanted: str, taken: set[str]) -> str:
    """A name that Azure and Python take, and that is still free."""
    plain = sub(r"[^A-Za-z0-9_]", "_", wanted)[:100]
    name, number = plain, 2
    while name.lower() in taken:
        name, number = f"{plain}_{number}", number + 1
    taken.add(name.lower())
    return name


# ---- HTTP


def http_of(function: Function) -> list[Entry]:
    """The HTTP functions of the app, in the order in which Azure tries them."""
    events = Entry(name="a_events", route=f"{EVENTS_ROUTE}/{{*trigger}}", methods=("POST",), is_events=True)
    routes = [trigger for trigger in function.triggers if isinstance(trigger, Route | Mount)]
    if not routes:
        return [events, Entry(name="b_health", route=HEALTH_PATH[1:], methods=("GET",))]
    if all(map(_is_open, routes)):
        return [events, Entry(name="z_http", route="{*path}", anonymous=True)]
    if not any(map(_is_open, routes)):
        if function.cors is None:
            return [events, Entry(name="z_http", route="{*path}")]
        # Browsers ask before they send a key.
        preflight = Entry(name="b_preflight", route="{*path}", methods=("OPTIONS",), anonymous=True)
        others = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        return [events, preflight, Entry(name="z_http", route="{*path}", methods=others)]
    return [events, *_mixed(function), Entry(name="z_http", route="{*path}", anonymous=True)]


def conflicts(function: Function) -> list[str]:
    """Public routes that Azure cannot tell from a private one of the same function, so that some or all of their
    paths need a key."""
    asked = _all_asked(function)
    closed = [(pattern, method, _vague(route)) for route, pattern, method, is_open in asked if not is_open]

    def is_clear(route: Route | Mount, pattern: _Pattern, method: str) -> bool:
        own = _vague(route)
        return not any(
            # Either takes paths of the other one, that is tried before it: the other by what it cannot say, or this one
            # by what the other leaves open where this one cannot say it.
            (vague or any(at >= len(other) or other[at].startswith("{") for at in own))
            and _rank(other) < _rank(pattern)
            and _overlap(pattern, other)
            for other, wanted, vague in closed
            if method == wanted or "*" in (method, wanted)
        )

    return sorted(
        {
            route.id
            for route, pattern, method, is_open in asked
            if _is_open(route) and route.id != HEALTH_PATH and not (is_open and is_clear(route, pattern, method))
        }
    )


def _is_open(route: Route | Mount) -> bool:
    """Whether strangers reach it: it is public, or the function itself asks who they are."""
    return bool(route.public or route.auth)


def _mixed(function: Function) -> Iterator[Entry]:
    """A function for every private template and every public one that overlaps with it, the most specific first."""
    asked = [(pattern, method, is_open) for _, pattern, method, is_open in _all_asked(function)]
    asked += list(_parents(asked))
    private = {pattern for pattern, _, is_open in asked if not is_open}
    found: dict[tuple[_Pattern, bool], set[str]] = {}
    for pattern, method, is_open in asked:
        if not is_open or any(_overlap(pattern, other) for other in private):
            found.setdefault((pattern, is_open), set()).add(method)
    for number, ((pattern, is_open), methods) in enumerate(sorted(found.items(), key=lambda item: _rank(item[0][0]))):
        yield Entry(
            name=f"h{number:04d}",
            route="/".join(pattern),
            methods=None if "*" in methods else tuple(sorted(methods)),
            anonymous=is_open,
        )


def _parents(asked: Sequence[_Asked]) -> Iterator[_Asked]:
    """What is above "/a/{rest:path}": to Azure "/a" is of it, while here it is of a later route, or of none."""
    known = {(pattern, method) for pattern, method, _ in asked}
    for pattern, method, is_open in asked:
        above = pattern[:-1]
        if not pattern[-1:] or not pattern[-1].startswith("{*") or any(part.startswith("{") for part in above):
            continue
        if not above or (above, method) in known or (above, "*") in known:
            continue
        later = [
            (_rank(other), other_is_open)
            for other, wanted, other_is_open in asked
            if _rank(other) > _rank(pattern) and method in (wanted, "*") and _overlap(above, other)
        ]
        if later and min(later)[1] is not is_open:
            known.add((above, method))
            yield above, method, not is_open


def _all_asked(function: Function) -> list[tuple[Route | Mount, _Pattern, str, bool]]:
    """Each route with its patterns and methods, and whether that needs no key.

    Azure knows the converters int and path. A public route with another one matches paths there that are not its own:
    where they could be those of a private route that is tried later, it needs a key as well.
    """
    health = Route(id=HEALTH_PATH, method="GET", path=HEALTH_PATH, handler="", public=True)
    routes = [trigger for trigger in function.triggers if isinstance(trigger, Route | Mount)]
    asked = [(route, *pair) for route in (*routes, health) for pair in _asked(route)]
    closed = [(pattern, method) for route, pattern, method in asked if not _is_open(route)]
    whole = {(pattern, method) for route, pattern, method in asked if _is_open(route) and not _vague(route)}

    def is_open(route: Route | Mount, pattern: _Pattern, method: str) -> bool:
        rivals = [other for other, wanted in closed if method == wanted or "*" in (method, wanted)]
        if not _is_open(route) or pattern in rivals:
            return False
        if not _vague(route) or (pattern, method) in whole:  # what is not its own is another open route's
            return True
        return not any(_rank(other) > _rank(pattern) and _overlap(pattern, other) for other in rivals)

    return [(route, pattern, method, is_open(route, pattern, method)) for route, pattern, method in asked]


def _vague(route: Route | Mount) -> frozenset[int]:
    """The segments of a route of which Azure's pattern matches more than the route does; none where it is exact."""
    if isinstance(route, Mount):
        return frozenset()
    segments = Template(route.path).segments

    def is_exact(number: int, segment: Segment) -> bool:
        if isinstance(segment, str):
            return segment != "" or number == len(segments) - 1
        if len(segment) > 1:
            return False
        converter = segment[0][1]
        if converter == "path":  # it matches what is above it as well, which only text names (`_parents`)
            return number == len(segments) - 1 and all(isinstance(before, str) for before in segments[:-1])
        return converter in ("str", "int")

    return frozenset(number for number, segment in enumerate(segments) if not is_exact(number, segment))


def _asked(route: Route | Mount) -> Iterator[tuple[_Pattern, str]]:
    """The patterns and methods that reach a route; the method of a mount is ``*``."""
    if isinstance(route, Mount):
        yield from ((_pattern(path), "*") for path in ([route.path] if route.path else []))
        yield _pattern(f"{route.path}/{{rest:path}}"), "*"
        return
    yield _pattern(route.path), route.method
    if route.method == "GET":
        yield _pattern(route.path), "HEAD"


def _pattern(path: str) -> _Pattern:
    found: list[str] = []
    for number, segment in enumerate(Template(path).segments if path != "/" else []):
        if segment == "":
            if number < path.count("/") - 1:  # two slashes in a row are nothing that ASP.NET can say
                return (*found, f"{{*p{number}}}")
            continue
        if isinstance(segment, str):
            found.append(segment)
        elif any(not isinstance(part, str) and part[1] == "path" for part in segment):
            return (*found, f"{{*p{number}}}")
        elif len(segment) == 1 and segment[0][1] == "int":
            found.append(f"{{p{number}:{_INT}}}")
        else:
            found.append(f"{{p{number}}}")
    return tuple(found)


def _rank(pattern: _Pattern) -> tuple[tuple[int, str], ...]:
    """Text before numbers before parameters before the rest of the path, segment by segment."""

    def kind(part: str) -> int:
        return 3 if part.startswith("{*") else 0 if not part.startswith("{") else 1 if _INT in part else 2

    return (*((kind(part), part) for part in pattern), (-1, ""))


def _overlap(one: _Pattern, other: _Pattern) -> bool:
    """Whether there is a path that both match."""
    for left, right in zip(one, other, strict=False):
        if left.startswith("{*") or right.startswith("{*"):
            return True
        if not _share(left, right):
            return False
    longer = one[len(other) :] or other[len(one) :]
    return not longer or longer[0].startswith("{*")


def _share(left: str, right: str) -> bool:
    """Whether two segments match the same text; ASP.NET compares without regard to case."""
    if left.startswith("{") and right.startswith("{"):
        return True
    if left.startswith("{"):
        left, right = right, left
    return (_INT not in right or left.isdigit()) if right.startswith("{") else left.lower() == right.lower()
