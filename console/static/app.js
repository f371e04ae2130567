// The page: which view is shown, the state of the feed, and what the buttons do.
import { ask, follow, token } from './feed.js';
import { el } from './draw.js';
import { note, views } from './views.js';

const at = id => document.getElementById(id);
let snapshot;

const current = () => (Object.hasOwn(views, location.hash.slice(1)) ? location.hash.slice(1) : 'overview');

function draw() {
  for (const link of at('views').children) {
    if (link.hash === `#${current()}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (!snapshot) return;
  const main = at('main');
  const focused = document.activeElement?.dataset?.key; // what is drawn anew keeps the focus
  const caret = document.activeElement?.selectionStart;
  const scrolled = [...main.querySelectorAll('.table')].map(t => t.scrollLeft);
  main.replaceChildren(...views[current()].draw(snapshot, draw));
  main.querySelectorAll('.table').forEach((t, i) => { t.scrollLeft = scrolled[i] ?? 0; });
  if (focused) {
    const again = main.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    again?.focus({ preventScroll: true });
    if (caret != null && again?.type === 'search') again.setSelectionRange(caret, caret);
  }
}

function state(is, text) {
  if (at('state').textContent === text) return; // what is read out is not repeated
  at('state').dataset.is = is;
  at('state').textContent = text;
}

// confirmed asks, does what is asked for when it is confirmed, and says whether it was.
function confirmed({ title, text, ok, fields = [], danger = true }, act) {
  const dialog = at('dialog');
  at('dialog-title').textContent = title;
  at('dialog-text').textContent = text;
  at('dialog-error').textContent = '';
  at('dialog-ok').textContent = ok;
  at('dialog-ok').className = danger ? 'danger' : '';
  at('dialog-fields').replaceChildren(...fields);
  return new Promise(done => {
    let acted = false;
    at('dialog-cancel').onclick = () => dialog.close();
    dialog.onclose = () => done(acted);
    dialog.querySelector('form').onsubmit = async submitted => {
      submitted.preventDefault();
      at('dialog-ok').disabled = true; // or Enter would do it twice
      try {
        await act();
        acted = true;
        dialog.close();
      } catch (why) {
        at('dialog-error').textContent = why.message;
      }
      at('dialog-ok').disabled = false;
    };
    dialog.showModal();
  });
}

async function post(path) {
  const response = await ask(path, { method: 'POST' });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `the server answers ${response.status}`);
  }
  return response;
}

at('drain').onclick = () => confirmed({
  title: 'Drain this server?',
  text: 'It goes away as on SIGTERM: new clients are refused, every reader is told to come back elsewhere, and when the last has gone the process ends. This cannot be taken back.',
  ok: 'Drain',
}, () => post('drain'));

// said tells what came of a button, for a while.
let saying;
function said(text) {
  at('said').textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { at('said').textContent = ''; }, 15000);
}

at('shed').onclick = () => {
  const topic = el('input', { value: '**', id: 'shed-topic', required: true });
  const part = el('input', { type: 'number', min: 1, max: 100, value: 50, id: 'shed-share', required: true });
  confirmed({
    title: 'Send readers away?',
    text: 'They are told to come back in a moment, from the cursor they have: nothing is lost, and a balancer in front may send them to another server.',
    ok: 'Send away',
    fields: [el('label', {}, 'Topics, as a pattern', topic), el('label', {}, 'Share, in percent', part)],
  }, async () => {
    const share = Number(part.value);
    if (!(share >= 1 && share <= 100)) throw new Error('The share is a number from 1 to 100.');
    const response = await post(`shed?topic=${encodeURIComponent(topic.value)}&share=${share / 100}`);
    const { sent } = await response.json();
    if (!sent) throw new Error('No reader reads such a topic.');
    said(`Readers that were told to come back: ${sent}.`);
  });
};

async function askToken() {
  state('lost', 'a token is needed');
  snapshot = undefined; // nothing is drawn until there is one again
  for (;;) {
    const field = el('input', { type: 'password', autocomplete: 'current-password', id: 'token' });
    const given = await confirmed({
      title: 'Admin token', text: `${token.get() ? 'That is not it. ' : ''}This server asks for its admin_token. It is kept until this tab is closed.`, ok: 'Continue', danger: false,
      fields: [el('label', {}, 'Token', field)],
    }, () => token.set(field.value));
    if (given) return;
    await new Promise(again => {
      at('main').replaceChildren(el('section', {}, el('p', {}, 'Without the admin_token nothing is shown.'), el('button', { type: 'button', id: 'give-token', onclick: again }, 'Enter it…')));
    });
  }
}

// selecting says whether something is marked, to be copied: what is drawn anew would lose it.
function selecting() {
  const marked = getSelection();
  return !marked.isCollapsed && at('main').contains(marked.anchorNode);
}

// lost shows since when what is shown is old.
let seen;
let left = false; // by a drain that was seen
function lost(why) {
  at('main').classList.add('old');
  at('drain').disabled = at('shed').disabled = true;
  const since = seen ? ` since ${seen.toLocaleTimeString()}` : '';
  state('lost', left ? `drained: the server has gone${since}; trying again` : `no connection${since}: ${why.message}; trying again`);
}

document.querySelector('.skip').onclick = event => { event.preventDefault(); at('main').focus(); };
for (const [id, view] of Object.entries(views)) at('views').append(el('a', { href: `#${id}` }, view.name));
addEventListener('hashchange', () => { draw(); at('main').focus(); });
draw();
follow({
  data(s) {
    snapshot = s;
    note(s);
    if (s.demo && !at('demonstration')) at('views').append(el('a', { href: 'console/demonstration.html', id: 'demonstration' }, 'Demonstration'));
    if (!selecting()) draw();
    [seen, left] = [new Date(), s.draining];
    at('main').classList.remove('old');
    at('shed').disabled = false;
    at('drain').disabled = s.draining;
    state(s.draining ? 'draining' : 'live', s.draining ? `draining · ${s.version}` : `live · ${s.version}`);
  },
  broken(why) { state('lost', `this page fails to show what came: ${why.message}`); },
  lost,
  forbidden: askToken,
});
