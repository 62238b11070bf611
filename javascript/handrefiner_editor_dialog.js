// The editor's window: its buttons, keys and words.

function handrefinerMake(kind, properties = {}, ...inside) {
    const made = document.createElement(kind);
    for (const [name, value] of Object.entries(properties)) {
        if (name.includes('-') || name === 'role') made.setAttribute(name, value);
        else made[name] = value;
    }
    made.append(...inside);
    return made;
}

const HANDREFINER_FINGERS = {
    thumb: 'Thumb', index: 'Index finger', middle: 'Middle finger', ring: 'Ring finger', little: 'Little finger',
};
const HANDREFINER_PARTS = {
    cmc: 'base', mcp: 'knuckle', pip: 'middle joint', ip: 'end joint', dip: 'end joint', tip: 'tip',
};

// "index_tip" as people say it.
function handrefinerJoint(name) {
    const [finger, part] = name.split('_');
    if (!part) return handrefinerSay('Wrist');
    return `${handrefinerSay(HANDREFINER_FINGERS[finger])}, ${handrefinerSay(HANDREFINER_PARTS[part])}`;
}

class HandrefinerDialog {
    static shown = null; // for the browser's console and the tests

    constructor(tab) {
        HandrefinerDialog.shown?.end();
        HandrefinerDialog.shown = this;
        this.tab = tab;
        this.opener = document.activeElement;
        this.status = handrefinerMake('p', {className: 'status', role: 'status'});
        this.closer = handrefinerMake('button', {className: 'close', textContent: '×', title: handrefinerSay('Close'),
            'aria-label': handrefinerSay('Close'), onclick: () => this.end()});
        this.stage = handrefinerMake('div', {className: 'stage'});
        this.side = handrefinerMake('div', {className: 'side'});
        this.whole = handrefinerMake('div', {id: 'handrefiner_editor', role: 'dialog', 'aria-modal': 'true',
            'aria-label': handrefinerSay('Hand editor')}, this.stage, this.side, this.status, this.closer);
        // Of the whole page: where the button that has the focus goes or is disabled, keys go to the page.
        this.listener = (event) => this.press(event);
        document.addEventListener('keydown', this.listener, true);
        document.body.append(this.whole);
        this.closer.focus();
    }

    say(words, isFault = false) {
        const said = handrefinerSay(words);
        if (this.status.textContent !== said) this.status.textContent = said;
        this.status.classList.toggle('fault', isFault);
    }

    // --- what is built once

    begin(session) {
        this.session = session;
        const paper = handrefinerMake('canvas', {tabIndex: 0, role: 'application', 'aria-describedby':
            'handrefiner_editor_help'});
        this.stage.append(paper);
        this.canvas = new HandrefinerCanvas(paper, session);
        this.canvas.resize();
        this.side.append(
            this.buildHands(), this.buildChanges(), this.buildFingers(), this.buildView(), this.buildMaps(),
            this.buildHelp(), this.buildEnd(),
        );
        paper.focus();
    }

    button(words, key, act, more = {}) {
        const said = handrefinerSay(words);
        return handrefinerMake('button', {textContent: said, title: key ? `${said} (${key})` : said,
            onclick: act, ...more});
    }

    // Two buttons that go on as long as they are held.
    pair(words, [less, more], keys, act) {
        const said = handrefinerSay(words);
        const made = [[less, -1, keys[0]], [more, 1, keys[1]]].map(([sign, way, key]) => {
            const name = `${said} ${sign}`;
            const button = handrefinerMake('button', {textContent: sign, title: key ? `${said} (${key})` : said,
                'aria-label': name});
            handrefinerHold(button, () => act(way));
            return button;
        });
        return handrefinerMake('div', {className: 'pair', role: 'group', 'aria-label': said},
            handrefinerMake('span', {textContent: said}), ...made);
    }

