"""What Azure indexes is what the service has, and its own routing asks for a key where the route is private."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.azure_host.front import _matched

from pys_multi import CORS, APIKey, App, Event, Message
from pys_multi.errors import DefinitionError
from pys_multi.model import Consume, Function, Queue, Route, Service
from pys_multi.routing import RouteTable, Template
from pys_multi_providers.azure import entry


def handler() -> None:
    return None


def function_of(public: Mapping[str, bool], *, cors: CORS | None = None) -> Function:
    """A function with GET routes, path → whether it is public."""
    app = App("shop")
    api = app.function("api", cors=cors)
    for path, is_public in public.items():
        api.get(path, public=is_public)(handler)
    return app.service().function("api")


def chosen(function: Function, path: str, method: str = "GET") -> entry.Entry | None:
    """The HTTP function that Azure calls: the first by name whose route matches."""
    for found in sorted(entry.http_of(function), key=lambda found: found.name.lower()):
        if _matched(found.route, path) is not None and (found.methods is None or method in found.methods):
            return found
    return None


# ---- the files


def service() -> Service:
    app = App("shop", public=True)
    orders, ordered, news, files = app.queue("orders"), app.queue("sorted", ordered=True), app.topic("news"), None
    files = app.bucket("files")
    api = app.function("api")
    worker = app.function("worker", timeout=100, concurrency=3)
    api.get("/")(handler)

    @worker.consume(orders, batch=7)
    def ship(batch: list[Message]) -> None: ...

    @worker.consume(ordered)
    def sort(message: Message) -> None: ...

    @worker.subscribe(news)
    def read(message: Message) -> None: ...

    @worker.created(files)
    def store(event: Event) -> None: ...

    @worker.every("5 minutes")
    def tick() -> None: ...

    return app.service()


def deployment(of: Service) -> Any:
    return SimpleNamespace(service=of)


def test_the_file_is_python_that_names_every_trigger() -> None:
    text = entry.files(deployment(service()))["function_app.py"].decode()
    compile(text, "function_app.py", "exec")
    for id in ("worker:ship", "worker:sort", "worker:read", "worker:store", "worker:tick"):
        assert f'entry.setting("{id}", ' in text
    assert text.count("is_sessions_enabled=True") == 1
    assert max(map(len, text.splitlines())) <= 120


def test_the_host_has_no_route_prefix_and_completes_messages() -> None:
    host = json.loads(entry.files(deployment(service()))["host.json"])
    assert host["version"] == "2.0"
    assert host["extensions"]["http"]["routePrefix"] == ""
    assert host["extensions"]["serviceBus"]["autoCompleteMessages"] is True
    assert set(host["extensionBundle"]) == {"id", "version"}


def test_the_expected_functions_are_named() -> None:
    found = service()
    assert entry.function_names(found, found.function("api")) == ["a_events", "z_http"]
    assert entry.function_names(found, found.function("worker")) == [
        "a_events",
        "b_health",
        "on_read",
        "on_ship",
        "on_sort",
        "on_store",
        "on_tick",
    ]


def test_the_settings_leave_room_for_batches_and_for_what_is_held() -> None:
    found = entry.app_settings(service().function("worker"))
    assert int(found["AzureFunctionsJobHost__extensions__serviceBus__maxConcurrentCalls"]) > 7
    assert found["AzureFunctionsJobHost__functionTimeout"] == "00:03:10"
    assert found["PYTHON_THREADPOOL_THREAD_COUNT"] == "3"


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5, unique=True))
def test_hostile_names_stay_names(handlers: list[str]) -> None:
    triggers = tuple(Consume(id=f"w:{name}", queue="q", handler=f"m:{name}") for name in handlers)
    worker = Function(name="w\"'{{ }}\n", triggers=triggers)
    found = Service(name="s", functions=(worker,), resources=(Queue(name="q"),))
    text = entry.files(deployment(found))["function_app.py"].decode()
    settings: list[str] = []
    names: dict[str, Any] = {"registered": []}
    stub = _Stub(worker.name, settings)
    exec(compile(_without_imports(text), "function_app.py", "exec"), {"func": _Azure(names), "start": stub, "os": _OS})
    assert settings == [f"w:{name}" for name in handlers]
    registered = names["registered"]
    assert len({name.lower() for name in registered}) == len(registered) == len(handlers) + 2
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,127}", name) for name in registered)


def _without_imports(text: str) -> str:
    return re.sub(r"^(import|from) .*$", "__file__ = '/app/function_app.py'", text, flags=re.M)


class _OS:
    class path:
        dirname = abspath = staticmethod(lambda path: path)


class _Stub:
    def __init__(self, function: str, settings: list[str]) -> None:
        self.function, self._settings = function, settings

    def __call__(self, folder: str) -> _Stub:
        return self

    def knows(self, trigger: str) -> bool:
        return True

    def setting(self, trigger: str, name: str) -> str:
        self._settings.append(trigger)
        return name


class _Azure:
    """In the place of azure.functions: notes what is registered."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def FunctionApp(self) -> _Azure:
        return self

    def __getattr__(self, name: str) -> Any:
        if name[0].isupper() or name == "functions":
            return self

        def decorator(**options: Any) -> Any:
            def register(function: Any) -> Any:
                self._names["registered"].append(function.__name__)
                return function

            return register

        return decorator


