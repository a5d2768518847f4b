"""The settings: precedence, stages, and errors that say where, what is allowed and what was probably meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pys_multi_tools.errors import SettingsError
from pys_multi_tools.project import Project, find_root
from pys_multi_tools.settings import SettingsTable
from pys_multi_tools.toml_file import TomlFile


def write(root: Path, text: str, name: str = "pys-multi.toml") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root


def load(root: Path, **kwargs: Any) -> Project:
    return Project.load(root, **{"env": {}, **kwargs})


def refused(root: Path, **kwargs: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(root, **kwargs)
    return caught.value


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    project = load(tmp_path)
    assert project.stage == project.settings.stage == "dev"
    assert project.settings.cloud == ("local",)
    assert project.settings.bundle.max_mb is None
    assert project.sources == {}
    assert project.root == tmp_path.resolve()


def test_flag_wins_over_environment_over_stage_over_file(tmp_path: Path) -> None:
    write(tmp_path, 'python = "3.11"\n[stages.prod]\npython = "3.12"\n')
    env = {"PYS_MULTI_PYTHON": "3.13"}
    assert load(tmp_path).settings.python == "3.11"
    prod = load(tmp_path, stage="prod")
    assert (prod.settings.python, prod.sources["python"]) == ("3.12", "pys-multi.toml:3")
    from_env = load(tmp_path, stage="prod", env=env)
    assert (from_env.settings.python, from_env.sources["python"]) == ("3.13", "env PYS_MULTI_PYTHON")
    from_flag = load(tmp_path, stage="prod", env=env, flags={"python": "3.14"})
    assert (from_flag.settings.python, from_flag.sources["python"]) == ("3.14", "flag --python")


def test_the_stage_itself_follows_the_same_precedence(tmp_path: Path) -> None:
    write(tmp_path, 'stage = "test"\n[stages.prod]\nenvironment = { LEVEL = "error" }\n')
    assert load(tmp_path).stage == "test"
    prod = load(tmp_path, env={"PYS_MULTI_STAGE": "prod"})
    assert (prod.stage, dict(prod.settings.environment)) == ("prod", {"LEVEL": "error"})
    assert load(tmp_path, env={"PYS_MULTI_STAGE": "prod"}, stage="pr-42").stage == "pr-42"
    assert "flag --stage" in str(refused(tmp_path, stage="Not A Stage"))


def test_a_stage_overrides_single_keys_of_a_table(tmp_path: Path) -> None:
    write(
        tmp_path,
        'environment = { LEVEL = "info", REGION = "eu" }\n[bundle]\nmax_mb = 10\nexclude = ["a"]\n'
        '[stages.prod]\nenvironment = { LEVEL = "error" }\n[stages.prod.bundle]\nexclude = ["b"]\n',
    )
    settings = load(tmp_path, stage="prod").settings
    assert settings.environment == {"LEVEL": "error", "REGION": "eu"}
    assert (settings.bundle.max_mb, settings.bundle.exclude) == (10, ("b",))
    assert load(tmp_path).settings.environment["LEVEL"] == "info"


def test_lists_and_numbers_come_from_variables_too(tmp_path: Path) -> None:
    env = {"PYS_MULTI_CLOUD": "local, other", "PYS_MULTI_BUNDLE_MAX_MB": "12.5"}
    settings = load(tmp_path, env=env).settings
    assert settings.cloud == ("local", "other")
    assert settings.bundle.max_mb == 12.5
    bad = refused(tmp_path, env={"PYS_MULTI_BUNDLE_MAX_MB": "large"})
    assert (bad.where, bad.what) == ("env PYS_MULTI_BUNDLE_MAX_MB", "'bundle.max_mb' must be a number")


def test_a_variable_that_looks_like_a_typo_is_refused_and_others_are_left_alone(tmp_path: Path) -> None:
    bad = refused(tmp_path, env={"PYS_MULTI_STAEG": "prod"})
    assert bad.where == "env PYS_MULTI_STAEG"
    assert "PYS_MULTI_STAGE" in bad.hint
    assert load(tmp_path, env={"PYS_MULTI_FUNCTION": "api", "PYS_MULTI_STATE_DIR": "/x"}).stage == "dev"


def test_pyproject_is_read_and_pys_multi_toml_wins_with_a_notice(tmp_path: Path) -> None:
    write(tmp_path, '[project]\nname = "x"\n\n[tool.pys-multi]\nstage = "one"\n', "pyproject.toml")
    project = load(tmp_path)
    assert (project.stage, project.sources["stage"], project.notices) == ("one", "pyproject.toml:5", ())
    write(tmp_path, 'cloud = ["local"]\n')
    project = load(tmp_path)
    assert project.stage == "dev"
    assert project.notices == ("pyproject.toml:4: [tool.pys-multi] is ignored, because pys-multi.toml exists",)


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ('app = "a:b"\nclout = ["local"]\n', ":2", ["clout", "did you mean 'cloud'?"]),
        ("[bundle]\nmax_mb = 1\nmax-import-ms = 5\n", ":3", ["bundle.max-import-ms", "'max_import_ms'"]),
        ("[bundel]\nmax_mb = 1\n", ":1", ["bundel", "did you mean 'bundle'?", "local"]),
        ("[stages.prod]\n\ncloud = 'local'\n", ":3", ["stages.prod.cloud", "must be a list"]),
        ("[stages.prod]\nstage = 'x'\n", ":2", ["stages.prod.stage"]),
        ("[stages.Prod]\n", ":1", ["lower-case"]),
        ("stages = 3\n", ":1", ["[stages.prod]"]),
        ("local = 3\n", ":1", ["'local' must be a table"]),
        ("cloud = []\n", ":1", ["must not be empty"]),
        ("cloud = [\n  'local',\n  7,\n]\n", ":1", ["cloud.1", "must be a string in quotes"]),
        ("python = 3.10\n", ":1", ["must be in quotes"]),
        ('python = "3.9"\n', ":1", ["from", "3.11"]),
        ('app = "shop/app.py"\n', ":1", ["module:attribute"]),
        ("[bundle]\nmax_mb = '50'\n", ":2", ["must be a number"]),
        ("[bundle]\nmax_mb = true\n", ":2", ["must be a number"]),
        ("[bundle]\nmax_mb = -1\n", ":2", ["greater than 0"]),
        ("environment = { PORT = 80 }\n", ":1", ["environment.PORT", "string in quotes"]),
        ('environment."two words" = "x"\n', ":1", ["letters, digits and underscores"]),
        ("app = \n", ":1", ["not valid TOML"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(tmp_path: Path, text: str, where: str, expected: list[str]) -> None:
    error = refused(write(tmp_path, text))
    assert error.where == f"pys-multi.toml{where}"
    for part in expected:
        assert part in str(error)
    assert error.exit_code == 2


def test_every_problem_of_a_table_is_told_at_once(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "[bundle]\nmax_mb = 'x'\nextra = 3\n"))
    assert "max_mb" in str(error)
    assert "bundle.extra" in str(error)


@pytest.mark.parametrize(
    "value", ["hunter2", "postgres://user:hunter2@db/x", "env:", "s3cr_t:hunter2", "env:A\nhunter2", ""]
)
def test_a_secret_must_be_a_reference_and_its_value_is_never_repeated(tmp_path: Path, value: str) -> None:
    error = refused(write(tmp_path, f"[secrets]\nTOKEN = {json.dumps(value)}\n"))
    assert error.where == "pys-multi.toml:2"
    assert "never its value" in str(error)
    assert "hunter2" not in str(error)
    assert error.__cause__ is None


def test_references_of_every_scheme_are_taken(tmp_path: Path) -> None:
    write(tmp_path, 'secrets = { A = "env:A", B = "file:./b.txt", C = "aws-sm:prod/c" }\n')
    assert load(tmp_path).settings.secrets["C"] == "aws-sm:prod/c"


class ToySettings(BaseModel):  # allows unknown keys, as a careless provider might
    port: int = 8000
    hosts: tuple[str, ...] = ()


def test_a_provider_table_is_validated_by_the_provider_s_own_model(tmp_path: Path) -> None:
    write(tmp_path, '[local]\nport = 1\n[stages.prod.local]\nhosts = ["a"]\n')
    assert load(tmp_path, stage="prod").settings.providers == {"local": {"port": 1, "hosts": ["a"]}}
    toy = load(tmp_path, stage="prod").provider_settings("local", ToySettings)
    assert (toy.port, toy.hosts) == (1, ("a",))
    from_env = load(tmp_path, env={"PYS_MULTI_LOCAL_PORT": "2"}, flags={"local.hosts": "b,c"})
    toy = from_env.provider_settings("local", ToySettings)
    assert (toy.port, toy.hosts) == (2, ("b", "c"))


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("[local]\nport = 'x'\n", "pys-multi.toml:2", "'local.port' must be a whole number"),
        ("[local]\n\nprot = 1\n", "pys-multi.toml:3", "did you mean 'port'?"),
    ],
)
def test_an_error_in_a_provider_table_has_its_line(tmp_path: Path, text: str, where: str, expected: str) -> None:
    project = load(write(tmp_path, text))
    with pytest.raises(SettingsError) as caught:
        project.provider_settings("local", ToySettings)
    assert caught.value.where == where
    assert expected in str(caught.value)


def test_a_bad_provider_variable_names_itself(tmp_path: Path) -> None:
    project = load(tmp_path, env={"PYS_MULTI_LOCAL_PORT": "many"})
    with pytest.raises(SettingsError, match=r"env PYS_MULTI_LOCAL_PORT: 'local.port' must be a whole number"):
        project.provider_settings("local", ToySettings)


def test_an_unknown_flag_is_a_usage_error(tmp_path: Path) -> None:
    error = refused(tmp_path, flags={"bundle.max": 3})
    assert "bundle.max_mb" in error.hint


def test_the_root_is_found_from_a_folder_below(tmp_path: Path) -> None:
    below = tmp_path / "shop" / "deep"
    below.mkdir(parents=True)
    write(tmp_path, "")
    assert find_root(below) == tmp_path.resolve()
    with pytest.raises(SettingsError, match="is not a folder"):
        load(tmp_path / "absent")


text = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True)


@settings(deadline=None)
@given(
    st.dictionaries(keys, st.one_of(st.integers(-(2**62), 2**62), text, st.lists(text, max_size=3)), max_size=5),
    st.dictionaries(keys, st.dictionaries(keys, text, max_size=3), max_size=3),
    st.integers(0, 3),
)
def test_every_key_is_found_on_its_line(
    tmp_path_factory: pytest.TempPathFactory,
    scalars: dict[str, Any],
    tables: dict[str, dict[str, str]],
    blanks: int,
) -> None:
    """The line of a key is the one that the file was written with, whatever stands in the strings around it."""

    def quoted(text: str) -> str:
        # DEL and lone surrogates are valid in JSON strings and not in TOML ones.
        return json.dumps(text.replace("\x7f", ""), ensure_ascii=False)

    expected: dict[tuple[str, ...], int] = {}
    lines: list[str] = ["[other]", 'text = """', "[tool.pys-multi]", '"""', "list = [", '  ["a"],', "]"]
    lines += ["[tool.pys-multi]"]
    for key, value in scalars.items():
        lines += ["# [comment]"] * blanks
        expected[(key,)] = len(lines) + 1
        if isinstance(value, list):
            lines += [f"{key} = [", *(f"  {quoted(item)}," for item in value), "]"]
        else:
            lines.append(f"{key} = {quoted(value) if isinstance(value, str) else value}")
    for name, table in tables.items():
        if name in scalars:
            continue
        expected[(name,)] = len(lines) + 1
        lines.append(f"[tool.pys-multi.{name}]")
        for key, text in table.items():
            expected[(name, key)] = len(lines) + 1
            lines.append(f"{key} = {quoted(text)}")
    path = tmp_path_factory.mktemp("toml") / "pyproject.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    file = TomlFile(path, ("tool", "pys-multi"))
    assert {keys: file.where(keys) for keys in expected} == {
        keys: f"pyproject.toml:{line}" for keys, line in expected.items()
    }


def test_settings_tables_refuse_unknown_keys_and_hide_values() -> None:
    class Own(SettingsTable):
        key: int

    with pytest.raises(ValueError, match="key") as caught:
        Own(key="canary")  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


def test_the_files_of_secrets_are_known_for_every_stage(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        secrets = { A = "file:dev.txt", B = "env:B" }
        [stages.prod]
        secrets = { A = "file:keys/prod.txt" }
        [stages.test]
        python = "3.12"
        """,
    )
    assert load(tmp_path).secret_files == ("dev.txt", "keys/prod.txt")
    assert load(tmp_path, stage="prod").secret_files == ("dev.txt", "keys/prod.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('environment = { PYS_MULTI_STAGE = "x" }', "does not begin with PYS_MULTI_"),
        ('environment = { A = "a\\u0000b" }', "text without the NUL character"),
        ('\ufeffstage = "dev"', "pys-multi.toml: begins with a byte order mark"),
    ],
)
def test_what_no_process_could_be_given_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in str(refused(write(tmp_path, text)))
