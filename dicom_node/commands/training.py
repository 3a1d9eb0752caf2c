"""``dicom-node models train | import | compare | transfer``: the recipes, from labelled data to graphs and tables."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicom_node.commands.angiogram_folder import angiogram_in
from dicom_node.commands.optional_data import optional_data_option, required_data
from dicom_node.commands.options import (
    UsageFailure,
    config_options,
    data_option,
    settings_from,
)

if TYPE_CHECKING:
    from inference.training.recipes import Recipe
    from inference.training.shipping import LabelledData

TRAINING_MISSING = "training needs further packages: run `make train-env`"
COMPARED_STEPS = 360
BACKBONES_OF = "pe_classifier"
"""Compared are the backbones of this model, as paper S2 did; of all other names, recipes."""

out_option = click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
steps_option = click.option("--steps", type=click.IntRange(min=1), help="Instead of the recipe's.")


@click.command()
@click.argument("name")
@optional_data_option
@out_option
@steps_option
@click.option(
    "--imagenet",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="pe_classifier: MobileNetV2 as quantised TensorFlow Lite, to begin with its ImageNet weights.",
)
@click.option("--pace", type=click.Choice(["own", "quick", "paper"]), default="own", help="Steps and learning rate.")
@config_options
def train(  # noqa: PLR0913  # an argument a flag
    name: str,
    data: Path | None,
    out: Path,
    steps: int | None,
    imagenet: Path | None,
    pace: str,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Train a served model or one recipe; write weights, curves and (of a model) graph and figures to --out.

    pe_detector and pe_classifier make their own phantoms; --data DIR gives them a CT angiogram without emboli too, into
    whose vessels clots are painted.

    Goes on where a killed run left off in --out. The split by patient is kept in --out/split.toml; for the public
    data it is the committed one.
    """
    training = _training()
    if name in training.EMBOLISM:
        repository = settings_from(config, {}).engine.repository
        angiogram = None if data is None else angiogram_in(data)
        try:
            figures = training.ship_embolism_model(
                name, out=out, repository=repository, imagenet=imagenet, angiogram=angiogram, steps=steps
            )
        except ValueError as error:
            raise UsageFailure(str(error)) from error
        click.echo(training.as_text(figures))
        return
    labelled = _labelled(required_data(data, name), out, config)
    paces = {"quick": lambda recipe: training.QUICK, "paper": lambda recipe: recipe.paper}
    shipped = {model.spec.name: recipes for model, recipes in training.SHIPPED}
    members = shipped.get(name) or (_recipe(name),)
    members = tuple(recipe.at(paces.get(pace, lambda recipe: recipe.pace)(recipe), steps=steps) for recipe in members)
    try:
        if name in shipped:
            (model,) = (model for model, _ in training.SHIPPED if model.spec.name == name)
            repository = settings_from(config, {}).engine.repository
            figures = training.ship(model, members, labelled, out=out, repository=repository, resume=True)
            click.echo(json.dumps(figures["mean_per_patient"]))
        else:
            training.train_recipe(members[0], labelled, out=out, resume=True, progress=True)
            click.echo((out / "curve.csv").read_text(encoding="utf-8").splitlines()[-1])
    except ValueError as error:
        raise UsageFailure(str(error)) from error


@click.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out",
    default=Path("imported"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Of the training that is to begin with these weights.",
)
@config_options
def import_weights(name: str, file: Path, out: Path, config: Path | None, data_dir: Path | None) -> None:
    """Let a training begin with the weights of FILE: Darknet's .weights, TensorFlow Lite, or a torch state dictionary.

    NAME is pe_detector, pe_classifier or a recipe. A file that is not of its network is refused. That it fits proves
    its shape alone: anchors, input and classes are not in it, so train and evaluate before anybody serves it.
    """
    try:
        kept, said = _training().import_weights(name, file, out=out)
    except (ValueError, OSError) as error:
        raise UsageFailure(str(error)) from error
    click.echo(f"{kept}: {said}. `dicom-node models train {name} --out {out}` begins with it")