# ---- HTTP


def test_open_routes_need_no_key() -> None:
    function = function_of({"/a": True, "/b/{x}": True})
    assert [(e.name, e.anonymous) for e in entry.http_of(function)] == [("a_events", False), ("z_http", True)]


def test_a_route_with_an_authenticator_of_its_own_is_open_to_azure() -> None:
    app = App("shop")
    key = app.secret("KEY")
    app.function("api").get("/a", auth=APIKey(key))(handler)
    assert entry.http_of(app.service().function("api"))[-1].anonymous


def test_private_routes_need_a_key() -> None:
    function = function_of({"/a": False})
    assert [(e.name, e.anonymous) for e in entry.http_of(function)] == [("a_events", False), ("z_http", False)]


def test_a_browser_asks_before_it_has_a_key() -> None:
    function = function_of({"/a": False}, cors=CORS(["https://app.example"]))
    assert (chosen(function, "/a", "OPTIONS") or entry.Entry(name="", route="")).anonymous
    assert not (chosen(function, "/a") or entry.Entry(name="", route="")).anonymous


def test_a_function_without_routes_says_to_key_holders_that_it_is_well() -> None:
    function = Function(name="worker")
    assert chosen(function, "/.pys-multi/health") == entry.Entry(
        name="b_health", route=".pys-multi/health", methods=("GET",)
    )
    assert chosen(function, "/anything") is None


def test_a_private_route_beside_open_ones_is_a_function_of_its_own() -> None:
    function = function_of({"/a": True, "/orders/{id}": False, "/orders/recent": True})
    assert [(e.route, e.anonymous) for e in entry.http_of(function)[1:]] == [
        ("orders/recent", True),
        ("orders/{p1}", False),
        ("{*path}", True),
    ]
    assert not (chosen(function, "/orders/12") or entry.Entry(name="", route="", anonymous=True)).anonymous


def test_no_two_functions_of_an_app_have_the_same_route_and_method() -> None:
    """Azure refuses the second one (HttpRoutesConflict of the host)."""
    app = App("shop")
    api = app.function("api")
    api.get("/x/{n:uuid}", public=False)(handler)
    api.get("/x/{name}", public=True)(handler)
    api.post("/x/{name}", public=True)(handler)
    api.get("/y/{n:int}", public=False)(handler)
    api.get("/y/{name}", public=True)(handler)
    function = app.service().function("api")
    entries = entry.http_of(function)
    pairs = [(e.route, method) for e in entries for method in (e.methods or ("*",))]
    assert len(pairs) == len(set(pairs))
    assert entry.conflicts(function) == ["api:GET /x/{name}"]
    assert (chosen(function, "/x/a", "POST") or entry.Entry(name="", route="")).anonymous
    assert (chosen(function, "/y/a") or entry.Entry(name="", route="")).anonymous
    assert not (chosen(function, "/y/7") or entry.Entry(name="", route="", anonymous=True)).anonymous


_SEGMENTS = st.sampled_from(["a", "b", "{x}", "{n:int}", "{rest:path}", "{x}.txt"])
_TEMPLATES = st.lists(_SEGMENTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
_PATHS = st.lists(st.sampled_from(["a", "b", "7", "c.txt", "z"]), min_size=0, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(max_examples=300)
@given(st.dictionaries(_TEMPLATES, st.booleans(), min_size=1, max_size=6), st.lists(_PATHS, min_size=1, max_size=8))
def test_azure_asks_for_a_key_exactly_where_the_route_is_private(public: dict[str, bool], paths: list[str]) -> None:
    table = RouteTable()
    kept: dict[str, bool] = {}
    for path, is_public in public.items():
        numbered = _distinct(path)
        try:
            function_of({**kept, numbered: is_public})
        except DefinitionError:  # it matches the same paths as another one
            continue
        kept[numbered] = is_public
        table.add("GET", Template(numbered), numbered)
    function = function_of(kept)
    blurred = entry.conflicts(function)
    for path in paths:
        found = table.find("GET", path)
        if found is None:
            continue
        azure = chosen(function, path)
        assert azure is not None
        route = str(found[0])
        if not kept[route]:
            assert not azure.anonymous, (route, path, azure)
        elif f"api:GET {route}" not in blurred:
            assert azure.anonymous, (route, path, azure)


def _distinct(path: str) -> str:
    """A parameter has another name in each segment."""
    return "/".join(
        re.sub(r"\{(\w+)", lambda match, number=number: f"{{{match[1]}{number}", part)  # type: ignore[misc]
        for number, part in enumerate(path.split("/"))
    )


@pytest.mark.parametrize("path", ["/a//b", "/a/", "/"])
def test_paths_that_asp_net_cannot_say_are_covered(path: str) -> None:
    function = function_of({path: False, "/open": True})
    assert Route(id="", method="GET", path=path, handler="") is not None
    assert not (chosen(function, path) or entry.Entry(name="", route="", anonymous=True)).anonymous
