"""One dataclass per stage: what a recipe's YAML may say."""

from anna_embed.config.base import UNKEYED, StageConfig
from anna_embed.config.data import ConvertConfig, MineConfig, RerankerConfig, ScoreConfig
from anna_embed.config.model import BenchmarkConfig, ExportConfig, PublishConfig
from anna_embed.config.train import TrainConfig

__all__ = ["UNKEYED", "BenchmarkConfig", "ConvertConfig", "ExportConfig", "MineConfig", "PublishConfig",
           "RerankerConfig", "ScoreConfig", "StageConfig", "TrainConfig"]
