"""Python names for whatever the model calls its layers. The model's names are hostile input: they reach the written
source only through the functions below."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable

#: Longest identifier: two of them and a call still fit into a line.
LONGEST = 41

#: Public attributes of torch.nn.Module (torch 2.13), which a layer must not overwrite.
MODULE_ATTRIBUTES = frozenset(
    """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
    extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules
    mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
    """.split()  # noqa: SIM905
)
#: What the written code itself refers to, and a local name must not hide.
LOCALS = frozenset(["self", "torch", "nn", "F", "float", "sum"])


class Names:
    """Hands out identifiers that are unique within one namespace and none of ``reserved``."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._taken = set(reserved)
        self._numbers: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def take(self, name: str, prefix: str = "layer_") -> str:
        """An identifier for ``name``, as close to it as Python and the names already taken allow."""
        plain = identifier(name, prefix)
        if keyword.iskeyword(plain) or plain in self._reserved:
            plain = f"{plain}_"
        candidate = plain
        while candidate in self._taken:
            self._numbers[plain] = self._numbers.get(plain, 1) + 1
            candidate = f"{plain}_{self._numbers[plain]}"
        self._taken.add(candidate)
        return candidate


def identifier(name: str, prefix: str = "layer_") -> str:
    """``name`` with "_" for every character that an ASCII identifier cannot have; never empty or private."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:LONGEST].strip("_")
    return plain if plain and not plain[0].isdigit() else (prefix + plain).rstrip("_")


def keeps(identifier: str, name: str) -> bool:
    """Whether ``identifier`` still shows ``name``: only "_" for other characters, and a prefix before a number."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")
    return bool(plain) and identifier.endswith(plain)


def class_name(name: str, default: str = "Net") -> str:
    """``name`` in CamelCase: "ResNet_50_1by2" becomes ResNet50_1by2."""
    words = [word for word in re.split(r"[\W_]+", name, flags=re.ASCII) if word]
    camel = ""
    for word in words:
        between = "_" if camel[-1:].isdigit() and word[0].isdigit() else ""
        camel += between + word[0].upper() + word[1:]
    camel = camel[:LONGEST]
    if not camel or camel[0].isdigit():
        camel = default + camel
    return f"{camel}Net" if keyword.iskeyword(camel) or camel in LOCALS else camel


def quoted(name: str, longest: int = 60) -> str:
    """``name`` for a comment or a docstring: printable ASCII in one line, without quotes or backslashes to close it."""
    text = json.dumps(name)[1:-1].replace("\\", "/").replace('"', "'")
    return text if len(text) <= longest else text[: longest - 3] + "..."
