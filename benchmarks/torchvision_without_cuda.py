"""A torchvision that was built for CUDA, made to import where there is none, for peers that need its Python code."""

from typing import Any

# what its library would declare, which a machine without CUDA cannot load
_OPERATORS = (
    *("nms", "qnms", "roi_align", "_roi_align_backward", "ps_roi_align", "_ps_roi_align_backward", "roi_pool"),
    *("_roi_pool_backward", "ps_roi_pool", "_ps_roi_pool_backward", "qroi_align", "deform_conv2d"),
    "_deform_conv2d_backward",
)


def declare_operators() -> Any:
    """Declares its operators where it does not import without; returns what must live on for as long as they do."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError):
        for operator in _OPERATORS:
            library.define(f"{operator}(Tensor x) -> Tensor")
    return library
