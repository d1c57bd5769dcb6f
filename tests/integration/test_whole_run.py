"""A whole run of the digits job, and everything that it leaves behind, read with readers that are not ours."""
import math

import decisions
import harness
import readers

TENSORS = {'dense1.weight': [64, 64], 'dense1.bias': [64], 'dense2.weight': [10, 64], 'dense2.bias': [10]}
PARAMS = 64 * 64 + 64 + 10 * 64 + 10
ROUNDS = 30 * math.ceil(1437 / 64)


class WholeRun(harness.Case):
    def setUp(self):
        self.server, self.summary = self.whole_job()

    def check_summary(self):
        s = self.summary
        integers = {'seed': 1, 'params': PARAMS, 'workers': 4, 'rounds': ROUNDS, 'rounds_done': ROUNDS, 'examples': 1437,
                    'test_examples': 360}
        for key, value in integers.items():
            self.assertIs(type(s[key]), int, key)
            self.assertEqual(s[key], value, key)
        self.assertEqual((s['job'], s['shards'], s['mode'], s['params_full']), ('digits', 'iid', 'hybrid', 0))
        self.assertIs(type(s['switch_round']), int)
        self.assertTrue(0.1 * ROUNDS <= s['switch_round'] <= 0.7 * ROUNDS + 1, s['switch_round'])
        self.assertIn('auto', s['switch_reason'])
        self.assertEqual(s['switches'], [{'round': s['switch_round'], 'from': 'sign', 'to': 'sgd', 'test': 'auto',
                                          'reason': s['switch_reason']}])
        self.assertEqual(set(s['sgd_lr']), set(TENSORS))
        for name, rate in s['sgd_lr'].items():
            self.assertIs(type(rate), float, name)
            self.assertGreater(rate, 0, name)
        for key in ('test_accuracy', 'test_loss', 'train_loss', 'wall_seconds'):
            self.assertIs(type(s[key]), float, key)
            self.assertTrue(math.isfinite(s[key]) and s[key] > 0, key)
        self.assertGreater(s['test_accuracy'], 0.95)
        self.assertLess(s['train_loss'], 0.1)
        for key in ('bytes_pushed', 'bytes_updated'):
            self.assertIs(type(s[key]), int, key)
        # The sign rounds cost a bit a parameter; the first SGD round, from which its rate comes, 32; the others about 8.
        # And float32 all the way is what bytes_float32 says.
        int8 = readers.int8_bytes(TENSORS.values())
        signs = 4 * s['switch_round'] * PARAMS / 8
        sgd = 4 * (PARAMS * 4 + (ROUNDS - s['switch_round'] - 1) * int8)
        for key in ('bytes_pushed', 'bytes_updated'):
            self.assertEqual(s[key + '_margin'], 0)
            self.assertTrue(signs < s[key + '_sign'] < signs + 4 * s['switch_round'] * 640, key)
            # 40 bytes of a header, and what a COMMIT says, but no statistics.
            self.assertTrue(sgd < s[key] - s[key + '_sign'] < sgd + 4 * ROUNDS * 256, key)
        self.assertEqual(s['bytes_float32'], 4 * ROUNDS * PARAMS * 4)
        self.assertRegex(s['weights_digest'], '^[0-9a-f]{16}$')
        self.assertEqual(s['stopped'], False)
        self.assertEqual([slot['votes'] for slot in s['slots']], [ROUNDS] * 4)
        self.assertEqual([slot['missed'] + slot['late'] + slot['abstained'] + slot['resyncs'] for slot in s['slots']],
                         [0] * 4)

    def check_history(self):
        lines = self.server.history()
        s = self.summary
        rounds = [line['round'] for line in lines]
        self.assertEqual(rounds, sorted(rounds))
        self.assertEqual(rounds[-1], ROUNDS)
        # A line every 50 rounds, and one for the evaluation after each epoch of 23.
        self.assertEqual(set(rounds), {r for r in range(1, ROUNDS + 1) if r % 50 == 0 or r % 23 == 0 or r == ROUNDS})
        for line in lines:
            sign = line['round'] <= s['switch_round']
            self.assertEqual(line['phase'], 'sign' if sign else 'sgd', line)
            self.assertGreater(line['gamma' if sign else 'lambda'], 0)
            self.assertTrue(math.isfinite(line['train_loss']))
            if sign:
                for key in ('margin', 'ties', 'unanimous', 'flips'):
                    self.assertTrue(0 <= line[key] <= 1, (key, line))
            self.assertEqual('test_accuracy' in line, line['round'] % 23 == 0, line)
            self.assertEqual(line['voters'], 4)
        decisions.check(self, self.server)
        self.assertEqual([e['event'] for e in self.server.events()], ['switch', 'rates'])
        self.assertEqual(self.server.events('rates')[0]['lambda'], s['sgd_lr'])
        gammas = [line['gamma'] for line in lines if line['phase'] == 'sign']
        self.assertTrue(all(a > b for a, b in zip(gammas, gammas[1:])), 'the linear schedule goes down')
        self.assertEqual(lines[-1]['test_accuracy'], s['test_accuracy'])
        self.assertEqual((lines[-1]['bytes_pushed'], lines[-1]['bytes_updated']), (s['bytes_pushed'], s['bytes_updated']))

    def check_model(self):
        model = readers.Model(self.server.run / 'model.safetensors')
        self.assertEqual(model.header_bytes % 8, 0)
        self.assertEqual({n: t['shape'] for n, t in model.tensors.items()}, TENSORS)
        self.assertEqual({t['dtype'] for t in model.tensors.values()}, {'F32'})
        at = 0
        for name in TENSORS:
            begin, end = model.tensors[name]['data_offsets']
            self.assertEqual(begin, at, name)
            self.assertEqual(end - begin, 4 * math.prod(TENSORS[name]), name)
            at = end
        self.assertEqual(at, len(model.raw), 'bytes after the last tensor')
        self.assertEqual(readers.weights_digest(model.raw), self.summary['weights_digest'])
        self.assertEqual(model.metadata['weights_digest'], self.summary['weights_digest'])
        self.assertEqual(model.metadata['job'], 'digits')
        return model

    def check_accuracy(self, model):
        (n, rows, columns), pixels = readers.read_idx(harness.DATA / 'test-images-idx3-ubyte')
        _, labels = readers.read_idx(harness.DATA / 'test-labels-idx1-ubyte')
        size = rows * columns
        correct, loss, doubtful = 0, 0.0, 0
        for i in range(n):
            y = readers.logits(model, pixels[i * size:(i + 1) * size], 16, 0.305, 0.376)
            top = sorted(y)
            # Workers compute in float32 and we in double: only an example whose two best classes are as good as equal
            # could come out otherwise.
            doubtful += top[-1] - top[-2] < 1e-3
            correct += y.index(top[-1]) == labels[i]
            loss += math.log(sum(math.exp(v - top[-1]) for v in y)) + top[-1] - y[labels[i]]
        self.assertLessEqual(abs(correct - self.summary['test_accuracy'] * n), doubtful + 1e-6)
        self.assertLessEqual(doubtful, 1)
        self.assertAlmostEqual(loss / n, self.summary['test_loss'], delta=1e-4 * loss / n)

    def test_everything_it_leaves_behind(self):
        self.check_summary()
        self.check_history()
        model = self.check_model()
        self.check_accuracy(model)

    def test_the_folder_is_tidy_and_a_second_run_replaces_it(self):
        names = sorted(p.name for p in self.server.run.iterdir())
        for name in ('history.jsonl', 'model.safetensors', 'summary.json'):
            self.assertIn(name, names)
        self.assertNotIn('signpostd.sock', names)
        self.assertEqual([n for n in names if n.endswith('.new')], [])
        server = self.start_server('seed=2')
        self.assertFalse((server.run / 'summary.json').exists(), 'the old result is there while the new job runs')
        self.assertFalse((server.run / 'model.safetensors').exists())
        summary = self.finish(server, self.start_workers(server, 4))
        self.assertEqual(summary['seed'], 2)
        self.assertNotEqual(summary['weights_digest'], self.summary['weights_digest'])

    def test_a_log_in_words(self):
        log = self.server.err()
        self.assertRegex(log, r"job 'digits' for 4 workers, listening on 127\.0\.0\.1:\d+, results go to ")
        self.assertRegex(log, r'round 1 of 690 begins with 4 of 4 workers')
        self.assertRegex(log, rf"switch from sign updates to SGD after round {self.summary['switch_round']}: auto: ")
        self.assertRegex(log, r'lambda from round \d+: norm_tensor, scale 0\.6: dense1\.weight [0-9.e-]+, ')
        self.assertRegex(log, rf'round {ROUNDS}/{ROUNDS} .*test accuracy \d+\.\d\d % \(\d+ of 360\)')
        self.assertRegex(log, r'the job is done: 690 rounds\n')
        self.assertNotRegex(log, r' (warn|error) ')
        for worker in self.processes[1:]:
            self.assertRegex(worker.err(), r'the job is done: 690 rounds; this worker pushed 690 rounds')
            self.assertNotRegex(worker.err(), r' (warn|error) ')


if __name__ == '__main__':
    harness.main()
