// The hand editor: opens over the page for the picture of the preview (or the gallery's selected one),
// lets one drag the hands that were found, and puts the result, a pose, into the panel's field. The hand's
// own rules, which angles a finger can have, are on the server (/handrefiner/v1/editor).

// Called by the page; values: those of the panel, in the order of names, then the preview's picture.
// Returns what is to stand below the preview.
function handrefinerEdit(tab, names, values) {
    const params = Object.fromEntries(names.map((name, n) => [name, values[n]]));
    const sketch = handrefinerIsEmpty(tab) ? null : values[names.length];
    const given = handrefinerPicture(sketch) ?? handrefinerSelected(tab);
    if (!given) {
        const words = 'Drop a picture here first, or take the selected one of the gallery.';
        return `<p>${handrefinerSay(words)}</p>`;
    }
    handrefinerOpen(tab, given, params);
    return gradioApp().querySelector(`#handrefiner_${tab}_said .prose`)?.innerHTML ?? '';
}

// The address of a sketch's picture, in gradio 3 ({image}) and 4 ({background}).
function handrefinerPicture(sketch) {
    const inside = sketch?.image ?? sketch?.background ?? sketch;
    return typeof inside === 'string' ? inside : inside?.url ?? null;
}

// Gradio 4's editor always gives a picture: without one, a transparent one.
function handrefinerIsEmpty(tab) {
    return gradioApp().querySelector(`#handrefiner_${tab}_sketch .stage-wrap.bg`) !== null;
}

function handrefinerSelected(tab) {
    const shown = gradioApp().querySelectorAll(`#${tab}_gallery .thumbnail-item img`);
    const chosen = gradioApp().querySelector(`#${tab}_gallery .thumbnail-item.selected img`);
    return (chosen ?? shown[0])?.src ?? null;
}

async function handrefinerOpen(tab, address, params) {
    const dialog = new HandrefinerDialog(tab);
    dialog.say('Looking for hands …');
    try {
        const picture = new Image();
        picture.src = address;
        await picture.decode();
        if (handrefinerIsClear(picture)) {
            picture.src = handrefinerSelected(tab) ?? address;
            await picture.decode();
        }
        const session = new HandrefinerSession(tab, picture, params, dialog);
        await session.start();
    } catch (error) {
        dialog.say(error.message, true);
    }
}

// Whether nothing is in a picture, as in gradio 4's editor into which the taken one has not come yet: its value
// is read when the button is pressed, before handrefinerEdit is called.
function handrefinerIsClear(picture) {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    const pen = canvas.getContext('2d');
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    return !pen.getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0);
}

// What the server takes: the picture itself, not its address.
function handrefinerPixels(picture) {
    if (picture.src.startsWith('data:')) return picture.src;
    const canvas = document.createElement('canvas');
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    canvas.getContext('2d').drawImage(picture, 0, 0);
    return canvas.toDataURL('image/png');
}

class HandrefinerSession {
    static MAPS_AFTER_MS = 150;
    static MAPS_WHILE_MOVED_MS = 300; // between two, so that they do not hold up the steps
    static MAPS_PX = 256; // as wide as they are shown where a point has four pixels
    static vocabulary = null;

    constructor(tab, picture, params, dialog) {
        Object.assign(this, {tab, picture, dialog});
        this.params = {...params, hands: 'all'};
        this.size = {width: picture.naturalWidth, height: picture.naturalHeight};
        this.hands = [];
        this.id = null;
        this.joint = null;
        this.ids = 0;
        this.fit = null;
        this.changes = new HandrefinerHistory();
        this.steps = new HandrefinerSteps(
            this.size, (id) => this.hands.find((hand) => hand.id === id),
            (...answer) => this.answered(...answer), (error) => this.dialog.say(error.message, true),
        );
        this.measured = null;
    }

    async start() {
        HandrefinerSession.vocabulary ??= await handrefinerAsk('');
        this.vocabulary = HandrefinerSession.vocabulary;
        this.mesh = new HandrefinerMesh(this.vocabulary.faces, this.vocabulary.face_fingers);
        const hands = await this.search(this.params);
        if (this.dialog.ended) return; // closed while the search went on
        if (!this.params.pose) this.fit = hands;
        this.hands = hands;
        this.first = hands;
        this.id = hands[0]?.id ?? null;
        this.dialog.begin(this);
        this.changed();
        this.dialog.say(hands.length ? '' : 'No hand was found here; add one.');
        const small = this.chosen() && this.dialog.canvas.looksSmall(this.chosen());
        if (small) this.dialog.canvas.showHand(this.chosen());
    }

    async search(params) {
        const said = await handrefinerAsk('/find', {image: handrefinerPixels(this.picture), params, packed: true});
        return said.hands.map((hand) => (
            {...hand, vertices: handrefinerUnpack(hand.vertices), id: this.newId()}));
    }

    newId() {
        this.ids += 1;
        return this.ids;
    }

    get isChanged() {
        return this.hands !== this.first;
    }

    chosen() {
        return this.hands.find((hand) => hand.id === this.id) ?? null;
    }

    choose(id) {
        this.id = id;
        this.joint = null;
        this.changed();
    }

    chooseJoint(joint) {
        this.joint = joint;
        this.dialog.showJoint();
    }

    // --- changes

    // act: names what belongs together for undo; null for a change of its own. start: see HandrefinerSteps.
    step(what, act = null, start = null) {
        if (this.id === null) return;
        this.changes.note(this.hands, act);
        this.steps.want(this.id, what, start);
        this.dialog.canvas.draw();
    }

