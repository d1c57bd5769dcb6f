"""A real job that is looked at, by the test and by the script that makes README's pictures: digits on a wide model, so that a
round takes some milliseconds, and one worker that is stopped and continued, so that it is slow."""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import need_browser
from browser import QUIET

ROOT = Path(os.environ.get('SP_SOURCE_ROOT', Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(ROOT / 'tests/integration'))

SETS = ('train.epochs=90', 'train.batch=32', 'model.hidden=[512, 256]', 'server.listen=127.0.0.1:0')
BUDGET_MS = 4000
LIMIT_S = 90


def slow_down(pid, stop, share=0.95, cycle_s=0.3):
    """Until `stop` is set the process stands still for this share of the time."""
    try:
        while not stop.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(cycle_s * share)
            os.kill(pid, signal.SIGCONT)
            time.sleep(cycle_s * (1 - share))
    except ProcessLookupError:
        pass


def slow_thread(pid, *how):
    """Returns what ends it."""
    stop = threading.Event()
    thread = threading.Thread(target=slow_down, args=(pid, stop, *how), daemon=True)
    thread.start()

    def end():
        stop.set()
        thread.join()
    return end


def chromium(url, *more, size=(1400, 1800)):
    """Standard output and error of a headless Chromium that has had the page open for some seconds."""
    with tempfile.TemporaryDirectory(prefix='sp-browser.', ignore_cleanup_errors=True) as folder:
        done = subprocess.run([need_browser.CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', *QUIET,
                               f'--user-data-dir={folder}', f'--window-size={size[0]},{size[1]}',
                               f'--virtual-time-budget={BUDGET_MS}', '--hide-scrollbars', '--enable-logging=stderr', '--v=0',
                               *more, url], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise AssertionError(f'chromium ended with {done.returncode}: {done.stderr[-2000:]}')
    return done.stdout, done.stderr


def picture(url, path, size):
    chromium(url, f'--screenshot={path}', size=size)


def png_size(path):
    """(width, height); fails if it is none."""
    data = Path(path).read_bytes()
    if data[:8] != b'\x89PNG\r\n\x1a\n':
        raise AssertionError(f'{path} is no PNG')
    return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')
