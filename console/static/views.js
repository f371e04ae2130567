// The views: what of a snapshot is shown where.
import { bytes, el, mix, number, plot, plotted, seconds, share, table } from './draw.js';

const sum = (all, of) => all.reduce((n, one) => n + (of(one) ?? 0), 0);
const since = (s, at) => (Date.parse(s.now) - Date.parse(at)) / 1000;

// history has the last two minutes of what is plotted: times in seconds, and values.
const history = new Map();
function past(name, time, value) {
  const all = (history.get(name) ?? []).filter(one => one.time < time && time - one.time < plotted); // the server's clock may be set
  all.push({ time, value });
  history.set(name, all);
}

let before;
// note keeps what a snapshot adds to the plots.
export function note(s) {
  if (before?.now === s.now) return; // it was shown again
  const time = Date.parse(s.now) / 1000;
  const opened = sum(Object.values(s.listeners), l => sum(Object.values(l.open), n => n));
  past('connections', time, opened);
  past('sessions', time, s.sessions_total);
  past('in flight', time, sum(Object.values(s.in_flight), n => n));
  const took = before ? time - Date.parse(before.now) / 1000 : 0;
  if (s.events != null) past('events a second', time, took > 0 ? Math.max(0, (s.events - before.events) / took) : 0);
  before = s;
}

const card = (name, value, small, line) =>
  el('dl', { class: 'card' }, el('dt', {}, name), el('dd', {}, value, small ? el('small', {}, ` ${small}`) : null), line ? el('dd', {}, plot(history.get(line) ?? [], `${name}, the last two minutes`)) : null);

// counted is what is made of what metrics count; with "metrics: false" that is null.
const counted = (some, show) => (some == null ? ['–', 'not counted: metrics are off'] : show(some));
const notCounted = () => el('p', { class: 'none' }, 'Not counted: metrics are off.');

// listed says that there are more than are shown.
const listed = (shown, all, which) => (all > shown.length ? `${which} ${number(shown.length)} of ${number(all)}.` : '');

const last = name => history.get(name)?.at(-1)?.value ?? 0;

function overview(s) {
  const protocols = {};
  for (const l of Object.values(s.listeners)) for (const [p, n] of Object.entries(l.open)) protocols[p] = (protocols[p] ?? 0) + n;
  const out = s.pools.flatMap(p => p.endpoints).filter(e => e.state !== 'ok').length;
  return [
    el('div', { class: 'cards' },
      card('Connections', number(last('connections')), 'those of this page among them', 'connections'),
      card('Sessions', number(s.sessions_total), `${number(s.topics_total)} topics`, 'sessions'),
      card('Events a second', ...counted(s.events, () => [number(last('events a second')), '']), 'events a second'),
      card('In flight', number(last('in flight')), 'requests, streams', 'in flight'),
      card('Reuse', ...counted(s.reuse, r => [share(r.further, r.further + r.first), 'of requests on a kept connection'])),
      card('Compression saved', ...counted(s.compression, c => [share(c.before - c.after, c.before), bytes(c.before - c.after)])),
      card('Most behind', number(Math.max(0, ...s.sessions.map(x => x.lag))), 'events'),
      card('Endpoints out', number(out), `of ${sum(s.pools, p => p.endpoints_total)}`)),
    el('section', { 'aria-label': 'Protocols' }, el('div', { class: 'head' }, el('h2', {}, 'Protocols')), mix(protocols)),
    el('section', { 'aria-label': 'Transports' }, el('div', { class: 'head' }, el('h2', {}, 'Transports of readers')), mix(s.transports)),
    el('section', { 'aria-label': 'Why connections closed' }, el('div', { class: 'head' }, el('h2', {}, 'Why connections closed')), s.closed ? mix(s.closed) : notCounted()),
    el('section', { 'aria-label': 'Why sessions ended' }, el('div', { class: 'head' }, el('h2', {}, 'Why sessions ended')), s.ended ? mix(s.ended) : notCounted()),
  ];
}

