"""Measures Signpost and what people would use in its place, in alternation; compare.sh prepares what it needs.

Each launch is a fresh set of processes. Launch 1 of every row comes before launch 2 of any, so that what the machine does
meanwhile meets all rows alike. The figure of a row is the median of its launches' medians.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import competitors
import compare_table

COMPUTE = ('off', 'on')
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failed(Exception):
    """A launch did not come to its end."""


class Running:
    """The processes of one launch, each in a group of its own, so that all of it can be ended."""

    def __init__(self, launch):
        self.launch, self.started = launch, []

    def start(self, folder):
        for number, (words, environment) in enumerate(self.launch.processes):
            out, err = open(folder / f'out-{number}', 'w+'), open(folder / f'err-{number}', 'w+')
            self.started.append((subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                                  start_new_session=True), out, err))

    def wait(self, limit):
        """Until all have ended well. The first that fails, or the limit in seconds, ends it with Failed."""
        until = time.monotonic() + limit
        left = list(self.started)
        while left:
            for process, _, err in list(left):
                if process.poll() is None:
                    continue
                if process.returncode != 0:
                    raise Failed(f'exit code {process.returncode}: {last_line(err)}')
                left.remove((process, _, err))
            if time.monotonic() > until:
                raise Failed(f'no end within {limit:.0f} s (--limit)')
            time.sleep(0.02)

    def figures(self):
        lines = []
        for _, out, _ in self.started:
            out.seek(0)
            lines += competitors.read_lines(out.read())
        if not lines:
            raise Failed('it printed no figures')
        return self.launch.figures(lines)

    def end(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = [process for process, _, _ in self.started if process.poll() is None]
            for process in left:
                os.killpg(process.pid, number)
            until = time.monotonic() + 5
            while any(process.poll() is None for process in left) and time.monotonic() < until:
                time.sleep(0.02)
        for _, out, err in self.started:
            out.close()
            err.close()


def last_line(file):
    file.seek(0)
    lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    return lines[-1][:300] if lines else 'without a word'


def run_once(name, compute, setting, limit):
    launch = competitors.make_launch(name, compute, setting)
    with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        running = Running(launch)
        try:
            running.start(Path(folder))
            running.wait(limit)
            return running.figures()
        finally:
            running.end()


class Results:
    """Figures of all launches by (name, compute), and why a row has none."""

    def __init__(self):
        self.launches, self.missing, self.failed = {}, {}, {}

    def measure(self, name, compute, setting, limit):
        if (name, compute) in self.missing or (name, compute) in self.failed:
            return
        try:
            figures = run_once(name, compute, setting, limit)
            self.launches.setdefault((name, compute), []).append(figures)
        except competitors.Missing as why:
            self.missing[name, compute] = str(why)
        except (Failed, OSError) as why:
            self.failed[name, compute] = str(why)
            print(f'compare: {name}, compute {compute}: {why}', file=sys.stderr)


def stop(number, _):
    """Ends the program in order, which a second signal must not interrupt."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def arguments():
    parser = argparse.ArgumentParser()
    for name in ('--workers', '--params', '--rounds', '--launches'):
        parser.add_argument(name, type=int, required=True)
    for name in ('--link', '--server-link', '--only', '--json', '--python', '--mpi', '--signpost'):
        parser.add_argument(name, default='')
    parser.add_argument('--limit', type=float, default=600)
    parser.add_argument('--folder', type=Path, required=True)
    options = parser.parse_args()
    options.only = options.only.split(',') if options.only else competitors.NAMES
    unknown = [name for name in options.only if name not in competitors.NAMES]
    if unknown:
        print(f"compare: --only knows no {', '.join(unknown)}; there are {', '.join(competitors.NAMES)}", file=sys.stderr)
        sys.exit(2)
    return options


def main():
    for number in SIGNALS:
        signal.signal(number, stop)
    options = arguments()
    setting = competitors.Setting(options.workers, options.params, options.rounds, options.link, options.python, options.mpi,
                                  options.signpost, options.folder)
    results, load = Results(), os.getloadavg()[0]
    for launch in range(options.launches):
        for name in options.only:
            for compute in COMPUTE:
                print(f'compare: launch {launch + 1} of {options.launches}: {name}, compute {compute}', file=sys.stderr)
                results.measure(name, compute, setting, options.limit)
    compare_table.show(options, results, load)
    if options.json:
        Path(options.json).write_text(json.dumps(compare_table.as_json(options, results), indent=1) + '\n')
    sys.exit(1 if results.failed else 0)


if __name__ == '__main__':
    main()
