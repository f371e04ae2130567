// Opens a page in Chromium until it is told to end. Each call of report(value)
// in the page becomes a line of JSON.
//   node browse.mjs CHROMIUM URL [ARGUMENT OF CHROMIUM...]
import { launch, print } from './launch.mjs';

const [executablePath, url, ...more] = process.argv.slice(2);
const page = await launch(executablePath, more);
await page.exposeFunction('report', print);
await page.goto(url);
