"""Short runs of configs/mnist-mlp.yaml and configs/mnist-lenet.yaml. The data are not in the repository, so without them this test is skipped, aloud."""
import os
import sys
from pathlib import Path

import harness

CONFIG = harness.ROOT / 'configs/mnist-mlp.yaml'
LENET = harness.ROOT / 'configs/mnist-lenet.yaml'
FILES = {'data.train.images': 'train-images-idx3-ubyte.gz', 'data.train.labels': 'train-labels-idx1-ubyte.gz',
         'data.test.images': 't10k-images-idx3-ubyte.gz', 'data.test.labels': 't10k-labels-idx1-ubyte.gz'}
SKIPPED = 77  # what meson takes for a skip


def folders():
    if 'SP_MNIST' in os.environ:
        return [Path(os.environ['SP_MNIST'])]
    return [harness.ROOT / 'configs/mnist', harness.ROOT.parent / 'shared/data/mnist']


def find():
    """The folder with the data, or None."""
    return next((f for f in folders() if all((f / name).is_file() for name in FILES.values())), None)


class Mnist(harness.Case):
    def short_job(self, *sets, run='run'):
        data = [f'{key}={find() / name}' for key, name in FILES.items()]
        server = self.start_server('workers=2', 'train.rounds=60', *data, *sets, config=CONFIG, run=run)
        summary = self.finish(server, self.start_workers(server, 2, *data, config=CONFIG))
        self.assert_done(summary)
        self.assertEqual((summary['job'], summary['params'], summary['rounds']), ('mnist-mlp', 235146, 60))
        self.assertEqual((summary['examples'], summary['test_examples']), (60000, 10000))
        self.assertEqual(sum(slot['resyncs'] for slot in summary['slots']), 0)
        return summary

    def test_it_learns(self):
        """An eighth of an epoch: 91 % where it was measured, far from chance."""
        summary = self.short_job()
        self.assertGreater(summary['test_accuracy'], 0.85)
        self.assertEqual(summary['shards'], 'iid')

    def test_through_the_switch(self):
        summary = self.short_job('optimizer.switch.when=at', 'optimizer.switch.step=40')
        self.assertEqual((summary['switch_round'], len(summary['sgd_lr'])), (40, 6))
        self.assertGreater(summary['test_accuracy'], 0.85)

    def test_by_label(self):
        """Two workers with five digits each: half of what the model knows has come by the other's votes."""
        summary = self.short_job('data.shards=by_label', 'optimizer.switch.when=never')
        self.assertEqual(summary['shards'], 'by_label')
        self.assertGreater(summary['test_accuracy'], 0.75)

    def test_lenet(self):
        """60 rounds of 128 images: 94 % where it was measured."""
        data = [f'{key}={find() / name}' for key, name in FILES.items()]
        server = self.start_server('workers=2', 'train.rounds=60', *data, config=LENET)
        summary = self.finish(server, self.start_workers(server, 2, *data, config=LENET))
        self.assert_done(summary)
        self.assertEqual((summary['job'], summary['params']), ('mnist-lenet', 431080))
        self.assertGreater(summary['test_accuracy'], 0.85)


if __name__ == '__main__':
    if find() is None:
        print(f'skipped: MNIST is not in {" nor in ".join(map(str, folders()))}; deploy/fetch-data.sh mnist gets it')
        sys.exit(SKIPPED)
    harness.main()
