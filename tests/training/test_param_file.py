"""Values replaced in the text of params.yaml."""

import pytest
import yaml

from serving.errors import MintError
from training.param_file import replace_values


@pytest.mark.parametrize(
    "line", ["  source: 'a''b'", "  source: >\n    folded", "  source:", '  "source": null # none']
)
def test_a_value_is_replaced_in_any_yaml_style(line: str) -> None:
    text = replace_values(f"data:\n{line}\n  limit: 3  # of them\n", {"data.source": "photos"})
    assert yaml.safe_load(text) == {"data": {"source": "photos", "limit": 3}}


def test_an_aliased_value_is_not_replaced() -> None:
    with pytest.raises(MintError, match="data.source is written in a way that cannot be changed here"):
        replace_values("name: &it photos\ndata:\n  source: *it\n", {"data.source": "cats"})


def test_a_missing_key_in_the_file_is_named() -> None:
    with pytest.raises(MintError, match="data.source is missing"):
        replace_values("data:\n  limit: 3\n", {"data.source": "photos"})
