"""How a round's time and the server's cost grow with workers and parameters, by `signpost bench`; scale.sh starts it.

Writes table.md (also to standard output), runs.jsonl with a line a measurement, and two plots: 'workers' and 'params'.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

WORKERS = [1, 2, 4, 8, 16, 32, 64, 128, 255]
PARAMS = [100_000, 1_000_000, 10_000_000, 100_000_000]
FIXED_WORKERS, FIXED_PARAMS = 4, 1_000_000
CONNECTIONS = 1000
# Bytes a coordinate: of a worker its weights, momentum, staged bits and part of the gradients, and the server's weights.
WORKER_BYTES, SERVER_BYTES = 16, 16
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Case:
    series: str  # 'workers', 'params' or 'connections'
    workers: int
    params: int
    compute: str
    spares: int = 0


def cases(workers, params):
    every = [Case('workers', m, FIXED_PARAMS, compute) for compute in ('off', 'on') for m in workers]
    every += [Case('params', FIXED_WORKERS, d, compute) for compute in ('off', 'on') for d in params]
    every += [Case('connections', FIXED_WORKERS, FIXED_PARAMS, compute, CONNECTIONS - FIXED_WORKERS) for compute in ('off', 'on')]
    return every


def memory_available():
    for line in Path('/proc/meminfo').read_text().splitlines():
        if line.startswith('MemAvailable:'):
            return 1024 * int(line.split()[1])
    return sys.maxsize


class Bench:
    """Runs `signpost bench`, one at a time."""

    def __init__(self, program, limit):
        self.program, self.limit, self.running = program, limit, None

    def measure(self, case):
        """(figures, '') or (None, why there are none)"""
        need = case.params * (WORKER_BYTES * case.workers + SERVER_BYTES)
        if need > 0.8 * memory_available():
            return None, f'it takes about {need / 1e9:.0f} GB of memory'
        words = [self.program, 'bench', '--workers', str(case.workers), '--params', str(case.params), '--phase', 'sign',
                 '--dither', '0', '--compute', case.compute, '--spares', str(case.spares), '--json']
        self.running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, start_new_session=True)
        try:
            out, err = self.running.communicate(timeout=self.limit)
        except subprocess.TimeoutExpired:
            return None, f'no end within {self.limit:.0f} s (--limit)'
        finally:
            self.end()
        if self.running.returncode != 0:
            return None, (err.strip().splitlines() or ['without a word'])[0][:300]
        return json.loads(out), ''

    def end(self):
        """The program ends its own processes when it is told to."""
        if self.running.poll() is None:
            self.running.terminate()
            try:
                self.running.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.running.pid, signal.SIGKILL)
                self.running.wait()


def derived(case, figures):
    """What the table and the plots show of one measurement."""
    votes = case.workers * case.params
    return {'ms': figures['round_ms_median'], 'p99': figures['round_ms_p99'],
            'server_ns': 1e6 * figures['server_cpu_ms_per_round'] / votes,
            'worker_ns': 1e6 * figures['worker_cpu_ms_per_round'] / votes,
            'rss': figures['server_rss_bytes'], 'rss_each': figures['server_rss_bytes'] / case.params,
            'up': 8 * figures['wire_bytes_up_per_worker'] / case.params,
            'down': 8 * figures['wire_bytes_down_per_worker'] / case.params}


def short(value):
    return f'{value:.3g}' if value < 100 else f'{value:,.0f}'


def table(results, missing):
    lines = ['| workers | spares | parameters | compute | round, ms | p99 | server CPU, ns a vote bit | workers, ns a coordinate | '
             'server RSS, MiB | bytes a coordinate | bits up | bits down |', '|---:' * 3 + '|---' + '|---:' * 8 + '|']
    for case, figures in results.items():
        d = derived(case, figures)
        lines.append(f"| {case.workers} | {case.spares or '-'} | {case.params:,} | {case.compute} | {short(d['ms'])} | {short(d['p99'])} | "
                     f"{d['server_ns']:.3f} | {d['worker_ns']:.3f} | {short(d['rss'] / 2**20)} | {d['rss_each']:.2f} | "
                     f"{d['up']:.3f} | {d['down']:.3f} |")
    lines += ['', 'Sign phase without noise. Compute off: the exchange alone; on: from momentum to applied weights, on workers and server. '
              'Server CPU is divided by', 'workers x parameters, one bit each; the workers\' (all of them together, in as many processes as '
              'there are cores) likewise. Bits are on the', 'wire, of a worker, coordinate and round. Spares are connections of workers without '
              'a slot.', '']
    lines += [f'- Missing: {case.workers} workers, {case.params:,} parameters, compute {case.compute}'
              f"{f', {case.spares} spares' if case.spares else ''}: {why}." for case, why in missing.items()]
    return '\n'.join(lines) + '\n'


PLOT = """\
set encoding utf8
if (PNG) set terminal pngcairo size 1100,420 font 'sans,10'; else set terminal svg size 1100,420 dynamic font 'sans,13' background rgb 'white'
set output '{name}.'.(PNG ? 'png' : 'svg')
set multiplot layout 1,2
set border 3 lc rgb '#666666'
set tics nomirror textcolor rgb '#333333'
set grid lc rgb '#dddddd' lt 1
set logscale x {base}
set xlabel '{label}'
set format x '{format}'
set key top left
set logscale y
set ylabel 'round, ms'
plot {times}
set key top right
set ylabel 'server, ns of CPU a vote bit'
plot {costs}
unset multiplot
"""
STYLES = {'off': ('exchange alone', '#0072b2'), 'on': ('with compute', '#d55e00')}


def plot(folder, name, results):
    """name.dat, name.gp, and by gnuplot name.svg and name.png."""
    own = {compute: [(case, derived(case, figures)) for case, figures in results.items()
                     if case.series == name and case.compute == compute] for compute in STYLES}
    own = {compute: points for compute, points in own.items() if points}
    if not own:
        return
    blocks = ['\n'.join(f"{getattr(case, name)} {d['ms']:.6g} {d['server_ns']:.6g}" for case, d in points) for points in own.values()]
    (folder / f'{name}.dat').write_text('# x, ms a round, ns of the server\'s CPU a vote bit\n' + '\n\n\n'.join(blocks) + '\n')
    curves = [', '.join(f"'{name}.dat' index {i} using 1:{column} with linespoints lw 2 pt 7 lc rgb '{STYLES[compute][1]}' "
                        f"title '{STYLES[compute][0]}'" for i, compute in enumerate(own)) for column in (2, 3)]
    label, base, number_format = (('workers', 2, '%g') if name == 'workers' else ('parameters', 10, '10^{%T}'))
    (folder / f'{name}.gp').write_text(PLOT.format(name=name, label=label, base=base, format=number_format, times=curves[0], costs=curves[1]))
    for png in (0, 1):
        subprocess.run(['gnuplot', '-e', f'PNG={png}', f'{name}.gp'], cwd=folder, check=True)


def stop(number, _):
    """Ends the program in order, which a second signal must not interrupt."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def whole_list(text):
    try:
        values = [float(word) for word in text.split(',')]
        if all(value >= 1 and value == int(value) for value in values):
            return [int(value) for value in values]
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f'{text!r} is no list of whole numbers such as 1,4,16 or 1e5,1e6')


