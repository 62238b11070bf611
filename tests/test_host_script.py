"""The script in a WebUI: what each hook does to a run, seen in its pictures and texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import stand_in
from hand_scenes import BOTH, picture_with
from host_runs import BRIGHT, PLAIN, arrays, differs, hands_of, run
from modules import devices, images, processing, sd_hijack, sd_models, shared
from PIL import Image

from handrefiner_ext.host import checkpoint, inpainter, nested, script
from handrefiner_ext.host.inputs import read_drawn_mask
from handrefiner_ext.host.script import STATE
from handrefiner_ext.repaint import regions

pytest.importorskip("torch")
HAND = stand_in.HAND
SIZE = {"width": 512, "height": 256}


def txt2img(webui, hands=None, **values):
    return webui.txt2img([BRIGHT], hands, **{**SIZE, **values})


def img2img(webui, hands=None, picture=BRIGHT, **values):
    return webui.img2img(picture, hands, **{**SIZE, **values})


def mask_of(webui, **hands):
    """(H, W): where the hands may change, as the extra picture of a run shows it."""
    extras = run(txt2img(webui, {**PLAIN, "extra_images": True, **hands}))
    return arrays(extras)[2][..., 0] > 0


def control(webui, img2img=False):
    return webui.find("ControlNet", img2img=img2img)


def test_both_hands_are_repainted_and_nothing_else_changes(webui):
    done = run(txt2img(webui, PLAIN))
    changed, mask = differs(arrays(done)[0], BRIGHT), mask_of(webui)
    assert not changed[~mask].any()
    assert changed[:, :256].any()
    assert changed[:, 256:].any()
    assert hands_of(done.infotexts[0]) == "1 right refined; 2 left refined"
    assert done.images[0].info["parameters"] == done.infotexts[0]


def test_switched_off_nothing_is_done_or_said(webui):
    done = run(txt2img(webui))
    assert not differs(arrays(done)[0], BRIGHT).any()
    assert "HandRefiner" not in done.infotexts[0]
    assert control(webui).seen == []


def test_the_second_pass_has_one_unit_with_our_depth_at_the_literal_strength(webui):
    run(txt2img(webui, {**PLAIN, "strength": 0.73, "guidance_end": 0.9}))
    units = control(webui).seen
    assert len(units) == 2, "one for each hand"
    for unit in units:
        assert (unit["model"], unit["weight"], unit["guidance_end"]) == (HAND, 0.73, 0.9)
        assert unit["image"].max() == 255
        assert unit["image"].min() == 0
    assert shared.sd_model.hooked == []
    assert control(webui).latest_network is None


def test_every_strength_and_every_seed_gives_another_picture(webui):
    requests = [({"strength": s}, 7) for s in (0.4, 0.8)] + [({"strength": 0.4}, 8)]
    made = [arrays(run(txt2img(webui, {**PLAIN, **h}, seed=seed)))[0] for h, seed in requests]
    again = arrays(run(txt2img(webui, {**PLAIN, "strength": 0.4})))[0]
    assert all(differs(a, b).any() for a, b in pairwise(made))
    assert not differs(again, made[0]).any()


def test_the_run_inside_takes_prompt_seed_and_sampler_from_the_run_around_it(webui, monkeypatch):
    inner = watch_inner_runs(monkeypatch)
    hands = {**PLAIN, "prompt": "[PROMPT], fist", "steps": 9, "sampler": "euler A"}
    request = txt2img(webui, hands, seed=20, subseed=30, eta=0.5, token_merging_ratio=0.2)
    run(request)
    first, second = inner
    assert (first.prompt, first.steps, first.sampler_name) == ("a hand, fist", 9, "Euler a")
    assert (first.seed, second.seed) == (20, 21)
    assert first.subseed == 30
    assert (first.eta, first.token_merging_ratio) == (0.5, 0.2)
    assert first.width % 8 == first.height % 8 == 0
    assert [r._ad_disabled for r in inner] == [True, True]
    assert all(p.closed for p in inner)
    assert all(p.scripts is not request.scripts for p in inner)


def watch_inner_runs(monkeypatch):
    """A list that fills with the nested runs, in their order."""
    seen, process = [], processing.process_images

    def watching(p):
        if getattr(p, nested.INNER, False):
            seen.append(p)
        return process(p)

    monkeypatch.setattr(processing, "process_images", watching)
    return seen


def test_a_batch_reports_every_picture_of_every_iteration(webui):
    pictures = [BRIGHT, picture_with((), 256, 512)]
    request = webui.txt2img(pictures, PLAIN, **SIZE, batch_size=2, n_iter=2, do_not_save_grid=True)
    done = run(request)
    said = [hands_of(text) for text in done.infotexts]
    assert said[0] == said[2] == "1 right refined; 2 left refined"
    assert said[1] == said[3]
    assert "refined" not in said[1]
    assert not differs(arrays(done)[1], pictures[1]).any()


def test_extras_stand_behind_the_results_each_with_the_text_of_its_picture(webui):
    request = webui.txt2img([BRIGHT] * 2, {**PLAIN, "extra_images": True}, **SIZE, batch_size=2)
    done = run(request)
    assert done.index_of_first_image == 1, "a grid stands first"
    assert len(done.images) == len(done.infotexts) == 3 + 2 * 3
    kinds = [text.rpartition("HandRefiner extra: ")[2] for text in done.infotexts[3:]]
    assert kinds == ["depth", "mask", "before"] * 2
    assert "Seed: 8" in done.infotexts[6]
    assert done.images[6].info["parameters"] == done.infotexts[6]
    assert not differs(arrays(done)[5], BRIGHT).any()
    depth, mask = arrays(done)[3:5]
    assert set(np.unique(mask)) == {0, 255}
    assert not depth[mask == 0].any()


def test_candidates_are_one_batch_with_one_seed_after_the_other(webui, monkeypatch):
    inner = watch_inner_runs(monkeypatch)
    done = run(txt2img(webui, {**PLAIN, "hands": "1", "candidates": 3, "extra_images": True}))
    assert [p.batch_size for p in inner] == [3]
    assert inner[0].all_seeds == [7, 8, 9]
    candidates = arrays(done)[-3:]
    assert differs(candidates[0], candidates[1]).any()
    assert "candidate 3" in done.infotexts[-1]


def test_copies_are_saved_where_the_settings_ask_for_them(webui):
    shared.opts.data["handrefiner_save_copies"] = ["overlay", "before", "mask", "depth"]
    run(txt2img(webui, PLAIN))
    named = ["-hands-before", "-hands-depth", "-hands-mask", "-hands-overlay"]
    assert [suffix for suffix, _ in images.saved] == named
    assert not differs(images.saved[0][1], BRIGHT).any()
    run(txt2img(webui, PLAIN, do_not_save_samples=True))
    assert len(images.saved) == 4


def test_a_copy_that_cannot_be_saved_costs_nothing(webui, monkeypatch, caplog):
    monkeypatch.setattr(images, "save_image", fail(OSError("disk full")))
    shared.opts.data["handrefiner_save_copies"] = ["before"]
    assert "refined" in hands_of(run(txt2img(webui, PLAIN)).infotexts[0])
    assert "The copy before could not be saved" in caplog.text


def fail(fault):
    def failing(*args, **values):
        raise fault

    return failing


def test_img2img_without_sampling_changes_the_hands_alone(webui):
    request = img2img(webui, {**PLAIN, "skip_img2img": True}, width=64, height=64)
    done = run(request)
    mask = mask_of(webui)
    changed = differs(arrays(done)[0], BRIGHT)
    assert done.images[0].size == (512, 256), "the picture's own size"
    assert not changed[~mask].any()
    assert changed[mask].any()
    assert "Denoising strength: 0" in done.infotexts[0]
    assert (request.width, request.height) == (64, 64), "the batch tab uses the run again"
    assert "sample" not in vars(request)
    assert "init" not in vars(request)


def test_what_another_extension_put_in_the_place_of_sampling_stays(webui):
    request = txt2img(webui, PLAIN)
    request.sample = theirs = request.sample
    run(request)
    assert vars(request)["sample"] is theirs


def test_without_the_switch_img2img_is_sampled(webui):
    assert differs(arrays(run(img2img(webui)))[0], BRIGHT).mean() > 0.9


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("invert", [0, 1])
def test_hands_outside_the_users_mask_stay(webui, skip, only_masked, invert):
    mask = np.zeros((256, 512), np.uint8)
    mask[:, :256] = 255
    user = Image.fromarray(mask if not invert else 255 - mask)
    given = {"mask": user, "inpainting_mask_invert": invert, "inpaint_full_res": only_masked}
    done = run(img2img(webui, {**PLAIN, "skip_img2img": skip}, **given))
    changed = differs(arrays(done)[0], BRIGHT)
    assert changed[:, :256].any()
    assert not changed[:, 256:].any()


def test_a_whole_batch_of_given_pictures_passes_through(webui):
    others = [picture_with((h,), 256, 512) for h in BOTH]
    given = [Image.fromarray(image) for image in others]
    done = run(img2img(webui, {**PLAIN, "skip_img2img": True}, init_images=given, batch_size=2))
    texts = [hands_of(text) for text in done.infotexts[-2:]]
    assert texts == ["1 right refined", "1 left refined"]


def test_a_drawn_mask_decides_where_the_picture_changes(webui):
    drawn = np.zeros((256, 512), np.uint8)
    drawn[40:200, 20:200] = 255
    given = {
        **PLAIN,
        "hands": "1",
        "mask": "drawn",
        "padding_bbox": 0,
        "drawn_mask": Image.fromarray(drawn),
    }
    with_drawing = arrays(run(txt2img(webui, given)))[0]
    changed = differs(with_drawing, BRIGHT)
    assert changed.any()
    assert not changed[drawn == 0].any()
    unused = arrays(run(txt2img(webui, {**given, "mask": "silhouette"})))[0]
    assert differs(unused, with_drawing).any()


def test_a_drawn_mask_is_decoded_once_for_a_batch(webui, monkeypatch):
    decoded = []

    def read(drawn, size):
        decoded.append(size)
        return read_drawn_mask(drawn, size)

    monkeypatch.setattr(script, "read_drawn_mask", read)
    given = {**PLAIN, "mask": "drawn", "drawn_mask": Image.new("L", (512, 256), 255)}
    done = run(webui.txt2img([BRIGHT, BRIGHT], given, **SIZE, batch_size=2))
    assert [hands_of(text) for text in done.infotexts[:2]] == [
        "1 right refined; 2 left refined"
    ] * 2
    assert decoded == [(256, 512)]


WRONG = {"enabled": True, "strength": "much"}


def test_wrong_values_are_said_and_the_picture_comes_back(webui):
    request = txt2img(webui, WRONG)
    done = run(request)
    assert not differs(arrays(done)[0], BRIGHT).any()
    assert hands_of(done.infotexts[0]).startswith("strength = 'much'")
    assert any("strength = 'much'" in comment for comment in request.comments)


@pytest.mark.parametrize("switch", [False, 0, "False", "", None])
def test_wrong_values_with_the_switch_off_are_not_our_business(webui, switch):
    done = run(txt2img(webui, {**WRONG, "enabled": switch}))
    assert "HandRefiner" not in done.infotexts[0]


@pytest.mark.parametrize("flag", ["interrupted", "stopping_generation"])
def test_an_interrupted_picture_is_left_alone(webui, flag):
    request = txt2img(webui, PLAIN)
    request.sample = interrupt_after(request.sample, flag)
    done = run(request)
    assert not differs(arrays(done)[0], BRIGHT).any()
    assert "interrupted or skipped" in hands_of(done.infotexts[0])


def interrupt_after(method, flag):
    def calling(**values):
        made = method(**values)
        setattr(shared.state, flag, True)
        return made

    return calling


def test_a_skip_in_the_second_pass_means_that_pass_alone(webui, monkeypatch):
    paint = processing.StableDiffusionProcessingImg2Img.sample

    def skipping(self, **values):
        shared.state.skipped = True
        return paint(self, **values)

    monkeypatch.setattr(processing.StableDiffusionProcessingImg2Img, "sample", skipping)
    done = run(txt2img(webui, PLAIN))
    assert not differs(arrays(done)[0], BRIGHT).any()
    assert "interrupted or skipped" in hands_of(done.infotexts[0])
    assert shared.state.skipped is False


@pytest.mark.parametrize("wanted", [False, True])
def test_upscaled_pictures_are_refined_again_only_where_the_settings_say_so(webui, wanted):
    shared.opts.data["handrefiner_refine_upscaled"] = wanted
    request = txt2img(webui, PLAIN)
    request.txt2img_upscale = True
    assert ("before this picture was upscaled" not in run(request).infotexts[0]) == wanted


@pytest.mark.parametrize("mark", [nested.INNER, "_ad_inner"])
def test_runs_inside_other_runs_are_left_alone(webui, mark):
    request = txt2img(webui, PLAIN)
    setattr(request, mark, True)
    assert not differs(arrays(run(request))[0], BRIGHT).any()


IMG2IMG = processing.StableDiffusionProcessingImg2Img
OOM = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
FAULTS = {
    "the network raises": (IMG2IMG, "sample", fail(ValueError("mat1 and mat2")), "mat1 and mat2"),
    "no memory": (IMG2IMG, "init", fail(MemoryError()), "not enough memory"),
    "no graphics memory": (IMG2IMG, "sample", fail(OOM), "not enough memory"),
    "no picture": (IMG2IMG, "sample", lambda self, **v: [], "gave no picture"),
    "a flat picture": (
        IMG2IMG,
        "sample",
        lambda self, **v: [np.zeros((3, self.height, self.width), np.float32)] * len(self.seeds),
        "flat colour",
    ),
    "another size": (
        IMG2IMG,
        "sample",
        lambda self, **v: [np.zeros((3, 8, 8), np.float32)] * len(self.seeds),
        "(8, 8, 3) pixels",
    ),
    "the region cannot be rendered": (regions, "render_region", fail(OSError("GL")), "GL"),
    "our own code breaks": (regions, "lay_over", fail(KeyError("x")), "KeyError"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_the_picture_comes_back_with_the_reason(webui, monkeypatch, fault):
    owner, name, fake, words = FAULTS[fault]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fake)
        request = txt2img(webui, PLAIN)
        done = run(request)
        assert not differs(arrays(done)[0], BRIGHT).any()
        assert words in done.infotexts[0]
        assert any(words in comment for comment in request.comments)
    assert shared.sd_model.hooked == []
    assert hands_of(run(txt2img(webui, PLAIN)).infotexts[0]) == "1 right refined; 2 left refined"


def test_candidates_that_do_not_fit_into_memory_together_are_painted_one_by_one(
    webui, monkeypatch, caplog
):
    paint = IMG2IMG.sample

    def small(self, **values):
        if self.batch_size > 1:
            raise OOM
        return paint(self, **values)

    monkeypatch.setattr(IMG2IMG, "sample", small)
    before = devices.collected
    done = run(txt2img(webui, {**PLAIN, "hands": "1", "candidates": 2}))
    assert "refined" in hands_of(done.infotexts[0])
    assert "Too little memory for 2 candidates" in caplog.text
    assert devices.collected > before


def test_a_corrupt_control_model_is_named_although_the_webui_swallows_the_exception(
    webui, monkeypatch
):
    kind = type(control(webui))
    monkeypatch.setattr(kind, "process", fail(RuntimeError("corrupt file")))
    done = processing.process_images(txt2img(webui, PLAIN))
    assert "ControlNet was not applied: corrupt file" in done.infotexts[0]
    assert not differs(arrays(done)[0], BRIGHT).any()


def test_without_the_extension_controlnet_the_reason_says_what_to_install(tmp_path, webui):
    bare = stand_in.WebUI(tmp_path, controlnet=False)
    bare.build_page()
    done = run(txt2img(bare, PLAIN))
    assert "install sd-webui-controlnet" in done.infotexts[0]


def test_a_model_added_meanwhile_is_found_at_the_second_look(webui):
    webui.controlnet_state.cn_models.clear()
    webui.controlnet_state.cn_models["control_v11p_sd15_canny [1]"] = "nowhere"
    webui.add_control_model(HAND, known=False)
    done = run(txt2img(webui, PLAIN))
    assert "refined" in hands_of(done.infotexts[0])
    assert f"HandRefiner control model: {HAND}" in done.infotexts[0]


@pytest.mark.parametrize("set_", [{}, {"steps": 4, "cfg_scale": 7.0}])
def test_steps_of_a_fast_picture_that_do_not_suit_the_hands_are_said(webui, set_):
    request = webui.txt2img([BRIGHT], {**PLAIN, "prompt": "a fist", **set_}, width=512, height=256)
    request.prompt = "a hand <lora:lcm-lora-sdv1-5:1>"
    run(request)
    told = [comment for comment in request.comments if "Set Steps and CFG scale" in comment]
    assert len(told) == (0 if set_ else 1)


def test_an_unknown_sampler_and_an_unfit_checkpoint_are_said(webui):
    assert (
        "choose DPM++ 2M, Euler" in run(txt2img(webui, {**PLAIN, "sampler": "DDIM"})).infotexts[0]
    )
    shared.sd_model.is_sd1, shared.sd_model.is_sd2 = False, True
    assert "Stable Diffusion 2" in run(txt2img(webui, PLAIN)).infotexts[0]


def test_another_checkpoint_and_vae_paint_the_hands_and_then_the_old_ones_are_back(webui):
    other = {**PLAIN, "checkpoint": "other.safetensors", "vae": "soft.vae.pt"}
    base = shared.sd_model
    plain = arrays(run(txt2img(webui, PLAIN)))[0]
    request = txt2img(webui, other, n_iter=2, do_not_save_grid=True, token_merging_ratio=0.3)
    done = run(request)
    assert differs(arrays(done)[0], plain).any()
    assert shared.sd_model is base
    assert base.vae == "Automatic"
    assert sd_models.model_data.reads == 2, "once for the two iterations"
    assert sd_models.model_data.loaded_sd_models == [base], "the other is let go"
    assert len(sd_models.model_data.trashed) == 1
    assert shared.opts.data["sd_checkpoints_limit"] == 1
    assert shared.opts.data["sd_model_checkpoint"] == "base.safetensors"


def test_where_two_checkpoints_do_not_fit_each_swap_reads_one(webui, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "MEMORY_PER_FILE", 1e18)
    done = run(txt2img(webui, {**PLAIN, "checkpoint": "other.safetensors"}))
    assert "refined" in hands_of(done.infotexts[0])
    assert "too little memory to keep two checkpoints" in caplog.text
    assert sd_models.model_data.reads == 3
    assert shared.sd_model.sd_checkpoint_info.title.startswith("base")


@pytest.mark.parametrize("name", ["checkpoint", "vae"])
def test_a_checkpoint_or_vae_that_is_not_there_is_refused_with_those_that_are(webui, name):
    done = run(txt2img(webui, {**PLAIN, name: "absent"}))
    assert f"{name} = 'absent' is not possible" in hands_of(done.infotexts[0])
    assert {"checkpoint": "other.safetensors", "vae": "soft.vae.pt"}[name] in done.infotexts[0]


def test_the_outer_runs_own_controlnet_comes_back_for_its_next_picture(webui):
    unit = {
        **{"enabled": True, "module": "none", "model": HAND, "image": BRIGHT, "weight": 1.0},
        **{"resize_mode": "Just Resize", "control_mode": "Balanced"},
        **{"guidance_start": 0.0, "guidance_end": 1.0},
    }
    request = txt2img(webui, PLAIN, n_iter=2, do_not_save_grid=True)
    script = control(webui)
    args = list(request.script_args)
    args[script.args_from] = unit
    request.script_args = args
    hooked = []
    sample = request.sample
    request.sample = lambda **v: (hooked.append(list(shared.sd_model.hooked)), sample(**v))[1]
    done = run(request)
    assert hooked == [[unit], [unit]]
    assert sum(u is not unit for u in script.seen) == 4, "two hands in two pictures"
    assert len(done.images) == 3, "the unit's own picture is still there"
    assert shared.sd_model.hooked == []


def test_nothing_global_is_changed_by_a_second_pass(webui):
    torch = pytest.importorskip("torch")
    shared.state.job_count, shared.state.textinfo = 1, "outer"
    data, chance = dict(shared.opts.data), torch.default_generator.get_state()
    sd_hijack.model_hijack.comments = ["mine"]
    request = txt2img(webui, PLAIN, token_merging_ratio=0.4)
    sampled = request.sample

    def sample(**values):
        sd_hijack.model_hijack.comments = ["mine"]
        return sampled(**values)

    request.sample = sample
    ratios = []
    request.comment = lambda text: None
    late = stand_in.scripts.scripts_txt2img.alwayson_scripts[-1]
    after = late.postprocess
    late.postprocess = lambda p, *a: (ratios.append(shared.sd_model.token_merging), after(p, *a))
    run(request)
    assert shared.opts.data == data
    assert torch.equal(torch.default_generator.get_state(), chance)
    assert sd_hijack.model_hijack.comments == ["mine"]
    assert shared.state.textinfo == "outer"
    assert ratios == [0.4]
    assert shared.state.job_count == 3, "two regions are jobs of their own"
    assert shared.state.job_no == 3
    assert len(processing.prompt_history) == 1, "params.txt is the outer run's"


def test_nothing_of_an_earlier_run_stays_on_a_run_that_is_used_again(webui):
    request = txt2img(webui, PLAIN)
    assert "HandRefiner" in run(request).infotexts[0]
    args = list(request.script_args)
    args[webui.find("HandRefiner").args_from] = {"enabled": False}
    request.script_args = args
    assert "HandRefiner" not in run(request).infotexts[0]
    assert STATE not in vars(request)


def test_the_real_detector_mesh_and_judge_work_behind_the_hooks(tmp_path):
    if not has_detector():
        pytest.skip("no hand detector is installed here")
    real = stand_in.WebUI(tmp_path)
    real.build_page()
    with Image.open(stand_in.PROJECT / "examples" / "badly_drawn_hand.png") as image:
        picture = np.asarray(image.convert("RGB"))
    hands = {**PLAIN, "extra_images": True}
    done = run(real.txt2img([picture], hands, width=768, height=768))
    assert "refined" in hands_of(done.infotexts[0])
    result, _, mask, before = arrays(done)
    changed = differs(result, before)
    assert changed[mask[..., 0] > 0].mean() > 0.05
    assert not changed[mask[..., 0] == 0].any()


def has_detector():
    from handrefiner_ext.stages import list_obstacles
    from handrefiner_ext.types import ModelHome

    return None in list_obstacles(ModelHome())["detector"].values()


def test_exceptions_become_sentences():
    assert "smaller region size" in inpainter.explain(MemoryError())
    assert inpainter.explain(ValueError()) == "It failed with ValueError: no further words"
