"""The smaller parts of the bundler: native libraries, bytecode, inputs, names, the cache."""

from __future__ import annotations

import ctypes
import marshal
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bundle_project import write

from pys_multi_tools.bundle import elf, missing, resolve, slim, uv_tool
from pys_multi_tools.bundle.bytecode import Detail, Interpreter, Source, compile_sources
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.inputs import Inputs, find_inputs, find_uv_lock, local_projects
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target

HERE = Interpreter(sys.executable, ".".join(map(str, sys.version_info[:3])))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler for ELF")
    folder = tmp_path_factory.mktemp("library")
    (folder / "x.c").write_text("static int table[400] = {1, 2, 3};\nint add(int a) { return a + table[1]; }\n")
    subprocess.run([compiler, "-g3", "-O0", "-shared", "-fPIC", "-o", "x.so", "x.c"], cwd=folder, check=True)
    return folder / "x.so"


def test_a_library_without_debug_information_still_works(library: Path, tmp_path: Path) -> None:
    before = library.read_bytes()
    after = elf.without_debug(before)
    assert b".debug_info" in before
    assert len(after) < len(before)
    assert elf.without_debug(after) == after
    (tmp_path / "y.so").write_bytes(after)
    assert ctypes.CDLL(str(tmp_path / "y.so")).add(40) == 42
    readelf = shutil.which("readelf")
    if readelf:
        ended = subprocess.run([readelf, "-aW", str(tmp_path / "y.so")], capture_output=True, text=True, check=True)
        assert "Warning" not in ended.stderr + ended.stdout
        assert "Error" not in ended.stderr


@given(st.binary(max_size=300), st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_damaged_libraries_stay_as_they_are(data: bytes, at: int, junk: bytes) -> None:
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + data
    damaged = header[:at] + junk + header[at + len(junk) :]
    assert elf.without_debug(damaged) == damaged
    elf.machine(damaged)


def test_bytecode_does_not_depend_on_what_else_was_compiled() -> None:
    sources = [
        Source("a.py", b"def shop(order): return {'order', 'shop', 1000, b'x'} and order.shop\n"),
        Source("b.py", b"from a import shop\nclass Order:\n    shop = shop\n    order = ('shop', 'order', 1000)\n"),
        *(Source(f"c{i}.py", f"shop = order = 'word_{i}'\ndef word_{i + 1}(): pass\n".encode()) for i in range(60)),
    ]
    together = compile_sources(HERE, sources)
    backwards = compile_sources(HERE, sources[::-1])
    assert together == backwards
    for source in sources[:3]:
        assert compile_sources(HERE, [source]) == {source.path: together[source.path]}


def test_bytecode_is_unchecked_and_of_its_detail() -> None:
    source = b'"""Words."""\ndef f():\n    assert False, "no"\n    return 1 + x\n'
    found = {}
    for detail in Detail:
        pyc, _, _ = compile_sources(HERE, [Source("shop/m.py", source, detail)])["shop/m.py"]
        assert pyc[4:8] == b"\x01\0\0\0"  # PEP 552: hash-based, and not checked
        code = marshal.loads(pyc[16:])
        assert code.co_filename == "shop/m.py"
        inner = next(const for const in code.co_consts if hasattr(const, "co_positions"))
        found[detail] = (b"Words." in pyc, "no" in inner.co_consts, any(p[2] is not None for p in inner.co_positions()))
    assert found == {
        Detail.FULL: (True, True, True),
        Detail.LINES: (True, True, False),
        Detail.BARE: (False, False, False),
    }


def test_code_of_another_language_is_an_answer_not_an_end() -> None:
    found = compile_sources(
        HERE, [Source("old.py", b"x = 1\nprint 'x'\n"), Source("new.py", b"x = 1\n"), Source("n.py", b"\0")]
    )
    assert found["old.py"].error.startswith("line 2: ")
    assert not found["new.py"].error
    assert not found["n.py"].pyc


@pytest.mark.parametrize(
    ("whose", "source"),
    [
        ("any", "def check(f):\n    return ast.parse(inspect.getsource(f))\n"),
        ("any", "try:\n    x = getsourcelines(f)\nexcept TypeError:\n    pass\n"),
        ("any", "try:\n    pass\nexcept OSError:\n    x = inspect.findsource(f)\n"),
        ("", "try:\n    x = inspect.getsource(f)\nexcept (TypeError, OSError):\n    x = ''\n"),
        ("", "with suppress(OSError):\n    if f:\n        x = inspect.getsource(f)\n"),
        ("any", "try:\n    def later(f):\n        return inspect.getsource(f)\nexcept OSError:\n    pass\n"),
        ("own", "HERE = dirname(__file__)\nexec(open(join(HERE, 'config.py')).read())\n"),
        ("own", "names = [n for n in os.listdir(dirname(__file__)) if re.match(r'(.+)\\.py$', n)]\n"),
        ("own", "text = Path(__file__).read_text()\n"),
        ("own", "def source(cls):\n    return Path(inspect.getfile(cls)).read_text()\n"),
        ("", "data = open(join(dirname(__file__), 'data.json')).read()\n"),
        ("", '"""Reads nothing, though this says x.py."""\nopen(join(dirname(__file__), "data.json"))\n'),
        ("", "def f(path):\n    return open(path + '.py')\n"),
    ],
)
def test_who_reads_source_files(whose: str, source: str) -> None:
    assert compile_sources(HERE, [Source("m.py", source.encode())])["m.py"].reads == whose


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        (b"__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)\n", True),
        (b"for file in folder.glob('*.pyi'):\n    pass\n", True),
        (b"# see the .pyi beside it\nx = 'a.pyi.b'\n", False),
    ],
)
def test_who_reads_stubs(source: bytes, reads: bool) -> None:
    assert slim.reads_stubs(source) is reads


