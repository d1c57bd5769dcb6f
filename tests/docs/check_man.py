#!/usr/bin/env python3
"""Fails unless the manual pages are without fault (mandoc, groff), and have what the programs say: each command and option in
signpost(1), signpostd(8) and signpost-worker(1), each key in signpost-job(5), and the sections that a reader looks for.

    check_man.py SIGNPOST SIGNPOSTD SIGNPOST-WORKER PAGE..."""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("SP_SOURCE_ROOT", "."), "deploy/man"))
sys.dont_write_bytecode = True
import help_text  # noqa: E402

SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]
FORMAT = ["NAME", "DESCRIPTION", "KEYS", "FILES", "EXAMPLES", "SEE ALSO"]

wrong = []


def call(*argv, **more):
    if shutil.which(argv[0]) is None:
        sys.exit(f"{argv[0]} is needed for this test (deploy/install-packages.sh test)")
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MAN_KEEP_FORMATTING": ""}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env, **more)


def lint(page):
    """What mandoc and groff find; that a page is not installed here is no fault of it."""
    said = call("mandoc", "-T", "lint", "-W", "style", page).stdout.splitlines()
    said += call("man", "--warnings", "-l", page).stderr.splitlines()
    wrong.extend(line for line in said if "referenced manual not found" not in line)


def rendered(page):
    """As a reader sees it, without bold and underlined letters."""
    text = call("mandoc", "-T", "utf8", "-O", "width=100", page).stdout
    return re.sub(r".\x08", "", text).replace("\xa0", " ")


def need(page, text, words, what):
    if words not in text:
        wrong.append(f"{os.path.basename(page)} lacks {what}: {words}")


def check_options(page, text, found):
    for option in found.options:
        words = f"-{option.short}, " if option.short and option.long else ""
        value = f"={option.argument}" if option.argument else ""
        words += f"--{option.long}" + (f"[{value}]" if option.optional else value) if option.long else f"-{option.short}"
        if not re.search(rf"(?m)^ {{5}}{re.escape(words)}( {{2,}}|$)", text):
            wrong.append(f"{os.path.basename(page)} lacks the option {words}")


def check_sections(page, text, sections):
    found = re.findall(r"(?m)^([A-Z][A-Z ]+)$", text)
    if found != sections:
        wrong.append(f"{os.path.basename(page)} has the sections {found}, not {sections}")


def check_program(page, text, program):
    found = help_text.read(program)
    check_sections(page, text, SECTIONS)
    need(page, text, "SIGNPOST_KERNELS", "the variable")
    check_options(page, text, found)
    need(page, text, found.example, "the example")


def check_commands(page, text, signpost):
    names = [name for name, _ in help_text.read(signpost).commands]
    check_sections(page, text, SECTIONS)
    need(page, text, "NO_COLOR", "the variable")
    parts = re.split(r"(?m)^ {3}signpost (\S+)$", text.split("\nENVIRONMENT\n")[0])
    if parts[1::2] != names:
        wrong.append(f"{os.path.basename(page)} has the commands {parts[1::2]}, signpost --help {names}")
    for name, part in zip(parts[1::2], parts[2::2]):
        found = help_text.read(signpost, name)
        found.options = [option for option in found.options if option.long not in ("help", "usage", "version")]
        check_options(f"{page}, signpost {name}", part, found)
        need(page, part, f"           {found.example}\n", "the example")


def check_keys(page, text, signpost):
    told = subprocess.run([signpost, "check", "--keys"], capture_output=True, text=True, timeout=60, check=True).stdout
    check_sections(page, text, FORMAT)
    text = text.split("\nKEYS\n")[-1]
    for row in told.splitlines():
        key, default, _, meaning = row.split("\t")
        part = re.search(rf"(?ms)^ {{5}}{re.escape(key)}( .*?)?\n(.*?)(?=^ {{3,5}}\S|\Z)", text)
        if part is None:
            wrong.append(f"{os.path.basename(page)} lacks the key {key}")
            continue
        words = re.sub(r"\s+", " ", part[0])
        meaning = re.sub(r"\s+", " ", meaning.replace("`", ""))
        if meaning[1:] not in words:
            wrong.append(f"{os.path.basename(page)}: the meaning of {key} is not as the program has it")
        if (default if default == "required" else f"default {default}") not in words:
            wrong.append(f"{os.path.basename(page)}: the default of {key} is not {default}")


def main():
    signpost, signpostd, worker, *pages = sys.argv[1:]
    by_name = {os.path.basename(page): page for page in pages}
    if sorted(by_name) != ["signpost-job.5", "signpost-worker.1", "signpost.1", "signpostd.8"]:
        sys.exit(f"not these pages: {sorted(by_name)}")
    texts = {page: rendered(page) for page in pages}
    for page in pages:
        lint(page)
        if re.search(r"@[A-Z]+", texts[page]):
            wrong.append(f"{page} has a line that was not replaced")
    check_commands(by_name["signpost.1"], texts[by_name["signpost.1"]], signpost)
    check_program(by_name["signpostd.8"], texts[by_name["signpostd.8"]], signpostd)
    check_program(by_name["signpost-worker.1"], texts[by_name["signpost-worker.1"]], worker)
    check_keys(by_name["signpost-job.5"], texts[by_name["signpost-job.5"]], signpost)
    print("\n".join(wrong) or f"{len(pages)} pages say what the programs say")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