const rtt = x => x.path?.rtt_seconds;

function connections(s, more) {
  return [
    table('Readers', [
      { name: 'Client', of: x => x.remote },
      { name: 'Transport', of: x => x.transport },
      { name: 'Topics', of: x => x.topics.map(t => t.topic).join(', ') + (x.topics_total > x.topics.length ? ` and ${number(x.topics_total - x.topics.length)} more` : ''), wrap: true },
      { name: 'Behind', num: true, of: x => x.lag, show: x => number(x.lag), is: x => (x.lag > 1000 ? 'bad' : x.lag > 100 ? 'warn' : '') },
      { name: 'Events', num: true, of: x => x.events, show: x => number(x.events) },
      { name: 'Gaps', num: true, of: x => x.gaps, is: x => (x.gaps ? 'warn' : '') },
      { name: 'Waiting', num: true, of: x => x.buffered_bytes + (x.unsent_bytes ?? 0), show: x => bytes(x.buffered_bytes + (x.unsent_bytes ?? 0)) },
      { name: 'RTT', num: true, of: rtt, show: x => seconds(rtt(x)) },
      { name: 'For', num: true, of: x => since(s, x.since), show: x => seconds(since(s, x.since)) },
      { name: 'Notice', of: x => x.notice ?? '', wrap: true, is: x => (x.notice ? 'warn' : '') },
    ], s.sessions, { none: 'Nobody reads a topic.', note: listed(s.sessions, s.sessions_total, 'Those furthest behind,'), more }),
    table('Connections', [
      { name: 'Client', of: x => x.remote },
      { name: 'Listener', of: x => x.listener },
      { name: 'Protocol', of: x => x.protocol },
      { name: 'TLS', of: x => (x.tls ? `${x.tls}${x.resumed ? ', resumed' : ''}` : '–') },
      { name: 'Requests', num: true, of: x => x.requests, show: x => number(x.requests) },
      { name: 'Active', num: true, of: x => x.active },
      { name: 'Idle', num: true, of: x => x.idle_seconds, show: x => (x.active ? '–' : seconds(x.idle_seconds)) },
      { name: 'RTT', num: true, of: rtt, show: x => seconds(rtt(x)) },
      { name: 'Sent again', num: true, of: x => x.path?.retransmits },
      { name: 'For', num: true, of: x => since(s, x.since), show: x => seconds(since(s, x.since)) },
      { name: 'Notice', of: x => x.notice ?? '', wrap: true, is: x => (x.notice ? 'warn' : '') },
    ], s.clients, { none: 'No connection.', note: `${listed(s.clients, s.clients_total, 'The newest')} Most of those of readers are above only.`, more }),
    table('Captured streams', [
      { name: 'Stream', of: x => x.stream },
      { name: 'State', of: x => x.state, is: x => (x.fault ? 'bad' : '') },
      { name: 'Fault', of: x => x.fault ?? '', wrap: true },
      { name: 'Events', num: true, of: x => x.events },
      { name: 'Bytes', num: true, of: x => x.bytes, show: x => bytes(x.bytes) },
      { name: 'Readers', num: true, of: x => x.readers },
      { name: 'Age', num: true, of: x => x.age_seconds, show: x => seconds(x.age_seconds) },
    ], s.captured, { none: 'Nothing is recorded.', note: listed(s.captured, s.captured_total, ''), more }),
  ];
}

function topics(s, more) {
  return [table('Topics', [
    { name: 'Topic', of: x => x.name, wrap: true },
    { name: 'Policy', of: x => x.policy },
    { name: 'Readers', num: true, of: x => x.readers },
    { name: 'Retained', num: true, of: x => x.events, show: x => number(x.events) },
    { name: 'Bytes', num: true, of: x => x.bytes, show: x => bytes(x.bytes) },
    { name: 'Ever', num: true, of: x => x.total, show: x => number(x.total) },
    { name: 'Skipped', num: true, of: x => x.skipped, show: x => number(x.skipped) },
    { name: 'Gaps', num: true, of: x => x.gaps, is: x => (x.gaps ? 'warn' : '') },
    { name: 'State', of: x => x.fault || (x.closed ? 'closed' : 'open'), is: x => (x.fault ? 'bad' : '') },
  ], s.topics, { none: 'No topic yet: the first publish makes one.', note: listed(s.topics, s.topics_total, 'The first'), more })];
}

