"""Rendering: hostile names keep their place in JSON and YAML, and an error names the template and its line."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pys_multi_tools.errors import RenderError
from pys_multi_tools.render import render

TEMPLATES = {
    "document.yaml.j2": (
        "name: {{ name }}\n"
        "{{ name }}: key\n"
        "items:\n"
        "{% for item in items %}\n"
        "  - id: {{ item.id }}\n"
        "    values: {{ item['values'] }}\n"
        "{% endfor %}\n"
        "after: end\n"
    ),
    "document.json.j2": (
        '{"name": {{ name }}, {{ name }}: "key",\n'
        '  "items": {{ items | tojson(2) | indent(2) }}, "after": {{ "end" | indent(2) }}}\n'
    ),
    "missing.j2": "first: {{ name }}\n\nsecond: {{ absent }}\n",
    "nested.j2": "a\nb: {{ name.absent.deeper }}\n",
    "condition.j2": "{% if absent %}\n{% endif %}\n",
    "syntax.j2": "ok\n{% for %}\n",
    "bare.j2": "{{ name | bare }}.py {{ name }}\n",
    "value.j2": "\n{{ value }}\n",
    "divided.j2": "\n\n{{ 1 / 0 }}\n",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A package of another distribution that brings its own templates."""
    folder = tmp_path_factory.mktemp("distribution")
    (folder / "acme_provider" / "templates").mkdir(parents=True)
    (folder / "acme_provider" / "__init__.py").touch()
    for name, text in TEMPLATES.items():
        (folder / "acme_provider" / "templates" / name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield "acme_provider"
    sys.path.remove(str(folder))
    sys.modules.pop("acme_provider", None)


def refused(package: str, template: str, view: dict[str, Any]) -> RenderError:
    with pytest.raises(RenderError) as caught:
        render(package, f"templates/{template}", view)
    return caught.value


HOSTILE = [
    *("no", "1.10", "~", "null", "0x1F", "2026-01-01", "<<", "=", "?", "|", ">", "# c", "a: b", "- a"),
    *("!Ref x", "&a *a", "${AWS::Region}", "${{ secrets.X }}", "{{ name }}", "{% raw %}", "</script>", "🦊"),
    *('a"\n"b', "a'b", "\\", "a\r\nb: c", "\x85\u2028\u2029", "\ufeff", "\x7f", "\x00", "\ud800"),
]
hostile = st.one_of(
    st.text(),
    st.sampled_from(HOSTILE),
)


@settings(deadline=None)
@given(hostile, st.lists(st.fixed_dictionaries({"id": hostile, "values": st.lists(hostile)}), max_size=3))
@example("after", [])
def test_hostile_names_round_trip_through_json_and_yaml(package: str, name: str, items: list[Any]) -> None:
    view = {"name": name, "items": items}
    expected = {"name": name, name: "key", "items": items, "after": "end"}
    as_json = render(package, "templates/document.json.j2", view)
    assert json.loads(as_json) == expected
    as_yaml = yaml.safe_load(render(package, "templates/document.yaml.j2", view))
    assert as_yaml == {**expected, "items": items or None}
    as_json.encode("utf-8")


def test_the_same_view_gives_the_same_bytes(package: str) -> None:
    view = {"name": "shop", "items": [{"id": "a", "values": ["b"]}]}
    assert len({render(package, "templates/document.yaml.j2", view) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("template", "where", "what"),
    [
        ("missing.j2", "templates/missing.j2:3", "'absent' is undefined"),
        ("nested.j2", "templates/nested.j2:2", "absent"),
        ("condition.j2", "templates/condition.j2:1", "'absent' is undefined"),
        ("syntax.j2", "templates/syntax.j2:2", "Expected"),
        ("divided.j2", "templates/divided.j2:3", "division by zero"),
        ("absent.j2", "package acme_provider", "templates/absent.j2"),
    ],
)
def test_an_error_names_the_template_and_the_line(package: str, template: str, where: str, what: str) -> None:
    error = refused(package, template, {"name": "shop"})
    assert error.where == where
    assert what in error.what


@pytest.mark.parametrize("value", [object(), {1, 2}, math.nan, b"bytes"])
def test_what_json_cannot_say_is_refused(package: str, value: object) -> None:
    assert refused(package, "value.j2", {"value": value}).where == "templates/value.j2:2"


@settings(deadline=None)
@given(hostile)
def test_a_bare_value_is_a_plain_word_or_refused(package: str, name: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        assert render(package, "templates/bare.j2", {"name": name}) == f'{name}.py "{name}"\n'
    else:
        assert "without quotes" in refused(package, "bare.j2", {"name": name}).what


def test_a_package_without_templates_is_named() -> None:
    with pytest.raises(RenderError, match="package no_such_package"):
        render("no_such_package", "x.j2", {})


def test_a_template_cannot_be_taken_from_outside_the_package(package: str, tmp_path: Path) -> None:
    outside = tmp_path / "secret.j2"
    outside.write_text("secret", encoding="utf-8")
    with pytest.raises(RenderError, match="there is no template"):
        render(package, "../../../../../../../../.." + str(outside), {})
