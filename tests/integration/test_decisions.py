"""Decisions, each a line of the log and a record of history.jsonl with all numbers: switch, rates, dry_run, refusal; and an
operator's switch."""
import math
import os
import subprocess

import decisions
import harness
import made

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
ROUNDS = 138
SHORT = ('train.epochs=6', 'train.report=1', 'train.evaluate=0')
AT_80 = ('optimizer.switch.when=at', 'optimizer.switch.step=80')
MANUAL = ('optimizer.switch.when=manual', 'train.rounds=100000', 'train.evaluate=0', 'train.report=1000')


class Decisions(harness.Case):
    def run_job(self, *sets, **more):
        server, s = self.whole_job(*SHORT, *sets, **more)
        events = decisions.check(self, server)
        return server, s, events

    def near(self, a, b, what, relative=1e-6):
        self.assertAlmostEqual(a, b, delta=relative * abs(b), msg=what)


class Switch(Decisions):
    def test_every_number_is_there(self):
        _, _, events = self.run_job(*AT_80, 'optimizer.sgd.lambda=ratio')
        self.assertEqual([e['event'] for e in events], ['switch'])
        e = events[0]
        self.assertEqual((e['round'], e['phase'], e['to'], e['test'], e['rule']), (80, 'sign', 'sgd', 'at', 'ratio'))
        for key in decisions.NUMBERS | decisions.COUNTS:
            self.assertIsNotNone(e[key], key)
        # Statistics of round 79 are complete with the pushes of round 80.
        self.assertEqual((e['rounds_seen'], e['window'], e['windows'], e['flat_windows']), (79, 63, 1, 0))

    def test_rates_from_the_numbers_beside_them(self):
        """What the record says the rate came from gives that rate."""
        _, s, (e,) = self.run_job(*AT_80, 'optimizer.sgd.lambda=ratio')
        self.near(e['lambda'], min(max(e['gamma'] * e['a'] / e['b'], 1e-5), 1), 'ratio')
        self.near(e['lambda'], s['sgd_lr'], 'summary', 1e-8)
        _, s, (e,) = self.run_job(*AT_80, 'optimizer.sgd.lambda=denoised', run='denoised')
        self.near(e['lambda'], min(max(e['gamma'] * e['a'] / max(e['d'], e['b'] / 10), 1e-5), 1), 'denoised')
        _, s, (e,) = self.run_job(*AT_80, 'optimizer.sgd.lambda=paper', run='paper')
        self.near(e['lambda'], min(max(e['lambda_mean'], 1e-5), 1), 'paper')
        _, s, (e,) = self.run_job(*AT_80, 'optimizer.sgd.lr=0.25', run='fixed')
        self.assertEqual((e['lambda'], e['rule'], s['sgd_lr']), (0.25, 'optimizer.sgd.lr', 0.25))

    def test_against_the_lines_that_report(self):
        server, _, (e, _) = self.run_job(*AT_80)
        line = server.history()[79]
        self.near(e['a'], line['stationarity'], 'a')
        self.near(e['noise_scale'], line['noise_scale'], 'noise scale')
        self.near(e['gamma'], line['gamma'], 'gamma')
        self.near(e['gamma'] * e['a'] / e['b'], line['lambda_ratio'], 'ratio')
        self.near(e['first_loss'], server.history()[0]['train_loss'], 'the first loss')
        window = [line['train_loss'] for line in server.history()[:63]]
        self.near(e['best_loss'], sum(window) / 63, 'the first window')

    def test_bounds_are_said(self):
        server, s, (e,) = self.run_job(*AT_80, 'optimizer.sgd.lambda=ratio', 'optimizer.sgd.lambda_max=1e-4')
        self.assertEqual((e['lambda'], s['sgd_lr']), (1e-4, 1e-4))
        self.near(e['lambda_without_bounds'], e['gamma'] * e['a'] / e['b'], 'without bounds')
        self.assertRegex(server.err(), r'lambda = 0\.0001 \(ratio; [0-9.]+ without optimizer\.sgd\.lambda_min and lambda_max\)')
        _, _, (e,) = self.run_job(*AT_80, 'optimizer.sgd.lambda=ratio', 'optimizer.sgd.lambda_min=0.9', run='min')
        self.assertEqual(e['lambda'], 0.9)
        _, _, (e,) = self.run_job(*AT_80, 'optimizer.sgd.lambda=ratio', run='none')
        self.assertNotIn('lambda_without_bounds', e)

    def test_auto(self):
        server, s = self.whole_job()
        e, rates = decisions.check(self, server)
        words = (f'auto: diminishing returns, {e["flat_windows"]} windows of {e["window"]} rounds in a row brought less than '
                 f'1 % (the last {100 * e["last_gain"]:.2f} %) of the loss won so far')
        self.assertEqual((e['test'], e['reason'], s['switch_reason']), ('auto', words, words))
        self.assertEqual((e['windows'], e['round'] % e['window']), (e['round'] // e['window'], 0))
        self.assertEqual((rates['event'], rates['round']), ('rates', e['round'] + 1))

    def test_auto_at_its_cap(self):
        _, s, events = self.run_job()
        self.assertEqual((s['switch_round'], events[0]['test']), (math.ceil(0.7 * ROUNDS), 'auto'))
        self.assertRegex(events[0]['reason'], r'^auto: cap, round 97 is 70 % of the job')

    def test_swats(self):
        """Its numbers: the rate of a round near the average of rates, for so many rounds in a row."""
        server, s, (e, _) = self.run_job('optimizer.switch.when=swats', 'optimizer.switch.tolerance=0.5',
                                         'optimizer.switch.patience=4')
        self.assertEqual((e['test'], e['settled_rounds']), ('swats', 4))
        self.assertLessEqual(abs(e['lambda_now'] - e['lambda_mean']), 0.5 * e['lambda_mean'])
        self.assertRegex(e['reason'], rf'^swats: for 4 rounds the rate of a round \(the last {e["lambda_now"]:.4g}\) was '
                                      rf'within 50 % of the average of rates \({e["lambda_mean"]:.4g}\)$')
        self.assertGreaterEqual(e['round'], 0.1 * ROUNDS)
        # One that would never settle does not switch.
        _, s, events = self.run_job('optimizer.switch.when=swats', 'optimizer.switch.tolerance=1e-9', run='never')
        self.assertEqual((s['switch_round'], events), (None, []))

    def test_two_switches(self):
        _, s, events = self.run_job(*AT_80, 'optimizer.switch.to=margin', 'optimizer.margin.until=0.8')
        self.assertEqual([(e['event'], e['test'], e['round'], e['phase'], e['to']) for e in events],
                         [('switch', 'at', 80, 'sign', 'margin'), ('switch', 'until', 111, 'margin', 'sgd'),
                          ('rates', 'rate', 112, 'sgd', 'sgd')])
        self.assertNotIn('rule', events[0])
        self.assertEqual([w['reason'] for w in s['switches']],
                         ['at: round 80, as the job file says', 'until: round 111, as optimizer.margin.until says'])
        self.near(events[1]['gamma'], 4 * 0.002 * (ROUNDS - 110) / ROUNDS, 'the rate of the margin phase')

    def test_rates_by_norm(self):
        """One rate: a number in the record and in the line; the first SGD round has it already."""
        server, s, (switch, rates) = self.run_job(*AT_80, 'optimizer.sgd.lambda=norm')
        self.assertIsNone(switch['lambda'])
        self.assertEqual(rates['lambda'], s['sgd_lr'])
        self.assertEqual((rates['round'], rates['test'], rates['gamma']), (81, 'rate', switch['gamma']))
        left = (ROUNDS - 80) / (ROUNDS - 79)
        self.near(server.history()[80]['lambda'], rates['lambda'] * left, 'round 81')


class DryRun(Decisions):
    def test_each_rule_says_its_rate(self):
        for rule in ('norm_tensor', 'norm', 'ratio'):
            with self.subTest(rule):
                server, s, events = self.run_job(*AT_80, 'optimizer.switch.dry_run=true', f'optimizer.sgd.lambda={rule}')
                self.assertEqual([(e['event'], e['round'], e['to'], e['rule']) for e in events],
                                 [('dry_run', 80, 'sgd', rule)], 'once')
                self.assertEqual(events[0]['lambda_is_a_guess'], rule != 'ratio')
                self.near(events[0]['lambda'], s['sgd_lr'], 'summary', 1e-8)
                self.assertEqual((s['switches'], s['switch_round'], s['switch_dry_run']), ([], None, True))
                self.assertEqual({line['phase'] for line in server.history()}, {'sign'})

    def test_to_margin(self):
        _, s, events = self.run_job(*AT_80, 'optimizer.switch.dry_run=true', 'optimizer.switch.to=margin')
        self.assertEqual([(e['event'], e['to']) for e in events], [('dry_run', 'margin')])
        self.assertNotIn('rule', events[0])
        self.assertIsNone(s['sgd_lr'])
        self.assertIn('dry run', s['switch_reason'])

    def test_asked_by_an_operator(self):
        server = self.start_server(*MANUAL, 'optimizer.switch.dry_run=true')
        workers = self.start_workers(server, 4)
        for n in (1, 2):
            self.wait_for_round(server, 50 * n)
            self.assertEqual(server.ask('switch'), {'ok': True})
            self.wait_for_words(server, r'dry run: would switch .*: manual: an operator asked for it; lambda = about',
                                times=n)
        self.assertEqual(server.status()['phase'], 'sign')
        server.ask('stop')
        self.finish(server, workers)
        self.assertEqual([e['event'] for e in decisions.check(self, server)], ['dry_run'] * 2)


class Refusal(Decisions):
    def test_a_rule_without_statistics(self):
        """After the first round there are none yet: refused, said once, and done as soon as there are."""
        server, s, (refusal, switch) = self.run_job('optimizer.switch.when=at', 'optimizer.switch.step=1',
                                                    'optimizer.sgd.lambda=ratio')
        self.assertEqual((refusal['event'], refusal['round'], refusal['to'], refusal['test']), ('refusal', 1, 'sgd', 'at'))
        self.assertEqual(refusal['reason'], 'at: round 1, as the job file says, but no worker has sent the statistics that '
                                            'its rate comes from (sketch and dot)')
        self.assertEqual((refusal['rounds_seen'], refusal['a'], refusal['noise_scale']), (0, None, None))
        self.assertEqual((switch['event'], switch['round'], s['switch_round']), ('switch', 2, 2))
        self.assertEqual(server.history()[1]['phase'], 'sign')
        self.assertEqual(server.history()[2]['phase'], 'sgd')

    def test_a_mean_without_length(self):
        """Gradients that are all 0 have no rate by norm: said once, and no weight changes; the job goes on."""
        server = self.start_server('workers=2', config=made.CONFIG)
        workers = [self.start('made', made.WORKER, server.address(), slot, 0, 'zero') for slot in range(2)]
        s = self.finish(server, workers)
        self.assert_done(s)
        events = decisions.check(self, server)
        self.assertEqual([e['event'] for e in events], ['switch', 'refusal'])
        self.assertEqual((events[1]['round'], events[1]['test']), (66, 'rate'))
        self.assertIsNone(s['sgd_lr'])
        self.assertEqual({line['lambda'] for line in server.history() if line['phase'] == 'sgd'}, {0})


class Manual(Decisions):
    def running(self, *sets, rounds=50):
        server = self.start_server(*MANUAL, *sets)
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, rounds)
        return server, workers

    def stop(self, server, workers):
        self.assertEqual(server.ask('stop'), {'ok': True})
        s = self.finish(server, workers)
        self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0)
        return s, decisions.check(self, server)

    def tool(self, *arguments):
        done = subprocess.run([SIGNPOST, 'switch', *map(str, arguments)], capture_output=True, text=True, check=False,
                              timeout=harness.seconds(20))
        return done.returncode, done.stdout + done.stderr

    def test_by_the_socket(self):
        server, workers = self.running()
        self.assertEqual(server.status()['phase'], 'sign', 'it does not go by itself')
        self.assertEqual(server.ask('switch'), {'ok': True})
        self.wait_for(lambda: server.status()['phase'] == 'sgd', 'the SGD phase')
        status = server.status()
        self.assertEqual([(w['from'], w['to'], w['test'], w['reason']) for w in status['switches']],
                         [('sign', 'sgd', 'manual', 'manual: an operator asked for it')])
        self.wait_for_round(server, status['round'] + 100)
        self.assertEqual(server.ask('switch'), {'error': 'the SGD phase is the last one'})
        s, events = self.stop(server, workers)
        self.assertEqual([(e['event'], e['test']) for e in events],
                         [('switch', 'manual'), ('rates', 'rate'), ('refusal', 'manual')])
        self.assertEqual(events[0]['round'], s['switch_round'])
        self.assertEqual(events[2]['reason'], 'an operator asked for one, but the SGD phase is the last one')
        self.assertIn('an operator asked for the next phase', server.err())

    def test_by_the_tool_through_all_phases(self):
        server, workers = self.running('optimizer.switch.to=margin')
        for phase in ('margin', 'sgd'):
            code, words = self.tool(server.run)
            self.assertEqual(code, 0, words)
            self.wait_for(lambda p=phase: server.status()['phase'] == p, phase)
            self.wait_for_round(server, server.status()['round'] + 50)
        code, words = self.tool(server.run)
        self.assertEqual(code, 1)
        self.assertIn('the SGD phase is the last one', words)
        s, events = self.stop(server, workers)
        self.assertEqual([(w['from'], w['to']) for w in s['switches']], [('sign', 'margin'), ('margin', 'sgd')])
        self.assertEqual([e['event'] for e in events], ['switch', 'switch', 'rates', 'refusal'])

    def test_an_operator_may_be_faster_than_the_job(self):
        """Whatever `when` says; and `until` does not hold an operator back either."""
        server, workers = self.running('optimizer.switch.when=at', 'optimizer.switch.step=90000',
                                       'optimizer.switch.to=margin', 'optimizer.margin.until=0.95')
        for phase in ('margin', 'sgd'):
            self.assertEqual(server.ask('switch'), {'ok': True})
            self.wait_for(lambda p=phase: server.status()['phase'] == p, phase)
        s, _ = self.stop(server, workers)
        self.assertEqual([w['test'] for w in s['switches']], ['manual'] * 2)

    def test_refused_where_it_makes_no_sense(self):
        server = self.start_server(*MANUAL)
        self.assertEqual(server.ask('switch'), {'error': 'the job has not started'})
        self.assertEqual(self.tool(server.run)[0], 1)
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 10)
        _, events = self.stop(server, workers)
        self.assertEqual([(e['event'], e['round'], e['test']) for e in events], [('refusal', 0, 'manual')] * 2)
        server = self.start_server(*MANUAL, 'optimizer.mode=adam', run='adam')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 10)
        words = 'optimizer.mode is not hybrid, and such a job has one phase only'
        self.assertEqual(server.ask('switch'), {'error': words})
        s, events = self.stop(server, workers)
        self.assertEqual([e['event'] for e in events], ['refusal'])
        self.assertEqual((events[0]['phase'], events[0]['gamma'], s['switches']), ('sgd', None, []))

    def test_asked_many_times_it_switches_once(self):
        server, workers = self.running()
        workers[0].send(harness.signal.SIGSTOP)  # the round waits for it: all of these are asked of one round
        self.wait_for(lambda: server.status()['waits_for'].startswith('the pushes of slot'), 'a stuck round')
        answers = [server.ask('switch') for _ in range(5)]
        self.assertEqual(answers, [{'ok': True}] * 5)
        stuck = server.status()
        self.assertEqual(stuck['phase'], 'sign', 'the change is between rounds')
        workers[0].send(harness.signal.SIGCONT)
        self.wait_for_round(server, stuck['round'] + 10)
        s, events = self.stop(server, workers)
        self.assertEqual([e['event'] for e in events], ['switch', 'rates'])
        self.assertEqual(s['switch_round'], stuck['round'] + 1)

    def test_the_digest_is_that_of_the_same_switch_by_the_job_file(self):
        server = self.start_server(*SHORT, 'optimizer.switch.when=manual', 'train.rounds=3001', 'train.report=1000')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 100)
        server.ask('switch')
        s = self.finish(server, workers)
        self.assertGreater(s['switch_round'], 100)
        same = self.whole_job(*SHORT, 'optimizer.switch.when=at', f'optimizer.switch.step={s["switch_round"]}',
                              'train.rounds=3001', 'train.report=1000', run='same')[1]
        self.assertEqual(s['weights_digest'], same['weights_digest'])


if __name__ == '__main__':
    harness.main()
