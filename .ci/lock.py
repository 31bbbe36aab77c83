"""`pip install --dry-run --report - …` on stdin → a lock on stdout: every package that pip would install, with its hash.

Of Linux on x86-64 with the Python that pip ran on; with other wheels for another.
"""

import json
import re
import sys


def main() -> None:
    report = json.load(sys.stdin)
    python = report["environment"]["python_version"]
    print(f"# What requirements.txt came to on Linux (x86-64) with Python {python}; `make lock` writes this file.")
    print(f"# pip install --require-hashes -r requirements.lock installs exactly these {len(report['install'])} files.")
    found = {}
    for package in report["install"]:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()  # as PEP 503 compares names
        sha256 = package["download_info"]["archive_info"]["hashes"]["sha256"]
        found[name] = f"{name}=={package['metadata']['version']} --hash=sha256:{sha256}"
    print("\n".join(found[name] for name in sorted(found)))


if __name__ == "__main__":
    main()
