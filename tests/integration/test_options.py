"""What the job file can ask for, each in a job of its own: switch, rates, sizes, models, quorum."""
import math
import os
import signal
import subprocess

import harness
import readers

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
EPOCH = math.ceil(1437 / 64)  # rounds, with 4 workers
FEW = ('train.epochs=6', 'train.report=1', 'train.evaluate=0')
AT = ('optimizer.switch.when=at', 'optimizer.switch.step=80')


class Switch(harness.Case):
    def test_never(self):
        server, s = self.whole_job('optimizer.switch.when=never', *FEW)
        self.assertEqual((s['switch_round'], s['sgd_lr'], s['switch_reason']), (None, None, None))
        self.assertEqual({line['phase'] for line in server.history()}, {'sign'})
        self.assertEqual(len(server.history()), 6 * EPOCH)
        # All of the training bytes are those of sign rounds, but for the COMMIT of round 0 that starts the job.
        self.assertEqual(s['bytes_pushed'], s['bytes_pushed_sign'])
        self.assertTrue(0 < s['bytes_updated'] - s['bytes_updated_sign'] < 4 * 200)
        self.assertNotIn('switch', server.err())
        self.assertEqual(server.events(), [])

    def test_at_a_step(self):
        server, s = self.whole_job(*AT, *FEW)
        self.assertEqual(s['switch_round'], 80)
        self.assertIn('at: round 80', s['switch_reason'])
        phases = [line['phase'] for line in server.history()]
        self.assertEqual(phases, ['sign'] * 80 + ['sgd'] * (6 * EPOCH - 80))

    def test_at_an_epoch_and_at_a_fraction(self):
        _, s = self.whole_job('optimizer.switch.when=at', 'optimizer.switch.epoch=2', *FEW)
        self.assertEqual(s['switch_round'], 2 * EPOCH)
        _, s = self.whole_job('optimizer.switch.when=at', 'optimizer.switch.fraction=0.25', *FEW)
        self.assertEqual(s['switch_round'], math.ceil(0.25 * 6 * EPOCH))

    def test_dry_run_says_and_stays(self):
        server, s = self.whole_job(*AT, 'optimizer.switch.dry_run=true', *FEW)
        self.assertIsNone(s['switch_round'])
        self.assertTrue(s['switch_dry_run'])
        self.assertIn('dry run', s['switch_reason'])
        self.assertGreater(s['sgd_lr'], 0)
        self.assertRegex(server.err(), r'dry run: would switch from sign updates to SGD now, after round 80: at: .*; '
                                       r'lambda = about [0-9.]+ \(norm_tensor\); going on\n')
        self.assertEqual({line['phase'] for line in server.history()}, {'sign'})
        never = self.whole_job('optimizer.switch.when=never', *FEW, run='never')[1]
        self.assertEqual(s['weights_digest'], never['weights_digest'])

    def test_the_guess_of_a_dry_run_has_the_order_of_the_real_rate(self):
        # "About" is no more than the order: averages over 100 rounds lag behind gradients that shrink fast (0.2 for 1.4).
        late = ('optimizer.switch.when=at', 'optimizer.switch.step=450', 'optimizer.sgd.lambda=norm')
        guess = self.whole_job(*late, 'optimizer.switch.dry_run=true', run='dry')[1]
        real = self.whole_job(*late, run='real')[1]
        self.assertTrue(0.08 < guess['sgd_lr'] / real['sgd_lr'] < 3, (guess['sgd_lr'], real['sgd_lr']))

    def test_a_switch_after_the_last_round_does_not_happen(self):
        _, s = self.whole_job('optimizer.switch.when=at', f'optimizer.switch.step={6 * EPOCH}', *FEW)
        self.assertIsNone(s['switch_round'])


