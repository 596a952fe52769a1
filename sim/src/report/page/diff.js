// What changed between two views of a document, line by line.

// JSON over several lines. Works on the text, because JavaScript would round the large integers of a document.
function indented(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  let [made, depth, inString] = ["", 0, false];
  const newLine = () => `\n${"  ".repeat(Math.max(depth, 0))}`;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (inString) {
      made += letter;
      if (letter === "\\") made += text[++at] ?? "";
      else if (letter === '"') inString = false;
    } else if (letter === '"') {
      inString = true;
      made += letter;
    } else if ("{[".includes(letter)) {
      if ("}]".includes(text[at + 1])) made += letter + text[++at];
      else { depth++; made += letter + newLine(); }
    } else if ("}]".includes(letter)) {
      depth--;
      made += newLine() + letter;
    } else if (letter === ",") made += letter + newLine();
    else if (letter === ":") made += ": ";
    else if (!/\s/.test(letter)) made += letter;
  }
  return made;
}

// As many pairs of lines are compared at most; where more differ, everything old is shown removed and everything new added.
const COMPARISONS_MAX = 4_000_000;

// Lines with " ", "-" or "+": a longest common subsequence, after what both begin and end with.
function difference(before, after) {
  const [left, right] = [before, after].map((text) => (text === null ? [] : indented(text).split("\n")));
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start++;
  let [leftEnd, rightEnd] = [left.length, right.length];
  while (leftEnd > start && rightEnd > start && left[leftEnd - 1] === right[rightEnd - 1]) { leftEnd--; rightEnd--; }
  const same = (lines) => lines.map((line) => [" ", line]);
  const middle = compared(left.slice(start, leftEnd), right.slice(start, rightEnd));
  return [...same(left.slice(0, start)), ...middle, ...same(left.slice(leftEnd))];
}

function compared(left, right) {
  const all = (sign, lines) => lines.map((line) => [sign, line]);
  if (left.length * right.length > COMPARISONS_MAX) return [...all("-", left), ...all("+", right)];
  const width = right.length + 1;
  const common = new Uint32Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      common[i * width + j] = left[i] === right[j]
        ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < left.length && j < right.length) {
    if (left[i] === right[j]) { lines.push([" ", left[i++]]); j++; }
    else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) lines.push(["-", left[i++]]);
    else lines.push(["+", right[j++]]);
  }
  return [...lines, ...all("-", left.slice(i)), ...all("+", right.slice(j))];
}
