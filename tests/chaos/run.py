"""One run of a job through storms and calms, and the checks after it."""
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import checks
import disk
import storm
from cluster import Cluster
from places import PLACES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402

WORKERS = 4
SETS = ('model.hidden=[1500]', 'train.evaluate=10', 'train.report=10', 'server.heartbeat.interval=0.2',
        'server.heartbeat.timeout=1', 'server.rejoin_timeout=2', 'server.journal.fsync=always',
        'server.journal.max_bytes=16000000', 'server.checkpoint.every=200')
STORMS = (0.2, 0.4, 0.6)  # each ends at this part of the job's rounds
HEAL_S = 30
RUN_S = 120                 # for what is left after the last storm
STATUS_S = 0.1
REFUSED_S = 0.2
SETTLE_ROUNDS = 20
DISK_MB = 64


class Misery(Exception):
    """The run cannot go on; the words say why."""


class Run:
    """One job. What did not hold is in `bad` at the end, the job's summary in `summary`."""

    def __init__(self, options, seed, faults):
        self.options, self.seed, self.faults = options, seed, faults
        self.bad = []
        self.well_since = None
        self.summary = None
        self.healed_s = 0.0
        self.grown = 0
        self.refused = 0     # starts of the server on a full disk
        self.status = None
        self.asked = 0.0

    def say(self, words):
        if not self.options.quiet:
            print(f'  {time.monotonic() - self.began:8.3f} s  round {self.status["round"] if self.status else 0:5}  {words}',
                  flush=True)

    def go(self):
        self.began = time.monotonic()
        self.folder = Path(tempfile.mkdtemp(prefix='sp-', dir='/tmp'))
        try:
            with contextlib.ExitStack() as stack:
                self._set_up(stack)
                try:
                    self._live()
                except Misery as misery:
                    self.bad.append(str(misery))
                if self.bad:
                    self.cluster.print_logs(sys.stdout)
                    self._keep_disk()
        finally:
            if not self.bad and sys.exc_info()[0] is None and not os.environ.get('SP_TEST_KEEP'):
                shutil.rmtree(self.folder, ignore_errors=True)
            else:
                print(f'kept: {self.folder}', flush=True)
        self.seconds = time.monotonic() - self.began

    def _keep_disk(self):
        if self.disk and self.cluster.run.exists():
            shutil.copytree(self.cluster.run, self.folder / 'run', ignore=shutil.ignore_patterns('*.sock'))

    def _set_up(self, stack):
        place = PLACES[self.options.place](WORKERS, self.folder)
        stack.callback(place.close)
        self.disk, run = None, self.folder / 'run'
        if 'fill disk' in self.faults:
            self.disk = disk.Disk(self.folder / 'disk', DISK_MB)
            stack.callback(self.disk.close)
            run = self.folder / 'disk/run'
        sets = (*SETS, f'seed={self.seed}', f'train.epochs={self.options.epochs}', *self.options.set)
        self.cluster = Cluster(self.folder, run, place, sets, WORKERS)
        stack.callback(self.cluster.close)
        self.storm = storm.Storm(self.cluster, self.disk, self.seed, self.faults, self.options.pace, self.say)

    def _live(self):
        self.cluster.start()
        self._calm()
        for until in STORMS if self.faults else ():
            # Who lives through the last one shows whether anything leaks.
            self.cluster.server.spared = self.cluster.workers[0].spared = until == STORMS[-1]
            self._blow(until)
            self._calm()
        self._finish()

    # --- storms and calms ----------------------------------------------------------------------------------------------

    def _tick(self):
        """Undoes what is due, looks after the processes, asks the server; returns how much is still to be undone."""
        left = self.storm.undo()
        for member in self.cluster.members:
            if not member.down and not member.alive():
                self._ended(member)
        if time.monotonic() - self.asked > STATUS_S:
            self.asked = time.monotonic()
            self.status = self.cluster.status() or self.status
        time.sleep(harness.POLL_S / 2)
        return left

    def _ended(self, member):
        """A server may refuse to start on a full disk; nothing else ends by itself."""
        code, lines = member.process.popen.returncode, member.process.err().splitlines() or ['nothing']
        if code == 0:
            raise Misery('; '.join(['the job was over before all was well again', *checks.of_memory(self.cluster.members)]))
        if member is not self.cluster.server or code != 1 or 'No space left on device' not in lines[-1]:
            raise Misery(f'{member.name} ended by itself with {code}, and said last: {lines[-1]}')
        self.refused += 1
        self.say(f'the server ended, to be started again: {lines[-1]}')
        self.storm.start_again(member, REFUSED_S)

    def _blow(self, until):
        self.say('storm')
        self.storm.begin()
        deadline = time.monotonic() + harness.seconds(self.options.storm)
        while time.monotonic() < deadline and not (self.status and self.status['round'] >= until * self.status['rounds']):
            self.storm.blow()
            self._tick()
        self.storm.end()

    def _calm(self):
        """All are there and rounds close, and nobody holds more than at first."""
        began = time.monotonic()
        self._until(lambda: self._well() and self._settled(), 'all was well again')
        self.healed_s = max(self.healed_s, time.monotonic() - began)
        self.say(f'calm: all {WORKERS} are there again after {time.monotonic() - began:.2f} s')

    def _until(self, condition, what):
        deadline = time.monotonic() + harness.seconds(HEAL_S)
        while self._tick() > 0 or not condition():
            if time.monotonic() > deadline:
                raise Misery(f'it took more than {harness.seconds(HEAL_S):g} s until {what}; '
                             f'the server says {self.status and self.status["waits_for"]!r}, live: '
                             f'{self.status and self.status["live"]}; {"; ".join(checks.of_memory(self.cluster.members))}')

    def _well(self):
        """Some rounds ago all were there, and are still."""
        now = self.cluster.status()
        if now is None or now['live'] != WORKERS or now['round'] == 0:
            self.well_since = None
            return False
        if self.well_since is None:
            self.well_since = now['round']
        return now['round'] >= min(self.well_since + SETTLE_ROUNDS, now['rounds'])

    def _settled(self):
        for member in self.cluster.members:
            member.look()
        return not checks.of_memory(self.cluster.members)

    def _finish(self):
        code = self.cluster.wait_for_end(self.cluster.server, RUN_S)
        if code != 0:
            raise Misery(f'the server still ran {harness.seconds(RUN_S):g} s after the last storm' if code is None else
                         f'the server ended with {code}')
        for worker in self.cluster.workers:
            if (code := self.cluster.wait_for_end(worker, HEAL_S)) != 0:
                self.bad.append(f'{worker.name} ' + ('does not end' if code is None else f'ended with {code}'))
        self.summary = json.loads((self.cluster.run / 'summary.json').read_text())
        self.grown = checks.grown(self.cluster.members)
        self.bad += checks.all_of(self.cluster, self.summary)
