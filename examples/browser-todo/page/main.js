// The page: what is typed and clicked becomes writes to the collection, and what is in the collection is shown.
import { openTodos, replicate } from './todos.js';

const parameters = new URLSearchParams(location.search);
const room = parameters.get('room') ?? 'our-todos';
const signaling = parameters.get('signaling') ?? `ws://${location.hostname}:8080`;

const byId = (id) => document.getElementById(id);
const items = new Map();
let replication;

const todos = await openTodos(room);
todos.find().$.subscribe(show);

byId('new').addEventListener('submit', async (event) => {
    event.preventDefault();
    const title = event.target.elements.title.value.trim();
    event.target.reset();
    if (title) await todos.insert({ id: newId(), title, done: false, created: Date.now() });
});
byId('network').addEventListener('click', () => (replication ? goOffline() : goOnline()));
for (const control of document.querySelectorAll('[disabled]')) control.disabled = false;
goOnline();

/** Ids in the order of their making, as `peerloom-peer list` prints them; unlike all others. */
function newId() {
    const random = crypto.getRandomValues(new Uint8Array(6));
    return `${Date.now().toString(36)}-${[...random].map((byte) => (byte % 36).toString(36)).join('')}`;
}

function goOnline() {
    replication = replicate(todos, room, signaling, ({ tab, peers }) => {
        const connected = `connected to ${peers} ${peers === 1 ? 'peer' : 'peers'}`;
        tell(tab === 'waiting' ? 'another tab may be connected' : peers > 0 ? connected : 'nobody is there', peers);
    });
    byId('network').ariaPressed = 'false';
}

async function goOffline() {
    const leaving = replication;
    replication = undefined;
    byId('network').disabled = true;
    await leaving.stop();
    byId('network').disabled = false;
    byId('network').ariaPressed = 'true';
    tell('offline', 0);
}

function tell(status, peers) {
    byId('status').textContent = status;
    byId('status').dataset.peers = peers;
}

/** Shows these documents, the oldest first. What is being typed stays as it is. */
function show(documents) {
    const order = [...documents].sort((left, right) =>
        (left.created ?? 0) - (right.created ?? 0) || left.id.localeCompare(right.id));
    const shown = new Set(order.map((todo) => todo.id));
    for (const [id, item] of items) {
        if (!shown.has(id)) {
            item.remove();
            items.delete(id);
        }
    }
    order.forEach((todo, index) => {
        const item = items.get(todo.id) ?? newItem(todo.id);
        const title = item.querySelector('.title');
        if (title !== document.activeElement) title.value = todo.title;
        item.classList.toggle('is-done', todo.done ?? false);
        item.querySelector('.done').checked = todo.done ?? false;
        if (byId('todos').children[index] !== item) {
            byId('todos').insertBefore(item, byId('todos').children[index] ?? null);
        }
    });
    const left = order.filter((todo) => !todo.done).length;
    byId('count').textContent = order.length === 0 ? 'Nothing to do' : `${left} of ${order.length} to do`;
}

function newItem(id) {
    const item = byId('todo').content.firstElementChild.cloneNode(true);
    const find = () => todos.findOne(id).exec();
    const title = item.querySelector('.title');
    const done = item.querySelector('.done');
    item.dataset.id = id;
    done.addEventListener('change', async () => (await find())?.incrementalPatch({ done: done.checked }));
    let before;
    title.addEventListener('focus', () => { before = title.value; });
    title.addEventListener('keydown', (event) => event.key === 'Enter' && title.blur());
    title.addEventListener('blur', async () => {
        const typed = title.value.trim();
        const todo = await find();
        if (typed && typed !== before) await todo?.incrementalPatch({ title: typed });
        // What came in meanwhile was not shown, so that it is not in the way of who types.
        if (todo && title !== document.activeElement) title.value = todo.getLatest().title;
    });
    item.querySelector('.delete').addEventListener('click', async () => (await find())?.incrementalRemove());
    items.set(id, item);
    return item;
}
