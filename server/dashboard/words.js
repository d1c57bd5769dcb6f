// What the status says in words: the head, the switch, the warnings.

const PHASES = { sign: 'sign phase', margin: 'margin phase', sgd: 'SGD phase' };

function isOver(status) {
    return status.stage === 'over';
}

// The server may end before it has said that the job is over.
function mayHaveEnded(status) {
    return isOver(status) || status.stage === 'closing' || (isKnown(status.rounds) && status.round >= status.rounds);
}

function outcomeWords(status) {
    if (typeof status.outcome === 'string' && status.outcome !== '')
        return status.outcome;
    return status.round >= status.rounds ? `the job is done: ${plural(status.rounds, 'round')}`
        : `the job was stopped after round ${whole(status.round)} of ${whole(status.rounds)}`;
}

function showHead(status) {
    const accuracy = isKnown(status.test_accuracy) ? ` Test accuracy ${percent(status.test_accuracy, 2)}.` : '';
    setText(byId('job'), status.job ?? UNKNOWN);
    document.title = `${status.job ?? 'job'} - Signpost`;
    setText(byId('stage'), status.stage ?? '');
    setText(byId('phase'), PHASES[status.phase] ?? status.phase ?? '');
    setShown(byId('stage'), Boolean(status.stage));
    setShown(byId('phase'), Boolean(status.phase));
    setText(byId('waits'), status.waits_for ? `Waits for ${status.waits_for}` : '');
    setShown(byId('waits'), Boolean(status.waits_for) && !isOver(status));
    setText(byId('outcome'), isOver(status) ? `Over: ${outcomeWords(status)}.${accuracy}` : '');
    setShown(byId('outcome'), isOver(status));
    setText(byId('foot'), `Signpost ${status.version ?? ''} at ${status.address ?? UNKNOWN}, up for ${duration(status.seconds)}. ` +
        `Security: ${status.security?.words ?? UNKNOWN}.`);
}

function alongWords(status) {
    const words = [`Round ${whole(status.round)} of ${status.rounds > 0 ? whole(status.rounds) : UNKNOWN}`];
    if (status.rounds > 0)
        words.push(percent(status.round / status.rounds));
    if (isKnown(status.epoch))
        words.push(`epoch ${oneDigit(status.epoch)}${isKnown(status.epochs) ? ` of ${oneDigit(status.epochs)}` : ''}`);
    return words.join(', ');
}

function timeWords(status) {
    if (isOver(status))
        return 'over';
    return isKnown(status.eta_seconds) ? `about ${duration(status.eta_seconds)} to go` : 'time to go: -';
}

function rateTile(status) {
    return [status.phase === 'sgd' ? 'Rate (lambda)' : 'Step (gamma)', plain(status.rate)];
}

function showProgress(status) {
    const pace = status.pace ?? {};
    const share = status.rounds > 0 ? Math.min(status.round / status.rounds, 1) : 0;
    const evaluated = isKnown(status.accuracy_round) ? `Accuracy at ${whole(status.accuracy_round)}` : 'Test accuracy';
    setText(byId('along-round'), alongWords(status));
    setText(byId('along-time'), timeWords(status));
    byId('bar-done').style.width = `${100 * share}%`;
    setAttribute(byId('bar'), 'aria-valuenow', Math.floor(100 * share));
    setAttribute(byId('bar'), 'aria-valuetext', `${alongWords(status)}; ${timeWords(status)}`);
    fillFacts(byId('tiles'), [
        ['Loss', plain(status.loss)],
        [evaluated, percent(status.test_accuracy, 2)],
        rateTile(status),
        ['Rounds a second', plain(pace.rounds_per_second)],
        ['Received', isKnown(pace.bytes_per_second_in) ? `${bytes(pace.bytes_per_second_in)}/s` : UNKNOWN],
        ['Sent', isKnown(pace.bytes_per_second_out) ? `${bytes(pace.bytes_per_second_out)}/s` : UNKNOWN],
        ['Round takes', milliseconds(pace.round_ms)],
        [`Workers live${status.spares > 0 ? `, ${plural(status.spares, 'spare')}` : ''}`, `${whole(status.live)} of ${whole(status.workers)}`],
    ]);
}

// The rate that a switch led to, as the status says, or that of the rounds right after it.
function rateAfter(one, points, status) {
    if (one.to !== 'sgd')
        return UNKNOWN;
    const after = points.find(point => point.round > one.round && isKnown(point.lambda));
    return plain(status.switch?.lambda ?? after?.lambda ?? status.rate);
}

function showSwitchList(status, points) {
    const list = byId('switches');
    setShown(list, switches.length > 0);
    fillList(list, switches, () => make('li', {}, make('strong'), make('span')), (row, one) => {
        const rate = rateAfter(one, points, status);
        setText(row.children[0], `From ${one.from ?? UNKNOWN} to ${one.to} after round ${whole(one.round)}` +
            `${rate !== UNKNOWN ? `, at rate ${rate}` : ''}. `);
        setText(row.children[1], `Why: ${one.reason ?? UNKNOWN}.`);
    });
}

