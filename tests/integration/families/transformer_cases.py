"""Pipelines on transformers: Stable Diffusion 3, the Flux family, Qwen-Image, Z-Image and others."""

from __future__ import annotations

import functools
from typing import Any

import diffusers

from tests.integration.families import builders as b
from tests.integration.families.cases import (
    DIFFUSING,
    FLOWING,
    GUIDANCE,
    LEFT_OUT,
    Arguments,
    Case,
    controlled,
    flow,
    masked,
    masked_text,
    pooled_text,
    sized,
    started,
    text,
    twice,
    without,
)

CASES: list[Case] = []


def add(name: str, pipeline: type, **others: Any) -> None:
    CASES.append(Case(name, pipeline, **others))


# -- transformers on pixels' latents -----------------------------------------------------------------------------------

ABSENT = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")


def prompted(i: int) -> Arguments:
    return twice(i, pooled_text(i))


def sd3_parts() -> dict[str, Any]:
    return {"transformer": b.sd3(), "vae": b.autoencoder()} | dict.fromkeys(ABSENT)


def sd3_inpaint_parts() -> dict[str, Any]:
    """The pipeline insists on 16 channels."""
    sixteen = {"transformer": b.sd3(in_channels=16, out_channels=16), "vae": b.autoencoder(latent_channels=16)}
    return sd3_parts() | sixteen


def sd3_control_parts() -> dict[str, Any]:
    """The pipeline encodes control pictures with noise from the global generator, so the encoder's must be none."""
    return sd3_parts() | {"controlnet": b.sd3_controlnet(), "vae": b.noiseless(b.autoencoder())}


for name, pipeline, parts, more in (
    ("sd3-text", diffusers.StableDiffusion3Pipeline, sd3_parts, lambda i: sized()),
    ("sd3-image", diffusers.StableDiffusion3Img2ImgPipeline, sd3_parts, lambda i: started(i) | sized()),
    ("sd3-inpaint", diffusers.StableDiffusion3InpaintPipeline, sd3_inpaint_parts, masked),
):
    add(
        name,
        pipeline,
        parts=parts,
        arguments=lambda i, more=more: prompted(i) | more(i),
        schedulers=(flow, diffusers.FlowMatchHeunDiscreteScheduler),
    )
add(
    "sd3-controlnet",
    diffusers.StableDiffusion3ControlNetPipeline,
    parts=sd3_control_parts,
    arguments=lambda i: prompted(i) | sized() | controlled(i, "control_image"),
    schedulers=FLOWING,
)
UNBINNED = {"use_resolution_binning": False, "negative_prompt": None}
BARE = {"vae": None, "text_encoder": None, "tokenizer": None}
# Only models of this size get the picture's resolution and aspect ratio.
FULL_SIZE_PIXART = functools.partial(b.pixart, use_additional_conditions=True, sample_size=128)
for name, pipeline, maker in (
    ("pixart-alpha", diffusers.PixArtAlphaPipeline, b.pixart),
    ("pixart-alpha-sized", diffusers.PixArtAlphaPipeline, FULL_SIZE_PIXART),
    ("pixart-sigma", diffusers.PixArtSigmaPipeline, b.pixart),
):
    add(
        name,
        pipeline,
        parts=lambda maker=maker: BARE | {"transformer": maker()},
        arguments=lambda i: masked_text(i) | sized(64) | UNBINNED,
        schedulers=DIFFUSING,
    )
add(
    "sana",
    diffusers.SanaPipeline,
    parts=lambda: BARE | {"transformer": b.sana()},
    arguments=lambda i: masked_text(i) | sized(128) | UNBINNED,
    schedulers=FLOWING,
)
add(
    "sana-sprint",
    diffusers.SanaSprintPipeline,
    parts=lambda: BARE | {"transformer": b.sana(guidance_embeds=True, qk_norm="rms_norm_across_heads")},
    arguments=lambda i: (
        without(masked_text(i), "negative_prompt_embeds", "negative_prompt_attention_mask")
        | sized(128)
        | {"use_resolution_binning": False, "intermediate_timesteps": None}
    ),
    schedulers=(diffusers.SCMScheduler,),
)
add(
    "lumina2",
    diffusers.Lumina2Pipeline,
    parts=lambda: BARE | {"transformer": b.lumina2()},
    arguments=lambda i: masked_text(i) | sized(64),
    schedulers=FLOWING,
)
add(
    "aura-flow",
    diffusers.AuraFlowPipeline,
    parts=lambda: BARE | {"transformer": b.aura_flow()},
    arguments=lambda i: masked_text(i) | sized(64),
    schedulers=FLOWING,
)


