"""`signpost eval`: a saved model on test data, counted again in plain Python; and the job.yaml that it goes by."""
import json
import math
import os
import pty
import re
import shutil
import struct
import subprocess
from array import array

import harness
import readers

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
IMAGES = harness.DATA / 'test-images-idx3-ubyte'
LABELS = harness.DATA / 'test-labels-idx1-ubyte'
SHORT = ('train.epochs=3', 'train.evaluate=0')


def write_model(path, tensors):
    """A safetensors file: name -> (shape, values)."""
    header, raw = {}, b''
    for name, (shape, values) in tensors.items():
        data = array('f', values).tobytes()
        header[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [len(raw), len(raw) + len(data)]}
        raw += data
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    path.write_bytes(struct.pack('<Q', len(text)) + text + raw)


class Eval(harness.Case):
    def call(self, *arguments, code=0, **how):
        """Returns (stdout, stderr)."""
        how = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'cwd': self.folder, **how}
        try:
            done = subprocess.run([SIGNPOST, *map(str, arguments)], stdin=subprocess.DEVNULL, text=True,
                                  timeout=harness.seconds(30), **how)
        except subprocess.TimeoutExpired:
            self.fail(f'{arguments} did not end')
        self.assertEqual(done.returncode, code, f'{arguments}: {done.stdout}{done.stderr}')
        self.assertNotRegex(done.stderr or '', harness.COMPLAINTS)
        return done.stdout, done.stderr

    def eval(self, *arguments):
        """The result as JSON; nothing else is said."""
        out, err = self.call('eval', *arguments, '--json')
        self.assertEqual(err, '')
        self.assertEqual(out.count('\n'), 1)
        return json.loads(out)

    def refused(self, *arguments, code, words):
        out, err = self.call('eval', *arguments, code=code)
        self.assertEqual(out, '')
        self.assertRegex(err, words)

    def made_run(self, labels, weight, bias, pixels, **more):
        """A run's folder made by hand: a softmax model on images of 1 x 2 pixels, which it takes as they are."""
        n, classes = len(labels), len(bias)
        readers.write_idx(self.folder / 'images', (n, 1, 2), pixels)
        readers.write_idx(self.folder / 'labels', (n,), labels)
        run = self.folder / 'runs/made'
        run.mkdir(parents=True)
        (run / 'job.yaml').write_text('job: made\nmodel: {type: softmax}\ndata:\n  scale: {divide: 1}\n'
                                      '  test: {images: ../../images, labels: ../../labels}\n')
        write_model(run / 'model.safetensors', {'dense1.weight': ([classes, 2], weight), 'dense1.bias': ([classes], bias)})
        return run

    def check_figures(self, result):
        """What follows from the confusion matrix, for data without any NaN."""
        matrix, n = result['confusion'], result['examples']
        self.assertEqual(sum(map(sum, matrix)), n)
        right = [matrix[k][k] for k in range(len(matrix))]
        self.assertAlmostEqual(result['accuracy'], sum(right) / n, delta=1e-9)
        self.assertEqual(len(result['classes']), len(matrix))
        for k, of in enumerate(result['classes']):
            examples, predicted = sum(matrix[k]), sum(row[k] for row in matrix)
            self.assertEqual((of['class'], of['examples'], of['correct']), (k, examples, right[k]))
            for key, whole in (('accuracy', examples), ('precision', predicted)):
                if whole == 0:
                    self.assertIsNone(of[key])
                else:
                    self.assertAlmostEqual(of[key], right[k] / whole, delta=1e-9)

    # --- a run ---------------------------------------------------------------------------------------------------------

    def count_again(self, model):
        """(confusion matrix, mean loss, examples whose two best classes are as good as equal) in double precision."""
        (n, rows, columns), pixels = readers.read_idx(IMAGES)
        _, labels = readers.read_idx(LABELS)
        size = rows * columns
        matrix, loss, doubtful = [[0] * 10 for _ in range(10)], 0.0, 0
        for i in range(n):
            y = readers.logits(model, pixels[i * size:(i + 1) * size], 16, 0.305, 0.376)
            top = sorted(y)
            doubtful += top[-1] - top[-2] < 1e-3
            matrix[labels[i]][y.index(top[-1])] += 1
            loss += math.log(sum(math.exp(v - top[-1]) for v in y)) + top[-1] - y[labels[i]]
        return matrix, loss / n, doubtful

    def test_a_run_and_its_counts(self):
        server, summary = self.whole_job(*SHORT)
        result = self.eval(server.run)
        self.assertEqual(list(result), ['run', 'model', 'params', 'data', 'examples', 'accuracy', 'loss', 'not_a_number',
                                        'classes', 'confusion'])
        self.assertEqual((result['run'], result['model'], result['params'], result['examples'], result['not_a_number']),
                         (str(server.run), 'mlp', summary['params'], 360, 0))
        self.assertEqual(result['data'], [str(IMAGES), str(LABELS)])
        # The accuracy is a count. The server adds the losses of each worker's part, and batches are of other sizes: the
        # last bits of the loss may differ.
        self.assertEqual(result['accuracy'], summary['test_accuracy'])
        self.assertAlmostEqual(result['loss'], summary['test_loss'], delta=1e-6 * summary['test_loss'])
        self.check_figures(result)
        matrix, loss, doubtful = self.count_again(readers.Model(server.run / 'model.safetensors'))
        moved = sum(abs(a - b) for mine, theirs in zip(matrix, result['confusion']) for a, b in zip(mine, theirs))
        self.assertLessEqual(moved, 2 * doubtful)
        self.assertLessEqual(doubtful, 2)
        self.assertAlmostEqual(result['loss'], loss, delta=1e-5 * loss)
        self.check_text(server.run, result)
        for batch in (1, 7, 360, 1000):
            again = self.eval(server.run, '--batch', batch)
            self.assertAlmostEqual(again['loss'], result['loss'], delta=1e-6 * result['loss'])
            if doubtful == 0:
                self.assertEqual(again['confusion'], result['confusion'])

    def check_text(self, run, result):
        out, err = self.call('eval', run)
        self.assertEqual(err, '')
        for line in (run, '  model           mlp, 4810 parameters, 10 classes', f'  file            {run}/model.safetensors',
                     f'  data            {IMAGES}', f'                  {LABELS}', '  examples        360',
                     f'  accuracy        {100 * result["accuracy"]:.2f} %, {round(360 * result["accuracy"])} right',
                     f'  loss            {result["loss"]:.4f}'):
            self.assertRegex(out, rf'(?m)^{re.escape(str(line))}$')
        for of in result['classes']:
            self.assertRegex(out, rf'(?m)^ +{of["class"]} +{of["examples"]} +{of["correct"]} +{100 * of["accuracy"]:.2f} % '
                                  rf'+{100 * of["precision"]:.2f} %$')
        rows = re.findall(r'(?m)^ +\d+((?: +(?:\d+|\.)){10})$', out)
        self.assertEqual([[0 if cell == '.' else int(cell) for cell in row.split()] for row in rows], result['confusion'])

    def test_other_data_and_other_names_of_the_run(self):
        """Half of the test images, none of class 3, by a path relative to the working folder."""
        server, _ = self.whole_job(*SHORT, run='runs/digits')
        (n, rows, columns), pixels = readers.read_idx(IMAGES)
        _, labels = readers.read_idx(LABELS)
        kept = [i for i in range(0, n, 2) if labels[i] != 3]
        (self.folder / 'sub').mkdir()
        readers.write_idx(self.folder / 'sub/i', (len(kept), rows, columns),
                          b''.join(pixels[i * 64:(i + 1) * 64] for i in kept))
        readers.write_idx(self.folder / 'sub/l', (len(kept),), [labels[i] for i in kept])
        result = self.eval('runs/digits', '--data', 'sub/i,sub/l')
        self.assertEqual(result['data'], ['sub/i', 'sub/l'])
        self.assertEqual(result['examples'], len(kept))
        self.assertEqual(result['classes'][3]['examples'], 0)
        self.check_figures(result)
        self.assertRegex(self.call('eval', 'runs/digits', '--data', 'sub/i,sub/l')[0], r'(?m)^ +3 +0 +0 +- ')
        # Class 3 may still be predicted; where it is not, there is no precision either.
        whole = self.eval('runs/digits')
        for name in (harness.DIGITS, server.run / 'job.yaml', 'runs/digits/', server.run):
            self.assertEqual({**self.eval(name), 'run': ''}, {**whole, 'run': ''})
        # Its own job.yaml says what was trained, whatever the job file says by now.
        other = self.folder / 'other.yaml'
        other.write_text('job: digits\nmodel: {type: softmax}\n')
        self.assertEqual(self.eval(other)['confusion'], whole['confusion'])
        # The run is where its job.yaml is, and not where the job's name would have it.
        shutil.copytree(server.run, self.folder / 'moved')
        shutil.rmtree(self.folder / 'runs')
        self.assertEqual(self.eval('moved/job.yaml'), {**whole, 'run': 'moved'})
        # What is scaled otherwise is another input.
        self.assertNotEqual(self.eval('moved', '--set', 'data.scale.divide=255')['accuracy'], whole['accuracy'])

    def test_an_earlier_versions_run(self):
        server, summary = self.whole_job(*SHORT, run='runs/digits')
        (server.run / 'job.yaml').unlink()
        self.refused('runs/digits', code=2, words=r'runs/digits has no job\.yaml, .* give the job file')
        self.assertEqual(self.eval(harness.DIGITS)['accuracy'], summary['test_accuracy'])

    def test_models_with_convolutions(self):
        """And with buffers, by which the model of a run is evaluated."""
        for sets in (('model.type=resnet18', 'model.width=4'), ('model.type=lenet', f'data.train.images={self.larger("train")}',
                                                                f'data.test.images={self.larger("test")}')):
            server = self.start_server('workers=1', 'train.rounds=30', 'train.evaluate=0', *sets, run=sets[0])
            summary = self.finish(server, [self.start_worker(server, *sets)])
            result = self.eval(server.run)
            self.assertEqual((result['model'], result['params']), (sets[0].split('=')[1], summary['params']))
            self.assertAlmostEqual(result['accuracy'], summary['test_accuracy'], delta=1.5 / 360)
            self.assertAlmostEqual(result['loss'], summary['test_loss'], delta=1e-5 * summary['test_loss'])
        # Another size of image makes another model, though its first layer is the same; or none.
        (n, _, _), pixels = readers.read_idx(IMAGES)
        readers.write_idx(self.folder / 'wide', (n, 16, 20), bytes(n * 320))
        self.refused(server.run, '--data', f'wide,{LABELS}', code=1,
                     words=r"tensor 'dense1\.weight' is \[500, 50\], but \[500, 100\] in the model; the job's model \(model\.\*\), "
                           'for images of 1 x 16 x 20, is another than that of the file')
        self.refused(server.run, '--data', f'{IMAGES},{LABELS}', code=1,
                     words=rf"{IMAGES} and the job's model \(model\.\*\): images of 1 x 8 x 8: layer conv2: ")

    def larger(self, part):
        """The images of digits with each pixel four times: 16 x 16."""
        path = self.folder / f'{part}-16'
        (n, _, _), pixels = readers.read_idx(harness.DATA / f'{part}-images-idx3-ubyte')
        rows = [bytes(v for v in pixels[at:at + 8] for _ in range(2)) * 2 for at in range(0, n * 64, 8)]
        readers.write_idx(path, (n, 16, 16), b''.join(rows))
        return path

    def test_rows_of_numbers_and_computed_scales(self):
        """A job on CSV whose mean and std come from the training data, which eval then needs as well."""
        for name in ('train', 'test'):
            (n, _, _), pixels = readers.read_idx(harness.DATA / f'{name}-images-idx3-ubyte')
            _, labels = readers.read_idx(harness.DATA / f'{name}-labels-idx1-ubyte')
            for part in range(2):
                rows = [','.join(map(str, [labels[i], *pixels[i * 64:(i + 1) * 64]])) for i in range(part, n, 2)]
                (self.folder / f'{name}{part}.csv').write_text('\n'.join([','.join(['label', *map(str, range(64))]), *rows]))
        config = self.folder / 'rows.yaml'
        config.write_text('job: rows\ntrain: {epochs: 2, evaluate: 0}\n'
                          'data: {format: csv, train: {files: "train*.csv"}, test: {files: "test?.csv"}, '
                          'scale: {compute: input}}\n')
        server, summary = self.whole_job(workers=1, config=config)
        result = self.eval(server.run)
        self.assertEqual(result['data'], [f'{self.folder}/test?.csv'])
        self.assertEqual((result['accuracy'], result['examples']), (summary['test_accuracy'], 360))
        self.assertAlmostEqual(result['loss'], summary['test_loss'], delta=1e-6 * summary['test_loss'])
        halves = [self.eval(server.run, '--data', f'test{part}.csv') for part in range(2)]
        self.assertEqual([half['examples'] for half in halves], [180, 180])
        self.assertEqual([[a + b for a, b in zip(*rows)] for rows in zip(*(half['confusion'] for half in halves))],
                         result['confusion'])
        for path in self.folder.glob('train*.csv'):
            path.unlink()
        self.refused(server.run, code=1, words=r"data\.scale\.compute takes mean and std from the training data: .*train\*\.csv")
        self.refused(server.run, '--set', 'data.train.files=', code=1,
                     words="data.scale.compute takes mean and std from the training data, but job 'rows' names none")
        self.eval(server.run, '--set', 'data.scale.compute=none')

    # --- models made by hand -------------------------------------------------------------------------------------------

    def test_ties_and_what_is_not_a_number(self):
        # Two hidden units, 3e38 a and 3e38 b, of which the first logit is the difference; the others are 0 and 0. For
        # a = b = 2 that is infinity less infinity.
        run = self.made_run([0, 1, 2, 0], [0] * 6, [0] * 3, [2, 2, 0, 0, 0, 0, 1, 0])
        write_model(run / 'model.safetensors', {'dense1.weight': ([2, 2], [3e38, 0, 0, 3e38]), 'dense1.bias': ([2], [0, 0]),
                                                'dense2.weight': ([3, 2], [1, -1, 0, 0, 0, 0]),
                                                'dense2.bias': ([3], [-1, 0, 0])})
        arguments = (run, '--set', 'model.type=mlp', '--set', 'model.hidden=[2]')
        result = self.eval(*arguments)
        self.assertEqual(result['not_a_number'], 1)
        self.assertEqual(result['confusion'], [[1, 0, 0], [0, 1, 0], [0, 1, 0]], 'of equal logits the lowest class')
        self.assertEqual(result['accuracy'], 0.5)
        self.assertIsNone(result['loss'])
        self.assertEqual([of['examples'] for of in result['classes']], [2, 1, 1])
        out, _ = self.call('eval', *arguments)
        self.assertRegex(out, r'(?m)^  not a number    1 example')
        self.assertRegex(out, r'(?m)^  loss            not finite$')

    def test_many_classes(self):
        """Class k is taken for k, but for every third, which is taken for the next; class 39 has no example."""
        taken = [k + (k % 3 == 0) for k in range(40)]
        labels = [k for k in range(39) for _ in range(k + 1)]
        # Logit c of pixel p: 2cp - c^2 = p^2 - (c - p)^2.
        run = self.made_run(labels, [v for c in range(40) for v in (2 * c, 0)], [-c * c for c in range(40)],
                            [v for k in labels for v in (taken[k], 0)])
        result = self.eval(run)
        self.check_figures(result)
        self.assertEqual([row.index(max(row)) for row in result['confusion'][:39]], taken[:39])
        out, _ = self.call('eval', run)
        self.assertIn('The 15 of 40 classes with the lowest accuracy', out)
        self.assertEqual(re.findall(r'(?m)^ +(\d+) +(\d+) +(\d+) +\S+ % ', out)[:13],
                         [(str(k), str(k + 1), '0') for k in range(36, -1, -3)])
        self.assertEqual(len(re.findall(r'(?m)^ +(\d+) +(\d+) +(\d+) +\S+ % ', out)), 15)
        self.assertEqual(re.findall(r'(?m)^ +(\d+) +(\d+) +(\d+) +100\.00 %$', out.split('confusions')[1]),
                         [(str(k), str(k + 1), str(k + 1)) for k in range(36, -1, -3)])
        self.assertNotIn('a row is a true class', out)

    def test_no_confusions_at_all(self):
        run = self.made_run([21, 21], [0] * 44, list(range(22)), [0, 0, 0, 0])
        out, _ = self.call('eval', run)
        self.assertNotIn('onfusion', out)
        self.assertIn('100.00 %, 2 right', out)

    # --- what is refused -----------------------------------------------------------------------------------------------

    def test_usage(self):
        self.refused(code=2, words='name the run')
        self.refused('a', 'b', code=2, words="unexpected argument -- 'b'")
        self.refused('nowhere', code=2, words=r"nowhere: No such file or directory; name a run's folder or a job file")
        self.refused(self.folder, code=2, words=rf"{self.folder} is not a run's folder: it has neither job\.yaml nor")
        self.refused(harness.DIGITS, code=2, words=r'no run of .*digits\.yaml here: no folder runs/digits')
        for batch in ('0', '-1', 'x', '', '1.5', '1000001', '99999999999999999999'):
            self.refused('a', '--batch', batch, code=2, words=f"invalid --batch -- '{re.escape(batch)}'")
        run = self.made_run([0], [0] * 4, [0, 1], [0, 0])
        for data in ('images', 'images,labels,more', ',labels', 'images,', ''):
            self.refused(run, '--data', data, code=2, words='--data: ')
        self.refused(run, '--data', f'{"x" * 3000},y', code=2, words='--data: a path has 3000 bytes; at most')
        self.refused(run, '--set', 'model.typee=mlp', code=2, words=r"unknown key 'model\.typee'; did you mean")
        (run / 'job.yaml').write_text('job: made\n')
        self.refused(run, code=2, words=r"job 'made' names no test data \(data\.test\.images and data\.test\.labels\); say by --data")
        self.call('eval', run, '--data', 'images,labels', '--set', 'model.type=softmax')

    def test_data_that_do_not_fit(self):
        run = self.made_run([0, 1], [0] * 4, [0, 1], [0, 0, 1, 1])
        self.refused(run, '--data', 'missing,labels', code=1, words=r'missing.*No such file')
        self.refused(run, '--data', f'{IMAGES},{LABELS}', code=1,
                     words=rf'{IMAGES}: an image has 1 x 8 x 8 values .* dense1\.weight of {run}/model\.safetensors has 2 '
                           r'inputs, with these data 64')
        readers.write_idx(self.folder / 'labels', (2,), [1, 2])
        self.refused(run, code=1, words=rf'{self.folder}/runs/made/\.\./\.\./labels: label 1 \(counted from 0\) is 2, but the '
                                        r'model knows only the 2 classes from 0 to 1')
        readers.write_idx(self.folder / 'labels', (3,), [1, 1, 1])
        self.refused(run, code=1, words='labels')

    def test_a_model_that_does_not_fit(self):
        run = self.made_run([0, 1], [0] * 4, [0, 1], [0, 0, 1, 1])
        self.refused(run, '--set', 'model.type=mlp', code=1,
                     words=rf"{run}/model\.safetensors: .*; the job's model \(model\.\*\), for images of 1 x 1 x 2, is another than")
        # A softmax model of 2 classes is the first layer of an mlp with 2 hidden units.
        write_model(run / 'model.safetensors', {'dense1.weight': ([2, 2], [0] * 4), 'dense1.bias': ([2], [0, 0]),
                                                'dense2.weight': ([2, 2], [0] * 4), 'dense2.bias': ([2], [0, 0])})
        self.eval(run, '--set', 'model.type=mlp', '--set', 'model.hidden=[2]')
        self.refused(run, code=1, words=r"2 of its tensors are not in the job's model, such as dense2\..*; the job's model")
        write_model(run / 'model.safetensors', {'dense1.weight': ([300, 2], [0] * 600), 'dense1.bias': ([300], [0] * 300)})
        self.refused(run, code=1, words='classes; 1 to 256 are allowed')
        write_model(run / 'model.safetensors', {'dense1.weight': ([2, 2], [0] * 4), 'dense1.bias': ([2], [0, math.nan])})
        self.refused(run, code=1, words=rf'{run}/model\.safetensors: .*dense1\.bias')
        (run / 'model.safetensors').write_bytes(b'nonsense' * 9)
        self.refused(run, code=1, words=rf'{run}/model\.safetensors: ')

    def test_a_run_that_is_not_finished(self):
        server = self.start_server()
        self.refused(server.run, code=1, words=r'run has no model\.safetensors yet: the run is at round 0 of .*signpost stop')
        self.call('stop', server.run)
        self.wait_for_end(server)
        self.refused(server.run, code=1, words=r'run has no model\.safetensors: no server runs there, .*signpost run .*job\.yaml')

    def test_output_that_nobody_takes(self):
        run = self.made_run([0, 1], [0] * 4, [0, 1], [0, 0, 1, 1])
        for more in ([], ['--json']):
            with open('/dev/full', 'w', encoding='ascii') as full:
                _, err = self.call('eval', run, *more, code=1, stdout=full)
            self.assertIn('cannot print the result', err)

    def test_progress_is_for_terminals(self):
        run = self.made_run([0, 1], [0] * 4, [0, 1], [0, 0, 1, 1])
        ours, theirs = pty.openpty()
        try:
            out, _ = self.call('eval', run, '--json', stderr=theirs)
            self.assertEqual(json.loads(out), self.eval(run))
            self.assertTrue(os.read(ours, 1000).endswith(b'\r\x1b[K'), 'the line is gone at the end')
        finally:
            os.close(ours)
            os.close(theirs)

    # --- job.yaml ------------------------------------------------------------------------------------------------------

    def test_job_yaml_repeats_the_run(self):
        """From another folder, with a copy that lies elsewhere."""
        sets = ('train.epochs=4', 'seed=11', 'optimizer.switch.when=at', 'optimizer.switch.fraction=0.5', 'workers=2',
                'tensors=[{match: "*.bias", update: full}]', 'optimizer.sign.lr=0.00123456789', 'server.close.quorum=2',
                'server.listen=127.0.0.1:0')
        options = [word for item in sets for word in ('--set', item)]
        shutil.copytree(harness.DATA, self.folder / 'my digits')
        config = self.folder / 'job.yaml'
        config.write_text(harness.DIGITS.read_text().replace('digits/', './my digits/'))
        self.call('run', 'job.yaml', '--out', 'first', *options)
        first = self.folder / 'first'
        text = (first / 'job.yaml').read_text()
        self.assertRegex(text, r'^# The job of this run, as signpostd \d+\.\d+\.\d+ took it')
        self.assertIn(f'images: "{self.folder}/./my digits/train-images-idx3-ubyte"\n', text)
        self.assertIn('\n  close:\n    quorum: 2\n', text)
        (self.folder / 'a/b').mkdir(parents=True)
        config.rename(self.folder / 'gone.yaml')
        shutil.copy(first / 'job.yaml', self.folder / 'a/again.yaml')
        self.call('run', '../again.yaml', '--out', 'second', cwd=self.folder / 'a/b')
        second = self.folder / 'a/b/second'
        summaries = [json.loads((run / 'summary.json').read_text()) for run in (first, second)]
        self.assertEqual(summaries[0]['weights_digest'], summaries[1]['weights_digest'])
        self.assertEqual(summaries[0]['seed'], 11)
        self.assertEqual((second / 'job.yaml').read_text(), text)
        # The run's own file, which the run then writes anew.
        self.call('run', 'first/job.yaml', '--out', 'first')
        self.assertEqual(json.loads((first / 'summary.json').read_text())['weights_digest'], summaries[0]['weights_digest'])
        self.assertEqual((first / 'job.yaml').read_text(), text)
        self.assertEqual(self.eval('first')['accuracy'], summaries[0]['test_accuracy'])

    def test_a_job_yaml_that_cannot_be_written(self):
        (self.folder / 'run/job.yaml/x').mkdir(parents=True)
        server = self.start_server(wait=False)
        self.wait_for_end(server, 1)
        self.assertRegex(server.err(), r'cannot rename .*run/job\.yaml\.new')
        self.assertFalse((server.run / 'address').exists())
        server = self.start_server('security.operator_token_file=' + 'x' * 1010, run='other', wait=False)
        self.wait_for_end(server, 1)
        self.assertRegex(server.err(), r'security\.operator_token_file|x{30}')


if __name__ == '__main__':
    harness.main()
