"""System calls that do less than was asked for, signals in between, clocks that jump, peers that hang up: the job's weights
are the same to the bit as without."""
import contextlib
import signal
import socket
import struct
import time

import faults
import harness
import wire

JOB = ('workers=2', 'train.rounds=60', 'train.evaluate=0.3')
ALL_PHASES = ('optimizer.switch.when=at', 'optimizer.switch.step=15', 'optimizer.switch.to=margin',
              'optimizer.margin.until=0.6', 'tensors=[{match: "*.bias", update: full}]')
BEAT = ('server.heartbeat.interval=0.5', 'server.heartbeat.timeout=3')


class Io(faults.Case):
    def start_job(self, *sets, server_io=None, worker_io=None):
        """A server and two workers under faults of io.c; returns (server, workers)."""
        run = self.folder / 'run'
        argv = faults.prefix(**(server_io or {})) + [harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen',
                                                     '127.0.0.1:0', '--out', run]
        for item in JOB + sets:
            argv += ['--set', item]
        server = harness.Server(f'server{len(self.processes) or ""}', argv, self.folder, run)
        self.processes.append(server)
        address = run / 'address'
        self.wait_for(lambda: address.exists() and address.read_text(), 'the server to listen')
        workers = [self.start('worker', *faults.prefix(**(worker_io or {})), harness.WORKER, '--config', harness.DIGITS,
                              '--server', server.address()) for _ in range(2)]
        return server, workers

    def end_job(self, server, workers):
        digest = self.finish(server, workers)['weights_digest']
        for p in workers:
            self.assertNotIn('lost the server', p.err())
        self.assertNotIn('left slot', server.err())
        self.assertNotRegex(server.err(), r'(?m)^\S+ \S+ (error|warn) ')
        return digest

    def expected(self):
        if not hasattr(Io, 'digest'):
            Io.digest = self.end_job(*self.start_job())
        return Io.digest

    def check(self, **io):
        self.assertEqual(self.end_job(*self.start_job(server_io=io, worker_io=io)), self.expected())

    def test_one_byte_at_a_time(self):
        self.check(short=1)

    def test_short_reads_and_writes(self):
        self.check(short=300, seed=faults.SEED)

    def test_short_reads_and_writes_in_all_phases(self):
        """Several chunks a round, whose bulk is as it is sent, or coded, or planes of bits."""
        io = {'short': 300, 'eintr': 5, 'seed': faults.SEED}
        self.assertEqual(self.end_job(*self.start_job(*ALL_PHASES, server_io=io, worker_io=io)),
                         self.end_job(*self.start_job(*ALL_PHASES)))

    def test_interrupted_calls(self):
        self.check(eintr=3, seed=faults.SEED)

    def test_both_with_a_clock_that_jumps(self):
        self.check(short=40, eintr=4, clock=1, seed=faults.SEED + 1)

    def test_clock_jumps(self):
        """Heartbeats and deadlines go by a clock that does not: nobody is lost."""
        io = {'clock': 1, 'seed': faults.SEED}
        server, workers = self.start_job('train.rounds=3000', 'train.evaluate=0', *BEAT, server_io=io, worker_io=io)
        self.end_job(server, workers)

    def test_tool(self):
        server = self.start_server()
        for io in ({'short': 1}, {'eintr': 2}, {'short': 5, 'eintr': 3, 'clock': 1}):
            with self.subTest(io):
                tool = self.start('tool', *faults.prefix(seed=faults.SEED, **io), faults.SIGNPOST, 'status', server.run)
                self.wait_for_end(tool)
                self.assertIn('digits at 127.0.0.1', tool.out())
        tool = self.start('tool', *faults.prefix(short=1, eintr=2), faults.SIGNPOST, 'stop', server.run)
        self.wait_for_end(tool)
        self.wait_for_end(server)

    def test_stopped_for_a_while(self):
        """SIGSTOP and SIGCONT, for longer than a heartbeat's interval and not as long as its timeout."""
        server, workers = self.start_job('train.rounds=2000', 'train.evaluate=0', *BEAT)
        for n, process in enumerate((server, workers[0], workers[1])):
            self.wait_for_round(server, 50 * (n + 1))
            process.send(signal.SIGSTOP)
            time.sleep(harness.seconds(1) if harness.SLOW == 1 else 1.5)
            process.send(signal.SIGCONT)
        stopped = self.end_job(server, workers)
        self.assertEqual(stopped, self.end_job(*self.start_job('train.rounds=2000', 'train.evaluate=0', *BEAT)))

    def test_hang_up_while_written_to(self):
        """SIGPIPE and resets: strangers that say HELLO as a worker would and hang up, an operator that does not read."""
        server, workers = self.start_job('train.rounds=400000', 'train.evaluate=0')
        self.wait_for_round(server, 10)
        host, port = server.address().rsplit(':', 1)
        for n in range(60):
            with socket.create_connection((host, int(port)), 5) as s:
                s.sendall(wire.HEADER.pack(b'SGNP', 1, n % 14, 0, 0, 0, 0, 0, 0, 0, 0)[:n % 41])
                if n % 2:  # a reset instead of an end
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(server.run / 'signpostd.sock'))
                with contextlib.suppress(BrokenPipeError):  # it takes so many at once, and hangs up on more
                    s.sendall(b'status\n')
        before = self.wait_for(lambda: faults.ask(server.run), 'an answer between the others')
        self.assertEqual((before['stage'], before['live']), ('running', 2))
        # A server that is gone while its workers push.
        server.kill()
        for p in workers:
            self.wait_for_words(p, 'lost the server')
            self.assertTrue(p.alive(), p.err())

    def test_nobody_reads_the_log(self):
        """Standard error is a pipe without a reader."""
        run = self.folder / 'run'
        server = self.start('server', 'sh', '-c', 'exec "$@" 2>&1 | true', 'sh', harness.SIGNPOSTD, '--config',
                            harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run, '--set', 'workers=1', '--set',
                            'train.rounds=50')
        address = run / 'address'
        self.wait_for(lambda: address.exists() and address.read_text(), 'the server to listen')
        worker = self.start('worker', harness.WORKER, '--config', harness.DIGITS, '--server', address.read_text())
        self.wait_for_end(worker)
        self.wait_for_end(server)
        self.wait_for(lambda: (run / 'model.safetensors').exists(), 'the results')


if __name__ == '__main__':
    faults.main()
