"""Artefacts with real distributions from the package registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.bundle_project import (
    DEFINITIONS,
    LAMBDA,
    LAMBDA_ARM,
    REPOSITORY,
    built,
    host,
    make_project,
    names,
    one,
    read,
    record,
    run_inside,
    write,
)

from pys_multi_tools.bundle import elf, uv_tool
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests and all test processes: it must stand that."""
    return tmp_path_factory.getbasetemp().parent / "bundle-cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("target", [LAMBDA, LAMBDA_ARM], ids=lambda target: target.architecture)
def test_native_wheels_are_those_of_the_target(root: Path, cache: Path, target: Target) -> None:
    make_project(root, imports="import numpy, pydantic\n", requirements=["numpy", "pydantic"])
    artefact = one(built(root, cache, target))

    native = [name for name in names(artefact) if ".so" in name]
    assert any(name.startswith("numpy/") for name in native)
    assert any(name.startswith("pydantic_core/") for name in native)
    assert {elf.machine(read(artefact, name)) for name in native} == {target.architecture}
    if target is LAMBDA_ARM:
        assert artefact.report.preflight.startswith("checked: its native modules are for linux on aarch64")
    elif sys.version_info[:2] == (3, 13):
        assert artefact.report.preflight == "imported"


def test_numpy_computes_after_slimming(root: Path, tmp_path: Path, cache: Path) -> None:
    make_project(root, imports="import numpy\n", requirements=["numpy"])
    artefact = one(built(root, cache, host()))
    code = (
        "import numpy as n;"
        "print(round(float(n.linalg.det(n.eye(3) * 2))), n.fft.fft([1, 0]).real.sum(), n.random.default_rng(1))"
    )
    assert run_inside(artefact, tmp_path / "out", code).startswith("8 2.0 Generator")
    assert not any("/tests/" in name for name in names(artefact))


def test_sources_and_stubs_that_something_reads_are_kept(root: Path, tmp_path: Path, cache: Path) -> None:
    # Some distributions decorate functions with typeguard, which asks inspect for their source; some import lazily
    # what their stubs name; OpenCV executes a file that lies beside it.
    files = {
        "typed/__init__.py": "import typeguard\n@typeguard.typechecked\ndef double(x: int) -> int:\n    return 2 * x\n",
        "lazy/__init__.py": "import lazy_loader\n__getattr__, *_ = lazy_loader.attach_stub(__name__, __file__)\n",
        "lazy/__init__.pyi": "from . import part\n",
        "lazy/part.py": "NAME = 'part'\n",
        "beside/__init__.py": "import os\nexec(open(os.path.join(os.path.dirname(__file__), 'config.py')).read())\n",
        "beside/config.py": "NAME = 'config'\n",
    }
    wheels = [tmp_path / f"{name}-1.0-py3-none-any.whl" for name in ("typed", "lazy", "beside")]
    for wheel in wheels:
        name = wheel.name.partition("-")[0]
        own = {path: text for path, text in files.items() if path.startswith(f"{name}/")}
        make_wheel(wheel, name, own, requires="typeguard" if name == "typed" else "")
    make_project(
        root,
        imports="import typed, lazy, beside\n",
        requirements=["typeguard", "lazy_loader", *(f"{wheel.name[:-21]} @ {wheel.as_uri()}" for wheel in wheels)],
    )
    artefact = one(built(root, cache, host()))

    code = "import typed, lazy, beside; print(typed.double(2), lazy.part.NAME, beside.NAME)"
    assert run_inside(artefact, tmp_path / "out", code) == "4 part config\n"
    found = names(artefact)
    assert {"typed/__init__.py", "beside/config.py"} <= found
    assert "lazy/part.pyc" in found  # nobody reads its source
    assert [name for name in found if name.endswith(".pyi")] == ["lazy/__init__.pyi"]


