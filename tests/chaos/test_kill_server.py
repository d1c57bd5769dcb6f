"""kill -9 of the server at random instants: it goes on after the last round that a worker may have applied.

A relay in front of each worker reads the COMMITs that come out of the server: a round whose COMMIT none of them has read was
applied by no worker. SP_KILLS says how often the server is killed (10), SP_KILLS_SEED when, SP_KILLS_LIMIT_S how many seconds
after the restart the next round must be closed (10; on a quiet machine 2 are more than enough).
"""
import json
import os
import random
import re
import sys
import time
from pathlib import Path

import checks
from cluster import Cluster
from places import Lines

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402
import wire  # noqa: E402

KILLS = int(os.environ.get('SP_KILLS', '10'))
SEED = int(os.environ.get('SP_KILLS_SEED', '1'))
LIMIT_S = float(os.environ.get('SP_KILLS_LIMIT_S', '10'))
WORKERS = 4
LIFE_S = 1.0           # a server lives at most so long, unless the job is over
AGAIN = 0.2            # this part of the restarted servers is killed while it is still coming up
ALWAYS = ('server.journal.fsync=always', 'server.checkpoint.every=100', 'train.evaluate=5')
JOBS = (
    ('train.epochs=60',),
    ('train.epochs=60', 'optimizer.switch.when=at', 'optimizer.switch.step=200', 'optimizer.sgd.wire=f32'),
    ('train.epochs=60', 'optimizer.start=margin', 'optimizer.dither.sigma0=1'),
    ('train.epochs=40', 'model.hidden=[1500]', 'optimizer.switch.when=at', 'optimizer.switch.step=50'),
)
SHORT = ('train.epochs=5',)
LAST = 115             # its last round


class Commits(wire.Policy):
    """Notes of the COMMITs that pass on the way down, of all connections of all lines, the highest round and when it was read."""
    round = 0
    at = 0.0

    def __init__(self, number):
        super().__init__(number)
        self.splitter = wire.Splitter()

    def pass_on(self, direction, data):
        if direction == wire.DOWN:
            for frame, _ in self.splitter.feed(data):
                if frame.type == wire.COMMIT and frame.round > Commits.round:
                    Commits.round, Commits.at = frame.round, time.monotonic()
        return data


class KillServer(harness.Case):
    def print_logs(self):
        self.cluster.print_logs(sys.stderr)

    def begin(self, number, sets):
        """The next job."""
        Commits.round = 0
        place = Lines(WORKERS, self.folder, Commits)
        self.addCleanup(place.close)
        folder = self.folder / str(number)
        folder.mkdir()
        self.cluster = Cluster(folder, folder / 'run', place, (*ALWAYS, *sets, f'seed={SEED + number}'), WORKERS)
        self.addCleanup(self.cluster.close)
        self.cluster.start()

    def end(self):
        """The job ends well, as if nothing had been."""
        cluster = self.cluster
        for member in cluster.workers if cluster.server.process.we_killed_it else cluster.members:
            self.assertEqual(cluster.wait_for_end(member, harness.RUN_S), 0, f'{member.name}: {member.process.err()[-600:]}')
        if cluster.server.process.we_killed_it:  # with its results written, but before it could tidy up
            for name in ('address', 'signpostd.sock', f'end/{LAST:010}.checkpoint'):
                (cluster.run / name).unlink(missing_ok=True)
        summary = json.loads((cluster.run / 'summary.json').read_text())
        self.assertEqual(checks.all_of(cluster, summary), [])
        self.assertGreater(summary['test_accuracy'], 0.8)
        cluster.place.close()

    def is_finished(self):
        """Whether the results are written; a server that is started after that begins a new run."""
        return (self.cluster.run / 'checkpoint/finished').exists()

    def kill(self):
        """Returns the last round that a worker may have applied."""
        self.cluster.server.process.kill()
        self.wait_for(lambda: not any(relay.connections() for relay in self.cluster.place.relays),
                      'all that the server had sent to be read')
        return Commits.round

    def recover(self, applied):
        """Returns the seconds from the start of the server to the end of its first round; None: there was none left."""
        began = time.monotonic()
        self.cluster.server.start()
        while self.rng.random() < AGAIN:
            time.sleep(self.rng.random() * 0.1)
            self.again += 1
            applied = self.kill()
            began = time.monotonic()
            self.cluster.server.start()
        round_ = int(self.wait_for_words(self.cluster.server.process, r'going on after round (\d+)').group(1))
        self.assertGreaterEqual(round_, applied, 'a round that a worker may have applied is lost')
        self.assertLessEqual(round_, applied + 1, 'more rounds than there can have been')
        self.wait_for(lambda: Commits.round > round_ or not self.cluster.server.alive(), 'the next round')
        return Commits.at - began if Commits.round > round_ else None

    def begin_long(self, number):
        self.begin(number, JOBS[number % len(JOBS)])
        self.wait_for(lambda: Commits.round > 0, 'round 1 to close')

    def test_no_applied_round_is_lost(self):
        self.rng = random.Random(SEED)
        self.again = 0
        times, jobs = [], 0
        self.begin_long(jobs)
        while len(times) < KILLS:
            time.sleep(self.rng.random() * LIFE_S)
            if self.is_finished():
                self.end()
                jobs += 1
                self.begin_long(jobs)
            applied = self.kill()
            if self.is_finished():
                continue  # it was faster
            took = self.recover(applied)
            if took is None:
                continue
            times.append(took)
            self.assertLess(times[-1], harness.seconds(LIMIT_S), f'kill {len(times)}: seconds until the next round was closed')
        self.end()
        print(f'{KILLS} kills and {self.again} more while the server was coming up, {jobs + 1} jobs: no applied round lost; from the '
              f'restart to the end of the next round {sorted(times)[KILLS // 2]:.2f} s (median), {max(times):.2f} s (longest)',
              file=sys.stderr)

    def test_at_the_beginning(self):
        """Before the first checkpoint is on the disk there is nothing to go on from, and no round to lose."""
        rng = random.Random(SEED)
        for number in range(max(3, KILLS // 10)):
            self.begin(number, JOBS[0])  # long enough not to be over by then
            time.sleep(rng.random() * 0.2)
            applied = self.kill()
            self.assertFalse(self.is_finished(), 'the job was over before the server was killed')
            self.cluster.server.start()
            found = self.wait_for_words(self.cluster.server.process, r'going on after round (\d+)|round 1 of \d+ begins')
            self.assertGreaterEqual(int(found.group(1) or 0), applied)
            self.end()

    def test_at_the_end(self):
        """Some workers have been told that the job is done, and are gone."""
        rng = random.Random(SEED)
        for number in range(max(3, KILLS // 10)):
            self.begin(number, SHORT)
            self.wait_for(lambda: Commits.round >= LAST, 'the last round')
            time.sleep(rng.random() * 0.03)
            applied = self.kill()
            if not self.is_finished():
                self.cluster.server.start()
                round_ = int(self.wait_for_words(self.cluster.server.process, r'going on after round (\d+)').group(1))
                self.assertGreaterEqual(round_, applied)
            self.end()


if __name__ == '__main__':
    harness.main()