@click.command()
@click.argument("names", nargs=-1)
@optional_data_option
@out_option
@click.option("--steps", type=click.IntRange(min=1), default=COMPARED_STEPS, show_default=True)
@click.option("--on-validation", is_flag=True, help="Hold back the validation patients instead of the folds.")
@click.option(
    "--size",
    type=click.IntRange(min=32),
    default=96,
    show_default=True,
    help="pe_classifier: of the pictures (pixels).",
)
@config_options
def compare(  # noqa: PLR0913  # an argument a flag
    names: tuple[str, ...],
    data: Path | None,
    out: Path,
    steps: int,
    on_validation: bool,
    size: int,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Cross-validate recipes over the training patients, at the same pace; print the table, ensembles included.

    Goes on where it was killed. Without NAMES: those of the papers. NAMES = pe_classifier: train the backbones of paper
    S2 on the same phantoms, from random weights, and compare them on validation phantoms; no --data.
    """
    if names == (BACKBONES_OF,):
        _compare_backbones(out, steps=steps, size_px=size)
        return
    data = required_data(data, " ".join(names) or "models compare")
    training = _training()
    labelled = _labelled(data, out, config)
    recipes = [_recipe(name) for name in names] or list(training.PAPERS)
    split = labelled.split
    folds = (split.validation,) if on_validation else split.folds
    cases = labelled.cases(split.train + split.validation if on_validation else split.train)
    held_back = [case for case in cases if any(case.name in fold for fold in folds)]
    for recipe in recipes:
        paced = recipe.at(training.QUICK, steps=steps)
        training.cross_validate(paced, cases, folds, labelled.find_lungs, out=out)
    table = training.comparison.compare(out, held_back, [recipe.name for recipe in recipes])
    text = training.comparison.as_markdown(table)
    (out / "comparison.md").write_text(text, encoding="utf-8")
    click.echo(text)


def _compare_backbones(out: Path, *, steps: int, size_px: int) -> None:
    backbones = _training().backbones
    try:
        text = backbones.as_markdown(backbones.compare(out, steps=steps, size_px=size_px))
    except ValueError as error:
        raise UsageFailure(str(error)) from error
    (out / "comparison.md").write_text(text, encoding="utf-8")
    click.echo(text)


@click.command()
@data_option
@out_option
@click.option("--steps", type=click.IntRange(min=1), default=COMPARED_STEPS, show_default=True)
@config_options
def transfer(data: Path, out: Path, steps: int, config: Path | None, data_dir: Path | None) -> None:
    """The table of paper S0: train on one source, test on another, fine-tune on a small part of it, test again."""
    training = _training()
    labelled = _labelled(data, out, config)
    parts = labelled.split.transfer
    names = dict.fromkeys((*parts.first, *parts.first_test, *parts.small_part, *parts.second_test))
    if not names:
        raise UsageFailure(f"the split of {data} names no [transfer] parts: write them into {out / 'split.toml'}")
    recipe = _recipe("lung_channel_unet").at(training.QUICK, steps=steps)
    table = training.transfer(recipe, labelled.cases(tuple(names)), parts, labelled.find_lungs, out=out)
    click.echo(training.as_markdown(table))


def _training() -> Any:
    """The training room, imported when it is used. Raises ``UsageFailure`` where its packages are not installed."""
    try:
        from inference.training import room
    except ModuleNotFoundError as error:
        raise UsageFailure(f"{TRAINING_MISSING} ({error.name} is missing)") from error
    return room


def _labelled(data: Path, out: Path, config: Path | None) -> "LabelledData":
    from dicom_node.app import make_engine
    from dicom_node.commands.labelled_studies import ALL_READERS

    engine = make_engine(settings_from(config, {}).engine)
    try:
        found: LabelledData = _training().LabelledData.of(
            data, ALL_READERS, kept_split=out / "split.toml", engine=engine
        )
    except ValueError as error:
        raise UsageFailure(str(error)) from error
    return found


def _recipe(name: str) -> "Recipe":
    recipes = {recipe.name: recipe for recipe in _training().RECIPES}
    if name not in recipes:
        raise UsageFailure(f"no recipe is called {name!r}; there are {', '.join(recipes)}")
    found: Recipe = recipes[name]
    return found