def test_namespace_packages_of_two_distributions(root: Path, tmp_path: Path, cache: Path) -> None:
    make_project(
        root,
        imports="import jaraco.functools, jaraco.context\n",
        requirements=["jaraco.functools==4.1.0", "jaraco.context==6.0.1"],
    )
    artefact = one(built(root, cache, host()))
    code = "import jaraco.functools as f, jaraco.context as c; print(f.__name__, c.__name__)"
    assert run_inside(artefact, tmp_path / "out", code) == "jaraco.functools jaraco.context\n"


def test_workspace_member_and_editable_path_dependency_become_copies(root: Path, tmp_path: Path, cache: Path) -> None:
    backend = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    write(
        root,
        {
            "pyproject.toml": f"""
[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["helper", "member", "pys-multi"]
[tool.uv.sources]
helper = {{ path = "../helper", editable = true }}
member = {{ workspace = true }}
pys-multi = {{ path = "{REPOSITORY}", editable = true }}
[tool.uv.workspace]
members = ["packages/*"]
""",
            "packages/member/pyproject.toml": f'[project]\nname = "member"\nversion = "2"\n{backend}',
            "packages/member/src/member/__init__.py": "NAME = 'member'\n",
            "packages/member/src/member/words.txt": "kept",
            "packages/unrelated/pyproject.toml": f'[project]\nname = "unrelated"\nversion = "2"\n{backend}',
            "packages/unrelated/src/unrelated/__init__.py": "",
            "../helper/pyproject.toml": f'[project]\nname = "helper"\nversion = "3"\ndependencies=["six"]\n{backend}',
            "../helper/helper/__init__.py": "import six\nNAME = 'helper'\n",
        },
    )
    make_project(root, imports="import helper, member\n")
    uv_tool.run(["lock"], cwd=root, what="lock")
    artefact = one(built(root, cache, host()))

    code = (
        "import helper, member, importlib.resources as r, importlib.metadata as m;"
        "print(helper.NAME, member.NAME, (r.files('member') / 'words.txt').read_text(), m.version('helper'))"
    )
    assert run_inside(artefact, tmp_path / "out", code) == "helper member kept 3\n"
    versions = {package["name"]: package["version"] for package in record(artefact)["distributions"]}
    assert versions.keys() == {"helper", "member", "six"}  # nothing of pys-multi's own dependencies
    assert record(artefact)["dependencies"]["locked"] is True
    assert "helper/__init__.py" in names(artefact)
    assert not any(name.startswith(("packages/", "typer", "pydantic", "_helper")) for name in names(artefact))

    write(root, {"packages/unrelated/src/unrelated/__init__.py": "changed = 1\n"})
    assert one(built(root, cache, host())).build_id == artefact.build_id
    write(root, {"../helper/helper/__init__.py": "import six\nNAME = 'changed'\n"})
    changed = one(built(root, cache, host()))
    assert run_inside(changed, tmp_path / "out2", code).startswith("changed member")


def test_stale_lock_is_refused(root: Path, cache: Path) -> None:
    pyproject = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{}"]\n'
    make_project(root, files={"pyproject.toml": pyproject.format("six")})
    uv_tool.run(["lock"], cwd=root, what="lock")
    write(root, {"pyproject.toml": pyproject.format("idna")})
    with pytest.raises(BundleError, match="is older than") as caught:
        built(root, cache)
    assert "uv lock" in caught.value.hint


def test_source_only_distribution_is_named_with_the_ways_out(root: Path, cache: Path) -> None:
    make_project(root, imports="import docopt\n", requirements=["docopt==0.6.2"])
    with pytest.raises(BundleError, match="docopt has no wheel for the target") as caught:
        built(root, cache, LAMBDA_ARM)
    assert "matches the target" in caught.value.hint
    assert "image" in caught.value.hint
    # Of this very machine it can be built.
    assert "docopt.pyc" in names(one(built(root, cache, host())))


