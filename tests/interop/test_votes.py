"""The Python learner and the C one, given the same gradients, updates and commits: every byte that they push and every
digest of their weights are the same."""
import itertools
import os
import random
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from frames import HEADER, decode, frame
from learner import (BF16, BUFFER, DECAY, F32, I8, IN_FULL, MARGIN, SGD, SIGN, Layout, Learner, encode_values,
                     weights_digest)

ROOT = Path(os.environ.get('SP_SOURCE_ROOT', Path(__file__).resolve().parents[2]))
VOTES = os.environ.get('SP_VOTES', str(ROOT / 'build/tests/interop/votes'))
F = np.float32


def f32(x):
    return float(F(x))


SCALES = ('job', 'tensor', 'absolute')
MIXED = [(300, DECAY), (37, 0, IN_FULL), (640, 0), (9, DECAY, IN_FULL), (20, BUFFER), (3, BUFFER)]


class Pair:
    """Drives the Python learner and writes down what the C one is to do and what it should answer. `sizes`: size, flags
    and, if they differ, traits of each tensor."""

    def __init__(self, sizes, seed=1, slot=0, beta1=0.9, scale='job', momentum='ema', rate='frozen', mode='hybrid'):
        plan = {'seed': str(seed), 'optimizer.beta1': repr(beta1), 'optimizer.dither.scale': scale,
                'optimizer.mode': mode, 'optimizer.sgd.momentum': momentum, 'optimizer.sgd.rate': rate}
        sizes = [(size, flags, *(traits or [flags & DECAY])) for size, flags, *traits in sizes]
        self.learner = Learner(Layout(*((f't{i}', (size,), flags) for i, (size, flags, _) in enumerate(sizes))))
        self.layout = self.learner.layout
        self.learner.set_up(plan, slot, [traits for _, flags, traits in sizes if not flags & BUFFER])
        self.d, self.noise = self.learner.d, np.random.default_rng(seed % 2**32 + slot)
        self.steps = [struct.pack('<QIdBBBI', seed, slot, beta1, SCALES.index(scale),
                                  momentum == 'ema' and mode != 'adam', self.learner.tracking, len(sizes))]
        self.steps += [struct.pack('<IBQ', flags, traits, size) for size, flags, traits in sizes]
        self.expected = []      # (what, bytes)

    def weights(self, round_, theta=None):
        theta = self.values() if theta is None else theta
        buffers = self.values(1.0, self.layout.buffers_n)
        self.steps.append(b'W' + struct.pack('<I', round_) + theta.tobytes() + buffers.tobytes())
        self.learner.new_weights(theta.copy(), buffers, round_)

    def values(self, scale=1.0, n=None):
        return (self.noise.standard_normal(self.d if n is None else n) * scale).astype(F)

    def push(self, g=None, loss=0.75, examples=16):
        g = self.values(0.1) if g is None else g
        self.learner.buffers += self.values(0.1, self.layout.buffers_n)
        self.steps.append(b'G' + struct.pack('<dI', loss, examples) + g.tobytes() + self.learner.buffers.tobytes())
        frames = self.learner.push(g, loss, examples)
        if np.isfinite(g).all():    # the frame of an abstention is not the learner's in C
            self.expected += [(f'PUSH {k} of round {self.learner.round + 1}', data) for k, data in enumerate(frames)]

    def bulk(self, section, first, count):
        """Of an update; and how many votes it says it has."""
        phase = self.learner.phase
        if section or phase == SGD:
            values = self.values(0.1, count)
            values[self.noise.random(count) < 0.1] = 0
            if section:
                return values.tobytes(), 0
            return encode_values(self.layout, self.learner.wire, first, values, np.zeros(count, F)), 0
        if phase == SIGN:
            return np.packbits(self.noise.integers(0, 2, count).astype(np.uint8), bitorder='little').tobytes(), 0
        voters = int(self.noise.choice([0, 1, 2, 3, 4, 7, 8, 255]))
        counts = self.noise.integers(0, voters + 1, count)
        return b''.join(np.packbits((counts >> p & 1).astype(np.uint8), bitorder='little').tobytes()
                        for p in range(max(1, voters.bit_length()))), voters

    def update(self, chunks=None):
        """An update of the server, or its first chunks."""
        for section, first, count, flags in self.learner.chunks()[:chunks]:
            bulk, voters = self.bulk(section, first, count)
            chunk = {'round': self.learner.round + 1, 'first': first, 'count': count, 'flags': flags, 'bulk': bulk}
            self.steps.append(b'F' + frame('UPDATE', voters=voters, **chunk))
            self.learner.update(SimpleNamespace(message=SimpleNamespace(voters=voters), **chunk))

    def commit(self, c, **fields):
        data = frame('COMMIT', round=c, **fields)
        self.steps.append(b'F' + data)
        result = self.learner.commit(c, decode('COMMIT', data[HEADER.size + 4:]))
        answer = struct.pack('<BQ', result == 'differs', weights_digest(self.learner.theta))
        self.expected.append((f'COMMIT {c}', answer + self.learner.buffers.tobytes()))
        return result

    def round(self, g=None, phase=SIGN, sigma=0.0, rate=0.01, **fields):
        """A whole round, after which comes one of that phase and sigma."""
        self.push(g)
        self.update()
        self.commit(self.learner.round + 1, rate=f32(rate), next_phase=phase, next_sigma=f32(sigma),
                    **{'decay': 1.0, **fields})

    def check(self, case):
        with tempfile.TemporaryDirectory(prefix='sp-') as folder:
            steps, answers = Path(folder, 'steps'), Path(folder, 'answers')
            steps.write_bytes(b''.join(self.steps))
            done = subprocess.run([VOTES, steps, answers], stderr=subprocess.PIPE, text=True, timeout=120)
            case.assertEqual((done.returncode, done.stderr), (0, ''))
            data, at = answers.read_bytes(), 0
        for what, expected in self.expected:
            got = data[at:at + len(expected)]
            if got != expected:
                differ = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), len(got))
                case.fail(f'{what} differs from byte {differ}: C {got[differ:differ + 32].hex()}, '
                          f'Python {expected[differ:differ + 32].hex()}')
            at += len(expected)
        case.assertEqual(at, len(data), 'bytes of the C learner that the Python one does not have')


