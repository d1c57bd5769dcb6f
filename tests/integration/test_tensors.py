"""Rules for tensors, weight decay, and tensors that never have a gradient."""
import math

import harness
import made
import readers

FEW = ('train.epochs=6', 'train.report=1', 'train.evaluate=0')
AT_80 = ('optimizer.switch.when=at', 'optimizer.switch.step=80')
NEVER = ('optimizer.switch.when=never', 'optimizer.switch.step=0')
ROUNDS = 138
BIASES = 64 + 10
PARAMS = 64 * 64 + 64 + 10 * 64 + 10


def rules(*texts):
    return f'tensors=[{", ".join("{" + text + "}" for text in texts)}]'


class Full(harness.Case):
    def model(self, server):
        return readers.Model(server.run / 'model.safetensors')

    def test_biases_in_full(self):
        """They travel beside the others, in every phase, and learn at a rate of their own."""
        plain = self.whole_job(*FEW, *AT_80, run='plain')[1]
        server, s = self.whole_job(*FEW, *AT_80, rules('match: "*.bias", update: full'), run='full')
        again = self.whole_job(*FEW, *AT_80, rules('match: "*.bias", update: full'), run='again')[1]
        self.assertEqual((s['params'], s['params_full'], plain['params_full']), (PARAMS, BIASES, 0))
        self.assertIn(f'{BIASES} of {PARAMS} parameters travel in full precision (tensors)', server.err())
        self.assertEqual(s['weights_digest'], again['weights_digest'])
        self.assertEqual(set(s['sgd_lr']), {'dense1.weight', 'dense2.weight'}, 'theirs is full.lr')
        self.assertEqual(set(server.events('rates')[0]['lambda']), {'dense1.weight', 'dense2.weight'})
        self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0)
        self.assertGreater(s['test_accuracy'], 0.85)
        self.assertNotIn('no tensor of the model matches', server.err())
        # A frame more, and 4 bytes a bias; in the SGD phase they stay where they were, as zeros.
        for key in ('bytes_pushed_sign', 'bytes_updated_sign', 'bytes_pushed', 'bytes_updated'):
            rounds = 4 * (80 if key.endswith('sign') else ROUNDS)
            more = (s[key] - plain[key]) / rounds
            self.assertTrue(4 * BIASES + 40 <= more <= 4 * BIASES + 80, (key, more))

    def test_their_rate_is_their_own(self):
        """Biases begin at 0: with next to no rate that is where they stay, whatever phase there is."""
        rule = rules('match: "*.bias", update: full')
        for i, sets in enumerate((AT_80, ('optimizer.start=margin', *AT_80), ('optimizer.mode=sgd',))):
            with self.subTest(sets):
                still = self.model(self.whole_job(*FEW, *sets, rule, 'full.lr=1e-9', run=f'still{i}')[0])
                moved = self.model(self.whole_job(*FEW, *sets, rule, 'full.lr=0.1', run=f'moved{i}')[0])
                for name in ('dense1.bias', 'dense2.bias'):
                    self.assertLess(max(map(abs, still.values(name))), 1e-6, name)
                    self.assertGreater(max(map(abs, moved.values(name))), 1e-3, name)
                    # They take steps of the mean, not of signs: no two are of the same length.
                    self.assertGreater(len({abs(value) for value in moved.values(name)}), len(moved.values(name)) * 0.8)

    def test_one_worker_and_the_first_step(self):
        """In the first round of a job the mean of m is 0.1*g; the step of a bias is full.lr times that, twice as long for
        twice the rate, and the others do not notice."""
        steps = {}
        for lr in (0.1, 0.2):
            server = self.whole_job('train.rounds=1', rules('match: "dense2.*", update: full'), f'full.lr={lr}',
                                    'optimizer.dither.sigma0=0', workers=1, run=f'run{lr}')[0]
            steps[lr] = self.model(server)
        for one, two in zip(steps[0.1].values('dense2.bias'), steps[0.2].values('dense2.bias')):
            self.assertAlmostEqual(2 * one, two, delta=1e-6 * abs(two))
        self.assertEqual(steps[0.1].values('dense1.weight'), steps[0.2].values('dense1.weight'))
        # dense1.bias votes: a step of signs, 2e-3 long.
        self.assertEqual({round(abs(v), 9) for v in steps[0.1].values('dense1.bias')}, {0.002})

    def test_all_in_full(self):
        """Nothing is left to vote on: it is SGD from the first round on, and says so in bytes; a switch by norms finds no
        mean to go by, which stops nothing."""
        server, s = self.whole_job(*FEW, *AT_80, rules('match: "*", update: full'), 'full.lr=0.5')
        self.assertEqual((s['params_full'], s['switch_round'], s['sgd_lr']), (PARAMS, 80, None))
        self.assertEqual([e['event'] for e in server.events()], ['switch', 'refusal'])
        self.assertGreater(s['bytes_pushed'], 4 * ROUNDS * 4 * PARAMS)
        self.assertGreater(s['test_accuracy'], 0.8)
        for line in server.history()[:80]:
            self.assertEqual((line['ties'], line['flips']), (0, 0), line)

    def test_later_rules_prevail(self):
        one = rules('match: "dense*", update: full', 'match: "*.weight", update: vote')
        other = rules('match: "*.bias", update: full')
        first, second = (self.whole_job(*FEW, *AT_80, rule, run=f'run{i}')[1] for i, rule in enumerate((one, other)))
        self.assertEqual(first['params_full'], BIASES)
        self.assertEqual(first['weights_digest'], second['weights_digest'])

    def test_patterns(self):
        for pattern, count in (('dense1.bias', 64), ('dense?.bias', 74), ('dense[2-9].*', 650), ('*weight', 4736)):
            with self.subTest(pattern):
                s = self.whole_job('train.rounds=5', rules(f'match: "{pattern}", update: full'))[1]
                self.assertEqual(s['params_full'], count)

    def test_rules_that_match_nothing(self):
        """Each of them is a warning; the job goes on, and the digest is that of the job without."""
        server, s = self.whole_job(*FEW, *AT_80, rules('match: "bn*", update: full', 'match: "*.bias", decay: false',
                                                       'match: "Dense1.bias", update: full'))
        plain = self.whole_job(*FEW, *AT_80, run='plain')[1]
        self.assertEqual((s['params_full'], s['weights_digest']), (0, plain['weights_digest']))
        warnings = [line.split('job     ')[1] for line in server.err().splitlines() if ' warn  job ' in line]
        self.assertEqual(warnings, [f"no tensor of the model matches '{pattern}' (tensors): that rule does nothing"
                                    for pattern in ('bn*', 'Dense1.bias')])

    def test_with_dither_and_other_workers(self):
        for i, sets in enumerate((('optimizer.dither.scale=tensor',), ('optimizer.dither.scale=absolute',),
                                  ('data.shards=by_label', 'optimizer.dither.sigma0=1'),
                                  ('optimizer.sgd.aggregate=median', 'optimizer.sgd.rate=tracking'))):
            with self.subTest(sets):
                sets = (*FEW, *AT_80, *sets, rules('match: "dense1.*", update: full'))
                one = self.whole_job(*sets, workers=3, run=f'one{i}')[1]
                two = self.whole_job(*sets, workers=3, run=f'two{i}')[1]
                self.assertEqual(one['weights_digest'], two['weights_digest'])
                self.assertEqual(sum(slot['resyncs'] for slot in one['slots']), 0)

    def test_the_clip_beside_them(self):
        """What optimizer.sgd.clip leaves of a step holds for the tensors that are voted on, and for no other."""
        rule = rules('match: "dense2.*", update: full')
        for lambda_ in ('norm', 'norm_tensor'):
            with self.subTest(lambda_):
                models = {}
                for clip in ('0', '1e-6'):
                    server, s = self.whole_job('train.rounds=81', 'train.evaluate=0', *AT_80, rule,
                                               f'optimizer.sgd.lambda={lambda_}', f'optimizer.sgd.clip={clip}',
                                               run=f'run{clip}')
                    models[clip] = self.model(server)
                    self.assertEqual(s['clipped_rounds'], int(clip != '0'))
                before = self.model(self.whole_job('train.rounds=81', 'train.evaluate=0', 'optimizer.switch.when=at',
                                                   'optimizer.switch.step=80', rule, 'optimizer.sgd.lr=1e-12',
                                                   run='before')[0])

                def far(name, clip):
                    return max(abs(a - b) for a, b in zip(models[clip].values(name), before.values(name)))
                self.assertGreater(far('dense1.weight', '0'), 1e-6)
                self.assertLess(far('dense1.weight', '1e-6'), 1e-3 * far('dense1.weight', '0'))
                self.assertEqual(models['0'].values('dense2.weight'), models['1e-6'].values('dense2.weight'))


