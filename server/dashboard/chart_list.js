// Which charts there are: their lines, and a sentence that says what is seen and what is healthy.

// The lines' looks, by their place in the chart.
function look(i) {
    return { colour: `line-${i + 1}`, dash: DASHES[i] };
}

// A part of a stack is known by its hatching.
function stackLook(i) {
    return { colour: `line-${i + 1}`, dash: [], width: 1.5, hatching: i, format: milliseconds };
}

function key(name) {
    return point => point[name];
}

// Of all of them, or nothing.
function sum(...names) {
    return point => (names.every(name => isKnown(point[name])) ? names.reduce((total, name) => total + point[name], 0) : null);
}

const sentBytes = sum('bytes_pushed', 'bytes_updated');

// Each direction would have cost as much.
function float32Bytes(point) {
    return isKnown(point.bytes_float32) ? 2 * point.bytes_float32 : null;
}

function switchReasons() {
    return switches.map(one => `To ${one.to} after round ${whole(one.round)} (${one.reason ?? UNKNOWN}).`).join(' ');
}

function savedWords(points) {
    const last = points.at(-1);
    const sent = last && sentBytes(last);
    const float32 = last && float32Bytes(last);
    if (!isKnown(sent) || !isKnown(float32) || sent === 0)
        return '';
    const times = float32 / sent;
    return `${bytes(sent)} instead of ${bytes(float32)}: ${times >= 1 ? `${times.toPrecision(3)} times less` : 'more than float32'}.`;
}

const LEARNING_CHARTS = [
    {
        id: 'loss',
        title: 'Loss',
        unit: 'nats an example, log scale',
        sentence: 'How wrong the model is, on the examples it trains on and on test examples it never trains on. Healthy: both ' +
            'fall, fast at first. A test loss that rises while the other falls: the model learns by heart.',
        scales: { y: { log: true } },
        lines: [
            { name: 'training', value: key('train_loss'), format: plain, ...look(0) },
            { name: 'test', value: key('test_loss'), format: plain, sparse: true, ...look(1) },
        ],
        words: switchReasons,
    },
    {
        id: 'accuracy',
        title: 'Test accuracy',
        unit: '% of the test examples',
        sentence: 'How many of the test examples the model gets right. Healthy: it rises and levels off; if it drops at the ' +
            'switch, it is back within some rounds.',
        scales: { y: { least: 0, most: 1, tick: share => `${short(100 * share)} %` } },
        lines: [{ name: 'accuracy', value: key('test_accuracy'), format: x => percent(x, 2), sparse: true, ...look(0) }],
        empty: 'Nothing yet: the first evaluation brings it, in a job that has test data.',
    },
];

const SWITCH_CHARTS = [
    {
        id: 'lambda',
        title: 'Learning rate for SGD: lambda',
        unit: 'weight per unit of gradient, log scale',
        sentence: 'Three estimates of the rate at which SGD would go on, made while signs are voted on, and the rate in force ' +
            'after the switch. Healthy: ratio and denoised stay near each other; paper may jump late in training.',
        scales: { y: { log: true } },
        lines: [
            { name: 'paper', value: key('lambda_paper'), format: plain, ...look(2) },
            { name: 'ratio', value: key('lambda_ratio'), format: plain, ...look(1) },
            { name: 'denoised', value: key('lambda_denoised'), format: plain, ...look(3) },
            { name: 'in force', value: key('lambda'), format: plain, width: 3, ...look(0) },
        ],
    },
    {
        id: 'noise',
        title: 'Gradient noise and what is left to win',
        unit: 'examples; loss per unit of gamma; log scales',
        sentence: 'Noise scale: the batch at which noise and signal of the gradient are equal. Stationarity: the loss that a ' +
            'step would still win. Healthy: the noise scale grows and stationarity falls; then it is time for SGD.',
        scales: { y: { log: true }, right: { log: true, right: true } },
        lines: [
            { name: 'noise scale (left)', value: key('noise_scale'), format: plain, ...look(0) },
            { name: 'stationarity (right)', value: key('stationarity'), format: plain, scale: 'right', ...look(1) },
        ],
    },
];

const VOTE_CHARTS = [
    {
        id: 'votes',
        title: 'How clear the votes are',
        unit: '% of the weights',
        sentence: 'Margin: by how much the majority wins on average (100 %: all agree). Ties: weights with as many votes up as ' +
            'down. Flips: weights that now go the other way than a round ago. Healthy: slow changes; flips near 50 % with a ' +
            'low margin are votes by chance.',
        scales: { y: { zero: true, most: 1, tick: share => `${short(100 * share)} %` } },
        lines: [
            { name: 'margin', value: key('margin'), format: percent, ...look(0) },
            { name: 'ties', value: key('ties'), format: percent, ...look(1) },
            { name: 'flips', value: key('flips'), format: percent, ...look(2) },
        ],
        empty: 'Nothing yet: sign and margin rounds bring it.',
    },
    {
        id: 'schedule',
        title: 'Step and noise: gamma and sigma',
        unit: 'parts of the momentum; units of a weight',
        sentence: 'Sigma is the noise that workers add before they take a sign; gamma is how far a vote moves a weight. ' +
            'Healthy: both go by their schedules, as a rule down, without jumps.',
        scales: { y: { zero: true }, right: { zero: true, right: true } },
        lines: [
            { name: 'sigma (left)', value: key('sigma'), format: plain, ...look(0) },
            { name: 'gamma (right)', value: key('gamma'), format: plain, scale: 'right', ...look(1) },
        ],
        empty: 'Nothing yet: sign and margin rounds bring it.',
    },
];

const COST_CHARTS = [
    {
        id: 'bytes',
        title: 'Bytes sent',
        unit: 'bytes since the start, both ways',
        sentence: 'What pushes and updates took so far, beside what the same rounds would have taken in 32-bit floats. ' +
            'Healthy: far below. After the switch the line is steeper, for values are larger than signs.',
        scales: { y: { zero: true, tick: x => trimmed(bytes(x)) } },
        lines: [
            { name: 'sent', value: sentBytes, format: bytes, ...look(0) },
            { name: 'float32', value: float32Bytes, format: bytes, ...look(1) },
        ],
        words: savedWords,
    },
    {
        id: 'time',
        title: 'Where a round\'s time goes',
        unit: 'ms a round, stacked',
        sentence: 'Waiting for the workers, who compute and push meanwhile; counting their votes; sending the update. Healthy: ' +
            'mostly waiting, and steady. If it grows, the slowest worker in the table below tells why.',
        scales: { y: { zero: true, tick: x => trimmed(milliseconds(x)) } },
        stacked: true,
        lines: [
            { name: 'sending', value: key('send_ms'), drawn: sum('waiting_ms', 'tally_ms', 'send_ms'), ...stackLook(2) },
            { name: 'tally', value: key('tally_ms'), drawn: sum('waiting_ms', 'tally_ms'), ...stackLook(1) },
            { name: 'waiting', value: key('waiting_ms'), ...stackLook(0) },
        ],
    },
];

function buildCharts() {
    readColours();
    const places = { learning: LEARNING_CHARTS, switch: SWITCH_CHARTS, votes: VOTE_CHARTS, cost: COST_CHARTS };
    for (const [place, list] of Object.entries(places))
        list.forEach(about => new Chart(about, byId(`charts-${place}`)));
    restyleCharts();
}
