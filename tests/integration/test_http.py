"""What the server says over HTTP: the page, status, series, history, metrics, healthz; who may read, and where it listens."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import harness

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
LONG = ('train.epochs=10000', 'train.evaluate=1')
HALF = ('optimizer.switch.when=at', 'optimizer.switch.step=100')
UNITS = ('seconds', 'rounds', 'epochs', 'workers', 'parameters', 'bytes', 'ratio', 'examples', 'mean', 'per_round',
         'per_second', 'windows', 'info', 'total')


class Case(harness.Case):
    def url(self, server):
        return self.wait_for_words(server, r'dashboard at http://(\S+)/').group(1)

    def get(self, server, path, method='GET', **headers):
        """(code, headers, text)"""
        connection = http.client.HTTPConnection(self.url(server), timeout=harness.seconds(10))
        with contextlib.closing(connection):
            connection.request(method, path, headers={k.replace('_', '-'): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def ok(self, server, path, kind, **headers):
        code, got, text = self.get(server, path, **headers)
        self.assertEqual(code, 200, text)
        self.assertEqual(got.get_content_type(), kind)
        self.assertEqual(got['Cache-Control'], 'no-store')
        self.assertEqual(got['X-Content-Type-Options'], 'nosniff')
        return text

    def lines(self, server, path):
        return [json.loads(line) for line in self.ok(server, path, 'application/x-ndjson').splitlines()]

    def start_job(self, *sets, workers=2, rounds=150, run='run'):
        server = self.start_server(f'workers={workers}', *LONG, *(sets or HALF), run=run)
        processes = self.start_workers(server, workers)
        self.wait_for_round(server, rounds)
        return server, processes

    def pause(self, server, processes):
        """The job stands still, so that what is read one after the other is of one moment."""
        processes[0].send(signal.SIGSTOP)
        self.wait_for(lambda: server.status()['waits_for'].startswith('the pushes of'), 'the job to stand still')


class Paths(Case):
    def test_each(self):
        server, processes = self.start_job()
        self.pause(server, processes)
        page = self.ok(server, '/', 'text/html')
        self.assertIn('<title>', page)
        self.assertNotRegex(page, r'(src|href)\s*=\s*["\']?(https?:)?//')
        self.assertEqual(self.ok(server, '/healthz', 'text/plain'), 'ok\n')
        status = json.loads(self.ok(server, '/status', 'application/json'))
        asked = server.status()
        self.assertEqual(status.keys(), asked.keys())
        self.assertEqual((status['round'], status['bytes_pushed'], status['switches']),
                         (asked['round'], asked['bytes_pushed'], asked['switches']))
        self.assertEqual(status['http'], f'http://{self.url(server)}/')
        self.check_status(status)
        self.check_series(server, status)
        self.check_history(server)
        self.refused(server)

    def check_status(self, status):
        self.assertEqual((status['phase'], status['switch_round'], status['epochs']), ('sgd', 100, 10000))
        self.assertAlmostEqual(status['epoch'], status['round'] / 45)
        self.assertIsNone(status['vote'])
        self.assertGreater(status['estimates']['stationarity'], 0)
        self.assertEqual((status['switch']['pending'], status['switch']['words']), (False, 'the SGD phase is the last one'))
        self.assertGreater(status['loss'], 0)
        self.assertEqual(status['accuracy_round'] % 45, 0)
        times = status['times']
        self.assertAlmostEqual(times['round_seconds'],
                               times['waiting_seconds'] + times['tally_seconds'] + times['send_seconds'], places=6)
        for slot in status['slots']:
            self.assertEqual(slot['host'], '127.0.0.1')
            self.assertTrue(slot['address'].startswith('127.0.0.1:'))
            self.assertLess(slot['silent_seconds'], 15)
            self.assertGreaterEqual(slot['latency_ms'], 0)
        self.assertEqual(sum(slot['last'] for slot in status['slots']), status['round'])

    def check_series(self, server, status):
        points = self.lines(server, '/series')
        self.assertEqual(points, self.lines(server, '/series?from=0'))
        self.assertEqual(len(points), len(server.ask('series 0')['points']))
        ends = [(p['first'], p['round']) for p in points]
        self.assertEqual(ends[0][0], 1)
        self.assertEqual(ends[-1][1], status['round'])
        self.assertEqual([e[0] for e in ends[1:]], [e[1] + 1 for e in ends[:-1]])
        last = points[-1]
        self.assertEqual(last['bytes_float32'], status['bytes_float32'])
        self.assertTrue(0 < status['bytes_pushed'] - last['bytes_pushed'] < 20000, 'what came since the last COMMIT')
        self.assertEqual([p['phase'] for p in points], ['sign' if p['round'] <= 100 else 'sgd' for p in points])
        self.assertIn('margin', points[0])
        self.assertNotIn('margin', last)
        timed = [p for p in points if 'round_ms' in p]
        self.assertGreater(len(timed), len(points) // 2)
        for p in timed:
            self.assertAlmostEqual(p['round_ms'], p['waiting_ms'] + p['tally_ms'] + p['send_ms'], delta=0.01 * p['round_ms'])
        accuracies = [p['test_accuracy'] for p in points if 'test_accuracy' in p]
        self.assertEqual(len(accuracies), status['round'] // 45)
        self.assertAlmostEqual(accuracies[-1], status['test_accuracy'], places=5)
        self.assertEqual([p['round'] for p in self.lines(server, '/series?from=120')], [r for _, r in ends if r > 120])
        self.assertEqual(self.lines(server, '/series?from=4294967295'), [])

    def check_history(self, server):
        """The file's own lines, all of them or those from a round on."""
        lines = (server.run / 'history.jsonl').read_text().splitlines()
        self.assertEqual(self.ok(server, '/history', 'application/x-ndjson').splitlines(), lines)
        for from_ in 1, 90, 100, 101, 10**12:
            self.assertEqual(self.ok(server, f'/history?from={from_}', 'application/x-ndjson').splitlines(),
                             [line for line in lines if json.loads(line)['round'] >= from_], from_)

    def refused(self, server):
        for path in '/nix', '/status/', '//', '/../status', '/history.jsonl', '/STATUS':
            self.assertEqual(self.get(server, path)[0], 404, path)
        for method in 'POST', 'PUT', 'DELETE', 'OPTIONS':
            code, headers, text = self.get(server, '/status', method)
            self.assertEqual((code, headers['Allow']), (405, 'GET, HEAD'), method)
            self.assertIn('nothing can be changed here', text)
        for from_ in 'x', '-1', '+1', '1x', '', '1.5', '%31%20':
            code, _, text = self.get(server, f'/series?from={from_}')
            self.assertEqual(code, 400, from_)
            self.assertIn('number of a round', text)
        code, headers, text = self.get(server, '/status', 'HEAD')
        self.assertEqual((code, text), (200, ''))
        self.assertGreater(int(headers['Content-Length']), 500)
        # A page of another site that has its name resolve to this machine.
        for host in 'evil.example', 'evil.example:7701', 'localhost.evil.example', '127.0.0.1.evil.example', '':
            code, _, text = self.get(server, '/status', Host=host)
            self.assertEqual(code, 403, host)
            self.assertIn('security.http_token_file', text)
        for host in 'localhost', 'LOCALHOST:7701', '127.0.0.1', '[::1]:1':
            self.assertEqual(self.get(server, '/status', Host=host)[0], 200, host)

    def test_before_anybody_came(self):
        server = self.start_server('workers=2')
        status = json.loads(self.ok(server, '/status', 'application/json'))
        self.assertEqual((status['stage'], status['pace'], status['loss'], status['epoch'], status['switch']['words']),
                         ('new', None, None, None, 'the job has not started'))
        self.assertEqual(self.lines(server, '/series'), [])
        self.assertEqual(self.lines(server, '/history'), [])
        self.assertIn('signpost_live_workers 0\n', self.ok(server, '/metrics', 'text/plain'))

    def test_a_history_of_megabytes(self):
        """Read in pieces while it grows; what comes from a round on begins there at once."""
        server, processes = self.start_job(*HALF, 'train.report=1', 'train.evaluate=0', rounds=4000)
        self.pause(server, processes)
        lines = (server.run / 'history.jsonl').read_text().splitlines()
        self.assertGreater(sum(map(len, lines)), 1000000)
        self.assertEqual(self.ok(server, '/history', 'application/x-ndjson').splitlines(), lines)
        self.assertEqual(self.ok(server, '/history?from=3990', 'application/x-ndjson').splitlines(),
                         [line for line in lines if json.loads(line)['round'] >= 3990])
        points = self.lines(server, '/series')
        self.assertTrue(512 <= len(points) <= 1024, len(points))


