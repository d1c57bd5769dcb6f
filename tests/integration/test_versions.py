"""An older and a newer version of the protocol meet this one, as server and as worker: they part, and both say why."""
import os

import handshake
import harness
import wire

VERSIONS = (3, 5)
WORDS = (r"the other side speaks version {theirs} of Signpost's protocol, this one version {ours}; install the same "
         r'release of Signpost on both')


def program(name, version):
    return os.environ[f'{name}_{version}']


class Versions(harness.Case):
    def test_workers_of_other_versions(self):
        """They are told, and end; the job that runs is not disturbed."""
        server = self.start_server('train.epochs=150', 'seed=5')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 20)
        for version in VERSIONS:
            stranger = self.start(f'worker-of-{version}', program('SP_WORKER', version), '--config', harness.DIGITS,
                                  '--server', server.address())
            self.wait_for_end(stranger, 1)
            words = WORDS.format(theirs=version, ours=wire.VERSION)
            self.assertRegex(stranger.err(), rf'(?m)^signpost-worker: the server {server.address()} refused: {words}$')
            self.wait_for_words(server, rf'sent away: {words}')
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual([s['joins'] for s in summary['slots']], [1] * 4)
        _, alone = self.whole_job('train.epochs=150', 'seed=5', run='alone')
        self.assertEqual(summary['weights_digest'], alone['weights_digest'])

    def test_servers_of_other_versions(self):
        for version in VERSIONS:
            run = self.folder / f'run{version}'
            server = harness.Server(f'server-of-{version}',
                                    [program('SP_SIGNPOSTD', version), '--config', harness.DIGITS, '--listen',
                                     '127.0.0.1:0', '--out', run], self.folder, run)
            self.processes.append(server)
            self.wait_for(lambda: (run / 'address').exists(), 'the server to listen')
            worker = self.start_worker(server)
            self.wait_for_end(worker, 1)
            words = WORDS.format(theirs=wire.VERSION, ours=version)
            self.assertRegex(worker.err(), rf'refused: {words}$')
            self.wait_for_words(server, rf'sent away: {words}')
            self.assertTrue(server.alive())

    def test_with_a_secret(self):
        """The versions part before anything is proved."""
        token = self.folder / 'token'
        token.write_bytes(os.urandom(40))
        token.chmod(0o600)
        server = self.start_server(f'security.token_file={token}')
        stranger = self.start('worker', program('SP_WORKER', 5), '--config', harness.DIGITS, '--server',
                              server.address(), '--set', f'security.token_file={token}')
        self.wait_for_end(stranger, 1)
        self.assertRegex(stranger.err(), r'speaks version 5')

    def test_a_goodbye_of_any_version_is_understood(self):
        server = self.start_server()
        for version in (0, 3, 5, 255):
            with handshake.Client(server.address(), harness.seconds(15)) as c:
                c.send(handshake.frame(wire.BYE, handshake.uint(1, 11) + handshake.data(2, b'of version %d' % version),
                                       version=version))
                self.wait_for_words(server, rf'left in the handshake: it said goodbye: of version {version}')
            with handshake.Client(server.address(), harness.seconds(15)) as c:
                c.hello(version=version)
                reason, words = c.goodbye()
                self.assertEqual(reason, handshake.VERSION)
                self.assertRegex(words, rf'speaks version {version} of')


if __name__ == '__main__':
    harness.main()
