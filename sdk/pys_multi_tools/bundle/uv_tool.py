"""Running uv: the options that name a target, the user's own index configuration, and its errors in our words."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target

# glibc levels that uv knows as --python-platform (uv 0.9); a target gets the highest one that is not above its own.
_MANYLINUX = tuple((2, minor) for minor in (17, *range(28, 41)))
_NO_WHEEL = (
    re.compile(r"Wheels are required for `([\w.-]+)`"),
    re.compile(r"Package `([\w.-]+)` can't be installed because it is marked as `--no-build`"),
    re.compile(r"because ([A-Za-z][\w.-]*)\S* has no (?:usable )?wheels", re.IGNORECASE),
)
# Any of these says that uv knows its index already, so that pip's configuration is not looked at.
_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")


def run(
    arguments: Sequence[str], *, cwd: Path, what: str, where: str = "", indexes: Mapping[str, str] | None = None
) -> str:
    """Standard output of uv. Raises BundleError with uv's own words below ``what``.

    indexes: uv's variables for indexes that a requirements file names, beside those of the environment.
    """
    ended = _run(arguments, cwd, indexes)
    if ended.returncode:
        raise _error(ended.stderr, what, where)
    return ended.stdout


def succeeds(arguments: Sequence[str], *, cwd: Path) -> int:
    """The exit code of uv, for commands that ask a question."""
    return _run(arguments, cwd).returncode


def platform_options(target: Target) -> list[str]:
    """What makes uv choose wheels for the target; nothing where the target is this machine."""
    if target.is_host:
        return []
    return ["--python-platform", platform_name(target), "--only-binary", ":all:"]


def platform_name(target: Target) -> str:
    """The target as uv names platforms."""
    if target.system == "macos":
        return f"{target.architecture}-apple-darwin"
    if target.system == "windows":
        return f"{target.architecture}-pc-windows-msvc"
    wanted = target.glibc or (2, 17)
    fitting = [level for level in _MANYLINUX if level <= wanted]
    if not fitting:
        raise BundleError(
            f"glibc {wanted[0]}.{wanted[1]} is older than any that wheels are made for",
            where=f"target of {target.provider}",
            hint="the oldest is 2.17",
        )
    major, minor = fitting[-1]
    return f"{target.architecture}-manylinux_{major}_{minor}"


def index_environment(project: Path) -> dict[str, str]:
    """The index settings that decide where distributions come from, for cache keys; they may hold passwords."""
    return {name: value for name, value in _environment(project).items() if name in _UV_INDEXES}


def _run(
    arguments: Sequence[str], cwd: Path, indexes: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    from uv import find_uv_bin

    try:
        binary = find_uv_bin()
    except FileNotFoundError as error:
        raise BundleError("uv is not installed", hint="reinstall pys-multi: uv comes with it") from error
    return subprocess.run(
        [binary, *arguments, "--quiet", "--no-progress", "--color", "never", "--no-python-downloads"],
        cwd=cwd,
        env=_with_indexes(_environment(cwd), indexes or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _environment(project: Path) -> dict[str, str]:
    # The running virtual environment is not where anything goes, and uv warns about one that is not the project's.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    if not any(_names_index(project / name) for name in ("uv.toml", "pyproject.toml")):
        environment.update(from_pip())
    return environment


def _with_indexes(environment: dict[str, str], indexes: Mapping[str, str]) -> dict[str, str]:
    more = " ".join(filter(None, [environment.get("UV_INDEX", ""), indexes.get("UV_INDEX", "")]))
    return {**environment, **indexes, **({"UV_INDEX": more} if more else {})}


def _error(stderr: str, what: str, where: str) -> BundleError:
    text = re.sub(r"(://)[^/@\s]+@", r"\1…@", stderr.strip())  # an index's password
    missing = next((match for pattern in _NO_WHEEL if (match := pattern.search(text))), None)
    if missing:
        name = missing[1]
        return BundleError(
            f"{name} has no wheel for the target, only source or wheels for other platforms",
            where=where,
            hint=f"build on a host that matches the target; or choose a version of {name} that has a wheel; "
            f"or build a wheel yourself and name it as a path or --find-links; or deploy an image",
            detail=text,
        )
    if "ash mismatch" in text:
        return BundleError(
            "what the index delivers is not what the lock says: a hash differs",
            where=where,
            hint="find out why before you go on; after a legitimate change, lock again",
            detail=text,
        )
    return BundleError(what, where=where, hint="what uv says is below", detail=text)


@cache
def from_pip() -> Mapping[str, str]:
    """pip's index settings as uv's, where the user has configured pip and not uv; read once per process."""
    if any(name in os.environ for name in _UV_INDEXES) or _uv_file_names_index():
        return {}
    settings = _pip_settings()
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    result = {uv: " ".join(settings[pip].split()) for pip, uv in names.items() if settings.get(pip)}
    if "UV_FIND_LINKS" in result:
        result["UV_FIND_LINKS"] = result["UV_FIND_LINKS"].replace(" ", ",")
    if result.get("UV_INDEX"):
        result["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip looks at all of its indexes for the best version
    if settings.get("no-index") in ("1", "true", "yes"):
        result["UV_NO_INDEX"] = "1"
    if settings.get("cert") and "SSL_CERT_FILE" not in os.environ:
        result["SSL_CERT_FILE"] = settings["cert"]
    return result


def _pip_settings() -> dict[str, str]:
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    own = os.environ.get("PIP_CONFIG_FILE")
    if own:
        files = [] if own == os.devnull else [*files, Path(own)]
    result: dict[str, str] = {}
    for file in files:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself complains about it
        for section in ("global", "install"):
            if parser.has_section(section):
                result.update({key.replace("_", "-"): value.strip() for key, value in parser.items(section)})
    for name, value in os.environ.items():
        if name.startswith("PIP_"):
            result[name[4:].lower().replace("_", "-")] = value
    return result


def _uv_file_names_index() -> bool:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return any(_names_index(folder / "uv" / "uv.toml") for folder in (Path("/etc"), config))


def _names_index(file: Path) -> bool:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(re.search(r"^\s*(\[\[(tool\.uv\.)?index\]\]|(extra-)?index-url\s*=|find-links\s*=)", text, re.M))
