"""More connections than descriptors; and programs that are started with too few of them."""
import os
import re
import socket
import time

import faults
import harness

FULL = r'all that this server has files for'


def limited(number, *argv):
    return ['sh', '-c', f'ulimit -n {number} && exec "$@"', 'sh', *argv]


class Descriptors(faults.Case):
    def start_limited(self, number, *sets):
        run = self.folder / 'run'
        argv = limited(number, harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run)
        for item in ('server.http=off', *sets):
            argv += ['--set', item]
        server = harness.Server('server', argv, self.folder, run)
        self.processes.append(server)
        self.wait_for(lambda: (run / 'address').exists() or not server.alive(), 'the server to listen')
        return server

    @staticmethod
    def cpu_s(process):
        with open(f'/proc/{process.pid}/stat') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def test_more_connections_than_descriptors(self):
        server = self.start_limited(64, 'workers=2', 'train.epochs=100000', 'server.heartbeat.interval=0.5',
                                    'server.heartbeat.timeout=4')
        workers = self.start_workers(server, 2)
        before = self.wait_for_round(server, 10)
        host, port = server.address().rsplit(':', 1)
        strangers = [socket.create_connection((host, int(port)), 5) for _ in range(120)]
        try:
            self.wait_for_words(server, FULL)
            full = server.status()
            self.wait_for_round(server, full['round'] + 200)
            time.sleep(2)
            status = server.status()
        finally:
            for s in strangers:
                s.close()
        self.assertEqual(status['live'], 2)
        self.assertEqual([s['joins'] for s in status['slots']], [1, 1])
        self.assertGreater(status['round'], before['round'])
        self.assertRegex(server.err(), r"ulimit -n")
        self.assertLessEqual(len(re.findall(FULL, server.err())), 2, 'said once in ten seconds, not for each')
        # They are gone: a third worker is heard, as a spare.
        spare = self.start_worker(server, name='spare')
        self.wait_for_words(spare, 'all slots are taken', limit_s=30)
        # The files of the result find descriptors while the house is full.
        strangers = [socket.create_connection((host, int(port)), 5) for _ in range(120)]
        server.ask('stop')
        self.wait_for_end(server)
        for s in strangers:
            s.close()
        self.assertTrue(server.summary()['stopped'])
        self.assertTrue((server.run / 'model.safetensors').exists())
        for p in workers:
            self.wait_for_end(p)
            self.assertNotIn('lost the server', p.err())

    def test_waiting_costs_no_time(self):
        server = self.start_limited(64, 'workers=1')
        host, port = server.address().rsplit(':', 1)
        strangers = [socket.create_connection((host, int(port)), 5) for _ in range(120)]
        self.wait_for_words(server, FULL)
        used = self.cpu_s(server)
        time.sleep(3)
        self.assertLess(self.cpu_s(server) - used, 0.5 * harness.SLOW, 'CPU seconds of three')
        for s in strangers:
            s.close()
        self.finish(server, [self.start_worker(server, 'worker.give_up=0')], limit_s=120)

    def test_too_few_for_the_workers(self):
        server = self.start_limited(64, 'workers=100')
        self.wait_for_end(server, 1)
        self.assertRegex(server.err(), r'only 64 files may be open here, but 100 workers need 148; .*ulimit -n')
        server = self.start_limited(64, 'workers=100', 'server.http=auto')
        self.wait_for_end(server, 1)
        self.assertRegex(server.err(), '100 workers need 180; ')

    def test_started_with_next_to_none(self):
        """No program starts with so few, and each says so."""
        programs = {
            'server': [harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out',
                       self.folder / 'run'],
            'worker': [harness.WORKER, '--config', harness.DIGITS, '--server', '127.0.0.1:1', '--set',
                       'worker.give_up=0.3'],
            'tool': [faults.SIGNPOST, 'run', harness.DIGITS, '--out', self.folder / 'run'],
        }
        for name, argv in programs.items():
            for number in (4, 5, 6, 8, 12, 20, 31):
                with self.subTest(f'{name} with {number}'):
                    process = self.start(f'{name}{number}', *limited(number, *argv))
                    process.popen.wait(harness.seconds(20))
                    # 127: the dynamic loader, which says so itself
                    self.assertIn(process.popen.returncode, (1, 2, 127))
                    self.assertRegex(process.err(), r'may be open here|open file|ulimit')


if __name__ == '__main__':
    faults.main()
