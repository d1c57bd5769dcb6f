"""signpost launch: workers on other machines by ssh, which are this one, by an sshd of our own."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness

SSHD = '/usr/sbin/sshd'
SIGNPOST = os.environ['SP_SIGNPOST']
LISTEN = ('--set', 'server.listen=127.0.0.1:0')
LONG = ('--set', 'train.epochs=20000')


class Launch(harness.Case):
    def setUp(self):
        super().setUp()
        self.ssh = self.folder / 'ssh'
        self.ssh.mkdir(mode=0o700)
        self.cache = self.folder / 'cache'
        for name in 'host', 'key', 'stranger':
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', self.ssh / name], check=True)
        shutil.copy(self.ssh / 'key.pub', self.ssh / 'authorized')
        self.port = harness.free_port()
        (self.ssh / 'config').write_text(
            f'Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.ssh}/host\nAuthorizedKeysFile {self.ssh}/authorized\n'
            f'PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n'
            f'LogLevel ERROR\nSetEnv XDG_CACHE_HOME={self.cache} TMPDIR={self.ssh}\n')
        if os.geteuid() == 0:
            Path('/run/sshd').mkdir(exist_ok=True)
        self.start_sshd()

    def start_sshd(self):
        sshd = self.start('sshd', SSHD, '-D', '-e', '-f', self.ssh / 'config')
        self.wait_for(self.sshd_answers, 'sshd')
        return sshd

    def kill_all(self):
        """The server too, which a launch that is killed leaves behind."""
        super().kill_all()
        for place in Path('/proc').iterdir():
            try:
                if f'--out\0{self.folder}/'.encode() in (place / 'cmdline').read_bytes():
                    os.kill(int(place.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue

    def sshd_answers(self):
        return subprocess.run([*self.words().split(), '127.0.0.1', 'true'], capture_output=True, check=False).returncode == 0

    def words(self, key='key', port=None):
        return (f'ssh -F none -p {port or self.port} -i {self.ssh / key} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no '
                f'-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR')

    def launch(self, *more, hosts='127.0.0.1 slots=2\nlocalhost slots=2\n', ssh=None, program=harness.WORKER, name='launch'):
        (self.folder / 'hosts').write_text(hosts)
        return self.start(name, SIGNPOST, 'launch', '--hosts', self.folder / 'hosts', '--ssh', ssh or self.words(), '--program',
                          program, harness.DIGITS, '--out', self.folder / 'run', *LISTEN, *more)

    def workers(self):
        """Process ids of what the sshd's sessions have started and is a worker."""
        found = []
        for place in Path('/proc').iterdir():
            try:
                if f'XDG_CACHE_HOME={self.cache}\0'.encode() in (place / 'environ').read_bytes() and \
                        (place / 'exe').resolve().name == 'signpost-worker':
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    def begin(self, *more, **how):
        """A long job, once its four workers take part."""
        process = self.launch(*LONG, *more, **how)
        self.wait_for(lambda: self.live() == 4, 'four workers')
        return process

    def status(self):
        try:
            return json.loads(harness.ask_raw(self.folder / 'run', b'status\n'))
        except (OSError, ValueError):
            return None

    def live(self):
        status = self.status()
        return status['live'] if status else -1

    def assert_nothing_left(self):
        self.wait_for(lambda: not self.workers(), 'the workers to be gone')
        self.wait_for(lambda: not list(self.ssh.glob('tmp.*')), 'what was made for them to be gone')

    def refused(self, words, *more, **how):
        process = self.launch(*more, **how)
        self.wait_for_end(process, 2)
        self.assertRegex(process.err(), words)

    def failed(self, words, *more, **how):
        process = self.launch(*more, **how)
        self.wait_for_end(process, 1)
        self.assertRegex(process.err(), words)
        self.assertRegex(process.err(), 'stopping the job, for a worker failed; with --go-on the others would go on')
        self.assert_nothing_left()

    def test_the_same_bits_as_on_one_machine(self):
        process = self.launch()
        self.wait_for_end(process, 0)
        self.assertRegex(process.err(), r'4 workers started by ssh, their logs are \S+/worker-\*\.log')
        self.assertRegex(process.out(), r'test accuracy +9\d\.\d+ %')
        alone = self.start('run', SIGNPOST, 'run', harness.DIGITS, '--out', self.folder / 'alone', *LISTEN)
        self.wait_for_end(alone, 0)
        digests = [json.loads((self.folder / run / 'summary.json').read_text())['weights_digest'] for run in ('run', 'alone')]
        self.assertEqual(*digests)
        for i in range(4):
            self.assertIn('signpost launch: the worker is started on ', (self.folder / f'run/worker-{i}.log').read_text())
        self.assert_nothing_left()

    def test_a_secret_is_in_no_command_line(self):
        token = self.folder / 'token'
        token.write_text('launch-secret-of-32-bytes-or-more!!\n')
        token.chmod(0o600)
        process = self.begin('--set', f'security.token_file={token}')
        for place in Path('/proc').glob('[0-9]*/cmdline'):
            try:
                self.assertNotIn(b'launch-secret', place.read_bytes())
            except OSError:
                continue
        self.assertTrue(self.status()['security']['secret'])
        sent = list(self.ssh.glob('tmp.*/token'))
        self.assertEqual(len(sent), 4)
        self.assertEqual({file.stat().st_mode & 0o777 for file in sent}, {0o600})
        process.send(signal.SIGINT)
        self.wait_for_end(process, 0)
        self.assert_nothing_left()

    def test_mistakes_in_the_hosts_file(self):
        path = self.folder / 'hosts'
        for text, words in (
                ('', f'{path} names no host: it wants a line for each'),
                ('# nobody\n\n', f'{path} names no host'),
                ('a slots=0\n', f"{path}:1: slots= takes a number from 1 to 255, not '0'"),
                ('a\nb slots=many\n', f"{path}:2: slots= takes a number from 1 to 255, not 'many'"),
                ('a dir=data\n', f"{path}:1: dir= takes an absolute path, not 'data'"),
                ('a slots=2 slots=4\n', f"{path}:1: slots= stands there twice; the second time with '4'"),
                ('a dir=/b dir=/c\n', f"{path}:1: dir= stands there twice; the second time with '/c'"),
                ('a b\n', f"{path}:1: a line is HOST, then slots=N and dir=PATH if need be; this is neither: 'b'"),
                ('-oProxyCommand=x\n', f"{path}:1: a host's name does not begin with a dash: '-oProxyCommand=x'"),
                ('127.0.0.1 slots=3\n', f'{path} has room for 3 workers, the job wants 4: add hosts, or slots=N to a host'),
                ('elsewhere slots=4\n', r'server.listen is 127.0.0.1:0, which elsewhere cannot reach: --set server.listen=0.0.0.0:')):
            with self.subTest(text):
                self.refused(re.escape(words).replace(r'\ ', ' '), hosts=text)

    def test_a_host_that_cannot_be_reached(self):
        closed = harness.free_port()
        self.failed(rf'worker \d on 127.0.0.1 failed \(exit code 255\): ssh: connect to host 127.0.0.1 port {closed}: '
                    r'Connection refused', ssh=self.words(port=closed), hosts='127.0.0.1 slots=4\n')

    def test_a_key_that_is_refused(self):
        self.failed(r'worker \d on \S+ failed \(exit code 255\): .*Permission denied \(publickey\)', ssh=self.words('stranger'))

    def test_an_ssh_that_is_not_there(self):
        process = self.launch(ssh='/nowhere/ssh')
        self.wait_for_end(process, 1)
        self.assertIn('cannot start /nowhere/ssh: no such file or directory', process.err())

    def test_a_program_that_is_missing_there(self):
        self.failed(r'worker \d on \S+ failed \(exit code 2\): signpost launch: on \S+: there is no program /nowhere/worker; install '
                    r'it, or say with --program where it is', program='/nowhere/worker')

    def test_data_that_are_missing_there(self):
        self.failed(r"worker [23] on localhost failed \(exit code \d\): .*cannot open "
                    r"'/nowhere/digits/train-images-idx3-ubyte': No such file",
                    hosts='127.0.0.1 slots=2\nlocalhost slots=2 dir=/nowhere\n')

    def test_others_go_on(self):
        process = self.launch('--go-on', '--set', 'server.min_live=2', '--set', 'server.start_timeout=2',
                              hosts='127.0.0.1 slots=2\nlocalhost slots=2 dir=/nowhere\n')
        self.wait_for_end(process, 0)
        self.assertRegex(process.err(), r'worker 2 on localhost failed')
        self.assertRegex(process.err(), r'on 127.0.0.1: workers 2, started again 0, failed 0\n')
        self.assertRegex(process.err(), r'on localhost: workers 2, started again 0, failed 2\n')
        self.assertRegex(process.out(), 'test accuracy')

    def test_a_worker_is_killed(self):
        process = self.begin()
        os.kill(self.workers()[0], signal.SIGKILL)
        self.wait_for_words(process, r'worker \d on \S+ was killed by signal 9; starting it again')
        self.wait_for(lambda: len(self.workers()) == 4 and self.live() == 4, 'four workers again')
        process.send(signal.SIGINT)
        self.wait_for_end(process, 0)
        self.assertRegex(process.err(), 'stopping the job in order')
        self.assert_nothing_left()

    def test_a_line_breaks(self):
        """Its ssh is killed: the worker there ends, and another one takes its place."""
        process = self.begin()
        before = set(self.workers())
        ssh = subprocess.run(['pgrep', '-P', str(process.pid), '-x', 'ssh'], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(len(ssh), 4)
        os.kill(int(ssh[0]), signal.SIGKILL)
        self.wait_for_words(process, r'worker \d on \S+ was killed by signal 9; starting it again')
        self.wait_for(lambda: len(self.workers()) == 4 and set(self.workers()) != before and self.live() == 4, 'another worker')
        process.send(signal.SIGTERM)
        self.wait_for_end(process, 0)
        self.assert_nothing_left()

    def test_a_host_is_away_for_seconds(self):
        """Its sshd is killed, and the session of a worker: attempts are spread over half a minute, and one of them succeeds."""
        process = self.begin()
        next(p for p in self.processes if p.name == 'sshd').kill()
        ssh = subprocess.run(['pgrep', '-P', str(process.pid), '-x', 'ssh'], capture_output=True, text=True, check=True).stdout.split()
        os.kill(int(ssh[0]), signal.SIGKILL)
        self.wait_for_words(process, r'worker \d on \S+ lost its line to us; starting it again in 4 s')
        self.start_sshd()
        self.wait_for(lambda: len(self.workers()) == 4 and self.live() == 4, 'the worker to return')
        process.send(signal.SIGINT)
        self.wait_for_end(process, 0)
        self.assertRegex(process.err(), r'on \S+: workers 2, started again [345], failed 0\n')
        self.assert_nothing_left()

    def test_a_worker_that_does_not_end(self):
        """One that is stopped takes no SIGTERM: it is killed, and what was made for it is removed."""
        process = self.begin()
        os.kill(self.workers()[0], signal.SIGSTOP)
        process.send(signal.SIGINT)
        self.wait_for_end(process, 0)
        self.assert_nothing_left()

    def test_words_that_are_none(self):
        for words, more in (
                ('--ssh names no program', {'ssh': ' '}),
                ('--ssh takes 1023 bytes and 48 words at most', {'ssh': 'ssh ' + '-v ' * 48}),
                ('--ssh takes 1023 bytes and 48 words at most', {'ssh': 'ssh -i ' + 'k' * 1023}),
                ('--program takes 1024 bytes at most', {'program': '/' + 'p' * 1024})):
            with self.subTest(words):
                self.refused(words, **more)
        for address in '', '::1', '127.0.0.1:7700':
            with self.subTest(address):
                self.refused(f"--address takes a name or an address without a port, .* not '{address}'", '--address', address)

    def test_it_is_killed_itself(self):
        """No worker stays behind where nobody looks after it."""
        process = self.begin()
        server = self.status()['pid']
        process.kill()
        self.assert_nothing_left()
        os.kill(server, signal.SIGKILL)

    def test_killed_by_the_second_interrupt(self):
        process = self.begin()
        os.kill(self.status()['pid'], signal.SIGSTOP)
        process.send(signal.SIGINT)
        self.wait_for_words(process, 'once more kills it')
        time.sleep(0.6)
        process.send(signal.SIGINT)
        self.wait_for_end(process, 1)
        self.assert_nothing_left()


if __name__ == '__main__':
    if not os.access(SSHD, os.X_OK) or shutil.which('ssh') is None:
        print('skipped: ssh or sshd is not there (packages openssh-client openssh-server)')
        sys.exit(77)
    harness.main()
