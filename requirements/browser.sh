#!/usr/bin/env bash
# Finds or installs the browser that tests/ui drives. Without one those tests are skipped and say so.
set -euo pipefail

if [[ -n ${MINT_CHROMIUM:-} ]] || command -v chromium chromium-browser google-chrome >/dev/null; then
  exit
fi
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
  if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; then
    exit
  fi
fi
echo "There is no Chromium and it could not be installed: the tests of the explorer page will be skipped." >&2
echo "Install Debian's package chromium, or name a browser's file in MINT_CHROMIUM." >&2
