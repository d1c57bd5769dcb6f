#!/usr/bin/env python3
"""Fails if README.md's table of keys and the program's own differ: a key, its default or its place missing or wrong."""

import os
import re
import subprocess
import sys

root = os.environ.get("SP_SOURCE_ROOT", ".")
tool = sys.argv[1]


def program_keys():
    text = subprocess.run([tool, "check", "--keys"], check=True, capture_output=True, text=True).stdout
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: row[1] for row in rows}


def readme_keys():
    keys = {}
    with open(os.path.join(root, "README.md"), encoding="utf-8") as readme:
        for line in readme:
            row = re.match(r"\| `(?!signpost_|process_)([a-z0-9_.]+)` \| [^|]* \| (?:`([^`]*)`|(required)) \|", line)
            if row:
                keys[row[1]] = row[2] if row[3] is None else "required"
    return keys


def main():
    program, readme = program_keys(), readme_keys()
    wrong = [f"README.md lacks key {key}" for key in sorted(program.keys() - readme.keys())]
    wrong += [f"README.md has key {key}, the program does not" for key in sorted(readme.keys() - program.keys())]
    wrong += [
        f"{key}: default is {program[key]!r}, README.md says {readme[key]!r}"
        for key in sorted(program.keys() & readme.keys())
        if program[key] != readme[key]
    ]
    if not wrong and list(program) != list(readme):
        wrong.append("README.md has the keys in another order than the program")
    if len(program) < 40:
        wrong.append(f"only {len(program)} keys were listed; the test reads the wrong thing")
    print("\n".join(wrong) or f"{len(program)} keys agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
