"""What happens to a cluster, and when: a seeded schedule of faults.

Each kind of fault comes by a Poisson process of its own, drawn from the seed, on a clock that runs during storms only; what
it strikes and for how long is drawn from the same generator. What lasts is undone by an order for later, in storm and calm.
"""
import heapq
import itertools
import random
import signal
import time

# Faults a second in a cluster of four workers, where rounds take some milliseconds.
RATES = {
    'kill worker': 1.2,
    'kill workers': 0.1,
    'stop worker': 1.0,
    'stop server': 0.3,
    'cut': 1.0,
    'silence': 0.5,
    'part worker': 0.6,
    'part server': 0.15,
    'kill server': 0.5,
    'kill all': 0.1,
    'fill disk': 0.25,
}
WAYS = (('in',), ('out',), ('in', 'out'), ('in', 'out'))


class Storm:
    """The faults of one run. `faults` are names of RATES, `pace` multiplies their rates."""

    def __init__(self, cluster, disk, seed, faults, pace, say):
        self.cluster, self.disk, self.say = cluster, disk, say
        self.counts = dict.fromkeys(faults, 0)
        self.clock = 0.0
        self.began = None
        self.order = itertools.count()
        self.later = []
        self.next = []
        self.draws = {name: random.Random(f'{seed} {name}') for name in faults}
        self.pace = pace
        for name in faults:
            self._schedule(name, 0.0)

    def _schedule(self, name, after):
        gap = self.draws[name].expovariate(RATES[name] * self.pace)
        heapq.heappush(self.next, (after + gap, next(self.order), name))

    def begin(self):
        self.began = time.monotonic() - self.clock

    def end(self):
        self.clock = time.monotonic() - self.began

    def blow(self):
        """Lets happen what is due."""
        while self.next[0][0] <= time.monotonic() - self.began:
            at, _, name = heapq.heappop(self.next)
            self._schedule(name, at)
            what = getattr(self, '_' + name.replace(' ', '_'))(self.draws[name])
            if what is not None:
                self.counts[name] += 1
                self.say(f'{name}: {what}')

    def undo(self):
        """Undoes what has lasted long enough; returns how much still lasts."""
        while self.later and self.later[0][0] <= time.monotonic():
            heapq.heappop(self.later)[2]()
        return len(self.later)

    def _undo_after(self, delay, what):
        heapq.heappush(self.later, (time.monotonic() + delay, next(self.order), what))

    def _one(self, rng, condition):
        """A worker for which the condition holds, or None; draws the same number of times in either case."""
        able = [worker for worker in self.cluster.workers if condition(worker)]
        at = rng.random()
        return able[int(at * len(able))] if able else None

    # --- processes -----------------------------------------------------------------------------------------------------

    def _kill(self, member, delay):
        member.process.kill()
        self.start_again(member, delay)

    def start_again(self, member, delay):
        member.down, member.stopped = True, False
        self._undo_after(delay, member.start)

    def _kill_worker(self, rng):
        worker, delay = self._one(rng, lambda w: w.mortal()), rng.choice((0.0, rng.random() * 0.3))
        if worker is None:
            return None
        self._kill(worker, delay)
        return f'{worker.name}, started again after {delay:.2f} s'

    def _kill_workers(self, rng):
        delay, able = rng.random() * 0.3, [w for w in self.cluster.workers if w.mortal()]
        for worker in able:
            self._kill(worker, delay)
        return f'all {len(able)} that lived, started again after {delay:.2f} s' if able else None

    def _kill_server(self, rng):
        delay = rng.choice((0.0, rng.random()))
        if not self.cluster.server.mortal():
            return None
        self._kill(self.cluster.server, delay)
        return f'started again after {delay:.2f} s'

    def _kill_all(self, rng):
        able, delays = [m for m in self.cluster.members if m.mortal()], [rng.random() * 0.5 for _ in self.cluster.members]
        for member, delay in zip(able, delays):
            self._kill(member, delay)
        return f'all {len(able)} that lived, server and workers' if able else None

    def _stop(self, member, lasts):
        process = member.process
        process.send(signal.SIGSTOP)
        member.stopped = True

        def go_on():
            process.send(signal.SIGCONT)
            if member.process is process:
                member.stopped = False
        self._undo_after(lasts, go_on)

    @staticmethod
    def _lasts(rng):
        """As often shorter than the heartbeat's timeout of 1 s as longer."""
        return rng.choice((rng.random() * 0.5, 1.0 + rng.random()))

    def _stop_worker(self, rng):
        worker, lasts = self._one(rng, lambda w: w.alive() and not w.stopped), self._lasts(rng)
        if worker is None:
            return None
        self._stop(worker, lasts)
        return f'{worker.name}, for {lasts:.2f} s'

    def _stop_server(self, rng):
        lasts, server = self._lasts(rng), self.cluster.server
        if not server.alive() or server.stopped:
            return None
        self._stop(server, lasts)
        return f'for {lasts:.2f} s'

    # --- lines ---------------------------------------------------------------------------------------------------------

    def _cut(self, rng):
        i, reset = rng.randrange(len(self.cluster.workers)), rng.random() < 0.5
        self.cluster.place.relays[i].cut(reset)
        return f'the line of worker{i}, {"by a reset" if reset else "in order"}'

    def _cut_off(self, member, lasts, connect):
        member.cut_off = True

        def undo():
            connect()
            member.cut_off = False
        self._undo_after(lasts, undo)

    def _silence(self, rng):
        worker, lasts, forget = self._one(rng, lambda w: not w.cut_off), self._lasts(rng), rng.random() < 0.5
        if worker is None:
            return None
        relay = self.cluster.place.relays[self.cluster.workers.index(worker)]
        relay.silence()
        self._cut_off(worker, lasts, lambda: relay.speak(forget))
        return f'the line of {worker.name}, for {lasts:.2f} s{", then only new connections" if forget else ""}'

    def _part(self, member, ways, lasts):
        host, hosts = self.cluster.members.index(member), self.cluster.place.hosts
        for way in ways:
            hosts.part(host, way)
        self._cut_off(member, lasts, lambda: [hosts.heal(host, way) for way in ways])
        return f'{member.name}, nothing gets {" or ".join(ways)} for {lasts:.2f} s'

    def _part_worker(self, rng):
        worker, ways, lasts = self._one(rng, lambda w: not w.cut_off), rng.choice(WAYS), self._lasts(rng)
        return self._part(worker, ways, lasts) if worker else None

    def _part_server(self, rng):
        ways, lasts = rng.choice(WAYS), self._lasts(rng)
        return self._part(self.cluster.server, ways, lasts) if not self.cluster.server.cut_off else None

    # --- disk ----------------------------------------------------------------------------------------------------------

    def _fill_disk(self, rng):
        lasts = rng.random() * 1.5
        if self.disk.full:
            return None
        size = self.disk.fill()
        self._undo_after(lasts, self.disk.empty)
        return f'with {size} bytes for {lasts:.2f} s'
