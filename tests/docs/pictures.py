#!/usr/bin/python3
"""Makes README's pictures, of a real job: the dashboard (desktop and phone width) and the terminal, into the folder named.

    tests/docs/pictures.py deploy/pictures

Needs the packages chromium, fonts-dejavu-core and python3-pyte; programs are those in build/."""
import html
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault('SP_SOURCE_ROOT', str(ROOT))
sys.path[:0] = [str(ROOT / 'tests/dashboard'), str(ROOT / 'tests/integration')]
# pylint: disable=wrong-import-position
import real_job
import screens

COLUMNS, LINES = 120, 33
COLOURS = {'default': '#d8dee6', 'red': '#f07178', 'green': '#9bd17d', 'brown': '#e6c06a', 'yellow': '#e6c06a', 'blue': '#7aa8f0',
           'magenta': '#c792ea', 'cyan': '#6cc7c9', 'white': '#ffffff', 'black': '#202830', 'brightblack': '#8a94a0'}


def status(run):
    done = subprocess.run([screens.SIGNPOST, 'status', run, '--json'], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def workers_of(pid):
    """Process ids of the job's workers, in the order in which they were started."""
    found = subprocess.run(['ps', '-o', 'pid=,comm=', '--ppid', str(pid)], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if line.split()[1].startswith('signpost-worker'[:15])]


def cell(char):
    style = f'color:{COLOURS.get(char.fg, "#" + char.fg)};' if char.fg != 'default' else ''
    style += 'font-weight:bold;' if char.bold else ''
    return f'<span style="{style}">{html.escape(char.data)}</span>' if style else html.escape(char.data)


def terminal_page(screen, path):
    """The emulated screen as a page: monospaced, with its colours."""
    rows = [''.join(cell(screen.buffer[y][x]) for x in range(screen.columns)).rstrip() for y in range(screen.lines)]
    path.write_text('<!DOCTYPE html><meta charset="utf-8"><style>body{margin:0;background:#14181d}pre{margin:14px 18px;'
                    'font:14px/1.32 "DejaVu Sans Mono",monospace;color:#d8dee6}</style><pre>' + '\n'.join(rows) + '</pre>')


def wait_until(terminal, run, enough, limit_s=120):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        terminal.look()
        said = status(run)
        if said is not None and enough(said):
            return said
    raise SystemExit('pictures: the job did not come so far')


def make(folder, work):
    run = work / 'digits'
    sets = [word for item in real_job.SETS for word in ('--set', item)]
    terminal = screens.Terminal([screens.SIGNPOST, 'run', ROOT / 'configs/digits.yaml', '--out', run, *sets], work, COLUMNS, LINES)
    try:
        wait_until(terminal, run, lambda s: s['live'] == 4)
        end = real_job.slow_thread(workers_of(terminal.popen.pid)[2], 0.8, 0.1)
        wait_until(terminal, run, lambda s: s['round'] > 150)
        terminal_page(terminal.screen, work / 'signs.html')
        said = wait_until(terminal, run, lambda s: s['switches'] and s['round'] > s['switches'][0]['round'] + 120)
        for name, size in (('dashboard', (1400, 1500)), ('dashboard-phone', (390, 1500))):
            real_job.picture(said['http'], folder / f'{name}.png', size)
        end()
    finally:
        terminal.end()
    real_job.picture(f'file://{work}/signs.html', folder / 'terminal.png', (1050, 640))


def main():
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='sp-pictures.', dir='/tmp') as work:
        make(folder, Path(work))
    print('\n'.join(f'{p} ({p.stat().st_size // 1000} kB)' for p in sorted(folder.glob('*.png'))))


if __name__ == '__main__':
    sys.exit(main())
