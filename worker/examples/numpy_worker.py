#!/usr/bin/env python3
"""A worker in Python: softmax regression with numpy, by libsignpost through ctypes.

Usage: numpy_worker.py HOST:PORT [JOB] [TOKEN_FILE]

SIGNPOST_LIBRARY is the path of libsignpost.so.0; without it the system's is loaded. Every worker makes the same examples
from a fixed seed, and draws batches of its own from them.
"""
import ctypes as c
import os
import sys
import zlib

import numpy as np

FEATURES, CLASSES, TRAIN, TEST = 20, 4, 2000, 500

# --- what signpost.h declares; only what is used here -----------------------------------------------------------------

OK = 0
NOTHING, JOINED, INIT, GRADIENT, EVALUATE, DONE = range(6)
DECAY, LOG_INFO = 1, 2
Log = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_char_p)


class Tensor(c.Structure):
    _fields_ = [('name', c.c_char_p), ('shape', c.POINTER(c.c_uint64)), ('dims', c.c_uint32), ('flags', c.c_uint32)]


class Options(c.Structure):
    _fields_ = [('size', c.c_size_t), ('slot', c.c_int32), ('tensors_count', c.c_uint32), ('tensors', c.POINTER(Tensor)),
                ('server', c.c_char_p), ('job', c.c_char_p), ('program', c.c_char_p), ('token_file', c.c_char_p),
                ('examples', c.c_uint64), ('test_examples', c.c_uint64), ('data_digest', c.c_uint64),
                ('give_up_s', c.c_double), ('log', Log), ('log_arg', c.c_void_p)]


class Event(c.Structure):
    _fields_ = [(name, c.c_uint32) for name in ('type', 'round', 'rounds', 'slot', 'part', 'parts', 'stopped')]
    _fields_ += [('reserved', c.c_uint32 * 9)]


def load():
    lib = c.CDLL(os.environ.get('SIGNPOST_LIBRARY', 'libsignpost.so.0'))
    floats = c.POINTER(c.c_float)
    for name, result, *arguments in (
            ('open', c.c_int, c.POINTER(c.c_void_p), c.POINTER(Options), c.c_char_p, c.c_size_t),
            ('close', None, c.c_void_p),
            ('wait', c.c_int, c.c_void_p, c.c_int, c.POINTER(Event)),
            ('weights_to_init', floats, c.c_void_p),
            ('init_done', c.c_int, c.c_void_p),
            ('gradient', c.c_int, c.c_void_p, c.c_uint64, c.c_uint64, floats),
            ('push', c.c_int, c.c_void_p, c.c_double, c.c_uint32),
            ('score', c.c_int, c.c_void_p, c.POINTER(Event), c.c_uint64, c.c_uint64, c.c_double),
            ('weights', floats, c.c_void_p),
            ('coordinates', c.c_uint64, c.c_void_p),
            ('weights_digest', c.c_uint64, c.c_void_p),
            ('plan', c.c_char_p, c.c_void_p, c.c_char_p),
            ('error', c.c_char_p, c.c_void_p)):
        function = getattr(lib, 'signpost_' + name)
        function.restype, function.argtypes = result, arguments
    return lib


# --- the data and the model --------------------------------------------------------------------------------------------

def make_examples():
    """Clouds around four points, some of them over the border: (train, test), each (features, labels)."""
    rng = np.random.RandomState(1)
    centres = rng.normal(size=(CLASSES, FEATURES))
    labels = rng.randint(CLASSES, size=TRAIN + TEST)
    features = (centres[labels] + 1.5 * rng.normal(size=(TRAIN + TEST, FEATURES))).astype(np.float32)
    return (features[:TRAIN], labels[:TRAIN]), (features[TRAIN:], labels[TRAIN:])


def split(flat):
    """Views of the two tensors in an array of all coordinates."""
    return flat[:CLASSES * FEATURES].reshape(CLASSES, FEATURES), flat[CLASSES * FEATURES:]


def forward(flat, features, labels):
    """Log-probabilities of all classes, and the losses."""
    weight, bias = split(flat)
    logits = features @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits, -logits[np.arange(len(labels)), labels]


def backward(logits, features, labels, gradient):
    d_logits = np.exp(logits)
    d_logits[np.arange(len(labels)), labels] -= 1
    d_logits /= len(labels)
    d_weight, d_bias = split(gradient)
    np.matmul(d_logits.T, features, out=d_weight)
    d_bias[:] = d_logits.sum(axis=0)


