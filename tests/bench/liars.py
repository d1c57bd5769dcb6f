#!/usr/bin/env python3
"""What workers that lie do to a job, and what the job does about them: the digits job, many seeds, a table in Markdown.

    liars.py [--seeds 20] [--only WORDS] [--set KEY=VALUE]...

Programs are those of build/, or of SP_SIGNPOSTD, SP_WORKER and SP_LIAR. A seed takes about 20 s on a quiet machine.
"""
import argparse
import sys
import unittest
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import lying  # noqa: E402

SMALL = ('train.batch=4', 'train.evaluate=0')  # with 15 workers 60 examples a round, about as many as in the demo
OFF = ('server.quarantine=off',)
TRIMMED = OFF + ('optimizer.sgd.aggregate=trimmed_mean',)
SIGN = ('optimizer.switch.when=never',)


@dataclass(frozen=True)
class Row:
    words: str
    workers: int
    liars: int = 0
    lie: str = 'flip'
    phase: str = ''
    sets: tuple = ()
    since: int = 1


ROWS = [
    Row('15 honest', 15),
    Row('8 honest', 8),
    Row('7 of 15 flip, quarantine off', 15, 7, sets=OFF),
    Row('7 of 15 flip, quarantine exclude', 15, 7, sets=('server.quarantine=exclude',)),
    Row('15 honest, sign phase only', 15, sets=SIGN),
    Row('8 honest, sign phase only', 8, sets=SIGN),
    Row('7 of 15 flip, sign phase only, quarantine off', 15, 7, sets=SIGN + OFF),
    Row('7 of 15 flip, sign phase only, quarantine exclude', 15, 7, sets=SIGN + ('server.quarantine=exclude',)),
    Row('3 of 15 flip in the SGD phase, mean', 15, 3, 'flip', 'sgd', OFF),
    Row('3 of 15 scale by 1e6 in the SGD phase, mean', 15, 3, 'scale', 'sgd', OFF),
    Row('3 of 15 scale by -1e6 from round 600 on, mean', 15, 3, 'reverse', 'sgd', OFF, 600),
    Row('15 honest, trimmed_mean', 15, sets=TRIMMED),
    Row('3 of 15 flip in the SGD phase, trimmed_mean', 15, 3, 'flip', 'sgd', TRIMMED),
    Row('3 of 15 scale by 1e6 in the SGD phase, trimmed_mean', 15, 3, 'scale', 'sgd', TRIMMED),
    Row('3 of 15 scale by -1e6 from round 600 on, trimmed_mean', 15, 3, 'reverse', 'sgd', TRIMMED, 600),
    Row('3 of 15 push NaN in the SGD phase, trimmed_mean', 15, 3, 'nan', 'sgd', TRIMMED),
]


class Job(lying.Case):
    """One job of a row; `summary` and `events` are there if it ran to its end."""

    def __init__(self, row, seed, sets):
        super().__init__()
        self.row, self.seed, self.sets = row, seed, sets
        self.summary = self.events = None

    def runTest(self):
        row = self.row
        self.summary, self.events = self.lying_job(*SMALL, *row.sets, *self.sets, f'seed={self.seed}', workers=row.workers,
                                                   liars=row.liars, lie=row.lie, phase=row.phase or None, since=row.since,
                                                   limit_s=300)


def line(row, jobs):
    accuracy = [100 * job.summary['test_accuracy'] for job in jobs]
    rounds = {job.summary['rounds'] for job in jobs}
    honest = row.workers - row.liars
    loss = [job.summary['train_loss'] or float('nan') for job in jobs]
    found = [[event['round'] for event in job.events if event['slot'] >= honest] for job in jobs]
    wrong = sum(event['slot'] < honest for job in jobs for event in job.events)
    last = sorted(max(each) for each in found if each)
    tested = OFF[0] not in row.sets
    cells = [row.words, '/'.join(map(str, sorted(rounds))), f'{sum(accuracy) / len(accuracy):.2f}',
             f'{min(accuracy):.2f} .. {max(accuracy):.2f}', f'{sum(loss) / len(loss):.3g}',
             f'{sum(map(len, found))} of {row.liars * len(jobs)}' if tested else '-', str(wrong) if tested else '-',
             f'{last[0]} .. {last[-1]}' if last else '-']
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=int, default=20)
    parser.add_argument('--only', default='', help='rows with these words in their name')
    parser.add_argument('--set', action='append', default=[], help='for the server of every job')
    arguments = parser.parse_args()
    result = unittest.TestResult()
    print('| job | rounds | test accuracy, % | least .. most | training loss | liars suspected | honest suspected | '
          'the last liar in round |')
    print('|---|---|---|---|---|---|---|---|', flush=True)
    for row in ROWS:
        if arguments.only not in row.words:
            continue
        jobs = [Job(row, seed, arguments.set) for seed in range(1, arguments.seeds + 1)]
        for job in jobs:
            job.run(result)
        if not result.wasSuccessful():
            break
        print(line(row, jobs), flush=True)
    for _, words in result.failures + result.errors:
        print(words, file=sys.stderr)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == '__main__':
    main()
