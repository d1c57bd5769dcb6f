"""Frames of another round than theirs: given twice, replayed, of the past and of the future."""
import hostile
import wire
from hostile import MAX, PROTOCOL, SEAT, double, fixed64, frame, uint


class Rounds(hostile.Case):
    seat = True

    def slot(self):
        return self.server.status()['slots'][SEAT]

    def test_pushes_of_the_future(self):
        self.start_job()
        with self.attack():
            for more in (1, 2, 1000, MAX):
                for kind, make in (('votes', lambda c, t: b''.join(c.pushes(t))),
                                   ('no bulk', lambda c, t: frame(wire.PUSH, round_=t)),
                                   ('abstains', lambda c, t: frame(wire.PUSH, round_=t, flags=hostile.ABSTAIN))):
                    with self.subTest(kind, more=more):
                        client = self.at('READY')
                        self.refused(client, make(client, min(client.due + more, MAX)), PROTOCOL,
                                     'without coordinates' if kind == 'no bulk' else 'PUSH of round .* while round')
            for stage in ('RECEIVING', 'SPARE'):    # the one's are thrown away, the other may give none
                client = self.at(stage)
                client.send(b''.join(client.pushes(5) + client.pushes(MAX)))
                if stage == 'RECEIVING':
                    self.begin(client)
                else:
                    self.refused(client, b'', PROTOCOL, 'PUSH before READY')
                client.socket.close()
        self.check_undisturbed(lines=400)

    def test_pushes_of_the_past(self):
        """Thrown away, and counted; whoever gave them stays."""
        self.start_job()
        with self.attack():
            client = self.at('READY')
            first = client.due
            for _ in range(30):
                for past in {0, 1, first - 1, client.due - 1}:
                    client.send(b''.join(client.pushes(past)))
                    client.abstain(past)
                client.abstain(client.due)
                client.send(b''.join(client.pushes(client.due)) * 3)    # after it has abstained
                client.abstain(client.due)
                client.due = client.commit()
            slot = self.slot()
            self.assertEqual((slot['state'], slot['votes']), ('live', 0))
            self.assertGreaterEqual(slot['abstained'], 30)
            self.assertGreater(slot['late'], 0)
        self.check_undisturbed()

    def test_votes_given_twice(self):
        self.start_job()
        with self.attack():
            client = self.at('READY')
            for _ in range(30):
                client.send(b''.join(client.pushes(client.due)) * 3)
                client.due = client.commit()
            slot = self.slot()
            self.assertEqual(slot['state'], 'live')
            self.assertGreaterEqual(slot['duplicates'] + slot['late'], 30)
            self.assertLessEqual(slot['votes'], client.due)
        self.check_undisturbed(digest=False)

    def test_readys(self):
        self.start_job()
        cases = [('of the future', 'RECEIVING', 1000, 'another round'),
                 ('of the last round there is', 'RECEIVING', MAX, 'another round'),
                 ('of the past', 'RECEIVING', -1, 'another round'),
                 ('of round 0', 'RECEIVING', -MAX, 'another round'),
                 ('again', 'READY', 0, 'another round'),
                 ('of a spare', 'SPARE', 0, 'another round')]
        with self.attack():
            for name, stage, more, words in cases:
                with self.subTest(name):
                    client = self.at(stage)
                    client.ready(max(0, min(client.round + more, MAX)), 1 if stage == 'SPARE' else None)
                    self.refused(client, b'', PROTOCOL, words)
        self.check_undisturbed(lines=200)

    def test_scores(self):
        """Nobody asked for them."""
        self.start_job()
        with self.attack():
            client = self.at('READY')
            for round_ in (0, 1, client.due - 1, client.due, client.due + 1, MAX):
                for control in (b'', uint(1, 1) + uint(2, 360) + uint(3, 360), uint(1, MAX) + uint(2, 2**64 - 1),
                                double(4, hostile.NAN)):
                    client.send(frame(wire.SCORE, control, round_=round_))
            client.abstain(client.due)
            client.commit()
            for stage in ('SPARE', 'RECEIVING'):
                client.socket.close()
                client = self.at(stage)
                self.refused(client, frame(wire.SCORE), PROTOCOL, 'SCORE before READY')
        self.check_undisturbed()

    def test_scores_that_cannot_be(self):
        """In an evaluation, from whom a part was asked: of the job's test set, in all rounds of 50."""
        self.start_job(sets=('train.evaluate=1',))
        cases = ((uint(1, 5), 'SCORE of part 5 of'), (uint(1, MAX), 'SCORE of part'),
                 (uint(2, 2) + uint(3, 1), 'cannot be: 2 correct of 1'),
                 (uint(2, 2**64 - 1) + uint(3, 2**64 - 1), 'cannot be'),
                 (double(4, hostile.NAN), 'cannot be'), (double(4, -hostile.INF), 'cannot be'))
        with self.attack():
            for control, words in cases:
                with self.subTest(words):
                    client = self.connect()
                    client.enter(slot=SEAT, more=uint(9, 360))
                    client.take_weights()
                    self.begin(client)
                    while not client.asked:
                        client.abstain(client.due)
                        self.next(client)
                    round_, part = client.asked[0]
                    if 'SCORE' not in words:
                        control += uint(1, part)
                    self.refused(client, frame(wire.SCORE, control, round_=round_), PROTOCOL, words)
        self.check_undisturbed(lines=200)

    def next(self, client):
        """Reads to the next EVAL or COMMIT."""
        kind = None
        while kind not in (wire.EVAL, wire.COMMIT):
            kind, client.round, _, message = client.receive_frame()
            self.assertNotEqual(kind, wire.BYE, message)
        if kind == wire.EVAL:
            client.asked.append((client.round, message.get(1, 0)))
        else:
            client.due = client.round + 1

    def test_resyncs(self):
        """Whoever asks gets the weights, however often, of whatever round it says it is; and the others go on."""
        self.start_job()
        with self.attack():
            client = self.at('READY')
            for round_ in (0, 1, client.due - 1, client.due, client.due + 1, MAX) * 10:
                client.send(frame(wire.RESYNC, fixed64(1, 7), round_=round_))
                client.take_weights()
                self.begin(client)
            self.assertEqual(self.slot()['resyncs'], 60)
            self.refused(client, frame(wire.RESYNC) * 2, PROTOCOL, 'RESYNC before READY')
            for stage in ('SPARE', 'RECEIVING'):
                self.refused(self.at(stage), frame(wire.RESYNC), PROTOCOL, 'RESYNC before READY')
        self.check_undisturbed(lines=400)

    def test_weights_that_nobody_asked_for(self):
        self.start_job()
        bulk = bytes(4 * 4810)
        with self.attack():
            for stage in ('SPARE', 'RECEIVING', 'READY'):
                with self.subTest(stage):
                    self.refused(self.at(stage), frame(wire.WEIGHTS, fixed64(1, 1), bulk, count=4810, flags=hostile.LAST),
                                 PROTOCOL, 'nobody asked for')
        self.check_undisturbed()


if __name__ == '__main__':
    hostile.main()
