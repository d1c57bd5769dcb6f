"""Running statistics (SIGNPOST_BUFFER): when they are averaged, who gets them, and that no weight depends on them."""
import harness
import made
import readers

M = 4


def written(slot, round_, shift=0):
    """What made_worker.c leaves in its buffers when it gives the gradient of a round."""
    return [shift + 64 * slot + round_ + 0.25 * i for i in range(5)] + [round_]


def averaged(round_, slots=range(M), shift=0):
    """The mean over workers, rounded once."""
    return [made.float32(sum(values) / len(values)) for values in zip(*(written(slot, round_, shift) for slot in slots))]


class Buffers(made.Case):
    def check_lines(self, worker, slot, due, shift=0):
        """What a worker saw: at its gradients its own of the round before, or the mean where one was due."""
        for line in self.said(worker):
            round_ = line['round']
            if line['at'] == 'init':
                self.assertEqual(line['buffers'], [0] * 6)
            elif line['at'] == 'gradient' and round_ > 1:
                expected = averaged(round_ - 1, shift=shift) if round_ - 1 in due else written(slot, round_ - 1, shift)
                self.assertEqual(line['buffers'], expected, line)
            elif line['at'] == 'gradient':
                self.assertEqual(line['buffers'], [-1, -2, -3, -4, -5, -6], 'the initial ones, for all')
            else:
                self.assertEqual(line['buffers'], averaged(round_, shift=shift), line)

    def check_model(self, server, expected):
        model = readers.Model(server.run / 'model.safetensors')
        shapes = {**made.TENSORS, **made.BUFFERS}
        self.assertEqual(list(model.tensors), list(shapes))
        at = 0
        for name, tensor in model.tensors.items():
            self.assertEqual((tensor['shape'], tensor['data_offsets'][0]), (shapes[name], at), name)
            at = tensor['data_offsets'][1]
        self.assertEqual(at, len(model.raw))
        self.assertEqual(list(model.values('norm.mean')) + list(model.values('norm.count')), expected)
        # The digest is that of the weights alone.
        self.assertEqual(readers.weights_digest(model.raw[:4 * made.PARAMS]), server.summary()['weights_digest'])

    def test_averages_at_evaluations_at_the_switch_and_at_the_end(self):
        due = {made.SWITCH + 1, *range(10, made.ROUNDS + 1, 10)}
        server, s, workers, _ = self.made_job()
        self.assertEqual((s['params'], s['test_accuracy']), (made.PARAMS, 1))
        for slot, worker in enumerate(workers):
            self.check_lines(worker, slot, due)
            self.assertEqual([line['round'] for line in self.said(worker, 'evaluate')], list(range(10, 121, 10)))
        self.check_model(server, averaged(made.ROUNDS))

    def test_in_every_phase_and_mode(self):
        sets = ('train.evaluate=7', 'optimizer.switch.step=40')
        cases = {
            'margin, then SGD': ({40 + 1}, ('optimizer.switch.to=margin', 'optimizer.margin.until=0.6')),
            'bf16': ({40 + 1}, ('optimizer.sgd.wire=bf16',)),
            'sgd': (set(), ('optimizer.mode=sgd', 'optimizer.sgd.lr=0.01')),
            'adam, median': (set(), ('optimizer.mode=adam', 'optimizer.sgd.wire=i8')),
            'with tensors in full': ({40 + 1}, ('tensors=[{match: "*.bias", update: full}]',)),
        }
        for i, (name, (due, more)) in enumerate(cases.items()):
            with self.subTest(name):
                if 'until' in str(more):
                    due = due | {73}
                server, _, workers, _ = self.made_job(*sets, *more, run=f'run{i}')
                due = due | set(range(7, made.ROUNDS + 1, 7)) | {made.ROUNDS}
                for slot, worker in enumerate(workers):
                    self.check_lines(worker, slot, due)
                self.check_model(server, averaged(made.ROUNDS))

    def test_they_change_no_weight(self):
        one = self.made_job(run='one')[1]
        server, two, workers, _ = self.made_job(shift=1024, run='two')
        self.assertEqual(one['weights_digest'], two['weights_digest'])
        self.check_lines(workers[1], 1, {made.SWITCH + 1, *range(10, made.ROUNDS + 1, 10)}, shift=1024)
        self.check_model(server, averaged(made.ROUNDS, shift=1024))
        # How often they are averaged does not either.
        three = self.made_job('train.evaluate=1', run='three')[1]
        self.assertEqual(one['weights_digest'], three['weights_digest'])
        self.assertGreater(three['bytes_pushed'], one['bytes_pushed'] + 4 * 100 * 6 * 4)

    def test_a_late_joiner_gets_them(self):
        """It begins with the last averages, or with the initial ones if there was no average before."""
        for evaluate, rounds in ((10, 30), (1000, 30)):
            with self.subTest(evaluate=evaluate):
                server = self.start_server(f'train.evaluate={evaluate}', 'train.rounds=400', 'optimizer.switch.step=399',
                                           'server.start_timeout=0.3', 'server.min_live=3', 'workers=4',
                                           config=made.CONFIG, run=f'run{evaluate}')
                workers = [self.start_made(server, slot, 0, 'pause') for slot in range(3)]
                self.wait_for_round(server, rounds)
                late = self.start_made(server, 3, 0, 'pause')
                s = self.finish(server, workers + [late])
                self.assert_done(s)
                first = self.said(late)[0]
                self.assertEqual(first['at'], 'gradient')
                self.assertGreater(first['round'], rounds)
                before = (first['round'] - 1) // evaluate * evaluate
                self.assertEqual(first['buffers'], averaged(before, slots=range(3)) if before else [-1, -2, -3, -4, -5, -6])
                self.assertEqual(self.said(late, 'done')[0]['buffers'], averaged(400))
                self.check_model(server, averaged(400))

    def test_after_a_death(self):
        """Who comes back has the averages too, and the mean of a round is that of those who gave it."""
        server = self.start_server('train.rounds=300', 'optimizer.switch.step=150', config=made.CONFIG)
        workers = [self.start_made(server, slot, 0, 'pause') for slot in range(4)]
        self.wait_for_round(server, 40)
        workers[2].kill()
        self.wait_for(lambda: server.status()['live'] == 3, 'the server to notice')
        dead = server.status()['round']
        self.wait_for_round(server, dead + 25)
        back = self.start_made(server, 2)
        s = self.finish(server, [workers[0], workers[1], workers[3], back])
        self.assert_done(s)
        self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0)
        alone = (dead // 10 + 2) * 10
        line = [line for line in self.said(workers[0], 'evaluate') if line['round'] == alone][0]
        self.assertEqual(line['buffers'], averaged(alone, slots=(0, 1, 3)))
        first = self.said(back)[0]
        self.assertEqual(first['buffers'], averaged((first['round'] - 1) // 10 * 10, slots=(0, 1, 3)))
        self.check_model(server, averaged(300))

    def test_a_stopped_job_has_those_of_its_last_average(self):
        server = self.start_server('train.rounds=100000', 'optimizer.switch.when=never', 'optimizer.switch.step=0',
                                   config=made.CONFIG)
        workers = [self.start_made(server, slot, 0, 'pause') for slot in range(4)]
        self.wait_for_round(server, 25)
        server.ask('stop')
        s = self.finish(server, workers)
        rounds = s['rounds_done']
        # An evaluation that was under way at the end has not made its round final.
        model = readers.Model(server.run / 'model.safetensors')
        got = list(model.values('norm.mean')) + list(model.values('norm.count'))
        self.assertEqual(got, averaged(rounds // 10 * 10))


if __name__ == '__main__':
    harness.main()
