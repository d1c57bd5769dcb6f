"""The lines of Python that README.md shows for reading a run's model in PyTorch, and for writing one to start from, are run
as they stand there."""
import os
import re
import sys
import unittest
from pathlib import Path

import need_torch  # noqa: F401
import torch

import models

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402
import readers  # noqa: E402
import test_resnet  # noqa: E402

BLOCKS = re.findall(r'```python\n(.*?)```', (harness.ROOT / 'README.md').read_text(encoding='utf-8'), re.DOTALL)


def block(words):
    """The one block that has these words."""
    found = [text for text in BLOCKS if words in text]
    if len(found) != 1:
        raise AssertionError(f'{len(found)} blocks of Python in README.md have {words!r}')
    return found[0]


DEFINE, READ, WRITE = block('OrderedDict(dense1'), block('load_state_dict(state)'), block('start.safetensors')


def digits_accuracy(model):
    (count, *_), images = readers.read_idx(harness.DATA / 'test-images-idx3-ubyte')
    _, labels = readers.read_idx(harness.DATA / 'test-labels-idx1-ubyte')
    x = (torch.tensor(list(images), dtype=torch.float64).reshape(count, -1) / 16 - 0.305) / 0.376
    with torch.no_grad():
        right = model(x.float()).argmax(1) == torch.tensor(list(labels))
    return int(right.sum()) / count


class Readme(harness.Case):
    def run_lines(self, text, **names):
        """In the test's own folder, where README's paths then lead. Returns the names that the lines leave."""
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            exec(compile(text, 'README.md', 'exec'), names)  # pylint: disable=exec-used
        finally:
            os.chdir(before)
        return names

    def test_three_lines(self):
        self.assertEqual(len(READ.strip().splitlines()), 3)

    def test_reads_a_run(self):
        _, summary = self.whole_job('train.epochs=4', run='runs/digits')
        names = self.run_lines(DEFINE + READ)
        self.assertAlmostEqual(digits_accuracy(names['model']), summary['test_accuracy'], places=8)

    def test_starts_from_torch(self):
        """With next to no rate the first evaluation is that of the model in torch."""
        _, _ = self.whole_job('train.epochs=4', run='runs/digits')
        names = self.run_lines(DEFINE + READ)
        with torch.no_grad():
            names['model'].dense2.bias[3] += 0.4  # not what any job ends with
        self.run_lines(WRITE, **names)
        _, summary = self.whole_job('train.rounds=1', 'optimizer.sign.lr=1e-9', 'optimizer.switch.when=never',
                                    f'model.init={self.folder}/start.safetensors', run='second')
        self.assertAlmostEqual(summary['test_accuracy'], digits_accuracy(names['model']), places=8)

    def test_resnet18_there_and_back(self):
        for name in ('train_1.bin', 'test.bin'):
            test_resnet.write_records(self.folder / name, 64, 1)
        config = self.folder / 'job.yaml'
        config.write_text(test_resnet.JOB)
        torch.manual_seed(1)
        model = models.Resnet18(3, 16, 10)
        self.run_lines('import json\n' + WRITE, model=model)
        server, _ = self.whole_job('train.rounds=2', 'optimizer.sign.lr=1e-9', f'model.init={self.folder}/start.safetensors', workers=1,
                                   config=config, run='runs/digits')
        self.assertIn("the file has 20 tensors more than the model, not used here ('bn1.num_batches_tracked' first)", server.err())
        back = models.Resnet18(3, 16, 10)
        self.run_lines('import json, torch\n' + READ, model=back)
        for (name, before), after in zip(model.state_dict().items(), back.state_dict().values()):
            if 'running' in name:
                self.assertFalse(torch.equal(before, after), f'{name} went on by two batches')
            elif 'num_batches' not in name:
                self.assertTrue(torch.allclose(before, after, atol=1e-6), name)


if __name__ == '__main__':
    unittest.main(verbosity=2)
