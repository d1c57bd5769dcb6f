"""What systemd is told of server and worker: a socket in its place listens."""
import os
import signal
import socket
import sys
import time

import harness


class Notify(harness.Case):
    """Both programs inherit the environment of this one, so each has a socket of its own set while it is started."""

    def listen(self, name):
        path = self.folder / f'{name}.sock'
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(str(path))
        listener.setblocking(False)
        self.addCleanup(listener.close)
        os.environ['NOTIFY_SOCKET'] = str(path)
        self.addCleanup(os.environ.pop, 'NOTIFY_SOCKET', None)
        return listener

    def heard(self, listener, so_far):
        """All messages up to now, as (when, text)."""
        while True:
            try:
                so_far.append((time.monotonic(), listener.recv(4096).decode()))
            except BlockingIOError:
                return so_far

    def wait_for_word(self, listener, so_far, word, limit_s=harness.START_S):
        self.wait_for(lambda: any(word in text for _, text in self.heard(listener, so_far)), f'systemd to hear {word!r}', limit_s)

    def start_both(self, *sets, watchdog_us=None):
        if watchdog_us is not None:
            os.environ['WATCHDOG_USEC'] = str(watchdog_us)
            self.addCleanup(os.environ.pop, 'WATCHDOG_USEC', None)
        self.of_server = self.listen('server')
        server = self.start_server('workers=1', *sets)
        self.of_worker = self.listen('worker')
        worker = self.start_worker(server, 'workers=1', *sets)
        return server, worker

    def test_from_ready_to_the_end(self):
        server, worker = self.start_both('train.epochs=1000')
        said, told = [], []
        self.wait_for_word(self.of_server, said, 'READY=1')
        self.wait_for_word(self.of_worker, told, 'READY=1')
        self.wait_for_word(self.of_server, said, "STATUS=job 'digits': round ")
        self.wait_for_word(self.of_worker, told, 'STATUS=joined job ')
        self.wait_for_word(self.of_worker, told, 'STATUS=slot 0: round ')
        self.assertFalse([text for _, text in said + told if 'WATCHDOG' in text], 'nobody has asked for a watchdog')
        server.send(signal.SIGTERM)
        self.wait_for_word(self.of_server, said, 'STOPPING=1')
        self.wait_for_word(self.of_worker, told, 'STOPPING=1')
        self.wait_for_end(server)
        self.wait_for_end(worker)
        self.assertEqual(self.heard(self.of_server, said)[-1][1], 'STOPPING=1')

    def test_a_worker_that_waits(self):
        """It is ready, for it does what it can, and says what it waits for."""
        listener, told = self.listen('worker'), []
        self.start('worker', harness.WORKER, '--config', harness.DIGITS, '--server', f'127.0.0.1:{harness.free_port()}')
        self.wait_for_word(listener, told, 'READY=1')
        self.wait_for_word(listener, told, 'STATUS=waiting for the server')

    def test_the_watchdog(self):
        """Of 3 s: heard twice as often, while rounds are made, while a worker waits, and not any more when the loop hangs."""
        server, worker = self.start_both('train.epochs=100000', watchdog_us=3000000)
        said, told = [], []
        for listener, so_far in (self.of_server, said), (self.of_worker, told):
            self.wait_for(lambda: sum('WATCHDOG=1' in text for _, text in self.heard(listener, so_far)) >= 4, 'four signs of life', 15)
            times = [when for when, text in so_far if 'WATCHDOG=1' in text]
            self.assertLess(max(b - a for a, b in zip(times, times[1:])), harness.seconds(2.5))
        server.send(signal.SIGSTOP)
        time.sleep(harness.seconds(0.5))
        before = len(self.heard(self.of_server, said))
        told.clear()
        self.wait_for(lambda: sum('WATCHDOG=1' in text for _, text in self.heard(self.of_worker, told)) >= 3,
                      'the worker that waits to be alive', 15)
        self.assertEqual(len(self.heard(self.of_server, said)), before)
        server.send(signal.SIGCONT)
        self.wait_for(lambda: len(self.heard(self.of_server, said)) > before, 'the server to be alive again')

    def test_a_socket_that_is_not_there(self):
        os.environ['NOTIFY_SOCKET'] = str(self.folder / 'nobody')
        self.addCleanup(os.environ.pop, 'NOTIFY_SOCKET', None)
        self.whole_job('train.epochs=2')


if __name__ == '__main__':
    if os.environ.get('SP_HAS_SYSTEMD') == '0':
        print('skipped: the programs are built without libsystemd')
        sys.exit(77)
    harness.main()
