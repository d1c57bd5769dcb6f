"""Lengths that a frame may not have: of its control message and of its bulk, of every type, at every stage."""
import hostile
import wire
from hostile import MAX, PROTOCOL, header

KIB, MIB = 1024, 1 << 20
# Type -> (name, most control bytes, most bulk bytes), as in the protocol's table.
LIMITS = {
    wire.HELLO: ('HELLO', 4 * KIB, 0), wire.WELCOME: ('WELCOME', MIB, 0), wire.INIT: ('INIT', 0, 0),
    wire.WEIGHTS: ('WEIGHTS', 40 * KIB, 64 * KIB), wire.READY: ('READY', 40 * KIB, 0),
    wire.PUSH: ('PUSH', 40 * KIB, 64 * KIB), wire.UPDATE: ('UPDATE', 16, 64 * KIB), wire.COMMIT: ('COMMIT', 40 * KIB, 0),
    wire.EVAL: ('EVAL', 40 * KIB, 0), wire.SCORE: ('SCORE', 40 * KIB, 0), wire.RESYNC: ('RESYNC', 40 * KIB, 0),
    wire.ALIVE: ('ALIVE', 0, 0), wire.BYE: ('BYE', 4 * KIB, 0), wire.CHALLENGE: ('CHALLENGE', 4 * KIB, 0),
    wire.PROOF: ('PROOF', 4 * KIB, 0), wire.LAYOUT: ('LAYOUT', MIB, 0), wire.ASK: ('ASK', 4 * KIB, 0),
    wire.ANSWER: ('ANSWER', MIB, 0)}


class Lengths(hostile.Case):
    seat = True

    def test_too_long(self):
        """One byte too many, or all ones: the header is enough, nothing is waited for."""
        self.start_job()
        with self.attack():
            for stage in hostile.STAGES:
                client = None
                for type_, (name, control, bulk) in LIMITS.items():
                    for more in (control + 1, 2 * MIB, MAX):
                        with self.subTest(stage=stage, type=name, control=more):
                            client = self.at(stage)
                            self.refused(client, header(type_, control=more), PROTOCOL,
                                         f'{name} frame with {more} control bytes; at most {control} are allowed')
                    for more in (bulk + 1, MAX):
                        with self.subTest(stage=stage, type=name, bulk=more):
                            client = self.at(stage)
                            self.refused(client, header(type_, bulk=more, count=1), PROTOCOL,
                                         f'{name} frame with {more} bulk bytes; at most {bulk} are allowed')
        self.check_undisturbed(lines=800)

    def test_ranges(self):
        """Counts that do not go with the bulk, and coordinates that no model has."""
        self.start_job()
        cases = ((dict(count=1), 'PUSH frame with 1 coordinates in 0 bulk bytes'),
                 (dict(count=MAX), 'PUSH frame with 4294967295 coordinates in 0 bulk bytes'),
                 (dict(bulk=8), 'PUSH frame with 0 coordinates in 8 bulk bytes'),
                 (dict(first=2**64 - 1, count=8, bulk=1), 'range beyond 17179869184'),
                 (dict(first=2**34, count=8, bulk=1), 'range beyond'),
                 (dict(first=2**34 - 7, count=8, bulk=1), 'range beyond'),
                 (dict(first=2**34 + 1), 'range beyond'))
        with self.attack():
            for stage in hostile.STAGES:
                for how, words in cases:
                    with self.subTest(stage=stage, **how):
                        self.refused(self.at(stage), header(wire.PUSH, **how), PROTOCOL, words)
        self.check_undisturbed()

    def test_right_lengths_of_the_wrong_frame(self):
        """None, or as many as there may be: refused by what the frame is, and before it is there."""
        self.start_job()
        with self.attack():
            for stage, awaited in (('HELLO', wire.HELLO), ('LAYOUT', wire.LAYOUT)):
                for type_, (name, control, bulk) in LIMITS.items():
                    if type_ in (awaited, wire.BYE):
                        continue
                    for how in ({}, {'control': control}, {'bulk': bulk, 'count': min(bulk, 1)}):
                        with self.subTest(stage=stage, type=name, **how):
                            self.refused(self.at(stage), header(type_, **how), PROTOCOL, f'{name} before {stage}')
        self.check_undisturbed()

    def test_empty_and_full(self):
        """Legal lengths of what the frame may be: no message at all, and one that is all zeros, as long as may be."""
        self.start_job()
        empty = {'HELLO': (wire.HELLO, None), 'LAYOUT': (wire.LAYOUT, 'no tensors'), 'READY': (wire.PUSH, 'without coord')}
        with self.attack():
            for stage, (type_, words) in empty.items():
                control = bytes(LIMITS[type_][1])
                with self.subTest(stage=stage):
                    self.refused(self.at(stage), hostile.frame(type_, control), PROTOCOL, 'cannot be decoded')
                    if words:
                        self.refused(self.at(stage), hostile.frame(type_), PROTOCOL, words)
            # An empty HELLO is right: a job without a name, without examples. It is looked at when LAYOUT is there.
            client = self.at('HELLO')
            client.send(hostile.frame(wire.HELLO))
            self.refused(client, hostile.frame(wire.LAYOUT, hostile.layout(self.tensors)), PROTOCOL, 'digest in HELLO')
            bulk = bytes(64 * KIB)
            client = self.at('READY')
            self.refused(client, hostile.frame(wire.PUSH, bulk=bulk, count=8 * len(bulk), flags=hostile.LAST,
                                               round_=client.due), PROTOCOL, 'is not the next chunk')
        self.check_undisturbed()


if __name__ == '__main__':
    hostile.main()
