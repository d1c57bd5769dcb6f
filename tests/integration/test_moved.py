"""A server that comes back at another address, under the same name: workers look the name up again at each attempt.

The worker lives in a mount namespace of its own, with an /etc/hosts that the test writes; where none can be made the test
is skipped."""
import subprocess
import sys

import harness

SKIPPED = 77  # what meson takes for a skip
NAME = 'moving.signpost.test'
OWN_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'


def unshare():
    """The command that gives a program its own /etc/hosts; None if this user may not."""
    for more in ([], ['--map-root-user']):
        argv = ['unshare', '--mount', *more]
        try:
            if subprocess.run([*argv, 'sh', '-c', OWN_HOSTS, '/dev/null', 'true'], stderr=subprocess.DEVNULL).returncode == 0:
                return argv
        except FileNotFoundError:
            return None
    return None


class Moved(harness.Case):
    def test_another_address_behind_the_name(self):
        port = harness.free_port()
        hosts = self.folder / 'hosts'
        hosts.write_text(f'127.0.0.2 {NAME}\n')
        sets = ('workers=1', 'train.evaluate=0')
        first = self.start_server(*sets, 'train.epochs=100000', listen=f'127.0.0.2:{port}')
        worker = self.start('worker', *unshare(), 'sh', '-c', OWN_HOSTS, hosts, harness.WORKER, '--config', harness.DIGITS,
                            '--server', f'{NAME}:{port}')
        self.wait_for_round(first, 50)
        first.kill()
        self.wait_for_words(worker, rf'waiting for the server {NAME}:{port} for \d+\.\d s \(connection refused\)')
        second = self.start_server(*sets, 'train.epochs=2', listen=f'127.0.0.3:{port}', run='again')
        with open(hosts, 'w') as file:  # the same file: it is what the worker sees
            file.write(f'127.0.0.3 {NAME}\n')
        self.assert_done(self.finish(second, [worker]))


if __name__ == '__main__':
    if unshare() is None:
        print('skipped: this user may not give a program an /etc/hosts of its own')
        sys.exit(SKIPPED)
    harness.main()
