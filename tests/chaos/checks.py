"""What must hold after a run, whatever happened in it. Each check returns complaints, sentences; none is well."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
RESIDENT_MORE_KIB = 12288  # what the SGD phase, checkpoints and the allocator take that the first calm had not: 7 MiB were seen
ASTRAY = re.compile(r'.*went astray.*')
KNOWN = re.compile(r'(previous-)?(summary\.json|model\.safetensors)|history\.jsonl|job\.yaml|lock|checkpoint/(finished|reserve)|'
                   r'checkpoint/\d{10}\.checkpoint|journal/\d{10}\.journal')


def of_summary(summary):
    if summary['stopped'] or summary['rounds_done'] != summary['rounds']:
        return [f'the job ended after {summary["rounds_done"]} of {summary["rounds"]} rounds: {summary["outcome"]}']
    return ['the last evaluation is partial'] if summary['test_partial'] or summary['test_accuracy'] is None else []


def of_weights(cluster, summary):
    """Workers say the digest of their weights when the job is done."""
    astray = [line for process in cluster.server.processes() for line in ASTRAY.findall(process.err())]
    bad = [f'{len(astray)} times weights went astray: {astray[0]}'] if astray else []
    for worker in cluster.workers:
        said = re.findall(r'the job is done: .*; weights digest ([0-9a-f]{16})', worker.process.err())
        if said != [summary['weights_digest']]:
            bad.append(f'{worker.name} ended with the weights {said}, the server with {summary["weights_digest"]}')
    return bad


def of_processes(cluster):
    bad = []
    for process in cluster.processes():
        found = harness.COMPLAINTS.search(process.err())
        if found:
            bad.append(f'{process.name} complains: {process.err()[found.start():found.start() + 800]}')
        code = process.popen.poll()
        if code is not None and code < 0 and not process.we_killed_it:
            bad.append(f'{process.name} died of signal {-code}')
    return bad


def of_memory(members):
    """Processes that lived through a storm hold what they held in the calm before it."""
    bad = []
    for member in members:
        if member.seen is None:
            continue
        _, first, last = member.seen
        if last.descriptors > first.descriptors:
            bad.append(f'{member.name} has {last.descriptors} descriptors open, {first.descriptors} at first')
        if last.resident > first.resident + RESIDENT_MORE_KIB:
            bad.append(f'{member.name} has {last.resident} KiB resident, {first.resident} at first')
    return bad


def grown(members):
    """KiB by which the process grew that grew most over storms which it lived through."""
    return max((member.seen[2].resident - member.seen[1].resident for member in members if member.seen), default=0)


def of_folder(run):
    files = sorted(str(path.relative_to(run)) for path in run.rglob('*') if not path.is_dir())
    bad = [f'{name} is left in the folder of the run' for name in files if not KNOWN.fullmatch(name)]
    last = 0
    for number, line in enumerate((run / 'history.jsonl').read_text().splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            bad.append(f'line {number} of history.jsonl is torn: {line[:80]!r}')
            continue
        if 'event' not in record:
            if record['round'] <= last:
                bad.append(f'line {number} of history.jsonl is of round {record["round"]}, after one of round {last}')
            last = record['round']
    return bad


def replay(run, *words):
    """Returns the digest that signpost replay prints last, and what it said if it failed."""
    done = subprocess.run([SIGNPOST, 'replay', str(run), *words], capture_output=True, text=True, check=False,
                          timeout=harness.seconds(60))
    found = re.search(r'weights digest  ([0-9a-f]{16})\s*$', done.stdout)
    return (found.group(1), '') if done.returncode == 0 and found else (None, (done.stdout + done.stderr).strip())


def of_journal(run, summary):
    """Checkpoint and journal lead to the weights that the server ended with; each checkpoint can be read."""
    digest, words = replay(run)
    bad = [] if digest == summary['weights_digest'] else [f'signpost replay gives {digest or words}']
    for path in sorted((run / 'checkpoint').glob('*.checkpoint')):
        digest, words = replay(run, '--to-round', str(int(path.stem)))
        if digest is None:
            bad.append(f'{path.name}: {words}')
    return bad


def of_model(run, summary):
    """The file of weights is whole, and has the accuracy that the workers found."""
    done = subprocess.run([SIGNPOST, 'eval', str(run), '--json'], capture_output=True, text=True, check=False,
                          timeout=harness.seconds(60))
    if done.returncode != 0:
        return [f'signpost eval failed: {done.stderr.strip()}']
    accuracy = json.loads(done.stdout)['accuracy']
    if accuracy != summary['test_accuracy']:
        return [f'model.safetensors has accuracy {accuracy}, the job said {summary["test_accuracy"]}']
    return []


def all_of(cluster, summary):
    return (of_summary(summary) + of_weights(cluster, summary) + of_processes(cluster) + of_memory(cluster.members) +
            of_folder(cluster.run) + of_journal(cluster.run, summary) + of_model(cluster.run, summary))
