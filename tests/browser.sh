#!/bin/sh
# Prints the path of a browser for the tests: an installed one, else Playwright's own, else Debian's package.
# What it is doing goes to stderr. Fails when there is none: the page's tests are never skipped.
set -u

# Some systems have a `chromium-browser` that only says how to install one, so a browser must tell its version.
use() {
    path=$(command -v "$1" 2>/dev/null) && "$path" --version >/dev/null 2>&1 && echo "$path" && exit 0
}

use_installed() {
    for name in ${SHELFTALK_BROWSER:+"$SHELFTALK_BROWSER"} chromium chromium-browser google-chrome google-chrome-stable \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        use "$name"
    done
}

use_installed

echo "No Chromium or Chrome is installed: trying Playwright's …" >&2
python=.venv/bin/python
if "$python" -m playwright install chromium >&2; then
    use "$("$python" -c 'from playwright.sync_api import sync_playwright as start
with start() as playwright:
    print(playwright.chromium.executable_path)')"
fi

if command -v apt-get >/dev/null; then
    echo "Trying Debian's package …" >&2
    root=$([ "$(id -u)" = 0 ] || echo "sudo -n")
    { $root apt-get -qq update && DEBIAN_FRONTEND=noninteractive $root apt-get -qq install -y chromium; } >&2 </dev/null
    use_installed
fi

echo "The tests need a browser and none could be installed: put Chromium or Chrome on the PATH, or its path in SHELFTALK_BROWSER." >&2
exit 1
