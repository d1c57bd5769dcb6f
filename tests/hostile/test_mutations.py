"""Thousands of connections that say almost what a worker says, at a job all of whose slots are taken.

What a worker said in whole jobs of this kind is recorded, and changed: bits turned over, bytes put in, taken out, or taken
from another place, frames in another order, given twice or left out; in half the cases the checksums are made right again.
SP_HOSTILE_LONG=1: 10,000 of them.
"""
import functools
import os
import random
import socket
import struct

import hostile
import wire

MUTANTS = 10000 if os.environ.get('SP_HOSTILE_LONG', '0') not in ('', '0') else 1500
SEED = int(os.environ.get('SP_HOSTILE_SEED', '1'))
BYTES = 40000   # of a conversation
AT_A_TIME_KIB = 2048    # what four connections take while they are there, and leave as holes: the server has but 7 MB


class Record(wire.Policy):
    """What goes up on each connection."""

    def __init__(self, number, said):
        super().__init__(number)
        self.said = said

    def pass_on(self, direction, data):
        if direction == wire.UP:
            self.said[self.number] = self.said.get(self.number, b'') + data
        return data


class Mutator:
    def __init__(self, conversations, seed):
        self.rng = random.Random(seed)
        self.conversations = conversations

    def frames(self):
        """Of a conversation, and not all of them."""
        frames = self.rng.choice(self.conversations)
        return frames[:2] + frames[2:][:self.rng.choice((0, 1, 2, 5, 30))]

    def mutant(self):
        rng, frames = self.rng, list(self.frames())
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            change = rng.choice((self.flip, self.flip, self.field, self.insert, self.delete, self.splice))
            if rng.random() < 0.3:
                frames = self.reorder(frames)
            else:
                i = rng.randrange(len(frames))
                frames[i] = change(bytearray(frames[i]))
        if rng.random() < 0.5:
            frames = [self.repair(f) for f in frames]
        return b''.join(frames)[:BYTES]

    @staticmethod
    def repair(raw):
        """Lengths as the header says where that is possible, and then the checksums."""
        if len(raw) < 40:
            return bytes(raw)
        control, bulk = struct.unpack_from('<I', raw, 12)[0], struct.unpack_from('<I', raw, 28)[0]
        if control + bulk != len(raw) - 40:
            raw = bytearray(raw)
            control = min(control, len(raw) - 40)
            bulk = len(raw) - 40 - control
            struct.pack_into('<I', raw, 12, control)
            struct.pack_into('<I', raw, 28, bulk)
        return hostile.repaired(raw)

    def flip(self, raw):
        for _ in range(self.rng.choice((1, 1, 2, 8))):
            if raw:
                raw[self.rng.randrange(len(raw))] ^= 1 << self.rng.randrange(8)
        return raw

    def field(self, raw):
        """A field of the header with a number that is seldom right."""
        at, form = self.rng.choice(((4, '<B'), (5, '<B'), (6, '<H'), (8, '<I'), (12, '<I'), (16, '<Q'), (24, '<I'), (28, '<I')))
        value = self.rng.choice((0, 1, 2, 7, 8, 13, 16, 255, 4096, 65535, 65536, 2**31, 2**32 - 1, 2**34, 2**64 - 1))
        if len(raw) >= 40:
            struct.pack_into(form, raw, at, value & (1 << 8 * struct.calcsize(form)) - 1)
        return raw

    def insert(self, raw):
        at = self.rng.randrange(len(raw) + 1)
        return raw[:at] + self.rng.randbytes(self.rng.choice((1, 2, 8, 100, 3000))) + raw[at:]

    def delete(self, raw):
        at = self.rng.randrange(len(raw) + 1)
        return raw[:at] + raw[at + self.rng.choice((1, 2, 8, 100)):]

    def splice(self, raw):
        other = self.rng.choice(self.frames())
        at, to = self.rng.randrange(len(raw) + 1), self.rng.randrange(len(other) + 1)
        return raw[:at] + other[to:]

    def reorder(self, frames):
        i, j = self.rng.randrange(len(frames)), self.rng.randrange(len(frames))
        kind = self.rng.randrange(4)
        if kind == 0:
            frames[i], frames[j] = frames[j], frames[i]
        elif kind == 1:
            frames.insert(i, frames[j])
        elif kind == 2 and len(frames) > 1:
            del frames[i]
        else:
            frames.insert(i, self.rng.choice(self.frames()))
        return frames


class Mutations(hostile.Case):
    def record(self):
        """What workers said in short jobs, frame by frame: signs; values; a worker that is resumed by its ticket."""
        conversations = []
        for run, sets in (('signs', ()), ('values', ('optimizer.mode=sgd',)), ('evaluated', ('train.evaluate=0.2',))):
            said = {}
            server = self.start_server(*hostile.SETS, 'server.min_live=2', 'workers=2', 'train.rounds=12', *sets, run=run)
            proxy = wire.Proxy(server.address(), functools.partial(Record, said=said))
            workers = [self.start_worker(proxy.address) for _ in range(2)]
            self.finish(server, workers)
            proxy.close()
            conversations += [[raw for _, raw in wire.Splitter().feed(stream)] for stream in said.values()]
        types = {raw[5] for conversation in conversations for raw in conversation}
        self.assertLessEqual({wire.HELLO, wire.LAYOUT, wire.WEIGHTS, wire.READY, wire.PUSH, wire.SCORE}, types)
        return conversations

    def throw(self, mutant):
        """Says it all, or as much as is listened to; what came back."""
        answer = b''
        try:
            with socket.create_connection(self.port, timeout=hostile.harness.seconds(15)) as s:
                s.sendall(mutant)
                s.shutdown(socket.SHUT_WR)
                while piece := s.recv(65536):
                    answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer

    def test_mutants(self):
        conversations = self.record()
        self.start_job()
        host, port = self.address.split(':')
        self.port = host, int(port)
        mutator = Mutator(conversations, SEED)
        with self.attack():
            mutants = [mutator.mutant() for _ in range(MUTANTS)]
            answers = self.flood([functools.partial(self.throw, mutant) for mutant in mutants])
        last = [[frame.type for frame, _ in wire.Splitter().feed(answer)] for answer in answers]
        # Most are refused with a reason; some end in the middle of a frame, or are harmless spares.
        refused = sum(types[-1:] == [wire.BYE] for types in last)
        spares = sum(types[:1] == [wire.WELCOME] for types in last)
        self.assertGreater(refused, MUTANTS // 3)
        self.assertGreater(spares, 0)
        memory = hostile.kib(self.server, 'VmHWM')
        status = self.server.status()
        self.assertEqual((status['live'], status['spares']), (3, 0))
        self.check_undisturbed(lines=400 + MUTANTS // 10)
        if hostile.harness.SLOW == 1:
            self.assertLess(memory, 1.1 * self.alone_kib + AT_A_TIME_KIB, f'KiB at most, {self.alone_kib} of an undisturbed run')


if __name__ == '__main__':
    hostile.main()
