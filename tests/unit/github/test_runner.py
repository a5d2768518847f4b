"""What the runner of a workflow is told, and what nobody else can tell it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_tools.github.redaction import Redactor
from pys_multi_tools.github.runner import Runner, cut

HOSTILE = (
    "::error::spoofed",
    "::set-output name=url::https://evil.example",
    "::add-mask::a",
    "##[error]spoofed",
    "a%0A::error::spoofed",
    "x\n::error::spoofed",
    "x\r::error::spoofed",
    "\x1b[2J\x1b]0;title\x07",
    "$(touch pwned) `touch pwned` ${{ github.token }}",
    "end-of\nEOF\nurl=https://evil.example",
)


class Shell:
    """A runner's side: which commands it would obey, and which files it would read."""

    def __init__(self, folder: Path) -> None:
        self.stream = io.StringIO()
        self.files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        self.redact = Redactor()
        self.runner = Runner({name: str(path) for name, path in self.files.items()}, self.redact, self.stream)

    def obeyed(self) -> list[str]:
        found: list[str] = []
        stopped = ""
        for line in self.stream.getvalue().splitlines():
            text = line.strip()
            if stopped:
                stopped = "" if text == f"::{stopped}::" else stopped
            elif text.startswith("::stop-commands::"):
                stopped = text.removeprefix("::stop-commands::")
            elif text.startswith("::") or "##[" in text:
                found.append(line)
        return found

    def outputs(self) -> dict[str, str]:
        found: dict[str, str] = {}
        lines = iter(self.files["GITHUB_OUTPUT"].read_bytes().decode().split("\n"))
        for line in lines:
            if not line:
                continue
            name, mark = line.split("<<")
            value = []
            while (text := next(lines)) != mark:
                value.append(text)
            found[name] = "\n".join(value)
        return found


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_is_a_line_whatever_is_in_it(shell: Shell, text: str) -> None:
    shell.runner.line(text)
    shell.runner.group(text)
    shell.runner.annotate("warning", text, file="a.py", line=3, title=text)
    shell.runner.line(text)
    shell.runner.output("plan", text)
    shell.runner.resume()
    assert [command.split("::")[1].split(" ")[0] for command in shell.obeyed()] == ["group", "warning"]
    assert shell.outputs() == {"plan": text}


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text(tmp_path_factory: pytest.TempPathFactory, first: str, second: str) -> None:
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.runner.line(first)
    shell.runner.annotate("error", second, title=first)
    shell.runner.line(second)
    assert len(shell.obeyed()) == 1
    assert shell.stream.getvalue().count("\n") == len(shell.stream.getvalue().splitlines())


def test_an_annotation_has_its_place(shell: Shell) -> None:
    shell.runner.annotate("error", "wrong\n→ mend it", file="src/a,b:c.py", line=7, title="pys-multi")
    [command] = shell.obeyed()
    assert command == "::error title=pys-multi,file=src/a%2Cb%3Ac.py,line=7::wrong%0A→ mend it"


def test_a_mask_holds_in_everything_that_follows(shell: Shell) -> None:
    shell.runner.mask("a secret value", "")
    shell.runner.line("it is a secret value")
    shell.runner.output("x", "a secret value")
    shell.runner.summary("a secret value")
    assert shell.obeyed() == ["::add-mask::a secret value"]
    assert shell.stream.getvalue().count("a secret value") == 1
    assert all("secret" not in path.read_text() for path in shell.files.values())


def test_a_summary_is_cut_at_a_line_with_its_html_closed() -> None:
    text = "<details>\n" + "ä" * 50 + "\n" + "line\n" * 500 + "</details>\n"
    shown = cut(text, 400)
    assert len(shown.encode()) <= 400
    assert shown.count("<details>") == shown.count("</details>")
    assert shown.endswith("… cut here: it is longer than GitHub shows.\n")
    assert cut("short", 400) == "short"
