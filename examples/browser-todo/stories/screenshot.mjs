// Takes the picture of the README: two browsers, and what the peer lists at a terminal. Run with `npm run screenshot`.
import { fileURLToPath } from 'node:url';
import { startBrowser, Visitor } from './pages.mjs';
import { Backend } from './processes.mjs';

const picture = fileURLToPath(new URL('../screenshot.png', import.meta.url));
const size = { width: 460, height: 364 };

const site = await startBrowser();
const backend = await Backend.start();
const visit = () => Visitor.open(site, backend, { viewport: size, deviceScaleFactor: 2 });
const [ann, bob] = [await visit(), await visit()];
await Promise.all([ann.connected(), bob.connected()]);
for (const title of ['Oat milk', 'Rye bread', 'Call the plumber']) await ann.add(title);
await bob.sees((todos) => todos.length === 3);
await bob.tick('Rye bread');
await ann.sees((todos) => todos.some((todo) => todo.done));
await backend.command('put', 'water', JSON.stringify({ title: 'Water the plants', done: false, created: Date.now() }));
await Promise.all([ann, bob].map((visitor) => visitor.sees((todos) => todos.length === 4)));

const pages = await Promise.all([ann, bob].map(async ({ page }) => {
    await page.evaluate(() => document.activeElement.blur());
    return (await page.screenshot()).toString('base64');
}));
const lines = ['$ peerloom-peer list', ...(await backend.command('list')).trim().split('\n')];
const frame = await (await site.browser.newContext({ viewport: { width: 960, height: 600 }, deviceScaleFactor: 1.5 })).newPage();
await frame.setContent(`<!doctype html>
    <style>
        body { margin: 0; width: 960px; padding: 14px; box-sizing: border-box; background: #d5dedb; font-family: system-ui; }
        div { display: flex; gap: 12px; }
        img { width: ${size.width}px; border-radius: 10px; }
        pre { margin: 12px 0 0; padding: 12px 16px; border-radius: 10px; font: 12.5px/1.55 'DejaVu Sans Mono', monospace;
              color: #d7e3df; background: #17211e; white-space: pre-wrap; overflow-wrap: anywhere; }
    </style>
    <div>${pages.map((page) => `<img src="data:image/png;base64,${page}">`).join('')}</div>
    <pre></pre>`);
await frame.locator('pre').evaluate((pre, text) => { pre.textContent = text; }, lines.join('\n'));
await frame.locator('body').screenshot({ path: picture });
await site.close();
await backend.end();
