"""Every phase and mode in a short job of digits: the sequence in the history, what travels, equal digests, workers that die."""
import math
import random
import time

import decisions
import harness
import readers

ROUNDS = 201  # the digest in the COMMIT of round 200 is that of round 199: nearly all of the job is compared
SHORT = (f'train.rounds={ROUNDS}', 'train.report=1', 'train.evaluate=0')
AT_80 = ('optimizer.switch.when=at', 'optimizer.switch.step=80')
SHAPES = [(64, 64), (64,), (10, 64), (10,)]
PARAMS = 64 * 64 + 64 + 10 * 64 + 10
SIGNS = math.ceil(PARAMS / 8)
WIRES = {'f32': 4 * PARAMS, 'bf16': 2 * PARAMS, 'i8': readers.int8_bytes(SHAPES)}
STATISTICS = 640  # bytes at most of a frame's header, loss, sketch and dot; 256 without a sketch
PLAIN = 256

# A worker that starts anew has neither momentum nor residual; where there is none, its death changes nothing as long as
# the others wait for another one.
FORGETFUL = ('optimizer.beta1=0', 'optimizer.dither.sigma0=0', 'optimizer.margin.sigma0=0', 'server.min_live=4')


def planes(workers):
    return workers.bit_length()


class Phases(harness.Case):
    def check(self, server, s, phases, wire='i8', first=None, workers=4, tracking=False):
        """`phases` are those of the rounds in order, with how many; `first`: the wire of the first SGD round."""
        expected = [name for name, rounds in phases for _ in range(rounds)]
        history = server.history()
        self.assertEqual([line['phase'] for line in history], expected)
        self.assertEqual([line['round'] for line in history], list(range(1, ROUNDS + 1)))
        self.assertEqual([slot['votes'] for slot in s['slots']], [ROUNDS] * workers)
        self.assertEqual(sum(slot['resyncs'] + slot['abstained'] for slot in s['slots']), 0)
        self.assertEqual(readers.weights_digest(readers.Model(server.run / 'model.safetensors').raw), s['weights_digest'])
        self.check_switches(server, s, phases)
        self.check_bytes(s, dict(phases), wire, first or wire, workers, tracking)
        for line in history:
            self.assertEqual('gamma' in line, line['phase'] != 'sgd', line)
            self.assertEqual('lambda' in line, line['phase'] == 'sgd', line)
        return history

    def check_switches(self, server, s, phases):
        decisions.check(self, server)
        made, after = [], 0
        for (before, rounds), (to, _) in zip(phases, phases[1:]):
            after += rounds
            made.append((after, before, to))
        self.assertEqual([(w['round'], w['from'], w['to']) for w in s['switches']], made)
        self.assertEqual([(e['round'], e['phase'], e['to']) for e in server.events('switch')], made)
        self.assertEqual([(w['test'], w['reason']) for w in s['switches']],
                         [(e['test'], e['reason']) for e in server.events('switch')])
        self.assertEqual((s['switch_round'], s['switch_reason']),
                         (made[-1][0], s['switches'][-1]['reason']) if made else (None, None))

    def check_bytes(self, s, rounds, wire, first, workers, tracking):
        sign, margin, sgd = (rounds.get(name, 0) * workers for name in ('sign', 'margin', 'sgd'))
        values = sgd * WIRES[wire] + (workers * (WIRES[first] - WIRES[wire]) if sgd else 0)
        up_more = STATISTICS if tracking else PLAIN

        def near(key, got, payload, more):
            self.assertTrue(payload <= got <= payload + more, f'{key}: {got} bytes, but {payload} and at most {more} more')
            self.assertEqual(payload == 0, got == 0, key)
        near('sign, up', s['bytes_pushed_sign'], sign * SIGNS, sign * STATISTICS)
        near('sign, down', s['bytes_updated_sign'], sign * SIGNS, sign * PLAIN)
        near('margin, up', s['bytes_pushed_margin'], margin * SIGNS, margin * STATISTICS)
        near('margin, down', s['bytes_updated_margin'], margin * SIGNS * planes(workers), margin * PLAIN)
        near('sgd, up', s['bytes_pushed'] - s['bytes_pushed_sign'] - s['bytes_pushed_margin'], values, sgd * up_more)
        # COMMIT 0, which only starts the job, is of no phase.
        down = s['bytes_updated'] - s['bytes_updated_sign'] - s['bytes_updated_margin']
        self.assertTrue(0 < down - values < sgd * PLAIN + workers * PLAIN, f'sgd, down: {down} bytes, for {values}')

    def run_phases(self, phases, *sets, again=True, accuracy=0.85, workers=4, config_sets=SHORT, **more):
        server, s = self.whole_job(*config_sets, *sets, workers=workers, run='run')
        history = self.check(server, s, phases, workers=workers, **more)
        self.assertGreater(s['test_accuracy'], accuracy)
        if again:
            second = self.whole_job(*config_sets, *sets, workers=workers, run='again')[1]
            for key in ('weights_digest', 'switches', 'sgd_lr', 'test_loss', 'bytes_pushed', 'bytes_updated',
                        'bytes_updated_margin'):
                self.assertEqual(s[key], second[key], key)
        return server, s, history


