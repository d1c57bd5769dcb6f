"""Frames whose first bytes are wrong: magic, version, type, flags."""
import socket
import struct

import hostile
import wire
from hostile import PROTOCOL, VERSION, header

# Types that may come at each stage, so that it is the field at hand that is wrong.
TYPES = {'HELLO': wire.HELLO, 'LAYOUT': wire.LAYOUT, 'SPARE': wire.ALIVE, 'READY': wire.PUSH}


class Header(hostile.Case):
    seat = True

    def test_wrong_fields(self):
        self.start_job()
        with self.attack():
            for stage in hostile.STAGES:
                self.wrong_fields(stage, TYPES[stage])
        self.check_undisturbed(lines=300)

    def wrong_fields(self, stage, type_):
        cases = [(header(type_, magic=magic), PROTOCOL, 'not a Signpost frame')
                 for magic in (b'sGNP', b'SgNP', b'SGnP', b'SGNp', bytes(4), b'\xff' * 4, b'PNGS', b'GET ')]
        # A version is another program's only as long as it has not spoken ours.
        cases += [(header(type_, version=version), VERSION if stage == 'HELLO' else PROTOCOL, f'version {version} of')
                  for version in (0, wire.VERSION - 1, wire.VERSION + 1, 255)]
        cases += [(header(unknown), PROTOCOL, f'unknown frame type {unknown}') for unknown in (0, 19, 20, 128, 255)]
        cases += [(header(type_, flags=flags), PROTOCOL, 'unknown flags 0x0*%x' % flags)
                  for flags in (*(1 << bit for bit in range(4, 16)), 0xffff, 0x11)]
        for raw, reason, words in cases:
            with self.subTest(stage=stage, header=raw[:8].hex(' ')):
                self.refused(self.at(stage), raw, reason, words)

    def test_a_goodbye_of_any_version_is_understood(self):
        self.start_job()
        with self.attack():
            for version in (0, 3, 5, 255):
                for stage in hostile.STAGES:
                    with self.subTest(stage=stage, version=version):
                        client = self.at(stage)
                        client.send(hostile.frame(wire.BYE, version=version))
                        self.assertEqual(self.goodbye(client), (None, ''))
        self.check_undisturbed()

    def test_other_protocols(self):
        self.start_job()
        port = struct.pack('>H', 80)
        with self.attack():
            for raw in (b'GET / HTTP/1.1\r\nHost: localhost:7700\r\n\r\n', b'SSH-2.0-OpenSSH_9.2\r\n' * 3, b'\x16\x03\x01' * 99,
                        b'EHLO localhost\r\n' * 4, b'\5\1\0\1' + socket.inet_aton('127.0.0.1') + port + bytes(64), bytes(64)):
                with self.subTest(raw[:10]):
                    self.refused(self.at('HELLO'), raw, PROTOCOL, 'not a Signpost frame')
        self.check_undisturbed()


if __name__ == '__main__':
    hostile.main()