class Votes(unittest.TestCase):
    def all_phases(self, pair, sigmas=(0.5, 0.4, 0.3, 0.0), **fields):
        pair.weights(0)
        pair.commit(0, decay=1.0, next_sigma=f32(sigmas[0]))
        for sigma in (*sigmas[1:], 0.0):
            pair.round(sigma=sigma, **fields)
        pair.round(phase=MARGIN, sigma=1.0, **fields)
        pair.round(phase=MARGIN, next_buffers=1, **fields)
        for wire, rate in ((F32, 0.3), (I8, 0.2), (I8, 0.2), (BF16, 0.1), (I8, 0.1)):
            pair.round(phase=SGD, rate=rate, next_wire=wire, next_buffers=wire == BF16, **fields)
        pair.round(phase=SGD, **fields)
        pair.check(self)

    def test_seeds_slots_and_settings(self):
        n = 0
        for seed in (0, 1, 0x0123456789abcdef, 2**64 - 1):
            for slot in (0, 3, 254):
                settings = {'scale': SCALES[n % 3], 'momentum': ('ema', 'none')[n // 2 % 2],
                            'rate': ('frozen', 'tracking')[n // 4 % 2]}
                n += 1
                with self.subTest(seed=seed, slot=slot, **settings):
                    self.all_phases(Pair([(640, 1), (37, 0)], seed, slot, **settings))
                    self.all_phases(Pair(MIXED, seed, slot, **settings))

    def test_modes(self):
        """Full precision from the first round on, with nothing that only a hybrid job has."""
        for mode, momentum, wire in itertools.product(('sgd', 'adam'), ('ema', 'none'), (F32, BF16, I8)):
            with self.subTest(mode=mode, momentum=momentum, wire=wire):
                pair = Pair(MIXED, momentum=momentum, rate='tracking', mode=mode)
                pair.weights(0)
                pair.commit(0, decay=1.0, next_phase=SGD, next_wire=wire)
                for _ in range(3):
                    pair.round(phase=SGD, next_wire=wire)
                pair.check(self)

    def test_tensors_in_full(self):
        """Of all sizes, at all places: the first, the last, all, and more of them than a chunk holds."""
        for sizes in ([(1, 0, IN_FULL), (300, 1)], [(300, 1), (1, 0, IN_FULL)], [(7, 1), (5, 1, IN_FULL), (11, 0)],
                      [(40, 1, DECAY | IN_FULL), (50, 0, IN_FULL)], [(20000, 1, IN_FULL), (9, 0), (20001, 0, IN_FULL)],
                      [(1000, DECAY, 0), (1000, 0, DECAY)]):
            for scale in SCALES:
                with self.subTest(sizes=sizes, scale=scale):
                    self.all_phases(Pair(sizes, scale=scale, rate='tracking'), decay=f32(0.99))

    def test_buffers(self):
        """Averages come only where they were announced."""
        for n in (1, 16384, 16385, 40000):
            pair = Pair([(300, 1), (n, BUFFER)])
            pair.weights(0)
            pair.commit(0, decay=1.0, next_buffers=1)
            for due in (1, 0, 1, 1, 0, 0):
                pair.round(next_buffers=due)
            pair.weights(6)
            pair.commit(6, decay=1.0, next_phase=SGD, next_buffers=1)
            pair.round(phase=SGD)
            pair.check(self)

    def test_values_of_all_sizes(self):
        """Blocks that are zero, so small or so large that they have no scale, and what they leave behind."""
        for wire in (BF16, I8):
            for momentum in ('ema', 'none'):
                pair = Pair([(256, 1), (1, 0), (513, 0), (255, 0, IN_FULL), (33000, 1)], momentum=momentum)
                pair.weights(0)
                pair.commit(0, decay=1.0, next_phase=SGD, next_wire=wire)
                for exponent in (0, -50, -37, -39, -44, 38, 0, -36):
                    g = pair.values()
                    g = (g / np.abs(g).max() * 3.0 * 10.0**exponent).astype(F)
                    g[300:500], g[2000:2300], g[3000:3300] = 0.0, -0.0, F(1e-45)
                    pair.round(g, phase=SGD, next_wire=wire)
                pair.check(self)

    def test_sizes(self):
        for d in (1, 7, 8, 9, 63, 64, 127, 129, 4810, 16384, 16385, 65535, 65536, 65537, 131073):
            with self.subTest(d=d):
                self.all_phases(Pair([(d, 1)], seed=d, slot=2))

    def test_more_than_a_chunk(self):
        for d in (524288, 600000):
            for scale, momentum in (('job', 'ema'), ('absolute', 'none')):
                with self.subTest(d=d, scale=scale):
                    self.all_phases(Pair([(d - 100, 1), (100, 0)], slot=1, scale=scale, momentum=momentum), (0.3, 0.0),
                                    decay=f32(0.999))

    def test_beta1(self):
        for beta1 in (0.0, 1e-5, 0.5, 0.95, 0.999999):
            with self.subTest(beta1=beta1):
                self.all_phases(Pair([(300, 1)], beta1=beta1))

    def test_noise_from_none_to_all(self):
        for scale in SCALES:
            with self.subTest(scale=scale):
                self.all_phases(Pair([(300, 1), (77, 0)], scale=scale),
                                (1e-45, 1e-38, 1e-6, 1.0, 100.0, 1e20, 3e38, 0.0))

    def test_weight_decay_and_rates(self):
        sizes = [(100, 1), (10, 0), (33, 1)]
        rates, decays = [f32(0.1), f32(0.2), f32(0.3)], [f32(0.9), f32(0.99), 0.5]
        for fields in ({'decay': f32(0.9)}, {'decay': 0.0}, {'rates': rates}, {'decays': decays},
                       {'decays': decays, 'rates': rates}, {'rates': [0.0, f32(0.1), 0.0]}):
            with self.subTest(fields=fields):
                self.all_phases(Pair(sizes), **fields)

    def test_gradients_at_the_edges(self):
        zero, minus = np.zeros(300, F), np.full(300, -0.0, F)
        mixed = np.tile(np.array([0.0, 1.0, -0.0, -1.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1e-20], F), 30)
        orders = ([zero] * 4, [minus] * 4, [mixed] * 4, [zero, mixed, zero, minus], [mixed, zero, mixed, zero])
        for scale, momentum, sigma, gradients in itertools.product(SCALES, ('ema', 'none'), (0.0, 0.5),
                                                                   orders):
            pair = Pair([(100, 1), (200, 0)], scale=scale, momentum=momentum)
            pair.weights(0)
            pair.commit(0, decay=1.0, next_sigma=sigma)
            for g in gradients:
                pair.round(g, sigma=sigma)
            pair.round(gradients[0], phase=MARGIN, sigma=sigma)
            pair.round(gradients[0], phase=SGD)
            for g in gradients[:2]:
                pair.round(g, phase=SGD, next_wire=I8)
            pair.round(gradients[2], phase=SGD)
            pair.check(self)

    def test_late_joiner(self):
        for phase in (SIGN, MARGIN, SGD):
            for momentum in ('ema', 'none'):
                for beta1 in (0.0, 0.9, 0.999):
                    with self.subTest(phase=phase, momentum=momentum, beta1=beta1):
                        pair = Pair(MIXED, beta1=beta1, momentum=momentum)
                        pair.weights(1000)
                        pair.commit(1000, decay=1.0, next_phase=phase, next_sigma=f32(0.2 * (phase != SGD)))
                        for next_phase in (phase, phase, SGD, SGD, SGD):
                            pair.round(phase=next_phase, next_wire=I8 * (next_phase == SGD))
                        pair.check(self)

    def test_abstention(self):
        for bad in (float('nan'), float('inf'), float('-inf')):
            for where in (0, 150, 299):
                pair = Pair([(300, 1)])
                broken = pair.values()
                broken[where] = bad
                pair.weights(0)
                pair.commit(0, decay=1.0, next_sigma=0.5)
                pair.round(broken, sigma=0.5)
                pair.round(sigma=0.5)
                pair.round(broken, sigma=0.5)
                pair.round(sigma=0.5)
                pair.round(phase=SGD, next_wire=I8)
                pair.round(phase=SGD, next_wire=I8)
                pair.round(broken, phase=SGD, next_wire=I8)
                pair.round(phase=SGD)
                pair.check(self)

    def test_abstention_of_a_late_joiner(self):
        pair = Pair([(300, 1)])
        pair.weights(7)
        pair.commit(7, decay=1.0, next_phase=SGD)
        pair.round(np.full(300, np.nan, F), phase=SGD)
        pair.round(phase=SGD)
        pair.check(self)

    def test_loss_that_is_no_number(self):
        for loss in (float('nan'), float('inf')):
            pair = Pair([(300, 1)])
            pair.weights(0)
            pair.commit(0, decay=1.0, next_sigma=0.5)
            pair.push(loss=loss)
            pair.update()
            pair.commit(1, rate=0.5, decay=1.0)
            pair.round()
            pair.check(self)

    def test_too_slow_for_some_rounds(self):
        for phase in (SIGN, MARGIN, SGD):
            pair = Pair(MIXED)
            pair.weights(0)
            pair.commit(0, decay=1.0, next_phase=phase)
            pair.round(phase=phase)
            for c in (2, 3):
                pair.update()
                pair.commit(c, rate=0.125, decay=1.0, next_phase=phase, next_sigma=f32(0.3 * (phase != SGD)))
            pair.round(phase=phase)
            pair.round(phase=phase)
            pair.check(self)

    def test_resync(self):
        pair = Pair([(300, 1)])
        pair.weights(0)
        pair.commit(0, decay=1.0, next_sigma=0.5)
        pair.round(sigma=0.5)
        pair.push()
        pair.update()
        digest = weights_digest(pair.learner.theta)
        self.assertEqual(pair.commit(2, rate=0.5, decay=1.0, has_digest=1, digest=digest, next_sigma=0.5), 'applied')
        pair.push()
        pair.update()
        self.assertEqual(pair.commit(3, rate=0.5, decay=1.0, has_digest=1, digest=digest, next_sigma=0.5), 'differs')
        pair.weights(3)
        pair.commit(3, decay=1.0, next_sigma=0.25)
        pair.round(phase=SGD)
        pair.round(phase=SGD)
        pair.check(self)

    def test_weights_again(self):
        """A lost connection in the middle of a round, a round that is collected again, a job that begins anew."""
        for again in (5, 4, 0, 16, 17):  # m is of round 6
            with self.subTest(again=again):
                pair = Pair([(40000, 1), (5, 0, IN_FULL), (5, BUFFER)])
                pair.weights(0)
                pair.commit(0, decay=1.0, next_sigma=0.5)
                for _ in range(4):
                    pair.round(sigma=0.5)
                pair.round(phase=SGD, next_wire=I8, next_buffers=1)
                pair.push()
                pair.update()
                pair.weights(again)
                pair.commit(again, decay=1.0, next_sigma=0.25)
                pair.round(phase=SGD, next_wire=I8, next_buffers=1)
                for chunks in (1, 2, 3):
                    pair.push() if chunks == 1 else None
                    pair.update(chunks)
                pair.update()
                pair.commit(pair.learner.round + 1, rate=0.25, decay=1.0, next_phase=SGD, next_wire=I8)
                pair.round(phase=SGD)
                pair.check(self)

    def test_anything(self):
        """Steps at random, any that a server may send."""
        for seed in range(60):
            with self.subTest(seed=seed):
                dice = random.Random(seed)
                sizes = [(dice.choice([1, 10, 100, 1000, 20000]) + dice.randrange(9), dice.randrange(2),
                          dice.choice([0, 1, 1, IN_FULL | 1])) for _ in range(dice.randint(1, 4))]
                sizes += [(dice.randint(1, 300), BUFFER)] * dice.randrange(2)
                beta1 = dice.choice([0.0, 0.5, 0.9, 0.99, dice.random()])
                pair = Pair(sizes, dice.getrandbits(64), dice.randrange(255), beta1, dice.choice(SCALES),
                            dice.choice(['ema', 'none']), dice.choice(['frozen', 'tracking']))
                self.walk(pair, dice)
                pair.check(self)

    def walk(self, pair, dice):
        def next_round():
            phase = pair.learner.phase if dice.random() < 0.9 else dice.choice([MARGIN, SGD])
            phase = SGD if pair.learner.phase == SGD else phase
            return {'next_phase': phase, 'next_sigma': f32(dice.choice([0.0, dice.random()])) if phase != SGD else 0.0,
                    'next_wire': dice.choice([F32, BF16, I8, I8]) if phase == SGD else F32,
                    'next_buffers': dice.randrange(2) if pair.layout.buffers_n else 0}

        def start(round_):
            pair.weights(round_)
            pair.commit(round_, decay=1.0, **next_round())

        start(dice.choice([0, 0, 1, 1000]))
        for _ in range(30):
            event = dice.random()
            if event < 0.85:
                g = pair.values(10.0 ** dice.randint(-6, 3))
                g[pair.noise.random(pair.d) < dice.choice([0.0, 0.1, 0.9])] = 0
                if dice.random() < 0.1:
                    g[dice.randrange(min(pair.d, 2048))] = dice.choice([np.nan, np.inf])
                pair.push(g, loss=dice.random(), examples=dice.randrange(100))
            if event > 0.95:
                start(max(0, pair.learner.round + dice.randrange(-3, 14)) if dice.random() < 0.7 else dice.randrange(2))
                continue
            pair.update()
            fields = {'rate': f32(dice.random() / 10), 'decay': dice.choice([1.0, f32(0.99)])}
            if dice.random() < 0.3:
                fields['rates'] = [f32(dice.random() / 10) for _ in pair.layout.trained]
            if dice.random() < 0.3:
                fields['decays'] = [dice.choice([1.0, f32(0.9)]) for _ in pair.layout.trained]
            pair.commit(pair.learner.round + 1, **fields, **next_round())


if __name__ == '__main__':
    unittest.main(verbosity=2)
