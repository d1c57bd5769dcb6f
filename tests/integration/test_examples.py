"""The programs of worker/examples, as their README.md starts them: alone, together, with a token, and where they must fail.

SP_EXAMPLE_QUADRATIC and SP_EXAMPLE_OWN_LOOP are executables, SP_LIBSIGNPOST is the shared library for the one in Python.
That one needs numpy; without it the test fails.
"""
import os
import re
import signal
import subprocess
import sys

import harness

EXAMPLES = harness.ROOT / 'worker/examples'
CONFIG = EXAMPLES / 'quadratic.yaml'
QUADRATIC = os.environ.get('SP_EXAMPLE_QUADRATIC', str(harness.ROOT / 'build/worker/examples/quadratic'))
OWN_LOOP = os.environ.get('SP_EXAMPLE_OWN_LOOP', str(harness.ROOT / 'build/worker/examples/own_loop'))
LIBRARY = os.environ.get('SP_LIBSIGNPOST', str(harness.ROOT / 'build/worker/client/libsignpost.so.0'))
BLOBS = ('job=blobs', 'train.rounds=0', 'train.epochs=20')
FIRST_LOSS = 177.0  # of the quadratic, at zero


def python_with_numpy():
    for python in (sys.executable, '/usr/bin/python3'):
        if subprocess.run([python, '-c', 'import numpy'], capture_output=True).returncode == 0:
            return python
    raise RuntimeError('no Python here has numpy, which numpy_worker.py needs: install python3-numpy')


def sanitizers():
    """A library with sanitizers has its symbols from a runtime that must be loaded before Python."""
    needed = subprocess.run(['ldd', LIBRARY], capture_output=True, text=True, check=True).stdout
    runtimes = re.findall(r'lib(?:asan|ubsan|tsan)\.so\S* => (\S+)', needed)
    # What Python itself leaves at its end is not ours to complain about.
    return [f'LD_PRELOAD={" ".join(runtimes)}', 'ASAN_OPTIONS=detect_leaks=0'] if runtimes else []


class Examples(harness.Case):
    def quadratic(self, server, *more):
        return self.start('quadratic', QUADRATIC, self.address(server), *more)

    def own_loop(self, server, *more):
        return self.start('own_loop', OWN_LOOP, self.address(server), *more)

    def numpy_worker(self, server, *more):
        return self.start('numpy_worker', 'env', f'SIGNPOST_LIBRARY={LIBRARY}', *sanitizers(), python_with_numpy(),
                          EXAMPLES / 'numpy_worker.py', self.address(server), *more)

    @staticmethod
    def address(server):
        return server if isinstance(server, str) else server.address()

    def serve(self, *sets):
        return self.start_server(*sets, config=CONFIG)

    def result(self, worker):
        """(loss, digest) that it printed at its end."""
        found = re.fullmatch(r'loss (\d+\.\d{6}), weights ([0-9a-f]{16})\n', worker.out())
        self.assertIsNotNone(found, f'{worker.name} printed {worker.out()!r}')
        return float(found[1]), found[2]

    def succeed(self, server, workers, loss):
        """The job goes to its end, all have the weights of the server, and the loss is below that; returns the summary."""
        summary = self.finish(server, workers)
        self.assertFalse(summary['stopped'])
        self.assertEqual(summary['rounds_done'], summary['rounds'])
        for worker in workers:
            found, digest = self.result(worker)
            self.assertEqual(digest, summary['weights_digest'], worker.name)
            self.assertLess(found, loss, worker.name)
        return summary


class Alone(Examples):
    def test_quadratic(self):
        server = self.serve('workers=1')
        summary = self.succeed(server, [self.quadratic(server)], 0.1 * FIRST_LOSS)
        self.assertEqual((summary['rounds'], summary['params']), (400, 1041))

    def test_own_loop(self):
        server = self.serve('workers=1')
        self.succeed(server, [self.own_loop(server)], 0.1 * FIRST_LOSS)

    def test_numpy_worker(self):
        server = self.serve('workers=1', *BLOBS)
        summary = self.succeed(server, [self.numpy_worker(server)], 0.5)
        self.assertEqual(summary['rounds'], 20 * 125)
        self.assert_done(summary)
        self.assertGreater(summary['test_accuracy'], 0.85)


