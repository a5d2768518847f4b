"""Finding and importing a project's App: layouts, the user's own traceback, and a process left as it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pys_multi_tools import discover
from pys_multi_tools.errors import DiscoveryError

APP = 'from pys_multi import App\n\napp = App("{name}")\n'


def project(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def name_of(reference: str, root: Path) -> str:
    return discover.import_app(reference, root).service().name


def refused(reference: str, root: Path) -> DiscoveryError:
    with pytest.raises(DiscoveryError) as caught:
        discover.import_app(reference, root)
    return caught.value


@pytest.mark.parametrize(
    ("file", "reference"),
    [
        ("app_py", "app:app"),
        ("main_py", "main:app"),
        ("shop__app_py", "shop.app:app"),
        ("shop__main_py", "shop.main:app"),
        ("src__app_py", "app:app"),
        ("src__shop__app_py", "shop.app:app"),
    ],
)
def test_the_one_app_is_found_in_every_layout(tmp_path: Path, file: str, reference: str) -> None:
    project(tmp_path, **{file: APP.format(name="one"), "tests__app_py": APP.format(name="not-this")})
    assert discover.find_app(tmp_path) == reference
    assert name_of(reference, tmp_path) == "one"


def test_one_app_seen_through_two_modules_is_one_app(tmp_path: Path) -> None:
    project(tmp_path, app_py=APP.format(name="one"), main_py="import pys_multi\nfrom app import app\n")
    assert discover.find_app(tmp_path) == "app:app"


def test_several_apps_are_listed_with_what_to_write(tmp_path: Path) -> None:
    project(tmp_path, app_py=APP.format(name="one"), main_py=APP.format(name="two"))
    with pytest.raises(DiscoveryError, match="app:app, main:app") as caught:
        discover.find_app(tmp_path)
    assert 'app = "app:app"' in caught.value.hint


def test_a_main_that_has_nothing_to_do_with_it_is_not_imported(tmp_path: Path) -> None:
    project(tmp_path, app_py=APP.format(name="one"), main_py="# pys_multi\nraise SystemExit('ran')\n")
    assert discover.find_app(tmp_path) == "app:app"


def test_no_app_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DiscoveryError, match="there is no App") as caught:
        discover.find_app(tmp_path)
    assert 'App("name")' in caught.value.hint


def test_a_failing_import_shows_the_user_s_own_traceback_and_nothing_of_ours(tmp_path: Path) -> None:
    project(
        tmp_path,
        shop__app_py="from shop.prices import rate\n",
        shop__prices_py="def rate(x):\n    return 1 / x\n\n\nrate(0)\n",
    )
    error = refused("shop.app:app", tmp_path)
    assert error.where == "shop/prices.py:2"
    assert "ZeroDivisionError" in error.what
    assert "return 1 / x" in error.detail
    assert 'shop/app.py", line 1' in error.detail
    for ours in ("discover.py", "importlib", "pys_multi_tools"):
        assert ours not in error.detail


def test_an_error_raised_by_the_sdk_points_at_the_user_s_line(tmp_path: Path) -> None:
    project(tmp_path, app_py='from pys_multi import App\n\n\napp = App("not a name!")\n')
    error = refused("app:app", tmp_path)
    assert error.where == "app.py:4"
    assert "sdk/pys_multi" not in error.detail


def test_chained_errors_are_shown_with_their_cause(tmp_path: Path) -> None:
    project(tmp_path, app_py="try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e\n")
    error = refused("app:app", tmp_path)
    assert "ZeroDivisionError" in error.detail
    assert "direct cause" in error.detail


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("import absent_dependency\n", "absent_dependency"),
    ],
)
def test_every_way_of_failing_is_a_discovery_error(tmp_path: Path, text: str, what: str) -> None:
    error = refused("app:app", project(tmp_path, app_py=text))
    assert what in error.what
    assert error.where.startswith("app.py:")


def test_a_missing_dependency_says_what_to_install(tmp_path: Path) -> None:
    error = refused("app:app", project(tmp_path, app_py="import absent_dependency.part\n"))
    assert "absent_dependency" in error.hint


def test_a_project_of_nested_namespace_packages_is_found_and_taken_out_again(tmp_path: Path) -> None:
    project(tmp_path, src__acme__web__service__app_py=APP.format(name="shop"))
    assert name_of("acme.web.service.app:app", tmp_path) == "shop"
    assert not [name for name in sys.modules if name.partition(".")[0] == "acme"]


def test_a_missing_module_or_attribute_names_the_nearest(tmp_path: Path) -> None:
    project(tmp_path, shop__app_py=APP.format(name="one") + "number = 3\n")
    assert "did you mean 'shop.app'?" in refused("shop.ap:app", tmp_path).hint
    missing = refused("shop.app:application", tmp_path)
    assert "shop.app has app" in missing.hint
    assert "is of type int, not an App" in refused("shop.app:number", tmp_path).what


def test_two_projects_with_the_same_names_load_in_one_process(tmp_path: Path) -> None:
    one = project(
        tmp_path / "one", shop__app_py="from shop.name import NAME\nfrom pys_multi import App\napp = App(NAME)\n"
    )
    two = project(
        tmp_path / "two", shop__app_py="from shop.name import NAME\nfrom pys_multi import App\napp = App(NAME)\n"
    )
    project(one, shop__name_py="NAME = 'one'\n", shop____init___py="")
    project(two, shop__name_py="NAME = 'two'\n")
    assert [name_of("shop.app:app", root) for root in (one, two, one)] == ["one", "two", "one"]
    assert discover.load("shop.app:app", one).service().name == "one"
    assert "shop.name" in sys.modules
    assert discover.load("shop.app:app", two).service().name == "two"
    project(one, shop__name_py="NAME = 'edited'\n")
    assert name_of("shop.app:app", one) == "edited"


def test_path_modules_and_environment_are_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVEL", "outside")
    project(tmp_path, app_py="import os\nfrom pys_multi import App\napp = App(os.environ['LEVEL'])\nimport colorsys\n")
    mine = type(sys)("app")
    monkeypatch.setitem(sys.modules, "app", mine)
    before = list(sys.path)
    with discover.importable(tmp_path, {"LEVEL": "inside", "ONLY_INSIDE": "1"}):
        assert name_of("app:app", tmp_path) == "inside"
        assert sys.modules["app"] is not mine
    assert sys.path == before
    assert sys.modules["app"] is mine
    assert os.environ["LEVEL"] == "outside"
    assert "ONLY_INSIDE" not in os.environ


def test_a_later_block_goes_on_with_the_modules_of_an_earlier_one(tmp_path: Path) -> None:
    project(tmp_path, store__app_py="from pys_multi import App\napp = App('one')\nclass Item: ...\n")
    with discover.importable(tmp_path) as modules:
        app = discover.import_app("store.app:app", tmp_path)
    assert "store.app" not in sys.modules
    with discover.importable(tmp_path, modules=modules):
        assert sys.modules["store.app"].app is app
        assert discover.import_app("store.app:app", tmp_path) is app
    assert "store.app" not in sys.modules


def test_a_project_cannot_displace_the_standard_library_or_this_package(tmp_path: Path) -> None:
    import json

    project(tmp_path, app_py=APP.format(name="one"), json_py="", pys_multi__app_py="raise SystemExit\n")
    assert name_of("app:app", tmp_path) == "one"
    assert sys.modules["json"] is json


def test_what_a_project_prints_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project(tmp_path, app_py="print('hello')\n" + APP.format(name="one"))
    name_of("app:app", tmp_path)
    assert capsys.readouterr() == ("", "hello\n")
