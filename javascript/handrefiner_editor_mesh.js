// Draws a hand's mesh with a depth buffer of its own, into an image of the canvas's size: shaded from
// the viewer's side, tinted by finger, with a dark line wherever one finger passes before another. Plain
// canvas is enough for some 3,000 triangles and works where WebGL is switched off.

const HANDREFINER_TINTS = [
    [236, 222, 208], // palm and wrist
    [255, 118, 117], [253, 178, 84], [116, 207, 130], [94, 174, 245], [201, 142, 245],
];

class HandrefinerMesh {
    static DARK_LINE = 0.05; // a step in depth, in hand sizes, that is an edge
    static MOST_KEPT = 16;

    constructor(faces, fingers) {
        this.corners = Int32Array.from(faces.flat());
        this.tints = this.mix(fingers);
        this.white = new Float32Array(this.tints.length).fill(255);
        this.kept = new Map();
    }

    // The colour of each corner, the mean of those of its faces, so that one passes into the other.
    mix(fingers) {
        const count = 1 + this.corners.reduce((most, corner) => Math.max(most, corner), 0);
        const [sums, faces] = [new Float32Array(3 * count), new Float32Array(count)];
        this.corners.forEach((corner, n) => {
            const tint = HANDREFINER_TINTS[fingers?.[Math.floor(n / 3)] ?? 0];
            faces[corner] += 1;
            tint.forEach((part, axis) => { sums[3 * corner + axis] += part; });
        });
        return sums.map((sum, n) => sum / Math.max(faces[Math.floor(n / 3)], 1));
    }

    // place: picture's pixels to canvas's: x * zoom + dx. limit: the canvas's size, and how many pixels may be
    // painted; with fewer than it has, the mesh is painted smaller. Returns the canvas, where it lies, how much
    // of it is painted, and its pixels for one of the picture's canvas; or null.
    draw(hand, place, limit) {
        const key = [place.zoom, place.dx, place.dy, ...Object.values(limit)].join();
        const kept = this.kept.get(hand.id);
        if (kept?.vertices === hand.vertices && kept.key === key) return kept.made;
        if (this.kept.size >= HandrefinerMesh.MOST_KEPT) this.kept.clear();
        const canvas = kept?.canvas ?? document.createElement('canvas');
        const made = this.paint(hand, place, limit, canvas);
        this.kept.set(hand.id, {vertices: hand.vertices, key, canvas, made});
        return made;
    }

    paint({vertices, hand}, place, limit, canvas) {
        const share = this.share(vertices, place, limit);
        const seen = this.project(vertices, place, share);
        const sides = [0, 1, 2].map((axis) => handrefinerRange(seen, axis));
        const box = this.frame(sides, share * limit.width, share * limit.height);
        if (!box) return null;
        const on = {
            ...this.clear(box.width * box.height), seen, box, front: hand.side === 'left' ? -1 : 1,
            colours: this.light(limit.asDepth ? this.white : this.tints,
                limit.asDepth ? this.greys(seen, sides[2]) : this.shades(seen)),
        };
        for (let n = 0; n < this.corners.length; n += 3) handrefinerFill(on, this.corners, n);
        const size = Math.max(sides[0][1] - sides[0][0], sides[1][1] - sides[1][0]);
        if (!limit.asDepth) handrefinerLines(on, HandrefinerMesh.DARK_LINE * size);
        // Rounded up, so that it seldom changes, which would throw the old one away.
        const [width, height] = [box.width, box.height].map((side) => 128 * Math.ceil(side / 128));
        if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
        const colours = new Uint8ClampedArray(on.pixels.buffer, 0, 4 * box.width * box.height);
        canvas.getContext('2d', {willReadFrequently: true}).putImageData(new ImageData(colours, box.width), 0, 0);
        return {canvas, x: box.x / share, y: box.y / share, width: box.width, height: box.height, share};
    }

    // How small the mesh is painted, 1 for as large as it is seen.
    share(vertices, {zoom}, {pixels}) {
        if (pixels === Infinity) return 1;
        const [width, height] = [0, 1].map((axis) => {
            const [least, most] = handrefinerRange(vertices, axis);
            return zoom * (most - least);
        });
        return Math.min(1, Math.sqrt(pixels / Math.max(width * height, 1)));
    }

    // Empty pixels and depth; the same arrays again, since new ones would have to be collected.
    clear(count) {
        if (!(this.pixels?.length >= count)) {
            this.pixels = new Uint32Array(count);
            this.depth = new Float32Array(count);
        }
        this.pixels.fill(0, 0, count);
        this.depth.fill(Infinity, 0, count);
        return {pixels: this.pixels, depth: this.depth};
    }

    light(tints, bright) {
        return tints.map((part, n) => part * bright[Math.floor(n / 3)]);
    }

    project(vertices, {zoom, dx, dy}, share) {
        const [by, right, down] = [share * zoom, share * dx, share * dy];
        const seen = new Float32Array(vertices.length);
        for (let n = 0; n < vertices.length; n += 3) {
            seen[n] = vertices[n] * by + right;
            seen[n + 1] = vertices[n + 1] * by + down;
            seen[n + 2] = vertices[n + 2] * by;
        }
        return seen;
    }

    frame([xs, ys], width, height) {
        const x = Math.max(0, Math.floor(xs[0]) - 1);
        const y = Math.max(0, Math.floor(ys[0]) - 1);
        const right = Math.min(Math.ceil(width), Math.ceil(xs[1]) + 1);
        const bottom = Math.min(Math.ceil(height), Math.ceil(ys[1]) + 1);
        return right > x && bottom > y ? {x, y, width: right - x, height: bottom - y} : null;
    }