class Hybrid(Phases):
    def test_wires(self):
        digests = set()
        for wire in WIRES:
            with self.subTest(wire):
                # A rate from norms: the first SGD round is in float32, whatever the others are.
                _, s, _ = self.run_phases([('sign', 80), ('sgd', 121)], *AT_80, f'optimizer.sgd.wire={wire}', wire=wire,
                                          first='f32')
                digests.add(s['weights_digest'])
        self.assertEqual(len(digests), 3)

    def test_auto_is_int8(self):
        _, s, _ = self.run_phases([('sign', 80), ('sgd', 121)], *AT_80, first='f32', again=False)
        same = self.whole_job(*SHORT, *AT_80, 'optimizer.sgd.wire=i8', run='i8')[1]
        self.assertEqual(s['weights_digest'], same['weights_digest'])

    def test_a_rate_from_statistics_needs_no_float32(self):
        self.run_phases([('sign', 80), ('sgd', 121)], *AT_80, 'optimizer.sgd.lambda=ratio', again=False)

    def test_sign_then_margin(self):
        _, s, history = self.run_phases([('sign', 80), ('margin', 121)], *AT_80, 'optimizer.switch.to=margin')
        self.assertIsNone(s['sgd_lr'])
        # By default 4 times the rate of signs, on the same schedule, and noise of constant strength.
        for line in history:
            left = (ROUNDS - line['round'] + 1) / ROUNDS
            times = 4 if line['phase'] == 'margin' else 1
            self.assertAlmostEqual(line['gamma'], times * 0.002 * left, delta=1e-7, msg=line)
            if line['phase'] == 'margin':
                self.assertEqual(line['sigma'], 1)
            for key in ('margin', 'ties', 'unanimous', 'flips'):
                self.assertTrue(0 <= line[key] <= 1, (key, line))

    def test_sign_then_margin_then_sgd(self):
        phases = [('sign', 80), ('margin', math.ceil(0.7 * ROUNDS) - 80), ('sgd', ROUNDS - math.ceil(0.7 * ROUNDS))]
        server, s, _ = self.run_phases(phases, *AT_80, 'optimizer.switch.to=margin', 'optimizer.margin.until=0.7',
                                       first='f32')
        self.assertEqual([e['test'] for e in server.events('switch')], ['at', 'until'])
        self.assertEqual(set(s['sgd_lr']), {'dense1.weight', 'dense1.bias', 'dense2.weight', 'dense2.bias'})

    def test_margin_then_sgd(self):
        self.run_phases([('margin', 80), ('sgd', 121)], 'optimizer.start=margin', *AT_80, first='f32')

    def test_margin_all_the_way_with_other_numbers(self):
        _, _, history = self.run_phases([('margin', ROUNDS)], 'optimizer.start=margin', 'optimizer.switch.when=never',
                                        'optimizer.margin.lr=0.006', 'optimizer.margin.sigma0=0.5')
        self.assertEqual({line['sigma'] for line in history}, {0.5})
        self.assertAlmostEqual(history[0]['gamma'], 0.006, delta=1e-8)

    def test_margin_of_other_numbers_of_workers(self):
        """One plane for one worker, two up to three, four from eight on."""
        for workers in (1, 2, 3, 8, 16):
            with self.subTest(workers=workers):
                self.run_phases([('margin', 80), ('sgd', 121)], 'optimizer.start=margin', *AT_80, first='f32',
                                workers=workers, again=False, accuracy=0.7)

    def test_tracking(self):
        """The rate goes on being calibrated, from statistics or from the mean's length; frozen it does not."""
        for rule, wire in (('ratio', 'i8'), ('norm', 'f32'), ('norm_tensor', 'f32')):
            with self.subTest(rule):
                sets = (*AT_80, f'optimizer.sgd.lambda={rule}', 'optimizer.sgd.schedule=constant')
                _, s, tracked = self.run_phases([('sign', 80), ('sgd', 121)], *sets, 'optimizer.sgd.rate=tracking',
                                                first=wire, tracking=True, accuracy=0.5)
                frozen = self.whole_job(*SHORT, *sets, run='frozen')
                rates = [line['lambda'] for line in frozen[0].history()[80:]]
                self.assertEqual(len(set(rates)), 1)
                rates = [line['lambda'] for line in tracked[80:]]
                self.assertGreater(len(set(rates)), 50)
                if rule == 'ratio':
                    self.assertTrue(all(1e-5 <= rate <= 1 for rate in rates))
                else:
                    # Both take their first rate from the first mean; from then on the other one goes its own ways.
                    self.assertEqual(rates[0], frozen[0].history()[80]['lambda'])

    def test_by_auto_swats_and_at_all_ends(self):
        for sets, rounds in ((('optimizer.switch.when=auto',), None),
                             (('optimizer.switch.when=swats', 'optimizer.switch.tolerance=1',
                               'optimizer.switch.patience=3'), None),
                             (('optimizer.switch.when=at', 'optimizer.switch.step=1'), 1),
                             (('optimizer.switch.when=at', f'optimizer.switch.step={ROUNDS - 1}'), ROUNDS - 1)):
            with self.subTest(sets):
                server, s = self.whole_job(*SHORT, *sets)
                after = s['switch_round']
                self.assertTrue(after == rounds if rounds else 0.1 * ROUNDS <= after <= 0.7 * ROUNDS + 1, after)
                self.check(server, s, [('sign', after), ('sgd', ROUNDS - after)], first='f32')

    def test_data_that_differ(self):
        """A hybrid job whose workers see labels of their own, in all three phases."""
        self.run_phases([('sign', 80), ('margin', 61), ('sgd', 60)], *AT_80, 'data.shards=by_label',
                        'optimizer.switch.to=margin', 'optimizer.margin.until=0.7', first='f32', accuracy=0.3)


