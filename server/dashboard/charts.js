// Charts over the rounds, drawn by uPlot. They share the cursor and the zoom.

const PLOT_HEIGHT = 206;
const AXIS_WIDTH = 54;
const LABEL_ROOM = 18; // above the plot, for the names of phases
const TICK_FONT = '11px system-ui, sans-serif';

const charts = [];
let zoomed = null; // [first, last] round, or null for the whole job
let switches = []; // the status' list: {round, to, ...}

// The rounds that are seen. One point alone gets some room, too.
function shownRounds(u, min, max) {
    if (zoomed !== null)
        return zoomed;
    if (min === null || max === null)
        return [0, 10];
    return max - min < 1 ? [min - 1, max + 1] : [min, max];
}

function zoom(range) {
    zoomed = range;
    for (const chart of charts)
        chart.plot.setData(chart.plot.data);
}

function linearRange(scale) {
    return (u, min, max) => {
        if (min === null || max === null)
            return [0, 1];
        const low = scale.zero ? 0 : min;
        const room = Math.max(max - low, Math.abs(max) * 0.02, 1e-12) * 0.08;
        const top = max + room;
        return [scale.zero ? 0 : Math.max(scale.least ?? -Infinity, low - room), Math.min(scale.most ?? Infinity, top)];
    };
}

// At least a factor of four, so that some ticks lie in it.
function logRange(u, min, max) {
    if (min === null || max === null)
        return [0.1, 1];
    const room = Math.max(1.15, Math.sqrt(4 * min / max));
    return [min / room, max * room];
}

