#!/usr/bin/env bash
# Builds .venv from requirements/all.txt and requirements/no-deps.txt, with hashes verified.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null; then
  echo "Mint needs Python 3.11 to 3.14 and '$python' is not one; name one with: make setup PYTHON=/path/to/python3.11" >&2
  exit 1
fi

if command -v uv >/dev/null && [[ $(command -v uv) != "$PWD/.venv/bin/uv" ]]; then
  uv venv --quiet --allow-existing --python "$python" .venv
  uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements/all.txt
  uv pip install --quiet --python .venv/bin/python --require-hashes --no-deps -r requirements/no-deps.txt
  uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
else
  "$python" -m venv .venv
  # Python compiles a module when it is first imported; all of them at once would take a quarter of this.
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements/all.txt
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes --no-deps -r requirements/no-deps.txt
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile --no-deps --no-build-isolation -e .
fi
