"""model.init: a job starts from the weights of a file, which the server alone reads."""
import json
import os
import shutil
import struct
import subprocess
from array import array

import harness
import readers

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
SHORT = ('train.epochs=4', 'train.evaluate=1')


def write_model(path, tensors, metadata=None):
    """tensors: {name: (dtype, shape, bytes)}."""
    header, at = {} if metadata is None else {'__metadata__': metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + b''.join(data for _, _, data in tensors.values()))


def tensors_of(path):
    model = readers.Model(path)
    return {name: ('F32', t['shape'], bytes(model.raw[slice(*t['data_offsets'])])) for name, t in model.tensors.items()}


class Init(harness.Case):
    def trained(self):
        """A run of some epochs, and its model's file."""
        server, summary = self.whole_job(*SHORT, run='first')
        self.assertIsNone(summary['init'])
        return server.run / 'model.safetensors', summary

    def test_goes_on_from_an_earlier_run(self):
        model, before = self.trained()
        server, after = self.whole_job(*SHORT, f'model.init={model}', 'optimizer.sign.lr=1e-6', 'optimizer.switch.when=never', run='second')
        self.assertEqual(after['init'], str(model))
        self.assertIn(f'the initial weights are those of model.init, digest {before["weights_digest"]}', server.err())
        self.assertNotIn('is asked for the initial weights', server.err())
        first = next(line for line in server.history() if 'test_accuracy' in line)
        self.assertAlmostEqual(first['test_accuracy'], before['test_accuracy'], delta=0.006)
        self.assertNotEqual(after['weights_digest'], before['weights_digest'])

    def test_not_from_the_folder_that_the_run_clears(self):
        """A run that ends early would leave neither the old weights nor new ones."""
        model, _ = self.trained()
        before = model.read_bytes()
        server = self.start_server(f'model.init={model}', wait=False, run='first')
        self.wait_for_end(server, 2)
        self.assertRegex(server.err(), r'model\.init: .*/model\.safetensors is the model of the folder that this run writes to.*--out')
        self.assertEqual(model.read_bytes(), before)

    def test_same_start_same_end(self):
        """The weights that the seed gives, given by a file: every bit of the job is the same."""
        plain = self.whole_job(*SHORT, run='plain')[1]
        # A job whose steps are far below the last bit of its weights ends with its initial ones (biases begin at 0).
        still, _ = self.whole_job('train.rounds=1', 'optimizer.switch.when=never', 'optimizer.sign.lr=1e-30', run='still')
        tensors = {name: (dtype, shape, bytes(len(data)) if name.endswith('bias') else data)
                   for name, (dtype, shape, data) in tensors_of(still.run / 'model.safetensors').items()}
        path = self.folder / 'start.safetensors'
        write_model(path, tensors)
        given = self.whole_job(*SHORT, f'model.init={path}', run='given')[1]
        self.assertEqual(given['weights_digest'], plain['weights_digest'])

    def test_other_types_and_tensors_that_the_model_lacks(self):
        model, _ = self.trained()
        tensors = tensors_of(model)
        values = array('f')
        values.frombytes(tensors['dense1.weight'][2])
        tensors['dense1.weight'] = ('F64', tensors['dense1.weight'][1], array('d', values).tobytes())
        mixed = {'bn1.num_batches_tracked': ('I64', [], bytes(8)), **dict(reversed(tensors.items()))}
        path = self.folder / 'mixed.safetensors'
        write_model(path, mixed, {'format': 'pt'})
        same = self.whole_job(*SHORT, f'model.init={model}', run='same')[1]
        server, s = self.whole_job(*SHORT, f'model.init={path}', run='mixed')
        self.assertEqual(s['weights_digest'], same['weights_digest'])
        self.assertIn("model.init: the file has 1 tensor more than the model, not used here ('bn1.num_batches_tracked')", server.err())

    def refused(self, path, *words):
        """The server does not start: usage, since the job file names what cannot be had."""
        server = self.start_server(f'model.init={path}', wait=False, run='refused')
        server.popen.wait(harness.seconds(harness.START_S))
        for word in words:
            self.assertIn(word, server.err())
        self.assertIn(server.popen.returncode, (1, 2))
        self.assertFalse((server.run / 'address').exists())

    def test_bad_files(self):
        model, _ = self.trained()
        whole = model.read_bytes()
        bad = self.folder / 'bad.safetensors'
        self.refused(self.folder / 'nowhere', 'model.init: cannot open', 'nowhere', 'No such file')
        bad.write_bytes(b'')
        self.refused(bad, 'bad.safetensors: not a safetensors file')
        bad.write_bytes(whole[:-10])
        self.refused(bad, 'bad.safetensors: cut short: tensor')
        bad.write_bytes(whole + b'x')
        self.refused(bad, 'goes on for 1 bytes after its last tensor')
        bad.write_bytes(whole[:9] + b'\xff' + whole[10:])
        self.refused(bad, 'at byte', 'no JSON object')
        shutil.copy(harness.DATA / 'test-labels-idx1-ubyte', bad)
        self.refused(bad, 'not a safetensors file, or cut short')

    def test_validate(self):
        model, _ = self.trained()
        for path, code, words in ((model, 0, ': valid'), ('nowhere', 2, 'model.init: cannot open')):
            done = subprocess.run([harness.SIGNPOSTD, '--config', harness.DIGITS, '--set', f'model.init={path}', '--validate'], capture_output=True,
                                  text=True, timeout=harness.seconds(20))
            self.assertEqual(done.returncode, code)
            self.assertIn(words, done.stdout + done.stderr)

    def test_check(self):
        model, _ = self.trained()
        more = self.folder / 'more.safetensors'
        write_model(more, {**tensors_of(model), 'extra': ('U8', [1], b'x')})
        for sets, code, words in (((f'model.init={model}',), 0, 'model.init: the file fits the model'),
                                  ((f'model.init={more}',), 0, 'it has more tensors, which are not used'),
                                  ((f'model.init={model}', 'model.hidden=[32]'), 1, "model.init: "),
                                  ((f'model.init={model}', 'model.hidden=[32]'), 1, "tensor 'dense1.weight' is [64, 64], but [32, 64]"),
                                  (('model.init=nowhere',), 1, 'model.init: cannot open'),
                                  ((f'model.init={model}', 'data.train.images=', 'data.train.labels=', 'data.test.images=', 'data.test.labels='),
                                   0, 'model.init: the file can be read')):
            with self.subTest(sets):
                argv = [SIGNPOST, 'check', harness.DIGITS] + [word for item in sets for word in ('--set', item)]
                done = subprocess.run(argv, capture_output=True, text=True, timeout=harness.seconds(20))
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(words, done.stdout + done.stderr)

    def sent_away(self, path, *words, sets=()):
        """The file is good, but not for this model: the worker hears so, and the server goes on waiting."""
        server = self.start_server(f'model.init={path}', *sets, run='waiting')
        worker = self.start_worker(server, *sets)
        self.wait_for_end(worker, 1)
        for word in words:
            self.assertIn(word, worker.err())
            self.assertIn(word, server.err())
        self.assertTrue(server.alive())
        return server

    def test_models_that_do_not_fit(self):
        model, before = self.trained()
        server = self.sent_away(model, "tensor 'dense1.weight' is [64, 64], but [32, 64] in the model", sets=('model.hidden=[32]',))
        # The one that fits is still welcome.
        worker = self.start_worker(server)
        self.wait_for_words(worker, r'as slot (\d+) of')
        self.assertIn(before['weights_digest'], server.err())
        server.kill()
        tensors = tensors_of(model)
        data = bytearray(tensors['dense2.bias'][2])
        data[4:8] = struct.pack('<f', float('nan'))
        for name, wrong, words in (('lacks', None, "has no tensor 'dense2.bias'"),
                                   ('whole', ('I32', [10], bytes(40)), "tensor 'dense2.bias' is of type I32"),
                                   ('nan', ('F32', [10], bytes(data)), "tensor 'dense2.bias': value 1 (counted from 0) is")):
            with self.subTest(name):
                changed = dict(tensors)
                changed.pop('dense2.bias')
                if wrong is not None:
                    changed['dense2.bias'] = wrong
                path = self.folder / f'{name}.safetensors'
                write_model(path, changed)
                self.sent_away(path, words).kill()


if __name__ == '__main__':
    harness.main()
