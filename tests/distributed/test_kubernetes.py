"""deploy/kubernetes, checked without a cluster: Dagster's own configuration, then the schemas of Kubernetes.

Dagster's check of a configuration accepts a misspelled key of a container. Therefore the job that Dagster makes of it
is made here as well, and compared with the schema; and each key of the files is misspelled once, to see that it is
found. The Helm chart itself is not here: ``launcher_config`` repeats what its template makes of the values. Dagster has
no public name for its check, so this file uses private ones, of the one release that this environment has.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes
import kubernetes_validate
import pytest
import yaml
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_k8s import K8sRunLauncher, k8s_job_executor
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
SCHEMA = "1.32"  # of Kubernetes: one that the clusters in use understand, and that does not change by itself
QUANTITIES = {
    "cpu",
    "memory",
    "ephemeral-storage",
}  # the schema allows any, for resources that a cluster has by extension
CHART = {  # the keys of the chart's values that are used: a key that the chart does not know would have no effect
    "telemetry": {"enabled"},
    "global": {"postgresqlSecretName"},
    "postgresql": {
        "enabled",
        "postgresqlHost",
        "postgresqlUsername",
        "postgresqlDatabase",
        "postgresqlScheme",
        "service",
    },
    "dagsterWebserver": {"image"},
    "dagsterDaemon": {"image", "runMonitoring", "runRetries"},
    "dagster-user-deployments": {"enabled", "deployments"},
    "runLauncher": {"type", "config"},
    "additionalInstanceConfig": {"concurrency"},
    "generatePostgresqlPasswordSecret": None,
}
IMAGE = {"repository", "tag", "pullPolicy"}
DEPLOYMENT = {
    "name", "image", "codeServerArgs", "port", "env", "envSecrets", "resources", "includeConfigInLaunchedRuns",
}  # fmt: skip
MONITORING = {
    "enabled", "startTimeoutSeconds", "cancelTimeoutSeconds", "maxResumeRunAttempts", "pollIntervalSeconds",
    "freeSlotsAfterRunEndSeconds",
}  # fmt: skip
LAUNCHER = {
    "imagePullPolicy",
    "loadInclusterConfig",
    "envConfigMaps",
    "envSecrets",
    "envVars",
    "volumeMounts",
    "volumes",
    "runK8sConfig",
}
RUN = {"containerConfig", "podSpecConfig", "podTemplateSpecMetadata", "jobSpecConfig", "jobMetadata"}

Values = dict[str, Any]
Way = tuple[str | int, ...]


class UnknownKeyError(Exception):
    """A key of the values that the chart does not have."""


def values() -> Values:
    return yaml.safe_load((FOLDER / "dagster-values.yaml").read_text())


def manifests() -> list[Values]:
    return list(yaml.safe_load_all((FOLDER / "temporis.yaml").read_text()))


def snake(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[1].lower()}", key)


def ensure_known(what: Mapping[str, Any], keys: set[str]) -> None:
    unknown = set(what) - keys
    if unknown:
        raise UnknownKeyError(sorted(unknown))


def check_chart(given: Values) -> None:
    """Refuse values that the chart would ignore."""
    ensure_known(given, set(CHART))
    for section, keys in CHART.items():
        if keys is not None:
            ensure_known(given[section], keys)
    daemon, [deployment] = given["dagsterDaemon"], given["dagster-user-deployments"]["deployments"]
    for image in (given["dagsterWebserver"]["image"], daemon["image"], deployment["image"]):
        ensure_known(image, IMAGE)
    ensure_known(deployment, DEPLOYMENT)
    ensure_known(daemon["runMonitoring"], MONITORING)
    ensure_known(daemon["runRetries"], {"enabled", "maxRetries"})
    ensure_known(given["postgresql"]["service"], {"port"})
    ensure_known(deployment["includeConfigInLaunchedRuns"], {"enabled"})
    ensure_known(given["runLauncher"]["config"], {"k8sRunLauncher"})
    ensure_known(given["runLauncher"]["config"]["k8sRunLauncher"], LAUNCHER)
    ensure_known(given["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"], RUN)


def launcher_config(given: Values) -> Values:
    """What the chart's template makes of the values of the run launcher."""
    launcher = given["runLauncher"]["config"]["k8sRunLauncher"]
    made = {snake(key): value for key, value in launcher.items() if value != []}
    for sources in ("env_secrets", "env_config_maps"):
        if sources in made:
            made[sources] = [source["name"] for source in made[sources]]
    made["run_k8s_config"] = {snake(key): value for key, value in launcher["runK8sConfig"].items()}
    return {
        **made,
        "job_namespace": "temporis",
        "service_account_name": "dagster",
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": given["global"]["postgresqlSecretName"],
    }


