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

    // place: picture's pixels to canvas's: x * zoom + dx. Returns the canvas and where it lies, or null.
    draw(hand, place, limit, asDepth) {
        const key = [place.zoom, place.dx, place.dy, limit.width, limit.height, asDepth].join();
        const kept = this.kept.get(hand.id);
        if (kept?.vertices === hand.vertices && kept.key === key) return kept.made;
        if (this.kept.size >= HandrefinerMesh.MOST_KEPT) this.kept.clear();
        const canvas = kept?.made?.canvas ?? document.createElement('canvas');
        const made = this.paint(hand.vertices, place, limit, asDepth, canvas);
        this.kept.set(hand.id, {vertices: hand.vertices, key, made});
        return made;
    }

    paint(vertices, place, limit, asDepth, canvas) {
        const seen = this.project(vertices, place);
        const sides = [0, 1, 2].map((axis) => handrefinerRange(seen, axis));
        const box = this.frame(sides, limit);
        if (!box) return null;
        const image = new ImageData(box.width, box.height);
        const on = {
            seen, box, pixels: new Uint32Array(image.data.buffer),
            depth: new Float32Array(box.width * box.height).fill(Infinity),
            colours: this.light(asDepth ? this.white : this.tints,
                asDepth ? this.greys(seen, sides[2]) : this.shades(seen)),
        };
        for (let n = 0; n < this.corners.length; n += 3) handrefinerFill(on, this.corners, n);
        const size = Math.max(sides[0][1] - sides[0][0], sides[1][1] - sides[1][0]);
        if (!asDepth) handrefinerLines(on, HandrefinerMesh.DARK_LINE * size);
        canvas.width = box.width;
        canvas.height = box.height;
        canvas.getContext('2d').putImageData(image, 0, 0);
        return {canvas, x: box.x, y: box.y};
    }

    light(tints, bright) {
        return tints.map((part, n) => part * bright[Math.floor(n / 3)]);
    }

    project(vertices, {zoom, dx, dy}) {
        const seen = new Float32Array(3 * vertices.length);
        for (let n = 0; n < vertices.length; n += 1) {
            const point = vertices[n];
            seen[3 * n] = point[0] * zoom + dx;
            seen[3 * n + 1] = point[1] * zoom + dy;
            seen[3 * n + 2] = point[2] * zoom;
        }
        return seen;
    }

    frame([xs, ys], {width, height}) {
        const x = Math.max(0, Math.floor(xs[0]) - 1);
        const y = Math.max(0, Math.floor(ys[0]) - 1);
        const right = Math.min(width, Math.ceil(xs[1]) + 1);
        const bottom = Math.min(height, Math.ceil(ys[1]) + 1);
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
// the second and the third corner.
function handrefinerFill({seen, box, depth, pixels, colours}, corners, first) {
    const [i, j, k] = [corners[first], corners[first + 1], corners[first + 2]];
    const ax = seen[3 * i] - box.x, ay = seen[3 * i + 1] - box.y, az = seen[3 * i + 2];
    const bx = seen[3 * j] - box.x, by = seen[3 * j + 1] - box.y, bz = seen[3 * j + 2] - az;
    const cx = seen[3 * k] - box.x, cy = seen[3 * k + 1] - box.y, cz = seen[3 * k + 2] - az;
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (area === 0) return;
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
