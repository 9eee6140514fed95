"""`vicreg-fast doctor`."""

import json
from dataclasses import asdict, dataclass
from importlib import metadata

import click


@dataclass(frozen=True, kw_only=True)
class Finding:
    what: str
    found: str
    use: str
    """What will be used, or what falls back, and why."""
    ok: bool


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show what is installed, what will be used, and what falls back and why."""
    findings = examine()
    if as_json:
        click.echo(json.dumps({finding.what: asdict(finding) for finding in findings}, indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "so"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        mark = Text("✓", "green") if finding.ok else Text("–", "yellow")
        table.add_row(mark, Text(finding.what), Text(finding.found), Text(finding.use))
    Console().print(table)


def examine() -> list[Finding]:
    """Everything `doctor` looks at, in order."""
    import torch

    from bench.environment import find_gpus, installed_versions, processor_name, usable_cores
    from pipelines.factory import default_workers

    gpus = find_gpus()
    versions = installed_versions()
    on_gpu = torch.cuda.is_available()
    return [
        Finding(
            what="processor",
            found=f"{processor_name()}, {usable_cores()} usable cores",
            use=f"{torch.get_num_threads()} threads for torch, {default_workers()} for a loader",
            ok=True,
        ),
        Finding(
            what="gpu",
            found=", ".join(gpus.names) or (gpus.problem or "none"),
            use="the first is used" if on_gpu else "the CPU is used; the smoke recipe is the default",
            ok=on_gpu,
        ),
        Finding(
            what="driver",
            found=f"{gpus.driver}, runs CUDA up to {gpus.cuda}" if gpus.driver else "none",
            use="" if gpus.driver else "needed only for a GPU",
            ok=gpus.driver is not None,
        ),
        Finding(
            what="torch",
            found=f"{torch.__version__}, built for "
            + (f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"),
            use=_torch_use(on_gpu, torch.version.cuda, bool(gpus.names)),
            ok=on_gpu or not gpus.names,
        ),
        Finding(
            what="torchvision",
            found=versions.get("torchvision", "missing"),
            use="decoding, networks, and the torchvision pipeline",
            ok="torchvision" in versions,
        ),
        _precision(on_gpu),
        _dali(on_gpu),
        _triton(versions, on_gpu),
        _nccl(torch.cuda.nccl.version() if on_gpu else None, versions),
        _apex(),
    ]


def _torch_use(on_gpu: bool, built_for: str | None, gpu_there: bool) -> str:
    if on_gpu:
        return "CUDA works"
    if gpu_there and built_for is None:
        return "this build cannot use this machine's GPU: install torch's CUDA build"
    return (
        "CUDA needs a GPU and a driver"
        if not gpu_there
        else "CUDA does not start: the driver may be too old for this build"
    )


def _precision(on_gpu: bool) -> Finding:
    import torch

    from vicreg_fast.training.precision import choose_precision

    precision, why = choose_precision("auto", torch.device("cuda" if on_gpu else "cpu"))
    return Finding(what="precision", found=why, use=f"precision=auto is {precision}", ok=precision == "bf16")


def _dali(on_gpu: bool) -> Finding:
    from pipelines.factory import resolve_pipeline

    name, reason = resolve_pipeline("auto", "cuda" if on_gpu else "cpu")
    found = "missing"
    for package in ("nvidia-dali-cuda130", "nvidia-dali-cuda120"):
        try:
            found = f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    where = "on the GPU" if on_gpu else "on the CPU"
    use = f"views by DALI, {where}" if name == "dali" else f"views by torchvision: {reason}"
    return Finding(what="dali", found=found, use=use, ok=name == "dali")


def _triton(versions: dict[str, str], on_gpu: bool) -> Finding:
    return Finding(
        what="triton",
        found=versions.get("triton", "missing"),
        use="the loss uses torch's products unless loss_backend=triton: no record shows Triton's to be faster"
        if on_gpu
        else "the loss uses torch's products: Triton's kernels need a GPU",
        ok="triton" in versions,
    )


def _nccl(version: tuple[int, ...] | None, versions: dict[str, str]) -> Finding:
    package = versions.get("nvidia-nccl-cu13") or versions.get("nvidia-nccl-cu12")
    found = ".".join(map(str, version)) if version else (f"{package} (package)" if package else "missing")
    return Finding(
        what="nccl",
        found=found,
        use="pretrain --gpus N, and the loss's exchange under torch.distributed",
        ok=package is not None,
    )


def _apex() -> Finding:
    from vicreg_fast.training.apex import BUILD, find_apex

    found, use, ok = {
        "kernels": ("NVIDIA apex", "optimizer=apex-fusedsgd and apex-fusedlamb, on a GPU", True),
        "python-only": ("NVIDIA apex without its kernels", f"not used; {BUILD}", False),
        "another": (
            "a package named apex that is not NVIDIA's",
            f"ignored: it is a toolkit for Pyramid; {BUILD}",
            False,
        ),
        "missing": ("missing", "optional; nothing falls back", True),
    }[find_apex()]
    return Finding(what="apex", found=found, use=use, ok=ok)
