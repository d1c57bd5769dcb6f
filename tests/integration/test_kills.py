"""Workers that die (kill -9) and come back, in real processes."""
import random
import time

import harness

# A fixed SGD rate: one found from the gradients of a job that has long converged could be any.
LONG = ('train.epochs=150', 'train.evaluate=50', 'optimizer.sgd.lr=0.1')  # 3450 rounds, a second or two


class Kills(harness.Case):
    def votes(self, server, slot):
        return server.status()['slots'][slot]['votes']

    def check_result(self, summary):
        self.assert_done(summary)
        self.assertGreater(summary['test_accuracy'], 0.93)
        self.assertEqual(sum(slot['resyncs'] for slot in summary['slots']), 0)

    def test_one_of_four_dies_and_comes_back_within_two_seconds(self):
        server = self.start_server(*LONG)
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 200)
        workers[2].kill()
        self.wait_for(lambda: server.status()['live'] == 3, 'the server to notice')
        dead = server.status()
        self.assertEqual(dead['slots'][2]['state'], 'empty')
        self.assertIsNone(dead['slots'][2]['address'])
        after = self.wait_for_round(server, dead['round'] + 200)
        # What it gave of the round in which it died stays counted; after that the dead do not vote.
        self.assertLessEqual(after['slots'][2]['votes'], dead['slots'][2]['votes'] + 1)
        self.assertEqual(after['slots'][1]['votes'], dead['slots'][1]['votes'] + after['round'] - dead['round'])
        began = time.monotonic()
        workers[2] = self.start_worker(server, slot=2)
        self.wait_for(lambda: self.votes(server, 2) > after['slots'][2]['votes'], 'the worker to vote again', 2)
        self.assertLess(time.monotonic() - began, harness.seconds(2))
        status = server.status()
        self.assertEqual((status['live'], status['slots'][2]['state'], status['slots'][2]['joins']), (4, 'live', 2))
        summary = self.finish(server, workers)
        self.check_result(summary)
        self.assertLess(summary['slots'][2]['votes'], summary['rounds'])
        self.assertEqual([summary['slots'][i]['votes'] for i in (0, 1, 3)], [summary['rounds']] * 3)
        self.assertRegex(server.err(), r'worker 127\.0\.0\.1:\d+ left slot 2: ')

    def kill_at_random(self, seed, *sets, kills=6):
        rng = random.Random(seed)
        server = self.start_server(*LONG, 'train.epochs=250', f'seed={seed}', *sets)
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 20)
        for _ in range(kills):
            slot = rng.randrange(4)
            time.sleep(rng.random() * 0.1)
            workers[slot].kill()
            time.sleep(rng.random() * 0.05)
            workers[slot] = self.start_worker(server, slot=slot)
            self.assertTrue(server.alive(), 'the job was over before all kills were done: make it longer')
        status = server.status()
        self.wait_for(lambda: server.status()['live'] == 4, 'all four to be back')
        self.wait_for(lambda: all(s['votes'] > b['votes'] for s, b in zip(server.status()['slots'], status['slots'])),
                      'all four to vote')
        summary = self.finish(server, workers)
        self.check_result(summary)
        # On a busy machine some were killed before they had joined, or could say that they had.
        said = sum('joined job' in p.err() for p in self.processes)
        self.assertTrue(said <= sum(s['joins'] for s in summary['slots']) <= 4 + kills, said)

    def test_several_kills_seed_1(self):
        self.kill_at_random(1)

    def test_several_kills_seed_2_in_the_sgd_phase(self):
        self.kill_at_random(2, 'optimizer.switch.when=at', 'optimizer.switch.step=10')

    def test_several_kills_seed_3_by_quorum(self):
        self.kill_at_random(3, 'server.close.quorum=2')

    def test_several_kills_seed_4_many_chunks(self):
        rng = random.Random(4)
        model = 'model.hidden=[1500]'  # 113 thousand parameters: seven chunks a round after the switch
        server = self.start_server('train.rounds=900', 'train.evaluate=0', 'optimizer.switch.when=at',
                                   'optimizer.switch.step=10', 'optimizer.sgd.lr=0.05', model)
        workers = self.start_workers(server, 4, model, slots=True)
        self.wait_for_round(server, 20)
        for _ in range(4):
            slot = rng.randrange(4)
            time.sleep(rng.random() * 0.1)
            workers[slot].kill()
            workers[slot] = self.start_worker(server, model, slot=slot)
            self.assertTrue(server.alive(), 'the job was over before all kills were done: make it longer')
        summary = self.finish(server, workers)
        self.check_result(summary)


if __name__ == '__main__':
    harness.main()
