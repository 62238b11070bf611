// What the hand editor asks of HandRefiner's own routes, and what it remembers for undo and redo.

// The text in the language of the page; the WebUI's own translation sees only what is inside its app. Numbers in a
// sentence are {} in the translations, in the same order.
function handrefinerSay(text) {
    const known = globalThis.localization ?? {};
    if (known[text]) return known[text];
    const numbers = [];
    const sentence = text.replace(/\d+(\.\d+)?%?/g, (number) => {
        numbers.push(number);
        return '{}';
    });
    return known[sentence]?.replace(/\{\}/g, () => numbers.shift()) ?? text;
}

async function handrefinerAsk(path, body) {
    const request = body === undefined ? {} : {
        method: 'POST',
        headers: {'Content-Type': 'application/json'},
        body: JSON.stringify(body),
    };
    let answer;
    try {
        answer = await fetch(`./handrefiner/v1/editor${path}`, request);
    } catch {
        throw new Error(handrefinerSay('The WebUI does not answer; see whether it still runs.'));
    }
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) return said;
    const detail = Array.isArray(said.detail) ? said.detail[0]?.msg : said.detail;
    throw new Error(String(detail ?? `HTTP ${answer.status}`));
}

// Sends one step at a time. What is wanted meanwhile waits and is merged, so that a fast mouse makes
// no queue: of a drag the newest place counts, of moves and turns the sum.
class HandrefinerSteps {
    constructor(size, find, answered, failed) {
        Object.assign(this, {size, find, answered, failed});
        this.waiting = [];
        this.running = null;
        this.age = 0;
    }

    get busy() {
        return this.running !== null || this.waiting.length > 0;
    }

    // start: an act that is one edit of the hand as it was when the act began, such as a drag, which is
    // noted in it once the steps before it are answered; without it, each step goes on from the last one.
    want(id, what, start = null) {
        const last = this.waiting[this.waiting.length - 1];
        const merged = last?.id === id && last.start === start ? handrefinerMerge(last.what, what) : null;
        if (merged) {
            last.what = merged;
        } else {
            this.waiting.push({id, what, start});
        }
        if (this.running === null) this.next();
    }

    // How far a hand will have moved by what is not answered yet, in the picture's pixels.
    shift(id) {
        const open = [this.running, ...this.waiting].filter((step) => step?.id === id && step.what.move);
        return open.reduce(([x, y], {what}) => [x + what.move[0], y + what.move[1]], [0, 0]);
    }

    forget() {
        this.waiting = [];
        this.age += 1;
    }

    async next() {
        const step = this.waiting.shift();
        if (!step) return;
        const now = this.find(step.id)?.hand ?? null;
        if (step.start) step.start.record ??= now;
        const hand = step.start?.record ?? now;
        const age = this.age;
        this.running = step;
        const began = performance.now();
        try {
            const made = await handrefinerAsk('/step', {...this.size, hand, do: step.what, packed: true});
            made.vertices = handrefinerUnpack(made.vertices);
            this.running = null;
            if (age === this.age) this.answered(step.id, made, began);
        } catch (error) {
            this.running = null;
            if (age === this.age) {
                this.waiting = [];
                this.failed(error);
            }
        }
        this.next();
    }
}

function handrefinerMerge(one, other) {
    const [kind, ...more] = Object.keys(other);
    if (more.length || !(kind in one)) return null;
    const [a, b] = [one[kind], other[kind]];
    switch (kind) {
    case 'drag': return a.joint === b.joint ? other : null;
    case 'move': return {move: [a[0] + b[0], a[1] + b[1]]};
    case 'scale': return {scale: a * b};
    case 'spin': case 'roll': case 'tilt': return {[kind]: a + b};
    case 'wrist_length': return other;
    default: return null;
    }
}

// Hands are never changed, only replaced, so that a list of them is all there is to remember.
class HandrefinerHistory {
    static ONE_ACT_MS = 700;
    static MOST = 200;

    constructor() {
        this.past = [];
        this.future = [];
        this.act = null;
        this.time = 0;
    }

    // Called before a change; a key held down, or one drag, is one act and undone at once.
    note(hands, act) {
        const now = performance.now();
        const goesOn = act !== null && act === this.act && now - this.time < HandrefinerHistory.ONE_ACT_MS;
        this.act = act;
        this.time = now;
        if (goesOn) return;
        this.past.push(hands);
        if (this.past.length > HandrefinerHistory.MOST) this.past.shift();
        this.future = [];
    }

    undo(hands) {
        return this.swap(this.past, this.future, hands);
    }

    redo(hands) {
        return this.swap(this.future, this.past, hands);
    }

    swap(from, to, hands) {
        this.act = null;
        if (!from.length) return hands;
        to.push(hands);
        return from.pop();
    }
}
