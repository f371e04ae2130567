// The demonstration: what each reader has of the one stream, and what is done to its network.
import { ask, token } from './feed.js';
import { el, number } from './draw.js';
import { readers } from './readers.js';

const at = id => document.getElementById(id);
const pace = 100; // ms from one price to the next
const shown = 150; // prices a lane shows: 15 s
const late = 500; // ms

let path; // of this demonstration, below that of the page
let cutting = false; // not all have come back
let sent = 0; // the number of the newest price that anybody has heard of
const heard = new Map(); // when of each price, of those that are shown

const lanes = Object.entries(readers).map(([id, how]) => new Lane(id, how));

function Lane(id, how) {
  Object.assign(this, {
    id, how, state: 'connecting', first: 0, last: 0, received: 0, lost: 0, twice: 0,
    broken: false, back: 0, resumed: null, slow: false, fates: new Map(),
  });
  this.open = () => { this.state = 'reading'; };
  this.broke = () => { this.state = 'coming back'; this.broken = true; };
  this.event = ({ n }) => this.take(n);
}

// hear notes that the prices up to n were sent.
function hear(n) {
  if (n <= sent) return;
  const now = performance.now();
  for (let one = Math.max(sent + 1, n - shown); one <= n; one++) heard.set(one, now);
  for (const one of heard.keys()) if (one < n - shown) heard.delete(one);
  sent = n;
}

Lane.prototype.take = function (n) {
  const now = performance.now();
  hear(n);
  if (!this.first) { this.first = n; this.last = n - 1; }
  this.state = 'reading';
  if (this.broken && now >= this.back) {
    this.resumed = this.back ? now - this.back : null;
    this.broken = false;
    this.back = 0;
  }
  if (n <= this.last) {
    this.twice++;
    this.fates.set(n, 'twice');
    return;
  }
  for (let missed = Math.max(this.last + 1, n - shown); missed < n; missed++) this.fates.set(missed, 'lost');
  this.lost += n - this.last - 1;
  this.received++;
  this.last = n;
  this.fates.set(n, now - (heard.get(n) ?? 0) > late ? 'late' : 'now');
};

// verdict says, once each reader is back, what the cut did.
function verdict() {
  if (!cutting || lanes.some(lane => lane.back)) return;
  cutting = false;
  const lost = plain => lanes.filter(lane => Boolean(lane.how.plain) === plain).reduce((n, lane) => n + lane.lost, 0);
  at('verdict').textContent = `All are back. Lost so far: ${number(lost(false))} by the readers with a cursor, ${number(lost(true))} by that of the plain proxy.`;
}

function press(button, act) {
  return async () => {
    button.disabled = true;
    at('trouble').textContent = '';
    try {
      const response = await act();
      if (!response.ok) throw new Error((await response.json()).detail);
    } catch (why) {
      at('trouble').textContent = why.message;
    }
    button.disabled = false;
  };
}

async function cut(some, seconds) {
  for (const lane of some) { lane.state = 'cut'; lane.broken = true; lane.back = Infinity; }
  const of = some.length === 1 ? `&reader=${some[0].id}` : '';
  let back = 0;
  try {
    const response = await fetch(`${path}/cut?seconds=${seconds}${of}`, { method: 'POST' });
    if (response.ok) {
      back = performance.now() + seconds * 1000;
      cutting = true;
      at('verdict').textContent = some.length === 1 ? `The network of ${some[0].how.name} is cut.` : 'The network is cut.';
    }
    return response;
  } finally { // one that failed is not waited for
    for (const lane of some) lane.back = back;
  }
}

async function slow(lane, on) {
  const response = await fetch(`${path}/slow?reader=${lane.id}&on=${on}`, { method: 'POST' });
  if (response.ok) lane.slow = on;
  return response;
}

// row makes a lane's row, once: what changes in it is written by draw.
function row(lane) {
  const cell = attributes => el('td', attributes);
  lane.cells = { state: cell({}) };
  for (const name of ['sent', 'received', 'lost', 'twice', 'behind', 'resumed']) lane.cells[name] = cell({ class: 'num', 'data-is': name });
  lane.canvas = el('canvas', { width: shown * 2, height: 20, class: 'lane', 'aria-hidden': 'true' });
  const cutOne = el('button', { type: 'button', 'aria-label': `Cut ${lane.how.name}` }, 'Cut');
  const slowOne = el('button', { type: 'button', 'aria-label': `Slow ${lane.how.name}`, 'aria-pressed': 'false' }, 'Slow');
  cutOne.onclick = press(cutOne, () => cut([lane], 2));
  slowOne.onclick = press(slowOne, async () => {
    const response = await slow(lane, !lane.slow);
    slowOne.setAttribute('aria-pressed', String(lane.slow));
    return response;
  });
  return el('tr', { 'data-reader': lane.id }, el('th', { scope: 'row' }, lane.how.name), ...Object.values(lane.cells),
    el('td', {}, lane.canvas), el('td', {}, el('div', { class: 'actions' }, cutOne, slowOne)));
}

