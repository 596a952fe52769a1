// The diagram: draws the rows in sight, and only those, so that a run of a hundred thousand events scrolls like one of ten.

const SVG = "http://www.w3.org/2000/svg";
const TIME_WIDTH = 74;
const TRACK_WIDTH = 8;
const HEADS_HEIGHT = 34;
// What is free below the last row.
const BELOW = 14;
// Rows drawn beyond what is in sight, above and below.
const MARGIN_ROWS = 12;
// The lowest row in which words can be read.
const WORDS_HEIGHT = 14;
const LETTER_HEIGHT = 18;
// As many rows go to a printer.
const PRINTED_MAX = 1500;
let printing = false;

const MINOR = new Set(["sent", "delivered", "connected", "disconnected", "acknowledged", "fault-over", "skipped"]);
const STRONG = new Set(["phase", "crashed", "fault", "panicked", "failed"]);

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const laneWidth = () => (data.lanes <= 4 ? 96 : data.lanes <= 8 ? 68 : 44);
const gutterX = () => TIME_WIDTH + 6;
const lanesX = () => gutterX() + view.tracks * TRACK_WIDTH + 8;
const laneX = (lane) => lanesX() + lane * laneWidth() + laneWidth() / 2;
const wordsX = () => lanesX() + data.lanes * laneWidth() + 14;
const rowY = (row) => row * chosen.height + chosen.height / 2;

// What stands still while the rows scroll: the names of the lanes, and how large the sheet is.
function drawFrame() {
  const heads = byId("heads");
  heads.replaceChildren(element("span", { className: "time" }, "seconds"));
  heads.firstChild.style.left = "18px";
  for (let lane = 0; lane < data.lanes; lane++) {
    const head = element("span", {}, data.lanes > 8 ? String(lane) : peerName(lane));
    head.style.left = `${laneX(lane)}px`;
    heads.append(head);
  }
  const width = `${wordsX() + 300}px`;
  heads.style.minWidth = width;
  byId("sheet").style.minWidth = width;
}

function rowsInSight() {
  const end = view.rows.length;
  if (printing) return [0, Math.min(end, PRINTED_MAX)];
  const diagram = byId("diagram");
  const first = Math.floor(diagram.scrollTop / chosen.height) - MARGIN_ROWS;
  const last = Math.ceil((diagram.scrollTop + diagram.clientHeight) / chosen.height) + MARGIN_ROWS;
  return [Math.max(0, first), Math.min(end, last)];
}