function pools(s, more) {
  if (!s.pools.length) return [el('section', {}, el('p', { class: 'none' }, 'No upstream: this server has topics only.'))];
  return s.pools.flatMap(p => [
    table(`Pool ${p.name}`, [
      { name: 'Endpoint', of: x => x.endpoint, wrap: true },
      { name: 'State', of: x => x.state, is: x => (x.state === 'ok' ? 'good' : 'bad') },
      { name: 'Why', of: x => x.why ?? '', wrap: true },
      { name: 'Idle', num: true, of: x => x.idle },
      { name: 'Active', num: true, of: x => x.active },
      { name: 'Dialing', num: true, of: x => x.dialing },
      { name: 'Waiting', num: true, of: x => x.waiting, is: x => (x.waiting ? 'warn' : '') },
      { name: 'Requests', num: true, of: x => x.requests, show: x => number(x.requests) },
      { name: 'Latency', num: true, of: x => x.latency_seconds, show: x => (x.requests ? seconds(x.latency_seconds) : '–') },
      { name: 'Failures', num: true, of: x => x.failures, show: x => number(x.failures), is: x => (x.failures ? 'warn' : '') },
    ], p.endpoints, { more, note: `${listed(p.endpoints, p.endpoints_total, 'Those that are out first,')} Requests: ${number(p.requests)}, failed: ${number(p.failed)}, on a kept connection: ${share(p.reused, p.attempts)}.${p.suggest ? `\nTo size it: ${p.suggest.why}` : ''}` }),
    table(`Events of ${p.name}`, [
      { name: 'When', of: x => x.time, show: x => new Date(x.time).toLocaleTimeString() },
      { name: 'What', of: x => x.kind },
      { name: 'Endpoint', of: x => x.endpoint, wrap: true },
      { name: 'Why', of: x => [x.reason, x.why].filter(Boolean).join(': '), wrap: true },
    ], p.ring, { more, none: 'Nothing has happened.' }),
  ]);
}

function routes(s, more) {
  if (!s.routes) return [el('section', {}, notCounted())];
  return [table('Routes', [
    { name: 'Route', of: x => x.route },
    { name: 'Method', of: x => x.method },
    { name: 'Requests', num: true, of: x => x.requests, show: x => number(x.requests) },
    { name: '5xx', num: true, of: x => x.failed, show: x => number(x.failed), is: x => (x.failed ? 'bad' : '') },
    { name: 'Timed', num: true, of: x => x.count, show: x => number(x.count) },
    { name: 'p50', num: true, of: x => x.p50, show: x => (x.count ? seconds(x.p50) : '–') },
    { name: 'p90', num: true, of: x => x.p90, show: x => (x.count ? seconds(x.p90) : '–') },
    { name: 'p99', num: true, of: x => x.p99, show: x => (x.count ? seconds(x.p99) : '–') },
  ], s.routes, { none: 'No request is over yet.', note: `${listed(s.routes, s.routes_total, 'The most used')} The times are of what is no stream and no poll, and from buckets. In flight: ${Object.entries(s.in_flight).map(([route, n]) => `${route} ${number(n)}`).join(', ') || 'nothing'}.`, more })];
}

export const views = {
  overview: { name: 'Overview', draw: overview },
  connections: { name: 'Connections', draw: connections },
  topics: { name: 'Topics', draw: topics },
  pools: { name: 'Pools', draw: pools },
  routes: { name: 'Routes', draw: routes },
};
