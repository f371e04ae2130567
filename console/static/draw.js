// What is drawn: elements, tables, plots. Text is always text, never markup.

export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) e.setAttribute(key, value === true ? '' : value);
  }
  e.append(...children.filter(child => child != null));
  return e;
}

export const number = n => (n ?? 0).toLocaleString('en', { maximumFractionDigits: 1 });

export function bytes(n) {
  if (n == null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${number(n)} ${units[i]}`;
}

export function seconds(s) {
  if (s == null || Number.isNaN(s)) return '–';
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${number(s * 1000)} ms`;
  if (s < 90) return `${number(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${number(s / 3600)} h`;
}

export const share = (part, all) => (all > 0 ? `${number((100 * part) / all)} %` : '–');

// plotted is of how many seconds a plot is.
export const plotted = 120;

// plot draws values at their times as a line, the newest at the right.
export function plot(points, label) {
  const top = Math.max(1, ...points.map(p => p.value));
  const now = points.at(-1)?.time;
  const d = points.map((p, i) => `${i ? 'L' : 'M'}${(100 - (100 * (now - p.time)) / plotted).toFixed(1)},${(30 - (28 * p.value) / top).toFixed(1)}`).join('');
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  const path = document.createElementNS(ns, 'path');
  for (const [key, value] of Object.entries({ class: 'plot', viewBox: '0 0 100 32', preserveAspectRatio: 'none', role: 'img', 'aria-label': label })) svg.setAttribute(key, value);
  path.setAttribute('d', d || 'M0,30');
  svg.append(path);
  return svg;
}

// mix draws shares of a whole.
export function mix(parts) {
  const some = Object.entries(parts).filter(([, n]) => n > 0);
  const sum = some.reduce((a, [, n]) => a + n, 0);
  if (!sum) return el('p', { class: 'none' }, 'None yet.');
  const bar = el('div', { class: 'bar', 'aria-hidden': 'true' });
  for (const [, n] of some) {
    const piece = el('span');
    piece.style.flexGrow = n; // not an attribute, which the policy forbids
    bar.append(piece);
  }
  return el('div', {}, bar, el('ul', { class: 'key' }, ...some.map(([name, n]) => el('li', {}, el('i', { 'aria-hidden': 'true' }), `${name} ${number(n)} (${share(n, sum)})`))));
}

const orders = new Map(); // by the name of a table: column and direction
const filters = new Map();

// table draws rows of columns {name, of, show, num, wrap, is}; more is called to draw anew.
export function table(name, columns, rows, { none = 'None.', note = '', more }) {
  const order = orders.get(name) ?? { column: 0, down: false };
  const filter = filters.get(name) ?? '';
  let shown = rows;
  if (filter) shown = shown.filter(row => columns.some(c => `${c.of(row) ?? ''} ${c.show?.(row) ?? ''}`.toLowerCase().includes(filter.toLowerCase())));
  if (orders.has(name)) {
    const { of } = columns[order.column];
    shown = [...shown].sort((a, b) => {
      const [x, y] = [of(a) ?? '', of(b) ?? ''];
      const less = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y), 'en', { numeric: true });
      return order.down ? -less : less;
    });
  }
  const head = columns.map((c, i) => {
    const sort = orders.has(name) && order.column === i ? (order.down ? 'descending' : 'ascending') : false;
    const press = () => {
      orders.set(name, { column: i, down: orders.has(name) && order.column === i ? !order.down : Boolean(c.num) });
      more();
    };
    return el('th', { scope: 'col', class: c.num ? 'num' : false, 'aria-sort': sort }, el('button', { type: 'button', onclick: press, 'data-key': `${name} ${i}` }, c.name));
  });
  const body = shown.map(row =>
    el('tr', {}, ...columns.map(c => el('td', { class: [c.num && 'num', c.wrap && 'wrap', c.is?.(row)].filter(Boolean).join(' ') || false }, c.show ? c.show(row) : String(c.of(row) ?? '–')))));
  const find = el('input', {
    type: 'search', placeholder: 'Filter', 'aria-label': `Filter ${name}`, value: filter, 'data-key': `${name} filter`,
    oninput: event => { filters.set(name, event.target.value); more(); },
  });
  return el('section', { 'aria-label': name },
    el('div', { class: 'head' }, el('h2', {}, `${name} `, el('span', { class: 'soft' }, shown.length === rows.length ? number(rows.length) : `${number(shown.length)} of ${number(rows.length)}`)),
      note ? el('p', { class: 'note' }, note) : null, find),
    body.length
      ? el('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': `${name}, table`, 'data-key': `${name} table` }, el('table', {}, el('caption', {}, name), el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...body)))
      : el('p', { class: 'none' }, rows.length ? 'No row matches the filter.' : none));
}
