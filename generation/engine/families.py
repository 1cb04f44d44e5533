"""Which argument of which denoiser class is what. Data only: `batching` joins by it, `selfcheck` puts it to the test.

An argument that an entry doesn't name belongs to the batch as a whole: calls may share a forward only if it is equal
in content. So a wrong entry can come from naming too much, never from naming too little. A class without an entry is
never merged; its calls still park, so they can be overtaken and cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor, or a tree of tensors, whose dimension `dim` counts the rows. Concatenated there."""

    dim: int = 0


@dataclass(frozen=True, slots=True)
class Items:
    """A list with one tensor per row. The tensors may differ in size: the model pads and masks them itself."""


@dataclass(frozen=True, slots=True)
class Timestep:
    """A number, a tensor without dimensions or one value per row. Becomes one value per row."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A number by which the model multiplies its answers, tensors of `dims` dimensions. Becomes one number per row."""

    dims: int


@dataclass(frozen=True, slots=True)
class Padded:
    """Text, [rows, tokens, channels]. Padded to the longest with zeros that the argument `mask` hides.

    The mask, [rows, tokens], may be absent. Only for models whose answer doesn't depend on where a hidden token stands.
    """

    mask: str


@dataclass(frozen=True, slots=True)
class Positions:
    """Where the tokens stand, for all rows alike: without rows, or with rows of which the model reads the first only.

    Must be equal in content. Merging 4 x 4 with 2 x 8 latents gives no error, only wrong pictures.
    """


@dataclass(frozen=True, slots=True)
class Residual:
    """What a ControlNet or an adapter adds to hidden states, by rows. Absent is the same as zeros."""


@dataclass(frozen=True, slots=True)
class Alone:
    """An argument that rules merging out where it is true: a mode in which other arguments mean something else."""


Kind = Rows | Items | Timestep | Scale | Padded | Positions | Residual | Alone


@dataclass(frozen=True, slots=True)
class Family:
    """How one denoiser class takes its arguments. `counted`: the one that tells how many rows a call has."""

    counted: str
    arguments: Mapping[str, Kind]

    def kind(self, name: str) -> Kind | None:
        """What the argument is; a mask has rows like what it hides. None: it belongs to the batch as a whole."""
        return ROWS if name in self.masks() else self.arguments.get(name)

    def masks(self) -> frozenset[str]:
        """The arguments that belong to padded texts and are joined with those."""
        return frozenset(kind.mask for kind in self.arguments.values() if isinstance(kind, Padded))


ROWS, ITEMS, TIMESTEP, POSITIONS, RESIDUAL, ALONE = Rows(), Items(), Timestep(), Positions(), Residual(), Alone()

# Stable Diffusion 1, 2 and XL, Kolors, Kandinsky 2. Only XL and Kolors bring `added_cond_kwargs`.
_UNET: dict[str, Kind] = {
    "sample": ROWS,
    "timestep": TIMESTEP,
    "encoder_hidden_states": ROWS,
    "class_labels": ROWS,
    "timestep_cond": ROWS,
    "attention_mask": ROWS,
    "added_cond_kwargs": ROWS,
}

# Transformers on packed latents, [rows, tokens, channels], whose tokens' positions are given from outside.
_PACKED: dict[str, Kind] = {
    "hidden_states": ROWS,
    "timestep": TIMESTEP,
    "guidance": ROWS,
    "pooled_projections": ROWS,
    "encoder_hidden_states": ROWS,
    "img_ids": POSITIONS,
    "txt_ids": POSITIONS,
}

# Transformers that cut [rows, channels, height, width] into patches themselves.
_PATCHING: dict[str, Kind] = {
    "hidden_states": ROWS,
    "timestep": TIMESTEP,
    "encoder_hidden_states": ROWS,
}

# Diffusers passes a ControlNet's scale as one number for all rows; it only multiplies the residuals.
_CONTROL: dict[str, Kind] = {"controlnet_cond": ROWS, "conditioning_scale": Scale(4)}

