"""model_time.c in PyTorch: the same steps of the same model (tests/torch/models.py), one thread, float32, as a user would
write them, with --channels-last in that memory format. Prints the same line of JSON; `bare` is Python alone, `baseline`
with torch, before the model and its data."""
import json
import re
import sys
import time
from pathlib import Path


def status_kib(name):
    return int(re.search(rf'^{name}:\s*(\d+)', Path('/proc/self/status').read_text(), re.M).group(1))


LAST = '--channels-last'
BARE = status_kib('VmRSS')

import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'torch'))

import models  # noqa: E402
import step  # noqa: E402


def describe():
    """Version, instruction set, oneDNN, and which library does the matrix products of linear layers."""
    shown = torch.__config__.show()
    capability = re.search(r'CPU capability usage: (\w+)', shown)
    onednn = re.search(r'MKL-DNN (v[\d.]+)', shown)
    maps = Path('/proc/self/maps').read_text()
    blas = sorted(set(re.findall(r'/([^/\n]*(?:libblas|openblas|libmkl_core)[^/\n]*)$', maps, re.M)))
    return (f'PyTorch {torch.__version__}, CPU capability {capability.group(1) if capability else "unknown"}, '
            f'oneDNN {onednn.group(1) if onednn else ""} {"on" if torch.backends.mkldnn.is_available() else "off"}, '
            f'BLAS {", ".join(blas) or "its own"}')


def time_steps(model, x, labels, warm, steps):
    seconds = []
    for i in range(warm + steps):
        start = time.perf_counter()
        model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        if i >= warm:
            seconds.append(round(time.perf_counter() - start, 6))
    return seconds


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    baseline = status_kib('VmRSS')
    given = [word for word in sys.argv[1:] if word != LAST]
    words = dict(word.split('=', 1) for word in given)
    model = models.make(words['model.type'], step.layout(given))
    batch = int(words['batch'])
    x = torch.rand(batch, *map(int, words['shape'].split('x'))) * 2 - 1
    labels = torch.arange(batch) % int(words['classes'])
    if LAST in sys.argv:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    seconds = time_steps(model, x, labels, int(words['warm']), int(words['steps']))
    print(json.dumps({'who': 'PyTorch' + (', channels last' if LAST in sys.argv else ''), 'with': describe(), 'parameters': sum(p.numel() for p in model.parameters()),
                      'seconds': seconds, 'bare': BARE, 'baseline': baseline, 'peak': status_kib('VmHWM')}))


main()
