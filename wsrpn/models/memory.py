"""A frozen backbone answers the same image once, where the features of all images fit in memory."""

import hashlib
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Extract = Callable[[Tensor], Tensor]


class Memory:
    """Features by the content of the image, for a backbone that does not change any more.

    Each image is computed by itself, so its features do not depend on the batch it came in, and a
    resumed training sees the same ones as an unbroken one.

    Args:
        images: how many there will be. Where that many do not fit, nothing is kept, and images are
            computed batch by batch as without a memory.
        limit: bytes of features kept.
    """

    def __init__(self, images: int, limit: int = 4 << 30) -> None:
        self.images, self.limit = images, limit
        self.fits = True
        self.asked = 0
        self.computed = 0
        self._known: dict[bytes, Tensor] = {}

    def __call__(
        self, images: Float[Tensor, "b c h w"], extract: Extract
    ) -> Float[Tensor, "b d gh gw"]:
        """Features of the images, by `extract` where they are not known."""
        if not self.fits:
            return extract(images)
        return torch.cat([self._one(images[i : i + 1], extract) for i in range(len(images))])

    @torch.no_grad()
    def _one(self, image: Tensor, extract: Extract) -> Tensor:
        self.asked += 1
        content = image.detach().cpu().contiguous().numpy().tobytes()
        # What the numbers are computed in is a part of the answer, like the image itself.
        autocast = torch.is_autocast_enabled(image.device.type)
        dtype = torch.get_autocast_dtype(image.device.type) if autocast else image.dtype
        about = f"{tuple(image.shape)} {dtype}".encode()
        key = hashlib.blake2b(content + about, digest_size=16).digest()
        if key in self._known:
            return self._known[key].to(image.device)
        self.computed += 1
        features = extract(image).detach()
        if self.images * features.numel() * features.element_size() > self.limit:
            self.fits = False
        else:
            self._known[key] = features.cpu()
        return features
