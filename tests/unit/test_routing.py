"""Templates, the route table, and its agreement with Starlette's router."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.routing import Match, Route

from pys_multi.errors import DefinitionError
from pys_multi.routing import RouteTable, Template

CONVERTERS = ("str", "int", "float", "uuid", "path")


def table(*routes: str) -> RouteTable:
    """A table of ``METHOD /path``, each its own target."""
    made = RouteTable()
    for route in routes:
        method, _, path = route.partition(" ")
        made.add(method, Template(path), route)
    return made


def find(made: RouteTable, method: str, path: str) -> str | None:
    found = made.find(method, path)
    return found[0] if found is not None else None


# ---- templates


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("orders", "does not begin with '/'"),
        ("", "does not begin with '/'"),
        ("/a?b=1", "'?' or '#'"),
        ("/a#b", "'?' or '#'"),
        ("/a\nb", "cannot be printed"),
        ("/caf%C3%A9", "decoded before"),
        ("/{a", "without its '}'"),
        ("/a}", "without its '{'"),
        ("/{}", "not a parameter name"),
        ("/{a-b}", "not a parameter name"),
        ("/{a:number}", "one of str, int, float, uuid, path"),
        ("/{a:}", "one of str, int, float, uuid, path"),
        ("/{a}/{a}", "twice"),
        ("/{a}{b}", "text between"),
        ("/{a}-{b}-{c}-{d}", "at most three"),
        ("/{a:path}/x/{b:path}/y/{c:path}/z/{d:path}", "at most three"),
    ],
)
def test_a_malformed_template_says_what_is_wrong(path: str, why: str) -> None:
    with pytest.raises(DefinitionError, match=why.replace("?", r"\?")) as caught:
        Template(path)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", [None, 5, b"/a"])
def test_a_template_is_text(path: Any) -> None:
    with pytest.raises(DefinitionError):
        Template(path)


@given(st.text() | st.text(alphabet="/{}:abint.-_%?#* \n").map(lambda text: "/" + text))
def test_a_template_is_parsed_or_refused(text: str) -> None:
    try:
        template = Template(text)
    except DefinitionError:
        return
    made = RouteTable()
    made.add("GET", template, text)
    with pytest.raises(DefinitionError, match="twice"):
        made.add("GET", Template(text), text)


def test_templates_that_match_the_same_paths_have_one_shape() -> None:
    assert Template("/a/{x:int}/{y}").shape == Template("/a/{id:int}/{name}").shape
    assert Template("/a/{x:int}").shape != Template("/a/{x}").shape


# ---- conversion


@pytest.mark.parametrize(
    ("path", "request_path", "value"),
    [
        ("/{x}", "/a b\nc", "a b\nc"),
        ("/{x:int}", "/0042", 42),
        ("/{x:float}", "/1.50", 1.5),
        ("/{x:float}", "/3", 3.0),
        ("/{x:uuid}", "/00000000-0000-0000-0000-00000000000A", UUID(int=10)),
        ("/{x:uuid}", "/0000000000000000000000000000000a", UUID(int=10)),
        ("/{x:path}", "/", ""),
        ("/{x:path}", "/a//b/", "a//b/"),
        ("/v{x:int}.json", "/v7.json", 7),
    ],
)
def test_a_parameter_is_converted(path: str, request_path: str, value: object) -> None:
    found = table(f"GET {path}").find("GET", request_path)
    assert found is not None
    assert found[1] == {"x": value}
    assert type(found[1]["x"]) is type(value)


@pytest.mark.parametrize(
    ("path", "request_path"),
    [
        ("/{x}", "/"),
        ("/{x}", "/a/b"),
        ("/{x:int}", "/-1"),
        ("/{x:int}", "/1\n"),
        ("/{x:int}", "/٣"),  # a digit to str.isdigit, not to int parameters
        ("/{x:int}", "/" + "9" * 5000),  # int() would refuse it
        ("/v{x:int}", "/v" + "9" * 5000),
        ("/{x:float}", "/nan"),
        ("/{x:float}", "/1."),
        ("/{x:float}", "/" + "9" * 400),  # would be infinite
        ("/{x:uuid}", "/0000"),
        ("/a/{x:path}", "/a"),
        ("/a.b", "/aXb"),
        ("/{x}.txt", "/.txt"),
    ],
)
def test_what_does_not_fit_is_no_such_path(path: str, request_path: str) -> None:
    made = table(f"GET {path}")
    assert made.find("GET", request_path) is None
    assert made.allowed(request_path) == set()


@given(st.integers(min_value=0, max_value=10**30), st.floats(min_value=0, max_value=1e15), st.uuids())
def test_numbers_and_ids_come_back_as_they_were(number: int, decimal: float, id: UUID) -> None:
    text = f"{decimal:.6f}"
    found = table("GET /{i:int}/{f:float}/{u:uuid}").find("GET", f"/{number}/{text}/{id}")
    assert found is not None
    assert found[1] == {"i": number, "f": float(text), "u": id}
    assert math.isfinite(found[1]["f"])  # type: ignore[arg-type]


# ---- which route


def test_the_most_specific_route_wins_whatever_the_order() -> None:
    routes = ["/{x:path}", "/{x}", "/{x:float}", "/{x:int}", "/{x:uuid}", "/a{x}", "/ab{x}", "/{x}.c", "/{x:int}.c"]
    for order in (routes, routes[::-1]):
        made = table(*(f"GET {path}" for path in order))
        for path, wanted in {
            "/z": "/{x}",
            "/z/z": "/{x:path}",
            "/1.5": "/{x:float}",
            "/15": "/{x:int}",
            "/00000000000000000000000000000000": "/{x:uuid}",
            "/ac": "/a{x}",
            "/abc": "/ab{x}",
            "/1.c": "/{x:int}.c",
            "/z.c": "/{x}.c",
        }.items():
            assert find(made, "GET", path) == f"GET {wanted}", path


def test_a_dead_end_of_the_more_specific_route_is_left_again() -> None:
    made = table("GET /a/{x:int}/end", "GET /a/{x}/other", "GET /{rest:path}")
    assert find(made, "GET", "/a/1/other") == "GET /a/{x}/other"
    assert find(made, "GET", "/a/1/nowhere") == "GET /{rest:path}"


def test_a_method_that_only_a_less_specific_route_has_is_found_there() -> None:
    made = table("GET /items/new", "POST /items/{id}")
    assert find(made, "POST", "/items/new") == "POST /items/{id}"
    assert made.allowed("/items/new") == {"GET", "HEAD", "POST"}


def test_head_takes_the_route_of_get_unless_it_has_its_own() -> None:
    assert find(table("GET /a"), "HEAD", "/a") == "GET /a"
    assert find(table("GET /a", "HEAD /a"), "HEAD", "/a") == "HEAD /a"
    assert find(table("POST /a"), "HEAD", "/a") is None


def test_names_of_parameters_belong_to_the_method() -> None:
    made = table("GET /{a}", "POST /{b}")
    assert made.find("GET", "/1") == ("GET /{a}", {"a": "1"})
    assert made.find("POST", "/1") == ("POST /{b}", {"b": "1"})


@pytest.mark.parametrize("path", ["*", "", "orders", "x/orders", "http://a/orders"])
def test_only_a_path_that_begins_with_a_slash_is_found(path: str) -> None:
    made = table("GET /orders", "GET /", "GET /{x:path}")
    assert made.find("GET", path) is None
    assert made.allowed(path) == set()


def test_a_path_of_any_length_is_answered() -> None:
    made = table("GET /a/{x}/{y}.{z}/b", "GET /{x:path}/end", "GET /{a}.{b}.{c}!")
    for path in ("/" * 100_000, "/a" * 50_000, "/" + "." * 100_000, "/a/" + "." * 100_000 + "/b"):
        assert made.find("GET", path) is None
    found = made.find("GET", "/" + "a/" * 50_000 + "end")
    assert found is not None
    assert found[0] == "GET /{x:path}/end"


#: Run in an interpreter of its own: beside the threads of other tests CPython 3.11 may never leave a profiled call.
STEPS = """
import sys
from pys_multi.routing import RouteTable, Template

