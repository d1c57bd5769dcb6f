"""What compare.py measures: the rows of its table, and for each the processes of one launch and how to read them.

A launch gives one set of figures: {'ms': median of the rounds, 'cpu_ms': of all processes, a round, 'up', 'down': bytes
a worker and round, 'how': how the bytes are known}.
"""
import json
import os
import socket
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
WARM = '2'  # rounds before the measured ones

ALL_REDUCE = {
    'gloo-f32': 'Gloo all-reduce, float32',
    'gloo-f16': 'Gloo all-reduce, float16',
    'gloo-i8': 'Gloo all-reduce, signs as int8',
    'gloo-1bit': 'Gloo all-gather, packed signs',
    'ddp-f32': 'PyTorch DDP, float32',
    'ddp-powersgd': 'PyTorch DDP, PowerSGD rank 1',
}
MPI = {
    'mpi-f32': ('Open MPI all-reduce, float32, TCP', ['--mca', 'pml', 'ob1', '--mca', 'btl', 'tcp,self']),
    'mpi-f32-shm': ('the same by shared memory', []),
}
SIGNPOST = {
    'signpost-sign': ('Signpost, signs', ['--phase', 'sign', '--dither', '0']),
    'signpost-dither': ('Signpost, signs with noise', ['--phase', 'sign', '--dither', '1']),
    'signpost-margin': ('Signpost, margin', ['--phase', 'margin']),
    'signpost-i8': ('Signpost, SGD in int8', ['--phase', 'sgd', '--wire', 'i8']),
    'signpost-f32': ('Signpost, SGD in float32', ['--phase', 'sgd', '--wire', 'f32']),
}
NAMES = [*SIGNPOST, *ALL_REDUCE, *MPI]


class Missing(Exception):
    """This row cannot be measured here; the words say why, and what would help."""


@dataclass
class Setting:
    """What all rows have in common."""
    workers: int
    params: int
    rounds: int
    link: str      # '': all on this machine
    python: str    # an interpreter with torch, or ''
    mpi: str       # allreduce_mpi as it was built, or ''
    signpost: str  # the program, or ''
    folder: Path   # for files of a launch

    def host(self, number):
        """Words before a command that is to run on a host of netlab.sh; host 1 is the server's."""
        return ['ip', 'netns', 'exec', f'spbench-h{number}'] if self.link else []


@dataclass
class Launch:
    """The processes of one launch, each (words, environment), and what their output means."""
    processes: list
    figures: object  # a function of the processes' lines of JSON


def title(name):
    return ALL_REDUCE.get(name) or (MPI.get(name) or SIGNPOST[name])[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def make_launch(name, compute, setting):
    if name in SIGNPOST:
        return signpost_launch(name, compute, setting)
    if name in MPI:
        return mpi_launch(name, compute, setting)
    return torch_launch(name, compute, setting)


def torch_launch(name, compute, setting):
    if not setting.python:
        raise Missing('no Python with PyTorch was found (Debian has it as python3-torch; deploy/install-packages.sh bench)')
    if name == 'gloo-i8' and setting.workers > 127:
        raise Missing(f'the signs of {setting.workers} workers do not add up in int8, which takes 127')
    interface = 'eth0' if setting.link else 'lo'
    master = '10.77.0.2:29500' if setting.link else f'127.0.0.1:{free_port()}'
    environment = dict(os.environ, GLOO_SOCKET_IFNAME=interface, OMP_NUM_THREADS='1', PYTHONDONTWRITEBYTECODE='1')
    words = [setting.python, str(HERE / 'exchange_torch.py'), name, '--workers', str(setting.workers), '--params',
             str(setting.params), '--master', master, '--rounds', str(setting.rounds), '--warm', WARM,
             '--compute', compute]
    if setting.link:
        words += ['--interface', interface]
    return Launch([(setting.host(2 + rank) + words + ['--rank', str(rank)], environment) for rank in range(setting.workers)],
                  lambda lines: rank_figures(lines, compute))


def mpi_launch(name, compute, setting):
    if not setting.mpi:
        raise Missing('Open MPI is not there (packages openmpi-bin and libopenmpi-dev; deploy/install-packages.sh bench)')
    if name == 'mpi-f32-shm' and setting.link:
        raise Missing('hosts share no memory')
    words = ['mpirun', '--allow-run-as-root', '--oversubscribe', '-n', str(setting.workers), *MPI[name][1]]
    last = []
    if setting.link:
        hosts = setting.folder / 'mpi-hosts'
        hosts.write_text(''.join(f'10.77.0.{2 + rank} slots=1\n' for rank in range(setting.workers)))
        words = setting.host(1) + words + ['--hostfile', str(hosts), '--map-by', 'node', '--mca', 'plm', 'rsh', '--mca',
                                           'plm_rsh_agent', str(HERE / 'netlab_rsh.sh'), '--mca', 'oob_tcp_if_include', 'eth0',
                                           '--mca', 'btl_tcp_if_include', 'eth0']
        last = ['eth0']
    words += [setting.mpi, str(setting.params), str(setting.rounds), WARM, compute, *last]
    return Launch([(words, dict(os.environ))], lambda lines: rank_figures(lines, compute))


def rank_figures(lines, compute):
    """From what exchange_torch.py and allreduce_mpi.c print, a line a rank. After a barrier a round ends with its last
    rank; without one, a rank that was late in a round is so much shorter in the next, and the mean of the ranks counts."""
    together = statistics.mean if compute == 'on' else max
    rounds = [together(round_times) for round_times in zip(*(line['seconds'] for line in lines))]
    counted = [line['counted'] or line['bytes'] for line in lines]
    return {'ms': 1e3 * statistics.median(rounds), 'cpu_ms': 1e3 * sum(line['cpu'] for line in lines),
            'up': statistics.mean(c[0] for c in counted), 'down': statistics.mean(c[1] for c in counted),
            'how': 'at the interface' if lines[0]['counted'] else 'by the algorithm'}


def signpost_launch(name, compute, setting):
    if not setting.signpost:
        raise Missing('the program signpost is not built (meson setup build && ninja -C build), or knows no `bench`')
    if name == 'signpost-dither' and compute == 'off':
        raise Missing('')  # the exchange is that of signpost-sign
    words = [setting.signpost, 'bench', '--workers', str(setting.workers), '--params', str(setting.params), '--rounds',
             str(setting.rounds), '--warmup', WARM, '--compute', compute, '--processes', str(setting.workers), '--json',
             *SIGNPOST[name][1]]
    if setting.link:
        words += ['--listen', '10.77.0.1:7700', '--server-prefix', ' '.join(setting.host(1)),
                  '--worker-prefix', ' '.join(setting.host('%d'))]
    return Launch([(words, dict(os.environ))], lambda lines: signpost_figures(lines[0]))


def signpost_figures(line):
    return {'ms': line['round_ms_median'], 'cpu_ms': line['server_cpu_ms_per_round'] + line['worker_cpu_ms_per_round'],
            'up': line['wire_bytes_up_per_worker'], 'down': line['wire_bytes_down_per_worker'], 'how': 'at the socket'}


def read_lines(text):
    """The lines of JSON among what a program printed."""
    return [json.loads(line) for line in text.splitlines() if line.startswith('{')]


if __name__ == '__main__':
    sys.exit('competitors.py is a part of compare.py; compare.sh starts it')
