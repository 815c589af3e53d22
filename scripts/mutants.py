# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Change the code in small ways, one at a time, and see whether a test fails each time.

    python scripts/mutants.py [--jobs 2] [--report] [NAME ...]
    python scripts/mutants.py 'sgpose.deploy.onnx_export.*[27]'    a sample, about a fifth

Runs mutmut, whose settings are in ``setup.cfg``, in the folder ``build/mutation``: the tree itself
is never changed, and a run that was ended goes on where it was; what went unnoticed is tried again.
Prints what goes unnoticed, and how many of the changes ("mutants") are ("killed") in each file and
each package; ends with status 1 if fewer than 85 % are in some package. Names, which may hold the
wildcards of file names, choose mutants; they end in numbers, so that "*[27]" draws those whose last
digit is 2 or 7. Needs mutmut, requirements/judges.txt.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build/mutation"
COPIED = ("configs", "sgpose", "tests", "pytest.ini", "setup.cfg")
KILLED = {1, 3}
TIMED_OUT = {-24, 24, 36, 152, 255}
LEAST = 0.85


def copy_tree() -> None:
    """Bring the copy up to date; files that are as they were keep their results."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, target = ROOT / name, FOLDER / name
        if source.is_file():
            shutil.copy2(source, target)
            continue
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".mim"))
    for copied in (FOLDER / "mutants/tests", FOLDER / "mutants/configs"):
        shutil.rmtree(copied, ignore_errors=True)


def forget_survivors() -> None:
    """Let mutmut try again what no test noticed."""
    for path in (FOLDER / "mutants").rglob("*.py.meta"):
        content = json.loads(path.read_text())
        codes = content["exit_code_by_key"]
        codes.update({name: None for name, code in codes.items() if not killed(code)})
        path.write_text(json.dumps(content))


def killed(code: int | None) -> bool:
    """Whether a test failed, or did not come to its end, by mutmut's exit code."""
    return code in KILLED | TIMED_OUT


def results() -> dict[str, dict[str, int | None]]:
    """Return mutmut's exit code of each mutant in each file."""
    return {
        path.relative_to(FOLDER / "mutants").as_posix()[: -len(".meta")]: json.loads(
            path.read_text()
        )["exit_code_by_key"]
        for path in sorted((FOLDER / "mutants").rglob("*.py.meta"))
    }


def package(path: str) -> str:
    """Return the package of a file, as the table names it."""
    return Path(path).parent.relative_to("sgpose").as_posix()


def report() -> bool:
    """Print survivors and the table; return whether enough were killed in each package."""
    counts: dict[str, Counter] = {}
    for path, codes in results().items():
        count = Counter()
        for name, code in codes.items():
            kind = "killed" if killed(code) else "unknown" if code is None else "alive"
            count[kind] += 1
            if kind == "alive":
                print(f"alive: {name}")
        counts.setdefault(package(path), Counter()).update(count)
        if count:
            print_rate(path, count)
    return all([print_rate(name, count) for name, count in counts.items()])


def print_rate(name: str, count: Counter) -> bool:
    """Print how many mutants were killed; return whether it is enough of those that were tried."""
    tried = count["killed"] + count["alive"]
    rate = count["killed"] / tried if tried else 1.0
    left = f", {count['unknown']} not tried" if count["unknown"] else ""
    print(f"{name}: {count['killed']} of {tried} killed ({100 * rate:.1f} %){left}")
    return rate >= LEAST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of mutants; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="print the last results only")
    args = parser.parse_args()
    if not args.report:
        copy_tree()
        forget_survivors()
        mutmut = str(Path(sys.executable).with_name("mutmut"))
        command = [mutmut, "run", "--max-children", str(args.jobs), *args.names]
        done = subprocess.run(command, cwd=FOLDER)
        if done.returncode:
            sys.exit(done.returncode)
    sys.exit(0 if report() else 1)


if __name__ == "__main__":
    main()
