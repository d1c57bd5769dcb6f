"""Clients in Python that know only the protocol's page, in jobs of signpostd beside signpost-worker."""
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))

import harness
from client import Client, Model
from frames import NAMES, Lost
from learner import weights_digest

CLIENT = Path(__file__).with_name('client.py')
SECRET = 'correct horse battery staple, and some more\n'
LONG = ('train.epochs=1000000', 'train.evaluate=100')     # until it is stopped
SHORT = ('train.rounds=250', 'optimizer.switch.when=at', 'optimizer.switch.step=150')


class Broken(Client):
    """A client to which something happens once, when it is to push a round."""

    def __init__(self, address, at, what, hidden=(64,)):
        super().__init__(address, 'digits', Model(harness.DATA, hidden))
        self.at, self.what, self.slots, self.resyncs, self.said = at, what, [], 0, []

    def say(self, words):
        self.said.append(words)

    def push(self):
        if self.at and self.learner.round + 1 >= self.at:
            self.at = 0
            self.what(self)
        super().push()

    def welcome(self, w):
        super().welcome(w)
        self.slots.append(w.slot)

    def send(self, name, **fields):
        self.resyncs += name == 'RESYNC'
        super().send(name, **fields)


def cut(client):
    """The connection is reset, as when a machine dies."""
    client.link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('<ii', 1, 0))
    client.link.sock.close()
    raise Lost('cut')


def cut_after_pushing(client):
    Client.push(client)
    time.sleep(0.05)
    cut(client)


def cut_between_chunks(client):
    link, send, sent = client.link, client.link.send, []

    def send_one_push(data):
        if NAMES[data[5] - 1] != 'PUSH':    # signs of life, from a thread of their own
            return send(data)
        if sent:
            link.send = send
            cut(client)
        sent.append(data)
        return send(data)
    link.send = send_one_push


def spoil(client):
    client.learner.theta[7] += 1