    answered(id, made, began) {
        const hand = {...made, id};
        const isNew = !this.hands.some((one) => one.id === id);
        this.replace(isNew ? [...this.hands, hand] : this.hands.map((one) => (one.id === id ? hand : one)));
        if (isNew) Object.assign(this, {id, joint: null});
        this.measured = began;
        this.dialog.say(made.clamped ? 'That is as far as a hand can go.' : '');
        this.changed();
    }

    // Numbers go from left to right, as in the preview and in a run.
    replace(hands) {
        const order = [...hands].sort((a, b) => a.box[0] - b.box[0] || a.box[1] - b.box[1]);
        this.hands = hands.map((hand) => ({...hand, number: order.indexOf(hand) + 1}));
    }

    // Where and how large: beside those that are there, as large as they are, the side that is missing.
    add(at) {
        const sides = this.hands.map((hand) => hand.hand.side);
        const extent = (places) => Math.max(...places) - Math.min(...places);
        const sizes = this.hands.map(({joints}) => Math.max(...[0, 1].map(
            (axis) => extent(joints.map((place) => place[axis])))));
        const least = Math.min(this.size.width, this.size.height);
        const size = sizes.length ? Math.max(...sizes) : 0.3 * least;
        const side = sides.includes('right') && !sides.includes('left') ? 'left' : 'right';
        this.changes.note(this.hands, null);
        this.steps.want(this.newId(), {add: {at: at.map(handrefinerTenth), size: handrefinerTenth(size), side}});
    }

    remove() {
        if (this.id === null) return;
        this.setHands(this.hands.filter((hand) => hand.id !== this.id));
    }

    setHands(hands) {
        this.changes.note(this.hands, null);
        this.steps.forget();
        this.replace(hands);
        this.keepChoice();
    }

    keepChoice() {
        if (!this.chosen()) this.id = this.hands[0]?.id ?? null;
        this.joint = null;
        this.dialog.say(this.hands.length ? '' : 'No hand is painted while there is none here.');
        this.changed();
    }

    undo() {
        this.steps.forget();
        this.hands = this.changes.undo(this.hands);
        this.keepChoice();
    }

    redo() {
        this.steps.forget();
        this.hands = this.changes.redo(this.hands);
        this.keepChoice();
    }

    // Every hand as the search finds it, whatever pose was in the field when the editor opened.
    async reset() {
        try {
            this.fit ??= await this.search({...this.params, pose: '', gesture: ''});
            this.setHands(this.fit);
        } catch (error) {
            this.dialog.say(error.message, true);
        }
    }

    changed() {
        this.dialog.show();
        this.dialog.canvas?.draw();
        this.wantMaps();
    }

    // Soon after the last change, and now and then while changes go on.
    wantMaps() {
        clearTimeout(this.timer);
        const sinceLast = performance.now() - (this.mapped ?? -Infinity);
        const wait = Math.max(HandrefinerSession.MAPS_AFTER_MS, HandrefinerSession.MAPS_WHILE_MOVED_MS - sinceLast);
        const isDue = sinceLast > HandrefinerSession.MAPS_WHILE_MOVED_MS;
        this.timer = setTimeout(() => this.askMaps(), isDue && this.steps.busy ? 0 : wait);
    }

    // The time from a wish to its picture, for whoever looks with the browser's own tools.
    painted() {
        if (this.measured === null) return;
        performance.measure('handrefiner editor step', {start: this.measured, end: performance.now()});
        this.measured = null;
    }

    async askMaps() {
        if (this.asking || this.dialog.ended) return;
        this.asking = true;
        const meant = this.hands;
        try {
            const body = {...this.size, preview: HandrefinerSession.MAPS_PX, pose: this.pose(), params: {...this.params, pose: '', gesture: ''}};
            const maps = await handrefinerAsk('/maps', body);
            if (!this.dialog.ended) this.dialog.showMaps(maps);
        } catch (error) {
            this.dialog.say(error.message, true);
        }
        this.asking = false;
        this.mapped = performance.now();
        if (meant !== this.hands) this.wantMaps();
    }

    // --- the result

    pose() {
        return {handrefiner_pose: 1, ...this.size, hands: this.hands.map(({hand}) => hand)};
    }

    async settled() {
        while (this.steps.busy) await new Promise((resolve) => setTimeout(resolve, 20));
    }

    async use() {
        await this.settled();
        if (this.dialog.ended) return;
        this.write('pose', JSON.stringify(this.pose()));
        this.write('gesture', ''); // the pose has these fingers
        this.write('hands', 'all'); // and no hand that is not meant
        this.close();
    }

    searchAgain() {
        this.write('pose', '');
        this.close();
    }

    write(name, text) {
        const field = gradioApp().querySelector(`#handrefiner_${this.tab}_${name} textarea, `
            + `#handrefiner_${this.tab}_${name} input`);
        if (!field || field.value === text) return;
        field.value = text;
        updateInput(field);
    }

    // Shows at once what the next run will do, where the preview has a picture.
    close() {
        this.dialog.end();
        const sketch = gradioApp().querySelector(`#handrefiner_${this.tab}_sketch`);
        if (sketch?.querySelector('canvas, img') && !handrefinerIsEmpty(this.tab)) {
            setTimeout(() => gradioApp().getElementById(`handrefiner_${this.tab}_show`)?.click(), 100);
        }
    }
}
