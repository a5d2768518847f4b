"""The one way from a template and a view to text; what is rendered for review is what is deployed.

Every ``{{ value }}`` comes out as JSON, which is also YAML and a Python literal of strings: a name with a quote,
a newline or a brace cannot leave its place, and ``no`` or ``1.10`` stay strings. ``|bare`` prints a word
without quotes and refuses everything that is not one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pys_multi_tools.errors import RenderError

if TYPE_CHECKING:
    import jinja2

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# JSON allows these characters as they are; YAML does not, takes them for line ends, or UTF-8 has none for them.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def render(package: str, template: str, view: Mapping[str, object]) -> str:
    """Return one template of ``package`` filled with ``view``; the same input gives the same text everywhere.

    package: dotted name of the package that the template is in, a provider's own for a third party's.
    template: path in that package, such as "local/manifest.json.j2".
    Raises RenderError, which names the template and its line.
    """
    import jinja2  # here and below: most commands render nothing, and it takes as long to import as they run

    try:
        return _environment(package).get_template(template).render(view)
    except jinja2.TemplateNotFound as exc:
        raise RenderError(f"there is no template '{exc.name}'", where=f"package {package}") from exc
    except jinja2.TemplateSyntaxError as exc:
        raise RenderError(str(exc.message), where=f"{exc.name or template}:{exc.lineno}") from exc
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as exc:
        where = _line_in(exc, template)
        raise RenderError(str(exc) or type(exc).__name__, where=where) from exc


@functools.cache
def _environment(package: str) -> jinja2.Environment:
    import jinja2

    try:
        loader = jinja2.PackageLoader(package, ".")
    except (ImportError, ValueError) as exc:
        raise RenderError(f"has no templates: {exc}", where=f"package {package}") from exc
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (JSON, not HTML; _finalize escapes every value)
    )
    environment.filters["tojson"] = to_json
    environment.filters["bare"] = _bare
    environment.filters["indent"] = _indent
    del environment.filters["safe"]  # it would print a value as it is
    return environment


def to_json(value: object, indent: int | None = None) -> Markup:
    """Return ``value`` as JSON that is YAML too. Raises TypeError for what JSON has no form for."""
    # dumps() would make a new encoder for each of the many small values that a template has.
    text = _encode(value) if indent is None else json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    if text.isascii() and "\x7f" not in text:
        return Markup(text)  # noqa: S704 (no HTML)
    return Markup(_NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text))  # noqa: S704 (no HTML)


def _finalize(value: Any) -> Markup:
    if type(value).__name__ == "StrictUndefined":
        str(value)  # raises, with the name that is missing
    return value if isinstance(value, Markup) else to_json(value)


def _bare(value: object) -> Markup:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"{value!r} cannot be printed without quotes: it is not a plain word")
    return Markup(value)  # noqa: S704 (no HTML)


def _indent(value: object, width: int = 4) -> Markup:
    """Jinja's own filter escapes line by line, which takes seconds for a large document; JSON needs none of it."""
    text = value if isinstance(value, Markup) else to_json(value)
    return Markup(str(text).replace("\n", "\n" + " " * width))  # noqa: S704 (no HTML)


def _line_in(exc: BaseException, template: str) -> str:
    """The template's line that raised: Jinja maps its traceback back to the template files."""
    where, frame = template, exc.__traceback__
    while frame is not None:
        if "__jinja_template__" in frame.tb_frame.f_globals or frame.tb_frame.f_code.co_filename.endswith(template):
            where = f"{template}:{frame.tb_lineno}"
        frame = frame.tb_next
    return where
