// Numbers in plain units. What is unknown is a dash.

const UNKNOWN = '-';

function isKnown(x) {
    return typeof x === 'number' && Number.isFinite(x);
}

// Three digits that count: 0.0123, 12.3, 1,234; very small and very large ones as 1.23e-7.
function plain(x) {
    if (!isKnown(x))
        return UNKNOWN;
    const size = Math.abs(x);
    if (size === 0)
        return '0';
    if (size < 1e-4 || size >= 1e9)
        return x.toExponential(2);
    return size >= 1000 ? Math.round(x).toLocaleString('en') : x.toPrecision(3);
}

// For the ticks of an axis: as short as it can be.
function short(x) {
    const size = Math.abs(x);
    if (size >= 1e9)
        return x.toExponential(0);
    if (size >= 1e6)
        return `${Number((x / 1e6).toPrecision(4))}M`;
    if (size >= 1e4)
        return `${Number((x / 1e3).toPrecision(4))}k`;
    return size !== 0 && size < 1e-4 ? x.toExponential(0) : String(Number(x.toPrecision(4)));
}

// A round on its axis: all its digits, as neighbours may lie close together.
function roundTick(x) {
    if (x >= 1e6 && x % 1e5 === 0)
        return `${x / 1e6}M`;
    return x >= 1000 && x % 100 === 0 ? `${x / 1000}k` : whole(x);
}

function whole(x) {
    return isKnown(x) ? Math.round(x).toLocaleString('en') : UNKNOWN;
}

function oneDigit(x) {
    return isKnown(x) ? x.toLocaleString('en', { maximumFractionDigits: 1 }) : UNKNOWN;
}

function percent(share, digits = 1) {
    return isKnown(share) ? `${(100 * share).toFixed(digits)} %` : UNKNOWN;
}

// 5.00 MB as 5 MB, for ticks.
function trimmed(words) {
    return words.replace(/(\.\d*?)0+(?= )/, '$1').replace(/\.(?= )/, '');
}

function bytes(x) {
    if (!isKnown(x))
        return UNKNOWN;
    const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
    let unit = 0;
    while (Math.abs(x) >= 999.5 && unit < units.length - 1) {
        x /= 1000;
        unit++;
    }
    return `${unit === 0 ? Math.round(x) : x.toPrecision(3)} ${units[unit]}`;
}

function milliseconds(x) {
    if (!isKnown(x))
        return UNKNOWN;
    if (x >= 999.5)
        return duration(x / 1000);
    return x === 0 ? '0 ms' : `${x >= 100 ? Math.round(x) : x.toPrecision(2)} ms`;
}

// The two largest units: 45 s, 2 min 10 s, 3 h 5 min, 4 d 2 h.
function duration(seconds) {
    if (!isKnown(seconds) || seconds < 0)
        return UNKNOWN;
    if (seconds < 9.95)
        return `${seconds.toFixed(1)} s`;
    const s = Math.round(seconds);
    if (s < 60)
        return `${s} s`;
    const of = (large, name, small, smallName) => {
        const rest = Math.floor((s % large) / small);
        return `${Math.floor(s / large)} ${name}${rest > 0 ? ` ${rest} ${smallName}` : ''}`;
    };
    if (s < 3600)
        return of(60, 'min', 1, 's');
    return s < 86400 ? of(3600, 'h', 60, 'min') : of(86400, 'd', 3600, 'h');
}

function clock(date) {
    return date.toLocaleTimeString('en-GB');
}

function plural(count, one, many = `${one}s`) {
    return `${whole(count)} ${count === 1 ? one : many}`;
}
