// The panel beside the diagram: all that is known of the chosen event.

// Makes an element. Texts become text nodes, never markup: what is in a trace may be hostile.
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

const peerName = (peer) => `peer-${peer}`;

function versionBadge(version) {
  if (!version) return element("span", { className: "version none", title: "not there" }, "–");
  const badge = element("span", { className: `version${version.view === null ? " deleted" : ""}` }, version.letter);
  const [fill, ink] = data.palette[version.colour];
  badge.style.background = fill;
  badge.style.color = ink;
  return badge;
}

function showPanel() {
  const panel = byId("panel");
  const event = chosen.event === null ? null : eventAt(chosen.event);
  if (!event) {
    panel.replaceChildren(element("p", { className: "when" }, "Choose an event to see what is in it."));
    return;
  }
  const when = `${seconds(event.at)} s${event.peer === null ? "" : ` · ${peerName(event.peer)}`} · event ${event.i}`;
  panel.replaceChildren(
    element("h2", {}, event.line),
    element("p", { className: "when" }, when),
    ...aboutMessage(event),
    ...aboutCommit(event),
    ...(event.more ?? []).filter(([, text]) => !event.line.includes(text)).flatMap(([name, text]) => aboutText(name, text)),
    ...aboutRoom(event),
  );
  panel.scrollTop = 0;
}

function aboutText(name, text) {
  if (text === "") return [];
  const short = text.length < 60 && !/^[[{]/.test(text);
  const shown = short ? element("p", {}, text) : element("pre", {}, indented(text));
  return [element("h3", {}, name[0].toUpperCase() + name.slice(1)), shown];
}

function aboutMessage(event) {
  const arrow = arrowByEvent.get(event.i);
  if (!arrow) return [];
  const says = [];
  const links = element("div", { className: "links" });
  const isSending = event.i === arrow.sent;
  if (isSending) {
    for (const one of arrowsOf.get(arrow.message)) {
      const arrival = one.delivered === null ? null : eventAt(one.delivered);
      if (one.delivered === null) says.push("It never arrived.");
      else if (arrival) {
        says.push(`It arrived ${duration(arrival.at - event.at)} later.`);
        links.append(jump(`To its arrival at ${peerName(one.to)}`, one.delivered));
      }
    }
  } else {
    const sending = eventAt(arrow.sent);
    if (sending) {
      says.push(`It was under way for ${duration(event.at - sending.at)}.`);
      links.append(jump(`To its sending at ${peerName(arrow.from)}`, arrow.sent));
    }
  }
  const payload = isSending ? [] : (eventAt(arrow.sent)?.more ?? []).flatMap(([name, text]) => aboutText(name, text));
  return [...says.map((text) => element("p", {}, text)), links, ...payload];
}

function jump(text, index) {
  const link = element("button", { type: "button" }, text);
  link.addEventListener("click", () => choose(index, { reveal: true }));
  return link;
}

function aboutCommit(event) {
  if (event.kind !== "committed") return [];
  const parts = [];
  const others = element("div", { className: "links" });
  for (const [place, made] of event.commits ?? []) {
    const changed = data.documents[place];
    if (place === chosen.document) parts.push(...aboutChange(event, changed, changed.versions[made]));
    else {
      const other = element("button", { type: "button" }, `${changed.id} `, versionBadge(changed.versions[made]));
      other.addEventListener("click", () => chooseDocument(place));
      others.append(other);
    }
  }
  if (others.children.length > 0) parts.push(element("h3", {}, parts.length > 0 ? "In the same commit" : "Other documents"), others);
  return parts;
}

function aboutChange(event, changed, after) {
  const before = versionAt(event.peer, event.i, { before: true });
  const change = element("div", { className: "change" }, versionBadge(before), "→", versionBadge(after), changed.id);
  const shown = differenceShown(before, after);
  const parts = [element("h3", {}, "Version before and after"), change];
  if (before === after) parts.push(element("p", { className: "when" }, "The same version as before."));
  if (after.view === null) parts.push(element("p", { className: "when" }, "It is deleted."));
  if (shown.children.length > 0) parts.push(element("h3", {}, "What applications see"), shown);
  const heads = after.heads.length === 1 ? "Head" : `${after.heads.length} heads, in conflict`;
  parts.push(element("h3", {}, heads), element("pre", {}, after.heads.join("\n")));
  return parts;
}

function differenceShown(before, after) {
  const shown = element("pre", { className: "difference" });
  for (const [sign, line] of difference(before?.view ?? null, after?.view ?? null)) {
    const kind = { "+": "added", "-": "removed", " ": "" }[sign];
    shown.append(element("span", { className: kind }, `${sign} ${line}`));
  }
  return shown;
}

function aboutRoom(event) {
  if (data.documents.length === 0) return [];
  const table = element("table");
  const versions = new Set();
  for (let lane = 0; lane < data.lanes; lane++) {
    const version = versionAt(lane, event.i);
    const state = stateAt(lane, event.i);
    if (state === "") versions.add(version);
    const row = element("tr", { className: lane === event.peer ? "here" : "" },
      element("td", {}, peerName(lane)), element("td", {}, versionBadge(version)), element("td", {}, state));
    table.append(row);
  }
  const id = data.documents[chosen.document].id;
  const agree = versions.size <= 1 ? "the running peers agree" : `${versions.size} states`;
  const parts = [element("h3", {}, `${id} at this moment: ${agree}`), table];
  return event.kind === "violated" ? [...parts, ...aboutDivergence([...versions])] : parts;
}

// As many states are compared at a violation; more do not help.
const STATES_MAX = 4;

function aboutDivergence([first, ...others]) {
  const compared = others.slice(0, STATES_MAX - 1).flatMap((other) => {
    const lines = first?.view === other?.view
      ? element("p", { className: "when" }, "Applications see the same; what lies behind it differs.")
      : differenceShown(first, other);
    return [element("h3", { className: "change" }, "From ", versionBadge(first), " to ", versionBadge(other)), lines];
  });
  const left = others.length - (STATES_MAX - 1);
  return left > 0 ? [...compared, element("p", { className: "when" }, `${left} more states are not compared.`)] : compared;
}
