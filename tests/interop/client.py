"""A worker for Signpost in Python and numpy, written from the protocol's page (proto/README.md) and nothing else.

    client.py HOST:PORT --data configs/digits [--job NAME] [--hidden N ...] [--slot N] [--token-file FILE]

It takes part in a job like configs/digits.yaml: handshake, every phase, evaluation, resync, reconnect. Exit code 0: the
job is over, and the last line is the digest of the weights; 1: refused, with the server's words. The wire is in
frames.py, what makes votes and weights in learner.py; here are the model (any other will do) and the states.
"""
import argparse
import hmac
import math
import os
import random
import struct
import sys
import time

import numpy as np

from frames import BUFFERS, LAST, Link, Lost, frame, proof, read_secret
from learner import DECAY, Layout, Learner, blocks, philox, weights_digest, xxh64

DONE, STOPPED, VERSION_DIFFERS, LEAVING, SECRET = 0, 1, 3, 11, 16
COME_BACK = {2, 8, 9, 10, 14, 15}


class Refused(Exception):
    """The end, with words for people."""


def shuffled(n, seed, epoch):
    """0 .. n-1 in the order of an epoch."""
    words = (w for i in range(0, 2**32, 512) for w in philox(seed, 2, blocks(i, i + 512), epoch, 0).ravel().tolist())
    perm = list(range(n))
    for i in range(n - 1, 0, -1):
        k = i + 1
        w = next(w for w in words if w * k % 2**32 >= (2**32 - k) % k)
        j = w * k >> 32
        perm[i], perm[j] = perm[j], perm[i]
    return np.array(perm)


