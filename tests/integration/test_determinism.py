"""Same job file, seed and membership: same weights, to the bit, whoever comes first."""
import random
import time

import harness

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

    def test_another_seed_another_model(self):
        digests = [self.digest(f'seed={seed}', run=f'run{seed}') for seed in (1, 2, 3)]
        self.assertEqual(len(set(digests)), 3, digests)

    def test_every_training_key_tells(self):
        """A key that changed nothing would be one that the job ignores."""
        keys = ('optimizer.dither.sigma0=0', 'optimizer.beta1=0.8', 'optimizer.sign.lr=3e-3',
                'optimizer.sign.schedule=constant', 'optimizer.sgd.momentum=none', 'optimizer.sgd.scale=0.5',
                'optimizer.sgd.schedule=constant', 'optimizer.weight_decay=0.01', 'train.batch=15', 'data.scale.mean=0.3',
                'optimizer.dither.schedule=cosine', 'optimizer.dither.scale=absolute')
        digests = {'': self.digest()}
        for i, key in enumerate(keys):
            digests[key] = self.digest(key, 'train.evaluate=0', run=f'run{i}')
        self.assertEqual(len(set(digests.values())), len(digests), digests)

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
