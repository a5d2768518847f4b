"""JSON logs: one line a record, whatever is logged, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import App
from pys_multi.logs import JsonFormatter, StdoutHandler, configure
from pys_multi.messages import Context, _current
from pys_multi.resources import revealed_secrets


@pytest.fixture(autouse=True)
def _no_secrets() -> Iterator[None]:
    before = set(revealed_secrets)
    revealed_secrets.clear()
    yield
    revealed_secrets.clear()
    revealed_secrets.update(before)


def lines_of(*calls: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """What a logger writes for calls of (level, message, arguments...)."""
    written = io.StringIO()
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("shop", logging.DEBUG)
    logger.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", written)
        for level, message, *arguments in calls:
            logger.log(level, message, *arguments, **kwargs)
    text = written.getvalue()
    assert text.isascii()
    assert text.count("\n") == len(calls)
    assert text.replace("\n", "").isprintable()
    return [json.loads(line) for line in text.splitlines()]


def line_of(message: object, *arguments: object, **kwargs: Any) -> dict[str, Any]:
    return lines_of((logging.INFO, message, *arguments), **kwargs)[0]


def test_a_record_is_one_line_of_json() -> None:
    line = line_of("order %s is %s", 7, "paid")
    assert line.pop("time") > 1_700_000_000
    assert line == {"level": "INFO", "logger": "shop", "message": "order 7 is paid"}


def test_the_invocation_is_in_every_line() -> None:
    token = _current.set(
        Context(
            "r-1",
            service="shop",
            function="api",
            stage="dev",
            build_id="0123",
            trigger="api:GET /",
            trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
    )
    try:
        line = line_of("hello", extra={"request_id": "forged", "order": 7})
    finally:
        _current.reset(token)
    del line["time"]
    assert line == {
        "level": "INFO",
        "logger": "shop",
        "message": "hello",
        "request_id": "r-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "service": "shop",
        "function": "api",
        "stage": "dev",
        "build_id": "0123",
        "trigger": "api:GET /",
        "extra.request_id": "forged",
        "order": 7,
    }


def test_extras_keep_their_form() -> None:
    extra = {
        "text": "ä",
        "number": 1.5,
        "yes": True,
        "nothing": None,
        "list": [1, ("a", {"b"})],
        "dict": {1: {"deep": [None]}, None: 2},
        "level": "mine",
    }
    line = line_of("x", extra=extra)
    assert line["text"] == "ä"
    assert line["number"] == 1.5
    assert line["yes"] is True
    assert line["nothing"] is None
    assert line["list"] == [1, ["a", ["b"]]]
    assert line["dict"] == {"1": {"deep": [None]}, "None": 2}
    assert (line["level"], line["extra.level"]) == ("INFO", "mine")


def test_an_exception_is_in_its_line() -> None:
    try:
        raise LookupError("no such order\nat all")
    except LookupError:
        line = line_of("failed", exc_info=True)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("LookupError: no such order\nat all")
    assert "exception" not in line_of("fine", exc_info=True)
    assert "test_logs" in line_of("here", stack_info=True)["stack"]


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class BrokenDict(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_odd_values_never_raise() -> None:
    circular: list[Any] = []
    circular.append(circular)
    line = line_of(
        "x",
        extra={
            "nan": float("nan"),
            "infinity": float("-inf"),
            "bytes": b"\0",
            "object": object(),
            "broken": Broken(),
            "broken_dict": BrokenDict(a=1),
            "circular": circular,
            "huge": 10**5000,
            "long": "x" * 1_000_000,
            "surrogate": "\ud800",
            "broken_key": {Broken(): 1},
        },
    )
    assert line["nan"] == "nan"
    assert line["infinity"] == "-inf"
    assert line["broken"] == "<Broken: RuntimeError>"
    assert line["broken_dict"] == "<BrokenDict: RuntimeError>"
    assert len(line["long"]) == 32_768


def test_messages_that_cannot_be_made_are_written_as_they_are() -> None:
    assert "arguments do not fit" in line_of("%d", "text")["message"]
    assert "arguments do not fit" in line_of("%s %s", 1)["message"]
    assert "arguments do not fit" in line_of("%s", Broken())["message"]
    assert line_of(Broken())["message"].startswith("<Broken")
    try:
        raise BrokenError
    except BrokenError:
        assert "BrokenError" in line_of("x", exc_info=True)["exception"]


@given(st.text(), st.recursive(st.none() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
def test_any_text_is_one_line(text: str, value: object) -> None:
    assert line_of("%s", text, extra={"value": value, text: value})["message"] == text


def test_a_forged_line_stays_inside_of_its_own() -> None:
    lines_of((logging.INFO, 'x\n{"level": "CRITICAL"}\r\u2028\u2029\x85\x1b[31m'))


def test_a_closed_stdout_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    handler.handle(logging.makeLogRecord({"msg": "x"}))


# --- secrets

SECRET = 'päss"word\\1'


class Secrets:
    def secret_value(self, name: str) -> str:
        return {"KEY": SECRET, "PEM": PEM, "PIN": "123"}[name]


PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----\n"


def reveal(name: str) -> str:
    app = App("shop")
    app.backend = Secrets()  # type: ignore[assignment]
    return app.secret(name).value


def test_a_secret_that_was_read_is_masked_wherever_it_appears() -> None:
    value = reveal("KEY")
    try:
        raise LookupError(f"with {value} inside")
    except LookupError:
        line = line_of(
            "%s and %r",
            f"<{value}>",
            value,
            exc_info=True,
            extra={"value": value, "list": [value], "dict": {value: {"a": value}}, "json": json.dumps([value])},
        )
    text = json.dumps(line, ensure_ascii=False)
    assert "word" not in text
    assert line["message"] == "<***> and '***'"
    assert line["value"] == "***"
    assert line["dict"] == {"***": {"a": "***"}}
    assert line["json"] == '["***"]'
    assert "LookupError: with *** inside" in line["exception"]


def test_lines_of_a_key_are_masked_alone() -> None:
    reveal("PEM")
    line = line_of("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC")
    assert line["message"] == "***"
    assert "MII" not in line_of("%r", PEM)["message"]


def test_a_secret_within_another_does_not_lay_the_rest_open() -> None:
    revealed_secrets.update(("abcd", "abcdefgh"))
    assert line_of("abcdefgh abcd")["message"] == "*** ***"


def test_a_text_is_cut_after_it_was_masked() -> None:
    revealed_secrets.add("the whole secret")
    line = line_of("x" * 32_760 + "the whole secret", extra={"more": "x" * 32_760 + "the whole secret"})
    assert "the" not in line["message"] + line["more"]


def test_very_short_secrets_do_not_make_holes() -> None:
    reveal("PIN")
    assert line_of("order 1234")["message"] == "order 1234"


# --- configure, in a process of its own: it is about the root logger of a process


def run(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


CODE = """
import logging
from pys_multi.logs import configure
configure(); configure()
logging.getLogger("shop").debug("debug"); logging.getLogger("shop").info("info"); logging.warning("warning")
"""


@pytest.mark.parametrize(
    ("level", "messages"),
    [
        (None, ["info", "warning"]),
        ("", ["info", "warning"]),
        ("debug", ["debug", "info", "warning"]),
        ("WARNING", ["warning"]),
        ("30", ["warning"]),
        ("ERROR", []),
    ],
)
def test_configure_writes_from_the_level_on(level: str | None, messages: list[str]) -> None:
    environment = {"LOG_LEVEL": level} if level is not None else {}
    assert [json.loads(line)["message"] for line in run(CODE, **environment)] == messages


def test_a_level_that_is_none_says_so() -> None:
    first, *rest = [json.loads(line) for line in run(CODE, LOG_LEVEL="verbose")]
    assert "'VERBOSE' is not a level" in first["message"]
    assert [line["message"] for line in rest] == ["info", "warning"]


def test_what_the_user_configured_stays_unless_replaced() -> None:
    code = (
        "import logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='mine %(message)s')\n"
        "from pys_multi.logs import configure\n"
        "configure(); logging.warning('one')\n"
        "configure(replace=True); logging.warning('two')\n"
    )
    one, two = run(code)
    assert one == "mine one"
    assert json.loads(two)["message"] == "two"


def test_configure_leaves_the_handlers_of_this_test_alone(caplog: pytest.LogCaptureFixture) -> None:
    configure()
    logging.getLogger("shop").warning("still caught")
    assert "still caught" in caplog.text
