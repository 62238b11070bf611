// The picture with its hands: drawing, zoom, and what mouse, pen and fingers do to them. `hands` are the
// session's; every change goes through `session`, which asks the server and then draws again.

const HANDREFINER_COLOURS = ['#ffffff', '#ff5b5b', '#ffa033', '#49c46b', '#3b93f0', '#b86bf5'];

class HandrefinerCanvas {
    static HIT = {mouse: 14, pen: 16, touch: 24};

    constructor(canvas, session) {
        this.canvas = canvas;
        this.session = session;
        this.paper = canvas.getContext('2d');
        this.view = {zoom: 1, dx: 0, dy: 0};
        this.style = 'mesh';
        this.hover = null;
        this.pointers = new Map();
        this.act = null;
        this.drawn = 0;
        canvas.addEventListener('pointerdown', (event) => this.press(event));
        canvas.addEventListener('pointermove', (event) => this.move(event));
        for (const end of ['pointerup', 'pointercancel']) {
            canvas.addEventListener(end, (event) => this.release(event));
        }
        canvas.addEventListener('pointerleave', () => this.point(null));
        canvas.addEventListener('wheel', (event) => this.wheel(event), {passive: false});
        canvas.addEventListener('dblclick', (event) => this.addHere(event));
        canvas.addEventListener('contextmenu', (event) => event.preventDefault());
        this.watcher = new ResizeObserver(() => this.resize());
        this.watcher.observe(canvas.parentElement);
    }

    // --- the view

    get scale() {
        return this.canvas.width / Math.max(this.canvas.clientWidth, 1);
    }

    resize() {
        const {clientWidth, clientHeight} = this.canvas.parentElement;
        const dots = Math.min(globalThis.devicePixelRatio || 1, 2);
        const isFirst = this.canvas.width <= 1;
        const middle = isFirst ? null : this.toPicture([this.canvas.width / 2, this.canvas.height / 2]);
        this.canvas.width = Math.max(1, Math.round(clientWidth * dots));
        this.canvas.height = Math.max(1, Math.round(clientHeight * dots));
        if (isFirst || !this.moved) this.showAll();
        else this.centre(middle, this.view.zoom);
    }

    toPicture([x, y]) {
        return [(x - this.view.dx) / this.view.zoom, (y - this.view.dy) / this.view.zoom];
    }

    toCanvas([x, y]) {
        return [x * this.view.zoom + this.view.dx, y * this.view.zoom + this.view.dy];
    }

    centre([x, y], zoom) {
        const {width, height} = this.canvas;
        this.view = {zoom, dx: width / 2 - x * zoom, dy: height / 2 - y * zoom};
        this.draw();
    }

    showAll() {
        const {width, height} = this.session.size;
        const zoom = 0.96 * Math.min(this.canvas.width / width, this.canvas.height / height);
        this.moved = false;
        this.centre([width / 2, height / 2], zoom);
    }

    showHand(hand) {
        const [x0, y0, x1, y1] = hand.box;
        const side = Math.max(x1 - x0, y1 - y0, 8);
        this.moved = true;
        this.centre([(x0 + x1) / 2, (y0 + y1) / 2], 0.6 * Math.min(this.canvas.width, this.canvas.height) / side);
    }

    looksSmall({box}) {
        return this.view.zoom * Math.max(box[2] - box[0], box[3] - box[1]) < 260 * this.scale;
    }

    zoomAt([x, y], factor) {
        const zoom = Math.min(Math.max(this.view.zoom * factor, 0.05), 60);
        const share = zoom / this.view.zoom;
        this.view = {zoom, dx: x - (x - this.view.dx) * share, dy: y - (y - this.view.dy) * share};
        this.moved = true;
        this.draw();
    }

    // --- drawing

    draw() {
        if (this.drawn) return;
        this.drawn = requestAnimationFrame(() => {
            this.drawn = 0;
            this.drawNow();
            this.session.painted();
        });
    }

    drawNow() {
        const {paper, canvas, view, session} = this;
        paper.setTransform(1, 0, 0, 1, 0, 0);
        paper.clearRect(0, 0, canvas.width, canvas.height);
        paper.imageSmoothingEnabled = view.zoom < 3;
        const {width, height} = session.size;
        paper.drawImage(session.picture, view.dx, view.dy, width * view.zoom, height * view.zoom);
        const chosen = session.chosen();
        for (const hand of session.hands) {
            if (hand !== chosen) this.drawMesh(hand, 0.55);
        }
        if (chosen) {
            this.drawMesh(chosen, this.style === 'depth' ? 1 : 0.8);
            this.drawBones(chosen);
            this.drawFrame(chosen);
        }
        for (const hand of session.hands) this.drawNumber(hand, hand === chosen);
        if (chosen && this.hover?.joint !== undefined) this.drawName(chosen);
    }

