"""Labels: class names and indices, without ambiguity."""

import pytest

from serving.errors import InputError
from serving.inference.labels import ClassNames, label_index

ONE_TO_TWELVE = ClassNames([str(number) for number in range(1, 13)])
PADDED = ClassNames(["00", "02", "04"])


@pytest.mark.parametrize(
    ("classes", "label", "index"),
    [
        (ONE_TO_TWELVE, "2", 1),
        (ONE_TO_TWELVE, "12", 11),
        (ONE_TO_TWELVE, 0, 0),  # no class has this name
        (ONE_TO_TWELVE, "0", 0),
        (PADDED, "02", 1),
        (PADDED, 0, 0),
        (PADDED, 1, 1),
        (ClassNames(["0", "1", "2"]), 2, 2),
        (ClassNames(["0", "1", "2"]), "2", 2),
        (ClassNames(["cat", "dog", "eel"]), 2, 2),
        (ClassNames(["cat", "dog", "eel"]), "2", 2),
    ],
)
def test_a_class_is_found_by_name_and_by_index(classes: ClassNames, label: int | str, index: int) -> None:
    assert label_index(label, classes) == index


@pytest.mark.parametrize(
    ("classes", "label", "sentence"),
    [
        (
            ONE_TO_TWELVE,
            2,
            'label 2 could be the class "2" or the one at index 2, "3"; write its name, in quotes: "2" or "3"',
        ),
        (PADDED, 2, 'label 2 could be the class "02" or the one at index 2, "04"; write its name'),
        (PADDED, "2", 'label 2 could be the class "02" or the one at index 2, "04"; write its name'),
    ],
)
def test_an_index_that_is_another_classs_name_is_refused_as_ambiguous(
    classes: ClassNames, label: int | str, sentence: str
) -> None:
    with pytest.raises(InputError) as refusal:
        label_index(label, classes)
    assert str(refusal.value).startswith(sentence)