    buildHands() {
        this.list = handrefinerMake('div', {className: 'list', role: 'group', 'aria-label': handrefinerSay('Hands')});
        const {session} = this;
        this.remover = this.button('Remove', 'Delete', () => session.remove());
        return handrefinerMake('section', {className: 'hands'}, this.list, handrefinerMake('div', {className: 'row'},
            this.button('Add hand', 'A', () => this.addInMiddle()), this.remover));
    }

    addInMiddle() {
        const {width, height} = this.canvas.canvas;
        this.session.add(this.canvas.toPicture([width / 2, height / 2]));
    }

    buildChanges() {
        const {session} = this;
        const change = (kind, amount) => (way) => session.step({[kind]: way * amount}, kind);
        this.undoer = this.button('Undo', 'Ctrl+Z', () => session.undo());
        this.redoer = this.button('Redo', 'Ctrl+Y', () => session.redo());
        this.resetter = this.button('Reset to the fit', '', () => session.reset());
        this.whole_hand = handrefinerMake('fieldset', {},
            this.pair('Turn', ['⟲', '⟳'], [',', '.'], change('spin', 3)),
            this.pair('Roll about the arm', ['−', '+'], ['[', ']'], change('roll', 5)),
            this.pair('Tilt', ['−', '+'], ['PageDown', 'PageUp'], change('tilt', 5)),
            this.pair('Size', ['−', '+'], ['-', '+'], (way) => session.step({scale: 1.03 ** way}, 'scale')),
            this.pair('Wrist length', ['−', '+'], ['', ''], (way) => this.lengthen(way)),
            handrefinerMake('div', {className: 'row'},
                this.button('Flip palm and back', 'F', () => session.step({flip: true})),
                this.button('Left or right', 'S', () => this.changeSide())));
        return handrefinerMake('section', {}, handrefinerMake('div', {className: 'row'}, this.undoer, this.redoer,
            this.resetter), this.whole_hand);
    }

    lengthen(way) {
        const now = this.session.chosen()?.hand.wrist_length ?? 1;
        this.session.step({wrist_length: handrefinerTenth(Math.min(Math.max(now + 0.2 * way, 0.2), 6))}, 'wrist');
    }

    changeSide() {
        const side = this.session.chosen()?.hand.side === 'left' ? 'right' : 'left';
        this.session.step({side});
    }

    choice(words, entries, act) {
        const select = handrefinerMake('select', {'aria-label': handrefinerSay(words)},
            ...entries.map(([value, said]) => handrefinerMake('option', {value, textContent: said})));
        select.addEventListener('change', () => act(select.value));
        return [select, handrefinerMake('label', {className: 'choice'}, handrefinerMake('span',
            {textContent: handrefinerSay(words)}), select)];
    }

    buildFingers() {
        const {session} = this;
        const gestures = ['', ...session.vocabulary.gestures].map((name) => [name, name ? handrefinerSay(name) : '–']);
        const joints = [['', handrefinerSay('The whole hand')],
            ...session.vocabulary.joint_names.map((name, n) => [String(n), handrefinerJoint(name)])];
        let gesture, joint;
        [this.gesture, gesture] = this.choice('Gesture', gestures, (name) => {
            if (name) session.step({gesture: name});
            this.gesture.value = '';
        });
        [this.joint, joint] = this.choice('Arrow keys move', joints, (n) => {
            session.chooseJoint(n === '' ? null : Number(n));
            this.canvas.draw();
        });
        this.fingers = handrefinerMake('fieldset', {}, gesture, this.buildGestures(), joint);
        return handrefinerMake('section', {}, this.fingers);
    }

    // The panel's own pictures, for the mouse; keys and screen readers have the list above them.
    buildGestures() {
        const shown = gradioApp().querySelectorAll(`#handrefiner_${this.tab}_gestures .thumbnail-item`);
        const strip = handrefinerMake('div', {className: 'strip'});
        const {gestures} = this.session.vocabulary;
        for (const item of shown) {
            const words = item.querySelector('.caption-label')?.textContent.trim(); // in the page's language
            const name = gestures.find((one) => [one, handrefinerSay(one)].includes(words));
            if (!name) continue;
            const picture = handrefinerMake('img', {src: item.querySelector('img').src, alt: words});
            strip.append(handrefinerMake('button', {title: words, tabIndex: -1,
                onclick: () => this.session.step({gesture: name})}, picture));
        }
        return strip;
    }