class Modes(Phases):
    def check_mode(self, mode, wire, *sets, rate, accuracy=0.85, **more):
        auto = (f'optimizer.sgd.wire={wire}',) if wire else ()
        server, s, history = self.run_phases([('sgd', ROUNDS)], f'optimizer.mode={mode}', *auto, *sets, wire=wire or 'f32',
                                             accuracy=accuracy, **more)
        self.assertEqual((s['mode'], s['sgd_lr'], server.events()), (mode, rate, []))
        self.assertAlmostEqual(history[0]['lambda'], rate, delta=1e-6 * rate)
        self.assertNotIn('switch', server.err())
        return s, history

    def test_sgd(self):
        digests = set()
        for wire in (None, 'f32', 'bf16', 'i8'):
            with self.subTest(wire):
                s, history = self.check_mode('sgd', wire, rate=0.5)
                digests.add(s['weights_digest'])
                # `continue` has nothing to continue but the sign phase's schedule, from its begin on.
                self.assertAlmostEqual(history[99]['lambda'], 0.5 * (ROUNDS - 99) / ROUNDS, delta=1e-6)
        self.assertEqual(len(digests), 3, 'auto is float32')

    def test_sgd_with_a_rate_and_a_schedule(self):
        _, history = self.check_mode('sgd', None, 'optimizer.sgd.lr=0.25', 'optimizer.sgd.schedule=constant', rate=0.25)
        self.assertEqual({line['lambda'] for line in history}, {0.25})
        _, history = self.check_mode('sgd', None, 'optimizer.sgd.lr=0.3', 'optimizer.sgd.schedule=cosine',
                                     'optimizer.sgd.momentum=none', rate=0.3, again=False)
        self.assertAlmostEqual(history[100]['lambda'], 0.15 * (1 + math.cos(math.pi * 100 / ROUNDS)), delta=1e-6)

    def test_adam(self):
        digests = set()
        for wire in (None, 'f32', 'bf16', 'i8'):
            with self.subTest(wire):
                s, _ = self.check_mode('adam', wire, 'optimizer.adam.lr=0.003', rate=0.003, accuracy=0.8)
                digests.add(s['weights_digest'])
        self.assertEqual(len(digests), 3, 'auto is float32')

    def test_sgd_is_what_it_says(self):
        """One worker without momentum and with a constant rate on float32: twice the rate takes the first step twice as
        far."""
        steps = []
        for rate in (0.1, 0.2):
            server = self.whole_job('train.rounds=1', 'optimizer.mode=sgd', 'optimizer.sgd.momentum=none',
                                    f'optimizer.sgd.lr={rate}', workers=1, run=f'run{rate}')[0]
            steps.append(readers.Model(server.run / 'model.safetensors').values('dense2.bias'))
        # Biases begin at 0.
        for one, two in zip(*steps):
            self.assertAlmostEqual(2 * one, two, delta=1e-6 * abs(two))
        self.assertGreater(max(map(abs, steps[0])), 1e-4)

    def test_the_first_step_of_adam_has_the_length_of_its_rate(self):
        server = self.whole_job('train.rounds=1', 'optimizer.mode=adam', 'optimizer.adam.lr=0.01', run='run')[0]
        for value in readers.Model(server.run / 'model.safetensors').values('dense2.bias'):
            self.assertAlmostEqual(abs(value), 0.01, delta=1e-5)

    def test_aggregates(self):
        digests = set()
        for name in ('mean', 'median', 'trimmed_mean'):
            for mode in ('sgd', 'adam'):
                with self.subTest(name, mode=mode):
                    s, _ = self.check_mode(mode, None, f'optimizer.sgd.aggregate={name}', 'optimizer.adam.lr=0.003',
                                           rate=0.5 if mode == 'sgd' else 0.003, accuracy=0.8, again=mode == 'sgd',
                                           workers=5)
                    digests.add(s['weights_digest'])
        self.assertEqual(len(digests), 6)

    def test_what_a_mode_does_not_use_changes_nothing(self):
        plain = self.whole_job(*SHORT, 'optimizer.mode=sgd', run='plain')[1]
        other = self.whole_job(*SHORT, 'optimizer.mode=sgd', 'optimizer.switch.when=at', 'optimizer.switch.step=80',
                               'optimizer.sign.lr=0.5', 'optimizer.dither.sigma0=2', 'optimizer.sgd.lambda=ratio',
                               'optimizer.sgd.rate=tracking', 'optimizer.start=margin', run='other')[1]
        self.assertEqual(plain['weights_digest'], other['weights_digest'])
        self.assertEqual(other['switches'], [])


