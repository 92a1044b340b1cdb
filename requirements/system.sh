#!/usr/bin/env bash
# Finds or installs the programs that tests need and pip does not have: a browser, and third-party HTTP clients and
# proxies. A test whose program is missing is skipped, and pytest's summary says so.
set -euo pipefail

# Prints the Debian packages of the missing programs.
missing() {
  [[ -n ${MINT_CHROMIUM:-} ]] || command -v chromium chromium-browser google-chrome >/dev/null || echo chromium
  command -v javac >/dev/null || echo default-jdk-headless
  PATH=$PATH:/usr/sbin command -v nginx >/dev/null || echo nginx-light
  command -v node >/dev/null || echo nodejs
  command -v curl >/dev/null || echo curl
}

mapfile -t packages < <(missing)
[[ ${#packages[@]} == 0 ]] && exit
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
  echo "installing ${packages[*]} for the tests"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 900 \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null || true
  mapfile -t packages < <(missing)
  [[ ${#packages[@]} == 0 ]] && exit
fi
echo "Tests that need these Debian packages will be skipped; install them: ${packages[*]}" >&2
