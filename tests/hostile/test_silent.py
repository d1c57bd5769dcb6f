"""Connections that say nothing, or stop saying anything, at every stage, many at a time."""
import time

import hostile
import wire
from hostile import SILENT, frame

MANY = 30       # at each stage; together fewer than there may be handshakes
HANDSHAKE_S, SILENCE_S, LATE_S = 10.0, 11.0, 3.0


class Silent(hostile.Case):
    def test_in_the_handshake_and_as_spares(self):
        operator = self.token('operator')
        self.start_job(sets=(f'security.operator_token_file={operator}', f'server.heartbeat.timeout={SILENCE_S}'),
                       token=self.token('worker'))
        secret = hostile.handshake.secret_of(operator)
        hello = frame(wire.HELLO, hostile.hello(nonce=bytes(32)))
        layout = frame(wire.LAYOUT, hostile.layout(self.tensors) + hostile.data(99, bytes(100000)))
        stages = (('HELLO', b'', {}), ('HELLO', hello[:20], {}), ('HELLO', hello[:-1], {}), ('PROOF', b'', {}),
                  ('LAYOUT', layout[:-1], {}), ('ASK', b'', {'secret': secret}))
        with self.attack(rounds=200):
            began = time.monotonic()
            silent = []
            for stage, raw, how in stages:
                for _ in range(MANY):
                    client = self.at(stage, **how)
                    client.send(raw)
                    silent.append((stage, client))
            spares = [self.at('SPARE') for _ in range(MANY)]
            for stage, client in silent:
                reason, words = self.goodbye(client)
                self.assertEqual(reason, SILENT, words)
                self.assertRegex(words, 'no HELLO within 10 s' if stage == 'HELLO' else 'not over within 10 s')
            self.assertLess(time.monotonic() - began, hostile.harness.seconds(HANDSHAKE_S + LATE_S))
            for client in spares:   # they have longer; no worker is waited for meanwhile
                reason, words = self.goodbye(client)
                self.assertEqual(reason, SILENT, words)
                self.assertIn('nothing was heard of the worker for', words)
            self.assertLess(time.monotonic() - began, hostile.harness.seconds(SILENCE_S + LATE_S))
        self.check_undisturbed(lines=400)


class SilentWorkers(hostile.Case):
    seat = True

    def test_with_a_slot(self):
        """A round waits for a worker that owes its vote, but not for longer than silence may last."""
        self.start_job(sets=('server.heartbeat.interval=0.5', 'server.heartbeat.timeout=2'))
        gap = 2 + 3     # a beat is late by some
        with self.attack(gap_s=gap):
            for stage, how in (('RECEIVING', b''), ('READY', b'SGNP\4\6')):
                with self.subTest(stage, said=how):
                    client = self.at(stage)
                    client.send(how)
                    reason, words = self.goodbye(client)
                    self.assertEqual(reason, SILENT, words)
                    self.assertIn('nothing was heard of the worker for', words)
        self.check_undisturbed()


if __name__ == '__main__':
    hostile.main()
