// What mouse, pen and fingers do on the picture: every change goes through `session`, which asks the server
// and then draws again.

class HandrefinerCanvas extends HandrefinerDrawing {
    static HIT = {mouse: 14, pen: 16, touch: 24};

    constructor(canvas, session) {
        super(canvas, session);
        this.pointers = new Map();
        canvas.addEventListener('pointerdown', (event) => this.press(event));
        canvas.addEventListener('pointermove', (event) => this.move(event));
        for (const end of ['pointerup', 'pointercancel']) {
            canvas.addEventListener(end, (event) => this.release(event));
        }
        canvas.addEventListener('pointerleave', () => this.point(null));
        canvas.addEventListener('wheel', (event) => this.wheel(event), {passive: false});
        canvas.addEventListener('dblclick', (event) => this.addHere(event));
        canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    }

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
        const {vertices} = hand;
        return this.session.vocabulary.faces.some((face) => {
            const [a, b, c] = face.map((corner) => [vertices[3 * corner], vertices[3 * corner + 1]]);
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
}
