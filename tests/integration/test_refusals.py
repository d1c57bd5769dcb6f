"""Workers that do not fit the job: each ends with 1 and the server's reason; the job is not disturbed."""
import re
import shutil

import harness
import readers


class Refusals(harness.Case):
    def setUp(self):
        """A job for two with one right worker in it, waiting for the other."""
        self.server = self.start_server('workers=2', 'train.epochs=4')
        self.right = self.start_worker(self.server)
        self.wait_for_words(self.server, r'is ready in slot 0')

    def serves_on(self):
        """After a refusal a right worker still makes the job whole."""
        second = self.start_worker(self.server)
        self.assert_done(self.finish(self.server, [self.right, second]))
        self.assertNotRegex(self.right.err(), r' warn |lost the server')

    def refused(self, words, *sets, **more):
        worker = self.start_worker(self.server, *sets, **more)
        self.wait_for_end(worker, 1)
        address = re.escape(self.server.address())
        self.assertRegex(worker.err().splitlines()[-1], rf'^signpost-worker: the server {address} refused: {words}$')
        self.assertTrue(self.right.alive())

    def copy_of_data(self):
        """The digits job with data of its own, to be spoiled; returns the job file."""
        shutil.copytree(harness.DATA, self.folder / 'digits')
        return shutil.copy(harness.DIGITS, self.folder / 'digits.yaml')

    def rewrite(self, name, change):
        path = self.folder / 'digits' / name
        shape, data = readers.read_idx(path)
        readers.write_idx(path, *change(shape, bytearray(data)))

    def test_another_job(self):
        self.refused(r"this server runs job 'digits', not 'letters'", 'job=letters')
        self.assertRegex(self.server.err(), r"sent away: this server runs job 'digits'")
        self.serves_on()

    def test_another_hidden_layer(self):
        self.refused(r"the model differs from the job's from tensor 0 on: .*'dense1\.weight' with 4096 coordinates.*"
                     r"'dense1\.weight' with 2048", 'model.hidden=[32]')
        self.serves_on()

    def test_another_number_of_layers(self):
        self.refused(r"the model differs from the job's from tensor 2 on: .*", 'model.hidden=[64, 64]')
        self.refused(r"the model differs from the job's from tensor 0 on: .*", 'model.type=softmax')
        self.serves_on()

    def test_fewer_examples(self):
        config = self.copy_of_data()
        self.rewrite('train-images-idx3-ubyte', lambda shape, data: ((1400, 8, 8), data[:1400 * 64]))
        self.rewrite('train-labels-idx1-ubyte', lambda shape, data: ((1400,), data[:1400]))
        self.refused(r'the job has 1437 training examples, this worker 1400', config=config)
        self.serves_on()

    def test_other_examples_of_the_same_number(self):
        config = self.copy_of_data()

        def change(shape, data):
            data[12345] ^= 1
            return shape, data
        self.rewrite('train-images-idx3-ubyte', change)
        self.refused(r"this worker's training data differ from the job's \(digest [0-9a-f]{16}, not [0-9a-f]{16}\)",
                     config=config)
        self.serves_on()

    def test_other_labels(self):
        config = self.copy_of_data()

        def change(shape, data):
            data[77] = (data[77] + 1) % 10
            return shape, data
        self.rewrite('train-labels-idx1-ubyte', change)
        self.refused(r"this worker's training data differ from the job's .*", config=config)
        self.serves_on()

    def test_another_test_set(self):
        config = self.copy_of_data()
        self.rewrite('test-images-idx3-ubyte', lambda shape, data: ((300, 8, 8), data[:300 * 64]))
        self.rewrite('test-labels-idx1-ubyte', lambda shape, data: ((300,), data[:300]))
        self.refused(r'the job has 360 test examples, this worker 300', config=config)
        self.serves_on()

    def test_a_slot_that_does_not_exist(self):
        self.refused(r"slot 2 does not exist: job 'digits' has slots 0 to 1", slot=2)
        self.refused(r"slot 100 does not exist: job 'digits' has slots 0 to 1", slot=100)
        self.serves_on()

    def test_refusals_in_the_middle_of_a_job(self):
        """In numbers, while the rounds go on."""
        second = self.start_worker(self.server)
        self.assert_done(self.finish(self.server, [self.right, second]))
        server = self.start_server('workers=2', 'train.epochs=150', 'optimizer.switch.when=never', run='other')
        workers = self.start_workers(server, 2)
        self.wait_for_round(server, 50)
        wrong = [self.start_worker(server, item) for item in ('job=x', 'model.hidden=[32]', 'model.type=softmax')]
        for worker in wrong:
            self.wait_for_end(worker, 1)
        self.assertTrue(server.alive())
        summary = self.finish(server, workers)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 2)
        self.assertEqual([s['joins'] for s in summary['slots']], [1, 1])


class FirstOfAll(harness.Case):
    def test_a_wrong_model_that_comes_first_does_not_become_the_job(self):
        """The server knows no layout before a first worker says one; the job file's model must still win."""
        server = self.start_server('train.epochs=3', 'workers=2')
        for model in ('model.hidden=[32]', 'model.hidden=[80]', 'model.type=softmax'):
            wrong = self.start_worker(server, model)
            self.wait_for_end(wrong, 1)
            self.assertRegex(wrong.err().splitlines()[-1], r'^signpost-worker: .*model\.type, model\.hidden and model\.width')
        self.wait_for(lambda: server.status()['params'] is None, 'the server to forget that model')
        summary = self.finish(server, self.start_workers(server, 2))
        self.assertEqual(summary['params'], 4810)
        self.assert_done(summary)


if __name__ == '__main__':
    harness.main()
