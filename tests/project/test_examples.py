"""The files in examples/ are of the form that their readers want, and name options that there are."""

import re
import subprocess
from pathlib import Path

import yaml

from vicreg_fast.commands.pretrain import command

EXAMPLES = Path(__file__).parents[2] / "examples"
OPTIONS = {option for parameter in command.params for option in parameter.opts}


def test_the_batch_script_is_bash() -> None:
    script = EXAMPLES / "slurm" / "pretrain.sbatch"
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = (line for line in script.read_text().splitlines() if line.startswith("srun "))
    assert '--cpus-per-task="$SLURM_CPUS_PER_TASK"' in line  # which srun would take to be 1
    named = set(re.findall(r"--[a-z-]+", line.partition("pretrain")[2]))
    assert named
    assert named <= OPTIONS


def test_the_job_finds_its_first_pod() -> None:
    service, job = yaml.safe_load_all((EXAMPLES / "kubernetes" / "pretrain.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = dict(word.split("=", 1) for word in container["command"] if word.startswith("--"))
    assert given.keys() <= OPTIONS
    name = job["metadata"]["name"]
    assert given["--rdzv-endpoint"].startswith(f"{name}-0.{service['metadata']['name']}:")
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert int(given["--nodes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(given["--gpus"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
