"""One job on five hosts, the server's and four workers', whose links are slow, far and lossy, and one of which is cut off in
the midst of it; see hosts.sh.
"""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / 'integration'), str(HERE.parent / 'chaos')]
import harness  # noqa: E402
import hosts  # noqa: E402

WORKERS = 4
LINK = {'rate': '100mbit', 'delay_ms': 20, 'loss_percent': 0.5}
JOB = ('model.hidden=[1000]', 'train.epochs=8', 'train.evaluate=5', 'server.heartbeat.timeout=4', 'security.insecure=true')
ROUNDS = 184
VICTIM = 3          # host of the worker that is cut off
STATISTICS = 600    # bytes that ride on a push


def stated():
    """What `signpost check` says that a worker's round costs in the sign phase: bytes up, bytes down."""
    words = [os.environ['SP_SIGNPOST'], 'check', harness.DIGITS]
    for item in JOB[:2]:
        words += ['--set', item]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    up, down = re.search(r'sign +([0-9.]+) kB up, ([0-9.]+) kB down', text).groups()
    return float(up) * 1e3, float(down) * 1e3


class FiveHosts(harness.Case):
    def setUp(self):
        super().setUp()
        token = self.folder / 'token'
        token.write_text('five-hosts-secret-of-32-bytes-or-more\n')
        token.chmod(0o600)
        self.sets = []
        for item in (*JOB, f'security.token_file={token}', 'optimizer.switch.when=never'):
            self.sets += ['--set', item]
        self.hosts = hosts.Hosts(WORKERS, hosts.Link(wire=os.environ['SP_WIRE'], **LINK))
        self.addCleanup(self.hosts.close)
        self.address = f'{hosts.Hosts.ip(0)}:7700'

    def begin(self):
        run = self.folder / 'run'
        server = harness.Server('server', [*self.hosts.inside(0), harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen',
                                           self.address, '--out', run, *self.sets], self.folder, run)
        self.addCleanup(server.kill)
        workers = [harness.Process(f'worker{i}', [*self.hosts.inside(i), harness.WORKER, '--config', harness.DIGITS, '--server',
                                                  self.address, *self.sets], self.folder) for i in range(1, WORKERS + 1)]
        for worker in workers:
            self.addCleanup(worker.kill)
        self.wait_for_words(server, r'round 1 of \d+ begins with 4 of 4 workers', 60)
        return server, workers

    def pace(self, server, seconds=4):
        before = server.status()['round']
        time.sleep(seconds)
        return seconds / (server.status()['round'] - before)

    def test_a_partition_in_the_middle(self):
        began = time.monotonic()
        server, workers = self.begin()
        self.wait_for_round(server, ROUNDS // 4)
        apace = self.pace(server)
        self.hosts.cut(VICTIM)
        cut = time.monotonic()
        self.wait_for(lambda: server.status()['live'] == WORKERS - 1, 'the server to miss the one that is cut off', 20)
        missed = time.monotonic() - cut
        at = server.status()['round']
        self.wait_for(lambda: server.status()['round'] > at + 10, 'rounds without it', 20)
        self.hosts.mend(VICTIM)
        healed = time.monotonic()
        self.wait_for(lambda: server.status()['live'] == WORKERS, 'its return', 30)
        back = time.monotonic() - healed
        for worker in workers:
            self.wait_for_end(worker, 0, 120)
        self.wait_for_end(server, 0, 30)
        summary = server.summary()
        self.assertEqual(summary['rounds_done'], ROUNDS)
        self.assertGreater(summary['test_accuracy'], 0.9)
        self.say(summary, apace, missed, back, time.monotonic() - began)
        self.check_bytes(summary)

    def say(self, summary, apace, missed, back, took):
        print(f'{summary["params"]} parameters, {WORKERS} workers, links of {LINK["rate"]}, {LINK["delay_ms"]} ms each way and '
              f'{LINK["loss_percent"]} % loss: {ROUNDS} rounds in {took:.1f} s, {apace * 1e3:.0f} ms a round; a worker that was '
              f'cut off was missed after {missed:.1f} s and back {back:.1f} s after its link; '
              f'test accuracy {100 * summary["test_accuracy"]:.2f} %', file=sys.stderr)

    def check_bytes(self, summary):
        """What the cards counted, with all headers, acknowledgements and repeats, beside what the server says."""
        up, down = stated()
        votes = ROUNDS * WORKERS  # less those of the one that was away
        for what, way, says, each in (('up', 'tx', summary['bytes_pushed'], up), ('down', 'rx', summary['bytes_updated'], down)):
            wire = sum(self.hosts.count(i, way) for i in range(1, WORKERS + 1))
            print(f'{what}: the cards counted {wire / 1e6:.2f} MB, the server {says / 1e6:.2f} MB, {votes} times the stated '
                  f'{each / 1e3:.2f} kB are {votes * each / 1e6:.2f} MB', file=sys.stderr)
            self.assertLess(says, votes * (each + STATISTICS) * 1.02, what)
            self.assertGreater(says, votes * each * 0.8, what)
            self.assertGreater(wire, says, what)
            self.assertLess(wire, says * 1.35, what)


def missing():
    if shutil.which('ethtool') is None:
        return 'the program ethtool is not there (package ethtool)'
    why = hosts.missing()
    if why is not None:
        return why
    try:
        with contextlib.closing(hosts.Hosts(1, hosts.Link(wire=os.environ['SP_WIRE'], **LINK))) as two:
            two.cut(1)
            two.mend(1)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return f'links with a delay cannot be had here: {error}'
    return None


if __name__ == '__main__':
    reason = missing()
    if reason is not None:
        print(f'skipped: {reason}')
        sys.exit(77)
    harness.main()
