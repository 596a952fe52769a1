// The strip beside the diagram: the whole run at once, a column per lane, to see where peers differ and to go there.

const COLUMN_WIDTH = 9;
const overviewWidth = () => Math.min(data.lanes, 16) * COLUMN_WIDTH + 14;

function drawOverview(first, last) {
  const canvas = byId("overview");
  const diagram = byId("diagram");
  const [width, height] = [overviewWidth(), diagram.clientHeight];
  const scale = window.devicePixelRatio || 1;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
  const y = (row) => Math.round(row / Math.max(view.rows.length, 1) * height);
  const fill = (style, x, from, to, wide) => {
    pen.fillStyle = style;
    pen.fillRect(x, y(from), wide, Math.max(y(to) - y(from), 1));
  };
  const [sightStart, sightEnd] = [diagram.scrollTop / chosen.height, (diagram.scrollTop + diagram.clientHeight - HEADS_HEIGHT) / chosen.height];
  fill(colour("--chosen"), 0, sightStart, sightEnd, width);
  for (const it of view.stretches.filter((it) => it.kind === "fault")) fill(colour("--bar"), 1, it.start, it.end, 3);
  view.ribbons.slice(0, 16).forEach((ribbon, lane) => {
    for (const part of ribbon) fill(data.palette[part.version.colour][0], 7 + lane * COLUMN_WIDTH, part.start, part.end, COLUMN_WIDTH - 2);
  });
  for (const it of view.stretches.filter((it) => it.kind === "down" && it.lanes[0] < 16)) {
    fill(colour("--hatching"), 7 + it.lanes[0] * COLUMN_WIDTH, it.start, it.end, COLUMN_WIDTH - 2);
  }
  const violated = data.violation_at === null ? undefined : view.rowOf.get(data.violation_at);
  if (violated !== undefined) {
    pen.fillStyle = colour("--alarm");
    pen.fillRect(0, Math.min(y(violated), height - 3), width, 3);
  }
  pen.strokeStyle = colour("--quiet");
  pen.strokeRect(.5, y(sightStart) + .5, width - 1, Math.min(Math.max(y(sightEnd) - y(sightStart), 4), height - y(sightStart)) - 1);
}

function scrollTo(pointer) {
  const canvas = byId("overview");
  const part = pointer.offsetY / canvas.clientHeight;
  const diagram = byId("diagram");
  diagram.scrollTop = part * view.rows.length * chosen.height - diagram.clientHeight / 2;
}

byId("overview").addEventListener("pointerdown", (pointer) => {
  byId("overview").setPointerCapture(pointer.pointerId);
  scrollTo(pointer);
});
byId("overview").addEventListener("pointermove", (pointer) => {
  if (pointer.buttons === 1) scrollTo(pointer);
});
