// Opens a page in Chromium until it is told to end. Each call of report(value)
// in the page becomes a line of JSON.
//   node browse.mjs CHROMIUM URL
import { chromium } from 'playwright-core';

const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  handleSIGTERM: false,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--host-resolver-rules=MAP localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
});
const page = await browser.newPage();
page.on('console', (message) => console.error('console:', message.text()));
page.on('pageerror', (error) => console.error('page error:', error));
await page.exposeFunction('report', (value) => console.log(JSON.stringify(value)));
await page.goto(url);
process.on('SIGTERM', async () => {
  await browser.close();
  process.exit(0);
});
