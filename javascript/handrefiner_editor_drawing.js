// The picture with its hands: zoom and drawing. The picture is scaled once for a view and kept, since that takes
// longer than everything that a step of a hand changes.

const HANDREFINER_COLOURS = ['#ffffff', '#ff5b5b', '#ffa033', '#49c46b', '#3b93f0', '#b86bf5'];
const HANDREFINER_GROUND = '#3a3d42'; // beside the picture

class HandrefinerDrawing {
    static MOST_WHILE_MOVED = 120_000; // pixels of a mesh until the hand is at rest again

    constructor(canvas, session) {
        this.canvas = canvas;
        this.session = session;
        this.paper = canvas.getContext('2d', {alpha: false});
        this.view = {zoom: 1, dx: 0, dy: 0};
        this.scale = 1; // the canvas's points for one of the page
        this.style = 'mesh';
        this.hover = null;
        this.act = null;
        this.drawn = 0;
        this.backdrop = document.createElement('canvas');
        this.watcher = new ResizeObserver(() => this.resize());
        this.watcher.observe(canvas.parentElement);
    }

    // --- the view

    resize() {
        const {clientWidth, clientHeight} = this.canvas.parentElement;
        const dots = Math.min(globalThis.devicePixelRatio || 1, 2);
        const isFirst = this.canvas.width <= 1;
        const middle = isFirst ? null : this.toPicture([this.canvas.width / 2, this.canvas.height / 2]);
        this.canvas.width = Math.max(1, Math.round(clientWidth * dots));
        this.canvas.height = Math.max(1, Math.round(clientHeight * dots));
        this.scale = this.canvas.width / Math.max(clientWidth, 1);
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
        const {session} = this;
        this.drawBackdrop();
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

    drawBackdrop() {
        const {backdrop, view: {zoom, dx, dy}, session: {picture, size}} = this;
        const {width, height} = this.canvas;
        const key = [width, height, zoom, dx, dy].join();
        if (this.backdropKey !== key) {
            this.backdropKey = key;
            if (backdrop.width !== width || backdrop.height !== height) Object.assign(backdrop, {width, height});
            const paper = backdrop.getContext('2d', {alpha: false});
            paper.fillStyle = HANDREFINER_GROUND;
            paper.fillRect(0, 0, width, height);
            paper.imageSmoothingEnabled = zoom < 3;
            paper.drawImage(picture, dx, dy, size.width * zoom, size.height * zoom);
        }
        this.paper.drawImage(backdrop, 0, 0);
    }

    place(hand) {
        const [x, y] = this.session.steps.shift(hand.id);
        const {zoom, dx, dy} = this.view;
        return {zoom, dx: dx + x * zoom, dy: dy + y * zoom};
    }

    drawMesh(hand, alpha) {
        if (this.style === 'joints') return;
        const isMoved = this.act !== null || this.session.steps.busy;
        const made = this.session.mesh.draw(hand, this.place(hand), {
            width: this.canvas.width, height: this.canvas.height,
            pixels: isMoved ? HandrefinerDrawing.MOST_WHILE_MOVED : Infinity,
            asDepth: this.style === 'depth',
        });
        if (!made) return;
        const {x, y, width, height, share} = made;
        this.paper.globalAlpha = alpha;
        this.paper.drawImage(made.canvas, 0, 0, width, height, x, y, width / share, height / share);
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
