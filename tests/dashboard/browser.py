"""Headless Chromium. Every request it makes, to this machine as well, goes through the mock server as its proxy, which so sees
where they want to go."""
import json
import re
import subprocess
import tempfile
import urllib.parse

from need_browser import CHROMIUM

# Without these it talks to its makers by itself.
QUIET = ['--no-first-run', '--no-default-browser-check', '--disable-background-networking', '--disable-component-update',
         '--disable-sync', '--disable-extensions', '--disable-default-apps', '--disable-quic', '--no-pings',
         '--disable-features=NetworkTimeServiceQuerying']
LIMIT_S = 90
CONSOLE = re.compile(r'^\[.*?CONSOLE.*?\]\s*(.*)$', re.MULTILINE)
ANSWER = re.compile(r'<pre id="answer">(.*?)</pre>', re.DOTALL)


class Page:
    """What is left of a page after `budget` seconds of its own time: its document as text, and what its console said."""

    def __init__(self, mock, path, budget=4.0, size=(1400, 1800)):
        with tempfile.TemporaryDirectory(prefix='sp-browser.', ignore_cleanup_errors=True) as folder:
            command = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', *QUIET, f'--user-data-dir={folder}',
                       f'--window-size={size[0]},{size[1]}', f'--proxy-server={mock.url}', '--proxy-bypass-list=<-loopback>',
                       f'--virtual-time-budget={int(1000 * budget)}', '--enable-logging=stderr', '--v=0', '--dump-dom',
                       mock.url + path]
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode != 0:
            raise AssertionError(f'chromium ended with {done.returncode}: {done.stderr[-2000:]}')
        self.document = done.stdout
        self.console = CONSOLE.findall(done.stderr)


def ask(mock, name, script, budget=4.0, width=1400, height=1800, fragment=''):
    """What the script gives back that runs beside the page (mock.py says what it may use), and the whole Page."""
    query = urllib.parse.urlencode({'width': width, 'height': height, 'run': script, 'hash': fragment})
    page = Page(mock, f'/frame/{name}?{query}', budget)
    match = ANSWER.search(page.document)
    if match is None or match.group(1) == '':
        raise AssertionError(f'no answer within {budget} s; the console said: {page.console}')
    # The document is HTML again: the answer's own marks are escaped in it.
    text = match.group(1).replace('&lt;', '<').replace('&gt;', '>').replace('&nbsp;', '\u00a0').replace('&amp;', '&')
    return json.loads(text), page
