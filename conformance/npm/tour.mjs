// Takes the tour of the demo's page as a person would, and prints what the
// page shows after each step.
//   node tour.mjs CHROMIUM URL
import { launch, print } from './launch.mjs';

const [executablePath, url] = process.argv.slice(2);
const page = await launch(executablePath);
const text = (id) => page.textContent('#' + id);
const atLeast = (id, n) => page.waitForFunction(([id, n]) => Number(document.getElementById(id).textContent) >= n, [id, n]);
const answer = async (step) =>
  print({
    step,
    words: Number(await text('answer-words')),
    lost: Number(await text('answer-lost')),
    call: await text('answer-call'),
  });
const prices = async (step) =>
  print({ step, got: Number(await text('prices-count')), lost: Number(await text('prices-lost')) });

await page.goto(url);
await page.click('#ask');
await atLeast('answer-words', 4);
await page.click('#answer-drop');
await answer('dropped');
await page.click('#answer-resume');
await atLeast('answer-words', 8);
await page.reload();
await atLeast('answer-words', 12);
await answer('reloaded');
await page.waitForFunction(() => document.getElementById('answer-state').textContent === 'complete');
await answer('complete');

await page.click('#prices-sse');
await atLeast('prices-count', 4);
await page.click('#prices-drop');
await prices('eventsource');
await page.click('#prices-ws');
await atLeast('prices-count', 12);
await prices('websocket');
