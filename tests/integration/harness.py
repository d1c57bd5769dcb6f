"""Real servers and workers for the integration tests.

A test case starts processes in a folder of its own, waits for nothing without a deadline, kills what is left at its end,
and, if it failed, prints what every process wrote. Whatever the test itself looked at, it also fails when a process crashed
or a sanitizer complained.

Programs come from the environment, as meson sets it: SP_SIGNPOSTD, SP_WORKER, SP_SOURCE_ROOT. SP_TEST_SLOW=1 makes every
deadline five times as long (sanitizers, valgrind); SP_TEST_KEEP=1 keeps the folder of each test, to look at.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(os.environ.get('SP_SOURCE_ROOT', Path(__file__).resolve().parents[2]))
SIGNPOSTD = os.environ.get('SP_SIGNPOSTD', str(ROOT / 'build/server/signpostd'))
WORKER = os.environ.get('SP_WORKER', str(ROOT / 'build/worker/train/signpost-worker'))
DIGITS = ROOT / 'configs/digits.yaml'
DATA = ROOT / 'configs/digits'
SLOW = 5.0 if os.environ.get('SP_TEST_SLOW', '0') not in ('', '0') else 1.0

START_S = 20       # for a program to come up
RUN_S = 60         # for a job of some seconds to end
POLL_S = 0.01

COMPLAINTS = re.compile(r'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|internal error at')


def seconds(normal):
    """A deadline, longer under sanitizers."""
    return normal * SLOW


# Every line is written, also one that was written a moment ago: tests count them, and wait for them.
LOG = ('--log', 'debug')


class Process:
    """A program whose output goes to files that can be read while it runs."""

    def __init__(self, name, argv, folder):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.out_path = folder / f'{name}.stdout'
        self.err_path = folder / f'{name}.stderr'
        self.we_killed_it = False
        with open(self.out_path, 'wb') as out, open(self.err_path, 'wb') as err:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def out(self):
        return self.out_path.read_text(errors='replace')

    def err(self):
        return self.err_path.read_text(errors='replace')

    def send(self, number):
        self.popen.send_signal(number)

    def kill(self):
        """kill -9, and gone when this returns."""
        self.we_killed_it = True
        self.popen.kill()
        self.popen.wait(seconds(START_S))


def ask_raw(run, line):
    """Sends bytes to the operator's socket of a run's folder; returns all that comes back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(seconds(10))
        s.connect(str(run / 'signpostd.sock'))
        s.sendall(line)
        answer = b''
        while True:
            piece = s.recv(65536)
            if not piece:
                return answer
            answer += piece


class Server(Process):
    def __init__(self, name, argv, folder, run):
        super().__init__(name, argv, folder)
        self.run = run

    def address(self):
        return (self.run / 'address').read_text()

    def ask_raw(self, line):
        return ask_raw(self.run, line)

    def ask(self, command):
        return json.loads(self.ask_raw(command.encode() + b'\n'))

    def status(self):
        return self.ask('status')

    def summary(self):
        return json.loads((self.run / 'summary.json').read_text())

    def lines(self):
        """All of history.jsonl."""
        return [json.loads(line) for line in (self.run / 'history.jsonl').read_text().splitlines()]

    def history(self):
        """Its lines that report and evaluate."""
        return [line for line in self.lines() if 'event' not in line]

    def events(self, *kinds):
        """Its decisions: of these kinds, or all."""
        return [line for line in self.lines() if 'event' in line and (not kinds or line['event'] in kinds)]


