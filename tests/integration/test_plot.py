"""`signpost plot`: pictures of real runs, with the numbers of their histories, whatever the runs are called; and what is refused.

What gnuplot is given is looked at through a program of that name, which keeps the script and goes on with the real one."""
import json
import os
import re
import shutil
import subprocess
import xml.dom.minidom

import harness

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
ODD = 'odd, $1 `touch x` "q" it\'s {b}_^&<%s>\\n @~ä'


class Plot(harness.Case):
    def setUp(self):
        wrapper = self.folder / 'bin/gnuplot'
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\ncp plot.gp {self.folder}/script\nexec {shutil.which("gnuplot")} "$@"\n')
        wrapper.chmod(0o755)

    def call(self, *arguments, code=0, path=None):
        env = {**os.environ, 'PATH': path or f'{self.folder}/bin:{os.environ["PATH"]}'}
        done = subprocess.run([SIGNPOST, 'plot', *map(str, arguments)], cwd=self.folder, capture_output=True, env=env,
                              timeout=harness.seconds(60), errors='replace')
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(sorted(p.name for p in self.folder.glob('*.*.??????')), [], 'a working folder is left')
        return done.stdout if code == 0 else done.stderr

    def make(self, folder, *sets):
        folder = self.folder / folder
        argv = [SIGNPOST, 'run', harness.DIGITS, '--out', folder, '--set', 'server.listen=127.0.0.1:0']
        for item in sets:
            argv += ['--set', item]
        subprocess.run(argv, cwd=self.folder, check=True, capture_output=True, timeout=harness.seconds(harness.RUN_S))
        return folder

    def history(self, folder, *lines):
        folder = self.folder / folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'history.jsonl').write_text(''.join(line if isinstance(line, str) else json.dumps(line) + '\n' for line in lines))
        return folder

    def report(self, round_, **fields):
        return {'round': round_, 'epoch': round_ / 10, 'phase': 'sign', 'gamma': 0.001, 'train_loss': 1 / round_, 'live': 1, 'voters': 1,
                'bytes_pushed': 100 * round_, 'bytes_updated': 50 * round_, 'seconds': round_ / 4, **fields}

    def texts(self, path):
        document = xml.dom.minidom.parse(str(self.folder / path))
        self.assertEqual(document.documentElement.tagName, 'svg')
        return [''.join(self.words(text)) for text in document.getElementsByTagName('text')]

    def words(self, node):
        for child in node.childNodes:
            if child.nodeType == child.TEXT_NODE:
                yield child.data
            yield from self.words(child)

    def data(self, run):
        """What gnuplot was given of a run: columns x, loss, accuracy, gamma, lambda, sent."""
        script = (self.folder / 'script').read_text()
        block = re.search(rf'(?ms)^\$run{run} << END\n(.*?)^END$', script).group(1)
        return [[None if word == '?' else float(word) for word in line.split()] for line in block.splitlines()]

    def arrows(self):
        """The switches: x, colour."""
        script = (self.folder / 'script').read_text()
        return [(float(x), colour) for x, colour in re.findall(r"(?m)^set arrow from (\S+), graph 0 .* rgb '(#\w+)'", script)]

    def check_png(self, path):
        png = (self.folder / path).read_bytes()
        self.assertEqual(png[:8], b'\x89PNG\r\n\x1a\n')
        self.assertTrue(png.endswith(b'IEND\xaeB`\x82'))
        return int.from_bytes(png[16:20], 'big'), int.from_bytes(png[20:24], 'big')

    def test_real_runs(self):
        first, second = self.make('runs/digits'), self.make('other/digits', 'optimizer.switch.when=never', 'seed=2')
        lines = [json.loads(line) for line in (first / 'history.jsonl').read_text().splitlines()]
        reports = [line for line in lines if 'event' not in line]
        switch = [line['round'] for line in lines if line.get('event') == 'switch']
        self.assertEqual(len(switch), 1)
        for axis, value in (('round', lambda r: r['round']), ('epoch', lambda r: r['epoch']), ('seconds', lambda r: r['seconds']),
                            ('bytes', lambda r: (r['bytes_pushed'] + r['bytes_updated']) / 1e6)):
            self.assertEqual(self.call('runs/digits', second, '-o', f'{axis}.svg', '--x', axis), f'{axis}.svg: 2 runs\n')
            texts = self.texts(f'{axis}.svg')
            for words in ('runs/digits', 'other/digits', 'switch to the next phase', 'training loss', 'test accuracy, %'):
                self.assertEqual(texts.count(words), 1, words)
            data = self.data(0)
            self.assertEqual(len(data), len(reports))
            for row, report in zip(data, reports):
                self.assertAlmostEqual(row[0], value(report), places=5)
                accuracy = report.get('test_accuracy')
                self.assertEqual(row[2], None if accuracy is None else round(100 * accuracy, 7))
                self.assertEqual((row[3] is None, row[4] is None), (report['phase'] == 'sgd', report['phase'] == 'sign'))
                sent = report['seconds'] if axis == 'bytes' else (report['bytes_pushed'] + report['bytes_updated']) / 1e6
                self.assertAlmostEqual(row[5], sent, places=5)
            (x, colour), = self.arrows()
            before = max(value(r) for r in reports if r['round'] <= switch[0])
            after = min(value(r) for r in reports if r['round'] >= switch[0])
            self.assertTrue(before <= x <= after, (axis, before, x, after))
            self.assertEqual(colour, '#1f77b4')
        self.call('runs/digits/job.yaml', harness.DIGITS, '-o', 'a.png', code=2)  # both are runs/digits
        self.call(harness.DIGITS, '-o', 'a.png')
        width, height = self.check_png('a.png')
        self.assertGreater(width, 1000)
        self.assertGreater(height, 800)

    def test_odd_names(self):
        """Nothing in a name is a command, a mark-up or the end of a quote; the same names get more of their paths."""
        for folder in (ODD, f'x/{ODD}', 'two\nlines', 'x/b', 'y/b', 'x/c/b', '-o', b'caf\xe9'.decode('utf-8', 'surrogateescape')):
            self.history(folder, self.report(10), self.report(20))
        argv = ['-o', 'a.svg', '--', ODD, f'./x//{ODD}//', 'two\nlines', 'x/b', 'y/b/', 'x/c/b', './-o',
                b'caf\xe9'.decode('utf-8', 'surrogateescape')]
        self.call(*argv)
        texts = self.texts('a.svg')
        for name in (ODD, f'x/{ODD}', 'two lines', 'x/b', 'y/b', 'c/b', '-o', 'caf?'):
            self.assertIn(name, texts)
        self.assertFalse((self.folder / 'x/x').exists() or (self.folder / 'touch').exists())
        self.call('-o', 'a.png', *argv[2:])
        self.check_png('a.png')
        self.call('x/b', '-o', f'{ODD}.png')
        self.check_png(f'{ODD}.png')
        self.history('n' * 200, self.report(10))
        self.call('n' * 200, '-o', 'a.svg')
        self.assertIn('...' + 'n' * 120, self.texts('a.svg'))

    def test_many_and_long_runs(self):
        runs = [self.history(f'runs/run-{i}', *(self.report(n) for n in range(1, 9 + i))) for i in range(25)]
        self.call(*runs[:24], '-o', 'a.svg')
        self.assertTrue({run.name for run in runs[:24]} <= set(self.texts('a.svg')))
        self.assertIn('more than 24 runs', self.call(*runs, '-o', 'a.svg', code=2))
        self.history('long', *(self.report(n, **({'test_accuracy': 0.5} if n == 77777 else {})) for n in range(1, 100001)))
        self.call('long', '-o', 'a.svg')
        self.assertLess(len(self.data(0)), 3010)
        self.assertIn(50.0, [row[2] for row in self.data(0)], 'every evaluation is shown')

    def test_little_data(self):
        """A history without evaluations, without losses, of one report, of zeros."""
        null = self.report(10, train_loss=None, gamma=None)
        for line, words in ((self.report(10), 'nothing was evaluated'), (null, 'no report has a loss'), (null, 'no report has a rate'),
                            (self.report(10, gamma=0, train_loss=0, seconds=0, bytes_pushed=0, bytes_updated=0), 'no report has a rate')):
            self.history('r', line)
            for axis in ('round', 'epoch', 'seconds', 'bytes'):
                self.call('r', '-o', 'a.svg', '--x', axis)
                self.assertIn(words, self.texts('a.svg'))

    def test_loss_of_a_few_rounds(self):
        """The mean of one round, before an evaluation, is no spike: it counts in the next one."""
        lines = [self.report(n, train_loss=1.0) for n in (50, 100, 150)] + [self.report(151, train_loss=9.0), self.report(200, train_loss=1.0)]
        self.history('r', *lines)
        self.call('r', '-o', 'a.svg')
        self.assertEqual([row[1] for row in self.data(0)][:4], [1, 1, 1, None])
        self.assertAlmostEqual(self.data(0)[4][1], (9 + 49) / 50)

    def test_a_run_that_goes_on(self):
        """Its last line may not be whole yet."""
        self.history('r', self.report(10), {'round': 15, 'event': 'switch'}, self.report(20), '{"round":30,"epo')
        self.call('r', '-o', 'a.svg', '--x', 'round')
        self.assertEqual([row[0] for row in self.data(0)], [10, 20])
        self.assertEqual([x for x, _ in self.arrows()], [15])

    def test_what_is_wrong_with_a_history(self):
        (self.folder / 'a.svg').write_text('the picture before')
        (self.folder / 'none').mkdir()
        self.assertRegex(self.call('none', '-o', 'a.svg', code=1), r'there is no none/history\.jsonl: no run was made there')
        self.assertRegex(self.call('nowhere', '-o', 'a.svg', code=2), r'nowhere: No such file')
        for lines, words in (
                ((), r'r/history\.jsonl has no report yet'),
                (({'round': 1, 'event': 'switch'},), r'r/history\.jsonl has no report yet'),
                ((self.report(1), 'not JSON\n', self.report(2)), r'r/history\.jsonl:2: this is no JSON: '),
                ((self.report(1), self.report(2), '[1]\n'), r'r/history\.jsonl:3: this is no line of a history: it has no round'),
                ((self.report(1), '\n'), r'r/history\.jsonl:2: this is no JSON'),
                (({'epoch': 1},), r'r/history\.jsonl:1: this is no line of a history')):
            self.history('r', *lines)
            self.history('good', self.report(1))
            self.assertRegex(self.call('good', 'r', '-o', 'a.svg', code=1), words)
        self.assertEqual((self.folder / 'a.svg').read_text(), 'the picture before')

    def test_wrong_arguments(self):
        self.history('r', self.report(1))
        for arguments, words in ((('r',), '-o FILE is required'), (('-o', 'a.svg'), 'name the runs'),
                                 (('r', '-o', 'a.pdf'), r"invalid -o -- 'a\.pdf': the file's name must end with \.svg or \.png"),
                                 (('r', '-o', 'svg'), 'must end with'), (('r', '-o', 'a.svg', '--x', 'time'), "invalid --x -- 'time'"),
                                 (('r', './/./r/.', '-o', 'a.svg'), r'r and \.//\./r/\. are the same run'), (('r', 'r', '-o', 'a.svg'), 'r and r are the same run')):
            self.assertRegex(self.call(*arguments, code=2), words)
        self.assertRegex(self.call('r', '-o', 'no/folder/a.svg', code=1), r'cannot write no/folder/a\.svg: No such file')
        (self.folder / 'd.svg').mkdir()
        self.assertRegex(self.call('r', '-o', 'd.svg', code=1), r'cannot write d\.svg: ')

    def test_gnuplot(self):
        """Without it its package is named; when it fails its words are there, and nothing is left."""
        self.history('r', self.report(1))
        self.assertRegex(self.call('r', '-o', 'a.svg', code=1, path=str(self.folder)), 'no gnuplot, .* install the package gnuplot-nox')
        (self.folder / 'bin/gnuplot').write_text('#!/bin/sh\necho "a strange fault" >&2\nexit 3\n')
        self.assertRegex(self.call('r', '-o', 'a.svg', code=1), 'gnuplot failed: a strange fault')
        (self.folder / 'bin/gnuplot').write_text('#!/bin/sh\nexit 0\n')
        self.assertRegex(self.call('r', '-o', 'a.svg', code=1), 'gnuplot drew nothing')
        self.assertFalse((self.folder / 'a.svg').exists())


if __name__ == '__main__':
    harness.main()
