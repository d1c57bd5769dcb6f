#!/usr/bin/env python3
"""deploy/kubernetes/signpost.yaml without a cluster: its parts fit together, its arguments are ones that the programs take, and
the script of the server's pod starts a job, hands on its end and its signals, and never begins one that is done anew.
"""
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

try:
    import yaml
except ImportError:
    print('skipped: PyYAML is not there (package python3-yaml)')
    sys.exit(77)

ROOT = Path(__file__).resolve().parents[2]
PARTS = list(yaml.safe_load_all((ROOT / 'deploy/kubernetes/signpost.yaml').read_text()))
SERVICE, SERVER, WORKERS = PARTS


def pod(part):
    return part['spec']['template']['spec']


def words(container):
    return ' '.join(container['command'] + container.get('args', []))


class Manifest(unittest.TestCase):
    def test_kinds(self):
        self.assertEqual([(p['apiVersion'], p['kind']) for p in PARTS],
                         [('v1', 'Service'), ('apps/v1', 'StatefulSet'), ('batch/v1', 'Job')])

    def test_numbers_of_workers(self):
        numbers = {WORKERS['spec']['completions'], WORKERS['spec']['parallelism']}
        for part in SERVER, WORKERS:
            numbers |= {int(n) for n in re.findall(r'workers=(\d+)', words(pod(part)['containers'][0]))}
        self.assertEqual(len(numbers), 1, numbers)

    def test_names_meet(self):
        labels = SERVER['spec']['template']['metadata']['labels']
        self.assertEqual(SERVICE['spec']['selector'], labels)
        self.assertEqual(SERVER['spec']['selector']['matchLabels'], labels)
        self.assertEqual(SERVER['spec']['serviceName'], SERVICE['metadata']['name'])
        self.assertNotEqual(WORKERS['spec']['template']['metadata']['labels'], labels)
        self.assertIn(f'--server={SERVICE["metadata"]["name"]}:7700', words(pod(WORKERS)['containers'][0]))
        ports = {p['name']: p['containerPort'] for p in pod(SERVER)['containers'][0]['ports']}
        self.assertEqual(ports, {p['name']: p['port'] for p in SERVICE['spec']['ports']})
        self.assertIn(pod(SERVER)['containers'][0]['readinessProbe']['httpGet']['port'], ports)

    def test_volumes(self):
        claims = [c['metadata']['name'] for c in SERVER['spec']['volumeClaimTemplates']]
        for part, more in (SERVER, claims), (WORKERS, []):
            there = [v['name'] for v in pod(part)['volumes']] + more
            self.assertEqual(sorted(m['name'] for m in pod(part)['containers'][0]['volumeMounts']), sorted(there))

    def test_rights(self):
        uid = re.search(r'--uid (\d+)', (ROOT / 'deploy/Dockerfile').read_text()).group(1)
        version = re.search(r"version: '([0-9.]+)'", (ROOT / 'meson.build').read_text()).group(1)
        for part in SERVER, WORKERS:
            container = pod(part)['containers'][0]
            self.assertEqual(container['image'], f'signpost:{version}')
            self.assertTrue(pod(part)['securityContext']['runAsNonRoot'])
            self.assertEqual({str(pod(part)['securityContext'][key]) for key in ('runAsUser', 'runAsGroup', 'fsGroup')}, {uid})
            rights = container['securityContext']
            self.assertEqual((rights['allowPrivilegeEscalation'], rights['readOnlyRootFilesystem'], rights['capabilities']),
                             (False, True, {'drop': ['ALL']}))
            self.assertIn('memory', container['resources']['limits'])
            modes = [v['secret']['defaultMode'] for v in pod(part)['volumes'] if 'secret' in v]
            self.assertEqual(modes, [0o440])

    def test_keys_are_of_the_job_file(self):
        check = [os.environ['SP_SIGNPOST'], 'check', ROOT / 'configs/digits.yaml']
        with tempfile.TemporaryDirectory() as folder:
            for name in 'token', 'http_token':
                subprocess.run([os.environ['SP_SIGNPOST'], 'token', f'{folder}/{name}'], check=True, capture_output=True)
            for part in SERVER, WORKERS:
                sets = re.findall(r'--set[ =]([a-z_.]+=\S+)', words(pod(part)['containers'][0]))
                self.assertGreaterEqual(len(sets), 3)
                argv = check + [word for item in sets for word in ('--set', item.replace('/secrets', folder))]
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)


class Script(unittest.TestCase):
    """With a signpostd that only notes that it runs, and waits."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()) if hasattr(self, 'enterContext') else tempfile.mkdtemp())
        (self.folder / 'signpostd').write_text('#!/bin/sh\necho "$*" >> "$FOLDER/started"\n'
                                              'trap "echo stopped >> $FOLDER/started; exit 0" TERM\nsh -c "$DOES" & wait $!\n')
        (self.folder / 'signpostd').chmod(0o755)
        self.script = words(pod(SERVER)['containers'][0]).partition('-euc ')[2].replace('/data/run', str(self.folder / 'run'))

    def start(self, does):
        environment = dict(os.environ, PATH=f'{self.folder}:{os.environ["PATH"]}', FOLDER=str(self.folder), DOES=does)
        process = subprocess.Popen(['sh', '-euc', self.script], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        """With what it has started, which would else keep our output open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()

    def started(self):
        file = self.folder / 'started'
        return file.read_text() if file.exists() else ''

    def wait_for(self, condition):
        end = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_a_failure_is_handed_on(self):
        self.assertEqual(self.start('exit 3').wait(10), 3)

    def test_a_signal_is_handed_on(self):
        process = self.start('sleep 60')
        self.wait_for(lambda: '--config' in self.started())
        process.terminate()
        self.assertEqual(process.wait(10), 0)
        self.assertIn('stopped', self.started())

    def test_a_job_that_is_done(self):
        process = self.start('exit 0')
        self.assertIn('the job is done', process.stdout.readline())
        self.assertIsNone(process.poll())
        process.terminate()
        self.assertEqual(process.wait(10), 0)
        (self.folder / 'run/checkpoint').mkdir(parents=True)
        (self.folder / 'run/checkpoint/finished').touch()
        before = self.started()
        process = self.start('exit 0')
        self.assertIn('the job is done', process.stdout.readline())
        self.assertEqual(self.started(), before)
        process.terminate()
        self.assertEqual(process.wait(10), 0)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=2)