class Rate(harness.Case):
    def run_rule(self, *sets):
        server, s = self.whole_job(*AT, *FEW, *sets)
        return server, s, server.history()

    def test_rules_that_the_statistics_give(self):
        for rule in ('paper', 'ratio', 'denoised'):
            with self.subTest(rule):
                server, s, history = self.run_rule(f'optimizer.sgd.lambda={rule}')
                self.assertTrue(1e-5 <= s['sgd_lr'] <= 1, s['sgd_lr'])
                # The history has all three estimates in every sign round; the switch takes the one asked for.
                self.assertAlmostEqual(s['sgd_lr'], history[79][f'lambda_{rule}'], delta=1e-8 * s['sgd_lr'])
                self.assertRegex(server.err(), rf'lambda = [0-9.e-]+ \({rule}\)')
                self.check_continues(history, s['sgd_lr'])

    def check_continues(self, history, rate):
        """The sign phase's linear schedule goes on: lambda(t) = lambda * dec(t) / dec(80)."""
        gamma = [line['gamma'] for line in history[:80]]
        slope = (gamma[0] - gamma[79]) / 79
        for line in history[80:]:
            factor = (gamma[79] - slope * (line['round'] - 80)) / gamma[79]
            self.assertAlmostEqual(line['lambda'], rate * factor, delta=2e-5 * rate, msg=line)

    def test_norm(self):
        server, s, history = self.run_rule('optimizer.sgd.lambda=norm')
        self.assertIs(type(s['sgd_lr']), float)
        self.check_continues(history, s['sgd_lr'])
        twice = self.run_rule('optimizer.sgd.lambda=norm', 'optimizer.sgd.scale=1.2')[1]
        self.assertAlmostEqual(twice['sgd_lr'] / s['sgd_lr'], 2, places=6)

    def test_norm_by_tensor(self):
        server, s, history = self.run_rule('optimizer.sgd.lambda=norm_tensor')
        self.assertEqual(set(s['sgd_lr']), {'dense1.weight', 'dense1.bias', 'dense2.weight', 'dense2.bias'})
        self.assertEqual(len(set(s['sgd_lr'].values())), 4)
        self.check_continues(history, s['sgd_lr']['dense1.weight'])  # the largest tensor stands for all

    def test_a_fixed_rate(self):
        server, s, history = self.run_rule('optimizer.sgd.lr=0.25', 'optimizer.sgd.schedule=constant')
        self.assertEqual(s['sgd_lr'], 0.25)
        self.assertEqual({line['lambda'] for line in history[80:]}, {0.25})
        self.assertRegex(server.err(), r'lambda = 0\.25 \(optimizer\.sgd\.lr\)')

    def test_a_step_is_no_longer_than_one_before_the_switch(self):
        """optimizer.sgd.clip: of a calibrated rate, for each tensor; never of a fixed one."""
        steps = {}
        for clip in ('0', '0.01', '1'):
            _, s, history = self.run_rule(f'optimizer.sgd.clip={clip}', 'optimizer.sgd.lambda=norm',
                                          'optimizer.sgd.scale=2', 'optimizer.sgd.schedule=constant')
            steps[clip] = [line['lambda'] for line in history[80:]]
            self.assertEqual(s['clipped_rounds'] > 0, clip != '0')
            self.assertEqual(s['clipped_rounds'] == len(steps[clip]), clip == '0.01')
        self.assertEqual(len(set(steps['0'])), 1)
        # The first mean is the same for all: twice the length of a sign step, of which so much is left.
        self.assertAlmostEqual(steps['1'][0] / steps['0'][0], 0.5, places=4)
        self.assertAlmostEqual(steps['0.01'][0] / steps['0'][0], 0.005, places=4)
        _, s, history = self.run_rule('optimizer.sgd.clip=0.01', 'optimizer.sgd.lr=0.25', 'optimizer.sgd.schedule=constant')
        self.assertEqual((s['clipped_rounds'], {line['lambda'] for line in history[80:]}), (0, {0.25}))

    def test_without_momentum(self):
        # The paper's plain SGD; it must go on learning.
        _, s, history = self.run_rule('optimizer.sgd.momentum=none', 'optimizer.sgd.lr=0.1')
        self.assertGreater(s['test_accuracy'], 0.9)
        self.assertLess(history[-1]['train_loss'], history[79]['train_loss'] * 1.5)

    def test_weight_decay_shrinks_weights_and_leaves_biases(self):
        never = ('optimizer.switch.when=never', *FEW)
        norms = {}
        for wd in ('0', '1'):
            server, _ = self.whole_job(*never, f'optimizer.weight_decay={wd}', run=f'wd{wd}')
            model = readers.Model(server.run / 'model.safetensors')
            norms[wd] = {name: math.sqrt(sum(v * v for v in model.values(name))) for name in model.tensors}
        for name in ('dense1.weight', 'dense2.weight'):
            self.assertLess(norms['1'][name], norms['0'][name], name)
        # Each of 138 rounds multiplies by 1 - gamma: with gamma from 2e-3 to 0 about 0.87 in all, less what signs add.
        self.assertLess(norms['1']['dense1.weight'] / norms['0']['dense1.weight'], 0.97)

    def test_weight_decay_in_both_phases(self):
        plain = self.whole_job(*AT, *FEW, run='plain')[1]
        decayed = self.whole_job(*AT, *FEW, 'optimizer.weight_decay=0.1', run='decayed')[1]
        self.assertNotEqual(plain['weights_digest'], decayed['weights_digest'])
        self.assertEqual(sum(slot['resyncs'] for slot in decayed['slots']), 0, 'server and workers decay alike')