def hidream_text(i: int) -> Arguments:
    sides = {"": i, "negative_": 10}
    return {
        f"{side}{name}": b.noise(seed, *shape)
        for side, seed in sides.items()
        for name, shape in (
            ("prompt_embeds_t5", (1, b.TOKENS, b.WIDTH)),
            ("prompt_embeds_llama3", (2, 1, b.TOKENS, b.WIDTH)),
            ("pooled_prompt_embeds", (1, 2 * b.WIDTH)),
        )
    }


add(
    "hidream",
    diffusers.HiDreamImagePipeline,
    parts=lambda: BARE | dict.fromkeys((*ABSENT, "text_encoder_4", "tokenizer_4")) | {"transformer": b.hidream()},
    arguments=lambda i: hidream_text(i) | sized(64),
    schedulers=FLOWING,
    set={"default_sample_size": 8},
)

# -- transformers on packed latents ------------------------------------------------------------------------------------


def flux_parts(**changes: Any) -> dict[str, Any]:
    return {"transformer": b.flux(**changes), "vae": b.autoencoder()} | dict.fromkeys(ABSENT[:4])


def flux_text(i: int) -> Arguments:
    return without(prompted(i), "negative_prompt_embeds", "negative_pooled_prompt_embeds")


def true_guidance(i: int) -> Arguments:
    return prompted(i) | {"true_cfg_scale": (3.0, 1.0, 2.0)[i]}


for name, pipeline, more, changes in (
    ("flux-text", diffusers.FluxPipeline, lambda i: flux_text(i) | sized(), {}),
    ("flux-text-guided", diffusers.FluxPipeline, lambda i: true_guidance(i) | sized(), {"guidance_embeds": False}),
    ("flux-image", diffusers.FluxImg2ImgPipeline, lambda i: flux_text(i) | started(i) | sized(), {}),
    ("flux-inpaint", diffusers.FluxInpaintPipeline, lambda i: flux_text(i) | masked(i), {}),
    (
        "flux-fill",
        diffusers.FluxFillPipeline,
        lambda i: flux_text(i) | without(masked(i), "strength"),
        {"in_channels": 16 + 16 + 64, "out_channels": 16},
    ),
    (
        "flux-control",
        diffusers.FluxControlPipeline,
        lambda i: flux_text(i) | sized() | {"control_image": b.picture(i)},
        {"in_channels": 32, "out_channels": 16},
    ),
    (
        "flux-control-image",
        diffusers.FluxControlImg2ImgPipeline,
        lambda i: flux_text(i) | started(i) | sized() | {"control_image": b.picture(50 + i)},
        {"in_channels": 32, "out_channels": 16},
    ),
    (
        "flux-kontext-inpaint",
        diffusers.FluxKontextInpaintPipeline,
        lambda i: flux_text(i) | masked(i) | {"max_area": 32 * 32, "_auto_resize": False},
        {},
    ),
    (
        "flux-kontext",
        diffusers.FluxKontextPipeline,
        lambda i: flux_text(i) | sized() | {"image": b.picture(i), "max_area": 32 * 32, "_auto_resize": False},
        {},
    ),
):
    add(
        name,
        pipeline,
        parts=functools.partial(flux_parts, **changes),
        arguments=more,
        schedulers=FLOWING,
    )
for name, pipeline, more in (
    ("flux-controlnet", diffusers.FluxControlNetPipeline, lambda i: {}),
    ("flux-controlnet-image", diffusers.FluxControlNetImg2ImgPipeline, started),
):
    add(
        name,
        pipeline,
        parts=lambda: flux_parts() | {"controlnet": b.flux_controlnet()},
        arguments=lambda i, more=more: flux_text(i) | more(i) | sized() | controlled(i, "control_image"),
        schedulers=FLOWING,
    )


def flux2_parts(**changes: Any) -> dict[str, Any]:
    return BARE | {"transformer": b.flux2(**changes), "vae": b.flux2_autoencoder()}


