"""Same job file, seed and membership: same weights, to the bit, whoever comes first."""
import os
import random
import re
import subprocess
import time

import harness

# The digits job as it is shipped, but with float32 on the wire, whose digest no later phase or option may change: with
# OpenBLAS 0.3.21 told to compute as on a Haswell, so that other processors give the same.
PINNED = 'ae594fddb12a50a7'
PINNED_BLAS = 'r0.3.21'

SHORT = ('train.epochs=8', 'optimizer.dither.sigma0=0.5', 'optimizer.switch.when=at', 'optimizer.switch.step=100')


class Determinism(harness.Case):
    def digest(self, *sets, workers=4, run='run'):
        return self.whole_job(*SHORT, *sets, workers=workers, run=run)[1]['weights_digest']

    def test_twice_the_same(self):
        first = self.digest(run='a')
        self.assertEqual(self.digest(run='b'), first)

    def test_twice_the_same_as_shipped(self):
        first = self.whole_job(run='a')[1]
        second = self.whole_job(run='b')[1]
        for key in ('weights_digest', 'switch_round', 'sgd_lr', 'test_accuracy', 'test_loss', 'train_loss',
                    'bytes_pushed', 'bytes_updated', 'bytes_pushed_sign', 'bytes_updated_sign'):
            self.assertEqual(first[key], second[key], key)

    @staticmethod
    def blas():
        """What the worker's OpenBLAS calls itself, such as r0.3.21."""
        needed = subprocess.run(['ldd', harness.WORKER], capture_output=True, text=True, check=True).stdout
        path = re.search(r'lib(?:open)?blas\S* => (\S+)', needed).group(1)
        found = re.search(r'-(r[0-9.]+[0-9])\.so', os.path.realpath(path))
        return found.group(1) if found else path

    def test_the_digest_of_the_digits_job(self):
        """The same in every version: whoever changes it on purpose says so in CHANGELOG.md, and here."""
        with open('/proc/cpuinfo', encoding='utf-8') as f:
            flags = set(re.search(r'(?m)^flags\s*:(.*)$', f.read() + '\nflags :').group(1).split())
        if self.blas() != PINNED_BLAS or not {'avx2', 'fma'} <= flags:
            print(f'not compared: OpenBLAS {self.blas()}, or a processor that is no Haswell', end=' ')
            return
        before = os.environ.get('OPENBLAS_CORETYPE')
        os.environ['OPENBLAS_CORETYPE'] = 'Haswell'
        try:
            server, s = self.whole_job('optimizer.sgd.wire=f32')
        finally:
            os.environ.pop('OPENBLAS_CORETYPE')
            if before is not None:
                os.environ['OPENBLAS_CORETYPE'] = before
        self.assertEqual(s['weights_digest'], PINNED)
        self.assertEqual(s['switch_round'], 378)

    def test_another_seed_another_model(self):
        digests = [self.digest(f'seed={seed}', run=f'run{seed}') for seed in (1, 2, 3)]
        self.assertEqual(len(set(digests)), 3, digests)

    def test_every_training_key_tells(self):
        """A key that changed nothing would be one that the job ignores."""
        groups = {
            (): ('optimizer.dither.sigma0=0', 'optimizer.beta1=0.8', 'optimizer.sign.lr=3e-3',
                 'optimizer.sign.schedule=constant', 'optimizer.sign.schedule=cosine', 'optimizer.sign.warmup=1',
                 'optimizer.sgd.momentum=none', 'optimizer.sgd.scale=0.5',
                 'optimizer.sgd.schedule=constant', 'optimizer.sgd.schedule=linear', 'optimizer.sgd.schedule=cosine',
                 'optimizer.sgd.wire=f32', 'optimizer.sgd.wire=bf16', 'optimizer.sgd.aggregate=median',
                 'optimizer.sgd.rate=tracking', 'optimizer.sgd.lr=0.2', 'optimizer.sgd.clip=0.1',
                 'optimizer.sgd.lambda=norm', 'optimizer.sgd.lambda=ratio', 'optimizer.sgd.lambda=denoised',
                 'optimizer.sgd.lambda=paper', 'optimizer.weight_decay=0.01', 'train.batch=15', 'data.scale.mean=0.3',
                 'data.shards=by_label', 'optimizer.dither.schedule=cosine', 'optimizer.dither.scale=absolute',
                 'optimizer.dither.scale=tensor', 'optimizer.switch.to=margin', 'optimizer.start=margin',
                 'tensors=[{match: "*.bias", update: full}]'),
            ('optimizer.switch.to=margin', 'optimizer.margin.until=0.7'): (
                'optimizer.margin.lr=0.007', 'optimizer.margin.sigma0=0.5', 'optimizer.margin.until=0.8'),
            ('optimizer.sgd.lambda=ratio', 'optimizer.sgd.rate=tracking'): (
                'optimizer.beta2=0.9', 'optimizer.sgd.lambda_min=0.5', 'optimizer.sgd.lambda_max=1e-4'),
            ('optimizer.mode=adam',): ('optimizer.adam.lr=2e-3', 'optimizer.adam.beta1=0.8', 'optimizer.adam.beta2=0.99',
                                       'optimizer.adam.eps=1e-4', 'optimizer.sgd.wire=i8'),
            ('optimizer.mode=sgd',): ('optimizer.sgd.lr=0.4', 'optimizer.sgd.wire=bf16', 'optimizer.beta1=0.8'),
            ('optimizer.weight_decay=0.01', 'tensors=[{match: "*.bias", update: full}]'): (
                'full.lr=0.2', 'tensors=[{match: "*.bias", update: full, decay: true}]'),
            ('optimizer.sign.schedule=step', 'optimizer.sgd.schedule=step', 'optimizer.sign.step.epochs=3',
             'optimizer.sgd.step.epochs=2', 'optimizer.sgd.aggregate=trimmed_mean', 'workers=5'): (
                'optimizer.sign.step.factor=0.5', 'optimizer.sign.step.epochs=2', 'optimizer.sgd.step.factor=0.5',
                'optimizer.sgd.step.epochs=1', 'optimizer.sgd.trim=0.4', 'optimizer.sgd.aggregate=mean'),
        }
        digests = {}
        for base, keys in groups.items():
            workers = 5 if 'workers=5' in base else 4
            for key in ('', *keys):
                sets = (*base, *((key,) if key else ()), 'train.evaluate=0')
                digests[base + (key,)] = self.digest(*sets, workers=workers, run='run')
        by_digest = {}
        for sets, digest in digests.items():
            by_digest.setdefault(digest, []).append(sets)
        self.assertEqual([sets for sets in by_digest.values() if len(sets) > 1], [])

    def test_what_does_not_train_does_not_tell(self):
        """Nor may reports, evaluations or heartbeats change the weights."""
        self.assertEqual(self.digest(),
                         self.digest('train.report=1', 'train.evaluate=0', 'server.heartbeat.interval=0.1', run='b'))

    def test_the_order_of_workers_does_not_tell(self):
        """Slots shuffled, with pauses; which process holds which slot does not matter either."""
        first = self.digest(run='first')
        rng = random.Random(11)
        for trial in range(3):
            server = self.start_server(*SHORT, run=f'run{trial}')
            slots = [0, 1, 2, 3]
            rng.shuffle(slots)
            workers = []
            for slot in slots:
                workers.append(self.start_worker(server, slot=slot))
                time.sleep(rng.random() * 0.15)
            summary = self.finish(server, workers)
            self.assertEqual(summary['weights_digest'], first, f'order {slots}')

    def test_threads_of_the_worker_and_its_own_file_do_not_tell(self):
        """The server's file governs: what a worker's own file says of training is not used."""
        first = self.digest(run='first')
        server = self.start_server(*SHORT)
        workers = [self.start_worker(server, 'seed=99', 'train.batch=3', 'optimizer.beta1=0.1', 'workers=9',
                                     'optimizer.dither.sigma0=7', f'model.threads={1 + i % 2}') for i in range(4)]
        self.assertEqual(self.finish(server, workers)['weights_digest'], first)


if __name__ == '__main__':
    harness.main()