    place(hand) {
        const [x, y] = this.session.steps.shift(hand.id);
        const {zoom, dx, dy} = this.view;
        return {zoom, dx: dx + x * zoom, dy: dy + y * zoom};
    }

    drawMesh(hand, alpha) {
        if (this.style === 'joints') return;
        const made = this.session.mesh.draw(hand, this.place(hand), this.canvas, this.style === 'depth');
        if (!made) return;
        this.paper.globalAlpha = alpha;
        this.paper.drawImage(made.canvas, made.x, made.y);
        this.paper.globalAlpha = 1;
    }

    joints(hand) {
        const {zoom, dx, dy} = this.place(hand);
        const dragged = this.act?.kind === 'joint' && this.act.id === hand.id ? this.act : null;
        return hand.joints.map(([x, y], n) => (
            dragged?.joint === n ? this.toCanvas(dragged.to) : [x * zoom + dx, y * zoom + dy]
        ));
    }

    drawBones(hand) {
        const {paper, scale} = this;
        const at = this.joints(hand);
        paper.lineCap = 'round';
        for (const [from, to] of this.session.vocabulary.bones) {
            paper.beginPath();
            paper.moveTo(...at[from]);
            paper.lineTo(...at[to]);
            paper.lineWidth = 4 * scale;
            paper.strokeStyle = 'rgba(0, 0, 0, 0.55)';
            paper.stroke();
            paper.lineWidth = 2 * scale;
            paper.strokeStyle = HANDREFINER_COLOURS[handrefinerFinger(to)];
            paper.stroke();
        }
        // The nearest last, and after it the one that is meant.
        const meant = this.act?.joint ?? this.hover?.joint;
        const rank = (n) => (n === meant ? -Infinity : hand.joint_depth[n]);
        const order = at.map((_, n) => n).sort((a, b) => rank(b) - rank(a));
        for (const joint of order) this.drawHandle(at[joint], joint);
    }

    drawHandle([x, y], joint) {
        const {paper, scale} = this;
        const isMeant = joint === (this.act?.joint ?? this.hover?.joint);
        const isKept = joint === this.session.joint;
        const radius = (isMeant ? 9 : joint % 4 === 0 ? 7.5 : 5.5) * scale;
        paper.beginPath();
        paper.arc(x, y, radius, 0, 2 * Math.PI);
        paper.fillStyle = HANDREFINER_COLOURS[handrefinerFinger(joint)];
        paper.fill();
        paper.lineWidth = (isKept || isMeant ? 3 : 1.5) * scale;
        paper.strokeStyle = isKept || isMeant ? '#000' : 'rgba(0, 0, 0, 0.75)';
        paper.stroke();
        if (!isKept) return;
        paper.beginPath();
        paper.arc(x, y, radius + 3 * scale, 0, 2 * Math.PI);
        paper.lineWidth = 2 * scale;
        paper.strokeStyle = '#fff';
        paper.stroke();
    }

    // The frame round the open hand; its knob turns, its corner scales.
    frame(hand) {
        const at = this.joints(hand);
        const gap = 26 * this.scale;
        const [xs, ys] = [0, 1].map((axis) => at.map((point) => point[axis]));
        const box = [Math.min(...xs) - gap, Math.min(...ys) - gap, Math.max(...xs) + gap, Math.max(...ys) + gap];
        const edge = 14 * this.scale;
        const keep = (value, most) => Math.min(Math.max(value, edge), most - edge);
        return {
            box,
            spin: [
                keep((box[0] + box[2]) / 2, this.canvas.width), keep(box[1] - gap, this.canvas.height),
            ],
            size: [keep(box[2], this.canvas.width), keep(box[3], this.canvas.height)],
            wrist: at[0],
            middle: [(at[0][0] + at[9][0]) / 2, (at[0][1] + at[9][1]) / 2],
        };
    }

    drawFrame(hand) {
        const {paper, scale} = this;
        const {box, spin, size} = this.frame(hand);
        paper.setLineDash([6 * scale, 5 * scale]);
        for (const [colour, width] of [['rgba(0, 0, 0, 0.6)', 3], ['#fff', 1.25]]) {
            paper.lineWidth = width * scale;
            paper.strokeStyle = colour;
            paper.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
        }
        paper.setLineDash([]);
        this.drawKnob(spin, '⟳', this.hover?.knob === 'spin');
        this.drawKnob(size, '⤡', this.hover?.knob === 'size');
    }

