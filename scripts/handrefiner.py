"""The always-on script and its callbacks, as the WebUI loads them; the package does the work."""

from modules import scripts

from handrefiner_ext.host import ui, xyz
from handrefiner_ext.host.callbacks import register
from handrefiner_ext.host.preprocessors import add_preprocessors
from handrefiner_ext.host.problem_report import register_button
from handrefiner_ext.host.script import HandRefinerScript
from handrefiner_ext.host.serving import add_routes
from handrefiner_ext.host.settings import register_settings
from handrefiner_ext.host.ui_config import upgrade_ui_config


class HandRefiner(scripts.Script):
    """The script, one instance per tab; what a run needs to remember is kept on the run."""

    def __init__(self):
        self.work = HandRefinerScript()

    def title(self):
        return ui.TITLE

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return ui.build_panel(self, is_img2img)

    def before_process(self, p, *args):
        self.work.before_process(p, *args)

    def process(self, p, *args):
        self.work.process(p, *args)

    def before_process_batch(self, p, *args, **kwargs):
        self.work.before_process_batch(p, *args, **kwargs)

    def postprocess_image(self, p, pp, *args):
        self.work.postprocess_image(p, pp, *args)

    def postprocess(self, p, processed, *args):
        self.work.postprocess(p, processed, *args)


register_settings()
register_button()
xyz.register_axes()
register("before_ui", upgrade_ui_config, __file__)
register("before_ui", add_preprocessors, __file__)
register("app_started", lambda _page, app: add_routes(app), __file__)