class Case(unittest.TestCase):
    maxDiff = None

    def run(self, result=None):
        result = result if result is not None else self.defaultTestResult()
        bad = len(result.failures) + len(result.errors)
        self.processes = []
        # Short, because the path of a unix socket may have no more than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix='sp-', dir='/tmp'))
        try:
            super().run(result)
        finally:
            self.kill_all()
            if len(result.failures) + len(result.errors) > bad:
                self.print_logs()
            if os.environ.get('SP_TEST_KEEP'):
                print(f'kept: {self.folder}', file=sys.stderr)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)

    def tearDown(self):
        crashed = [f'{p.name}: signal {-p.popen.returncode}' for p in self.processes
                   if p.popen.poll() is not None and p.popen.returncode < 0 and not p.we_killed_it]
        self.kill_all()
        self.assertEqual(crashed, [], 'processes that died of a signal')
        for p in self.processes:
            found = COMPLAINTS.search(p.err())
            self.assertIsNone(found, f'{p.name} complains: {found and p.err()[found.start():found.start() + 1500]}')

    def kill_all(self):
        for p in self.processes:
            if p.alive():
                p.kill()

    def print_logs(self):
        print(f'\n--- processes of {self.id()}', file=sys.stderr)
        for p in self.processes:
            print(f'--- {p.name}: {" ".join(p.argv)}\n--- ended with {p.popen.returncode}', file=sys.stderr)
            for text in (p.out(), p.err()):
                lines = text.splitlines()
                if len(lines) > 120:
                    lines = lines[:40] + [f'... {len(lines) - 120} lines left out ...'] + lines[-80:]
                print('\n'.join(lines), file=sys.stderr)
        sys.stderr.flush()

    # --- starting ------------------------------------------------------------------------------------------------------

    def start(self, name, *argv):
        names = {p.name for p in self.processes}
        unique, n = name, 2
        while unique in names:
            unique, n = f'{name}-{n}', n + 1
        process = Process(unique, argv, self.folder)
        self.processes.append(process)
        return process

    def start_server(self, *sets, config=DIGITS, listen='127.0.0.1:0', run='run', wait=True, fresh=False):
        """A server that listens when this returns, unless `wait` is false."""
        run = self.folder / run
        (run / 'address').unlink(missing_ok=True)
        argv = [SIGNPOSTD, '--config', config, '--listen', listen, '--out', run, *LOG, *(['--fresh'] if fresh else [])]
        for item in sets:
            argv += ['--set', item]
        server = Server(f'server{sum(isinstance(p, Server) for p in self.processes) or ""}', argv, self.folder, run)
        self.processes.append(server)
        if wait:
            self.wait_for(lambda: (run / 'address').exists() or not server.alive(), 'the server to listen', START_S)
            self.assertTrue(server.alive(), f'the server ended: {server.err()}')
        return server

    def start_worker(self, server, *sets, config=DIGITS, slot=None, name='worker'):
        """`server` is a server or a HOST:PORT."""
        address = server.address() if isinstance(server, Server) else server
        argv = [WORKER, '--config', config, '--server', address, *LOG]
        if slot is not None:
            argv += ['--slot', slot]
            name = f'{name}-slot{slot}'
        for item in sets:
            argv += ['--set', item]
        return self.start(name, *argv)

    def start_workers(self, server, count, *sets, slots=False, config=DIGITS):
        return [self.start_worker(server, *sets, config=config, slot=i if slots else None) for i in range(count)]

    # --- waiting -------------------------------------------------------------------------------------------------------

    def wait_for(self, condition, what, limit_s=START_S):
        """Polls until the condition holds; returns what it gave."""
        deadline = time.monotonic() + seconds(limit_s)
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                self.fail(f'waited {seconds(limit_s):g} s in vain for {what}')
            time.sleep(POLL_S)

    def wait_for_words(self, process, words, limit_s=START_S, times=1):
        """Until the process has written something that matches the regular expression; returns the (last) match."""
        def look():
            found = list(re.finditer(words, process.err()))
            if len(found) >= times:
                return found[times - 1]
            if not process.alive():
                found = list(re.finditer(words, process.err()))
                if len(found) < times:
                    self.fail(f'{process.name} ended with {process.popen.returncode} without saying {words!r}')
                return found[times - 1]
            return None
        return self.wait_for(look, f'{process.name} to say {words!r}', limit_s)

    def wait_for_end(self, process, code=0, limit_s=RUN_S):
        try:
            process.popen.wait(seconds(limit_s))
        except subprocess.TimeoutExpired:
            self.fail(f'{process.name} was still running after {seconds(limit_s):g} s')
        self.assertEqual(process.popen.returncode, code, f'exit code of {process.name}: {process.err()[-600:]}')

    def wait_for_round(self, server, round_, limit_s=RUN_S):
        """Until that many rounds are committed; returns the status. Fails if the job ended before."""
        def look():
            if not server.alive():
                self.fail(f'the server ended before round {round_}')
            status = server.status()
            return status if status['round'] >= round_ else None
        return self.wait_for(look, f'round {round_}', limit_s)

    def finish(self, server, workers, limit_s=RUN_S):
        """Waits until all end well; returns the summary."""
        self.wait_for_end(server, 0, limit_s)
        for worker in workers:
            self.wait_for_end(worker, 0)
        return server.summary()

    def whole_job(self, *sets, workers=4, limit_s=RUN_S, run='run', config=DIGITS):
        """A job from start to end: server and workers, all exit 0. Returns (server, summary)."""
        server = self.start_server(f'workers={workers}', *sets, config=config, run=run)
        models = [item for item in sets if item.startswith('model.')]  # both sides must have the same
        processes = self.start_workers(server, workers, *models, config=config)
        summary = self.finish(server, processes, limit_s)
        self.assert_done(summary)
        return server, summary

    def slot_of(self, worker):
        return int(self.wait_for_words(worker, r'as slot (\d+) of').group(1))

    def assert_done(self, summary):
        """The job ran to its end and evaluated all of the test set."""
        self.assertFalse(summary['stopped'])
        self.assertEqual(summary['rounds_done'], summary['rounds'])
        self.assertFalse(summary['test_partial'])
        self.assertIsNotNone(summary['test_accuracy'])


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes are killed when meson's time is up
    unittest.main(verbosity=2)
