"""Programs whose allocations and system calls fail: what the tests of this folder share.

alloc.c makes allocations fail, io.c disturbs system calls; both say in their heads how. In a build with sanitizers the
allocations of our own code alone fail (programs linked with a wrapped malloc), so that the sanitizers' own malloc stays:
they then say whether a failure leaked.

SP_FAULTS_SEED (default 1) chooses what is random; SP_FAULTS_ONLY=HASH:K tries one allocation only, as a failed test names
it; SP_FAULTS_SHOWN=N shows more than five failures.
"""
import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402

WRAPPED = os.environ.get('SP_FAULTS_WRAPPED', '') == '1'
ALLOC = os.environ.get('SP_FAULTS_ALLOC', '')
IO = os.environ.get('SP_FAULTS_IO', '')
SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
SERVER = os.environ.get('SP_FAULTS_SIGNPOSTD', harness.SIGNPOSTD)
WORKER = os.environ.get('SP_FAULTS_WORKER', harness.WORKER)
TOOL = os.environ.get('SP_FAULTS_SIGNPOST', SIGNPOST)
SEED = int(os.environ.get('SP_FAULTS_SEED', '1'))
ONLY = os.environ.get('SP_FAULTS_ONLY', '')
SHOWN = int(os.environ.get('SP_FAULTS_SHOWN', '5'))
AT_ONCE = 4  # most of an attempt is waiting

# Two sign rounds, two SGD rounds, and an evaluation; then every other phase, and all that wants memory of its own.
JOB = ('workers=1', 'train.rounds=4', 'optimizer.switch.when=at', 'optimizer.switch.step=2')
JOBS = {
    'hybrid': JOB,
    'all phases': ('workers=1', 'train.rounds=7', 'optimizer.switch.when=at', 'optimizer.switch.step=2',
                   'optimizer.switch.to=margin', 'optimizer.margin.until=0.6', 'optimizer.dither.scale=tensor',
                   'optimizer.weight_decay=0.1', 'tensors=[{match: "*.bias", update: full}, {match: "bn*", decay: true}]'),
    'adam': ('workers=1', 'train.rounds=3', 'optimizer.mode=adam', 'optimizer.sgd.wire=bf16'),
}
NO_MEMORY = re.compile(r'memory')


def prefix(site=None, report=None, burst=1, **io):
    """The command in front of a program under faults: `site` is HASH:K, `io` are the variables of io.c."""
    words = ['env', 'OPENBLAS_NUM_THREADS=1']
    libraries = []
    if report is not None:
        words += [f'FAULTS_REPORT={report}', f'FAULTS_BURST={burst}']
        if site is not None:
            words.append(f'FAULTS_SITE={site}')
        if not WRAPPED:
            libraries.append(ALLOC)
    if io:
        words += [f'FAULTS_{key.upper()}={value}' for key, value in io.items()]
        libraries.append(IO)
        options = os.environ.get('ASAN_OPTIONS', '')
        words.append(f'ASAN_OPTIONS={options}{":" if options else ""}verify_asan_link_order=0')
    if libraries:
        words.append(f'LD_PRELOAD={":".join(libraries)}')
    return words


class Site:
    """Where a program allocates: the callers' addresses, innermost first, and how often."""

    def __init__(self, line):
        _, self.hash, count, self.kind, _, *self.frames = line.split()
        self.count = int(count)


