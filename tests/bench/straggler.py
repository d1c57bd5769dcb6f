"""What one slow worker costs a job by quorum; straggler.sh starts it.

Gradients are pauses (tests/integration/made_worker.c), so that processors have no part in it.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[1] / 'integration/made.yaml'
WORKERS = 8
ROUNDS_MIN = 100  # some rounds that wait for the slow one must be among them


class Job:
    """A server and made workers; `pauses` has a worker's ms for each."""

    def __init__(self, build, folder, pauses, sets):
        self.processes = []
        self.run = folder / 'run'
        words = [build / 'server/signpostd', '--config', CONFIG, '--listen', '127.0.0.1:0', '--out', self.run]
        for item in (f'workers={len(pauses)}', 'train.evaluate=0', *sets):
            words += ['--set', item]
        self.log = open(folder / 'log', 'wb')
        self.start(words)
        deadline = time.monotonic() + 20
        while not (self.run / 'address').exists():
            if time.monotonic() > deadline or self.processes[0].poll() is not None:
                sys.exit(f'straggler: the server did not start: {(folder / "log").read_text(errors="replace")}')
            time.sleep(0.01)
        address = (self.run / 'address').read_text()
        for slot, pause in enumerate(pauses):
            self.start([build / 'tests/integration/made_worker', address, slot, 0, f'pause={pause}'])

    def start(self, words):
        self.processes.append(subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL, stderr=self.log))

    def finish(self, limit_s):
        """The summary, once all have ended."""
        try:
            for process in self.processes:
                process.wait(limit_s)
        except subprocess.TimeoutExpired:
            sys.exit(f'straggler: a job was not done after {limit_s:.0f} s')
        finally:
            for process in self.processes:
                process.kill()
                process.wait()
            self.log.close()
        return json.loads((self.run / 'summary.json').read_text())


def measure(build, pauses, rounds, quorum):
    """(ms a round, the summary)"""
    with tempfile.TemporaryDirectory(prefix='sp-', dir='/tmp') as folder:
        job = Job(build, Path(folder), pauses, (f'train.rounds={rounds}', f'server.close.quorum={quorum}'))
        summary = job.finish(60 + 4 * rounds * max(pauses) / 1e3)
    return 1e3 * summary['train_seconds'] / rounds, summary


def main():
    parser = argparse.ArgumentParser(prog='straggler.sh')
    parser.add_argument('--build', type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument('--seconds', type=float, default=10, help='of each measurement')
    parser.add_argument('--times', type=int, default=10, help='how many times slower it is')
    parser.add_argument('--rounds-of', default='2,20,100', help='ms of the other workers')
    parser.add_argument('--quorum', type=int, default=WORKERS - 1)
    arguments = parser.parse_args()
    print('| gradient | rounds | a round without it | with it | ratio | its votes | rounds that went on without it |')
    print('|---|---|---|---|---|---|---|')
    for pause in map(int, arguments.rounds_of.split(',')):
        rounds = max(ROUNDS_MIN, int(arguments.seconds * 1e3 / pause))
        alone, _ = measure(arguments.build, [pause] * (WORKERS - 1), rounds, arguments.quorum)
        beside, summary = measure(arguments.build, [pause] * (WORKERS - 1) + [pause * arguments.times], rounds,
                                  arguments.quorum)
        slow = summary['slots'][WORKERS - 1]
        print(f'| {pause} ms | {rounds} | {alone:.2f} ms | {beside:.2f} ms | {beside / alone:.2f} | {slow["votes"]} |'
              f' {slow["missed"]} |', flush=True)


if __name__ == '__main__':
    main()
