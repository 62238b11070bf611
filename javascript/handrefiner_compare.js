// Before and after: the selected picture over what it was before its hands were repainted, which the last
// run keeps, or else over the one before it in the gallery. A line between them follows the mouse, a finger
// or the arrow keys; hands are numbered, and say why they are as they are. Returns what is to stand in the
// tab's log.

async function handrefinerCompare(tab) {
    const shown = Array.from(
        gradioApp().querySelectorAll(`#${tab}_gallery .thumbnail-item.thumbnail-small img`)
    );
    if (!shown.length) { // one picture alone has no thumbnail
        shown.push(...gradioApp().querySelectorAll(`#${tab}_gallery img`));
        shown.splice(1);
    }
    const selected = selected_gallery_index();
    const place = selected < 0 ? shown.length - 1 : selected;
    const kept = shown.length ? await handrefinerKept(tab, place) : null;
    if (kept === null && (shown.length < 2 || place < 1)) {
        const words = 'Nothing is kept of this picture; select one of the last run, or one that has another before it.';
        return `<p>HandRefiner: <span>${words}</span></p>`;
    }
    const before = kept ? `${handrefinerLastRoute}/${kept.id}/before` : shown[place - 1].src;
    openComparison(before, shown[place].src, kept);
    // What stands there stays. Only the page's own framework may change it: it keeps the nodes that it
    // made, and shows nothing new once somebody else has replaced them.
    return gradioApp().querySelector(`#html_log_${tab} .prose`)?.innerHTML ?? '';

    function picture(source, words) {
        const made = document.createElement('img');
        made.src = source;
        made.alt = words;
        return made;
    }

    function mark(hand, {width, height}) {
        const [x0, y0, x1, y1] = hand.box;
        const made = document.createElement('div');
        made.className = 'hand';
        made.tabIndex = 0;
        made.style.left = `${100 * x0 / width}%`;
        made.style.top = `${100 * y0 / height}%`;
        made.style.width = `${100 * (x1 - x0) / width}%`;
        made.style.height = `${100 * (y1 - y0) / height}%`;
        const number = document.createElement('b');
        number.textContent = hand.number;
        const said = document.createElement('span');
        said.textContent = handrefinerDescribe(hand);
        made.setAttribute('aria-label', `${handrefinerSay('Hand')} ${hand.number}: ${said.textContent}`);
        made.append(number, said);
        return made;
    }

    function openComparison(before, after, kept) {
        gradioApp().getElementById('handrefiner_compare')?.remove();
        const whole = document.createElement('div');
        whole.id = 'handrefiner_compare';
        whole.tabIndex = -1; // a click between its parts leaves the keys here
        whole.setAttribute('role', 'dialog');
        whole.setAttribute('aria-modal', 'true');
        whole.setAttribute('aria-label', handrefinerSay('Before and after'));
        const frame = document.createElement('div');
        frame.className = 'frame';
        const over = picture(after, handrefinerSay('After'));
        const line = document.createElement('div');
        line.className = 'line';
        const slider = document.createElement('input');
        Object.assign(slider, {type: 'range', min: 0, max: 100, step: 0.5, value: 50});
        slider.setAttribute('aria-label', handrefinerSay('Share of the picture that shows the original'));
        const marks = (kept?.hands ?? []).map((hand) => mark(hand, kept));
        frame.append(picture(before, handrefinerSay('Before')), over, line, ...marks, slider);
        const close = document.createElement('button');
        close.textContent = '×';
        close.setAttribute('aria-label', handrefinerSay('Close'));
        whole.append(frame, close);

        const show = () => {
            over.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
            line.style.left = `${slider.value}%`;
        };
        const opener = document.activeElement;
        const end = () => {
            whole.remove();
            opener?.focus();
        };
        slider.addEventListener('input', show);
        frame.addEventListener('pointermove', (event) => {
            const box = frame.getBoundingClientRect();
            slider.value = 100 * (event.clientX - box.left) / box.width;
            show();
        });
        close.addEventListener('click', end);
        whole.addEventListener('click', (event) => event.target === whole && end());
        whole.addEventListener('keydown', (event) => {
            event.stopPropagation(); // the WebUI has keys of its own
            if (event.key === 'Escape') end();
            if (event.key === 'Tab') { // the page below is not meant
                event.preventDefault();
                const stops = [slider, ...marks, close];
                const step = event.shiftKey ? stops.length - 1 : 1;
                stops[(stops.indexOf(document.activeElement) + step) % stops.length].focus();
            }
        });
        document.body.append(whole);
        show();
        slider.focus();
    }
}
