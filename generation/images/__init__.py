"""Finished and unfinished pictures: grids, masks, previews, metadata. All but `preview` and `latents` cost no torch."""
