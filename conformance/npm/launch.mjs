// Launches Chromium with one page, which is closed on SIGTERM. More arguments
// for it may be given.
import { chromium } from 'playwright-core';

export async function launch(executablePath, more = []) {
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
      ...more,
    ],
  });
  process.on('SIGTERM', async () => {
    await browser.close();
    process.exit(0);
  });
  const page = await browser.newPage();
  page.on('console', (message) => console.error('console:', message.text()));
  page.on('pageerror', (error) => console.error('page error:', error));
  page.on('response', (response) => {
    console.error('response:', new URL(response.url()).pathname, response.headers()['content-encoding'] ?? 'identity');
  });
  return page;
}

export const print = (value) => console.log(JSON.stringify(value));
