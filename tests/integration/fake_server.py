"""The operator's socket of a server that is not there: it says what a test wants it to say."""
import copy
import json
import math
import os
import socket
import threading


def slot(number, **more):
    return {'slot': number, 'state': 'live', 'address': f'10.0.0.{number}:4000', 'host': f'10.0.0.{number}', 'behind': False,
            'votes': 345, 'missed': 0, 'late': 0, 'duplicates': 0, 'abstained': 0, 'resyncs': 0, 'joins': 1,
            'disagreement': 0.231, 'correlation': 0.5, 'suspected': False, 'excluded': 0, 'latency_ms': 1.2, 'last': 3,
            'silent_seconds': 0.01, **more}


def status(workers=4, **more):
    """In the sign phase, half-way."""
    return {'job': 'digits', 'version': '1', 'pid': 1, 'address': '127.0.0.1:7700', 'http': 'http://127.0.0.1:7701/',
            'stage': 'running', 'phase': 'sign', 'round': 345, 'rounds': 690, 'epoch': 15.0, 'epochs': 30.0, 'params': 4810,
            'workers': workers, 'live': workers, 'spares': 0, 'waits_for': '', 'close': 'all', 'train_loss': 0.034,
            'loss': 0.0312, 'test_accuracy': 0.9722, 'accuracy_round': 322, 'rate': 0.00123, 'sigma': 0.0104,
            'vote': {'margin': 0.71, 'ties': 0.021, 'unanimous': 0.4, 'flips': 0.1}, 'estimates': None,
            'pace': {'rounds_per_second': 512.3, 'bytes_per_second_in': 2.4e6, 'bytes_per_second_out': 1.4e6,
                     'round_ms': 1.95, 'waiting_ms': 1.5, 'tally_ms': 0.3, 'send_ms': 0.15},
            'eta_seconds': 123.4,
            'switch': {'when': 'auto', 'to': 'sgd', 'pending': True, 'lambda': 0.042, 'lambda_is_a_guess': True,
                       'words': 'would switch at lambda about 0.042; flat windows 1 of 2, last gain 1.3 %, bar 1 %'},
            'switches': [], 'switch_round': None, 'switch_reason': None, 'keep': {'enabled': True, 'checkpoint': None},
            'security': {'insecure': False, 'words': 'open to this machine only'}, 'seconds': 123.0,
            'bytes_pushed': 14.5e6, 'bytes_updated': 8.6e6, 'bytes_float32': 156e6, 'slots': [slot(i) for i in range(workers)],
            **more}


def after_switch(workers=4, **more):
    reason = 'auto: diminishing returns, 2 windows of 63 rounds in a row brought less than 1 % (the last 0.49 %) of the loss won so far'
    return status(workers, phase='sgd', rate=0.042, sigma=0.0, vote=None, round=500, epoch=21.7,
                  switch={'when': 'auto', 'to': 'sgd', 'pending': False, 'words': ''},
                  switches=[{'round': 378, 'from': 'sign', 'to': 'sgd', 'test': 'auto', 'reason': reason}], **more)


def series(rounds=345, each=4):
    points = []
    for first in range(1, rounds, each):
        point = {'first': first, 'round': min(first + each - 1, rounds), 'phase': 'sign',
                 'train_loss': 2.3 * math.exp(-first / 80) + 0.01 + 0.002 * (first % 7)}
        if first % 23 < each:
            point['test_accuracy'] = 0.98 - 0.8 * math.exp(-first / 60)
        points.append(point)
    return points


class Fake:
    """Answers in FOLDER/signpostd.sock until end()."""

    def __init__(self, folder, said, points=None):
        self.said, self.points = said, points  # points None: an older server
        self.asked = []
        folder.mkdir(exist_ok=True)
        self.path = folder / 'signpostd.sock'
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def answer(self, line):
        self.asked.append(line)
        if line == 'status':
            return copy.deepcopy(self.said)
        if line.startswith('series ') and self.points is not None:
            return {'points': [p for p in self.points if p['round'] > int(line.split()[1])]}
        return {'error': 'unknown command; known are: checkpoint, status, stop, switch'}

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                line = b''
                while not line.endswith(b'\n'):
                    piece = connection.recv(256)
                    if not piece:
                        break
                    line += piece
                try:
                    connection.sendall(json.dumps(self.answer(line.decode().strip())).encode())
                except OSError:
                    pass

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)
        self.thread.join(5)
