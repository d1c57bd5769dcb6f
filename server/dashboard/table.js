// The workers, a row for each slot.

const COLUMNS = [
    ['slot', 'Slot', slot => whole(slot.slot)],
    ['host', 'Host', slot => slot.host ?? UNKNOWN],
    ['state', 'State', stateWords],
    ['latency', 'Latency', slot => milliseconds(slot.latency_ms)],
    ['last', 'Last', slot => whole(slot.last)],
    ['votes', 'Votes', slot => whole(slot.votes)],
    ['missed', 'Missed', slot => whole(slot.missed)],
    ['disagreement', 'Disagreement', slot => percent(slot.disagreement)],
    ['silent', 'Silent', slot => (isKnown(slot.silent_seconds) ? milliseconds(1000 * slot.silent_seconds) : UNKNOWN)],
];

function stateWords(slot) {
    const words = [slot.behind ? 'behind' : slot.state ?? UNKNOWN];
    if (slot.suspected)
        words.push('suspected');
    return words.join(', ');
}

// Some roles are said again, for on a phone the style sheet turns rows into blocks, which makes browsers forget them.
function buildTable() {
    const table = byId('workers');
    table.setAttribute('role', 'table');
    const head = make('tr');
    head.setAttribute('role', 'row');
    for (const [name, title] of COLUMNS) {
        const cell = make('th', { text: title, className: name });
        cell.scope = 'col';
        cell.setAttribute('role', 'columnheader');
        head.append(cell);
    }
    table.tHead.append(head);
}

function makeRow() {
    const row = make('tr');
    row.setAttribute('role', 'row');
    for (const [name, title] of COLUMNS) {
        const cell = make('td', { className: name }, make('span'));
        cell.setAttribute('role', 'cell');
        cell.dataset.title = title;
        if (name === 'latency') {
            const track = make('div', { className: 'track' }, make('div'));
            track.setAttribute('aria-hidden', 'true');
            cell.append(make('em'), track);
        }
        row.append(cell);
    }
    return row;
}

const STANDS_OUT = 1.5; // times the median, as in the terminal's view

// The slot with the largest latency; `far` if it stands out. null if there are none to compare.
function slowestOf(slots) {
    const timed = slots.filter(slot => isKnown(slot.latency_ms) && slot.state !== 'empty' && slot.state !== 'excluded').sort((a, b) => a.latency_ms - b.latency_ms);
    if (timed.length < 2)
        return null;
    const slot = timed.at(-1);
    const times = slot.latency_ms / timed[Math.floor((timed.length - 1) / 2)].latency_ms;
    return { slot, times, far: times >= STANDS_OUT };
}

function slowestWords(slowest) {
    return isKnown(slowest.times) ? `slowest, ${plain(slowest.times)} times the median` : 'slowest';
}

function fillLatency(cell, slot, slowest) {
    const [, mark, track] = cell.children;
    const most = slowest?.slot.latency_ms;
    setText(mark, slot === slowest?.slot && slowest.far ? slowestWords(slowest) : '');
    track.firstElementChild.style.width = isKnown(slot.latency_ms) && most > 0 ? `${100 * slot.latency_ms / most}%` : '0';
}

function rowClass(slot, slowest) {
    if (slot.state === 'empty')
        return 'empty-slot';
    return slot === slowest?.slot && slowest.far ? 'far' : '';
}

function showTable(slots) {
    const slowest = slowestOf(slots);
    fillList(byId('workers').tBodies[0], slots, makeRow, (row, slot) => {
        COLUMNS.forEach(([name, , words], i) => {
            setText(row.children[i].firstElementChild, words(slot));
            if (name === 'latency')
                fillLatency(row.children[i], slot, slowest);
        });
        setAttribute(row, 'class', rowClass(slot, slowest));
    });
    const long = slots.length > 24;
    byId('scroll').classList.toggle('long', long);
    byId('scroll').tabIndex = long ? 0 : -1;
}
