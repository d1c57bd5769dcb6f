"""A server and its workers as somebody runs them who starts again what died, and looks after them."""
import json
import os
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402

ASK_S = 0.5


class Seen:
    """What a process held when all was quiet: descriptors, and resident memory in KiB."""

    def __init__(self, pid):
        self.descriptors = len(os.listdir(f'/proc/{pid}/fd'))
        status = Path(f'/proc/{pid}/status').read_text()
        self.resident = int(next(line for line in status.splitlines() if line.startswith('VmRSS:')).split()[1])


class Member:
    """The server, or a worker: its process, and those that it had before."""

    def __init__(self, name, start):
        self.name = name
        self.start_process = start
        self.process = None
        self.past = []
        self.spared = False    # by what kills
        self.down = False      # and will be started again
        self.stopped = False   # by SIGSTOP, and will be continued
        self.cut_off = False   # from the others, and will be connected again
        self.seen = None       # (pid, Seen at its first calm, Seen at its last)

    def alive(self):
        return self.process is not None and self.process.alive()

    def mortal(self):
        return self.alive() and not self.spared

    def start(self):
        if self.process is not None:
            self.past.append(self.process)
        self.down = self.stopped = False
        self.process = self.start_process(f'{self.name}-{len(self.past)}')

    def look(self):
        now = Seen(self.process.pid)
        first = self.seen[1] if self.seen and self.seen[0] == self.process.pid else now
        self.seen = (self.process.pid, first, now)

    def processes(self):
        return self.past + ([self.process] if self.process else [])


class Cluster:
    """`place` is of places.py, `run` the run's folder, `folder` where the logs go; `sets` are for server and workers."""

    def __init__(self, folder, run, place, sets, workers):
        self.folder, self.run, self.place, self.sets = folder, run, place, sets
        self.server = Member('server', self._start_server)
        self.workers = [Member(f'worker{i}', lambda name, i=i: self._start_worker(name, i)) for i in range(workers)]
        self.members = [self.server] + self.workers

    def _start_server(self, name):
        argv = self.place.server() + [harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen', self.place.listen,
                                      '--out', self.run]
        return harness.Process(name, argv + self._sets(), self.folder)

    def _start_worker(self, name, i):
        argv = self.place.worker(i) + [harness.WORKER, '--config', harness.DIGITS, '--server', self.place.address(i)]
        return harness.Process(name, argv + self._sets(), self.folder)

    def _sets(self):
        words = []
        for item in (*self.sets, *self.place.sets):
            words += ['--set', item]
        return words

    def start(self):
        for member in self.members:
            member.start()

    def status(self):
        """What the server says of itself, or None if it is dead, stopped or not there yet."""
        if not self.server.alive() or self.server.stopped:
            return None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(harness.seconds(ASK_S))
                s.connect(str(self.run / 'signpostd.sock'))
                s.sendall(b'status\n')
                answer = b''
                while piece := s.recv(65536):
                    answer += piece
            status = json.loads(answer)
        except (OSError, ValueError):
            return None
        return status if status['pid'] == self.server.process.pid else None

    def wait_for_end(self, member, limit_s):
        """Its exit code, or None if it did not end in time."""
        deadline = time.monotonic() + harness.seconds(limit_s)
        while member.alive():
            if time.monotonic() > deadline:
                return None
            time.sleep(harness.POLL_S)
        return member.process.popen.returncode

    def processes(self):
        return [process for member in self.members for process in member.processes()]

    def close(self):
        for process in self.processes():
            if process.alive():
                process.kill()

    def print_logs(self, to):
        """The end of what each process wrote that had something to say last: of each member its last two."""
        for member in self.members:
            for process in member.processes()[-2:]:
                lines = process.err().splitlines()
                print(f'--- {process.name}, ended with {process.popen.poll()}: {" ".join(process.argv)}', file=to)
                print('\n'.join(lines[-25:]), file=to)
        to.flush()