def instance_config(given: Values) -> Values:
    """What the chart's template makes of the values of Dagster's instance, without what it always writes."""
    daemon, database = given["dagsterDaemon"], given["postgresql"]
    postgres_db = {
        "username": database["postgresqlUsername"],
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": database["postgresqlHost"],
        "db_name": database["postgresqlDatabase"],
        "port": database["service"]["port"],
        "scheme": database["postgresqlScheme"],
    }
    return {
        "storage": {"postgres": {"postgres_db": postgres_db}},
        "run_monitoring": {snake(key): value for key, value in daemon["runMonitoring"].items()},
        "run_retries": {snake(key): value for key, value in daemon["runRetries"].items()},
        "telemetry": given["telemetry"],
        **given["additionalInstanceConfig"],
    }


def check_schema(manifest: Values) -> None:
    """Refuse a manifest with a key that Kubernetes does not know."""
    kubernetes_validate.validate(manifest, SCHEMA, strict=True)
    pod = manifest["spec"].get("template", manifest).get("spec", {})
    for container in pod.get("containers", ()):
        for quantities in container["resources"].values():
            ensure_known(quantities, QUANTITIES)


def check_job(run_k8s_config: Values, given: Values) -> Values:
    """Make the Kubernetes job of a run or of a step as Dagster does, and compare it with the schema."""
    [deployment] = given["dagster-user-deployments"]["deployments"]
    launcher = launcher_config(given)
    config = DagsterK8sJobConfig(
        job_image=f"{deployment['image']['repository']}:{deployment['image']['tag']}",
        dagster_home=launcher["dagster_home"],
        instance_config_map=launcher["instance_config_map"],
        postgres_password_secret=launcher["postgres_password_secret"],
        service_account_name=launcher["service_account_name"],
        env_secrets=[source["name"] for source in deployment["envSecrets"]],
    )
    job = construct_dagster_k8s_job(
        config,
        ["dagster", "api", "execute_run"],
        "dagster-run-1",
        UserDefinedDagsterK8sConfig.from_dict(run_k8s_config),
    )
    manifest = kubernetes.client.ApiClient().sanitize_for_serialization(job)
    check_schema(manifest)
    return manifest


def check_values(given: Values) -> Values:
    """Every check there is of the values; the manifest of a run's job."""
    check_chart(given)
    for schema, config in (
        (dg.Field(K8sRunLauncher.config_type()).config_type, launcher_config(given)),
        (dg.Field(dagster_instance_config_schema()).config_type, instance_config(given)),
    ):
        checked = validate_config(schema, config)
        assert checked.success, [error.message for error in checked.errors]
    [deployment] = given["dagster-user-deployments"]["deployments"]
    of_code = {"name": "code", "image": "code", "resources": deployment["resources"], "env": deployment["env"]}
    sources = [{"secretRef": source} for source in deployment["envSecrets"]]
    pod = {"containers": [{**of_code, "envFrom": sources}]}
    check_schema({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "code"}, "spec": pod})
    return check_job(launcher_config(given)["run_k8s_config"], given)


