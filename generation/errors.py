"""What can go wrong while drawing. Each message tells the reader what to do next.

GenerationError
├── InvalidRecipe      the recipe contradicts itself or the model
├── UnknownModel       no such checkpoint, or it can't be loaded
├── UnknownAdapter     no such LoRA, or the model can't use it
├── OutOfMemory        the device has no room even for this request alone
├── EngineBusy         more requests than the backend takes
├── EngineStopped      the engine is shutting down
└── Cancelled          stopped on the member's wish
"""


class GenerationError(Exception):
    """The picture could not be drawn. Try again; if it stays, tell the server's admin."""


class InvalidRecipe(GenerationError):
    """This combination of options can't be drawn."""


class UnknownModel(GenerationError):
    """The model can't be loaded. An admin can list the models with `/admin models list`."""


class UnknownAdapter(GenerationError):
    """The LoRA can't be used with this model. Ask the server's admin which ones can."""


class OutOfMemory(GenerationError):
    """The picture needs more memory than the device has. Ask for a smaller or shorter job."""


class EngineBusy(GenerationError):
    """The engine is full. Wait for a job to finish."""


class EngineStopped(GenerationError):
    """The engine is shutting down. The job is kept and goes on after the restart."""


class Cancelled(GenerationError):
    """The job was cancelled."""