class Metrics(Case):
    def test_names_units_and_the_table_in_readme(self):
        server, processes = self.start_job()
        self.pause(server, processes)
        text = self.ok(server, '/metrics', 'text/plain')
        help_ = dict(re.findall(r'^# HELP (\S+) (\S.*)$', text, re.M))
        kinds = dict(re.findall(r'^# TYPE (\S+) (gauge|counter)$', text, re.M))
        samples = re.findall(r'^([a-z0-9_]+)(?:\{[^}]*\})? (\S+)$', text, re.M)
        self.assertEqual(list(help_), list(kinds))
        self.assertEqual({name for name, _ in samples} - help_.keys(), set())
        self.assertEqual(len(samples) + 2 * len(help_), len(text.splitlines()), 'lines that are none of these')
        for name, kind in kinds.items():
            self.assertTrue(name.endswith(UNITS), f'{name} has no unit')
            self.assertEqual(kind == 'counter', name.endswith('_total'), name)
        readme = (harness.ROOT / 'README.md').read_text()
        rows = re.findall(r'^\| `((?:signpost|process)_[a-z0-9_]+)` \| (gauge|counter) \|', readme, re.M)
        self.assertEqual(rows, list(kinds.items()), 'the table of metrics in README.md')
        for _, value in samples:
            float(value)
        self.check_values(text, server.status())

    def check_values(self, text, status):
        def value(of):
            return float(re.search(rf'^{re.escape(of)} (\S+)$', text, re.M).group(1))
        self.assertEqual(value('signpost_rounds_total'), status['round'])
        self.assertEqual(value('signpost_received_bytes_total{kind="push"}'), status['bytes_pushed'])
        self.assertEqual(value('signpost_live_workers'), 2)
        self.assertEqual(value('signpost_switches_total'), 1)
        self.assertAlmostEqual(value('signpost_worker_latency_seconds{slot="1"}'), status['slots'][1]['latency_ms'] / 1e3)
        self.assertIn('signpost_job_info{job="digits",version="', text)
        self.assertIn('signpost_worker_info{slot="0",state="live",host="127.0.0.1"} 1\n', text)
        self.assertTrue(1e6 < value('process_resident_memory_bytes') < 1e9)
        self.assertLess(abs(value('process_start_time_seconds') - time.time()), 300)
        parts = sum(value(f'signpost_round_parts_seconds_total{{part="{p}"}}') for p in ('waiting', 'tally', 'send'))
        self.assertAlmostEqual(parts, status['times']['round_seconds'], delta=1e-3)

    def test_promtool_has_nothing_to_say(self):
        promtool = shutil.which('promtool')
        if promtool is None:
            self.assertNotEqual(os.environ.get('SP_PROMTOOL_REQUIRED'), '1', 'promtool is missing (package prometheus)')
            self.skipTest('promtool (package prometheus) is not installed')
        for sets, rounds in ((), 150), (('optimizer.switch.when=never',), 30), (('server.journal.enabled=false', 'optimizer.mode=sgd'), 1):
            server, _ = self.start_job(*sets, rounds=rounds, run=f'run{rounds}')
            done = subprocess.run([promtool, 'check', 'metrics'], input=self.get(server, '/metrics')[2], text=True,
                                  capture_output=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ''))
            self.kill_all()