for name, more in (("flux2-text", lambda i: {}), ("flux2-image", lambda i: {"image": b.picture(i, 64)})):
    add(
        name,
        diffusers.Flux2Pipeline,
        parts=flux2_parts,
        arguments=lambda i, more=more: {"prompt_embeds": text(i)["prompt_embeds"]} | sized() | more(i),
        schedulers=FLOWING,
    )
add(
    "flux2-klein",
    diffusers.Flux2KleinPipeline,
    parts=lambda: flux2_parts(guidance_embeds=False) | {"is_distilled": False},
    arguments=lambda i: text(i) | sized(),
    schedulers=FLOWING,
)


def chroma_text(i: int) -> Arguments:
    return {name: value.bool() if name.endswith("mask") else value for name, value in masked_text(i).items()}


for name, pipeline, more in (
    ("chroma-text", diffusers.ChromaPipeline, lambda i: sized()),
    ("chroma-image", diffusers.ChromaImg2ImgPipeline, lambda i: started(i) | sized()),
):
    add(
        name,
        pipeline,
        parts=lambda: BARE | {"transformer": b.chroma(), "vae": b.autoencoder()},
        arguments=lambda i, more=more: twice(i, chroma_text(i)) | more(i),
        schedulers=FLOWING,
    )


def qwen_parts(**changes: Any) -> dict[str, Any]:
    return BARE | {"transformer": b.qwen(**changes), "vae": b.qwen_autoencoder()}


def qwen_text(i: int) -> Arguments:
    """Of different lengths; only the second has a mask."""
    lengths = text(i, b.TOKENS + i) | {"true_cfg_scale": GUIDANCE[i], "guidance_scale": LEFT_OUT}
    return lengths | ({"prompt_embeds_mask": masked_text(i)["prompt_attention_mask"].new_ones(1, 8)} if i == 1 else {})


for name, pipeline, more in (
    ("qwen-text", diffusers.QwenImagePipeline, lambda i: sized()),
    ("qwen-image", diffusers.QwenImageImg2ImgPipeline, lambda i: started(i) | sized()),
    ("qwen-inpaint", diffusers.QwenImageInpaintPipeline, masked),
):
    add(
        name,
        pipeline,
        parts=qwen_parts,
        arguments=lambda i, more=more: qwen_text(i) | more(i),
        schedulers=FLOWING,
    )


for name, pipeline, image in (
    ("qwen-edit", diffusers.QwenImageEditPipeline, b.picture),
    ("qwen-edit-plus", diffusers.QwenImageEditPlusPipeline, lambda i: [b.picture(i), b.picture(50 + i)]),
):
    add(
        name,
        pipeline,
        parts=lambda: BARE | {"transformer": b.qwen(), "vae": b.qwen_autoencoder(halvings=6), "processor": None},
        arguments=lambda i, image=image: qwen_text(i) | sized(256) | {"image": image(i)},
        schedulers=FLOWING,
        set={"_encode_vae_image": b.shrunken},
    )
add(
    "qwen-controlnet",
    diffusers.QwenImageControlNetPipeline,
    parts=lambda: qwen_parts() | {"controlnet": b.qwen_controlnet()},
    arguments=lambda i: qwen_text(i) | sized() | controlled(i, "control_image"),
    schedulers=FLOWING,
)


def z_image_text(i: int) -> Arguments:
    """Captions of different lengths."""
    return {"prompt_embeds": [b.noise(i, 5 + 40 * i, b.WIDTH)], "negative_prompt_embeds": [b.noise(10, 3, b.WIDTH)]}


for name, pipeline, more in (
    ("z-image-text", diffusers.ZImagePipeline, lambda i: {"height": (32, 48, 32)[i], "width": (32, 16, 64)[i]}),
    ("z-image-image", diffusers.ZImageImg2ImgPipeline, lambda i: started(i) | sized()),
    ("z-image-inpaint", diffusers.ZImageInpaintPipeline, masked),
):
    add(
        name,
        pipeline,
        parts=lambda: BARE | {"transformer": b.z_image(), "vae": b.autoencoder()},
        arguments=lambda i, more=more: z_image_text(i) | more(i),
        schedulers=FLOWING,
    )