    // How bright each corner is as in the control image: near is 255, far 51.
    greys(seen, [near, far]) {
        const share = 0.8 / Math.max(far - near, 1e-6);
        return Float32Array.from({length: seen.length / 3}, (_, n) => 1 - share * (seen[3 * n + 2] - near));
    }

    // How bright each corner is in light from the viewer, a little from above and the left. What is seen
    // faces the viewer, so that left hands, whose faces wind the other way, need no care.
    shades(seen) {
        const normals = new Float32Array(seen.length);
        for (let n = 0; n < this.corners.length; n += 3) {
            const [a, b, c] = [3 * this.corners[n], 3 * this.corners[n + 1], 3 * this.corners[n + 2]];
            const ux = seen[b] - seen[a], uy = seen[b + 1] - seen[a + 1], uz = seen[b + 2] - seen[a + 2];
            const vx = seen[c] - seen[a], vy = seen[c + 1] - seen[a + 1], vz = seen[c + 2] - seen[a + 2];
            const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
            for (const corner of [a, b, c]) {
                normals[corner] += nx;
                normals[corner + 1] += ny;
                normals[corner + 2] += nz;
            }
        }
        const bright = new Float32Array(seen.length / 3);
        for (let n = 0; n < bright.length; n += 1) {
            const x = normals[3 * n], y = normals[3 * n + 1], z = normals[3 * n + 2];
            const light = (z > 0 ? 1 : -1) * (0.35 * x + 0.5 * y + 0.79 * z) / (Math.sqrt(x * x + y * y + z * z) || 1);
            bright[n] = 0.3 + 0.7 * Math.max(0, light);
        }
        return bright;
    }
}

// The corners of a hand as the server packs them, three numbers after each other.
function handrefinerUnpack({from, unit, int16}) {
    const text = atob(int16);
    const bytes = new Uint8Array(text.length);
    for (let n = 0; n < bytes.length; n += 1) bytes[n] = text.charCodeAt(n);
    const counts = new DataView(bytes.buffer);
    return Float32Array.from({length: bytes.length / 2}, (_, n) => (
        from[n % 3] + unit * counts.getInt16(2 * n, true)));
}

// The least and the greatest of every third number.
function handrefinerRange(seen, axis) {
    let least = Infinity, most = -Infinity;
    for (let n = axis; n < seen.length; n += 3) {
        if (seen[n] < least) least = seen[n];
        if (seen[n] > most) most = seen[n];
    }
    return [least, most];
}

// One triangle, the nearest wins: three numbers a corner in `seen` and `colours`. v and w are the shares of
// the second and the third corner. A triangle that faces away is hidden by another, as the mesh is closed.
function handrefinerFill({seen, box, depth, pixels, colours, front}, corners, first) {
    const [i, j, k] = [corners[first], corners[first + 1], corners[first + 2]];
    const ax = seen[3 * i] - box.x, ay = seen[3 * i + 1] - box.y, az = seen[3 * i + 2];
    const bx = seen[3 * j] - box.x, by = seen[3 * j + 1] - box.y, bz = seen[3 * j + 2] - az;
    const cx = seen[3 * k] - box.x, cy = seen[3 * k + 1] - box.y, cz = seen[3 * k + 2] - az;
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (area * front >= 0) return;
    const left = Math.max(0, Math.floor(Math.min(ax, bx, cx) - 0.5));
    const right = Math.min(box.width - 1, Math.ceil(Math.max(ax, bx, cx)));
    const top = Math.max(0, Math.floor(Math.min(ay, by, cy) - 0.5));
    const bottom = Math.min(box.height - 1, Math.ceil(Math.max(ay, by, cy)));
    const vStep = (cy - ay) / area, wStep = -(by - ay) / area;
    const red = colours[3 * i], green = colours[3 * i + 1], blue = colours[3 * i + 2];
    const redB = colours[3 * j] - red, greenB = colours[3 * j + 1] - green, blueB = colours[3 * j + 2] - blue;
    const redC = colours[3 * k] - red, greenC = colours[3 * k + 1] - green, blueC = colours[3 * k + 2] - blue;
    for (let y = top; y <= bottom; y += 1) {
        let v = ((left + 0.5 - ax) * (cy - ay) - (y + 0.5 - ay) * (cx - ax)) / area;
        let w = ((bx - ax) * (y + 0.5 - ay) - (by - ay) * (left + 0.5 - ax)) / area;
        for (let at = y * box.width + left, end = at + right - left; at <= end; at += 1) {
            if (v >= 0 && w >= 0 && v + w <= 1) {
                const z = az + v * bz + w * cz;
                if (z < depth[at]) {
                    depth[at] = z;
                    pixels[at] = 0xff000000 | (blue + v * blueB + w * blueC) << 16
                        | (green + v * greenB + w * greenC) << 8 | (red + v * redB + w * redC);
                }
            }
            v += vStep;
            w += wStep;
        }
    }
}

function handrefinerLines({box: {width, height}, depth, pixels}, step) {
    for (let y = 1; y < height - 1; y += 1) {
        for (let at = y * width + 1, end = at + width - 2; at < end; at += 1) {
            const edge = depth[at] + step;
            if (edge < depth[at - 1] || edge < depth[at + 1] || edge < depth[at - width]
                || edge < depth[at + width]) pixels[at] = 0xff201818;
        }
    }
}