class Deaths(Phases):
    def with_deaths(self, *sets, seed, deaths=4, rounds=3001):
        """Kills workers in all phases, and starts others in their slots at once. Returns the summary."""
        rng = random.Random(seed)
        server = self.start_server(f'train.rounds={rounds}', 'train.evaluate=0', 'train.report=1000', *sets, run='deaths')
        workers = self.start_workers(server, 4, slots=True)
        for death in range(deaths):
            self.wait_for_round(server, 1 + death * rounds * 3 // (4 * deaths))
            slot = rng.randrange(4)
            time.sleep(rng.random() * 0.02)
            workers[slot].kill()
            workers[slot] = self.start_worker(server, slot=slot)
        self.assertLess(server.status()['round'], rounds, 'the job was over before all had died: make it longer')
        self.wait_for(lambda: not server.alive() or server.status()['live'] == 4, 'all to be back')
        s = self.finish(server, workers)
        self.assert_done(s)
        self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0, 'server and workers have the same weights')
        # On a busy machine some were killed before they had joined.
        joins = sum(slot['joins'] for slot in s['slots'])
        self.assertTrue(4 < joins <= 4 + deaths, joins)
        self.assertEqual(readers.weights_digest(readers.Model(server.run / 'model.safetensors').raw), s['weights_digest'])
        return s

    def test_a_death_that_changes_nothing(self):
        """Workers without a memory of their own: the job with deaths ends with the weights of the one without."""
        third = ('optimizer.switch.when=at', 'optimizer.switch.fraction=0.33', 'optimizer.sgd.lr=0.1')
        cases = {
            'signs, then SGD in float32': (*third, 'optimizer.sgd.wire=f32'),
            'margins, then SGD in bf16': ('optimizer.start=margin', *third, 'optimizer.sgd.wire=bf16'),
            'all phases': (*third, 'optimizer.switch.to=margin', 'optimizer.margin.until=0.66', 'optimizer.sgd.wire=f32'),
            'tensors in full': (*third, 'optimizer.sgd.wire=f32', 'tensors=[{match: "*.bias", update: full}]'),
            'median': ('optimizer.mode=sgd', 'optimizer.sgd.aggregate=median'),
            'Adam': ('optimizer.mode=adam', 'optimizer.sgd.wire=bf16'),
        }
        for seed, (name, sets) in enumerate(cases.items()):
            with self.subTest(name):
                s = self.with_deaths(*FORGETFUL, *sets, seed=seed)
                plain = self.whole_job('train.rounds=3001', 'train.evaluate=0', 'train.report=1000', *FORGETFUL, *sets,
                                       run='plain')[1]
                self.assertEqual(s['switches'], plain['switches'])
                votes = [slot['votes'] for slot in s['slots']]
                # Tensors in full are a second chunk: who dies between the two has given half of a round.
                if 'tensors' not in name:
                    self.assertEqual(votes, [3001] * 4)
                if votes == [3001] * 4:
                    self.assertEqual(s['weights_digest'], plain['weights_digest'])

    def test_deaths_of_workers_that_remember(self):
        """Momentum, noise and residuals are lost with a worker: all that stay have the same weights for all that."""
        third = ('optimizer.switch.when=at', 'optimizer.switch.fraction=0.33')
        cases = {
            'margin, int8': (*third, 'optimizer.start=margin'),
            'all phases': (*third, 'optimizer.switch.to=margin', 'optimizer.margin.until=0.66',
                           'optimizer.dither.scale=tensor', 'tensors=[{match: "dense2.*", update: full}]'),
            'tracking': (*third, 'optimizer.sgd.rate=tracking', 'optimizer.sgd.lambda=ratio'),
            'Adam, int8, trimmed mean': ('optimizer.mode=adam', 'optimizer.sgd.wire=i8',
                                         'optimizer.sgd.aggregate=trimmed_mean'),
        }
        for seed, (name, sets) in enumerate(cases.items()):
            with self.subTest(name):
                self.with_deaths(*sets, seed=seed)

    def test_a_late_joiner_in_each_phase(self):
        for name, sets in {'margin': ('optimizer.start=margin', 'optimizer.switch.when=never'),
                           'int8': ('optimizer.switch.when=at', 'optimizer.switch.step=50', 'optimizer.sgd.lr=0.1'),
                           'Adam': ('optimizer.mode=adam',),
                           'in full': ('tensors=[{match: "*.bias", update: full}]', 'optimizer.dither.scale=tensor')}.items():
            with self.subTest(name):
                server = self.start_server('train.rounds=3001', 'train.evaluate=0', 'train.report=1000', *sets,
                                           'server.start_timeout=0.3', 'server.min_live=3', run=name.replace(' ', '-'))
                workers = self.start_workers(server, 3)
                self.wait_for_round(server, 100)
                workers.append(self.start_worker(server))
                slot = self.slot_of(workers[3])
                self.wait_for(lambda v=slot, w=server: w.status()['slots'][v]['votes'] > 0, 'the late one to vote')
                s = self.finish(server, workers)
                self.assert_done(s)
                self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0)
                self.assertGreater(s['test_accuracy'], 0.9)


if __name__ == '__main__':
    harness.main()