class Failure(Exception):
    pass


def write_log(_, level, line):
    if level <= LOG_INFO:
        print('numpy_worker:', line.decode(), file=sys.stderr)


class Worker:
    def __init__(self, server, job, token_file):
        self.lib = load()
        (self.features, self.labels), self.test = make_examples()
        self.log = Log(write_log)  # kept, because the library does not keep it alive
        tensors = (Tensor * 2)(Tensor(b'weight', (c.c_uint64 * 2)(CLASSES, FEATURES), 2, DECAY),
                               Tensor(b'bias', (c.c_uint64 * 1)(CLASSES), 1, 0))
        options = Options(size=c.sizeof(Options), slot=-1, tensors_count=2, tensors=tensors, server=server.encode(),
                          job=job.encode(), program=b'numpy_worker 1',
                          token_file=os.fsencode(token_file) if token_file else None, examples=TRAIN, test_examples=TEST,
                          data_digest=zlib.crc32(self.labels.tobytes(), zlib.crc32(self.features.tobytes())),
                          give_up_s=10, log=self.log)
        self.s, words = c.c_void_p(), c.create_string_buffer(256)
        if self.lib.signpost_open(c.byref(self.s), c.byref(options), words, len(words)) != OK:
            raise Failure(words.value.decode())
        d = self.lib.signpost_coordinates(self.s)
        # The library's own memory, seen by numpy: new weights are in it whenever signpost_wait() has given an event.
        self.weights = np.ctypeslib.as_array(self.lib.signpost_weights(self.s), (d,))
        self.weights.flags.writeable = False
        self.gradient = np.zeros(d, np.float32)

    def check(self, rc):
        if rc != OK:
            raise Failure(self.lib.signpost_error(self.s).decode())

    def give_gradient(self):
        chosen = self.rng.randint(TRAIN, size=self.batch)
        features, labels = self.features[chosen], self.labels[chosen]
        logits, losses = forward(self.weights, features, labels)
        backward(logits, features, labels, self.gradient)
        pointer = self.gradient.ctypes.data_as(c.POINTER(c.c_float))
        self.check(self.lib.signpost_gradient(self.s, 0, len(self.gradient), pointer))
        self.check(self.lib.signpost_push(self.s, losses.mean(), len(labels)))

    def evaluate(self, event):
        part = slice(TEST * event.part // event.parts, TEST * (event.part + 1) // event.parts)
        features, labels = self.test[0][part], self.test[1][part]
        logits, losses = forward(self.weights, features, labels)
        correct = int((logits.argmax(axis=1) == labels).sum())
        self.check(self.lib.signpost_score(self.s, c.byref(event), correct, len(labels), losses.sum()))

    def train(self):
        event = Event()
        while event.type != DONE:
            self.check(self.lib.signpost_wait(self.s, 500, c.byref(event)))  # not -1, so that Ctrl-C gets through
            if event.type == JOINED:
                self.rng = np.random.RandomState(event.slot)
                self.batch = int(self.lib.signpost_plan(self.s, b'train.batch'))
            elif event.type == INIT:
                place = np.ctypeslib.as_array(self.lib.signpost_weights_to_init(self.s), self.weights.shape)
                place[:] = 0.01 * np.random.RandomState(1).normal(size=place.shape)
                self.check(self.lib.signpost_init_done(self.s))
            elif event.type == GRADIENT:
                self.give_gradient()
            elif event.type == EVALUATE:
                self.evaluate(event)
        loss = forward(self.weights, self.features, self.labels)[1].mean()
        print(f'loss {loss:.6f}, weights {self.lib.signpost_weights_digest(self.s):016x}')


def main():
    if not 2 <= len(sys.argv) <= 4:
        sys.exit('usage: numpy_worker.py HOST:PORT [JOB] [TOKEN_FILE]')
    server, job, token_file = sys.argv[1:] + ['blobs', None][len(sys.argv) - 2:]
    worker = None
    try:
        worker = Worker(server, job, token_file)
        worker.train()
    except (Failure, OSError) as failure:
        sys.exit(f'numpy_worker: {failure}')
    finally:
        if worker:
            worker.lib.signpost_close(worker.s)


if __name__ == '__main__':
    main()
