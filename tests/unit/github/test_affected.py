"""Which services of a repository a change touches, and which it does not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pys_multi_tools.affected import affected
from pys_multi_tools.errors import ToolError

LOCK = """
version = 1
[[package]]
name = "orders"
source = {{ virtual = "." }}
dependencies = [{{ name = "requests" }}]
[[package]]
name = "requests"
version = "{requests}"
dependencies = [{{ name = "idna" }}]
[[package]]
name = "idna"
version = "{idna}"
[[package]]
name = "unrelated"
version = "{unrelated}"
"""
FILES = {
    "README.md": "hello",
    "services/orders/pyproject.toml": '[project]\nname = "orders"\nversion = "1"\n[tool.pys-multi]\napp = "app:app"\n'
    '[tool.pys-multi.secrets]\nKEY = "file:../../keys/key"\n[tool.ruff]\nline-length = 100\n',
    "services/orders/uv.lock": LOCK.format(requests="1", idna="1", unrelated="1"),
    "services/orders/app.py": "import money\n",
    "services/orders/page.html": "<p>",
    "services/orders/tests/test_app.py": "",
    "services/orders/docs/page.md": "",
    "services/mail/pys-multi.toml": 'app = "app:app"\n',
    "services/mail/requirements.txt": "-e ../../libs/common\n-r more.txt\n",
    "services/mail/more.txt": "idna\n",
    "services/mail/app.py": "from common.money import tax\nfrom . import helper\n",
    "services/mail/helper.py": "",
    "libs/common/pyproject.toml": '[project]\nname = "common"\nversion = "1"\n',
    "libs/common/common/__init__.py": "",
    "libs/common/common/money.py": "from common import rates\nSETTINGS = 'common.quoted'\n",
    "libs/common/common/rates.py": "",
    "libs/common/common/quoted.py": "",
    "libs/common/common/alone.py": "",
    "libs/common/common/rates.json": "{}",
    "libs/other/setup.py": "",
    "keys/key": "x",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path, name, text)
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "change")


def paths(root: Path, since: str = "main") -> list[str]:
    return [service.path for service in affected(root, since)]


def change(name: str, text: str | None) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        if text is None:
            (root / name).unlink()
        else:
            write(root, name, text)

    return apply


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        (change("README.md", "bye"), []),
        (change("services/orders/app.py", "import money, os"), ["services/orders"]),
        (change("services/orders/page.html", "<b>"), ["services/orders"]),
        (change("services/orders/new.py", ""), ["services/orders"]),
        (change("services/orders/page.html", None), ["services/orders"]),
        (change("services/orders/tests/test_app.py", "x = 1"), []),
        (change("services/orders/tests/test_app.py", None), []),
        (change("services/orders/docs/page.md", "more"), []),
        (change("services/mail/pys-multi.toml", 'app = "app:app"\nstage = "prod"\n'), ["services/mail"]),
        (change("services/mail/pys-multi.toml", '# a comment\napp = "app:app"\n'), []),
        (change("services/orders/pyproject.toml", FILES["services/orders/pyproject.toml"] + "# end\n"), []),
        (
            change("services/orders/pyproject.toml", FILES["services/orders/pyproject.toml"].replace("100", "120")),
            [],
        ),
        (
            change("services/orders/pyproject.toml", FILES["services/orders/pyproject.toml"].replace('"1"', '"2"')),
            ["services/orders"],
        ),
        (change("services/orders/uv.lock", LOCK.format(requests="1", idna="2", unrelated="1")), ["services/orders"]),
        (change("services/orders/uv.lock", LOCK.format(requests="1", idna="1", unrelated="2")), []),
        (change("services/orders/uv.lock", "not toml ["), ["services/orders"]),
        (change("services/mail/more.txt", "idna==3\n"), ["services/mail"]),
        (change("libs/common/common/money.py", "x = 1"), ["services/mail"]),
        (change("libs/common/common/rates.py", "x = 1"), ["services/mail"]),
        (change("libs/common/common/quoted.py", "x = 1"), ["services/mail"]),
        (change("libs/common/common/alone.py", "x = 1"), []),
        (change("libs/common/common/rates.json", "[]"), ["services/mail"]),
        (change("libs/common/pyproject.toml", '[project]\nname = "common"\nversion = "2"\n'), ["services/mail"]),
        (change("libs/other/setup.py", "x = 1"), []),
        (change("keys/key", "y"), ["services/orders"]),
        (change("services/third/pys-multi.toml", ""), ["services/third"]),
    ],
)
def test_a_change_touches(root: Path, changed: Callable[[Path], None], wanted: list[str]) -> None:
    git(root, "checkout", "-q", "-b", "work")
    changed(root)
    assert paths(root) == wanted, "in the working tree"
    commit(root)
    assert paths(root) == wanted, "once committed"


def test_what_happened_on_the_base_since_does_not_count(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "work")
    write(root, "services/mail/app.py", "x = 1")
    commit(root)
    git(root, "checkout", "-q", "main")
    write(root, "services/orders/app.py", "x = 1")
    commit(root)
    git(root, "checkout", "-q", "work")
    assert paths(root) == ["services/mail"]


def test_it_says_why(root: Path) -> None:
    write(root, "libs/common/common/rates.py", "x = 1")
    write(root, "services/mail/more.txt", "x")
    [mail] = affected(root / "services", "main")
    assert mail.reasons == ("dependencies: services/mail/more.txt", "import: libs/common/common/rates.py")


def test_settings_that_cannot_be_read_are_no_reason_to_say_nothing(root: Path) -> None:
    write(root, "services/mail/pys-multi.toml", "app = 1")
    [mail] = affected(root, "main")
    assert "cannot be read" in mail.reasons[0]


@pytest.mark.parametrize("ref", ["nothing", "--output=x", "-h", "$(touch x)", "a\nb", "", "main..HEAD"])
def test_a_revision_that_is_none_is_refused(root: Path, ref: str) -> None:
    with pytest.raises(ToolError, match="names no commit"):
        affected(root, ref)
    assert not (root / "x").exists()


def test_outside_of_a_repository(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="in no git repository"):
        affected(tmp_path, "main")