class Who(Case):
    def token(self):
        path = self.folder / 'http.token'
        subprocess.run([SIGNPOST, 'token', path], check=True, capture_output=True, timeout=60)
        return path

    def refuse_to_serve(self, *sets, code=2):
        server = self.start_server(*sets, wait=False, run='refused')
        self.wait_for_end(server, code)
        return server.err()

    def test_a_token(self):
        path = self.token()
        secret = path.read_text().strip()
        server = self.start_server('server.http=0.0.0.0:0', f'security.http_token_file={path}')
        port = self.url(server).rpartition(':')[2]
        server.err_path.write_text(server.err().replace('http://0.0.0.0', 'http://127.0.0.1'))
        self.assertEqual(self.ok(server, '/healthz', 'text/plain', Host='any.example'), 'ok\n')
        self.assertNotIn(secret, self.ok(server, '/', 'text/html', Host='any.example'))
        for wrong in ('', secret, f'Basic {secret}', f'Bearer {secret[:-2]}', f'Bearer {secret}00', 'Bearer ' + '0' * 64,
                      'Bearer'):
            for path in '/status', '/metrics', '/series', '/history':
                code, headers, text = self.get(server, path, Authorization=wrong)
                self.assertEqual((code, headers['WWW-Authenticate']), (401, 'Bearer'), wrong)
                self.assertIn('security.http_token_file', text)
        for right in f'Bearer {secret}', f'bearer {secret}', f'Bearer {secret.upper()}':
            status = json.loads(self.ok(server, '/status', 'application/json', Authorization=right, Host='any.example'))
            self.assertEqual(status['http'], f'http://0.0.0.0:{port}/')
        self.assertEqual(self.get(server, f'/status?token={secret}')[0], 401)
        self.assertNotIn(secret, server.err())

    def test_none_off_loopback_without_one(self):
        said = self.refuse_to_serve('server.http=0.0.0.0:0')
        self.assertRegex(said, r'server\.http: 0\.0\.0\.0:0 can be reached from other machines.*signpost token FILE.*'
                               r'security\.http_token_file')
        self.assertIn('security.http_token_file', self.refuse_to_serve('security.http_token_file=/nowhere/t', code=1))

    def test_where(self):
        taken = self.url(self.start_server('server.http=127.0.0.1:0'))
        said = self.refuse_to_serve(f'server.http={taken}', code=1)
        self.assertRegex(said, rf'cannot listen on server\.http {taken}: the port is taken; .*auto')
        self.assertIn('server.http', self.refuse_to_serve('server.http=nonsense'))
        autos = {self.url(self.start_server('server.http=auto', run=f'run{i}')) for i in range(3)}
        self.assertEqual(len(autos), 3)
        for sets in ('server.http=off',), ('server.http=',):
            server = self.start_server(*sets, run=f'off{len(sets[0])}')
            self.assertIsNone(server.status()['http'])
            self.assertNotIn('dashboard at', server.err())


