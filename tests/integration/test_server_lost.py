"""The server dies, or is not there yet."""
import socket
import threading
import time

import harness


class ServerLost(harness.Case):
    def start_on(self, port, *sets, **more):
        return self.start_server(*sets, listen=f'127.0.0.1:{port}', **more)

    def test_killed_workers_say_so_and_keep_trying(self):
        server = self.start_server('train.epochs=3000')
        workers = self.start_workers(server, 4)
        address = server.address()
        self.wait_for_round(server, 50)
        server.kill()
        for worker in workers:
            self.wait_for_words(worker, rf'lost the server {address}: ')
            self.wait_for_words(worker, rf'waiting for the server {address} for \d+\.\d s \(.+\); next attempt in \d\.\d s')
        # And now and then again, with the time that has passed.
        for worker in workers:
            match = self.wait_for_words(worker, r'waiting for the server \S+ for (\d+\.\d) s \(connection refused\)')
            match = self.wait_for_words(worker, r'waiting for the server \S+ for ([1-9]\d*\.\d) s \(connection refused\)')
            self.assertGreaterEqual(float(match.group(1)), 3)
            self.assertLess(worker.err().count('waiting for the server'), 6, 'it does not flood the log')
            self.assertTrue(worker.alive())

    def test_killed_workers_give_up_when_told_to(self):
        server = self.start_server('train.epochs=3000')
        workers = self.start_workers(server, 4, 'worker.give_up=1.5')
        address = server.address()
        self.wait_for_round(server, 50)
        server.kill()
        began = time.monotonic()
        for worker in workers:
            self.wait_for_end(worker, 1, 15)
            last = worker.err().splitlines()[-1]
            self.assertRegex(last, rf'^signpost-worker: no server at {address} for \d(\.\d)? s; giving up '
                                   r'\(give_up_s; worker\.give_up in a job file\)$')
        self.assertGreater(time.monotonic() - began, 1.4)

    def test_never_there_a_worker_gives_up_when_told_to(self):
        port = harness.free_port()
        worker = self.start_worker(f'127.0.0.1:{port}', 'worker.give_up=0.5')
        self.wait_for_end(worker, 1, 15)
        self.assertRegex(worker.err(), rf'no server at 127\.0\.0\.1:{port} for .*giving up')

    def test_something_else_answers(self):
        """Another program, or a relay whose server is gone, takes the connection: that is no server either."""
        cases = {'another program': (b'HTTP/1.1 400 Bad Request\r\n\r\n' * 4, 'not a Signpost frame'),
                 'a relay': (b'', 'the other side closed the connection'), 'a black hole': (None, None)}
        for what, (answer, words) in cases.items():
            with self.subTest(what), socket.create_server(('127.0.0.1', 0)) as listener:
                threading.Thread(target=self.answer_all, args=(listener, answer), daemon=True).start()
                worker = self.start_worker('127.0.0.1:%d' % listener.getsockname()[1], 'worker.give_up=1.5')
                self.wait_for_end(worker, 1, 15)
                log = worker.err()
                self.assertRegex(log.splitlines()[-1], r'no server at \S+ for \d(\.\d)? s; giving up')
                self.assertNotIn('lost the server', log)
                if words:
                    self.assertIn(words, log)
                    self.assertEqual(log.count('waiting for the server'), 1, 'it does not flood the log')

    @staticmethod
    def answer_all(listener, answer):
        kept = []
        while True:
            try:
                s, _ = listener.accept()
                kept.append(s)
                if answer is not None:
                    s.sendall(answer)
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def test_killed_and_begun_anew(self):
        """With --fresh the job begins anew; the workers that are still there take part, and nothing of the old job shows in
        the result. How it goes on without that: test_keep.py."""
        sets = ('train.epochs=40', 'optimizer.switch.when=at', 'optimizer.switch.step=300')
        reference = self.whole_job(*sets, run='reference')[1]
        port = harness.free_port()
        server = self.start_on(port, *sets, 'train.epochs=3000')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 100)
        server.kill()
        again = self.start_on(port, *sets, fresh=True)
        self.wait_for_words(again, r'round 1 of 920 begins with 4 of 4 workers')
        summary = self.finish(again, workers)
        self.assert_done(summary)
        self.assertEqual(summary['weights_digest'], reference['weights_digest'])

    def test_not_there_yet(self):
        port = harness.free_port()
        worker = self.start_worker(f'127.0.0.1:{port}')
        self.wait_for_words(worker, rf'waiting for the server 127\.0\.0\.1:{port} for \d\.\d s \(connection refused\); '
                                    r'next attempt in \d\.\d s')
        time.sleep(0.5)
        self.assertTrue(worker.alive())
        server = self.start_on(port, 'train.epochs=5')
        workers = [worker] + self.start_workers(server, 3)
        self.assert_done(self.finish(server, workers))
        self.assertRegex(worker.err(), rf"joined job 'digits' at 127\.0\.0\.1:{port} as slot \d of 4, after round 0 of 115")

    def test_a_name_that_does_not_resolve(self):
        worker = self.start_worker('no-such-host.invalid:7700', 'worker.give_up=0.5')
        self.wait_for_end(worker, 1, 60)
        self.assertRegex(worker.err(), r"cannot resolve host 'no-such-host\.invalid'")

    def test_a_server_by_name(self):
        server = self.start_server('train.epochs=2', 'workers=1', listen='localhost:0')
        self.assertRegex(server.address(), r'^localhost:\d+$')
        self.assert_done(self.finish(server, [self.start_worker(server)]))


if __name__ == '__main__':
    harness.main()