    drawKnob([x, y], sign, isMeant) {
        const {paper, scale} = this;
        paper.beginPath();
        paper.arc(x, y, (isMeant ? 14 : 12) * scale, 0, 2 * Math.PI);
        paper.fillStyle = isMeant ? '#2563eb' : 'rgba(20, 20, 20, 0.85)';
        paper.fill();
        paper.lineWidth = 1.5 * scale;
        paper.strokeStyle = '#fff';
        paper.stroke();
        this.write(sign, x, y, 15, '#fff');
    }

    drawNumber(hand, isChosen) {
        const [x0, y0] = this.toCanvas(hand.box);
        const at = isChosen ? this.frame(hand).box : [x0, y0];
        const [x, y] = [Math.max(at[0], 12 * this.scale), Math.max(at[1], 12 * this.scale)];
        this.paper.beginPath();
        this.paper.arc(x, y, 11 * this.scale, 0, 2 * Math.PI);
        this.paper.fillStyle = isChosen ? '#2563eb' : 'rgba(20, 20, 20, 0.85)';
        this.paper.fill();
        this.write(String(hand.number), x, y, 13, '#fff');
    }

    drawName(hand) {
        const {paper, scale} = this;
        const words = handrefinerJoint(this.session.vocabulary.joint_names[this.hover.joint]);
        const [x, y] = this.joints(hand)[this.hover.joint];
        paper.font = `${13 * scale}px sans-serif`;
        const width = paper.measureText(words).width + 14 * scale;
        const left = Math.min(Math.max(x + 14 * scale, 0), this.canvas.width - width);
        const top = Math.max(y - 34 * scale, 2);
        paper.fillStyle = 'rgba(20, 20, 20, 0.9)';
        paper.fillRect(left, top, width, 22 * scale);
        this.write(words, left + width / 2, top + 11 * scale, 13, '#fff');
    }

    write(words, x, y, size, colour) {
        this.paper.font = `${size * this.scale}px sans-serif`;
        this.paper.textAlign = 'center';
        this.paper.textBaseline = 'middle';
        this.paper.fillStyle = colour;
        this.paper.fillText(words, x, y + this.scale);
    }

    // --- mouse, pen and fingers

    at(event) {
        const box = this.canvas.getBoundingClientRect();
        return [(event.clientX - box.left) * this.scale, (event.clientY - box.top) * this.scale];
    }

    // What lies there: {joint}, {knob}, {hand}, or null for the picture alone.
    find(point, kind = 'mouse') {
        const chosen = this.session.chosen();
        const reach = (HandrefinerCanvas.HIT[kind] ?? 14) * this.scale;
        if (chosen) {
            const {spin, size} = this.frame(chosen);
            for (const [knob, place] of [['spin', spin], ['size', size]]) {
                if (handrefinerDistance(point, place) <= reach) return {knob};
            }
            const joint = this.findJoint(chosen, point, reach);
            if (joint !== null) return {joint};
        }
        const all = [chosen, ...this.session.hands.filter((hand) => hand !== chosen)].filter(Boolean);
        const hand = all.find((one) => this.covers(one, point));
        return hand ? {hand} : null;
    }

    // The nearest in the picture; of two that lie together, the one in front.
    findJoint(hand, point, reach) {
        let [best, least] = [null, Infinity];
        this.joints(hand).forEach((place, n) => {
            const away = handrefinerDistance(point, place);
            const rank = away + 0.02 * hand.joint_depth[n] * this.view.zoom;
            if (away <= reach && rank < least) [best, least] = [n, rank];
        });
        return best;
    }

