"""Made jobs: what a server would say of them, as status (a dict) and series (a list of points)."""
import math

PARAMS = 4810
HOSTILE = '<img src=x onerror="document.title=1"><script>alert(1)</script>'


def noise(i, k=0):
    """The same for the same i, between -1 and 1."""
    return math.sin(i * 12.9898 + k * 78.233) * 43758.5453 % 2.0 - 1.0


class Job:
    """A job as far as `done` of `rounds`, with the switch after round `switch`."""
    name = 'digits'
    switch = None
    workers = 4
    points = 1024

    def __init__(self, done, rounds=690, **more):
        self.done, self.rounds = done, rounds
        for key, value in more.items():
            setattr(self, key, value)

    def point(self, first, last):
        along = last / self.rounds
        sgd = self.switch is not None and last > self.switch
        loss = 2.3 * math.exp(-9 * min(along, 0.55)) * (0.35 if sgd else 1) * (1 + 0.2 * noise(last)) + 0.004
        signs = min(last, self.switch or last)
        per_round = self.workers * (PARAMS / 8 + 60)
        sent = signs * per_round + (last - signs) * self.workers * PARAMS * 1.02
        waiting, tally, send = 2.6 + 0.5 * noise(last, 1), 0.21 + 0.03 * noise(last, 2), 0.4 + 0.1 * noise(last, 3)
        point = {'first': first, 'round': last, 'epoch': last / 23, 'phase': 'sgd' if sgd else 'sign', 'train_loss': loss,
                 'live': self.workers, 'voters': self.workers, 'bytes_pushed': int(sent), 'bytes_updated': int(sent * 0.92),
                 'bytes_float32': last * self.workers * PARAMS * 4, 'waiting_ms': waiting, 'tally_ms': tally, 'send_ms': send,
                 'round_ms': waiting + tally + send, 'seconds': last * 0.0034}
        point.update({'lambda': 2.9 * (1.001 - along)} if sgd else self.statistics(along, last))
        if last // 23 != (first - 1) // 23:
            point.update(test_accuracy=0.975 - 0.3 * math.exp(-12 * along) + 0.004 * noise(last), test_loss=loss * 1.3 + 0.08)
        return point

    @staticmethod
    def statistics(along, i):
        return {'gamma': 0.002 * (1 - along), 'sigma': 0.5 * math.cos(along * math.pi / 2),
                'margin': 0.55 - 0.15 * along + 0.02 * noise(i, 4), 'ties': 0.25 + 0.08 * along + 0.01 * noise(i, 5),
                'unanimous': 0.3, 'flips': 0.34 + 0.1 * along + 0.02 * noise(i, 6),
                'lambda_paper': 0.03 * math.exp(noise(i, 7) * 0.3 + (3 * along) ** 2), 'noise_scale': 40 * math.exp(2.5 * along),
                'lambda_ratio': 0.025 * (1 - 0.5 * along), 'lambda_denoised': 0.04 * (1 + 0.2 * noise(i, 8)),
                'stationarity': 35 * math.exp(-4 * along)}

    def series(self, after=0):
        step = 1
        while self.done > step * self.points:  # two neighbours become one, as a server does it
            step *= 2
        points = (self.point(first, min(first + step - 1, self.done)) for first in range(1, self.done + 1, step))
        return [point for point in points if point['round'] > after]

    def slot(self, i):
        return {'slot': i, 'state': 'live', 'address': f'10.0.0.{i + 1}:4{i:04}', 'host': f'10.0.0.{i + 1}', 'behind': False,
                'votes': self.done, 'missed': 0, 'late': 0, 'duplicates': 0, 'abstained': 0, 'resyncs': 0, 'joins': 1,
                'disagreement': 0.24 + 0.01 * noise(i), 'correlation': 0.4, 'suspected': False, 'excluded': 0,
                'latency_ms': 2.4 + 0.3 * noise(i, 1), 'last': self.done // self.workers, 'silent_seconds': 0.02}

    def switch_words(self):
        if self.switch is not None:
            return {'when': 'auto', 'to': 'sgd', 'pending': False, 'words': 'made; SGD is the last phase', 'lambda': 1.48,
                    'lambda_is_a_guess': False, 'rule': 'norm_tensor'}
        return {'when': 'auto', 'to': 'sgd', 'pending': True, 'lambda': 0.042, 'lambda_is_a_guess': True, 'rule': 'norm_tensor',
                'words': 'would switch at lambda about 0.042; flat windows 1 of 2, last gain 1.3 %, bar 1 %',
                'flat_windows': 1, 'flat_windows_needed': 2, 'last_gain': 0.013, 'bar': 0.01, 'window': 63,
                'earliest_round': self.rounds // 10, 'latest_round': self.rounds * 7 // 10}

    def switches(self):
        return [] if self.switch is None else [
            {'round': self.switch, 'from': 'sign', 'to': 'sgd', 'test': 'auto', 'reason': 'auto: diminishing returns, 2 windows '
             'of 63 rounds in a row brought less than 1 % (the last 0.49 %) of the loss won so far'}]

    def status(self):
        last = self.point(max(self.done, 1), max(self.done, 1))
        running = self.done > 0
        switches = self.switches()
        return {
            'job': self.name, 'version': '0.1.0', 'pid': 4711, 'address': '127.0.0.1:7700', 'http': 'http://127.0.0.1:7701/',
            'stage': 'running', 'phase': last['phase'], 'round': self.done, 'rounds': self.rounds, 'params': PARAMS,
            'workers': self.workers, 'live': self.workers, 'spares': 1, 'waits_for': '', 'close': 'all',
            'epoch': self.done / 23, 'epochs': self.rounds / 23, 'loss': last['train_loss'] if running else None,
            'train_loss': last['train_loss'] if running else None, 'test_accuracy': 0.9472 if self.done >= 23 else None,
            'accuracy_round': self.done // 23 * 23 if self.done >= 23 else None, 'sigma': last.get('sigma'),
            'rate': last.get('gamma', last.get('lambda')), 'eta_seconds': (self.rounds - self.done) * 0.0034 if running else None,
            'pace': {'rounds_per_second': 297.4 if running else None, 'bytes_per_second_in': 780_400.0 if running else 0,
                     'bytes_per_second_out': 712_000.0 if running else 0, 'round_ms': last['round_ms'],
                     'waiting_ms': last['waiting_ms'], 'tally_ms': last['tally_ms'], 'send_ms': last['send_ms']},
            'switch': self.switch_words(), 'switches': switches, 'switch_round': self.switch,
            'switch_reason': switches[0]['reason'] if switches else None, 'switch_dry_run': False,
            'keep': {'restarts': 0, 'failures': 0, 'failing': False, 'checkpoint': None, 'enabled': True, 'journal': None},
            'security': {'secret': False, 'insecure': False, 'tls': False,
                         'words': 'no secret: whoever is on this machine may take part; not reached from others'},
            'outcome': None, 'seconds': self.done * 0.0034 + 2, 'bytes_pushed': last['bytes_pushed'], 'bytes_updated': last['bytes_updated'],
            'bytes_float32': last['bytes_float32'], 'slots': [self.slot(i) for i in range(self.workers)]}


class Slow(Job):
    """One worker is slow, one left, one is suspected."""
    def status(self):
        status = super().status()
        slots = status['slots']
        slots[2].update(latency_ms=41.7, last=self.done - 9, missed=12, behind=True)
        slots[1].update(suspected=True, disagreement=0.71)
        slots[3].update(state='empty', host=None, address=None, latency_ms=None, silent_seconds=None, disagreement=None)
        status.update(live=3, spares=0)
        return status


class Waiting(Job):
    def status(self):
        status = super().status()
        slots = [dict(slot, state='empty', host=None, latency_ms=None, silent_seconds=None) for slot in status['slots']]
        return {**status, 'stage': 'gathering', 'live': 0, 'spares': 0, 'slots': slots,
                'waits_for': 'workers: 0 of 4 are there; start the others, or set workers lower'}


class Over(Job):
    def status(self):
        return {**super().status(), 'stage': 'over', 'eta_seconds': 0, 'test_accuracy': 0.9722,
                'outcome': f'the job is done: {self.rounds} rounds'}


class Hostile(Slow):
    """Names and reasons that would be HTML, all that can go wrong at once, and numbers that are not there."""
    name = HOSTILE

    def status(self):
        status = super().status()
        for slot in status['slots']:
            slot.update(host=HOSTILE, state=HOSTILE)
        status['slots'][0].update(state='excluded', latency_ms=None)
        status.update(stage='running', live=0, waits_for=HOSTILE, loss=None, epoch=None, pace={}, eta_seconds=None,
                      security={'insecure': True, 'words': HOSTILE}, version=HOSTILE, address=HOSTILE)
        status['switch'].update(words=HOSTILE, rule=HOSTILE)
        status['switches'][0].update(reason=HOSTILE, to=HOSTILE)
        status['keep'].update(failing=True, failures=3, journal={'written': False})
        return status


class Growing(Job):
    """A round further with each status; its last point covers ten rounds and grows."""
    def status(self):
        self.done += 3
        return super().status()

    def series(self, after=0):
        firsts = range(1, self.done + 1, 10)
        points = (self.point(first, min(first + 9, self.done)) for first in firsts)
        return [point for point in points if point['round'] > after]


class Merging(Job):
    """Far more rounds with each status: neighbours are merged again and again."""
    def status(self):
        self.done += 300
        return super().status()


def scenarios():
    return {
        'early': Job(5), 'signs': Job(250), 'switched': Job(520, switch=378), 'slow': Slow(430, switch=378),
        'million': Job(812_345, rounds=1_000_000, switch=560_000, name='a-million-rounds'), 'waiting': Waiting(0),
        'over': Over(690, switch=378), 'hostile': Hostile(520, switch=378), 'growing': Growing(4),
        'many': Job(250, workers=255, name='many-workers'), 'merging': Merging(900, rounds=100_000), 'secret': Job(250), 'lost': Job(250),
        'ended': Over(690, switch=378),
    }
