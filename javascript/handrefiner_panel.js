// What the panel does by itself: it looks again when the checkpoint changes, and its help is said by
// screen readers. Without this file the button ↻ does the first, and the tooltips stay.

// Says on the button that a search goes on, until the words of the next look are there, or gradio's sign that it
// failed. Gradio's own sign of progress is drawn sixty times a second, on a core that the search needs.
function handrefinerLooking(tab) {
    const button = gradioApp().getElementById(`handrefiner_${tab}_show`);
    const said = gradioApp().getElementById(`handrefiner_${tab}_said`);
    if (!button || !said) return;
    const looks = () => said.querySelector('[data-looks]')?.dataset.looks;
    const failed = () => said.querySelector('.error') !== null;
    const before = looks();
    let failedBefore = failed();
    const say = (isLooking) => {
        button.textContent = isLooking ? handrefinerSay('Looking for hands …') : button.dataset.name;
        button.setAttribute('aria-busy', String(isLooking));
    };
    button.dataset.name ??= button.textContent;
    say(true);
    new MutationObserver((_changes, observer) => {
        const ended = looks() !== before || (failed() && !failedBefore);
        failedBefore &&= failed();
        if (!ended) return;
        observer.disconnect();
        say(false);
    }).observe(said, {childList: true, subtree: true, attributes: true});
}

(function() {
    const TABS = ['txt2img', 'img2img'];
    const BLOCK = '[id^="handrefiner_"][title]';

    function part(tab, name) {
        return gradioApp().getElementById(`handrefiner_${tab}_${name}`);
    }

    function isOn(tab) {
        const box = gradioApp().getElementById(`handrefiner_${tab}-visible-checkbox`);
        return Boolean(box && box.checked);
    }

    function lookAgain() {
        TABS.filter(isOn).forEach((tab) => part(tab, 'look')?.click());
    }

    // A tooltip belongs to a block, which has no focus: its fields carry the words as well. What a block said
    // last is remembered, since this runs after every change of the page, and asking a field for its labels
    // searches all of it.
    const described = new WeakMap();

    function describeFields() {
        gradioApp().querySelectorAll(BLOCK).forEach((block) => {
            block.querySelectorAll('input, textarea, select').forEach((field) => {
                if (described.get(field) === block.title || field.closest(BLOCK) !== block) return;
                described.set(field, block.title);
                field.setAttribute('aria-description', block.title);
                if (!field.getAttribute('aria-label') && !field.labels?.length) {
                    const label = block.querySelector('label > span, label');
                    if (label) field.setAttribute('aria-label', label.textContent.trim());
                }
            });
        });
    }

    // Signs alone say nothing to a screen reader.
    function nameButtons() {
        gradioApp().querySelectorAll('button[id^="handrefiner_"].tool[title]').forEach((button) => {
            button.setAttribute('aria-label', button.title);
        });
    }

    // The headings of folds are clicked with the mouse alone; here with Enter and Space as well.
    function openFoldsByKey() {
        gradioApp().querySelectorAll('[id^="handrefiner_"] > .label-wrap').forEach((heading) => {
            if (heading.hasAttribute('aria-expanded')) return;
            const tell = () => {
                heading.setAttribute('aria-expanded', String(heading.classList.contains('open')));
            };
            tell();
            new MutationObserver(tell).observe(heading, {attributeFilter: ['class']});
            if (heading.tagName === 'BUTTON' || heading.tabIndex === 0) return;
            heading.tabIndex = 0;
            heading.setAttribute('role', 'button');
            heading.addEventListener('keydown', (event) => {
                if (event.target !== heading || !['Enter', ' '].includes(event.key)) return;
                event.preventDefault();
                heading.click();
            });
        });
        TABS.forEach((tab) => {
            const box = gradioApp().getElementById(`handrefiner_${tab}-visible-checkbox`);
            box?.setAttribute('aria-label', 'HandRefiner');
        });
    }

    function describe() {
        describeFields();
        nameButtons();
        openFoldsByKey();
    }

    let checkpoint = null;

    onUiLoaded(() => setTimeout(() => {
        lookAgain();
        describe();
    }, 500));
    onAfterUiUpdate(describe);
    onOptionsChanged(() => {
        if (opts.sd_checkpoint_hash === checkpoint) return;
        checkpoint = opts.sd_checkpoint_hash;
        lookAgain();
    });
})();
