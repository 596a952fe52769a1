// The programs that stand behind the page, as processes: the signaling server and the always-on peer.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

/** A program that lies in the directory that `PEERLOOM_BIN` names. */
function program(name) {
    const directory = process.env.PEERLOOM_BIN;
    if (!directory) throw new Error('PEERLOOM_BIN does not name the directory of peerloom-peer and peerloom-signaling');
    return join(directory, name);
}

/** A process whose log is followed. */
class Process {
    #child;
    #seen = [];
    #waiting = new Set();

    constructor(name, args) {
        this.name = name;
        this.#child = spawn(program(name), ['--log-format', 'json', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
        this.ended = once(this.#child, 'exit');
        createInterface({ input: this.#child.stderr }).on('line', (line) => {
            this.#seen.push(line.startsWith('{') ? JSON.parse(line).fields : { message: line });
            for (const wake of this.#waiting) wake();
        });
        this.ended.then(() => { for (const wake of this.#waiting) wake(); });
    }

    /** Waits until the log has said this so many times, and returns the fields of the last of these lines. */
    async said(message, times = 1) {
        for (;;) {
            const lines = this.#seen.filter((line) => line.message === message);
            if (lines.length >= times) return lines[times - 1];
            if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
                throw new Error(`${this.name} has ended and never said ${message}:\n${this.log()}`);
            }
            await new Promise((wake) => {
                const once = () => { this.#waiting.delete(once); wake(); };
                this.#waiting.add(once);
            });
        }
    }

    log() {
        return this.#seen.map((line) => JSON.stringify(line)).join('\n');
    }

    /** Ends it where it is, as a crash does. */
    async kill() {
        this.#child.kill('SIGKILL');
        await this.ended;
    }
}

/** A room's signaling server and always-on peer, which keeps its documents when it is killed. */
export class Backend {
    topic = 'our-todos';
    #port;
    #directory;
    #running = [];

    static async start() {
        const backend = new Backend();
        backend.#port = await freePort();
        backend.#directory = await mkdtemp(join(tmpdir(), 'browser-todo-'));
        await backend.start();
        return backend;
    }

    /** Starts both, again after `kill`, at the same address and with the same documents. */
    async start() {
        const signaling = new Process('peerloom-signaling', [
            '--listen', `127.0.0.1:${this.#port}`, '--keep-stock-peers-apart',
        ]);
        this.#running = [signaling];
        await signaling.said('listening');
        this.peer = new Process('peerloom-peer', [...this.#settings, 'serve']);
        this.#running.push(this.peer);
        await this.peer.said('serving');
    }

    get signaling() {
        return `ws://127.0.0.1:${this.#port}`;
    }

    get #settings() {
        return [
            '--data', join(this.#directory, 'data'),
            '--topic', this.topic,
            '--signaling', this.signaling,
            '--collections', 'todos=field-wise',
            '--rxdb', 'todos',
        ];
    }

    /** Ends both with SIGKILL: nobody is told, and nobody meets. */
    async kill() {
        await Promise.all(this.#running.map((process) => process.kill()));
        this.#running = [];
    }

    async end() {
        await this.kill();
        await rm(this.#directory, { recursive: true, maxRetries: 10 });
    }

    /** What a command of `peerloom-peer` prints. */
    async command(...args) {
        const { stdout } = await promisify(execFile)(program('peerloom-peer'), [...this.#settings, ...args]);
        return stdout;
    }

    /** What `peerloom-peer list` prints: the todos by id. */
    async list() {
        const lines = (await this.command('--json', 'list')).split('\n').filter(Boolean);
        return new Map(lines.map((line) => JSON.parse(line)).map(({ id, value }) => [id, value]));
    }

    /** Waits until `list` prints todos for which this holds. It is looked at again with each change that `watch` prints. */
    async until(holds) {
        const listed = async () => [...(await this.list()).values()];
        if (holds(await listed())) return;
        // Begins with all there are, so that no change is missed between the two.
        const watching = spawn(program('peerloom-peer'), [...this.#settings, '--json', 'watch', '--from-start'], {
            stdio: ['ignore', 'pipe', 'inherit'],
        });
        try {
            for await (const _change of createInterface({ input: watching.stdout })) {
                if (holds(await listed())) return;
            }
            throw new Error('the peer has stopped');
        } finally {
            watching.kill();
        }
    }
}

async function freePort() {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}