    covers(hand, point) {
        const {zoom, dx, dy} = this.place(hand);
        const [x, y] = [(point[0] - dx) / zoom, (point[1] - dy) / zoom];
        const side = (a, b) => (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]);
        return this.session.vocabulary.faces.some((face) => {
            const [a, b, c] = face.map((corner) => hand.vertices[corner]);
            const sides = [side(a, b), side(b, c), side(c, a)];
            return sides.every((one) => one >= 0) || sides.every((one) => one <= 0);
        });
    }

    point(meant) {
        const before = JSON.stringify([this.hover?.joint, this.hover?.knob, this.hover?.hand?.id]);
        this.hover = meant;
        const now = JSON.stringify([meant?.joint, meant?.knob, meant?.hand?.id]);
        this.canvas.style.cursor = {spin: 'alias', size: 'nwse-resize'}[meant?.knob]
            ?? (meant?.joint !== undefined ? 'grab' : meant?.hand ? 'move' : 'default');
        if (before !== now) this.draw();
    }

    press(event) {
        this.canvas.focus({preventScroll: true});
        this.canvas.setPointerCapture(event.pointerId);
        this.pointers.set(event.pointerId, this.at(event));
        if (this.pointers.size === 2) {
            this.act = {kind: 'pinch'};
            return;
        }
        if (this.pointers.size > 2) return;
        const last = this.at(event);
        const meant = event.button === 0 ? this.find(last, event.pointerType) : null;
        this.point(meant);
        this.act = this.begin(meant, last);
        this.draw();
    }

    begin(meant, last) {
        const chosen = this.session.chosen();
        if (!meant) return {kind: 'pan', last};
        if (meant.hand && meant.hand !== chosen) this.session.choose(meant.hand.id);
        const id = this.session.chosen().id;
        const name = `pointer ${performance.now()}`;
        this.session.chooseJoint(meant.joint ?? null);
        if (meant.joint === undefined) return {kind: meant.knob ?? 'move', id, last, name};
        const hand = this.session.chosen();
        const to = this.toPicture(this.joints(hand)[meant.joint]);
        return {kind: 'joint', id, name, joint: meant.joint, to, grip: this.toPicture(last), start: to};
    }

    move(event) {
        const now = this.at(event);
        if (!this.act) {
            this.point(this.find(now, event.pointerType));
            return;
        }
        const before = this.pointers.get(event.pointerId);
        // A key may have removed the hand, or taken the drag back.
        if (this.act.id !== undefined && this.act.id !== this.session.chosen()?.id) this.act = {kind: 'none'};
        if (!before || this.act.kind === 'none') return;
        this.pointers.set(event.pointerId, now);
        if (this.act.kind === 'pinch') this.pinch(event.pointerId, before, now);
        else this[`do_${this.act.kind}`](now, this.act);
        this.act.last = now;
        this.draw();
    }

    pinch(id, before, now) {
        const other = [...this.pointers].find(([key]) => key !== id)?.[1];
        if (!other) return;
        this.zoomAt(other, handrefinerDistance(now, other) / Math.max(handrefinerDistance(before, other), 1));
    }

    do_pan(now, {last}) {
        this.view.dx += now[0] - last[0];
        this.view.dy += now[1] - last[1];
        this.moved = true;
    }

    do_joint(now, act) {
        const [x, y] = this.toPicture(now);
        act.to = [act.start[0] + x - act.grip[0], act.start[1] + y - act.grip[1]];
        const joint = this.session.vocabulary.joint_names[act.joint];
        this.session.step({drag: {joint, to: act.to.map(handrefinerTenth)}}, act.name, act);
    }

    do_move(now, {last, name}) {
        const {zoom} = this.view;
        this.session.step({move: [(now[0] - last[0]) / zoom, (now[1] - last[1]) / zoom]}, name);
    }

    do_spin(now, {last, name}) {
        const {wrist} = this.frame(this.session.chosen());
        const angle = ([x, y]) => Math.atan2(y - wrist[1], x - wrist[0]) * 180 / Math.PI;
        this.session.step({spin: (angle(now) - angle(last) + 540) % 360 - 180}, name);
    }

    do_size(now, {last, name}) {
        const {middle} = this.frame(this.session.chosen());
        const [one, other] = [now, last].map((point) => Math.max(handrefinerDistance(point, middle), 4));
        this.session.step({scale: one / other}, name);
    }

    release(event) {
        this.pointers.delete(event.pointerId);
        if (this.pointers.size) return;
        this.act = null;
        this.point(event.pointerType === 'touch' ? null : this.find(this.at(event), event.pointerType));
        this.draw();
    }

    wheel(event) {
        event.preventDefault();
        this.zoomAt(this.at(event), Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) / 400));
    }

    addHere(event) {
        const point = this.at(event);
        if (!this.find(point)) this.session.add(this.toPicture(point));
    }

    end() {
        this.watcher.disconnect();
        cancelAnimationFrame(this.drawn);
    }
}

function handrefinerFinger(joint) {
    return joint === 0 ? 0 : 1 + Math.floor((joint - 1) / 4);
}

function handrefinerDistance(one, other) {
    return Math.hypot(one[0] - other[0], one[1] - other[1]);
}

function handrefinerTenth(value) {
    return Math.round(10 * value) / 10;
}
