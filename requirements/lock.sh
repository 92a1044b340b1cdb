#!/usr/bin/env bash
# Resolves pyproject.toml into hash-pinned requirements that pip and uv both install.
#   requirements/lock.sh           writes requirements/{all,no-deps,serving,build}.txt
#   requirements/lock.sh --check   fails if they are out of date with pyproject.toml
set -euo pipefail
cd "$(dirname "$0")/.."

resolve() {  # resolve FILE SOURCE OPTIONS...: keeps versions already pinned in FILE if they still satisfy the constraints
  local file=$1
  shift
  uv pip compile "$@" --universal --generate-hashes --quiet \
    --custom-compile-command 'make lock' --output-file "$file" >/dev/null
}

resolve_all() {  # resolve_all DIRECTORY
  resolve "$1/all.txt" pyproject.toml --extra training --extra serving --extra cuda --group dev
  resolve "$1/no-deps.txt" --group pyproject.toml:no-deps --no-deps
  # The image installs a subset of the same versions, so the tested versions are the shipped ones.
  resolve "$1/serving.txt" pyproject.toml --extra serving --extra cuda --constraint "$1/all.txt"
  # The build backend.
  python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
    resolve "$1/build.txt" - --constraint "$1/all.txt"
}

if [[ ${1:-} != --check ]]; then
  resolve_all requirements
  exit
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp requirements/*.txt "$scratch"
resolve_all "$scratch"
for file in all.txt no-deps.txt serving.txt build.txt; do
  # Comments name each pin's origin, which includes the path of the constraint file.
  if ! diff <(grep -v '^ *#' "requirements/$file") <(grep -v '^ *#' "$scratch/$file") >/dev/null; then
    echo "requirements/$file is out of date with pyproject.toml; run: make lock" >&2
    exit 1
  fi
done
