#!/usr/bin/env python3
"""Real servers and workers under a seeded schedule of misfortune; then all is looked at.

Usage: chaos.py [--place lines|hosts] [--seeds 1,2] [--faults NAME,...] [--without NAME,...] [--pace 1.0] [--epochs 150]
                [--storm 30] [--points 1.0] [--set KEY=VALUE]... [--quiet]

--place   lines: every worker behind a relay that cuts, resets or silently stops (default); hosts: network namespaces (root)
--faults  only these; without it all that can be had at this place and by this user
--pace    multiplies the rates at which faults come
--storm   seconds that each of the three storms may take at most
--points  by so much the mean accuracy, in per cent, may be below that of the undisturbed runs
--quiet   no line for every fault

Each seed's job runs once undisturbed and once in three storms with calms between them. In a calm everything must be well again
within half a minute, and descriptors and memory are looked at: the last storm kills neither the server nor worker 0. At the
end come the checks of checks.py, and the comparison of the mean accuracies. Exit code: 0 if all held, 77 if the place
cannot be had here.

Programs come from the environment as in tests/integration/harness.py. SP_TEST_KEEP=1 keeps the folders; those of runs that
failed are kept in any case.
"""
import argparse
import signal
import sys

import disk
import hosts
import storm
from places import PLACES
from run import Run

MISSING = 77   # for meson: skipped
ONLY = {'cut': 'lines', 'silence': 'lines', 'part worker': 'hosts', 'part server': 'hosts'}


# --- the command line --------------------------------------------------------------------------------------------------

def whole_numbers(text):
    return [int(word) for word in text.split(',')]


def names(text):
    found = text.split(',')
    unknown = [name for name in found if name not in storm.RATES]
    if unknown:
        raise argparse.ArgumentTypeError(f'no such fault: {", ".join(unknown)}; there are {", ".join(storm.RATES)}')
    return found


def parse(words):
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument('--place', choices=sorted(PLACES), default='lines')
    parser.add_argument('--seeds', type=whole_numbers, default=[1])
    parser.add_argument('--faults', type=names, default=list(storm.RATES))
    parser.add_argument('--without', type=names, default=[])
    parser.add_argument('--pace', type=float, default=1.0)
    parser.add_argument('--epochs', type=int, default=150)
    parser.add_argument('--storm', type=float, default=30.0)
    parser.add_argument('--points', type=float, default=1.0)
    parser.add_argument('--set', action='append', default=[])
    parser.add_argument('--quiet', action='store_true')
    return parser.parse_args(words)


def possible(options):
    """The faults of this run."""
    chosen = [name for name in options.faults if name not in options.without and ONLY.get(name, options.place) == options.place]
    if 'fill disk' in chosen and disk.missing():
        print(f'no disk is filled: {disk.missing()}')
        chosen.remove('fill disk')
    return chosen


def percent(value):
    return f'{100 * value:.2f}'


def row(seed, run, calm):
    accuracy = [percent(r.summary['test_accuracy']) if r.summary else '-' for r in (run, calm)]
    return (f'| {seed} | {sum(run.storm.counts.values())} | {run.seconds:.1f} | {calm.seconds:.1f} | {run.healed_s:.1f} | '
            f'{run.grown} | {accuracy[0]} | {accuracy[1]} | {"; ".join(run.bad + calm.bad) or "all held"} |')


def print_table(options, pairs):
    """Also says whether the mean accuracies are near enough; returns whether all held."""
    print('\n| seed | faults | seconds | undisturbed | longest until well, s | memory grew, KiB | accuracy, % | undisturbed, % | outcome |')
    print('|---:|---:|---:|---:|---:|---:|---:|---:|---|')
    for seed, (run, calm) in zip(options.seeds, pairs):
        print(row(seed, run, calm))
    for name in storm.RATES:
        if times := sum(run.storm.counts.get(name, 0) for run, _ in pairs):
            print(f'{name}: {times}', end='; ')
    if any(r.bad for pair in pairs for r in pair):
        print('\nnot well')
        return False
    means = [sum(pair[i].summary['test_accuracy'] for pair in pairs) / len(pairs) for i in (0, 1)]
    near = means[0] >= means[1] - options.points / 100
    print(f'\nmean accuracy {percent(means[0])} %, undisturbed {percent(means[1])} %: '
          f'{"within" if near else "NOT within"} {options.points:g} points')
    return near


def one(options, seed, faults):
    print(f'seed {seed}, {options.place}: {", ".join(faults) or "undisturbed"}', flush=True)
    run = Run(options, seed, faults)
    run.go()
    for words in run.bad:
        print(f'  NOT WELL: {words}', flush=True)
    return run


def main(words):
    options = parse(words)
    reason = hosts.missing() if options.place == 'hosts' else None
    if reason:
        print(f'chaos: {reason}')
        return MISSING
    faults = possible(options)
    pairs = [(one(options, seed, faults), one(options, seed, [])) for seed in options.seeds]
    return 0 if print_table(options, pairs) else 1


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleaned up
    sys.exit(main(sys.argv[1:]))
