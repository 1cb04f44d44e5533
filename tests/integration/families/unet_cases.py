"""Pipelines on UNets: Stable Diffusion 1, 2 and XL with what belongs to them, Kolors and Kandinsky."""

from __future__ import annotations

import functools
from typing import Any

import diffusers
from diffusers.pipelines.kolors.pipeline_kolors import KolorsPipeline
from diffusers.pipelines.kolors.pipeline_kolors_img2img import KolorsImg2ImgPipeline

from tests.integration.families import builders as b
from tests.integration.families.cases import (
    DIFFUSING,
    LEFT_OUT,
    PICTURES,
    Case,
    controlled,
    masked,
    pooled_text,
    sized,
    started,
    text,
    twice,
    twice_controlled,
    without,
)

CASES: list[Case] = []


def add(name: str, pipeline: type, **others: Any) -> None:
    CASES.append(Case(name, pipeline, **others))


# -- Stable Diffusion 1 and 2 ------------------------------------------------------------------------------------------


def sd_parts(**changes: Any) -> dict[str, Any]:
    return {
        "vae": b.autoencoder(),
        "text_encoder": None,
        "tokenizer": None,
        "unet": b.unet(**changes),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def sd_control_parts(count: int = 1) -> dict[str, Any]:
    nets = [b.controlnet(seed) for seed in range(count)]
    return sd_parts() | {"controlnet": nets if count > 1 else nets[0]}


add("sd-text", diffusers.StableDiffusionPipeline, parts=sd_parts, arguments=text, schedulers=DIFFUSING)
add(
    "sd-image",
    diffusers.StableDiffusionImg2ImgPipeline,
    parts=sd_parts,
    arguments=lambda i: text(i) | started(i),
    schedulers=DIFFUSING,
)
for channels in (4, 9):
    add(
        f"sd-inpaint-{channels}",
        diffusers.StableDiffusionInpaintPipeline,
        parts=functools.partial(sd_parts, in_channels=channels),
        arguments=lambda i: text(i) | masked(i),
        schedulers=DIFFUSING,
    )
add(
    "sd-depth",
    diffusers.StableDiffusionDepth2ImgPipeline,
    parts=lambda: (
        without(sd_parts(in_channels=5), "safety_checker", "requires_safety_checker") | {"depth_estimator": None}
    ),
    arguments=lambda i: text(i) | started(i) | {"depth_map": b.noise(70 + i, 1, b.SIZE, b.SIZE)},
    schedulers=DIFFUSING,
)
add(
    "sd-upscale",
    diffusers.StableDiffusionUpscalePipeline,
    parts=lambda: {
        "vae": b.autoencoder(),
        "text_encoder": None,
        "tokenizer": None,
        "unet": b.unet(in_channels=7, num_class_embeds=1000),
        "low_res_scheduler": diffusers.DDPMScheduler(),
    },
    arguments=lambda i: text(i) | {"image": b.picture(i, 8), "noise_level": (20, 40, 60)[i]},
    schedulers=DIFFUSING,
)
add(
    "sd-pix2pix",
    diffusers.StableDiffusionInstructPix2PixPipeline,
    parts=functools.partial(sd_parts, in_channels=8),
    arguments=lambda i: text(i) | {"image": b.picture(i), "image_guidance_scale": 1.5},
    schedulers=DIFFUSING,
)
for name, pipeline, more in (
    ("lcm-text", diffusers.LatentConsistencyModelPipeline, lambda i: {}),
    ("lcm-image", diffusers.LatentConsistencyModelImg2ImgPipeline, started),
):
    add(
        name,
        pipeline,
        parts=functools.partial(sd_parts, time_cond_proj_dim=16),
        arguments=lambda i, more=more: text(i) | more(i) | {"negative_prompt_embeds": LEFT_OUT},
        schedulers=(diffusers.LCMScheduler,),
    )
add(
    "sd-controlnet",
    diffusers.StableDiffusionControlNetPipeline,
    parts=sd_control_parts,
    arguments=lambda i: text(i) | controlled(i),
    schedulers=DIFFUSING,
)
add(
    "sd-controlnets",
    diffusers.StableDiffusionControlNetPipeline,
    parts=functools.partial(sd_control_parts, 2),
    arguments=lambda i: text(i) | twice_controlled(i),
    schedulers=DIFFUSING,
)
add(
    "sd-controlnet-image",
    diffusers.StableDiffusionControlNetImg2ImgPipeline,
    parts=sd_control_parts,
    arguments=lambda i: text(i) | started(i) | controlled(i, "control_image"),
    schedulers=DIFFUSING,
)
add(
    "sd-controlnet-inpaint",
    diffusers.StableDiffusionControlNetInpaintPipeline,
    parts=sd_control_parts,
    arguments=lambda i: text(i) | masked(i) | controlled(i, "control_image"),
    schedulers=DIFFUSING,
)
add(
    "sd-adapter",
    diffusers.StableDiffusionAdapterPipeline,
    parts=lambda: sd_parts(**b.ATTENTION_FIRST) | {"adapter": b.adapter()},
    arguments=lambda i: text(i) | sized() | {"image": b.picture(i), "adapter_conditioning_scale": 0.5 + i},
    schedulers=DIFFUSING,
)

# -- Stable Diffusion XL and Kolors ------------------------------------------------------------------------------------


def xl_parts(**changes: Any) -> dict[str, Any]:
    absent = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    return {"vae": b.autoencoder(), "unet": b.unet(**b.XL, **changes), "add_watermarker": False} | dict.fromkeys(absent)


def refiner_parts() -> dict[str, Any]:
    parts = xl_parts()
    five = b.unet(**{**b.XL, "projection_class_embeddings_input_dim": 5 * 8 + b.WIDTH})
    return parts | {"unet": five, "requires_aesthetics_score": True}


def xl_control_parts(count: int = 1) -> dict[str, Any]:
    nets = [b.controlnet(seed, **b.XL) for seed in range(count)]
    return xl_parts() | {"controlnet": nets if count > 1 else nets[0]}


add("xl-text", diffusers.StableDiffusionXLPipeline, parts=xl_parts, arguments=pooled_text, schedulers=DIFFUSING)
for name, parts in (("xl-image", xl_parts), ("xl-refiner", refiner_parts)):
    add(
        name,
        diffusers.StableDiffusionXLImg2ImgPipeline,
        parts=parts,
        arguments=lambda i: pooled_text(i) | started(i),
        schedulers=DIFFUSING,
    )
for channels in (4, 9):
    add(
        f"xl-inpaint-{channels}",
        diffusers.StableDiffusionXLInpaintPipeline,
        parts=functools.partial(xl_parts, in_channels=channels),
        arguments=lambda i: pooled_text(i) | masked(i),
        schedulers=DIFFUSING,
    )
add(
    "xl-pix2pix",
    diffusers.StableDiffusionXLInstructPix2PixPipeline,
    parts=functools.partial(xl_parts, in_channels=8),
    arguments=lambda i: pooled_text(i) | sized() | {"image": b.picture(i), "image_guidance_scale": 1.5},
    schedulers=DIFFUSING,
)
for name, count, more in (("xl-controlnet", 1, controlled), ("xl-controlnets", 2, twice_controlled)):
    add(
        name,
        diffusers.StableDiffusionXLControlNetPipeline,
        parts=functools.partial(xl_control_parts, count),
        arguments=lambda i, more=more: pooled_text(i) | more(i),
        schedulers=DIFFUSING,
    )
add(
    "xl-controlnet-image",
    diffusers.StableDiffusionXLControlNetImg2ImgPipeline,
    parts=xl_control_parts,
    arguments=lambda i: pooled_text(i) | started(i) | controlled(i, "control_image"),
    schedulers=DIFFUSING,
)
add(
    "xl-controlnet-inpaint",
    diffusers.StableDiffusionXLControlNetInpaintPipeline,
    parts=xl_control_parts,
    arguments=lambda i: pooled_text(i) | masked(i) | controlled(i, "control_image"),
    schedulers=DIFFUSING,
)
add(
    "xl-adapter",
    diffusers.StableDiffusionXLAdapterPipeline,
    parts=lambda: without(xl_parts(**b.ATTENTION_FIRST), "add_watermarker") | {"adapter": b.adapter()},
    arguments=lambda i: pooled_text(i) | sized() | {"image": b.picture(i), "adapter_conditioning_scale": 0.5 + i},
    schedulers=DIFFUSING,
)


def kolors_parts() -> dict[str, Any]:
    projected = {"encoder_hid_dim": b.WIDTH, "encoder_hid_dim_type": "text_proj"}
    return {"vae": b.autoencoder(), "unet": b.unet(**b.XL, **projected), "text_encoder": None, "tokenizer": None}


add(
    "kolors-text",
    KolorsPipeline,
    parts=kolors_parts,
    arguments=lambda i: twice(i, pooled_text(i)) | sized(),
    schedulers=DIFFUSING,
)

add(
    "kolors-image",
    KolorsImg2ImgPipeline,
    parts=lambda: kolors_parts() | {"text_encoder": b.LetterEncoder(), "tokenizer": b.letters},
    arguments=lambda i: started(i) | {"prompt": [("a fox", "two owls", "sea")[i]]},
    schedulers=DIFFUSING,
)
add(
    "kandinsky",
    diffusers.KandinskyV22Pipeline,
    parts=lambda: {"unet": b.image_unet(), "movq": b.quantised_autoencoder()},
    arguments=lambda i: (
        {"image_embeds": b.noise(i, 1, b.WIDTH), "negative_image_embeds": b.noise(10, 1, b.WIDTH)}
        | sized(64)
        | {"guidance_scale": 2.0 + i}  # without guidance it forgets to repeat embeddings for a second picture
    ),
    schedulers=(diffusers.DDPMScheduler,),
)

# -- classes that the table doesn't know -------------------------------------------------------------------------------


class HomemadeUNet(diffusers.UNet2DConditionModel):
    """Somebody's own: nobody has said how its calls may be joined."""


add(
    "sd-homemade",
    diffusers.StableDiffusionPipeline,
    parts=lambda: sd_parts() | {"unet": b.unet(HomemadeUNet)},
    arguments=text,
    schedulers=DIFFUSING,
    merges=False,
)
add(
    "unconditional",
    diffusers.DDIMPipeline,
    parts=lambda: {"unet": b.unconditional()},
    arguments=lambda i: {
        "batch_size": PICTURES[i],
        "num_images_per_prompt": LEFT_OUT,
        "guidance_scale": LEFT_OUT,
        "output_type": "pt",
    },
    schedulers=(diffusers.DDIMScheduler,),
    merges=False,
)