def test_a_pure_project_from_a_repository_is_built_for_any_target(root: Path, cache: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    write(
        repository,
        {
            "pyproject.toml": '[project]\nname = "versioned"\nversion = "1.2"\n'
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
            "versioned/__init__.py": "X = 1\n",
        },
    )
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    wanted = [f"versioned @ git+file://{repository}", "markupsafe"]
    make_project(root, imports="import versioned\n", requirements=wanted)
    artefact = one(built(root, cache, LAMBDA_ARM))
    assert "versioned/__init__.pyc" in names(artefact)
    versions = {package["name"]: package["version"] for package in record(artefact)["distributions"]}
    assert versions["versioned"] == "1.2"
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert f"versioned @ git+file://{repository}@{commit}\n" in read(artefact, "pys_multi_requirements.txt").decode()


def test_the_project_itself_among_its_requirements(root: Path, cache: Path) -> None:
    pyproject = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["six"]\n'
    make_project(root, imports="import six, idna\n", requirements=["-e .", "idna"], files={"pyproject.toml": pyproject})
    artefact = one(built(root, cache, host()))
    assert {package["name"] for package in record(artefact)["distributions"]} == {"six", "idna"}


def test_the_project_knows_its_own_version(root: Path, tmp_path: Path, cache: Path) -> None:
    ask = "from importlib.metadata import version\nVERSION = version('my-shop')\n"
    make_project(root, imports=ask, files={"pyproject.toml": '[project]\nname = "My.Shop"\nversion = "1.2"\n'})
    artefact = one(built(root, cache, host()))
    assert run_inside(artefact, tmp_path / "out", "import shop.app; print(shop.app.VERSION)") == "1.2\n"
    write(root, {"pyproject.toml": '[project]\nname = "My.Shop"\ndynamic = ["version"]\n'})
    with pytest.raises(BundleError, match="PackageNotFoundError") as caught:
        built(root, cache, host())
    assert "pyproject.toml" in caught.value.hint


def test_a_lock_of_what_pys_multi_brings_too(root: Path, cache: Path) -> None:
    # pys-multi brings annotated-types, but this lock does not come from there.
    make_project(root, imports="import annotated_types\n", files={"pyproject.toml": "[tool.other]\n"})
    write(root, {"wanted.in": "annotated-types\n"})
    uv_tool.run(["pip", "compile", "wanted.in", "--output-file", "pylock.toml"], cwd=root, what="lock")
    artefact = one(built(root, cache, host()))
    assert [package["name"] for package in record(artefact)["distributions"]] == ["annotated-types"]


def test_dynamic_dependencies_of_a_path_dependency(root: Path, tmp_path: Path, cache: Path) -> None:
    pyproject = """
[project]
name = "dyn"
version = "1"
dynamic = ["dependencies"]
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[tool.setuptools.dynamic]
dependencies = { file = "needs.txt" }
"""
    write(tmp_path, {"dyn/pyproject.toml": pyproject, "dyn/dyn.py": "", "dyn/needs.txt": "six\n"})
    make_project(root, imports="import dyn\n", requirements=["../dyn"])
    assert "six.pyc" in names(one(built(root, cache, host())))
    write(tmp_path, {"dyn/needs.txt": "idna\n"})
    found = names(one(built(root, cache, host())))
    assert "idna/__init__.pyc" in found
    assert "six.pyc" not in found


def test_data_files_are_read_with_importlib_resources(root: Path, tmp_path: Path, cache: Path) -> None:
    make_project(
        root,
        imports="import certifi\n",
        requirements=["certifi"],
        files={"shop/data/greeting.txt": "hello", "shop/data/__init__.py": ""},
    )
    artefact = one(built(root, cache, host()))
    code = (
        "import importlib.resources as r, certifi, os;"
        "print((r.files('shop.data') / 'greeting.txt').read_text(), os.path.getsize(certifi.where()) > 100_000)"
    )
    assert run_inside(artefact, tmp_path / "out", code) == "hello True\n"


def test_entry_points_and_versions_are_read_with_importlib_metadata(root: Path, tmp_path: Path, cache: Path) -> None:
    make_project(root, imports="import markdown\n", requirements=["markdown==3.7"])
    artefact = one(built(root, cache, host()))
    code = (
        "import markdown, importlib.metadata as m;"
        "print(markdown.markdown('|a|\\n|-|\\n|b|', extensions=['tables'])[:7], m.version('markdown'));"
        "print(all(f.locate().exists() for f in m.files('markdown')))"
    )
    assert run_inside(artefact, tmp_path / "out", code) == "<table> 3.7\nTrue\n"
    kept = {name.partition("/")[2] for name in names(artefact) if ".dist-info/" in name}
    assert not kept & {"INSTALLER", "direct_url.json", "REQUESTED", "WHEEL"}


def test_path_lines_of_a_pth_file_become_flat_and_code_lines_are_reported(
    root: Path, tmp_path: Path, cache: Path
) -> None:
    wheel = tmp_path / "wheels" / "legacy-1.0-py3-none-any.whl"
    make_wheel(wheel, "legacy", {"legacy_root/legacy_module.py": "X = 7\n", "legacy.pth": "legacy_root\n"})
    make_project(root, imports="import legacy_module\n", requirements=[str(wheel), "setuptools==75.6.0"])
    artefact = one(built(root, cache, host()))
    assert run_inside(artefact, tmp_path / "out", "import legacy_module; print(legacy_module.X)") == "7\n"
    assert not any(name.endswith(".pth") for name in names(artefact))
    assert any("distutils-precedence.pth of setuptools runs code" in note for note in artefact.report.notes)


def test_functions_with_other_dependencies_get_an_artefact_of_their_own(root: Path, cache: Path) -> None:
    definitions = DEFINITIONS + (
        'images = app.function("images", dependencies=["images"])\n'
        'mail = app.function("mail", dependencies=["mail"])\n'
        'plain = app.function("plain")\n'
    )
    make_project(
        root,
        definitions=definitions,
        files={
            "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\ndependencies = ["idna"]\n'
            '[project.optional-dependencies]\nimages = ["six"]\n[dependency-groups]\nmail = ["toolz"]\n'
        },
    )
    bundle = built(root, cache, definitions=definitions)
    assert bundle.artefacts["api"] is bundle.artefacts["plain"]
    contents = {name: names(artefact) for name, artefact in bundle.artefacts.items()}
    assert {name for name, content in contents.items() if "six.pyc" in content} == {"images"}
    assert {name for name, content in contents.items() if "toolz/__init__.pyc" in content} == {"mail"}
    assert all("idna/__init__.pyc" in content for content in contents.values())


def test_unknown_dependency_name_of_a_function(root: Path, cache: Path) -> None:
    definitions = DEFINITIONS + 'images = app.function("images", dependencies=["imgaes"])\n'
    make_project(
        root,
        definitions=definitions,
        files={
            "pyproject.toml": '[project]\nname="shop"\nversion="1"\n[project.optional-dependencies]\nimages=["six"]\n'
        },
    )
    with pytest.raises(BundleError, match="neither an extra nor a dependency group") as caught:
        built(root, cache, definitions=definitions)
    assert "'images'" in caught.value.hint


def test_what_the_runtime_carries_is_left_out_unless_another_version_is_asked_for(root: Path, cache: Path) -> None:
    carries = Target(
        provider="x",
        python="3.13",
        system="linux",
        architecture="x86_64",
        glibc=(2, 34),
        preinstalled={"six": "1.16.0"},
    )
    make_project(root, imports="import six, dateutil\n", requirements=["six", "python-dateutil"])
    artefact = one(built(root, cache, carries))
    assert "six.pyc" not in names(artefact)
    assert record(artefact)["carried_by_target"] == ["six"]
    assert artefact.report.preflight == "imported"  # with the carried distribution beside the artefact

    write(root, {"requirements.txt": "six>=1.17\npython-dateutil\n"})
    assert "six.pyc" in names(one(built(root, cache, carries)))
    write(root, {"requirements.txt": "six\npython-dateutil\n"})
    assert "six.py" in names(one(built(root, cache, carries, include=("six.py",))))


def test_without_a_lock_the_resolved_set_is_in_the_artefact(root: Path, cache: Path) -> None:
    make_project(root, requirements=["idna>=3"])
    artefact = one(built(root, cache))
    text = read(artefact, "pys_multi_requirements.txt").decode()
    assert text.startswith("idna==3.")
    assert "--hash=sha256:" in text


def test_hash_that_does_not_match_is_refused(root: Path, cache: Path) -> None:
    make_project(root, requirements=[f"idna==3.10 --hash=sha256:{'0' * 64}"])
    with pytest.raises(BundleError, match="has one of the hashes"):
        built(root, cache)


def test_hash_of_a_lock_that_does_not_match_is_refused(root: Path, cache: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "wheels" / "legacy-1.0-py3-none-any.whl"
    make_wheel(wheel, "legacy", {"legacy.py": "X = 7\n"})
    make_project(root)
    write(
        root,
        {
            "pylock.toml": 'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "legacy"\nversion = "1.0"\n'
            f'wheels = [{{ path = "../wheels/{wheel.name}", hashes = {{ sha256 = "{"0" * 64}" }} }}]\n'
        },
    )
    with pytest.raises(BundleError, match="a hash differs"):
        built(root, cache)


def test_pylock_is_installed_and_pruned_of_what_only_pys_multi_brings(root: Path, cache: Path) -> None:
    make_project(
        root,
        imports="import six\n",
        files={
            "pyproject.toml": f"""
[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["six", "pys-multi"]
[tool.uv.sources]
pys-multi = {{ path = "{REPOSITORY}", editable = true }}
"""
        },
    )
    uv_tool.run(["lock"], cwd=root, what="lock")
    uv_tool.run(
        ["export", "--format", "pylock.toml", "--no-emit-project", "-o", "pylock.toml"], cwd=root, what="export"
    )
    (root / "uv.lock").unlink()
    artefact = one(built(root, cache))
    assert [package["name"] for package in record(artefact)["distributions"]] == ["six"]
    assert record(artefact)["dependencies"]["from"] == "pylock.toml"


def test_another_python_than_the_tools_is_compiled_by_an_interpreter_of_its_version(root: Path, cache: Path) -> None:
    from pys_multi_tools.bundle.bytecode import find_interpreter
    from pys_multi_tools.bundle.cache import Cache

    other = "3.11" if sys.version_info[:2] != (3, 11) else "3.12"
    store = Cache(cache)
    with store.in_use():
        found = find_interpreter(other, store)
    if found is None:
        pytest.skip(f"there is no Python {other} on this machine")
    target = Target(provider="x", python=other, system="linux", architecture="x86_64", glibc=(2, 34))
    make_project(root, imports="import idna\n", requirements=["idna"])
    artefact = one(built(root, cache, target))
    assert f"shop/__pycache__/app.cpython-{other.replace('.', '')}.pyc" in names(artefact)
    assert artefact.report.preflight == "imported"


def test_without_a_matching_interpreter_there_is_no_bytecode_and_it_is_said(root: Path, cache: Path) -> None:
    target = Target(provider="x", python="3.19", system="linux", architecture="x86_64", glibc=(2, 34))
    make_project(root, imports="import idna\n", requirements=["idna"])
    artefact = one(built(root, cache, target))
    assert not any(name.endswith(".pyc") for name in names(artefact))
    assert {"idna/__init__.py", "pys_multi/app.py", "shop/app.py"} <= names(artefact)
    assert any("no bytecode: there is no Python 3.19" in note for note in artefact.report.notes)
    assert artefact.report.preflight == "checked: there is no Python 3.19 on this machine"


def make_wheel(path: Path, name: str, files: dict[str, str], requires: str = "") -> None:
    import zipfile

    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