function draw() {
  const [first, last] = rowsInSight();
  const drawing = byId("drawing");
  const [top, height] = [first * chosen.height, (last - first) * chosen.height + BELOW];
  const width = wordsX();
  byId("sheet").style.height = `${(printing ? last : view.rows.length) * chosen.height + BELOW}px`;
  drawing.style.top = `${top}px`;
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 ${top} ${width} ${height}` })) drawing.setAttribute(key, value);
  const meets = (it) => it.start < last && (it.end ?? it.start + 1) >= first;
  byId("drawn").replaceChildren(
    ...grounds(first, last),
    ...faults(meets),
    ...axes(first, last),
    ...ribbonShapes(meets),
    ...absences(meets),
    ...view.arrows.filter(meets).map(message),
    ...signs(first, last),
  );
  byId("words").replaceChildren(...words(first, last));
  drawOverview(first, last);
}

function grounds(first, last) {
  const shapes = [];
  for (let row = first; row < last; row++) {
    const { event } = view.rows[row];
    if (!event) continue;
    if (event.i === chosen.event) {
      shapes.push(shape("rect", { class: "band", x: 0, y: row * chosen.height, width: wordsX(), height: chosen.height }));
    }
  }
  return shapes;
}

function faults(meets) {
  const shapes = [];
  const inSight = view.stretches.filter((it) => it.kind === "fault" && meets(it));
  for (const fault of inSight) {
    const [y, height] = [rowY(fault.start), (fault.end - fault.start) * chosen.height];
    const bar = shape("rect", { class: "bar", x: gutterX() + fault.track * TRACK_WIDTH, y, width: 5, height, rx: 2 });
    bar.append(shape("title", {}, fault.says));
    bar.addEventListener("click", () => choose(fault.from));
    shapes.push(bar);
  }
  // A tint per lane, and where faults overlap only one: it says that something was wrong, the bars say what.
  for (let lane = 0; lane < data.lanes; lane++) {
    let until = -1;
    for (const fault of inSight.filter((it) => it.lanes.includes(lane))) {
      const start = Math.max(fault.start, until);
      if (fault.end <= start) continue;
      const x = laneX(lane) - laneWidth() / 2;
      shapes.push(shape("rect", { class: "tint", x, y: rowY(start), width: laneWidth(), height: (fault.end - start) * chosen.height }));
      until = fault.end;
    }
  }
  return shapes;
}

function axes(first, last) {
  const shapes = [];
  for (let lane = 0; lane < data.lanes; lane++) {
    const x = laneX(lane);
    shapes.push(shape("line", { class: "axis", x1: x, x2: x, y1: first * chosen.height, y2: last * chosen.height }));
  }
  return shapes;
}

function ribbonShapes(meets) {
  const shapes = [];
  view.ribbons.forEach((ribbon, lane) => {
    for (const part of ribbon.filter(meets)) {
      const [y, height] = [rowY(part.start), (part.end - part.start) * chosen.height];
      const drawn = { class: "ribbon", x: laneX(lane) - 6, y, width: 12, height, fill: data.palette[part.version.colour][0] };
      if (part.version.view === null) drawn.opacity = .4;
      shapes.push(shape("rect", drawn, shape("title", {}, `version ${part.version.letter}`)));
    }
  });
  return shapes;
}

function absences(meets) {
  return view.stretches.filter((it) => it.kind !== "fault" && meets(it)).map((it) => {
    const width = it.kind === "down" ? 24 : 8;
    const [y, height] = [rowY(it.start), (it.end - it.start) * chosen.height];
    const drawn = shape("rect", { class: it.kind, x: laneX(it.lanes[0]) - width / 2, y, width, height });
    drawn.append(shape("title", {}, it.says));
    return drawn;
  });
}

function message(arrow) {
  const marks = `${arrow.abnormal ? " abnormal" : ""}`;
  const isChosen = arrow.sent === chosen.event || (arrow.delivered !== null && arrow.delivered === chosen.event);
  const drawn = shape("g", { class: `message${arrow.aside ? " aside" : ""}${isChosen ? " chosen" : ""}`, "data-message": arrow.message });
  const side = Math.sign(arrow.to - arrow.from);
  const [x1, y1] = [laneX(arrow.from) + side * 6, rowY(arrow.start)];
  const lost = arrow.end === null;
  const [x2, y2] = lost
    ? [x1 + (laneX(arrow.to) - x1) * .6, y1 + chosen.height / 2]
    : [laneX(arrow.to) - side * 9, rowY(arrow.end)];
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const short = lost ? 0 : 4;
  const line = { x1, y1, x2: x2 - short * Math.cos(angle), y2: y2 - short * Math.sin(angle) };
  drawn.append(shape("line", { class: `arrow${marks}`, ...line }), shape("line", { class: "reach", ...line }));
  if (lost) drawn.append(shape("path", { class: "cross", d: `M${x2 - 4} ${y2 - 4}l8 8m0 -8l-8 8` }));
  else {
    const turn = angle * 180 / Math.PI;
    drawn.append(shape("path", { class: `head${marks}`, d: "M0 0l-9 -4v8z", transform: `translate(${x2} ${y2}) rotate(${turn})` }));
  }
  drawn.append(shape("title", {}, `#${arrow.message}${arrow.abnormal ? `: ${arrow.abnormal}` : ""}`));
  drawn.addEventListener("click", () => choose(arrow.sent));
  return drawn;
}

function signs(first, last) {
  const shapes = [];
  // In low rows a letter has a place only where the one above is far enough away.
  const free = new Array(data.lanes).fill(0);
  for (let row = first; row < last; row++) {
    const { event } = view.rows[row];
    if (!event || event.peer === null) continue;
    const low = chosen.height < WORDS_HEIGHT && rowY(row) < free[event.peer];
    const made = sign(event, laneX(event.peer), rowY(row), low);
    if (event.kind === "committed" && made.length > 0) free[event.peer] = rowY(row) + LETTER_HEIGHT + 2;
    shapes.push(...made);
  }
  return shapes;
}