def steps(routes):
    made, calls = RouteTable(), 0
    for number in range(routes):
        made.add("GET", Template(f"/group-{number}/orders/{{id:int}}"), number)
    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call" and frame.f_globals["__name__"] == "pys_multi.routing"
    sys.setprofile(count)
    found = made.find("GET", "/group-7/orders/42")
    sys.setprofile(None)
    assert found is not None
    return calls

print(steps(10), steps(1000))
"""


def test_the_cost_of_a_request_does_not_grow_with_the_routes() -> None:
    """Counted in steps of the tree, which a timing could only guess at."""
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    few, many = run.stdout.split()
    assert few == many


# ---- against Starlette

LITERALS = st.sampled_from(["a", "b", "ab", "1", "10", "x.y", "a+b", "(", "é"])


@st.composite
def templates(draw: st.DrawFn) -> str:
    """``/a/{p0:int}/b{p1}.c``: literal, parameter and mixed segments; a path parameter only at the end."""
    count = draw(st.integers(1, 4))
    segments = []
    for index in range(count):
        kind = draw(st.sampled_from(["literal", "parameter", "mixed"]))
        last = index == count - 1
        converter = draw(st.sampled_from(CONVERTERS if last else CONVERTERS[:-1]))
        parameter = f"{{p{index}:{converter}}}"
        if kind == "literal":
            segments.append(draw(LITERALS))
        elif kind == "parameter":
            segments.append(parameter)
        else:
            segments.append(draw(LITERALS) + parameter + draw(st.sampled_from(["", ".c", "-"])))
    return "/" + "/".join(segments) + draw(st.sampled_from(["", "", "/"]))


@st.composite
def paths_of(draw: st.DrawFn, routes: list[str]) -> str:
    """A path that fits one of the templates, or nearly."""
    values = {
        "str": ["a", "b", "1", "x.y", "10.c", "é"],
        "int": ["0", "10", "007"],
        "float": ["1.5", "10"],
        "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"],
        "path": ["", "a/b", "a//", "1"],
    }
    path = draw(st.sampled_from(routes))
    for index in range(4):
        for converter in CONVERTERS:
            path = path.replace(f"{{p{index}:{converter}}}", draw(st.sampled_from(values[converter])))
    return path + draw(st.sampled_from(["", "", "", "/", "a", "/a"]))


def endpoint(request: Any) -> None:
    """Starlette wants one."""


def starlette_matches(routes: Iterable[str], path: str) -> dict[str, dict[str, Any]]:
    """Every route that Starlette's router would match, and its converted parameters."""
    matches = {}
    for route in routes:
        match, scope = Route(route, endpoint).matches({"type": "http", "method": "GET", "path": path, "root_path": ""})
        if match is Match.FULL:
            matches[route] = scope["path_params"]
    return matches