    buildView() {
        const styles = [['mesh', 'Mesh'], ['depth', 'Depth'], ['joints', 'Joints']];
        const [, label] = this.choice('View', styles.map(([value, words]) => [value, handrefinerSay(words)]),
            (style) => {
                this.canvas.style = style;
                this.canvas.draw();
            });
        return handrefinerMake('section', {}, label, handrefinerMake('div', {className: 'row'},
            this.button('Zoom to the hand', 'Z', () => this.zoom()),
            this.button('Whole picture', '0', () => this.canvas.showAll())));
    }

    zoom() {
        if (this.session.chosen()) this.canvas.showHand(this.session.chosen());
    }

    buildMaps() {
        this.maps = ['depth', 'mask'].map((name) => {
            const words = handrefinerSay({depth: 'Depth', mask: 'Mask'}[name]);
            return [name, handrefinerMake('img', {alt: words, title: words})];
        });
        return handrefinerMake('section', {className: 'maps'}, ...this.maps.map(([, picture]) => picture));
    }

    buildHelp() {
        const words = 'Drag a joint and the hand follows; drag the hand to move it. The wheel or two fingers zoom, '
            + 'dragging beside a hand shifts the picture. Arrow keys move what is chosen, with Shift ten times as far; '
            + 'N goes to the next hand, Escape closes.';
        return handrefinerMake('p', {className: 'help', id: 'handrefiner_editor_help', textContent: handrefinerSay(words)});
    }

    buildEnd() {
        const {session} = this;
        this.user = this.button('Use this pose', '', () => session.use(), {className: 'primary'});
        const again = this.button('Search again', '', () => session.searchAgain());
        again.title = handrefinerSay('The next runs look for hands by themselves; the pose in the panel is removed.');
        return handrefinerMake('section', {className: 'end'}, again, this.user);
    }

    // --- what changes

    show() {
        const {session} = this;
        if (!this.list) return;
        const chosen = session.chosen();
        const order = [...session.hands].sort((a, b) => a.number - b.number);
        const listed = JSON.stringify([chosen?.id, order.map((hand) => [hand.id, hand.number, hand.hand.side])]);
        if (this.listed !== listed) this.listHands(order, chosen);
        this.listed = listed; // a new list with every step would be laid out with every step
        this.canvas.canvas.setAttribute('aria-label', chosen
            ? `${handrefinerSay('Hand')} ${chosen.number}: ${this.name(chosen)}` : handrefinerSay('Hand editor'));
        for (const part of [this.remover, this.whole_hand, this.fingers]) part.disabled = !chosen;
        this.undoer.disabled = !session.changes.past.length;
        this.redoer.disabled = !session.changes.future.length;
        this.showJoint();
    }

    listHands(order, chosen) {
        const hasFocus = this.list.contains(document.activeElement);
        this.list.replaceChildren(...order.map((hand) => handrefinerMake('button', {
            textContent: `${hand.number} ${this.name(hand)}`, 'aria-pressed': String(hand === chosen),
            onclick: () => this.session.choose(hand.id),
        })));
        if (hasFocus) this.list.querySelector('[aria-pressed="true"]')?.focus();
    }

    name(hand) {
        return handrefinerSay(hand.hand.side === 'left' ? 'Left hand' : 'Right hand');
    }

    showJoint() {
        if (this.joint) this.joint.value = this.session.joint === null ? '' : String(this.session.joint);
    }

    showMaps(maps) {
        for (const [name, picture] of this.maps) {
            picture.src = maps[name].startsWith('data:') ? maps[name] : `data:image/png;base64,${maps[name]}`;
        }
    }

    // --- keys

