// An RxDB peer with memory storage, driven by one JSON command per line on its input. Answers each with one line on its output, and says
// there whenever its documents have changed.
import { createInterface } from 'node:readline';
import process from 'node:process';
import { addRxPlugin, createRxDatabase, getChangedDocumentsSince } from 'rxdb';
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory';
import { getConnectionHandlerSimplePeer, replicateWebRTC } from 'rxdb/plugins/replication-webrtc';
import { RxDBLeaderElectionPlugin } from 'rxdb/plugins/leader-election';
// The very file that RxDB takes.
import SimplePeer from 'simple-peer/simplepeer.min.js';
import wrtc from '@roamhq/wrtc';
import { WebSocket } from 'ws';

addRxPlugin(RxDBLeaderElectionPlugin);

// wrtc's native code follows a null pointer when something is sent while the other side closes the channel. A Peerloom peer says the end,
// by an empty message, before it closes; to who has said it nothing more is sent, and nothing would arrive.
const { _onChannelMessage: received, send } = SimplePeer.prototype;
SimplePeer.prototype._onChannelMessage = function onChannelMessage(event) {
    if (event.data.byteLength === 0) {
        this.hasSaidTheEnd = true;
        return;
    }
    this.messagesReceived = (this.messagesReceived ?? 0) + 1;
    received.call(this, event);
};
SimplePeer.prototype.send = function sendUnlessOver(data) {
    if (this.hasSaidTheEnd || this._channel?.readyState !== 'open') return;
    this.messagesSent = (this.messagesSent ?? 0) + 1;
    send.call(this, data);
};

let database;
let collection;
let pool;
let options;
const errors = [];

const schema = {
    version: 0,
    primaryKey: 'id',
    type: 'object',
    properties: {
        id: { type: 'string', maxLength: 200 },
        title: { type: 'string' },
        count: { type: 'number' },
    },
    required: ['id'],
    additionalProperties: true,
};

const canonical = (value) => {
    if (Array.isArray(value)) return value.map(canonical);
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, canonical(value[key])]));
};
const same = (left, right) => JSON.stringify(canonical(left)) === JSON.stringify(canonical(right));

// Every field from the side that changed it last; where both did, the master's.
const fieldWise = {
    isEqual: (left, right) => same(left, right),
    resolve: ({ newDocumentState, assumedMasterState, realMasterState }) => {
        const assumed = assumedMasterState ?? {};
        const merged = { ...realMasterState };
        for (const [key, value] of Object.entries(newDocumentState)) {
            if (same(realMasterState[key] ?? null, assumed[key] ?? null)) merged[key] = value;
        }
        return merged;
    },
};

// What the peer holds, deleted documents too, without RxDB's own fields.
async function documents() {
    const found = await getChangedDocumentsSince(collection.storageInstance, 1_000_000);
    const all = {};
    for (const { _rev, _meta, _attachments, ...document } of found.documents) all[document.id] = document;
    return all;
}