def test_dependencies_that_only_poetry_reads_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "[tool.poetry.dependencies]\npython = '^3.11'\n"})
    assert find_inputs(tmp_path, (), (), ()).kind == "none"
    write(tmp_path, {"pyproject.toml": "[tool.poetry.dependencies]\npython = '^3.11'\nsix = '*'\n"})
    with pytest.raises(BundleError, match=r"tool\.poetry") as caught:
        find_inputs(tmp_path, (), (), ())
    assert "poetry export" in caught.value.hint


def test_what_a_group_includes_was_asked_for(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pyproject.toml": "[project]\nname = 'x'\nversion = '1'\ndependencies = ['six']\n"
            "[dependency-groups]\na = ['idna']\nb = [{include-group = 'A'}, {include-group = 'b'}, 'attrs']\n"
        },
    )
    inputs = Inputs(tmp_path, "pylock.toml", (), (), ("b",))
    assert resolve.direct_names(inputs) == ["six", "idna", "attrs"]


def test_indexes_of_requirement_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    text = "-i https://a/simple\n--extra-index-url https://u:${TOKEN}@b/simple\n-r more.txt\nsix\n"
    write(tmp_path, {"requirements.txt": text, "more.txt": "--extra-index-url=https://c/${ABSENT}\n"})
    assert resolve.index_options(find_inputs(tmp_path, (), (), ())) == {
        "UV_DEFAULT_INDEX": "https://a/simple",
        "UV_INDEX": "https://u:hunter2@b/simple https://c/${ABSENT}",
    }


def test_inputs_by_precedence(tmp_path: Path) -> None:
    def kind() -> str:
        return find_inputs(tmp_path, (), (), ()).kind

    assert kind() == "none"
    write(tmp_path, {"pyproject.toml": "[tool.x]\n"})
    assert kind() == "none"
    write(tmp_path, {"pyproject.toml": "[project]\nname = 'x'\nversion = '1'\n"})
    assert kind() == "pyproject"
    write(tmp_path, {"requirements.txt": ""})
    assert kind() == "requirements"
    write(tmp_path, {"pylock.toml": ""})
    assert kind() == "pylock.toml"
    write(tmp_path, {"uv.lock": ""})
    assert kind() == "uv.lock"
    assert find_inputs(tmp_path, ("requirements.txt",), (), ()).kind == "requirements"
    with pytest.raises(BundleError, match="does not exist"):
        find_inputs(tmp_path, ("missing.txt",), (), ())
    with pytest.raises(BundleError, match="cannot be combined"):
        find_inputs(tmp_path, ("uv.lock", "requirements.txt"), (), ())


def test_the_lock_of_a_workspace_counts_for_its_members_only(tmp_path: Path) -> None:
    project = "[project]\nname = 'x'\nversion = '1'\n"
    write(
        tmp_path,
        {"pyproject.toml": "[tool.uv.workspace]\nmembers = ['packages/*']\nexclude = ['packages/c']\n", "uv.lock": ""},
    )
    for name in ("packages/a", "packages/c", "other/b"):
        write(tmp_path, {f"{name}/pyproject.toml": project})
    assert find_uv_lock(tmp_path / "packages/a") == tmp_path / "uv.lock"
    assert find_uv_lock(tmp_path / "packages/c") is None
    assert find_uv_lock(tmp_path / "other/b") is None