function sign(event, x, y, crowded) {
  const low = chosen.height < WORDS_HEIGHT;
  switch (event.kind) {
    case "committed": {
      const made = (event.commits ?? []).find(([place]) => place === chosen.document);
      if (!made) return low ? [] : [shape("circle", { class: "dot sign", cx: x, cy: y, r: 2.5 })];
      return crowded ? [] : letter(data.documents[chosen.document].versions[made[1]], x, y);
    }
    case "crashed":
      return [shape("path", { class: "cross sign", d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` })];
    case "violated":
    case "panicked":
      return [shape("path", { class: "alarm-sign sign", d: `M${x} ${y - 9}l9 9l-9 9l-9 -9z` })];
    case "sent":
    case "delivered":
      return [];
    case "called":
      return low ? [] : [shape("path", { class: "dot sign", d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z` })];
    default:
      return low ? [] : [shape("circle", { class: "dot sign", cx: x, cy: y, r: 4 })];
  }
}

function letter(version, x, y) {
  const [fill, ink] = data.palette[version.colour];
  const width = 10 + 8 * version.letter.length;
  const name = shape("text", { class: `letter${version.view === null ? " deleted" : ""}`, x, y, fill: ink }, version.letter);
  return [shape("g", { class: "sign" }, shape("rect", { class: "badge", x: x - width / 2, y: y - LETTER_HEIGHT / 2, width, height: LETTER_HEIGHT, rx: 4, fill }), name)];
}

function words(first, last) {
  const made = [];
  // In low rows only what matters has words, and only where they do not stand on each other.
  let free = 0;
  for (let row = first; row < last; row++) {
    const { event, gap } = view.rows[row];
    const low = chosen.height < WORDS_HEIGHT;
    const matters = event && (STRONG.has(event.kind) || event.kind === "violated" || event.i === chosen.event);
    const speaks = !low || (matters && row * chosen.height >= free);
    if (low && speaks) free = row * chosen.height + WORDS_HEIGHT + 2;
    made.push(event ? rowOfEvent(view.rows[row], row, speaks) : rowOfGap(gap, row, speaks));
  }
  return made;
}

function rowOfEvent({ event, first, aside }, row, speaks) {
  const kinds = ["row"];
  if (MINOR.has(event.kind)) kinds.push("minor");
  if (STRONG.has(event.kind)) kinds.push("strong");
  if (event.kind === "violated" || event.kind === "panicked") kinds.push("alarm");
  if (event.kind === "phase") kinds.push("phase");
  if (aside) kinds.push("aside");
  const isChosen = event.i === chosen.event;
  if (isChosen) kinds.push("chosen");
  const at = element("span", { className: "at" }, speaks && first ? seconds(event.at) : "");
  at.style.width = `${TIME_WIDTH}px`;
  const line = element("span", { className: "line" });
  if (speaks && event.peer !== null) line.append(element("span", { className: "who" }, peerName(event.peer)));
  if (speaks) line.append(event.line);
  const made = element("div", { className: kinds.join(" "), id: `event-${event.i}`, title: event.line }, at, line);
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", String(isChosen));
  line.style.marginLeft = `${wordsX() - TIME_WIDTH}px`;
  if (isChosen) line.style.flex = "1";
  if (isChosen) line.style.background = "var(--chosen)";
  // The lanes are clicked through to the arrows, so only the words take the pointer.
  made.style.pointerEvents = "none";
  line.style.pointerEvents = at.style.pointerEvents = "auto";
  line.style.lineHeight = at.style.lineHeight = `${Math.max(chosen.height, WORDS_HEIGHT)}px`;
  return placed(made, row);
}

function rowOfGap(gap, row, speaks) {
  const made = element("div", { className: "row gap" }, element("span", {}, speaks ? `⋮ ${duration(gap)} later` : ""));
  made.setAttribute("role", "presentation");
  made.firstChild.style.marginLeft = `${wordsX()}px`;
  return placed(made, row);
}

function placed(made, row) {
  made.style.top = `${row * chosen.height}px`;
  made.style.height = `${chosen.height}px`;
  return made;
}
