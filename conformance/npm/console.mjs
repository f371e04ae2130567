// Uses the console as a person would, on each view and with each button, has axe look
// at it, and prints what it sees.
//   node console.mjs CHROMIUM URL FOLDER-FOR-SCREENSHOTS [TOKEN]
import { inspector, sizes } from './inspect.mjs';
import { launch, print } from './launch.mjs';

const [executablePath, url, folder, token] = process.argv.slice(2);
const page = await launch(executablePath);

await page.setViewportSize(sizes.desktop);
await page.goto(url);
if (token) {
  await page.waitForSelector('#token');
  await page.keyboard.press('Escape'); // thought better of
  await page.click('#give-token');
  await page.fill('#token', 'wrong');
  await page.click('#dialog-ok');
  await page.waitForFunction(() => document.getElementById('token')?.value === '');
  await page.fill('#token', token);
  await page.press('#token', 'Enter');
}
await page.waitForSelector('#state[data-is=live]');

// A snapshot that is sent again adds nothing to the plots: 50 events in a second stay 50.
const snapshot = await page.evaluate(async () => {
  const Authorization = `Bearer ${sessionStorage.getItem('fairlead-admin-token')}`;
  const reader = (await fetch('console/feed', { headers: { Authorization } })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('\n\n')) text += (await reader.read()).value;
  await reader.cancel();
  return JSON.parse(text.slice(text.indexOf('{'), text.indexOf('\n\n')));
});
const next = { ...snapshot, now: new Date(Date.parse(snapshot.now) + 1000).toISOString(), events: snapshot.events + 50 };
const before = { ...snapshot, now: new Date(Date.parse(snapshot.now)).toISOString() };
const body = [before, next, next].map((one) => `data: ${JSON.stringify(one)}\n\n`).join('');
let looked;
const look = new Promise((done) => { looked = done; });
let asked = 0;
await page.route('**/console/feed', async (route) => {
  if (!asked++) return route.fulfill({ body, contentType: 'text/event-stream' });
  await look; // the page keeps what it shows until then
  return route.continue();
});
await page.reload();
await page.waitForSelector('#state[data-is=lost]');
print({ rate: await page.textContent('.card:nth-child(3) dd') });
looked();
await page.waitForSelector('#state[data-is=live]');
await page.unroute('**/console/feed');

const inspect = await inspector(page, folder);
for (const name of ['overview', 'connections', 'topics', 'pools', 'routes']) {
  await page.click(`nav a[href="#${name}"]`);
  await page.waitForFunction((name) => document.querySelector(`nav a[href="#${name}"][aria-current]`) && document.querySelector('main').children.length > 0, name);
  if (name === 'overview') await page.waitForFunction(() => document.querySelector('svg.plot path')?.getAttribute('d').split('L').length > 2);
  for await (const seen of inspect(`console-${name}`)) {
    print({ view: name, ...seen, text: seen.size === 'desktop' && seen.scheme === 'light' ? await page.innerText('main') : '' });
  }
  await page.setViewportSize(sizes.desktop);
}

// Sorting and filtering, by the keyboard.
await page.click('nav a[href="#topics"]');
const first = () => page.textContent('section table tbody tr td');
await page.focus('th button');
await page.keyboard.press('Enter');
const up = await first();
await page.keyboard.press('Enter'); // the focus has stayed, though all is drawn anew
const down = await first();
await page.fill('input[type=search]', 'topic-2');
await page.waitForFunction(() => document.querySelectorAll('section table tbody tr').length === 1);
print({ up, down, filtered: await first(), typed: await page.inputValue('input[type=search]') });
await page.fill('input[type=search]', '');

// What is marked stays, though snapshots come; then all is drawn anew.
const session = await page.context().newCDPSession(page);
await session.send('Network.enable');
const snapshots = async (n) => {
  for (; n > 0; n--) await new Promise((done) => session.once('Network.dataReceived', done));
};
await page.evaluate(() => getSelection().selectAllChildren(document.querySelector('h2')));
await snapshots(2);
print({ marked: await page.evaluate(() => getSelection().toString()) });
await page.evaluate(() => { globalThis.old = document.querySelector('h2'); getSelection().removeAllRanges(); });
await page.waitForFunction(() => !globalThis.old.isConnected);

// A fault of the drawing is told, and costs no further stream.
let streams = 0;
page.on('request', (request) => { if (request.url().endsWith('/console/feed')) streams++; });
await page.evaluate(() => {
  globalThis.whole = Element.prototype.replaceChildren;
  Element.prototype.replaceChildren = () => { throw new Error('out of ink'); };
});
await page.waitForFunction(() => document.getElementById('state').textContent.includes('out of ink'));
await snapshots(2);
const told = await page.textContent('#state');
await page.evaluate(() => { Element.prototype.replaceChildren = globalThis.whole; });
await page.waitForSelector('#state[data-is=live]');
print({ told, streams });

// Shed, with a mistake first.
await page.click('#shed');
await page.screenshot({ path: `${folder}/console-shed.png` });
await page.fill('#shed-share', '0');
await page.click('#dialog-ok');
await page.waitForFunction(() => document.getElementById('dialog-error').textContent !== '');
const mistake = await page.textContent('#dialog-error');
await page.fill('#shed-share', '100');
await page.click('#dialog-ok');
await page.waitForFunction(() => !document.getElementById('dialog').open);
print({ shed: mistake });

// Drain, once thought better of.
await page.click('#drain');
await page.click('#dialog-cancel');
print({ cancelled: await page.evaluate(() => !document.getElementById('dialog').open) });
await page.click('#drain');
await page.click('#dialog-ok');
await page.waitForFunction(() => document.getElementById('state').dataset.is !== 'live');
print({ drained: await page.getAttribute('#state', 'data-is') });
