"""parameters.py: how a handler's parameters are filled."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pys_multi.parameters
from pys_multi.errors import DefinitionError, HTTPError, InvalidInput
from pys_multi.http import Request
from pys_multi.messages import Context
from pys_multi.multipart import UploadedFile
from pys_multi.parameters import (
    REQUIRED,
    Body,
    Cookie,
    Form,
    Header,
    Query,
    annotations_of,
    bind,
    return_annotation_of,
)

if TYPE_CHECKING:
    pass  # type: ignore[import-not-found]

IDENTITY = UUID("12345678-1234-5678-1234-567812345678")
JSON = {"content-type": "application/json"}


@dataclass
class Order:
    sku: str
    quantity: int = 1


class Item(TypedDict):
    sku: str


class Model(pydantic.BaseModel):
    sku: str
    made: UUID | None = None


class Struct(msgspec.Struct):
    sku: str


@dataclass
class Login:
    user: str
    roles: list[str] = field(default_factory=list)
    remember: bool = False


class Signup(pydantic.BaseModel):
    tags: list[str] = pydantic.Field(alias="tag")
    groups: list[int] = pydantic.Field(validation_alias=pydantic.AliasChoices("group", "g"), default=[])
    age: int | None = 5
    note: str | None = None


class Settings(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    my_tags: list[str]
    age: int | None = 5


def call(handler: Callable[..., Any], request: Request | None = None, method: str = "", **params: Any) -> Any:
    """Calls a handler with what the request has; path parameters are of the plain kind."""
    request = request or Request(method or "GET", "/")
    kinds = {int: "int", float: "float", UUID: "uuid"}
    converters = {name: kinds.get(type(value), "str") for name, value in params.items()}
    return bind(handler, converters, method or request.method).call(request, params)


def get(query: str = "", **headers: str) -> Request:
    return Request("GET", "/", query_string=query, headers={k.replace("_", "-"): v for k, v in headers.items()})


def post(body: object, content_type: str | None = "application/json", **headers: str) -> Request:
    if content_type is not None:
        headers["content-type"] = content_type
    data = body if isinstance(body, bytes | str) else json.dumps(body).encode()
    return Request("POST", "/", headers=headers, body=data)


def refusals(handler: Callable[..., Any], request: Request, **params: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidInput) as caught:
        call(handler, request, **params)
    return [(error.location, error.field, error.message) for error in caught.value.errors]


def refused(handler: Any, method: str = "GET", **converters: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        bind(handler, converters, method)
    return str(caught.value)


# --- the path


def test_path_parameters_are_converted_by_the_route_then_by_the_annotation() -> None:
    def handler(a: int, b: str, c: float, d: UUID, e) -> Any:  # type: ignore[no-untyped-def]
        return a, b, c, d, e

    assert call(handler, a="5", b="x", c="1.5", d=str(IDENTITY), e="y") == (5, "x", 1.5, IDENTITY, "y")
    assert call(handler, a=5, b="x", c=1.5, d=IDENTITY, e=7) == (5, "x", 1.5, IDENTITY, 7)


def test_a_path_parameter_that_does_not_fit_is_told() -> None:
    def handler(order_id: int, kind: Literal["a", "b"]) -> None: ...

    assert refusals(handler, get(), order_id="x", kind="c") == [
        ("path", "order_id", "must be an integer"),
        ("path", "kind", "must be one of 'a', 'b'"),
    ]


def test_a_converted_path_parameter_keeps_its_constraints() -> None:
    def handler(id: Annotated[int, pydantic.Field(ge=10)]) -> int:
        return id

    assert call(handler, id=10) == 10
    assert refusals(handler, get(), id=9) == [("path", "id", "must be at least 10")]


def test_a_path_parameter_that_contradicts_its_converter_is_refused() -> None:
    def handler(id: str) -> None: ...

    assert "{id:int} in the path makes it int" in refused(handler, id="int")


def test_a_path_parameter_that_nobody_takes_is_refused_unless_the_request_is_taken() -> None:
    def without() -> None: ...
    def with_request(request: Request) -> None: ...

    assert "the path has order_id, which the function does not take" in refused(without, order_id="str")
    bind(with_request, {"order_id": "str"}, "GET")


# --- request and context


def test_request_and_context_by_annotation_or_name() -> None:
    def annotated(it: Request, ctx: Context) -> Any:
        return it, ctx

    def named(context, request):  # type: ignore[no-untyped-def]
        return request, context

    context = Context("id")
    request = Request("GET", "/", context=context)
    assert call(annotated, request) == (request, context)
    assert call(named, request) == (request, context)
    assert call(lambda request: request, request) is request
    assert call(lambda: 5, request) == 5


# --- query, headers, cookies


def test_the_query_is_read_by_annotation() -> None:
    def handler(
        a: int, tags: list[str], b: bool = False, c: Literal["x"] | None = None, d: set[int] | None = None
    ) -> Any:
        return a, tags, b, c, d

    assert call(handler, get("a=1&tags=x&tags=y&b=true&d=1&d=2")) == (1, ["x", "y"], True, None, {1, 2})
    assert call(handler, get("a=1&a=2&tags=&c=x")) == (2, [""], False, "x", None)
    assert refusals(handler, get("a=x&b=2&c=y&d=q")) == [
        ("query", "a", "must be an integer"),
        ("query", "tags", "is required"),
        ("query", "b", "must be true or false"),
        ("query", "c", "must be one of 'x'"),
        ("query", "d.0", "must be an integer"),
    ]


def test_a_default_is_used_as_it_is() -> None:
    marker = object()

    def handler(a: int = marker, *, b: str = "x") -> Any:  # type: ignore[assignment]
        return a, b

    assert call(handler) == (marker, "x")
    assert call(handler, get("a=1&b=y")) == (1, "y")


def test_markers_as_annotation_and_as_default() -> None:
    def handler(
        size: Annotated[int, Query("page-size", ge=1, le=100)] = 20,
        word: str = Query("q", default="none", max_length=3),
        user_agent: Annotated[str, Header()] = "unknown",
        languages: Annotated[list[str], Header("accept-language")] = [],  # noqa: B006
        token: str | None = Header("X-Token", default=None),
        session: Annotated[UUID | None, Cookie("sid")] = None,
    ) -> Any:
        return size, word, user_agent, languages, token, session

    assert call(handler) == (20, "none", "unknown", [], None, None)
    request = Request(
        "GET",
        "/",
        query_string="page-size=5&q=abc",
        headers=[
            ("User-Agent", "curl"),
            ("Accept-Language", "de"),
            ("accept-language", "en"),
            ("x-token", "t"),
            ("cookie", f"sid={IDENTITY}"),
        ],
    )
    assert call(handler, request) == (5, "abc", "curl", ["de", "en"], "t", IDENTITY)
    assert refusals(handler, get("page-size=0&q=abcd", cookie="sid=x")) == [
        ("query", "page-size", "must be at least 1"),
        ("query", "q", "must have a length of at most 3"),
        ("cookie", "sid", "must be a UUID"),
    ]


def test_a_required_header_and_cookie_are_told() -> None:
    def handler(a: Annotated[str, Header("X-A")], b: Annotated[str, Cookie()]) -> None: ...

    assert refusals(handler, get()) == [("header", "X-A", "is required"), ("cookie", "b", "is required")]


# --- the body


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Order, Order("a")),
        (Item, {"sku": "a"}),
        (Model, Model(sku="a")),
        (Struct, Struct("a")),
        (dict, {"sku": "a"}),
        (dict[str, str], {"sku": "a"}),
        (Order | None, Order("a")),
        (Annotated[Any, Body()], {"sku": "a"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_is_read_as_json(annotation: Any, expected: Any, method: str) -> None:
    def handler(order):  # type: ignore[no-untyped-def]
        return order

    handler.__annotations__["order"] = annotation
    for body in ('{"sku":"a"}', b'{"sku": "a"}'):
        assert call(handler, Request(method, "/", headers=JSON, body=body)) == expected


def test_lists_of_structure_are_the_body_and_lists_of_words_the_query() -> None:
    def handler(orders: list[Order], tags: list[str]) -> Any:
        return orders, tags

    request = Request("POST", "/", query_string="tags=x", headers=JSON, body='[{"sku":"a"}]')
    assert call(handler, request) == ([Order("a")], ["x"])

    def bare(values: list) -> Any:  # type: ignore[type-arg]
        return values

    assert call(bare, post([1, "a"])) == [1, "a"]
    assert refusals(bare, post({})) == [("body", "", "must be an array")]


def test_everything_wrong_with_a_request_is_told_at_once() -> None:
    def handler(order: Order, id: int, limit: int, x: Annotated[str, Header()]) -> None: ...

    request = Request("POST", "/", headers=JSON, body='{"quantity":"x"}', query_string="limit=x")
    assert refusals(handler, request, id="x") == [
        ("body", "sku", "is required"),
        ("body", "quantity", "must be an integer"),
        ("path", "id", "must be an integer"),
        ("query", "limit", "must be an integer"),
        ("header", "x", "is required"),
    ]


@pytest.mark.parametrize("kind", [Signup, Settings, Login])
def test_a_byte_order_mark_is_read_over(kind: Any) -> None:
    names = {Signup: "tag", Settings: "myTags", Login: "user"}
    value: object = "x" if kind is Login else ["x"]

    def returned(it: Any) -> Any:
        return it

    returned.__annotations__["it"] = kind

    for body in (
        b"\xef\xbb\xbf" + json.dumps({names[kind]: value}).encode(),
        "\ufeff" + json.dumps({names[kind]: value}),
    ):
        request = Request("POST", "/", headers={"content-type": "application/json"}, body=body)
        assert isinstance(call(returned, request), kind)


def test_a_missing_body() -> None:
    def required(order: Order) -> None: ...
    def optional(order: Order | None = None) -> Any:
        return order

    assert refusals(required, post(b"")) == [("body", "", "is required")]
    assert call(optional, post(b"", None)) is None
    assert call(optional, post("null")) is None


@pytest.mark.parametrize("kind", [Order, dict, Model, Struct])
def test_a_body_that_is_not_json_is_a_400(kind: Any) -> None:
    def handler(order): ...  # type: ignore[no-untyped-def]

    handler.__annotations__["order"] = kind
    for body in (b"{", b'{"sku": NaN}', b'{"sku": "\xff"}', b"[" * 100 + b"]" * 100):
        with pytest.raises(HTTPError) as caught:
            call(handler, post(body))
        assert caught.value.status == 400
        assert "not valid JSON" in caught.value.detail


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({"content-type": "application/json"}, True),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, True),
        ({"content-type": "application/merge-patch+json"}, True),
        ({}, True),
        ({"origin": "https://elsewhere"}, False),  # what a browser sends without asking first
        ({"content-type": "text/plain"}, False),
        ({"content-type": "application/x-www-form-urlencoded"}, False),
        ({"content-type": "application/jsonp"}, False),
    ],
)
def test_a_body_must_say_that_it_is_json(headers: dict[str, str], accepted: bool) -> None:
    def handler(order: Order) -> Order:
        return order

    request = Request("POST", "/", headers=headers, body='{"sku":"a"}')
    if accepted:
        assert call(handler, request) == Order("a")
    else:
        with pytest.raises(HTTPError) as caught:
            call(handler, request)
        assert caught.value.status == 415


def test_a_raw_body_comes_as_bytes_or_text() -> None:
    def raw(data: Annotated[bytes, Body()]) -> bytes:
        return data

    def text(data: str = Body()) -> str:
        return data

    def optional(data: Annotated[bytes, Body()] = b"none") -> bytes:
        return data

    assert call(raw, post(b"\x00\xff", "image/png")) == b"\x00\xff"
    assert call(text, post("ä".encode(), "text/plain")) == "ä"
    assert call(optional, post(b"", None)) == b"none"
    assert "mark it Body()" in refused(call_with(bytes), "POST")


def call_with(annotation: Any) -> Callable[..., Any]:
    def handler(it): ...  # type: ignore[no-untyped-def]

    handler.__annotations__["it"] = annotation
    return handler


def test_a_single_value_may_be_the_whole_body() -> None:
    def handler(count: Annotated[int, Body(ge=1)]) -> int:
        return count

    assert call(handler, post(b"5")) == 5
    assert refusals(handler, post(b"0")) == [("body", "", "must be at least 1")]


# --- forms


def test_form_fields_one_by_one() -> None:
    def handler(
        user: Annotated[str, Form()], roles: Annotated[list[str], Form("role")], age: Annotated[int | None, Form()] = 5
    ) -> Any:
        return user, roles, age

    form = "application/x-www-form-urlencoded"
    assert call(handler, post("user=x&role=a&role=b&age=", form)) == ("x", ["a", "b"], None)
    assert call(handler, post("user=x&role=a", form)) == ("x", ["a"], 5)
    assert refusals(handler, post("role=a&age=x", form)) == [
        ("form", "user", "is required"),
        ("form", "age", "must be an integer"),
    ]
    with pytest.raises(HTTPError) as caught:
        call(handler, post(b"{}", "application/json"))
    assert caught.value.status == 415


def test_a_form_as_a_whole() -> None:
    def handler(login: Annotated[Login, Form()]) -> Login:
        return login

    form = "application/x-www-form-urlencoded"
    assert call(handler, post("user=x&roles=a&roles=b&remember=on", form)) == Login("x", ["a", "b"], True)
    assert refusals(handler, post("remember=maybe", form)) == [
        ("form", "user", "is required"),
        ("form", "remember", "must be true or false"),
    ]


def test_a_form_as_a_whole_in_a_model_of_a_library() -> None:
    def signup(form: Annotated[Signup, Form()]) -> Any:
        return form.model_dump()

    def settings(form: Annotated[Settings, Form()]) -> Any:
        return form

    form = "application/x-www-form-urlencoded"
    assert call(signup, post("tag=a&tag=b&g=1&g=2&age=&note=", form)) == {
        "tags": ["a", "b"],
        "groups": [1, 2],
        "age": None,
        "note": "",
    }
    assert call(settings, post("myTags=a&age=7", form)) == Settings(["a"], 7)
    assert refusals(settings, post("myTags=a&x=1", form)) == [("form", "x", "is not known")]
    file = '--B\r\nContent-Disposition: form-data; name="tag"; filename="f"\r\n\r\nx\r\n--B--\r\n'
    for handler in (signup, settings):
        assert ("form", "tag", "must be text, not a file") in refusals(
            handler, post(file, "multipart/form-data; boundary=B")
        )


def test_the_query_as_a_whole() -> None:
    def plain(login: Annotated[Login, Query()]) -> Login:
        return login

    def model(filter: Annotated[Signup, Query()], page: int = 1) -> Any:
        return filter.tags, filter.age, page

    def optional(login: Annotated[Login | None, Query()] = None) -> Any:
        return login

    assert call(plain, get("user=x&roles=a&roles=b&remember=on")) == Login("x", ["a", "b"], True)
    assert refusals(plain, get("remember=maybe")) == [
        ("query", "user", "is required"),
        ("query", "remember", "must be true or false"),
    ]
    assert call(model, get("tag=a&age=&page=2")) == (["a"], None, 2)
    assert refusals(model, get("")) == [("query", "tag", "Field required")]
    assert call(optional, get("")) is None
    assert call(optional, get("user=x")) == Login("x")


def test_files_of_a_multipart_form() -> None:
    def handler(photo: UploadedFile, title: Annotated[str, Form()], more: list[UploadedFile] | None = None) -> Any:
        return photo.filename, photo.body, title, [file.filename for file in more or []]

    def part(name: str, content: str, filename: str = "") -> str:
        extra = f'; filename="{filename}"' if filename else ""
        return f'--B\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n{content}\r\n'

    multipart = "multipart/form-data; boundary=B"
    body = part("photo", "pixels", "me.png") + part("title", "Me")
    body += part("more", "1", "1.txt") + part("more", "2", "2.txt") + "--B--\r\n"
    assert call(handler, post(body.encode(), multipart)) == ("me.png", b"pixels", "Me", ["1.txt", "2.txt"])
    wrong = part("photo", "text") + part("title", "file", "a.txt") + "--B--\r\n"
    assert refusals(handler, post(wrong.encode(), multipart)) == [
        ("form", "photo", "must be a file"),
        ("form", "title", "must be text, not a file"),
    ]


# --- whatever arrives


def anything(
    order: Order | list[Order] | None = None,
    n: int | None = None,
    tags: list[UUID] | None = None,
    flag: bool = False,
    agent: Annotated[float, Header()] = 0.0,
    sid: Annotated[Literal["a", 1], Cookie()] = 1,
) -> Any:
    return order, n, tags, flag, agent, sid


@given(
    body=st.binary(max_size=60) | st.text(max_size=60) | st.sampled_from(['{"sku":"a"}', "[]", '{"sku":1}']),
    query=st.text("n=tagsflag&%+;1é\0", max_size=40),
    headers=st.lists(st.tuples(st.sampled_from(["agent", "cookie", "content-type"]), st.text(max_size=20))),
)
def test_any_request_is_handled_or_refused(body: bytes | str, query: str, headers: list[tuple[str, str]]) -> None:
    request = Request("POST", "/", query_string=query, headers=headers, body=body)
    try:
        order, n, tags, flag, *_ = call(anything, request)
    except InvalidInput as error:
        told = error.errors
        order = n = tags = flag = None
    except HTTPError as error:
        told = (error.status,)
        order = n = tags = flag = None
    else:
        told = ()
        assert isinstance(flag, bool)
    assert told or isinstance(order, Order | list | None)
    assert n is None or type(n) is int
    assert all(isinstance(tag, UUID) for tag in tags or [])


# --- definitions


@pytest.mark.parametrize(
    ("handler", "method", "message"),
    [
        (lambda a: a, "GET", "parameter 'a': has no annotation and is not in the path"),
        (lambda *a: a, "GET", "*args and **kwargs cannot be filled"),
        (lambda **a: a, "GET", "*args and **kwargs cannot be filled"),
        (call_with(Order), "GET", "is a body, and a GET request has none"),
        (call_with(dict), "HEAD", "is a body, and a HEAD request has none"),
        (call_with(Any), "POST", "It could come from anywhere: mark it"),
        (call_with(complex), "POST", "complex is not a type that a value can be read into"),
        (call_with(Callable[[], int]), "POST", "is not a type that a value can be read into"),
        (call_with("Missing"), "GET", "names 'Missing', which its module does not have at run time"),
        (call_with(Annotated[int, Query(), Header()]), "GET", "is marked twice"),
        (call_with(Annotated[dict[str, int], Query()]), "GET", "cannot be read from text"),
        (call_with(Annotated[Login, Header()]), "GET", "has fields, and a header is one text"),
        (call_with(Annotated[list[Login], Query()]), "GET", "cannot be read from text"),
        (call_with(Annotated[dict[str, str], Form()]), "POST", "cannot be read from text"),
        (functools.partial(lambda a: a, 1), "GET", "is not a Python function"),
        (print, "GET", "is not a Python function"),
    ],
    ids=lambda case: getattr(case, "__name__", str(case))[:40],
)
def test_what_cannot_be_filled_is_refused_when_it_is_defined(handler: Any, method: str, message: str) -> None:
    assert message in refused(handler, method)


def test_a_refusal_says_where() -> None:
    def broken(a: Order, b: Order) -> None: ...

    message = refused(broken, "POST")
    assert message.startswith(f"{__file__}:{broken.__code__.co_firstlineno}: broken(): ")
    assert "parameters a, b: a request has one body" in message


def test_a_body_and_a_form_exclude_each_other() -> None:
    def both(a: Order, b: Annotated[str, Form()]) -> None: ...

    assert "take one or the other" in refused(both, "POST")


def test_a_marked_path_parameter_is_refused() -> None:
    def handler(id: Annotated[int, Query()]) -> None: ...

    assert "is in the path and cannot be Query() as well" in refused(handler, id="int")


# --- what may be a handler


def test_methods_callable_objects_and_wrapped_functions_are_handlers() -> None:
    class Shop:
        def read(self, id: int) -> Any:
            return self, id

        def __call__(self, id: int) -> Any:
            return self, id

    shop = Shop()
    assert call(shop.read, id="5") == (shop, 5)
    assert call(shop, id="5") == (shop, 5)

    def original(id: int, *, tag: str = "x") -> Any:
        return id, tag

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return "wrapped", original(*args, **kwargs)

    assert call(wrapper, get("tag=y"), id="5") == ("wrapped", (5, "y"))


def test_decorated_methods_are_handlers() -> None:
    def decorated(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return "wrapped", function(*args, **kwargs)

        return wrapper

    class Shop:
        @decorated
        def read(self, id: int) -> Any:
            return self, id

        @decorated
        def __call__(self, id: int) -> Any:
            return self, id

        @classmethod
        def made(cls, id: int) -> Any:
            return cls, id

    shop = Shop()
    assert call(shop.read, id="5") == ("wrapped", (shop, 5))
    assert call(shop, id="5") == ("wrapped", (shop, 5))
    assert call(Shop.made, id="5") == (Shop, 5)
    assert call(decorated(shop.made), id="5") == ("wrapped", (Shop, 5))
    assert call(decorated(shop.read), id="5") == ("wrapped", ("wrapped", (shop, 5)))


def test_an_async_handler_gives_its_coroutine() -> None:
    async def handler(id: int) -> int:
        return id

    assert asyncio.run(call(handler, id="5")) == 5


def test_what_the_handler_raises_is_its_own() -> None:
    from pys_multi.scalars import Invalid

    def handler(id: int) -> None:
        raise Invalid("inside")

    with pytest.raises(Invalid, match="inside"):
        call(handler, id="5")


# --- for OpenAPI and the runtime


def test_the_binding_names_its_parameters() -> None:
    def handler(order: Order, id: int, q: Annotated[str, Query("x")] = "d") -> Order: ...  # type: ignore[empty-body]

    parameters = bind(handler, {"id": "int"}, "POST").parameters
    assert [(p.name, p.location, p.alias, p.required, p.default) for p in parameters] == [
        ("order", "body", "", True, REQUIRED),
        ("id", "path", "id", True, REQUIRED),
        ("q", "query", "x", False, "d"),
    ]
    assert parameters[0].annotation is Order
    assert annotations_of(handler)["id"] is int
    assert return_annotation_of(handler) is Order
    assert return_annotation_of(lambda: None) is None
    assert return_annotation_of(call_with(int)) is None


def test_binding_plain_handlers_imports_nothing_heavy() -> None:
    sdk = str(Path(pys_multi.parameters.__file__).parents[1])
    code = f"""
import sys
sys.path.insert(0, {sdk!r})
from pys_multi.parameters import bind
from pys_multi.http import Request
def read(order_id: int, limit: int = 5): return order_id
def create(order: dict): return order
assert bind(read, {{"order_id": "str"}}, "GET").call(Request("GET", "/"), {{"order_id": "5"}}) == 5
assert bind(create, {{}}, "POST").call(Request("POST", "/", body="{{}}"), {{}}) == {{}}
heavy = ("typing", "dataclasses", "inspect", "uuid", "asyncio", "pys_multi.validation", "pys_multi.shapes")
print([name for name in heavy if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
