"""Jobs on data of each format: the digits as text train to the same bits as in IDX files, and a small set in the form of
CIFAR-10 trains from several mapped files. What is wrong with data is said before the server is asked."""
import gzip
import json
import os
import random
import re
import struct

import harness

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))


def read_digits(part):
    images = (harness.DATA / f'{part}-images-idx3-ubyte').read_bytes()
    labels = (harness.DATA / f'{part}-labels-idx1-ubyte').read_bytes()[8:]
    count, height, width = struct.unpack('>3I', images[4:16])
    size = height * width
    return [(labels[i], images[16 + i * size:16 + (i + 1) * size]) for i in range(count)]


def cifar_record(random_, label):
    """One whose class is the mean of its three channels, under noise."""
    levels = (40 + 35 * (label % 5), 60 + 120 * (label // 5), 128)
    pixels = bytearray()
    for level in levels:
        pixels += bytes(min(255, max(0, level + random_.randrange(-30, 31))) for _ in range(1024))
    return bytes([label]) + bytes(pixels)


class Data(harness.Case):
    def write_csv(self, name, part, rows=slice(None), opener=open):
        with opener(self.folder / name, 'wt') as file:
            print(','.join([f'p{i}' for i in range(64)] + ['digit']), file=file)
            for label, pixels in read_digits(part)[rows]:
                print(','.join(map(str, (*pixels, label))), file=file)

    def write_job(self, data, model, more=''):
        job = self.folder / 'job.yaml'
        job.write_text(f'job: data\nworkers: 2\n{data}model: {model}\n'
                       f'train: {{batch: 16, epochs: 6}}\noptimizer: {{sign: {{lr: 5.0e-3}}}}\n{more}')
        return job

    def run_job(self, job, *sets, code=0):
        process = self.start('run', SIGNPOST, 'run', job, '--out', self.folder / 'out', '--set',
                             'server.listen=127.0.0.1:0', *(word for item in sets for word in ('--set', item)))
        self.wait_for_end(process, code)
        if code != 0:
            return process.err()
        return json.loads((self.folder / 'out/summary.json').read_text())

    def worker_log(self):
        return (self.folder / 'out/worker-0.log').read_text()

    SCALE = '  scale: {divide: 16, mean: 0.305, std: 0.376}\n'

    def test_digits_as_text(self):
        self.write_csv('1.csv', 'train', slice(0, 700))
        self.write_csv('2.csv.gz', 'train', slice(700, None), gzip.open)
        self.write_csv('test.csv', 'test')
        text = 'data:\n  format: csv\n  train: {files: "[12].csv*"}\n  test: {files: test.csv}\n' \
               '  csv: {label: digit, shape: [8, 8]}\n' + self.SCALE
        idx = f'data:\n  train: {{images: {harness.DATA}/train-images-idx3-ubyte, ' \
              f'labels: {harness.DATA}/train-labels-idx1-ubyte}}\n  test: {{images: {harness.DATA}/' \
              f'test-images-idx3-ubyte, labels: {harness.DATA}/test-labels-idx1-ubyte}}\n' + self.SCALE
        model = '{type: mlp, hidden: [32]}'
        summary = self.run_job(self.write_job(text, model))
        self.assert_done(summary)
        self.assertEqual((summary['examples'], summary['test_examples']), (1437, 360))
        self.assertGreater(summary['test_accuracy'], 0.9)
        self.assertRegex(self.worker_log(), 'data +csv: 1437 examples of 1 x 8 x 8, 10 classes, 0.4 MB in memory; '
                                            '360 to test with')
        again = self.run_job(self.write_job(idx, model))
        self.assertEqual(again['weights_digest'], summary['weights_digest'], 'the same data, the same bits')
        self.assertRegex(self.worker_log(), 'data +idx: 1437 examples of 1 x 8 x 8, 10 classes, 0.1 MB mapped')
        # Shifted digits are other digits; but as long as they are zeroes around, a model learns them.
        shifted = self.run_job(self.write_job(text, model), 'data.augment.crop=1')
        self.assertNotEqual(shifted['weights_digest'], summary['weights_digest'])
        self.assertGreater(shifted['test_accuracy'], 0.8)
        self.assertEqual(self.run_job(self.write_job(idx, model), 'data.augment.crop=1')['weights_digest'],
                         shifted['weights_digest'])

    def write_cifar(self):
        random_ = random.Random(7)
        for name, count in ('data_batch_1.bin', 200), ('data_batch_2.bin', 200), ('test_batch.bin', 100):
            records = b''.join(cifar_record(random_, random_.randrange(10)) for _ in range(count))
            (self.folder / name).write_bytes(records)
        return 'data:\n  format: cifar10\n  train: {files: data_batch_*.bin}\n  test: {files: test_batch.bin}\n'

    def test_cifar(self):
        job = self.write_job(self.write_cifar(), '{type: softmax}')
        computed = ('data.scale.compute=channel', 'data.augment.crop=4', 'data.augment.flip=true')
        summary = self.run_job(job, *computed)
        self.assert_done(summary)
        self.assertEqual((summary['examples'], summary['test_examples'], summary['params']), (400, 100, 30730))
        self.assertGreater(summary['test_accuracy'], 0.6)
        self.assertRegex(self.worker_log(), r'data +cifar10: 400 examples of 3 x 32 x 32, 10 classes, 1\.2 MB mapped; 100')
        mean, std = map(json.loads, self.logged(r'divided by 255: mean (\[.*\]), std (\[.*\])'))
        self.assertAlmostEqual(mean[2], 128 / 255, delta=0.01)
        self.assertAlmostEqual(std[2], (61 ** 2 / 12) ** 0.5 / 255, delta=0.005)
        given = self.run_job(job, f'data.scale.mean={mean}', f'data.scale.std={std}', *computed[1:])
        self.assertAlmostEqual(given['test_accuracy'], summary['test_accuracy'], delta=0.05)
        check = self.start('check', SIGNPOST, 'check', job, '--set', computed[0])
        self.wait_for_end(check)
        self.assertIn('400 training examples of 3072 inputs (3 x 32 x 32), 10 classes\n', check.out())
        self.assertIn(f'of the training data, divided by 255: mean {mean}', check.out())

    def logged(self, words):
        self.assertRegex(self.worker_log(), words)
        return re.search(words, self.worker_log()).groups()

    def test_a_file_that_is_cut_short(self):
        job = self.write_job(self.write_cifar(), '{type: softmax}')
        server = self.start_server('workers=1', 'train.epochs=100000', config=job)
        worker = self.start_worker(server, config=job)
        self.wait_for_round(server, 3)
        path = self.folder / 'data_batch_2.bin'
        os.truncate(path, 100)
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), 'signpost-worker: .*data_batch_2.bin: the file was cut short')

    def test_what_is_wrong_is_said(self):
        self.write_csv('train.csv', 'train', slice(0, 20))
        self.write_csv('test.csv', 'test', slice(0, 20))
        text = 'data:\n  format: csv\n  train: {files: train.csv}\n  test: {files: test.csv}\n'
        for sets, words in (
                ((), r"train\.csv: line 1 \(at byte 0\): no column is named 'label', .*; the names are 'p0', 'p1'"),
                (('data.train.files=none*.csv',), r"no file has the name '.*none\*\.csv', or matches it"),
                (('data.csv.label=digit', 'data.csv.shape=[8, 9]'), 'data.csv.shape is that of 72 inputs'),
                (('data.csv.label=digit', 'data.csv.shape=[8, 8]', 'data.augment.crop=8'),
                 'data.augment.crop: 8 pixels could leave nothing of an image of 8 x 8'),
                (('data.csv.label=digit', 'data.scale.mean=[1, 2]'),
                 r'data.scale.mean has 2 numbers, but .*train\.csv has 1 channel; give one for all')):
            with self.subTest(sets):
                check = self.start('check', SIGNPOST, 'check', self.write_job(text, '{type: softmax}'),
                                   *(word for item in sets for word in ('--set', item)))
                self.wait_for_end(check, 1)
                self.assertRegex(check.err(), words)


if __name__ == '__main__':
    harness.main()
