"""Ends before the end: signals, and the operator's stop."""
import signal
import time

import harness
import readers

LONG = ('train.epochs=3000',)


class Stop(harness.Case):
    def check_stopped(self, server, workers, words):
        """Everything is written and everybody knows. Returns the summary."""
        self.wait_for_end(server, 0, 15)
        for worker in workers:
            self.wait_for_end(worker, 0, 15)
            self.assertRegex(worker.err(), rf'{words} after round \d+ of 69000; this worker pushed \d+ rounds')
        summary = server.summary()
        self.assertTrue(summary['stopped'])
        self.assertRegex(summary['outcome'], rf'^{words} after round {summary["rounds_done"]} of 69000$')
        self.assertGreaterEqual(summary['rounds_done'], 50)
        self.assertLess(summary['rounds_done'], summary['rounds'])
        model = readers.Model(server.run / 'model.safetensors')
        self.assertEqual(readers.weights_digest(model.raw), summary['weights_digest'])
        self.assertGreaterEqual(summary['rounds_done'], server.history()[-1]['round'])
        self.assertFalse((server.run / 'signpostd.sock').exists())
        return summary

    def running(self, *sets, workers=4):
        server = self.start_server(*LONG, *sets)
        processes = self.start_workers(server, workers)
        self.wait_for_round(server, 50)
        return server, processes

    def test_sigterm(self):
        server, workers = self.running()
        server.send(signal.SIGTERM)
        self.check_stopped(server, workers, 'stopped by SIGTERM')

    def test_sigint(self):
        server, workers = self.running()
        server.send(signal.SIGINT)
        self.check_stopped(server, workers, 'stopped by SIGINT')

    def test_sigterm_in_the_sgd_phase(self):
        server, workers = self.running('optimizer.switch.when=at', 'optimizer.switch.step=10')
        server.send(signal.SIGTERM)
        summary = self.check_stopped(server, workers, 'stopped by SIGTERM')
        self.assertEqual(summary['switch_round'], 10)

    def test_several_at_once(self):
        """Ctrl-C on a terminal is SIGINT for all, and then signpost run's SIGTERM: one wish."""
        server, workers = self.running()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            server.send(number)
        self.wait_for_end(server, 0, 15)
        self.assertTrue(server.summary()['stopped'])
        for worker in workers:
            self.wait_for_end(worker, 0, 15)
        self.assertNotIn('at once', server.err())

    def test_another_one_later(self):
        """It does not wait any longer for one that does not read."""
        server, workers = self.running('server.close.quorum=3')
        workers[0].send(signal.SIGSTOP)
        server.send(signal.SIGTERM)
        self.wait_for_words(server, 'results are in')
        time.sleep(0.6)
        server.send(signal.SIGTERM)
        self.wait_for_end(server, 0, 15)
        self.assertIn('SIGTERM again: ending at once', server.err())
        self.assertTrue(server.summary()['stopped'])
        for worker in workers:
            worker.we_killed_it = True
            worker.send(signal.SIGKILL)

    def test_one_after_the_end(self):
        """A worker that is gone might come back and ask: for a while the server is there, but not if it is told to end."""
        server = self.start_server('workers=2', 'train.epochs=300')
        workers = self.start_workers(server, 2)
        self.wait_for_round(server, 20)
        workers[0].we_killed_it = True
        workers[0].send(signal.SIGKILL)
        self.wait_for_words(server, 'lost their connection before the end', harness.RUN_S)
        server.send(signal.SIGINT)
        self.wait_for_end(server, 0, 15)
        self.assertIn('SIGINT: ending at once', server.err())
        self.assertFalse(server.summary()['stopped'])
        self.wait_for_end(workers[1], 0, 15)

    def test_a_signal_at_the_last_moment(self):
        """However late it comes, the end in order stays one."""
        for _ in range(10):
            server = self.start_server()
            server.send(signal.SIGTERM)
            while server.alive() and 'server  ended' not in server.err():
                time.sleep(0.0002)
            server.send(signal.SIGINT)
            self.wait_for_end(server, 0, 15)
            self.assertTrue(server.summary()['stopped'])

    def test_sigterm_before_anybody_came(self):
        server = self.start_server()
        server.send(signal.SIGTERM)
        self.wait_for_end(server, 0, 15)
        summary = server.summary()
        self.assertTrue(summary['stopped'])
        self.assertEqual((summary['params'], summary['weights_digest'], summary['test_accuracy'], summary['rounds_done']),
                         (None, None, None, 0))
        self.assertFalse((server.run / 'model.safetensors').exists())
        self.assertEqual(server.history(), [])

    def test_sigterm_while_workers_gather(self):
        server = self.start_server()
        workers = self.start_workers(server, 2)
        self.wait_for(lambda: server.status()['live'] == 2, 'two workers')
        server.send(signal.SIGTERM)
        self.wait_for_end(server, 0, 15)
        for worker in workers:
            self.wait_for_end(worker, 0, 15)
            self.assertIn('stopped by SIGTERM after round 0', worker.err())

    def test_a_worker_that_hangs_does_not_hold_up_the_end(self):
        server, workers = self.running('server.close.quorum=3')
        workers[0].send(signal.SIGSTOP)
        began = time.monotonic()
        server.send(signal.SIGTERM)
        self.wait_for_end(server, 0, 15)
        self.assertLess(time.monotonic() - began, harness.seconds(8))
        workers[0].send(signal.SIGCONT)
        for worker in workers:
            self.wait_for_end(worker, 0, 15)

    def test_the_operators_stop(self):
        server, workers = self.running()
        self.assertEqual(server.ask('stop'), {'ok': True})
        self.check_stopped(server, workers, 'stopped by an operator')

    def test_a_worker_that_is_told_to_end(self):
        """SIGTERM to one worker: the others go on, and it is not taken for a crash of the job."""
        server, workers = self.running()
        workers[0].we_killed_it = True
        workers[0].send(signal.SIGTERM)
        self.wait_for(lambda: server.status()['live'] == 3, 'the worker to leave')
        self.wait_for_round(server, server.status()['round'] + 50)
        server.send(signal.SIGTERM)
        self.check_stopped(server, workers[1:], 'stopped by SIGTERM')


if __name__ == '__main__':
    harness.main()
