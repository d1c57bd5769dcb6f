"""signpost compare: grids and cases of real runs, their tables and plots, and going on after an end before the end."""
import csv
import json
import os
import re
import signal
import statistics
import subprocess
import time
import xml.dom.minidom

import harness

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
SHORT = ('--set', 'train.epochs=2')
LONG = ('--set', 'train.epochs=3000')
METRICS = {
    'test_accuracy_percent': lambda s: 100 * s['test_accuracy'],
    'test_loss': lambda s: s['test_loss'],
    'train_loss': lambda s: s['train_loss'],
    'bytes_pushed': lambda s: s['bytes_pushed'],
    'bytes_updated': lambda s: s['bytes_updated'],
    'bits_up': lambda s: 8 * s['bytes_pushed'] / (s['bytes_float32'] / 4),
    'bits_down': lambda s: 8 * s['bytes_updated'] / (s['bytes_float32'] / 4),
    'train_seconds': lambda s: s['train_seconds'],
    'switch_fraction': lambda s: s['switch_round'] and s['switch_round'] / s['rounds'],
}


class Compare(harness.Case):
    def argv(self, *arguments, config=harness.DIGITS):
        return [SIGNPOST, 'compare', str(config), '--out', 'c', *map(str, arguments)]

    def call(self, *arguments, code=0, config=harness.DIGITS, env=None):
        """Runs to its end. Returns (stdout, stderr)."""
        done = subprocess.run(self.argv(*arguments, config=config), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=harness.seconds(harness.RUN_S), cwd=self.folder, env=env)
        self.assertEqual(done.returncode, code, f'{arguments}: {done.stdout}{done.stderr}')
        self.assertNotRegex(done.stderr, harness.COMPLAINTS)
        return done.stdout, done.stderr

    @property
    def out(self):
        return self.folder / 'c'

    def table(self, name='table.csv'):
        with open(self.out / name, newline='', encoding='utf-8') as file:
            return list(csv.DictReader(file))

    def summary(self, row, seed):
        return json.loads((self.out / 'runs' / row / str(seed) / 'summary.json').read_text())

    def times(self):
        """When each run's result was written: a run that is made again has a later one."""
        return {str(p.relative_to(self.out / 'runs').parent): p.stat().st_mtime_ns
                for p in self.out.glob('runs/*/*/summary.json')}

    def check_row(self, row, folder, seeds):
        """The table's numbers are what the runs' own files say."""
        summaries = [self.summary(folder, seed) for seed in seeds]
        self.assertEqual(int(row['n']), len(seeds))
        for name, metric in METRICS.items():
            values = [v for v in map(metric, summaries) if v is not None]
            mean, sd = row[f'{name}_mean'], row[f'{name}_sd']
            if not values:
                self.assertEqual((mean, sd), ('', ''))
                continue
            self.assertAlmostEqual(float(mean) / (statistics.mean(values) or 1), 1, places=7, msg=name)
            if len(values) < 2:
                self.assertEqual(sd, '')
            else:
                self.assertAlmostEqual(float(sd), statistics.stdev(values), delta=1e-6 * abs(statistics.mean(values)))

    # --- tables and plots ----------------------------------------------------------------------------------------------

    def test_a_grid(self):
        out, err = self.call(*SHORT, '--vary', 'optimizer.switch.when=never,auto', '--vary', 'model.hidden=[16],[16,8]',
                             '--seeds', 2, '--first-seed', 5)
        rows = self.table()
        self.assertEqual([r['row'] for r in rows], ['when=never, hidden=[16]', 'when=never, hidden=[16,8]',
                                                    'when=auto, hidden=[16]', 'when=auto, hidden=[16,8]'])
        self.assertEqual([r['model.hidden'] for r in rows], ['[16]', '[16, 8]'] * 2)
        self.assertEqual([r['optimizer.switch.when'] for r in rows], ['never'] * 2 + ['auto'] * 2)
        for row, folder in zip(rows, ['when=never-hidden=-16', 'when=never-hidden=-16-8', 'when=auto-hidden=-16',
                                      'when=auto-hidden=-16-8']):
            self.check_row(row, folder, (5, 6))
        self.assertRegex(err, r'(?m)^\[8/8\] when=auto, hidden=\[16,8\] seed 6: accuracy \d+\.\d+ %, \d+\.\d+ s$')
        self.assertEqual(len(re.findall(r'(?m)^\[\d/8\] ', err)), 8, 'a line a run where no terminal is')
        best = max(rows, key=lambda r: float(r['test_accuracy_percent_mean']))
        marked = [line for line in out.splitlines() if re.search(r'\d \*', line)]
        self.assertTrue(any(line.startswith(best['row']) for line in marked), out)
        self.assertTrue(all(len(line) <= 120 for line in out.splitlines() if '+-' in line), out)
        self.assertEqual(len(self.table('runs.csv')), 8)

    def test_the_same_as_a_run_by_hand(self):
        self.call(*SHORT, '--seeds', 1, '--first-seed', 3)
        subprocess.run([SIGNPOST, 'run', harness.DIGITS, '--out', 'r', '--set', 'seed=3', '--set', 'server.listen=127.0.0.1:0',
                        *SHORT], cwd=self.folder, check=True, capture_output=True, timeout=harness.seconds(harness.RUN_S))
        by_hand = json.loads((self.folder / 'r/summary.json').read_text())
        self.assertEqual(by_hand['weights_digest'], self.summary('as-it-is', 3)['weights_digest'])
        self.assertEqual(self.table()[0]['test_loss_sd'], '')

    def test_cases_and_the_target(self):
        cases = ('--case', 'as shipped:', '--case', 'signs | "only", ä: optimizer.switch.when=never', '--case',
                 'slow: optimizer.sign.lr=1e-5 optimizer.switch.when=never')
        out, _ = self.call('--set', 'train.epochs=5', *cases, '--target', '0.8', '--seeds', 2)
        rows = self.table()
        self.assertEqual([r['row'] for r in rows], ['as shipped', 'signs | "only", ä', 'slow'])
        for row, folder in zip(rows, ('as-shipped', 'signs-only', 'slow')):
            self.check_row(row, folder, (1, 2))
            reached = []
            for seed in (1, 2):
                lines = (self.out / 'runs' / folder / str(seed) / 'history.jsonl').read_text().splitlines()
                reached += [j['round'] for j in map(json.loads, lines) if j.get('test_accuracy', 0) >= 0.8][:1]
            self.assertEqual(int(row['rounds_to_target_n']), len(reached))
            if reached:
                self.assertAlmostEqual(float(row['rounds_to_target_mean']), statistics.mean(reached))
        self.assertEqual(int(rows[2]['rounds_to_target_n']), 0)
        self.assertRegex(out, r'(?m)^slow .* 0 of 2 ')
        self.assertIn('| signs \\| "only", ä | 2 |', (self.out / 'table.md').read_text())
        self.check_plots(3)

    def check_plots(self, rows):
        for name in ('accuracy', 'loss', 'bits'):
            document = xml.dom.minidom.parse(str(self.out / f'{name}.svg'))
            self.assertEqual(document.documentElement.tagName, 'svg')
            text = ''.join(n.data for t in document.getElementsByTagName('text') for n in self.texts(t))
            self.assertIn('digits: ', text)
            self.assertIn('as shipped', text)
            png = (self.out / f'{name}.png').read_bytes()
            self.assertEqual(png[:8], b'\x89PNG\r\n\x1a\n')
            self.assertEqual(png[12:16], b'IHDR')
            self.assertGreater(int.from_bytes(png[16:20], 'big'), 600)
            self.assertTrue(png.endswith(b'IEND\xaeB`\x82'))
            blocks = (self.out / f'{name}.dat').read_text().split('\n\n\n')
            self.assertEqual(len(blocks), rows)
        last = (self.out / 'accuracy.dat').read_text().split('\n\n\n')[0].splitlines()[-1].split()
        self.assertEqual(float(last[0]), 5)
        self.assertAlmostEqual(float(last[1]), float(self.table()[0]['test_accuracy_percent_mean']), places=5)

    def texts(self, node):
        for child in node.childNodes:
            if child.nodeType == child.TEXT_NODE:
                yield child
            yield from self.texts(child)

    def test_without_gnuplot(self):
        out, err = self.call(*SHORT, '--seeds', 1, env={**os.environ, 'PATH': str(self.folder)})
        self.assertRegex(out, r'(?m)^plots .*gnuplot-nox')
        self.assertFalse((self.out / 'accuracy.png').exists())
        out, err = self.call(*SHORT, '--seeds', 1)
        self.assertIn('all runs (1) are there', err)
        self.assertTrue((self.out / 'accuracy.png').exists())
        out, _ = self.call(*SHORT, '--seeds', 1, '--no-plots')
        self.assertNotIn('plots', out)

    def test_lines_of_another_kind_in_the_history(self):
        self.call(*SHORT, '--seeds', 2, '--target', '0.5', '--no-plots')
        before = self.table()
        for path in self.out.glob('runs/*/*/history.jsonl'):
            path.write_text('{"round":1,"event":"switch","test_accuracy":1}\nnot JSON\n{"round":2}\n' + path.read_text())
        self.call(*SHORT, '--seeds', 2, '--target', '0.5')
        self.assertEqual(self.table(), before)
        self.assertTrue((self.out / 'loss.png').exists())

    def test_a_job_without_test_data(self):
        out, _ = self.call(*SHORT, '--case', 'a: data.test.images= data.test.labels=', '--seeds', 2)
        self.assertEqual(self.table()[0]['test_accuracy_percent_mean'], '')
        self.assertRegex(out, r'plots +c: loss \(')

    # --- going on ------------------------------------------------------------------------------------------------------

    def test_what_is_there_is_not_made_again(self):
        self.call(*SHORT, '--seeds', 2)
        before, table = self.times(), self.table()
        (self.out / 'table.csv').unlink()
        _, err = self.call(*SHORT, '--seeds', 2)
        self.assertIn('all runs (2) are there; only the tables and plots are made anew', err)
        self.assertEqual((self.times(), self.table()), (before, table))
        _, err = self.call(*SHORT, '--seeds', 3)
        self.assertIn('runs: 3; 2 of them are there already', err)
        after = self.times()
        self.assertEqual({k: after[k] for k in before}, before)
        self.assertEqual(self.table()[0]['n'], '3')
        self.call(*SHORT, '--seeds', 1)
        self.assertEqual(self.table()[0]['n'], '1', 'fewer seeds leave the other runs out')

    def test_changed_settings(self):
        self.call(*SHORT, '--case', 'a:', '--case', 'b:', '--seeds', 2)
        before = self.times()
        stale = self.out / 'runs/a/1/stale'
        stale.write_text('of the run before')
        _, err = self.call(*SHORT, '--case', 'a: optimizer.sign.lr=3e-3', '--case', 'b:', '--seeds', 2)
        self.assertIn('runs: 4; 2 of them are there already', err)
        self.assertRegex(err, r'2 are made again; the first: a seed 1: .*other settings: sign\.lr was 0\.002, is 0\.003')
        after = self.times()
        self.assertEqual({k for k in after if after[k] != before[k]}, {'a/1', 'a/2'})
        self.assertFalse(stale.exists(), 'a run begins in a clean folder')

    def test_a_result_that_is_not_whole(self):
        self.call(*SHORT, '--seeds', 4)
        spoiled = ((lambda s: s.update(stopped=True)), (lambda s: s.update(test_partial=True)), (lambda s: s.clear()))
        for seed, spoil in enumerate(spoiled, 1):
            path = self.out / f'runs/as-it-is/{seed}/summary.json'
            summary = json.loads(path.read_text())
            spoil(summary)
            path.write_text(json.dumps(summary))
        (self.out / 'runs/as-it-is/4/summary.json').unlink()
        _, err = self.call(*SHORT, '--seeds', 4)
        self.assertIn('runs: 4; 0 of them are there already', err)
        self.assertIn('4 are made again', err)
        self.assertFalse(self.summary('as-it-is', 1)['stopped'])

    def running(self, *more):
        process = self.start('compare', *self.argv(*LONG, '--seeds', 3, *more))
        lock = self.out / 'runs/as-it-is/1/signpostd.sock'
        self.wait_for(lambda: lock.exists() or not process.alive(), 'the first run')
        self.wait_for(lambda: (self.out / 'runs/as-it-is/1/history.jsonl').stat().st_size > 0, 'a round')
        return process

    def assert_no_server(self):
        """Whatever ends a comparison, its jobs end too."""
        self.wait_for(lambda: not list(self.out.glob('runs/*/*/signpostd.sock')), 'the servers to end')

    def test_stopped_and_taken_up_again(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.running()
            process.send(number)
            self.wait_for_end(process, 1, 20)
            self.assertIn('stopping 1 run in order', process.err())
            self.assertRegex(process.err(), r'stopped with 0 of 3 runs made; the same command goes on from there\n$')
            self.assert_no_server()
            self.assertTrue(self.summary('as-it-is', 1)['stopped'])
            self.assertFalse((self.out / 'table.csv').exists())
        _, err = self.call(*SHORT, '--seeds', 1)
        self.assertIn('1 is made again', err)

    def test_killed_and_taken_up_again(self):
        process = self.running()
        process.kill()
        _, err = self.call(*SHORT, '--seeds', 1)  # while the killed one's server may still be there
        self.assertIn('1 is made again', err)
        self.assert_no_server()

    def test_two_at_once(self):
        process = self.running()
        began = time.monotonic()
        _, err = self.call(*SHORT, code=1)
        self.assertLess(time.monotonic() - began, harness.seconds(5))
        self.assertRegex(err, r'^signpost: another signpost compare works in c now; .*--out')
        self.assertTrue(process.alive())
        process.send(signal.SIGTERM)
        self.wait_for_end(process, 1, 20)

    def test_several_jobs_at_once(self):
        process = self.running('--jobs', 3)
        self.wait_for(lambda: len(list(self.out.glob('runs/*/*/signpostd.sock'))) == 3, 'three servers')
        process.send(signal.SIGINT)
        process.send(signal.SIGTERM)
        self.wait_for_end(process, 1, 20)
        self.assertIn('killing everything', process.err())
        self.call(*SHORT, '--seeds', 5, '--jobs', 3)
        self.assertEqual(self.table()[0]['n'], '5')

    def test_a_folder_that_is_not_ours(self):
        mine = self.out / 'runs/as-it-is/1/precious'
        mine.parent.mkdir(parents=True)
        mine.write_text('mine')
        _, err = self.call(*SHORT, '--seeds', 1, code=1)
        self.assertRegex(err, r'folder c/runs/as-it-is/1 is there already, but no comparison made it; choose another --out')
        self.assertEqual(mine.read_text(), 'mine')

    def test_deep_folders(self):
        """The server's socket has a short path, however long that of the comparison is."""
        out, _ = self.call(*SHORT, '--seeds', 1, '--out', '/'.join([str(self.folder)] + ['d' * 60] * 3), '--case',
                           'a name ' * 30 + ':')
        self.assertIn(' 1 ', out)

    # --- failures ------------------------------------------------------------------------------------------------------

    def test_a_run_that_fails(self):
        arguments = (*SHORT, '--case', 'broken: data.train.images=no-such-file', '--case', 'good:', '--seeds', 2)
        out, err = self.call(*arguments, code=1)
        self.assertEqual([r['n'] for r in self.table()], ['0', '2'])
        self.check_row(self.table()[1], 'good', (1, 2))
        self.assertRegex(err, r'(?m)^\[1/4\] broken seed 1 failed: exit code 1: .*no-such-file.*\(log: c/runs/broken/1/run\.log\)')
        self.assertRegex(out, r'(?m)^broken +0 +- ')
        for text in (out, (self.out / 'table.md').read_text()):
            self.assertRegex(text, r'failed: broken seed 2: .*no-such-file')
        self.assertEqual([r['state'] for r in self.table('runs.csv')], ['failed', 'done'] * 2)
        _, err = self.call(*arguments, code=1)
        self.assertIn('runs: 4; 2 of them are there already', err)

    def test_wrong_keys_and_values(self):
        for arguments, words in (
                (('--case', 'odd one: model.hiden=[3]'), r"'model\.hiden'; did you mean 'model\.hidden'[^$]*that was row 'odd one'"),
                (('--vary', 'workers=1,many'), r"workers: must be [^$]*that was row 'workers=many'"),
                (('--case', 'a: optimizer.switch.when=at'), r"at needs its moment[^$]*that was row 'a'"),
                (('--case', 'a:', '--case', 'a:'), r"two rows are called 'a'"),
                (('--vary', 'seed=1,2'), r'--seeds'), (('--set', 'seed=1'), r'--seeds'),
                (('--seeds', '0'), r"invalid --seeds -- '0'"), (('--jobs', 'x'), r"invalid --jobs -- 'x'"),
                (('--target', '95'), r"invalid --target -- '95'.*0\.95"), (('more',), r"unexpected argument -- 'more'"),
                (('--seeds', '10000', '--vary', 'workers=' + ','.join(map(str, range(1, 12)))), 'more than 100000 runs')):
            _, err = self.call(*arguments, code=2)
            self.assertRegex(err, words)
        self.call(config='missing.yaml', code=2)
        _, err = self.call(config=harness.ROOT / 'worker/examples/quadratic.yaml', code=2)
        self.assertIn('names no data', err)
        self.assertFalse(self.out.exists(), 'nothing is made before all of it is checked')


if __name__ == '__main__':
    harness.main()
