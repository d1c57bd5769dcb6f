// How lines look. Each has a pattern of dashes or a hatching of its own beside its colour, in the chart and its legend.

const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

// The theme's colours, read from the style sheet once for each theme.
let colours = {};

function readColours() {
    const style = getComputedStyle(document.documentElement);
    const names = ['line-1', 'line-2', 'line-3', 'line-4', 'text', 'muted', 'grid', 'card'];
    colours = Object.fromEntries(names.map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
    hatchings.clear();
}

const hatchings = new Map();

// kind 0: plain, 1: diagonals, 2: dots
function drawHatching(c, kind, size) {
    if (kind === 1) {
        c.beginPath();
        for (const x of [-size / 2, size / 2, size * 1.5]) {
            c.moveTo(x - size / 2 - 1, size + 1);
            c.lineTo(x + size / 2 + 1, -1);
        }
        c.stroke();
    } else if (kind === 2) {
        c.beginPath();
        c.arc(size / 2, size / 2, size / 6, 0, 2 * Math.PI);
        c.fill();
    }
}

// What fills the area under a line: its colour, pale, with its hatching.
function hatching(context, colour, kind) {
    const key = `${colour} ${kind} ${devicePixelRatio}`;
    if (!hatchings.has(key)) {
        const size = Math.round(8 * devicePixelRatio);
        const canvas = make('canvas');
        canvas.width = canvas.height = size;
        const c = canvas.getContext('2d');
        c.fillStyle = c.strokeStyle = colour;
        c.globalAlpha = 0.22;
        c.fillRect(0, 0, size, size);
        c.globalAlpha = 0.6;
        c.lineWidth = devicePixelRatio;
        drawHatching(c, kind, size);
        hatchings.set(key, context.createPattern(canvas, 'repeat'));
    }
    return hatchings.get(key);
}

// A line's sample in the legend.
function drawSample(canvas, line) {
    const wide = 26;
    const high = 12;
    canvas.width = wide * devicePixelRatio;
    canvas.height = high * devicePixelRatio;
    const c = canvas.getContext('2d');
    const colour = colours[line.colour];
    if (line.hatching !== undefined) {
        c.fillStyle = hatching(c, colour, line.hatching);
        c.fillRect(0, 0, canvas.width, canvas.height);
    }
    c.scale(devicePixelRatio, devicePixelRatio);
    c.strokeStyle = c.fillStyle = colour;
    c.lineWidth = line.width ?? 2;
    c.setLineDash(line.dash);
    c.beginPath();
    c.moveTo(0, line.hatching !== undefined ? 1 : high / 2);
    c.lineTo(wide, line.hatching !== undefined ? 1 : high / 2);
    c.stroke();
    if (line.sparse) {
        c.beginPath();
        c.arc(wide / 2, high / 2, 3, 0, 2 * Math.PI);
        c.fill();
    }
}
