"""What a program says with --help, taken apart: the one source of manual pages, and of the tests that go by it."""
import os
import re
import subprocess
from dataclasses import dataclass, field

OPTION = re.compile(r"^ {2}(?:-(?P<short>\S)(?:, )?|    )(?:--(?P<long>[a-z0-9-]+)(?:(?P<open>\[)?=(?P<argument>\S.*?)(?(open)\]))?)?(?: {2,}(?P<text>\S.*))?$")
COMMAND = re.compile(r"^ {2}(?P<name>[a-z-]+) +(?P<meaning>\S.*)$")


@dataclass
class Option:
    short: str
    long: str
    argument: str  # "" if it takes none
    text: str
    optional: bool = False  # --long[=argument]


@dataclass
class Help:
    text: str
    usage: str = ""  # what follows the program's and the command's name
    about: str = ""
    options: list = field(default_factory=list)
    commands: list = field(default_factory=list)  # (name, meaning)
    rest: str = ""
    example: str = ""


def run(argv):
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    env.pop("ARGP_HELP_FMT", None)  # by which a user may have another form
    done = subprocess.run([*argv, "--help"], capture_output=True, text=True, timeout=60, check=False, env=env)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} --help failed: {done.stderr}")
    return done.stdout


def take_option(found, line):
    match = OPTION.match(line)
    if match and (match["short"] or match["long"]):
        found.options.append(Option(match["short"] or "", match["long"] or "", match["argument"] or "", match["text"] or "",
                                    match["open"] is not None))
    elif found.options and line.startswith(" " * 20):
        found.options[-1].text = f"{found.options[-1].text} {line.strip()}".strip()
    else:
        raise SystemExit(f"this line of --help is no option: {line!r}")


def read(*argv):
    """The help of a program, or of `signpost COMMAND`."""
    text = run(argv)
    found = Help(text)
    paragraphs = [p.split("\n") for p in re.split(r"\n\s*\n", text.rstrip("\n"))]
    head = paragraphs.pop(0)
    usage = re.match(r"Usage: \S+( .*)?$", head[0])
    if not usage:
        raise SystemExit(f"{' '.join(argv)} --help does not begin with its usage: {head[0]!r}")
    found.usage = (usage[1] or "").strip()
    for name in argv[1:]:
        found.usage = found.usage.removeprefix(name).strip()
    found.about = " ".join(line.strip() for line in head[1:])
    for paragraph in paragraphs:
        if paragraph[0].startswith("Example: "):
            found.example = "\n".join([paragraph[0].removeprefix("Example: "), *paragraph[1:]])
        elif paragraph[0].startswith("  ") and OPTION.match(paragraph[0]) and "-" in paragraph[0][:8]:
            for line in paragraph:
                take_option(found, line)
        elif COMMAND.match(paragraph[0]):
            found.commands += [(m["name"], m["meaning"]) for m in map(COMMAND.match, paragraph)]
        else:
            found.rest += " ".join(line.strip() for line in paragraph)
    return found