def arguments():
    parser = argparse.ArgumentParser(prog='scale.sh', description='Table and plots of how rounds grow, by `signpost bench`.')
    parser.add_argument('--out', type=Path, required=True, help='folder for table.md, runs.jsonl and the plots')
    parser.add_argument('--workers', type=whole_list, default=WORKERS, help=f'at {FIXED_PARAMS:,} parameters')
    parser.add_argument('--params', type=whole_list, default=PARAMS, help=f'with {FIXED_WORKERS} workers')
    parser.add_argument('--limit', type=float, default=600, help='seconds that one measurement may take')
    parser.add_argument('--signpost', default='build/deploy/tool/signpost', help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    for number in SIGNALS:
        signal.signal(number, stop)
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    bench, results, missing = Bench(options.signpost, options.limit), {}, {}
    every = cases(options.workers, options.params)
    with open(options.out / 'runs.jsonl', 'w') as runs:
        for i, case in enumerate(every):
            print(f'scale: {i + 1} of {len(every)}: {case.workers} workers, {case.params:,} parameters, compute {case.compute}, '
                  f'{case.spares} spares', file=sys.stderr)
            figures, why = bench.measure(case)
            if figures is None:
                missing[case] = why
                print(f'scale: {why}', file=sys.stderr)
                continue
            results[case] = figures
            runs.write(json.dumps(dict(figures, spares=case.spares)) + '\n')
            runs.flush()
    text = table(results, missing)
    (options.out / 'table.md').write_text(text)
    print(text, end='')
    if shutil.which('gnuplot'):
        plot(options.out, 'workers', results)
        plot(options.out, 'params', results)
    else:
        print('scale: no plots: gnuplot is not there (package gnuplot-nox; deploy/install-packages.sh bench)', file=sys.stderr)
    sys.exit(0 if results else 1)


if __name__ == '__main__':
    main()