    press(event) {
        event.stopPropagation(); // the WebUI has keys of its own
        if (event.key === 'Escape') return this.leave();
        if (event.key === 'Tab') return this.keepFocus(event);
        if (!this.session || event.altKey) return;
        const isTyped = event.target.nodeName === 'SELECT' && !event.ctrlKey && !event.metaKey;
        const act = isTyped ? null : this.keys(event);
        if (!act) return;
        event.preventDefault();
        act();
    }

    keys(event) {
        const {session} = this;
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
        if (event.ctrlKey || event.metaKey) {
            return {z: () => (event.shiftKey ? session.redo() : session.undo()), y: () => session.redo()}[key];
        }
        const far = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(this.session.size.width / 512));
        const step = (what, act) => () => session.step(what, act);
        return {
            ArrowLeft: () => this.shift(-far, 0),
            ArrowRight: () => this.shift(far, 0),
            ArrowUp: () => this.shift(0, -far),
            ArrowDown: () => this.shift(0, far),
            '+': step({scale: 1.03}, 'scale'),
            '=': step({scale: 1.03}, 'scale'),
            '-': step({scale: 1 / 1.03}, 'scale'),
            '[': step({roll: -5}, 'roll'),
            ']': step({roll: 5}, 'roll'),
            ',': step({spin: -3}, 'spin'),
            '.': step({spin: 3}, 'spin'),
            PageUp: step({tilt: 5}, 'tilt'),
            PageDown: step({tilt: -5}, 'tilt'),
            f: step({flip: true}),
            s: () => this.changeSide(),
            a: () => this.addInMiddle(),
            n: () => this.next(),
            z: () => this.zoom(),
            0: () => this.canvas.showAll(),
            Delete: () => session.remove(),
            Backspace: () => session.remove(),
        }[key];
    }

    shift(x, y) {
        const {session} = this;
        const {joint} = session;
        if (joint === null) {
            session.step({move: [x, y]}, 'move');
            return;
        }
        const hand = session.chosen();
        // While a step is under way, the next starts where that one wants the joint.
        const from = session.steps.busy && this.aim?.joint === joint ? this.aim.to : hand.joints[joint];
        this.aim = {joint, to: [from[0] + x, from[1] + y]};
        session.step({drag: {joint: session.vocabulary.joint_names[joint], to: this.aim.to}}, `joint ${joint}`);
    }

    next() {
        const order = [...this.session.hands].sort((a, b) => a.number - b.number);
        if (!order.length) return;
        const place = order.indexOf(this.session.chosen());
        this.session.choose(order[(place + 1) % order.length].id);
    }

    keepFocus(event) {
        const all = [...this.whole.querySelectorAll('canvas, button, select')].filter((part) => (
            part.tabIndex >= 0 && !part.disabled && !part.closest('fieldset:disabled')));
        const place = all.indexOf(document.activeElement);
        event.preventDefault();
        all[(place + (event.shiftKey ? -1 : 1) + all.length) % all.length]?.focus();
    }

    // The first Escape keeps what one has done.
    leave() {
        if (!this.session?.isChanged || this.warned) return this.end();
        this.warned = true;
        setTimeout(() => { this.warned = false; }, 4000);
        this.say('Escape once more closes without using this pose.');
    }

    end() {
        if (this.ended) return;
        this.ended = true;
        document.removeEventListener('keydown', this.listener, true);
        clearTimeout(this.session?.timer);
        this.canvas?.end();
        this.whole.remove();
        this.opener?.focus();
    }
}

// A press acts once; held, it goes on.
function handrefinerHold(button, act) {
    let [waits, goes, held] = [0, 0, false];
    const stop = () => {
        clearTimeout(waits);
        clearInterval(goes);
    };
    button.addEventListener('pointerdown', () => {
        held = false;
        stop();
        waits = setTimeout(() => {
            held = true;
            goes = setInterval(act, 80);
        }, 350);
    });
    for (const end of ['pointerup', 'pointerleave', 'pointercancel']) button.addEventListener(end, stop);
    button.addEventListener('click', () => (held ? (held = false) : act()));
}