class Schedules(harness.Case):
    """Of both phases, against their formulas. Six epochs are 138 rounds, and the switch is after round 80."""
    ROUNDS = 6 * EPOCH

    def run_course(self, *sets):
        server, s = self.whole_job(*AT, *FEW, 'optimizer.sign.lr=0.002', *sets)
        lines = server.history()
        self.assertEqual([line['round'] for line in lines], list(range(1, self.ROUNDS + 1)))
        return [line['gamma'] for line in lines[:80]], [line['lambda'] for line in lines[80:]], s

    def check_course(self, got, rate, factor, first=1):
        for t, value in enumerate(got, first):
            self.assertAlmostEqual(value, rate * factor(t), delta=1e-6 * rate, msg=f'round {t}')

    def test_of_the_sign_phase_and_on_through_the_switch(self):
        steps = ('optimizer.sign.step.epochs=2', 'optimizer.sign.step.factor=0.5')
        courses = {'constant': lambda u, n: 1.0, 'linear': lambda u, n: (n - u + 1) / n,
                   'cosine': lambda u, n: (1 + math.cos(math.pi * (u - 1) / n)) / 2}
        for warmup in (0, 1):
            w = warmup * EPOCH
            for name in ('constant', 'linear', 'cosine', 'step'):
                with self.subTest(name, warmup=warmup):
                    def factor(t, name=name, w=w):
                        if t <= w:
                            return t / (w + 1)
                        if name == 'step':
                            return 0.5 ** ((t - 1) // (2 * EPOCH))
                        return courses[name](t - w, self.ROUNDS - w)
                    gammas, lambdas, _ = self.run_course(f'optimizer.sign.schedule={name}', 'optimizer.sgd.lr=0.25',
                                                         f'optimizer.sign.warmup={warmup}',
                                                         *(steps if name == 'step' else ()))
                    self.check_course(gammas, 0.002, factor)
                    self.check_course(lambdas, 0.25, lambda t, f=factor: f(t) / f(80), first=81)

    def test_one_of_its_own_spans_the_sgd_phase(self):
        n = self.ROUNDS - 80
        courses = {'constant': lambda u: 1.0, 'linear': lambda u: (n - u + 1) / n,
                   'cosine': lambda u: (1 + math.cos(math.pi * (u - 1) / n)) / 2,
                   'step': lambda u: 0.5 ** ((u - 1) // EPOCH)}
        for name, factor in courses.items():
            with self.subTest(name):
                _, lambdas, _ = self.run_course(f'optimizer.sgd.schedule={name}', 'optimizer.sgd.lr=0.25',
                                                'optimizer.sgd.step.epochs=1', 'optimizer.sgd.step.factor=0.5')
                self.check_course(lambdas, 0.25, factor)

    def test_of_a_calibrated_rate(self):
        _, lambdas, s = self.run_course('optimizer.sgd.schedule=cosine', 'optimizer.sgd.lambda=ratio')
        n = self.ROUNDS - 80
        self.check_course(lambdas, s['sgd_lr'], lambda u: (1 + math.cos(math.pi * (u - 1) / n)) / 2)


class Sizes(harness.Case):
    def test_numbers_of_workers(self):
        for workers in (1, 2, 3, 16):
            with self.subTest(workers=workers):
                server, s = self.whole_job('train.epochs=4', workers=workers, run=f'run{workers}')
                rounds = 4 * math.ceil(1437 / (16 * workers))
                self.assertEqual(s['rounds'], rounds)
                self.assertEqual([slot['votes'] for slot in s['slots']], [rounds] * workers)
                self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0)
                self.assertEqual(readers.weights_digest(readers.Model(server.run / 'model.safetensors').raw),
                                 s['weights_digest'])

    def test_many_workers(self):
        _, s = self.whole_job('train.epochs=20', *('optimizer.switch.when=at', 'optimizer.switch.step=20'), workers=64,
                              limit_s=90)
        self.assertEqual(s['rounds'], 20 * math.ceil(1437 / (16 * 64)))
        self.assertEqual([slot['votes'] for slot in s['slots']], [s['rounds']] * 64)
        self.assertGreater(s['test_accuracy'], 0.3)

    def test_rounds_in_place_of_epochs(self):
        _, s = self.whole_job('train.rounds=37')
        self.assertEqual(s['rounds_done'], 37)

    def test_a_single_round(self):
        _, s = self.whole_job('train.rounds=1')
        self.assertEqual((s['rounds_done'], s['switch_round']), (1, None))

    def test_softmax(self):
        server, s = self.whole_job('model.type=softmax', 'train.epochs=10')
        self.assertEqual(s['params'], 64 * 10 + 10)
        self.assertGreater(s['test_accuracy'], 0.85)
        model = readers.Model(server.run / 'model.safetensors')
        self.assertEqual(set(model.tensors), {'dense1.weight', 'dense1.bias'})

    def test_several_hidden_layers(self):
        _, s = self.whole_job('model.hidden=[40, 30, 20]', 'train.epochs=15')
        self.assertEqual(s['params'], 64 * 40 + 40 + 40 * 30 + 30 + 30 * 20 + 20 + 20 * 10 + 10)
        self.assertGreater(s['test_accuracy'], 0.8)

    def test_a_model_of_many_chunks(self):
        """Two chunks of signs, 38 of values in float32 and 19 as int8, ten blocks of the digest."""
        server, s = self.whole_job('model.hidden=[8192]', 'train.rounds=12', 'optimizer.switch.when=at',
                                   'optimizer.switch.step=8', workers=2)
        self.assertEqual(s['params'], 8192 * 64 + 8192 + 10 * 8192 + 10)
        self.assertGreater(s['params'], 64 * 1024 * 8, 'more than one chunk of signs')
        self.assertEqual(readers.weights_digest(readers.Model(server.run / 'model.safetensors').raw),
                         s['weights_digest'])

    def test_without_test_data(self):
        server = self.start_server('data.test.images=', 'data.test.labels=', 'train.epochs=2')
        workers = self.start_workers(server, 4, 'data.test.images=', 'data.test.labels=')
        s = self.finish(server, workers)
        self.assertEqual((s['rounds_done'], s['test_accuracy'], s['test_loss']), (s['rounds'], None, None))

    def test_the_minimal_job(self):
        config = harness.ROOT / 'configs/minimal.yaml'
        server = self.start_server('train.epochs=2', config=config)
        s = self.finish(server, [self.start_worker(server, config=config)])
        self.assertEqual((s['job'], s['workers'], s['test_accuracy']), ('minimal', 1, None))
        self.assertEqual(s['rounds_done'], 2 * math.ceil(1437 / 16))


class Shards(harness.Case):
    def test_by_label(self):
        """Each worker sees labels that the others do not, and by their votes all learn all of them."""
        sets = ('data.shards=by_label', 'train.epochs=20')
        _, s = self.whole_job(*sets, run='one')
        again = self.whole_job(*sets, run='again')[1]
        iid = self.whole_job('train.epochs=20', run='iid')[1]
        self.assertEqual((s['shards'], iid['shards']), ('by_label', 'iid'))
        self.assertEqual(s['weights_digest'], again['weights_digest'])
        self.assertNotEqual(s['weights_digest'], iid['weights_digest'])
        self.assertGreater(s['test_accuracy'], 0.6)
        self.assertGreater(s['train_loss'], iid['train_loss'], 'it is harder than with data of the same kind for all')


class Quorum(harness.Case):
    def test_a_quorum_job_ends_like_any_other(self):
        _, s = self.whole_job('server.close.quorum=3', 'train.epochs=20')
        self.assertGreater(s['test_accuracy'], 0.9)

    def test_a_job_without_a_quorum_has_no_deadline(self):
        server = self.start_server()
        status = server.status()
        self.assertEqual(status['close'], 'all')
        self.assertNotIn('deadline_ms', status)

    def test_a_quorum_goes_on_without_a_worker_that_hangs(self):
        server = self.start_server('server.close.quorum=3', 'train.epochs=300', 'server.heartbeat.timeout=60')
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 100)
        workers[3].send(signal.SIGSTOP)
        before = server.status()
        self.wait_for_round(server, before['round'] + 100)
        status = server.status()
        self.assertEqual(status['slots'][3]['state'], 'live', 'it hangs, but its time is not up')
        self.assertEqual([slot['behind'] for slot in status['slots']], [False, False, False, True])
        self.assertEqual((status['close'], status['quorum']), ('quorum', 3))
        self.assertGreaterEqual(status['deadline_ms'], 1)
        self.assertGreater(status['arrival_ms'], 0)
        out = subprocess.run([SIGNPOST, 'status', str(server.run)], capture_output=True, text=True, check=True).stdout
        self.assertRegex(out, r'rounds close    with 3 workers and a deadline: they are in after [\d.]+ ms')
        self.assertRegex(out, r'(?m)^  3 +behind ')
        self.assertGreater(status['slots'][3]['missed'], 50)
        self.assertLessEqual(status['slots'][3]['votes'], before['slots'][3]['votes'] + 2)
        workers[3].send(signal.SIGCONT)
        self.wait_for(lambda: server.status()['slots'][3]['votes'] > status['slots'][3]['votes'] + 10,
                      'the worker to vote again')
        self.wait_for(lambda: not server.status()['slots'][3]['behind'], 'it to be in time again')
        s = self.finish(server, workers)
        self.assertEqual(s['rounds_done'], s['rounds'])
        self.assertGreater(s['test_accuracy'], 0.95)
        self.assertEqual([slot['joins'] for slot in s['slots']], [1] * 4, 'nobody had to connect again')


if __name__ == '__main__':
    harness.main()
