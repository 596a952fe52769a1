// The page around the diagram: its head, what can be chosen, and the keys.

const HEIGHTS = [3, 7, 14, 22, 32];
const count = (number) => number.toLocaleString("en-US");
const many = (number, one) => [count(number), number === 1 ? one : `${one}s`];
// Of the rows when they were last laid out.
let heightBefore = chosen.height;

function showHead() {
  const { figures, violation } = data;
  byId("scenario").textContent = data.scenario;
  byId("verdict").textContent = violation ? "✕ Violated" : "✓ Held";
  byId("verdict").className = violation ? "violated" : "held";
  if (violation) byId("says").append(element("b", {}, violation.check), ` ${violation.says}`);
  else byId("says").textContent = "Every check held.";
  const ideal = figures.bytes_ideal > 0 ? `bytes, ${(figures.bytes / figures.bytes_ideal).toFixed(1)} times the ideal` : "bytes";
  const facts = [
    many(data.lanes, "peer"), [duration(figures.simulated_ms * 1000), "simulated"],
    many(figures.acknowledged, "operation"), many(figures.commits, "commit"),
    many(figures.messages, "message"), [count(figures.bytes), ideal],
  ];
  if (figures.losses_expected > 0) facts.push([count(figures.losses_expected), "losses that the plan asked for"]);
  if (figures.marks.length > 0) facts.push([figures.marks.length, `marks: ${figures.marks.join(", ")}`]);
  byId("facts").append(element("div", { className: "before" }, element("dt", {}, "seed"), element("dd", {}, data.seed)));
  byId("facts").append(...facts.map(([value, name]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
  byId("replay").textContent = data.replay;
  byId("left-out").textContent = data.left_out.length > 0 ? `Left out of this page: ${data.left_out.join(" ")}` : "";
  byId("document").append(...data.documents.map((it, place) => element("option", { value: String(place) }, it.id)));
  byId("document").disabled = data.documents.length < 2;
  byId("to-violation").hidden = data.violation_at === null;
}

// Lays everything out again and keeps the chosen event where it is on the screen.
function refresh() {
  const diagram = byId("diagram");
  const before = view && chosen.event !== null ? view.rowOf.get(chosen.event) : undefined;
  const onScreen = before === undefined ? null : before * heightBefore - diagram.scrollTop;
  layOut();
  heightBefore = chosen.height;
  const slice = sliceShown();
  byId("slice").textContent = data.violation && chosen.document === 0 ? `What led to it (${count(data.slice.length)})` : `What made it (${count(slice?.length ?? 0)})`;
  byId("everything").textContent = `Everything (${count(data.events.length)})`;
  byId("slice").disabled = !slice;
  byId("slice").setAttribute("aria-pressed", String(!chosen.everything));
  byId("everything").setAttribute("aria-pressed", String(chosen.everything));
  byId("closer").disabled = chosen.height === HEIGHTS.at(-1);
  byId("further").disabled = chosen.height === HEIGHTS[0];
  drawFrame();
  byId("sheet").style.height = `${view.rows.length * chosen.height + BELOW}px`;
  const row = chosen.event === null ? undefined : view.rowOf.get(chosen.event);
  if (row !== undefined && onScreen !== null) diagram.scrollTop = row * chosen.height - onScreen;
  draw();
  showPanel();
}

function choose(index, { reveal = false } = {}) {
  if (reveal && !view.rowOf.has(index) && eventAt(index)) {
    chosen.everything = true;
    layOut();
  }
  chosen.event = index;
  if (reveal) bringIntoSight(index);
  byId("diagram").setAttribute("aria-activedescendant", `event-${index}`);
  refresh();
}

function bringIntoSight(index) {
  const row = view.rowOf.get(index);
  if (row === undefined) return;
  const diagram = byId("diagram");
  const [top, bottom] = [row * chosen.height, (row + 1) * chosen.height];
  byId("sheet").style.height = `${view.rows.length * chosen.height + BELOW}px`;
  const sight = diagram.clientHeight - HEADS_HEIGHT;
  if (top < diagram.scrollTop + 2 * chosen.height) diagram.scrollTop = top - sight / 4;
  else if (bottom > diagram.scrollTop + sight - 2 * chosen.height) diagram.scrollTop = bottom - sight * 3 / 4;
}

function chooseDocument(place) {
  chosen.document = place;
  byId("document").value = String(place);
  refresh();
}

function showEverything(everything) {
  if (!everything && !sliceShown()) return;
  chosen.everything = everything;
  refresh();
}

function zoom(steps) {
  const place = HEIGHTS.indexOf(chosen.height) + steps;
  const wasInSight = document.getElementById(`event-${chosen.event}`) !== null;
  chosen.height = HEIGHTS[Math.min(Math.max(place, 0), HEIGHTS.length - 1)];
  refresh();
  if (wasInSight) bringIntoSight(chosen.event);
}

function step(rows) {
  const events = view.shown;
  const at = chosen.event === null ? -1 : lowerBound(events, chosen.event, (event) => event.i);
  const next = events[Math.min(Math.max(at + rows, 0), events.length - 1)];
  if (next) choose(next.i, { reveal: true });
}

function follow(side) {
  const arrow = arrowByEvent.get(chosen.event);
  if (!arrow) return;
  const target = chosen.event === arrow.sent ? arrow.delivered : arrow.sent;
  const leads = chosen.event === arrow.sent ? arrow.to - arrow.from : arrow.from - arrow.to;
  if (target !== null && Math.sign(leads) === side) choose(target, { reveal: true });
}

const KEYS = {
  ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(20), PageUp: () => step(-20),
  Home: () => step(-Infinity), End: () => step(Infinity), ArrowRight: () => follow(1), ArrowLeft: () => follow(-1),
  "+": () => zoom(1), "=": () => zoom(1), "-": () => zoom(-1), e: () => showEverything(!chosen.everything),
};

byId("diagram").addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey || !KEYS[key.key]) return;
  key.preventDefault();
  KEYS[key.key]();
});
let scheduled = false;
byId("diagram").addEventListener("scroll", () => {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; draw(); });
});
byId("words").addEventListener("click", (click) => {
  const row = click.target.closest(".row[id]");
  if (row && !String(getSelection())) choose(Number(row.id.slice("event-".length)));
});
byId("document").addEventListener("change", () => chooseDocument(Number(byId("document").value)));
byId("slice").addEventListener("click", () => showEverything(false));
byId("everything").addEventListener("click", () => showEverything(true));
byId("closer").addEventListener("click", () => zoom(1));
byId("further").addEventListener("click", () => zoom(-1));
byId("to-violation").addEventListener("click", () => choose(data.violation_at, { reveal: true }));
byId("copy").addEventListener("click", async () => {
  getSelection().selectAllChildren(byId("replay"));
  // Where the clipboard is refused, the line is at least marked for copying by hand.
  try { await navigator.clipboard.writeText(data.replay); byId("copy").textContent = "Copied"; } catch { byId("copy").textContent = "Marked"; }
});
window.addEventListener("resize", draw);
window.addEventListener("beforeprint", () => { printing = true; draw(); });
window.addEventListener("afterprint", () => { printing = false; draw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

showHead();
chosen.event = data.violation_at ?? data.events[0]?.i ?? null;
refresh();
if (chosen.event !== null) bringIntoSight(chosen.event);
draw();