@given(st.data())
def test_the_table_agrees_with_starlette(data: st.DataObject) -> None:
    """Starlette takes the first route that matches, the table the most specific one: so the table must find a
    route exactly when Starlette finds one, and the one it finds must match there too, with the same parameters."""
    routes = data.draw(st.lists(templates(), min_size=1, max_size=8, unique_by=lambda path: Template(path).shape))
    path = data.draw(paths_of(routes))
    made = table(*(f"GET {route}" for route in routes))
    matches = starlette_matches(routes, path)
    found = made.find("GET", path)
    assert (found is not None) == bool(matches)
    assert made.allowed(path) == ({"GET", "HEAD"} if matches else set())
    if found is not None:
        assert matches[found[0].removeprefix("GET ")] == found[1]


@given(st.data())
def test_what_is_found_does_not_depend_on_the_order_of_definition(data: st.DataObject) -> None:
    routes = data.draw(st.lists(templates(), min_size=2, max_size=6, unique_by=lambda path: Template(path).shape))
    path = data.draw(paths_of(routes))
    # Two mixed segments of equal weight ("a{x}" and "{x}a") are told apart by their order alone.
    assume(sum("{" in segment and not segment.startswith("{p") for route in routes for segment in route.split("/")) < 2)
    shuffled = data.draw(st.permutations(routes))
    first, second = table(*(f"GET {r}" for r in routes)), table(*(f"GET {r}" for r in shuffled))
    assert first.find("GET", path) == second.find("GET", path)


@given(st.data())
def test_find_and_allowed_agree(data: st.DataObject) -> None:
    methods = st.sampled_from(["GET", "POST", "DELETE", "*"])
    routes = data.draw(
        st.lists(
            st.tuples(methods, templates()), min_size=1, max_size=8, unique_by=lambda r: (r[0], Template(r[1]).shape)
        )
    )
    path = data.draw(paths_of([route for _, route in routes]))
    made = table(*(f"{method} {route}" for method, route in routes))
    allowed = made.allowed(path)
    for method in ("GET", "POST", "DELETE", "HEAD"):
        assert (made.find(method, path) is not None) == (method in allowed or "*" in allowed)


@given(st.lists(templates(), min_size=1, max_size=6), st.text(alphabet="/ab1.x-é%\n"))
def test_any_path_is_found_or_not(routes: list[str], path: str) -> None:
    made = table(*(f"GET {route}" for route in {Template(route).shape: route for route in routes}.values()))
    found = made.find("GET", path)
    assert found is None or "GET" in made.allowed(path)