function write(cell, text, is = '') {
  if (cell.textContent !== text) cell.textContent = text;
  cell.classList.toggle('bad', is === 'bad');
  cell.classList.toggle('good', is === 'good');
  cell.classList.toggle('warn', is === 'warn');
}

function draw() {
  const colors = Object.fromEntries(['now', 'late', 'lost', 'twice'].map(fate => [fate, getComputedStyle(document.querySelector(`.lanes .${fate}`), '::before').color]));
  verdict();
  at('sent').textContent = number(sent);
  for (const lane of lanes) {
    const { cells } = lane;
    const behind = lane.first ? Math.max(0, sent - lane.last) : 0;
    write(cells.state, lane.slow && lane.state === 'reading' ? 'reading slowly' : lane.state, lane.state === 'reading' ? 'good' : 'warn');
    write(cells.sent, number(lane.first ? sent - lane.first + 1 : 0));
    write(cells.received, number(lane.received));
    write(cells.lost, number(lane.lost), lane.lost ? 'bad' : 'good');
    write(cells.twice, number(lane.twice), lane.twice ? 'bad' : 'good');
    write(cells.behind, number(behind), behind > 5 ? 'warn' : '');
    write(cells.resumed, lane.resumed == null ? '–' : `${number(Math.round(lane.resumed))} ms`);
    drawLane(lane, colors);
  }
}

function drawLane(lane, colors) {
  const pen = lane.canvas.getContext('2d');
  const { width, height } = lane.canvas;
  const quiet = performance.now() - (heard.get(sent) ?? 0);
  const newest = sent + Math.min(late / pace, Math.floor(quiet / pace)); // while nothing is heard it goes on a little
  pen.clearRect(0, 0, width, height);
  for (const [n, fate] of lane.fates) {
    const i = shown - 1 - (newest - n);
    if (i < 0) {
      lane.fates.delete(n);
      continue;
    }
    pen.fillStyle = colors[fate];
    const tall = fate === 'now' ? 0.5 : 1; // not by the color alone
    pen.fillRect(i * 2, fate === 'lost' ? 0 : height * (1 - tall), 1.6, fate === 'lost' ? height * 0.3 : height * tall);
  }
}

function failed(why) {
  at('state').dataset.is = 'lost';
  at('state').textContent = why.message;
}

// askToken returns once a token is given. Who leaves the dialog is asked again by a button.
function askToken() {
  failed(new Error('a token is needed'));
  const [dialog, give] = [at('dialog'), at('give-token')];
  return new Promise(done => {
    const open = () => {
      give.hidden = true;
      dialog.returnValue = '';
      dialog.showModal();
    };
    give.onclick = open;
    dialog.onclose = () => {
      if (dialog.returnValue !== 'given') {
        give.hidden = false;
        return;
      }
      token.set(at('token').value);
      at('token').value = '';
      done();
    };
    open();
  });
}

async function start() {
  for (;;) {
    const response = await ask('../demo/start', { method: 'POST' });
    if (response.ok) return (await response.json()).key;
    if (response.status !== 401) throw new Error(response.status === 404 ? 'The demonstration is there when the server is started without a configuration and has a listener without TLS.' : `the server answers ${response.status}`);
    await askToken();
  }
}

// watch asks what has been sent, which no reader may have seen.
async function watch() {
  for (;;) {
    try {
      const response = await fetch(`${path}/state`);
      if (response.status === 404) throw new Error('this demonstration has ended; load the page again');
      hear((await response.json()).sent);
      at('state').dataset.is = 'live';
      if (at('state').textContent !== 'live') at('state').textContent = 'live';
    } catch (why) {
      failed(why);
    }
    await new Promise(done => setTimeout(done, 500));
  }
}

at('readers').append(...lanes.map(row));
try {
  path = `../demo/${await start()}`;
  for (const lane of lanes) lane.how.read(`${path}/${lane.id}`, lane);
  at('cut').onclick = press(at('cut'), () => cut(lanes, 2));
  at('cut').disabled = false;
  setInterval(draw, pace);
  await watch();
} catch (why) {
  failed(why);
}