FAMILIES: dict[str, Family] = {
    "UNet2DConditionModel": Family(
        "sample",
        _UNET
        | {
            "encoder_attention_mask": ROWS,
            "down_block_additional_residuals": RESIDUAL,
            "mid_block_additional_residual": RESIDUAL,
            "down_intrablock_additional_residuals": RESIDUAL,
        },
    ),
    # In guess mode the scale is spread over the layers first; a number per row would be spread over the rows instead.
    "ControlNetModel": Family("sample", _UNET | _CONTROL | {"guess_mode": ALONE}),
    "SD3Transformer2DModel": Family(
        "hidden_states",
        _PATCHING | {"pooled_projections": ROWS, "block_controlnet_hidden_states": RESIDUAL},
    ),
    "SD3ControlNetModel": Family(
        "hidden_states",
        _PATCHING | _CONTROL | {"pooled_projections": ROWS, "conditioning_scale": Scale(3)},
    ),
    # Text, image, inpaint, fill, control and Kontext: they differ in channels and positions only.
    "FluxTransformer2DModel": Family(
        "hidden_states",
        _PACKED | {"controlnet_block_samples": RESIDUAL, "controlnet_single_block_samples": RESIDUAL},
    ),
    "FluxControlNetModel": Family(
        "hidden_states",
        _PACKED | _CONTROL | {"controlnet_mode": ROWS, "conditioning_scale": Scale(3)},
    ),
    # A klein with a key-value cache fills the cache it is given with the keys of its own rows.
    "Flux2Transformer2DModel": Family("hidden_states", _PACKED | {"kv_cache": ALONE, "kv_cache_mode": ALONE}),
    "ChromaTransformer2DModel": Family(
        "hidden_states",
        _PACKED
        | {
            "attention_mask": ROWS,
            "controlnet_block_samples": RESIDUAL,
            "controlnet_single_block_samples": RESIDUAL,
        },
    ),
    # `img_shapes` is a list with one entry per row; only the first is read.
    "QwenImageTransformer2DModel": Family(
        "hidden_states",
        {
            "hidden_states": ROWS,
            "timestep": TIMESTEP,
            "guidance": ROWS,
            "encoder_hidden_states": Padded("encoder_hidden_states_mask"),
            "img_shapes": POSITIONS,
            "additional_t_cond": ROWS,
            "controlnet_block_samples": RESIDUAL,
        },
    ),
    "QwenImageControlNetModel": Family(
        "hidden_states",
        {
            "hidden_states": ROWS,
            "timestep": TIMESTEP,
            "encoder_hidden_states": Padded("encoder_hidden_states_mask"),
            "img_shapes": POSITIONS,
            "controlnet_cond": ROWS,
            "conditioning_scale": Scale(3),
        },
    ),
    # Pads and masks by itself: pictures of any size and captions of any length share a forward.
    "ZImageTransformer2DModel": Family(
        "x",
        {"x": ITEMS, "t": TIMESTEP, "cap_feats": ITEMS, "controlnet_block_samples": ALONE, "siglip_feats": ALONE},
    ),
    "SanaTransformer2DModel": Family(
        "hidden_states",
        _PATCHING
        | {
            "encoder_hidden_states": Padded("encoder_attention_mask"),
            "guidance": ROWS,
            "attention_mask": ROWS,
            "controlnet_block_samples": RESIDUAL,
        },
    ),
    "PixArtTransformer2DModel": Family(
        "hidden_states",
        _PATCHING
        | {
            "encoder_hidden_states": Padded("encoder_attention_mask"),
            "added_cond_kwargs": ROWS,
            "attention_mask": ROWS,
        },
    ),
    "Lumina2Transformer2DModel": Family("hidden_states", _PATCHING | {"encoder_attention_mask": ROWS}),
    "AuraFlowTransformer2DModel": Family("hidden_states", _PATCHING),
    # The text of Llama comes as [layers, rows, tokens, channels].
    "HiDreamImageTransformer2DModel": Family(
        "hidden_states",
        {
            "hidden_states": ROWS,
            "timesteps": TIMESTEP,
            "encoder_hidden_states_t5": ROWS,
            "encoder_hidden_states_llama3": Rows(1),
            "pooled_embeds": ROWS,
            "img_ids": ROWS,
            "hidden_states_masks": ROWS,
        },
    ),
}
