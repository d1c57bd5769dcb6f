#!/usr/bin/env python3
"""Completion in bash: it offers every command that `signpost --help` names, every option of each --help, every key of a job file,
runs and files; and does so in a real shell, at a terminal.

    check_completion.py SIGNPOST SIGNPOSTD SIGNPOST-WORKER"""
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.abspath(os.environ.get("SP_SOURCE_ROOT", "."))
sys.path.insert(0, os.path.join(ROOT, "deploy/man"))
sys.dont_write_bytecode = True
import help_text  # noqa: E402

SCRIPT = os.path.join(ROOT, "deploy/completion/signpost")
PROGRAMS = {os.path.basename(path): os.path.abspath(path) for path in sys.argv[1:4]}
SIGNPOST = PROGRAMS.get("signpost")
ASK = r"""
source "$1"
shift
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=${2-$COMP_WORDBREAKS}
read -r -a COMP_WORDS <<< "$COMP_LINE"
[[ $COMP_LINE == *[[:space:]] ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_signpost
for reply in "${COMPREPLY[@]}"; do printf '%s\n' "$reply"; done
"""


class Completion(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="sp-", dir="/tmp")
        self.folder = self.temporary.name
        self.addCleanup(self.temporary.cleanup)
        for name in ("bin", "runs/digits", "runs/signs only", "other"):
            os.makedirs(os.path.join(self.folder, name))
        for name in ("job.yaml", "notes.txt", "other/more.yml"):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8"):
                pass
        for name, path in PROGRAMS.items():
            os.symlink(path, os.path.join(self.folder, "bin", name))
        self.env = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}

    def offered(self, line, *breaks):
        done = subprocess.run(["bash", "--norc", "-c", ASK, "bash", SCRIPT, line, *breaks], cwd=self.folder, env=self.env,
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return done.stdout.splitlines()

    def keys(self):
        told = subprocess.run([SIGNPOST, "check", "--keys"], capture_output=True, text=True, timeout=60, check=True).stdout
        return [row.split("\t")[0] for row in told.splitlines()]

    def test_commands(self):
        names = [name for name, _ in help_text.read(SIGNPOST).commands]
        self.assertGreater(len(names), 11)
        self.assertEqual(sorted(self.offered("signpost ")), sorted(names + ["--help", "--version"]))
        self.assertEqual(sorted(self.offered("signpost che")), sorted(name for name in names if name.startswith("che")))
        self.assertEqual(self.offered("signpost no-such-command --"), [])

    def test_every_option(self):
        places = [("signpost", name) for name, _ in help_text.read(SIGNPOST).commands] + [("signpostd",), ("signpost-worker",)]
        for place in places:
            found = help_text.read(PROGRAMS[place[0]], *place[1:])
            long = [f"--{option.long}" + ("=" if option.argument and not option.optional else "") for option in found.options if option.long]
            short = [f"-{option.short}" for option in found.options if option.short]
            self.assertGreater(len(long), 2)
            self.assertEqual(sorted(self.offered(f"{' '.join(place)} -")), sorted(long + short), place)
            self.assertEqual(sorted(self.offered(f"{' '.join(place)} --")), sorted(long), place)
            self.assertEqual(sorted(self.offered(f"{' '.join(place)} --h")), sorted(o for o in long if o.startswith("--h")), place)

    def test_every_key(self):
        keys = [key + "=" for key in self.keys()]
        self.assertGreater(len(keys), 60)
        for line in ("signpost run job.yaml --set ", "signpost check -s ", "signpost compare job.yaml --vary ",
                     "signpostd --config job.yaml --set ", "signpost-worker --set "):
            self.assertEqual(self.offered(line), keys, line)
        some = [key for key in keys if key.startswith("optimizer.s")]
        self.assertEqual(self.offered("signpost run job.yaml --set optimizer.s"), some)
        self.assertEqual(self.offered("signpost run job.yaml --set=optimizer.s"), some)
        self.assertEqual(self.offered("signpost run job.yaml --set=optimizer.s", " "), [f"--set={key}" for key in some])
        self.assertEqual(self.offered("signpost run job.yaml --set optimizer.mode="), ["hybrid", "sgd", "adam"])
        self.assertEqual(self.offered("signpost run job.yaml --set=optimizer.mode=ad"), ["adam"])
        self.assertEqual(self.offered("signpost run job.yaml --set optimizer.mode=h", " "), ["optimizer.mode=hybrid"])
        self.assertEqual(self.offered("signpost run job.yaml --set data.csv.header="), ["true", "false"])
        self.assertEqual(self.offered("signpost run job.yaml --set seed="), [])

    def test_values(self):
        for line, words in (("signpost bench --phase ", ["sign", "margin", "sgd"]), ("signpost bench --compute=o", ["on", "off"]),
                            ("signpostd --log ", ["error", "warn", "info", "debug"]), ("signpostd --log=w", ["warn"]),
                            ("signpost-worker --log-format ", ["text", "json"]), ("signpost bench --listen ", []),
                            ("signpost plot --x ", ["round", "epoch", "seconds", "bytes"]), ("signpost plot -x s", ["seconds"])):
            self.assertEqual(self.offered(line), words, line)

    def test_runs_and_files(self):
        runs = {"runs", "other", "bin", "job.yaml", "runs/digits", "runs/signs only"}
        for command in ("status", "eval", "plot", "stop", "plot runs/digits"):
            self.assertEqual(set(self.offered(f"signpost {command} ")), runs, command)
        self.assertEqual(set(self.offered("signpost status --json runs/")), {"runs/digits", "runs/signs only"})
        self.assertEqual(self.offered("signpost status runs/d"), ["runs/digits"])
        self.assertEqual(set(self.offered("signpost run ")), {"runs", "other", "bin", "job.yaml"})
        self.assertEqual(self.offered("signpost run other/"), ["other/more.yml"])
        self.assertEqual(self.offered("signpost run job.yaml "), [], "there is no second job file")
        self.assertEqual(self.offered("signpost plot runs/digits -o n"), ["notes.txt"])
        self.assertEqual(self.offered("signpost plot runs/digits --out=n"), ["notes.txt"])
        self.assertEqual(set(self.offered("signpost run job.yaml --out ")), {"runs", "other", "bin"})
        self.assertEqual(self.offered("signpostd --config j"), ["job.yaml"])
        self.assertEqual(self.offered("signpost token n"), ["notes.txt"])
        self.assertEqual(self.offered("signpost status --server ::1:7700 --ca n"), ["notes.txt"])

    def test_by_path_and_without_programs(self):
        self.assertIn("status", self.offered("bin/signpost st"))
        self.assertIn("--listen=", self.offered(f"{self.folder}/bin/signpostd --l"))
        self.assertIn("seed=", self.offered("bin/signpostd --set se"))
        self.env["PATH"] = self.env["PATH"].split(":", 1)[1]
        if not any(os.path.exists(os.path.join(path, "signpost")) for path in self.env["PATH"].split(":")):
            self.assertEqual(self.offered("signpost run -"), [])

    def test_asked_once(self):
        """Within a shell session a program is asked once for each of its helps."""
        asked = os.path.join(self.folder, "asked")
        os.remove(os.path.join(self.folder, "bin/signpost"))
        path = os.path.join(self.folder, "bin/signpost")
        with open(path, "w", encoding="utf-8") as wrapper:
            wrapper.write(f'#!/bin/sh\necho "$*" >> {asked}\nexec {SIGNPOST} "$@"\n')
        os.chmod(path, 0o755)
        twice = ASK.replace("\n_signpost\n", "\n_signpost; _signpost\n")
        subprocess.run(["bash", "--norc", "-c", twice, "bash", SCRIPT, "signpost run job.yaml --set se"], cwd=self.folder, env=self.env,
                       capture_output=True, timeout=60, check=True)
        with open(asked, encoding="utf-8") as lines:
            self.assertEqual(lines.read().splitlines(), ["--help", "run --help", "check --keys"])

    def type(self, *pieces):
        """Types into an interactive bash, waiting after each piece; returns what the command line became."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {**self.env, "TERM": "dumb", "PS1": "$ ", "HISTFILE": ""})
        said = b""

        def wait_for(mark, seconds=60):
            nonlocal said
            until = time.monotonic() + seconds
            while mark not in said:
                self.assertLess(time.monotonic(), until, said)
                if select.select([terminal], [], [], 0.1)[0]:
                    said += os.read(terminal, 65536)

        os.write(terminal, f"bind 'set bell-style none'; source {SCRIPT}; echo rea''dy\n".encode())
        wait_for(b"ready\r\n")
        for piece in pieces:
            os.write(terminal, piece.encode())
        os.write(terminal, b"\x01printf '<%s>' \x05; echo en''d\n")  # before and behind what is there now
        wait_for(b"end\r\n")
        os.close(terminal)
        os.waitpid(child, 0)
        return re.findall(r"<([^>]*)>", said.decode("utf-8", "replace").split("ready\r\n")[1].split("\n")[-2])

    def test_in_a_shell(self):
        self.assertEqual(self.type("signpost rep\t"), ["signpost", "replay"])
        self.assertEqual(self.type("signpost run jo\t--se\toptimizer.mo\thy\t--fr\t"),
                         ["signpost", "run", "job.yaml", "--set=optimizer.mode=hybrid", "--fresh"])
        self.assertEqual(self.type("signpost status runs/si\t"), ["signpost", "status", "runs/signs only/"])
        self.assertEqual(self.type("signpostd --config=jo\t--log-format=j\t"), ["signpostd", "--config=job.yaml", "--log-format=json"])


if __name__ == "__main__":
    if len(PROGRAMS) != 3:
        sys.exit(__doc__)
    unittest.main(argv=sys.argv[:1], verbosity=2)
