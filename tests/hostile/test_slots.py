"""Who wants another worker's slot: without its ticket, with a wrong or an old one, or a slot that there is not."""
import os

import hostile
import wire
from hostile import JOB, PROTOCOL, REPLACED, SEAT, SLOT, frame

WRONG = (b'', bytes(16), b'\xff' * 16, os.urandom(16))


class Slots(hostile.Case):
    seat = True

    def is_spare(self, **how):
        client = self.connect()
        self.assertEqual(client.enter(**how).get(1), 1, how)
        return client

    def test_without_the_ticket(self):
        """Whoever asks for a slot that is taken waits for it as a spare, whatever ticket it shows."""
        self.start_job()
        with self.attack():
            for slot in range(3):
                for ticket in WRONG:
                    self.is_spare(slot=slot, ticket=ticket)
            self.sit(self.connect())
            for ticket in WRONG:
                self.is_spare(ticket=ticket)    # of any slot
            status = self.server.status()
            self.assertEqual((status['live'], status['spares'], [s['joins'] for s in status['slots']]), (3, 16, [1] * 4))
        self.check_undisturbed()

    def test_no_such_slot(self):
        self.start_job()
        layout = frame(wire.LAYOUT, hostile.layout(self.tensors))
        with self.attack():
            for slot, reason, words in ((4, SLOT, r'slot 4 does not exist: job .digits. has slots 0 to 3'),
                                        (5, SLOT, 'slot 5 does not'), (254, SLOT, 'slot 254 does not'),
                                        (255, PROTOCOL, 'no job has the slot'), (2**31 - 1, PROTOCOL, 'no job has the slot'),
                                        (2**32 - 2, PROTOCOL, 'no job has the slot')):
                for ticket in WRONG:
                    with self.subTest(slot=slot, ticket=ticket):
                        self.refused(self.connect(), frame(wire.HELLO, hostile.hello(slot=slot, ticket=ticket)) + layout,
                                     reason, words)
            self.refused(self.connect(), frame(wire.HELLO, hostile.hello('other', slot=0)) + layout, JOB, "job 'digits'")
        self.check_undisturbed()

    def test_an_old_ticket(self):
        """A ticket is good until the slot is somebody else's."""
        self.start_job()
        with self.attack():
            first = self.connect()
            self.sit(first)
            old = first.welcome[3]
            first.socket.close()
            second = self.connect()
            self.sit(second)
            self.assertNotEqual(second.welcome[3], old)
            for slot in (-1, *range(4)):
                self.is_spare(slot=slot, ticket=old).socket.close()
            slots = self.server.status()['slots']
            self.assertEqual([(s['state'] != 'empty', s['joins']) for s in slots], [(True, 1)] * 3 + [(True, 2)])
        self.check_undisturbed()

    def test_the_right_ticket_of_another_slot(self):
        """It takes over its own slot, whatever slot is asked for; each time with a fresh ticket."""
        self.start_job()
        with self.attack():
            tickets, sitting = [b''], None
            for wanted in (SEAT, -1, 0, 1, 2, SEAT) * 5:
                client = self.connect()
                client.enter(slot=wanted, ticket=tickets[-1])
                self.assertEqual((client.welcome.get(1, 0), client.welcome.get(2, 0)), (0, SEAT))
                if sitting:
                    self.assertEqual(self.goodbye(sitting)[0], REPLACED)
                    for ticket in tickets[1:-1]:
                        self.is_spare(slot=wanted, ticket=ticket).socket.close()
                tickets.append(client.welcome[3])
                sitting = client
            self.assertEqual(len(set(tickets)), 31)
        self.check_undisturbed(lines=500)

    def test_storms_of_one_ticket(self):
        """Two that drive each other out, as fast as they can: everybody else goes on."""
        self.start_job()
        with self.attack():
            ticket = b''
            for _ in range(300):
                client = self.connect()
                client.enter(slot=SEAT, ticket=ticket)
                ticket = client.welcome[3]
        self.check_undisturbed(lines=1500)


if __name__ == '__main__':
    hostile.main()
