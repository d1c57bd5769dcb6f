"""Workers that lie, among honest ones: what the vote, the quarantine and a trimmed mean make of them."""
import os

import harness
import lying

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
SMALL = ('train.batch=4', 'train.evaluate=0')  # 60 examples a round, 720 rounds
HONEST, LIARS = range(8), range(8, 15)
SWITCH = ('optimizer.switch.when=at', 'optimizer.switch.step=300')


class Liars(lying.Case):
    def test_seven_of_fifteen_flip_undefended(self):
        for seed in (1, 2):
            summary, events = self.lying_job(*SMALL, f'seed={seed}', 'optimizer.switch.when=never',
                                             'server.quarantine=off', liars=7, run=f'run{seed}')
            self.assertEqual(events, [])
            self.assertGreater(summary['test_accuracy'], 0.87)
            self.assertEqual([slot['correlation'] for slot in summary['slots']], [None] * 15)

    def test_seven_of_fifteen_flip_and_are_excluded(self):
        for seed in (1, 2):
            summary, events = self.lying_job(*SMALL, f'seed={seed}', 'server.quarantine=exclude', liars=7,
                                             run=f'run{seed}')
            self.assertEqual({event['slot'] for event in events}, set(LIARS))
            self.assertEqual([event['excluded'] for event in events], [True] * 7)
            self.assertLess(max(event['round'] for event in events), 300)
            self.assertGreater(summary['test_accuracy'], 0.94)
            for event in events:
                slot = summary['slots'][event['slot']]
                self.assertTrue(slot['suspected'])
                self.assertEqual(slot['votes'], event['round'])
                # Nobody waits for it: some of what it goes on pushing may come too late to be counted.
                self.assertGreater(slot['excluded'], 0)
                self.assertLessEqual(slot['excluded'], summary['rounds'] - event['round'])
                self.assertEqual(slot['missed'], 0)
                self.assertLess(slot['correlation'], -0.1)
            for i in HONEST:
                slot = summary['slots'][i]
                self.assertEqual((slot['votes'], slot['suspected'], slot['excluded']), (summary['rounds'], False, 0))
                self.assertGreater(slot['correlation'], -0.03)

    def test_status_shows_who_is_excluded(self):
        server, processes = self.start_job(*SMALL, 'train.epochs=3000', 'server.quarantine=exclude', workers=5, liars=1)
        status = self.wait_for(lambda: [s for s in [server.status()] if s['slots'][4]['state'] == 'excluded'],
                               'the liar to be excluded')[0]
        self.assertEqual((status['live'], status['slots'][3]['state']), (4, 'live'))
        words = self.start('status', SIGNPOST, 'status', server.run)
        self.wait_for_end(words)
        self.assertRegex(words.out(), r'  4     excluded .* -0\.\d+ .*  suspected\n')
        self.assertRegex(server.err(), r'slot 4, votes against [34] of 4 others \(correlation -0\.\d+, \d+ samples\); it is '
                                       'excluded from the next round on')
        # Whoever comes in its place is another one.
        processes[4].kill()
        self.wait_for(lambda: server.status()['slots'][4]['state'] == 'empty', 'the liar to be gone')
        self.assertEqual(server.status()['live'], 4)
        processes[4] = self.start_worker(server, slot=4)
        self.wait_for(lambda: server.status()['live'] == 5, 'another worker to take part')
        self.assertFalse(server.status()['slots'][4]['suspected'])
        server.ask('stop')
        self.wait_for_end(server)

    def test_warned_of_and_counted_on(self):
        summary, events = self.lying_job(*SMALL, workers=5, liars=1)
        self.assertEqual([(event['slot'], event['excluded']) for event in events], [(4, False)])
        self.assertEqual(summary['slots'][4]['votes'], summary['rounds'])
        self.assertTrue(summary['slots'][4]['suspected'])

    def test_three_of_fifteen_lie_in_the_sgd_phase(self):
        for lie in ('flip', 'scale', 'nan'):
            summary, _ = self.lying_job(*SMALL, *SWITCH, 'optimizer.sgd.aggregate=trimmed_mean', 'server.quarantine=off',
                                        liars=3, lie=lie, phase='sgd', run=f'run-{lie}')
            self.assertGreater(summary['test_accuracy'], 0.93, lie)
            abstained = [slot['abstained'] for slot in summary['slots']]
            lied = summary['rounds'] - summary['switch_round'] if lie == 'nan' else 0
            self.assertEqual(abstained, [0] * 12 + [lied] * 3)


if __name__ == '__main__':
    harness.main()