class Still(made.Case):
    """Tensors whose gradient is always 0, of made_worker.c: all weights begin at 1."""

    def far(self, weights, name, begin=0):
        return max(abs(value - 1) for value in weights[name][begin:])

    def test_how_far_they_drift(self):
        """Without dither, or with noise that is relative to each tensor's own momentum, coins that alternate lead them
        nowhere: at most one step from where they began. Noise relative to the whole model, or absolute, moves them at
        random; and so do the coordinates without gradient of a tensor that has one elsewhere, with any noise."""
        step = 1.001 * made.GAMMA
        for workers in (1, 3, 4):
            for name, sets in {'none': ('optimizer.dither.sigma0=0',),
                               'tensor': ('optimizer.dither.sigma0=1', 'optimizer.dither.scale=tensor'),
                               'job': ('optimizer.dither.sigma0=1', 'optimizer.dither.scale=job'),
                               'absolute': ('optimizer.dither.sigma0=1', 'optimizer.dither.scale=absolute')}.items():
                with self.subTest(name, workers=workers):
                    weights = self.made_job(*NEVER, *sets, 'optimizer.dither.schedule=constant', workers=workers,
                                            run=f'{name}{workers}')[3]
                    zeros = {**weights, 'half.weight': weights['half.weight'][:128]}
                    for tensor in ('still.weight', 'still.bias'):
                        if name in ('none', 'tensor'):
                            self.assertLessEqual(self.far(zeros, tensor), step, tensor)
                        else:
                            self.assertGreater(self.far(zeros, tensor), 5 * step, tensor)
                    if name == 'none':
                        self.assertLessEqual(self.far(zeros, 'half.weight'), step)
                    else:
                        self.assertGreater(self.far(zeros, 'half.weight'), 5 * step)
                    # What has nothing but noise for a gradient wanders, whatever the dither.
                    self.assertGreater(self.far(weights, 'half.weight', 128), 3 * step)

    def test_in_the_margin_phase(self):
        """Counts of coins say V/M = 1 and -1 in turn: the same holds, with the margin phase's rate."""
        sets = (*NEVER, 'optimizer.start=margin', 'optimizer.margin.lr=0.02', 'optimizer.dither.scale=tensor')
        weights = self.made_job(*sets)[3]
        for name in ('still.weight', 'still.bias'):
            self.assertLessEqual(self.far(weights, name), 1.001 * 0.02, name)
        weights = self.made_job(*NEVER, 'optimizer.start=margin', 'optimizer.margin.lr=0.02', run='job')[3]
        self.assertGreater(self.far(weights, 'still.weight'), 0.04)

    def test_in_the_sgd_phase_and_in_full(self):
        """A mean of 0 moves nothing."""
        for i, sets in enumerate((('optimizer.mode=sgd', 'optimizer.sgd.lr=0.01'), ('optimizer.mode=adam',),
                                  ('optimizer.mode=sgd', 'optimizer.sgd.lr=0.01', 'optimizer.sgd.wire=i8'),
                                  (*NEVER, rules('match: "still.*", update: full')))):
            with self.subTest(sets):
                weights = self.made_job(*sets, run=f'run{i}')[3]
                self.assertEqual((self.far(weights, 'still.weight'), self.far(weights, 'still.bias')), (0, 0))

    def test_weight_decay_and_its_rules(self):
        """still.weight declares it, still.bias does not; rules turn that around."""
        decay = ('optimizer.weight_decay=0.1', 'optimizer.dither.sigma0=0')
        shrunk = (1 - made.GAMMA * 0.1) ** made.ROUNDS
        self.assertLess(shrunk, 0.89)
        step = 1.01 * made.GAMMA

        def near(weights, name, value):
            for got in weights[name]:
                self.assertAlmostEqual(got, value, delta=step, msg=name)
        weights = self.made_job(*NEVER, *decay)[3]
        near(weights, 'still.weight', shrunk)
        near(weights, 'still.bias', 1)
        weights = self.made_job(*NEVER, *decay, rules('match: "still.weight", decay: false', 'match: "*.bias", decay: true'),
                                run='turned')[3]
        near(weights, 'still.weight', 1)
        near(weights, 'still.bias', shrunk)
        # In full it goes by full.lr, which follows the sign phase's schedule: here constant.
        weights = self.made_job(*NEVER, *decay, 'full.lr=0.02', rules('match: "still.*", update: full, decay: true'),
                                run='full')[3]
        for name in ('still.weight', 'still.bias'):
            for got in weights[name]:
                self.assertAlmostEqual(got, (1 - 0.02 * 0.1) ** made.ROUNDS, delta=1e-4, msg=name)
        # In mode sgd by its rate.
        weights = self.made_job('optimizer.mode=sgd', 'optimizer.sgd.lr=0.02', *decay, 'optimizer.sgd.schedule=constant',
                                rules('match: "still.weight", decay: false', 'match: "*.bias", decay: true'),
                                run='sgd')[3]
        for got in weights['still.bias']:
            self.assertAlmostEqual(got, (1 - 0.02 * 0.1) ** made.ROUNDS, delta=1e-4)
        self.assertEqual(self.far(weights, 'still.weight'), 0)

    def test_weight_decay_through_the_switch(self):
        """A tensor without a mean has no rate of its own: its decay must not be that of a rate a hundred times too high."""
        for lambda_ in ('norm', 'norm_tensor', 'ratio'):
            with self.subTest(lambda_):
                _, s, _, weights = self.made_job('optimizer.weight_decay=0.1', 'optimizer.dither.sigma0=0',
                                                      f'optimizer.sgd.lambda={lambda_}', run=lambda_)
                rate = s['sgd_lr']
                if lambda_ == 'norm_tensor':
                    rate = rate['still.weight']
                    self.assertEqual(rate, s['sgd_lr']['still.bias'])
                    self.assertLess(rate, 4 * s['sgd_lr']['busy.weight'])
                before = (1 - made.GAMMA * 0.1) ** made.SWITCH
                after = (1 - rate * 0.1) ** (made.ROUNDS - made.SWITCH)
                self.assertGreater(after, 0.5)
                for got in weights['still.weight']:
                    self.assertAlmostEqual(got, before * after, delta=0.02)
                self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0)


if __name__ == '__main__':
    harness.main()
