"""Step-level continuous batching for unmodified diffusers pipelines. Start reading at `engine.Engine.step`."""
