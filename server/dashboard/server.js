// What the server says: status and series, asked for once a second, and with growing pauses while it does not answer.

const PERIOD_MS = 1000;
const TIMEOUT_MS = 10000;
const LONGEST_PAUSE_MS = 15000;
// The server keeps 1024 points at most and merges neighbours when it has more. When we hold more than that, it has.
const POINTS_MAX = 1100;

// The points of the job's curve in the order of their rounds.
class Series {
    constructor() {
        this.points = [];
    }

    // The last point may have grown since, so it is asked for again.
    from() {
        const last = this.points.at(-1);
        return last === undefined || this.points.length > POINTS_MAX ? 0 : Math.max(0, (last.first ?? last.round) - 1);
    }

    // Points that a new one covers go, be it the last one as it was or some that the server has merged.
    take(points, from) {
        if (from === 0)
            this.points = [];
        for (const point of points) {
            const first = point.first ?? point.round;
            while (this.points.length > 0 && this.points.at(-1).round >= first)
                this.points.pop();
            this.points.push(point);
        }
    }
}

class Unauthorized extends Error {}

function parseLines(text) {
    const points = [];
    for (const line of text.split('\n')) {
        if (line.trim() === '')
            continue;
        const point = JSON.parse(line);
        if (isKnown(point?.round))
            points.push(point);
    }
    return points;
}

// hears: status(status), points(points), lost({since, nextAt, why} or null), unauthorized(tried)
class Server {
    constructor(hears) {
        this.hears = hears;
        this.series = new Series();
        this.pid = null;
        this.failures = 0;
        this.lostSince = null;
        this.timer = null;
        this.busy = false;
        this.asleep = true;
        this.token = takeToken();
    }

    // Asks for nothing while asleep; what is under way is finished.
    sleep() {
        this.asleep = true;
        clearTimeout(this.timer);
    }

    wake() {
        this.asleep = false;
        clearTimeout(this.timer);
        if (!this.busy)
            this.ask();
    }

    useToken(token) {
        this.token = token;
        keepToken(token);
    }

    async get(path) {
        const headers = this.token !== null ? { Authorization: `Bearer ${this.token}` } : {};
        const signal = AbortSignal.timeout(TIMEOUT_MS);
        const answer = await fetch(path, { headers, signal, cache: 'no-store', credentials: 'omit' }).catch(error => {
            throw error.name === 'TimeoutError' ? error : new Error('no connection');
        });
        if (answer.status === 401)
            throw new Unauthorized();
        if (!answer.ok)
            throw new Error(`it answers with code ${answer.status}: ${(await answer.text()).trim().slice(0, 200)}`);
        return answer.text();
    }

    async askStatus() {
        const status = JSON.parse(await this.get('status'));
        if (this.pid !== null && status.pid !== this.pid)
            this.series = new Series(); // another process: its curve begins anew
        this.pid = status.pid;
        this.hears.status(status);
    }

    async askSeries() {
        const series = this.series;
        const from = series.from();
        const points = parseLines(await this.get(`series?from=${from}`));
        if (series !== this.series)
            return;
        series.take(points, from);
        this.hears.points(series.points);
    }

    async ask() {
        const began = performance.now();
        this.busy = true;
        const [status, series] = await Promise.allSettled([this.askStatus(), this.askSeries()]);
        this.busy = false;
        const failed = [status, series].filter(one => one.status === 'rejected').map(one => one.reason);
        if (failed.some(reason => reason instanceof Unauthorized)) {
            this.sleep();
            this.found();
            this.hears.unauthorized(this.token !== null);
        } else if (failed.length > 0) {
            this.fail(failed[0]);
        } else {
            this.found();
            this.again(began + PERIOD_MS - performance.now());
        }
    }

    again(pause) {
        if (!this.asleep)
            this.timer = setTimeout(() => this.ask(), Math.max(0, pause));
    }

    found() {
        this.failures = 0;
        this.lostSince = null;
        this.hears.lost(null);
    }

    fail(reason) {
        const pause = Math.min(PERIOD_MS * 2 ** this.failures, LONGEST_PAUSE_MS);
        this.failures++;
        this.lostSince ??= new Date();
        this.hears.lost({ since: this.lostSince, nextAt: Date.now() + pause, why: reasonWords(reason) });
        this.again(pause);
    }
}

function reasonWords(reason) {
    if (reason.name === 'TimeoutError')
        return `no answer within ${TIMEOUT_MS / 1000} s`;
    if (reason instanceof SyntaxError || reason instanceof TypeError)
        return `this page does not understand its answer: ${reason.message}`;
    return reason.message;
}

// #token=... goes out of the address bar at once, so that it is in no bookmark and in no picture of the screen.
function takeToken() {
    const match = /^#token=(.+)$/.exec(location.hash);
    if (match === null)
        return remembered(sessionStorage_, 'signpost-token');
    history.replaceState(null, '', location.pathname + location.search);
    let token = match[1];
    try {
        token = decodeURIComponent(token);
    } catch {
        // Not encoded, then.
    }
    keepToken(token);
    return token;
}

function keepToken(token) {
    remember(sessionStorage_, 'signpost-token', token);
}

// A browser may refuse to remember anything: then the page does without.
const sessionStorage_ = () => window.sessionStorage;
const localStorage_ = () => window.localStorage;

function remembered(storage, key) {
    try {
        return storage().getItem(key);
    } catch {
        return null;
    }
}

function remember(storage, key, value) {
    try {
        storage().setItem(key, value);
    } catch {
        // Refused, or full.
    }
}
