#!/usr/bin/env bash
# Installs pys-multi from the action's own checkout, so that the ref of the action is the version of the tool, into a
# folder named after what is in it: a runner that keeps its tool cache installs once.
set -euo pipefail

root="$(cd "${GITHUB_ACTION_PATH}" && pwd -P)"
python="${INPUT_PYTHON_VERSION:-}"
if [[ -n "${python}" && ! "${python}" =~ ^3\.[0-9]{1,2}$ ]]; then
  echo "::error title=pys-multi::input python-version: must be a version such as 3.13"
  exit 2
fi

digest() {
  (cd "${root}" && find sdk providers templates pyproject.toml -type f ! -name '*.py[co]' -print0 | LC_ALL=C sort -z \
    | xargs -0 cat -- | { sha256sum 2>/dev/null || shasum -a 256; }) | cut -c 1-16
}

wanted="$(command -v "python${python:-3}" || true)"
if [[ -z "${wanted}" ]] || ! "${wanted}" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'; then
  wanted="${python:-3.13}" # the runner has none that serves: uv brings one
fi
any="$(command -v python3 || true)"
if [[ -z "${any}" ]]; then
  echo "::error title=pys-multi::there is no python3 on the runner: set one up before this step"
  exit 1
fi

# One environment for each project folder: the dependencies of two services may contradict each other.
project="$(printf '%s\n' "${GITHUB_REPOSITORY:-}" "${INPUT_PATH:-}" "${wanted}" | cksum | cut -d ' ' -f 1)"
home="${RUNNER_TOOL_CACHE:-${RUNNER_TEMP:-/tmp}}/pys-multi/$(digest)"
bin="${home}/${project}/bin"

echo "::group::install pys-multi"
uv="$(command -v uv || true)"
if [[ -z "${uv}" ]]; then
  uv="${home}/uv/bin/uv"
  if [[ ! -x "${uv}" ]]; then
    rm -rf "${home}/uv"
    "${any}" -m venv "${home}/uv"
    "${home}/uv/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
  fi
fi
if [[ ! -f "${home}/${project}/ready" ]]; then
  rm -rf "${home:?}/${project}"
  "${uv}" venv --quiet --python "${wanted}" "${home}/${project}"
  "${uv}" pip install --quiet --python "${bin}/python" "${root}"
  touch "${home}/${project}/ready"
fi
"${bin}/python" -m pys_multi_tools.github.install
echo "::endgroup::"
echo "python=${bin}/python" >> "${GITHUB_OUTPUT}"
