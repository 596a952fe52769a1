// The todos: an RxDB collection in the browser's own storage, and its replication with whoever is in the room.
// Nothing in here is Peerloom's: to RxDB, Peerloom is one more RxDB peer.
import { addRxPlugin, createRxDatabase } from 'rxdb';
import { getRxStorageDexie } from 'rxdb/plugins/storage-dexie';
import { RxDBLeaderElectionPlugin } from 'rxdb/plugins/leader-election';
import { getConnectionHandlerSimplePeer, replicateWebRTC } from 'rxdb/plugins/replication-webrtc';
import { fieldWise } from './field-wise.js';

addRxPlugin(RxDBLeaderElectionPlugin);

// Node's, which RxDB's connection handler asks for.
globalThis.process ??= { env: {}, nextTick: (call, ...values) => queueMicrotask(() => call(...values)) };

const schema = {
    version: 0,
    primaryKey: 'id',
    type: 'object',
    properties: {
        id: { type: 'string', maxLength: 200 },
        title: { type: 'string' },
        done: { type: 'boolean' },
        // Milliseconds since 1970. A todo that was put at a terminal may have none.
        created: { type: 'number' },
    },
    required: ['id', 'title'],
};

/** Opens the todos of a room, which stay in this browser. */
export async function openTodos(room) {
    const database = await createRxDatabase({ name: `todos-${room}`, storage: getRxStorageDexie() });
    await database.addCollections({ todos: { schema, conflictHandler: fieldWise } });
    return database.todos;
}

/**
 * Replicates with the peers of the room until `stop` is called. Of several tabs of one browser, which share the
 * storage, one does.
 * @param {(state: { tab: 'waiting' | 'replicating', peers: number }) => void} tell
 */
export function replicate(collection, room, signalingServerUrl, tell) {
    let stopped = false;
    tell({ tab: 'waiting', peers: 0 });
    const joined = collection.database.waitForLeadership().then(async () => {
        if (stopped) return undefined;
        const pool = await replicateWebRTC({
            collection,
            topic: room,
            connectionHandlerCreator: getConnectionHandlerSimplePeer({ signalingServerUrl }),
            pull: {},
            push: {},
        });
        pool.peerStates$.subscribe((peers) => stopped || tell({ tab: 'replicating', peers: peers.size }));
        pool.error$.subscribe((error) => console.warn(error));
        return pool;
    });
    return {
        async stop() {
            stopped = true;
            const isLeader = collection.database.isLeader();
            // A tab that still waits for its turn does nothing when it comes.
            if (isLeader) await (await joined)?.cancel();
        },
    };
}
