"""resnet18 on a made-up set of CIFAR's shape: it learns, its running statistics are averaged, and what it wrote can be evaluated."""
import json
import os
import random
import subprocess

import harness
import readers

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
JOB = """
job: made-cifar
seed: 1
workers: 2
data:
  format: cifar10
  train: {files: train_*.bin}
  test: {files: test.bin}
  scale: {compute: channel}
  augment: {crop: 2, flip: true}
model: {type: resnet18, width: 16}
train: {batch: 8, rounds: 50, report: 5, evaluate: 0}
optimizer:
  sign: {lr: 1.0e-3, schedule: linear}
  switch: {when: never}
"""


def write_records(path, count, seed):
    """CIFAR-10's records: a label, then 3 x 32 x 32 pixels. Each class has a colour and a stripe of its own, under noise."""
    rng = random.Random(seed)
    with open(path, 'wb') as out:
        for _ in range(count):
            label = rng.randrange(10)
            pixels = bytearray()
            for channel in range(3):
                base = 60 + 50 * ((label >> channel) & 1)
                for row in range(32):
                    lift = 70 if row // 3 == label else 0
                    pixels += bytes(base + lift + rng.randrange(40) for _ in range(32))
            out.write(bytes([label]) + pixels)


class Resnet(harness.Case):
    def setUp(self):
        for i in (1, 2):
            write_records(self.folder / f'train_{i}.bin', 200, i)
        write_records(self.folder / 'test.bin', 100, 3)
        self.config = self.folder / 'job.yaml'
        self.config.write_text(JOB)

    def test_it_learns_and_can_be_evaluated(self):
        server, summary = self.whole_job(workers=2, config=self.config, limit_s=300)
        losses = [line['train_loss'] for line in server.history()]
        self.assertEqual(len(losses), 10)
        self.assertGreater(losses[0], 1.5)
        self.assertLess(sum(losses[-3:]) / 3, 0.5 * losses[0], losses)
        self.assertEqual((summary['examples'], summary['test_examples'], summary['params']), (400, 100, 701466))
        self.assertGreater(summary['test_accuracy'], 0.5)

        model = readers.Model(server.run / 'model.safetensors')
        self.assertEqual(len(model.tensors), 62 + 40)
        self.assertTrue(all(v > 0 for v in model.values('layer3.0.bn1.running_var')))
        self.assertTrue(any(v != 0 for v in model.values('bn1.running_mean')))

        done = subprocess.run([SIGNPOST, 'eval', server.run, '--json'], capture_output=True, text=True, timeout=harness.seconds(60))
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer['accuracy'], summary['test_accuracy'])
        self.assertAlmostEqual(answer['loss'], summary['test_loss'], places=6)

    def test_through_the_switch(self):
        """A rate for each of 62 tensors: all in the record, the least and the largest in words."""
        server, summary = self.whole_job('train.rounds=12', 'optimizer.switch.when=at', 'optimizer.switch.step=6', workers=2, config=self.config,
                                         limit_s=300)
        rates = summary['sgd_lr']
        self.assertEqual(len(rates), 62)
        low, high = min(rates, key=rates.get), max(rates, key=rates.get)
        words = f'of 62 tensors, {rates[low]:.4g} ({low}) to {rates[high]:.4g} ({high})'
        self.assertIn(f'lambda from round 7: norm_tensor, scale 0.6: {words}', server.err())
        self.assertEqual(sum(slot['resyncs'] for slot in summary['slots']), 0)


if __name__ == '__main__':
    harness.main()