const commands = {
    async open({ url, topic, token, handler, batch, pull = true, push = true, name = 'peer', link = true }) {
        options = { url, topic, batch, pull, push };
        database = await createRxDatabase({
            name,
            storage: getRxStorageMemory(),
            multiInstance: false,
            closeDuplicates: true,
        });
        if (token) database.storageToken = Promise.resolve(token);
        const conflictHandler = handler === 'field-wise' ? fieldWise : undefined;
        await database.addCollections({ todos: { schema, ...(conflictHandler && { conflictHandler }) } });
        collection = database.todos;
        collection.storageInstance.changeStream().subscribe(() => say({ changed: true }));
        if (link) await commands.link({});
        return { token: await database.storageToken };
    },
    // Joins the room, again after `unlink`.
    async link({ url = options.url }) {
        const { topic, batch, pull, push } = options;
        const direction = () => (batch ? { batchSize: batch } : {});
        pool = await replicateWebRTC({
            collection,
            topic,
            connectionHandlerCreator: getConnectionHandlerSimplePeer({
                signalingServerUrl: url,
                wrtc,
                webSocketConstructor: WebSocket,
                config: { iceServers: [] },
            }),
            pull: pull ? direction() : undefined,
            push: push ? direction() : undefined,
            retryTime: 500,
        });
        pool.error$.subscribe((error) => errors.push(inShort(error)));
        return null;
    },
    async unlink() {
        await pool.cancel();
        return null;
    },
    // The tokens of the peers that are linked, once there are `count` of them.
    async linked({ count }) {
        const tokens = () => [...pool.peerStates$.getValue().values()].map((state) => state.peerToken);
        await new Promise((resolve) => {
            const subscription = pool.peerStates$.subscribe(() => {
                if (tokens().length >= count) {
                    setImmediate(() => subscription.unsubscribe());
                    resolve();
                }
            });
        });
        return tokens();
    },
    async insert({ documents }) {
        const result = await collection.bulkInsert(documents);
        if (result.error.length > 0) throw new Error(JSON.stringify(result.error[0]).slice(0, 400));
        return result.success.length;
    },
    async patch({ id, fields }) {
        const document = await collection.findOne(id).exec();
        await document.incrementalPatch(fields);
        return null;
    },
    // Adds one to `count`, whatever it is by then.
    async increment({ id }) {
        const document = await collection.findOne(id).exec();
        const after = await document.incrementalModify((data) => ({ ...data, count: data.count + 1 }));
        return after.count;
    },
    async remove({ id }) {
        const document = await collection.findOne(id).exec();
        await document.incrementalRemove();
        return null;
    },
    documents,
    // Answers once the documents are these, by id.
    async until({ expected }) {
        await changes(async () => {
            const found = await documents();
            return Object.keys(expected).every((id) => same(found[id] ?? null, expected[id]));
        });
        return null;
    },
    // Answers once there are so many that are not deleted.
    async counted({ count }) {
        await changes(async () => (await collection.count().exec()) >= count);
        return null;
    },
    async errors() {
        return errors;
    },
    // How many messages each link has carried, by the token of the peer that it leads to.
    async traffic() {
        const links = [...(pool?.peerStates$.getValue().values() ?? [])];
        return {
            token: await database.storageToken,
            links: Object.fromEntries(links.map(({ peerToken, peer }) => [
                peerToken,
                { sent: peer.messagesSent ?? 0, received: peer.messagesReceived ?? 0 },
            ])),
        };
    },
    async memory() {
        return process.memoryUsage().rss;
    },
    async close() {
        await database.close();
        return null;
    },
};

// RxDB wraps what happened in what it says of each of its errors.
function inShort(error) {
    const cause = error?.parameters?.error ?? error?.parameters?.errors?.[0] ?? error;
    const { errorText, args } = cause?.parameters ?? {};
    const text = errorText ? `${args?.method ?? 'a message'}: ${errorText}` : String(cause?.message ?? JSON.stringify(cause));
    return text.slice(0, 400);
}

// Looks again after each change, until it is so.
async function changes(holds) {
    let wake;
    const subscription = collection.storageInstance.changeStream().subscribe(() => wake?.());
    try {
        for (;;) {
            const changed = new Promise((resolve) => { wake = resolve; });
            if (await holds()) return;
            await changed;
        }
    } finally {
        subscription.unsubscribe();
    }
}

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');
process.on('unhandledRejection', (error) => errors.push('unhandled: ' + String(error).slice(0, 400)));
createInterface({ input: process.stdin }).on('line', async (line) => {
    const { number, command, ...parameters } = JSON.parse(line);
    try {
        say({ number, result: await commands[command](parameters) });
    } catch (error) {
        say({ number, error: String(error?.stack ?? error).slice(0, 1000) });
    }
}).on('close', () => process.exit(0));