// Some eight ticks at most, by how many decades are seen.
function logTicks(u, axis, min, max) {
    const decades = Math.log10(max / min);
    const steps = decades < 1 ? [1, 1.5, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
    const every = Math.max(1, Math.ceil(decades / 8));
    const ticks = [];
    for (let ten = Math.floor(Math.log10(min)); ten <= Math.log10(max); ten++) {
        if (ten % every === 0)
            ticks.push(...steps.map(step => Number(`${step}e${ten}`)).filter(tick => tick >= min && tick <= max));
    }
    return ticks;
}

function scaleOptions(scale) {
    return scale.log ? { distr: 3, log: 10, range: logRange } : { range: linearRange(scale) };
}

// The axis has the colour of its line where there are two axes.
function axisOptions(name, scale, line) {
    return {
        scale: name,
        side: scale.right ? 1 : 3,
        size: AXIS_WIDTH,
        font: TICK_FONT,
        stroke: () => colours[line?.colour ?? 'muted'],
        grid: { show: !scale.right, stroke: () => colours.grid, width: 1 },
        ticks: { show: false },
        space: 34,
        ...(scale.log ? { splits: logTicks, filter: (u, ticks) => ticks } : {}),
        values: (u, ticks) => ticks.map(tick => tick === null ? '' : (scale.tick ?? short)(tick)),
    };
}

function roundAxis() {
    return {
        font: TICK_FONT,
        size: 20,
        gap: 3,
        space: 64,
        incrs: Array.from({ length: 27 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3)),
        stroke: () => colours.muted,
        grid: { stroke: () => colours.grid, width: 1 },
        ticks: { show: false },
        values: (u, ticks) => ticks.map((tick, i) => (i === Math.min(1, ticks.length - 1) ? `round ${roundTick(tick)}` : roundTick(tick))),
    };
}

// Evaluations are marked, unless there are so many that the marks would hide the line.
function fewPoints(u, series) {
    return u.data[series].reduce((count, value) => count + (value !== null ? 1 : 0), 0) <= 60;
}

function lineOptions(line) {
    return {
        label: line.name,
        scale: line.scale ?? 'y',
        stroke: () => colours[line.colour],
        fill: line.hatching !== undefined ? u => hatching(u.ctx, colours[line.colour], line.hatching) : undefined,
        width: line.width ?? 2,
        dash: line.dash,
        spanGaps: line.sparse === true,
        pxAlign: 0,
        points: { size: 7, width: 1.5, fill: () => colours.card, ...(line.sparse ? { show: fewPoints } : {}) },
    };
}

// A dashed line between the last round of a phase and the first of the next, with the name of the next above it.
function drawSwitches(u) {
    const c = u.ctx;
    const { left, top, width, height } = u.bbox;
    c.save();
    c.font = `600 ${11 * devicePixelRatio}px system-ui, sans-serif`;
    c.fillStyle = c.strokeStyle = colours.text;
    c.lineWidth = devicePixelRatio;
    c.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    c.textBaseline = 'bottom';
    for (const one of switches) {
        const x = u.valToPos(one.round + 0.5, 'x', true);
        if (!(x >= left && x <= left + width))
            continue;
        c.beginPath();
        c.moveTo(x, top - 2 * devicePixelRatio);
        c.lineTo(x, top + height);
        c.stroke();
        const share = (x - left) / width;
        c.textAlign = share < 0.1 ? 'left' : share > 0.9 ? 'right' : 'center';
        c.fillText(`to ${String(one.to).slice(0, 10)}`, x, top - 3 * devicePixelRatio);
    }
    c.restore();
}

// What is drawn of a point: nothing that a logarithm does not have.
function drawable(value, scale) {
    return isKnown(value) && (!scale.log || value > 0) ? value : null;
}

class Chart {
    constructor(about, parent) {
        this.about = about;
        this.scales = about.scales;
        this.points = [];
        this.build(parent);
        this.plot = new uPlot(this.options(), this.columns(), this.box);
        this.watch();
        charts.push(this);
    }

    build(parent) {
        const title = make('h3', { text: this.about.title }, make('span', { className: 'unit', text: this.about.unit }));
        this.samples = this.about.lines.map(() => make('canvas', { className: 'sample' }));
        this.values = this.about.lines.map(() => make('b', { text: UNKNOWN }));
        this.at = make('b', { text: UNKNOWN });
        const entries = this.about.lines.map((line, i) =>
            make('li', {}, this.samples[i], make('span', { text: line.name }), this.values[i]));
        const at = make('li', { className: 'at' }, make('span', { text: 'round' }), this.at);
        this.legend = make('ul', { className: 'legend' }, at, ...entries);
        this.box = make('div', { className: 'plot' });
        this.box.tabIndex = 0;
        this.box.setAttribute('role', 'img');
        this.empty = make('p', { className: 'empty' });
        this.words = make('p', { className: 'words' });
        const sentence = make('p', { className: 'about', text: this.about.sentence });
        const card = make('article', { className: 'card' }, title, this.legend,
            make('div', { className: 'holder' }, this.box, this.empty), this.words, sentence);
        card.id = `chart-${this.about.id}`;
        parent.append(card);
    }

    options() {
        const names = Object.keys(this.scales);
        const hasRight = names.some(name => this.scales[name].right);
        return {
            width: this.box.clientWidth || 320,
            height: PLOT_HEIGHT,
            padding: [LABEL_ROOM, hasRight ? 0 : 14, 0, 0],
            legend: { show: false },
            cursor: {
                sync: {
                    key: 'signpost',
                    setSeries: false,
                    scales: ['x', null],
                    filters: { pub: type => type === 'mousemove' || type === 'mouseleave' },
                },
                drag: { x: true, y: false, setScale: false },
                points: { size: 8, fill: (u, i) => colours[this.about.lines[i - 1].colour] },
                bind: { dblclick: () => () => { zoom(null); } },
            },
            scales: {
                x: { time: false, range: shownRounds },
                ...Object.fromEntries(names.map(name => [name, scaleOptions(this.scales[name])])),
            },
            axes: [roundAxis(), ...names.map(name => axisOptions(name, this.scales[name], hasRight ? this.lineOf(name) : undefined))],
            series: [{}, ...this.about.lines.map(lineOptions)],
            bands: this.about.stacked ? this.about.lines.slice(1).map((_, i) => ({ series: [i + 1, i + 2] })) : undefined,
            hooks: {
                draw: [drawSwitches],
                setCursor: [() => this.showValues()],
                setSelect: [u => this.select(u)],
            },
        };
    }

    lineOf(scale) {
        return this.about.lines.find(line => (line.scale ?? 'y') === scale);
    }

    watch() {
        new ResizeObserver(() => {
            const width = this.box.clientWidth;
            if (width > 0 && width !== this.plot.width)
                this.plot.setSize({ width, height: PLOT_HEIGHT });
        }).observe(this.box);
        this.box.addEventListener('keydown', event => this.key(event));
        this.box.addEventListener('blur', () => this.plot.setCursor({ left: -10, top: -10 }, true, true));
    }

    columns() {
        const rounds = this.points.map(point => point.round);
        const values = this.about.lines.map(line => this.points.map(point =>
            drawable((line.drawn ?? line.value)(point), this.scales[line.scale ?? 'y'])));
        return [rounds, ...values];
    }

    show(points) {
        this.points = points;
        const columns = this.columns();
        this.plot.setData(columns);
        const any = columns.slice(1).some(column => column.some(value => value !== null));
        setShown(this.empty, !any);
        setText(this.empty, this.about.empty ?? 'Nothing yet: the first rounds bring it.');
        setText(this.words, this.about.words?.(points) ?? '');
        setShown(this.words, this.words.textContent !== '');
        this.showValues();
        this.describe();
    }

    // Evaluations lie rounds apart: between them the last one holds.
    valueAt(line, i) {
        let value = i >= 0 ? line.value(this.points[i]) : null;
        for (let k = i - 1; line.sparse && !isKnown(value) && k >= 0; k--)
            value = line.value(this.points[k]);
        return isKnown(value) ? line.format(value) : UNKNOWN;
    }

    showValues() {
        const last = this.points.length - 1;
        const at = this.plot?.cursor.idx ?? last;
        const i = Math.min(at, last);
        setText(this.at, i >= 0 ? whole(this.points[i].round) : UNKNOWN);
        this.about.lines.forEach((line, k) => setText(this.values[k], this.valueAt(line, i)));
    }

    describe() {
        const last = this.points.length - 1;
        const values = this.about.lines.map(line => `${line.name} ${this.valueAt(line, last)}`).join(', ');
        const round = last >= 0 ? `at round ${this.points[last].round}: ${values}` : 'no rounds yet';
        setAttribute(this.box, 'aria-label', `Chart of ${this.about.title.toLowerCase()}, ${this.about.unit}; ${round}`);
    }

    select(u) {
        const { left, width } = u.select;
        if (width > 4)
            zoom([u.posToVal(left, 'x'), u.posToVal(left + width, 'x')]);
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    }

    key(event) {
        const last = this.points.length - 1;
        const step = event.shiftKey ? 10 : 1;
        const at = this.plot.cursor.idx ?? last;
        const to = { ArrowLeft: at - step, ArrowRight: at + step, Home: 0, End: last }[event.key];
        if (to !== undefined && last >= 0 && !event.ctrlKey && !event.metaKey && !event.altKey)
            this.moveCursor(Math.min(Math.max(to, 0), last));
        else if (event.key === '+' || event.key === '-')
            this.zoomAround(at, event.key === '+' ? 0.5 : 2);
        else
            return;
        event.preventDefault();
    }

    moveCursor(i) {
        const left = this.plot.valToPos(this.points[i].round, 'x');
        this.plot.setCursor({ left, top: PLOT_HEIGHT / 4 }, true, true);
    }

    zoomAround(i, factor) {
        const last = this.points.length - 1;
        if (last < 1)
            return;
        const { min, max } = this.plot.scales.x;
        const [first, end] = [this.points[0].round, this.points[last].round];
        const half = Math.max((max - min) * factor / 2, 1);
        const middle = this.points[Math.min(Math.max(i, 0), last)].round;
        if (2 * half >= end - first)
            zoom(null);
        else
            zoom([Math.max(first, middle - half), Math.min(end, middle + half)]);
        // uPlot takes the new scale at the end of this task.
        queueMicrotask(() => this.moveCursor(Math.min(Math.max(i, 0), last)));
    }

    restyle() {
        this.about.lines.forEach((line, i) => drawSample(this.samples[i], line));
        this.plot.redraw();
    }
}

function showPoints(points) {
    for (const chart of charts)
        chart.show(points);
}

function showSwitches(list) {
    const before = JSON.stringify(switches);
    switches = (Array.isArray(list) ? list : []).filter(one => isKnown(one?.round));
    if (JSON.stringify(switches) === before)
        return;
    for (const chart of charts)
        chart.show(chart.points);
}

function restyleCharts() {
    readColours();
    for (const chart of charts)
        chart.restyle();
}
