#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# browser_env.sh [--browser] — what the viewer's tests in a real browser need: prints the path of a python that has
# Playwright, or (--browser) of a Chromium: $ST_CHROMIUM, else an installed one, else Playwright's own, which is
# fetched once into the cache. Exits 77 and says why where there is none.
set -euo pipefail
. "$(dirname "$0")/fetch.sh"

skip() {
    say "SKIP: $*"
    exit 77
}

key=$({
    cat "$tools/test_requirements.txt" "$tools/browser_requirements.txt"
    "$python" --version
} | cksum | cut -d' ' -f1)
env=$cache/browser-env/$key

build() {
    [ -f "$env/ready" ] && return 0
    say "making the browser tests' Python environment (once)"
    rm -rf "$env"
    make_cache browser-env
    "$python" -m venv "$env" &&
        "$env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$tools/test_requirements.txt" \
            -r "$tools/browser_requirements.txt" >"$env.log" 2>&1 && touch "$env/ready"
}

find_browser() {
    local name
    for name in ${ST_CHROMIUM:-} chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return 0
    done
    export PLAYWRIGHT_BROWSERS_PATH=$cache/browsers
    "$env/bin/python" -m playwright install chromium >"$cache/browser-env/install.log" 2>&1 || return 1
    find "$PLAYWRIGHT_BROWSERS_PATH" -type f \( -name chrome -o -name chrome-headless-shell \) | grep . | head -n 1
}

with_lock browser-env build || skip "Playwright cannot be installed (is the network up?)"
if [ "${1:-}" = --browser ]; then
    find_browser || skip "no Chromium is installed, and Playwright cannot fetch one; set ST_CHROMIUM to a browser's path"
else
    printf '%s\n' "$env/bin/python"
fi
