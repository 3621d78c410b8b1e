"""Prompts that name a class: templates, and sets of them by name.

In: a set's name or a file of templates. Out: the templates, each with ``{}`` where the class goes.
A set says what the images of a task are; several templates of a set are averaged (`zero_shot.build_classifier`).

Source: Radford et al. 2021, section 3.1.4: prompts that tell the task ("a type of pet"), and ensembles of prompts.
"""

import os
from collections.abc import Mapping, Sequence

from clip_train.errors import InputError
from clip_train.files import read_lines

TEMPLATE_SETS: Mapping[str, tuple[str, ...]] = {
    "name": ("{}",),
    "photo": ("a photo of a {}.",),
    "photos": (
        "a photo of a {}.",
        "a photo of the {}.",
        "a photo of many {}.",
        "a close-up of a {}.",
        "a {} seen from far away.",
        "a bright picture of a {}.",
        "a dark picture of a {}.",
        "a blurry snapshot of a {}.",
        "a black and white photo of a {}.",
        "part of a {}.",
        "a {} in the open air.",
        "a {} indoors.",
    ),
    "sketches": (
        "a sketch of a {}.",
        "a pencil drawing of a {}.",
        "a line drawing of the {}.",
        "a doodle of a {}.",
        "a black and white sketch of a {}.",
    ),
    "renditions": (
        "a painting of a {}.",
        "a drawing of a {}.",
        "a cartoon of a {}.",
        "a sculpture of a {}.",
        "a toy {}.",
        "a tattoo of a {}.",
        "an embroidered {}.",
        "origami of a {}.",
        "a {} in a video game.",
        "street art of a {}.",
    ),
    "animals": ("a photo of a {}, an animal.", "a {} in the wild.", "a picture of a {}, a kind of animal."),
    "food": ("a photo of {}, a dish.", "a plate of {}.", "{}, served at a table."),
    "textures": ("a surface that is {}.", "a {} texture.", "a close-up of something {}."),
    "satellite": ("a satellite picture of {}.", "{} seen from the air.", "an aerial photo of {}."),
    "scenes": ("a photo of a {}.", "inside a {}.", "a view of a {}, a place."),
    "actions": ("a photo of a person {}.", "someone who is {}.", "a picture of people {}.", "a video frame of {}."),
    "places": ("a photo taken in {}.", "a street in {}.", "a view of {}.", "the landscape of {}."),
    "writing": ('an image of the word "{}".', 'a sign that says "{}".', 'the text "{}".', '"{}", in handwriting.'),
    "sentiment": ("a review that is {}.", "the words of someone whose opinion is {}."),
}  # fmt: skip
DEFAULT_TEMPLATES = "photo"


def find_templates(name: str) -> tuple[str, ...]:
    """The templates of a set, or those of a UTF-8 file, one a line.

    Raises:
        InputError: When there is no such set or file, it cannot be read, or a template has no place for the class.
    """
    if name in TEMPLATE_SETS:
        return TEMPLATE_SETS[name]
    if not os.path.isfile(name):
        raise InputError(f"templates {name!r} is neither a file nor one of {', '.join(TEMPLATE_SETS)}")
    templates = tuple(read_lines(name))
    check_templates(templates)
    return templates


def fill_template(template: str, name: str) -> str:
    """The prompt of one class.

    >>> fill_template("a photo of a {}.", "cat")
    'a photo of a cat.'
    """
    return template.replace("{}", name)


def check_templates(templates: Sequence[str]) -> None:
    """Raises InputError when there is no template, or one has no place for the class."""
    if not templates:
        raise InputError("no templates")
    for template in templates:
        if "{}" not in template:
            raise InputError(f"template {template!r} has no {{}} for the class name")
