"""Entries of the settings page and their values (options.py:13-66, 82-270)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class OptionInfo:
    """One entry. section: (id, title) of its page."""

    def __init__(
        self,
        default: object = None,
        label: str = "",
        component: Any = None,
        component_args: Mapping[str, object] | None = None,
        *,
        section: tuple[str, str] | None = None,
    ) -> None:
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.section = section
        self.comment_after = ""
        self.do_not_save = False

    def info(self, info: str) -> OptionInfo:
        """Add a remark behind the label."""
        self.comment_after += info
        return self

    def needs_reload_ui(self) -> OptionInfo:
        """Add the remark that the page must be built again."""
        return self.info(" (requires Reload UI)")


class OptionHTML(OptionInfo):
    """Text on the settings page, without a value."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.do_not_save = True


class Options:
    """Values by name; an attribute is looked up in `data`, then among the defaults."""

    def __init__(self, defaults: Mapping[str, object]) -> None:
        self.data: dict[str, Any] = dict(defaults)
        self.data_labels: dict[str, OptionInfo] = {
            name: OptionInfo(value, name) for name, value in defaults.items()
        }

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "data_labels"):
            raise AttributeError(name)
        if name in self.data:
            return self.data[name]
        if name in self.data_labels:
            return self.data_labels[name].default
        raise AttributeError(name)

    def add_option(self, key: str, info: OptionInfo) -> None:
        """Add an entry, with its default as long as there is no value (options.py:256-259)."""
        self.data_labels[key] = info
        if not info.do_not_save:
            self.data.setdefault(key, info.default)
