"""How long packaging takes and how large the result is, beside sam build, chalice package and serverless package.

    python tests/benchmarks/packaging.py [--rounds 3] [--tools FOLDER]

One service that uses requests, pydantic and PyYAML, packaged three times by each tool: with none of the tool's
own output left (wheels stay in the download caches of uv, pip and npm), with nothing changed, and with one line
of code changed. A figure is the time of the whole process. Rounds are interleaved and medians printed. The
tools are installed into virtual environments and an npm folder of their own, kept in --tools for another run;
one that cannot be installed or run says why.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = "requests\npydantic\nPyYAML\n"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

USES = """
import pydantic
import requests
import yaml


class Item(pydantic.BaseModel):
    sku: str
    count: int = 1


def read(text):
    return [Item(**row).model_dump() for row in yaml.safe_load(text)], requests.__version__
"""


class CannotRun(Exception):
    """Why a tool has no figures."""


class Tool:
    """One packager: how it is installed, its project, its command, and what it leaves behind."""

    name = ""
    #: What a person changes one line of.
    code = ""
    #: The tool's own output and caches, beside the project's files.
    output: tuple[str, ...] = ()

    def __init__(self, tools: Path, work: Path) -> None:
        self.tools = tools / self.name
        self.project = work / self.name
        self.project.mkdir(parents=True)

    def install(self) -> None:
        """Installs the tool unless an earlier run has; writes its project."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command that packages."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Variables beside the process's own."""
        return {}

    def size(self) -> str:
        """What the command has made, and how large that is."""
        raise NotImplementedError

    def run(self) -> float:
        """Seconds of one packaging."""
        environment = {**os.environ, **self.environment(), "CI": "1"}
        started = time.perf_counter()
        ended = subprocess.run(self.command(), cwd=self.project, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if ended.returncode:
            lines = [line for line in (ended.stderr + ended.stdout).splitlines() if line.strip()]
            raise CannotRun(f"exit code {ended.returncode}: {' / '.join(lines[-3:])[:300]}")
        return seconds

    def forget(self) -> None:
        """Removes what earlier runs of the tool have left."""
        for name in self.output:
            path = self.project / name
            if path.is_dir():
                shutil.rmtree(path)

    def change(self, number: int) -> None:
        """Changes one line of code."""
        with (self.project / self.code).open("a") as file:
            file.write(f"CHANGED = {number}\n")

    def venv(self, *packages: str) -> None:
        """A virtual environment with packages."""
        if not (self.tools / "done").exists():
            uv = find_uv_bin()
            _quiet([uv, "venv", "--clear", "--python", sys.executable, str(self.tools)])
            _quiet([uv, "pip", "install", "--compile-bytecode", "--python", str(self.tools / "bin/python"), *packages])
            (self.tools / "done").touch()


class PysMulti(Tool):
    name = "pys-multi"
    code = "shop/app.py"
    output = (".cache",)

    def install(self) -> None:
        (self.tools / "done").unlink(missing_ok=True)  # always this very checkout
        uv = find_uv_bin()
        wheel = self.project.parent / "wheel"
        _quiet([uv, "build", "--wheel", "--out-dir", str(wheel), str(ROOT)])
        self.venv(*map(str, wheel.glob("*.whl")), "boto3", *REQUIREMENTS.split())
        ask = "from pys_multi_tools.provider import installed; print(*installed())"
        python = str(self.tools / "bin/python")
        names = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
        # The target's wheels decide the size; this machine's are the same ones where it is Linux on x86_64.
        self.cloud = "aws" if "aws" in names else "local"
        _write(
            self.project,
            {
                "requirements.txt": REQUIREMENTS,
                "pyproject.toml": f'[tool.pys-multi]\napp = "shop.app:app"\npython = "{PYTHON}"\n',
                "shop/__init__.py": "",
                "shop/app.py": "from pys_multi import App\n"
                + USES
                + 'app = App("shop")\napi = app.function("api")\n\n\n'
                '@api.get("/items", public=True)\ndef items() -> list:\n    return read("[]")[0]\n',
            },
        )

    def environment(self) -> Mapping[str, str]:
        return {"PYS_MULTI_CACHE_DIR": str(self.project / ".cache")}

    def command(self) -> list[str]:
        return [str(self.tools / "bin/pys-multi"), "bundle", "--cloud", self.cloud]

    def size(self) -> str:
        zips = sorted((self.project / ".cache/artefacts").glob("*/bundle.zip"), key=lambda path: path.stat().st_mtime)
        return f"{zips[-1].stat().st_size / 1e6:.2f} MB zip ({self.cloud})"


class Sam(Tool):
    name = "sam build"
    code = "src/app.py"
    output = (".aws-sam",)

    def install(self) -> None:
        self.venv("aws-sam-cli")
        _write(
            self.project,
            {
                "src/requirements.txt": REQUIREMENTS,
                "src/app.py": USES + "\n\ndef handler(event, context):\n    return read('[]')\n",
                "template.yaml": "AWSTemplateFormatVersion: '2010-09-09'\nTransform: AWS::Serverless-2016-10-31\n"
                "Resources:\n  Api:\n    Type: AWS::Serverless::Function\n    Properties:\n      CodeUri: src/\n"
                f"      Handler: app.handler\n      Runtime: python{PYTHON}\n",
            },
        )

    def environment(self) -> Mapping[str, str]:
        return {
            "PATH": f"{self.tools / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def command(self) -> list[str]:
        return [str(self.tools / "bin/sam"), "build"]

    def size(self) -> str:
        return f"{_tree(self.project / '.aws-sam/build/Api') / 1e6:.1f} MB tree"


class SamCached(Sam):
    name = "sam build --cached"

    def command(self) -> list[str]:
        return [*super().command(), "--cached"]


class Chalice(Tool):
    name = "chalice package"
    code = "app.py"
    output = (".chalice/deployments", "out")

    def install(self) -> None:
        self.venv("chalice", "setuptools", "pip", "wheel", *REQUIREMENTS.split())
        _write(
            self.project,
            {
                "requirements.txt": REQUIREMENTS,
                ".chalice/config.json": '{"version": "2.0", "app_name": "shop", "stages": {"dev": {}}}',
                "app.py": USES + "\nfrom chalice import Chalice\n\napp = Chalice(app_name='shop')\n\n\n"
                "@app.route('/items')\ndef items():\n    return read('[]')[0]\n",
            },
        )

    def environment(self) -> Mapping[str, str]:
        return {"AWS_DEFAULT_REGION": "eu-central-1", "PATH": f"{self.tools / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def command(self) -> list[str]:
        return [str(self.tools / "bin/chalice"), "package", "out"]

    def size(self) -> str:
        return f"{(self.project / 'out/deployment.zip').stat().st_size / 1e6:.2f} MB zip"


class Serverless(Tool):
    name = "serverless package"
    code = "app.py"
    output = (".serverless",)

    def install(self) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise CannotRun("npm is not installed")
        if not (self.tools / "done").exists():
            self.tools.mkdir(parents=True, exist_ok=True)
            packages = ("serverless@3", "serverless-python-requirements@6")
            _quiet([npm, "install", "--no-audit", "--no-fund", "--prefix", str(self.tools), *packages])
            (self.tools / "done").touch()
        _write(
            self.project,
            {
                "requirements.txt": REQUIREMENTS,
                "app.py": USES + "\n\ndef handler(event, context):\n    return read('[]')\n",
                "serverless.yml": "service: shop\nframeworkVersion: '3'\nconfigValidationMode: off\n"
                f"provider:\n  name: aws\n  runtime: python{PYTHON}\n  region: eu-central-1\n"
                "functions:\n  api:\n    handler: app.handler\n"
                "plugins:\n  - serverless-python-requirements\ncustom:\n  pythonRequirements:\n"
                f"    useStaticCache: false\n    useDownloadCache: false\n    pythonBin: {sys.executable}\n",
            },
        )
        (self.project / "node_modules").symlink_to(self.tools / "node_modules")

    def environment(self) -> Mapping[str, str]:
        return {
            "SLS_TELEMETRY_DISABLED": "1",
            "SLS_NOTIFICATIONS_MODE": "off",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "HOME": str(self.project.parent / "home"),
        }

    def command(self) -> list[str]:
        return [str(self.tools / "node_modules/.bin/serverless"), "package"]

    def size(self) -> str:
        return f"{(self.project / '.serverless/shop.zip').stat().st_size / 1e6:.2f} MB zip"


def main() -> None:
    """Installs, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tools", type=Path, help="where the tools are installed; kept for another run")
    parser.add_argument("--only", nargs="*", default=[], help="names of tools, such as pys-multi")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "home").mkdir()
        measure(options.tools or work / "tools", work / "projects", options.rounds, options.only)


def measure(tools: Path, work: Path, rounds: int, only: Sequence[str]) -> None:
    """Measures every tool that can be run, interleaved, and prints the table."""
    (work / "home").mkdir(parents=True)
    contenders: list[Tool] = []
    failed: dict[str, str] = {}
    kinds = (PysMulti, Sam, SamCached, Chalice, Serverless)
    for kind in (kind for kind in kinds if not only or kind.name in only):
        tool = kind(tools, work)
        try:
            tool.install()
            tool.run()  # once for nothing: it fills the download caches
        except (CannotRun, OSError, subprocess.CalledProcessError) as error:
            failed[tool.name] = str(error)
            continue
        contenders.append(tool)
        print(f"{tool.name} is ready", file=sys.stderr)
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for tool in contenders:
            tool.forget()
            for what in ("first", "unchanged", "one line"):
                if what == "one line":
                    tool.change(number)
                times.setdefault((tool.name, what), []).append(tool.run())
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    print(f"requests + pydantic + PyYAML for Lambda; Python {platform.python_version()}; {platform.platform()};")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {time.strftime('%Y-%m-%d')}; medians of {rounds}\n")
    print("| | first | nothing changed | one line of code changed | result |")
    print("|---|---|---|---|---|")
    for tool in contenders:
        medians = [statistics.median(times[tool.name, what]) for what in ("first", "unchanged", "one line")]
        print(f"| {tool.name} | {' | '.join(f'{seconds:.2f} s' for seconds in medians)} | {tool.size()} |")
    for name, why in failed.items():
        print(f"| {name} | could not be run: {why} | | | |")


def _write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _quiet(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise CannotRun(f"{Path(command[0]).name} {command[1]}: {ended.stderr.strip()[-300:]}")


def _tree(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