class Interop(harness.Case):
    # --- starting ----------------------------------------------------------------------------------------------------

    def secret(self, text=SECRET, name='secret'):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def start_client(self, server, *args):
        return self.start('client', sys.executable, CLIENT, server.address(), '--data', harness.DATA, *args)

    def in_thread(self, client):
        def run():
            try:
                client.run()
                client.over = True
            except Exception as e:      # the test that waits shows it
                client.over = e
        client.over = None
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return client

    def assert_over(self, client, summary):
        self.wait_for(lambda: client.over is not None, 'the client to end')
        self.assertIs(client.over, True, client.said)
        self.assertEqual(f'{weights_digest(client.learner.theta):016x}', summary['weights_digest'])

    def assert_same_weights(self, clients, summary):
        for client in clients:
            self.assertEqual(client.out().splitlines()[-1],
                             f'weights digest {summary["weights_digest"]} after round {summary["rounds_done"]}')

    def assert_undisturbed(self, summary):
        for slot in summary['slots']:
            counts = {key: slot[key] for key in ('votes', 'missed', 'late', 'abstained', 'resyncs', 'joins')}
            self.assertEqual(counts, {'votes': summary['rounds'], 'missed': 0, 'late': 0, 'abstained': 0, 'resyncs': 0,
                                      'joins': 1}, f'slot {slot["slot"]}')

    def assert_both_phases(self, server, summary):
        self.assertEqual({line['phase'] for line in server.history() if 'phase' in line}, {'sign', 'sgd'})
        self.assertTrue(0 < summary['switch_round'] < summary['rounds'])

    # --- whole jobs --------------------------------------------------------------------------------------------------

    def whole(self, workers, clients, sets=(), worker_sets=(), client_args=()):
        server = self.start_server(f'workers={workers + clients}', *sets)
        processes = [self.start_worker(server, *worker_sets) for _ in range(workers)]
        python = [self.start_client(server, *client_args) for _ in range(clients)]
        summary = self.finish(server, processes + python)
        self.assert_done(summary)
        self.assert_same_weights(python, summary)
        self.assert_undisturbed(summary)
        return server, summary

    def test_with_a_secret(self):
        secret = self.secret()
        token = f'security.token_file={secret}'
        server, summary = self.whole(2, 2, [token], [token], ['--token-file', secret])
        self.assert_both_phases(server, summary)
        self.assertIn('auto', summary['switch_reason'])
        self.assertGreater(summary['test_accuracy'], 0.95)

    def test_with_a_secret_in_digits(self):
        secret = self.secret(' 00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\r\n')
        token = f'security.token_file={secret}'
        self.whole(1, 1, [token, 'train.rounds=50'], [token], ['--token-file', secret])

    def test_without_a_secret(self):
        server, summary = self.whole(2, 2)
        self.assert_both_phases(server, summary)
        self.assertGreater(summary['test_accuracy'], 0.95)

    def test_alone(self):
        server, summary = self.whole(0, 1, ['train.epochs=15'])
        self.assert_both_phases(server, summary)
        self.assertGreater(summary['test_accuracy'], 0.95)

    def test_settings(self):
        for sets in (('optimizer.sgd.momentum=none', 'optimizer.weight_decay=0.1', 'optimizer.sgd.lambda=ratio'),
                     ('optimizer.dither.scale=absolute', 'optimizer.dither.sigma0=0.01', 'optimizer.beta1=0.95'),
                     ('optimizer.dither.sigma0=0', 'seed=18446744073709551615', 'optimizer.switch.when=never')):
            self.whole(1, 1, ('train.epochs=6', *sets))

    def test_every_form_of_a_round(self):
        """The server makes updates of every kind, and clients in both languages the same weights of them."""
        at = ('optimizer.switch.when=at', 'optimizer.switch.step=60')
        for sets, phases in (
                (('optimizer.sgd.wire=f32', *at), {'sign', 'sgd'}),
                (('optimizer.sgd.wire=bf16', *at), {'sign', 'sgd'}),
                (('optimizer.sgd.wire=i8', 'optimizer.dither.scale=tensor', *at), {'sign', 'sgd'}),
                (('optimizer.start=margin', *at), {'margin', 'sgd'}),
                (('optimizer.switch.to=margin', 'optimizer.margin.until=0.6', *at), {'sign', 'margin', 'sgd'}),
                (('optimizer.sgd.rate=tracking', 'optimizer.sgd.aggregate=median', *at), {'sign', 'sgd'}),
                (('tensors=[{match: "*.bias", update: full, decay: true}]', 'optimizer.weight_decay=0.1',
                  'optimizer.start=margin', 'optimizer.sgd.rate=tracking', *at), {'margin', 'sgd'}),
                (('tensors=[{match: "dense1.*", update: full}]', 'optimizer.dither.scale=tensor', *at),
                 {'sign', 'sgd'}),
                (('optimizer.mode=sgd', 'optimizer.sgd.lr=0.5'), {'sgd'}),
                (('optimizer.mode=adam', 'optimizer.sgd.wire=i8'), {'sgd'})):
            with self.subTest(sets=sets):
                server, summary = self.whole(1, 2, ('train.rounds=150', *sets))
                self.assertEqual({line['phase'] for line in server.history() if 'phase' in line}, phases)
                self.assertGreater(summary['test_accuracy'], 0.8)

    def test_other_models(self):
        for words, hidden in ((('model.type=mlp', 'model.hidden=[32, 16]'), ('--hidden', 32, 16)),
                              (('model.type=softmax',), ('--hidden',))):
            sets = ('train.epochs=10', *words)
            _, summary = self.whole(1, 1, sets, words, hidden)
            self.assertGreater(summary['test_accuracy'], 0.8)

    def test_same_initial_weights(self):
        """A job whose rounds change nothing has the initial weights at its end, whoever gave them."""
        sets = ('train.rounds=3', 'optimizer.switch.when=never', 'optimizer.sign.lr=1e-30', 'seed=5')
        digests = {self.whole(*counts, (*sets, *words), words, hidden)[1]['weights_digest']
                   for words, hidden in ((('model.hidden=[32, 16]',), ('--hidden', 32, 16)),)
                   for counts in ((1, 0), (0, 1))}
        self.assertEqual(len(digests), 1)

    # --- lost connections --------------------------------------------------------------------------------------------

    def broken(self, at, what, workers=2, sets=(), hidden=(64,)):
        """A job in which something happens to one of the workers; the others are in C, and wait for it."""
        server = self.start_server(f'workers={workers}', f'server.min_live={workers}', *sets)
        models = [item for item in sets if item.startswith('model.')]
        others = self.start_workers(server, workers - 1, *models)
        client = self.in_thread(Broken(server.address(), at, what, hidden))
        summary = self.finish(server, others)
        self.assert_over(client, summary)
        self.assertEqual(client.at, 0, 'nothing happened')
        return client, summary, summary['slots'][client.slots[0]]

    def test_connection_cut(self):
        for what in (cut, cut_after_pushing):
            for workers in (1, 3):
                for at in (1, 90, 190):
                    with self.subTest(what=what.__name__, workers=workers, at=at):
                        client, summary, slot = self.broken(at, what, workers, SHORT)
                        self.assertEqual(client.slots, [client.slots[0]] * 2)
                        self.assertEqual((slot['joins'], slot['resyncs']), (2, 0))
                        self.assert_done(summary)

    def test_connection_cut_between_chunks(self):
        """675,010 weights: two chunks a sign round, 21 or 42 in an SGD round."""
        sets = ('model.hidden=[9000]', 'train.rounds=16', 'optimizer.switch.when=at', 'optimizer.switch.step=8')
        for workers in (1, 2):
            for at in (4, 12):
                with self.subTest(workers=workers, at=at):
                    client, _, slot = self.broken(at, cut_between_chunks, workers, sets, (9000,))
                    self.assertEqual((len(client.slots), slot['joins'], slot['resyncs']), (2, 2, 0), client.said)

    def test_resync(self):
        client, summary, slot = self.broken(150, spoil)
        self.assertEqual((client.resyncs, slot['resyncs'], slot['joins']), (1, 1, 1))
        self.assertGreater(summary['test_accuracy'], 0.9)

    def test_abstention(self):
        def no_numbers(client):
            gradient = client.model.gradient

            def once(*args):
                client.model.gradient = gradient
                g, loss, examples = gradient(*args)
                g[100] = np.nan
                return g, loss, examples
            client.model.gradient = once
        for at in (1, 90, 190):
            for workers in (1, 3):
                with self.subTest(at=at, workers=workers):
                    _, summary, slot = self.broken(at, no_numbers, workers, SHORT)
                    self.assertEqual((slot['abstained'], slot['joins'], slot['resyncs']), (1, 1, 0))
                    self.assertEqual(summary['rounds_done'], 250)

    def test_too_slow_for_a_quorum(self):
        def slow(client):
            gradient = client.model.gradient

            def slower(theta, t, slot):
                time.sleep(0.1 if t % 50 == 0 else 0.0)
                return gradient(theta, t, slot)
            client.model.gradient = slower
        client, summary, slot = self.broken(1, slow, 3, ('server.close.quorum=2', 'server.close.deadline=adaptive'))
        self.assertGreater(slot['missed'], 0)
        self.assertEqual((slot['joins'], slot['resyncs']), (1, 0))

    def test_lost_while_evaluating(self):
        """The EVAL of a round comes again, or to who is left."""
        def evaluation_cut(client):
            score = client.model.score

            def lost(*_):
                client.model.score = score
                cut(client)
            client.model.score = lost
        for workers in (1, 2):
            with self.subTest(workers=workers):
                _, summary, slot = self.broken(10, evaluation_cut, workers, ('train.rounds=100',))
                self.assertEqual((slot['joins'], summary['rounds_done']), (2, 100))
                self.assert_done(summary)

    def test_server_starts_again(self):
        """Another job begins: its plan counts, and momentum starts at zero."""
        listen = f'127.0.0.1:{harness.free_port()}'
        server = self.start_server('workers=2', *LONG, listen=listen)
        worker, client = self.start_worker(server), self.start_client(server)
        self.wait_for_round(server, 30)
        server.kill()
        server = self.start_server('workers=2', 'train.rounds=300', 'seed=7', 'optimizer.beta1=0.5', listen=listen,
                                   fresh=True)
        summary = self.finish(server, [worker, client])
        self.assert_done(summary)
        self.assert_same_weights([client], summary)
        self.assert_undisturbed(summary)

    # --- coming and going --------------------------------------------------------------------------------------------

    def test_spare_that_joins_late_and_a_job_that_is_stopped(self):
        server = self.start_server('workers=2', *LONG)
        workers = self.start_workers(server, 2, slots=True)
        self.wait_for_round(server, 10)
        spare = self.start_client(server)
        self.wait_for_words(spare, 'a spare')
        workers[1].kill()
        self.wait_for_words(spare, r'slot 1, round \d+')
        now = server.status()['round']
        self.wait_for_round(server, now + 250)      # with two digests
        server.ask('stop')
        summary = self.finish(server, [workers[0], spare])
        self.assertTrue(summary['stopped'])
        self.assertEqual(summary['slots'][1]['resyncs'], 0)
        self.assert_same_weights([spare], summary)

    def test_leaving(self):
        server = self.start_server('workers=2', *LONG)
        worker, client = self.start_worker(server), self.start_client(server)
        self.wait_for_round(server, 10)
        client.send(signal.SIGINT)
        self.wait_for_end(client, 1)
        self.wait_for_words(server, r'(?i)leav|left')
        now = server.status()['round']
        self.wait_for_round(server, now + 10)
        server.ask('stop')
        self.finish(server, [worker])

    def test_signs_of_life(self):
        """The server waits for a second worker longer than it waits for a silent one."""
        interval, timeout = harness.seconds(0.2), harness.seconds(1)
        server = self.start_server('workers=2', 'train.rounds=20', f'server.heartbeat.interval={interval:g}',
                                   f'server.heartbeat.timeout={timeout:g}')
        client = self.start_client(server)
        self.wait_for_words(client, 'slot 0')
        time.sleep(harness.seconds(2.5))
        worker = self.start_worker(server)
        summary = self.finish(server, [worker, client])
        self.assert_undisturbed(summary)

    # --- refusals ----------------------------------------------------------------------------------------------------

    def assert_refused(self, client, words):
        self.wait_for_end(client, 1)
        self.assertRegex(client.err().splitlines()[-1], f'^client: .*{words}')
        self.assertNotIn('Traceback', client.err())
        self.assertEqual(client.out(), '')

    def test_refused_for_the_secret(self):
        secret = self.secret()
        other = self.secret('another horse, another battery, another staple\n', 'other')
        server = self.start_server('workers=2', f'security.token_file={secret}')
        self.assert_refused(self.start_client(server, '--token-file', other), 'another secret')
        self.assert_refused(self.start_client(server), 'asks workers for a secret')
        open_server = self.start_server('workers=2', run='open')
        self.assert_refused(self.start_client(open_server, '--token-file', secret), 'without a secret')
        short = self.secret('0011\n', 'short')
        self.assert_refused(self.start_client(server, '--token-file', short), '32 to 1024 bytes')

    def test_refused_for_what_it_is(self):
        secret = self.secret()
        for sets, args in (([], []), ([f'security.token_file={secret}'], ['--token-file', secret])):
            server = self.start_server('workers=3', *sets, run=f'run{len(sets)}')
            first = self.start_worker(server, *sets)
            self.slot_of(first)
            for wrong, words in ((['--job', 'letters'], "'?digits'?"), (['--hidden', 32], 'layout|dense1|model'),
                                 (['--slot', 7], 'slot')):
                with self.subTest(wrong=wrong):
                    self.assert_refused(self.start_client(server, *wrong, *args), words)
            server.ask('stop')
            self.finish(server, [first])

    def test_refuses_shards_that_it_does_not_know(self):
        server = self.start_server('workers=2', 'data.shards=by_label')
        self.assert_refused(self.start_client(server), 'data.shards: by_label, and this client knows iid only')


if __name__ == '__main__':
    harness.main()