class Time(Case):
    def test_the_curve_outlives_the_server(self):
        server = self.start_server('workers=2', *LONG, *HALF, 'train.report=10', 'server.journal.fsync=always')
        address = server.address()
        self.start_workers(address, 2)
        self.wait_for_round(server, 300)
        server.kill()
        again = self.start_server('workers=2', *LONG, *HALF, 'train.report=10', 'server.journal.fsync=always', listen=address)
        after = int(self.wait_for_words(again, r'going on after round (\d+)').group(1))
        self.wait_for_round(again, after + 100)
        points = self.lines(again, '/series')
        self.assertEqual(points[0]['first'], 1)
        self.assertEqual([p['first'] for p in points[1:]], [p['round'] + 1 for p in points[:-1]])
        self.assertTrue(all(p['train_loss'] is not None for p in points))
        self.assertEqual(self.get(again, '/history?from=1')[2].splitlines()[0],
                         (again.run / 'history.jsonl').read_text().splitlines()[0])

    def test_whoever_looks_sees_the_end(self):
        server = self.start_server('workers=2', 'train.epochs=20')
        seen = []

        def look():
            with contextlib.suppress(OSError, http.client.HTTPException):
                while True:
                    seen.append(json.loads(self.get(server, '/status')[2]))
                    time.sleep(0.3)
        self.url(server)
        thread = threading.Thread(target=look)
        thread.start()
        self.finish(server, self.start_workers(server, 2))
        thread.join()
        self.assertEqual(seen[-1]['stage'], 'over')
        self.assertIn('900 rounds', seen[-1]['outcome'])
        self.assertIsNotNone(seen[-1]['test_accuracy'])

    def test_nobody_looks(self):
        """Then the server ends at once."""
        server = self.start_server('workers=2', 'train.epochs=2')
        workers = self.start_workers(server, 2)
        self.get(server, '/metrics')
        self.finish(server, workers)
        ended = re.search(r'(\d+:\d+\.\d+) info  record  results are in', server.err()).group(1)
        gone = re.search(r'(\d+:\d+\.\d+) info  server  ended', server.err()).group(1)
        took = [60 * float(t.split(':')[0]) + float(t.split(':')[1]) for t in (ended, gone)]
        self.assertLess((took[1] - took[0]) % 3600, harness.seconds(2))


class Switch(Case):
    def test_dry_run_by_the_tool(self):
        server = self.start_server('workers=1', 'optimizer.switch.when=manual', *LONG)
        self.start_workers(server, 1)
        self.wait_for_round(server, 20)

        def tool(*more):
            return subprocess.run([SIGNPOST, 'switch', server.run, *more], capture_output=True, text=True, timeout=60,
                                  check=False)
        for _ in range(2):
            done = tool('--dry-run')
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, r'sign phase, after round \d+ of \d+: would switch at lambda about [\d.e-]+; waits')
        self.assertEqual(server.status()['phase'], 'sign')
        self.assertEqual(tool('--dry-run', '--now').returncode, 2)
        self.assertEqual(tool('--now').returncode, 0)
        self.wait_for(lambda: server.status()['phase'] == 'sgd', 'the switch')
        self.assertIn('the SGD phase is the last one', tool('--dry-run').stdout)


if __name__ == '__main__':
    harness.main()