def ways(tree: Any, at: Way = ()) -> Iterator[Way]:
    """The way to each key of a tree, but for names of labels, which may be any."""
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, branch in branches:
        if isinstance(key, str) and "/" not in key:
            yield (*at, key)
        yield from ways(branch, (*at, key))


def misspelled(tree: Any, way: Way) -> Any:
    """A copy in which the key at the end of the way has a letter too many."""
    changed = branch = copy.deepcopy(tree)
    *before, last = way
    for key in before:
        branch = branch[key]
    branch[f"{last}z"] = branch.pop(last)
    return changed


def unnoticed(tree: Any, check: Callable[[Any], object]) -> list[Way]:
    """The keys that may be misspelled without the check finding it."""
    passed = []
    for way in ways(tree):
        try:
            check(misspelled(tree, way))
        except Exception:  # noqa: BLE001  each check has its own way to refuse
            continue
        passed.append(way)
    return passed


def test_the_manifests_of_the_service_are_valid():
    """Deployment, Service and PodDisruptionBudget: as the schema wants them, without any key that it does not know."""
    kinds = [manifest["kind"] for manifest in manifests()]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget"]
    for manifest in manifests():
        check_schema(manifest)


@pytest.mark.parametrize("number", range(3))
def test_a_misspelled_key_of_a_manifest_is_found(number):
    """Each key of the file, one after the other."""
    assert unnoticed(manifests()[number], check_schema) == []


def test_the_values_are_valid_and_give_the_job_of_a_run_its_limits_and_secrets():
    """Three steps: the launcher's own check, the job that it makes, the schema. Nothing is started."""
    job = check_values(values())
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    assert {source["secretRef"]["name"] for source in container["envFrom"]} == {"temporis-token"}
    [password] = [variable for variable in container["env"] if "valueFrom" in variable]
    assert password["valueFrom"]["secretKeyRef"]["name"] == "dagster-postgresql"
    assert job["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_a_misspelled_key_of_the_values_is_found():
    """Each key of the file, also one of a container, which Dagster's own check of the configuration accepts."""
    given = values()
    assert unnoticed(given, check_values) == []
    wrong = misspelled(
        given, ("runLauncher", "config", "k8sRunLauncher", "runK8sConfig", "containerConfig", "resources")
    )
    config = launcher_config(wrong)
    assert validate_config(dg.Field(K8sRunLauncher.config_type()).config_type, config).success, "this is why"


def test_the_settings_of_the_executor_are_valid(monkeypatch):
    """The job of a step, as ``k8s_job_executor`` makes it of what the code location sets; each misspelling is found."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    from definitions_k8s import STEPS, defs

    assert defs.executor.name == "k8s"

    def check(settings: Values) -> Values:
        checked = validate_config(dg.Field(k8s_job_executor.config_schema.config_type).config_type, settings)
        assert checked.success, checked.errors
        return check_job(settings["step_k8s_config"], values())

    [container] = check(STEPS)["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "2Gi"}
    assert unnoticed(STEPS, check) == []


def test_the_services_names_and_ports_fit():
    """Probes, Service and pods agree, and the pod is given longer to stop than the service takes."""
    from temporis_dagster.service.serve import GRACE_S

    deployment, service, budget = manifests()
    pod = deployment["spec"]["template"]
    [container] = pod["spec"]["containers"]
    for selector in (service["spec"]["selector"], budget["spec"]["selector"]["matchLabels"]):
        assert selector == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    [port], [exposed] = container["ports"], service["spec"]["ports"]
    assert str(port["containerPort"]) == container["command"][-1]
    assert exposed["targetPort"] == port["name"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > GRACE_S + pause
    [variable] = values()["dagster-user-deployments"]["deployments"][0]["env"]
    assert variable["value"] == f"http://{service['metadata']['name']}:{exposed['port']}"