def test_local_projects_are_found_in_every_kind_of_input(tmp_path: Path) -> None:
    for name in ("one", "two", "three", "four"):
        write(tmp_path, {f"{name}/pyproject.toml": ""})
    write(tmp_path, {"root/more.txt": "-e file:../three\n", "root/no": ""})
    write(
        tmp_path,
        {
            "root/requirements.txt": "# ./four\n-e ../one\ntwo @ file:../two ; os_name > '3'\n-r more.txt\nsix\n./no\n",
            "root/pyproject.toml": '[tool.uv.sources]\nfour = { path = "../four", editable = true }\n',
        },
    )
    inputs = find_inputs(tmp_path / "root", (), (), ())
    assert {folder.name for folder in local_projects(inputs)} == {"one", "two", "three", "four"}


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("six==1\nidna==2\n", None),
        ("six==1\n    # via shop (pyproject.toml)\nidna==2\n    # via six\n", {"six"}),
        (
            "six==1  # via -r requirements.in\nidna==2\n    # via\n    #   six\n    #   -r requirements.in\n",
            {"six", "idna"},
        ),
        ("six==1 \\\n    --hash=sha256:00\n    # via pys-multi\nidna==2\n", {"idna"}),
    ],
)
def test_roots_from_the_comments_of_a_compiled_file(tmp_path: Path, text: str, roots: set[str] | None) -> None:
    write(tmp_path, {"requirements.txt": text})
    inputs = Inputs(tmp_path, "requirements", (tmp_path / "requirements.txt",))
    found = resolve.annotated_roots(inputs.files[0].read_text())
    assert found == (frozenset(roots) if roots is not None else None)


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("yaml", "PyYAML"),
        ("PIL.Image", "Pillow"),
        ("google.cloud.storage.blob", "google-cloud-storage"),
        ("a_b.c", "a-b"),
    ],
)
def test_distributions_of_modules(module: str, distribution: str) -> None:
    assert missing.distribution_of(module) == distribution


@pytest.mark.parametrize(
    ("system", "architecture", "glibc", "name"),
    [
        ("linux", "x86_64", (2, 34), "x86_64-manylinux_2_34"),
        ("linux", "aarch64", (2, 26), "aarch64-manylinux_2_17"),
        ("linux", "x86_64", (2, 99), "x86_64-manylinux_2_40"),
        ("macos", "aarch64", None, "aarch64-apple-darwin"),
        ("windows", "x86_64", None, "x86_64-pc-windows-msvc"),
    ],
)
def test_platforms_as_uv_names_them(system: str, architecture: str, glibc: tuple[int, int] | None, name: str) -> None:
    target = Target(provider="x", python="3.13", system=system, architecture=architecture, glibc=glibc)  # type: ignore[arg-type]
    assert uv_tool.platform_name(target) == name


def test_what_is_slimmed(tmp_path: Path) -> None:
    kept = [
        "a/b.py",
        "a-1.dist-info/METADATA",
        "a-1.dist-info/licenses/LICENSE",
        "a-1.dist-info/entry_points.txt",
        "a/d.h",
    ]
    gone = ["bin/a", "../../bin/a", "a/b.pyi", "a/py.typed", "a/__pycache__/b.pyc", "a-1.dist-info/INSTALLER",
            "share/man/a.1", "a-1.dist-info/direct_url.json", "a-1.dist-info/sboms/x.json", "a/lib.a"]  # fmt: skip
    assert [path for path in kept + gone if not slim.reason(path, "a-1.dist-info")] == kept
    text = b"Name: a\r\nVersion: 1\r\n\r\nA long page.\n"
    assert slim.short_metadata(text) == b"Name: a\nVersion: 1\n"


def test_one_of_many_makes_a_folder_and_the_others_wait_for_it(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    made, found = [], []
    start = threading.Barrier(8)

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("x")

    def ask() -> None:
        start.wait()
        found.append(store.get("things", "key", make))

    with store.in_use():
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made) == 1
    assert len(set(found)) == 1
    assert (found[0] / "file").read_text() == "x"


def test_a_folder_that_fails_to_be_made_is_not_there(tmp_path: Path) -> None:
    store = Cache(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise BundleError("no")

    with store.in_use():
        with pytest.raises(BundleError):
            store.get("things", "key", fail)
        assert store.path("things", "key") is None
        assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_not_whole_is_made_again(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache")
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "a").write_text("text")

    with store.in_use():
        folder = store.get("things", "key", make)
        assert store.get("things", "key", make) == folder
        assert len(made) == 1
        (folder / "a").write_text("te")
        assert (store.get("things", "key", make) / "a").read_text() == "text"
        (folder / "a").unlink()
        assert (store.get("things", "key", make) / "a").read_text() == "text"
        assert len(made) == 3

        store.write_object("name", b"value")
        assert store.read_object("name") == b"value"
        (stored,) = (file for file in (store.root / "objects").rglob("*") if file.is_file())
        stored.write_bytes(stored.read_bytes()[:-1])
        assert store.read_object("name") is None
        assert store.root.stat().st_mode & 0o077 == 0


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("PYS_MULTI_CACHE_DIR", raising=False)
    assert Cache().root == tmp_path / "xdg" / "pys-multi"
    monkeypatch.setenv("PYS_MULTI_CACHE_DIR", str(tmp_path / "own"))
    assert Cache().root == tmp_path / "own"
