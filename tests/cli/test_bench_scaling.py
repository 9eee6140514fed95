"""`vicreg-fast bench scaling` as a user calls it."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.record import Environment, LossTiming, RecordWriter, read_records
from bench.scaling_record import OFFICIAL, OURS, LossPrediction
from tests.cli.conftest import Run, refused
from vicreg_fast.commands.bench_scaling import scaling
from vicreg_fast.errors import VICRegFastError


@pytest.fixture(scope="module")
def done(run_here: Run, tmp_path_factory: pytest.TempPathFactory):
    """The default call, and its folder."""
    folder = tmp_path_factory.mktemp("scaling") / "out"
    return run_here("bench", "scaling", "--out", folder), folder


def call(*arguments: object) -> Result:
    """In this process, which has torch already. Raises what the command line would say in one line."""
    result = CliRunner().invoke(scaling, [str(argument) for argument in arguments])
    if isinstance(result.exception, VICRegFastError):
        raise result.exception
    return result


def test_the_verdict_comes_first_and_says_it_is_a_model(done) -> None:
    result, folder = done
    assert result.returncode == 0, result.stderr
    first = result.stdout.splitlines()[0]
    assert first.startswith("? By a model, not a measurement, our loss is faster at every world size")
    assert "No GPU measurement to check against" in result.stdout
    assert str(folder / "report.html") in result.stdout


def test_the_records_hold_both_losses_at_every_world_size(done) -> None:
    _, folder = done
    records, problems = read_records(folder / "records.jsonl")
    assert problems == []
    assert isinstance(records[0], Environment)
    predictions = [record for record in records if isinstance(record, LossPrediction)]
    sizes = [2**power for power in range(13)]
    for provider in (OURS, OFFICIAL):
        mine = [p for p in predictions if p.provider == provider]
        assert [p.world_size for p in mine] == sizes
        assert all(p.seconds > 0 and p.flops > 0 and p.memory_bytes > 0 for p in mine)
        assert {p.rates["name"] for p in mine} == {"h100-ib"}


def test_the_page_stands_alone_and_draws_in_the_theme_s_colours(done) -> None:
    _, folder = done
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"https?:", page)
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) == 2
    for svg in drawn:
        root = ET.fromstring(svg)
        assert root.attrib["role"] == "img"
        assert "Predicted milliseconds a step against ranks" in root.attrib["aria-label"]
        assert "var(--scenario-" in svg
        assert "$" not in svg, "a formatter wrote mathematics that the page would show as it stands"
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "By a model, not a measurement" in markdown
    assert markdown.count("| 4,096 |") == 3, "once in the first table, twice in the second"


def test_rates_given_by_hand_replace_the_preset_s(tmp_path: Path) -> None:
    given = {"matmul-tflops": 100, "memory-gbytes": 1000, "link-gbytes": 50, "latency-us": 0, "kernel-us": 1}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    shape = ("--ranks", "4,2", "--n", 64, "--dim", 512, "--dtype", "float32", "--tf32", "--gpu", "a100")
    result = call(*shape, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    records, _ = read_records(tmp_path / "out" / "records.jsonl")
    predictions = [record for record in records if isinstance(record, LossPrediction)]
    assert [p.world_size for p in predictions] == [2, 2, 4, 4]
    rates = predictions[0].rates
    assert rates["name"] == "a100, changed"
    assert (rates["tf32_tflops"], rates["float32_tflops"]) == (100, 0.8 * 19.5)
    official = predictions[1]
    assert official.exchange_seconds == pytest.approx(official.exchange_bytes / 50e9)
    assert official.launch_seconds == pytest.approx(official.kernels * 1e-6)
    assert official.products_seconds == pytest.approx(2 * (3 * 512**2 + 6 * 128 * 512) * 4 / 1000e9)


def test_measurements_of_a_gpu_are_put_beside_the_model(tmp_path: Path) -> None:
    file = tmp_path / "loss.jsonl"
    writer = RecordWriter(file)
    machine = {"processor": "Test CPU", "cores": 8, "memory_bytes": 2**35, "system": "Linux"}
    writer.write(Environment(**machine, gpu="Test GPU"))
    place = {
        "backend": "torch",
        "dtype": "float32",
        "n": 256,
        "d": 2048,
        "calls_per_sample": 1,
        "pid": 1,
        "round": 0,
    }
    for device in ("cuda", "cpu"):
        writer.write(
            LossTiming(provider="official", form="covariance", device=device, seconds=(1.0,), **place)
        )
        writer.write(LossTiming(provider="gram", form="gram", device=device, seconds=(0.5,), **place))
    writer.close()
    with file.open("a", encoding="utf-8") as torn:
        torn.write('{"kind": "loss-ti\n')
    result = call("--ranks", "1", "--against", file, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "line 6" in result.stderr
    assert "Checked against 2 measurements of one GPU (Test GPU)" in result.stdout
    assert "measured ÷ predicted" in result.stdout
    assert "No GPU measurement" not in result.stdout


def test_records_of_a_cpu_are_no_check(tmp_path: Path) -> None:
    published = Path(__file__).parents[2] / "reports" / "published" / "2026-11-22-cpu" / "loss-three.jsonl"
    result = call("--ranks", "1", "--against", published, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "No GPU measurement to check against" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tf32"], ["--tf32", "--dtype float32"]),
        (["--dtype", "float64", "--backend", "triton"], ["triton", "float64"]),
        (["--against", "nowhere.jsonl"], ["nowhere.jsonl", "cannot be read"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    with pytest.raises(VICRegFastError) as caught:
        call(*arguments, "--out", tmp_path / "out")
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "records.jsonl").exists()


@pytest.mark.parametrize("ranks", ["0", "8-2", "eight", "5-7", "1,,2", ""])
def test_ranks_that_are_none_are_refused(ranks: str) -> None:
    result = call("--ranks", ranks)
    assert result.exit_code == 2
    assert "Invalid value for '--ranks'" in result.output


def test_records_are_not_written_over(run_here: Run, done) -> None:
    _, folder = done
    before = (folder / "records.jsonl").read_bytes()
    refused(run_here("bench", "scaling", "--out", folder), 2, "--out")
    assert (folder / "records.jsonl").read_bytes() == before