class Together(Examples):
    def alone_in_its_process(self, worker):
        """One thread, and no signal of those that a program may want is taken."""
        self.assertEqual(len(os.listdir(f'/proc/{worker.pid}/task')), 1)
        with open(f'/proc/{worker.pid}/status') as f:
            status = dict(line.split(':', 1) for line in f)
        for mask in ('SigCgt', 'SigIgn', 'SigBlk'):
            for number in (1, 2, 3, 10, 12, 13, 14, 15, 17):
                # The library blocks SIGPIPE while it waits; and what we ignore (nohup, a shell's &) is inherited.
                ours = mask == 'SigIgn' and signal.getsignal(number) == signal.SIG_IGN
                if (mask, number) != ('SigBlk', 13) and not ours:
                    self.assertEqual(int(status[mask], 16) >> (number - 1) & 1, 0, f'{mask} of signal {number}')

    def test_two_kinds(self):
        """The one on its own loop goes on with its clock while it waits for the other."""
        server = self.serve()
        own_loop = self.own_loop(server)
        self.wait_for_words(own_loop, r'own_loop: round 0 of 400\n', times=3)
        self.alone_in_its_process(own_loop)
        self.succeed(server, [own_loop, self.quadratic(server)], 0.1 * FIRST_LOSS)

    def test_the_other_order(self):
        server = self.serve()
        quadratic = self.quadratic(server)
        self.wait_for_words(server, r'is ready in slot 0')
        self.alone_in_its_process(quadratic)
        self.succeed(server, [quadratic, self.own_loop(server)], 0.1 * FIRST_LOSS)

    def test_three_of_numpy(self):
        server = self.serve('workers=3', *BLOBS)
        summary = self.succeed(server, [self.numpy_worker(server) for _ in range(3)], 0.5)
        self.assert_done(summary)
        self.assertGreater(summary['test_accuracy'], 0.85)

    def test_one_that_is_killed_comes_back(self):
        server = self.serve('train.rounds=200000', 'train.evaluate=1000', 'train.report=1000')
        workers = [self.own_loop(server), self.quadratic(server)]
        for i, start in enumerate((self.own_loop, self.quadratic)):
            self.wait_for_round(server, 1000 * (i + 1))
            workers[i].kill()
            workers[i] = start(server)
            self.wait_for(lambda: server.status()['live'] == 2, 'both to be there again')
        server.ask('stop')
        summary = self.finish(server, workers)
        self.assertEqual([self.result(worker)[1] for worker in workers], [summary['weights_digest']] * 2)

    def test_with_a_token(self):
        token, other = self.folder / 'token', self.folder / 'other'
        for path, text in ((token, 'correct horse battery staple 0123456789\n'), (other, 'x' * 40 + '\n')):
            path.write_text(text)
            path.chmod(0o600)
        server = self.serve(f'security.token_file={token}')
        for start in (self.quadratic, self.own_loop, self.numpy_worker):
            for more in (('quadratic',), ('quadratic', other)):
                worker = start(server, *more)
                self.wait_for_end(worker, 1)
                self.assertRegex(worker.err(), r'(?i)token|secret')
        self.succeed(server, [self.quadratic(server, 'quadratic', token), self.own_loop(server, 'quadratic', token)],
                     0.1 * FIRST_LOSS)


class Failures(Examples):
    def kinds(self):
        return self.quadratic, self.own_loop, self.numpy_worker

    def test_wrong_job(self):
        server = self.serve()
        for start in self.kinds():
            worker = start(server, 'nonsense')
            self.wait_for_end(worker, 1)
            self.assertIn("this server runs job 'quadratic', not 'nonsense'", worker.err().splitlines()[-1])
            self.assertEqual(worker.out(), '')

    def test_another_model(self):
        server = self.serve()
        first = self.quadratic(server)
        self.wait_for_words(server, r'is ready in slot 0')
        worker = self.numpy_worker(server, 'quadratic')
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err().splitlines()[-1], r"^numpy_worker: .*the model differs from the job's")
        self.succeed(server, [first, self.own_loop(server)], 0.1 * FIRST_LOSS)

    def test_no_server(self):
        address = f'127.0.0.1:{harness.free_port()}'
        for worker in [start(address) for start in self.kinds()]:
            self.wait_for_end(worker, 1)
            self.assertRegex(worker.err().splitlines()[-1], rf'^{worker.name}: .*{re.escape(address)}')
            self.assertEqual(worker.out(), '')

    def test_nonsense(self):
        token = self.folder / 'token'
        token.write_text('readable by all, so that it is no secret\n')
        token.chmod(0o644)
        for start in self.kinds():
            for arguments, words in ((('nonsense',), r'nonsense'), (('127.0.0.1:1', 'j' * 64), r'job'),
                                     (('127.0.0.1:1', 'j', token), r'token'),
                                     (('127.0.0.1:1', 'j', self.folder / 'missing'), r'missing.*[Nn]o such file')):
                worker = start(*arguments)
                self.wait_for_end(worker, 1)
                self.assertRegex(worker.err().splitlines()[-1], rf'^{start.__name__}: .*{words}')

    def test_no_arguments(self):
        for argv in ([QUADRATIC], [OWN_LOOP], [python_with_numpy(), EXAMPLES / 'numpy_worker.py']):
            worker = self.start('example', *argv)
            self.wait_for_end(worker, 1)
            self.assertRegex(worker.err(), r'^(usage: )?\w+')


if __name__ == '__main__':
    harness.main()
