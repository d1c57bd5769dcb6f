"""model_step.c from Python: a model's layout, and steps of gradient descent by Signpost's own arithmetic."""
import os
import subprocess

import numpy as np

PROGRAM = os.environ.get('SP_MODEL_STEP', 'build-test/tests/torch/model_step')


def call(what, words, data=b''):
    done = subprocess.run([PROGRAM, what, *words], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise AssertionError(f'model_step {what} {" ".join(words)}: exit {done.returncode}: {done.stderr.decode()}')
    return done.stdout


def layout(words):
    """(name, trained, shape) of each tensor, in order."""
    lines = (line.split() for line in call('layout', words).decode().splitlines())
    return [(name, trained == '1', tuple(map(int, shape))) for name, trained, *shape in lines]


def pack(tensors, state, trained):
    """The trained tensors of a state {name: array}, or the others, one after the other."""
    arrays = [np.asarray(state[name], '<f4').ravel() for name, is_trained, _ in tensors if is_trained == trained]
    return np.concatenate(arrays).tobytes() if arrays else b''


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def array(self, count, kind='<f4'):
        self.at += count * np.dtype(kind).itemsize
        return np.frombuffer(self.data, kind, count, self.at - count * np.dtype(kind).itemsize)

    def state(self, tensors, trained):
        return {name: self.array(int(np.prod(shape))).reshape(shape)
                for name, is_trained, shape in tensors if is_trained == trained}


def run(words, tensors, state, batches, rate=0.0):
    """One step a batch (x, labels), all of one size. Returns losses, the last gradient, the state after all, and the
    logits of the last batch by it."""
    data = [pack(tensors, state, True), pack(tensors, state, False)]
    for x, labels in batches:
        data += [np.asarray(x, '<f4').tobytes(), np.asarray(labels, 'u1').tobytes()]
    reader = Reader(call('step', [*words, f'steps={len(batches)}', f'rate={rate!r}'], b''.join(data)))
    losses = reader.array(len(batches), '<f8')
    gradient = reader.state(tensors, True)
    after = {**reader.state(tensors, True), **reader.state(tensors, False)}
    logits = reader.array((len(reader.data) - reader.at) // 4).reshape(len(batches[-1][1]), -1)
    return losses, gradient, after, logits
