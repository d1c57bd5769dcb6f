#!/usr/bin/env python3
"""Fails unless every --help fits a screen, of each program and each command that `signpost --help` names, and ends with an
example that this program would take."""

import os
import sys

sys.path.insert(0, os.path.join(os.environ.get("SP_SOURCE_ROOT", "."), "deploy/man"))
sys.dont_write_bytecode = True
import help_text  # noqa: E402

COLUMNS, LINES, LINES_MAX = 80, 24, 40
LONG = ["signpost bench", "signpost compare"]  # those that have so many options that they take more than LINES

wrong = []


def check(name, found):
    lines = found.text.splitlines()
    most = LINES_MAX if name in LONG else LINES
    if len(lines) > most:
        wrong.append(f"{name} --help has {len(lines)} lines, more than {most}")
    wrong.extend(f"{name} --help: more than {COLUMNS} columns: {line}" for line in lines if len(line) > COLUMNS)
    if not lines[-1].startswith(f"Example: {name}"):
        wrong.append(f"{name} --help does not end with 'Example: {name} ...', but with: {lines[-1]}")
    if not found.about and not found.commands:
        wrong.append(f"{name} --help does not say what it does")
    options = {f"--{option.long}" for option in found.options} | {f"-{option.short}" for option in found.options}
    for word in found.example.removeprefix(name).split():
        if word.startswith("-") and word.split("=")[0] not in options:
            wrong.append(f"{name} --help: the example has {word}, which is no option")
    for option in found.options:
        if not option.text:
            wrong.append(f"{name} --help: --{option.long} is not explained")


def main():
    signpost, *others = sys.argv[1:]
    found = help_text.read(signpost)
    names = [name for name, _ in found.commands]
    check("signpost", found)
    for path in others:
        check(os.path.basename(path), help_text.read(path))
    for name in names:
        check(f"signpost {name}", help_text.read(signpost, name))
    if len(names) < 12 or len(set(names)) != len(names):
        wrong.append(f"signpost --help has the commands {names}: the test reads the wrong thing")
    print("\n".join(wrong) or f"{1 + len(others) + len(names)} helps fit, and have an example")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
