// Looks at a page as people will: light and dark, wide and as a phone has it. Keeps a
// picture of each and has axe find what would keep somebody out.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

export const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

// inspector returns a function of a picture's name that yields what is found in each.
export async function inspector(page, folder) {
  // The page's policy lets no other script in but by the debugger.
  const session = await page.context().newCDPSession(page);
  const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  return async function* (name) {
    for (const scheme of ['light', 'dark']) {
      for (const [size, viewport] of Object.entries(sizes)) {
        await page.setViewportSize(viewport);
        await page.emulateMedia({ colorScheme: scheme });
        await page.screenshot({ path: `${folder}/${name}-${scheme}-${size}.png`, fullPage: true });
        await session.send('Runtime.evaluate', { expression: `${source};0` });
        yield {
          scheme, size,
          violations: await page.evaluate(async () => (await globalThis.axe.run(document)).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(' ')}`)),
          sideways: await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
        };
      }
    }
  };
}
