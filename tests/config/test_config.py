"""Recipes as data: what is refused and how it is said, and what a recipe keeps of itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from vicreg_fast.config import FREE_ON_RESUME, Recipe, load_recipe
from vicreg_fast.errors import UsageError

# (key, value as written in TOML, what the message must say)
BAD = [
    ("epocs", "3", r"no key 'epocs' \(did you mean 'epochs'\?\)"),
    ("zzz", "3", "no key 'zzz'$"),
    ("epochs", "1.5", "epochs = 1.5: .*valid integer"),
    ("epochs", "0", "epochs = 0: .*greater than 0"),
    ("epochs", "true", "epochs = True: .*valid integer"),
    ("epochs", "[3]", r"epochs = \[3\]: .*valid integer"),
    ("epochs", "9" * 5000, "not valid TOML|epochs = '9{50,56}"),
    ("base_lr", "true", "base_lr = True: .*valid number"),
    ("base_lr", "inf", "base_lr = inf: .*finite number"),
    ("base_lr", "1" + "0" * 400, "base_lr = inf: .*finite number"),
    ("gamma", "nan", "gamma = nan: "),
    ("gamma", "0", "gamma = 0.0: .*greater than 0"),
    ("momentum", "1.0", "momentum = 1.0: .*less than 1"),
    ("batch_size", "1", "batch_size = 1: .*greater than or equal to 2"),
    ("seed", "-1", "seed = -1: "),
    ("compile", '"yes"', "compile = 'yes': .*valid boolean"),
    (
        "precision",
        '"fp31"',
        r"precision = 'fp31': .*'fp32', 'bf16' or 'fp16' \(did you mean 'fp32'\?\)",
    ),
    ("backbone", '"resnet51"', r"backbone = 'resnet51': .*\(did you mean 'resnet50'\?\)"),
    ("expander", '"8192-x"', "expander = '8192-x': must be layer widths joined by '-'"),
    ("expander", '"64-0"', "expander = '64-0': must be layer widths"),
    ("expander", '"²"', "expander = '²': must be layer widths"),
    ("expander", '""', "expander = '': must be layer widths"),
]


def ids(case: tuple[str, str, str]) -> str:
    return f"{case[0]}={case[1][:12]}"


@pytest.mark.parametrize("case", BAD, ids=ids)
def test_set_refuses_in_one_line(case: tuple[str, str, str]) -> None:
    key, written, message = case
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe("smoke", [f"{key}={written.strip(chr(34))}"])
    assert str(caught.value).startswith("--set")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("case", BAD, ids=ids)
def test_a_file_is_refused_by_its_name_in_one_line(case: tuple[str, str, str], tmp_path: Path) -> None:
    key, written, message = case
    path = tmp_path / "mine.toml"
    path.write_text(f"{key} = {written}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_wrong_file_is_not_blamed_on_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epocs = 3\n")
    with pytest.raises(UsageError, match=r"^.*mine\.toml: no key 'epocs'"):
        load_recipe(str(path), ["seed=1"])


def test_keys_that_do_not_go_together_are_named_both() -> None:
    with pytest.raises(UsageError, match=r"^recipe smoke: image_size below 32 needs stem = 'cifar'$"):
        load_recipe("smoke", ["image_size=16", "stem=imagenet"])
    assert load_recipe("smoke", ["image_size=16"]).image_size == 16


@pytest.mark.parametrize("setting", ["epochs", "=3", " = 3", ""])
def test_a_setting_without_key_and_value_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match="must be key=value"):
        load_recipe("smoke", [setting])


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UsageError, match=r"no such recipe \(did you mean 'smoke'\?\); there are cifar10-r18,"
    ):
        load_recipe("smokey")
    with pytest.raises(UsageError, match="no such recipe"):
        load_recipe("a" * 3000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"epochs = ", "not valid TOML"), (b"\xff\xfe", "not UTF-8"), (b"a = " + b"[" * 5000, "not valid TOML")],
)
def test_a_file_that_is_no_toml_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read \(No such file"):
        load_recipe(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        load_recipe(str(tmp_path / "folder.toml"))


def test_settings_take_what_people_write_and_the_last_one_wins() -> None:
    recipe = load_recipe("smoke", ["base_lr=3", "compile=true", "optimizer=lars", "expander=64", "epochs=2"])
    assert (recipe.base_lr, recipe.compile, recipe.optimizer, recipe.expander) == (3.0, True, "lars", "64")
    assert load_recipe("smoke", ["epochs=2", "epochs = 3"]).epochs == 3
    assert load_recipe("smoke", ["optimizer='sgd'"]).optimizer == "sgd"


def test_a_file_starts_from_the_defaults_and_takes_its_stem_as_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 7\nweight_decay = 1\n")
    assert load_recipe(str(path)) == Recipe(name="mine", epochs=7, weight_decay=1.0)


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().epochs = 3  # type: ignore[misc]


def test_replace_validates_and_leaves_the_original() -> None:
    recipe = Recipe()
    assert recipe.replace(epochs=3).epochs == 3
    assert recipe.epochs == 100
    for wrong in ({"epochs": 0}, {"self": 1}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            recipe.replace(**wrong)


@pytest.mark.parametrize("name", ["smoke", "imagenet-r50-1000ep", "cifar10-r18"])
def test_toml_round_trips_every_key(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["weight_decay=1.2345678901234567e-7", 'name=ü "quoted" \\ name'])
    path = tmp_path / "copy.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(str(path)) == recipe
    assert path.read_text(encoding="utf-8").count("=") >= len(Recipe.model_fields)


def test_the_fingerprint_ignores_the_name_and_nothing_else() -> None:
    recipe = Recipe()
    assert recipe.replace(name="other").fingerprint() == recipe.fingerprint()
    changed = {
        "augmentation": "small-images", "image_size": 64, "pipeline": "dali", "workers": 3,
        "backbone": "resnet18", "width": 8, "stem": "cifar", "zero_init_residual": False, "expander": "64",
        "sync_batchnorm": False,
        "forward": "joint", "preset": "paper", "invariance_weight": 1.0, "variance_weight": 1.0,
        "covariance_weight": 2.0, "gamma": 2.0, "loss_form": "gram", "loss_backend": "torch", "batch_size": 8,
        "epochs": 2, "max_steps": 5, "optimizer": "sgd", "base_lr": 0.1, "momentum": 0.8, "weight_decay": 0.1,
        "trust_coefficient": 0.1, "warmup_epochs": 1.0, "final_lr_factor": 0.1, "precision": "fp32",
        "channels_last": False, "compile": True, "seed": 1, "log_every_steps": 1, "checkpoint_every_steps": 1,
        "probe_size": 8, "decoder_cache": "off", "accumulate": 2, "capture": "off", "keep_checkpoints": 3,
        "checkpoint_every_minutes": 1.0, "collapse_patience": 0, "parallel_views": "off",
        "keep_memory": "off",
    }  # fmt: skip
    assert set(changed) == set(Recipe.model_fields) - {"name"}
    prints = {recipe.replace(**{key: value}).fingerprint() for key, value in changed.items()}
    assert len(prints | {recipe.fingerprint()}) == len(changed) + 1
    assert all(len(one) == 12 for one in prints)


def test_free_on_resume_names_real_keys() -> None:
    assert set(Recipe.model_fields) > FREE_ON_RESUME


@pytest.mark.parametrize("module", ["vicreg_fast.config", "vicreg_fast.errors"])
def test_importing_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_micro_batches_divide_the_batch() -> None:
    assert Recipe(batch_size=12, accumulate=6).accumulate == 6
    for accumulate in (5, 12):
        with pytest.raises(UsageError, match=f"accumulate = {accumulate} does not divide batch_size = 12"):
            Recipe().replace(batch_size=12, accumulate=accumulate)
