"""The table of compare.py, in Markdown, and its figures as JSON."""
import os
import re
import statistics
from pathlib import Path

import competitors

BASE = 'gloo-f32'


def middle(results, name, compute, what):
    """The median over launches, or None."""
    launches = results.launches.get((name, compute))
    return statistics.median(launch[what] for launch in launches) if launches else None


def short(value):
    return '-' if value is None else f'{value:.3g}' if value < 100 else f'{value:,.0f}'


def size(value):
    if value is None:
        return '-'
    for unit, step in (('MB', 1e6), ('kB', 1e3)):
        if value >= step:
            return f'{value / step:.3g} {unit}'
    return f'{value:.0f} B'


def times(results, name, compute):
    """(median and range of the launches, how many times faster than the base)"""
    own, base = middle(results, name, compute, 'ms'), middle(results, BASE, compute, 'ms')
    if own is None:
        return '-', '-'
    every = [launch['ms'] for launch in results.launches[name, compute]]
    spread = f' ({short(min(every))} to {short(max(every))})' if len(every) > 1 else ''
    return short(own) + spread, f'{short(base / own)} x' if base else '-'


def row(results, name):
    alone, alone_ratio = times(results, name, 'off')
    full, full_ratio = times(results, name, 'on')
    measured = 'off' if (name, 'off') in results.launches else 'on'
    cells = [competitors.title(name), alone, alone_ratio, full, full_ratio,
             size(middle(results, name, measured, 'up')), size(middle(results, name, measured, 'down')),
             short(middle(results, name, 'off', 'cpu_ms')), short(middle(results, name, 'on', 'cpu_ms'))]
    return '| ' + ' | '.join(cells) + ' |'


def machine(load):
    cpuinfo = Path('/proc/cpuinfo').read_text()
    processor = re.search(r'model name\s*: (.*)', cpuinfo)
    wide = 'with AVX-512' if ' avx512f' in cpuinfo else 'with AVX2' if ' avx2' in cpuinfo else 'without AVX2'
    control = Path('/proc/sys/net/ipv4/tcp_congestion_control')
    return (f"{processor.group(1) if processor else 'processor unknown'}, {wide}, {len(os.sched_getaffinity(0))} cores, TCP "
            f"{control.read_text().strip() if control.exists() else 'as it is'}; load average at the start {load:.2f}"
            + (': the machine was NOT quiet' if load > 0.5 else ''))


def links(options):
    if not options.link:
        return 'all processes on this machine, over loopback'
    server = 'has no limit' if options.server_link == 'free' else f'is {options.link} too'
    return f"every worker a host of its own with a link of {options.link}; the server's link {server}"


NOTES = """\
Exchange: what one round takes without arithmetic on the model: the collective operation, after a barrier; of DDP its hook, from the first
bucket on; of Signpost push, vote, update and commit, from one commit to the next. With compute: from a gradient that is there to new
weights (SGD with momentum 0.9, or the sign of a momentum), rounds without a pause. Median of the rounds, then of the launches (and their
range); x: times as fast as Gloo in float32 under the same heading. Up and down are bytes of a worker and round. CPU: of all processes
together, the server too, a round, without what the kernel does outside of them. Every rank and worker is a process with one thread."""

OF_ROWS = {
    'gloo-f16': "Gloo converts and adds float16 in plain code unless it was built for the processor, which Debian's was not.",
    'gloo-1bit': 'each worker gets the signs of all others, and counts by numpy.',
    'ddp-powersgd': 'one bucket: with several, this hook hangs on Gloo. Its exchange has the matrix products in it.',
    'mpi-f32': 'Open MPI waits by asking again and again, which is in its CPU time.',
    'signpost-dither': 'the exchange is that of the row above.',
}


def bytes_note(results):
    ways = {}
    for (name, _), launches in results.launches.items():
        names = ways.setdefault(launches[0]['how'], [])
        if name not in names:
            names.append(name)
    return '; '.join(f"{how}: {', '.join(names)}" for how, names in ways.items())


def show(options, results, load):
    print(f'{options.workers} workers, {options.params:,} parameters; {links(options)}. {options.launches} launches of '
          f'{options.rounds} rounds, all rows in turn.')
    print()
    print('| what | exchange, ms | | with compute, ms | | up | down | CPU, exchange, ms | with compute, ms |')
    print('|---|---:|---:|---:|---:|---:|---:|---:|---:|')
    for name in options.only:
        if (name, 'off') in results.launches or (name, 'on') in results.launches:
            print(row(results, name))
    print(f'\n{NOTES}\n')
    if results.launches:
        print(f'- Bytes are known {bytes_note(results)}.')
    for name, words in OF_ROWS.items():
        if name in options.only and any(key[0] == name for key in results.launches):
            print(f'- {competitors.title(name)}: {words}')
    for word, reasons in (('Missing', results.missing), ('FAILED', results.failed)):
        for why in dict.fromkeys(filter(None, reasons.values())):
            names = dict.fromkeys(name for (name, _), reason in reasons.items() if reason == why)
            print(f"- {word}: {', '.join(names)}: {why}.")
    print(f'- Machine: {machine(load)}.')


def as_json(options, results):
    return {'workers': options.workers, 'params': options.params, 'rounds': options.rounds, 'link': options.link,
            'server_link': options.server_link if options.link else '',
            'rows': [{'name': name, 'compute': compute, 'launches': launches}
                     for (name, compute), launches in results.launches.items()],
            'missing': {f'{name}, compute {compute}': why for (name, compute), why in results.missing.items() if why},
            'failed': {f'{name}, compute {compute}': why for (name, compute), why in results.failed.items()}}
