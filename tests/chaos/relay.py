"""A line between a worker and the server that can be cut, or go silent, at any moment."""
import selectors
import socket
import struct
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import wire  # noqa: E402

PIECE = 262144
CONNECTIONS_MAX = 64
RESET = struct.pack('ii', 1, 0)  # SO_LINGER: close() sends RST


class Pair:
    """One connection: the worker's socket and the one to the server, and the bytes that wait to be written to each."""

    def __init__(self, inner, outer, policy):
        self.inner, self.outer, self.policy = inner, outer, policy
        self.waiting = {inner: b'', outer: b''}
        self.ended = set()     # those that will send nothing more
        self.shut = set()      # those that were told so of the other
        self.connecting = True
        self.silent = False

    def other(self, s):
        return self.outer if s is self.inner else self.inner

    def mask(self, s):
        if self.silent:
            return 0
        if self.connecting:
            return selectors.EVENT_WRITE if s is self.outer else 0
        wanted = selectors.EVENT_WRITE if self.waiting[s] else 0
        if s not in self.ended and not self.waiting[self.other(s)]:
            wanted |= selectors.EVENT_READ
        return wanted

    def move(self, s, mask):
        """Reads from and writes to one of the sockets what it is ready for; OSError ends the pair."""
        if self.connecting:
            code = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code != 0:
                raise OSError(code, 'connect')
            self.connecting = False
            return
        if mask & selectors.EVENT_READ:
            data = s.recv(PIECE)
            if data:
                direction = wire.UP if s is self.inner else wire.DOWN
                self.waiting[self.other(s)] += self.policy.pass_on(direction, data)
            else:
                self.ended.add(s)
        for sink in (self.inner, self.outer):
            self.write(sink)

    def write(self, sink):
        if self.waiting[sink]:
            try:
                self.waiting[sink] = self.waiting[sink][sink.send(self.waiting[sink]):]
            except BlockingIOError:
                return
        if self.other(sink) in self.ended and not self.waiting[sink] and sink not in self.shut:
            self.shut.add(sink)
            sink.shutdown(socket.SHUT_WR)

    def over(self):
        return len(self.shut) == 2


class Relay:
    """Listens on a free port of loopback and connects each connection through to HOST:PORT `target`, under a policy of
    wire.py, which may look at what passes. All sockets belong to one thread, which is told what to do with them."""

    def __init__(self, target, policy=wire.Policy):
        host, port = target.rsplit(':', 1)
        self.target = (host, int(port))
        self.make_policy = policy
        self.made = 0
        self.muted = False
        self.pairs = []
        self.orders = []
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.listener.setblocking(False)
        self.address = '127.0.0.1:%d' % self.listener.getsockname()[1]
        self.bell, self.ear = socket.socketpair()
        self.ear.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.ear, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def cut(self, reset):
        """All connections end, and both sides learn of it: by RST, or by FIN."""
        self._order(lambda: [self._end(pair, reset) for pair in list(self.pairs)])

    def silence(self):
        """All connections stay open, but nothing passes; nor over those that are made now."""
        self._order(lambda: self._silence())

    def speak(self, forget):
        """What waited passes on; `forget`: the connections of before stay silent until their ends give them up."""
        self._order(lambda: self._speak(forget))

    def close(self):
        if self.thread.is_alive():
            self._order(None)
            self.thread.join(10)

    def connections(self):
        """How many connections there are: none is left a moment after the server died and all it had sent was passed on."""
        return len(self.pairs)

    # --- of the thread -------------------------------------------------------------------------------------------------

    def _order(self, what):
        with self.lock:
            self.orders.append(what)
        self.bell.send(b'x')

    def _run(self):
        while True:
            for key, mask in self.selector.select(1.0):
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj is self.ear:
                    if not self._obey():
                        return
                elif key.data in self.pairs:
                    self._move(key.data, key.fileobj, mask)

    def _obey(self):
        self.ear.recv(4096)
        with self.lock:
            orders, self.orders = self.orders, []
        for order in orders:
            if order is None:
                for pair in list(self.pairs):
                    self._end(pair, False)
                for s in (self.listener, self.bell, self.ear, self.selector):
                    s.close()
                return False
            order()
        return True

    def _accept(self):
        try:
            inner, _ = self.listener.accept()
        except OSError:
            return
        if len(self.pairs) >= CONNECTIONS_MAX:
            self._end(self.pairs[0], True)
        outer = socket.socket()
        for s in (inner, outer):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outer.connect_ex(self.target)
        pair = Pair(inner, outer, self.make_policy(self.made))
        pair.silent = self.muted
        self.made += 1
        self.pairs.append(pair)
        self._watch(pair)

    def _watch(self, pair):
        for s in (pair.inner, pair.outer):
            mask = pair.mask(s)
            known = s in self.selector.get_map()
            if mask and known:
                self.selector.modify(s, mask, pair)
            elif mask:
                self.selector.register(s, mask, pair)
            elif known:
                self.selector.unregister(s)

    def _move(self, pair, s, mask):
        try:
            pair.move(s, mask)
        except BlockingIOError:
            pass
        except OSError:
            self._end(pair, True)
            return
        if pair.over():
            self._end(pair, False)
        else:
            self._watch(pair)

    def _end(self, pair, reset):
        self.pairs.remove(pair)
        for s in (pair.inner, pair.outer):
            if s in self.selector.get_map():
                self.selector.unregister(s)
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            s.close()

    def _silence(self):
        self.muted = True
        for pair in self.pairs:
            pair.silent = True
            self._watch(pair)

    def _speak(self, forget):
        self.muted = False
        for pair in list(self.pairs):
            if not forget or pair.connecting:
                pair.silent = False
                self._watch(pair)
