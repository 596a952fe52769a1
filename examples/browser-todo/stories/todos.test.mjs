// What people do with the page, in a real browser with stock RxDB, while real processes stand behind it.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { isAlone, startBrowser, Visitor } from './pages.mjs';
import { Backend } from './processes.mjs';

const skip = isAlone() && 'Chromium does without WebRTC where there is no network';
// Far longer than any story takes. It only keeps one from hanging.
const options = { skip, timeout: 600_000 };

let site;
let backend;
let visitors;

before(async () => { site = skip ? undefined : await startBrowser(); });
after(() => site?.close());

beforeEach(async () => {
    backend = await Backend.start();
    visitors = [];
});

afterEach(async () => {
    const complaints = visitors.flatMap((visitor) => visitor.complaints);
    await Promise.all(visitors.map((visitor) => visitor.page.context().close()));
    await backend.end();
    assert.deepEqual(complaints, []);
});

async function visit() {
    const visitor = await Visitor.open(site, backend);
    visitors.push(visitor);
    return visitor;
}

async function two() {
    const [ann, bob] = [await visit(), await visit()];
    await Promise.all([ann.connected(), bob.connected()]);
    return [ann, bob];
}

const titles = (todos) => todos.map((todo) => todo.title);
const just = (expected) => (todos) => titles(todos).join() === expected;
const isDone = (title) => (todos) => todos.some((todo) => todo.title === title && todo.done);

/** Waits until both pages and the peer have exactly these. */
async function settles(visitors, expected) {
    const sorted = (todos) => JSON.stringify(todos.map(({ title, done }) => [title, done ?? false]).sort());
    const holds = (todos) => sorted(todos) === sorted(expected);
    await Promise.all([...visitors.map((visitor) => visitor.sees(holds)), backend.until(holds)]);
}

test('what is typed in one page is in the peer and in another page', options, async () => {
    const [ann, bob] = await two();
    await ann.add('Milk');
    await backend.until(just('Milk'));
    assert.deepEqual(titles([...(await backend.list()).values()]), ['Milk']);
    await bob.sees(just('Milk'));
    await bob.tick('Milk');
    await bob.edit('Milk', 'Oat milk');
    await ann.sees(isDone('Oat milk'));
    await backend.command('put', 'tea', '{"title":"Tea"}');
    await settles([ann, bob], [{ title: 'Oat milk', done: true }, { title: 'Tea', done: false }]);
});

test('edits made on both sides while nobody was reachable settle on one state', options, async () => {
    const [ann, bob] = await two();
    await ann.add('Bread');
    await bob.sees(just('Bread'));
    await backend.kill();

    await ann.edit('Bread', 'Rye bread');
    await bob.tick('Bread');
    await bob.edit('Bread', 'White bread');
    await ann.add('Butter');

    await backend.start();
    await Promise.all([ann, bob].map((visitor) => visitor.sees((todos) => todos.length === 2)));
    // Of the two titles one is left, the same everywhere; the tick, which nobody contradicted, stays.
    await backend.until((todos) => todos.length === 2 && todos.some((todo) => todo.done));
    const bread = [...(await backend.list()).values()].find((todo) => todo.title.endsWith('bread'));
    assert.ok(['Rye bread', 'White bread'].includes(bread.title), bread.title);
    await settles([ann, bob], [{ title: bread.title, done: true }, { title: 'Butter', done: false }]);
});

test('a page that works offline keeps what is done there, through a reload, and brings it', options, async () => {
    const [ann, bob] = await two();
    await ann.add('Eggs');
    await ann.add('Salt');
    await bob.sees(just('Eggs,Salt'));

    await ann.goOffline();
    await ann.edit('Eggs', 'Six eggs');
    await bob.tick('Eggs');
    await bob.delete('Salt');
    await backend.until(isDone('Eggs'));
    assert.deepEqual(await ann.todos(), [{ title: 'Six eggs', done: false }, { title: 'Salt', done: false }]);
    await ann.goOnline();
    await settles([ann, bob], [{ title: 'Six eggs', done: true }]);

    await backend.kill();
    await ann.add('Flour');
    await ann.page.reload();
    await ann.sees(just('Six eggs,Flour'));
    await backend.start();
    await settles([ann, bob], [{ title: 'Six eggs', done: true }, { title: 'Flour', done: false }]);
});

test('what is deleted in one page is gone everywhere, and stays gone', options, async () => {
    const [ann, bob] = await two();
    await ann.add('Apples');
    await ann.add('Pears');
    await bob.sees(just('Apples,Pears'));
    await bob.goOffline();
    await ann.delete('Apples');
    await backend.until(just('Pears'));
    await bob.goOnline();
    await settles([ann, bob], [{ title: 'Pears', done: false }]);
    await backend.command('delete', [...(await backend.list()).keys()][0]);
    await settles([ann, bob], []);
    const carol = await visit();
    await carol.connected();
    await carol.add('Plums');
    await settles([ann, bob, carol], [{ title: 'Plums', done: false }]);
});

test('the peer tells who is there', options, async () => {
    await two();
    await backend.peer.said('an RxDB peer has joined', 2);
    const status = await backend.command('status');
    assert.match(status, /RxDB peers replicate with todos \(both\), whose primary key is "id"/);
    assert.equal(status.match(/ {2}RxDB [a-z0-9]{10} {2}/g)?.length, 2, status);
});
