"""The same bytes whatever builds them, and a cache that concurrent and killed builds cannot break."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundle_project import REPOSITORY, built, host, make_project, one, read, write

from pys_multi_tools.bundle import clean, uv_tool
from pys_multi_tools.bundle.bytecode import find_interpreter
from pys_multi_tools.bundle.cache import Cache

DRIVER = Path(__file__).with_name("bundle_driver.py")
FILES: dict[str, str | bytes] = {
    "shop/data/ä.txt": "ä",
    "shop/sets.py": "WORDS = {'a', 'b', 'c', 'd'}\n\ndef known(word):\n    return word in {'x', 'y', 'z', 'shop'}\n",
    "shop/many.py": "".join(
        f"def handler_{i}(event, context={i}.5): return [event, 'shop', b'{i}']\n" for i in range(50)
    ),
}
REQUIREMENTS = ["requests==2.32.3", "pydantic==2.10.6", "PyYAML==6.0.2"]


@pytest.fixture(scope="module")
def interpreters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Environment by version, of every Python of this machine that the tool supports, with what the bundler needs."""
    folder = tmp_path_factory.mktemp("pythons")
    store = Cache(folder / "cache")
    result = {}
    with store.in_use():
        for version in ("3.11", "3.12", "3.13", "3.14"):
            found = find_interpreter(version, store)
            if found is None:
                continue
            site = folder / version
            uv_tool.run(
                ["pip", "install", "--target", str(site), "--python", found.path, "pathspec", "packaging",
                 "deflate==0.9.0", "uv", "pydantic", "pytest"],
                cwd=folder,
                what="install",
            )  # fmt: skip
            result[version] = {
                "PYTHON": found.path,
                "PYTHONPATH": os.pathsep.join(map(str, (site, REPOSITORY / "sdk", REPOSITORY))),
            }
    return result


def driven(root: Path, environment: Mapping[str, str], cache: str = "-", target: str = "lambda") -> dict[str, Any]:
    ended = subprocess.run(
        [environment.get("PYTHON", sys.executable), str(DRIVER), str(root), cache, target],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment},
        capture_output=True,
        text=True,
        umask=int(environment.get("UMASK", "022"), 8),
    )
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def test_every_python_builds_the_same_bytes(tmp_path: Path, interpreters: dict[str, dict[str, str]]) -> None:
    make_project(tmp_path / "p", imports="import requests, pydantic, yaml\n", requirements=REQUIREMENTS, files=FILES)
    results = {version: driven(tmp_path / "p", environment) for version, environment in interpreters.items()}
    digests = {json.dumps(result["digests"], sort_keys=True) for result in results.values()}
    assert len(interpreters) >= 1
    assert len(digests) == 1, results


def test_directory_umask_clock_locale_and_file_order_do_not_matter(
    tmp_path: Path, interpreters: dict[str, dict[str, str]]
) -> None:
    names = list(FILES.items())
    python = interpreters[f"{sys.version_info[0]}.{sys.version_info[1]}"]
    first = tmp_path / "a"
    make_project(first, imports="import idna\n", requirements=["idna==3.10"], files=dict(names))
    second = tmp_path / "b" / "some where else" / "é"
    random.Random(1).shuffle(names)
    old = os.umask(0o077)
    try:
        make_project(second, imports="import idna\n", requirements=["idna==3.10"], files=dict(reversed(names)))
    finally:
        os.umask(old)
    for path in second.rglob("*"):
        os.utime(path, (86_400 * 365, 86_400 * 365))
    one_way = driven(first, {**python, "TZ": "UTC", "LANG": "C", "PYTHONHASHSEED": "1", "UMASK": "022"})
    other = driven(
        second,
        {**python, "TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "2", "UMASK": "077", "USER": "x"},
    )
    assert one_way["digests"] == other["digests"]


def test_no_host_path_gets_into_an_artefact(tmp_path: Path) -> None:
    make_project(tmp_path / "project", imports="import idna\n", requirements=["idna==3.10"])
    artefact = one(built(tmp_path / "project", tmp_path / "cache", host()))
    out = artefact.unpacked(tmp_path / "out")
    for path in (*out.rglob("*"), artefact.sbom, artefact.record):
        if path.is_file():
            data = path.read_bytes()
            assert str(tmp_path).encode() not in data, path
            assert str(Path.home()).encode() + b"/." not in data, path


def test_tracebacks_name_the_users_lines_without_a_stale_check(tmp_path: Path) -> None:
    make_project(tmp_path / "project", files={"shop/fails.py": "def f():\n    return 1 / 0  # the culprit\n"})
    artefact = one(built(tmp_path / "project", tmp_path / "cache", host()))
    out = artefact.unpacked(tmp_path / "out")
    code = (
        "import traceback\nfrom shop.fails import f\ntry: f()\nexcept ZeroDivisionError: print(traceback.format_exc())"
    )
    program = f"import sys; sys.path.insert(0, {str(out)!r})\n{code}"
    printed = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True).stdout
    assert "return 1 / 0  # the culprit" in printed
    # Unchecked: neither time nor content of the source is compared with the bytecode.
    (out / "shop/fails.py").write_text("def f(): return 'source was read'\n")
    printed = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True).stdout
    assert "ZeroDivisionError" in printed


