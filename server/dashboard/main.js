// Wires the page up: what the server says to what is shown; keys and buttons.

let status = null;
let lost = null;
let paused = false;

const hears = {
    status(said) {
        status = said;
        setShown(byId('token-form'), false);
        document.body.classList.remove('bare');
        showSwitches(said.switches);
        showHead(said);
        showProgress(said);
        showSwitch(said, server.series.points);
        showWarnings(said);
        showTable(Array.isArray(said.slots) ? said.slots : []);
    },
    points(points) {
        showPoints(points);
        if (status !== null)
            showSwitch(status, points);
    },
    lost(now) {
        lost = now;
        showLost(lost, status, paused);
    },
    unauthorized(tried) {
        const form = byId('token-form');
        setText(byId('token-wrong'), tried ? 'The server does not take that token.' : '');
        setShown(byId('token-wrong'), tried);
        if (form.hidden) {
            form.hidden = false;
            byId('token').focus();
        }
    },
};

const server = new Server(hears);

function isAwaitingToken() {
    return !byId('token-form').hidden;
}

function useToken(token) {
    server.useToken(token);
    if (!paused)
        server.wake();
}

function askOrSleep() {
    if (paused || document.hidden)
        server.sleep();
    else if (!isAwaitingToken())
        server.wake();
}

function togglePause() {
    paused = !paused;
    setText(byId('pause'), paused ? 'Go on' : 'Pause');
    setAttribute(byId('pause'), 'aria-pressed', paused);
    setShown(byId('paused'), paused);
    askOrSleep();
}

function setTheme(theme) {
    setAttribute(document.documentElement, 'data-theme', theme);
    setText(byId('theme'), theme === 'dark' ? 'Light' : 'Dark');
    if (charts.length > 0)
        restyleCharts();
}

function toggleTheme() {
    const theme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
    remember(localStorage_, 'signpost-theme', theme);
    setTheme(theme);
}

// The system's choice, until the reader has made one.
function followSystem() {
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const follow = () => {
        const chosen = remembered(localStorage_, 'signpost-theme');
        setTheme(chosen === 'dark' || chosen === 'light' ? chosen : dark.matches ? 'dark' : 'light');
    };
    dark.addEventListener('change', follow);
    follow();
}

function toggleHelp() {
    const box = byId('help-box');
    if (box.open)
        box.close();
    else
        box.showModal();
}

const KEYS = { p: togglePause, r: () => zoom(null), t: toggleTheme, '?': toggleHelp };

function listen() {
    byId('pause').addEventListener('click', togglePause);
    byId('reset').addEventListener('click', () => zoom(null));
    byId('theme').addEventListener('click', toggleTheme);
    byId('help').addEventListener('click', toggleHelp);
    byId('retry').addEventListener('click', () => server.wake());
    document.addEventListener('visibilitychange', askOrSleep);
    document.addEventListener('keydown', event => {
        const typing = event.target instanceof HTMLInputElement;
        if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key))
            return;
        event.preventDefault();
        KEYS[event.key]();
    });
    byId('token-form').addEventListener('submit', event => {
        event.preventDefault();
        useToken(byId('token').value.trim());
        byId('token').value = '';
    });
    addEventListener('hashchange', () => {
        const token = takeToken();
        if (token !== null && token !== server.token)
            useToken(token);
    });
    setInterval(() => showLost(lost, status, paused), 1000);
}

followSystem();
buildTable();
buildCharts();
listen();
askOrSleep();