class Model:
    """signpost-worker's softmax or MLP on the images and labels of a folder."""

    def __init__(self, folder, hidden):
        self.train, self.test = self.load(folder, 'train'), self.load(folder, 'test')
        pixels, labels = self.train
        self.digest = xxh64(struct.pack('<QI', *pixels.shape) + pixels.tobytes() + labels.tobytes())
        sizes = [pixels.shape[1], *hidden, int(labels.max()) + 1]
        self.layout = Layout(*(item for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), 1) for item in (
            (f'dense{i}.weight', (outputs, inputs), DECAY), (f'dense{i}.bias', (outputs,), 0))))

    @staticmethod
    def load(folder, part):
        with open(os.path.join(folder, f'{part}-images-idx3-ubyte'), 'rb') as file:
            n, rows, columns = struct.unpack('>4x3I', file.read(16))
            pixels = np.frombuffer(file.read(), np.uint8).reshape(n, rows * columns)
        with open(os.path.join(folder, f'{part}-labels-idx1-ubyte'), 'rb') as file:
            return pixels, np.frombuffer(file.read()[8:], np.uint8)

    def take_plan(self, plan):
        self.seed, self.workers, self.batch = int(plan['seed']), int(plan['workers']), int(plan['train.batch'])
        divide, mean, std = (float(plan['data.scale.' + key]) for key in ('divide', 'mean', 'std'))
        divide = divide or 255  # what its default, 0, stands for where data are bytes
        self.epoch = None
        self.inputs, self.test_inputs = (
            ((pixels / divide - mean) / std).astype(np.float32) for pixels, _ in (self.train, self.test))

    def initial_weights(self):
        theta, layers = np.zeros(self.layout.d, np.float32), self.layout.trained
        for k, t in list(enumerate(layers))[::2]:
            n, last = t.end - t.begin, k + 2 == len(layers)
            a = np.float32(math.sqrt((1 if last else 6) / t.shape[1]))
            words = philox(self.seed, 3, blocks(0, -(-n // 4)), k, 0).ravel()[:n]
            theta[t.begin:t.end] = a * (2 * ((words >> 8) / 2**24) - 1).astype(np.float32)
        return theta

    def batch_of(self, t, slot):
        n, share = len(self.inputs), self.workers * self.batch
        epoch, position = divmod(t - 1, -(-n // share))
        if epoch != self.epoch:
            self.epoch, self.order = epoch, shuffled(n, self.seed, epoch)
        return self.order[(position * share + slot * self.batch + np.arange(self.batch)) % n]

    def forward(self, theta, inputs, labels):
        """The inputs of each layer and the outputs; the losses; their gradients by the outputs."""
        layers, rows, tensors = [inputs], np.arange(len(labels)), self.layout.trained
        for weight, bias in zip(tensors[::2], tensors[1::2]):
            y = layers[-1] @ theta[weight.begin:weight.end].reshape(weight.shape).T + theta[bias.begin:bias.end]
            layers.append(np.maximum(y, 0) if bias is not tensors[-1] else y)
        y = y - y.max(axis=1, keepdims=True)
        p = np.exp(y)
        losses = np.log(p.sum(axis=1)) - y[rows, labels]
        p /= p.sum(axis=1, keepdims=True)
        p[rows, labels] -= 1
        return layers, losses.astype(np.float64), p

    def gradient(self, theta, t, slot):
        """Gradient, loss and number of examples of this slot's batch."""
        chosen = self.batch_of(t, slot)
        layers, losses, delta = self.forward(theta, self.inputs[chosen], self.train[1][chosen])
        delta, g = delta / np.float32(len(chosen)), np.empty_like(theta)
        for weight, bias, x in reversed(list(zip(self.layout.trained[::2], self.layout.trained[1::2], layers))):
            g[weight.begin:weight.end] = (delta.T @ x).ravel()
            g[bias.begin:bias.end] = delta.sum(axis=0)
            delta = delta @ theta[weight.begin:weight.end].reshape(weight.shape) * (x > 0)
        return g, float(losses.mean()), len(chosen)

    def score(self, theta, part, parts):
        begin, end = (len(self.test_inputs) * p // parts for p in (part, part + 1))
        labels = self.test[1][begin:end]
        layers, losses, _ = self.forward(theta, self.test_inputs[begin:end], labels)
        return {'correct': int((layers[-1].argmax(axis=1) == labels).sum()), 'total': end - begin,
                'loss_sum': float(losses.sum())}


class Client:
    def __init__(self, address, job, model, secret=None, slot=None):
        host, port = address.rsplit(':', 1)
        self.address, self.job, self.model, self.secret = (host.strip('[]'), int(port)), job, model, secret
        self.wanted_slot, self.ticket, self.learner, self.pause = 0 if slot is None else slot + 1, b'', None, 0.1

    def say(self, words):
        print(f'client: {words}', file=sys.stderr, flush=True)

    def run(self):
        """Until the job is over; Refused if this client may not take part."""
        while True:
            try:
                self.link = Link(self.address)
                try:
                    return self.session()
                except KeyboardInterrupt:
                    self.link.bye(LEAVING)
                    raise
                finally:
                    self.link.sock.close()
            except (Lost, OSError) as e:
                self.say(f'{e}; trying again')
            if self.learner:
                self.learner.forget()
            time.sleep(self.pause * random.uniform(0.5, 1.0))
            self.pause = min(5.0, 2 * self.pause)

    def session(self):
        """One connection, to the end of the job."""
        self.state, self.gradient_due, self.evaluations = 'JOINING', False, []
        hello = {'job': self.job, 'program': 'client.py 1', 'layout_digest': self.model.layout.digest(),
                 'examples': len(self.model.train[1]), 'test_examples': len(self.model.test[1]),
                 'data_digest': self.model.digest, 'wanted_slot': self.wanted_slot, 'ticket': self.ticket}
        if self.secret:
            self.prove(hello)
        else:
            self.send('HELLO', **hello)
        self.send('LAYOUT', tensors=[vars(t) for t in self.model.layout.tensors])
        self.link.start_alive()
        while True:
            if self.gradient_due and not self.link.waiting():
                self.gradient_due = False
                self.push()
            f = self.link.receive()
            match self.state, f.name:
                case _, 'BYE':
                    if f.message.reason in COME_BACK:
                        raise Lost(f.message.words)
                    if f.message.reason not in (DONE, STOPPED):
                        raise Refused(f.message.words)
                    return self.say(f.message.words)
                case 'JOINING' | 'SPARE', 'WELCOME':
                    self.welcome(f.message)
                case 'WEIGHTS', 'INIT':
                    self.give_weights()
                case 'WEIGHTS', 'WEIGHTS':
                    self.take_weights(f)
                case 'READY', 'UPDATE':
                    self.learner.update(f)
                case 'READY', 'COMMIT':
                    self.commit(f)
                case 'READY', 'EVAL':
                    self.evaluations.append(f)
                    self.score()
                case (_, 'ALIVE') | ('JOINING' | 'SPARE', 'EVAL') | ('WEIGHTS', 'UPDATE' | 'COMMIT' | 'EVAL'):
                    pass
                case _:
                    raise Lost(f'{f.name} in state {self.state}')

    def send(self, name, **fields):
        self.link.send(frame(name, **fields))

    def prove(self, hello):
        """HELLO with a nonce, CHALLENGE, PROOF. Until its proof is right the server is anybody."""
        nonce = os.urandom(32)
        self.send('HELLO', nonce=nonce, **hello)
        f = self.link.receive()
        if f.name == 'BYE' and f.message.reason in (SECRET, VERSION_DIFFERS):
            raise Refused(f.message.words)
        if f.name != 'CHALLENGE' or len(f.message.nonce) != 32:
            raise Lost(f.message.words if f.name == 'BYE' else f'{f.name} before a proof')
        mine, servers = (proof(self.secret, who, 0, nonce, f.message.nonce, self.wanted_slot, hello['layout_digest'],
                               self.job) for who in (0, 1))
        if not hmac.compare_digest(servers, f.message.proof):
            self.link.bye(SECRET)
            raise Refused('the server has another secret')
        self.send('PROOF', proof=mine)

    def welcome(self, w):
        self.link.alive_s, self.link.silence_s = (w.alive_interval_ms or 2000) / 1e3, (w.silence_ms_max or 15000) / 1e3
        if w.spare:
            if self.state == 'SPARE':
                raise Lost('WELCOME as a spare, twice')
            self.state = 'SPARE'
            return self.say('a spare: no slot is free')
        plan = {s.key: s.value for s in w.plan}
        if plan.get('data.shards', 'iid') != 'iid':
            raise Refused(f"this job says data.shards: {plan['data.shards']}, and this client knows iid only")
        self.model.take_plan(plan)
        self.learner = self.learner or Learner(self.model.layout)
        self.learner.set_up(plan, w.slot, w.traits, w.run)
        self.ticket = w.ticket
        self.await_weights()
        self.say(f'slot {w.slot}, round {w.round} of {w.rounds}')

    def await_weights(self):
        self.state, self.gradient_due, self.evaluations = 'WEIGHTS', False, []
        layout = self.learner.layout
        self.incoming = {0: np.empty(layout.d, np.float32), BUFFERS: np.empty(layout.buffers_n, np.float32)}
        self.incoming_chunks = layout.weight_chunks()

    def give_weights(self):
        """The digits model has no buffers."""
        theta = self.model.initial_weights()
        for _, first, count, flags in self.learner.layout.weight_chunks():
            self.send('WEIGHTS', first=first, count=count, bulk=theta[first:first + count].astype('<f4').tobytes(),
                      flags=flags, digest=weights_digest(theta) if flags & LAST else 0)
        self.ready(theta, self.learner.buffers, 0)

    def take_weights(self, f):
        section, first, count, flags = self.incoming_chunks.pop(0)
        if (f.first, f.count, f.flags, len(f.bulk)) != (first, count, flags, 4 * count):
            raise Lost('WEIGHTS that are not due')
        self.incoming[section][first:first + count] = np.frombuffer(f.bulk, '<f4')
        if flags & LAST:
            if f.message.digest != weights_digest(self.incoming[0]):
                raise Lost('damaged weights')
            self.ready(self.incoming[0], self.incoming[BUFFERS], f.round)

    def ready(self, theta, buffers, round_):
        self.learner.new_weights(theta, buffers, round_)
        self.send('READY', round=round_, digest=weights_digest(theta))
        self.state = 'READY'

    def push(self):
        learner = self.learner
        for data in learner.push(*self.model.gradient(learner.theta, learner.round + 1, learner.slot)):
            self.link.send(data)

    def commit(self, f):
        result = self.learner.commit(f.round, f.message)
        if result == 'differs':
            self.say(f'the weights after round {self.learner.round} differ: resync')
            self.send('RESYNC', round=self.learner.round, digest=weights_digest(self.learner.theta))
            return self.await_weights()
        if result == 'applied':
            self.pause = 0.1
        self.score()
        self.gradient_due = not f.message.last

    def score(self):
        """Evaluates what waits for these weights."""
        theta, now = self.learner.theta, self.learner.round
        for f in self.evaluations:
            if f.round == now:
                part = f.message.part
                self.send('SCORE', round=now, part=part, **self.model.score(theta, part, f.message.parts))
        self.evaluations = [f for f in self.evaluations if f.round > now]


def main():
    parser = argparse.ArgumentParser(description='a worker for Signpost')
    parser.add_argument('server', metavar='HOST:PORT')
    parser.add_argument('--data', required=True, help='folder with the four IDX files')
    parser.add_argument('--job', default='digits')
    parser.add_argument('--hidden', type=int, nargs='*', default=[64], help='units of the hidden layers; none: softmax')
    parser.add_argument('--slot', type=int)
    parser.add_argument('--token-file', help="the job's secret")
    args = parser.parse_args()
    try:
        secret = read_secret(args.token_file) if args.token_file else None
        client = Client(args.server, args.job, Model(args.data, args.hidden), secret, args.slot)
        client.run()
    except (Refused, ValueError, KeyboardInterrupt) as e:
        sys.exit(f'client: {e or "interrupted"}')
    if client.learner and client.learner.theta is not None:
        print(f'weights digest {weights_digest(client.learner.theta):016x} after round {client.learner.round}')


if __name__ == '__main__':
    main()
