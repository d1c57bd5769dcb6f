"""The decisions of a job: each is one line of the server's log and one record of history.jsonl, and the two say the same."""
import re

WORDS = {'sign': 'sign updates', 'margin': 'margin updates', 'sgd': 'SGD'}
RULES = {'paper', 'ratio', 'denoised', 'norm', 'norm_tensor', 'optimizer.sgd.lr'}
# Whatever was decided, the record has what it could have been decided from.
NUMBERS = {'a', 'b', 'e', 'd', 'noise_scale', 'first_loss', 'best_loss', 'last_gain', 'lambda_now', 'lambda_mean'}
COUNTS = {'rounds_seen', 'window', 'windows', 'flat_windows', 'settled_rounds'}
ALWAYS = {'event', 'round', 'phase', 'to', 'test', 'reason', 'gamma', 'seconds'} | NUMBERS | COUNTS
OF_A_RATE = {'rule', 'lambda', 'lambda_is_a_guess'}
TESTS = {'switch': {'at', 'auto', 'swats', 'manual', 'until'}, 'rates': {'rate'}}
LINE = r'(?:switch from |lambda from round |lambda = .* from round |dry run: |no switch from ).*'


def rate_words(event):
    if event['to'] != 'sgd' or 'rule' not in event:
        return ''
    if event['lambda'] is None:
        return f'; the rate ({event["rule"]}) comes with the first SGD round'
    if 'lambda_without_bounds' in event:
        return (f'; lambda = {event["lambda"]:.5g} ({event["rule"]}; {event["lambda_without_bounds"]:.3g} without '
                'optimizer.sgd.lambda_min and lambda_max)')
    return f'; lambda = {"about " if event["lambda_is_a_guess"] else ""}{event["lambda"]:.5g} ({event["rule"]})'


def line_of(event):
    """The line of the log that says what the record says."""
    kind, round_ = event['event'], event['round']
    way = f'from {WORDS[event["phase"]]} to {WORDS[event["to"]]}'
    if kind == 'switch':
        return f'switch {way} after round {round_}: {event["reason"]}{rate_words(event)}'
    if kind == 'dry_run':
        return f'dry run: would switch {way} now, after round {round_}: {event["reason"]}{rate_words(event)}; going on'
    if kind == 'refusal':
        return f'no switch from {WORDS[event["phase"]]}: {event["reason"]}'
    if isinstance(event['lambda'], dict):
        return f'lambda from round {round_}: {event["reason"]}'
    return f'lambda = {event["lambda"]:.5g} ({event["reason"]}) from round {round_}'


def check(case, server):
    """All decisions of a server, in their order."""
    events = server.events()
    for event in events:
        keys = set(event)
        case.assertGreaterEqual(keys, ALWAYS, event)
        case.assertLessEqual(keys - ALWAYS, OF_A_RATE | {'lambda_without_bounds'}, event)
        case.assertIn(len(keys & OF_A_RATE), (0, 3), event)
        case.assertIn(event['test'], TESTS.get(event['event'], TESTS['switch'] | TESTS['rates']))
        case.assertIn(event.get('rule', 'norm'), RULES)
        for key in NUMBERS:
            case.assertIsInstance(event[key], (float, type(None)), key)
        for key in COUNTS | {'round'}:
            case.assertIs(type(event[key]), int, key)
    said = re.findall(rf'(?m)^\S+ \S+ (info|warn)  job     ({LINE})$', server.err())
    case.assertEqual([line for _, line in said], [line_of(event) for event in events])
    case.assertEqual([level == 'warn' for level, _ in said], [event['event'] == 'refusal' for event in events])
    rounds = [line['round'] for line in server.lines()]
    case.assertEqual(rounds, sorted(rounds), 'decisions stand where they were made')
    return events
