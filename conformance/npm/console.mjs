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
