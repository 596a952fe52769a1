// What becomes of a todo that was edited here and elsewhere at once: each field is taken from the side that changed it,
// and from the other where both did. The handler `field-wise` of Peerloom does the same there.

/** @type {import('rxdb').RxConflictHandler} */
export const fieldWise = {
    isEqual: (left, right) => same(left, right),
    resolve({ newDocumentState: ours, assumedMasterState: before = {}, realMasterState: theirs }) {
        const resolved = { ...theirs };
        for (const field of Object.keys(ours)) {
            if (same(theirs[field], before[field])) resolved[field] = ours[field];
        }
        return resolved;
    },
};

function same(left, right) {
    if (left === right) return true;
    if (left === null || right === null || typeof left !== 'object' || typeof right !== 'object') return false;
    const fields = new Set([...Object.keys(left), ...Object.keys(right)]);
    return [...fields].every((field) => same(left[field], right[field]));
}