def test_one_changed_line_changes_one_module_and_touches_no_dependency(tmp_path: Path) -> None:
    from pys_multi_tools.bundle import diff

    make_project(tmp_path / "project", imports="import idna\n", requirements=["idna==3.10"])
    before = one(built(tmp_path / "project", tmp_path / "cache", host()))
    layers = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/layers").glob("*/entries.bin")}
    with (tmp_path / "project/shop/app.py").open("a") as file:
        file.write("CHANGED = True\n")
    after = one(built(tmp_path / "project", tmp_path / "cache", host()))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/layers").glob("*/entries.bin")} == layers
    changed = {change.path for change in diff(before, after).files}
    tag = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
    assert changed == {"shop/app.py", f"shop/__pycache__/app.{tag}.pyc", "pys_multi_build.json"}
    assert before.build_id != after.build_id
    assert json.loads(read(after, "pys_multi_build.json"))["build_id"] == after.build_id
    # And back again: the same artefact.
    make_project(tmp_path / "project", imports="import idna\n", requirements=["idna==3.10"])
    assert one(built(tmp_path / "project", tmp_path / "cache", host())) == before


def test_concurrent_builds_share_the_work_and_agree(tmp_path: Path, interpreters: dict[str, dict[str, str]]) -> None:
    python = interpreters[f"{sys.version_info[0]}.{sys.version_info[1]}"]
    make_project(tmp_path / "project", imports="import idna, six\n", requirements=["idna==3.10", "six==1.16.0"])
    command = [python["PYTHON"], str(DRIVER), str(tmp_path / "project"), str(tmp_path / "cache"), "host"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **python}
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 5, outputs
    assert len({output for output, _ in outputs}) == 1
    assert len(list((tmp_path / "cache/layers").iterdir())) == 1


def test_a_killed_build_leaves_nothing_that_the_next_one_trips_over(
    tmp_path: Path, interpreters: dict[str, dict[str, str]]
) -> None:
    python = interpreters[f"{sys.version_info[0]}.{sys.version_info[1]}"]
    cache = tmp_path / "cache"
    make_project(tmp_path / "project", imports="import idna, six\n", requirements=["idna==3.10", "six==1.16.0"])
    wanted = driven(tmp_path / "project", python, str(tmp_path / "other"), "host")["digests"]
    command = [python["PYTHON"], str(DRIVER), str(tmp_path / "project"), str(cache), "host"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **python}
    # Killed at many different moments, each later than the one before, until a build gets through.
    delay = 0.05
    while True:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            delay += 0.1
            continue
        assert process.returncode == 0
        break
    assert driven(tmp_path / "project", python, str(cache), "host")["digests"] == wanted
    write(tmp_path / "project", {"shop/more.py": ""})
    driven(tmp_path / "project", python, str(cache), "host")  # a build that adds something sweeps afterwards
    assert list((cache / "tmp").iterdir()) == []


def test_clean_waits_for_a_running_build_and_removes_everything(tmp_path: Path) -> None:
    import threading

    make_project(tmp_path / "project", requirements=["six==1.16.0"])
    cache = tmp_path / "cache"
    built(tmp_path / "project", cache, host())
    store = Cache(cache)
    with store.in_use():
        cleaning = threading.Thread(target=clean, args=(cache,))
        cleaning.start()
        cleaning.join(0.3)
        assert cleaning.is_alive()
        assert list((cache / "layers").iterdir())
    cleaning.join(30)
    assert not cleaning.is_alive()
    assert {path.name for path in cache.iterdir()} <= {"lock"}
    assert one(built(tmp_path / "project", cache, host())).path.is_file()


def test_the_cache_stays_below_its_bound_and_keeps_what_was_used_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pys_multi_tools.bundle import cache as module

    monkeypatch.setattr(module, "MAX_BYTES", 300)
    monkeypatch.setattr(module, "KEEP_SECONDS", 0)
    store = Cache(tmp_path)
    for index in range(5):
        with store.in_use():
            store.get("things", str(index), lambda folder: (folder / "file").write_bytes(b"x" * 90) and None)
        past = time.time() - 1000 + index
        os.utime(tmp_path / "things" / str(index), (past, past))
        if index == 2:
            os.utime(tmp_path / "things" / "0", (past + 100, past + 100))
    with store.in_use():
        store.write_object("last", b"x")
    kept = sorted(path.name for path in (tmp_path / "things").iterdir())
    assert "0" in kept
    assert "1" not in kept
    assert sum(path.stat().st_size for path in tmp_path.rglob("file")) <= 300
    shutil.rmtree(tmp_path)
