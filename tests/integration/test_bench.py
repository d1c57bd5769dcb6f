"""signpost bench: what it prints in each mode, and that it leaves nothing behind; and what a job's workers say of their
first rounds. No figure of time is looked at but that it is one."""
import glob
import json
import os
import re
import signal
import time
import unittest

from harness import DIGITS, Case, main, seconds

SIGNPOST = os.environ.get('SP_SIGNPOST', 'build/deploy/tool/signpost')
KEYS = {'workers', 'params', 'phase', 'round_ms_median', 'round_ms_p99', 'server_cpu_ms_per_round',
        'worker_cpu_ms_per_round', 'wire_bytes_up_per_worker', 'wire_bytes_down_per_worker', 'server_rss_bytes',
        'compute', 'wire', 'kernels', 'rounds', 'processes', 'spares', 'votes'}
D = 10000
HEADER = 40                # of each frame
SCALARS = 4 * 128 + 36     # control bytes of a push of one chunk: sketch, loss, norm, examples, dot
COMMIT = 64                # of control bytes in COMMIT and UPDATE, at most


class TestBench(Case):
    def setUp(self):
        self.tmp = self.folder / 'tmp'
        self.tmp.mkdir()
        os.environ['TMPDIR'] = str(self.tmp)
        self.addCleanup(os.environ.pop, 'TMPDIR')

    def bench(self, *arguments, code=0, limit_s=60):
        process = self.start('bench', SIGNPOST, 'bench', *arguments)
        self.wait_for_end(process, code, limit_s)
        if '--keep' not in arguments:
            self.assertEqual(list(self.tmp.iterdir()), [], 'the folder is removed')
        self.assertEqual(self.children(), [], 'nothing runs any longer')
        return process

    def children(self):
        """Processes that know our folder."""
        found = []
        for path in glob.glob('/proc/[0-9]*/cmdline'):
            try:
                with open(path, 'rb') as file:
                    line = file.read()
            except OSError:
                continue
            if str(self.tmp).encode() in line:
                found.append(line.replace(b'\0', b' ').decode())
        return found

    def json(self, *arguments):
        process = self.bench('--json', '--params', D, '--rounds', 20, *arguments)
        result = json.loads(process.out())
        self.assertEqual(process.out().count('\n'), 1)
        self.assertLessEqual(KEYS, set(result))
        self.assertGreater(result['round_ms_median'], 0)
        self.assertGreaterEqual(result['round_ms_p99'], result['round_ms_median'])
        self.assertGreater(result['server_cpu_ms_per_round'], 0)
        self.assertGreater(result['worker_cpu_ms_per_round'], 0)
        self.assertGreater(result['server_rss_bytes'], 1e6)
        self.assertEqual(result['params'], D)
        self.assertEqual(result['rounds'], 20)
        self.assertEqual(result['votes'], result['workers'] * (20 + result['warmup']))
        return result

    def check_bytes(self, result, up, down):
        """Bulk bytes of one round, each way; headers and control messages come on top."""
        self.assertTrue(up + HEADER < result['wire_bytes_up_per_worker'] <= up + HEADER + SCALARS,
                        (up, result['wire_bytes_up_per_worker']))
        self.assertTrue(down + 2 * HEADER < result['wire_bytes_down_per_worker'] <= down + 2 * HEADER + COMMIT,
                        (down, result['wire_bytes_down_per_worker']))

    def test_signs(self):
        result = self.json()
        self.assertEqual((result['workers'], result['phase'], result['compute']), (4, 'sign', True))
        self.check_bytes(result, D // 8, D // 8)

    def test_exchange_alone(self):
        result = self.json('--compute', 'off', '--workers', 3, '--processes', 2, '--warmup', 0)
        self.assertFalse(result['compute'])
        self.assertEqual((result['workers'], result['processes'], result['warmup']), (3, 2, 0))
        self.check_bytes(result, D // 8, D // 8)

    def test_margin(self):
        # Three bit planes hold the counts 0 to 4, each of them whole 64-bit words.
        result = self.json('--phase', 'margin')
        words = 8 * ((D + 63) // 64)
        self.assertEqual(result['phase'], 'margin')
        self.check_bytes(result, D // 8, 3 * words)

    def test_values(self):
        blocks = 4 * (D // 256 + 10)  # a scale a block, and one more for every tensor's last
        for wire, least, most in ('f32', 4 * D, 4 * D), ('bf16', 2 * D, 2 * D), ('i8', D, D + blocks):
            with self.subTest(wire=wire):
                result = self.json('--phase', 'sgd', '--wire', wire, '--workers', 2)
                self.assertEqual((result['phase'], result['wire']), ('sgd', wire))
                self.assertGreater(result['wire_bytes_up_per_worker'], least)
                self.assertLess(result['wire_bytes_up_per_worker'], most + HEADER + SCALARS)
                self.assertGreater(result['wire_bytes_down_per_worker'], least)
                self.assertLess(result['wire_bytes_down_per_worker'], most + 2 * HEADER + COMMIT)

    def test_many_in_one_process_and_spares(self):
        result = self.json('--workers', 32, '--processes', 1, '--spares', 260, '--dither', 0)
        self.assertEqual((result['workers'], result['processes'], result['spares']), (32, 1, 260))
        self.check_bytes(result, D // 8, D // 8)

    def test_with_a_secret_and_prefixes(self):
        # An address of one's own wants a secret; env is a prefix that changes nothing.
        result = self.json('--listen', '127.0.0.1:0', '--server-prefix', 'env A=%d', '--spares', 3)
        self.assertRegex(result['address'], r'^127\.0\.0\.1:\d+$')
        process = self.bench('--params', D, '--rounds', 5, '--worker-prefix', 'env HOST=%d', '--listen', '[::1]:0',
                             '--keep')
        self.assertRegex(process.out(), r'4 workers in \d process\w* and a server at \[::1\]:\d+')
        kept = re.search(r'are in (\S+)', process.err()).group(1)
        self.assertTrue(os.path.exists(f'{kept}/job.yaml') and os.path.exists(f'{kept}/run/summary.json'))

    def test_for_people(self):
        out = self.bench('--params', '1e5', '--rounds', 10).out()
        for words in ('4 workers in', 'kernels: ', '100000 parameters, phase sign with dither 1',
                      '10 rounds measured after 5', 'ms median', 'ms p99', 'times less than float32 (400 kB)'):
            self.assertIn(words, out)

    def test_rounds_by_time(self):
        result = json.loads(self.bench('--json', '--params', 1e6, '--workers', 1).out())
        self.assertGreaterEqual(result['rounds'], 10)

    def test_advice(self):
        lines = {'bits': D / 8, 'i8': D, 'f32': 4 * D}
        process = self.bench('--advise', '--link', '1mbit', '--workers', 4, '--params', D, '--json', '--gradient', 100)
        advice = json.loads(process.out())
        self.assertEqual((advice['link_bits_per_s'], advice['server_link_bits_per_s']), (1e6, 1e6))
        for wire, size in lines.items():
            exchange = advice['exchange'][wire]
            line = 8e3 * 4 * size / 1e6 * 1538 / 1448  # of four workers, through the server's own link
            self.assertTrue(line < exchange['line_ms'] < 1.1 * line + 25, (wire, line, exchange))
            self.assertGreaterEqual(exchange['ms'], exchange['line_ms'])
        only, = advice['gradients']
        self.assertEqual(only['gradient_ms'], 100)
        self.assertTrue(only['worth_it'])
        self.assertGreater(only['speed_up']['bits'], 2)
        for wire, share in only['share'].items():
            ms = advice['exchange'][wire]['ms']
            self.assertAlmostEqual(share, ms / (100 + ms), 6)

    def test_advice_for_people(self):
        process = self.bench('--advise', '--link', '1tbit', '--server-link', '10gbit', '--params', D, '--workers', 2)
        out = process.out()
        self.assertIn("2 workers, 10000 parameters; links of 1000 Gbit/s, the server's 10 Gbit/s; kernels: ", out)
        self.assertEqual(re.findall(r'^ +([0-9]+) ms ', out, re.M), ['10', '100', '1000'])
        self.assertRegex(out, r' 1000 ms .*not worth it')
        for arguments, words in ((['--advise'], '--link'), (['--link', '1gbit'], '--advise'),
                                 (['--advise', '--link', '1gigabyte'], '1gigabyte'),
                                 (['--advise', '--link', '1gbit', '--workers', 1], 'single worker')):
            with self.subTest(arguments=arguments):
                self.assertIn(words, self.bench(*arguments, code=2).err())

    def test_wrong_arguments(self):
        for arguments, words in ((['--params', '1.5'], 'whole number'), (['--workers', '256'], 'from 1 to 255'),
                                 (['--phase', 'signs'], 'sign'), (['--wire', 'i8'], '--phase sgd'),
                                 (['--workers', 2, '--processes', 3], '2 workers'), (['--rounds', 0], '--rounds'),
                                 (['--warmup', 0], '--rounds'), (['job.yaml'], "'job.yaml'"),
                                 (['--worker-prefix', 'env'], '--listen')):
            with self.subTest(arguments=arguments):
                self.assertIn(words, self.bench(*arguments, code=2).err())

    def test_more_than_memory(self):
        self.assertIn('is free', self.bench('--params', '1e10', code=1).err())

    def test_what_cannot_start(self):
        server = self.bench('--params', D, '--server-prefix', 'false', code=1)
        self.assertIn('the server ended with exit code 1', server.err())
        address = self.bench('--params', D, '--listen', '203.0.113.7:0', code=1)
        self.assertIn('cannot listen on 203.0.113.7', address.err())
        worker = self.bench('--params', D, '--worker-prefix', 'no-such-program %d', '--listen', '[::1]:0', code=1)
        self.assertRegex(worker.err(), r'load process \d \(workers \d to \d\) ended with exit code 127')
        self.assertRegex(worker.err(), r'cannot start no-such-program')

    def test_nothing_goes_on(self):
        stall = self.folder / 'stall.py'
        stall.write_text('import time\ntime.sleep(1000)\n')
        process = self.bench('--params', D, '--worker-prefix', f'python3 {stall}', '--listen', '[::1]:0', '--timeout', 1,
                             code=1)
        self.assertIn('nothing went on for 1 s', process.err())
        self.assertIn('listening on [::1]', process.err(), "the end of the server's log")

    def pids(self, process, what):
        """Of the processes that this one has started and whose command has this word."""
        found = []
        for path in glob.glob('/proc/[0-9]*/stat'):
            try:
                with open(path) as file:
                    parent = int(file.read().rsplit(')', 1)[1].split()[1])
                with open(path.replace('/stat', '/cmdline'), 'rb') as file:
                    line = file.read()
            except OSError:
                continue
            if parent == process.pid and what.encode() in line:
                found.append(int(path.split('/')[2]))
        return found

    def long_one(self):
        process = self.start('bench', SIGNPOST, 'bench', '--params', D, '--rounds', 1000000)
        self.wait_for(lambda: self.pids(process, 'bench-load'), 'load processes')
        self.assertGreaterEqual(len(self.children()), 2)
        return process

    def test_a_child_that_dies(self):
        for what, words in ('bench-load', r'load process \d .* was killed by signal 9'), ('signpostd', 'the server was'):
            with self.subTest(what=what):
                process = self.long_one()
                os.kill(self.pids(process, what)[0], signal.SIGKILL)
                self.wait_for_end(process, 1)
                self.assertRegex(process.err(), words)
                self.assertEqual(self.children(), [])
                self.assertEqual(list(self.tmp.iterdir()), [])

    def test_interrupted(self):
        process = self.long_one()
        process.send(signal.SIGINT)
        self.wait_for_end(process, 1)
        self.assertIn('stopped by signal 2', process.err())
        self.assertEqual(self.children(), [])
        self.assertEqual(list(self.tmp.iterdir()), [])

    def test_killed(self):
        process = self.long_one()
        process.kill()
        deadline = time.monotonic() + seconds(10)
        while self.children() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.children(), [], 'children do not outlive their parent')

    def test_hidden_parts(self):
        for part in 'bench-load', 'bench-spare':
            process = self.start('part', SIGNPOST, part)
            self.wait_for_end(process, 2)
            self.assertIn("a part of 'signpost bench'", process.err())


class TestPace(Case):
    def test_the_line_of_a_run(self):
        run = self.folder / 'run'
        process = self.start('run', SIGNPOST, 'run', DIGITS, '--out', run, '--set', 'model.hidden=[2048, 2048]', '--set',
                             'server.listen=127.0.0.1:0', '--set', 'train.rounds=12')
        self.wait_for_end(process, 0)
        shown = re.findall(r'^signpost: (a round: .*)$', process.err(), re.M)
        logs = [path.read_text() for path in sorted(run.glob('worker-*.log'))]
        lines = [re.findall(r'a round: .*', log) for log in logs]
        self.assertEqual([len(found) for found in lines], [1] * 4, 'each worker says it once')
        pattern = (r'a round: gradient \S+ ms, exchange \S+ ms \(\d+ %\)(; in float32 the exchange would take about \S+ '
                   r'ms \(\d+ %\): compression (pays|is not worth it here))?$')
        for found in lines:
            self.assertRegex(found[0], pattern)
        # All but the one that gave the weights, unless theirs came too quickly to tell.
        self.assertIn(sum('float32' in found[0] for found in lines), (1, 2, 3))
        self.assertEqual(len(shown), 1)
        self.assertIn('float32', shown[0])
        self.assertIn([shown[0]], lines)


if __name__ == '__main__':
    main()