class Attempt:
    """One try in a sweep, in a folder of its own: a program that is watched, with others around it."""

    def __init__(self, case, number, site, burst=1):
        self.folder = case.folder / f't{number}'
        self.folder.mkdir()
        self.site, self.burst = site, burst
        self.report_path = self.folder / 'report'
        self.processes = []
        self.watched = None

    def start(self, name, *argv):
        process = harness.Process(name, argv, self.folder)
        self.processes.append(process)
        return process

    def watch(self, name, *argv):
        """The program whose allocation is to fail."""
        self.watched = self.start(name, *prefix(self.site, self.report_path, self.burst), *argv)
        return self.watched

    def lines(self, kind):
        text = self.report_path.read_text() if self.report_path.exists() else ''
        return [line for line in text.splitlines() if line.startswith(kind + ' ')]

    def hit(self):
        return bool(self.lines('failed'))

    def sites(self):
        return [Site(line) for line in self.lines('site')]

    def wait_for(self, condition, limit_s=harness.START_S):
        deadline = time.monotonic() + harness.seconds(limit_s)
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(harness.POLL_S)
        return True

    def expect(self, condition, what):
        if condition:
            return
        p = self.watched
        raise AssertionError(f'{what}: {p.name} ended with {p.popen.poll()}; again with SP_FAULTS_ONLY={self.site}\n'
                             f'{(self.lines("failed") or ["no allocation failed"])[0]}\n' +
                             '\n'.join(f'--- {q.name}\n{q.err()[-1500:]}' for q in self.processes))

    def code(self, limit_s=15):
        """The exit code of the program that is watched, by the rules for one whose allocation failed: it ends by itself,
        not by a signal or an assertion, and if it failed, in words that say that memory ran out."""
        p = self.watched
        self.expect(self.wait_for(lambda: not p.alive(), limit_s), f'it still runs after {harness.seconds(limit_s):g} s')
        code = p.popen.returncode
        self.expect(not harness.COMPLAINTS.search(p.err()), 'it complains of itself')
        self.expect(code in (0, 1, 2), 'no exit code of ours')
        self.expect(code == 0 or NO_MEMORY.search(p.err().lower()), 'it failed without a word of memory')
        return code

    def end(self):
        for p in self.processes:
            if p.alive():
                p.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Case(harness.Case):
    def plain(self, attempt):
        """An attempt without a fault: what it gives, and the sites of the program that was watched."""
        first = Attempt(self, 'plain', None)
        try:
            given = attempt(first)
            return given, first.sites()
        finally:
            first.end()

    def sweeps(self, job, attempt, budget_s):
        """job(one, sets) of each of JOBS, and of its sites those that the jobs before it do not have:
        attempt(one, site, sets, what the job gives without a fault)."""
        seen, hits, done = set(), 0, 0
        for name, sets in JOBS.items():
            with self.subTest(name):
                given, sites = self.plain(lambda one, s=sets: job(one, s))
                new = [site for site in sites if site.hash not in seen]
                seen |= {site.hash for site in sites}
                counts = self.try_all(new, lambda one, site, s=sets, g=given: attempt(one, site, s, g), budget_s)
                hits, done = hits + counts[0], done + counts[1]
        self.check_reach(hits, done)

    def sweep(self, sites, attempt, budget_s):
        self.check_reach(*self.try_all(sites, attempt, budget_s))

    def check_reach(self, hits, done):
        self.assertGreater(hits, done // 2, 'most of the allocations that a sweep aims at should be reached')

    def try_all(self, sites, attempt, budget_s):
        """Every site once, its first allocation; then, as long as there is time, seeded random later ones."""
        rng = random.Random(SEED)
        tries = [(s, 1) for s in sites]
        later = [(s, rng.randint(2, s.count)) for s in sites if s.count > 1]
        rng.shuffle(later)
        if ONLY:
            tries, later = [(s, int(ONLY.split(':')[1])) for s in sites if s.hash == ONLY.split(':')[0]], []
        begun = time.monotonic()
        hits, wrong, left_out = [], [], []

        def run(number, site, occurrence):
            if number >= len(tries) and time.monotonic() - begun > harness.seconds(budget_s):
                left_out.append(site)
                return
            one = Attempt(self, number, f'{site.hash}:{occurrence}')
            try:
                attempt(one, site)
                hits.extend([site] * one.hit())
            except (AssertionError, ValueError, KeyError, OSError) as error:
                wrong.append(f'{one.site}: {error}')
            finally:
                one.end()

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for n, (site, occurrence) in enumerate(tries + later):
                pool.submit(run, n, site, occurrence)
        done = len(tries) + len(later) - len(left_out)
        print(f'{len(sites)} sites, {done} attempts (seed {SEED}), {len(hits)} allocations failed, '
              f'{time.monotonic() - begun:.0f} s', file=sys.stderr)
        self.assertFalse(wrong, f'{len(wrong)} of them went wrong; the first ones:\n' + '\n'.join(wrong[:SHOWN]))
        return len(hits), done


def results(run):
    """What must be equal at the end of a job, whatever happened on the way."""
    summary = json.loads((run / 'summary.json').read_text())
    history = [json.loads(line) for line in (run / 'history.jsonl').read_text().splitlines()]
    return {'digest': summary['weights_digest'], 'keys': sorted(summary), 'rounds': summary['rounds_done'],
            'history': [sorted(line) for line in history], 'accuracy': summary['test_accuracy'],
            'slots': [sorted(slot) for slot in summary['slots']], 'model': (run / 'model.safetensors').read_bytes()}


def ask(run, line=b'status\n'):
    """The operator's answer; None if nobody is there."""
    import socket
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(harness.seconds(10))
        answer = b''
        try:
            s.connect(str(run / 'signpostd.sock'))
            s.sendall(line)
            while piece := s.recv(65536):
                answer += piece
        except OSError:
            return None
    return json.loads(answer) if answer else None


main = harness.main
