"""What is built and how it is trained: the options of a model and of a training run.

In: values from a preset, a JSON file or flags. Out: `ModelConfig` (the two towers) and `TrainConfig` (one run).
A new kind of tower is a new configuration class here (`IMAGE_TOWER_CONFIGS`, `TEXT_TOWER_CONFIGS`) and its
module in `clip_train.models`.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
section 2.5 and tables 18-20 (models and hyper-parameters).
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, get_args

from pipeline.base.options import check_options, option, options_from

T = TypeVar("T")

Activation = Literal["gelu", "quick_gelu"]
Crop = Literal["random", "center"]
Texts = Literal["first", "random"]
Pooling = Literal["cls", "mean"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
InferencePrecision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
Schedule = Literal["cosine", "constant", "inverse-sqrt"]
PRECISION_HELP = (
    "Of matrix products and convolutions: fp32 (IEEE, no TF32), tf32 (float32 that GPUs multiply with 10 bits of "
    "mantissa), bf16 or fp16 (half precision; weights, norms and loss stay float32)."
)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


def _check_divides(name: str, value: int, of_name: str, of_value: int) -> None:
    if of_value % value:
        raise ValueError(f"{name} {value} does not divide {of_name} {of_value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionTransformerConfig:
    """A vision transformer; `kind` names it in saved configurations."""

    name: ClassVar[str] = "image tower"
    kind: ClassVar[str] = "vision-transformer"

    image_size: int = option(224, "Side of the square input, in pixels.", minimum=1)
    patch_size: int = option(32, "Side of one patch, in pixels.", minimum=1)
    width: int = option(768, "Width of the residual stream.", minimum=1)
    layers: int = option(12, "Number of blocks.", minimum=1)
    heads: int = option(12, "Attention heads in a block.", minimum=1)
    activation: Activation = option("gelu", "Non-linearity of the blocks.")

    def __post_init__(self) -> None:
        check_options(self)
        _check_divides("heads", self.heads, "width", self.width)
        _check_divides("patch_size", self.patch_size, "image_size", self.image_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """CLIP's modified ResNet: three stem convolutions, anti-aliased strides, attention pooling."""

    name: ClassVar[str] = "image tower"
    kind: ClassVar[str] = "resnet"

    image_size: int = option(224, "Side of the square input, in pixels; a multiple of 32.", minimum=32)
    blocks: tuple[int, ...] = option((3, 4, 6, 3), "Bottleneck blocks of the four stages.", minimum=1)
    width: int = option(64, "Channels after the stem; 32 times as many at the end.", minimum=2)
    heads: int = option(32, "Attention heads of the pooling.", minimum=1)

    def __post_init__(self) -> None:
        check_options(self)
        if len(self.blocks) != 4:
            raise ValueError(f"blocks must be four numbers, not {list(self.blocks)}")
        if self.width % 2:
            raise ValueError(f"width must be even, not {self.width}")
        _check_divides("heads", self.heads, "32 times the width", 32 * self.width)
        _check_divides("the stride of", 32, "image_size", self.image_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNetConfig:
    """EfficientNet: inverted bottlenecks with squeeze-and-excitation, scaled from B0 in width and depth."""

    name: ClassVar[str] = "image tower"
    kind: ClassVar[str] = "efficientnet"

    image_size: int = option(224, "Side of the square input, in pixels.", minimum=32)
    width_factor: float = option(1.0, "Channels, as a multiple of B0's.", minimum=0.1)
    depth_factor: float = option(1.0, "Blocks of a stage, as a multiple of B0's.", minimum=0.1)

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """An image tower of the package timm, with a projection (extra `timm`)."""

    name: ClassVar[str] = "image tower"
    kind: ClassVar[str] = "timm"

    image_size: int = option(224, "Side of the square input, in pixels.", minimum=1)
    model: str = option("", "Its name in timm, such as efficientnet_b0.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTransformerConfig:
    """A causal text transformer read at its end token."""

    name: ClassVar[str] = "text tower"
    kind: ClassVar[str] = "text-transformer"
    pad_id: ClassVar[int] = 0  # what fills up short texts

    context_length: int = option(77, "Most tokens of a text, start and end included.", minimum=3)
    vocab_size: int = option(49_408, "Token ids; the tokenizer's own number in a training run.", minimum=1)
    width: int = option(512, "Width of the residual stream.", minimum=1)
    layers: int = option(12, "Number of blocks.", minimum=1)
    heads: int = option(8, "Attention heads in a block.", minimum=1)
    activation: Activation = option("gelu", "Non-linearity of the blocks.")

    def __post_init__(self) -> None:
        check_options(self)
        _check_divides("heads", self.heads, "width", self.width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CbowConfig:
    """A continuous bag of words: the mean of the tokens' embeddings, a LayerNorm and a projection."""

    name: ClassVar[str] = "text tower"
    kind: ClassVar[str] = "cbow"
    pad_id: ClassVar[int] = 0

    context_length: int = option(77, "Most tokens of a text, start and end included.", minimum=3)
    vocab_size: int = option(49_408, "Token ids; the tokenizer's own number in a training run.", minimum=1)
    width: int = option(512, "Width of an embedding.", minimum=1)

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HuggingFaceTextConfig:
    """An encoder of the package transformers, such as BERT or RoBERTa, with a projection (extra `hf`).

    Attributes:
        encoder: The encoder's own configuration, as in the config.json of its folder.
    """

    name: ClassVar[str] = "text tower"
    kind: ClassVar[str] = "hugging-face"

    context_length: int = option(77, "Most tokens of a text, special tokens included.", minimum=3)
    vocab_size: int = option(30_522, "Token ids; the tokenizer's own number in a training run.", minimum=1)
    pooling: Pooling = option("cls", "cls: the first token's state; mean: that of all tokens.")
    encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def pad_id(self) -> int:
        """The id that fills up short texts."""
        return int(self.encoder.get("pad_token_id") or 0)


ImageTowerConfig = VisionTransformerConfig | ResNetConfig | EfficientNetConfig | TimmConfig
TextTowerConfig = TextTransformerConfig | CbowConfig | HuggingFaceTextConfig
IMAGE_TOWER_CONFIGS: Mapping[str, type[ImageTowerConfig]] = {
    config.kind: config for config in (VisionTransformerConfig, ResNetConfig, EfficientNetConfig, TimmConfig)
}
TEXT_TOWER_CONFIGS: Mapping[str, type[TextTowerConfig]] = {
    config.kind: config for config in (TextTransformerConfig, CbowConfig, HuggingFaceTextConfig)
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Two towers and the width of the space they share."""

    name: ClassVar[str] = "model"

    image: ImageTowerConfig
    text: TextTowerConfig
    embed_dim: int = option(512, "Width of the shared space.", minimum=1)

    def __post_init__(self) -> None:
        check_options(self)

    def with_text(self, **changes: Any) -> "ModelConfig":
        """The same model with some options of its text tower replaced."""
        return dataclasses.replace(self, text=dataclasses.replace(self.text, **changes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Trains a CLIP model on WebDataset shards."""

    name: ClassVar[str] = "train"

    config: str = option("", "TOML file of options; KEY=VALUE and flags go before it.", identity=False)
    shards: tuple[str, ...] = option(
        (),
        "Shard folders or tars to train on, on disk or as URLs; names may hold {00000..00041}, {a,b} and wildcards.",
        identity=False,
    )
    weights: tuple[float, ...] = option(
        (), "A number for each of --shards: its share of the stream; without them all shards are one set."
    )
    output: str = option("", "Folder for checkpoints, tokenizer and metrics.", identity=False)
    model: str = option("ViT-B/32", "Preset, or a JSON file with a model configuration.")
    init: str = option("", "Checkpoint, run or imported folder whose weights and tokenizer training starts from.")
    image_init: str = option("", "Checkpoint, run or imported folder whose image tower training starts from.")
    text_init: str = option("", "Folder of a Hugging Face encoder whose weights the text tower starts from.")
    tokenizer: str = option(
        "", "Merges file, or folder of an encoder's tokenizer; without it one is trained on the texts of the shards."
    )
    vocab_size: int = option(49_408, "Token ids of a tokenizer that is trained here.", minimum=515)
    tokenizer_texts: int = option(1_000_000, "Texts read, first to last, to train a tokenizer.", minimum=1)
    context_length: int | None = option(None, "Tokens kept of a text; the model's own without it.", minimum=3)
    steps: int | None = option(None, "Optimizer steps; the epochs decide without it.", minimum=1, identity=False)
    epochs: int = option(32, "Passes over the shards.", minimum=1, identity=False)
    batch_size: int = option(32_768, "Pairs in a step, all ranks together.", minimum=2)
    learning_rate: float = option(5e-4, "Peak learning rate.", minimum=0)
    warmup_steps: int = option(2_000, "Steps of linear warm-up.", minimum=0)
    schedule: Schedule = option(
        "cosine", "Rate after the warm-up: half a cosine to zero, the peak, or the peak by the root of the step."
    )
    cooldown_steps: int = option(
        0, "Last steps, in which a constant or inverse-sqrt rate falls to zero in a line.", minimum=0
    )
    weight_decay: float = option(0.2, "Decoupled decay of weights that are not gains or biases.", minimum=0)
    beta1: float = option(0.9, "Adam's first decay rate.", minimum=0, maximum=1)
    beta2: float = option(0.98, "Adam's second decay rate.", minimum=0, maximum=1)
    epsilon: float = option(1e-6, "Adam's epsilon.", minimum=0)
    layer_decay: float = option(
        1.0, "Learning rate of a block as a multiple of that of the block above it.", minimum=0.01, maximum=1
    )
    freeze: tuple[str, ...] = option(
        (), "Parts that keep their weights: image, text, or image:N, text:N for the input and the first N blocks."
    )
    ema: float | None = option(
        None,
        "Decay of a moving average of the weights; checkpoints then hold it as the model.",
        minimum=0,
        maximum=1,
    )
    patch_dropout: float = option(
        0.0, "Share of an image's patches that a vision transformer leaves out in training.", minimum=0, maximum=0.95
    )
    clip_norm: float | None = option(None, "Largest gradient norm; no limit without it.", minimum=0)
    precision: Precision = option("bf16", PRECISION_HELP)
    sync_batch_norm: bool = option(False, "Batch statistics over all ranks, for towers that have them (GPUs only).")
    crop: Crop = option("random", "Square crop of the resized image.")
    texts: Texts = option("first", "Of a sample with several texts: the first, or a random one each epoch.")
    max_unreadable_share: float = option(
        0.1,
        "Largest share of samples, of those seen, that may have no readable image or no text; more end the run.",
        minimum=0,
        maximum=1,
        identity=False,
    )
    shuffle_shards: int = option(16, "Shards whose samples are mixed with each other.", minimum=1)
    seed: int = option(0, "Seed of weights, order and crops.", minimum=0)
    max_skipped: int = option(
        10,
        "Steps in a row left out, because loss or gradients are no finite numbers, that end the run.",
        minimum=1,
        identity=False,
    )
    log_every: int = option(10, "Steps between lines of metrics.jsonl.", minimum=1, identity=False)
    save_every: int = option(1_000, "Steps between checkpoints.", minimum=1, identity=False)
    save_minutes: float | None = option(
        None,
        "Minutes after which a checkpoint is saved besides; only steps count without it.",
        minimum=0,
        identity=False,
    )
    keep_checkpoints: int = option(3, "Newest checkpoints kept.", minimum=1, identity=False)
    resume: bool = option(False, "Continue from the newest checkpoint in the output folder.", identity=False)
    workers: int = option(2, "Processes that read and decode, for each rank.", minimum=0, identity=False)
    cache_mb: int = option(
        512, "Decode each image once and keep it when all fit into this many MiB.", minimum=0, identity=False
    )
    shard_cache: str = option(
        "",
        "Folder for indexes of tars that have none, and copies of far shards; by default one of your user's.",
        identity=False,
    )
    shard_cache_gb: int = option(100, "Most GB of copies of far shards that are kept.", minimum=1, identity=False)
    part_size: int = option(
        0,
        "Pairs of a rank that the towers see at once, for batches larger than memory; the same gradients for a third "
        "more work (GradCache). 0: all.",
        minimum=0,
        identity=False,
    )
    gradient_checkpointing: bool = option(
        False, "Compute activations of the blocks twice instead of keeping them: less memory.", identity=False
    )
    compile: bool = option(False, "Compile both towers (torch.compile); texts get few lengths.", identity=False)
    deterministic: bool = option(False, "Only kernels that give the same bits each time; slower.", identity=False)
    threads: int = option(0, "CPU threads for the model; 0: all cores.", minimum=0, identity=False)
    device: str = option("auto", "cpu, cuda, cuda:1…; auto takes a GPU when there is one.", identity=False)

    def __post_init__(self) -> None:
        check_options(self)
        if self.schedule == "cosine" and self.cooldown_steps:
            raise ValueError(f"cooldown-steps {self.cooldown_steps}: a cosine ends at zero by itself")


def model_to_dict(config: ModelConfig) -> dict[str, Any]:
    """A model configuration as plain values for JSON; `model_from_dict` reads it back."""
    return {
        "embed_dim": config.embed_dim,
        "image": {"kind": config.image.kind, **dataclasses.asdict(config.image)},
        "text": {"kind": config.text.kind, **dataclasses.asdict(config.text)},
    }


def model_from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Reads what `model_to_dict` wrote.

    Raises:
        ValueError: For an unknown kind of tower or an option that does not fit.
    """
    return ModelConfig(
        embed_dim=values["embed_dim"],
        image=_tower_from_dict(IMAGE_TOWER_CONFIGS, values["image"]),
        text=_tower_from_dict(TEXT_TOWER_CONFIGS, values["text"]),
    )


def _tower_from_dict(known: Mapping[str, type[T]], values: Mapping[str, Any]) -> T:
    kind = values["kind"]
    if kind not in known:
        raise ValueError(f"unknown kind of tower {kind!r}{hint_at(kind, known)}; known: {', '.join(known)}")
    options = {name: value for name, value in values.items() if name not in ("kind", "encoder")}
    structured = {"encoder": dict(values["encoder"])} if "encoder" in values else {}
    return dataclasses.replace(options_from(known[kind], options), **structured)  # type: ignore[type-var]


def hint_at(name: str, known: Iterable[str]) -> str:
    """A question about the known name that is closest to a wrong one, in any case; empty when none is close.

    >>> hint_at("vit-b/33", ["ViT-B/32", "RN50"])
    '; did you mean ViT-B/32?'
    """
    spellings = {spelling.lower(): spelling for spelling in known}
    close = difflib.get_close_matches(name.lower(), spellings, n=1)
    return f"; did you mean {spellings[close[0]]}?" if close else ""
