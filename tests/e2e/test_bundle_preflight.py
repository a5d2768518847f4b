"""An artefact is refused before any upload when it would not run, is too large, or imports too slowly."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundle_project import (
    DEFINITIONS,
    LAMBDA_ARM,
    Project,
    Settings,
    built,
    host,
    make_project,
    names,
    one,
    record,
    service,
    write,
)

from pys_multi_tools.bundle import build, diff, uv_tool
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import BundleError
from pys_multi_tools.settings import BundleSettings
from pys_multi_tools.target import Target


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_failing_import_shows_the_users_traceback(root: Path, cache: Path) -> None:
    make_project(root, imports="from shop import broken\n", files={"shop/broken.py": "\n\nvalue = {}['key']\n"})
    with pytest.raises(BundleError) as caught:
        built(root, cache, host())
    error = caught.value
    assert error.where == "shop.app:app"
    assert "File \"shop/broken.py\", line 3, in <module>\n    value = {}['key']" in error.detail
    assert error.detail.endswith("KeyError: 'key'")
    assert "preflight_worker" not in error.detail
    assert str(cache) not in error.detail


@pytest.mark.parametrize(
    ("module", "distribution"), [("yaml", "PyYAML"), ("PIL.Image", "Pillow"), ("some_thing", "some-thing")]
)
@pytest.mark.parametrize("target", [host(), LAMBDA_ARM], ids=["imported", "checked"])
def test_a_missing_module_names_its_distribution(
    root: Path, cache: Path, module: str, distribution: str, target: Target
) -> None:
    make_project(root, imports=f"import {module}\n", requirements=["markupsafe"])
    with pytest.raises(BundleError, match=f"No module named '{module.split('.')[0]}") as caught:
        built(root, cache, target)
    assert distribution in caught.value.hint


def test_a_missing_module_that_was_left_out_names_the_rule(root: Path, cache: Path) -> None:
    make_project(root, imports="from shop._version import version\n")
    write(root, {".gitignore": "_version.py\n", "shop/_version.py": "version = '1'\n"})
    with pytest.raises(BundleError) as caught:
        built(root, cache, host())
    assert "shop/_version.py was left out: named by .gitignore" in caught.value.hint
    assert "include = ['shop/_version.py']" in caught.value.hint
    built(root, cache, host(), include=("shop/_version.py",))


def test_a_module_that_ends_the_process_or_hangs_is_a_failed_import(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pys_multi_tools.bundle import preflight

    make_project(root, imports="import os\nos._exit(3)\n")
    with pytest.raises(BundleError, match="ended the process with code 3"):
        built(root, cache, host())
    make_project(root, imports="import sys\nsys.exit('no configuration')\n")
    with pytest.raises(BundleError, match="SystemExit: no configuration"):
        built(root, cache, host())
    monkeypatch.setattr(preflight, "TIMEOUT", 1)
    make_project(root, imports="import threading\nthreading.Event().wait()\n")
    with pytest.raises(BundleError, match="did not end within 1 s"):
        built(root, cache, host())


def test_the_import_sees_the_projects_environment_and_nothing_of_the_developers(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DEVELOPER", "x")
    make_project(root, imports="import os\nassert 'SECRET_OF_THE_DEVELOPER' not in os.environ\nos.environ['LEVEL']\n")
    with pytest.raises(BundleError, match="KeyError: 'LEVEL'"):
        built(root, cache, host())
    built(root, cache, host(), environment={"LEVEL": "info"})


def test_another_service_in_the_artefact_than_in_the_model_is_refused(root: Path, cache: Path) -> None:
    conditional = DEFINITIONS + (
        "import os\nif os.environ.get('HOME', '').endswith('/home'):\n    app.function('only-in-the-artefact')\n"
    )
    make_project(root, definitions=conditional)
    with pytest.raises(BundleError, match="defines another service") as caught:
        built(root, cache, host())
    assert "service.functions" in str(caught.value)


def test_code_that_is_not_of_the_targets_python_is_named(root: Path, cache: Path) -> None:
    make_project(root, files={"shop/old.py": "def f():\n    print 'x'\n"})
    with pytest.raises(BundleError, match="is not valid in Python") as caught:
        built(root, cache, host())
    assert caught.value.where == "shop/old.py:2"


def test_sizes_and_import_times_are_bounded_and_culprits_are_named(root: Path, cache: Path) -> None:
    make_project(
        root,
        imports="import shop.slow\n",
        files={"shop/slow.py": "import time; time.sleep(0.05)\n", "shop/big.bin": bytes(range(256)) * 40},
    )
    with pytest.raises(BundleError, match=r"bundle.max_mb allows 0.001 MB") as caught:
        built(root, cache, host(), max_mb=0.001)
    assert "Largest: pys-multi" in caught.value.hint
    with pytest.raises(BundleError, match="max_import_ms allows 40 ms") as caught:
        built(root, cache, host(), max_import_ms=40)
    assert "Slowest alone: shop.slow" in caught.value.hint
    small = Target(
        provider="small", python=host().python, system="linux", architecture="x86_64", max_unzipped_bytes=1000
    )
    with pytest.raises(BundleError, match=r"MB unpacked; small takes 0\.0 MB"):
        built(root, cache, small)
    small = Target(provider="small", python=host().python, system="linux", architecture="x86_64", max_zip_bytes=1000)
    with pytest.raises(BundleError, match=r"the zip is .* small takes"):
        built(root, cache, small)


def test_the_report_has_megabytes_by_distribution_and_milliseconds_by_module(root: Path, cache: Path) -> None:
    make_project(root, imports="import shop.slow, idna\n", requirements=["idna"])
    write(root, {"shop/slow.py": "import time; time.sleep(0.05)\n"})
    artefact = one(built(root, cache, host()))
    report = artefact.report
    packed = [distribution.packed for distribution in report.distributions]
    assert packed == sorted(packed, reverse=True)
    assert {"idna", "pys-multi", "the project"} <= {distribution.name for distribution in report.distributions}
    assert sum(distribution.bytes for distribution in report.distributions) == artefact.unzipped
    slow = next(module for module in report.modules if module.name == "shop.slow")
    assert slow.own_ms >= 50
    assert report.modules[0].name == "shop.app"
    assert report.import_ms is not None
    assert report.import_ms >= slow.own_ms
    json.dumps(artefact.to_json())


def test_the_sbom_is_valid_cyclonedx(root: Path, cache: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    make_project(root, requirements=["requests==2.32.3", "six"])
    artefact = one(built(root, cache, host()))
    text = artefact.sbom.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    components = {component["name"]: component for component in document["components"]}
    assert components["requests"]["purl"] == "pkg:pypi/requests@2.32.3"
    assert components["requests"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    assert components["six"]["hashes"][0]["alg"] == "SHA-256"
    assert len(components["charset-normalizer"]["hashes"]) == 1  # of the one wheel that is in the artefact
    depends = {row["ref"]: row["dependsOn"] for row in document["dependencies"]}
    assert any(ref.startswith("pkg:pypi/urllib3@") for ref in depends["pkg:pypi/requests@2.32.3"])
    assert "pkg:pypi/pys-multi@" in "".join(components["pys-multi"]["purl"])


def test_the_record_says_what_the_artefact_was_made_from(root: Path, cache: Path) -> None:
    from hashlib import sha256

    make_project(root, requirements=["six==1.16.0"])
    artefact = one(built(root, cache, LAMBDA_ARM))
    found = record(artefact)
    assert found["build_id"] == artefact.build_id
    assert found["target"]["architecture"] == "aarch64"
    assert found["target"]["glibc"] == "2.34"
    digest = sha256((root / "requirements.txt").read_bytes()).hexdigest()
    assert found["dependencies"]["files"] == [{"path": "requirements.txt", "sha256": digest}]
    assert set(found["tool"]) == {"pys-multi", "uv", "deflate"}


def test_diff_says_what_changed(root: Path, cache: Path) -> None:
    make_project(root, requirements=["six==1.16.0", "idna==3.10"])
    before = one(built(root, cache, LAMBDA_ARM))
    write(root, {"requirements.txt": "six==1.17.0\ntoolz==1.0.0\n", "shop/new.txt": "new"})
    after = one(built(root, cache, LAMBDA_ARM))
    found = diff(before, after.path)
    changes = {change.name: (change.before, change.after) for change in found.distributions}
    assert changes == {"six": ("1.16.0", "1.17.0"), "idna": ("3.10", ""), "toolz": ("", "1.0.0")}
    assert all(change.bytes_after > 0 for change in found.distributions if change.after)
    assert ("shop/new.txt", None, 3) in {(change.path, change.before, change.after) for change in found.files}
    assert (found.before, found.after) == (before.build_id, after.build_id)
    assert any(what == "dependencies.files" for what, _, _ in found.inputs)
    json.dumps(found.to_json())
    assert diff(after, after).is_empty
    write(root, {"x.zip": "no zip"})
    with pytest.raises(BundleError, match="not an artefact"):
        diff(before, root / "x.zip")


def test_nothing_changed_asks_for_no_model_and_starts_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    make_project(root, requirements=["six"])
    steps: list[str] = []
    project: Any = Project(root, Settings(BundleSettings()))

    def note(progress: Progress) -> None:
        steps.append(progress.step)

    first = build(project, "shop.app:app", service, host(), cache=cache, progress=note)
    assert steps == ["resolve", "install", "compile", "import"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing has changed")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert build(project, "shop.app:app", refuse, host(), cache=cache, progress=note) == first  # type: ignore[arg-type]
    assert len(steps) == 4


def test_a_provider_whose_runtime_is_not_installed_is_named(root: Path, cache: Path) -> None:
    make_project(root)
    target = Target(
        provider="odd", python="3.13", system="linux", architecture="x86_64", runtime_modules=("odd.runtime",)
    )
    with pytest.raises(BundleError, match=r"no module odd\.runtime") as caught:
        built(root, cache, target)
    assert caught.value.where == "provider odd"


def test_entry_files_and_runtime_modules_are_added_and_collisions_are_refused(root: Path, cache: Path) -> None:
    make_project(root)
    target = Target(
        provider="x", python=host().python, system="linux", architecture="x86_64",
        runtime_modules=("pys_multi_providers.local.frames",), files={"main.py": b"import shop.app\n"},
    )  # fmt: skip
    content = names(one(built(root, cache, target)))
    assert {"main.py", "pys_multi_providers/local/frames.pyc", "pys_multi_providers/local/__init__.pyc"} <= content
    write(root, {"main.py": "mine"})
    with pytest.raises(BundleError, match="are the same path") as caught:
        built(root, cache, target)
    assert "the project: main.py" in str(caught.value)
    assert "provider x" in str(caught.value)


def test_a_package_is_told_its_real_place(root: Path, tmp_path: Path, cache: Path) -> None:
    from tests.e2e.test_bundle_dependencies import make_wheel

    # OpenCV finds itself again on sys.path by its real path.
    code = "import os, sys\nassert os.path.dirname(os.path.dirname(os.path.realpath(__file__))) in sys.path\n"
    wheel = tmp_path / "placed-1.0-py3-none-any.whl"
    make_wheel(wheel, "placed", {"placed/__init__.py": code})
    make_project(root, imports="import placed\n", requirements=[f"placed @ {wheel.as_uri()}"])
    assert one(built(root, cache, host())).report.preflight == "imported"


@pytest.fixture
def private_index(tmp_path: Path) -> Iterator[str]:
    """An index on loopback that asks for a password and has one distribution."""
    from tests.e2e.test_bundle_dependencies import make_wheel

    wheel = tmp_path / "private_thing-1.0-py3-none-any.whl"
    make_wheel(wheel, "private_thing", {"private_thing.py": "X = 1\n"})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            import base64

            if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:hunter2").decode():
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()
                return
            if self.path.endswith(".whl"):
                body, kind = wheel.read_bytes(), "application/octet-stream"
            elif self.path == "/simple/private-thing/":
                body, kind = f'<a href="/files/{wheel.name}">{wheel.name}</a>'.encode(), "text/html"
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("configured", ["pip", "uv", "requirements"])
def test_a_private_index_comes_from_the_users_own_configuration(
    root: Path, cache: Path, private_index: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configured: str
) -> None:
    url = f"http://me:hunter2@{private_index}"
    option = [f"--index-url {url}"] if configured == "requirements" else []
    make_project(root, imports="import private_thing\n", requirements=[*option, "private-thing"])
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    for name in [name for name in __import__("os").environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    if configured == "pip":
        write(tmp_path, {"pip.conf": f"[global]\nindex-url = {url}\nextra-index-url =\nfind-links =\n"})
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    else:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    if configured == "uv":
        monkeypatch.setenv("UV_DEFAULT_INDEX", url)
    uv_tool.from_pip.cache_clear()
    try:
        artefact = one(built(root, cache, host()))
        assert "private_thing.pyc" in names(artefact)
        assert b"hunter2" not in artefact.path.read_bytes() + artefact.record.read_bytes() + artefact.sbom.read_bytes()
        write(root, {"requirements.txt": "\n".join([*option, "private-thing==9\n"])})
        with pytest.raises(BundleError) as caught:
            built(root, cache, host())
        assert "hunter2" not in str(caught.value)
    finally:
        uv_tool.from_pip.cache_clear()