function showMeter(ahead) {
    const needed = ahead.flat_windows_needed;
    const shown = ahead.pending === true && isKnown(needed) && needed > 0 && needed <= 20;
    setShown(byId('meter'), shown);
    if (!shown)
        return;
    const flat = Math.min(ahead.flat_windows ?? 0, needed);
    setAttribute(byId('meter'), 'aria-valuemax', needed);
    setAttribute(byId('meter'), 'aria-valuenow', flat);
    setText(byId('meter-words'), `${flat} of ${plural(needed, 'flat window')}`);
    setAttribute(byId('meter'), 'aria-label', `${flat} of ${plural(needed, 'flat window')}`);
    fillList(byId('boxes'), Array.from({ length: needed }, (_, i) => i < flat), () => make('span'), (box, full) => {
        box.className = full ? 'full' : '';
    });
}

function switchFacts(ahead, status) {
    const facts = [];
    const add = (name, value) => value !== undefined && value !== null && facts.push([name, value]);
    if (ahead.pending === true && isKnown(ahead.window)) {
        add('A window is', plural(ahead.window, 'round'));
        add('Flat if it gains less than', percent(ahead.bar));
        add('The last one gained', percent(ahead.last_gain));
        add('Not before round', whole(ahead.earliest_round));
        add('At the latest after round', whole(ahead.latest_round));
    }
    if (ahead.pending === true && isKnown(ahead.lambda))
        add('Rate as things stand', `${plain(ahead.lambda)}${ahead.lambda_is_a_guess ? ' (a guess)' : ''}`);
    if (ahead.pending !== true) {
        add('Switch', ahead.when);
        add('Rate now', plain(status.rate));
    }
    add('Rule for the rate', ahead.rule);
    return facts;
}

function switchHead(ahead) {
    if (switches.length > 0)
        return ahead.pending === true ? 'One switch is made, one lies ahead' : 'The switch is made';
    return ahead.pending === true ? 'The switch lies ahead' : 'No switch lies ahead';
}

function showSwitch(status, points) {
    const ahead = status.switch ?? {};
    const dry = status.switch_dry_run && status.switch_reason ? ` ${status.switch_reason}` : '';
    setText(byId('switch-head'), switchHead(ahead));
    byId('switch').classList.toggle('ahead', ahead.pending === true);
    showSwitchList(status, points);
    setText(byId('switch-words'), `${ahead.words ?? ''}${dry}`);
    setShown(byId('switch-words'), byId('switch-words').textContent !== '');
    showMeter(ahead);
    fillFacts(byId('switch-facts'), switchFacts(ahead, status));
}

function slotName(slot) {
    return `The worker in slot ${slot.slot}${slot.host ? ` (${slot.host})` : ''}`;
}

function keepWarnings(keep) {
    const list = [];
    if (keep.failing)
        list.push(`Checkpoints cannot be written${keep.failures > 0 ? ` (failed ${plural(keep.failures, 'time')})` : ''}: after a ` +
            `restart the job would go on from ${isKnown(keep.checkpoint?.round) ? `round ${whole(keep.checkpoint.round)}` : 'its start'}, ` +
            'unless the journal has more. Look at the server\'s log and its disk.');
    if (keep.journal && keep.journal.written === false)
        list.push('The journal cannot be written: rounds since the last checkpoint would be lost with the server.');
    return list;
}

function warnings(status) {
    const list = [];
    if (status.live === 0 && status.stage === 'running')
        list.push('Nobody is live: the job stands still until a worker comes.');
    for (const slot of status.slots ?? []) {
        if (slot.state === 'excluded')
            list.push(`${slotName(slot)} is excluded: what it votes does not count (server.quarantine).`);
        else if (slot.suspected)
            list.push(`${slotName(slot)} is suspected: its votes oppose the others', but they still count.`);
    }
    if (status.keep)
        list.push(...keepWarnings(status.keep));
    if (status.security?.insecure)
        list.push(`Not secure: ${status.security.words}`);
    return list;
}

function showWarnings(status) {
    const list = warnings(status);
    setShown(byId('warnings-section'), list.length > 0);
    fillList(byId('warnings'), list, () => make('li'), setText);
}

// lost: {since, nextAt, why}, or null
function showLost(lost, status, paused) {
    setShown(byId('lost'), lost !== null);
    if (lost === null)
        return;
    const ended = status !== null && mayHaveEnded(status);
    const seconds = Math.max(0, Math.ceil((lost.nextAt - Date.now()) / 1000));
    const next = seconds > 0 ? `Next try in ${seconds} s.` : 'Trying now.';
    setText(byId('lost-title'), ended ? 'The server is gone, as it is when its job has ended.' : 'The server does not answer.');
    setText(byId('lost-words'), `Since ${clock(lost.since)}, ${duration((Date.now() - lost.since) / 1000)} ago (${lost.why}). ` +
        `${status !== null ? 'What you see is from before. ' : ''}${paused ? '' : next}`);
    byId('lost').classList.toggle('bad', !ended);
}
