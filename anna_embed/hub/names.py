"""Names that the Hub knows: kinds of artifact, repository ids, licences."""

import re
from dataclasses import dataclass
from pathlib import Path

DATASETS = ("pairs", "scores", "triplets", "results")
FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
# https://huggingface.co/docs/hub/repositories-licenses; any other has to be called "other".
LICENCES = frozenset("""
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 openrail++ afl-3.0
    artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
    lgpl-lr deepfloyd-ai-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma unknown
""".split())


UNKNOWN = "0" * 40  # the commit that is not made yet; as long as one, so that sizes are right before it is


def repo_type(artifact: str) -> str:
    return "dataset" if artifact in DATASETS else "model"


@dataclass(frozen=True)
class Place:
    """Where an artifact of a release is, or is going: printed as `org/name@tag`.

    Args:
        commit (`str`): What `tag` names, or will name.
    """

    artifact: str
    repo_id: str
    tag: str
    commit: str = UNKNOWN

    @property
    def repo_type(self) -> str:
        return repo_type(self.artifact)

    def __str__(self):
        return f"{self.repo_id}@{self.tag}"


def spdx(licence: str) -> str | None:
    """The Hub's id of a licence as people write it (`CC BY-SA 3.0`), or None."""
    name = licence.strip().lower().replace(" ", "-")
    return name if name in LICENCES else None


def hub_id(reference: str | None) -> str | None:
    """`org/name` if `reference` (perhaps with `@revision`) is a Hub id, or None if it is a path of this machine."""
    name = (reference or "").partition("@")[0]
    is_path = name.startswith(("artifacts/", "recipes/")) or name.endswith(FILES) or Path(name).exists()
    return name if re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not is_path else None
