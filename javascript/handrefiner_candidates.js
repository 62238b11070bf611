// Candidates: what the last run painted of each hand of the selected picture, side by side. A click takes
// one in place of the judge's choice; nothing is painted again. The promise ends with the values for Python:
// the gallery, which picture is selected, the generation info, the choice (empty where the list was closed,
// none where nothing is kept), the tab.

const handrefinerLastRoute = 'handrefiner/v1/last'; // beside the page, wherever the WebUI is served

// Returns what the last run kept of a gallery's picture, or null. Its text names it: places in the gallery
// change when a picture is added.
async function handrefinerKept(tab, place) {
    try {
        const info = gradioApp().querySelector(`#generation_info_${tab} textarea`)?.value;
        const text = JSON.parse(info || '{}').infotexts?.[place];
        if (!text) return null;
        const answer = await fetch(handrefinerLastRoute);
        if (!answer.ok) return null;
        const {pictures} = await answer.json();
        return pictures.filter((picture) => picture.infotext === text).pop() ?? null;
    } catch (error) {
        console.error('HandRefiner: the last run cannot be read.', error);
        return null;
    }
}

// Returns why a hand is as it is: decision, qualities before and after, and the reason where it says more.
function handrefinerDescribe(hand) {
    const qualities = [hand.quality_before, hand.quality_after]
        .filter((quality) => quality).map((quality) => quality.score.toFixed(2));
    const quality = qualities.length ? `, ${handrefinerSay('quality')} ${qualities.join(' → ')}` : '';
    const side = handrefinerSay(hand.handedness === 'left' ? 'Left hand' : 'Right hand');
    const decision = handrefinerSay(hand.refined ? 'repainted' : 'kept');
    const reason = hand.reason === 'Repainted and kept.' ? '' : handrefinerSay(hand.reason);
    return `${side}, ${decision}${quality}. ${reason}`.trim();
}

async function handrefinerCandidates(tab, values) {
    const selected = Math.max(selected_gallery_index(), 0);
    const kept = await handrefinerKept(tab, selected);
    const hands = kept?.hands.filter((hand) => hand.candidates.length > 1) ?? [];
    const choice = hands.length ? await choose() : null;
    const said = choice ? JSON.stringify(choice) : '';
    return [values[0], selected, values[2], hands.length ? said : 'none', tab];

    function make(name, properties = {}, ...children) {
        const made = Object.assign(document.createElement(name), properties);
        made.append(...children);
        return made;
    }

    function choose() {
        gradioApp().getElementById('handrefiner_candidates')?.remove();
        const opener = document.activeElement;
        return new Promise((resolve) => {
            const end = (chosen) => {
                whole.remove();
                opener?.focus();
                resolve(chosen);
            };
            const close = make('button', {className: 'close', textContent: '×', onclick: () => end(null)});
            close.setAttribute('aria-label', handrefinerSay('Close'));
            const rows = hands.map((hand) => make(
                'section', {},
                make('h3', {textContent: `${hand.number}: ${handrefinerDescribe(hand)}`}),
                make('div', {className: 'row'}, ...hand.candidates.map((one) => offer(hand, one, end))),
            ));
            const whole = make('div', {id: 'handrefiner_candidates'}, make('div', {}, ...rows), close);
            whole.tabIndex = -1; // a click between its parts leaves the keys here
            whole.setAttribute('role', 'dialog');
            whole.setAttribute('aria-modal', 'true');
            whole.setAttribute('aria-label', handrefinerSay('Candidates'));
            whole.addEventListener('click', (event) => event.target === whole && end(null));
            whole.addEventListener('keydown', (event) => {
                event.stopPropagation(); // the WebUI has keys of its own
                if (event.key === 'Escape') end(null);
                if (event.key === 'Tab') { // the page below is not meant
                    event.preventDefault();
                    const buttons = Array.from(whole.querySelectorAll('button:enabled'));
                    const step = event.shiftKey ? buttons.length - 1 : 1;
                    const next = buttons.indexOf(document.activeElement) + step;
                    buttons[next % buttons.length].focus();
                }
            });
            document.body.append(whole);
            (whole.querySelector('.row button:enabled') ?? close).focus();
        });
    }

    function offer(hand, one, end) {
        const name = one.number === 0 ? handrefinerSay('Original') : `${handrefinerSay('Candidate')} ${one.number}`;
        const quality = one.quality === null ? '' : `${handrefinerSay('quality')} ${one.quality.toFixed(2)}`;
        const picture = make('img', {
            src: `${handrefinerLastRoute}/${kept.id}/${hand.number}/${one.number}`,
            alt: '',
        });
        const words = make(
            'span', {}, make('b', {textContent: name}), ' ', quality, one.used ? ' ✓' : ''
        );
        const button = make('button', {
            disabled: one.used, onclick: () => end([kept.id, hand.number, one.number]),
        }, picture, words);
        const used = one.used ? `, ${handrefinerSay('in use')}` : '';
        button.setAttribute('aria-label', `${handrefinerSay('Hand')} ${hand.number}: ${name} ${quality}${used}`);
        return button;
    }
}
