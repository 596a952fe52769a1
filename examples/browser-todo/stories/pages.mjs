// The built page in headless Chromium. Each visitor has a browser profile of its own, as people on two machines have.
import { mkdtemp, rm } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { build, preview } from 'vite';

/** Far longer than anything takes. It only keeps a story from hanging. */
const PATIENCE_MS = 120_000;

const root = fileURLToPath(new URL('..', import.meta.url));

/** Builds the page and serves it, and starts a browser. */
export async function startBrowser() {
    const outDir = await mkdtemp(join(tmpdir(), 'browser-todo-page-'));
    const config = { root, logLevel: 'warn', build: { outDir, emptyOutDir: true } };
    await build(config);
    const server = await preview({ ...config, preview: { host: '127.0.0.1', port: 0 } });
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        // What lets it run as root, without a graphics card, and without looking for anything on the Internet. Nothing of
        // WebRTC is changed: local addresses are hidden behind mDNS names, as they are at home.
        args: [
            '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
            '--disable-background-networking', '--disable-component-update', '--disable-sync',
        ],
    });
    return {
        url: server.resolvedUrls.local[0],
        browser,
        async close() {
            await browser.close();
            await server.close();
            await rm(outDir, { recursive: true });
        },
    };
}

/** Whether this machine has no network but itself. Chromium's WebRTC has no address then, and nobody is met. */
export function isAlone() {
    return Object.values(networkInterfaces()).flat().every((address) => address.internal);
}

/** Somebody with the page open. */
export class Visitor {
    static async open({ browser, url }, backend, options = {}) {
        const context = await browser.newContext(options);
        context.setDefaultTimeout(PATIENCE_MS);
        const visitor = new Visitor();
        visitor.page = await context.newPage();
        visitor.complaints = [];
        visitor.page.on('pageerror', (error) => visitor.complaints.push(error.stack));
        await visitor.page.goto(`${url}?${new URLSearchParams({ room: backend.topic, signaling: backend.signaling })}`);
        return visitor;
    }

    async add(title) {
        await this.page.getByLabel('New todo').fill(title);
        await this.page.getByLabel('New todo').press('Enter');
        await this.sees((todos) => todos.some((todo) => todo.title === title));
    }

    async edit(title, changed) {
        const field = await this.#item(title, '.title');
        await field.fill(changed);
        await field.press('Enter');
        await this.sees((todos) => todos.some((todo) => todo.title === changed));
    }

    async tick(title) {
        await (await this.#item(title, '.done')).click();
        await this.page.waitForFunction(
            (wanted) => [...document.querySelectorAll('.is-done .title')].some((field) => field.value === wanted), title);
    }

    async delete(title) {
        await (await this.#item(title, '.delete')).click();
        await this.sees((todos) => todos.every((todo) => todo.title !== title));
    }

    async goOffline() {
        await this.page.getByRole('button', { name: 'Work offline' }).click();
        await this.page.locator('#status', { hasText: /^offline$/ }).waitFor();
    }

    async goOnline() {
        await this.page.getByRole('button', { name: 'Work offline', pressed: true }).click();
        await this.connected();
    }

    async connected() {
        await this.page.locator('#status', { hasText: 'connected to 1 peer' }).waitFor();
    }

    /** What the page shows. */
    async todos() {
        return this.page.evaluate(shown);
    }

    /** Waits until the page shows todos for which this holds. */
    async sees(holds) {
        for (;;) {
            const before = await this.todos();
            if (holds(before)) return;
            await this.page.waitForFunction(
                ([read, before]) => JSON.stringify(eval(`(${read})()`)) !== before,
                [shown.toString(), JSON.stringify(before)],
            );
        }
    }

    async #item(title, part) {
        const item = await this.page.waitForFunction(
            (wanted) => [...document.querySelectorAll('#todos li')].find((item) => item.querySelector('.title').value === wanted),
            title,
        );
        return item.asElement().$(part);
    }
}

/** Runs within the page. */
function shown() {
    return [...document.querySelectorAll('#todos li')].map((item) => ({
        title: item.querySelector('.title').value,
        done: item.querySelector('.done').checked,
    }));
}
