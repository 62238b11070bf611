// Before and after: the selected picture over the one before it in the gallery, which is where Fix hands
// finds the original. A line between them follows the mouse, a finger or the arrow keys. Returns what is
// to stand in the tab's log.

function handrefinerCompare(tab) {
    const shown = Array.from(
        gradioApp().querySelectorAll(`#${tab}_gallery .thumbnail-item.thumbnail-small img`)
    );
    const selected = selected_gallery_index();
    const place = selected < 0 ? shown.length - 1 : selected;
    if (shown.length < 2 || place < 1) {
        const words = 'Select a picture that has another one before it, such as one that Fix hands made.';
        return `<p>HandRefiner: <span>${words}</span></p>`;
    }
    openComparison(shown[place - 1].src, shown[place].src);
    // What stands there stays. Only the page's own framework may change it: it keeps the nodes that it
    // made, and shows nothing new once somebody else has replaced them.
    return gradioApp().querySelector(`#html_log_${tab} .prose`)?.innerHTML ?? '';

    function picture(source, words) {
        const made = document.createElement('img');
        made.src = source;
        made.alt = words;
        return made;
    }

    function openComparison(before, after) {
        gradioApp().getElementById('handrefiner_compare')?.remove();
        const whole = document.createElement('div');
        whole.id = 'handrefiner_compare';
        whole.setAttribute('role', 'dialog');
        whole.setAttribute('aria-modal', 'true');
        whole.setAttribute('aria-label', 'Before and after');
        const frame = document.createElement('div');
        frame.className = 'frame';
        const over = picture(after, 'After');
        const line = document.createElement('div');
        line.className = 'line';
        const slider = document.createElement('input');
        Object.assign(slider, {type: 'range', min: 0, max: 100, step: 0.5, value: 50});
        slider.setAttribute('aria-label', 'Share of the picture that shows the original');
        frame.append(picture(before, 'Before'), over, line, slider);
        const close = document.createElement('button');
        close.textContent = '×';
        close.setAttribute('aria-label', 'Close');
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
                (document.activeElement === slider ? close : slider).focus();
            }
        });
        document.body.append(whole);
        show();
        slider.focus();
    }
}
