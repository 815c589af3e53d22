# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Exit status 0 if every ``name==version`` line of the given files is installed, completely."""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def is_installed(requirement: str) -> bool:
    name, version = requirement.split("==")
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return False
    # pip writes RECORD last, with a line for INSTALLER: without it, an installation was cut short.
    complete = "/INSTALLER" in (found.read_text("RECORD") or "")
    return complete and found.version.split("+")[0] == version


lines = [line.strip() for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
missing = [line for line in lines if line and line[0] != "#" and not is_installed(line)]
sys.exit(f"to install: {' '.join(missing)}" if missing else 0)
