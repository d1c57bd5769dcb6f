#!/usr/bin/env python3
"""deploy/slurm/signpost.sbatch without a Slurm, whose srun is a few lines here: what slurm.sh cannot bring about."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ['BUILD'])
SLOW = 5 if os.environ.get('SP_TEST_SLOW', '0') not in ('', '0') else 1
SRUN = '''#!/usr/bin/env bash
while [[ $1 == --* ]]; do case $1 in --output=*) log=${1#*=} ;; esac; shift; done
for ((i = 0; i < SLURM_NTASKS; i++)); do "$@" > "${log//%t/$i}" 2>&1 & tasks+=($!); done
trap 'kill "${tasks[@]}" 2> /dev/null' TERM
code=0
for task in "${tasks[@]}"; do
    wait "$task" || code=1
    while kill -0 "$task" 2> /dev/null; do sleep 0.1; done # the trap has ended the wait, not the task
done
exit $code
'''


class Batch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='sp-')
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.run_folder = self.folder / 'signpost-1'
        (self.folder / 'srun').write_text(SRUN)
        (self.folder / 'srun').chmod(0o755)
        (self.folder / 'words').touch()

    def submit(self, *sets):
        path = ':'.join(str(place) for place in (self.folder, BUILD / 'server', BUILD / 'worker/train', BUILD / 'deploy/tool'))
        environment = {'PATH': f'{path}:{os.environ["PATH"]}', 'SLURM_NTASKS': '4', 'SLURM_JOB_ID': '1', 'SLURMD_NODENAME': '127.0.0.1',
                       'SLURM_SUBMIT_DIR': str(self.folder)}
        with open(self.folder / 'words', 'wb') as words:
            batch = subprocess.Popen(['bash', ROOT / 'deploy/slurm/signpost.sbatch', ROOT / 'configs/digits.yaml', *sets],
                                     cwd=self.folder, env=environment, stdout=words, stderr=words, start_new_session=True)
        self.addCleanup(self.end, batch)
        return batch

    def end(self, batch):
        """All that it has started is in its session's group; nothing of it may outlive the test."""
        try:
            os.killpg(batch.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        batch.wait()

    def words(self):
        return (self.folder / 'words').read_text(errors='replace')

    def assert_ends(self, batch, code, limit_s=60):
        try:
            self.assertEqual(batch.wait(limit_s * SLOW), code, self.words())
        except subprocess.TimeoutExpired:
            self.fail(f'the batch script was still running after {limit_s * SLOW} s: {self.words()}')

    def server(self):
        """The process id of the server, once all workers take part."""
        end = time.monotonic() + 30 * SLOW
        while time.monotonic() < end:
            asked = subprocess.run([BUILD / 'deploy/tool/signpost', 'status', '--json', self.run_folder], capture_output=True, check=False)
            try:
                status = json.loads(asked.stdout)
                if status['live'] == 4:
                    return status['pid']
            except (ValueError, KeyError):
                pass
            time.sleep(0.1)
        self.fail(f'waited in vain for four workers: {self.words()}')
        return None

    def job_file(self):
        return (self.run_folder / 'job.yaml').read_text()

    def test_a_secret_of_its_own_making(self):
        self.assert_ends(self.submit(), 0)
        self.assertEqual((self.run_folder / 'secret').stat().st_mode & 0o777, 0o600)
        self.assertIn(f'token_file: {self.run_folder}/secret', self.job_file())

    def test_the_address_of_a_server_that_was_killed(self):
        self.run_folder.mkdir()
        (self.run_folder / 'address').write_text('0.0.0.0:1')
        self.assert_ends(self.submit(), 0)
        self.assertNotIn('server at 127.0.0.1:1,', self.words())

    def test_a_secret_on_the_command_line_is_taken(self):
        token = self.folder / 'own'
        subprocess.run([BUILD / 'deploy/tool/signpost', 'token', token], check=True, capture_output=True)
        self.assert_ends(self.submit(f'security.token_file={token}', 'security.insecure=true'), 0)
        self.assertIn(f'token_file: {token}', self.job_file())
        self.assertFalse((self.run_folder / 'secret').exists())

    def test_a_server_that_is_killed_leaves_no_workers(self):
        batch = self.submit('train.epochs=100000')
        os.kill(self.server(), signal.SIGKILL)
        self.assert_ends(batch, 137)
        self.assertIn('the server is gone (exit code 137), its workers are not; ending them', self.words())
        left = subprocess.run(['pgrep', '-s', str(batch.pid), '-x', 'signpost-worker'], capture_output=True, text=True, check=False).stdout
        self.assertEqual(left, '')

    def test_a_signal_stops_it_in_order(self):
        batch = self.submit('train.epochs=100000')
        self.server()
        batch.send_signal(signal.SIGTERM)
        self.assert_ends(batch, 0)
        self.assertIn('stopping the job in order', self.words())
        self.assertTrue(json.loads((self.run_folder / 'summary.json').read_text())['stopped'])


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    unittest.main(verbosity=2)
