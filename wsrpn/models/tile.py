"""What all models of tiles have in common.

They are registered with `input="tiles"`: RGB tiles of slides in [0, 1], one class, and a logit that
is higher where a tile is more abnormal. Those with `normal_only=True` learn from normal tiles.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsrpn.errors import InputError
from wsrpn.types import Batch


class TileModel(nn.Module):
    """A model of tiles. Subclasses give logits (b, 1) from `forward`.

    Args:
        classes: 1, whether a tile is tumour.

    Attributes:
        look: the colours that its training tiles were brought to, an affine map of optical density
            [M | o]; a buffer, so that every checkpoint has it. [I | 0] leaves colours as they are.
        look_given: the look came with weights that the model was built from; training keeps it.

    Raises:
        InputError: more classes than one.
    """

    look: Tensor

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        if classes != 1:
            raise InputError(
                f"A model of tiles knows one class, tumour, and not {classes}; for radiographs "
                "choose another one with model.name."
            )
        self.register_buffer("look", torch.eye(3, 4))
        self.look_given = False

    def scores(self, batch: Batch) -> dict[str, Float[Tensor, " b"]]:
        """Columns of the score table by name, the one that `eval` reads first.

        Here it is the probability alone.
        """
        logits: Tensor = self(batch).logits
        return {"score": logits[:, 0].float().sigmoid()}
