// The button Fix hands: names the run, so that the WebUI shows its progress and can interrupt it, and
// says which picture is selected. When the run has ended, the new picture is selected.

function handrefinerFix(tab, values) {
    const gallery = gradioApp().getElementById(`${tab}_gallery`);
    const container = gradioApp().getElementById(`${tab}_gallery_container`);
    const pictures = () => Array.from(gallery.querySelectorAll('.thumbnail-item.thumbnail-small'));
    const selected = selected_gallery_index();
    const before = pictures().length;
    const id = randomId();

    showSubmitButtons(tab, false);
    localSet(`${tab}_task_id`, id);
    requestProgress(id, container, gallery, () => {
        showSubmitButtons(tab, true);
        localRemove(`${tab}_task_id`);
        showRestoreProgressButton(tab, false);
        selectNew(240);
    });

    // The answer comes later than the end of the run, on a busy machine by many seconds.
    function selectNew(tries) {
        const shown = pictures();
        if (shown.length > before) {
            shown[Math.max(selected, 0) + 1]?.click();
        } else if (tries > 0) {
            setTimeout(() => selectNew(tries - 1), 250);
        }
    }

    values[0] = id;
    values[2] = selected;
    values[4] = tab;
    return values;
}
