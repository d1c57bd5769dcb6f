#!/usr/bin/env python3
"""Makes a manual page: the hand-written page with, in place of some lines, what the programs themselves say.

    make_man.py PAGE.in PAGE SIGNPOST SIGNPOSTD SIGNPOST-WORKER

A page is mdoc(7). In it, each on a line of its own:
    @USAGE PROGRAM@       the words behind the program's name
    @ABOUT PROGRAM@       what --help says of it
    @OPTIONS PROGRAM@     its options
    @EXAMPLE PROGRAM@     its example
    @COMMANDS@            every command of signpost: what it does, its options, an example
    @KEYS@                every key of a job file
    @VERSION@             (anywhere) the version of the programs
"""
import os
import re
import subprocess
import sys
import textwrap

import help_text

WIDTH = 76
ALL_TAKE = ("help", "usage", "version")  # which the page says once for all commands


def escape(words):
    return words.replace("\\", "\\e").replace("-", "\\-")


def text(words):
    """Words for text lines."""
    words = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", escape(words))
    # No hyphens in what is to be typed as it stands.
    words = " ".join("\\%" + word if re.search(r"[._/=]\w", word) else word for word in words.split())
    lines = textwrap.wrap(words, WIDTH, break_long_words=False, break_on_hyphens=False)
    return ["\\&" + line if line.startswith((".", "'")) else line for line in lines]


def sentences(words):
    """Text lines: mdoc wants each sentence to begin one."""
    return [line for sentence in re.split(r"(?<=[.;:]) (?=[A-Z`(])", words) for line in text(sentence)]


def argument(word):
    """A word in a macro's line, where one of two letters might be a macro."""
    return "\\&" + escape(word).replace(" ", "\\ ").replace('"', "\\(dq")


def usage(found):
    """The words behind a name, a macro's line each."""
    lines = []
    for word in found.usage.split():
        if word == "[OPTION...]":
            lines.append(".Op Ar options")
        elif word.startswith("["):
            lines.append(f".Op Ar {argument(word.strip('[]'))}")
        elif word.endswith("..."):
            lines.append(f".Ar {argument(word.removesuffix('...'))} ...")
        else:
            lines.append(f".Ar {argument(word)}")
    return lines


def item(option):
    value = f"Ar {argument(option.argument)}" if option.argument else ""
    parts = []
    if option.short:
        parts.append(f"Fl {argument(option.short)}" + (f" {value}" if value and not option.long else ""))
    if option.long:
        parts.append(f"Fl {argument('-' + option.long)}" + (f" Ns {'Op ' * option.optional}= Ns {value}" if value else ""))
    return ".It " + " , ".join(parts)


def options(found, but=()):
    lines = []
    for option in found.options:
        if option.long in but:
            continue
        lines += [item(option), *sentences(option.text if option.text.endswith(".") else option.text + ".")]
    return [".Bl -tag -width Ds", *lines, ".El"] if lines else []


def example(found):
    return [".Bd -literal -offset indent", escape(found.example), ".Ed"]


def commands(signpost):
    lines = []
    for name, _ in help_text.read(signpost).commands:
        found = help_text.read(signpost, name)
        lines += [f".Ss signpost {name}", f".Nm signpost Cm {argument(name)}".replace(" Cm", "\n.Cm"), *usage(found), ".Pp",
                  *sentences(found.about), *options(found, ALL_TAKE), ".Pp", "Example:", *example(found)]
    return lines


def keys(signpost):
    """Grouped by the first word of their paths, in the order in which the program has them."""
    told = subprocess.run([signpost, "check", "--keys"], capture_output=True, text=True, timeout=60, check=True).stdout
    lines, group = [], None
    for row in told.splitlines():
        path, default, takes, meaning = row.split("\t")
        first = path.split(".")[0] if "." in path else ""
        if first != group:
            lines += [*([".El"] if lines else []), f".Ss {argument(first) if first else 'The job itself'}", ".Bl -tag -width Ds"]
            group = first
        lines += [f".It Cm {argument(path)}", *sentences(meaning[0].upper() + meaning[1:] + "."), ".Pp", *text(f"Takes {takes};"),
                  *text("required." if default == "required" else f"default `{default}`.")]
    return [*lines, ".El"]


def main():
    source, target, *paths = sys.argv[1:]
    programs = {os.path.basename(path): path for path in paths}
    version = subprocess.run([paths[0], "--version"], capture_output=True, text=True, timeout=60, check=True).stdout.split()[-1]
    made = {
        "USAGE": lambda name: usage(help_text.read(programs[name])),
        "ABOUT": lambda name: sentences(help_text.read(programs[name]).about),
        "OPTIONS": lambda name: options(help_text.read(programs[name])),
        "EXAMPLE": lambda name: example(help_text.read(programs[name])),
        "COMMANDS": lambda _: commands(programs["signpost"]),
        "KEYS": lambda _: keys(programs["signpost"]),
    }
    lines = []
    with open(source, encoding="utf-8") as page:
        for line in page.read().splitlines():
            asked = re.fullmatch(r"@([A-Z]+)(?: (\S+))?@", line)
            lines += made[asked[1]](asked[2]) if asked else [line.replace("@VERSION@", version)]
    with open(target, "w", encoding="utf-8") as page:
        page.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
