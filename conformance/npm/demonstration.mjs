// Uses the demonstration as a person would: cuts the network, slows a reader, cuts one,
// and prints what each reader has then.
//   node demonstration.mjs CHROMIUM URL FOLDER-FOR-SCREENSHOTS [TOKEN]
import { inspector, sizes } from './inspect.mjs';
import { launch, print } from './launch.mjs';

const [executablePath, url, folder, token] = process.argv.slice(2);
const page = await launch(executablePath);

await page.setViewportSize(sizes.desktop);
if (token) {
  await page.goto(`${url}console/demonstration.html`);
  await page.waitForSelector('#token');
  await page.keyboard.press('Escape'); // thought better of
  await page.click('#give-token');
  await page.fill('#token', 'wrong');
  await page.click('dialog [type=submit]');
  await page.waitForFunction(() => document.getElementById('dialog').open && document.getElementById('token').value === '');
  await page.fill('#token', token);
  await page.press('#token', 'Enter');
  await page.waitForSelector('#state[data-is=live]');
}
await page.goto(url);
await page.click('#demonstration'); // a link of the console, which has the token now
await page.waitForSelector('#readers tr');

// rows returns the cells of each reader, by their names.
const rows = () => page.evaluate(() => Object.fromEntries([...document.querySelectorAll('#readers tr')].map((row) => [
  row.dataset.reader, {
    state: row.cells[1].textContent,
    ...Object.fromEntries([...row.querySelectorAll('[data-is]')].map((cell) => [cell.dataset.is, parseInt(cell.textContent.replaceAll(',', ''), 10)])),
  }])));

// when prints what the readers have once the condition, of them all, holds.
async function when(what, condition) {
  for (;;) {
    const all = await rows();
    if (condition(Object.values(all), all)) {
      print({ what, readers: all, verdict: await page.textContent('#verdict'), trouble: await page.textContent('#trouble') });
      return;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

const reading = (readers) => readers.every((reader) => reader.state === 'reading' && reader.behind <= 10);

await when('began', (readers) => reading(readers) && readers.every((reader) => reader.received > 10));
await page.route('**/cut?*', (route) => route.abort(), { times: 1 });
await page.click('#cut');
await page.waitForFunction(() => document.getElementById('trouble').textContent !== '');
for (let n = 0; n < 2; n++) await page.waitForResponse('**/state');
await when('not cut', reading);
await page.click('#cut');
await when('cut', (readers) => readers.every((reader) => reader.state !== 'reading'));
await page.screenshot({ path: `${folder}/demonstration-cut.png` });
await when('back', (readers) => reading(readers) && readers.every((reader) => reader.resumed >= 0));

await page.click('[data-reader=websocket] [aria-pressed]');
await when('slow', (_, all) => all.websocket.behind > 30 && all.sse.behind <= 10);
await page.screenshot({ path: `${folder}/demonstration-slow.png` });
await page.click('[data-reader=websocket] [aria-pressed=true]');
await when('caught up', reading);

await page.click('[data-reader=connect] button:not([aria-pressed])');
await when('one cut', (_, all) => all.connect.state !== 'reading' && all.sse.state === 'reading');
await when('one back', reading);

const inspect = await inspector(page, folder);
for await (const seen of inspect('demonstration')) print(seen);
